package plan

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"candor/pkg/window"
)

func rule(t testing.TB, spec string) window.Rule {
	t.Helper()
	r, err := window.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	const day = "outside mon-sun 09:00-20:00"
	for _, tt := range []struct {
		name        string
		rule        string
		now         string // UTC
		perSec      float64
		loads       []load
		first, last string
	}{
		{"nothing to do", "none", "2026-11-23 06:00", 1, nil, "", ""},
		{"always open", "none", "2026-11-23 06:00", 2, []load{{1, "UTC", 7200}}, "2026-11-23 06:00", "2026-11-23 07:00"},
		{"waits for the morning", day, "2026-11-23 06:00", 1, []load{{1, "America/New_York", 3600}}, "2026-11-23 14:00", "2026-11-23 15:00"},
		{"no rate takes no time", day, "2026-11-23 06:00", 0, []load{{1, "America/New_York", 1e6}}, "2026-11-23 14:00", "2026-11-23 14:00"},
		{
			"the west wakes later", day, "2026-11-23 06:00", 1,
			[]load{{1, "America/New_York", 60}, {1, "America/Los_Angeles", 60}},
			"2026-11-23 14:00", "2026-11-23 17:01",
		},
		{
			"those hit hardest come first, as soon as they wake", day, "2026-11-23 06:00", 1,
			// New York would be done at 18:00; for an hour from 17:00 on, Los Angeles goes first.
			[]load{{5, "America/New_York", 4 * 3600}, {1, "America/Los_Angeles", 3600}},
			"2026-11-23 14:00", "2026-11-23 19:00",
		},
		{"what is not done by night waits for the next day", day, "2026-11-23 06:00", 1, []load{{1, "America/New_York", 12 * 3600}}, "2026-11-23 14:00", "2026-11-24 15:00"},
		{"a night with a changed clock", day, "2026-10-31 20:00", 1, []load{{1, "America/New_York", 5 * 3600}}, "2026-10-31 20:00", "2026-11-01 15:00"},
		{"in the middle of the day", day, "2026-11-23 15:30", 1, []load{{1, "America/New_York", 60}}, "2026-11-23 15:30", "2026-11-23 15:31"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first, last, ok := timeline(at(t, tt.now), rule(t, tt.rule), tt.perSec, tt.loads)
			if !ok || !first.Equal(at(t, tt.first)) || last.Sub(at(t, tt.last)).Abs() > time.Second {
				t.Errorf("got %s to %s, %v, want %s to %s", first, last, ok, tt.first, tt.last)
			}
		})
	}
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	v, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Minute by minute, with the same rule and order, the end is the same.
func TestTimelineAgreesWithMinutes(t *testing.T) {
	t.Parallel()
	zones := []string{"America/New_York", "America/Los_Angeles", "Europe/Madrid", "Asia/Kolkata"}
	hours := rule(t, "outside mon-fri 09:00-20:00, sat 10:00-14:00, closed 2026-11-26")
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 10, 30, 0, rapid.IntRange(0, 4*1440).Draw(t, "now"), 0, 0, time.UTC)
		var loads []load
		for _, zone := range zones {
			for tier := range uint32(2) {
				if minutes := rapid.IntRange(0, 300).Draw(t, "minutes"); minutes > 0 {
					loads = append(loads, load{tier, zone, float64(minutes)})
				}
			}
		}
		_, last, ok := timeline(now, hours, 1.0/60, loads)
		if want := minuteByMinute(now, hours, loads); !ok || last.Sub(want).Abs() > time.Second {
			t.Fatalf("from %s %v: last at %s, minute by minute %s", now, loads, last, want)
		}
	})
}

func minuteByMinute(now time.Time, r window.Rule, loads []load) (last time.Time) {
	left := map[load]float64{}
	locs := map[string]*time.Location{}
	for _, l := range loads {
		left[l], locs[l.zone] = l.units, location(l.zone)
	}
	for minute := now; len(left) > 0; minute = minute.Add(time.Minute) {
		var next *load
		for l := range left {
			if !r.Open(minute, locs[l.zone]) {
				continue
			}
			if next == nil || l.tier < next.tier || l.tier == next.tier && l.zone < next.zone {
				next = &l
			}
		}
		if next == nil {
			continue
		}
		last = minute.Add(time.Minute)
		if left[*next]--; left[*next] == 0 {
			delete(left, *next)
		}
	}
	return last
}
