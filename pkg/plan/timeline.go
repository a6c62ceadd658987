package plan

import (
	"cmp"
	"slices"
	"time"

	"candor/pkg/window"
)

// maxMoves bounds the simulation: years of days in every zone of the world.
const maxMoves = 1_000_000

// load is what one zone's customers of one tier ask of a sender.
type load struct {
	tier  uint32
	zone  string
	units float64 // segments of SMS, else messages
}

// timeline works the loads off as the planner and the workers do: by tier, then by zone, each zone only while its window is
// open, at the sender's rate. It returns when the first message starts and when the last one has gone out; false if some
// zone's window never opens.
func timeline(now time.Time, rule window.Rule, perSec float64, loads []load) (first, last time.Time, ok bool) {
	loads = slices.Clone(loads)
	slices.SortFunc(loads, func(a, b load) int {
		return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.zone, b.zone))
	})
	zones := map[string]*zoneClock{}
	var clocks []*zoneClock
	work := make([]*zoneClock, len(loads))
	for i, l := range loads {
		z := zones[l.zone]
		if z == nil {
			z = &zoneClock{rule: rule, loc: location(l.zone)}
			zones[l.zone] = z
			clocks = append(clocks, z)
		}
		z.loads++
		work[i] = z
	}

	at := now
	for range maxMoves {
		// The next opening of a zone that waits: it may interrupt who goes now, because it may come before them.
		var wake time.Time
		for _, z := range clocks {
			if z.loads == 0 {
				continue
			}
			if !z.look(at) {
				return first, last, false
			}
			if !z.open && (wake.IsZero() || z.change.Before(wake)) {
				wake = z.change
			}
		}
		turn := slices.IndexFunc(loads, func(l load) bool { return l.units > 0 && zones[l.zone].open })
		if turn < 0 {
			if wake.IsZero() {
				return first, last, true
			}
			at = wake
			continue
		}
		z := work[turn]
		if first.IsZero() {
			first = at
		}
		stop := at.Add(duration(loads[turn].units, perSec))
		if !z.change.IsZero() && z.change.Before(stop) {
			stop = z.change
		}
		if !wake.IsZero() && wake.Before(stop) {
			stop = wake
		}
		sent := stop.Sub(at).Seconds() * perSec
		if loads[turn].units -= sent; perSec <= 0 || loads[turn].units < 1e-6 || stop.Equal(at) {
			loads[turn].units = 0
			z.loads--
		}
		at = stop
		if at.After(last) {
			last = at
		}
	}
	return first, last, false
}

// duration is how long a sender needs; one without a rate answers at once.
func duration(units, perSec float64) time.Duration {
	if perSec <= 0 {
		return 0
	}
	const forever = 100 * 365 * 24 * time.Hour
	return time.Duration(min(units/perSec*float64(time.Second), float64(forever)))
}

// zoneClock is one zone's window, looked at again only after it changed.
type zoneClock struct {
	rule   window.Rule
	loc    *time.Location
	loads  int
	open   bool
	change time.Time // when open turns; zero if never
}

// look brings the clock to at, and is false if the window does not open any more.
func (z *zoneClock) look(at time.Time) bool {
	if !z.change.IsZero() && at.Before(z.change) || z.open && z.change.IsZero() {
		return true
	}
	z.open = z.rule.Open(at, z.loc)
	if z.open {
		z.change, _ = z.rule.Until(at, z.loc)
		return true
	}
	var opens bool
	z.change, opens = z.rule.Next(at, z.loc)
	return opens
}

// location knows every zone that a roster lets pass; anything else counts as UTC.
func location(zone string) *time.Location {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return time.UTC
	}
	return loc
}
