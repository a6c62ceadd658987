package planner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Why customers are admitted to a journal that is open already.
const (
	admittedAfterCanary = "canary_passed"
	admittedByLadder    = "ladder"
)

// openAll writes Opened to every journal, a batch at a time, each expecting that nothing is there.
//
// A crash leaves some journals open: opening again opens the others.
func (p *Planner) openAll(ctx context.Context, inc *incident.Incident, jobs []job) error {
	for chunk := range slices.Chunk(jobs, bus.MaxBatch) {
		ms := make([]bus.Message, 0, len(chunk))
		for _, j := range chunk {
			m, err := p.entry(j.key, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: j.opened}}, 0)
			if err != nil {
				return err
			}
			ms = append(ms, m)
		}
		_, err := p.bus.AppendBatch(ctx, topology.StreamJournal, ms)
		if err == nil {
			continue
		}
		// Refused, or no answer: some may be there already, from a planner that crashed or from a seal.
		p.out.Info().Err(err).Str("incident", inc.ID).Msg("journals are opened one by one")
		if err := p.openEach(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (p *Planner) openEach(ctx context.Context, jobs []job) error {
	for _, j := range jobs {
		if err := p.open(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// open opens one journal, or admits those of the job's customers to it who are not in it yet.
//
// A crash leaves nothing, the opening or the admission. Opening again reads first who is in the journal, and the fence
// refuses what was written by somebody who did not know it: nobody is admitted twice.
func (p *Planner) open(ctx context.Context, j job) error {
	st, err := p.journal.Load(ctx, j.key)
	for {
		if err != nil {
			return err
		}
		e := p.journal.Entry()
		switch missing, fits := j.compare(st); {
		case st.SealedFor != "":
			return errEnded
		case st.Opened == nil:
			e.Event = &candorv1.JournalEntry_Opened{Opened: j.opened}
		case !fits && j.named && j.same(st.Opened):
			return errElsewhere
		case !fits:
			return fmt.Errorf("journal %s was opened for another plan: nothing is sent; look at candor incidents", j.key)
		case len(missing) == 0:
			return nil
		default:
			e.Event = &candorv1.JournalEntry_Admitted{Admitted: &candorv1.Admitted{Audience: journal.Runs(missing), Reason: j.admits}}
		}
		if err = p.journal.Fence(ctx, j.key, st, e); errors.Is(err, bus.ErrOvertaken) {
			err = nil
		}
	}
}

// compare says who of the job is not in the journal, and whether the journal is the job's at all.
func (j *job) compare(st *journal.State) (missing []uint32, fits bool) {
	if !j.same(st.Opened) {
		return nil, false
	}
	wanted := slotsOf(j.opened)
	for _, n := range wanted {
		if !st.InWave(n) {
			missing = append(missing, n)
		}
	}
	others := -(len(wanted) - len(missing))
	for n := range uint32(st.Len()) {
		if st.InWave(n) {
			others++
		}
	}
	return missing, (len(missing) == 0 || j.admits != "") && (others == 0 || !j.whole)
}

// same says whether a journal was opened for the job's page, texts and approval, whoever is in it.
func (j *job) same(o *candorv1.Opened) bool {
	return o != nil && bytes.Equal(o.GetPlanHash(), j.opened.GetPlanHash()) && bytes.Equal(o.GetPageSha256(), j.opened.GetPageSha256()) &&
		bytes.Equal(o.GetTextHash(), j.opened.GetTextHash()) && o.GetSlots() == j.opened.GetSlots()
}

// entry makes the message of a journal entry that expects the given last sequence.
func (p *Planner) entry(k journal.Key, e *candorv1.JournalEntry, expect uint64) (bus.Message, error) {
	stamped := p.journal.Entry()
	stamped.Event = e.GetEvent()
	data, err := proto.Marshal(stamped)
	if err != nil {
		return bus.Message{}, fmt.Errorf("journal %s: encode entry: %w", k, err)
	}
	return bus.Message{Subject: k.Subject(), Data: data, Expect: bus.Seq(expect)}, nil
}
