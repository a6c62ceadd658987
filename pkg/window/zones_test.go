package window_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"candor/pkg/window"
)

func locations(t testing.TB, names ...string) (zones []*time.Location) {
	t.Helper()
	for _, n := range names {
		z, err := time.LoadLocation(n)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, z)
	}
	return zones
}

func parse(t testing.TB, rule string) window.Rule {
	t.Helper()
	r, err := window.Parse(rule)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const always8to21 = "outside mon-sun 08:00-21:00"

// The rows are those that Genesys publishes for its automatic time zone mapping, the others are clock changes and odd zones.
func TestHoursInSeveralZones(t *testing.T) {
	t.Parallel()
	const (
		eastern, central, mountain = "America/New_York", "America/Chicago", "America/Denver"
		from                       = "2026-11-23T00:00" // a Monday
	)
	for _, tt := range []struct {
		name, rule  string
		zones       []string
		clock       string // the zone in which from, opens and closes are read
		from        string
		opens, ends string
	}{
		{"CT and ET", always8to21, []string{central, eastern}, eastern, from, "2026-11-23T09:00", "2026-11-23T21:00"},
		{"the same by CT's clock", always8to21, []string{central, eastern}, central, from, "2026-11-23T08:00", "2026-11-23T20:00"},
		{"MT, CT and ET", always8to21, []string{mountain, central, eastern}, eastern, from, "2026-11-23T10:00", "2026-11-23T21:00"},
		{"the same by MT's clock", always8to21, []string{mountain, central, eastern}, mountain, from, "2026-11-23T08:00", "2026-11-23T19:00"},
		{"CT three times", always8to21, []string{central, central, central}, central, from, "2026-11-23T08:00", "2026-11-23T21:00"},
		{"fallback of Genesys", "outside mon-sun 14:00-20:00", []string{eastern}, eastern, from, "2026-11-23T14:00", "2026-11-23T20:00"},
		{"Arizona and Denver in winter", always8to21, []string{"America/Phoenix", mountain}, "America/Phoenix", from, "2026-11-23T08:00", "2026-11-23T21:00"},
		{"Arizona and Denver in summer", always8to21, []string{"America/Phoenix", mountain}, "America/Phoenix", "2026-07-06T00:00", "2026-07-06T08:00", "2026-07-06T20:00"},
		{"Newfoundland and Halifax", always8to21, []string{"America/St_Johns", "America/Halifax"}, "America/St_Johns", from, "2026-11-23T08:30", "2026-11-23T21:00"},
		{"Lord Howe's half hour, summer", always8to21, []string{"Australia/Lord_Howe", "Australia/Sydney"}, "Australia/Sydney", "2026-12-01T00:00", "2026-12-01T08:00", "2026-12-01T21:00"},
		{"Lord Howe's half hour, winter", always8to21, []string{"Australia/Lord_Howe", "Australia/Sydney"}, "Australia/Sydney", "2026-07-06T00:00", "2026-07-06T08:00", "2026-07-06T20:30"},
		{"both sides of the date line", always8to21, []string{"Pacific/Apia", "Pacific/Pago_Pago"}, "Pacific/Apia", from, "2026-11-23T08:00", "2026-11-23T21:00"},
		{"spring forward in one of two", always8to21, []string{eastern, "America/Phoenix"}, eastern, "2026-03-08T00:00", "2026-03-08T11:00", "2026-03-08T21:00"},
		{"fall back in one of two", always8to21, []string{eastern, "America/Phoenix"}, eastern, "2026-11-01T00:00", "2026-11-01T10:00", "2026-11-01T21:00"},
		{"closed on Sunday in one, Monday in the other", "outside mon-sat 09:00-20:00", []string{"Pacific/Apia", "Pacific/Pago_Pago"}, "Pacific/Apia", "2026-11-22T00:00", "2026-11-24T09:00", "2026-11-24T20:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clock := locations(t, tt.clock)[0]
			at := func(s string) time.Time {
				x, err := time.ParseInLocation("2006-01-02T15:04", s, clock)
				if err != nil {
					t.Fatal(err)
				}
				return x
			}
			rule, zones := parse(t, tt.rule), locations(t, tt.zones...)
			opens, ok := rule.NextIn(at(tt.from), zones, 0)
			if !ok || !opens.Equal(at(tt.opens)) {
				t.Fatalf("opens %s, %v, want %s", opens.In(clock), ok, tt.opens)
			}
			if !openIn(rule, opens, zones) || openIn(rule, opens.Add(-time.Second), zones) {
				t.Error("it does not open there")
			}
			if ends, ok := rule.UntilIn(opens, zones); !ok || !ends.Equal(at(tt.ends)) {
				t.Errorf("closes %s, %v, want %s", ends.In(clock), ok, tt.ends)
			}
		})
	}
}

func TestACallNeedsTimeBeforeTheWindowEnds(t *testing.T) {
	t.Parallel()
	rule, zones := parse(t, "outside mon-sun 09:00-12:00 13:00-20:00"), locations(t, "America/New_York")
	noon := time.Date(2026, 11, 23, 11, 55, 0, 0, zones[0])
	for _, tt := range []struct {
		lead time.Duration
		want time.Time
	}{
		{5 * time.Minute, noon},
		{6 * time.Minute, time.Date(2026, 11, 23, 13, 0, 0, 0, zones[0])},
		{7 * time.Hour, time.Date(2026, 11, 23, 13, 0, 0, 0, zones[0])},
	} {
		if got, ok := rule.NextIn(noon, zones, tt.lead); !ok || !got.Equal(tt.want) {
			t.Errorf("with %s ahead: %s, %v, want %s", tt.lead, got, ok, tt.want)
		}
	}
	if got, ok := rule.NextIn(noon, zones, 8*time.Hour); ok {
		t.Errorf("no window is 8 hours long, but one opens %s", got)
	}
}

func TestZonesWithoutACommonHour(t *testing.T) {
	t.Parallel()
	if at, ok := parse(t, "outside mon-fri 09:00-17:00").NextIn(time.Unix(1.8e9, 0), locations(t, "Europe/Berlin", "Pacific/Honolulu"), 0); ok {
		t.Errorf("Berlin and Honolulu work together %s", at)
	}
	if _, ok := window.None().NextIn(time.Unix(1.8e9, 0), nil, 0); ok {
		t.Error("nobody's zone is open")
	}
}

// openIn reports whether the rule is open at an instant in every one of the zones.
func openIn(r window.Rule, at time.Time, zones []*time.Location) bool {
	return !slices.ContainsFunc(zones, func(z *time.Location) bool { return !r.Open(at, z) })
}

// Minute by minute, the hours in common are those of the instant itself.
func TestHoursInCommonMinuteByMinute(t *testing.T) {
	t.Parallel()
	names := []string{"America/New_York", "America/St_Johns", "America/Phoenix", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Europe/Berlin", "UTC"}
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.IntRange(4, 20).Draw(t, "from"), rapid.IntRange(1, 3).Draw(t, "hours")
		rule, err := window.Parse(fmt.Sprintf("outside mon-sat %02d:00-%02d:30, sun 10:00-18:00", from, from+to))
		if err != nil {
			t.Fatal(err)
		}
		var zones []*time.Location
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID[string]).Draw(t, "zones") {
			z, err := time.LoadLocation(n)
			if err != nil {
				t.Fatal(err)
			}
			zones = append(zones, z)
		}
		start := time.Unix(rapid.Int64Range(1.77e9, 1.8e9).Draw(t, "start")/60*60, 0)
		next, ok := rule.NextIn(start, zones, 0)
		at := start
		for ; at.Before(start.Add(7 * 24 * time.Hour)); at = at.Add(time.Minute) {
			if openIn(rule, at, zones) {
				break
			}
		}
		switch {
		case at.Before(start.Add(7*24*time.Hour)) && (!ok || !next.Equal(at)):
			t.Fatalf("opens %s, %v, want %s", next, ok, at)
		case ok && next.Before(at):
			t.Fatalf("opens %s, but nothing is open before %s", next, at)
		}
	})
}
