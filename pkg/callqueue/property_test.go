package callqueue

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// The days around which clocks change, and one on which none does.
var starts = []string{"2026-10-30T13:00:00Z", "2027-03-12T15:00:00Z", "2026-03-27T08:00:00Z", "2026-11-23T14:00:00Z", "2026-12-31T22:00:00Z"}

type held struct {
	Granted
	dialer string
	report *Report
	answer Answer
}

type player struct {
	*world
	t      *rapid.T
	places []Place
	leases []*held
	left   map[string]uint64 // open tasks of the incidents that are closing, when that was looked at last
}

func newPlayer(t *rapid.T, tb testing.TB) *player {
	from, err := time.Parse(time.RFC3339, rapid.SampledFrom(starts).Draw(t, "start"))
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]*playbook.Calls{}
	for _, name := range []string{"b-1", "b-2"} {
		r := playbook.DefaultCalls()
		r.CallBack.Missed = rapid.SampledFrom([]string{playbook.MissedNextSlot, playbook.MissedNextDay, playbook.MissedClose}).Draw(t, "missed")
		r.Caps.Total = rapid.IntRange(1, 6).Draw(t, "total")
		r.Caps.NumberPerDay = rapid.IntRange(1, 3).Draw(t, "per day")
		r.Caps.PersonPerWeek = rapid.IntRange(2, 7).Draw(t, "per week")
		if rapid.Bool().Draw(t, "turns") {
			d := r.Dispositions["no_answer"]
			d.Number = playbook.NumberNext
			r.Dispositions["no_answer"] = d
		}
		if rapid.Bool().Draw(t, "skills") {
			r.Skills = map[string][]string{"es": {"spanish"}}
		}
		rules[name] = &r
	}
	p := &player{world: newWorld(tb, from, rules), t: t, left: map[string]uint64{}}
	names := []string{"America/New_York", "America/Los_Angeles", "Europe/London", "America/Phoenix", "Australia/Lord_Howe"}
	for _, name := range []string{"b-1", "b-2"} {
		for page := range uint32(2) {
			for slot := range uint32(rapid.IntRange(1, 4).Draw(t, "slots")) {
				f := Facts{Language: rapid.SampledFrom([]string{"en", "es", "es-MX"}).Draw(t, "language")}
				f.Numbers = rapid.SliceOfNDistinct(rapid.Uint64Range(1, 12), 1, 3, rapid.ID).Draw(t, "numbers")
				for range f.Numbers {
					var zones []*time.Location
					for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names[:4]), 1, 2, rapid.ID).Draw(t, "zones") {
						zones = append(zones, zone(tb, n))
					}
					if len(zones) == 2 && (zones[0].String() == "Europe/London" || zones[1].String() == "Europe/London") {
						zones = zones[:1] // hours in common too short to keep away from a time of day
					}
					if rapid.IntRange(0, 9).Draw(t, "far") == 0 {
						zones = []*time.Location{zone(tb, names[4])}
					}
					uncertain := rapid.IntRange(0, 5).Draw(t, "uncertain") == 0
					if uncertain {
						zones = zones[:1]
					}
					f.Zones = append(f.Zones, zones)
					f.Uncertain = append(f.Uncertain, uncertain)
				}
				if rapid.IntRange(0, 19).Draw(t, "out") == 0 {
					f.Suppressed = "opted_out"
				}
				at := Place{name, page, slot}
				p.facts[at] = f
				p.places = append(p.places, at)
			}
		}
	}
	p.audit = newAudit(rules, p.facts)
	p.audit.held = p.held
	return p
}

// checks are what must hold after every step.
func (p *player) checks() {
	if len(p.audit.wrong) > 0 {
		var log strings.Builder
		for _, s := range p.log {
			fmt.Fprintln(&log, s.at.UTC().Format(time.RFC3339), s.incident, s.event)
		}
		p.t.Fatalf("%s\nafter\n%s", strings.Join(p.audit.wrong, "\n"), &log)
	}
	seen := map[string]uint64{}
	for _, name := range p.q.Incidents() {
		for state, n := range p.q.Counts(p.now, name).States {
			seen[state] += n
		}
	}
	for name, how := range p.closing {
		before, looked := p.left[name]
		if p.left[name] = p.q.Open(name); how == candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW && looked && p.left[name] > before {
			p.t.Fatalf("the calls of %s are taken back, and it has %d open tasks after %d", name, p.left[name], before)
		}
	}
	states := map[string]uint64{}
	for _, at := range p.places {
		e, err := p.q.Explain(p.now, at)
		if errors.Is(err, ErrNoTask) {
			if t := p.audit.tasks[at]; t != nil {
				p.t.Fatalf("%v is lost", at)
			}
			continue
		}
		states[candorv1.Word(e.State)]++
		if known := p.audit.tasks[at].state; isOver(candorv1.Word(e.State)) != isOver(known) || isOver(known) && known != candorv1.Word(e.State) ||
			(known == "leased") != (candorv1.Word(e.State) == "leased") && !isOver(known) {
			p.t.Fatalf("%v is %v, the log says %s", at, e.State, known)
		}
		if isOver(candorv1.Word(e.State)) {
			p.settled(at)
		}
		if len(e.Reasons) == 0 {
			p.t.Fatalf("%v: no reasons", at)
		}
		if e.Callable != (e.Reasons[len(e.Reasons)-1].Name == "clear") {
			p.t.Fatalf("%v: callable is %v, but %q", at, e.Callable, e.Words())
		}
	}
	if diff := gocmp.Diff(states, seen); diff != "" {
		p.t.Fatalf("counts (-explained +counted):\n%s", diff)
	}
}

// settled compares what the journals are told of a customer with what the log says: each wave, and told if they were.
func (p *player) settled(at Place) {
	got, want := map[string]bool{}, map[string]bool{}
	for _, s := range p.q.SettledAt(at) {
		for _, w := range s.Waves {
			got[w.Wave] = w.Result == candorv1.Result_RESULT_DELIVERED
		}
	}
	for wave := range p.audit.tasks[at].waves {
		want[wave] = p.audit.tasks[at].told[wave]
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		p.t.Fatalf("%v: waves told (-log +settled):\n%s", at, diff)
	}
}

// expected is whom a claim for one task must get, by looking at everybody.
func (p *player) expected(c Claim) (best []Place) {
	type rank struct {
		place Place
		class int
		ends  uint32
		age   uint32
	}
	var all []rank
	now := sec(p.now)
	for _, at := range p.places {
		id := p.q.task(at)
		if id == 0 || !p.q.callable(id, now) {
			continue
		}
		t := p.q.tasks.at(id)
		in := p.q.of(t)
		language := p.facts[at].Language
		if len(c.Incidents) > 0 && !slices.Contains(c.Incidents, at.Incident) {
			continue
		}
		if len(c.Languages) > 0 && !slices.Contains(c.Languages, language) && !slices.Contains(c.Languages, strings.TrimSuffix(language, "-MX")) &&
			!slices.Contains(c.Languages, language+"-MX") {
			continue
		}
		if in.rules.Skills != nil && language != "en" && !slices.Contains(c.Skills, "spanish") {
			continue
		}
		w := p.q.wishOf(t, in, now)
		r := rank{place: at, class: int(t.class(w)), ends: w.until, age: t.queued}
		if w.at == 0 {
			index, _ := p.q.phoneOf(t, w, now)
			h := p.q.hours[p.q.phones.at(t.phones+uint32(index)).hours]
			h.look(now)
			r.ends = h.lastCall
		} else {
			r.age = 0
		}
		if (p.q.leased+1)%reserve == 0 {
			r.class = -r.class
		}
		all = append(all, r)
	}
	order := func(a, b rank) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.ends, b.ends), cmp.Compare(a.age, b.age))
	}
	slices.SortFunc(all, order)
	for _, r := range all {
		if order(all[0], r) == 0 {
			best = append(best, r.place)
		}
	}
	return best
}

func (p *player) claims(c Claim) {
	for range max(c.Max, 1) {
		want := p.expected(c)
		one := c
		one.Max = 1
		granted := p.claim(one)
		if len(granted) == 0 {
			if len(want) > 0 {
				p.t.Fatalf("nobody was claimed, though %v could be", want)
			}
			return
		}
		if p.closing[granted[0].Place.Incident] == candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW {
			p.t.Fatalf("%v was leased, and the calls were taken back", granted[0].Place)
		}
		if !slices.Contains(want, granted[0].Place) {
			p.t.Fatalf("claimed %v, want one of %v", granted[0].Place, want)
		}
		p.leases = append(p.leases, &held{Granted: granted[0], dialer: c.Dialer})
	}
}

func (p *player) step() {
	t := p.t
	switch rapid.IntRange(0, 19).Draw(t, "command") {
	case 0, 1:
		name := rapid.SampledFrom([]string{"b-1", "b-2"}).Draw(t, "incident")
		page := rapid.Uint32Range(0, 1).Draw(t, "page")
		var slots []uint32
		for _, at := range p.places {
			if at.Incident == name && at.Page == page && rapid.Bool().Draw(t, "in") {
				slots = append(slots, at.Slot)
			}
		}
		if len(slots) > 0 {
			p.queue(name, fmt.Sprintf("w%d", rapid.IntRange(0, 2).Draw(t, "wave")), page, rapid.Uint32Range(0, 4).Draw(t, "priority"), slots...)
		}
	case 2:
		at := rapid.SampledFrom(p.places).Draw(t, "who")
		var when time.Time
		if rapid.Bool().Draw(t, "timed") {
			when = p.now.Add(time.Duration(rapid.IntRange(1, rapid.SampledFrom([]int{40 * 60, 60 * 60 * 60}).Draw(t, "within")).Draw(t, "in")) * time.Second)
		}
		if err := p.ask(at, when, fmt.Sprint("r", rapid.IntRange(0, 30).Draw(t, "request"))); err != nil {
			t.Fatal(err)
		}
	case 3, 4, 5, 6, 7:
		c := Claim{Dialer: fmt.Sprint("d", rapid.IntRange(0, 2).Draw(t, "dialer")), Max: rapid.IntRange(0, 4).Draw(t, "max")}
		if rapid.Bool().Draw(t, "spanish") {
			c.Skills = []string{"spanish"}
		}
		if rapid.IntRange(0, 3).Draw(t, "languages") == 0 {
			c.Languages = []string{rapid.SampledFrom([]string{"en", "es", "es-MX"}).Draw(t, "language")}
		}
		if rapid.IntRange(0, 3).Draw(t, "incidents") == 0 {
			c.Incidents = []string{"b-2"}
		}
		if rapid.IntRange(0, 5).Draw(t, "long") == 0 {
			c.LeaseFor = 8 * time.Hour
		}
		p.claims(c)
	case 8, 9, 10, 11:
		p.report()
	case 12:
		if len(p.leases) > 0 {
			l := rapid.SampledFrom(p.leases).Draw(t, "lease")
			if err := p.release(l.dialer, l.Lease, rapid.SampledFrom([]string{"", "agent_skip", "shutdown"}).Draw(t, "why")); err != nil {
				t.Fatal(err)
			}
		}
	case 13:
		if len(p.leases) > 0 {
			l := p.leases[len(p.leases)-rapid.IntRange(1, min(3, len(p.leases))).Draw(t, "newest")] // which may be out
			_, err := p.renew(l.dialer, l.Lease, rapid.SampledFrom([]time.Duration{0, 9 * time.Hour}).Draw(t, "lasting"))
			if err != nil && !errors.Is(err, ErrLeaseOver) && !errors.Is(err, ErrWithdrawn) && !errors.Is(err, ErrNotNow) {
				t.Fatal(err)
			}
		}
	case 14:
		switch rapid.IntRange(0, 7).Draw(t, "outside") {
		case 0:
			name := rapid.SampledFrom([]string{"b-1", "b-2"}).Draw(t, "incident")
			p.held[name] = !p.held[name]
			p.q.Hold(name, p.held[name])
		case 1:
			n := rapid.Uint64Range(1, 12).Draw(t, "number")
			p.suppressed = append(p.suppressed, n)
			p.q.Suppress(p.now, n)
			p.audit.shut[n] = true
		case 2:
			name := rapid.SampledFrom([]string{"b-1", "b-2"}).Draw(t, "incident")
			var places []Place
			for _, at := range p.places {
				if at.Incident == name && rapid.Bool().Draw(t, "in") {
					places = append(places, at)
				}
			}
			events, err := p.q.Withdraw(p.now, name, places, candorv1.CallState_CALL_STATE_EXPIRED, "reached")
			if err != nil {
				t.Fatal(err)
			}
			p.store(name, events...)
		case 3:
			name := rapid.SampledFrom([]string{"b-1", "b-2"}).Draw(t, "incident")
			if _, closing := p.closing[name]; closing { // and is opened again
				delete(p.left, name)
				p.close(name, candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED)
				delete(p.closing, name)
				break
			}
			p.close(name, rapid.SampledFrom([]candorv1.CallsAtClose{
				candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN, candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW,
			}).Draw(t, "calls"))
		}
	case 15:
		p.sameAsRefolded()
	default:
		steps := []time.Duration{time.Second, time.Minute, 17 * time.Minute, time.Hour, 5 * time.Hour, 26 * time.Hour}
		p.now = p.now.Add(rapid.SampledFrom(steps).Draw(t, "later"))
		if next, ok := p.q.NextAt(p.now); ok && rapid.Bool().Draw(t, "next") {
			p.now = next
		}
		if rapid.IntRange(0, 3).Draw(t, "tick") > 0 {
			p.tick()
		}
	}
}

func (p *player) report() {
	t := p.t
	if len(p.leases) == 0 {
		return
	}
	l := rapid.SampledFrom(p.leases).Draw(t, "lease")
	if rapid.IntRange(0, 9).Draw(t, "foreign") == 0 {
		if _, err := p.completeAs("somebody", l.Lease, Report{Disposition: "notified"}); !errors.Is(err, ErrForeignLease) {
			t.Fatalf("foreign lease: %v", err)
		}
	}
	if l.report != nil {
		before := len(p.log)
		answer, err := p.completeAs(l.dialer, l.Lease, *l.report)
		if err != nil || answer != l.answer || len(p.log) != before {
			t.Fatalf("told again: %+v, %v, want %+v", answer, err, l.answer)
		}
		return
	}
	codes := []string{
		"notified", "no_answer", "no_answer", "busy", "callback", "notified_callback", "wrong_number", "invalid", "third_party",
		"do_not_call", "voicemail_left", "congestion", "refused_info", "agent_skip", "rejected",
	}
	r := Report{Disposition: rapid.SampledFrom(codes).Draw(t, "disposition")}
	if p.rules[l.Place.Incident].Dispositions[r.Disposition].CallBack {
		r.CallBackAt = p.now.Add(time.Duration(rapid.IntRange(60, rapid.SampledFrom([]int{40 * 60, 200000}).Draw(t, "within")).Draw(t, "back")) * time.Second)
	}
	if len(l.Next) > 0 && rapid.Bool().Draw(t, "other phone") {
		r.Number = p.facts[l.Place].Numbers[rapid.SampledFrom(l.Next).Draw(t, "phone")]
	}
	if rapid.Bool().Draw(t, "times") {
		r.StartedAt = p.now.Add(-time.Duration(rapid.IntRange(-5, 300).Draw(t, "ago")) * time.Second)
		r.EndedAt = r.StartedAt.Add(30 * time.Second)
		if r.CallBackAt.Before(r.EndedAt) && !r.CallBackAt.IsZero() {
			r.EndedAt = r.StartedAt
		}
	}
	answer, err := p.completeAs(l.dialer, l.Lease, r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	l.report, l.answer = &r, answer
}

// sameAsRefolded takes the queue over, as a new owner does.
func (p *player) sameAsRefolded() {
	p.tick() // the calls of an incident that is closing end with their leases
	q := p.refold()
	if diff := gocmp.Diff(p.view(p.q), p.view(q)); diff != "" {
		p.t.Fatalf("refolded (-live +refolded):\n%s", diff)
	}
	if q.leased != p.q.leased {
		p.t.Fatalf("refolded: %d leases, want %d", q.leased, p.q.leased)
	}
	p.q = q
}

// end works until nobody is left: no task is lost.
func (p *player) end() {
	for name := range p.rules {
		p.held[name] = false
		p.q.Hold(name, false)
	}
	for range 5000 {
		p.tick()
		p.checks()
		for _, g := range p.claim(Claim{Dialer: "last", Max: 3, Skills: []string{"spanish"}}) {
			code := rapid.SampledFrom([]string{"notified", "no_answer", "busy", "wrong_number"}).Draw(p.t, "at last")
			if _, err := p.completeAs("last", g.Lease, Report{Disposition: code}); err != nil {
				p.t.Fatal(err)
			}
		}
		if p.q.Open("b-1")+p.q.Open("b-2") == 0 {
			return
		}
		if p.q.Counts(p.now, "").Callable > 0 {
			continue // what a report made callable at once
		}
		next, ok := p.q.NextAt(p.now)
		if !ok {
			break
		}
		if p.now = p.now.Add(time.Second); next.After(p.now) {
			p.now = next
		}
	}
	for _, at := range p.places {
		if e, err := p.q.Explain(p.now, at); err == nil && !over(e.State) {
			p.t.Errorf("%v: %v %q", at, e.State, e.Words())
		}
	}
	p.t.Fatal("tasks are left that nobody gets")
}

// Whatever is asked in whatever order: nobody is held by two, no cap, no hours, no gap is broken, nobody is lost, and the log
// makes the same queue again.
func TestNothingIsBrokenAndNobodyIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := newPlayer(rt, t)
		for range rapid.IntRange(5, 80).Draw(rt, "steps") {
			p.step()
			p.checks()
		}
		p.sameAsRefolded()
		p.end()
		p.sameAsRefolded()
	})
}
