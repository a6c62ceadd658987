package ledger

import (
	"maps"
	"slices"

	"candor/pkg/incident"
	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// approved is the plan that two people stand behind, nil if there is none.
func approved(inc *incident.Incident) *candorv1.Plan {
	if inc == nil || inc.DeclaredAt.IsZero() {
		return nil
	}
	return inc.Draft.GetPlan()
}

// begun lists the waves that were decided, in the order in which they were.
func begun(inc *incident.Incident) []string {
	if inc == nil {
		return nil
	}
	return inc.Begun()
}

// waves lists those that were decided and not dropped, in that order, and after them every other that was planned or opened.
func (c *checker) waves(bk *book) []string {
	var others []string
	if c.inc != nil {
		others = slices.Collect(maps.Keys(c.inc.Waves))
	}
	for _, f := range bk.funnels {
		others = append(others, f.wave)
	}
	slices.Sort(others)
	waves := slices.DeleteFunc(slices.Clone(c.begun), c.dropped)
	for _, w := range others {
		if !slices.Contains(waves, w) {
			waves = append(waves, w)
		}
	}
	return waves
}

// channels lists the channels of a wave that should be there or were opened. Who opts out of another one opens nothing.
func (c *checker) channels(bk *book, wave string) []candorv1.Channel {
	var chs []candorv1.Channel
	scope, _ := c.scope(wave)
	for _, p := range scope {
		chs = append(chs, p.GetChannel())
	}
	for _, f := range bk.funnels {
		if f.wave == wave && !f.silent() {
			chs = append(chs, f.channel)
		}
	}
	slices.Sort(chs)
	return slices.Compact(chs)
}

// scope returns what a wave should hold on each channel: of a first notice, a resend and added rows what two people approved;
// of all others what was found out when they went out. It is not known of these before. Nothing should be there of a wave
// that nobody decided.
func (c *checker) scope(wave string) (scope []*candorv1.PlannedChannel, known bool) {
	if !slices.Contains(c.begun, wave) {
		return nil, true
	}
	switch c.inc.KindOf(wave) {
	case incident.KindFirstNotice:
		return inPlan(planned(c.plan, wave)), true
	case incident.KindRoster:
		return inPlan(c.inc.Additions[wave].GetAddition().GetPlan()), true
	case incident.KindResend:
		return named(c.inc.Additions[wave].GetAddition()), true
	}
	said := c.inc.Waves[wave]
	return said.GetChannels(), said != nil
}

// inPlan takes the channels of a plan: their journals hold every customer of the wave, also those who get nothing there, to
// say why.
func inPlan(plan *candorv1.WavePlan) (scope []*candorv1.PlannedChannel) {
	for _, p := range plan.GetChannels() {
		notices := p.GetNotices()
		for _, n := range p.GetSuppressed() {
			notices += n
		}
		scope = append(scope, &candorv1.PlannedChannel{Channel: p.GetChannel(), Pages: p.GetPages(), Notices: notices})
	}
	return scope
}

// named takes the people of a resend, who get it on all its channels.
func named(add *candorv1.Addition) (scope []*candorv1.PlannedChannel) {
	var notices uint64
	for _, p := range add.GetPeople() {
		notices += uint64(len(journal.Slots(p.GetSlots())))
	}
	for _, ch := range add.GetChannels() {
		scope = append(scope, &candorv1.PlannedChannel{Channel: ch, Pages: uint32(len(add.GetPeople())), Notices: notices})
	}
	return scope
}

func planned(plan *candorv1.Plan, wave string) *candorv1.WavePlan {
	for _, w := range plan.GetWaves() {
		if w.GetWave() == wave {
			return w
		}
	}
	return nil
}
