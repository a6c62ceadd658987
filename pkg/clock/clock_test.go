package clock_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"candor/pkg/clock"
)

var (
	since  = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)
	origin = time.Date(2028, 2, 28, 23, 0, 0, 0, time.UTC)
)

func TestTheZeroClockIsTheMachinesOwn(t *testing.T) {
	t.Parallel()
	var c clock.Clock
	before := time.Now()
	now, mono := c.Now(), c.Mono()
	if now.Before(before) || now.Sub(before) > time.Minute {
		t.Errorf("shows %s at %s", now, before)
	}
	if now == now.Round(0) {
		t.Error("the reading of the clock that nobody sets is gone: time-outs could not be checked by it")
	}
	if later := c.Mono(); later < mono {
		t.Errorf("went back from %s to %s", mono, later)
	}
	if c.Speed() != 1 || c.Work(time.Hour) != time.Hour || c.Real(time.Hour) != time.Hour || c.ToMachine(now) != now || c.FromMachine(now) != now {
		t.Error("changes something")
	}
}

func TestAFastClock(t *testing.T) {
	t.Parallel()
	at := since
	c := clock.Fast(origin, since, 3600).On(func() time.Time { return at }, func() time.Duration { return time.Second })
	for _, tt := range []struct {
		passed time.Duration
		want   time.Time
	}{
		{0, origin},
		{time.Second, origin.Add(time.Hour)},
		{25 * time.Second, time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC)}, // over a leap day
		{-time.Minute, origin.Add(-60 * time.Hour)},
	} {
		at = since.Add(tt.passed)
		if got := c.Now(); !got.Equal(tt.want) {
			t.Errorf("after %s: %s, want %s", tt.passed, got, tt.want)
		}
		if got := c.ToMachine(tt.want); !got.Equal(at) {
			t.Errorf("%s comes at %s, want %s", tt.want, got, at)
		}
	}
	if c.Mono() != time.Second || !c.Machine().Equal(at) || c.Speed() != 3600 {
		t.Error("the machine's own clocks are not shown as they are")
	}
	if got := c.Work(2 * time.Second); got != 2*time.Hour {
		t.Errorf("two seconds of work take %s of the calendar", got)
	}
	if got := c.Real(2 * time.Hour); got != 2*time.Second {
		t.Errorf("two hours of the calendar take the machine %s", got)
	}
	if !c.ToMachine(time.Time{}).IsZero() || !c.FromMachine(time.Time{}).IsZero() {
		t.Error("no instant became one")
	}
	if got := c.Work(math.MaxInt64); got != math.MaxInt64 {
		t.Errorf("more than a duration holds became %s", got)
	}
}

func TestThereAndBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		speed := rapid.Float64Range(1, 100_000).Draw(t, "speed")
		start := since.Add(time.Duration(rapid.Int64Range(-int64(1000*time.Hour), int64(1000*time.Hour)).Draw(t, "since")))
		day := origin.Add(time.Duration(rapid.Int64Range(-int64(1e5*time.Hour), int64(1e5*time.Hour)).Draw(t, "origin")))
		passed := time.Duration(rapid.Int64Range(0, int64(10*time.Hour)).Draw(t, "passed"))
		more := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "more"))

		c, twin := clock.Fast(day, start, speed), clock.Fast(day, start, speed)
		at := start.Add(passed)
		shown := c.FromMachine(at)
		if !shown.Equal(twin.FromMachine(at)) {
			t.Fatal("two clocks made alike show different times")
		}
		if later := c.FromMachine(at.Add(more)); later.Before(shown) {
			t.Fatalf("went back from %s to %s", shown, later)
		}
		// What a float64 rounds away: less than a microsecond of the machine.
		if back := c.ToMachine(shown).Sub(at); back.Abs() > time.Microsecond {
			t.Fatalf("%s came back %s off", at, back)
		}
		if got := c.FromMachine(at.Add(more)).Sub(shown) - c.Work(more); got.Abs() > c.Work(time.Microsecond) {
			t.Fatalf("%s of work are %s off on the calendar", more, got)
		}
		if got := c.Real(c.Work(more)) - more; got.Abs() > time.Microsecond {
			t.Fatalf("%s came back %s off", more, got)
		}
	})
}
