package callqueue

import (
	"errors"
	"fmt"
	"strings"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// ErrNoTask says that the customer is not to be called, and never was.
var ErrNoTask = errors.New("there is no call task for the customer: no wave calls them, and nobody asked for it")

// Reason is one thing that speaks for or against calling a customer.
type Reason struct {
	// Name is one of: over, leased, uncertain, waiting, call_back, call_back_due, call_back_missed, urgent, number, number_cap,
	// person_cap, gap, in_call, hours, closed, spread, held, shelved, ending, clear.
	Name string
	// Against is true if the customer may not be called for it at this moment.
	Against bool
	// Until is when it ends, if that is known.
	Until time.Time
	// Text is a sentence.
	Text string
}

// Explanation says whether a customer may be called at a moment, and why not.
type Explanation struct {
	State    candorv1.CallState
	Callable bool
	Reasons  []Reason
	// Next is from when on they may be called as far as is known; zero if they may not be called again, or nobody knows.
	Next     time.Time
	Attempts []Attempt
}

// Words returns the reasons as sentences.
func (e Explanation) Words() []string {
	words := make([]string, 0, len(e.Reasons))
	for _, r := range e.Reasons {
		words = append(words, r.Text)
	}
	return words
}

// explainer collects the reasons for one task.
type explainer struct {
	q     *Queue
	t     *task
	in    *incident
	now   uint32
	zone  *time.Location
	found []Reason
}

// Explain says whether a customer may be called now, why or why not, and when next.
func (q *Queue) Explain(at time.Time, p Place) (Explanation, error) {
	now := sec(at)
	id := q.task(p)
	if id == 0 {
		return Explanation{}, ErrNoTask // and not where: whoever asks knows no pages
	}
	t := q.tasks.at(id)
	in := q.of(t)
	if in.rules == nil {
		return Explanation{}, fmt.Errorf("explain %v: %w", p, errNoRules)
	}
	q.advance(now)
	x := &explainer{q: q, t: t, in: in, now: now, zone: time.UTC}
	w := q.wishOf(t, in, now)
	state, _ := t.showing(w, now)
	e := Explanation{State: state, Callable: q.callable(id, now), Attempts: q.Attempts(p)}
	x.explain(w)
	e.Reasons = x.found
	switch _, ends := q.doom(t, in, w, now); {
	case t.over() || ends || in.held || t.has(leaseOut):
	case e.Callable:
		e.Next = instant(now)
	default:
		e.Next = instant(x.next(w))
	}
	return e, nil
}

// next returns when the customer may be called, 0 if that depends on others.
func (x *explainer) next(w wish) uint32 {
	index, ok := x.q.phoneOf(x.t, w, x.now)
	if !ok {
		return 0
	}
	b := x.q.barsOf(x.t, x.in, index, w.at != 0, x.now)
	if b.held && b.heldUntil == 0 {
		return 0
	}
	return max(x.q.soonest(x.t, x.in, w, x.now), b.heldUntil, x.q.pages[x.t.page].shelved)
}

func (x *explainer) say(name string, against bool, until uint32, format string, args ...any) {
	x.found = append(x.found, Reason{Name: name, Against: against, Until: instant(until), Text: fmt.Sprintf(format, args...)})
}

// clock writes an instant by the customer's own clock.
func (x *explainer) clock(s uint32) string {
	return instant(s).In(x.zone).Format("Mon 2 Jan 2006 15:04") + " (" + x.zone.String() + ")"
}

// short writes a duration without the parts that are nothing, as in 4h.
func short(d time.Duration) string {
	s := d.String()
	if cut, ok := strings.CutSuffix(s, "m0s"); ok {
		s = cut + "m"
	}
	if cut, ok := strings.CutSuffix(s, "h0m"); ok {
		s = cut + "h"
	}
	return s
}

func (x *explainer) explain(w wish) {
	q, t, now := x.q, x.t, x.now
	index, ok := q.phoneOf(t, w, now)
	if ok {
		if h := q.hours[q.phones.at(t.phones+uint32(index)).hours]; len(h.zones) > 0 {
			x.zone = h.zones[0]
		}
	}
	if t.over() {
		x.say("over", true, 0, "The task ended as %s on %s: %s.", candorv1.Word(candorv1.CallState(t.state)), x.clock(t.nextAt), q.words.list[t.reason])
		return
	}
	if x.in.held {
		x.say("held", true, 0, "The incident is paused: nobody is called until it is resumed.")
	}
	if t.has(leaseOut) {
		a := q.attempts.at(t.last)
		x.say("leased", true, a.endedAt, "Dialer %s holds the task until %s.", q.words.list[a.dialer], x.clock(a.endedAt))
	}
	if how, ends := q.doom(t, x.in, w, now); ends && !t.has(leaseOut) {
		x.say("ending", true, 0, "The task is about to end as %s: %s.", candorv1.Word(how.state), q.words.list[how.reason])
		return
	}
	if until := q.pages[t.page].shelved; until > now {
		x.say("shelved", true, until, "The customer's data cannot be read at this moment, which is tried again at %s.", x.clock(until))
	}
	x.waits(w)
	x.phones()
	if !ok {
		return
	}
	x.bars(index, w)
	if w.at == 0 {
		x.hours(index)
	}
	for _, r := range x.found {
		if r.Against {
			return
		}
	}
	x.say("clear", false, 0, "Nothing stands in the way of a call.")
}

// waits explains what the task itself waits for.
func (x *explainer) waits(w wish) {
	t, now := x.t, x.now
	switch {
	case t.cooling(now):
		x.say("uncertain", true, t.nextAt, "A lease ended without a report, so a call may have been made: nobody calls before %s.", x.clock(t.nextAt))
	case w.at != 0 && w.from > now:
		x.say("call_back", true, w.from, "The customer asked to be called at %s: nobody calls before %s.", x.clock(w.at), x.clock(w.from))
	case w.at != 0:
		x.say("call_back_due", false, w.until, "The customer asked to be called at %s: until %s the calling hours do not bind.", x.clock(w.at), x.clock(w.until))
	case w.missed && w.from > now:
		x.say("call_back_missed", true, w.from, "The customer asked to be called at %s; that time was missed, so the call comes first within the calling hours, from %s on.", x.clock(t.callBack), x.clock(w.from))
	case w.missed:
		x.say("call_back_missed", false, 0, "The customer asked to be called at %s; that time was missed, so the call comes first within the calling hours.", x.clock(t.callBack))
	case t.nextAt > now:
		after := "It is not its time yet"
		if t.last != 0 {
			if d := x.q.attempts.at(t.last).disposition; d != 0 {
				after = "The last call ended with " + x.q.words.list[d]
			}
		}
		x.say("waiting", true, t.nextAt, "%s: the next one may begin at %s.", after, x.clock(t.nextAt))
	case t.has(urgent):
		x.say("urgent", false, 0, "The customer asked to be called as soon as may be.")
	}
}

// phones explains which numbers are out of use.
func (x *explainer) phones() {
	for i := range x.t.nPhones {
		p := x.q.phones.at(x.t.phones + uint32(i))
		nth := fmt.Sprintf("Number %d of %d", i+1, x.t.nPhones)
		switch {
		case p.number == 0:
			x.say("number", false, 0, "%s cannot be dialled, or is the same as another.", nth)
		case x.q.numbers.at(p.number).shut():
			x.say("number", false, 0, "%s must not be called: its owner asked for no calls.", nth)
		case p.bad:
			x.say("number", false, 0, "%s is out of use: a call showed that it does not reach the customer.", nth)
		}
	}
}

// bars explains caps and gaps.
func (x *explainer) bars(index uint8, w wish) {
	q, now, rules := x.q, x.now, x.in.rules
	b := q.barsOf(x.t, x.in, index, w.at != 0, now)
	if b.held && !x.t.has(leaseOut) {
		x.say("in_call", true, b.heldUntil, "Number %d is held for a call to another customer.", index+1)
	}
	if b.numberDay > now {
		x.say("number_cap", true, b.numberDay, "Number %d was called as often as it may be, %d times in 24 hours: not before %s.", index+1, rules.Caps.NumberPerDay, x.clock(b.numberDay))
	}
	if b.personWeek > now {
		x.say("person_cap", true, b.personWeek, "The customer was called as often as they may be, %d times in seven days: not before %s.", rules.Caps.PersonPerWeek, x.clock(b.personWeek))
	}
	if b.gap > now {
		x.say("gap", true, b.gap, "Number %d was called a short while ago; %v lie between two calls: not before %s.", index+1, short(rules.Gap), x.clock(b.gap))
	}
}

// hours explains the calling hours zone by zone.
func (x *explainer) hours(index uint8) {
	p := x.q.phones.at(x.t.phones + uint32(index))
	h := x.q.hours[p.hours]
	h.look(x.now)
	now := instant(x.now)
	kind := "calling hours"
	if h.uncertain {
		kind = "narrow calling hours, since the time zone is a guess"
	}
	for _, z := range h.zones {
		here := now.In(z).Format("Mon 15:04")
		if h.rule().Open(now, z) {
			until, ends := h.rule().Until(now, z)
			if !ends {
				x.say("hours", false, 0, "In %s it is %s, inside the %s, which do not end.", z, here, kind)
				continue
			}
			x.say("hours", false, sec(until), "In %s it is %s, inside the %s, which end at %s.", z, here, kind, until.In(z).Format("Mon 15:04"))
			continue
		}
		opens, ok := h.rule().Next(now, z)
		if !ok {
			x.say("hours", true, 0, "In %s it is %s; the %s do not open again.", z, here, kind)
			continue
		}
		x.say("hours", true, sec(opens), "In %s it is %s, outside the %s, which open at %s.", z, here, kind, opens.In(z).Format("Mon 2 Jan 15:04"))
	}
	switch avoid := x.q.numbers.at(p.number).avoid; {
	case !h.isOpen && h.next != never:
		x.say("closed", true, h.next, "The next call to number %d may begin at %s, and no call begins in the last %v of the hours.", index+1, x.clock(h.next), short(x.in.rules.Lead))
	case h.isOpen && h.opens(x.now, avoid) > x.now:
		until := h.opens(x.now, avoid)
		x.say("spread", true, until, "Nobody answered number %d around %s; another time of day is tried: not before %s.", index+1,
			instant(avoid).In(x.zone).Format("15:04"), x.clock(until))
	}
}
