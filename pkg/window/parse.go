package window

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxSpec   = 8192 // bytes
	maxClosed = 366  // dates
)

// ParseError says what is wrong with a rule, and where.
type ParseError struct {
	Offset  int // in bytes
	Message string
	Remedy  string
}

// Error names the place, the mistake and its remedy.
func (e *ParseError) Error() string {
	return fmt.Sprintf("column %d: %s; %s", e.Offset+1, e.Message, e.Remedy)
}

const example = "write it like: outside mon-fri 09:00-20:00, sat 10:00-18:00, closed 2026-12-25; or: none"

// Parse reads a rule in words.
func Parse(spec string) (Rule, error) {
	if len(spec) > maxSpec {
		return Rule{}, &ParseError{maxSpec, "too long", "name fewer dates"}
	}
	words := split(spec)
	if len(words) == 0 {
		return Rule{}, &ParseError{0, "no hours", example}
	}
	first := words[0]
	switch {
	case first.text == "none" && len(words) == 1:
		return Rule{always: true}, nil
	case first.text == "none":
		return Rule{}, words[1].errorf("delete it, or delete none", "%q after none", words[1].text)
	case first.text != "outside":
		return Rule{}, first.errorf(example, "%q where outside or none should stand", first.text)
	}
	var r Rule
	end := word{at: len(spec)}
	for rest := words[1:]; ; {
		item := rest
		comma := slices.IndexFunc(rest, func(w word) bool { return w.text == "," })
		after := end
		if comma >= 0 {
			item, after, rest = rest[:comma], rest[comma], rest[comma+1:]
		}
		if err := r.add(item, after); err != nil {
			return Rule{}, err
		}
		if comma < 0 {
			break
		}
	}
	if !slices.ContainsFunc(r.days[:], func(day []span) bool { return len(day) > 0 }) {
		return Rule{}, end.errorf(example, "no day is open")
	}
	return r, nil
}

// word is a piece of a rule and where it stands.
type word struct {
	text string
	at   int
}

func (w word) errorf(remedy, format string, args ...any) error {
	return &ParseError{w.at, fmt.Sprintf(format, args...), remedy}
}

// split cuts at blanks; a comma is a word of its own.
func split(spec string) []word {
	var words []word
	start := -1
	for i := 0; i <= len(spec); i++ {
		end := i == len(spec)
		if !end && spec[i] != ' ' && spec[i] != '\t' && spec[i] != '\n' && spec[i] != '\r' && spec[i] != ',' {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			words = append(words, word{strings.ToLower(spec[start:i]), start})
			start = -1
		}
		if !end && spec[i] == ',' {
			words = append(words, word{",", i})
		}
	}
	return words
}

// add reads `mon-fri 09:00-12:00 13:00-17:00` or `closed 2026-12-25` into the rule.
func (r *Rule) add(item []word, after word) error {
	switch {
	case len(item) == 0:
		return after.errorf(example, "nothing between commas")
	case len(item) == 1:
		return item[0].errorf(example, "nothing after %q", item[0].text)
	case item[0].text == "closed":
		for _, w := range item[1:] {
			if err := r.addClosed(w); err != nil {
				return err
			}
		}
		return nil
	}
	days, err := parseDays(item[0])
	if err != nil {
		return err
	}
	for _, w := range item[1:] {
		s, err := parseSpan(w)
		if err != nil {
			return err
		}
		for _, day := range days {
			for _, other := range r.days[day] {
				if s.from <= other.to && other.from <= s.to {
					return w.errorf("join the two", "%s touches other hours of %s", w.text, dayNames[day])
				}
			}
			r.days[day] = append(r.days[day], s)
			slices.SortFunc(r.days[day], func(a, b span) int { return cmp.Compare(a.from, b.from) })
		}
	}
	return nil
}

func (r *Rule) addClosed(w word) error {
	t, err := time.Parse(time.DateOnly, w.text)
	if err != nil || t.Year() < 2000 || t.Year() > 2099 {
		return w.errorf("write a date like 2026-12-25", "%q is no date of this century", w.text)
	}
	y, m, d := t.Date()
	i, found := slices.BinarySearchFunc(r.closed, date{y, m, d}, date.compare)
	if found {
		return w.errorf("delete one", "%s is named twice", w.text)
	}
	if len(r.closed) == maxClosed {
		return w.errorf("name fewer", "more than %d closed dates", maxClosed)
	}
	r.closed = slices.Insert(r.closed, i, date{y, m, d})
	return nil
}

func parseDays(w word) ([]int, error) {
	from, to, isRange := strings.Cut(w.text, "-")
	if !isRange {
		to = from
	}
	first, last := slices.Index(dayNames[:], from), slices.Index(dayNames[:], to)
	if first < 0 || last < 0 {
		return nil, w.errorf("days are mon, tue, wed, thu, fri, sat, sun, or a range like mon-fri", "%q is no day", w.text)
	}
	days := []int{first}
	for first != last {
		first = (first + 1) % 7
		days = append(days, first)
	}
	return days, nil
}

const clockChange = 4 * 60 // clocks change before this minute of the day

func parseSpan(w word) (span, error) {
	from, to, ok := strings.Cut(w.text, "-")
	a, okA := parseClock(from)
	b, okB := parseClock(to)
	switch {
	case !ok || !okA || !okB:
		return span{}, w.errorf("write them like 09:00-20:00", "%q are no hours", w.text)
	case a == 0 && b == dayMinutes:
		return span{a, b}, nil
	case a > b:
		return span{}, w.errorf("end it at 23:59, and let the next day have hours of its own from 04:00 on", "%s runs over midnight", w.text)
	case a == b:
		return span{}, w.errorf("leave the day out if it is quiet all day, or write 00:00-24:00", "%s is no time at all", w.text)
	case a < clockChange || b < clockChange || b == dayMinutes:
		return span{}, w.errorf("start and end from 04:00 to 23:59, or write 00:00-24:00",
			"%s starts or ends between 24:00 and 03:59, where clocks change", w.text)
	}
	return span{a, b}, nil
}

// parseClock reads 00:00 to 24:00 as a minute of the day.
func parseClock(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	h, errH := strconv.ParseUint(s[:2], 10, 8)
	m, errM := strconv.ParseUint(s[3:], 10, 8)
	minute := int(h)*60 + int(m)
	return minute, errH == nil && errM == nil && m < 60 && minute <= dayMinutes
}
