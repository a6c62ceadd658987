package callqueue

import (
	"fmt"
	"slices"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Claim is a dialer's request for tasks.
type Claim struct {
	// Dialer is the id of the token: who holds the lease.
	Dialer string
	Mode   candorv1.DialMode
	// Max is how many tasks are wanted; 0 is one.
	Max int
	// Skills and Languages are those of the agents; no language means all of them.
	Skills, Languages []string
	// Incidents are those to be worked for; none means all.
	Incidents []string
	// LeaseFor is how long the tasks are to be held; 0 is what suits the mode.
	LeaseFor time.Duration
	// Random gives the random part of each lease's id.
	Random func() uint64
}

// Granted is a task that was leased.
type Granted struct {
	Place Place
	Lease Lease
	// Event is to be stored before anybody hears of the lease; its script version is for the caller to fill in.
	Event *candorv1.CallEvent
	// Phone is the number to dial and Next are those that may be dialled after it, as indexes of Facts.Numbers.
	Phone int
	Next  []int
	// Attempt counts the calls, from 1.
	Attempt uint32
	// Purpose and Language are those of the task.
	Purpose, Language string
	ExpiresAt         time.Time
	// WindowEndsAt is until when the call may begin; zero if there is no end.
	WindowEndsAt time.Time
	// CallBackAt is when the customer asked to be called, zero if they named no time.
	CallBackAt time.Time
}

// Claim leases the most urgent tasks of those that may be called at this moment: class by class, then those whose hours end
// first, then the oldest. Each tenth lease goes to the least urgent class, so that none starves.
func (q *Queue) Claim(at time.Time, c Claim) ([]Granted, error) {
	now := sec(at)
	if c.Dialer == "" || c.Random == nil {
		return nil, fmt.Errorf("claim: %w", errNobody)
	}
	q.advance(now)
	q.fit(c)
	var granted []Granted
	for range max(c.Max, 1) {
		id, ok := q.pick(now)
		if !ok {
			break
		}
		g, err := q.grant(id, now, c)
		if err != nil {
			return granted, err
		}
		granted = append(granted, g)
	}
	return granted, nil
}

// fit notes which lanes the claim is for.
func (q *Queue) fit(c Claim) {
	q.laneFits = slices.Grow(q.laneFits[:0], len(q.lanes))[:len(q.lanes)]
	for i, l := range q.lanes {
		fits := !l.incident.held && (len(c.Incidents) == 0 || slices.Contains(c.Incidents, l.incident.name)) &&
			speaks(c.Languages, l.language)
		for _, s := range l.skills {
			fits = fits && slices.Contains(c.Skills, s)
		}
		q.laneFits[i] = fits
	}
}

// pick returns the task that is leased next.
func (q *Queue) pick(now uint32) (id uint32, ok bool) {
	last := (q.leased+1)%reserve == 0
	for class := range uint8(classes) {
		if last {
			class = classes - 1 - class
		}
		for {
			id, ok := q.first(class, now)
			if !ok {
				break
			}
			if q.callable(id, now) {
				return id, true
			}
			q.file(id, now) // what was filed under a later clock, or too near to when nobody answered
		}
	}
	return 0, false
}

// first returns the most urgent task that is ready in a class.
func (q *Queue) first(class uint8, now uint32) (id uint32, ok bool) {
	var best entry
	var ends uint32
	if class == 0 {
		for _, h := range q.promised {
			if len(h.entries) > 0 && q.laneFits[h.lane] && (!ok || h.entries[0].less(best)) {
				best, ok = h.entries[0], true
			}
		}
		ends, best.key = best.key, 0
	}
	if q.ready[class] == 0 {
		return best.task, ok
	}
	q.lookAround(now)
	for _, h := range q.open {
		if h.ready[class] == 0 {
			continue
		}
		if ok && h.lastCall > ends {
			break
		}
		for _, i := range h.heaps[class] {
			heap := q.heaps[i]
			if len(heap.entries) == 0 || !q.laneFits[heap.lane] {
				continue
			}
			if e := heap.entries[0]; !ok || h.lastCall < ends || e.less(best) {
				best, ends, ok = e, h.lastCall, true
			}
		}
	}
	return best.task, ok
}

// callable reports whether a customer may be called at an instant.
func (q *Queue) callable(id, now uint32) bool {
	t := q.tasks.at(id)
	in := q.of(t)
	if in.rules == nil || in.held || t.over() || t.has(leaseOut) || q.pages[t.page].shelved > now {
		return false
	}
	w := q.wishOf(t, in, now)
	if state, _ := t.showing(w, now); state != candorv1.CallState_CALL_STATE_PENDING {
		return false
	}
	if _, ends := q.doom(t, in, w, now); ends {
		return false
	}
	index, ok := q.phoneOf(t, w, now)
	return ok && q.mayDial(t, in, index, w, now)
}

// mayDial reports whether a phone may be dialled at an instant.
func (q *Queue) mayDial(t *task, in *incident, index uint8, w wish, now uint32) bool {
	if b := q.barsOf(t, in, index, w.at != 0, now); b.held || b.until() > now {
		return false
	}
	if w.at != 0 {
		return true
	}
	p := q.phones.at(t.phones + uint32(index))
	h := q.hours[p.hours]
	h.look(now)
	return h.isOpen && h.opens(now, q.numbers.at(p.number).avoid) == now
}

// grant leases a task that is callable.
func (q *Queue) grant(id, now uint32, c Claim) (Granted, error) {
	t := q.tasks.at(id)
	in := q.of(t)
	w := q.wishOf(t, in, now)
	index, _ := q.phoneOf(t, w, now)
	p := q.phones.at(t.phones + uint32(index))
	h := q.hours[p.hours]
	mode := c.Mode
	if mode != candorv1.DialMode_DIAL_MODE_PROGRESSIVE {
		mode = candorv1.DialMode_DIAL_MODE_PREVIEW
	}
	place := q.place(t)
	ev := &candorv1.CallLeased{
		Customer: place.proto(), Lease: c.Random(), Fence: uint64(t.fence) + 1, Attempt: q.calls(t) + 1,
		Dialer: c.Dialer, Mode: mode, ExpiresAt: proto(plus(now, leaseFor(in.rules, mode, c.LeaseFor))),
		Phone: uint32(index), Number: q.numbers.at(p.number).hash,
	}
	for _, z := range h.zones {
		ev.Zones = append(ev.Zones, z.String())
	}
	ends := w.until
	if w.at == 0 {
		h.look(now)
		ends = h.lastCall
	}
	if ends < never-1 {
		ev.WindowEndsAt = proto(ends)
	}
	g := Granted{
		Place: place, Lease: Lease{Place: place, Fence: ev.Fence, Random: ev.Lease}, Phone: int(index), Attempt: ev.Attempt,
		Purpose: q.words.list[t.purpose], Language: q.words.list[t.language], ExpiresAt: ev.ExpiresAt.AsTime(),
		WindowEndsAt: instant(stamp(ev.WindowEndsAt)), CallBackAt: instant(w.at),
	}
	// Each of them may ring, so all must fit under the person's caps. The lease has one end for all: a number where the day ends
	// sooner would cut the first one's short, and comes with a claim of its own.
	for i, most := uint8(1), q.allowed(t, in, w, now); i < t.nPhones && len(g.Next)+1 < most; i++ {
		next := (index + i) % t.nPhones
		if q.good(t, next) && q.mayDial(t, in, next, w, now) && (w.at != 0 || q.hoursAt(t, next).lastCall >= ends) {
			ev.NextPhones = append(ev.NextPhones, uint32(next))
			g.Next = append(g.Next, int(next))
		}
	}
	g.Event = &candorv1.CallEvent{Event: &candorv1.CallEvent_Leased{Leased: ev}}
	if err := q.apply(now, in, g.Event, nil); err != nil {
		return Granted{}, fmt.Errorf("lease %v: %w", place, err)
	}
	return g, nil
}

// hoursAt returns the hours of a phone.
func (q *Queue) hoursAt(t *task, index uint8) *hours {
	return q.hours[q.phones.at(t.phones+uint32(index)).hours]
}

// calls counts the leases that were not given back.
func (q *Queue) calls(t *task) uint32 {
	n := uint32(0)
	for i := t.last; i != 0; i = q.attempts.at(i).older {
		if a := q.attempts.at(i); !a.has(rang) && (!a.has(released) || a.has(reported)) {
			n++
		}
	}
	return n
}
