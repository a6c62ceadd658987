package planner

import (
	"context"
	"maps"
	"slices"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// correct writes down anew what a wave came to if it has more journals than its planner said. Two planners of a wave whose
// people the ledger names agree on each page, but the later answer may name people on a page that the other one left out: that
// page is opened, rightly, and the faster planner did not count it. Without this nothing would ever be complete.
//
// A crash leaves the old count, which the next sweep compares again.
func (t *tender) correct(ctx context.Context, c *charge) error {
	if !c.inc.Running() {
		return nil
	}
	for _, wave := range slices.Sorted(maps.Keys(c.inc.Waves)) {
		switch c.inc.KindOf(wave) {
		case incident.KindFollowUp, incident.KindUpdate, incident.KindCorrection:
		default:
			continue
		}
		there, err := t.bus.CountSubjects(ctx, topology.StreamJournal, journalsOf(c.inc.ID, wave))
		if err != nil {
			return err
		}
		// A seal leaves journals that nobody opened, so that their number alone says nothing.
		if len(there) <= int(c.inc.Waves[wave].GetOrders()) || len(there) == c.corrected[wave] {
			continue
		}
		states, err := t.fold(ctx, journalsOf(c.inc.ID, wave))
		if err != nil {
			return err
		}
		if is := cameTo(wave, states); is.GetOrders() > c.inc.Waves[wave].GetOrders() {
			inc, err := t.log.Append(ctx, c.inc, incident.Service("planner"), &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: is}})
			if err != nil {
				return err
			}
			c.inc = inc
			t.out.Info().Str("incident", inc.ID).Str("wave", wave).Uint32("orders", is.GetOrders()).Msg("another planner opened more pages: the wave's count is corrected")
		}
		c.corrected[wave] = len(there)
	}
	return nil
}

// cameTo is what the open journals of a wave hold.
func cameTo(wave string, states map[journal.Key]*journal.State) *candorv1.WavePlanned {
	var jobs []job
	for k, st := range states {
		if st.Opened != nil {
			jobs = append(jobs, job{key: k, opened: st.Opened})
		}
	}
	slices.SortFunc(jobs, func(a, b job) int { return int(a.key.Channel) - int(b.key.Channel) })
	return planned(wave, jobs)
}
