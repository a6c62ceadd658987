package dispatch

import (
	"sync"
	"sync/atomic"
)

// Gate bounds how many requests are under way at once, over all pages of a channel.
type Gate chan struct{}

// NewGate returns a gate of so many places.
func NewGate(places int) Gate { return make(Gate, places) }

// Each calls do for every number below n, as many at a time as there are places, and returns when all calls have. Whoever
// has got a place keeps it until the numbers are used up: a stride that ends early is a page that can announce its next one,
// and a goroutine that goes on has its stack grown already.
func (g Gate) Each(n int, do func(i int)) {
	var (
		next atomic.Int64
		all  sync.WaitGroup
		last = make(chan struct{}) // closed when the last number was taken
	)
	work := func() {
		defer func() { <-g }()
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if i == n-1 {
				close(last)
			}
			do(i)
		}
	}
	for range n {
		select {
		case g <- struct{}{}:
			all.Go(work)
			continue
		case <-last:
		}
		break
	}
	all.Wait()
}
