package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const tellPause = time.Second // between two tries to tell others

// republish follows what is decided, from the first incident on, and tells others what they were not told: whoever decided
// may have crashed between the decision and its news.
func (a *API) republish(ctx context.Context) error {
	err := a.Bus.Follow(ctx, topology.StreamBreach, []string{topology.Breach("*")}, 1, func(m bus.Stored) error {
		e := &candorv1.BreachEvent{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return fmt.Errorf("event %d on %s is damaged: %w", m.Seq, m.Subject, err)
		}
		a.index(e)
		fact := factOf(e)
		if fact == "" {
			return nil
		}
		for {
			err := a.tellOnce(ctx, fact, e.GetIncident(), m.Seq)
			if err == nil || ctx.Err() != nil {
				return ctx.Err()
			}
			if !errors.Is(err, bus.ErrUnavailable) && !errors.Is(err, bus.ErrUnknownOutcome) {
				return err
			}
			a.Log.Warn().Err(err).Str("incident", e.GetIncident()).Str("fact", fact).Msg("others are not told yet, trying again")
			select {
			case <-ctx.Done():
			case <-time.After(tellPause):
			}
		}
	}, nil)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of ctx is no failure
	}
	return fmt.Errorf("tell others what was decided: %w", err)
}

// tellOnce looks before it tells: a fact that was told with this event, or a later one, is not told again.
func (a *API) tellOnce(ctx context.Context, fact, id string, seq uint64) error {
	last, err := a.Bus.Last(ctx, topology.StreamBreach, topology.BreachFact(fact, id))
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	told := &candorv1.Incident{}
	if err == nil && proto.Unmarshal(last.Data, told) == nil && told.GetSequence() >= seq {
		return nil
	}
	inc, err := a.events.Load(ctx, id)
	if err != nil {
		return err
	}
	return a.events.Republish(ctx, fact, inc)
}

func factOf(e *candorv1.BreachEvent) string {
	switch e.GetEvent().(type) {
	case *candorv1.BreachEvent_Approved:
		return topology.FactDeclared
	case *candorv1.BreachEvent_Paused:
		return topology.FactPaused
	case *candorv1.BreachEvent_Resumed:
		return topology.FactResumed
	case *candorv1.BreachEvent_AdditionApproved, *candorv1.BreachEvent_FollowUpDecided, *candorv1.BreachEvent_Closing:
		return topology.FactUpdated
	case *candorv1.BreachEvent_Closed:
		return topology.FactClosed
	case *candorv1.BreachEvent_Aborted:
		return topology.FactAborted
	}
	return ""
}
