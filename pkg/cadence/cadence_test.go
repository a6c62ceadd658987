package cadence_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"candor/pkg/cadence"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type fataler interface {
	Helper()
	Fatal(...any)
}

func every(t fataler, spec string) cadence.Every {
	t.Helper()
	e, err := cadence.ParseEvery(spec)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func zone(t fataler, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func instant(t fataler, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestTheRightHour(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec, zone, after string
		want                    []string
	}{
		{"monday", "mon 10:00", "America/New_York", "2026-11-20T12:00:00Z", []string{"2026-11-23T10:00:00-05:00", "2026-11-30T10:00:00-05:00"}},
		{"strictly after", "mon 10:00", "UTC", "2026-11-23T10:00:00Z", []string{"2026-11-30T10:00:00Z"}},
		{"a nanosecond before", "mon 10:00", "UTC", "2026-11-23T09:59:59.999999999Z", []string{"2026-11-23T10:00:00Z"}},
		{"two days a week", "mon,thu 18:30", "UTC", "2026-11-23T00:00:00Z", []string{"2026-11-23T18:30:00Z", "2026-11-26T18:30:00Z", "2026-11-30T18:30:00Z"}},
		{"the zone's own date", "mon 08:00", "Pacific/Auckland", "2026-11-22T18:00:00Z", []string{"2026-11-23T08:00:00+13:00", "2026-11-30T08:00:00+13:00"}},
		{"same hour over a clock change", "sun 10:00", "America/New_York", "2027-03-06T00:00:00Z", []string{"2027-03-07T10:00:00-05:00", "2027-03-14T10:00:00-04:00"}},
		{"same hour back again", "sun 10:00", "America/New_York", "2026-10-24T00:00:00Z", []string{"2026-10-25T10:00:00-04:00", "2026-11-01T10:00:00-05:00"}},
		{"an hour that the clocks leave out", "sun 02:30", "America/New_York", "2027-03-08T00:00:00Z", []string{"2027-03-14T03:00:00-04:00", "2027-03-21T02:30:00-04:00"}},
		{"the first instant that is left out", "sun 02:00", "America/New_York", "2027-03-08T00:00:00Z", []string{"2027-03-14T03:00:00-04:00"}},
		{"an hour that comes twice comes once", "day 01:30", "America/New_York", "2026-11-01T00:00:00Z", []string{"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"}},
		{"between the two", "day 01:30", "America/New_York", "2026-11-01T06:00:00Z", []string{"2026-11-02T01:30:00-05:00"}},
		{"half an hour in Lord Howe", "sun 02:15", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04T02:30:00+11:00"}},
		{"a gap at midnight ends on the next day", "sat 23:30", "America/Nuuk", "2027-03-27T12:00:00Z", []string{"2027-03-28T00:00:00-01:00", "2027-04-03T23:30:00-01:00"}},
		{"a gap that has passed", "sat 23:30", "America/Nuuk", "2027-03-28T01:00:00Z", []string{"2027-04-03T23:30:00-01:00"}},
		{"midnight that is left out", "sun 00:00", "Africa/Cairo", "2010-01-01T00:00:00Z", []string{"2010-01-03T00:00:00+02:00"}},
		{"Samoa had no 30 December 2011", "day 10:00", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{"2011-12-29T10:00:00-10:00", "2011-12-31T10:00:00+14:00"}},
		{"and no such Friday", "fri 10:00", "Pacific/Apia", "2011-12-24T00:00:00Z", []string{"2012-01-06T10:00:00+14:00"}},
		{"leap day", "day 10:00", "UTC", "2028-02-28T12:00:00Z", []string{"2028-02-29T10:00:00Z", "2028-03-01T10:00:00Z"}},
		{"the last of the month is the leap day", "month last 10:00", "UTC", "2028-01-31T10:00:00Z", []string{"2028-02-29T10:00:00Z", "2028-03-31T10:00:00Z", "2028-04-30T10:00:00Z"}},
		{"and is not in another year", "month last 10:00", "UTC", "2027-02-01T10:00:00Z", []string{"2027-02-28T10:00:00Z"}},
		{"no leap day in 2100", "month last 10:00", "UTC", "2100-02-01T10:00:00Z", []string{"2100-02-28T10:00:00Z"}},
		{"the year ends", "month last 23:59", "Europe/Berlin", "2026-12-01T00:00:00Z", []string{"2026-12-31T23:59:00+01:00", "2027-01-31T23:59:00+01:00"}},
		{"the year begins", "month 1 00:00", "Europe/Berlin", "2026-12-01T12:00:00Z", []string{"2027-01-01T00:00:00+01:00"}},
		{"a week over the year's end", "thu 10:00", "UTC", "2026-12-31T10:00:00Z", []string{"2027-01-07T10:00:00Z"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := instant(t, tt.after)
			for _, want := range tt.want {
				next, ok := every(t, tt.spec).Next(at, zone(t, tt.zone))
				if got := next.Format(time.RFC3339); !ok || got != want {
					t.Fatalf("after %s: %s (%v), want %s", at.UTC().Format(time.RFC3339), got, ok, want)
				}
				at = next
			}
		})
	}
}

func TestCadence(t *testing.T) {
	t.Parallel()
	ny := zone(t, "America/New_York")
	after := func(name string, d time.Duration) cadence.Entry { return cadence.Entry{Name: name, After: d} }
	on := func(name, spec string) cadence.Entry { return cadence.Entry{Name: name, Every: every(t, spec)} }
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		c      cadence.Cadence
		origin string
		want   []string // the first few
	}{
		{
			"after three days, then on Mondays",
			cadence.Cadence{ny, []cadence.Entry{after("apology", 3*day), on("standing", "mon 10:00")}, 4, day},
			"2026-11-17T15:00:00Z",
			[]string{"1 apology Fri 2026-11-20 10:00", "2 standing Mon 2026-11-23 10:00", "3 standing Mon 2026-11-30 10:00", "4 standing Mon 2026-12-07 10:00"},
		},
		{
			"the order of the file does not matter",
			cadence.Cadence{ny, []cadence.Entry{on("standing", "mon 10:00"), after("later", 10*day), after("soon", day)}, 4, day},
			"2026-11-17T15:00:00Z",
			[]string{"1 soon Wed 2026-11-18 10:00", "2 later Fri 2026-11-27 10:00", "3 standing Mon 2026-11-30 10:00", "4 standing Mon 2026-12-07 10:00"},
		},
		{
			"too soon after another is left out and does not count",
			cadence.Cadence{ny, []cadence.Entry{after("apology", 3*day), on("standing", "mon 10:00")}, 3, 4 * day},
			"2026-11-19T15:00:00Z", // a Thursday: the apology is due on Sunday
			[]string{"1 apology Sun 2026-11-22 10:00", "2 standing Mon 2026-11-30 10:00", "3 standing Mon 2026-12-07 10:00"},
		},
		{
			"exactly so long apart is kept",
			cadence.Cadence{ny, []cadence.Entry{after("a", day), after("b", 2*day)}, 9, day},
			"2026-11-17T15:00:00Z",
			[]string{"1 a Wed 2026-11-18 10:00", "2 b Thu 2026-11-19 10:00"},
		},
		{
			"of two at one instant the first stays",
			cadence.Cadence{ny, []cadence.Entry{on("month", "month 1 10:00"), on("week", "mon,tue 10:00")}, 3, 0},
			"2026-11-27T15:00:00Z", // 1 December is a Tuesday
			[]string{"1 week Mon 2026-11-30 10:00", "2 month Tue 2026-12-01 10:00", "3 week Mon 2026-12-07 10:00"},
		},
		{
			"none at the instant at which the last After is over",
			cadence.Cadence{ny, []cadence.Entry{after("a", day), on("daily", "day 10:00")}, 2, 0},
			"2026-11-17T15:00:00Z",
			[]string{"1 a Wed 2026-11-18 10:00", "2 daily Thu 2026-11-19 10:00"},
		},
		{"72 hours are 72 hours when clocks change", cadence.Cadence{ny, []cadence.Entry{after("a", 3*day)}, 2, 0}, "2026-10-30T14:00:00Z", []string{"1 a Mon 2026-11-02 09:00"}},
		{"none at all", cadence.Cadence{ny, []cadence.Entry{on("daily", "day 10:00")}, 0, 0}, "2026-11-17T15:00:00Z", nil},
		{"no entries", cadence.Cadence{ny, nil, 5, 0}, "2026-11-17T15:00:00Z", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for o := range tt.c.All(instant(t, tt.origin)) {
				got = append(got, fmt.Sprintf("%d %s %s", o.Number, o.Name, o.Due.In(ny).Format("Mon 2006-01-02 15:04")))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// naive walks minute by minute and looks at the clock on the wall.
func naive(c cadence.Cadence, origin, until time.Time) []cadence.Occurrence {
	var last time.Duration
	for _, e := range c.Entries {
		last = max(last, e.After)
	}
	wall := func(t time.Time) time.Time {
		l := t.In(c.Zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	var kept []cadence.Occurrence
	shown := wall(origin.Add(-48 * time.Hour)) // the latest that the clock ever showed
	for t := origin.Add(-48 * time.Hour); !t.After(until); t = t.Add(time.Minute) {
		before := shown
		if now := wall(t); now.After(shown) {
			shown = now
		}
		for _, e := range c.Entries {
			due := !e.Every.IsZero() && t.After(origin.Add(last)) && shows(e.Every.String(), before, shown) ||
				e.Every.IsZero() && t.Equal(origin.Add(e.After))
			if !due || !t.After(origin) || len(kept) == c.AtMost {
				continue
			}
			if n := len(kept); n > 0 && (t.Sub(kept[n-1].Due) < c.Apart || t.Equal(kept[n-1].Due)) {
				continue
			}
			kept = append(kept, cadence.Occurrence{Name: e.Name, Number: len(kept) + 1, Due: t})
		}
	}
	return kept
}

// shows says whether one of the minutes that the clock showed, or leapt over, is one that spec names.
func shows(spec string, before, now time.Time) bool {
	for m := before.Add(time.Minute); !m.After(now); m = m.Add(time.Minute) {
		midnight := m.Truncate(24 * time.Hour)
		if leftOut := before.Before(midnight) && !now.Before(midnight.AddDate(0, 0, 1)); leftOut {
			continue
		}
		clock := m.Format(" 15:04")
		names := []string{"day" + clock, fmt.Sprintf("month %d", m.Day()) + clock}
		if m.AddDate(0, 0, 1).Day() == 1 {
			names = append(names, "month last"+clock)
		}
		for _, days := range []string{"mon,thu", "tue", "wed,fri,sun", "sat,sun", "mon,tue,fri,sat"} {
			if day := map[time.Weekday]string{0: "sun", 1: "mon", 2: "tue", 3: "wed", 4: "thu", 5: "fri", 6: "sat"}[m.Weekday()]; slices.Contains(splitComma(days), day) {
				names = append(names, days+clock)
			}
		}
		if slices.Contains(names, spec) {
			return true
		}
	}
	return false
}

func splitComma(s string) (parts []string) {
	for ; len(s) > 3; s = s[4:] {
		parts = append(parts, s[:3])
	}
	return append(parts, s)
}

func TestAsTheClockOnTheWall(t *testing.T) {
	t.Parallel()
	around := []struct{ zone, at string }{
		{"America/New_York", "2027-03-14T07:00:00Z"},
		{"America/New_York", "2026-11-01T06:00:00Z"},
		{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
		{"America/Nuuk", "2027-03-28T01:00:00Z"},
		{"Pacific/Apia", "2011-12-30T10:00:00Z"},
		{"Europe/Berlin", "2028-02-29T00:00:00Z"},
		{"Africa/Cairo", "2026-04-23T22:00:00Z"},
		{"Antarctica/Troll", "2027-03-28T01:00:00Z"},
		{"UTC", "2026-12-31T00:00:00Z"},
	}
	rapid.Check(t, func(t *rapid.T) {
		place := rapid.SampledFrom(around).Draw(t, "around")
		minutes := func(name string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Minute
		}
		origin := instant(t, place.at).Add(minutes("origin", -4*1440, 60))
		c := cadence.Cadence{Zone: zone(t, place.zone), AtMost: rapid.IntRange(0, 12).Draw(t, "at most"), Apart: minutes("apart", 0, 2000)}
		for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
			e := cadence.Entry{Name: fmt.Sprintf("e%d", i)}
			if rapid.Bool().Draw(t, "after") {
				e.After = minutes("after", 1, 2*1440)
			} else {
				days := rapid.SampledFrom([]string{"day", "mon,thu", "tue", "wed,fri,sun", "sat,sun", "mon,tue,fri,sat", "month 1", "month last", "month 28"}).Draw(t, "days")
				hour := rapid.SampledFrom([]int{0, 1, 2, 3, 10, 23}).Draw(t, "hour")
				e.Every = every(t, fmt.Sprintf("%s %02d:%02d", days, hour, rapid.SampledFrom([]int{0, 15, 30, 59}).Draw(t, "minute")))
			}
			c.Entries = append(c.Entries, e)
		}
		until := origin.Add(7 * 24 * time.Hour)
		want := naive(c, origin, until)
		same := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
		var got []cadence.Occurrence
		for o := range c.All(origin) {
			if o.Due.After(until) {
				break
			}
			got = append(got, o)
		}
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Fatal(diff)
		}
		// However it is asked for, number n has the same instant.
		from := origin.Add(minutes("from", -1440, 7*1440))
		next, ok := c.Next(origin, from)
		for _, o := range want {
			if o.Due.After(from) {
				if !ok || next.Number != o.Number || next.Name != o.Name || !next.Due.Equal(o.Due) {
					t.Fatalf("next after %v is %v (%v), want %v", from, next, ok, o)
				}
				break
			}
		}
		// An entry said to be never due is never due.
		for _, f := range c.Flaws() {
			for o := range c.All(origin) {
				if o.Name == c.Entries[f.Entry].Name {
					t.Fatalf("%v, but %v", f, o)
				}
			}
		}
	})
}

func TestFlaws(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	monday := every(t, "mon 10:00")
	for _, tt := range []struct {
		name    string
		entries []cadence.Entry
		atMost  int
		want    []string
	}{
		{"good", []cadence.Entry{{Name: "a", After: 3 * day}, {Name: "b", Every: monday}}, 2, nil},
		{"nothing said", []cadence.Entry{{Name: "a"}}, 2, []string{"a is due never"}},
		{"used up", []cadence.Entry{{Name: "a", After: day}, {Name: "b", After: 3 * day}, {Name: "c", Every: monday}}, 2, []string{"c is never due: 2 come before it, and at_most is 2"}},
		{"an after that is used up", []cadence.Entry{{Name: "a", After: 4 * day}, {Name: "b", After: 2 * day}}, 1, []string{"a is never due: 1 come before it, and at_most is 1"}},
		{"too soon", []cadence.Entry{{Name: "a", After: day}, {Name: "b", After: day + time.Hour}}, 9, []string{"b is never due: it comes less than 24h0m0s after another"}},
		{"at the same instant", []cadence.Entry{{Name: "a", After: day}, {Name: "b", After: day}}, 9, []string{"b is never due: it comes less than 24h0m0s after another"}},
		{"at the same hours", []cadence.Entry{{Name: "a", Every: monday}, {Name: "b", Every: every(t, "MON  10:00")}}, 9, []string{"b is never due: a comes at the same hours"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := cadence.Cadence{Entries: tt.entries, AtMost: tt.atMost, Apart: day}
			var got []string
			for _, f := range c.Flaws() {
				got = append(got, f.Why)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseEvery(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string][2]string{
		"mon 10:00":                         {"mon 10:00", "every Monday at 10:00"},
		" Thu , MON\t10:00 ":                {"mon,thu 10:00", "every Monday and Thursday at 10:00"},
		"sun,sat,wed 00:00":                 {"wed,sat,sun 00:00", "every Wednesday, Saturday and Sunday at 00:00"},
		"day 23:59":                         {"day 23:59", "every day at 23:59"},
		"mon,tue,wed,thu,fri,sat,sun 08:05": {"day 08:05", "every day at 08:05"},
		"month 28 10:00":                    {"month 28 10:00", "on day 28 of every month at 10:00"},
		"month last 10:00":                  {"month last 10:00", "on the last day of every month at 10:00"},
	} {
		e := every(t, spec)
		if got := [2]string{e.String(), e.Words()}; got != want {
			t.Errorf("%q: %q, want %q", spec, got, want)
		}
	}
}

func TestParseEveryMistakes(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"":                 `column 1: no days`,
		"mon":              `column 4: no time of the day`,
		"mon,":             `column 5: no day after the comma`,
		"mon,mon 10:00":    `column 5: mon is named twice`,
		"monday 10:00":     `column 1: "monday" is no day`,
		"mon thu 10:00":    `column 5: "thu" is no time of the day`,
		"mon 24:00":        `column 5: "24:00" is no time of the day`,
		"mon 9:00":         `column 5: "9:00" is no time of the day`,
		"mon 10:60":        `column 5: "10:60" is no time of the day`,
		"mon +1:00":        `column 5: "+1:00" is no time of the day`,
		"mon 10:00, 12:00": `column 10: "," after the time`,
		"month 10:00":      `column 7: "10:00" is no day of every month`,
		"month 31 10:00":   `column 7: "31" is no day of every month`,
		"month 0 10:00":    `column 7: "0" is no day of every month`,
		"month":            `column 6: no day of the month`,
		"day 10:00 UTC":    `column 11: "utc" after the time`,
		"every 10:00":      `column 1: "every" is no day`,
	} {
		_, err := cadence.ParseEvery(spec)
		var mistake *cadence.ParseError
		if !errors.As(err, &mistake) {
			t.Errorf("%q: %v, want a ParseError", spec, err)
			continue
		}
		if got := fmt.Sprintf("column %d: %s", mistake.Offset+1, mistake.Message); got != want || mistake.Remedy == "" {
			t.Errorf("%q: %s (%s), want %s", spec, got, mistake.Remedy, want)
		}
	}
}

func FuzzParseEvery(f *testing.F) {
	for _, spec := range []string{"mon,thu 10:00", "day 00:00", "month 1 10:00", "month last 23:59", "mon,", "\xff 10:00"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		e, err := cadence.ParseEvery(spec)
		if err != nil {
			var mistake *cadence.ParseError
			if !errors.As(err, &mistake) || mistake.Offset < 0 || mistake.Offset > len(spec) {
				t.Fatalf("%q: %v", spec, err)
			}
			return
		}
		if again := every(t, e.String()); again != e || e.IsZero() {
			t.Fatalf("%q is read as %q, and that as %q", spec, e, again)
		}
	})
}

func BenchmarkNextAfterYears(b *testing.B) {
	c := cadence.Cadence{Zone: zone(b, "America/New_York"), AtMost: 520, Apart: 24 * time.Hour, Entries: []cadence.Entry{
		{Name: "apology", After: 72 * time.Hour}, {Name: "standing", Every: every(b, "mon 10:00")},
	}}
	origin := time.Date(2026, 11, 17, 15, 0, 0, 0, time.UTC)
	for b.Loop() {
		if _, ok := c.Next(origin, origin.AddDate(9, 0, 0)); !ok {
			b.Fatal("none")
		}
	}
}
