package dispatch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/pii"
	"candor/pkg/provider"
	"candor/pkg/ratelimit"
	"candor/pkg/roster"
	"candor/pkg/topology"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testIncident = "acme-2026"
	testWave     = "w0"
	sms          = candorv1.Channel_CHANNEL_SMS
)

// world is one incident with one page, a real broker, and a provider that remembers what it was handed.
type world struct {
	t       *testing.T
	bus     *bus.Bus
	journal *journal.Journal
	log     *incident.Log
	inc     *incident.Incident
	key     journal.Key
	hash    []byte // that two people approved for the wave
	carrier *carrier
	terms   Terms
	cfg     Config
	clock   clock.Clock
	now     func() time.Time     // the machine's
	mono    func() time.Duration // the machine's
	cancel  context.CancelFunc   // tells the worker that was started last to stop
	known   *incident.Registry   // what the worker that was started last knows
	reserve time.Duration        // of a worker's wait for the sender's time; the product's if not set
}

var textHash = sha256.Sum256([]byte("text"))

// newWorld opens the journal of a page with n customers of a declared incident.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	return newWorldBy(t, n, clock.Clock{}, bustest.New(t))
}

// newFastWorld is newWorld where the calendar starts at an instant and goes so many times as fast as the machine.
func newFastWorld(t *testing.T, n int, origin time.Time, speed float64) *world {
	t.Helper()
	server, _ := bustest.Start(t, bustest.Options{})
	c := clock.Fast(origin, time.Now(), speed)
	b, err := bus.Connect(t.Context(), bus.Config{Server: server, Name: "fast", Clock: c, RequestTimeout: bustest.Patience}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return newWorldBy(t, n, c, b)
}

func newWorldBy(t *testing.T, n int, c clock.Clock, b *bus.Bus) *world {
	t.Helper()
	start := time.Now()
	w := &world{
		t: t, bus: b, clock: c, key: journal.Key{Channel: sms, Incident: testIncident, Wave: testWave, Page: 0}, hash: []byte("plan"),
		now: time.Now, mono: func() time.Duration { return time.Since(start) },
	}
	w.cfg = DefaultConfig(sms)
	w.cfg.Provider, w.cfg.SpillDir = "twilio", t.TempDir()
	w.cfg.RequestTimeout, w.cfg.VisibilityLag = 200*time.Millisecond, 0
	w.cfg.RetryFirst, w.cfg.RetryMost, w.cfg.PausePoll = 10*time.Millisecond, 50*time.Millisecond, time.Second
	w.terms = Terms{TextHash: textHash[:], Quiet: window.None(), Zone: time.UTC, RetryBudget: time.Hour}
	w.carrier = &carrier{held: map[uint32][]string{}}
	w.journal = journal.New(w.bus, bus.Direct{Bus: w.bus, Stream: topology.StreamJournal}, func() time.Time { return c.FromMachine(w.now()) })
	w.log = incident.NewLog(w.bus, c.Now)
	w.carrier.page = &roster.Page{TimeZone: "UTC", Language: "en"}
	for i := range n {
		w.carrier.page.Customers = append(w.carrier.page.Customers, roster.Customer{
			Ref: fmt.Sprintf("C%04d", i), Code: fmt.Sprintf("COD-%04d", i), TextPhones: 2, Tier: 1,
			Phones: []pii.Phone{pii.NewPhone(fmt.Sprintf("+1212555%04d", i)), pii.NewPhone(fmt.Sprintf("+1312555%04d", i))},
		})
	}
	w.inc = &incident.Incident{ID: testIncident}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1, PlanHash: []byte("plan")}}})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1, PlanHash: []byte("plan")}}})
	return w
}

func (w *world) event(e *candorv1.BreachEvent) {
	w.t.Helper()
	inc, err := w.log.Append(w.t.Context(), w.inc, incident.Service("test"), e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.inc = inc
}

func (w *world) open() {
	w.t.Helper()
	w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{
		PlanHash: w.hash, TextHash: textHash[:], Slots: uint32(len(w.carrier.page.Customers)),
	}}})
}

// write appends an entry as somebody else would.
func (w *world) write(e *candorv1.JournalEntry) {
	w.t.Helper()
	st, err := w.journal.Load(w.t.Context(), w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	entry := w.journal.Entry()
	entry.Event = e.GetEvent()
	if e.GetOccurredAt() != nil {
		entry.OccurredAt = e.GetOccurredAt()
	}
	if err := w.journal.Fact(w.t.Context(), w.key, st, entry); err != nil {
		w.t.Fatal(err)
	}
}

// hear appends a receipt as the front door would.
func (w *world) hear(attempt uint32, g *candorv1.OutcomeGroup) {
	w.t.Helper()
	e := w.journal.Entry()
	e.Event = &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
		Attempt: attempt, Decider: candorv1.Decider_DECIDER_RECEIPT, Provider: "twilio", Groups: []*candorv1.OutcomeGroup{g},
	}}
	data, err := proto.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.bus.Append(w.t.Context(), topology.StreamReceipts, bus.Message{Subject: w.key.Receipts(), Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) order() {
	w.t.Helper()
	data, err := proto.Marshal(&candorv1.Order{Incident: testIncident, Wave: w.key.Wave, Channel: sms, Lane: topology.LaneFirst, PlanHash: w.hash})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.bus.Append(w.t.Context(), topology.StreamOrders, bus.Message{
		Subject: topology.Order(sms, topology.LaneFirst, testIncident, w.key.Wave, 0), Data: data,
	}); err != nil {
		w.t.Fatal(err)
	}
}

// start runs a worker until the test ends, or until the function it returns is called.
func (w *world) start(change ...func(*Deps)) (stop func()) {
	w.t.Helper()
	kv, err := w.bus.KV(w.t.Context(), topology.BucketLimits)
	if err != nil {
		w.t.Fatal(err)
	}
	reg := incident.NewRegistry(w.bus)
	d := Deps{
		Bus: w.bus, Journal: w.journal, Incidents: reg, Pages: w.carrier, Limiter: ratelimit.New(kv, time.Now, zerolog.Nop()),
		Courier: courier{w}, BootID: 2, WorkerID: 1, Booted: w.clock.Now(), Log: zerolog.Nop(),
		Clock: w.clock.On(func() time.Time { return w.now() }, func() time.Duration { return w.mono() }),
	}
	for _, c := range change {
		c(&d)
	}
	worker, err := New(w.cfg, d)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.reserve > 0 {
		worker.reserving = w.reserve
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.known = cancel, reg
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := reg.Run(ctx); err != nil {
			w.t.Errorf("registry: %v", err)
		}
	})
	wg.Go(func() {
		if err := worker.Run(ctx); err != nil && ctx.Err() == nil {
			w.t.Errorf("worker: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(stop)
	return stop
}

// await looks at the journal until it satisfies the condition.
func (w *world) await(what string, ok func(*journal.State) bool) *journal.State {
	w.t.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := w.journal.Load(w.t.Context(), w.key)
		if err == nil && st.Opened != nil && ok(st) {
			return st
		}
		select {
		case <-deadline.C:
			w.t.Fatalf("never: %s (journal error %v, states %v)", what, err, counts(st))
		case <-tick.C:
		}
	}
}

// queueEmpty waits until no order is left, now or later.
func (w *world) queueEmpty() {
	w.t.Helper()
	w.until("the queue is empty", func() bool {
		n, err := w.bus.CountSubjects(w.t.Context(), topology.StreamOrders, ">")
		return err == nil && len(n) == 0
	})
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			w.t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func counts(st *journal.State) map[string]int {
	m := map[string]int{}
	if st == nil {
		return m
	}
	for n := range uint32(st.Len()) {
		state, reason := st.Notice(n)
		m[state.String()+" "+reason]++
	}
	return m
}

func all(state candorv1.NoticeState) func(*journal.State) bool {
	return func(st *journal.State) bool {
		for n := range uint32(st.Len()) {
			if s, _ := st.Notice(n); s != state {
				return false
			}
		}
		return true
	}
}

// carrier is the provider and the customers behind it.
type carrier struct {
	page *roster.Page

	mu sync.Mutex
	// held are the messages that each slot got: the address they went to.
	held map[uint32][]string
	sent int
	// answer decides what the caller hears; nil accepts. It may change what the carrier holds.
	answer func(slot uint32, attempt uint32, address int) (accept bool, o provider.Outcome)
	// before runs before a stride is sent, without the lock.
	before     func(s Stride)
	suppressed func(slot uint32, address int) string
	pace       func(slot uint32) Pace
	base       string // wave of the playbook that the page was made ready with
	words      []Word // answers to a poll, by slot
	polled     []Poll
	findErr    error
	asked      int
	openErr    []error // of the first pages opened
}

func (c *carrier) OpenPage(context.Context, string, uint32, []byte) (*roster.Page, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.openErr) > 0 {
		err := c.openErr[0]
		c.openErr = c.openErr[1:]
		return nil, err
	}
	return c.page, nil
}

// messages returns how many messages each slot got.
func (c *carrier) messages() map[uint32]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := map[uint32]int{}
	for slot, held := range c.held {
		m[slot] = len(held)
	}
	return m
}

func (c *carrier) once(t *testing.T, n int) {
	t.Helper()
	m := c.messages()
	for slot := range uint32(n) {
		if m[slot] != 1 {
			t.Errorf("customer %d got %d messages, want 1", slot, m[slot])
		}
	}
}

type courier struct{ w *world }

func (c courier) Ready(p Page) (Round, error) {
	if !bytes.Equal(p.Incident.PlanHash(), []byte("plan")) {
		return nil, fmt.Errorf("unexpected plan")
	}
	c.w.carrier.mu.Lock()
	defer c.w.carrier.mu.Unlock()
	c.w.carrier.base = p.Incident.BaseOf(p.Key.Wave)
	return &testRound{carrier: c.w.carrier, terms: c.w.terms}, nil
}

type testRound struct {
	*carrier
	terms Terms
}

func (r *testRound) Terms() Terms              { return r.terms }
func (r *testRound) Addresses(slot uint32) int { return len(r.page.Customers[slot].Phones) }
func (r *testRound) Suppressed(slot uint32, address int) string {
	if r.suppressed == nil {
		return ""
	}
	return r.suppressed(slot, address)
}

func (r *testRound) Pace(slot uint32, _ int) Pace {
	if r.pace != nil {
		return r.pace(slot)
	}
	return Pace{Sender: "+15005550006", Units: 1}
}

func (r *testRound) Send(ctx context.Context, s Stride) []Outcome {
	if r.before != nil {
		r.before(s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Outcome, len(s.Slots))
	for i, slot := range s.Slots {
		if why := r.Suppressed(slot, s.Address[i]); why != "" {
			out[i].Suppressed = why
			continue
		}
		if out[i].Halted = s.Halted(); out[i].Halted {
			continue
		}
		r.sent++
		accept, o := true, provider.Outcome{Class: provider.Accepted}
		if r.answer != nil {
			accept, o = r.answer(slot, s.Attempt, s.Address[i])
		}
		if accept {
			r.held[slot] = append(r.held[slot], r.page.Customers[slot].Phones[s.Address[i]].Reveal())
			if o.Class == provider.Accepted {
				o.ID = fmt.Sprintf("SM%d-%d", slot, s.Attempt)
			}
		}
		out[i].Outcome = o
	}
	return out
}

// askable is a round whose provider can be asked.
type askable struct{ *testRound }

func (r askable) Find(_ context.Context, doubts []Doubt) []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	out := make([]Finding, len(doubts))
	for i, d := range doubts {
		out[i].Err = r.findErr
		if r.findErr == nil && len(r.held[d.Slot]) > 0 {
			out[i].ID = fmt.Sprintf("SM%d", d.Slot)
		}
	}
	return out
}

// asking is a courier whose rounds can be asked.
type asking struct{ w *world }

func (c asking) Ready(p Page) (Round, error) {
	r, err := courier(c).Ready(p)
	if err != nil {
		return nil, err
	}
	return askable{r.(*testRound)}, nil
}

// pollable is a round whose provider can be asked for final words.
type pollable struct{ askable }

func (r pollable) Poll(_ context.Context, asked []Poll) []Word {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.polled = append(r.polled, asked...)
	out := make([]Word, len(asked))
	for i, p := range asked {
		out[i] = r.words[p.Slot]
	}
	return out
}

// polling is a courier whose rounds can be polled.
type polling struct{ w *world }

func (c polling) Ready(p Page) (Round, error) {
	r, err := asking(c).Ready(p)
	if err != nil {
		return nil, err
	}
	return pollable{r.(askable)}, nil
}
