package callqueue

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// record notes what a dialer reported, whatever follows from it.
func (q *Queue) record(now, id uint32, a *attempt, e *candorv1.CallCompleted) {
	t := q.tasks.at(id)
	in := q.of(t)
	d, known := in.rules.Dispositions[e.GetDisposition()]
	if !known {
		d.Counts = 1
	}
	wasOpen := !a.has(closed)
	ended := a.calledAt // of a lease that ended before
	if wasOpen {
		ended = now
		q.letGo(t, id, a, now)
	}
	if a.disposition != 0 {
		in.dispositions[a.disposition]-- // skipped, and then called after all
	}
	a.flags |= reported
	if e.GetLate() {
		a.flags |= late
	}
	a.disposition = q.words.of(e.GetDisposition())
	in.dispositions[a.disposition]++
	a.weight = uint8(min(max(float64(d.Counts), 0), 1) * whole)
	a.callBack = stamp(e.GetCallBackAt())
	for _, said := range []*timestamppb.Timestamp{e.GetStartedAt(), e.GetEndedAt()} {
		if s := stamp(said); s != 0 { // a dialer's clock may be wrong
			ended = min(max(s, a.leasedAt), now)
		}
	}
	a.calledAt = ended
	first := a.phone
	if e.GetPhone() < maxPhones {
		a.phone = uint8(e.GetPhone())
	}
	if n := q.number(e.GetNumber()); n != a.number {
		q.moveCall(t, id, a, n, now)
	}
	if a.phone != first {
		q.rangBefore(t, id, a, first, now)
	}
	if a.number != 0 {
		n := q.numbers.at(a.number)
		n.refused = n.refused || d.DoNotCall
		if d.Unanswered || d.NextDay {
			n.avoid = max(n.avoid, a.calledAt)
		}
	}
	if int(a.phone) < int(t.nPhones) {
		p := q.phones.at(t.phones + uint32(a.phone))
		p.bad = p.bad || d.Number == playbook.NumberBad || d.Number == playbook.NumberBadTwice && q.onAnotherDay(t, a)
	}
	switch {
	case !d.Told:
	case q.current(t, a):
		t.told = t.waves
		t.set(wasTold, true)
	default: // the task was opened again meanwhile, for something else
		past := q.endings.at(t.past)
		past.told, past.state = past.waves, uint8(candorv1.CallState_CALL_STATE_DONE)
	}
	if a.number != 0 {
		q.wake(a.number, id, now)
	}
}

// moveCall notes that another number was dialled than the leased one.
func (q *Queue) moveCall(t *task, id uint32, a *attempt, n, now uint32) {
	for i := t.last; i != 0; i = q.attempts.at(i).older {
		if q.attempts.at(i) == a {
			was := a.number
			q.dials(i, n)
			if was != 0 {
				q.wake(was, id, now)
			}
			return
		}
	}
}

// rangBefore counts as calls that nobody answered what a lease offered before the phone that was reported: whoever works off a
// list comes to a number when those before it have rung in vain, and reports the last one alone.
func (q *Queue) rangBefore(t *task, id uint32, a *attempt, first uint8, now uint32) {
	for i := range t.nPhones {
		index := (first + i) % t.nPhones
		if index == a.phone {
			return
		}
		n := q.phones.at(t.phones + uint32(index)).number
		if n == 0 || a.offered&(1<<index) == 0 {
			continue
		}
		call, r := q.attempts.add()
		*r = attempt{
			older: a.older, leasedAt: a.leasedAt, endedAt: a.calledAt, calledAt: a.calledAt, fence: a.fence, dialer: a.dialer,
			phone: index, weight: whole, flags: closed | rang,
		}
		a.older = call
		q.dials(call, n)
		number := q.numbers.at(n)
		number.avoid = max(number.avoid, r.calledAt)
		q.wake(n, id, now)
	}
}

// onAnotherDay reports whether the disposition of an attempt was reported of the same phone before, on another day there.
func (q *Queue) onAnotherDay(t *task, a *attempt) bool {
	zone := time.UTC
	if h := q.hours[q.phones.at(t.phones+uint32(a.phone)).hours]; len(h.zones) > 0 {
		zone = h.zones[0]
	}
	day := func(s uint32) []int {
		y, m, d := instant(s).In(zone).Date()
		return []int{y, int(m), d}
	}
	for i := t.last; i != 0; i = q.attempts.at(i).older {
		if b := q.attempts.at(i); b != a && b.has(reported) && b.disposition == a.disposition && b.phone == a.phone &&
			!slices.Equal(day(b.calledAt), day(a.calledAt)) {
			return true
		}
	}
	return false
}

// current reports whether an attempt belongs to what the task is open for, or was last.
func (q *Queue) current(t *task, a *attempt) bool {
	return t.since == 0 || a.fence > q.attempts.at(t.since).fence
}

// conclude does to the task what the event says.
func (q *Queue) conclude(now, id uint32, a *attempt, e *candorv1.CallCompleted) {
	t := q.tasks.at(id)
	in := q.of(t)
	d := in.rules.Dispositions[e.GetDisposition()]
	a.state, a.nextAt = uint8(e.GetState()), stamp(e.GetNextAt())
	switch {
	case !q.current(t, a):
	case over(e.GetState()):
		if t.state != uint8(e.GetState()) {
			q.finish(t, e.GetState(), a.disposition, now)
		}
	case t.over():
	case t.has(leaseOut):
		// Somebody else holds the task: what follows waits until they are done.
		if d.Ends != "" {
			t.pending = a.disposition
		} else if d.CallBack {
			q.wishes(t, in, a.callBack, a.calledAt, now)
		}
	case a.fence == t.fence || d.CallBack:
		t.state, t.nextAt = waitingOrPending(a.nextAt, now), a.nextAt
		if d.CallBack || !t.has(asked) {
			t.callBack, t.wishedAt = a.callBack, a.calledAt
			t.set(urgent, false)
		}
		t.set(asked, false)
		t.phone, _ = q.turn(t, d, a)
	}
	q.file(id, now)
}
