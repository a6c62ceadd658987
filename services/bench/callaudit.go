package bench

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// callRules are what the checker knows of an incident's playbook, its times in seconds.
type callRules struct {
	hours, uncertain             openHours
	lead, gap, spread, tolerance int64
	caps                         playbook.Caps
	dispositions                 map[string]playbook.Disposition
}

func readCallRules(text string) (*callRules, error) {
	p, err := playbook.Parse("playbook", []byte(text))
	if err != nil {
		return nil, err
	}
	if p.Calls == nil {
		return nil, fmt.Errorf("the playbook has no section calls")
	}
	r := &callRules{
		lead: seconds(p.Calls.Lead), gap: seconds(p.Calls.Gap), spread: seconds(p.Calls.Spread),
		tolerance: seconds(p.Calls.CallBack.Tolerance), caps: p.Calls.Caps, dispositions: p.Calls.Dispositions,
	}
	for key, h := range map[string]*openHours{"hours": &r.hours, "uncertain_hours": &r.uncertain} {
		words, err := hoursText(text, key)
		if err == nil {
			*h, err = parseHours(words)
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// seconds rounds up: the queue's clock ticks in seconds.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// second is 0 for no instant.
func second(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return t.GetSeconds()
}

// callPlace is a customer.
type callPlace struct {
	incident   string
	page, slot uint32
}

func (p callPlace) String() string {
	return fmt.Sprintf("customer %d of page %d of %s", p.slot, p.page, p.incident)
}

// callLease is one lease, as the log tells of it.
type callLease struct {
	of          callPlace
	fence       uint64
	number      uint64
	numbers     []uint64 // all that may be dialled under it, as far as the log names them
	phone       uint32
	next        []uint32 // phones that may be dialled after it
	at, expires int64
	ends        int64 // until when the call may begin, 0 for no end
	own         bool  // at the customer's own time
	open        bool
	released    bool
	reported    bool
	endedAt     int64
	calledAt    int64 // what caps and gaps count from
	weight      float64
}

// callTask is what is known of a customer.
type callTask struct {
	leases []*callLease // in order
	phones map[uint32]uint64
	bad    map[uint32]bool
	opened []*callOpening
	// wish is when the customer wants to be called, 0 for no time, said when they told; wished, that they want to be called at
	// all; asked, that they said so since the last lease.
	wish, said    int64
	wished, asked bool
	zones         map[uint32][]string // of phones, as far as the log names them
	rang          []*callLease        // calls to phones before the one that was reported
	dialled       []dialled           // what was reported of when
	stopped       bool                // an earlier call, reported late, ends the task as soon as nobody holds it
}

// dialled is a call of which it is known when it began.
type dialled struct {
	lease *callLease
	phone uint32
	at    int64
}

// callOpening is what a task was opened for, from then to its end.
type callOpening struct {
	waves  []string
	told   []string
	state  candorv1.CallState // 0 while it is open
	reason string
	since  int // leases before it
	// satisfied says that a live lease has told the customer, who wants no more calls.
	satisfied bool
	corrected bool
}

func (t *callTask) now() *callOpening { return t.opened[len(t.opened)-1] }

func (t *callTask) lease(fence uint64) *callLease {
	for _, l := range slices.Backward(t.leases) {
		if l.fence == fence {
			return l
		}
	}
	return nil
}

// callAudit folds the events of all incidents in the order in which they were stored, and notes what is against the rules.
type callAudit struct {
	rules   map[string]*callRules
	tasks   map[callPlace]*callTask
	numbers map[uint64]*callNumber
	owners  map[string]uint64   // by incident
	former  map[uint64]struct{} // owners who were followed by another in some incident
	zones   map[string]*time.Location
	turn    []callEntry // not folded yet
	report  CallReport
}

// callNumber is what is known of a number, whosever it is.
type callNumber struct {
	leases  []*callLease
	refused bool
	since   int64 // when that was said
	avoid   int64 // when nobody answered last
}

// CallReport is what the event log of the call queue says, and what of it is against the rules.
type CallReport struct {
	Events     uint64            `json:"events"`
	Tasks      uint64            `json:"tasks"`
	Numbers    uint64            `json:"numbers"`
	Leases     uint64            `json:"leases"`
	Renewed    uint64            `json:"renewed"`
	Released   uint64            `json:"released"`
	Expired    uint64            `json:"expired"`
	Completed  uint64            `json:"completed"`
	Late       uint64            `json:"late"`
	OwnTime    uint64            `json:"own_time"`
	Owners     uint64            `json:"owners"`
	Dialers    int               `json:"dialers"`
	Ends       map[string]uint64 `json:"ends"`
	Told       uint64            `json:"told"`
	Outcomes   uint64            `json:"outcomes"`
	Repeated   uint64            `json:"outcomes_repeated"`
	Corrected  uint64            `json:"ends_corrected"`
	MostLeases int               `json:"most_leases_of_a_task"`
	// MostPerDay is the most that any number was called in 24 hours, as the caps count.
	MostPerDay float64 `json:"most_per_day_of_a_number"`
	// Zones is in how many sets of zones there were leases; Windows how many leases had an end of the hours.
	Zones   int    `json:"zones"`
	Windows uint64 `json:"windows"`
	// Violations counts by rule; Examples are some of them in words.
	Violations map[string]uint64 `json:"violations"`
	Examples   []string          `json:"examples,omitempty"`

	dialers, zones map[string]struct{}
}

func newCallAudit(rules map[string]*callRules) *callAudit {
	return &callAudit{
		rules: rules, tasks: map[callPlace]*callTask{}, numbers: map[uint64]*callNumber{}, owners: map[string]uint64{},
		former: map[uint64]struct{}{}, zones: map[string]*time.Location{},
		report: CallReport{Ends: map[string]uint64{}, Violations: map[string]uint64{}, dialers: map[string]struct{}{}, zones: map[string]struct{}{}},
	}
}

// wrong notes a violation.
func (a *callAudit) wrong(rule string, p callPlace, format string, args ...any) {
	const some = 20
	if a.report.Violations[rule]++; len(a.report.Examples) < some {
		a.report.Examples = append(a.report.Examples, fmt.Sprintf("%s: %v: ", rule, p)+fmt.Sprintf(format, args...))
	}
}

// callEntry is one append to an incident's events.
type callEntry struct {
	incident string
	*candorv1.CallEvents
}

// entry takes one append, in the order of the stream. Those of one turn of the owner are stored together, incident by incident:
// the log does not say which incident came first.
func (a *callAudit) entry(incident string, e *candorv1.CallEvents) {
	if len(a.turn) > 0 {
		if first := a.turn[0]; first.GetOwner() != e.GetOwner() || !first.GetOccurredAt().AsTime().Equal(e.GetOccurredAt().AsTime()) {
			a.fold()
		}
	}
	a.turn = append(a.turn, callEntry{incident, e})
}

// fold folds a turn: claims are its end, whatever the incident. One lease may end and another begin in a turn, of two customers
// who share a number.
func (a *callAudit) fold() {
	for _, claims := range []bool{false, true} {
		for _, e := range a.turn {
			at := second(e.GetOccurredAt())
			for i, ev := range e.GetEvents() {
				_, owned := ev.GetEvent().(*candorv1.CallEvent_Owned)
				switch {
				case (ev.GetLeased() != nil) != claims:
					continue
				case owned:
					a.owned(e.incident, e.GetOwner())
				case i == 0 && a.owners[e.incident] != e.GetOwner():
					a.wrong("foreign_owner", callPlace{incident: e.incident}, "an entry of an owner that does not own the incident")
				}
				a.report.Events++
				a.event(e.incident, at, ev)
			}
		}
	}
	a.turn = nil
}

func (a *callAudit) owned(incident string, owner uint64) {
	if _, gone := a.former[owner]; gone {
		a.wrong("foreign_owner", callPlace{incident: incident}, "an owner came back that had been followed by another")
	}
	if was := a.owners[incident]; was != 0 && was != owner {
		a.former[was] = struct{}{}
	}
	a.owners[incident] = owner
	a.report.Owners++
}

func (a *callAudit) event(incident string, at int64, ev *candorv1.CallEvent) {
	switch e := ev.GetEvent().(type) {
	case *candorv1.CallEvent_Owned:
	case *candorv1.CallEvent_Queued:
		for _, slot := range slotsOf(e.Queued.GetSlots()) {
			o := a.open(callPlace{incident, e.Queued.GetPage(), slot})
			if !slices.Contains(o.waves, e.Queued.GetWave()) {
				o.waves = append(o.waves, e.Queued.GetWave())
			}
			o.satisfied = false
		}
	case *candorv1.CallEvent_CallBackAsked:
		p := callPlaceOf(e.CallBackAsked.GetCustomer())
		before := len(a.openings(p))
		o := a.open(p)
		o.satisfied = false
		t := a.tasks[p]
		if len(t.opened) > before { // a call that the customer wished for tells them what the others did not
			o.waves = t.untold()
		}
		t.wish, t.said, t.wished, t.asked = second(e.CallBackAsked.GetAt()), at, true, true
	case *candorv1.CallEvent_Leased:
		a.leased(at, e.Leased)
	case *candorv1.CallEvent_Renewed:
		if t, l := a.find(e.Renewed.GetCustomer(), e.Renewed.GetFence(), "renewed"); t != nil {
			a.report.Renewed++
			until := second(e.Renewed.GetExpiresAt())
			if !l.open || until < l.expires {
				a.wrong("renewal", l.of, "lease %d is over, or was made shorter", l.fence)
			}
			n := a.number(l.number)
			switch {
			case !l.open:
			case t.now().state != 0, t.stopped, t.bad[l.phone], n.refused && n.since < at:
				a.wrong("renewal_stop", l.of, "lease %d was renewed, and its call must not be made any more", l.fence)
			case l.ends != 0 && at > l.ends+a.rules[l.of.incident].lead:
				a.wrong("renewal_hours", l.of, "lease %d was renewed %d s after its calls may begin", l.fence, at-l.ends)
			}
			l.expires = until
		}
	case *candorv1.CallEvent_Released:
		if t, l := a.find(e.Released.GetCustomer(), e.Released.GetFence(), "released"); t != nil {
			a.report.Released++
			a.end(l, at, "released")
			t.stopped = false
			l.released = true
		}
	case *candorv1.CallEvent_LeaseExpired:
		a.expired(at, e.LeaseExpired)
	case *candorv1.CallEvent_Completed:
		a.completed(at, e.Completed)
	case *candorv1.CallEvent_Withdrawn:
		for _, c := range e.Withdrawn.GetCustomers() {
			p := callPlaceOf(c)
			if t := a.tasks[p]; t == nil {
				a.wrong("unknown_task", p, "a task was withdrawn that never was")
			} else if o := t.now(); o.state != 0 {
				a.wrong("two_ends", p, "withdrawn as %v after the end as %v", e.Withdrawn.GetState(), o.state)
			} else {
				if e.Withdrawn.GetState() == candorv1.CallState_CALL_STATE_DONE {
					o.told = slices.Clone(o.waves)
				}
				o.state, o.reason = e.Withdrawn.GetState(), e.Withdrawn.GetReason()
			}
		}
	default:
		a.wrong("unknown_event", callPlace{incident: incident}, "%T", ev.GetEvent())
	}
}

func callPlaceOf(c *candorv1.CustomerPlace) callPlace {
	return callPlace{c.GetIncident(), c.GetPage(), c.GetSlot()}
}

// slotsOf spells pairs of first and count out.
func slotsOf(runs []uint32) (slots []uint32) {
	for i := 0; i+1 < len(runs); i += 2 {
		for n := range runs[i+1] {
			slots = append(slots, runs[i]+n)
		}
	}
	return slots
}

// open returns what a task is open for; a task that is over, or none, is opened.
func (a *callAudit) open(p callPlace) *callOpening {
	t := a.tasks[p]
	if t == nil {
		t = &callTask{phones: map[uint32]uint64{}, bad: map[uint32]bool{}, zones: map[uint32][]string{}}
		a.tasks[p] = t
		a.report.Tasks++
	}
	if len(t.opened) == 0 || t.now().state != 0 {
		since := len(t.leases)
		if since > 0 && t.leases[since-1].open {
			since-- // whoever holds the task may still tell the customer
		}
		t.opened = append(t.opened, &callOpening{since: since})
		t.wish, t.wished, t.asked, t.stopped = 0, false, false, false
	}
	return t.now()
}

func (a *callAudit) openings(p callPlace) []*callOpening {
	if t := a.tasks[p]; t != nil {
		return t.opened
	}
	return nil
}

// untold are the waves of which the customer has not been told.
func (t *callTask) untold() (waves []string) {
	for _, o := range t.opened {
		for _, wave := range o.waves {
			told := slices.ContainsFunc(t.opened, func(o *callOpening) bool { return slices.Contains(o.told, wave) })
			if !told && !slices.Contains(waves, wave) {
				waves = append(waves, wave)
			}
		}
	}
	return waves
}

func (a *callAudit) find(c *candorv1.CustomerPlace, fence uint64, what string) (*callTask, *callLease) {
	p := callPlaceOf(c)
	t := a.tasks[p]
	if t == nil {
		a.wrong("unknown_task", p, "%s, but it was never queued", what)
		return nil, nil
	}
	l := t.lease(fence)
	if l == nil {
		a.wrong("unknown_lease", p, "lease %d was %s and never given", fence, what)
		return nil, nil
	}
	return t, l
}

// end ends an open lease.
func (a *callAudit) end(l *callLease, at int64, how string) {
	if !l.open {
		a.wrong("ended_twice", l.of, "lease %d was %s after its end", l.fence, how)
		return
	}
	l.open, l.endedAt, l.calledAt = false, at, at
}

func (a *callAudit) expired(at int64, e *candorv1.CallLeaseExpired) {
	t, l := a.find(e.GetCustomer(), e.GetFence(), "expired")
	if t == nil {
		return
	}
	a.report.Expired++
	if at < l.expires {
		a.wrong("expired_early", l.of, "lease %d was to last %d s longer", l.fence, l.expires-at)
	}
	a.end(l, at, "expired")
	l.weight, t.stopped = 1, false
	if !t.asked {
		t.wish, t.wished = 0, false
	}
}

func (a *callAudit) completed(at int64, e *candorv1.CallCompleted) {
	t, l := a.find(e.GetCustomer(), e.GetFence(), "completed")
	if t == nil {
		return
	}
	a.report.Completed++
	d, known := a.rules[l.of.incident].dispositions[e.GetDisposition()]
	if !known {
		a.wrong("unknown_disposition", l.of, "%q", e.GetDisposition())
	}
	if l.reported {
		a.wrong("reported_twice", l.of, "lease %d", l.fence)
	}
	l.reported = true
	if e.GetLate() {
		a.report.Late++
		if l.open {
			a.wrong("late", l.of, "lease %d was reported late while it was out", l.fence)
		}
	} else {
		a.end(l, at, "completed")
		t.stopped = false
	}
	for _, said := range []*timestamppb.Timestamp{e.GetStartedAt(), e.GetEndedAt()} {
		if s := second(said); s != 0 {
			l.calledAt = min(max(s, l.at), at)
		}
	}
	l.weight = float64(d.Counts)
	if started := second(e.GetStartedAt()); started != 0 {
		t.dialled = append(t.dialled, dialled{l, e.GetPhone(), started})
	}
	a.rangBefore(t, l, e.GetPhone())
	t.phones[e.GetPhone()] = e.GetNumber()
	if e.GetNumber() != l.number {
		a.number(l.number).leases = slices.DeleteFunc(a.number(l.number).leases, func(x *callLease) bool { return x == l })
		l.number = e.GetNumber()
		a.number(l.number).leases = append(a.number(l.number).leases, l)
	}
	n := a.number(l.number)
	if d.DoNotCall && !n.refused {
		n.refused, n.since = true, at
	}
	if d.Unanswered || d.NextDay {
		n.avoid = max(n.avoid, l.calledAt)
	}
	t.bad[e.GetPhone()] = t.bad[e.GetPhone()] || d.Number == playbook.NumberBad
	a.follow(t, l, d, e)
}

// rangBefore counts what a lease offered before the phone that was dialled: each of them rang.
func (a *callAudit) rangBefore(t *callTask, l *callLease, phone uint32) {
	offered := append([]uint32{l.phone}, l.next...)
	for _, before := range offered[:max(slices.Index(offered, phone), 0)] {
		call := &callLease{of: l.of, at: l.at, calledAt: l.calledAt, weight: 1, number: t.phones[before]}
		t.rang = append(t.rang, call)
		if call.number != 0 { // else the log does not name it
			n := a.number(call.number)
			n.leases, n.avoid = append(n.leases, call), max(n.avoid, call.calledAt)
		}
	}
}

// follow notes what a report makes of the task.
func (a *callAudit) follow(t *callTask, l *callLease, d playbook.Disposition, e *candorv1.CallCompleted) {
	o := t.now()
	current := o.since == 0 || l.fence > t.leases[o.since-1].fence
	if d.Told {
		a.report.Told++
		if current {
			o.told = slices.Clone(o.waves)
		} else if len(t.opened) > 1 { // it belongs to what the task was open for before
			past := t.opened[len(t.opened)-2]
			past.told, past.state, past.corrected = slices.Clone(past.waves), candorv1.CallState_CALL_STATE_DONE, true
		}
		if current && !e.GetLate() {
			if o.satisfied {
				a.wrong("told_twice", l.of, "lease %d", l.fence)
			}
			o.satisfied = !d.CallBack
		}
	}
	if !current {
		return
	}
	if callOver(e.GetState()) {
		switch {
		case o.state == 0:
		case e.GetState() == o.state:
			return
		case e.GetLate():
			o.corrected = true
			a.report.Corrected++
		default:
			a.wrong("two_ends", l.of, "completed as %v after the end as %v", e.GetState(), o.state)
		}
		o.state, o.reason = e.GetState(), e.GetDisposition()
		return
	}
	last := t.leases[len(t.leases)-1]
	newest := l == last
	t.stopped = t.stopped || last.open && d.Ends != ""
	switch {
	case d.CallBack:
		t.wish, t.said, t.wished, t.asked = second(e.GetCallBackAt()), l.calledAt, true, last.open
	case newest && !t.asked:
		t.wish, t.wished = 0, false
	}
	if newest {
		t.asked = false
	}
}

func callOver(s candorv1.CallState) bool { return s >= candorv1.CallState_CALL_STATE_DONE }

func (a *callAudit) number(hash uint64) *callNumber {
	n := a.numbers[hash]
	if n == nil {
		n = &callNumber{}
		a.numbers[hash] = n
		a.report.Numbers++
	}
	return n
}
