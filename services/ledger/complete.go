package ledger

import (
	"fmt"
	"strings"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// checker says why an incident is not complete. Complete means that the approved waves were planned, that every page of
// theirs was opened, that every notice is settled and that nothing waits for a person.
type checker struct {
	st   *candorv1.Status
	inc  *incident.Incident
	plan *candorv1.Plan // the approved one
}

// extent is how much of a channel there is.
type extent struct {
	opened   int // journals
	unsealed int
	dead     int
	notices  uint64
}

func (c *checker) say(format string, args ...any) {
	c.st.Open = append(c.st.Open, fmt.Sprintf(format, args...))
}

// people are those of the roster; before the approval those of the draft.
func (c *checker) people() *candorv1.People {
	if c.inc == nil {
		return nil
	}
	return c.inc.Draft.GetPlan().GetPeople()
}

// ended says whether the incident was aborted: what was not sent by then is settled by the seals.
func (c *checker) ended() bool { return c.inc != nil && c.inc.Ended() }

func (c *checker) incident() {
	switch {
	case c.inc == nil:
		c.say("no event of the incident is known")
	case c.inc.State == candorv1.IncidentState_INCIDENT_STATE_ABORTING:
		c.say("the incident is being aborted: not every journal is known to be sealed")
	case c.plan == nil && !c.ended():
		c.say("the incident is not approved")
	}
}

// wave holds a wave against the plan, and its journals against what the planner said of it.
func (c *checker) wave(wave string, bk *book) {
	if c.inc == nil || c.ended() {
		return
	}
	said := c.inc.Waves[wave]
	if said == nil {
		c.say("wave %s is not planned yet", wave)
		return
	}
	if planned(c.plan, wave) == nil {
		c.say("wave %s is in no approved plan", wave)
	}
	var opened, notices uint64
	for _, f := range bk.funnels {
		if f.wave != wave {
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
	if opened != uint64(said.GetOrders()) {
		c.say("wave %s: %s opened, planned were %d", wave, plural(opened, "journal is", "journals are"), said.GetOrders())
	}
	if notices != said.GetNotices() {
		c.say("wave %s: the journals hold %s, planned were %d", wave, plural(notices, "notice", "notices"), said.GetNotices())
	}
}

// channel says what is open about one channel of a wave, and whether it is settled.
func (c *checker) channel(f *funnel, x extent, open map[candorv1.NoticeState]uint64) bool {
	expected := c.expected(f, x)
	if x.dead > 0 {
		c.say("%s: %s for a person; see candor deadletter list", name(f), plural(uint64(x.dead), "dead letter waits", "dead letters wait"))
	}
	if c.ended() && x.unsealed > 0 {
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
			parts = append(parts, fmt.Sprintf("%d %s", open[s], stateName(s)))
		}
	}
	if n > 0 {
		c.say("%s: %s open of %d: %s", name(f), plural(n, "notice is", "notices are"), x.notices, strings.Join(parts, ", "))
	}
	return expected && n == 0
}

// expected holds a channel against the approved plan. Its journals hold every customer of the wave, also those who get
// nothing here, to say why.
func (c *checker) expected(f *funnel, x extent) bool {
	if c.ended() {
		return true
	}
	for _, p := range planned(c.plan, f.wave).GetChannels() {
		if p.GetChannel() != f.channel {
			continue
		}
		all := p.GetNotices()
		for _, n := range p.GetSuppressed() {
			all += n
		}
		switch {
		case x.opened != int(p.GetPages()):
			c.say("%s: %s opened, approved were %d", name(f), plural(uint64(x.opened), "page is", "pages are"), p.GetPages())
		case x.notices != all:
			c.say("%s: the journals hold %s, approved were %d", name(f), plural(x.notices, "notice", "notices"), all)
		default:
			return true
		}
		return false
	}
	c.say("%s is in no approved plan", name(f))
	return false
}

func (c *checker) damaged(f *funnel, sh *sheet) {
	c.say("%s, page %d: %v; its notices are counted as they stood before", name(f), sh.page.number, sh.damage)
}

// strays are entries nobody can place: any incident may miss them.
func (c *checker) strays(subjects []string) {
	if len(subjects) > 0 {
		c.say("the journal stream holds %s that this version cannot read, such as %s", plural(uint64(len(subjects)), "subject", "subjects"), subjects[0])
	}
}

// known holds the customers that have notices against those on file.
func (c *checker) known(customers, onFile uint64) {
	if c.plan != nil && customers > onFile {
		c.say("%s notices, on file are %d", plural(customers, "customer has", "customers have"), onFile)
	}
}
