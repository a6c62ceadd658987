package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"candor/pkg/bus"
	"candor/pkg/journal"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// appender stores nothing, and answers when and how the test says.
type appender struct {
	got     chan bus.Message
	answers chan error
}

func (a *appender) Append(_ context.Context, m bus.Message) (uint64, error) {
	a.got <- m
	return 1, <-a.answers
}

func newTestGatherer(t *testing.T, out bus.Appender, wait time.Duration, most int) *gatherer {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	g := newGatherer(out, wait, most, func() time.Time { return noon }, m)
	start(t, func(ctx context.Context) error { g.Run(ctx); return nil })
	return g
}

func factN(page, slot uint32) fact {
	return fact{
		page:     topology.PageKey{Channel: sms, Incident: inc, Wave: "w0", Page: page},
		provider: "twilio", attempt: 1, slot: slot, word: receipt.Word{Result: candorv1.Result_RESULT_DELIVERED},
	}
}

func TestADuplicateWaitsForTheOneOnItsWay(t *testing.T) {
	t.Parallel()
	out := &appender{got: make(chan bus.Message), answers: make(chan error)}
	g := newTestGatherer(t, out, 0, 10)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := g.Store(t.Context(), factN(1, 1)); first <- err }()
	<-out.got // on its way, not stored
	waits, fresh := g.add([]fact{factN(1, 1)})
	if len(waits) != 1 || fresh != 0 {
		t.Fatalf("%d batches to wait for and %d fresh facts, want 1 and 0", len(waits), fresh)
	}
	go func() { <-waits[0].done; second <- waits[0].err }()
	select {
	case <-second:
		t.Fatal("the duplicate did not wait")
	default:
	}
	broken := errors.New("broken")
	out.answers <- broken
	if err := <-first; !errors.Is(err, broken) {
		t.Errorf("Store = %v", err)
	}
	if err := <-second; !errors.Is(err, broken) {
		t.Errorf("the duplicate's = %v", err)
	}
	// What was not stored is not remembered; what was is.
	go func() { _, err := g.Store(t.Context(), factN(1, 1)); first <- err }()
	<-out.got
	out.answers <- nil
	if err := <-first; err != nil {
		t.Error(err)
	}
	if fresh, err := g.Store(t.Context(), factN(1, 1)); fresh != 0 || err != nil {
		t.Errorf("Store of what is stored = %d, %v", fresh, err)
	}
	if len(g.flying) != 0 || len(g.open) != 0 {
		t.Errorf("%d facts fly, %d batches are open", len(g.flying), len(g.open))
	}
}

func TestWhoeverGoesAwayDoesNotStopTheStore(t *testing.T) {
	t.Parallel()
	out := &appender{got: make(chan bus.Message), answers: make(chan error)}
	g := newTestGatherer(t, out, 0, 10)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := g.Store(ctx, factN(1, 1)); gone <- err }()
	<-out.got
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Store = %v", err)
	}
	waits, _ := g.add([]fact{factN(1, 1)})
	out.answers <- nil
	for _, b := range waits {
		<-b.done
	}
	if fresh, err := g.Store(t.Context(), factN(1, 1)); fresh != 0 || err != nil {
		t.Errorf("Store again = %d, %v", fresh, err)
	}
}

func TestAFullBatchDoesNotWait(t *testing.T) {
	t.Parallel()
	out := &appender{got: make(chan bus.Message, 1), answers: make(chan error, 1)}
	g := newTestGatherer(t, out, time.Hour, 3)
	out.answers <- nil
	if fresh, err := g.Store(t.Context(), factN(1, 1), factN(1, 2), factN(1, 3)); fresh != 3 || err != nil {
		t.Errorf("Store = %d, %v", fresh, err)
	}
	if got := len(entryFacts(t, "", (<-out.got).Data)); got != 3 {
		t.Errorf("%d facts in the message", got)
	}
}

func TestWhatWasGatheredAtTheEndIsStored(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	out := &appender{got: make(chan bus.Message, 1), answers: make(chan error, 1)}
	g := newGatherer(out, time.Hour, 100, func() time.Time { return noon }, m)
	waits, _ := g.add([]fact{factN(1, 1)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out.answers <- nil
	g.Run(ctx)
	<-waits[0].done
	if waits[0].err != nil {
		t.Error(waits[0].err)
	}
}

// Whatever is gathered, the entry holds exactly that, in a form that the fold takes.
func TestAnEntryHoldsWhatWasSaid(t *testing.T) {
	t.Parallel()
	words := []receipt.Word{
		{Result: candorv1.Result_RESULT_ACCEPTED},
		{Result: candorv1.Result_RESULT_DELIVERED},
		{Result: candorv1.Result_RESULT_UNDELIVERED_RETRY, Reason: "twilio_30003", RetryIn: time.Hour},
		{Result: candorv1.Result_RESULT_UNDELIVERED_RETRY, Reason: "twilio_30003", RetryIn: time.Minute},
		{Result: candorv1.Result_RESULT_UNDELIVERED, Reason: "twilio_30007"},
	}
	rapid.Check(t, func(t *rapid.T) {
		b := &batch{shelf: shelf{provider: "twilio", attempt: 3}}
		want := map[said]int{}
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			f := fact{
				slot:      rapid.Uint32Range(0, 12).Draw(t, "slot"),
				word:      rapid.SampledFrom(words).Draw(t, "word"),
				messageID: rapid.SampledFrom([]string{"", "SM1", "SM2", "SM3"}).Draw(t, "id"),
			}
			s := said{"", "twilio", 3, f.slot, f.word.Result, f.word.Reason, f.word.RetryIn, f.messageID}
			if want[s] == 0 { // the gatherer keeps equal facts out
				want[s]++
				b.facts = append(b.facts, f)
			}
		}
		e := b.entry(noon)
		got := map[said]int{}
		data, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range entryFacts(t, "", data) {
			got[s]++
		}
		if !maps.Equal(got, want) {
			t.Fatalf("entry says %v, want %v", got, want)
		}
		for _, g := range e.GetOutcomes().GetGroups() {
			slots := journal.Slots(g.GetSlots())
			for i := range slots {
				if i > 0 && slots[i] <= slots[i-1] {
					t.Fatalf("slots %v do not rise", slots)
				}
			}
		}
	})
}

func TestRecentForgetsTheOldest(t *testing.T) {
	t.Parallel()
	r := newRecent(100)
	for n := range uint64(100_000) {
		id := identity{n, n}
		if r.has(id) {
			t.Fatalf("%d is known before it comes", n)
		}
		r.add(id)
		if !r.has(id) || n > 0 && !r.has(identity{n - 1, n - 1}) {
			t.Fatalf("%d is forgotten at once", n)
		}
		if len(r.young)+len(r.old) > 200 {
			t.Fatalf("%d are remembered", len(r.young)+len(r.old))
		}
	}
	if r.has(identity{99_000, 99_000}) {
		t.Error("an old one is remembered")
	}
}

// Many at once, some of them twice: under the race detector this finds a lock that is missing.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[said]int{}
	out := appendFunc(func(m bus.Message) error {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range entryFacts(t, m.Subject, m.Data) {
			got[s]++
		}
		return nil
	})
	g := newTestGatherer(t, out, time.Millisecond, 50)
	var wg sync.WaitGroup
	for worker := range uint32(16) {
		wg.Go(func() {
			for n := range uint32(200) {
				if _, err := g.Store(t.Context(), factN(n%3, n), factN(worker%3, worker*10)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := map[string]bool{}
	for n := range uint32(200) {
		want[fmt.Sprint(n%3, n)] = true
	}
	for worker := range uint32(16) {
		want[fmt.Sprint(worker%3, worker*10)] = true
	}
	if len(got) != len(want) {
		t.Errorf("%d facts, want %d", len(got), len(want))
	}
	for s, n := range got {
		if n != 1 {
			t.Errorf("%+v is stored %d times", s, n)
		}
	}
}

type appendFunc func(bus.Message) error

func (f appendFunc) Append(_ context.Context, m bus.Message) (uint64, error) { return 1, f(m) }
