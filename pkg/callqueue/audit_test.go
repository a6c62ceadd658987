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
}

type auditTask struct {
	waves   map[string]bool
	state   string
	fence   uint64
	out     *auditCall
	calls   []*auditCall
	since   int // calls before the task was opened
	wishes  []time.Time
	before  int // of them, those that were there before the lease: a call answers them
	bad     map[uint32]bool
	invalid map[uint32][]string // days on which a phone was invalid
	told    bool
}

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
}

func newAudit(rules map[string]*playbook.Calls, facts map[Place]Facts) *audit {
	return &audit{
		rules: rules, facts: facts, tasks: map[Place]*auditTask{}, calls: map[uint64][]*auditCall{},
		lines: map[uint64]*auditCall{}, shut: map[uint64]bool{}, avoid: map[uint64]time.Time{},
	}
}

func (a *audit) say(s stored, format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf("%v %v: ", s.at.UTC().Format(time.RFC3339), s.event)+fmt.Sprintf(format, args...))
}

func (a *audit) task(p Place) *auditTask {
	t := a.tasks[p]
	if t == nil {
		t = &auditTask{waves: map[string]bool{}, state: "none", bad: map[uint32]bool{}, invalid: map[uint32][]string{}}
		a.tasks[p] = t
	}
	return t
}

func isOver(state string) bool {
	return slices.Contains([]string{"none", "done", "failed", "suppressed", "expired"}, state)
}

func (t *auditTask) open() {
	if isOver(t.state) {
		t.state, t.since, t.wishes, t.before, t.told = "open", len(t.calls), nil, 0, false
		if t.out != nil { // whoever holds the task may still tell the customer
			t.state = "leased"
			t.since--
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
				}
			}
		}
	case *candorv1.CallEvent_CallBackAsked:
		t := a.task(place(e.CallBackAsked.Customer))
		t.open()
		t.wishes, t.before = nil, 0
		if e.CallBackAsked.At != nil {
			t.wishes = []time.Time{e.CallBackAsked.At.AsTime()}
		}
	case *candorv1.CallEvent_Leased:
		a.leased(s, place(e.Leased.Customer), e.Leased)
	case *candorv1.CallEvent_Renewed:
		t := a.task(place(e.Renewed.Customer))
		if t.out == nil || t.out.fence != e.Renewed.Fence {
			a.say(s, "renews what is not out")
		}
	case *candorv1.CallEvent_Released:
		a.letGo(s, a.task(place(e.Released.Customer)), e.Released.Fence, 0)
	case *candorv1.CallEvent_LeaseExpired:
		t := a.task(place(e.LeaseExpired.Customer))
		a.letGo(s, t, e.LeaseExpired.Fence, 1)
		t.wishes = t.wishes[t.before:]
	case *candorv1.CallEvent_Completed:
		a.completed(s, place(e.Completed.Customer), e.Completed)
	case *candorv1.CallEvent_Withdrawn:
		for _, c := range e.Withdrawn.Customers {
			t := a.task(place(c))
			if isOver(t.state) {
				a.say(s, "withdraws what is over")
			}
			t.state = candorv1.Word(e.Withdrawn.State)
		}
	}
}

// due says that the customer asked for this very time.
func (a *audit) due(rules *playbook.Calls, t *auditTask, f Facts, at time.Time) bool {
	for _, wish := range t.wishes {
		for day := 0; day < 400; day++ {
			if day > 0 && rules.CallBack.Missed != playbook.MissedNextDay {
				break
			}
			local := wish.In(f.Zones[0][0])
			same := time.Date(local.Year(), local.Month(), local.Day()+day, local.Hour(), local.Minute(), local.Second(), 0, local.Location())
			if day == 0 {
				same = wish // which of the two, where a clock shows the hour twice
			}
			if off := at.Sub(same).Abs(); off <= rules.CallBack.Tolerance {
				return true
			}
		}
	}
	return false
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
	due := a.due(rules, t, f, s.at)
	call := &auditCall{fence: e.Fence, leasedAt: s.at, at: s.at, phone: e.Phone, number: e.Number}
	for i, phone := range append([]uint32{e.Phone}, e.NextPhones...) {
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
	week, total := 1.0, 1.0
	for i, c := range t.calls {
		if c.at.Add(7 * 24 * time.Hour).After(s.at) {
			week += c.weight
		}
		if i >= t.since {
			total += c.weight
		}
	}
	if week > float64(rules.Caps.PersonPerWeek) {
		a.say(s, "%v calls in a week", week)
	}
	if total > float64(rules.Caps.Total) && !due {
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
	t.out = nil
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
		t.wishes = t.wishes[t.before:]
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
	if d.Told && isOver(t.state) && t.state != "done" && slices.Index(t.calls, call) >= t.since && candorv1.Word(e.State) != "done" {
		a.say(s, "a customer who was told stays %s", t.state)
	}
	switch state := candorv1.Word(e.State); {
	case isOver(state):
		t.state = state
	case isOver(t.state):
	case d.CallBack:
		t.wishes = append(t.wishes, e.CallBackAt.AsTime())
	}
}
