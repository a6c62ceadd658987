package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"candor/pkg/window"
)

func rule(t interface{ Fatal(...any) }, words string) window.Rule {
	r, err := window.Parse(words)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWindow(t *testing.T) {
	t.Parallel()
	const layout = "2006-01-02 15:04"
	for _, tt := range []struct {
		name, rule, zone, due string
		work, slack           time.Duration
		call                  bool
		from, until           string
	}{
		{"at once", "none", "UTC", "2026-11-26 17:00", time.Hour, time.Minute, false, "2026-11-26 17:00", "2026-11-26 18:01"},
		{"in the hours", "outside mon-fri 09:00-20:00", "UTC", "2026-11-26 17:00", time.Hour, time.Minute, false, "2026-11-26 17:00", "2026-11-26 18:01"},
		{"not beyond the hours", "outside mon-fri 09:00-20:00", "UTC", "2026-11-26 19:30", 30 * time.Minute, time.Minute, false, "2026-11-26 19:30", "2026-11-26 20:00"},
		{"in the morning", "outside mon-fri 09:00-20:00", "America/New_York", "2026-11-27 02:00", 0, time.Minute, false, "2026-11-27 14:00", "2026-11-27 14:01"},
		{"after a weekend", "outside mon-fri 09:00-20:00", "UTC", "2026-11-28 12:00", 0, time.Minute, false, "2026-11-30 09:00", "2026-11-30 09:01"},
		{"more than a day's work", "outside mon-fri 09:00-20:00", "UTC", "2026-11-26 17:00", 5 * time.Hour, time.Minute, false, "2026-11-26 17:00", "2026-11-27 11:01"},
		{"more than two days' work", "outside mon-fri 09:00-20:00", "UTC", "2026-11-26 17:00", 15 * time.Hour, time.Minute, false, "2026-11-26 17:00", "2026-11-30 10:01"},
		{"summer ends in the customer's zone", "outside mon-sun 09:00-20:00", "America/New_York", "2026-11-01 07:00", 0, time.Minute, false, "2026-11-01 14:00", "2026-11-01 14:01"},
		{"a call", "outside mon-fri 09:00-20:00", "UTC", "2026-11-26 17:00", 0, time.Minute, true, "2026-11-26 17:00", "2026-11-26 20:00"},
		{"a call at any hour", "none", "UTC", "2026-11-26 17:00", 0, time.Minute, true, "2026-11-26 17:00", "2026-11-27 17:00"},
		{"hours that end for ever", "outside mon-fri 09:00-20:00, closed 2026-11-27", "UTC", "2026-11-26 21:00", 0, time.Minute, false, "2026-11-30 09:00", "2026-11-30 09:01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			due, err := time.Parse(layout, tt.due)
			if err != nil {
				t.Fatal(err)
			}
			from, until, ok := hours{rule: rule(t, tt.rule), loc: location(tt.zone), call: tt.call}.window(due, tt.work, tt.slack)
			if got := from.UTC().Format(layout); !ok || got != tt.from {
				t.Errorf("from %s, %v, want %s", got, ok, tt.from)
			}
			if got := until.UTC().Format(layout); got != tt.until {
				t.Errorf("until %s, want %s", got, tt.until)
			}
		})
	}
	if _, _, ok := (hours{loc: time.UTC}).window(time.Now(), 0, 0); ok {
		t.Error("hours that never come have come")
	}
}

// Whatever the hours and the work: nothing goes out before it is due or in quiet hours, and all of it fits between.
func TestWindowHoldsTheWork(t *testing.T) {
	t.Parallel()
	rules := []string{"none", "outside mon-fri 09:00-20:00", "outside mon-sun 08:00-21:00", "outside sat 10:00-11:00", "outside mon-sun 00:00-24:00, closed 2026-12-25"}
	zones := []string{"UTC", "America/New_York", "Pacific/Apia", "Asia/Kathmandu", "Australia/Lord_Howe"}
	rapid.Check(t, func(t *rapid.T) {
		h := hours{rule: rule(t, rapid.SampledFrom(rules).Draw(t, "rule")), loc: location(rapid.SampledFrom(zones).Draw(t, "zone"))}
		due := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "due"), 0).UTC()
		work := time.Duration(rapid.Int64Range(0, 100*3600).Draw(t, "work")) * time.Second
		from, until, ok := h.window(due, work, time.Minute)
		if !ok {
			t.Fatal("the hours never come")
		}
		if from.Before(due) || !h.rule.Open(from, h.loc) || until.Before(from) {
			t.Fatalf("due %s: %s to %s", due, from, until)
		}
		var open time.Duration
		for at := from; at.Before(until); at = at.Add(time.Minute) {
			if h.rule.Open(at, h.loc) {
				open += time.Minute
			}
		}
		if open < work || !h.rule.Open(until.Add(-time.Second), h.loc) && until.After(from) {
			t.Fatalf("due %s: %s to %s has %s open, and the work takes %s", due, from, until, open, work)
		}
	})
}
