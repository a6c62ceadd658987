package planner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// batchMost is the most messages that the broker takes as one atomic batch.
const batchMost = 1000

// errEnded stops the planning of an incident that ended meanwhile.
var errEnded = errors.New("the incident ended")

// declared plans the first wave of a declared incident.
func (p *Planner) declared(ctx context.Context, inc *incident.Incident) error {
	const wave = "w0"
	if inc.Ended() || inc.Waves[wave] != nil {
		return nil
	}
	if inc.DeclaredAt.IsZero() {
		return fmt.Errorf("incident %s is said to be declared, but nobody approved it", inc.ID)
	}
	start := p.now()
	err := p.plan(ctx, inc, wave)
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	p.out.Info().Str("incident", inc.ID).Str("wave", wave).Dur("took", p.now().Sub(start)).Msg("wave planned")
	return nil
}

// plan opens every journal of the wave and then publishes its orders.
//
// A crash after some journals were opened: planning again opens the missing ones. A crash after some orders were
// published: all are published again, and the second order of a page finds its journal in hand or settled. A crash
// before WavePlanned: the same.
func (p *Planner) plan(ctx context.Context, inc *incident.Incident, wave string) error {
	jobs, err := p.jobs(ctx, inc, wave)
	if err != nil {
		return err
	}
	if err := p.openAll(ctx, inc, jobs); err != nil {
		return err
	}
	if err := p.publish(ctx, inc, jobs); err != nil {
		return err
	}
	var notices uint64
	for _, j := range jobs {
		notices += uint64(j.notices())
	}
	e := &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{
		Wave: wave, Orders: uint32(len(jobs)), Notices: notices,
	}}}
	for {
		inc, err = p.log.Append(ctx, inc, incident.Service("planner"), e)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, bus.ErrOvertaken):
			return err
		case inc.Ended():
			return errEnded
		}
	}
}

// job is one page on one channel.
type job struct {
	key    journal.Key
	opened *candorv1.Opened
	order  *candorv1.Order
	// due is when the page's quiet hours end; zero if they have.
	due time.Time
}

func (j job) notices() int {
	if len(j.opened.GetAudience()) == 0 {
		return int(j.opened.GetSlots())
	}
	return len(journal.Slots(j.opened.GetAudience()))
}

// openAll writes Opened to every journal, a batch at a time, each expecting that nothing is there.
func (p *Planner) openAll(ctx context.Context, inc *incident.Incident, jobs []job) error {
	for chunk := range slices.Chunk(jobs, batchMost) {
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
		for _, j := range chunk {
			if err := p.open(ctx, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens one journal unless it is open for the same plan already.
func (p *Planner) open(ctx context.Context, j job) error {
	st, err := p.journal.Load(ctx, j.key)
	for {
		switch {
		case err != nil:
			return err
		case st.SealedFor != "":
			return errEnded
		case st.Opened != nil && !sameOpening(st.Opened, j.opened):
			return fmt.Errorf("journal %s was opened for another plan: nothing is sent; look at candor incidents", j.key)
		case st.Opened != nil:
			return nil
		}
		e := p.journal.Entry()
		e.Event = &candorv1.JournalEntry_Opened{Opened: j.opened}
		if err = p.journal.Fence(ctx, j.key, st, e); errors.Is(err, bus.ErrOvertaken) {
			err = nil
		}
	}
}

func sameOpening(a, b *candorv1.Opened) bool {
	return bytes.Equal(a.GetPlanHash(), b.GetPlanHash()) && bytes.Equal(a.GetPageSha256(), b.GetPageSha256()) &&
		bytes.Equal(a.GetTextHash(), b.GetTextHash()) && slices.Equal(a.GetAudience(), b.GetAudience())
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

// publish puts the orders into the queue in the order of the jobs; those whose quiet hours still run wait in later.
func (p *Planner) publish(ctx context.Context, inc *incident.Incident, jobs []job) error {
	var now, later []job
	for _, j := range jobs {
		if j.due.IsZero() {
			now = append(now, j)
		} else {
			later = append(later, j)
		}
	}
	for chunk := range slices.Chunk(now, batchMost) {
		ms := make([]bus.Message, 0, len(chunk))
		for _, j := range chunk {
			data, err := proto.Marshal(j.order)
			if err != nil {
				return fmt.Errorf("encode order: %w", err)
			}
			ms = append(ms, bus.Message{Subject: orderSubject(j.order), Data: data})
		}
		if _, err := p.bus.AppendBatch(ctx, topology.StreamOrders, ms); err != nil {
			return fmt.Errorf("publish orders of incident %s: %w", inc.ID, err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	const schedulesAtOnce = 32
	g.SetLimit(schedulesAtOnce)
	for _, j := range later {
		g.Go(func() error { return p.schedule(ctx, j) })
	}
	return g.Wait()
}

// schedule lets an order wait for the end of its quiet hours, and says so in the journal.
func (p *Planner) schedule(ctx context.Context, j job) error {
	data, err := proto.Marshal(j.order)
	if err != nil {
		return fmt.Errorf("encode order: %w", err)
	}
	k := j.key
	if err := p.bus.Schedule(ctx, topology.Later(k.Channel, j.order.GetLane(), k.Incident, k.Wave, k.Page), orderSubject(j.order), j.due, data, nil); err != nil {
		return err
	}
	st, err := p.journal.Load(ctx, k)
	if err != nil || st.SealedFor != "" || st.PutOffFor != "" || !st.FirstIntent().IsZero() {
		return err
	}
	e := p.journal.Entry()
	e.Event = &candorv1.JournalEntry_PutOff{PutOff: &candorv1.PutOff{Reason: "quiet_hours", Until: timestamppb.New(j.due)}}
	if err := p.journal.Fence(ctx, k, st, e); err != nil && !errors.Is(err, bus.ErrOvertaken) {
		return err
	}
	return nil
}

func orderSubject(o *candorv1.Order) string {
	return topology.Order(o.GetChannel(), o.GetLane(), o.GetIncident(), o.GetWave(), o.GetPage())
}
