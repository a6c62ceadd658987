package bus_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

func order(incident string, page uint32) string {
	return topology.Order(sms, first, incident, "w0", page)
}

func later(incident string, page uint32) string {
	return topology.Later(sms, first, incident, "w0", page)
}

var smsFirst = topology.OrderConsumer(sms, first)

// consume works off the lane sms first until the test ends or stop is called.
func consume(t testing.TB, b *bus.Bus, opts bus.ConsumeOptions, h func(context.Context, *bus.Delivery) error) (stop func()) {
	t.Helper()
	return background(t, func(ctx context.Context) error { return b.Consume(ctx, topology.StreamOrders, smsFirst, opts, h) })
}

func laneState(t testing.TB, b *bus.Bus) bus.ConsumerState {
	t.Helper()
	st, err := b.Consumer(t.Context(), topology.StreamOrders, smsFirst)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func queued(t testing.TB, b *bus.Bus) uint64 {
	t.Helper()
	st, err := b.State(t.Context(), topology.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	return st.Msgs
}

func TestTheHandlersErrorIsTheVerdict(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, tt := range []struct {
		name       string
		first      error // of the first delivery; the second one settles
		deliveries int32
	}{
		{"nil settles", nil, 1},
		{"permanent drops", bus.Permanent(broken), 1},
		{"after delivers again", bus.After(time.Millisecond, broken), 2},
		{"after nothing delivers again at once", bus.After(0, broken), 2},
		{"any other error delivers again", broken, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := bustest.New(t)
			seq := mustAppend(t, b, topology.StreamOrders, bus.Message{
				Subject: order("inc", 1), Data: []byte("work"), Header: map[string]string{"Trace": "t"},
			})
			var n atomic.Int32
			consume(t, b, bus.ConsumeOptions{}, func(_ context.Context, d *bus.Delivery) error {
				if d.Subject != order("inc", 1) || d.Seq != seq || string(d.Data) != "work" || d.Header["Trace"] != "t" || d.Time.IsZero() {
					t.Errorf("delivered %+v", d)
				}
				if n.Add(1); uint64(n.Load()) != d.Delivered {
					t.Errorf("delivery %d says it is number %d", n.Load(), d.Delivered)
				}
				if d.Delivered == 1 {
					return tt.first
				}
				return nil
			})
			until(t, "the queue is empty", func() bool { return queued(t, b) == 0 })
			if n.Load() != tt.deliveries {
				t.Errorf("%d deliveries, want %d", n.Load(), tt.deliveries)
			}
		})
	}
}

func TestVerdictsKeepTheirCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, err := range []error{bus.Permanent(cause), bus.After(time.Second, cause)} {
		if !errors.Is(err, cause) || err.Error() != "cause" {
			t.Errorf("%v does not keep its cause", err)
		}
	}
}

func TestAHandlerThatPanicsLosesNoMessage(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 1)})
	consume(t, b, bus.ConsumeOptions{}, func(_ context.Context, d *bus.Delivery) error {
		if d.Delivered == 1 {
			panic("oops")
		}
		return nil
	})
	until(t, "the queue is empty", func() bool { return queued(t, b) == 0 })
}

// Prefetched messages would age against AckWait.
func TestNoMoreIsTakenThanIsInHand(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for i := range uint32(10) {
		mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", i)})
	}
	started, release := make(chan struct{}, 10), make(chan struct{})
	var inHand, most atomic.Int32
	consume(t, b, bus.ConsumeOptions{Concurrency: 3}, func(context.Context, *bus.Delivery) error {
		n := inHand.Add(1)
		defer inHand.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		started <- struct{}{}
		<-release
		return nil
	})
	freed := sync.OnceFunc(func() { close(release) })
	t.Cleanup(freed) // or a test that failed would wait for the handlers
	for range 3 {
		within(t, "a handler", started)
	}
	if st := laneState(t, b); st.AckPending != 3 || st.Pending != 7 {
		t.Errorf("%+v while three are in hand, want 3 delivered and 7 waiting", st)
	}
	freed()
	until(t, "the queue is empty", func() bool { return queued(t, b) == 0 })
	if most.Load() != 3 {
		t.Errorf("%d in hand at once, want 3", most.Load())
	}
}

func TestAtTheEndTheWorkInHandIsFinished(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 1)})
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 2)})
	started, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, topology.StreamOrders, smsFirst, bus.ConsumeOptions{}, func(ctx context.Context, _ *bus.Delivery) error {
			close(started)
			<-release
			return ctx.Err()
		})
	}()
	within(t, "the handler", started)
	cancel()
	select {
	case <-ended:
		t.Error("ended with work in hand")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := within(t, "the end", ended); err != nil {
		t.Errorf("Consume = %v", err)
	}
	until(t, "one is settled and the other one untouched", func() bool {
		st := laneState(t, b)
		return queued(t, b) == 1 && st.Pending == 1 && st.AckPending == 0
	})
}

func TestAHandlerThatDoesNotEndIsToldAfterTheGrace(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 1)})
	started := make(chan struct{})
	stop := consume(t, b, bus.ConsumeOptions{Grace: 10 * time.Millisecond}, func(ctx context.Context, _ *bus.Delivery) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	within(t, "the handler", started)
	stop()
	if queued(t, b) != 1 {
		t.Error("an order that was not finished is gone")
	}
}

func TestAStoppedWorkerLeavesNothingForLater(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	stop := consume(t, b, bus.ConsumeOptions{Concurrency: 8}, func(context.Context, *bus.Delivery) error { return nil })
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 1)})
	until(t, "it works", func() bool { return queued(t, b) == 0 })
	stop()
	// Its request for messages must not swallow what comes next until AckWait.
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 2)})
	got := make(chan string, 1)
	consume(t, b, bus.ConsumeOptions{}, func(_ context.Context, d *bus.Delivery) error {
		got <- d.Subject
		return nil
	})
	if s := within(t, "the next worker's order", got); s != order("inc", 2) {
		t.Errorf("got %s", s)
	}
}

func TestConsumeGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.start(t)
	b := r.connect(t)
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	consume(t, b, bus.ConsumeOptions{Concurrency: 2}, func(_ context.Context, d *bus.Delivery) error {
		got <- d.Subject
		return nil
	})
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 1)})
	within(t, "the first order", got)
	r.stop(t)
	until(t, "the loss is noticed", func() bool { return !b.Connected() })
	r.start(t)
	until(t, "connected again", b.Connected)
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 2)})
	until(t, "the second order", func() bool { return within(t, "an order", got) == order("inc", 2) })
}

func TestProgressKeepsAMessageInHand(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	// A machine that is kept from working for as long as AckWait loses its message, and rightly: then more time is tried.
	n, wait := int32(0), 300*time.Millisecond
	for ; n != 1 && wait < 20*time.Second; wait *= 3 {
		n = deliveriesInHand(t, b, wait)
	}
	if n != 1 {
		t.Errorf("delivered %d times with an AckWait of %s, want once", n, wait/3)
	}
}

// deliveriesInHand returns how often a message is delivered that is worked on for more than three times AckWait, with progress.
func deliveriesInHand(t *testing.T, b *bus.Bus, ackWait time.Duration) int32 {
	t.Helper()
	// A consumer with a short AckWait, beside the planner's, needs a stream of its own.
	name := "QUICK" + strconv.FormatInt(ackWait.Milliseconds(), 10)
	if err := b.EnsureStream(t.Context(), bus.StreamSpec{Name: name, Subjects: []string{name + ".*"}, WorkQueue: true}); err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureConsumer(t.Context(), bus.ConsumerSpec{Stream: name, Name: "quick", Filter: name + ".*", AckWait: ackWait, MaxAckPending: 1}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, b, name, bus.Message{Subject: name + ".1"})
	mustAppend(t, b, name, bus.Message{Subject: name + ".2"})
	var n atomic.Int32
	stop := background(t, func(ctx context.Context) error {
		return b.Consume(ctx, name, "quick", bus.ConsumeOptions{Concurrency: 2}, func(_ context.Context, d *bus.Delivery) error {
			if d.Subject != name+".1" {
				return nil
			}
			if n.Add(1) > 1 {
				return nil
			}
			work := time.NewTicker(ackWait / 6)
			defer work.Stop()
			for range 20 { // more than three times AckWait
				<-work.C
				d.Progress()
			}
			return nil
		})
	})
	until(t, "both are settled", func() bool {
		st, err := b.State(t.Context(), name)
		return err == nil && st.Msgs == 0
	})
	stop()
	return n.Load()
}

// BackOff would replace AckWait; a finite MaxDeliver would leave a message in the queue, invisible; an inactive threshold
// would drop the consumer over a weekend.
func TestConsumersHaveNoBackOffNoLimitAndNoEnd(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	c, err := b.JS().Consumer(t.Context(), topology.StreamOrders, smsFirst)
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	if len(cfg.BackOff) != 0 || cfg.MaxDeliver != -1 || cfg.InactiveThreshold != 0 || cfg.Durable != smsFirst ||
		cfg.AckWait != topology.AckWait || cfg.MaxAckPending != topology.MaxAckPending || cfg.FilterSubject != "order.sms.first.>" {
		t.Errorf("%+v", cfg)
	}
}

func TestConsumersThatOverlapAreRefused(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for _, filter := range []string{"order.sms.first.inc.>", "order.*.*.inc.>", "order.>"} {
		err := b.EnsureConsumer(t.Context(), bus.ConsumerSpec{Stream: topology.StreamOrders, Name: "another", Filter: filter})
		if err == nil || !strings.Contains(err.Error(), "10100") {
			t.Errorf("consumer on %s = %v, want it refused", filter, err)
		}
	}
}

func TestConsumersAreDurableAndDeliverUntilSettled(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("inc", 1)})
	const often = 8 // a consumer with MaxDeliver 3 would leave it in the queue, invisible
	var n atomic.Int32
	consume(t, b, bus.ConsumeOptions{}, func(context.Context, *bus.Delivery) error {
		if n.Add(1) < often {
			return bus.After(0, errors.New("again"))
		}
		return nil
	})
	until(t, "it is settled", func() bool { return queued(t, b) == 0 })
}

func TestWorkThatIsPutOffBlocksNobody(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	// A paused incident fills the lane's limit of orders in hand.
	for i := range uint32(topology.MaxAckPending) {
		mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("paused", i)})
	}
	mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("running", 1)})
	running := make(chan struct{})
	consume(t, b, bus.ConsumeOptions{Concurrency: 32}, func(ctx context.Context, d *bus.Delivery) error {
		k, _, ok := topology.ParseOrder(d.Subject)
		if !ok {
			return bus.Permanent(errors.New("not an order"))
		}
		if k.Incident == "running" {
			close(running)
			return nil
		}
		return b.Schedule(ctx, later(k.Incident, k.Page), d.Subject, time.Now().Add(time.Hour), d.Data, d.Header)
	})
	within(t, "the other incident's order", running)
	until(t, "the others wait", func() bool { st := laneState(t, b); return st.AckPending == 0 && st.Pending == 0 })
	if n := queued(t, b); n != topology.MaxAckPending {
		t.Errorf("%d orders wait, want %d", n, topology.MaxAckPending)
	}
}

func TestAbortFreesTheOrdersInHandIfItPurgesPerChannelAndLane(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for i := range uint32(4) {
		mustAppend(t, b, topology.StreamOrders, bus.Message{Subject: order("aborted", i)})
	}
	started, release := make(chan struct{}, 4), make(chan struct{})
	consume(t, b, bus.ConsumeOptions{Concurrency: 4}, func(context.Context, *bus.Delivery) error {
		started <- struct{}{}
		<-release
		return nil
	})
	t.Cleanup(func() { close(release) })
	for range 4 {
		within(t, "an order in hand", started)
	}
	if st := laneState(t, b); st.AckPending != 4 {
		t.Fatalf("%d in hand, want 4", st.AckPending)
	}
	if err := b.Schedule(t.Context(), later("aborted", 9), order("aborted", 9), time.Now().Add(time.Hour), nil, nil); err != nil {
		t.Fatal(err)
	}
	var n uint64
	for _, filter := range topology.OrdersOf("aborted") {
		k, err := b.Purge(t.Context(), topology.StreamOrders, filter)
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	if st := laneState(t, b); n != 5 || st.AckPending != 0 || queued(t, b) != 0 {
		t.Errorf("%d purged, %d still in hand, %d queued; want 5, 0, 0", n, st.AckPending, queued(t, b))
	}
}

func TestConsumeNeedsItsConsumer(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	err := b.Consume(t.Context(), topology.StreamOrders, "nobody", bus.ConsumeOptions{}, func(context.Context, *bus.Delivery) error { return nil })
	if !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("Consume = %v, want ErrNotFound", err)
	}
}
