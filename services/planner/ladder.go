package planner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// climb moves customers on to the next step of the first notice's ladder, and of that of rows that were added, unless somebody
// paused anything or the incident is closing.
func (t *tender) climb(ctx context.Context, c *charge) error {
	inc := c.inc
	if inc.State != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
		return nil
	}
	set, err := t.texts.Plan(inc)
	if err != nil {
		return err
	}
	var errs []error
	for _, wave := range slices.Sorted(maps.Keys(inc.Waves)) {
		switch inc.KindOf(wave) {
		case incident.KindFirstNotice, incident.KindRoster:
		default:
			continue // all their channels begin at once
		}
		w := set.Playbook.Waves[inc.BaseOf(wave)]
		if w == nil {
			return fmt.Errorf("wave %s: the playbook has no wave %s", wave, inc.BaseOf(wave))
		}
		for ch, terms := range w.Each {
			if !terms.Step() {
				continue
			}
			if err := t.step(ctx, c, wave, w, ch); err != nil {
				errs = append(errs, fmt.Errorf("wave %s, step %s: %w", wave, topology.ChannelToken(ch), err))
			}
		}
	}
	return errors.Join(errs...)
}

// step asks the ledger, as of now, whom a step of the ladder takes over, and hands them to its channel.
//
// A crash before all journals are written: the ledger names those who are missing again. A crash after that and before the
// orders are published: the journals are open and no order is there, which the sweep puts right. Two planners that ask at the
// same time admit everybody once, because each reads the journal it writes to.
func (t *tender) step(ctx context.Context, c *charge, wave string, w *playbook.Wave, ch candorv1.Channel) error {
	at, err := t.last(ctx)
	if err != nil {
		return err
	}
	inc, terms, of := c.inc, w.Terms(ch), funnel{wave, ch}
	now := t.now()
	// While nobody writes, only the passing of time moves anybody on: such a wave is asked for less often.
	if last, ok := c.nobody[of]; ok && last.streams == at && now.Sub(last.asked) < min(terms.After/50, time.Minute) {
		return nil
	}
	q := &candorv1.MoveOnRequest{
		Incident: inc.ID, Wave: wave, Step: ch, UnlessAccepted: terms.Unless == playbook.Accepted,
		BegunBefore: timestamppb.New(now.Add(-terms.After)), JournalSeq: at.journal, ReceiptsSeq: at.receipts,
	}
	for earlier, its := range w.Each {
		if its.After < terms.After {
			q.Earlier = append(q.Earlier, earlier)
		}
	}
	res := &candorv1.MoveOnResponse{}
	if err := t.ask(ctx, "move-on", q, res); err != nil {
		return err
	}
	if delete(c.nobody, of); len(res.GetPages()) == 0 {
		c.nobody[of] = asked{now, at}
		return nil
	}
	return t.moveOn(ctx, inc, wave, ch, res.GetPages())
}

// moveOn opens the step's journals for people, or admits them to those that are open, and publishes the orders.
func (t *tender) moveOn(ctx context.Context, inc *incident.Incident, wave string, ch candorv1.Channel, people []*candorv1.PageSlots) error {
	b, err := t.blueprint(ctx, inc, wave)
	if err != nil {
		return err
	}
	open, err := t.bus.CountSubjects(ctx, topology.StreamJournal, topology.JournalPrefix(ch)+inc.ID+"."+wave+".*")
	if err != nil {
		return err
	}
	who := named(people)
	var jobs, fresh, known []job
	customers := 0
	for _, page := range byUrgency(b.pages) {
		slots, err := who(ctx, page)
		if err != nil {
			return err
		}
		if slots == nil {
			continue
		}
		j, err := b.job(ch, page, journal.Runs(slots))
		if err != nil {
			return err
		}
		j.admits = admittedByLadder
		jobs = append(jobs, j)
		customers += len(slots)
		if open[j.key.Subject()] == 0 {
			fresh = append(fresh, j)
		} else {
			known = append(known, j)
		}
	}
	if err := t.openAll(ctx, inc, fresh); err != nil {
		return err
	}
	if err := t.openEach(ctx, known); err != nil {
		return err
	}
	if err := t.publish(ctx, inc, jobs); err != nil {
		return err
	}
	t.out.Info().Str("incident", inc.ID).Str("wave", wave).Str("channel", topology.ChannelToken(ch)).
		Int("customers", customers).Msg("customers move on to the next channel")
	return nil
}
