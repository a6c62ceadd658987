package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// A batch costs the broker about five fsyncs whatever its size, a single append one.
	worthABatch = 6
	// After a large batch its callers come back one by one; what is sent at once would be a small batch at full price.
	linger = time.Millisecond
)

// CommitterOptions bounds one batch of a Committer; the zero value is right.
type CommitterOptions struct {
	MaxMessages int // MaxBatch
	MaxBytes    int // 1 MB
}

// Committer gathers the appends of many goroutines into atomic batches, which cost the same few fsyncs whatever their size.
//
// While one batch is on its way the next one gathers: at most one message per subject, so that each caller's fence is
// judged alone and a subject's order is kept. If a batch is refused it is halved until everybody has a verdict of their own.
type Committer struct {
	b      *Bus
	stream string
	opts   CommitterOptions
	wake   chan struct{} // one token: something was queued

	mu     sync.Mutex
	queue  []*pending
	closed bool
}

type pending struct {
	m    Message
	done chan struct{} // closed when seq and err are set
	seq  uint64
	err  error
	sent bool // by the committer, under its lock: too late to take back
}

// NewCommitter prepares a committer for one stream; it appends while Run runs.
func NewCommitter(b *Bus, stream string, opts CommitterOptions) *Committer {
	if opts.MaxMessages <= 0 || opts.MaxMessages > MaxBatch {
		opts.MaxMessages = MaxBatch
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = 1 << 20
	}
	return &Committer{b: b, stream: stream, opts: opts, wake: make(chan struct{}, 1)}
}

// Append stores one message, together with those of other callers; its verdicts are those of Bus.Append.
func (c *Committer) Append(ctx context.Context, m Message) (uint64, error) {
	p := &pending{m: m, done: make(chan struct{})}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, fmt.Errorf("append %s: %w", m.Subject, ErrClosed)
	}
	c.queue = append(c.queue, p)
	c.mu.Unlock()
	c.signal()
	select {
	case <-p.done:
		return p.seq, p.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	sent := p.sent
	if !sent {
		for i, q := range c.queue {
			if q == p {
				c.queue = append(c.queue[:i], c.queue[i+1:]...)
				break
			}
		}
	}
	c.mu.Unlock()
	if !sent {
		return 0, fmt.Errorf("append %s: %w: %w", m.Subject, ErrUnavailable, ctx.Err())
	}
	select {
	case <-p.done:
		return p.seq, p.err
	default:
		return 0, fmt.Errorf("append %s: %w: %w", m.Subject, ErrUnknownOutcome, ctx.Err())
	}
}

// Queued returns how many appends wait for the next batch.
func (c *Committer) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

// Run appends until ctx ends and what was queued by then is stored or refused; later callers get ErrClosed.
func (c *Committer) Run(ctx context.Context) error {
	own := context.WithoutCancel(ctx) // each request is bounded by itself
	previous := 0
	for {
		if previous >= worthABatch {
			c.gather(previous)
		}
		batch := c.take()
		previous = len(batch)
		if len(batch) > 0 {
			c.commit(own, batch)
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			if c.close() {
				return nil
			}
		}
	}
}

// gather waits a moment for as many callers as the last batch had.
func (c *Committer) gather(previous int) {
	t := time.NewTimer(linger)
	defer t.Stop()
	for {
		if c.Queued() >= previous {
			return
		}
		select {
		case <-c.wake:
		case <-t.C:
			return
		}
	}
}

func (c *Committer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close ends the committer if nothing is queued.
func (c *Committer) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = len(c.queue) == 0
	return c.closed
}

// take cuts the next batch off the queue; what does not fit stays, in its order.
func (c *Committer) take() []*pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	var (
		batch, rest []*pending
		size        int
		subjects    = make(map[string]struct{}, len(c.queue))
	)
	for i, p := range c.queue {
		if len(batch) == c.opts.MaxMessages || size >= c.opts.MaxBytes {
			rest = append(rest, c.queue[i:]...)
			break
		}
		if _, twice := subjects[p.m.Subject]; twice {
			rest = append(rest, p)
			continue
		}
		subjects[p.m.Subject] = struct{}{}
		p.sent = true
		batch, size = append(batch, p), size+len(p.m.Data)
	}
	c.queue = rest
	return batch
}

func (c *Committer) commit(ctx context.Context, batch []*pending) {
	if len(batch) < worthABatch {
		var wg sync.WaitGroup
		for _, p := range batch {
			wg.Go(func() {
				p.seq, p.err = c.b.Append(ctx, c.stream, p.m)
				close(p.done)
			})
		}
		wg.Wait()
		return
	}
	ms := make([]Message, len(batch))
	for i, p := range batch {
		ms[i] = p.m
	}
	first, err := c.b.AppendBatch(ctx, c.stream, ms)
	if err != nil && refused(err) {
		half := len(batch) / 2
		c.commit(ctx, batch[:half])
		c.commit(ctx, batch[half:])
		return
	}
	for i, p := range batch {
		if err != nil {
			p.err = fmt.Errorf("append %s: %w", p.m.Subject, errors.Unwrap(err))
		} else {
			p.seq = first + uint64(i)
		}
		close(p.done)
	}
}
