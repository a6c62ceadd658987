package callqueue

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// errNoSlots says that nobody is to be called.
var errNoSlots = errors.New("no slots")

// Queue makes tasks of the customers of a page. A customer whose task is open has the wave added to it, one whose task is over
// is called again. Customers who are in the wave already are left alone; if all of them are, there is no event.
// Those who must not be called end at once, as do, once the calls are taken back, all whose task is not open.
func (q *Queue) Queue(at time.Time, name string, e *candorv1.CallsQueued, facts FactsOf) ([]*candorv1.CallEvent, error) {
	in, now := q.incident(name), sec(at)
	if in.rules == nil {
		return nil, fmt.Errorf("queue calls of incident %s: %w", name, errNoRules)
	}
	if err := checkRuns(e.GetSlots()); err != nil {
		return nil, fmt.Errorf("queue calls of incident %s: %w", name, err)
	}
	if len(e.GetSlots()) == 0 || e.GetWave() == "" || e.GetPriority() >= classes {
		return nil, fmt.Errorf("queue calls of incident %s: wave %q, priority %d: %w", name, e.GetWave(), e.GetPriority(), errNoSlots)
	}
	wave := q.words.of(e.GetWave())
	var fresh []uint32
	for _, slot := range journal.Slots(e.GetSlots()) {
		if id := q.task(Place{name, e.GetPage(), slot}); id == 0 || !q.answers(q.tasks.at(id), in, wave) {
			fresh = append(fresh, slot)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	known := map[uint32]Facts{}
	for _, slot := range fresh {
		known[slot] = facts(e.GetPage(), slot)
	}
	// An order that waited for its hours is among the calls that a drain has made.
	var tooLate []uint32
	if in.withdrawn() {
		tooLate = q.closed(in, e.GetPage(), fresh)
	}
	queued := &candorv1.CallEvent{Event: &candorv1.CallEvent_Queued{Queued: &candorv1.CallsQueued{
		Wave: e.GetWave(), Page: e.GetPage(), Slots: journal.Runs(fresh), Priority: e.GetPriority(), Purpose: e.GetPurpose(),
		NotBefore: e.GetNotBefore(),
	}}}
	if err := q.apply(now, in, queued, func(_, slot uint32) Facts { return known[slot] }); err != nil {
		return nil, fmt.Errorf("queue calls of incident %s: %w", name, err)
	}
	events := append([]*candorv1.CallEvent{queued}, q.suppress(in, e.GetPage(), fresh, known, now)...)
	return append(events, q.refuse(in, e.GetPage(), tooLate, now)...), nil
}

// closed returns those of the slots whose task is not open.
func (q *Queue) closed(in *incident, page uint32, slots []uint32) (late []uint32) {
	for _, slot := range slots {
		if id := q.task(Place{in.name, page, slot}); id == 0 || q.tasks.at(id).over() {
			late = append(late, slot)
		}
	}
	return late
}

// refuse ends the tasks of those who were too late.
func (q *Queue) refuse(in *incident, page uint32, late []uint32, now uint32) []*candorv1.CallEvent {
	ids := make([]uint32, 0, len(late))
	for _, slot := range late {
		ids = append(ids, q.task(Place{in.name, page, slot}))
	}
	return q.withdraw(in, ids, candorv1.CallState_CALL_STATE_EXPIRED, reasonClosed, now)
}

// suppress ends the tasks of customers of whom the facts say that they must not be called.
func (q *Queue) suppress(in *incident, page uint32, slots []uint32, known map[uint32]Facts, now uint32) (events []*candorv1.CallEvent) {
	for _, slot := range slots {
		if reason := known[slot].Suppressed; reason != "" {
			events = append(events, q.withdraw(in, []uint32{q.task(Place{in.name, page, slot})},
				candorv1.CallState_CALL_STATE_SUPPRESSED, reason, now)...)
		}
	}
	return merge(events)
}

// merge makes one event of neighbours that differ in their customers alone.
func merge(events []*candorv1.CallEvent) (merged []*candorv1.CallEvent) {
	type kind struct {
		state  candorv1.CallState
		reason string
	}
	open := map[kind]*candorv1.CallWithdrawn{}
	for _, ev := range events {
		w := ev.GetWithdrawn()
		k := kind{w.GetState(), w.GetReason()}
		if to := open[k]; to != nil && len(to.Customers)+len(w.GetCustomers()) <= maxPlaces {
			to.Customers = append(to.Customers, w.GetCustomers()...)
			continue
		}
		open[k] = w
		merged = append(merged, ev)
	}
	return merged
}

// Asked is a customer's request to be called.
type Asked struct {
	Place Place
	// At is when; zero is as soon as may be.
	At time.Time
	// Request is the same however often it is told.
	Request string
}

// Ask notes that a customer asked to be called: in their own time if they named one, whatever the hours, and first of all when
// it has come. A request that was told before makes no event. While the incident is closing, a task that is not open ends at
// once.
func (q *Queue) Ask(at time.Time, a Asked, facts FactsOf) ([]*candorv1.CallEvent, error) {
	in, now := q.incident(a.Place.Incident), sec(at)
	if in.rules == nil {
		return nil, fmt.Errorf("ask for a call of %v: %w", a.Place, errNoRules)
	}
	if _, known := in.requests[a.Request]; known && a.Request != "" {
		return nil, nil
	}
	if !a.At.IsZero() {
		if err := checkTime(a.At, at, at); err != nil {
			return nil, fmt.Errorf("ask for a call of %v: %w", a.Place, err)
		}
	}
	f := facts(a.Place.Page, a.Place.Slot)
	var tooLate []uint32
	if in.closing != candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED {
		tooLate = q.closed(in, a.Place.Page, []uint32{a.Place.Slot})
	}
	ev := &candorv1.CallEvent{Event: &candorv1.CallEvent_CallBackAsked{CallBackAsked: &candorv1.CallBackAsked{
		Customer: a.Place.proto(), At: proto(sec(a.At)), Request: a.Request,
	}}}
	if err := q.apply(now, in, ev, func(uint32, uint32) Facts { return f }); err != nil {
		return nil, fmt.Errorf("ask for a call of %v: %w", a.Place, err)
	}
	events := append([]*candorv1.CallEvent{ev}, q.suppress(in, a.Place.Page, []uint32{a.Place.Slot}, map[uint32]Facts{a.Place.Slot: f}, now)...)
	return append(events, q.refuse(in, a.Place.Page, tooLate, now)...), nil
}

// Withdraw ends open tasks of an incident: those of the places, or all of them without any. Whoever is in a call with such a
// customer may still say how it ended. Customers who were told by then are done, whatever the state.
func (q *Queue) Withdraw(at time.Time, name string, places []Place, state candorv1.CallState, reason string) ([]*candorv1.CallEvent, error) {
	if !over(state) {
		return nil, fmt.Errorf("withdraw calls of incident %s: %v is no end", name, state)
	}
	in := q.incident(name)
	var ids []uint32
	for _, p := range places {
		if p.Incident != name {
			return nil, fmt.Errorf("withdraw calls of incident %s: %v belongs to another", name, p)
		}
		if id := q.task(p); id != 0 {
			ids = append(ids, id)
		}
	}
	if places == nil {
		ids = q.all(in)
	}
	return q.withdraw(in, ids, state, reason, sec(at)), nil
}

func (q *Queue) withdraw(in *incident, ids []uint32, state candorv1.CallState, reason string, now uint32) (events []*candorv1.CallEvent) {
	var told, others []*candorv1.CustomerPlace
	for _, id := range ids {
		switch t := q.tasks.at(id); {
		case t.over():
		case t.has(wasTold):
			told = append(told, q.place(t).proto())
		default:
			others = append(others, q.place(t).proto())
		}
	}
	for _, part := range []struct {
		places []*candorv1.CustomerPlace
		state  candorv1.CallState
		reason string
	}{{told, candorv1.CallState_CALL_STATE_DONE, reasonTold}, {others, state, reason}} {
		for places := range slices.Chunk(part.places, maxPlaces) {
			ev := &candorv1.CallEvent{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: &candorv1.CallWithdrawn{
				Customers: places, State: part.state, Reason: part.reason,
			}}}
			if err := q.apply(now, in, ev, nil); err != nil {
				panic(err) // the tasks are there, and the state is an end
			}
			events = append(events, ev)
		}
	}
	return events
}

// Tick does what a time that has come asks for: it ends leases without a report, and tasks for which nobody can be called any
// more.
func (q *Queue) Tick(at time.Time) (events []Event) {
	now := sec(at)
	q.advance(now)
	for h := q.heaps[leases]; len(h.entries) > 0 && h.entries[0].key <= now; {
		t := q.tasks.at(h.entries[0].task)
		in := q.of(t)
		ev := &candorv1.CallEvent{Event: &candorv1.CallEvent_LeaseExpired{LeaseExpired: &candorv1.CallLeaseExpired{
			Customer: q.place(t).proto(), Fence: uint64(t.fence), CoolUntil: proto(plus(now, in.rules.CoolDown)),
		}}}
		if err := q.apply(now, in, ev, nil); err != nil {
			panic(err) // the lease is out
		}
		events = append(events, Event{in.name, ev})
	}
	ended := map[string][]*candorv1.CallEvent{}
	for h := q.heaps[doomed]; len(h.entries) > 0; {
		id := h.entries[0].task
		t := q.tasks.at(id)
		in := q.of(t)
		how, ends := q.doom(t, in, q.wishOf(t, in, now), now)
		if !ends { // filed under a later clock
			q.file(id, now)
			continue
		}
		ended[in.name] = append(ended[in.name], q.withdraw(in, []uint32{id}, how.state, q.words.list[how.reason], now)...)
	}
	for _, name := range slices.Sorted(maps.Keys(ended)) {
		for _, ev := range merge(ended[name]) {
			events = append(events, Event{name, ev})
		}
	}
	return events
}

// NextAt returns when something changes by itself: a lease ends, a task need not wait any more, hours open for a task that is
// ready. It is false if nothing does.
func (q *Queue) NextAt(at time.Time) (time.Time, bool) {
	now := sec(at)
	q.advance(now)
	next := uint32(never)
	if len(q.heaps[doomed].entries) > 0 {
		next = now
	}
	for _, h := range []*heap{q.heaps[timers], q.heaps[leases]} {
		if len(h.entries) > 0 {
			next = min(next, h.entries[0].key)
		}
	}
	for _, h := range q.promised {
		if len(h.entries) > 0 {
			next = min(next, h.entries[0].key+1)
		}
	}
	q.lookAround(now)
	for _, h := range q.hours {
		if h != nil && !h.incident.held && !h.isOpen && h.ready != [classes]int{} {
			next = min(next, h.next)
		}
	}
	if next == never {
		return time.Time{}, false
	}
	return instant(max(next, now)), true
}
