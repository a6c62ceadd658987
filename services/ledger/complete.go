package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// checker says why an incident is not complete. Complete means that the waves that were decided were planned, that every page
// of theirs was opened, that every notice is settled, that nobody still belongs on a step of the ladder and that nothing
// waits for a person.
type checker struct {
	st     *candorv1.Status
	inc    *incident.Incident
	plan   *candorv1.Plan // the approved one
	begun  []string       // waves
	ladder *ladder
	now    time.Time
}

// extent is how much of a channel there is.
type extent struct {
	opened   int // journals
	unsealed int
	dead     int
	notices  uint64
}

// minute is how a moment is written in sentences.
const minute = "2006-01-02 15:04 UTC"

func (c *checker) say(format string, args ...any) {
	c.st.Open = append(c.st.Open, fmt.Sprintf(format, args...))
}

// people are those on file; before the approval those of the draft.
func (c *checker) people() *candorv1.People {
	if c.inc == nil {
		return nil
	}
	return c.inc.OnFile()
}

// ended says whether the incident was aborted or closed: what was not sent by then is settled by the seals.
func (c *checker) ended() bool { return c.inc != nil && c.inc.Ended() }

func (c *checker) incident() {
	switch {
	case c.inc == nil:
		c.say("no event of the incident is known")
	case c.inc.State == candorv1.IncidentState_INCIDENT_STATE_ABORTING:
		c.say("the incident is being aborted: not every journal is known to be sealed")
	case c.plan == nil && !c.ended():
		c.say("the incident is not approved")
	case c.ladder.err != nil && !c.ended():
		c.say("the approved playbook cannot be read, so that nobody knows which channels come later: %v", c.ladder.err)
	}
}

// wave holds a wave against the plan, and its journals against what the planner said of it.
func (c *checker) wave(wave string, bk *book) {
	if c.inc == nil || c.over(wave) || c.dropped(wave) {
		return
	}
	if !slices.Contains(c.begun, wave) {
		c.say("wave %s is in no approved plan", wave)
	}
	// What steps of the ladder opened later is not in the planner's word.
	var opened, notices uint64
	for _, f := range bk.funnels {
		if f.wave != wave || c.ladder.step(wave, f.channel) != nil {
			continue
		}
		for _, sh := range f.sheets {
			if sh.state.Opened != nil {
				opened++
			}
			for _, n := range sh.counts {
				notices += uint64(n.n)
			}
		}
	}
	said := c.inc.Waves[wave]
	if said == nil {
		c.unplanned(wave, notices)
		return
	}
	if opened != uint64(said.GetOrders()) {
		c.say("wave %s: %s opened, planned were %d", wave, plural(opened, "journal is", "journals are"), said.GetOrders())
	}
	if notices != said.GetNotices() {
		c.say("wave %s: the journals hold %s, planned were %d", wave, plural(notices, "notice", "notices"), said.GetNotices())
	}
}

// unplanned says why a wave was not planned, of which so many notices are in the journals.
func (c *checker) unplanned(wave string, notices uint64) {
	w := c.ladder.wave(c.inc, wave)
	if w == nil || w.Guard.Canary == 0 || notices == 0 {
		c.say("wave %s is not planned yet", wave)
		return
	}
	first := fmt.Sprintf("wave %s is not planned yet: its first %s", wave, plural(notices, "notice goes", "notices go"))
	switch c.inc.Canaries[wave] {
	case incident.CanaryGood:
		c.say("%s ahead and did well; the rest is being opened", first)
	case incident.CanaryBad:
		c.say("%s ahead and did badly; the rest waits until a person resumes", first)
	default:
		c.say("%s ahead as a canary; the rest waits until it is judged", first)
	}
}

// step says who belongs on a channel that is a step of the ladder and is not there, and returns how many these are.
func (c *checker) step(bk *book, f *funnel) uint64 {
	i := slices.IndexFunc(c.ladder.steps, func(s step) bool { return s.wave == f.wave && s.channel == f.channel })
	if i < 0 || c.over(f.wave) {
		return 0
	}
	s := &c.ladder.steps[i]
	var due, waiting, unbegun uint64
	var until time.Time
	for _, p := range bk.pages {
		r := p.rungs[i]
		due += uint64(r.due)
		unbegun += uint64(r.untried)
		switch at := r.begun.time().Add(s.after); {
		case r.early == 0:
		case r.begun == 0:
			unbegun += uint64(r.early)
		case at.Before(c.now):
			due += uint64(r.early)
		default:
			waiting += uint64(r.early)
			if at.After(until) {
				until = at
			}
		}
	}
	if due > 0 {
		c.say("%s: %s due for this step", name(f), plural(due, "customer is", "customers are"))
	}
	if waiting > 0 {
		c.say("%s: %s for this step, until %s if nothing reaches them before", name(f),
			plural(waiting, "customer waits", "customers wait"), until.UTC().Format(minute))
	}
	if unbegun > 0 {
		c.say("%s: %s for this step, and an earlier channel has not begun with them", name(f), plural(unbegun, "customer waits", "customers wait"))
	}
	return due + waiting + unbegun
}

// channel says what is open about one channel of a wave, and whether it is settled. climbed says that nobody else belongs on
// it.
func (c *checker) channel(f *funnel, x extent, open map[candorv1.NoticeState]uint64, climbed bool) bool {
	expected := c.expected(f, x)
	if x.dead > 0 {
		c.say("%s: %s for a person; see candor deadletter list", name(f), plural(uint64(x.dead), "dead letter waits", "dead letters wait"))
	}
	if c.over(f.wave) && x.unsealed > 0 {
		c.say("%s: %s not sealed", name(f), plural(uint64(x.unsealed), "journal is", "journals are"))
	}
	var n uint64
	var parts []string
	for _, s := range []candorv1.NoticeState{
		candorv1.NoticeState_NOTICE_STATE_PLANNED, candorv1.NoticeState_NOTICE_STATE_WAITING,
		candorv1.NoticeState_NOTICE_STATE_INTENDED, candorv1.NoticeState_NOTICE_STATE_UNCERTAIN,
	} {
		if open[s] > 0 {
			n += open[s]
			parts = append(parts, fmt.Sprintf("%d %s", open[s], candorv1.Word(s)))
		}
	}
	if n > 0 {
		c.say("%s: %s open of %d: %s", name(f), plural(n, "notice is", "notices are"), x.notices, strings.Join(parts, ", "))
	}
	return expected && climbed && n == 0
}

// expected holds a channel against what it should hold; the journals of a step hold no more than that.
func (c *checker) expected(f *funnel, x extent) bool {
	if c.over(f.wave) || c.dropped(f.wave) {
		return true
	}
	scope, known := c.scope(f.wave)
	i := slices.IndexFunc(scope, func(p *candorv1.PlannedChannel) bool { return p.GetChannel() == f.channel })
	if !known {
		return false // the wave is not planned, which was said of it
	}
	if i < 0 {
		c.say("%s is in no approved plan", name(f))
		return false
	}
	pages, notices := int(scope[i].GetPages()), scope[i].GetNotices()
	switch {
	case c.ladder.step(f.wave, f.channel) != nil:
		if x.opened <= pages && x.notices <= notices {
			return true
		}
		c.say("%s: %s opened with %s, approved were %d with %d", name(f), plural(uint64(x.opened), "page is", "pages are"),
			plural(x.notices, "notice", "notices"), pages, notices)
	case c.inc == nil || c.inc.Waves[f.wave] == nil: // which was said of the wave
	case x.opened != pages:
		c.say("%s: %s opened, approved were %d", name(f), plural(uint64(x.opened), "page is", "pages are"), pages)
	case x.notices != notices:
		c.say("%s: the journals hold %s, approved were %d", name(f), plural(x.notices, "notice", "notices"), notices)
	default:
		return true
	}
	return false
}

func (c *checker) damaged(f *funnel, sh *sheet) {
	if sh.damage != nil {
		c.say("%s, page %d: %v; its notices are counted as they stood before", name(f), sh.page.number, sh.damage)
	}
	if sh.deaf != nil {
		c.say("%s, page %d: %v; neither this receipt nor a later one of the page is counted", name(f), sh.page.number, sh.deaf)
	}
}

// strays are entries nobody can place: any incident may miss them.
func (c *checker) strays(subjects []string) {
	if len(subjects) > 0 {
		c.say("the streams hold %s that this version cannot read, such as %s", plural(uint64(len(subjects)), "subject", "subjects"), subjects[0])
	}
}

// known holds the customers that have notices against those on file.
func (c *checker) known(customers, onFile uint64) {
	if c.plan != nil && customers > onFile {
		c.say("%s notices, on file are %d", plural(customers, "customer has", "customers have"), onFile)
	}
}
