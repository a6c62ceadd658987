package callqueue

import (
	"iter"
	"maps"
	"slices"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Counts says where the tasks of an incident stand.
type Counts struct {
	// States are by name, as in pending.
	States map[string]uint64
	// Callable are those that could be claimed at this moment; those whose customers did not answer at this time of day
	// before are among them until a claim comes upon them.
	Callable uint64
	// Dispositions are how calls ended, by code.
	Dispositions map[string]uint64
}

// Counts counts the tasks of an incident, of all of them without a name.
func (q *Queue) Counts(at time.Time, name string) Counts {
	now := sec(at)
	q.advance(now)
	q.lookAround(now)
	c := Counts{States: map[string]uint64{}, Dispositions: map[string]uint64{}}
	for _, in := range q.incidents {
		if name != "" && in.name != name {
			continue
		}
		for state, n := range in.states {
			if n > 0 {
				c.States[candorv1.Word(candorv1.CallState(state))] += n
			}
		}
		for word, n := range in.dispositions {
			if n > 0 {
				c.Dispositions[q.words.list[word]] += n
			}
		}
	}
	for _, h := range q.promised {
		if in := q.lanes[h.lane].incident; !in.held && (name == "" || in.name == name) {
			c.Callable += uint64(len(h.entries))
		}
	}
	for _, h := range q.open {
		if !h.incident.held && (name == "" || h.incident.name == name) {
			for _, n := range h.ready {
				c.Callable += uint64(n)
			}
		}
	}
	return c
}

// Open returns how many tasks of an incident are not over.
func (q *Queue) Open(name string) (n uint64) {
	if in := q.incidents[name]; in != nil {
		for state, count := range in.states {
			if !over(candorv1.CallState(state)) {
				n += count
			}
		}
	}
	return n
}

// Leases returns how many leases of an incident are out: so many calls may be under way, or begin.
func (q *Queue) Leases(name string) uint64 {
	if in := q.incidents[name]; in != nil {
		return in.leases
	}
	return 0
}

// Settled is how a task ended: what is to be written into the journals of the waves that it answered.
type Settled struct {
	Place Place
	State candorv1.CallState
	// Reason is the disposition, or why the task was withdrawn.
	Reason string
	At     time.Time
	Waves  []WaveResult
}

// WaveResult is what became of a customer's notice of one wave.
type WaveResult struct {
	Wave   string
	Result candorv1.Result
}

// Settled goes through the tasks of a page that have ended, slot by slot; those that were opened again come with how they ended
// before, the oldest first.
func (q *Queue) Settled(name string, pageNumber uint32) iter.Seq[Settled] {
	return func(yield func(Settled) bool) {
		in := q.incidents[name]
		if in == nil || in.pages[pageNumber] == 0 {
			return
		}
		for _, id := range q.pages[in.pages[pageNumber]-1].slots {
			if id == 0 {
				continue
			}
			for _, s := range q.settled(q.tasks.at(id)) {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// SettledAt returns how a customer's task ended, each time that it did, the oldest first.
func (q *Queue) SettledAt(p Place) []Settled {
	if id := q.task(p); id != 0 {
		return q.settled(q.tasks.at(id))
	}
	return nil
}

func (q *Queue) settled(t *task) (all []Settled) {
	if t.over() {
		all = append(all, q.settledAs(t, ending{at: t.nextAt, waves: t.waves, told: t.told, reason: t.reason, state: t.state}))
	}
	for i := t.past; i != 0; i = q.endings.at(i).older {
		all = append(all, q.settledAs(t, *q.endings.at(i)))
	}
	slices.Reverse(all)
	if len(all) > 1 {
		once(all)
	}
	return all
}

// once leaves of the waves that a task answered several times, since the customer wished for another call, what was news: told
// after all, say, and never less than was said before.
func once(all []Settled) {
	rank := func(r candorv1.Result) int {
		return slices.Index([]candorv1.Result{
			candorv1.Result_RESULT_EXPIRED, candorv1.Result_RESULT_SUPPRESSED, candorv1.Result_RESULT_FAILED, candorv1.Result_RESULT_DELIVERED,
		}, r)
	}
	said := map[string]int{}
	for i := range all {
		all[i].Waves = slices.DeleteFunc(all[i].Waves, func(w WaveResult) bool {
			before, ok := said[w.Wave]
			if ok && rank(w.Result) <= before {
				return true
			}
			said[w.Wave] = rank(w.Result)
			return false
		})
	}
}

func (q *Queue) settledAs(t *task, e ending) Settled {
	in := q.of(t)
	s := Settled{Place: q.place(t), State: candorv1.CallState(e.state), Reason: q.words.list[e.reason], At: instant(e.at)}
	for _, wave := range in.sets[e.waves] {
		result := candorv1.Result_RESULT_FAILED
		switch {
		case in.includes(e.told, wave):
			result = candorv1.Result_RESULT_DELIVERED
		case s.State == candorv1.CallState_CALL_STATE_SUPPRESSED:
			result = candorv1.Result_RESULT_SUPPRESSED
		case s.State == candorv1.CallState_CALL_STATE_EXPIRED:
			result = candorv1.Result_RESULT_EXPIRED
		}
		s.Waves = append(s.Waves, WaveResult{q.words.list[wave], result})
	}
	return s
}

// Incidents returns the incidents that have tasks, sorted.
func (q *Queue) Incidents() []string {
	names := slices.Sorted(maps.Keys(q.incidents))
	return slices.DeleteFunc(names, func(n string) bool { return len(q.incidents[n].pages) == 0 })
}

// Pages returns the pages of an incident that have tasks, sorted.
func (q *Queue) Pages(name string) []uint32 {
	in := q.incidents[name]
	if in == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(in.pages))
}

// Attempt is one lease and what came of it.
type Attempt struct {
	Fence    uint64
	Dialer   string
	LeasedAt time.Time
	EndedAt  time.Time // when it ends, for one that is out
	Out      bool
	Expired  bool
	Released bool
	Reported bool
	Late     bool
	CalledAt time.Time
	Phone    int
	// Disposition is empty without a report.
	Disposition string
	CallBackAt  time.Time
}

// Attempts returns the leases of a customer's task, the oldest first.
func (q *Queue) Attempts(p Place) (all []Attempt) {
	id := q.task(p)
	if id == 0 {
		return nil
	}
	for i := q.tasks.at(id).last; i != 0; i = q.attempts.at(i).older {
		a := q.attempts.at(i)
		if a.has(rang) {
			continue
		}
		all = append(all, Attempt{
			Fence: uint64(a.fence), Dialer: q.words.list[a.dialer], LeasedAt: instant(a.leasedAt), EndedAt: instant(a.endedAt),
			Out: !a.has(closed), Expired: a.has(expired), Released: a.has(released), Reported: a.has(reported), Late: a.has(late),
			CalledAt: instant(a.calledAt), Phone: int(a.phone), Disposition: q.words.list[a.disposition],
			CallBackAt: instant(a.callBack),
		})
	}
	slices.Reverse(all)
	return all
}
