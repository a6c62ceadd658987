// Package incident folds what was decided about each breach.
//
// Everything that was decided lies on one subject, breach.incident.<id>, and every append is fenced by its last sequence:
// an approval and a change of the draft cannot pass each other.
//
// In, out: stream BREACH.   Crash: an event is on disk when its append returns.
package incident

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Incident is the fold of one incident's events. A value that was handed out is never changed.
type Incident struct {
	ID    string
	State candorv1.IncidentState
	// Seq is the sequence of the last event folded: what the next append expects.
	Seq uint64
	// Draft is the newest revision, Previous the one before it.
	Draft    *candorv1.Drafted
	Previous *candorv1.Drafted
	// DraftedBy and ApprovedBy are the persons behind the tokens.
	DraftedBy  string
	ApprovedBy string
	DraftedAt  time.Time
	DeclaredAt time.Time
	// Paused says which channels are paused; CHANNEL_UNSPECIFIED stands for all of them.
	Paused map[candorv1.Channel]bool
	// PausedAt is when the incident was last paused, on whatever channel, ResumedAt when the last of its pauses ended.
	PausedAt, ResumedAt time.Time
	// Reason of the last rejection, pause or abort.
	Reason string
	// Waves that were planned, by id.
	Waves map[string]*candorv1.WavePlanned
	// Additions to the plan, by the id of their wave.
	Additions map[string]*Addition
	// Canaries says how the canary of a wave did, by the wave's id.
	Canaries map[string]Canary
	Sealed   *candorv1.AllSealed
	// Decisions are those about messages that were due, in the order in which they were taken.
	Decisions []Decision
	// Holds say which messages were due and waited for a wave, each once.
	Holds []Hold
	// Closings are the ends of the incident: more than one if it was opened again.
	Closings []Closing
	// ReopenedAt is when the incident was last opened again, reopened how many of its ends that undid.
	ReopenedAt time.Time
	reopened   int
}

// Addition is a wave that was drafted after the approval, and what was decided about it.
type Addition struct {
	*candorv1.AdditionDrafted
	DraftedBy, ApprovedBy string
	DraftedAt, ApprovedAt time.Time
	// Rejected is why; empty if it was not.
	Rejected string
}

// Approved says whether two people stand behind the addition.
func (a *Addition) Approved() bool { return a != nil && a.ApprovedBy != "" }

// Canary is how the first notices of a wave did.
type Canary uint8

// The zero Canary is one that nobody has judged.
const (
	CanaryOut Canary = iota
	// CanaryBad means that the incident was paused for it; whoever resumes lets the wave go on.
	CanaryBad
	CanaryGood
)

// HashOf returns the hash that the approval of a wave named: that of the plan, or of the addition. It is nil for a wave that
// nobody approved.
func (i *Incident) HashOf(wave string) []byte {
	if a := i.Additions[wave]; a != nil {
		if !a.Approved() {
			return nil
		}
		return a.GetHash()
	}
	if i.DeclaredAt.IsZero() || i.KindOf(wave) == "" {
		return nil // what is kept in memory may be a moment behind the decision by which the wave is sent
	}
	return i.PlanHash()
}

// PlanHash returns the hash of the newest revision, which an approval must name; nil without a draft.
func (i *Incident) PlanHash() []byte { return i.Draft.GetPlanHash() }

// Declared says whether two people stand behind the incident's texts and it has not ended: what they approved may be sent.
func (i *Incident) Declared() bool {
	return i.Running() || i.State == candorv1.IncidentState_INCIDENT_STATE_CLOSING
}

// Running says whether something may still be added to what is sent: the incident is declared, and not closing.
func (i *Incident) Running() bool {
	switch i.State {
	case candorv1.IncidentState_INCIDENT_STATE_DECLARED, candorv1.IncidentState_INCIDENT_STATE_PAUSED:
		return true
	}
	return false
}

// PausedFor says whether the channel is paused.
func (i *Incident) PausedFor(ch candorv1.Channel) bool {
	return i.Paused[candorv1.Channel_CHANNEL_UNSPECIFIED] || i.Paused[ch]
}

// Ended says whether nothing will ever be sent for the incident again.
func (i *Incident) Ended() bool {
	switch i.State {
	case candorv1.IncidentState_INCIDENT_STATE_ABORTING, candorv1.IncidentState_INCIDENT_STATE_ABORTED,
		candorv1.IncidentState_INCIDENT_STATE_SHREDDED, candorv1.IncidentState_INCIDENT_STATE_CLOSED:
		return true
	}
	return false
}

// with returns a copy with the event folded in.
func (i *Incident) with(seq uint64, e *candorv1.BreachEvent) (*Incident, error) {
	n := *i
	n.Seq = seq
	at := e.GetOccurredAt().AsTime()
	switch ev := e.GetEvent().(type) {
	case *candorv1.BreachEvent_Drafted:
		n.Previous, n.Draft = i.Draft, ev.Drafted
		n.DraftedBy, n.DraftedAt, n.Reason = e.GetPerson(), at, ""
		n.State = candorv1.IncidentState_INCIDENT_STATE_DRAFT
	case *candorv1.BreachEvent_Rejected:
		n.State, n.Reason = candorv1.IncidentState_INCIDENT_STATE_REJECTED, ev.Rejected.GetReason()
	case *candorv1.BreachEvent_Approved:
		n.State = candorv1.IncidentState_INCIDENT_STATE_DECLARED
		n.ApprovedBy, n.DeclaredAt = e.GetPerson(), at
	case *candorv1.BreachEvent_Paused:
		n.Paused = maps.Clone(i.Paused)
		if n.Paused == nil {
			n.Paused = map[candorv1.Channel]bool{}
		}
		for _, ch := range channelsOrAll(ev.Paused.GetChannels()) {
			n.Paused[ch] = true
		}
		if len(i.Paused) == 0 {
			n.PausedAt = at
		}
		n.State, n.Reason = n.runs(), ev.Paused.GetReason()
		if wave := ev.Paused.GetCanary(); wave != "" {
			n.judge(wave, CanaryBad)
		}
	case *candorv1.BreachEvent_Resumed:
		n.Paused = maps.Clone(i.Paused)
		for _, ch := range channelsOrAll(ev.Resumed.GetChannels()) {
			delete(n.Paused, ch)
		}
		if len(ev.Resumed.GetChannels()) == 0 {
			n.Paused = nil
		}
		if n.State = n.runs(); len(n.Paused) == 0 {
			n.Reason = ""
			if len(i.Paused) > 0 {
				n.ResumedAt = at
			}
		}
	case *candorv1.BreachEvent_WavePlanned:
		n.Waves = maps.Clone(i.Waves)
		if n.Waves == nil {
			n.Waves = map[string]*candorv1.WavePlanned{}
		}
		n.Waves[ev.WavePlanned.GetWave()] = ev.WavePlanned
	case *candorv1.BreachEvent_CanaryPassed:
		n.judge(ev.CanaryPassed.GetWave(), CanaryGood)
	case *candorv1.BreachEvent_AdditionDrafted:
		n.add(ev.AdditionDrafted.GetAddition().GetWave(), Addition{AdditionDrafted: ev.AdditionDrafted, DraftedBy: e.GetPerson(), DraftedAt: at})
	case *candorv1.BreachEvent_AdditionApproved:
		a := i.Additions[ev.AdditionApproved.GetWave()]
		if a == nil {
			return nil, fmt.Errorf("event %d of incident %s approves the addition %q, which nobody drafted", seq, i.ID, ev.AdditionApproved.GetWave())
		}
		approved := *a
		approved.ApprovedBy, approved.ApprovedAt = e.GetPerson(), at
		n.add(ev.AdditionApproved.GetWave(), approved)
		switch a.GetAddition().GetKind() {
		case KindClose:
			n.close(a.GetAddition().GetClosing(), at)
		case KindReopen:
			n.ReopenedAt, n.reopened = at, len(i.Closings)
			n.State, n.Reason = n.runs(), a.GetAddition().GetChosenBy()
		}
	case *candorv1.BreachEvent_FollowUpDecided:
		n.Decisions = append(slices.Clip(i.Decisions), Decision{FollowUpDecided: ev.FollowUpDecided, By: e.GetPerson(), At: at})
	case *candorv1.BreachEvent_FollowUpHeld:
		n.Holds = append(slices.Clip(i.Holds), Hold{FollowUpHeld: ev.FollowUpHeld, At: at})
	case *candorv1.BreachEvent_Closing:
		n.close(ev.Closing, at)
	case *candorv1.BreachEvent_Closed:
		last := len(i.Closings) - 1
		if last < 0 {
			return nil, fmt.Errorf("event %d of incident %s ends what nobody closed", seq, i.ID)
		}
		n.Closings = slices.Clone(i.Closings)
		n.Closings[last].Closed, n.Closings[last].ClosedAt = ev.Closed, at
		n.State = candorv1.IncidentState_INCIDENT_STATE_CLOSED
	case *candorv1.BreachEvent_AdditionRejected:
		a := i.Additions[ev.AdditionRejected.GetWave()]
		if a == nil {
			return nil, fmt.Errorf("event %d of incident %s rejects the addition %q, which nobody drafted", seq, i.ID, ev.AdditionRejected.GetWave())
		}
		rejected := *a
		rejected.Rejected = cmp.Or(ev.AdditionRejected.GetReason(), "rejected")
		n.add(ev.AdditionRejected.GetWave(), rejected)
	case *candorv1.BreachEvent_Aborted:
		n.State, n.Reason = candorv1.IncidentState_INCIDENT_STATE_ABORTING, ev.Aborted.GetReason()
	case *candorv1.BreachEvent_AllSealed:
		n.State, n.Sealed = candorv1.IncidentState_INCIDENT_STATE_ABORTED, ev.AllSealed
	case *candorv1.BreachEvent_Shredded:
		n.State = candorv1.IncidentState_INCIDENT_STATE_SHREDDED
	default:
		return nil, fmt.Errorf("event %d of incident %s is of an unknown kind %T: a newer version wrote it; run that version", seq, i.ID, ev)
	}
	return &n, nil
}

// runs is the state of an incident that two people stand behind and nobody aborted.
func (i *Incident) runs() candorv1.IncidentState {
	switch c := i.Closing(); {
	case c != nil && c.Closed != nil:
		return candorv1.IncidentState_INCIDENT_STATE_CLOSED
	case c != nil:
		return candorv1.IncidentState_INCIDENT_STATE_CLOSING
	case len(i.Paused) > 0:
		return candorv1.IncidentState_INCIDENT_STATE_PAUSED
	}
	return candorv1.IncidentState_INCIDENT_STATE_DECLARED
}

func (i *Incident) close(c *candorv1.Closing, at time.Time) {
	i.Closings = append(slices.Clip(i.Closings), Closing{Closing: c, At: at})
	i.State = i.runs()
}

// judge and add change a copy that nobody else has seen.
func (i *Incident) judge(wave string, c Canary) {
	i.Canaries = maps.Clone(i.Canaries)
	if i.Canaries == nil {
		i.Canaries = map[string]Canary{}
	}
	i.Canaries[wave] = c
}

func (i *Incident) add(wave string, a Addition) {
	i.Additions = maps.Clone(i.Additions)
	if i.Additions == nil {
		i.Additions = map[string]*Addition{}
	}
	i.Additions[wave] = &a
}

func channelsOrAll(chs []candorv1.Channel) []candorv1.Channel {
	if len(chs) == 0 {
		return []candorv1.Channel{candorv1.Channel_CHANNEL_UNSPECIFIED}
	}
	return chs
}

// Hash is what an approval is bound to: everything that decides who is told what.
func Hash(d *candorv1.Declaration) []byte {
	h := sha256.New()
	for _, part := range []string{"candor plan 1", d.GetIncident(), d.GetPlaybook(), d.GetFacts(), d.GetRosterDigest()} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}

// HashAddition is what the approval of an addition is bound to: who gets what, and the plan that it adds to.
func HashAddition(plan []byte, a *candorv1.Addition) ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode addition: %w", err)
	}
	h := sha256.New()
	h.Write([]byte("candor addition 1"))
	h.Write(plan)
	h.Write(data)
	return h.Sum(nil), nil
}

// Proto returns the incident as the api shows it.
func (i *Incident) Proto() *candorv1.Incident {
	p := &candorv1.Incident{
		Id: i.ID, State: i.State, Revision: i.Draft.GetRevision(), PlanHash: hex.EncodeToString(i.PlanHash()),
		DeclaredBy: i.DraftedBy, ApprovedBy: i.ApprovedBy, Plan: i.Draft.GetPlan(), Reason: i.Reason, Sequence: i.Seq,
	}
	for _, wave := range slices.Sorted(maps.Keys(i.Additions)) {
		p.Additions = append(p.Additions, i.additionProto(wave))
	}
	p.PausedChannels = slices.Sorted(maps.Keys(i.Paused))
	if asks := i.Asks(); len(asks) > 0 {
		p.Asks = asks[0].FollowUpDecided
	}
	if c := i.Closing(); c != nil && c.Closed != nil {
		p.ClosedAt = timestamppb.New(c.ClosedAt)
	}
	if !i.DraftedAt.IsZero() {
		p.DraftedAt = timestamppb.New(i.DraftedAt)
	}
	if !i.DeclaredAt.IsZero() {
		p.DeclaredAt = timestamppb.New(i.DeclaredAt)
	}
	return p
}

func (i *Incident) additionProto(wave string) *candorv1.AdditionStatus {
	a := i.Additions[wave]
	s := &candorv1.AdditionStatus{
		Addition: proto.CloneOf(a.GetAddition()), Hash: hex.EncodeToString(a.GetHash()), DraftedBy: a.DraftedBy, ApprovedBy: a.ApprovedBy,
		DraftedAt: timestamppb.New(a.DraftedAt), Rejected: a.Rejected, Planned: i.Waves[wave] != nil,
	}
	s.Addition.People = nil // a million slots, of use to nobody who reads this
	if a.Approved() {
		s.ApprovedAt = timestamppb.New(a.ApprovedAt)
	}
	return s
}

// Actor is who stands behind an event.
type Actor struct {
	// Token id, and the person or machine that holds it.
	Token, Person string
}

// Service is the actor of what Candor's own services append.
func Service(name string) Actor { return Actor{Token: "service", Person: name} }

// Log reads and appends the events of incidents.
type Log struct {
	bus *bus.Bus
	now func() time.Time
}

// NewLog returns a Log over b.
func NewLog(b *bus.Bus, now func() time.Time) *Log { return &Log{bus: b, now: now} }

// ErrUnknown is an incident that was never drafted.
var ErrUnknown = errors.New("unknown incident")

// Load folds one incident as it is now, read at the stream's leader. ErrUnknown if there is none.
func (l *Log) Load(ctx context.Context, id string) (*Incident, error) {
	f := &fold{inc: &Incident{ID: id}}
	if err := l.bus.CatchUp(ctx, topology.StreamBreach, topology.Breach(id), f); err != nil {
		return nil, err
	}
	if f.inc.Seq == 0 {
		return f.inc, ErrUnknown
	}
	return f.inc, nil
}

// Append appends one event if nobody appended since inc was read, and returns the incident with it folded in.
// With bus.ErrOvertaken it returns the incident as somebody else left it.
//
// A crash here leaves either nothing or the event; whoever asked finds out by asking again, which changes nothing twice.
func (l *Log) Append(ctx context.Context, inc *Incident, by Actor, e *candorv1.BreachEvent) (*Incident, error) {
	e.EventId, e.OccurredAt, e.Incident = eventID(), timestamppb.New(l.now()), inc.ID
	e.Actor, e.Person = by.Token, by.Person
	data, err := proto.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event of incident %s: %w", inc.ID, err)
	}
	f := &fold{inc: inc}
	mine := func(m bus.Stored) bool {
		other := &candorv1.BreachEvent{}
		return proto.Unmarshal(m.Data, other) == nil && other.GetEventId() == e.GetEventId()
	}
	out := bus.Direct{Bus: l.bus, Stream: topology.StreamBreach}
	m := bus.Message{Subject: topology.Breach(inc.ID), Data: data}
	if err := l.bus.AppendFenced(ctx, out, topology.StreamBreach, m, f, mine); err != nil {
		return f.inc, err
	}
	return f.inc, nil
}

// Republish tells everybody else of a fact: once per sequence, however often it is called.
func (l *Log) Republish(ctx context.Context, fact string, inc *Incident) error {
	subject := topology.BreachFact(fact, inc.ID)
	data, err := proto.Marshal(inc.Proto())
	if err != nil {
		return fmt.Errorf("encode %s: %w", subject, err)
	}
	last, err := l.bus.Last(ctx, topology.StreamBreach, subject)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return fmt.Errorf("read %s: %w", subject, err)
	}
	known := &candorv1.Incident{}
	if err == nil && proto.Unmarshal(last.Data, known) == nil && known.GetSequence() >= inc.Seq {
		return nil
	}
	if _, err := l.bus.Append(ctx, topology.StreamBreach, bus.Message{Subject: subject, Data: data, Expect: bus.Seq(last.Seq)}); err != nil {
		var wrong *bus.WrongSequenceError
		if errors.As(err, &wrong) {
			return nil // another one told it at the same moment
		}
		return fmt.Errorf("publish %s: %w", subject, err)
	}
	return nil
}

func eventID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return binary.LittleEndian.Uint64(b[:]) | 1
}

type fold struct{ inc *Incident }

func (f *fold) LastSeq() uint64 { return f.inc.Seq }

func (f *fold) Fold(m bus.Stored) error {
	e := &candorv1.BreachEvent{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("event %d is damaged: %w", m.Seq, err)
	}
	n, err := f.inc.with(m.Seq, e)
	if err != nil {
		return err
	}
	f.inc = n
	return nil
}

// PauseAll pauses every incident that may send, and returns how many that were.
func (l *Log) PauseAll(ctx context.Context, reason string) (int, error) {
	subjects, err := l.bus.CountSubjects(ctx, topology.StreamBreach, topology.BreachAll)
	if err != nil {
		return 0, fmt.Errorf("list incidents: %w", err)
	}
	n := 0
	for subject := range subjects {
		id, ok := topology.ParseBreach(subject)
		if !ok {
			continue
		}
		inc, err := l.Load(ctx, id)
		if err != nil {
			return n, err
		}
		for inc.Declared() && !inc.PausedFor(candorv1.Channel_CHANNEL_UNSPECIFIED) {
			e := &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Reason: reason}}}
			next, err := l.Append(ctx, inc, Service("broker"), e)
			if err != nil && !errors.Is(err, bus.ErrOvertaken) {
				return n, err
			}
			if err == nil {
				n++
			}
			inc = next
		}
	}
	return n, nil
}
