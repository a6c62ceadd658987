// Package team folds what the response team of an incident was told: which alerts the incident's events make, who was told of
// them, and who acknowledged.
//
// In: streams BREACH and TEAM, a playbook's team.   Out: alerts, their words, and what is due to whom.
// Crash: an event is on disk when its append returns. An alert's id comes from the event that made it, so raising it a second
// time is impossible.
//
// Neither stream holds an address. The playbook in BREACH holds a mark in the place of each: an HMAC under a key of the
// incident's, by which the same address has the same mark. The addresses lie sealed in ROSTER.
package team

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Board is the fold of one incident's team events. It belongs to one goroutine at a time.
type Board struct {
	Incident string

	seq    uint64
	alerts []*Alert
	byID   map[string]*Alert
}

// Alert is one thing that the team is told, as it stands.
type Alert struct {
	*candorv1.Alert
	told map[string]told // by mark
}

// told is the last message to one address, whatever came of it.
type told struct {
	reminder uint32
	at       time.Time
}

// NewBoard returns the board of an incident of which nothing was told.
func NewBoard(incident string) *Board { return &Board{Incident: incident, byID: map[string]*Alert{}} }

// LastSeq is the sequence of the last event folded.
func (b *Board) LastSeq() uint64 { return b.seq }

// Fold takes the next event of team.<incident>.
func (b *Board) Fold(m bus.Stored) error {
	e := &candorv1.TeamEvent{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("event %d is damaged: %w", m.Seq, err)
	}
	b.seq = m.Seq
	at := e.GetOccurredAt()
	switch ev := e.GetEvent().(type) {
	case *candorv1.TeamEvent_Raised:
		raised := ev.Raised.GetAlert()
		if b.byID[raised.GetId()] != nil {
			return nil
		}
		a := &Alert{Alert: raised, told: map[string]told{}}
		b.alerts, b.byID[raised.GetId()] = append(b.alerts, a), a
	case *candorv1.TeamEvent_Sent:
		return b.fold(m.Seq, ev.Sent.GetAlert(), func(a *Alert) {
			if ev.Sent.GetFailure() == "" {
				a.Sent++
				a.LastSentAt = at
			} else {
				a.Failed++
			}
			a.told[ev.Sent.GetMark()] = told{reminder: max(ev.Sent.GetReminder(), a.told[ev.Sent.GetMark()].reminder), at: at.AsTime()}
		})
	case *candorv1.TeamEvent_Acknowledged:
		return b.fold(m.Seq, ev.Acknowledged.GetAlert(), func(a *Alert) {
			if a.GetAcknowledgedBy() == "" {
				a.AcknowledgedBy, a.AcknowledgedAt = ev.Acknowledged.GetPerson(), at
			}
		})
	case *candorv1.TeamEvent_Over:
		return b.fold(m.Seq, ev.Over.GetAlert(), func(a *Alert) { a.Over = true })
	default:
		return fmt.Errorf("event %d of the team of incident %s is of an unknown kind %T: a newer version wrote it; run that version", m.Seq, b.Incident, ev)
	}
	return nil
}

func (b *Board) fold(seq uint64, id string, change func(*Alert)) error {
	a := b.byID[id]
	if a == nil {
		return fmt.Errorf("event %d of the team of incident %s is about alert %q, which nobody raised", seq, b.Incident, id)
	}
	change(a)
	return nil
}

// Alert returns the alert of an id; nil if it was not raised.
func (b *Board) Alert(id string) *Alert { return b.byID[id] }

// Alerts lists all, in the order in which they were raised.
func (b *Board) Alerts() []*Alert { return b.alerts }

// Open says whether somebody should still look at the alert.
func (a *Alert) Open() bool { return !a.GetOver() && a.GetAcknowledgedBy() == "" }

// Due says which message to an address is due: 0 is the first one, which is sent until the alert is over, n the n-th reminder,
// which is sent while nobody has acknowledged.
func (a *Alert) Due(mark string, t *playbook.Team, now time.Time) (reminder uint32, ok bool) {
	last, before := a.told[mark]
	switch {
	case a.GetOver():
		return 0, false
	case !before:
		return 0, true
	case !a.Open(), !reminded(a.GetKind()), t.RemindEvery <= 0, int(last.reminder) >= t.RemindersAtMost,
		now.Before(last.at.Add(t.RemindEvery)):
		return 0, false
	}
	return last.reminder + 1, true
}

// reminded says whether an alert asks anything of anybody: of an incident that ends nobody is reminded.
func reminded(k candorv1.AlertKind) bool {
	return k != candorv1.AlertKind_ALERT_KIND_CLOSED && k != candorv1.AlertKind_ALERT_KIND_ABORTED
}

// Log reads and appends the events of teams.
type Log struct {
	bus *bus.Bus
	now func() time.Time
}

// NewLog returns a Log over b.
func NewLog(b *bus.Bus, now func() time.Time) *Log { return &Log{bus: b, now: now} }

// Load folds what the team of an incident was told, read at the stream's leader.
func (l *Log) Load(ctx context.Context, incident string) (*Board, error) {
	b := NewBoard(incident)
	return b, l.CatchUp(ctx, b)
}

// CatchUp folds what came since the board was read.
func (l *Log) CatchUp(ctx context.Context, b *Board) error {
	if err := l.bus.CatchUp(ctx, topology.StreamTeam, topology.TeamEvents(b.Incident), b); err != nil {
		return fmt.Errorf("read what the team of incident %s was told: %w", b.Incident, err)
	}
	return nil
}

// Append appends one event if nobody appended since the board was read, and folds it. With bus.ErrOvertaken the board is as
// somebody else left it.
func (l *Log) Append(ctx context.Context, b *Board, e *candorv1.TeamEvent) error {
	e.EventId, e.OccurredAt = eventID(), timestamppb.New(l.now())
	data, err := proto.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event of the team of incident %s: %w", b.Incident, err)
	}
	mine := func(m bus.Stored) bool {
		other := &candorv1.TeamEvent{}
		return proto.Unmarshal(m.Data, other) == nil && other.GetEventId() == e.GetEventId()
	}
	out := bus.Direct{Bus: l.bus, Stream: topology.StreamTeam}
	return l.bus.AppendFenced(ctx, out, topology.StreamTeam, bus.Message{Subject: topology.TeamEvents(b.Incident), Data: data}, b, mine)
}

// Decide appends what decide answers for the board as it stands, until nobody was faster; nil appends nothing.
func (l *Log) Decide(ctx context.Context, b *Board, decide func() *candorv1.TeamEvent) error {
	for {
		e := decide()
		if e == nil {
			return nil
		}
		if err := l.Append(ctx, b, e); err == nil || !errors.Is(err, bus.ErrOvertaken) {
			return err
		}
	}
}

func eventID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return binary.LittleEndian.Uint64(b[:]) | 1
}
