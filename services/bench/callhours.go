package bench

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// openHours are the hours of a playbook as the checker reads them: with no code of the queue's, so that the two are wrong in
// the same way by accident only.
type openHours struct {
	days   [7][]stretch // by time.Weekday
	closed map[string]bool
}

// stretch is a part of a day in minutes of the wall clock.
type stretch struct{ from, to int }

// hoursText finds the words of a rule in the section calls of a playbook.
func hoursText(playbook, key string) (string, error) {
	_, section, _ := strings.Cut(playbook, "\ncalls:\n")
	m := regexp.MustCompile(`(?m)^  ` + key + `: *([^#\n]+)`).FindStringSubmatch(section)
	if m == nil {
		return "", fmt.Errorf("the section calls of the playbook has no line %s", key)
	}
	return strings.TrimSpace(m[1]), nil
}

// parseHours reads mon-fri 09:00-12:00 13:00-20:00, sat 10:00-18:00, closed 2026-12-25.
func parseHours(text string) (openHours, error) {
	h := openHours{closed: map[string]bool{}}
	names := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	for item := range strings.SplitSeq(text, ",") {
		words := strings.Fields(item)
		if len(words) < 2 {
			return h, fmt.Errorf("hours %q: %q says nothing", text, item)
		}
		if words[0] == "closed" {
			for _, date := range words[1:] {
				h.closed[date] = true
			}
			continue
		}
		first, last, several := strings.Cut(words[0], "-")
		if !several {
			last = first
		}
		day, end := slices.Index(names, first), slices.Index(names, last)
		if day < 0 || end < 0 {
			return h, fmt.Errorf("hours %q: no days %q", text, words[0])
		}
		for ; ; day = (day + 1) % len(names) {
			for _, w := range words[1:] {
				var fromHour, fromMinute, toHour, toMinute int
				if _, err := fmt.Sscanf(w, "%2d:%2d-%2d:%2d", &fromHour, &fromMinute, &toHour, &toMinute); err != nil {
					return h, fmt.Errorf("hours %q: %q: %w", text, w, err)
				}
				h.days[day] = append(h.days[day], stretch{fromHour*60 + fromMinute, toHour*60 + toMinute})
			}
			if day == end {
				break
			}
		}
	}
	return h, nil
}

// endless stands for hours without an end.
const endless = 1<<63 - 1

// until says whether the hours are open at a second by a zone's wall clock, and up to which second they stay so.
func (h openHours) until(at int64, zone *time.Location) (end int64, open bool) {
	const day, week = 24 * 60, 7
	local := time.Unix(at, 0).In(zone)
	year, month, date := local.Date()
	minute := local.Hour()*60 + local.Minute()
	for n := range week + 1 {
		noon := time.Date(year, month, date+n, 12, 0, 0, 0, zone)
		i := -1
		if !h.closed[noon.Format(time.DateOnly)] {
			i = slices.IndexFunc(h.days[noon.Weekday()], func(s stretch) bool { return s.from <= minute && minute < s.to })
		}
		if i < 0 {
			return time.Date(year, month, date+n, 0, 0, 0, 0, zone).Unix(), n > 0
		}
		if to := h.days[noon.Weekday()][i].to; to < day {
			return time.Date(year, month, date+n, 0, to, 0, 0, zone).Unix(), true
		}
		minute = 0 // open at midnight: does the next day go on?
	}
	return endless, true
}

// untilIn is until by the clocks of all zones.
func (h openHours) untilIn(at int64, zones []*time.Location) (end int64, open bool) {
	end, open = endless, len(zones) > 0
	for _, zone := range zones {
		e, ok := h.until(at, zone)
		end, open = min(end, e), open && ok
	}
	return end, open
}

// apart is how far two seconds lie apart by the time of day of a zone's clock, in seconds.
func apart(a, b int64, zone *time.Location) int64 {
	const day = 24 * 60 * 60
	clock := func(s int64) int64 {
		t := time.Unix(s, 0).In(zone)
		return int64(t.Hour()*3600 + t.Minute()*60 + t.Second())
	}
	d := (clock(a) - clock(b) + day) % day
	return min(d, day-d)
}
