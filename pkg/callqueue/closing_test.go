package callqueue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	candorv1 "candor/proto/candor/v1"
)

const (
	drain    = candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN
	withdraw = candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW
	goOn     = candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED
)

// ends lists how the task of the only customer ended, wave by wave.
func (w *world) ends() (all []string) {
	for _, s := range w.q.SettledAt(Place{inc, 1, 0}) {
		for _, r := range s.Waves {
			all = append(all, fmt.Sprintf("%s %s %s", r.Wave, candorv1.Word(s.State), s.Reason))
		}
	}
	return all
}

func (w *world) want(ends ...string) {
	w.t.Helper()
	if got := w.ends(); !slices.Equal(got, ends) {
		w.t.Errorf("at %v it ended as %q, want %q", w.now, got, ends)
	}
	q := w.refold()
	if got, want := w.view(q), w.view(w.q); !slices.Equal(got, want) {
		w.t.Errorf("refolded %q, live %q", got, want)
	}
	w.q = q
}

// What nobody makes at this moment is taken back at once.
func TestWithdrawnAtClose(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 1))
	w.close(inc, withdraw)
	w.want("w0 expired closed")
	w.none()

	// Whoever comes later is called no more, and that is settled at once.
	w.queue(inc, "w1", 1, 3, 0)
	if err := w.ask(Place{inc, 1, 0}, time.Time{}, "r1"); err != nil {
		t.Fatal(err)
	}
	w.want("w0 expired closed", "w1 expired closed")
	if n := w.q.Open(inc); n != 0 {
		t.Errorf("%d tasks are open", n)
	}

	w.close(inc, goOn)
	w.queue(inc, "w2", 1, 3, 0)
	w.mustComplete(w.one().Lease, Report{Disposition: "notified"})
	w.want("w0 expired closed", "w1 expired closed", "w2 done notified")
}

// A call that is being made at the close is made to its end, whatever that is, and not tried again.
func TestInACallAtClose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(*world, Granted)
		want string
	}{
		{"told", func(w *world, g Granted) { w.mustComplete(g.Lease, Report{Disposition: "notified"}) }, "w0 done notified"},
		{"nobody answers", func(w *world, g Granted) {
			if a := w.mustComplete(g.Lease, Report{Disposition: "no_answer"}); a.State != candorv1.CallState_CALL_STATE_FAILED || !a.NextAt.IsZero() {
				t.Errorf("the dialer is answered %+v", a)
			}
		}, "w0 failed no_answer"},
		{"wants to be called back", func(w *world, g Granted) {
			w.mustComplete(g.Lease, Report{Disposition: "callback", CallBackAt: w.now.Add(time.Hour)})
		}, "w0 failed callback"},
		{"told, and wants to be called back", func(w *world, g Granted) {
			w.mustComplete(g.Lease, Report{Disposition: "notified_callback", CallBackAt: w.now.Add(time.Hour)})
		}, "w0 done notified_callback"},
		{"given back", func(w *world, g Granted) {
			if err := w.release("d", g.Lease, ""); err != nil {
				w.t.Fatal(err)
			}
		}, "w0 expired closed"},
		{"without a word", func(w *world, g Granted) { w.now = g.ExpiresAt }, "w0 expired closed"},
		{"prolonged, and without a word", func(w *world, g Granted) {
			until, err := w.renew("d", g.Lease, time.Hour)
			if err != nil {
				w.t.Fatal(err)
			}
			w.now = g.ExpiresAt
			w.tick()
			if len(w.ends()) > 0 {
				w.t.Error("it ended before the lease")
			}
			w.now = until
		}, "w0 expired closed"},
		{"asks for a call meanwhile", func(w *world, g Granted) {
			if err := w.ask(Place{inc, 1, 0}, time.Time{}, "r1"); err != nil {
				w.t.Fatal(err)
			}
			w.mustComplete(g.Lease, Report{Disposition: "no_answer"})
		}, "w0 failed no_answer"},
		{"without a word, and told all the same", func(w *world, g Granted) {
			w.now = g.ExpiresAt
			w.tick()
			w.mustComplete(g.Lease, Report{Disposition: "notified"})
		}, "w0 done notified"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 1))
			g := w.one()
			w.close(inc, withdraw)
			w.want()
			tt.do(w, g)
			w.tick()
			w.want(tt.want)
			w.none()
		})
	}
}

// What was ordered is made to its end, retries and call-backs included; nobody's wish is added.
func TestDrainedAtClose(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 1))
	w.facts[Place{inc, 1, 1}] = inNewYork(t, 2)
	w.close(inc, drain)
	w.queue(inc, "w1", 1, 3, 0) // which waited for its hours
	if err := w.ask(Place{inc, 1, 1}, time.Time{}, "r1"); err != nil {
		t.Fatal(err)
	}
	if n := w.q.Open(inc); n != 1 {
		t.Fatalf("%d tasks are open, want one", n)
	}
	g := w.one()
	back := w.now.Add(26 * time.Hour)
	w.mustComplete(g.Lease, Report{Disposition: "callback", CallBackAt: back})
	w.tick()
	w.want()
	w.now = back
	w.mustComplete(w.one().Lease, Report{Disposition: "notified"})
	w.want("w0 done notified", "w1 done notified")
	if n := w.q.Open(inc); n != 0 {
		t.Errorf("%d tasks are open", n)
	}

	w.close(inc, withdraw) // and then nothing is left
	w.want("w0 done notified", "w1 done notified")
}

// A drain that takes too long can still be broken off, and so can the end.
func TestChangedMindAtClose(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 1))
	w.close(inc, drain)
	w.close(inc, goOn)
	w.queue(inc, "w1", 1, 3, 0)
	w.close(inc, drain)
	w.close(inc, withdraw)
	w.want("w0 expired closed", "w1 expired closed")
}
