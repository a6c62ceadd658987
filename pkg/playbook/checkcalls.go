package playbook

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"candor/pkg/spell"
	"candor/pkg/window"
)

const (
	maxCap      = 100
	maxLease    = 30 * time.Minute
	maxSpread   = 6 * time.Hour
	maxWaits    = 20
	maxMost     = 100
	maxSkills   = 20
	earliest    = "08:00" // nobody is called before, or after latest
	latest      = "21:00"
	earlyOrLate = "write hours from 08:00 to 21:00 by the customer's clock, or outside_8_to_21: true if it is a drill that calls nobody"
)

var (
	callerID = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	word     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	skill    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)
)

// call looks at the channel call of a wave.
func (c checker) call(path string, call *Call) {
	if call == nil {
		return
	}
	call.QuietHours = window.None() // the queue looks at the hours of each call
	for _, need := range []struct{ key, remedy string }{
		{"calls", "add calls: with the caller_id that customers see"},
		{"script", "add script: with what agents say"},
	} {
		if !c.has(need.key) {
			c.badKey(path, need.remedy, "customers are to be called, and %s is missing", need.key)
		}
	}
}

// calls fills in the defaults of what stands at no path, and looks at the rest.
func (c checker) calls(p *Playbook) {
	if p.Calls == nil {
		return
	}
	calls, without := p.Calls, DefaultCalls()
	orDefault(c, "calls.hours", &calls.Hours, without.Hours)
	orDefault(c, "calls.uncertain_hours", &calls.UncertainHours, without.UncertainHours)
	for _, b := range []struct {
		key            string
		value          *time.Duration
		without        time.Duration
		least, longest time.Duration
	}{
		{"lead", &calls.Lead, without.Lead, 0, 2 * time.Hour},
		{"gap", &calls.Gap, without.Gap, 0, 7 * day},
		{"spread", &calls.Spread, without.Spread, 0, maxSpread},
		{"cool_down", &calls.CoolDown, without.CoolDown, time.Second, day},
		{"leases.preview", &calls.Leases.Preview, without.Leases.Preview, time.Second, maxLease},
		{"leases.progressive", &calls.Leases.Progressive, without.Leases.Progressive, time.Second, maxLease},
		{"call_back.tolerance", &calls.CallBack.Tolerance, without.CallBack.Tolerance, time.Second, 4 * time.Hour},
	} {
		path := "calls." + b.key
		if !c.has(path) {
			*b.value = b.without
		} else if *b.value < b.least || *b.value > b.longest {
			c.bad(path, fmt.Sprintf("write %s to %s, like %s", written(b.least), written(b.longest), written(b.without)), "%s is %s", last(path), written(*b.value))
		}
	}
	for _, b := range []struct {
		key     string
		value   *int
		without int
	}{
		{"number_per_day", &calls.Caps.NumberPerDay, without.Caps.NumberPerDay},
		{"person_per_week", &calls.Caps.PersonPerWeek, without.Caps.PersonPerWeek},
		{"total", &calls.Caps.Total, without.Caps.Total},
	} {
		path := "calls.caps." + b.key
		if !c.has(path) {
			*b.value = b.without
		} else if *b.value < 1 || *b.value > maxCap {
			c.bad(path, fmt.Sprintf("write 1 to %d, like %d", maxCap, b.without), "%s is %d", b.key, *b.value)
		}
	}
	if missed := []string{MissedNextSlot, MissedNextDay, MissedClose}; !c.has("calls.call_back.missed") {
		calls.CallBack.Missed = without.CallBack.Missed
	} else if m := calls.CallBack.Missed; m != "" && !slices.Contains(missed, m) {
		c.bad("calls.call_back.missed", spell.Remedy(m, missed), "missed %s has no meaning", m)
	}
	if calls.CallerID != "" {
		n, err := phonenumbers.Parse(calls.CallerID, "")
		if !callerID.MatchString(calls.CallerID) || err != nil || !phonenumbers.IsPossibleNumber(n) {
			c.bad("calls.caller_id", `write it in quotes, with + and the country's code, like "+18005550142"`, "%s is no telephone number", calls.CallerID)
		}
	}
	c.callHours("calls.hours", calls.Hours, calls)
	c.callHours("calls.uncertain_hours", calls.UncertainHours, calls)
	c.skills(calls.Skills, p.Languages.Offered)
	c.dispositions(calls)
}

func orDefault[V any](c checker, path string, v *V, without V) {
	if !c.has(path) {
		*v = without
	}
}

// callHours looks at hours in which customers are called.
func (c checker) callHours(path string, r window.Rule, calls *Calls) {
	first, last := 24*60, 0
	longest := 0
	for _, s := range spans(r) {
		if (s.from < earliest || s.to > latest) && !calls.Outside8To21 {
			c.bad(path, earlyOrLate, "%s-%s is too early or too late to call anybody", s.from, s.to)
			return
		}
		from, to := s.minutes()
		first, last, longest = min(first, from), max(last, to), max(longest, to-from)
	}
	if longest == 0 {
		return // noted already
	}
	lead, spread := int(calls.Lead/time.Minute), int(calls.Spread/time.Minute)
	switch at := c.nearest(path, "calls.lead", "calls.spread"); {
	case longest <= lead:
		c.bad(at, "write longer hours, or a shorter lead", "no call could begin %s before its hours end", written(calls.Lead))
	case last-lead-first < 2*spread && calls.Spread <= maxSpread:
		// Whoever did not answer in the middle of the day could never be called again.
		c.bad(at, "write longer hours, or a shorter spread", "no time of these hours is always %s away from the last call", written(calls.Spread))
	}
}

// nearest returns the first of some paths at which something stands, or else the first.
func (c checker) nearest(paths ...string) string {
	for _, path := range paths {
		if c.has(path) {
			return path
		}
	}
	return paths[0]
}

// hours are one stretch of a day, as a rule writes it: 09:00 to 20:00.
type hours struct{ from, to string }

func (h hours) minutes() (from, to int) {
	minute := func(clock string) int {
		hour, _ := strconv.Atoi(clock[:2])
		past, _ := strconv.Atoi(clock[3:])
		return hour*60 + past
	}
	return minute(h.from), minute(h.to)
}

// spans returns the hours of all days of a rule.
func spans(r window.Rule) (all []hours) {
	for _, field := range strings.FieldsFunc(r.String(), func(r rune) bool { return r == ' ' || r == ',' }) {
		if from, to, found := strings.Cut(field, "-"); found && strings.Contains(from, ":") {
			all = append(all, hours{from, to})
		}
	}
	return all
}

func (c checker) skills(skills map[string][]string, offered []string) {
	for _, tag := range slices.Sorted(maps.Keys(skills)) {
		path := "calls.skills." + tag
		if !slices.Contains(offered, tag) {
			c.badKey(path, cmp.Or(hint(tag, offered), "add it to languages.offered, or delete it"), "%s is not offered", tag)
		}
		if len(skills[tag]) > maxSkills {
			c.bad(path, "write fewer", "more than %d skills", maxSkills)
		}
		for i, s := range skills[tag] {
			at := path + "." + strconv.Itoa(i)
			switch {
			case s == "": // noted already
			case !skill.MatchString(s):
				c.bad(at, "write small letters, digits, _ and -, like spanish", "%s is no skill", s)
			case slices.Contains(skills[tag][:i], s):
				c.bad(at, "delete one of them", "%s comes twice", s)
			}
		}
	}
}

// dispositions looks at those of the file, and puts them over the prepared ones.
func (c checker) dispositions(calls *Calls) {
	prepared := defaultDispositions()
	codes := slices.Sorted(maps.Keys(prepared))
	for _, code := range slices.Sorted(maps.Keys(calls.Dispositions)) {
		path, d := "calls.dispositions."+code, calls.Dispositions[code]
		switch _, known := prepared[code]; {
		case !word.MatchString(code):
			c.badKey(path, "write small letters, digits and _, like no_answer", "%s is no code", code)
			continue
		case !known && slipOf(code, codes) != "":
			c.badKey(path, fmt.Sprintf("did you mean %s? If not, choose a code that is less alike", slipOf(code, codes)), "%s is nearly one of the prepared codes", code)
		}
		for _, o := range d.objections() {
			if c.has(path + "." + o.key) {
				c.bad(path+"."+o.key, o.remedy, "%s", o.message)
			} else {
				c.badKey(path, o.remedy, "%s: %s", code, o.message)
			}
		}
		prepared[code] = d
	}
	calls.Dispositions = prepared
}

// slipOf returns the prepared code that somebody who wrote another one probably meant: a slip of the finger in no_answer would
// make a disposition that no dialer reports.
func slipOf(code string, codes []string) string {
	parts := strings.Split(code, "_")
	for _, known := range codes {
		theirs := strings.Split(known, "_")
		if strings.Join(parts, "") == strings.Join(theirs, "") {
			return known
		}
		alike := len(parts) == len(theirs)
		for i := 0; alike && i < len(parts); i++ {
			alike = parts[i] == theirs[i] || spell.Nearest(parts[i], theirs[i:i+1]) != ""
		}
		if alike {
			return known
		}
	}
	return ""
}

// objection is what is wrong with one key of a disposition.
type objection struct{ key, message, remedy string }

// objections returns what is wrong with a disposition: a task must go on at a time, and end some day.
func (d Disposition) objections() (all []objection) {
	add := func(wrong bool, key, message, remedy string) {
		if wrong {
			all = append(all, objection{key, message, remedy})
		}
	}
	ends, numbers := []string{EndsDone, EndsFailed, EndsSuppressed}, []string{NumberBad, NumberBadTwice, NumberNext}
	unknown := func(w string, known []string) bool { return w != "" && !slices.Contains(known, w) }
	add(unknown(d.Ends, ends), "ends", "ends "+d.Ends+" has no meaning", spell.Remedy(d.Ends, ends))
	add(unknown(d.Number, numbers), "number", "number "+d.Number+" has no meaning", spell.Remedy(d.Number, numbers))
	add(len(d.After) > maxWaits, "after", fmt.Sprintf("more than %d waits", maxWaits), "write fewer: the last one is repeated")
	for i, wait := range d.After {
		add(wait <= 0 || wait > maxPeriod, "after."+strconv.Itoa(i), "a wait of "+written(wait), "write a time up to 30d, like 4h")
	}
	add(d.Most < 0 || d.Most > maxMost, "most", fmt.Sprintf("most is %d", d.Most), fmt.Sprintf("write 1 to %d, or leave it out", maxMost))
	add(d.Most > 0 && len(d.After) >= d.Most, "after", "the last waits never come", fmt.Sprintf("after the %s time it has failed: write fewer waits, or a higher most", ordinal(d.Most)))
	if d.Ends != "" {
		for _, f := range []struct {
			key string
			set bool
		}{{"after", len(d.After) > 0}, {"next_day", d.NextDay}, {"most", d.Most > 0}, {"call_back", d.CallBack}, {"number", d.Number != ""}} {
			add(f.set, f.key, "the task ends: there is no call after it", "delete it, or delete ends")
		}
		add(d.Ends == EndsDone && !d.Told, "ends", "done is for customers who were told", "add told: true, or write ends: failed")
		add(d.Ends == EndsFailed && d.Told, "told", "failed is for customers who were not told", "write ends: done, or delete told")
		return all
	}
	add(d.DoNotCall, "do_not_call", "whoever asked not to be called is not called again", "add ends: suppressed")
	add(d.CallBack && (len(d.After) > 0 || d.NextDay), "call_back", "the customer names the time", "delete after and next_day")
	add(!d.CallBack && !d.NextDay && len(d.After) == 0 && d.Number == "", "ends", "nothing says when the next call is", "add after, next_day or ends")
	add(!d.CallBack && d.Most == 0 && d.Counts == 0 && d.Number == "", "most", "it can come for ever", "add most, or counts: 1")
	return all
}

func ordinal(n int) string {
	switch {
	case n%10 == 1 && n%100 != 11:
		return strconv.Itoa(n) + "st"
	case n%10 == 2 && n%100 != 12:
		return strconv.Itoa(n) + "nd"
	case n%10 == 3 && n%100 != 13:
		return strconv.Itoa(n) + "rd"
	}
	return strconv.Itoa(n) + "th"
}

// written returns a time as a playbook writes it, as in 3d, 4h or 90m.
func written(d time.Duration) string {
	if d > day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
