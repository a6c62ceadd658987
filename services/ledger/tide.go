package ledger

import (
	"context"
	"slices"
	"sync"
	"time"
)

// tide is how far one stream has been folded, and who waits for more. The mutex is that of the books.
type tide struct {
	mu       *sync.Mutex
	foldedTo uint64
	waiting  []waiter
}

// waiter wants to know when everything up to seq has been folded.
type waiter struct {
	seq  uint64
	done chan struct{}
}

// advance says that everything up to seq has been folded. mu is held.
func (t *tide) advance(seq uint64) {
	t.foldedTo = max(t.foldedTo, seq)
	t.waiting = slices.DeleteFunc(t.waiting, func(w waiter) bool {
		if w.seq > t.foldedTo {
			return false
		}
		close(w.done)
		return true
	})
}

// await returns when everything up to seq has been folded, or after patience without an error.
func (t *tide) await(ctx context.Context, seq uint64, patience time.Duration) error {
	t.mu.Lock()
	if t.foldedTo >= seq {
		t.mu.Unlock()
		return nil
	}
	w := waiter{seq: seq, done: make(chan struct{})}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	tired := time.NewTimer(patience)
	defer tired.Stop()
	select {
	case <-w.done:
		return nil
	case <-tired.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	t.waiting = slices.DeleteFunc(t.waiting, func(o waiter) bool { return o.done == w.done })
	t.mu.Unlock()
	return ctx.Err()
}

// reached says whether everything up to seq has been folded.
func (t *tide) reached(seq uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.foldedTo >= seq
}
