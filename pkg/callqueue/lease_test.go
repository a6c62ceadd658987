package callqueue

import (
	"errors"
	"strings"
	"testing"
	"time"

	candorv1 "candor/proto/candor/v1"
)

var theOne = Place{inc, 1, 0}

func TestWhatADialerIsToldOfAWrongReport(t *testing.T) {
	t.Parallel()
	start := at(t, "Mon 10:00")
	unknown := func(err error) bool {
		var e *UnknownDispositionError
		return errors.As(err, &e) && strings.Contains(err.Error(), "no_answer")
	}
	callBackTime := func(err error) bool {
		var e *CallBackTimeError
		return errors.As(err, &e)
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	for _, tt := range []struct {
		name   string
		dialer string
		lease  func(*Lease)
		report Report
		is     func(error) bool
	}{
		{"another random part", "d", func(l *Lease) { l.Random++ }, Report{Disposition: "notified"}, is(ErrUnknownLease)},
		{"another fence", "d", func(l *Lease) { l.Fence++ }, Report{Disposition: "notified"}, is(ErrUnknownLease)},
		{"another page", "d", func(l *Lease) { l.Place.Page++ }, Report{Disposition: "notified"}, is(ErrUnknownLease)},
		{"another incident", "d", func(l *Lease) { l.Place.Incident = "b-9" }, Report{Disposition: "notified"}, is(ErrUnknownLease)},
		{"another token", "e", nil, Report{Disposition: "notified"}, is(ErrForeignLease)},
		{"a disposition that nobody wrote down", "d", nil, Report{Disposition: "sold"}, unknown},
		{"no disposition", "d", nil, Report{}, unknown},
		{"a call-back without a time", "d", nil, Report{Disposition: "callback"}, is(ErrCallBackMissing)},
		{"a time without a call-back", "d", nil, Report{Disposition: "no_answer", CallBackAt: start.Add(time.Hour)}, is(ErrCallBackUnwanted)},
		{"a call-back in the past", "d", nil, Report{Disposition: "callback", CallBackAt: start.Add(-time.Minute)}, callBackTime},
		{"a call-back this instant", "d", nil, Report{Disposition: "callback", CallBackAt: start}, callBackTime},
		{"a call-back next year", "d", nil, Report{Disposition: "callback", CallBackAt: start.Add(61 * 24 * time.Hour)}, callBackTime},
		{"a phone of somebody else", "d", nil, Report{Disposition: "no_answer", Number: 99}, is(ErrForeignNumber)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := oneTask(t, start, nil, inNewYork(t, 7))
			l := w.one().Lease
			if tt.lease != nil {
				tt.lease(&l)
			}
			events := len(w.log)
			_, err := w.completeAs(tt.dialer, l, tt.report)
			if err == nil || !tt.is(err) {
				t.Errorf("got %v", err)
			}
			if len(w.log) != events || w.state() != "leased" {
				t.Errorf("the queue has changed: %s", w.state())
			}
		})
	}
}

func TestAReportIsTakenOnce(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	l := w.one().Lease
	first := w.mustComplete(l, Report{Disposition: "no_answer"})
	events := len(w.log)
	w.now = w.now.Add(time.Hour)
	if again := w.mustComplete(l, Report{Disposition: "no_answer"}); again != first {
		t.Errorf("the second time %+v, the first %+v", again, first)
	}
	var other *ReportedError
	if _, err := w.complete(l, Report{Disposition: "busy"}); !errors.As(err, &other) || other.Disposition != "no_answer" {
		t.Errorf("another report: %v", err)
	}
	if len(w.log) != events {
		t.Error("made an event")
	}
}

func TestALeaseWithoutAReport(t *testing.T) {
	t.Parallel()
	start := at(t, "Mon 10:00")
	// expired is a task whose lease ended at 10:10 without a report.
	expired := func(t *testing.T) (*world, Lease) {
		w := oneTask(t, start, nil, inNewYork(t, 7))
		l := w.one().Lease
		w.now = at(t, "Mon 10:10")
		w.tick()
		if got := w.state(); got != "uncertain" {
			t.Fatalf("is %s", got)
		}
		return w, l
	}
	t.Run("cools down, and counts as a call", func(t *testing.T) {
		t.Parallel()
		w, _ := expired(t)
		w.now = at(t, "Mon 14:09")
		w.none()
		if got := w.state(); got != "pending" {
			t.Errorf("after the cool-down it is %s", got)
		}
		w.now = at(t, "Mon 14:10") // four hours after the call that may have been
		if g := w.one(); g.Lease.Fence != 2 || g.Attempt != 2 {
			t.Errorf("fence %d, attempt %d", g.Lease.Fence, g.Attempt)
		}
	})
	t.Run("a late report decides", func(t *testing.T) {
		t.Parallel()
		w, l := expired(t)
		answer := w.mustComplete(l, Report{Disposition: "busy"})
		if !answer.Late || answer.State != candorv1.CallState_CALL_STATE_WAITING || !answer.NextAt.Equal(at(t, "Mon 10:25")) {
			t.Errorf("answer %+v", answer)
		}
	})
	t.Run("a late report beside a newer lease ends the task when that one does", func(t *testing.T) {
		t.Parallel()
		w, l := expired(t)
		w.now = at(t, "Mon 15:00")
		newer := w.one().Lease
		if answer := w.mustComplete(l, Report{Disposition: "notified"}); !answer.Late || answer.State != candorv1.CallState_CALL_STATE_LEASED {
			t.Errorf("answer %+v", answer)
		}
		if answer := w.mustComplete(newer, Report{Disposition: "no_answer"}); answer.State != candorv1.CallState_CALL_STATE_DONE {
			t.Errorf("the newer report makes it %v", answer.State)
		}
	})
	t.Run("the same where the newer lease is given back", func(t *testing.T) {
		t.Parallel()
		w, l := expired(t)
		w.now = at(t, "Mon 15:00")
		newer := w.one().Lease
		w.mustComplete(l, Report{Disposition: "do_not_call"})
		if err := w.release("d", newer, ""); err != nil {
			t.Fatal(err)
		}
		w.none()
		w.tick()
		if got := w.state(); got != "suppressed" {
			t.Errorf("is %s", got)
		}
	})
	t.Run("a late report after a newer one is evidence", func(t *testing.T) {
		t.Parallel()
		w, l := expired(t)
		w.now = at(t, "Mon 15:00")
		w.mustComplete(w.one().Lease, Report{Disposition: "busy"})
		if answer := w.mustComplete(l, Report{Disposition: "no_answer"}); !answer.Late || !answer.NextAt.Equal(at(t, "Mon 15:15")) {
			t.Errorf("answer %+v", answer)
		}
	})
	t.Run("a customer who was told is done, even after the task has ended", func(t *testing.T) {
		t.Parallel()
		w, l := expired(t)
		events, err := w.q.Withdraw(w.now, inc, nil, candorv1.CallState_CALL_STATE_EXPIRED, "closed")
		if err != nil {
			t.Fatal(err)
		}
		w.store(inc, events...)
		if answer := w.mustComplete(l, Report{Disposition: "notified"}); answer.State != candorv1.CallState_CALL_STATE_DONE {
			t.Errorf("answer %+v", answer)
		}
		if got := w.q.SettledAt(theOne); len(got) != 1 || got[0].Waves[0].Result != candorv1.Result_RESULT_DELIVERED {
			t.Errorf("settled %+v", got)
		}
	})
	t.Run("a late report does not move the time of day to keep away from", func(t *testing.T) {
		t.Parallel()
		w, l := expired(t)
		w.now = at(t, "Mon 16:00")
		w.mustComplete(w.one().Lease, Report{Disposition: "no_answer"})
		w.mustComplete(l, Report{Disposition: "no_answer", EndedAt: at(t, "Mon 10:05")})
		w.now = at(t, "Tue 16:30")
		w.none()
		w.now = at(t, "Tue 18:00")
		w.one()
	})
	t.Run("cannot be renewed", func(t *testing.T) {
		t.Parallel()
		w, l := expired(t)
		if _, err := w.renew("d", l, 0); !errors.Is(err, ErrLeaseOver) {
			t.Errorf("renew: %v", err)
		}
	})
}

func TestRenew(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	g := w.one()
	if want := at(t, "Mon 10:10"); !g.ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, want %v", g.ExpiresAt, want)
	}
	if _, err := w.renew("e", g.Lease, 0); !errors.Is(err, ErrForeignLease) {
		t.Errorf("foreign: %v", err)
	}
	w.now = at(t, "Mon 10:05")
	if until, err := w.renew("d", g.Lease, 0); err != nil || !until.Equal(at(t, "Mon 10:15")) {
		t.Errorf("until %v, %v", until, err)
	}
	events := len(w.log)
	if until, err := w.renew("d", g.Lease, time.Minute); err != nil || !until.Equal(at(t, "Mon 10:15")) || len(w.log) != events {
		t.Errorf("shortened: until %v, %v", until, err)
	}
	w.now = at(t, "Mon 10:14")
	w.tick()
	if got := w.state(); got != "leased" {
		t.Errorf("is %s", got)
	}
	events2, err := w.q.Withdraw(w.now, inc, []Place{theOne}, candorv1.CallState_CALL_STATE_SUPPRESSED, "opted_out")
	if err != nil || len(events2) != 1 {
		t.Fatal(events2, err)
	}
	if _, err := w.renew("d", g.Lease, time.Hour); !errors.Is(err, ErrWithdrawn) {
		t.Errorf("withdrawn: %v", err)
	}
}

// A refused renewal is the sign to stop; what was said by then is taken all the same.
func TestARenewalIsRefused(t *testing.T) {
	t.Parallel()
	// again is a world in which the lease of d has ended without a word, and e holds the task.
	again := func(t *testing.T) (w *world, former, lease Lease) {
		w = oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7, 8))
		former = w.one().Lease
		w.now = at(t, "Mon 10:10")
		w.tick()
		w.now = at(t, "Mon 15:00")
		return w, former, w.claim(Claim{Dialer: "e"})[0].Lease
	}
	for _, report := range []Report{
		{Disposition: "notified"},
		{Disposition: "do_not_call"},
		{Disposition: "wrong_number"}, // which e is about to dial
		{Disposition: "notified_callback", CallBackAt: at(t, "Tue 15:00")},
	} {
		t.Run("after a late "+report.Disposition, func(t *testing.T) {
			t.Parallel()
			w, former, lease := again(t)
			if answer := w.mustComplete(former, report); answer.State != candorv1.CallState_CALL_STATE_LEASED {
				t.Errorf("answer %+v", answer)
			}
			want := ErrWithdrawn
			if !report.CallBackAt.IsZero() {
				want = ErrNotNow
			}
			if until, err := w.renew("e", lease, time.Hour); !errors.Is(err, want) {
				t.Errorf("renewed until %v, %v; want %v", until, err, want)
			}
		})
	}
	t.Run("and is not after a late no_answer", func(t *testing.T) {
		t.Parallel()
		w, former, lease := again(t)
		w.mustComplete(former, Report{Disposition: "no_answer"})
		if _, err := w.renew("e", lease, time.Hour); err != nil {
			t.Error(err)
		}
	})
	t.Run("while the incident is paused", func(t *testing.T) {
		t.Parallel()
		w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
		g := w.one()
		if n := w.q.Leases(inc); n != 1 || w.q.Leases("b-2") != 0 {
			t.Errorf("%d leases are out", n)
		}
		w.held[inc] = true
		w.q.Hold(inc, true)
		w.now = at(t, "Mon 10:05")
		if _, err := w.renew("d", g.Lease, 0); !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), "paused") {
			t.Errorf("renew: %v", err)
		}
		w.now = at(t, "Mon 10:12") // the call went on, and its lease has ended meanwhile
		w.tick()
		if n := w.q.Leases(inc); n != 0 {
			t.Errorf("%d leases are out", n)
		}
		if answer := w.mustComplete(g.Lease, Report{Disposition: "notified"}); !answer.Late || answer.State != candorv1.CallState_CALL_STATE_DONE {
			t.Errorf("answer %+v", answer)
		}
		w.want("w0 done notified")
	})
	t.Run("and is not once it goes on", func(t *testing.T) {
		t.Parallel()
		w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
		g := w.one()
		w.q.Hold(inc, true)
		w.q.Hold(inc, false)
		if _, err := w.renew("d", g.Lease, time.Hour); err != nil {
			t.Error(err)
		}
	})
	t.Run("when voice is closed for the number", func(t *testing.T) {
		t.Parallel()
		w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7, 8))
		g := w.one()
		w.q.Suppress(w.now, 7)
		if _, err := w.renew("d", g.Lease, time.Hour); !errors.Is(err, ErrWithdrawn) {
			t.Errorf("renew: %v", err)
		}
	})
	t.Run("after the hours", func(t *testing.T) {
		t.Parallel()
		w := oneTask(t, at(t, "Mon 19:00"), nil, inNewYork(t, 7))
		g := w.claim(Claim{LeaseFor: 8 * time.Hour})[0]
		w.now = at(t, "Mon 20:00") // calls that began by 19:50 last until now
		if _, err := w.renew("d", g.Lease, 9*time.Hour); err != nil {
			t.Error(err)
		}
		w.now = w.now.Add(time.Second)
		if _, err := w.renew("d", g.Lease, 10*time.Hour); !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), "hours") {
			t.Errorf("renew: %v", err)
		}
	})
}

func TestRelease(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	l := w.one().Lease
	if err := w.release("e", l, ""); !errors.Is(err, ErrForeignLease) {
		t.Errorf("foreign: %v", err)
	}
	for range 2 { // the second time changes nothing
		if err := w.release("d", l, "Bob called in sick"); err != nil {
			t.Fatal(err)
		}
	}
	if ev := w.log[len(w.log)-1].event.GetReleased(); ev.GetReason() != "other" || len(w.log) != 3 {
		t.Errorf("events %v", w.log)
	}
	for skip := range 3 {
		g := w.one() // at once: it was not dialled
		if g.Attempt != 1 {
			t.Errorf("attempt %d", g.Attempt)
		}
		if err := w.release("d", g.Lease, "agent_skip"); err != nil {
			t.Fatal(err)
		}
		w.none()
		w.now = w.now.Add(10*time.Minute - time.Second)
		w.none()
		w.now = w.now.Add(time.Second)
		w.tick()
		if got, want := w.state() == "failed", skip == 2; got != want {
			t.Errorf("after %d skips: %s", skip+1, w.state())
		}
	}
	late := w.mustComplete(l, Report{Disposition: "notified"})
	if !late.Late || late.State != candorv1.CallState_CALL_STATE_DONE {
		t.Errorf("dialled after all: %+v", late)
	}
}

func FuzzParseLease(f *testing.F) {
	f.Add(Lease{Place: Place{"b-1", 3, 999}, Fence: 12, Random: 1 << 63}.String())
	f.Add("")
	f.Add("zzzz")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLease(s)
		if err != nil {
			if !errors.Is(err, ErrUnknownLease) {
				t.Errorf("%v", err)
			}
			return
		}
		if l.String() != s {
			t.Errorf("%q is %+v, which is %q", s, l, l.String())
		}
	})
}
