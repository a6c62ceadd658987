package callqueue

import (
	"cmp"
	"slices"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// wish is what becomes of a customer's own time for the call.
type wish struct {
	// The call may begin from from to until, whatever the hours; 0 if no time was asked for, or it is gone.
	at, from, until uint32
	// missed says that the time went by, so that the call comes first of all within the hours, from from on if that is not 0;
	// dropped that the task ends for it.
	missed, dropped bool
}

// wishOf returns where the customer's wish stands.
func (q *Queue) wishOf(t *task, in *incident, now uint32) wish {
	if t.callBack == 0 {
		return wish{}
	}
	tolerance := in.rules.CallBack.Tolerance
	w := wish{at: t.callBack, from: earliest(t.callBack, t.wishedAt, tolerance), until: plus(t.callBack, tolerance)}
	if now <= w.until {
		return w
	}
	switch in.rules.CallBack.Missed {
	case playbook.MissedClose:
		return wish{missed: true, dropped: true}
	case playbook.MissedNextDay:
		return wish{missed: true, from: q.dayAfter(t, tolerance)}
	default:
		return wish{missed: true}
	}
}

// dayAfter returns from when on a customer is called whose own time was missed: a tolerance before the same time of the next
// day. That one is not their wish any more, so the hours bind; if they are shut then, any time of that day will do.
func (q *Queue) dayAfter(t *task, tolerance time.Duration) uint32 {
	if t.nPhones == 0 {
		return plus(t.callBack, 24*time.Hour)
	}
	h := q.hoursAt(t, 0)
	zone := time.UTC
	if len(h.zones) > 0 {
		zone = h.zones[0]
	}
	asked := instant(t.callBack).In(zone)
	y, m, d := asked.Date()
	hour, minute, second := asked.Clock()
	if same := sec(time.Date(y, m, d+1, hour, minute, second, 0, zone)); h.opensAt(same) == same {
		return minus(same, tolerance)
	}
	return sec(time.Date(y, m, d+1, 0, 0, 0, 0, zone))
}

// earliest returns from when on a call may be made at a customer's own time. It may come a tolerance early, but not within a
// tolerance of the wish: whoever says in ten minutes does not mean at once. If their time is nearer than that, it is the
// earliest.
func earliest(at, wishedAt uint32, tolerance time.Duration) uint32 {
	return max(minus(at, tolerance), min(at, plus(wishedAt, tolerance)))
}

// ownWish says that the call is one that the customer wished for.
func (t *task) ownWish(w wish) bool { return w.at != 0 || w.missed || t.has(urgent) }

// cooling says that the task may have been dialled a moment ago, by somebody who did not say.
func (t *task) cooling(now uint32) bool {
	return t.state == uint8(candorv1.CallState_CALL_STATE_UNCERTAIN) && t.nextAt > now
}

// showing returns the state in which a task is shown, and until when that is so by itself.
func (t *task) showing(w wish, now uint32) (state candorv1.CallState, until uint32) {
	state = candorv1.CallState(t.state)
	switch {
	case t.over():
		return state, never
	case t.has(leaseOut):
		return candorv1.CallState_CALL_STATE_LEASED, never
	case t.cooling(now):
		return candorv1.CallState_CALL_STATE_UNCERTAIN, t.nextAt
	case w.at != 0 && w.from > now:
		return candorv1.CallState_CALL_STATE_WAITING, w.from
	case w.at != 0:
		return candorv1.CallState_CALL_STATE_PENDING, w.until + 1
	case w.missed && w.from > now:
		return candorv1.CallState_CALL_STATE_WAITING, w.from
	case !w.missed && t.nextAt > now:
		return candorv1.CallState_CALL_STATE_WAITING, t.nextAt
	}
	return candorv1.CallState_CALL_STATE_PENDING, never
}

// phoneOf returns the phone that is dialled next: the first good one from where the task stands. Hours bind but at the
// customer's own time.
func (q *Queue) phoneOf(t *task, w wish, now uint32) (index uint8, ok bool) {
	for i := range t.nPhones {
		index = (t.phone + i) % t.nPhones
		if q.good(t, index) && (w.at != 0 || q.everOpen(t, index, now)) {
			return index, true
		}
	}
	return 0, false
}

// good says that nothing is known against the phone.
func (q *Queue) good(t *task, index uint8) bool {
	p := q.phones.at(t.phones + uint32(index))
	return p.number != 0 && !p.bad && !q.numbers.at(p.number).shut()
}

func (q *Queue) everOpen(t *task, index uint8, now uint32) bool {
	h := q.hours[q.phones.at(t.phones+uint32(index)).hours]
	h.look(now)
	return h.isOpen || h.next != never
}

// end is how a task ends without a call.
type end struct {
	state  candorv1.CallState
	reason uint16
}

// doom says whether the task is to end since nobody can be called any more.
func (q *Queue) doom(t *task, in *incident, w wish, now uint32) (end, bool) {
	failed := func(reason string) (end, bool) {
		return end{candorv1.CallState_CALL_STATE_FAILED, q.words.of(reason)}, true
	}
	if t.pending != 0 {
		return end{endState(in.rules.Dispositions[q.words.list[t.pending]].Ends), t.pending}, true
	}
	if in.withdrawn() {
		return end{candorv1.CallState_CALL_STATE_EXPIRED, q.words.of(reasonClosed)}, true
	}
	if t.cooling(now) {
		return end{}, false
	}
	usable, shut := false, false
	for i := range t.nPhones {
		usable = usable || q.good(t, i)
		p := q.phones.at(t.phones + uint32(i))
		shut = shut || p.number != 0 && q.numbers.at(p.number).shut()
	}
	switch {
	case shut && !usable:
		return end{candorv1.CallState_CALL_STATE_SUPPRESSED, q.words.of(reasonDoNotCall)}, true
	case !usable && t.last != t.since:
		return failed(q.words.list[q.attempts.at(t.last).disposition])
	case !usable:
		return end{candorv1.CallState_CALL_STATE_SUPPRESSED, q.words.of(reasonNoNumber)}, true
	case w.dropped:
		return end{candorv1.CallState_CALL_STATE_EXPIRED, q.words.of("call_back_missed")}, true
	case w.at != 0:
		return end{}, false
	}
	if t.last != t.since {
		if most := in.rules.Dispositions[agentSkip].Most; most > 0 && q.times(t, q.words.of(agentSkip)) >= most {
			return failed(agentSkip)
		}
	}
	if !t.ownWish(w) && q.spent(t)+whole > in.rules.Caps.Total*whole {
		return failed("attempts")
	}
	if _, ok := q.phoneOf(t, w, now); !ok {
		return failed("no_hours")
	}
	return end{}, false
}

func endState(ends string) candorv1.CallState {
	switch ends {
	case playbook.EndsDone:
		return candorv1.CallState_CALL_STATE_DONE
	case playbook.EndsSuppressed:
		return candorv1.CallState_CALL_STATE_SUPPRESSED
	}
	return candorv1.CallState_CALL_STATE_FAILED
}

// spent returns how much of their calls the customer has had, in hundredths: in all, however often the task was opened.
func (q *Queue) spent(t *task) int {
	sum := 0
	for i := t.last; i != 0; i = q.attempts.at(i).older {
		if a := q.attempts.at(i); a.has(closed) {
			sum += int(a.weight)
		} else {
			sum += whole
		}
	}
	return sum
}

// times returns how often a disposition was reported since the task was opened.
func (q *Queue) times(t *task, disposition uint16) int {
	n := 0
	for i := t.last; i != t.since && i != 0; i = q.attempts.at(i).older {
		if a := q.attempts.at(i); a.disposition == disposition && !a.has(rang) {
			n++
		}
	}
	return n
}

const weekSecs = 7 * daySecs

// allowed returns how many calls the caps of a person allow at this moment; that in all does not bind who wishes for the call.
func (q *Queue) allowed(t *task, in *incident, w wish, now uint32) int {
	week := 0
	for i := t.last; i != 0; i = q.attempts.at(i).older {
		if a := q.attempts.at(i); a.has(closed) && a.calledAt+weekSecs > now {
			week += int(a.weight)
		}
	}
	left := in.rules.Caps.PersonPerWeek*whole - week
	if !t.ownWish(w) {
		left = min(left, in.rules.Caps.Total*whole-q.spent(t))
	}
	return left / whole
}

// bar is a reason for which a number is not called before an instant.
type bar struct {
	numberDay, personWeek, gap uint32
	// held: a lease is out that may dial the number, until heldUntil if it is known when that ends.
	held      bool
	heldUntil uint32
}

func (b bar) until() uint32 { return max(b.numberDay, b.personWeek, b.gap) }

// barsOf returns what keeps the customer from being called at a phone, apart from the hours. At the customer's own time gaps
// do not bind.
func (q *Queue) barsOf(t *task, in *incident, index uint8, own bool, now uint32) (b bar) {
	if t.last != 0 {
		b.personWeek = q.room(t.last, func(a *attempt) uint32 { return a.older }, weekSecs, in.rules.Caps.PersonPerWeek, now)
	}
	n := q.phones.at(t.phones + uint32(index)).number
	if n == 0 {
		return b
	}
	number := q.numbers.at(n)
	b.held = number.held > 0
	if number.last == 0 {
		return b
	}
	b.numberDay = q.room(number.last, func(a *attempt) uint32 { return a.olderCall }, daySecs, in.rules.Caps.NumberPerDay, now)
	for i := number.last; i != 0; i = q.attempts.at(i).olderCall {
		switch a := q.attempts.at(i); {
		case !a.has(closed):
			b.heldUntil = a.endedAt
		case a.weight >= whole && !own:
			b.gap = max(b.gap, plus(a.calledAt, in.rules.Gap))
		}
	}
	return b
}

// room returns from when on one more call fits under a cap.
func (q *Queue) room(first uint32, older func(*attempt) uint32, window uint32, limit int, now uint32) uint32 {
	type call struct {
		at     uint32
		weight int
	}
	var few [16]call
	calls, sum := few[:0], whole
	for i := first; i != 0; {
		a := q.attempts.at(i)
		if a.has(closed) && a.weight > 0 && a.calledAt+window > now {
			calls = append(calls, call{a.calledAt, int(a.weight)})
			sum += int(a.weight)
		}
		i = older(a)
	}
	if sum <= limit*whole {
		return 0
	}
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.at, b.at) })
	for _, c := range calls {
		if sum -= c.weight; sum <= limit*whole {
			return c.at + window
		}
	}
	return never // the cap is below one call
}

// file puts a task where it belongs at an instant, after anything about it has changed.
func (q *Queue) file(id, now uint32) {
	q.take(id)
	t := q.tasks.at(id)
	in := q.of(t)
	if t.has(leaseOut) {
		q.put(leases, q.attempts.at(t.last).endedAt, id)
	}
	if in.rules == nil || t.over() || t.has(leaseOut) {
		state, _ := t.showing(wish{}, now)
		q.show(t, in, state)
		return
	}
	w := q.wishOf(t, in, now)
	state, until := t.showing(w, now)
	q.show(t, in, state)
	if _, ends := q.doom(t, in, w, now); ends {
		q.put(doomed, until, id)
		return
	}
	if state != candorv1.CallState_CALL_STATE_PENDING {
		q.put(timers, until, id)
		return
	}
	if shelved := q.pages[t.page].shelved; shelved > now {
		q.put(timers, min(shelved, until), id)
		return
	}
	index, _ := q.phoneOf(t, w, now)
	b := q.barsOf(t, in, index, w.at != 0, now)
	switch wait := b.until(); {
	case b.held || wait == never:
		if until != never { // else whoever holds the number wakes it
			q.put(timers, until, id)
		}
	case wait > now:
		q.put(timers, min(wait, until), id)
	case w.at != 0:
		q.put(q.readyHeap(0, 0, q.laneOf(in, t.language)), w.until, id)
	default:
		q.fileByHours(t, in, index, w, id, now)
	}
}

func (q *Queue) fileByHours(t *task, in *incident, index uint8, w wish, id, now uint32) {
	p := q.phones.at(t.phones + uint32(index))
	h := q.hours[p.hours]
	h.look(now)
	if avoid := q.numbers.at(p.number).avoid; h.isOpen && avoid != 0 {
		if at := h.opens(now, avoid); at > now {
			q.put(timers, at, id)
			return
		}
	}
	q.put(q.readyHeap(p.hours, t.class(w), q.laneOf(in, t.language)), t.queued, id)
}

// class returns how urgent the task is: 0 is for those who asked.
func (t *task) class(w wish) uint8 {
	if t.ownWish(w) {
		return 0
	}
	return t.priority
}

// show counts the task under a state.
func (q *Queue) show(t *task, in *incident, state candorv1.CallState) {
	if t.shown != 0 {
		in.states[t.shown]--
	}
	t.shown = uint8(state)
	in.states[t.shown]++
}

// wake files the tasks again that share a number, but for one.
func (q *Queue) wake(n, but, now uint32) {
	for i := q.numbers.at(n).first; i != 0; i = q.phones.at(i).next {
		if id := q.phones.at(i).task; id != but {
			if t := q.tasks.at(id); !t.over() && !t.has(leaseOut) {
				q.file(id, now)
			}
		}
	}
}

// advance files the tasks again for which a time has come.
func (q *Queue) advance(now uint32) {
	for _, h := range []*heap{q.heaps[timers], q.heaps[doomed]} {
		for len(h.entries) > 0 && h.entries[0].key <= now {
			q.file(h.entries[0].task, now)
		}
	}
	for _, h := range q.promised {
		for len(h.entries) > 0 && h.entries[0].key < now {
			q.file(h.entries[0].task, now)
		}
	}
}
