package callqueue

import (
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// audit reads the log alone and knows the rules of the trade; it shares no code with the queue.
type audit struct {
	rules map[string]*playbook.Calls
	facts map[Place]Facts
	wrong []string

	tasks map[Place]*auditTask
	calls map[uint64][]*auditCall // by number
	lines map[uint64]*auditCall   // numbers that a lease holds
	shut  map[uint64]bool
	avoid map[uint64]time.Time
	held  map[string]bool // incidents that are paused, as those outside say
}

type auditTask struct {
	waves   map[string]bool
	state   string
	fence   uint64
	out     *auditCall
	calls   []*auditCall
	rang    []*auditCall // calls to numbers that nobody reported, since those after them were
	since   int          // calls before the task was opened
	wishes  []auditWish
	before  int // of them, those that were there before the lease: a call answers them
	bad     map[uint32]bool
	invalid map[uint32][]string // days on which a phone was invalid
	stopped bool                // an earlier call, reported late, ends the task as soon as nobody holds it
	opened  []map[string]bool   // the waves that the task was open for, each time
	told    map[string]bool     // the waves of which the customer was told
}

// auditWish is when a customer wants to be called, zero for as soon as may be, and when they said so.
type auditWish struct{ at, said time.Time }

type auditCall struct {
	fence    uint64
	leasedAt time.Time
	at       time.Time
	weight   float64
	over     bool
	done     bool
	phone    uint32
	number   uint64
	held     []uint64
	offered  []uint32
	ends     time.Time // zero for no end
}

func newAudit(rules map[string]*playbook.Calls, facts map[Place]Facts) *audit {
	return &audit{
		rules: rules, facts: facts, tasks: map[Place]*auditTask{}, calls: map[uint64][]*auditCall{},
		lines: map[uint64]*auditCall{}, shut: map[uint64]bool{}, avoid: map[uint64]time.Time{}, held: map[string]bool{},
	}
}

func (a *audit) say(s stored, format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf("%v %v: ", s.at.UTC().Format(time.RFC3339), s.event)+fmt.Sprintf(format, args...))
}

func (a *audit) task(p Place) *auditTask {
	t := a.tasks[p]
	if t == nil {
		t = &auditTask{waves: map[string]bool{}, state: "none", bad: map[uint32]bool{}, invalid: map[uint32][]string{}, told: map[string]bool{}}
		a.tasks[p] = t
	}
	return t
}

func isOver(state string) bool {
	return slices.Contains([]string{"none", "done", "failed", "suppressed", "expired"}, state)
}

func (t *auditTask) open() (again bool) {
	if again = isOver(t.state); again {
		t.state, t.since, t.wishes, t.before = "open", len(t.calls), nil, 0
		t.opened, t.stopped = append(t.opened, map[string]bool{}), false
		if t.out != nil { // whoever holds the task may still tell the customer
			t.state = "leased"
			t.since--
		}
	}
	return again
}

// answered notes that the newest call answers the wishes that were there before it.
func (t *auditTask) answered() { t.wishes, t.before = t.wishes[t.before:], 0 }

// tell notes that the customer was told of what the task was open for, so many times back.
func (t *auditTask) tell(back int) {
	if i := len(t.opened) - 1 - back; i >= 0 {
		for wave := range t.opened[i] {
			t.told[wave] = true
		}
	}
}

func (a *audit) read(s stored) {
	place := func(c *candorv1.CustomerPlace) Place { return Place{c.GetIncident(), c.GetPage(), c.GetSlot()} }
	switch e := s.event.Event.(type) {
	case *candorv1.CallEvent_Queued:
		for i := 0; i < len(e.Queued.Slots); i += 2 {
			for slot := e.Queued.Slots[i]; slot < e.Queued.Slots[i]+e.Queued.Slots[i+1]; slot++ {
				t := a.task(Place{s.incident, e.Queued.Page, slot})
				if !t.waves[e.Queued.Wave] {
					t.open()
					t.waves[e.Queued.Wave] = true
					t.opened[len(t.opened)-1][e.Queued.Wave] = true
				}
			}
		}
	case *candorv1.CallEvent_CallBackAsked:
		t := a.task(place(e.CallBackAsked.Customer))
		if t.open() { // a call that the customer wished for tells them what the others did not
			for wave := range t.waves {
				if !t.told[wave] {
					t.opened[len(t.opened)-1][wave] = true
				}
			}
		}
		t.wishes, t.before = []auditWish{{said: s.at}}, 0
		if e.CallBackAsked.At != nil {
			t.wishes[0].at = e.CallBackAsked.At.AsTime()
		}
	case *candorv1.CallEvent_Leased:
		a.leased(s, place(e.Leased.Customer), e.Leased)
	case *candorv1.CallEvent_Renewed:
		t := a.task(place(e.Renewed.Customer))
		switch {
		case t.out == nil || t.out.fence != e.Renewed.Fence:
			a.say(s, "renews what is not out")
		case isOver(t.state) || t.stopped || a.shut[t.out.number] || t.bad[t.out.phone]:
			a.say(s, "renews a call that must not be made any more")
		case a.held[s.incident]:
			a.say(s, "renews while the incident is paused")
		case !t.out.ends.IsZero() && s.at.After(t.out.ends.Add(a.rules[s.incident].Lead)):
			a.say(s, "renews after the hours")
		}
	case *candorv1.CallEvent_Released:
		a.letGo(s, a.task(place(e.Released.Customer)), e.Released.Fence, 0)
	case *candorv1.CallEvent_LeaseExpired:
		t := a.task(place(e.LeaseExpired.Customer))
		a.letGo(s, t, e.LeaseExpired.Fence, 1)
		t.answered()
	case *candorv1.CallEvent_Completed:
		a.completed(s, place(e.Completed.Customer), e.Completed)
	case *candorv1.CallEvent_Withdrawn:
		for _, c := range e.Withdrawn.Customers {
			t := a.task(place(c))
			if isOver(t.state) {
				a.say(s, "withdraws what is over")
			}
			if t.state = candorv1.Word(e.Withdrawn.State); t.state == "done" {
				t.tell(0)
			}
		}
	}
}

// due says that the customer asked for this very time, and early that they asked for another that has not come.
func (a *audit) due(rules *playbook.Calls, t *auditTask, f Facts, at time.Time) (due, early bool) {
	early = len(t.wishes) > 0
	tolerance := rules.CallBack.Tolerance
	for _, wish := range t.wishes {
		if wish.at.IsZero() {
			early = false
			continue
		}
		from := wish.at.Add(-tolerance)
		if soon := wish.said.Add(tolerance); soon.After(from) { // nobody is called back at once
			from = soon
		}
		if from.After(wish.at) {
			from = wish.at
		}
		if at.After(wish.at.Add(tolerance)) && rules.CallBack.Missed == playbook.MissedNextDay {
			local := wish.at.In(f.Zones[0][0])
			y, m, d := local.Date()
			same := time.Date(y, m, d+1, local.Hour(), local.Minute(), local.Second(), 0, local.Location())
			from = time.Date(y, m, d+1, 0, 0, 0, 0, local.Location())
			if openHours(f.Uncertain[0], same, f.Zones[0]) && openHours(f.Uncertain[0], same.Add(rules.Lead-time.Second), f.Zones[0]) {
				from = same.Add(-tolerance)
			}
		}
		due = due || !at.Before(from) && !at.After(wish.at.Add(tolerance))
		early = early && at.Before(from)
	}
	return due, early
}

// openHours knows the prepared hours without asking the package window.
func openHours(uncertain bool, at time.Time, zones []*time.Location) bool {
	for _, z := range zones {
		local := at.In(z)
		from, to := 9, 20
		switch {
		case local.Weekday() == time.Sunday, uncertain && local.Weekday() == time.Saturday:
			return false
		case uncertain:
			from = 14
		case local.Weekday() == time.Saturday:
			from, to = 10, 18
		}
		if local.Hour() < from || local.Hour() >= to {
			return false
		}
	}
	return len(zones) > 0
}

func (a *audit) leased(s stored, p Place, e *candorv1.CallLeased) {
	t, f, rules := a.task(p), a.facts[p], a.rules[s.incident]
	if isOver(t.state) {
		a.say(s, "leases a task that is %s", t.state)
	}
	if t.out != nil {
		a.say(s, "is leased to two at once")
	}
	if e.Fence <= t.fence {
		a.say(s, "fence does not rise from %d", t.fence)
	}
	t.fence = e.Fence
	due, early := a.due(rules, t, f, s.at)
	if early {
		a.say(s, "the customer asked for a later call")
	}
	if a.held[s.incident] {
		a.say(s, "leases while the incident is paused")
	}
	call := &auditCall{
		fence: e.Fence, leasedAt: s.at, at: s.at, phone: e.Phone, number: e.Number,
		offered: append([]uint32{e.Phone}, e.NextPhones...), ends: e.WindowEndsAt.AsTime(),
	}
	if e.WindowEndsAt == nil || call.ends.Before(s.at) || call.ends.Sub(s.at) > 12*time.Hour {
		a.say(s, "the hours have no end")
	}
	for i, phone := range call.offered {
		number := f.Numbers[phone]
		if i == 0 && number != e.Number || number == 0 {
			a.say(s, "phone %d has not the number %d", phone, e.Number)
		}
		if t.bad[phone] || a.shut[number] {
			a.say(s, "phone %d must not be dialled", phone)
		}
		if a.lines[number] != nil {
			a.say(s, "number %d is held by another", number)
		}
		a.lines[number] = call
		call.held = append(call.held, number)
		a.mayDial(s, rules, number, due)
		if !due && (!openHours(f.Uncertain[phone], s.at, f.Zones[phone]) || !openHours(f.Uncertain[phone], s.at.Add(rules.Lead-time.Second), f.Zones[phone])) {
			a.say(s, "phone %d is out of hours", phone)
		}
		if !due && !openHours(f.Uncertain[phone], call.ends.Add(rules.Lead-time.Second), f.Zones[phone]) {
			a.say(s, "phone %d is out of hours before %v", phone, call.ends)
		}
		if last, ok := a.avoid[number]; ok && !due {
			clock := func(t time.Time) float64 {
				h, m, sec := t.In(f.Zones[phone][0]).Clock()
				return float64(h) + float64(m)/60 + float64(sec)/3600
			}
			off := math.Abs(clock(last) - clock(s.at))
			if off = min(off, 24-off); off < rules.Spread.Hours()-1e-9 {
				a.say(s, "phone %d was not answered at %v before", phone, last)
			}
		}
	}
	week, total := float64(len(call.offered)), float64(len(call.offered)) // each of them may ring
	for _, c := range append(slices.Clone(t.calls), t.rang...) {
		if c.at.Add(7 * 24 * time.Hour).After(s.at) {
			week += c.weight
		}
		total += c.weight
	}
	if week > float64(rules.Caps.PersonPerWeek) {
		a.say(s, "%v calls in a week", week)
	}
	if total > float64(rules.Caps.Total) && len(t.wishes) == 0 {
		a.say(s, "%v calls in all", total)
	}
	t.calls = append(t.calls, call)
	a.calls[e.Number] = append(a.calls[e.Number], call)
	t.state, t.out, t.before = "leased", call, len(t.wishes)
}

func (a *audit) mayDial(s stored, rules *playbook.Calls, number uint64, due bool) {
	sum := 1.0
	for _, c := range a.calls[number] {
		if c.at.Add(24 * time.Hour).After(s.at) {
			sum += c.weight
		}
		if c.weight == 1 && !due && c.at.Add(rules.Gap).After(s.at) {
			a.say(s, "number %d was called at %v", number, c.at)
		}
	}
	if sum > float64(rules.Caps.NumberPerDay) {
		a.say(s, "%v calls to number %d in a day", sum, number)
	}
}

func (a *audit) letGo(s stored, t *auditTask, fence uint64, weight float64) {
	if t.out == nil || t.out.fence != fence {
		a.say(s, "ends a lease that is not out")
		return
	}
	t.out.weight, t.out.at, t.out.over = weight, s.at, true
	for _, n := range t.out.held {
		delete(a.lines, n)
	}
	t.out, t.stopped = nil, false
	if !isOver(t.state) {
		t.state = "open"
	}
}

func (a *audit) completed(s stored, p Place, e *candorv1.CallCompleted) {
	t, f := a.task(p), a.facts[p]
	d := a.rules[s.incident].Dispositions[e.Disposition]
	var call *auditCall
	for i := range t.calls {
		if t.calls[i].fence == e.Fence {
			call = t.calls[i]
		}
	}
	if call == nil || call.done {
		a.say(s, "reports on no lease, or twice")
		return
	}
	if e.Late != call.over {
		a.say(s, "late is %v", e.Late)
	}
	if !call.over {
		a.letGo(s, t, e.Fence, 0)
		t.answered()
	} else if t.out == nil && e.Fence == t.fence { // given back, and dialled after all
		t.answered()
	}
	call.done, call.weight = true, float64(d.Counts)
	for _, said := range []*timestamppb.Timestamp{e.StartedAt, e.EndedAt} {
		if said == nil {
			continue
		}
		if call.at = said.AsTime(); call.at.Before(call.leasedAt) {
			call.at = call.leasedAt
		}
		if call.at.After(s.at) {
			call.at = s.at
		}
	}
	for i := call.phone; i != e.Phone; i = (i + 1) % uint32(len(f.Numbers)) {
		if !slices.Contains(call.offered, i) {
			continue
		}
		before := &auditCall{at: call.at, weight: 1, over: true, number: f.Numbers[i]}
		t.rang, a.calls[before.number] = append(t.rang, before), append(a.calls[before.number], before)
		if call.at.After(a.avoid[before.number]) {
			a.avoid[before.number] = call.at
		}
	}
	if e.Number != call.number {
		a.calls[call.number] = slices.DeleteFunc(a.calls[call.number], func(c *auditCall) bool { return c == call })
		a.calls[e.Number] = append(a.calls[e.Number], call)
	}
	call.number, call.phone = e.Number, e.Phone
	if d.DoNotCall {
		a.shut[e.Number] = true
	}
	if (d.Unanswered || d.NextDay) && call.at.After(a.avoid[e.Number]) {
		a.avoid[e.Number] = call.at
	}
	switch d.Number {
	case playbook.NumberBad:
		t.bad[e.Phone] = true
	case playbook.NumberBadTwice:
		day := call.at.In(f.Zones[e.Phone][0]).Format(time.DateOnly)
		for _, other := range t.invalid[e.Phone] {
			t.bad[e.Phone] = t.bad[e.Phone] || other != day
		}
		t.invalid[e.Phone] = append(t.invalid[e.Phone], day)
	}
	current := slices.Index(t.calls, call) >= t.since
	if d.Told && isOver(t.state) && t.state != "done" && current && candorv1.Word(e.State) != "done" {
		a.say(s, "a customer who was told stays %s", t.state)
	}
	if d.Told && current {
		t.tell(0)
	} else if d.Told {
		t.tell(1)
	}
	t.stopped = t.stopped || current && d.Ends != "" && t.out != nil
	switch state := candorv1.Word(e.State); {
	case isOver(state):
		t.state = state
	case isOver(t.state):
	case d.CallBack && current:
		t.wishes = append(t.wishes, auditWish{e.CallBackAt.AsTime(), call.at})
	}
}
