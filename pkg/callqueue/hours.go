package callqueue

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"candor/pkg/playbook"
	"candor/pkg/window"
)

// hours are when customers of one incident may be called whose number may be in the same zones.
type hours struct {
	incident  *incident
	uncertain bool
	zones     []*time.Location
	// ready are the heaps of tasks to which nothing but the hours applies, by class, and how many tasks they hold.
	heaps [classes][]uint32
	ready [classes]int

	// What is known of the seconds from from up to to.
	from, to uint32
	isOpen   bool
	lastCall uint32 // when open: the last instant at which a call begins
	next     uint32 // when closed: the next instant at which one may, never if none does
}

// lane is a language of an incident: what an agent must be able to do.
type lane struct {
	incident *incident
	language string
	skills   []string
}

// hoursOf returns the hours of a set of zones.
func (q *Queue) hoursOf(in *incident, zones []*time.Location, uncertain bool) uint32 {
	key := make([]byte, 0, 128)
	if uncertain {
		key = append(key, '?')
	}
	for _, z := range zones {
		key = append(append(key, z.String()...), '\n')
	}
	if i, ok := in.hours[string(key)]; ok {
		return i
	}
	if len(q.hours) == 0 {
		q.hours = append(q.hours, nil) // 0 is none
	}
	i := uint32(len(q.hours))
	q.hours = append(q.hours, &hours{incident: in, uncertain: uncertain, zones: slices.Clone(zones), from: 1})
	in.hours[string(key)] = i
	q.openTo = 0
	return i
}

func (h *hours) rule() window.Rule {
	if h.uncertain {
		return h.incident.rules.UncertainHours
	}
	return h.incident.rules.Hours
}

// look finds out where the hours stand at an instant; the incident must have rules.
func (h *hours) look(now uint32) {
	if h.from <= now && now < h.to {
		return
	}
	t := instant(now)
	lead := h.incident.rules.Lead
	h.from, h.isOpen, h.next = now, false, never
	at, ok := h.rule().NextIn(t, h.zones, lead)
	switch {
	case !ok:
		h.to = plus(now, 24*time.Hour)
	case at.After(t):
		h.next = sec(at)
		h.to = h.next
	default:
		h.isOpen, h.lastCall = true, never-1
		if end, ends := h.rule().UntilIn(t, h.zones); ends {
			h.lastCall = minus(sec(end), lead)
		}
		h.to = max(h.lastCall, now) + 1
	}
}

// lookAround brings the list of open hours up to date.
func (q *Queue) lookAround(now uint32) {
	if q.openFrom <= now && now < q.openTo {
		return
	}
	q.open = q.open[:0]
	q.openFrom, q.openTo = now, never
	for _, h := range q.hours {
		if h == nil || h.incident.rules == nil {
			continue
		}
		h.look(now)
		q.openTo = min(q.openTo, h.to)
		if h.isOpen {
			q.open = append(q.open, h)
		}
	}
	slices.SortStableFunc(q.open, func(a, b *hours) int { return cmp.Compare(a.lastCall, b.lastCall) })
}

// readyHeap returns the heap for tasks to which nothing but the hours applies; 0 hours are those of customers who asked for
// this very time.
func (q *Queue) readyHeap(h uint32, class uint8, l uint32) uint32 {
	var list []uint32
	if h == 0 {
		for _, p := range q.promised {
			if p.lane == l {
				return p.index
			}
		}
	} else {
		list = q.hours[h].heaps[class]
		for _, i := range list {
			if q.heaps[i].lane == l {
				return i
			}
		}
	}
	i := uint32(len(q.heaps))
	made := &heap{class: class, hours: h, lane: l, index: i}
	q.heaps = append(q.heaps, made)
	if h == 0 {
		q.promised = append(q.promised, made)
	} else {
		q.hours[h].heaps[class] = append(list, i)
	}
	return i
}

// laneOf returns the lane of a language of the incident.
func (q *Queue) laneOf(in *incident, language uint16) uint32 {
	if i, ok := in.lanes[language]; ok {
		return i
	}
	l := lane{incident: in, language: q.words.list[language]}
	if in.rules != nil {
		l.skills = skillsFor(in.rules, l.language)
	}
	i := uint32(len(q.lanes))
	q.lanes = append(q.lanes, l)
	in.lanes[language] = i
	return i
}

// skillsFor returns what agents must be able to do: what the playbook says of the language, or else of what it varies.
func skillsFor(rules *playbook.Calls, language string) []string {
	for tag := language; tag != ""; {
		if skills, ok := rules.Skills[tag]; ok {
			return skills
		}
		cut := strings.LastIndexByte(tag, '-')
		if cut < 0 {
			break
		}
		tag = tag[:cut]
	}
	return nil
}

// speaks reports whether somebody who speaks one of the languages is understood in another; a language and its variants stand
// for each other.
func speaks(languages []string, language string) bool {
	for _, l := range languages {
		if variant(l, language) || variant(language, l) {
			return true
		}
	}
	return len(languages) == 0
}

// variant says whether a language is another one, or a variant of it.
func variant(base, language string) bool {
	n := len(base)
	return n > 0 && n <= len(language) && strings.EqualFold(base, language[:n]) && (n == len(language) || language[n] == '-')
}

const daySecs = 24 * 60 * 60

// timeOfDay returns the seconds of the zone's wall clock.
func timeOfDay(s uint32, zone *time.Location) int {
	h, m, sec := time.Unix(int64(s), 0).In(zone).Clock()
	return (h*60+m)*60 + sec
}

// spreadEnd returns until when a call is too close to the time of day at which nobody answered, now if it is not.
func (h *hours) spreadEnd(avoid, now uint32) uint32 {
	spread := int(h.incident.rules.Spread / time.Second)
	if avoid == 0 || spread <= 0 || len(h.zones) == 0 {
		return now
	}
	zone := h.zones[0]
	bad := timeOfDay(avoid, zone)
	for at := now; ; {
		clock := timeOfDay(at, zone)
		off := (clock - bad + daySecs) % daySecs
		if off >= spread && off <= daySecs-spread {
			return at
		}
		end := at + uint32((bad+spread-clock+2*daySecs)%daySecs)
		if end == at || 2*spread > daySecs {
			return never // no time of day is far enough
		}
		if _, change := time.Unix(int64(at), 0).In(zone).ZoneBounds(); !change.IsZero() && sec(change) < end {
			end = sec(change)
		}
		at = end
	}
}

// spreadWithin is how long the spread may put a call off before it is given up: hours so narrow must not silence a customer.
const spreadWithin = 7 * 24 * time.Hour

// opens returns the first instant from now on at which a call may begin by the hours, away from the time of day at which
// nobody answered; never if there is none.
func (h *hours) opens(now, avoid uint32) uint32 {
	first := h.opensAt(now)
	if avoid == 0 || first == never {
		return first
	}
	for at, limit := first, plus(first, spreadWithin); at <= limit; {
		clear := h.spreadEnd(avoid, at)
		if clear == never {
			break
		}
		if clear == at {
			return at
		}
		if at = h.opensAt(clear); at == never {
			break
		}
	}
	return first
}

func (h *hours) opensAt(now uint32) uint32 {
	if h.from <= now && now < h.to {
		if h.isOpen {
			return now
		}
		return h.next
	}
	at, ok := h.rule().NextIn(instant(now), h.zones, h.incident.rules.Lead)
	if !ok {
		return never
	}
	return sec(at)
}
