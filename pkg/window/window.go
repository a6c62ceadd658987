// Package window knows when a message may go out by the clock of the person who gets it.
//
// In: a rule in words, an instant, a time zone.   Out: whether the rule is open, when it opens, when it closes.   Crash:
// nothing to lose, these are pure functions.
//
// A rule reads `outside mon-fri 09:00-20:00, sat 10:00-18:00, closed 2026-12-25`: quiet outside those hours, and all day on
// the closed date. `none` has no quiet hours. Days and hours are the wall clock's of the zone asked about; a stretch of
// constant offset is worked through at a time, so that clock changes need no special case and no hour is guessed.
package window

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must load on a machine that has none of its own
)

// Rule is one set of quiet hours; the zero Rule is never open.
type Rule struct {
	always bool
	days   [7][]span // by time.Weekday, sorted, apart from each other
	closed []date    // sorted
}

// span is open from a minute of the day up to another.
type span struct{ from, to int }

type date struct {
	year  int
	month time.Month
	day   int
}

func (d date) compare(e date) int {
	if c := d.year - e.year; c != 0 {
		return c
	}
	if c := int(d.month - e.month); c != 0 {
		return c
	}
	return d.day - e.day
}

func (d date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.year, d.month, d.day) }

const dayMinutes = 24 * 60

// None returns the rule without quiet hours.
func None() Rule { return Rule{always: true} }

// Always reports whether the rule has no quiet hours at all.
func (r Rule) Always() bool { return r.always }

// Open reports whether a message may go out at t to somebody who lives in loc.
func (r Rule) Open(t time.Time, loc *time.Location) bool {
	if r.always {
		return true
	}
	local := t.In(loc)
	minute := local.Hour()*60 + local.Minute()
	for _, s := range r.on(local) {
		if s.from <= minute && minute < s.to {
			return true
		}
	}
	return false
}

// Next returns the first instant from t on at which the rule is open; t itself if it is open then. It is false for a rule
// that does not open again.
func (r Rule) Next(t time.Time, loc *time.Location) (time.Time, bool) {
	if r.Open(t, loc) {
		return t, true
	}
	return r.seek(t, loc, true)
}

// Until returns the first instant from t on at which the rule is closed; t itself if it is closed then. It is false for a rule
// that does not close again.
func (r Rule) Until(t time.Time, loc *time.Location) (time.Time, bool) {
	if !r.Open(t, loc) {
		return t, true
	}
	return r.seek(t, loc, false)
}

// on returns the hours of a local day.
func (r Rule) on(local time.Time) []span {
	if len(r.closed) > 0 {
		y, m, d := local.Date()
		if _, found := slices.BinarySearchFunc(r.closed, date{y, m, d}, date.compare); found {
			return nil
		}
	}
	return r.days[local.Weekday()]
}

// seek returns the first instant after t at which the rule is open, or closed.
func (r Rule) seek(t time.Time, loc *time.Location, open bool) (time.Time, bool) {
	if r.always {
		return time.Time{}, false
	}
	// What is open or closed without a break repeats every week but for the closed dates; each of them can push the answer
	// on by a week. So can a clock change: Apia and Kwajalein each left a whole day out.
	limit := t.AddDate(0, 0, 9+7*(len(r.closed)+1))
	if n := len(r.closed); n > 0 && !open {
		// A rule that is open round the clock closes on its next closed date.
		last := r.closed[n-1]
		if end := time.Date(last.year, last.month, last.day+2, 0, 0, 0, 0, loc); end.After(limit) {
			limit = end
		}
	}
	for at := t; at.Before(limit); {
		local := at.In(loc)
		_, change := local.ZoneBounds()
		_, offset := local.Zone()
		// Within a stretch of one offset the wall clock runs evenly, as if the zone had never another.
		wall := time.FixedZone("", offset)
		local = at.In(wall)
		y, m, d := local.Date()
		for _, minute := range r.edges(local, open) {
			edge := time.Date(y, m, d, 0, minute, 0, 0, wall)
			if edge.Before(at) {
				edge = at
			}
			if !change.IsZero() && !edge.Before(change) {
				break
			}
			// An edge that touches the next span, or lies in one, is none.
			if r.Open(edge, loc) == open {
				return edge.In(t.Location()), true
			}
		}
		at = time.Date(y, m, d+1, 0, 0, 0, 0, wall)
		if !change.IsZero() && change.Before(at) {
			at = change
		}
	}
	return time.Time{}, false
}

// edges returns the minutes of a local day at which the rule can turn open, or closed, sorted; the day's first minute is one
// of them, since the day before may have been another.
func (r Rule) edges(local time.Time, open bool) []int {
	edges := []int{0}
	for _, s := range r.on(local) {
		if open {
			edges = append(edges, s.from)
		} else {
			edges = append(edges, s.to)
		}
	}
	return edges
}

var dayNames = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// String returns the rule in words that Parse reads as the same rule.
func (r Rule) String() string {
	if r.always {
		return "none"
	}
	var items []string
	for i := 0; i < 7; {
		name := func(i int) string { return dayNames[(i+1)%7] } // from Monday on
		hours := func(i int) []span { return r.days[(i+1)%7] }
		last := i
		for last < 6 && slices.Equal(hours(last+1), hours(i)) {
			last++
		}
		if len(hours(i)) > 0 {
			item := name(i)
			if last > i {
				item += "-" + name(last)
			}
			for _, s := range hours(i) {
				item += fmt.Sprintf(" %02d:%02d-%02d:%02d", s.from/60, s.from%60, s.to/60, s.to%60)
			}
			items = append(items, item)
		}
		i = last + 1
	}
	for _, d := range r.closed {
		items = append(items, "closed "+d.String())
	}
	return "outside " + strings.Join(items, ", ")
}
