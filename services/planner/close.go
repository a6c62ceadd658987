package planner

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	"candor/pkg/timetable"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// ending is what is remembered of an incident's end from one look to the next.
type ending struct {
	// silenced is the number of the end before whose last word all other waves were sealed.
	silenced int
	// waits is when something was still open, and how far the streams were.
	waits asked
}

// end works off the end of an incident that is closing:
//
//  1. It waits until no call of the other waves is open: the call queue makes them, or takes them back.
//  2. It seals every journal of the other waves, waits for strides under way, and takes their orders out of the queue.
//  3. It plans the last word, for everybody who was told.
//  4. When nothing of that is open any more it seals these journals too, and writes down that the incident is closed.
//
// A crash anywhere: the next look begins anew. What is sealed stays so; the last word is planned as every wave is, so nobody
// gets it twice; Closed is fenced, so it is written once. Whoever sends meanwhile loses against the seals, and the last word is
// planned when all of these are there: nobody is told anything else after it. A crash after Closed: the api tells the others.
//
// A pause does not hold up the seals, which tell nobody. It holds up the workers, and with them the fourth step.
func (t *tender) end(ctx context.Context, c *charge) error {
	inc := c.inc
	if inc.State != candorv1.IncidentState_INCIDENT_STATE_CLOSING {
		return nil
	}
	note := inc.Closing().GetWave()
	if note != "" && inc.Waves[note] == nil {
		return t.lastWord(ctx, c, note)
	}
	if open, err := t.open(ctx, c, note, note != ""); err != nil || open {
		return err
	}
	res, over, err := t.seal(ctx, inc, sealClosed, "")
	if err != nil || !over {
		return unlessCalling(err)
	}
	closed := &candorv1.Closed{Journals: res.GetJournals(), Uncertain: res.GetUncertain()}
	inc, err = t.log.Append(ctx, inc, incident.Service("planner"), &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: closed}})
	if err != nil {
		return err
	}
	t.out.Info().Str("incident", inc.ID).Uint32("journals", res.GetJournals()).Uint64("uncertain", res.GetUncertain()).Msg("incident closed")
	return t.log.Republish(ctx, topology.FactClosed, inc)
}

// lastWord silences all other waves and then plans the closing note.
func (t *tender) lastWord(ctx context.Context, c *charge, note string) error {
	if c.silenced == len(c.inc.Closings) {
		return t.begin(ctx, c.inc, note)
	}
	if open, err := t.open(ctx, c, note, false); err != nil || open {
		return err
	}
	_, over, err := t.seal(ctx, c.inc, sealClosed, note)
	if err != nil || !over {
		return unlessCalling(err)
	}
	c.silenced = len(c.inc.Closings)
	t.out.Info().Str("incident", c.inc.ID).Msg("incident is closing: only its last word is still said")
	return t.begin(ctx, c.inc, note)
}

// unlessCalling is err, unless a call is still open, which the next look waits for.
func unlessCalling(err error) error {
	if errors.Is(err, errCallsOpen) {
		return nil
	}
	return err
}

// open says whether something is to be waited for, by the ledger's word on everything that was written so far: notices of the
// closing note, once it is said, or calls of the other waves before. What may have been sent is waited for as long as its
// provider is being asked; then it is a person's, and in the count of those that are uncertain.
func (t *tender) open(ctx context.Context, c *charge, note string, said bool) (bool, error) {
	at, err := t.last(ctx)
	if err != nil {
		return false, err
	}
	now := t.now()
	if c.waits.streams == at && now.Sub(c.waits.asked) < t.cfg.PutBackAgain/10 {
		return true, nil
	}
	res := &candorv1.GetStatusResponse{}
	if err := t.ask(ctx, "status", &candorv1.GetStatusRequest{Incident: c.inc.ID}, res); err != nil {
		return false, err
	}
	status := res.GetStatus()
	if status.GetFoldedTo() < at.journal || status.GetReceiptsFoldedTo() < at.receipts {
		return true, nil // it may be, for all that the ledger knows
	}
	var open, uncertain uint64
	for _, w := range status.GetWaves() {
		for _, ch := range w.GetChannels() {
			counts := said && w.GetWave() == note
			if !said {
				counts = w.GetWave() != note && ch.GetChannel() == candorv1.Channel_CHANNEL_CALL
			}
			if counts {
				open += timetable.Open(ch)
				uncertain += ch.GetStates()["uncertain"]
			}
		}
	}
	if !said && c.inc.Closing().GetCalls() == candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN {
		set, err := t.texts.Plan(c.inc)
		if err != nil {
			return false, err
		}
		if set.Playbook.Calls != nil { // without a queue only people call, and nobody would ever say that they did
			open += status.GetCallRequestsOpen() // of which no journal knows
		}
	}
	if open == 0 && uncertain > 0 {
		if open, err = t.inDoubt(ctx, c.inc, note, at); err != nil {
			return false, err
		}
	}
	if open > 0 {
		c.waits = asked{now, at}
	}
	return open > 0, nil
}

// inDoubt counts the pages of the closing note of whose notices some may have been sent and their provider is being asked: they
// changed not long ago.
func (t *tender) inDoubt(ctx context.Context, inc *incident.Incident, note string, at position) (pages uint64, err error) {
	now := t.now()
	res := &candorv1.SweepResponse{}
	err = t.ask(ctx, "sweep", &candorv1.SweepRequest{
		Incident: inc.ID, JournalSeq: at.journal, ReceiptsSeq: at.receipts, NotBefore: timestamppb.New(now),
	}, res)
	for _, page := range res.GetPages() {
		if page.GetKey().GetWave() == note && page.GetOpen() > 0 && now.Before(page.GetUnchangedSince().AsTime().Add(t.cfg.PutBackAgain)) {
			pages++
		}
	}
	return pages, err
}
