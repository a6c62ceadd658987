package callqueue

import (
	"slices"
	"strings"
	"testing"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Agents who say en-US were never given a task in en.
func TestALanguageAndItsVariantsStandForEachOther(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		speaks, task string
		gets         bool
	}{
		{"en-US", "en", true},
		{"en", "en-US", true},
		{"EN-us", "en", true},
		{"en-US", "en-GB", false},
		{"eng", "en", false},
		{"", "en", false},
	} {
		f := inNewYork(t, 7)
		f.Language = tt.task
		w := oneTask(t, at(t, "Mon 10:00"), nil, f)
		if got := len(w.claim(Claim{Languages: []string{tt.speaks}})) == 1; got != tt.gets {
			t.Errorf("%q gets a task in %s: %v", tt.speaks, tt.task, got)
		}
	}
}

func TestAPageThatIsShelvedIsClaimedLater(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	w.facts[Place{inc, 2, 0}] = inNewYork(t, 8)
	w.queue(inc, "w0", 2, 3, 0)
	until := w.now.Add(time.Minute)
	w.q.Shelve(w.now, inc, 1, until)
	if granted := w.claim(Claim{Max: 5}); len(granted) != 1 || granted[0].Place.Page != 2 {
		t.Errorf("claimed %v", granted)
	}
	if n := w.q.Counts(w.now, inc).Callable; n != 0 {
		t.Errorf("%d are callable", n)
	}
	if e, err := w.q.Explain(w.now, Place{inc, 1, 0}); err != nil || e.Callable || !e.Next.Equal(until) || !strings.Contains(strings.Join(e.Words(), " "), "cannot be read") {
		t.Errorf("explained %+v, %v", e, err)
	}
	if at, ok := w.q.NextAt(w.now); !ok || !at.Equal(until) {
		t.Errorf("next at %v, %v", at, ok)
	}
	w.now = until
	w.one()
	// And sooner, where somebody found that it can be read.
	w = oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	w.q.Shelve(w.now, inc, 1, w.now.Add(time.Hour))
	w.none()
	w.q.Shelve(w.now, inc, 1, time.Time{})
	w.one()
	w.q.Shelve(w.now, "nowhere", 1, until)
	w.q.Shelve(w.now, inc, 9, until)
}

func TestANumberThatIsAllowedAgainIsCalled(t *testing.T) {
	t.Parallel()
	f := inNewYork(t, 7)
	f.Numbers, f.Zones, f.Uncertain = append(f.Numbers, 8), append(f.Zones, f.Zones[0]), append(f.Uncertain, false)
	w := oneTask(t, at(t, "Mon 10:00"), nil, f)
	if !w.q.Knows(7) || w.q.Knows(9) {
		t.Error("knows the wrong numbers")
	}
	w.q.Suppress(w.now, 7)
	if g := w.one(); g.Phone != 1 {
		t.Errorf("dials number %d", g.Phone)
	} else if err := w.release("d", g.Lease, ""); err != nil {
		t.Fatal(err)
	}
	w.q.Allow(w.now, 7)
	w.q.Allow(w.now, 9)
	if g := w.one(); g.Phone != 0 {
		t.Errorf("dials number %d", g.Phone)
	}
}

// The words of an abort stood where it is said how a customer was told.
func TestWhoWasToldDoesNotEndAsAborted(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	w.mustComplete(w.one().Lease, Report{Disposition: "notified_callback", CallBackAt: w.now.Add(time.Hour)})
	events, err := w.q.Withdraw(w.now, inc, nil, candorv1.CallState_CALL_STATE_EXPIRED, "aborted")
	if err != nil {
		t.Fatal(err)
	}
	w.store(inc, events...)
	if words := w.explain(); !slices.ContainsFunc(words, func(s string) bool { return strings.Contains(s, "ended as done") && strings.HasSuffix(s, ": told.") }) {
		t.Errorf("explained %q", words)
	}
	if state, ok := w.q.Shows(Place{inc, 1, 0}); !ok || state != candorv1.CallState_CALL_STATE_DONE {
		t.Errorf("shown as %v, %v", state, ok)
	}
	if _, ok := w.q.Shows(Place{inc, 1, 1}); ok {
		t.Error("somebody without a task is shown")
	}
}
