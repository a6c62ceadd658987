package callqueue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"candor/pkg/journal"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// stored is an event as it lies on the stream.
type stored struct {
	at       time.Time
	incident string
	event    *candorv1.CallEvent
}

// world is a queue with its log and all that is told to it from outside.
type world struct {
	t          testing.TB
	q          *Queue
	now        time.Time
	log        []stored
	rules      map[string]*playbook.Calls
	facts      map[Place]Facts
	held       map[string]bool
	closing    map[string]candorv1.CallsAtClose
	suppressed []uint64
	random     uint64
	audit      *audit // nil where nobody looks on
}

func newWorld(t testing.TB, now time.Time, rules map[string]*playbook.Calls) *world {
	w := &world{t: t, q: New(), now: now, rules: rules, facts: map[Place]Facts{}, held: map[string]bool{}, closing: map[string]candorv1.CallsAtClose{}}
	for name, r := range rules {
		w.q.SetRules(now, name, r)
	}
	return w
}

const inc = "b-1"

// oneTask is a world with one customer, queued.
func oneTask(t testing.TB, now time.Time, change func(*playbook.Calls), f Facts) *world {
	t.Helper()
	rules := playbook.DefaultCalls()
	if change != nil {
		change(&rules)
	}
	w := newWorld(t, now, map[string]*playbook.Calls{inc: &rules})
	w.facts[Place{inc, 1, 0}] = f
	w.queue(inc, "w0", 1, 3, 0)
	return w
}

func (w *world) store(name string, events ...*candorv1.CallEvent) {
	w.t.Helper()
	for _, ev := range events {
		if ev == nil {
			continue
		}
		s := stored{w.now, name, gproto.Clone(ev).(*candorv1.CallEvent)}
		w.log = append(w.log, s)
		if w.audit != nil {
			w.audit.read(s)
		}
	}
}

func (w *world) factsOf(name string) FactsOf {
	return func(page, slot uint32) Facts { return w.facts[Place{name, page, slot}] }
}

func (w *world) queue(name, wave string, page, priority uint32, slots ...uint32) {
	w.t.Helper()
	events, err := w.q.Queue(w.now, name, &candorv1.CallsQueued{Wave: wave, Page: page, Slots: journal.Runs(slots), Priority: priority, Purpose: "first_notice"}, w.factsOf(name))
	if err != nil {
		w.t.Fatal(err)
	}
	w.store(name, events...)
}

func (w *world) ask(p Place, at time.Time, request string) error {
	events, err := w.q.Ask(w.now, Asked{Place: p, At: at, Request: request}, w.factsOf(p.Incident))
	w.store(p.Incident, events...)
	return err
}

func (w *world) claim(c Claim) []Granted {
	w.t.Helper()
	c.Random = func() uint64 { w.random++; return w.random * 0x9e3779b97f4a7c15 }
	if c.Dialer == "" {
		c.Dialer = "d"
	}
	granted, err := w.q.Claim(w.now, c)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, g := range granted {
		w.store(g.Place.Incident, g.Event)
	}
	return granted
}

// one claims the only task that there is.
func (w *world) one() Granted {
	w.t.Helper()
	granted := w.claim(Claim{})
	if len(granted) != 1 {
		w.t.Fatalf("at %v %d tasks were claimed, want one: %q", w.now, len(granted), w.explain())
	}
	return granted[0]
}

func (w *world) none() {
	w.t.Helper()
	if granted := w.claim(Claim{}); len(granted) != 0 {
		w.t.Fatalf("at %v claimed %v, want nobody", w.now, granted[0].Place)
	}
}

func (w *world) explain() []string {
	e, err := w.q.Explain(w.now, Place{inc, 1, 0})
	if err != nil {
		return []string{err.Error()}
	}
	return e.Words()
}

func (w *world) complete(l Lease, r Report) (Answer, error) {
	return w.completeAs("d", l, r)
}

func (w *world) completeAs(dialer string, l Lease, r Report) (Answer, error) {
	answer, ev, err := w.q.Complete(w.now, l, dialer, r)
	w.store(l.Place.Incident, ev)
	return answer, err
}

func (w *world) mustComplete(l Lease, r Report) Answer {
	w.t.Helper()
	answer, err := w.complete(l, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

func (w *world) release(dialer string, l Lease, reason string) error {
	ev, err := w.q.Release(w.now, l, dialer, reason)
	w.store(l.Place.Incident, ev)
	return err
}

func (w *world) renew(dialer string, l Lease, lasting time.Duration) (time.Time, error) {
	until, ev, err := w.q.Renew(w.now, l, dialer, lasting)
	w.store(l.Place.Incident, ev)
	return until, err
}

func (w *world) close(name string, how candorv1.CallsAtClose) {
	w.closing[name] = how
	w.store(name, w.q.Close(w.now, name, how)...)
}

func (w *world) tick() {
	for _, ev := range w.q.Tick(w.now) {
		w.store(ev.Incident, ev.CallEvent)
	}
}

func (w *world) state() string {
	w.t.Helper()
	e, err := w.q.Explain(w.now, Place{inc, 1, 0})
	if err != nil {
		w.t.Fatal(err)
	}
	return candorv1.Word(e.State)
}

// refold folds the log into a new queue.
func (w *world) refold() *Queue {
	w.t.Helper()
	q := New()
	for name, r := range w.rules {
		q.SetRules(w.now, name, r)
		q.Hold(name, w.held[name])
	}
	for i, s := range w.log {
		if err := q.Apply(s.at, s.incident, s.event, w.factsOf(s.incident)); err != nil {
			w.t.Fatalf("event %d, %v: %v", i, s.event, err)
		}
	}
	for _, n := range w.suppressed {
		q.Suppress(w.now, n)
	}
	for name, how := range w.closing {
		if events := q.Close(w.now, name, how); len(events) > 0 {
			w.t.Fatalf("the new owner takes back what the old one left: %v", events)
		}
	}
	return q
}

// view is all that can be seen of a queue.
func (w *world) view(q *Queue) (lines []string) {
	for _, name := range q.Incidents() {
		c := q.Counts(w.now, name)
		lines = append(lines, fmt.Sprint(name, c.States, c.Dispositions, q.Open(name), q.Pages(name)))
		for _, page := range q.Pages(name) {
			for s := range q.Settled(name, page) {
				lines = append(lines, fmt.Sprint(s))
			}
		}
	}
	for p := range w.facts {
		if e, err := q.Explain(w.now, p); err == nil {
			lines = append(lines, fmt.Sprintf("%v %+v", p, e), fmt.Sprintf("%+v", q.SettledAt(p)))
		}
	}
	slices.Sort(lines)
	return lines
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// inNewYork is a customer of New York with so many numbers.
func inNewYork(t testing.TB, numbers ...uint64) Facts {
	f := Facts{Numbers: numbers, Language: "en"}
	for range numbers {
		f.Zones = append(f.Zones, []*time.Location{zone(t, "America/New_York")})
	}
	return f
}

// at reads the wall clock of New York in the week of Monday, 23 November 2026.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	day := map[string]int{"Mon": 23, "Tue": 24, "Wed": 25, "Thu": 26, "Fri": 27, "Sat": 28, "Sun": 29}[s[:3]]
	clock, err := time.Parse("15:04", s[4:])
	if err != nil || day == 0 {
		t.Fatalf("no such time: %q", s)
	}
	return time.Date(2026, 11, day, clock.Hour(), clock.Minute(), 0, 0, zone(t, "America/New_York"))
}
