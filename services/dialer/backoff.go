package dialer

import (
	"math/rand/v2"
	"time"
)

const (
	firstWait = 250 * time.Millisecond
	lastWait  = 30 * time.Second
)

// backoff spaces out what is tried again. It belongs to one agent, and no two agents wait alike: a queue that comes back is not
// asked by all of them at once.
type backoff struct {
	random *rand.Rand
	tries  int
}

func newBackoff(agent uint64) *backoff { return &backoff{random: rand.New(rand.NewPCG(agent, 0))} }

// next returns how long to wait this time: twice as long as before, and up to half as much again.
func (b *backoff) next() time.Duration {
	d := min(firstWait<<min(b.tries, 10), lastWait)
	b.tries++
	return d + time.Duration(b.random.Int64N(int64(d/2)))
}

func (b *backoff) reset() { b.tries = 0 }
