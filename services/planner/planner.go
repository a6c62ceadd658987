// Package planner turns a wave into orders, one per page and channel, and owns what happens to orders as a whole: putting
// back what is missing, moving customers on to their next channel, sealing journals when an incident is aborted or closed, and
// settling by hand. It holds a wave back until its canary did well, pauses a channel on which too many notices fail, and has
// the last word said when an incident is closed.
//
// In:  breach.declared.*, breach.updated.*, breach.resumed.*, breach.aborted.*, BREACH (what was decided since), ask.planner.>,
// answers of ask.ledger.>
// Out: JOURNAL (opened, admitted, sealed), BREACH (wave planned, canary passed, paused, closed), breach.closed.*, order.>, later.>
// Crash: plans and looks again from the start; a slot is admitted to a journal once, and a second order finds it settled.
package planner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/pagestore"
	"candor/pkg/script"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Planner plans waves.
type Planner struct {
	cfg     Config
	bus     *bus.Bus
	log     *incident.Log
	journal *journal.Journal
	pages   *pagestore.Store
	texts   *notice.Library
	scripts *script.Library
	now     func() time.Time
	out     zerolog.Logger
}

// New returns a Planner.
func New(cfg Config, b *bus.Bus, pages *pagestore.Store, texts *notice.Library, now func() time.Time, out zerolog.Logger) *Planner {
	return &Planner{
		cfg: cfg, bus: b, pages: pages, texts: texts, scripts: script.NewLibrary(), now: now, out: out,
		log:     incident.NewLog(b, now),
		journal: journal.New(b, bus.Direct{Bus: b, Stream: topology.StreamJournal}, now),
	}
}

// Run plans until ctx ends.
func (p *Planner) Run(ctx context.Context) error {
	if err := p.resume(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	on := func(durable string, h func(context.Context, *incident.Incident) error) {
		g.Go(func() error {
			return p.bus.Consume(ctx, topology.StreamBreach, durable, bus.ConsumeOptions{Concurrency: 1},
				func(ctx context.Context, d *bus.Delivery) error { return p.fact(ctx, d, h) })
		})
	}
	on(topology.ConsumerDeclared, p.declared)
	on(topology.ConsumerUpdated, p.updated)
	on(topology.ConsumerResumed, p.resumed)
	on(topology.ConsumerAborted, func(ctx context.Context, inc *incident.Incident) error {
		_, _, err := p.seal(ctx, inc, sealAborted, "")
		return err
	})
	serve(ctx, g, p, "seal", p.askSeal)
	serve(ctx, g, p, "settle", p.askSettle)
	serve(ctx, g, p, "replay", p.askReplay)
	g.Go(func() error { return newTender(p).run(ctx) })
	return g.Wait()
}

// resume goes on with what a planner that died had begun, without waiting until the broker gives its facts to another one.
func (p *Planner) resume(ctx context.Context) error {
	subjects, err := p.bus.CountSubjects(ctx, topology.StreamBreach, topology.Breach("*"))
	if err != nil {
		return fmt.Errorf("list incidents: %w", err)
	}
	for subject := range subjects {
		id, ok := topology.ParseBreach(subject)
		if !ok {
			continue
		}
		inc, err := p.log.Load(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case inc.Declared():
			err = p.declared(ctx, inc)
		case inc.State == candorv1.IncidentState_INCIDENT_STATE_ABORTING && !inc.DeclaredAt.IsZero():
			_, _, err = p.seal(ctx, inc, sealAborted, "")
		}
		if err != nil {
			// One incident that cannot be planned must not keep the others from it; its fact is delivered again.
			p.out.Error().Err(err).Str("incident", id).Msg("planning failed and is tried again")
		}
	}
	return nil
}

// fact handles one republished fact by looking at the incident as it is now, not as it was then.
func (p *Planner) fact(ctx context.Context, d *bus.Delivery, h func(context.Context, *incident.Incident) error) error {
	_, id, ok := topology.ParseBreachFact(d.Subject)
	if !ok {
		return bus.Permanent(fmt.Errorf("unexpected subject %s", d.Subject))
	}
	inc, err := p.log.Load(ctx, id)
	if errors.Is(err, incident.ErrUnknown) {
		return bus.Permanent(fmt.Errorf("%s speaks of an incident without events", d.Subject))
	}
	if err != nil {
		return err
	}
	if err := h(ctx, inc); err != nil {
		p.out.Error().Err(err).Str("incident", id).Str("subject", d.Subject).Msg("planning failed and is tried again")
		return err
	}
	return nil
}

// serve answers requests of the api about orders as a whole.
func serve[Req, Res proto.Message](ctx context.Context, g *errgroup.Group, p *Planner, method string, h func(context.Context, Req) (Res, error)) {
	g.Go(func() error {
		return p.bus.Serve(ctx, topology.Ask("planner", method), "planner", 2, func(ctx context.Context, r bus.Request) (bus.Reply, error) {
			var zero Req
			req, _ := zero.ProtoReflect().New().Interface().(Req)
			if err := proto.Unmarshal(r.Data, req); err != nil {
				return bus.Reply{}, bus.Errorf(bus.CodeInvalid, "request is damaged: %v", err)
			}
			res, err := h(ctx, req)
			if err != nil {
				return bus.Reply{}, err
			}
			data, err := proto.Marshal(res)
			return bus.Reply{Data: data}, err
		})
	})
}

// fold reads every journal on a filter as it is now.
func (p *Planner) fold(ctx context.Context, filter string) (map[journal.Key]*journal.State, error) {
	states, damaged, err := p.foldUndamaged(ctx, filter)
	for k := range damaged {
		return nil, damaged[k]
	}
	return states, err
}

// foldUndamaged reads every journal on a filter as it is now, and leaves out those that nobody can read to their end: nothing
// can be intended there any more, so that nobody is told because of it.
func (p *Planner) foldUndamaged(ctx context.Context, filter string) (states map[journal.Key]*journal.State, damaged map[journal.Key]error, err error) {
	states, damaged = map[journal.Key]*journal.State{}, map[journal.Key]error{}
	words := journal.NewWords()
	_, err = p.bus.Read(ctx, topology.StreamJournal, filter, 1, func(m bus.Stored) error {
		k, ok := topology.ParseJournal(m.Subject)
		if !ok {
			return fmt.Errorf("unexpected subject %s", m.Subject)
		}
		key := journal.Key(k)
		if _, skip := damaged[key]; skip {
			return nil
		}
		st := states[key]
		if st == nil {
			st = journal.NewState(words, key.Channel, false)
			states[key] = st
		}
		if err := apply(st, m); err != nil {
			damaged[key] = err
			delete(states, key)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", filter, err)
	}
	return states, damaged, nil
}

func apply(st *journal.State, m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	err := proto.Unmarshal(m.Data, e)
	if err == nil {
		err = st.Apply(m.Seq, e)
	}
	if err != nil {
		return fmt.Errorf("journal %s, entry %d is damaged: %w", m.Subject, m.Seq, err)
	}
	return nil
}

// journalsOf is every journal of one wave.
func journalsOf(id, wave string) string { return "journal.*." + id + "." + wave + ".*" }
