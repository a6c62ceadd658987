// Package clock is the one clock behind everything: what the calendar shows, and what that is to the machine.
//
// In: the machine's clocks   Out: calendar time, and the way there and back
// Crash: holds nothing; a clock with the same settings shows what it would have shown.
//
// In a rehearsal the calendar runs faster, so that weeks pass in minutes. The machine does not: an answer, a stride and a lease
// take as long as ever. So every instant that is stored or compared is the calendar's, and durations are of two kinds. What
// people decide (quiet hours, retry budgets, follow-ups) is the calendar's. What a machine needs (time-outs, strides, lags) is
// the machine's: a timer takes it as it is, and Work makes it fit for an instant. Real makes a calendar wait fit for a timer.
package clock

import (
	"math"
	"time"
)

// started is where Mono begins; nothing writes it after start.
var started = time.Now()

// Clock shows calendar time. The zero Clock is the machine's own: its calendar is the machine's, and its conversions change
// nothing.
type Clock struct {
	origin, since time.Time
	speed         float64 // 0 in the machine's own
	wall          func() time.Time
	mono          func() time.Duration
}

// Fast returns a clock that showed origin when the machine's showed since, and goes so many times as fast. Processes whose
// clocks are made alike, one after the other or side by side, live by the same calendar.
func Fast(origin, since time.Time, speed float64) Clock {
	return Clock{origin: origin.Round(0), since: since.Round(0), speed: speed}
}

// On returns the clock on other machine clocks than this machine's.
func (c Clock) On(wall func() time.Time, mono func() time.Duration) Clock {
	c.wall, c.mono = wall, mono
	return c
}

// Now returns the calendar's time.
func (c Clock) Now() time.Time { return c.FromMachine(c.Machine()) }

// Machine returns the time of the machine, by which the broker, providers and other programs go.
func (c Clock) Machine() time.Time {
	if c.wall != nil {
		return c.wall()
	}
	return time.Now()
}

// Mono returns how long the machine has worked, by a clock that nobody sets.
func (c Clock) Mono() time.Duration {
	if c.mono != nil {
		return c.mono()
	}
	return time.Since(started)
}

// Speed returns how much calendar passes in a second of the machine, in seconds.
func (c Clock) Speed() float64 {
	if c.speed == 0 {
		return 1
	}
	return c.speed
}

// Work returns how much calendar passes while the machine works for d.
func (c Clock) Work(d time.Duration) time.Duration {
	if c.speed == 0 {
		return d
	}
	return duration(float64(d) * c.speed)
}

// Real returns how long so much calendar takes the machine.
func (c Clock) Real(d time.Duration) time.Duration {
	if c.speed == 0 {
		return d
	}
	return duration(float64(d) / c.speed)
}

// FromMachine returns what the calendar shows at an instant of the machine. No instant stays none.
func (c Clock) FromMachine(t time.Time) time.Time {
	if c.speed == 0 || t.IsZero() {
		return t
	}
	return c.origin.Add(c.Work(t.Sub(c.since)))
}

// ToMachine returns the instant of the machine at which the calendar shows t. No instant stays none.
func (c Clock) ToMachine(t time.Time) time.Time {
	if c.speed == 0 || t.IsZero() {
		return t
	}
	return c.since.Add(c.Real(t.Sub(c.origin)))
}

// duration is so many nanoseconds, at most 292 years of them.
func duration(nanos float64) time.Duration {
	switch {
	case nanos >= math.MaxInt64:
		return math.MaxInt64
	case nanos <= math.MinInt64:
		return math.MinInt64
	}
	return time.Duration(math.Round(nanos))
}
