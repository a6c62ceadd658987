package dispatch

import "sync"

// Gate bounds how many requests are under way at once, over all pages of a channel.
type Gate struct {
	mu      sync.Mutex
	free    int
	waiting []*calls // with numbers that nobody took yet; first come, first served
}

// calls are those that one Each makes.
type calls struct {
	do      func(i int)
	next, n int
	left    sync.WaitGroup
}

// NewGate returns a gate of so many places.
func NewGate(places int) *Gate { return &Gate{free: places} }

// Each calls do for every number below n, as many at a time as there are places, and returns when all calls have. A place
// goes to the stride that waits longest, and whoever holds one goes on with that stride: its stack has grown already.
func (g *Gate) Each(n int, do func(i int)) {
	if n <= 0 {
		return
	}
	c := &calls{do: do, n: n}
	c.left.Add(n)
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	start := min(g.free, n)
	g.free -= start
	g.mu.Unlock()
	for range start {
		go g.work()
	}
	c.left.Wait()
}

// work holds a place while there is something to do.
func (g *Gate) work() {
	for {
		c, i := g.take()
		if c == nil {
			return
		}
		c.do(i)
		c.left.Done()
	}
}

// take returns the next call to make, or gives the place back.
func (g *Gate) take() (c *calls, i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.free++
		return nil, 0
	}
	c = g.waiting[0]
	i = c.next
	if c.next++; c.next == c.n {
		g.waiting[0] = nil
		g.waiting = g.waiting[1:]
	}
	return c, i
}
