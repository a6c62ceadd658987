package api

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	"candor/pkg/timetable"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// decideFollowUp answers for the oldest follow-up that waits for a person. Its words were approved: one person is enough. An
// answer that is given twice is taken once.
//
// A crash after the append leaves a decision of which nobody was told: the republisher tells them.
func (a *API) decideFollowUp(ctx context.Context, q *candorv1.DecideFollowUpRequest) (*candorv1.DecideFollowUpResponse, error) {
	send := q.GetAnswer() == candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SEND
	var decided *candorv1.FollowUpDecided
	inc, err := a.change(ctx, q.GetIncident(), func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := running(inc, "followed up"); err != nil {
			return nil, err
		}
		if decided = givenBefore(inc, q); decided != nil {
			return nil, nil
		}
		asks := inc.Asks()
		if len(asks) == 0 {
			return nil, refuse(connect.CodeFailedPrecondition, "no follow-up of incident %s waits for a person: candor timeline %s shows what comes", inc.ID, inc.ID)
		}
		if asks[0].GetName() != q.GetName() || !asks[0].GetDueAt().AsTime().Equal(q.GetDueAt().AsTime()) {
			return nil, refuse(connect.CodeFailedPrecondition, "it is the follow-up %s of incident %s, due %s, that asks now: look at candor followup %s, and answer that one",
				asks[0].GetName(), inc.ID, asks[0].GetDueAt().AsTime().Format(time.RFC3339), inc.ID)
		}
		t, err := a.timetable(inc)
		if err != nil {
			return nil, err
		}
		decided, err = t.Answer(asks[0], send)
		if errors.Is(err, timetable.ErrNoText) {
			return nil, refuse(connect.CodeFailedPrecondition,
				"nobody prepared words for the follow-up %s of incident %s: publish an update, which goes out in its place once it is approved (candor update %s -f update.md --with-next), or skip it",
				asks[0].GetName(), inc.ID, inc.ID)
		}
		if err == nil && send {
			err = a.inNobodysWay(ctx, inc, t, decided)
		}
		return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: decided}}, err
	})
	if err != nil {
		return nil, err
	}
	a.tell(ctx, topology.FactUpdated, inc)
	a.Log.Info().Str("incident", inc.ID).Str("name", decided.GetName()).Str("wave", decided.GetWave()).Msg("follow-up decided")
	return &candorv1.DecideFollowUpResponse{Incident: shown(inc), Decided: decided}, nil
}

// givenBefore is the answer that a person has given already, if it is the one of the request.
func givenBefore(inc *incident.Incident, q *candorv1.DecideFollowUpRequest) *candorv1.FollowUpDecided {
	d := inc.DecisionOn(q.GetName(), q.GetDueAt().AsTime())
	if d == nil || d.GetReason() != timetable.ReasonPerson {
		return nil
	}
	sent := d.GetDecision() == candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND
	if sent != (q.GetAnswer() == candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SEND) {
		return nil
	}
	return d.FollowUpDecided
}

// inNobodysWay refuses what would overlap with a follow-up that is still going out, and a correction that would come before what
// it corrects. The ledger is asked after the incident was
// read: an older answer knows nothing of a wave that was planned since.
func (a *API) inNobodysWay(ctx context.Context, inc *incident.Incident, t timetable.Timetable, d *candorv1.FollowUpDecided) error {
	status, err := a.upToDate(ctx, inc)
	if err != nil {
		return err
	}
	if wave := t.Behind(d, timetable.StandingOf(status)); wave != "" {
		return refuse(connect.CodeFailedPrecondition, "wave %s of incident %s is still going out, and two follow-ups never overlap: answer when it has gone", wave, inc.ID)
	}
	return nil
}
