package callqueue

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

var (
	errNoRules = errors.New("the incident has no rules yet")
	errNoFacts = errors.New("nobody tells the facts of new customers")
	errNoTask  = errors.New("there is no such task")
)

// Apply folds an event that was stored at an instant; commands change the queue by the same way. An event that cannot have
// come from a queue is refused and changes nothing. facts may be nil where no task can be new.
func (q *Queue) Apply(at time.Time, name string, ev *candorv1.CallEvent, facts FactsOf) error {
	now, in := sec(at), q.incident(name)
	if in.rules == nil {
		return fmt.Errorf("fold call event of incident %s: %w", name, errNoRules)
	}
	if err := q.apply(now, in, ev, facts); err != nil {
		return fmt.Errorf("fold call event of incident %s: %w", name, err)
	}
	return nil
}

func (q *Queue) apply(now uint32, in *incident, ev *candorv1.CallEvent, facts FactsOf) error {
	switch e := ev.GetEvent().(type) {
	case *candorv1.CallEvent_Queued:
		return q.queued(now, in, e.Queued, facts)
	case *candorv1.CallEvent_CallBackAsked:
		return q.callBackAsked(now, in, e.CallBackAsked, facts)
	case *candorv1.CallEvent_Leased:
		return q.wasLeased(now, in, e.Leased)
	case *candorv1.CallEvent_Renewed:
		return q.held(in, e.Renewed.GetCustomer(), e.Renewed.GetFence(), func(id uint32, a *attempt) {
			a.endedAt = stamp(e.Renewed.GetExpiresAt())
			q.file(id, now)
		})
	case *candorv1.CallEvent_Released:
		return q.held(in, e.Released.GetCustomer(), e.Released.GetFence(), func(id uint32, a *attempt) {
			q.wasReleased(now, id, a, e.Released.GetReason())
		})
	case *candorv1.CallEvent_LeaseExpired:
		return q.held(in, e.LeaseExpired.GetCustomer(), e.LeaseExpired.GetFence(), func(id uint32, a *attempt) {
			q.hasExpired(now, id, a, stamp(e.LeaseExpired.GetCoolUntil()))
		})
	case *candorv1.CallEvent_Completed:
		id, a, err := q.attemptOf(in, e.Completed.GetCustomer(), e.Completed.GetFence())
		if err != nil {
			return err
		}
		if a.has(reported) {
			return fmt.Errorf("lease %d was reported before", a.fence)
		}
		q.record(now, id, a, e.Completed)
		q.conclude(now, id, a, e.Completed)
		return nil
	case *candorv1.CallEvent_Withdrawn:
		return q.wasWithdrawn(now, in, e.Withdrawn)
	case *candorv1.CallEvent_Owned:
		return nil
	}
	return fmt.Errorf("unknown call event %T", ev.GetEvent())
}

func stamp(t *timestamppb.Timestamp) uint32 {
	if t == nil {
		return 0
	}
	return sec(t.AsTime())
}

func proto(s uint32) *timestamppb.Timestamp {
	if s == 0 || s == never {
		return nil
	}
	return &timestamppb.Timestamp{Seconds: int64(s)}
}

// taskOf finds the task that an event names.
func (q *Queue) taskOf(in *incident, c *candorv1.CustomerPlace) (uint32, error) {
	if c.GetIncident() != in.name {
		return 0, fmt.Errorf("the event names a customer of incident %q", c.GetIncident())
	}
	id := q.task(Place{in.name, c.GetPage(), c.GetSlot()})
	if id == 0 {
		return 0, fmt.Errorf("customer %d of page %d: %w", c.GetSlot(), c.GetPage(), errNoTask)
	}
	return id, nil
}

func (q *Queue) attemptOf(in *incident, c *candorv1.CustomerPlace, fence uint64) (uint32, *attempt, error) {
	id, err := q.taskOf(in, c)
	if err != nil {
		return 0, nil, err
	}
	if a := q.leaseOf(q.tasks.at(id), fence); a != nil {
		return id, a, nil
	}
	return 0, nil, fmt.Errorf("customer %d of page %d has no lease %d", c.GetSlot(), c.GetPage(), fence)
}

func (q *Queue) leaseOf(t *task, fence uint64) *attempt {
	for i := t.last; i != 0; {
		a := q.attempts.at(i)
		if uint64(a.fence) == fence && !a.has(rang) {
			return a
		}
		i = a.older
	}
	return nil
}

// held does something to an open lease.
func (q *Queue) held(in *incident, c *candorv1.CustomerPlace, fence uint64, do func(id uint32, a *attempt)) error {
	id, a, err := q.attemptOf(in, c, fence)
	if err != nil {
		return err
	}
	if a.has(closed) {
		return fmt.Errorf("lease %d of customer %d of page %d has ended", fence, c.GetSlot(), c.GetPage())
	}
	do(id, a)
	return nil
}

// checkRuns refuses runs of slots that no page can have.
func checkRuns(runs []uint32) error {
	total := uint64(0)
	for i := 0; i+1 < len(runs); i += 2 {
		first, count := uint64(runs[i]), uint64(runs[i+1])
		if count == 0 || first+count > journal.MaxSlots {
			return fmt.Errorf("slots %d to %d lie outside a page", first, first+count)
		}
		total += count
	}
	if len(runs)%2 != 0 || total > journal.MaxSlots {
		return errors.New("slots are not pairs of first and count that lie apart")
	}
	return nil
}

func (q *Queue) queued(now uint32, in *incident, e *candorv1.CallsQueued, facts FactsOf) error {
	if err := checkRuns(e.GetSlots()); err != nil {
		return err
	}
	if facts == nil {
		return errNoFacts
	}
	wave, purpose := q.words.of(e.GetWave()), q.words.of(e.GetPurpose())
	priority := uint8(min(e.GetPriority(), classes-1))
	for _, slot := range journal.Slots(e.GetSlots()) {
		id, made := q.ensure(in, e.GetPage(), slot, facts)
		t := q.tasks.at(id)
		if !made && q.answers(t, in, wave) {
			continue
		}
		if made || t.over() {
			q.begin(t, now)
			t.nextAt, t.purpose, t.priority = stamp(e.GetNotBefore()), purpose, priority
			t.state = waitingOrPending(t.nextAt, now)
		}
		t.waves = in.with(t.waves, wave)
		t.priority = min(t.priority, priority)
		t.set(wasTold, false)
		q.file(id, now)
	}
	return nil
}

func waitingOrPending(next, now uint32) uint8 {
	if next > now {
		return uint8(candorv1.CallState_CALL_STATE_WAITING)
	}
	return uint8(candorv1.CallState_CALL_STATE_PENDING)
}

// answers reports whether the task answers the wave, or has answered it.
func (q *Queue) answers(t *task, in *incident, wave uint16) bool {
	if in.includes(t.waves, wave) {
		return true
	}
	for i := t.past; i != 0; i = q.endings.at(i).older {
		if in.includes(q.endings.at(i).waves, wave) {
			return true
		}
	}
	return false
}

// begin opens a task, for the first time or again.
func (q *Queue) begin(t *task, now uint32) {
	if t.over() {
		i, e := q.endings.add()
		*e = ending{older: t.past, at: t.nextAt, waves: t.waves, told: t.told, reason: t.reason, state: t.state}
		t.past = i
	}
	t.queued, t.since, t.waves, t.told, t.reason, t.pending, t.callBack, t.wishedAt = now, t.last, 0, 0, 0, 0, 0, 0
	t.flags &= leaseOut
	if t.has(leaseOut) {
		t.since = q.attempts.at(t.last).older // whoever holds the task may still tell the customer
	}
}

// ensure returns the task of a customer, a new one if there is none.
func (q *Queue) ensure(in *incident, pageNumber, slot uint32, facts FactsOf) (id uint32, made bool) {
	at := in.pages[pageNumber]
	if at == 0 {
		q.pages = append(q.pages, page{incident: in, number: pageNumber})
		at = uint32(len(q.pages))
		in.pages[pageNumber] = at
	}
	p := &q.pages[at-1]
	if n := int(slot) + 1; n > len(p.slots) {
		p.slots = append(p.slots, make([]uint32, n-len(p.slots))...)
	}
	if id = p.slots[slot]; id != 0 {
		return id, false
	}
	id, t := q.tasks.add()
	p.slots[slot] = id
	f := facts(pageNumber, slot)
	*t = task{page: at - 1, slot: uint16(slot), language: q.words.of(f.Language)}
	for i, hash := range f.Numbers[:min(len(f.Numbers), maxPhones)] {
		var zones []*time.Location
		if i < len(f.Zones) {
			zones = f.Zones[i]
		}
		q.addPhone(in, t, id, hash, zones, i < len(f.Uncertain) && f.Uncertain[i])
	}
	return id, true
}

func (q *Queue) addPhone(in *incident, t *task, id uint32, hash uint64, zones []*time.Location, uncertain bool) {
	i, p := q.phones.add()
	if t.nPhones == 0 {
		t.phones = i
	}
	t.nPhones++
	*p = phone{task: id, number: q.number(hash), hours: q.hoursOf(in, zones, uncertain)}
	if p.number == 0 {
		return
	}
	for other := t.phones; other < i; other++ {
		if q.phones.at(other).number == p.number {
			p.number = 0 // the same number again
			return
		}
	}
	n := q.numbers.at(p.number)
	p.next, n.first = n.first, i
}

// number returns the number with a hash, 0 for no hash.
func (q *Queue) number(hash uint64) uint32 {
	if hash == 0 {
		return 0
	}
	if i, ok := q.byHash[hash]; ok {
		return i
	}
	i, n := q.numbers.add()
	n.hash = hash
	q.byHash[hash] = i
	return i
}

func (q *Queue) callBackAsked(now uint32, in *incident, e *candorv1.CallBackAsked, facts FactsOf) error {
	c := e.GetCustomer()
	if c.GetIncident() != in.name || c.GetSlot() >= journal.MaxSlots {
		return fmt.Errorf("there is no customer %d of page %d of incident %q", c.GetSlot(), c.GetPage(), c.GetIncident())
	}
	if facts == nil && q.task(Place{in.name, c.GetPage(), c.GetSlot()}) == 0 {
		return errNoFacts
	}
	id, made := q.ensure(in, c.GetPage(), c.GetSlot(), facts)
	t := q.tasks.at(id)
	if e.GetRequest() != "" {
		in.requests[e.GetRequest()] = struct{}{}
	}
	if made || t.over() {
		q.begin(t, now)
		t.waves = q.untold(t, in)
		t.purpose, t.priority, t.nextAt, t.state = q.words.of("call_back"), 0, now, uint8(candorv1.CallState_CALL_STATE_PENDING)
	}
	q.wishes(t, in, stamp(e.GetAt()), now, now)
	q.file(id, now)
	return nil
}

// untold returns the waves that the task has answered without the customer having been told: a call that they wish for tells
// them after all.
func (q *Queue) untold(t *task, in *incident) (set uint16) {
	told := func(wave uint16) bool {
		for i := t.past; i != 0; i = q.endings.at(i).older {
			if in.includes(q.endings.at(i).told, wave) {
				return true
			}
		}
		return false
	}
	var waves []uint16
	for i := t.past; i != 0; i = q.endings.at(i).older {
		for _, wave := range slices.Backward(in.sets[q.endings.at(i).waves]) {
			if !told(wave) {
				waves = append(waves, wave)
			}
		}
	}
	for _, wave := range slices.Backward(waves) { // the oldest first
		set = in.with(set, wave)
	}
	return set
}

// wishes notes when a customer wants to be called, and when they said so; 0 is as soon as may be.
func (q *Queue) wishes(t *task, in *incident, at, wishedAt, now uint32) {
	t.callBack, t.wishedAt = at, wishedAt
	t.set(urgent, at == 0)
	t.set(asked, true)
	if t.has(leaseOut) || t.cooling(now) {
		return
	}
	t.nextAt = now
	if at != 0 {
		t.nextAt = earliest(at, wishedAt, in.rules.CallBack.Tolerance)
	}
	t.state = waitingOrPending(t.nextAt, now)
}

func (q *Queue) wasLeased(now uint32, in *incident, e *candorv1.CallLeased) error {
	id, err := q.taskOf(in, e.GetCustomer())
	if err != nil {
		return err
	}
	t := q.tasks.at(id)
	switch {
	case t.has(leaseOut):
		return fmt.Errorf("lease %d begins while lease %d is out", e.GetFence(), t.fence)
	case e.GetFence() <= uint64(t.fence) || e.GetFence() > math.MaxUint32:
		return fmt.Errorf("lease %d comes after lease %d", e.GetFence(), t.fence)
	case e.GetPhone() >= maxPhones:
		return fmt.Errorf("there is no phone %d", e.GetPhone())
	}
	t.fence = uint32(e.GetFence())
	t.state = uint8(candorv1.CallState_CALL_STATE_LEASED)
	t.set(leaseOut, true)
	t.set(asked, false)
	i, a := q.attempts.add()
	*a = attempt{
		lease: [2]uint32{uint32(e.GetLease() >> 32), uint32(e.GetLease())}, older: t.last,
		leasedAt: now, endedAt: stamp(e.GetExpiresAt()), calledAt: now, fence: t.fence, lastCall: stamp(e.GetWindowEndsAt()),
		dialer: q.words.of(e.GetDialer()), phone: uint8(e.GetPhone()), offered: 1 << e.GetPhone(),
	}
	for _, p := range e.GetNextPhones() {
		a.offered |= 1 << min(p, maxPhones)
	}
	if e.GetMode() == candorv1.DialMode_DIAL_MODE_PROGRESSIVE {
		a.flags = progressive
	}
	t.last = i
	q.dials(i, q.number(e.GetNumber()))
	q.leased++
	in.leases++
	q.hold(t, id, a, now, true)
	q.file(id, now)
	return nil
}

// dials notes at which number an attempt is made.
func (q *Queue) dials(i, n uint32) {
	a := q.attempts.at(i)
	if a.number != 0 {
		link := &q.numbers.at(a.number).last
		for *link != i {
			link = &q.attempts.at(*link).olderCall
		}
		*link = a.olderCall
	}
	if a.number = n; n != 0 {
		number := q.numbers.at(n)
		a.olderCall, number.last = number.last, i
	}
}

// hold keeps the numbers of an open lease from all others, or lets them go.
func (q *Queue) hold(t *task, id uint32, a *attempt, now uint32, on bool) {
	for i := range t.nPhones {
		n := q.phones.at(t.phones + uint32(i)).number
		if n == 0 || a.offered&(1<<i) == 0 {
			continue
		}
		if on {
			q.numbers.at(n).held++
		} else {
			q.numbers.at(n).held--
		}
		q.wake(n, id, now)
	}
}

// letGo ends the open lease of a task.
func (q *Queue) letGo(t *task, id uint32, a *attempt, now uint32) {
	a.flags |= closed
	a.endedAt, a.calledAt = now, now
	t.set(leaseOut, false)
	q.of(t).leases--
	q.hold(t, id, a, now, false)
}

func (q *Queue) wasReleased(now, id uint32, a *attempt, reason string) {
	t := q.tasks.at(id)
	in := q.of(t)
	a.flags |= released
	if reason == agentSkip {
		a.disposition = q.words.of(agentSkip)
		in.dispositions[a.disposition]++
	}
	q.letGo(t, id, a, now)
	if !t.over() {
		if reason == agentSkip {
			t.nextAt = max(t.nextAt, q.pause(t, in.rules.Dispositions[agentSkip], a.disposition, int(a.phone), now))
		}
		t.state = waitingOrPending(t.nextAt, now)
		if t.has(asked) {
			q.wishes(t, in, t.callBack, t.wishedAt, now)
		}
	}
	q.file(id, now)
}

func (q *Queue) hasExpired(now, id uint32, a *attempt, coolUntil uint32) {
	t := q.tasks.at(id)
	a.flags |= expired
	a.weight = whole
	q.letGo(t, id, a, now)
	if !t.over() {
		t.state, t.nextAt = uint8(candorv1.CallState_CALL_STATE_UNCERTAIN), coolUntil
		if !t.has(asked) {
			t.callBack = 0
			t.set(urgent, false)
		}
	}
	q.file(id, now)
}

func (q *Queue) wasWithdrawn(now uint32, in *incident, e *candorv1.CallWithdrawn) error {
	if !over(e.GetState()) {
		return fmt.Errorf("a task is not withdrawn to the state %v", e.GetState())
	}
	ids := make([]uint32, 0, len(e.GetCustomers()))
	for _, c := range e.GetCustomers() {
		id, err := q.taskOf(in, c)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	reason := q.words.of(e.GetReason())
	for _, id := range ids {
		t := q.tasks.at(id)
		if t.over() {
			continue
		}
		if e.GetState() == candorv1.CallState_CALL_STATE_DONE {
			t.told = t.waves
		}
		q.finish(t, e.GetState(), reason, now)
		q.file(id, now)
	}
	return nil
}

// finish ends a task.
func (q *Queue) finish(t *task, state candorv1.CallState, reason uint16, now uint32) {
	t.state, t.reason, t.nextAt = uint8(state), reason, now
	t.callBack, t.pending = 0, 0
	t.set(urgent, false)
	t.set(asked, false)
}
