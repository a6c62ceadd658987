package ledger

import (
	"errors"
	"maps"
	"slices"
	"time"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// ladder is what the ledger knows of an incident's playbook, above all which channels are steps: for those whom the earlier
// ones of the wave do not reach.
type ladder struct {
	draft *candorv1.Drafted
	book  *playbook.Playbook // nil before the approval, or if it cannot be read
	err   error
	steps []step // of the first notice and that of added rows; all others get all their channels at once
	rows  int    // waves of added rows
}

// step is a channel that begins later than its wave.
type step struct {
	wave     string
	channel  candorv1.Channel
	after    time.Duration
	accepted bool // counts as reached
	earlier  []candorv1.Channel
}

// rung is one page at one step.
type rung struct {
	due     uint32  // customers whom no earlier channel can reach any more, and who are not in the step's journal
	early   uint32  // those who are not there either, and were not reached yet
	untried uint32  // those of them whom an earlier channel has not begun with
	begun   instant // when the last of the earlier journals began with the last of its customers; 0 if one did not begin
}

// footing is how a customer who is not in a step's journal stands to it.
type footing int

const (
	isDue footing = iota
	isEarly
	isUntried
)

var errNoPlaybook = errors.New("it is not there")

// ladder returns that of an incident; it is read once for each draft, and again when rows were added. b.mu is held.
func (b *books) ladder(inc *incident.Incident) *ladder {
	if approved(inc) == nil {
		return &ladder{}
	}
	rows := inc.Rows()
	if l := b.ladders[inc.ID]; l != nil && l.draft == inc.Draft && l.rows == len(rows) { // of which none is ever taken back
		return l
	}
	l := &ladder{draft: inc.Draft, rows: len(rows)}
	b.ladders[inc.ID] = l
	text := inc.Draft.GetDeclaration().GetPlaybook()
	if text == "" {
		l.err = errNoPlaybook
		return l
	}
	if l.book, l.err = playbook.Parse("playbook", []byte(text)); l.err != nil {
		return l
	}
	l.climb(incident.FirstWave, l.wave(inc, incident.FirstWave))
	for _, a := range rows {
		l.climb(a.GetAddition().GetWave(), l.wave(inc, a.GetAddition().GetWave()))
	}
	return l
}

func (l *ladder) climb(wave string, w *playbook.Wave) {
	if w == nil {
		return
	}
	var channels []candorv1.Channel
	for ch, t := range w.Each {
		if t.Step() {
			s := step{wave: wave, channel: ch, after: t.After, accepted: t.Unless == playbook.Accepted}
			for _, other := range channels {
				if w.Terms(other).After < t.After {
					s.earlier = append(s.earlier, other)
				}
			}
			l.steps = append(l.steps, s)
		}
		channels = append(channels, ch)
	}
}

// step returns the step that a channel of a wave is; nil if it begins with the wave.
func (l *ladder) step(wave string, ch candorv1.Channel) *step {
	for i := range l.steps {
		if s := &l.steps[i]; s.wave == wave && s.channel == ch {
			return s
		}
	}
	return nil
}

// wave returns the playbook's wave that a wave of the incident is based on; that of the first notice for an update, which
// brings its own words and goes by these terms. It is nil if it is not known.
func (l *ladder) wave(inc *incident.Incident, wave string) *playbook.Wave {
	if l.book == nil {
		return nil
	}
	switch inc.KindOf(wave) {
	case incident.KindUpdate, incident.KindCorrection:
		wave = incident.FirstWave
	}
	return l.book.Waves[inc.BaseOf(wave)]
}

// climbAll brings the rungs of all pages up to date. The pages are counted. b.mu is held.
func (b *books) climbAll(bk *book, l *ladder) {
	fresh := bk.ladder == l
	bk.ladder = l
	for _, p := range bk.pages {
		if fresh && p.rungs != nil || len(l.steps) == 0 {
			continue
		}
		p.rungs = make([]rung, len(l.steps))
		for i := range l.steps {
			r := &p.rungs[i]
			r.begun, _ = b.climb(p, &l.steps[i], func(_ uint32, at footing) {
				switch at {
				case isDue:
					r.due++
				case isEarly:
					r.early++
				case isUntried:
					r.untried++
				}
			})
		}
	}
}

// climb yields the customers of a page who belong on a step and are not in its journal. begun is when the last of the earlier
// journals began with the last of its customers, 0 if one did not begin. It is not ok for a page where nothing can be said or
// done: a journal of the wave is sealed or damaged. b.mu is held, and the page is counted.
func (b *books) climb(p *page, s *step, yield func(slot uint32, at footing)) (begun instant, ok bool) {
	var earlier []*sheet
	var there *journal.State
	for _, sh := range p.sheets {
		at := sh.funnel.channel == s.channel
		if sh.funnel.wave != s.wave || !at && !slices.Contains(s.earlier, sh.funnel.channel) {
			continue
		}
		if sh.damage != nil || sh.deaf != nil || sh.state.SealedFor != "" {
			return 0, false
		}
		switch {
		case sh.state.Opened == nil:
		case at:
			there = sh.state
		default:
			earlier = append(earlier, sh)
		}
	}
	b.scratch(len(earlier))
	waits := false
	slots := 0
	for i, sh := range earlier {
		b.codes[i] = sh.state.Codes(b.codes[i][:0])
		slots = max(slots, len(b.codes[i]))
		if at := sh.state.Begun(); !at.IsZero() {
			begun = max(begun, instantOf(at))
		} else if sh.counts.open() > 0 {
			waits = true
		}
	}
	if waits {
		begun = 0
	}
	for n := range slots {
		in, reached, waiting, ended := false, false, false, 0
		for i := range earlier {
			if n >= len(b.codes[i]) || b.codes[i][n] == 0 {
				continue
			}
			in = true
			switch state := b.codes[i][n].State(); {
			case state == candorv1.NoticeState_NOTICE_STATE_DELIVERED, s.accepted && told(state):
				reached = true
			case settled(state) && !told(state):
				ended++
			case earlier[i].state.Attempt(uint32(n)) == 0:
				waiting = true
			}
		}
		if !in || reached || there != nil && n < there.Len() && there.InWave(uint32(n)) {
			continue
		}
		switch {
		case ended == len(s.earlier):
			yield(uint32(n), isDue)
		case waiting:
			yield(uint32(n), isUntried)
		default:
			yield(uint32(n), isEarly)
		}
	}
	return begun, true
}

// moveOn names whom a step takes over now, as many as fit an answer: those who are moved on are not in the next one.
func (b *books) moveOn(r *candorv1.MoveOnRequest) *candorv1.MoveOnResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	res := &candorv1.MoveOnResponse{}
	bk := b.incidents[r.GetIncident()]
	if bk == nil {
		return res
	}
	b.recount(bk)
	s := step{wave: r.GetWave(), channel: r.GetStep(), accepted: r.GetUnlessAccepted(), earlier: r.GetEarlier()}
	var before instant
	if r.GetBegunBefore() != nil {
		before = instantOf(r.GetBegunBefore().AsTime())
	}
	var now, all []uint32
	size := 0
	for _, number := range slices.Sorted(maps.Keys(bk.pages)) {
		now, all = now[:0], all[:0]
		begun, ok := b.climb(bk.pages[number], &s, func(slot uint32, at footing) {
			if at != isUntried {
				all = append(all, slot)
			}
			if at == isDue {
				now = append(now, slot)
			}
		})
		slots := now
		if begun != 0 && begun < before {
			slots = all
		}
		if !ok || len(slots) == 0 {
			continue
		}
		runs := journal.Runs(slots)
		if size += perPage + perRun*len(runs); size > partBytes {
			break
		}
		res.Pages = append(res.Pages, &candorv1.PageSlots{Page: number, Slots: runs})
	}
	return res
}

// What a page and a value of its runs take in an answer, at most.
const (
	perPage = 20
	perRun  = 2
)
