package dispatch

import (
	"context"
	"sync"
	"testing"
	"time"

	"candor/pkg/provider"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

// An hour is a second.
const fast = 3600

// The broker's schedule is armed in the machine's time: a page of the night goes out in the morning of the calendar, which is
// some seconds later.
func TestAtHighSpeedThePageIsSentInsideItsHours(t *testing.T) {
	t.Parallel()
	for _, night := range []time.Duration{90 * time.Minute, 4 * time.Hour, 11 * time.Hour} {
		if sentInTheMorning(t, night) {
			return
		}
		t.Logf("the machine took so long that %s of night were over before the page was looked at", night)
	}
	t.Error("the page never waited for the morning")
}

// sentInTheMorning reports whether a page waited for the morning, with so much of the night left when its world is made.
func sentInTheMorning(t *testing.T, night time.Duration) bool {
	t.Helper()
	morning := time.Date(2028, 2, 29, 8, 0, 0, 0, time.UTC)
	w := newFastWorld(t, 5, morning.Add(-night), fast)
	rule, err := window.Parse("outside mon-sun 08:00-20:00")
	if err != nil {
		t.Fatal(err)
	}
	w.terms.Quiet = rule
	var mu sync.Mutex
	var strides []Stride
	w.carrier.before = func(s Stride) {
		mu.Lock()
		defer mu.Unlock()
		strides = append(strides, s)
	}
	w.open()
	w.order()
	w.start()
	st := w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	mu.Lock()
	defer mu.Unlock()
	if len(strides) != 1 || !rule.Open(strides[0].At, time.UTC) {
		t.Errorf("strides %+v, want one between 8 and 20 o'clock", strides)
	}
	w.carrier.once(t, 5)
	if st.PutOffUntil.IsZero() {
		return false
	}
	if !st.PutOffUntil.Equal(morning) {
		t.Errorf("put off until %s, want %s", st.PutOffUntil, morning)
	}
	return true
}

// slow is a provider that answers after a while, at most so many at a time, and takes nothing that comes too late.
type slow struct {
	w    *world
	gate *Gate
}

func (s slow) Ready(p Page) (Round, error) {
	r, err := courier{s.w}.Ready(p)
	if err != nil {
		return nil, err
	}
	return slowRound{r.(*testRound), s.gate}, nil
}

type slowRound struct {
	*testRound
	gate *Gate
}

func (r slowRound) Send(ctx context.Context, s Stride) []Outcome {
	out := make([]Outcome, len(s.Slots))
	r.gate.Each(len(out), func(i int) {
		answer := time.NewTimer(20 * time.Millisecond)
		defer answer.Stop()
		select {
		case <-answer.C:
		case <-ctx.Done():
		}
		out[i].Outcome = provider.Outcome{Class: provider.NotSent, Reason: "send_before_passed"}
		if provider.NewGuardedCall(s.SendBefore, time.Now).Late() == nil {
			out[i] = r.testRound.Send(ctx, Stride{Attempt: s.Attempt, Slots: s.Slots[i : i+1], Address: s.Address[i : i+1], Halted: s.Halted})[0]
		}
	})
	return out
}

// The machine is no faster than the machine: some seconds for a stride and its requests are as many seconds, and the intent says on
// the calendar for how long it may be under way.
func TestAtHighSpeedAStrideHasItsTime(t *testing.T) {
	t.Parallel()
	const customers = 100
	w := newFastWorld(t, customers, time.Date(2028, 2, 29, 6, 30, 0, 0, time.UTC), fast)
	w.cfg.RequestTimeout = 20 * time.Second // on the calendar that would be six milliseconds
	w.open()
	w.order()
	w.start(func(d *Deps) { d.Courier = slow{w, NewGate(20)} })
	st := w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	for n := range uint32(customers) {
		if st.Attempt(n) != 1 {
			t.Fatalf("customer %d was told at attempt %d", n, st.Attempt(n))
		}
	}
	w.queueEmpty()
	w.carrier.once(t, customers)
}

// Who finds an intent of a worker that died waits for as long as a request of it may live, and that is no calendar time: after
// an hour of the calendar it may still be sent.
func TestAtHighSpeedADeadOwnersRequestsHaveTheirTime(t *testing.T) {
	t.Parallel()
	w := newFastWorld(t, 1, time.Date(2028, 2, 29, 6, 30, 0, 0, time.UTC), fast)
	w.cfg.RequestTimeout, w.cfg.VisibilityLag = 600*time.Millisecond, 600*time.Millisecond
	w.open()
	began := time.Now()
	w.write(intent(1, 1, w.clock.Now(), 0))
	wrote := time.Now()
	var mu sync.Mutex
	var asked []Doubt
	w.order()
	w.start(func(d *Deps) {
		d.Booted = time.Time{}
		d.Courier = finding{w, func(doubts []Doubt) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, doubts...)
		}}
	})
	w.await("found out", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	if took := time.Since(began); took < 1200*time.Millisecond {
		t.Errorf("the provider was asked after %s, when the request may have been under way", took)
	}
	mu.Lock()
	defer mu.Unlock()
	if since := asked[0].Since; len(asked) != 1 || since.Before(began.Add(-time.Second)) || since.After(wrote.Add(time.Second)) {
		t.Errorf("asked for %+v, which was written down between %s and %s", asked, began, wrote)
	}
}

// finding is a courier whose provider has every message that it is asked for.
type finding struct {
	w    *world
	hear func([]Doubt)
}

func (f finding) Ready(p Page) (Round, error) {
	r, err := courier{f.w}.Ready(p)
	if err != nil {
		return nil, err
	}
	return findingRound{r.(*testRound), f.hear}, nil
}

type findingRound struct {
	*testRound
	hear func([]Doubt)
}

func (r findingRound) Find(_ context.Context, doubts []Doubt) []Finding {
	r.hear(doubts)
	out := make([]Finding, len(doubts))
	for i := range out {
		out[i].ID = "SM1"
	}
	return out
}
