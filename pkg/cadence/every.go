package cadence

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must load on a machine that has none of its own
)

// Every names hours of the calendar, such as mon,thu 10:00. The zero Every names none. Two are equal if they name the same.
type Every struct {
	weekdays uint8 // a bit for each time.Weekday
	monthday int8  // 1 to 28, or lastDay; 0 for weekdays
	minute   int16 // of the day
}

const (
	lastDay = -1
	allDays = 1<<7 - 1
)

// IsZero says whether it names none.
func (e Every) IsZero() bool { return e == Every{} }

var dayNames = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// String returns it in words that ParseEvery reads as the same.
func (e Every) String() string {
	day := ""
	switch {
	case e.IsZero():
		return ""
	case e.monthday == lastDay:
		day = "month last"
	case e.monthday > 0:
		day = fmt.Sprintf("month %d", e.monthday)
	case e.weekdays == allDays:
		day = "day"
	default:
		day = strings.Join(e.days(func(d time.Weekday) string { return dayNames[d] }), ",")
	}
	return day + " " + e.clock()
}

// Words returns it as one says it: every Monday and Thursday at 10:00.
func (e Every) Words() string {
	day := ""
	switch {
	case e.IsZero():
		return "never"
	case e.monthday == lastDay:
		day = "on the last day of every month"
	case e.monthday > 0:
		day = fmt.Sprintf("on day %d of every month", e.monthday)
	case e.weekdays == allDays:
		day = "every day"
	default:
		names := e.days(time.Weekday.String)
		day = "every " + names[len(names)-1]
		if n := len(names) - 1; n > 0 {
			day = "every " + strings.Join(names[:n], ", ") + " and " + names[n]
		}
	}
	return day + " at " + e.clock()
}

func (e Every) clock() string { return fmt.Sprintf("%02d:%02d", e.minute/60, e.minute%60) }

// days returns the weekdays, from Monday on.
func (e Every) days(name func(time.Weekday) string) []string {
	var names []string
	for i := range 7 {
		if d := time.Weekday((i + 1) % 7); e.weekdays&(1<<d) != 0 {
			names = append(names, name(d))
		}
	}
	return names
}

// on says whether it names a day of the calendar, given at midnight UTC.
func (e Every) on(day time.Time) bool {
	switch {
	case e.monthday == lastDay:
		return day.AddDate(0, 0, 1).Day() == 1
	case e.monthday > 0:
		return day.Day() == int(e.monthday)
	}
	return e.weekdays&(1<<day.Weekday()) != 0
}

// searched is how many days it can take to the next one: zones left out a whole day twice in a hundred years, which can push
// a month's day on by a month.
const searched = 100

// Next returns the first instant after t that it names by the wall clock of a zone; false only for the zero Every. An hour
// that the clocks leave out comes at the first instant after it, one that they repeat comes once, and a day that a zone left
// out has none.
func (e Every) Next(t time.Time, zone *time.Location) (time.Time, bool) {
	if e.IsZero() {
		return time.Time{}, false
	}
	y, m, d := t.In(zone).Date()
	// The day before counts too: its hour may lie in a gap that ends at midnight.
	day := time.Date(y, m, d-1, 0, 0, 0, 0, time.UTC)
	for range searched {
		if e.on(day) {
			if at, ok := wall(day, time.Duration(e.minute)*time.Minute, zone); ok && at.After(t) {
				return at, true
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}, false
}

// wall returns the first instant at which a zone's wall clock shows a time of a day, or has leapt over it; false if it leapt
// over the whole day.
func wall(day time.Time, clock time.Duration, zone *time.Location) (time.Time, bool) {
	want := day.Add(clock)
	// No zone is farther from UTC than a day. From there a stretch of one offset is looked at after the other.
	for start := want.Add(-48 * time.Hour); ; {
		local := start.In(zone)
		_, offset := local.Zone()
		_, end := local.ZoneBounds()
		at := want.Add(-time.Duration(offset) * time.Second)
		switch {
		case at.Before(start): // leapt over
			y, m, d := start.Add(-1).In(zone).Date()
			whole := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Before(day)
			y, m, d = local.Date()
			return local, !whole || !time.Date(y, m, d, 0, 0, 0, 0, time.UTC).After(day)
		case end.IsZero() || at.Before(end):
			return at.In(zone), true
		}
		start = end
	}
}

// ParseError says what is wrong with the hours of a calendar, and where.
type ParseError struct {
	Offset  int // in bytes
	Message string
	Remedy  string
}

// Error names the place, the mistake and its remedy.
func (e *ParseError) Error() string {
	return fmt.Sprintf("column %d: %s; %s", e.Offset+1, e.Message, e.Remedy)
}

const (
	example  = "write it like: mon 10:00, or mon,thu 10:00, or day 10:00, or month 1 10:00, or month last 10:00"
	maxEvery = 100 // bytes
)

// ParseEvery reads hours of the calendar in words. The error is a *ParseError.
func ParseEvery(spec string) (Every, error) {
	if len(spec) > maxEvery {
		return Every{}, &ParseError{maxEvery, "too long", example}
	}
	words := split(spec)
	if len(words) == 0 {
		return Every{}, &ParseError{0, "no days", example}
	}
	end := word{at: len(spec)}
	var e Every
	rest := words[1:]
	switch first := words[0]; first.text {
	case "day":
		e.weekdays = allDays
	case "month":
		if len(rest) == 0 {
			return Every{}, end.errorf(example, "no day of the month")
		}
		day, ok := parseMonthday(rest[0].text)
		if !ok {
			return Every{}, rest[0].errorf("write a day from 1 to 28, which every month has, or last", "%q is no day of every month", rest[0].text)
		}
		e.monthday, rest = day, rest[1:]
	default:
		var err error
		if e.weekdays, rest, err = parseWeekdays(words, end); err != nil {
			return Every{}, err
		}
	}
	if len(rest) == 0 {
		return Every{}, end.errorf(example, "no time of the day")
	}
	minute, ok := parseClock(rest[0].text)
	if !ok {
		return Every{}, rest[0].errorf("write a time from 00:00 to 23:59, such as 10:00", "%q is no time of the day", rest[0].text)
	}
	if len(rest) > 1 {
		return Every{}, rest[1].errorf("delete it, or make it an entry of its own", "%q after the time", rest[1].text)
	}
	e.minute = minute
	return e, nil
}

// parseWeekdays reads mon,thu and returns what stands behind it.
func parseWeekdays(words []word, end word) (days uint8, rest []word, err error) {
	for at := words; ; at = at[2:] {
		if len(at) == 0 {
			return 0, nil, end.errorf(example, "no day after the comma")
		}
		d := slices.Index(dayNames[:], at[0].text)
		switch {
		case d < 0:
			return 0, nil, at[0].errorf("days are mon, tue, wed, thu, fri, sat, sun, or day for all of them, or month 1", "%q is no day", at[0].text)
		case days&(1<<d) != 0:
			return 0, nil, at[0].errorf("delete one", "%s is named twice", at[0].text)
		}
		days |= 1 << d
		if len(at) == 1 || at[1].text != "," {
			return days, at[1:], nil
		}
	}
}

func parseMonthday(s string) (int8, bool) {
	if s == "last" {
		return lastDay, true
	}
	n, ok := number(s)
	return int8(n), ok && n >= 1 && n <= 28
}

// parseClock reads 00:00 to 23:59 as a minute of the day.
func parseClock(s string) (int16, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	h, okH := number(s[:2])
	m, okM := number(s[3:])
	return int16(h*60 + m), okH && okM && h < 24 && m < 60
}

// number reads one or two digits.
func number(s string) (n int, ok bool) {
	if s == "" || len(s) > 2 {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
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
		if !end && !strings.ContainsRune(" \t\r\n,", rune(spec[i])) {
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
