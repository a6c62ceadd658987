package bench

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"candor/pkg/roster"
)

// callers writes a roster of n fictional people for calls: of ten two share a telephone, of seven one has a second number,
// which is somebody else's first. The zones are written beside them in turn; an empty one is for their address and number to
// tell.
func callers(w io.Writer, n int, zones []string) error {
	r, pw := io.Pipe()
	defer func() { _ = r.Close() }()                                                                 // the writer ends with an error of its own
	go func() { _ = pw.CloseWithError(roster.Synthetic(pw, n, roster.SyntheticOptions{Seed: 1})) }() // the reader gets its error
	out, lines := bufio.NewWriterSize(w, 256<<10), bufio.NewScanner(r)
	const phone, zone, columns = 4, 8, 14
	last := ""
	for i := -1; lines.Scan(); i++ {
		c := strings.Split(lines.Text(), ",")
		if len(c) != columns {
			return fmt.Errorf("synthetic roster: a line of %d columns", len(c))
		}
		second := ""
		switch {
		case i < 0:
			second = "phone2"
		case i%10 == 9:
			c[phone] = last
		case i%7 == 3:
			second = last
		}
		if i >= 0 {
			last = c[phone]
			if at := zones[i%len(zones)]; at != "" {
				c[zone] = at
			}
		}
		if _, err := fmt.Fprintf(out, "%s,%s\n", strings.Join(c, ","), second); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return out.Flush()
}

// callTexts are the texts of an incident in which everybody is called and nobody written to. Either hours are always open and
// caps so wide that every task comes to an end by its total, or hours and caps bind.
func callTexts(hours *callHours) (pb, facts string, err error) {
	pb, facts, err = Texts(1)
	if err != nil {
		return "", "", err
	}
	edits := []struct{ from, to string }{{"number_per_day: 3", "number_per_day: 20"}, {"person_per_week: 7", "person_per_week: 20"}}
	if hours != nil {
		edits = []struct{ from, to string }{
			{"\n  hours: mon-sun 00:00-24:00", "\n  hours: " + hours.open},
			{"\n  uncertain_hours: mon-sun 00:00-24:00", "\n  uncertain_hours: " + hours.narrow},
			{"gap: 1s", "gap: 2s"},
			{"spread: 0s", "spread: 3s"},
			{"lead: 0s", "lead: 5s"},
			{"counts: 0.5", "counts: 1"},
			{"no_answer: {", "no_answer: {unanswered: true, "},
		}
	}
	pb = alone(pb, "call")
	for _, e := range edits {
		if !strings.Contains(pb, e.from) {
			return "", "", fmt.Errorf("the playbook has no %q any more", e.from)
		}
		pb = strings.ReplaceAll(pb, e.from, e.to)
	}
	return pb, facts, nil
}

// callHours are hours that end in one zone and begin in another at the same minute, soon.
type callHours struct {
	turn         time.Time
	open, narrow string
	zones        []string
}

// hoursAround looks for a zone in which it is afternoon at the next full minute but one, and ends the hours there; they begin
// where it is morning.
func hoursAround(now time.Time) (*callHours, error) {
	h := &callHours{turn: now.Truncate(time.Minute).Add(2 * time.Minute)}
	const afternoon = 15 * 60
	local := map[string]int{}
	closing := ""
	names := []string{
		"Pacific/Auckland", "Australia/Brisbane", "Asia/Tokyo", "Asia/Kolkata", "Asia/Dubai", "Europe/Helsinki", "Europe/London",
		"America/Sao_Paulo", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "Pacific/Honolulu",
	}
	off := func(name string) int { return max(local[name]-afternoon, afternoon-local[name]) }
	for _, name := range names {
		zone, err := time.LoadLocation(name)
		if err != nil {
			return nil, fmt.Errorf("zone %s: %w", name, err)
		}
		t := h.turn.In(zone)
		local[name] = t.Hour()*60 + t.Minute()
		if closing == "" || off(name) < off(closing) {
			closing = name
		}
	}
	opening := ""
	for _, name := range names {
		if local[name] <= local[closing]-180 && (opening == "" || local[name] > local[opening]) {
			opening = name
		}
	}
	from, to := local[opening], local[closing]
	words := func(from, to int) string {
		return fmt.Sprintf("mon-sun %02d:%02d-%02d:%02d", from/60, from%60, to/60, to%60)
	}
	h.open, h.narrow = words(from, to), words(from+30, to)
	h.zones = []string{closing, opening, closing, opening, ""}
	for _, name := range names { // some that are open all the time, and some that never are
		if name != closing && name != opening && len(h.zones) < 8 {
			h.zones = append(h.zones, name)
		}
	}
	return h, nil
}
