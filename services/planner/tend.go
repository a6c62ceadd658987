package planner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// tender looks after the incidents that were declared, on one goroutine. What it remembers only spares work, and keeps it
// from saying the same thing twice.
type tender struct {
	*Planner
	charges map[string]*charge
}

func newTender(p *Planner) *tender { return &tender{Planner: p, charges: map[string]*charge{}} }

// charge is an incident in the tender's care, and what it remembers of it from one look to the next.
type charge struct {
	inc *incident.Incident
	// events is how many lay on the incident's subject when it was read.
	events uint64
	// pauses are the reasons of all pauses so far.
	pauses []string
	// resumed are the channels that were resumed since the guard last counted.
	resumed map[candorv1.Channel]bool
	// baseline is what the guard counted when a channel was last resumed, guarded what the ledger had folded when it last did.
	baseline map[funnel]tally
	guarded  position

	// canary are the jobs of the first wave that go ahead; without is true if there are none.
	canary         []job
	without        bool
	uncertainSince time.Time

	sweeps
	ending
	// late are the waves that were decided and not planned at the last look.
	late map[string]bool
	// nobody is when a step of the ladder had nobody to take over.
	nobody map[funnel]asked
	// failed is how the last look of a kind failed.
	failed map[string]failure
}

// asked is when the ledger was asked, and how far the streams were.
type asked struct {
	asked   time.Time
	streams position
}

// failure is what was wrong, and how often in a row.
type failure struct {
	said  string
	times int
}

// run looks and sweeps until ctx ends.
func (t *tender) run(ctx context.Context) error {
	look, sweep := time.NewTicker(t.cfg.LookEvery), time.NewTicker(t.cfg.SweepEvery)
	defer look.Stop()
	defer sweep.Stop()
	t.sweep(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			t.look(ctx)
		case <-sweep.C:
			t.sweep(ctx)
		}
	}
}

// look judges canaries, guards the channels, and works off the end of an incident.
func (t *tender) look(ctx context.Context) { t.each(ctx, "look", t.judge, t.guard, t.end) }

// sweep moves customers on, and puts back what is missing.
func (t *tender) sweep(ctx context.Context) { t.each(ctx, "sweep", t.climb, t.catchUp, t.tidy) }

// catchUp plans waves that were decided and of which nobody told the planner: whoever decided crashed before it could. What is
// missing at two looks is hardly being planned by another one; if it is, planning it twice does no harm.
func (t *tender) catchUp(ctx context.Context, c *charge) error {
	late := map[string]bool{}
	var errs []error
	for _, wave := range c.inc.Begun() {
		if wave == incident.FirstWave || c.inc.Waves[wave] != nil || c.inc.KindOf(wave) == incident.KindClosingNote || !mayBegin(c.inc, wave) {
			continue
		}
		late[wave] = true
		if !c.late[wave] {
			continue
		}
		if err := t.begin(ctx, c.inc, wave); err != nil {
			errs = append(errs, fmt.Errorf("wave %s: %w", wave, err))
		}
	}
	c.late = late
	return errors.Join(errs...)
}

// each does something for every incident that was declared and has not ended. What fails twice in a row is said once, because
// others start and stop too, and is tried again; what somebody else preceded is decided anew at the next look.
func (t *tender) each(ctx context.Context, kind string, does ...func(context.Context, *charge) error) {
	if err := t.refresh(ctx); err != nil {
		if ctx.Err() == nil {
			t.out.Warn().Err(err).Msg("incidents cannot be read, and are looked at again")
		}
		return
	}
	for _, id := range slices.Sorted(maps.Keys(t.charges)) {
		c := t.charges[id]
		if !c.inc.Declared() {
			continue
		}
		var errs []error
		for _, do := range does {
			if err := do(ctx, c); err != nil && !errors.Is(err, errEnded) && !errors.Is(err, bus.ErrOvertaken) {
				errs = append(errs, err)
			}
		}
		if ctx.Err() != nil {
			return
		}
		err := errors.Join(errs...)
		if err == nil {
			delete(c.failed, kind)
			continue
		}
		f := failure{said: err.Error(), times: 1}
		if last := c.failed[kind]; last.said == f.said {
			f.times = last.times + 1
		}
		if c.failed[kind] = f; f.times == 2 {
			t.out.Warn().Err(err).Str("incident", id).Msg("incident cannot be looked after, which is tried again")
		}
	}
}

// refresh reads the incidents that changed.
func (t *tender) refresh(ctx context.Context) error {
	subjects, err := t.bus.CountSubjects(ctx, topology.StreamBreach, topology.Breach("*"))
	if err != nil {
		return fmt.Errorf("list incidents: %w", err)
	}
	for subject, n := range subjects {
		id, ok := topology.ParseBreach(subject)
		if !ok {
			continue
		}
		c := t.charges[id]
		if c == nil {
			c = &charge{
				inc: &incident.Incident{ID: id}, resumed: map[candorv1.Channel]bool{}, baseline: map[funnel]tally{}, failed: map[string]failure{},
				nobody: map[funnel]asked{}, sweeps: newSweeps(),
			}
			t.charges[id] = c
		}
		if c.events == n {
			continue
		}
		inc, err := t.log.Load(ctx, id)
		if err != nil {
			return err
		}
		if err := t.remember(ctx, c, inc.Seq); err != nil {
			return err
		}
		c.inc, c.events = inc, n
	}
	return nil
}

// remember notes what was paused and resumed since the incident was last read, up to a sequence.
func (t *tender) remember(ctx context.Context, c *charge, upTo uint64) error {
	subject := topology.Breach(c.inc.ID)
	_, err := t.bus.Read(ctx, topology.StreamBreach, subject, c.inc.Seq+1, func(m bus.Stored) error {
		e := &candorv1.BreachEvent{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return fmt.Errorf("%s, event %d is damaged: %w", subject, m.Seq, err)
		}
		switch ev := e.GetEvent().(type) {
		case *candorv1.BreachEvent_Paused:
			if reason := ev.Paused.GetReason(); !slices.Contains(c.pauses, reason) {
				c.pauses = append(c.pauses, reason)
			}
		case *candorv1.BreachEvent_Resumed:
			if m.Seq > upTo {
				return nil // is read again
			}
			for _, ch := range ev.Resumed.GetChannels() {
				c.resumed[ch] = true
			}
			if len(ev.Resumed.GetChannels()) == 0 {
				c.resumed[everyChannel] = true
			}
		}
		return nil
	})
	return err
}

// pause pauses an incident or some of its channels, and tells everybody; bus.ErrOvertaken if somebody else wrote meanwhile.
func (t *tender) pause(ctx context.Context, c *charge, e *candorv1.Paused) error {
	inc, err := t.log.Append(ctx, c.inc, incident.Service("planner"), &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: e}})
	if err != nil {
		return err
	}
	t.out.Error().Str("incident", inc.ID).Str("reason", e.GetReason()).Msg("paused: look at candor status, mend the cause, and resume or abort")
	return t.log.Republish(ctx, topology.FactPaused, inc)
}

// position is how far the streams are, or were folded.
type position struct{ journal, receipts uint64 }

// last asks the leaders for the last sequences.
func (p *Planner) last(ctx context.Context) (position, error) {
	j, err := p.bus.State(ctx, topology.StreamJournal)
	if err != nil {
		return position{}, err
	}
	r, err := p.bus.State(ctx, topology.StreamReceipts)
	return position{journal: j.Last, receipts: r.Last}, err
}

// ask puts a question to the ledger.
func (p *Planner) ask(ctx context.Context, method string, q, answer proto.Message) error {
	_, err := p.askPart(ctx, method, q, answer, "")
	return err
}

// askPart fetches the part of a long answer that follows another one, and says where the next one goes on; empty for the last.
func (p *Planner) askPart(ctx context.Context, method string, q, answer proto.Message, after string) (next string, err error) {
	data, err := proto.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("ask the ledger: %w", err)
	}
	var header map[string]string
	if after != "" {
		header = map[string]string{topology.HeaderAfter: after}
	}
	reply, err := p.bus.Request(ctx, topology.Ask("ledger", method), data, header)
	if err != nil {
		return "", fmt.Errorf("ask the ledger: %w", err)
	}
	if err := proto.Unmarshal(reply.Data, answer); err != nil {
		return "", fmt.Errorf("answer of the ledger: %w", err)
	}
	return reply.Header[topology.HeaderNext], nil
}

// keyOf names the journal that the ledger speaks of.
func keyOf(inc *incident.Incident, k *candorv1.PageKey) journal.Key {
	return journal.Key{Channel: k.GetChannel(), Incident: inc.ID, Wave: k.GetWave(), Page: k.GetPage()}
}
