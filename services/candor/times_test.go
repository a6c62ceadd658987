package main

import (
	"strings"
	"testing"
	"time"
)

func TestATimeIsReadByTheClockOfAPlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ place, in, want, says string }{
		{"America/New_York", "2026-12-01 10:00", "2026-12-01T15:00:00Z", ""},
		{"America/New_York", "2026-12-01T10:00", "2026-12-01T15:00:00Z", ""},
		{"America/New_York", "2026-12-01T10:00:00+01:00", "2026-12-01T09:00:00Z", ""},
		{"America/New_York", "2026-12-01 10:00Z", "2026-12-01T10:00:00Z", ""},
		{"America/New_York", "2028-02-29 09:00", "2028-02-29T14:00:00Z", ""},
		{"America/New_York", "2026-02-29 09:00", "", "write 2026-12-01 10:00"},
		{"America/New_York", "tomorrow", "", "write 2026-12-01 10:00"},
		{"America/New_York", "2026-03-08 02:30", "", "never show 02:30 on 8 Mar 2026: they go from 02:00 to 03:00"},
		{"America/New_York", "2026-03-08 03:00", "2026-03-08T07:00:00Z", ""},
		{"America/New_York", "2026-03-08 01:59", "2026-03-08T06:59:00Z", ""},
		{"America/New_York", "2026-11-01 01:30", "", "write 2026-11-01T01:30:00-04:00 for the first time, 2026-11-01T01:30:00-05:00 for the second"},
		{"America/New_York", "2026-11-01 00:59", "2026-11-01T04:59:00Z", ""},
		{"America/New_York", "2026-11-01 02:00", "2026-11-01T07:00:00Z", ""},
		{"Europe/Dublin", "2026-10-25 01:15", "", "show 01:15 twice"},
		{"Australia/Lord_Howe", "2026-10-04 02:15", "", "they go from 02:00 to 02:30"},
		{"Australia/Lord_Howe", "2026-04-05 01:45", "", "twice on 5 Apr 2026"},
		{"Asia/Kolkata", "2026-03-08 02:30", "2026-03-07T21:00:00Z", ""},
		{"UTC", "2026-03-08 02:30", "2026-03-08T02:30:00Z", ""},
	} {
		t.Run(tt.place+" "+tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := momentIn(tt.in, placeOf(tt.place))
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, %v; want an error that says %q", got, err, tt.says)
				}
				return
			}
			if err != nil || got.UTC().Format(time.RFC3339) != tt.want {
				t.Errorf("%v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestADayEndsWhereItIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"2026-12-31", "2027-01-01T05:00:00Z"},
		{"2026-03-08", "2026-03-09T04:00:00Z"}, // a day of 23 hours
		{"2026-12-31 12:00", "2026-12-31T17:00:00Z"},
	} {
		if got, err := endOf(tt.in, placeOf("America/New_York")); err != nil || got.UTC().Format(time.RFC3339) != tt.want {
			t.Errorf("endOf(%q) = %v, %v; want %s", tt.in, got, err, tt.want)
		}
	}
	if _, err := endOf("soon", time.UTC); err == nil || !strings.Contains(err.Error(), "write a day") {
		t.Errorf("%v", err)
	}
}

func TestAStretchIsNoLongerThanItMustBe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		until time.Duration
		want  string
	}{
		{0, "Tue 1 Dec 09:00"},
		{-time.Hour, "Tue 1 Dec 09:00"},
		{30 * time.Second, "Tue 1 Dec 09:00"},
		{4 * time.Minute, "Tue 1 Dec 09:00–09:04"},
		{23 * time.Hour, "Tue 1 Dec 09:00 – Wed 2 Dec 08:00"},
	} {
		from := time.Date(2026, 12, 1, 15, 0, 0, 0, time.UTC)
		if got := stretch(from, from.Add(tt.until), placeOf("America/Chicago")); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.until, got, tt.want)
		}
	}
}
