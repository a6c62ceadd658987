package calls

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/callqueue"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// owner is the one who decides, for as long as it owns the queue. What it decided and could not store is thrown away with it.
type owner struct {
	*books
	id     uint64
	record *recorder
	in     chan *command
	gone   chan struct{} // closed when nothing is decided any more
	claims []*waiting    // in the order in which they came; the loop's own
	// adopted are the incidents whose subject begins, for this owner, with its own event.
	adopted map[string]bool
	// over are the ended incidents whose pages were closed.
	over map[string]bool
	// aside are the pages that cannot be read.
	aside aside
}

// own owns the queue until ctx ends, the seat is lost, or something cannot be stored.
func (c *Calls) own(ctx context.Context, b *books) error {
	o := &owner{
		books: b, id: random(), record: newRecorder(c.Journal, c.cfg.RecordEvery, c.Log),
		in: make(chan *command, 1024), gone: make(chan struct{}), adopted: map[string]bool{}, over: map[string]bool{},
	}
	began := c.Clock.Mono()
	g, ctx := errgroup.WithContext(ctx)
	// The seat outlives the others, so that the next owner finds nobody deciding; hold gives it up at the end.
	sctx, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	held := make(chan error, 1)
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		held <- c.seat.hold(sctx, b.me, b.rev)
	}()
	g.Go(func() error {
		select {
		case <-lost:
			return errLostSeat
		case <-ctx.Done():
			return nil
		}
	})
	err := o.adoptAll(ctx)
	if err == nil {
		c.metrics.owner.Set(1)
		c.metrics.takeOver.Inc()
		c.Log.Info().Int("incidents", len(o.adopted)).Dur("took", c.Clock.Mono()-began).Msg("this process owns the call queue")
		g.Go(func() error { defer close(o.gone); return o.loop(ctx) })
		g.Go(func() error { return o.record.run(ctx) })
		g.Go(func() error { return ending(ctx, o.settleAll(ctx)) })
		g.Go(func() error { return o.followRequests(ctx) })
		g.Go(func() error { return o.watch(ctx) })
		for _, lane := range topology.Lanes {
			g.Go(func() error {
				return c.Bus.Consume(ctx, topology.StreamOrders, topology.OrderConsumer(channel, lane), bus.ConsumeOptions{Concurrency: c.cfg.Orders}, o.order)
			})
		}
		g.Go(func() error { return o.serve(ctx) })
	} else {
		g.Go(func() error { return err })
	}
	err = g.Wait()
	c.metrics.owner.Set(0)
	c.metrics.tasks.Reset()
	c.metrics.waiting.Set(0)
	leave()
	if herr := <-held; herr != nil && !errors.Is(err, errLostSeat) {
		err = errors.Join(err, herr)
	}
	return err
}

// adoptAll writes to every incident that there is: from here on whatever another owner decides for it is refused, and this
// one knows all that was decided before.
//
// A crash here leaves some incidents adopted by nobody who lives; the next owner adopts them all again.
func (o *owner) adoptAll(ctx context.Context) error {
	incidents, err := o.begun(ctx)
	if err != nil {
		return err
	}
	for _, id := range incidents {
		for o.broken[id] == "" {
			if !o.seat.fresh() {
				return errLostSeat
			}
			err := o.adopt(ctx, id)
			if err == nil {
				break
			}
			if !errors.Is(err, bus.ErrOvertaken) { // by the old owner, for the last time perhaps
				return err
			}
		}
	}
	return nil
}

// begun lists the incidents that have events, as the stream's leader sees them.
func (o *owner) begun(ctx context.Context) ([]string, error) {
	subjects, err := o.Bus.CountSubjects(ctx, topology.StreamCalls, topology.CallEvents("*"))
	if err != nil {
		return nil, fmt.Errorf("list the incidents with calls: %w", err)
	}
	var ids []string
	for subject := range subjects {
		if id, ok := topology.ParseCallEvents(subject); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// watch looks for incidents that another owner has begun meanwhile: one that was replaced, and had not noticed yet. Of these
// this owner knows nothing, and must not say so.
func (o *owner) watch(ctx context.Context) error {
	for {
		if pause(ctx, o.cfg.RenewEvery) != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		ids, err := o.begun(ctx)
		if err != nil {
			o.Log.Debug().Err(err).Msg("the incidents with calls cannot be listed, and are listed again")
			continue
		}
		err = o.submit(ctx, func(time.Time) ([]callqueue.Event, error) {
			for _, id := range ids {
				if _, known := o.last[id]; !known {
					return nil, fmt.Errorf("%w: it has begun the calls of incident %s", errLostSeat, id)
				}
			}
			return nil, nil
		})
		if err != nil {
			return ending(ctx, err)
		}
	}
}

func (o *owner) adopt(ctx context.Context, id string) error {
	e := o.entry([]*candorv1.CallEvent{owned()}, o.Clock.Now())
	data, err := proto.Marshal(e)
	if err != nil {
		return fmt.Errorf("adopt the calls of incident %s: %w", id, err)
	}
	out := bus.Direct{Bus: o.Bus, Stream: topology.StreamCalls}
	m := bus.Message{Subject: topology.CallEvents(id), Data: data}
	err = o.Bus.AppendFenced(ctx, out, topology.StreamCalls, m, subjectFold{ctx, o.books, id}, func(m bus.Stored) bool { return entryOf(m) == e.GetEntryId() })
	if err != nil {
		return fmt.Errorf("adopt the calls of incident %s: %w", id, err)
	}
	o.adopted[id] = true
	return nil
}

func owned() *candorv1.CallEvent {
	return &candorv1.CallEvent{Event: &candorv1.CallEvent_Owned{Owned: &candorv1.CallQueueOwned{}}}
}

func (o *owner) entry(events []*candorv1.CallEvent, now time.Time) *candorv1.CallEvents {
	return &candorv1.CallEvents{EntryId: random(), OccurredAt: timestamppb.New(now), Owner: o.id, Events: events}
}

func entryOf(m bus.Stored) uint64 {
	e := &candorv1.CallEvents{}
	if proto.Unmarshal(m.Data, e) != nil {
		return 0
	}
	return e.GetEntryId()
}

// settleAll has the journals say what became of every task that has ended: whoever decided that may have died before they
// did. It goes page by page, beside the loop.
func (o *owner) settleAll(ctx context.Context) error {
	pages := map[string][]uint32{}
	err := o.submit(ctx, func(time.Time) ([]callqueue.Event, error) {
		for _, id := range o.queue.Incidents() {
			if o.broken[id] == "" {
				pages[id] = o.queue.Pages(id)
			}
		}
		return nil, nil
	})
	for _, id := range slices.Sorted(maps.Keys(pages)) {
		for _, page := range pages[id] {
			if err != nil || ctx.Err() != nil {
				return err
			}
			err = o.submit(ctx, func(time.Time) ([]callqueue.Event, error) {
				for s := range o.queue.Settled(id, page) {
					o.settle(s)
				}
				return nil, nil
			})
			if err == nil {
				err = o.record.room(ctx)
			}
		}
	}
	return err
}

func (o *owner) settle(s callqueue.Settled) {
	for _, w := range s.Waves {
		if w.Result == candorv1.Result_RESULT_EXPIRED && s.Reason == reasonAborted {
			continue // the planner's seal says so
		}
		k := journal.Key{Channel: channel, Incident: s.Place.Incident, Wave: w.Wave, Page: s.Place.Page}
		o.record.add(k, s.Place.Slot, verdict{w.Result, s.Reason})
	}
}

// ending is err, unless it is ctx that ended.
func ending(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of ctx is no failure
	}
	return err
}

// ended are the customers whose tasks ended with an event.
func ended(e *candorv1.CallEvent) []*candorv1.CustomerPlace {
	switch ev := e.GetEvent().(type) {
	case *candorv1.CallEvent_Completed:
		if isOver(ev.Completed.GetState()) {
			return []*candorv1.CustomerPlace{ev.Completed.GetCustomer()}
		}
	case *candorv1.CallEvent_Withdrawn:
		return ev.Withdrawn.GetCustomers()
	}
	return nil
}

func placeOf(p *candorv1.CustomerPlace) callqueue.Place {
	return callqueue.Place{Incident: p.GetIncident(), Page: p.GetPage(), Slot: p.GetSlot()}
}
