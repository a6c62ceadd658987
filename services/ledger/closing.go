package ledger

import (
	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// ending returns the end that is under way; nil if there is none, or it has come.
func (c *checker) ending() *incident.Closing {
	if c.inc == nil || c.inc.State != candorv1.IncidentState_INCIDENT_STATE_CLOSING {
		return nil
	}
	return c.inc.Closing()
}

// over says whether nothing more is sent of a wave: what was not by then is settled by the seals.
func (c *checker) over(wave string) bool {
	end := c.ending()
	return c.ended() || end != nil && end.GetWave() != wave
}

// dropped says whether a wave is never planned: the last word of an end that was undone before, or what was decided before such
// an end and had its journals sealed by it.
func (c *checker) dropped(wave string) bool {
	if c.inc == nil || c.inc.Waves[wave] != nil {
		return false
	}
	if c.inc.KindOf(wave) != incident.KindClosingNote {
		return c.inc.BegunAt(wave).Before(c.inc.ReopenedAt)
	}
	end := c.inc.Closing()
	return end == nil || end.GetWave() != wave
}

// closing says how far the end has come.
func (c *checker) closing(bk *book, w *wishes) {
	end := c.ending()
	if end == nil {
		return
	}
	note := end.GetWave()
	var calls, unsealed, last uint64
	if end.GetCalls() == candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN {
		calls = c.wait(w) // who asked may belong to no wave
	}
	for _, f := range bk.funnels {
		for _, sh := range f.sheets {
			switch {
			case sh.state.SealedFor != "", sh.silent():
			case f.wave == note:
				last++
			case f.channel == candorv1.Channel_CHANNEL_CALL && sh.counts.open() > 0:
				calls += sh.counts.open()
			default:
				unsealed++
			}
		}
	}
	switch {
	case calls > 0:
		c.say("the incident is closing: calls are still being made")
	case unsealed > 0:
		c.say("the incident is closing: %s being sealed", plural(unsealed, "journal is", "journals are"))
	case note != "" && (last > 0 || c.inc.Waves[note] == nil):
		c.say("the incident is closing: the closing note, wave %s, goes out", note)
	default:
		c.say("the incident is closing: its end is being written down")
	}
}

// due says what was due and has not begun: a follow-up that asks a person, and an update that waits for its turn. What is
// still to come keeps no incident open.
func (c *checker) due() {
	if c.inc == nil || !c.inc.Running() {
		return
	}
	for _, d := range c.inc.Asks() {
		kind := "follow-up"
		if a := c.inc.Additions[d.GetName()]; a != nil {
			kind = a.GetAddition().GetKind()
		}
		c.say("%s %s of %s asks a person whether it is sent (%s): candor followup %s", kind, d.GetName(),
			d.GetDueAt().AsTime().Format(minute), d.GetReason(), c.inc.ID)
	}
	for _, a := range c.inc.News() {
		add := a.GetAddition()
		if add.GetWithNext() || add.GetAt() != nil && add.GetAt().AsTime().After(c.now) {
			continue
		}
		c.say("%s %s is approved and waits for its turn", add.GetKind(), add.GetWave())
	}
}
