package team

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/team"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// lookOut looks at every incident whenever one changed, and from time to time for reminders.
func (s *Service) lookOut(ctx context.Context) error {
	if !s.isReady(ctx) {
		return nil
	}
	tick := time.NewTicker(s.cfg.LookEvery)
	defer tick.Stop()
	for {
		for _, id := range s.known() {
			if err := s.look(ctx, id); err != nil && ctx.Err() == nil {
				s.Log.Warn().Err(err).Str("incident", id).Msg("the team is told at the next look")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.changed:
		}
	}
}

// look raises what an incident's events made, ends what is over, and orders the messages that are due.
//
// A crash anywhere leaves the rest to the next look, by this process or another: raising is fenced and named by the event, and
// an order that is in the queue already is not put there twice.
func (s *Service) look(ctx context.Context, id string) error {
	c, p, alerts := s.find(id)
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read && missing(c.board, alerts) == nil && len(s.due(c.board, p)) == 0 {
		return nil
	}
	if err := s.events.CatchUp(ctx, c.board); err != nil {
		return err
	}
	c.read = true
	for missing(c.board, alerts) != nil {
		if err := s.events.Decide(ctx, c.board, func() *candorv1.TeamEvent { return missing(c.board, alerts) }); err != nil {
			return fmt.Errorf("raise alerts: %w", err)
		}
	}
	for _, o := range s.due(c.board, p) {
		if err := s.order(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// missing is the first event that the board lacks; nil if it says what the incident's events say. What was over before anybody
// could be told is not raised.
func missing(b *team.Board, alerts []*candorv1.Alert) *candorv1.TeamEvent {
	for _, a := range alerts {
		switch known := b.Alert(a.GetId()); {
		case known == nil && !a.GetOver():
			return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Raised{Raised: &candorv1.AlertRaised{Alert: a}}}
		case known != nil && a.GetOver() && !known.GetOver():
			return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Over{Over: &candorv1.AlertOver{Alert: a.GetId()}}}
		}
	}
	return nil
}

// due lists the messages that should be under way now.
func (s *Service) due(b *team.Board, p *plan) (orders []*candorv1.TeamOrder) {
	now := s.Clock.Now()
	for _, a := range b.Alerts() {
		for _, r := range p.recipients {
			if reminder, ok := a.Due(r.Mark, p.team, now); ok && r.ToldOf(a.GetKind()) {
				orders = append(orders, &candorv1.TeamOrder{
					Incident: b.Incident, Alert: a.GetId(), Medium: r.Medium, Member: r.Member, Reminder: reminder,
				})
			}
		}
	}
	return orders
}

// order puts a message into the queue unless one to the same address about the same alert is there.
func (s *Service) order(ctx context.Context, o *candorv1.TeamOrder) error {
	data, err := proto.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode order: %w", err)
	}
	subject := topology.TeamOrder(o.GetMedium(), o.GetIncident(), o.GetAlert(), o.GetMember())
	_, err = s.Bus.Append(ctx, topology.StreamOrders, bus.Message{Subject: subject, Data: data, Expect: bus.Seq(0)})
	var there *bus.WrongSequenceError
	if errors.As(err, &there) {
		return nil
	}
	return err
}
