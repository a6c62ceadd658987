// Package followup keeps the timetable: it decides what becomes of follow-ups and updates when they are due.
//
// The truth are the decisions in BREACH, each fenced and taken once; TIMETABLE is an alarm clock. Whatever wakes the service
// (an alarm, a change, the clock), it looks at the incident as it is, so that a lost alarm is a small delay, and one too
// many is nothing.
//
// In:  due.*.*, breach.incident.* (what was approved, paused, closed), answers of ask.ledger.status
// Out: BREACH (follow-up decided), breach.updated.*, timetable.*.*
// Crash: what is not decided is decided at the next look; what is decided stays.
package followup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/timetable"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// headerAt says in an alarm for which instant it was set.
const headerAt = "at"

// heldFor is how often an alarm that goes off before its time is handed back, some two minutes in all. Without that a
// broker whose clock is ahead of ours would cost each follow-up the time until the next look.
const heldFor = 30

// Deps are what the service works with.
type Deps struct {
	Bus       *bus.Bus
	Incidents *incident.Registry
	Texts     *notice.Library
	Clock     clock.Clock
	Log       zerolog.Logger
}

// Followup decides what is due.
type Followup struct {
	cfg       Config
	bus       *bus.Bus
	incidents *incident.Registry
	texts     *notice.Library
	log       *incident.Log
	clock     clock.Clock
	out       zerolog.Logger

	// looking is held during a look, and guards what follows. All of it only spares work and words.
	looking sync.Mutex
	seen    map[string]*memory
}

// memory is what is remembered of an incident from one look to the next.
type memory struct {
	// seq is the last event when it was looked at, cleared the one when its alarms were taken away.
	seq, cleared uint64
	// behind is what was said last about what waits.
	behind string
	// failed is how the last look failed, and how often in a row.
	failed string
	times  int
}

// New returns a Followup.
func New(cfg Config, d Deps) *Followup {
	return &Followup{
		cfg: cfg, bus: d.Bus, incidents: d.Incidents, texts: d.Texts, log: incident.NewLog(d.Bus, d.Clock.Now), clock: d.Clock, out: d.Log,
		seen: map[string]*memory{},
	}
}

// Run keeps the timetable until ctx ends.
func (f *Followup) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.incidents.Ready():
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return f.bus.Consume(ctx, topology.StreamTimetable, topology.ConsumerDue, bus.ConsumeOptions{Concurrency: 1}, f.alarm)
	})
	g.Go(func() error {
		f.watch(ctx)
		return nil
	})
	return g.Wait()
}

// watch looks at every incident every so often, and at those that changed at once.
func (f *Followup) watch(ctx context.Context) {
	tick := time.NewTicker(f.cfg.LookEvery)
	defer tick.Stop()
	for all := true; ; {
		changed := f.incidents.Changed()
		for _, inc := range f.incidents.List() {
			f.attend(ctx, inc, all)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			all = true
		case <-changed:
			all = false
		}
	}
}

// attend looks at an incident if it changed since, or always. What fails twice in a row is said once, because others start
// and stop too, and is tried again.
func (f *Followup) attend(ctx context.Context, inc *incident.Incident, always bool) {
	f.looking.Lock()
	defer f.looking.Unlock()
	m := f.memory(inc.ID)
	if m.seq == inc.Seq && !always || ctx.Err() != nil {
		return
	}
	err := f.look(ctx, inc)
	switch {
	case err == nil:
		m.seq, m.failed, m.times = inc.Seq, "", 0
	case ctx.Err() != nil:
	case m.failed != err.Error():
		m.failed, m.times = err.Error(), 1
	default:
		if m.times++; m.times == 2 {
			f.out.Warn().Err(err).Str("incident", inc.ID).Msg("follow-ups cannot be looked after, which is tried again")
		}
	}
}

// memory returns what is remembered of an incident; the caller holds the lock.
func (f *Followup) memory(id string) *memory {
	m := f.seen[id]
	if m == nil {
		m = &memory{}
		f.seen[id] = m
	}
	return m
}

var errEarly = errors.New("the alarm went off before its time")

// alarm handles one message of due.*. It wakes, and does not permit: what it says is not looked at, but the incident.
func (f *Followup) alarm(ctx context.Context, d *bus.Delivery) error {
	id, ok := incidentOf(d.Subject)
	inc := f.incidents.Get(id)
	if !ok || inc == nil {
		f.out.Warn().Str("subject", d.Subject).Msg("alarm of an unknown incident dropped")
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, d.Header[headerAt])
	if err == nil && inc.Running() && f.clock.Now().Before(at) && d.Delivered < heldFor {
		return errEarly
	}
	f.looking.Lock()
	defer f.looking.Unlock()
	return f.look(ctx, inc)
}

// incidentOf returns the incident of a subject such as due.acme.weekly.
func incidentOf(subject string) (id string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 3 || t[0] != "due" || topology.ValidIncident(t[1]) != nil {
		return "", false
	}
	return t[1], true
}

// look does everything that is to be done for an incident now. The caller holds the lock.
func (f *Followup) look(ctx context.Context, inc *incident.Incident) error {
	switch {
	case inc.Running():
	case inc.Closing() != nil, inc.Ended():
		return f.clear(ctx, inc)
	default:
		return nil
	}
	m := f.memory(inc.ID)
	now := f.clock.Now()
	for first := true; inc.Running(); first = false {
		texts, err := f.texts.Plan(inc)
		if err != nil {
			return err
		}
		table := timetable.New(inc, texts.Playbook.FollowUps, f.clock)
		if first {
			// A crash after this finds the next alarm set. Set too early it wakes for nothing.
			if err := f.arm(ctx, inc.ID, table.Alarms(now)); err != nil {
				return err
			}
		}
		v, err := table.Decide(now, func() (timetable.Standing, error) { return f.standing(ctx, inc.ID) })
		if err != nil {
			return err
		}
		f.say(inc, m, v)
		if v.Decided == nil && v.Hold != nil {
			if inc, err = f.hold(ctx, inc, v.Hold); err != nil {
				return err
			}
			continue
		}
		if v.Decided == nil && table.Unplanned() != "" {
			// A crash between a decision and its fact is made good here: told once per event, and only until it is planned.
			return f.log.Republish(ctx, topology.FactUpdated, inc)
		}
		if v.Decided == nil {
			return nil
		}
		if inc, err = f.decide(ctx, inc, v.Decided); err != nil {
			return err
		}
	}
	return nil
}

// decide records a decision, and returns the incident with it, or as somebody else left it.
func (f *Followup) decide(ctx context.Context, inc *incident.Incident, d *candorv1.FollowUpDecided) (*incident.Incident, error) {
	// A crash here leaves either nothing, and it is decided at the next look, or the decision, which is not taken again.
	inc, err := f.log.Append(ctx, inc, incident.Service("followup"), &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: d}})
	if errors.Is(err, bus.ErrOvertaken) {
		return inc, nil
	}
	if err != nil {
		return inc, err
	}
	line := f.out.Info()
	if d.GetDecision() == candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK {
		line = f.out.Error()
	}
	what := map[candorv1.FollowUpDecision]string{
		candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND: "follow-up is sent",
		candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP: "follow-up is skipped",
		candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK:  "a person must say whether a follow-up is sent",
	}[d.GetDecision()]
	line.Str("incident", inc.ID).Str("name", d.GetName()).Time("due", d.GetDueAt().AsTime()).Str("wave", d.GetWave()).Str("reason", d.GetReason()).Msg(what)
	return inc, f.log.Republish(ctx, topology.FactUpdated, inc)
}

// hold records that something has begun to wait, and returns the incident with that, or as somebody else left it.
func (f *Followup) hold(ctx context.Context, inc *incident.Incident, h *candorv1.FollowUpHeld) (*incident.Incident, error) {
	// A crash here leaves either nothing, and it is written at the next look, or the hold, which is not written again.
	inc, err := f.log.Append(ctx, inc, incident.Service("followup"), &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpHeld{FollowUpHeld: h}})
	if errors.Is(err, bus.ErrOvertaken) {
		return inc, nil
	}
	return inc, err
}

// say logs once what waits for which wave.
func (f *Followup) say(inc *incident.Incident, m *memory, v timetable.Verdict) {
	behind := ""
	if v.Held != nil {
		behind = v.Held.GetName() + " " + v.Behind
	}
	if behind != "" && behind != m.behind {
		f.out.Info().Str("incident", inc.ID).Str("name", v.Held.GetName()).Time("due", v.Held.GetDueAt().AsTime()).Str("wave", v.Behind).
			Msg("follow-up waits until the wave before it is sent")
	}
	m.behind = behind
}

// arm sets the alarms that are not set, or to another instant.
func (f *Followup) arm(ctx context.Context, id string, alarms []timetable.Alarm) error {
	for _, a := range alarms {
		later, due := a.Subjects(id)
		at := a.At.UTC().Format(time.RFC3339Nano)
		set, err := f.bus.Last(ctx, topology.StreamTimetable, later)
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			return err
		}
		if err == nil && set.Header[headerAt] == at {
			continue
		}
		// A crash here leaves either the alarm or none, and the next look sets it.
		if err := f.bus.Schedule(ctx, later, due, a.At, nil, map[string]string{headerAt: at}); err != nil {
			return err
		}
	}
	return nil
}

// clear takes away the alarms of an incident that is closing or has ended, once.
//
// A crash leaves some, which wake for nothing; the next start takes them away.
func (f *Followup) clear(ctx context.Context, inc *incident.Incident) error {
	m := f.memory(inc.ID)
	if m.cleared == inc.Seq {
		return nil
	}
	for _, filter := range []string{topology.Timetable(inc.ID, "*"), topology.Due(inc.ID, "*")} {
		if _, err := f.bus.Purge(ctx, topology.StreamTimetable, filter); err != nil {
			return err
		}
	}
	m.cleared = inc.Seq
	return nil
}

var errBehind = errors.New("the ledger has not read every journal yet")

// standing asks the ledger where the waves stand.
func (f *Followup) standing(ctx context.Context, id string) (timetable.Standing, error) {
	q, err := proto.Marshal(&candorv1.GetStatusRequest{Incident: id})
	if err != nil {
		return timetable.Standing{}, fmt.Errorf("ask the ledger: %w", err)
	}
	reply, err := f.bus.Request(ctx, topology.Ask("ledger", "status"), q, nil)
	if err != nil {
		return timetable.Standing{}, fmt.Errorf("ask the ledger: %w", err)
	}
	res := &candorv1.GetStatusResponse{}
	if err := proto.Unmarshal(reply.Data, res); err != nil {
		return timetable.Standing{}, fmt.Errorf("answer of the ledger: %w", err)
	}
	st := res.GetStatus()
	if st.GetFoldedTo() < st.GetJournalLast() || st.GetReceiptsFoldedTo() < st.GetReceiptsLast() {
		return timetable.Standing{}, errBehind // a wave that it does not know looks as if nothing were open
	}
	return timetable.StandingOf(st), nil
}
