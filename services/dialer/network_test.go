package dialer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"candor/pkg/clock"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

func network(t *testing.T, speed, crash float64) *Network {
	t.Helper()
	n, err := NewNetwork(1, speed, crash, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func taskOf(i int, attempt uint32) *candorv1.CallTask {
	return &candorv1.CallTask{
		Code: fmt.Sprint("c", i), Phone: fmt.Sprint("+", i), Attempt: attempt,
		Script: &candorv1.Script{Parts: []*candorv1.ScriptPart{{Name: "voicemail"}}},
	}
}

func TestACallIsTheSameEveryTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, slow := network(t, 60, 0), network(t, 60, 0), network(t, 1, 0)
		differ := 0
		for i := range 200 {
			a, _ := first.Dial(t.Context(), taskOf(i, 1))
			b, _ := second.Dial(t.Context(), taskOf(i, 1))
			c, _ := slow.Dial(t.Context(), taskOf(i, 1))
			if a.Disposition != b.Disposition || a.CallID != b.CallID || a.Disposition != c.Disposition || a.Ended.Sub(a.Started) != b.Ended.Sub(b.Started) {
				t.Errorf("customer %d: %+v, then %+v, slowly %+v", i, a, b, c)
			}
			if d, _ := first.Dial(t.Context(), taskOf(i, 2)); d.Disposition != a.Disposition {
				differ++
			}
		}
		if differ < 50 {
			t.Errorf("only %d of 200 second calls end in another way", differ)
		}
	})
}

// TestCallsEndInEveryWay holds the shares against a count, and what is said against the playbook.
func TestCallsEndInEveryWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, known := network(t, 1, 0), playbook.DefaultCalls().Dispositions
		const calls = 20_000
		counts := map[string]int{}
		for i := range calls {
			attempt := uint32(1 + i%2)
			r, err := n.Dial(t.Context(), taskOf(i, attempt))
			if err != nil {
				t.Fatal(err)
			}
			d, ok := known[r.Disposition]
			if !ok {
				t.Fatalf("the playbook does not know %q", r.Disposition)
			}
			if d.CallBack != !r.CallBackAt.IsZero() || d.CallBack && !r.CallBackAt.After(r.Ended) {
				t.Fatalf("%s: call back at %s", r.Disposition, r.CallBackAt)
			}
			if took := r.Ended.Sub(r.Started); took <= 0 || took > 6*time.Minute || d.Told && took < 2*time.Minute {
				t.Fatalf("%s took %s", r.Disposition, took)
			}
			if d.Unanswered && r.Disposition == "no_answer" && (r.Ended.Sub(r.Started) < 15*time.Second || !r.Answered.IsZero()) {
				t.Fatalf("%+v", r)
			}
			counts[r.Disposition]++
		}
		for what, often := range map[string]float64{
			"invalid": 0.01, "busy": 0.05, "no_answer": 0.26, "wrong_number": 0.013, "voicemail_left": 0.072, "voicemail_no_msg": 0.072,
			"third_party": 0.036, "callback": 0.026, "language_needed": 0.007, "do_not_call": 0.003,
		} {
			if got := float64(counts[what]) / calls; math.Abs(got-often) > often/3 {
				t.Errorf("%s: %.4f of all, want about %.4f", what, got, often)
			}
		}
		if counts["notified"] < calls/3 || len(counts) < 15 {
			t.Errorf("%v", counts)
		}
	})
}

func TestACutLineSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := network(t, 1, 0)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := n.Dial(ended, taskOf(1, 1)); !errors.Is(err, ErrNotDialled) {
			t.Errorf("a line that is cut before it rings: %v", err)
		}
		counts := map[string]int{}
		for i := range 500 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%60)*time.Second+500*time.Millisecond)
			r, err := n.Dial(ctx, taskOf(i, 1))
			cancel()
			if err != nil || r.Disposition == "abandoned" && r.Answered.IsZero() || r.Disposition == "notified" {
				t.Fatalf("%+v, %v", r, err)
			}
			counts[r.Disposition]++
		}
		if counts["abandoned"] < 100 || counts["no_answer"] < 100 {
			t.Errorf("%v", counts)
		}
	})
}

func TestTheSpeedAndTheShareOfCrashes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := network(t, 60, 0.25)
		gone := 0
		for i := range 2000 {
			r, err := n.Dial(t.Context(), taskOf(i, 1))
			if errors.Is(err, ErrVanished) {
				gone++
			} else if d := r.Ended.Sub(r.Started); d > 6*time.Second {
				t.Fatalf("a call of %s", d)
			}
		}
		if gone < 400 || gone > 600 {
			t.Errorf("%d of 2000 vanished", gone)
		}
	})
	for _, bad := range [][2]float64{{0, 0}, {-1, 0}, {math.NaN(), 0}, {1, 1.5}, {1, -0.1}, {1, math.NaN()}} {
		if _, err := NewNetwork(1, bad[0], bad[1], time.Now); err == nil {
			t.Errorf("speed %g, crash %g are taken", bad[0], bad[1])
		}
	}
}

// In a rehearsal the calendar goes as fast as the calls: who asks to be called in some hours is called then.
func TestCallBacksAreOnTheQueuesCalendar(t *testing.T) {
	t.Parallel()
	const speed = 3600
	synctest.Test(t, func(t *testing.T) {
		origin := time.Date(2028, 2, 29, 10, 0, 0, 0, time.UTC)
		n := network(t, speed, 0).On(clock.Fast(origin, time.Now(), speed))
		asked := 0
		for i := range 500 {
			r, err := n.Dial(t.Context(), taskOf(i, 1))
			if err != nil {
				t.Fatal(err)
			}
			if r.CallBackAt.IsZero() {
				continue
			}
			asked++
			if in := r.CallBackAt.Sub(r.Ended); in < 2*time.Hour-5*time.Minute || in > 6*time.Hour || r.Started.Before(origin) {
				t.Fatalf("a call at %s is to be repeated after %s", r.Started, in)
			}
		}
		if asked == 0 {
			t.Error("nobody asked to be called back")
		}
	})
}
