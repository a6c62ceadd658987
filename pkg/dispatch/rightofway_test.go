package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/provider"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// road is a provider with one place, which is closed until the test opens it, and remembers in which order requests came.
type road struct {
	w      *world
	gate   *Gate
	closed chan struct{}
	open   func()
	sender func(journal.Key) string

	mu   sync.Mutex
	came []string // the incident of each request
}

func (r *road) Ready(p Page) (Round, error) {
	return &roadRound{testRound: &testRound{carrier: r.w.carrier, terms: r.w.terms}, road: r, key: p.Key}, nil
}

type roadRound struct {
	*testRound
	road *road
	key  journal.Key
}

func (r *roadRound) Pace(uint32, int) Pace { return Pace{Sender: r.road.sender(r.key), Units: 1} }

func (r *roadRound) Send(_ context.Context, s Stride) []Outcome {
	out := make([]Outcome, len(s.Slots))
	r.road.gate.Each(len(out), func(i int) {
		<-r.road.closed
		r.road.mu.Lock()
		defer r.road.mu.Unlock()
		r.road.came = append(r.road.came, r.key.Incident)
		out[i].Outcome = provider.Outcome{Class: provider.Accepted, ID: fmt.Sprintf("SM%d-%d", r.key.Page, s.Slots[i])}
	})
	return out
}

const (
	backlog = "backlog"
	fresh   = "fresh"
)

// newRoad declares two incidents whose pages have n customers each; all of them have one sender.
func newRoad(t *testing.T, n int) (*world, *road) {
	w := newWorld(t, n)
	for _, id := range []string{backlog, fresh} {
		w.inc = &incident.Incident{ID: id}
		w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1, PlanHash: w.hash}}})
		w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1, PlanHash: w.hash}}})
	}
	// Requests wait for as long as the test does.
	w.cfg.RequestTimeout = time.Minute
	closed := make(chan struct{})
	return w, &road{
		w: w, gate: NewGate(1), closed: closed, open: sync.OnceFunc(func() { close(closed) }),
		sender: func(journal.Key) string { return "+15005550006" },
	}
}

// put opens a page's journal and puts its order on a lane.
func (r *road) put(id string, page uint32, lane string) {
	r.w.t.Helper()
	r.w.key.Incident, r.w.key.Page = id, page
	r.w.open()
	data, err := proto.Marshal(&candorv1.Order{Incident: id, Wave: testWave, Channel: sms, Page: page, Lane: lane, PlanHash: r.w.hash})
	if err != nil {
		r.w.t.Fatal(err)
	}
	if _, err := r.w.bus.Append(r.w.t.Context(), topology.StreamOrders, bus.Message{Subject: topology.Order(sms, lane, id, testWave, page), Data: data}); err != nil {
		r.w.t.Fatal(err)
	}
}

// intended counts the strides that were written down for an incident's first pages.
func (r *road) intended(id string, pages uint32) (n int) {
	r.w.t.Helper()
	for page := range pages {
		st, err := r.w.journal.Load(r.w.t.Context(), journal.Key{Channel: sms, Incident: id, Wave: testWave, Page: page})
		if err != nil {
			r.w.t.Fatal(err)
		}
		if !st.Begun().IsZero() {
			n++
		}
	}
	return n
}

// later lists the orders of an incident that were put off.
func (r *road) later(id string) int {
	n, err := r.w.bus.CountSubjects(r.w.t.Context(), topology.StreamOrders, "later.*.*."+id+".>")
	if err != nil {
		r.w.t.Fatal(err)
	}
	return len(n)
}

func (r *road) start() (stop func()) {
	stop = r.w.start(func(d *Deps) { d.Courier = r })
	r.w.t.Cleanup(r.open) // or a test that failed would wait for it
	return stop
}

// One incident's follow-ups fill the lane: a first notice of another incident comes after the strides that were under way
// already, and before everything else.
func TestABacklogOfFollowUpsLetsFirstNoticesGoBefore(t *testing.T) {
	t.Parallel()
	const customers, stride, inHand, pages = 20, 5, 4, 6
	w, r := newRoad(t, customers)
	w.cfg.StrideSlots, w.cfg.Pages = stride, inHand
	for page := range uint32(pages) {
		r.put(backlog, page, topology.LaneNext)
	}
	r.start()
	w.until("as many strides are under way as can be", func() bool { return r.intended(backlog, pages) == inHand })
	r.put(fresh, 0, topology.LaneFirst)
	w.until("the first notice is about to be sent", func() bool { return r.intended(fresh, 1) == 1 })
	r.open()
	w.queueEmpty()

	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.came) != (pages+1)*customers {
		t.Fatalf("%d requests, want %d", len(r.came), (pages+1)*customers)
	}
	first := slices.Index(r.came, fresh)
	if first > inHand*stride {
		t.Errorf("%d follow-ups went before the first notice, want the %d that were under way", first, inHand*stride)
	}
	for i, id := range r.came[first : first+customers] {
		if id != fresh {
			t.Fatalf("request %d after the first notice began is a follow-up: %v", i, r.came)
		}
	}
}

// Who gives way still sees a stop, a pause and other senders, and keeps no place in hand from their pages.
func TestWhoGivesWayKeepsSeeing(t *testing.T) {
	t.Parallel()
	w, r := newRoad(t, 1)
	w.cfg.Pages, w.cfg.PausePoll = 1, time.Hour
	other := uint32(1)
	r.sender = func(k journal.Key) string {
		if k.Page == other {
			return "+15005550007"
		}
		return "+15005550006"
	}
	stop := r.start()
	r.put(fresh, 0, topology.LaneFirst)
	w.until("the first notice is about to be sent", func() bool { return r.intended(fresh, 1) == 1 })
	r.put(backlog, 0, topology.LaneNext)
	r.put(backlog, other, topology.LaneNext)
	w.until("the other sender's page is not held up", func() bool { return r.intended(backlog, 2) == 1 })
	if n := r.intended(backlog, 1); n != 0 {
		t.Error("a follow-up did not give way")
	}
	if n := r.later(backlog); n != 1 {
		t.Errorf("%d orders were put off, want 1", n)
	}
	r.open()
	stop()
}

func TestWhoGivesWaySeesAPauseAndAStop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		does func(*world, *road)
	}{
		{"a pause", func(w *world, r *road) {
			inc, err := w.log.Load(w.t.Context(), backlog)
			if err != nil {
				w.t.Fatal(err)
			}
			w.inc = inc
			w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Reason: "wait"}}})
			w.until("the pause is seen", func() bool { return r.later(backlog) == 1 })
		}},
		{"a stop", func(w *world, _ *road) { w.cancel() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, r := newRoad(t, 1)
			w.cfg.PausePoll = time.Hour
			stop := r.start()
			r.put(fresh, 0, topology.LaneFirst)
			w.until("the first notice is about to be sent", func() bool { return r.intended(fresh, 1) == 1 })
			r.put(backlog, 0, topology.LaneNext)
			w.until("the follow-up is in hand", func() bool {
				c, err := w.bus.Consumer(t.Context(), topology.StreamOrders, topology.OrderConsumer(sms, topology.LaneNext))
				return err == nil && c.AckPending == 1
			})
			tt.does(w, r)
			r.open()
			stop()
			if n := r.intended(backlog, 1); n != 0 {
				t.Error("a follow-up went on")
			}
		})
	}
}

// The wait of who gives way ends at once, and not with the time that one wait may take.
func TestGivingWayEndsWithAPauseOrAStop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		does func(w *world, stop, expire func())
		want error
	}{
		{"a pause", func(w *world, _, _ func()) {
			w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Reason: "wait"}}})
		}, errLookAgain},
		{"a stop", func(_ *world, stop, _ func()) { stop() }, errLookAgain},
		{"its time", func(_ *world, _, expire func()) { expire() }, errGivesWay},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			reg := incident.NewRegistry(w.bus)
			running, stop := context.WithCancel(t.Context())
			reading, leave := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			t.Cleanup(func() { leave(); stop(); wg.Wait() })
			wg.Go(func() {
				if err := reg.Run(reading); err != nil {
					t.Errorf("registry: %v", err)
				}
			})
			w.until("the incident is known", func() bool { inc := reg.Get(testIncident); return inc != nil && inc.Seq == w.inc.Seq })
			h := &hand{Worker: &Worker{Deps: Deps{Incidents: reg}, ways: newWays(), stopping: running.Done()}}
			h.ways.want("a")
			waiting, expire := context.WithCancel(t.Context())
			defer expire()
			ended := make(chan error, 1)
			wg.Go(func() { ended <- h.giveWay(waiting, "a") })
			w.until("the stride waits", func() bool {
				h.ways.mu.Lock()
				defer h.ways.mu.Unlock()
				return h.ways.senders["a"].changed != nil
			})
			tt.does(w, stop, expire)
			if err := <-ended; !errors.Is(err, tt.want) {
				t.Errorf("giveWay = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestWays(t *testing.T) {
	t.Parallel()
	w := newWays()
	w.want("a")
	if wait, _ := w.pass("b"); wait != nil {
		t.Fatal("another sender's way is taken")
	}
	wait, first := w.pass("a")
	if wait == nil || !first {
		t.Fatal("a first notice has no right of way")
	}
	w.want("a")
	w.unwant("a")
	<-wait
	if wait, first = w.pass("a"); wait == nil || !first {
		t.Fatal("of two first notices one is gone, and the way is free")
	}
	w.unwant("a")
	<-wait
	if wait, _ = w.pass("a"); wait != nil {
		t.Fatal("nobody wants it, and the way is not free")
	}
	if wait, first = w.pass("a"); wait == nil || first {
		t.Fatal("two strides of lane next book at a time")
	}
	w.want("a") // what comes with right of way waits for nobody here
	w.passed("a")
	<-wait
	w.unwant("a")
	w.passed("b")
	if len(w.senders) != 0 {
		t.Errorf("%d senders are kept that nobody wants", len(w.senders))
	}
}
