package dispatch

import (
	"sync"
	"time"
)

// maxDrift is how far two clocks may be apart before nobody is told: quiet hours are judged by the wall clock.
const maxDrift = time.Minute

// clockWatch notices that the machine's wall clock was set, or that the machine slept, by comparing it with a clock nobody sets.
type clockWatch struct {
	mu    sync.Mutex
	wall  time.Time
	mono  time.Duration
	skew  time.Duration
	until time.Time
}

func newClockWatch(wall time.Time, mono time.Duration) clockWatch {
	return clockWatch{wall: wall.Round(0), mono: mono}
}

// check returns how far the wall clock jumped since it was last believed, if that is too far to tell anybody now.
// A jump is believed after the hold, unless the provider's clock contradicts it.
func (c *clockWatch) check(wall time.Time, mono, hold time.Duration) (drift time.Duration, held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall = wall.Round(0)
	elapsed := mono - c.mono
	drift = wall.Sub(c.wall) - elapsed
	if drift.Abs() > maxDrift {
		// The hold is measured by the clock nobody sets: c.until lies on it.
		c.wall, c.mono = wall, mono
		c.until = time.Unix(0, 0).Add(mono + hold)
		return drift, true
	}
	if c.skew.Abs() > maxDrift {
		c.until = time.Unix(0, 0).Add(mono + hold)
		drift, c.skew = c.skew, 0 // asked again after the hold: the next answer tells
		return drift, true
	}
	return 0, time.Unix(0, 0).Add(mono).Before(c.until)
}

// observe takes the difference between the provider's clock and ours from an answer.
func (c *clockWatch) observe(skew time.Duration) {
	if skew == 0 {
		return
	}
	c.mu.Lock()
	c.skew = skew
	c.mu.Unlock()
}
