package bus_test

import (
	"context"
	"testing"
	"time"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

// take returns the orders as they are delivered.
func take(t testing.TB, b *bus.Bus) <-chan *bus.Delivery {
	t.Helper()
	got := make(chan *bus.Delivery, 100)
	consume(t, b, bus.ConsumeOptions{Concurrency: 4}, func(_ context.Context, d *bus.Delivery) error {
		got <- d
		return nil
	})
	return got
}

func TestAScheduledOrderComesAtItsTimeAndOnce(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	got := take(t, b)
	at := time.Now().Add(700 * time.Millisecond)
	if err := b.Schedule(t.Context(), later("inc", 1), order("inc", 1), at, []byte("work"), map[string]string{"Trace": "t"}); err != nil {
		t.Fatal(err)
	}
	d := within(t, "the order", got)
	if d.Time.Before(at) {
		t.Errorf("came %s early", at.Sub(d.Time))
	}
	if d.Subject != order("inc", 1) || string(d.Data) != "work" || len(d.Header) != 1 || d.Header["Trace"] != "t" {
		t.Errorf("delivered %s %q %v", d.Subject, d.Data, d.Header)
	}
	until(t, "nothing is left", func() bool { return queued(t, b) == 0 })
}

func TestAScheduleInThePastFiresAtOnce(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	got := take(t, b)
	if err := b.Schedule(t.Context(), later("inc", 1), order("inc", 1), time.Now().Add(-time.Hour), nil, nil); err != nil {
		t.Fatal(err)
	}
	within(t, "the order", got)
}

func TestAScheduleReplacesTheEarlierOne(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	got := take(t, b)
	for _, at := range []time.Duration{time.Hour, 2 * time.Hour, 100 * time.Millisecond} {
		if err := b.Schedule(t.Context(), later("inc", 1), order("inc", 1), time.Now().Add(at), []byte(at.String()), nil); err != nil {
			t.Fatal(err)
		}
		if n := queued(t, b); n != 1 && at >= time.Hour { // the last one may have come already
			t.Fatalf("%d schedules on one subject, want 1", n)
		}
	}
	if d := within(t, "the order", got); string(d.Data) != "100ms" {
		t.Errorf("delivered %s", d.Data)
	}
	until(t, "nothing is left of the others", func() bool { return queued(t, b) == 0 })
}

func TestAPurgeEndsASchedule(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	got := take(t, b)
	wait := 1100 * time.Millisecond
	for ; ; wait *= 2 {
		if err := b.Schedule(t.Context(), later("inc", 1), order("inc", 1), time.Now().Add(wait), []byte("purged"), nil); err != nil {
			t.Fatal(err)
		}
		n, err := b.Purge(t.Context(), topology.StreamOrders, later("inc", 1))
		if err == nil && n == 1 {
			break
		}
		if err != nil || n != 0 || wait > time.Minute {
			t.Fatalf("Purge = %d, %v; want 1", n, err)
		}
		within(t, "the order of a machine that took too long", got)
	}
	if err := b.Schedule(t.Context(), later("inc", 2), order("inc", 2), time.Now().Add(wait+500*time.Millisecond), []byte("kept"), nil); err != nil {
		t.Fatal(err)
	}
	if d := within(t, "an order", got); string(d.Data) != "kept" {
		t.Errorf("delivered %s", d.Data)
	}
}

func TestAScheduleSurvivesARestart(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.start(t)
	b := r.connect(t)
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(300 * time.Millisecond)
	if err := b.Schedule(t.Context(), later("inc", 1), order("inc", 1), at, []byte("work"), nil); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	until(t, "its time is over", func() bool { return time.Now().After(at) })
	r.start(t)
	if d := within(t, "the overdue order", take(t, b)); string(d.Data) != "work" {
		t.Errorf("delivered %s", d.Data)
	}
}

func TestATimetableEntryBecomesDue(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := b.Schedule(t.Context(), topology.Timetable("inc", "weekly"), topology.Due("inc", "weekly"), time.Now(), []byte("w1"), nil); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	background(t, func(ctx context.Context) error {
		return b.Consume(ctx, topology.StreamTimetable, topology.ConsumerDue, bus.ConsumeOptions{}, func(_ context.Context, d *bus.Delivery) error {
			got <- d.Subject + " " + string(d.Data)
			return nil
		})
	})
	if s := within(t, "the due follow-up", got); s != "due.inc.weekly w1" {
		t.Errorf("got %s", s)
	}
}
