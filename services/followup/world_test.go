package followup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const acme = "acme-2037"

// begun is when the first notices of all tests are approved: four in the morning in New York, on a Monday.
var begun = time.Date(2037, 11, 23, 9, 0, 0, 0, time.UTC)

// daily is the cadence of most tests: each day at ten in New York, sent two hours late.
const daily = `
follow_ups:
  cadence:
    - {name: daily, every: "day 10:00", send: standing, if_late: send within 2h}
`

// calendar is a clock that a test sets.
type calendar struct{ at atomic.Pointer[time.Time] }

func (c *calendar) now() time.Time { return *c.at.Load() }

func (c *calendar) clock() clock.Clock { return clock.Clock{}.On(c.now, nil) }

func (c *calendar) set(t time.Time) { c.at.Store(&t) }

// york is an hour of a day of November in New York.
func york(day, hour, minute int) time.Time {
	return time.Date(2037, 11, day, hour+5, minute, 0, 0, time.UTC)
}

// world is a broker with incidents and a ledger.
type world struct {
	*testing.T
	bus       *bus.Bus
	incidents *incident.Registry
	log       *incident.Log
	texts     *notice.Library
	ledger    *ledgerDouble
	clock     *calendar
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return worldOn(t, bustest.New(t))
}

func worldOn(t *testing.T, b *bus.Bus) *world {
	t.Helper()
	w := &world{T: t, bus: b, incidents: incident.NewRegistry(b), texts: notice.NewLibrary(), clock: &calendar{}}
	w.clock.set(begun)
	w.log = incident.NewLog(b, w.clock.now)
	w.ledger = &ledgerDouble{told: true}
	w.background(w.incidents.Run)
	w.background(func(ctx context.Context) error {
		return b.Serve(ctx, topology.Ask("ledger", "status"), "ledger", 1, w.ledger.answer)
	})
	w.until(func() bool {
		_, err := b.Request(t.Context(), topology.Ask("ledger", "status"), nil, nil)
		return !errors.Is(err, bus.ErrUnavailable)
	}, "the ledger answers")
	return w
}

// background runs something until the test ends, or until the function that it returns is called.
func (w *world) background(run func(context.Context) error) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			w.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	w.Cleanup(stop)
	return stop
}

// service is a process that remembers nothing but texts.
func (w *world) service() *Followup {
	cfg := DefaultConfig()
	cfg.LookEvery = 20 * time.Millisecond
	return New(cfg, Deps{Bus: w.bus, Incidents: w.incidents, Texts: w.texts, Clock: w.clock.clock(), Log: zerolog.Nop()})
}

// declare approves an incident with the starter's playbook and another cadence.
func (w *world) declare(id, cadence string) {
	w.Helper()
	facts := w.starter("facts.yaml")
	pb := w.starter("playbook.yaml")
	before, after := strings.Index(pb, "\nfollow_ups:\n"), strings.Index(pb, "\nclosing_note:")
	pb = pb[:before] + cadence + pb[after:]
	d := &candorv1.Declaration{Incident: id, Playbook: pb, Facts: facts, RosterDigest: strings.Repeat("a", 64)}
	w.event(id, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1, Declaration: d, PlanHash: incident.Hash(d)}}})
	w.event(id, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1, PlanHash: incident.Hash(d)}}})
	if _, err := w.texts.Plan(w.load(id)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) starter(name string) string {
	w.Helper()
	data, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		w.Fatal(err)
	}
	return string(data)
}

// event appends one event, whoever else writes.
func (w *world) event(id string, e *candorv1.BreachEvent) {
	w.Helper()
	for {
		inc, err := w.log.Load(w.Context(), id)
		if err != nil && !errors.Is(err, incident.ErrUnknown) {
			w.Fatal(err)
		}
		switch inc, err = w.log.Append(w.Context(), inc, incident.Service("test"), e); {
		case err == nil:
			w.until(func() bool { now := w.incidents.Get(id); return now != nil && now.Seq >= inc.Seq }, "the event is read")
			return
		case !errors.Is(err, bus.ErrOvertaken):
			w.Fatal(err)
		}
	}
}

// approve drafts and approves news.
func (w *world) approve(id string, a *candorv1.Addition) {
	w.Helper()
	hash, err := incident.HashAddition(w.load(id).PlanHash(), a)
	if err != nil {
		w.Fatal(err)
	}
	w.event(id, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: a, Hash: hash}}})
	w.event(id, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: a.GetWave(), Hash: hash}}})
}

// planned plays the planner, which plans at once.
func (w *world) planned(id, wave string) {
	w.Helper()
	w.event(id, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{Wave: wave}}})
}

func (w *world) pause(id string) {
	w.Helper()
	w.event(id, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{}}})
}

func (w *world) load(id string) *incident.Incident {
	w.Helper()
	inc, err := w.log.Load(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return inc
}

// decisions are those about an incident, in short.
func (w *world) decisions(id string) (list []string) {
	w.Helper()
	for _, d := range w.load(id).Decisions {
		what := candorv1.Word(d.GetDecision())
		list = append(list, fmt.Sprintf("%s %s %s: %s", d.GetName(), d.GetDueAt().AsTime().Format("01-02 15:04"), strings.TrimSpace(what+" "+d.GetWave()), d.GetReason()))
	}
	return list
}

// wants waits until these decisions are there and no others.
func (w *world) wants(id string, want ...string) {
	w.Helper()
	var got []string
	w.until(func() bool { got = w.decisions(id); return len(got) >= len(want) }, fmt.Sprintf("%d decisions", len(want)))
	if !slices.Equal(got, want) {
		w.Errorf("%s:\ngot  %q\nwant %q", id, got, want)
	}
}

// until waits for a state.
func (w *world) until(ok func() bool, what string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			w.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// alarmAt returns the instant for which an alarm is set; zero for none.
func (w *world) alarmAt(id, name string) time.Time {
	w.Helper()
	m, err := w.bus.Last(w.Context(), topology.StreamTimetable, topology.Timetable(id, name))
	if errors.Is(err, bus.ErrNotFound) {
		return time.Time{}
	}
	if err != nil {
		w.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header[headerAt])
	if err != nil {
		w.Fatal(err)
	}
	return at
}

// timetable counts what lies in the stream.
func (w *world) timetable(filter string) (n uint64) {
	w.Helper()
	counts, err := w.bus.CountSubjects(w.Context(), topology.StreamTimetable, filter)
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range counts {
		n += c
	}
	return n
}

// told says up to which event of an incident the planner was told.
func (w *world) told(id string) uint64 {
	w.Helper()
	m, err := w.bus.Last(w.Context(), topology.StreamBreach, topology.BreachFact(topology.FactUpdated, id))
	if errors.Is(err, bus.ErrNotFound) {
		return 0
	}
	p := &candorv1.Incident{}
	if err := errors.Join(err, proto.Unmarshal(m.Data, p)); err != nil {
		w.Fatal(err)
	}
	return p.GetSequence()
}

// look is one look at the incident as it is.
func (w *world) look(ctx context.Context, f *Followup, id string) error {
	f.looking.Lock()
	defer f.looking.Unlock()
	return f.look(ctx, w.load(id))
}

// dying is a context that ends at some moment of the work with the broker.
type dying struct {
	context.Context
	left   *atomic.Int64
	cancel context.CancelFunc
}

func (d dying) Deadline() (time.Time, bool) {
	if d.left.Add(-1) == 0 {
		d.cancel()
	}
	return d.Context.Deadline()
}

// crash does work until its nth moment, and says whether it was cut off.
func (w *world) crash(n int64, work func(context.Context) error) bool {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	left := &atomic.Int64{}
	left.Store(n)
	err := work(dying{ctx, left, cancel})
	if ctx.Err() != nil {
		return true
	}
	if err != nil {
		w.Fatal(err)
	}
	return false
}

// ledgerDouble answers what a test says.
type ledgerDouble struct {
	mu    sync.Mutex
	told  bool
	open  map[string]bool
	lag   bool
	asked int
}

func (l *ledgerDouble) say(change func(l *ledgerDouble)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *ledgerDouble) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

func (l *ledgerDouble) answer(_ context.Context, r bus.Request) (bus.Reply, error) {
	q := &candorv1.GetStatusRequest{}
	if err := proto.Unmarshal(r.Data, q); err != nil {
		return bus.Reply{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	st := &candorv1.Status{Incident: q.GetIncident(), People: &candorv1.PeopleStatus{}, JournalLast: 7, FoldedTo: 7}
	if l.told {
		st.People.Told = 3
	}
	if l.lag {
		st.FoldedTo = 6
	}
	for wave, open := range l.open {
		if open {
			st.Waves = append(st.Waves, &candorv1.WaveStatus{Wave: wave, Channels: []*candorv1.ChannelStatus{{States: map[string]uint64{"waiting": 1}}}})
		}
	}
	data, err := proto.Marshal(&candorv1.GetStatusResponse{Status: st})
	return bus.Reply{Data: data}, err
}
