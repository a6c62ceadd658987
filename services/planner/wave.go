package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

var (
	// errEnded stops the planning of a wave that may not go on: the incident ended meanwhile, or is closing.
	errEnded = errors.New("the incident ended")
	// errElsewhere stops the planning of a wave of which another planner has opened a page for those whom the ledger named then.
	errElsewhere = errors.New("the page was opened for whom the ledger named to another planner")
)

// declared plans what was decided about a declared incident: its first wave, and those that followed.
func (p *Planner) declared(ctx context.Context, inc *incident.Incident) error {
	if inc.DeclaredAt.IsZero() {
		return fmt.Errorf("incident %s is said to be declared, but nobody approved it", inc.ID)
	}
	return p.updated(ctx, inc)
}

// updated plans the waves that were decided and not planned yet, paused or not: it is the workers whom a pause holds up. The
// closing note has its turn when all others are sealed.
func (p *Planner) updated(ctx context.Context, inc *incident.Incident) error {
	var errs []error
	for _, wave := range inc.Begun() {
		if inc.KindOf(wave) == incident.KindClosingNote {
			continue
		}
		if err := p.begin(ctx, inc, wave); err != nil {
			errs = append(errs, fmt.Errorf("wave %s: %w", wave, err))
		}
	}
	return errors.Join(errs...)
}

func (p *Planner) begin(ctx context.Context, inc *incident.Incident, wave string) error {
	if inc.Waves[wave] != nil || !mayBegin(inc, wave) {
		return nil
	}
	for {
		switch err := p.plan(ctx, inc, wave); {
		case errors.Is(err, errElsewhere): // that page keeps its people, and the others are asked for anew
		case errors.Is(err, errEnded):
			return nil
		default:
			return err
		}
	}
}

// mayBegin says whether a wave may be planned: any that was decided as long as the incident goes on, and the closing note
// alone once it is closing. What was decided before an end that was undone is over, since its journals are sealed.
func mayBegin(inc *incident.Incident, wave string) bool {
	switch {
	case inc.Running():
		return inc.KindOf(wave) != incident.KindClosingNote && !inc.BegunAt(wave).Before(inc.ReopenedAt)
	case inc.State == candorv1.IncidentState_INCIDENT_STATE_CLOSING:
		return inc.Closing().GetWave() == wave
	}
	return false
}

// plan opens every journal of the wave and then publishes its orders; where the wave has a canary that nobody has judged,
// those of the canary alone.
//
// A crash after some journals were opened: planning again opens the missing ones. A crash after some orders were
// published: all are published again, and the second order of a page finds its journal in hand or settled. A crash
// before WavePlanned: the same. A canary is the same people however often it is chosen, so a crash while it is put out, or
// while the others follow, leaves nobody out and nobody in twice.
//
// Whom a follow-up is for changes from one moment to the next. What freezes it is the first journal of a page that is open, on
// whatever channel: planning again, here or elsewhere, takes the page's people from there and asks the ledger about the other
// pages alone. All planners open the channels of a page in the same order, and none goes on behind a journal that another one
// opened for others. So no page has two audiences, and nobody is let in by a second answer.
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
	e := &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: planned(wave, jobs)}}
	for inc.Waves[wave] == nil {
		inc, err = p.log.Append(ctx, inc, incident.Service("planner"), e)
		switch {
		case err == nil:
			p.out.Info().Str("incident", inc.ID).Str("wave", wave).Dur("took", p.now().Sub(start)).Msg("wave planned")
			return nil
		case !errors.Is(err, bus.ErrOvertaken):
			return err
		case !mayBegin(inc, wave):
			return errEnded
		}
	}
	return nil // another planner was faster
}

// planned is what the jobs of a wave come to, in all and on each channel.
func planned(wave string, jobs []job) *candorv1.WavePlanned {
	w := &candorv1.WavePlanned{Wave: wave, Orders: uint32(len(jobs))}
	for _, j := range jobs {
		i := slices.IndexFunc(w.GetChannels(), func(c *candorv1.PlannedChannel) bool { return c.GetChannel() == j.key.Channel })
		if i < 0 {
			i = len(w.GetChannels())
			w.Channels = append(w.Channels, &candorv1.PlannedChannel{Channel: j.key.Channel})
		}
		notices := uint64(j.notices())
		w.Notices += notices
		w.Channels[i].Pages++
		w.Channels[i].Notices += notices
	}
	return w
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
	if err != nil || st.SealedFor != "" || st.PutOffFor != "" || !st.Begun().IsZero() {
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
