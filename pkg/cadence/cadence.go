// Package cadence reckons when follow-ups are due: so long after the first notice, and then at hours of the calendar, in
// the incident's time zone, until the incident is closed or there have been enough.
//
// In: what a playbook says, when the first notice was approved, a clock.   Out: the instants.   Crash: nothing to lose, these
// are pure functions: the same number has the same instant however it is asked for.
package cadence

import (
	"fmt"
	"iter"
	"time"
)

// Entry is one line of a cadence. Either After is positive or Every is set.
type Entry struct {
	Name string
	// After the first notice was approved.
	After time.Duration
	// Every names hours of the calendar. It begins when the last After of the cadence is over.
	Every Every
}

// Cadence is when follow-ups are due.
type Cadence struct {
	Zone    *time.Location
	Entries []Entry
	// AtMost is how many there are in all; Apart is how long there is at least between two of them: one that comes sooner is
	// left out, and does not count. Of those that come at the same instant the first of Entries is kept.
	AtMost int
	Apart  time.Duration
}

// Occurrence is one follow-up that is due.
type Occurrence struct {
	// Name of its entry, and its number among all, from 1.
	Name   string
	Number int
	Due    time.Time
}

// All returns every follow-up after a first notice that was approved at origin, in the order in which they are due.
func (c Cadence) All(origin time.Time) iter.Seq[Occurrence] {
	return func(yield func(Occurrence) bool) {
		begin := origin.Add(c.lastAfter())
		// A follow-up may be due from here on. The first one only has to be later than the first notice.
		earliest := origin.Add(1)
		for n := 1; n <= c.AtMost; n++ {
			o := Occurrence{Number: n}
			for _, e := range c.Entries {
				due, ok := c.due(e, origin, begin, earliest)
				if ok && (o.Due.IsZero() || due.Before(o.Due)) {
					o.Name, o.Due = e.Name, due
				}
			}
			if o.Due.IsZero() || !yield(o) {
				return
			}
			earliest = o.Due.Add(max(c.Apart, 1))
		}
	}
}

// due returns when an entry is due the first time, not before earliest.
func (c Cadence) due(e Entry, origin, begin, earliest time.Time) (time.Time, bool) {
	if e.Every.IsZero() {
		due := origin.Add(e.After)
		return due, !due.Before(earliest)
	}
	if after := earliest.Add(-1); after.After(begin) {
		begin = after
	}
	return e.Every.Next(begin, c.zone())
}

func (c Cadence) zone() *time.Location {
	if c.Zone == nil {
		return time.UTC
	}
	return c.Zone
}

func (c Cadence) lastAfter() time.Duration {
	var last time.Duration
	for _, e := range c.Entries {
		last = max(last, e.After)
	}
	return last
}

// Next returns the first follow-up that is due after an instant; false if there is none.
func (c Cadence) Next(origin, after time.Time) (Occurrence, bool) {
	for o := range c.All(origin) {
		if o.Due.After(after) {
			return o, true
		}
	}
	return Occurrence{}, false
}

// Flaw is why an entry of a cadence can never be due.
type Flaw struct {
	// Entry is its place in Cadence.Entries.
	Entry       int
	Why, Remedy string
}

// Flaws returns the entries that can never be due, whenever the first notice is approved.
func (c Cadence) Flaws() []Flaw {
	var flaws []Flaw
	add := func(entry int, remedy, format string, args ...any) {
		flaws = append(flaws, Flaw{entry, fmt.Sprintf(format, args...), remedy})
	}
	kept := c.keptAfters()
	for i, e := range c.Entries {
		switch {
		case e.Every.IsZero() && e.After <= 0:
			add(i, "write how long after the first notice, such as after: 72h, or hours of the calendar, such as every: mon 10:00",
				"%s is due never", e.Name)
		case e.Every.IsZero() && !kept[i] && len(kept) >= c.AtMost:
			add(i, "raise at_most, or delete the entry", "%s is never due: %d come before it, and at_most is %d", e.Name, len(kept), c.AtMost)
		case e.Every.IsZero() && !kept[i]:
			add(i, "let it come later, or make apart shorter", "%s is never due: it comes less than %v after another", e.Name, max(c.Apart, 1))
		case !e.Every.IsZero() && len(kept) >= c.AtMost:
			add(i, "raise at_most, or delete the entry", "%s is never due: %d come before it, and at_most is %d", e.Name, len(kept), c.AtMost)
		case !e.Every.IsZero():
			for _, other := range c.Entries[:i] {
				if other.Every == e.Every {
					add(i, "delete one of them", "%s is never due: %s comes at the same hours", e.Name, other.Name)
					break
				}
			}
		}
	}
	return flaws
}

// keptAfters returns the entries that are due so long after the first notice; they lie alike whenever that was.
func (c Cadence) keptAfters() map[int]bool {
	var afters Cadence
	at := map[time.Duration]int{}
	for i, e := range c.Entries {
		if _, taken := at[e.After]; e.After > 0 && !taken {
			at[e.After] = i
			afters.Entries = append(afters.Entries, Entry{After: e.After})
		}
	}
	afters.AtMost, afters.Apart = c.AtMost, c.Apart
	kept := map[int]bool{}
	origin := time.Unix(0, 0)
	for o := range afters.All(origin) {
		kept[at[o.Due.Sub(origin)]] = true
	}
	return kept
}
