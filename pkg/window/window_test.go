package window

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const weekdays = "outside mon-fri 09:00-20:00, sat 10:00-18:00, closed 2026-12-25"

func mustParse(t interface{ Fatal(...any) }, spec string) Rule {
	r, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestNextAndUntil(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, spec, zone, at, next, until string }{
		{"open now", weekdays, "America/New_York", "2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z", "2026-11-24T01:00:00Z"},
		{"the first minute", weekdays, "UTC", "2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z", "2026-11-23T20:00:00Z"},
		{"the last minute", weekdays, "UTC", "2026-11-23T19:59:59Z", "2026-11-23T19:59:59Z", "2026-11-23T20:00:00Z"},
		{"too late on friday", weekdays, "UTC", "2026-11-20T20:00:00Z", "2026-11-21T10:00:00Z", "2026-11-20T20:00:00Z"},
		{"sunday is quiet", weekdays, "UTC", "2026-11-22T12:00:00Z", "2026-11-23T09:00:00Z", "2026-11-22T12:00:00Z"},
		{"a closed date", weekdays, "UTC", "2026-12-24T21:00:00Z", "2026-12-26T10:00:00Z", "2026-12-24T21:00:00Z"},
		{"the zone's own date", weekdays, "Pacific/Auckland", "2026-11-22T20:00:00Z", "2026-11-22T20:00:00Z", "2026-11-23T07:00:00Z"},
		{"Newfoundland's half hour", weekdays, "America/St_Johns", "2026-11-23T12:00:00Z", "2026-11-23T12:30:00Z", "2026-11-23T12:00:00Z"},
		{"forward, same hour on the wall", "outside sat-sun 09:00-20:00", "America/New_York", "2027-03-14T01:00:00Z", "2027-03-14T13:00:00Z", "2027-03-14T01:00:00Z"},
		{"back, same hour on the wall", "outside sat-sun 09:00-20:00", "America/New_York", "2026-11-01T01:00:00Z", "2026-11-01T14:00:00Z", "2026-11-01T01:00:00Z"},
		{"a long day is open to its end", "outside sun 00:00-24:00", "America/New_York", "2026-11-01T05:00:00Z", "2026-11-01T05:00:00Z", "2026-11-02T05:00:00Z"},
		{"a short day too", "outside sun 00:00-24:00", "America/New_York", "2027-03-14T05:00:00Z", "2027-03-14T05:00:00Z", "2027-03-15T04:00:00Z"},
		{"Lord Howe moves by half an hour", "outside sun 09:00-20:00", "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T22:00:00Z", "2026-10-03T14:00:00Z"},
		{"Samoa had no 30 December 2011, seen from afar", "outside fri 09:00-20:00", "Pacific/Apia", "2011-12-24T06:00:00Z", "2012-01-05T19:00:00Z", "2011-12-24T06:00:00Z"},
		{"Samoa had no 30 December 2011", "outside fri 09:00-20:00", "Pacific/Apia", "2011-12-30T04:00:00Z", "2012-01-05T19:00:00Z", "2011-12-30T04:00:00Z"},
		{"Samoa's Saturday came right after", "outside sat 09:00-20:00", "Pacific/Apia", "2011-12-30T04:00:00Z", "2011-12-30T19:00:00Z", "2011-12-30T04:00:00Z"},
		{"Nuuk's clocks jump from 23:00 to midnight", "outside sat 09:00-23:30, sun 09:00-12:00", "America/Nuuk", "2027-03-27T23:00:00Z", "2027-03-27T23:00:00Z", "2027-03-28T01:00:00Z"},
		{"two spans a day", "outside mon 09:00-12:00 13:00-17:00", "UTC", "2026-11-23T12:00:00Z", "2026-11-23T13:00:00Z", "2026-11-23T12:00:00Z"},
		{"day after day", "outside mon-wed 00:00-24:00", "UTC", "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "2026-11-26T00:00:00Z"},
		{"none", "none", "UTC", "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "never"},
		{"round the clock", "outside mon-sun 00:00-24:00", "Europe/London", "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "never"},
		{"round the clock but a far date", "outside mon-sun 00:00-24:00, closed 2030-01-01", "UTC", "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "2030-01-01T00:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, loc := mustParse(t, tt.spec), zone(t, tt.zone)
			at, err := time.Parse(time.RFC3339, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			show := func(at time.Time, ok bool) string {
				if !ok {
					return "never"
				}
				return at.UTC().Format(time.RFC3339)
			}
			if got := show(r.Next(at, loc)); got != tt.next {
				t.Errorf("Next(%s) = %s, want %s", tt.at, got, tt.next)
			}
			if got := show(r.Until(at, loc)); got != tt.until {
				t.Errorf("Until(%s) = %s, want %s", tt.at, got, tt.until)
			}
		})
	}
}

func TestTheZeroRuleIsNeverOpen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	if _, ok := (Rule{}).Next(now, time.UTC); ok || (Rule{}).Open(now, time.UTC) {
		t.Error("the zero rule opens")
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		spec   string
		offset int
		says   string
	}{
		{"", 0, "no hours"},
		{"mon-fri 09:00-20:00", 0, `"mon-fri" where outside or none should stand`},
		{"none mon", 5, "after none"},
		{"outside", 7, "nothing between commas"},
		{"outside mon 09:00-20:00,", 24, "nothing between commas"},
		{"outside mon", 8, "nothing after"},
		{"outside monday 09:00-20:00", 8, "no day"},
		{"outside mon 9-20", 12, "no hours"},
		{"outside mon 09:00-25:00", 12, "no hours"},
		{"outside mon 22:00-06:00", 12, "over midnight"},
		{"outside mon 09:00-09:00", 12, "no time at all"},
		{"outside mon 03:59-20:00", 12, "clocks change"},
		{"outside mon 08:00-24:00", 12, "clocks change"},
		{"outside mon-fri 09:00-20:00, wed 12:00-21:00", 33, "touches"},
		{"outside mon 09:00-20:00, closed 2026-02-29", 32, "no date"},
		{"outside mon 09:00-20:00, closed 2026-02-28 2026-02-28", 43, "named twice"},
		{"outside closed 2026-02-28", 25, "no day is open"},
	} {
		_, err := Parse(tt.spec)
		var pe *ParseError
		if !errors.As(err, &pe) || pe.Offset != tt.offset || !strings.Contains(pe.Message, tt.says) || pe.Remedy == "" {
			t.Errorf("Parse(%q) = %v, want %q at %d", tt.spec, err, tt.says, tt.offset)
		}
	}
}

func genSpec(t *rapid.T) string {
	items := []string{}
	for _, day := range rapid.SliceOfNDistinct(rapid.SampledFrom(dayNames[:]), 1, 7, rapid.ID).Draw(t, "days") {
		hours := rapid.SampledFrom([]string{"09:00-20:00", "00:00-24:00", "04:00-04:01", "09:00-12:00 13:30-23:59"}).Draw(t, "hours")
		items = append(items, day+" "+hours)
	}
	for _, d := range rapid.SliceOfNDistinct(rapid.IntRange(1, 28), 0, 3, rapid.ID).Draw(t, "closed") {
		items = append(items, "closed "+date{2026, time.October, d}.String())
	}
	return "outside " + strings.Join(items, ", ")
}

func TestAgreesWithAWalkMinuteByMinute(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "America/Nuuk", "America/Havana", "Africa/Cairo", "Asia/Kathmandu"}
	starts := []time.Time{
		time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2027, 3, 10, 0, 0, 0, 0, time.UTC),
		time.Date(2011, 12, 27, 0, 0, 0, 0, time.UTC),
	}
	rapid.Check(t, func(t *rapid.T) {
		r := mustParse(t, genSpec(t))
		loc := zone(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		at := rapid.SampledFrom(starts).Draw(t, "start").Add(time.Duration(rapid.IntRange(0, 40*dayMinutes).Draw(t, "minute")) * time.Minute)
		next, ok := r.Next(at, loc)
		until, okUntil := r.Until(at, loc)
		walk := at
		for !r.Open(walk, loc) && walk.Before(at.AddDate(0, 0, 9+7*4)) {
			walk = walk.Add(time.Minute)
		}
		if !ok || !next.Equal(walk) {
			t.Fatalf("%s: Next(%s) = %s %v, a walk finds %s", r, at, next, ok, walk)
		}
		walk = at
		for r.Open(walk, loc) && walk.Before(at.AddDate(0, 0, 9)) {
			walk = walk.Add(time.Minute)
		}
		if closes := walk.Before(at.AddDate(0, 0, 9)); closes && (!okUntil || !until.Equal(walk)) {
			t.Fatalf("%s: Until(%s) = %s %v, a walk finds %s", r, at, until, okUntil, walk)
		}
	})
}

func TestStringReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := mustParse(t, genSpec(t))
		if again := mustParse(t, r.String()); again.String() != r.String() {
			t.Fatalf("%s reads back as %s", r, again)
		}
	})
	for spec, want := range map[string]string{
		"none":   "none",
		weekdays: weekdays,
		"outside SAT-mon 13:00-14:00 09:00-12:00": "outside mon 09:00-12:00 13:00-14:00, sat-sun 09:00-12:00 13:00-14:00",
	} {
		if got := mustParse(t, spec).String(); got != want {
			t.Errorf("Parse(%q) prints as %q, want %q", spec, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"none", weekdays, "outside mon 22:00-06:00", "outside ,", "outside mon-mon 00:00-24:00"} {
		f.Add(s)
	}
	at := time.Date(2026, 12, 24, 23, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, spec string) {
		r, err := Parse(spec)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q prints as %q, which reads as %q, %v", spec, r, again, err)
		}
		if _, ok := r.Next(at, time.UTC); !ok {
			t.Fatalf("%q never opens", spec)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	r, loc := mustParse(b, weekdays), zone(b, "America/New_York")
	at := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for b.Loop() {
		r.Open(at, loc)
	}
}
