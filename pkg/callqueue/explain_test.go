package callqueue

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

var update = flag.Bool("update", false, "rewrite the files under testdata")

// Each story is told in the words that `candor calls explain` prints; testdata/explain.txt is for reading.
func TestExplainInWords(t *testing.T) {
	t.Parallel()
	uncertain := inNewYork(t, 7)
	uncertain.Uncertain = []bool{true}
	both := inNewYork(t, 7)
	both.Zones[0] = append(both.Zones[0], zone(t, "America/Los_Angeles"))
	report := func(w *world, code string) { w.mustComplete(w.one().Lease, Report{Disposition: code}) }
	var told strings.Builder
	for _, tt := range []struct {
		name  string
		facts Facts
		start string
		story func(w *world)
	}{
		{"nothing in the way", inNewYork(t, 7), "Mon 10:00", func(*world) {}},
		{"out of hours", inNewYork(t, 7), "Mon 22:00", func(*world) {}},
		{"the last minutes", inNewYork(t, 7), "Mon 19:55", func(*world) {}},
		{"two zones, too early in one", both, "Mon 10:00", func(*world) {}},
		{"a zone that is a guess", uncertain, "Mon 10:00", func(*world) {}},
		{"paused", inNewYork(t, 7), "Mon 10:00", func(w *world) { w.q.Hold(inc, true) }},
		{"leased", inNewYork(t, 7), "Mon 10:00", func(w *world) { w.one() }},
		{"a lease without a report", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			w.one()
			w.now = at(t, "Mon 10:10")
			w.tick()
		}},
		{"no answer", inNewYork(t, 7), "Mon 10:00", func(w *world) { report(w, "no_answer") }},
		{"not at the same time of day", inNewYork(t, 7), "Mon 17:00", func(w *world) {
			report(w, "no_answer")
			w.now = at(t, "Tue 15:30")
		}},
		{"the cap of a number", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			report(w, "third_party")
			w.now = at(t, "Mon 14:00")
			if err := w.ask(theOne, w.now.Add(time.Second), "r0"); err != nil {
				t.Fatal(err)
			}
			w.now = w.now.Add(time.Second)
			report(w, "third_party")
			w.now = at(t, "Tue 09:30")
			if err := w.ask(theOne, w.now.Add(time.Second), "r"); err != nil {
				t.Fatal(err)
			}
			w.now = w.now.Add(time.Second)
		}},
		{"called a moment ago, and asks", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			report(w, "refused_info")
			w.now = at(t, "Mon 11:00")
			if err := w.ask(theOne, time.Time{}, "r"); err != nil {
				t.Fatal(err)
			}
		}},
		{"a promised time", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			w.mustComplete(w.one().Lease, Report{Disposition: "callback", CallBackAt: at(t, "Mon 21:30")})
		}},
		{"a promised time has come", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			w.mustComplete(w.one().Lease, Report{Disposition: "callback", CallBackAt: at(t, "Mon 21:30")})
			w.now = at(t, "Mon 21:20")
		}},
		{"a promised time was missed", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			w.mustComplete(w.one().Lease, Report{Disposition: "callback", CallBackAt: at(t, "Mon 12:30")})
			w.now = at(t, "Mon 13:00")
		}},
		{"a promised time was missed, and another day is named", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			w.rules[inc].CallBack.Missed = playbook.MissedNextDay
			w.mustComplete(w.one().Lease, Report{Disposition: "callback", CallBackAt: at(t, "Mon 12:30")})
			w.now = at(t, "Mon 13:00")
		}},
		{"one number is wrong, one is closed", inNewYork(t, 7, 8, 9), "Mon 10:00", func(w *world) {
			report(w, "wrong_number")
			w.q.Suppress(w.now, 8)
		}},
		{"the other customer's call", inNewYork(t, 7), "Mon 10:00", func(w *world) {
			w.facts[Place{inc, 2, 0}] = inNewYork(t, 7)
			w.queue(inc, "w0", 2, 1, 0)
			w.one()
		}},
		{"told", inNewYork(t, 7), "Mon 10:00", func(w *world) { report(w, "notified") }},
		{"about to end", inNewYork(t, 7), "Mon 10:00", func(w *world) { w.q.Suppress(w.now, 7) }},
	} {
		w := oneTask(t, at(t, tt.start), func(c *playbook.Calls) { c.Caps.NumberPerDay = 2 }, tt.facts)
		tt.story(w)
		e, err := w.q.Explain(w.now, theOne)
		if err != nil {
			t.Fatal(err)
		}
		next := "unknown"
		if !e.Next.IsZero() {
			next = e.Next.In(zone(t, "America/New_York")).Format("Mon 15:04:05")
		}
		fmt.Fprintf(&told, "%s\n  %s, callable %v, next %s\n", tt.name, candorv1.Word(e.State), e.Callable, next)
		for _, words := range e.Words() {
			fmt.Fprintf(&told, "  %s\n", words)
		}
	}
	const file = "testdata/explain.txt"
	if *update {
		if err := os.WriteFile(file, []byte(told.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), told.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := New().Explain(time.Now(), theOne); err == nil {
		t.Error("explains a task that is not there")
	}
}
