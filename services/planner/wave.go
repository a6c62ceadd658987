package planner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// batchMost is the most messages that the broker takes as one atomic batch.
const batchMost = 1000

// errEnded stops the planning of an incident that ended meanwhile.
var errEnded = errors.New("the incident ended")

// declared plans the first wave of a declared incident.
func (p *Planner) declared(ctx context.Context, inc *incident.Incident) error {
	if inc.DeclaredAt.IsZero() {
		return fmt.Errorf("incident %s is said to be declared, but nobody approved it", inc.ID)
	}
	return p.begin(ctx, inc, firstWave)
}

// updated plans the approved additions that were not planned yet.
func (p *Planner) updated(ctx context.Context, inc *incident.Incident) error {
	var errs []error
	for _, wave := range slices.Sorted(maps.Keys(inc.Additions)) {
		if !inc.Additions[wave].Approved() {
			continue
		}
		if err := p.begin(ctx, inc, wave); err != nil {
			errs = append(errs, fmt.Errorf("addition %s: %w", wave, err))
		}
	}
	return errors.Join(errs...)
}

func (p *Planner) begin(ctx context.Context, inc *incident.Incident, wave string) error {
	if inc.Ended() || inc.Waves[wave] != nil {
		return nil
	}
	err := p.plan(ctx, inc, wave)
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// plan opens every journal of the wave and then publishes its orders; where the wave has a canary that nobody has judged,
// those of the canary alone.
//
// A crash after some journals were opened: planning again opens the missing ones. A crash after some orders were
// published: all are published again, and the second order of a page finds its journal in hand or settled. A crash
// before WavePlanned: the same. A canary is the same people however often it is chosen, so a crash while it is put out, or
// while the others follow, leaves nobody out and nobody in twice.
func (p *Planner) plan(ctx context.Context, inc *incident.Incident, wave string) error {
	start := p.now()
	jobs, err := p.jobs(ctx, inc, wave)
	if err != nil {
		return err
	}
	first, err := p.canary(ctx, inc, wave, jobs)
	if err != nil {
		return err
	}
	if len(first) > 0 && inc.Canaries[wave] != incident.CanaryGood {
		if err := p.openEach(ctx, first); err != nil {
			return err
		}
		if err := p.publish(ctx, inc, first); err != nil {
			return err
		}
		p.out.Info().Str("incident", inc.ID).Str("wave", wave).Int("orders", len(first)).Msg("canary sent ahead")
		return nil
	}
	begun, rest := split(jobs, first)
	if err := p.openEach(ctx, begun); err != nil {
		return err
	}
	if err := p.openAll(ctx, inc, rest); err != nil {
		return err
	}
	if err := p.publish(ctx, inc, append(begun, rest...)); err != nil {
		return err
	}
	var notices uint64
	for _, j := range jobs {
		notices += uint64(j.notices())
	}
	e := &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{
		Wave: wave, Orders: uint32(len(jobs)), Notices: notices,
	}}}
	for inc.Waves[wave] == nil {
		inc, err = p.log.Append(ctx, inc, incident.Service("planner"), e)
		switch {
		case err == nil:
			p.out.Info().Str("incident", inc.ID).Str("wave", wave).Dur("took", p.now().Sub(start)).Msg("wave planned")
			return nil
		case !errors.Is(err, bus.ErrOvertaken):
			return err
		case inc.Ended():
			return errEnded
		}
	}
	return nil // another planner was faster
}

// publish puts the orders into the queue in the order of the jobs; those whose quiet hours still run wait in later.
func (p *Planner) publish(ctx context.Context, inc *incident.Incident, jobs []job) error {
	var now []*candorv1.Order
	var later []job
	for _, j := range jobs {
		if j.due.IsZero() {
			now = append(now, j.order)
		} else {
			later = append(later, j)
		}
	}
	if err := p.publishOrders(ctx, now); err != nil {
		return fmt.Errorf("incident %s: %w", inc.ID, err)
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
