package main

import (
	"errors"
	"fmt"
	"time"
)

var (
	errNoMoment = errors.New("write 2026-12-01 10:00, by the incident's own clock, or with a zone, 2026-12-01T10:00:00-05:00")
	errNoDay    = errors.New("write a day, 2026-12-31, or a moment, 2026-12-31T18:00:00-05:00")
)

// momentIn reads a moment: with its zone, or by the clock of a place.
func momentIn(s string, place *time.Location) (time.Time, error) {
	t, err := zonedTime(s)
	if err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
		if wall, err := time.Parse(layout, s); err == nil {
			return onTheClock(wall, place)
		}
	}
	return time.Time{}, errNoMoment
}

// hasZone says whether a moment can be read without knowing the place.
func hasZone(s string) bool {
	_, err := zonedTime(s)
	return err == nil
}

// endOf reads the end of a day by the clock of a place, or a moment.
func endOf(s string, place *time.Location) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		y, m, d := day.Date()
		return time.Date(y, m, d+1, 0, 0, 0, 0, place), nil
	}
	t, err := momentIn(s, place)
	if errors.Is(err, errNoMoment) {
		return t, errNoDay
	}
	return t, err
}

// onTheClock returns the moment at which the clocks of a place show what wall shows. An hour that they leave out or show twice is
// no moment: whoever means it must say which.
func onTheClock(wall time.Time, place *time.Location) (time.Time, error) {
	y, m, d := wall.Date()
	t := time.Date(y, m, d, wall.Hour(), wall.Minute(), wall.Second(), 0, place)
	if !shows(t, wall) {
		before, after := change(t)
		return time.Time{}, fmt.Errorf("the clocks of %s never show %s on %s: they go from %s to %s; name an hour before or after",
			place, wall.Format("15:04"), wall.Format("2 Jan 2006"), before.Format("15:04"), after.Format("15:04"))
	}
	if other, ok := twice(t, wall); ok {
		if other.Before(t) {
			t, other = other, t
		}
		return time.Time{}, fmt.Errorf("the clocks of %s show %s twice on %s: write %s for the first time, %s for the second",
			place, wall.Format("15:04"), wall.Format("2 Jan 2006"), t.Format(time.RFC3339), other.Format(time.RFC3339))
	}
	return t, nil
}

// shows says whether the clock at t reads what wall reads.
func shows(t, wall time.Time) bool {
	return t.Format(time.DateTime) == wall.Format(time.DateTime)
}

// change is the change of the clocks nearest to t, as they read before and after it.
func change(t time.Time) (before, after time.Time) {
	start, end := t.ZoneBounds()
	at := start
	if start.IsZero() || !end.IsZero() && end.Sub(t) < t.Sub(start) {
		at = end
	}
	_, offset := at.Add(-time.Second).Zone()
	return at.In(time.FixedZone("", offset)), at
}

// twice returns the other moment at which the clock shows wall, if there is one: the clocks were put back between the two.
func twice(t, wall time.Time) (other time.Time, ok bool) {
	_, here := t.Zone()
	start, end := t.ZoneBounds()
	for _, beside := range []time.Time{start.Add(-time.Second), end} {
		if beside.Unix() < 0 { // no change on this side
			continue
		}
		_, there := beside.Zone()
		other = t.Add(time.Duration(here-there) * time.Second)
		if !other.Equal(t) && shows(other, wall) {
			return other, true
		}
	}
	return time.Time{}, false
}

// placeOf is a time zone by name; UTC if this machine does not know it, which what is printed then says.
func placeOf(zone string) *time.Location {
	if place, err := time.LoadLocation(zone); err == nil {
		return place
	}
	return time.UTC
}

const (
	yearDayTime = "Mon 2 Jan 2006 15:04"
	dayTime     = "Mon 2 Jan 15:04"
)

// stretch is a time from one minute to another, by the clock of a place.
func stretch(from, until time.Time, place *time.Location) string {
	from, until = from.In(place), until.In(place)
	switch {
	case !until.After(from) || from.Format(yearDayTime) == until.Format(yearDayTime):
		return from.Format(dayTime)
	case from.Format(time.DateOnly) == until.Format(time.DateOnly):
		return from.Format(dayTime) + "–" + until.Format("15:04")
	}
	return from.Format(dayTime) + " – " + until.Format(dayTime)
}
