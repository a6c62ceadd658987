package api

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/plan"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const loadsAtOnce = 8 // incidents that a list reads side by side

// change appends what is decided about an incident as it stands; a nil event means that nothing is to be done.
// Whoever is overtaken decides again: an approval then meets the new revision, and is refused by its hash.
func (a *API) change(ctx context.Context, id string, decide func(*incident.Incident) (*candorv1.BreachEvent, error)) (*incident.Incident, error) {
	who := caller(ctx)
	for {
		inc, err := a.events.Load(ctx, id)
		if err != nil && !errors.Is(err, incident.ErrUnknown) {
			return nil, fmt.Errorf("read incident %s: %w", id, err)
		}
		event, err := decide(inc)
		if err != nil || event == nil {
			return inc, err
		}
		next, err := a.events.Append(ctx, inc, who, event)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, bus.ErrOvertaken) {
			return nil, fmt.Errorf("record the decision about incident %s: %w", id, err)
		}
	}
}

// drafted refuses what asks for an incident that nobody drafted.
func drafted(inc *incident.Incident) error {
	if inc.Draft == nil {
		return refuse(connect.CodeNotFound, "there is no incident %s: see candor incidents, or declare it", inc.ID)
	}
	return nil
}

// shown is the incident with what changed since its last revision.
func shown(inc *incident.Incident) *candorv1.Incident {
	p := inc.Proto()
	p.Changes = plan.Changes(inc.Previous, inc.Draft)
	return p
}

func (a *API) load(ctx context.Context, id string) (*incident.Incident, error) {
	inc, err := a.events.Load(ctx, id)
	if err != nil && !errors.Is(err, incident.ErrUnknown) {
		return nil, fmt.Errorf("read incident %s: %w", id, err)
	}
	return inc, drafted(inc)
}

func (a *API) getIncident(ctx context.Context, q *candorv1.GetIncidentRequest) (*candorv1.GetIncidentResponse, error) {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	return &candorv1.GetIncidentResponse{Incident: shown(inc)}, nil
}

// getRoster answers from the manifests, which hold counts alone: the roster's, under its digest, and those of added rows.
func (a *API) getRoster(ctx context.Context, q *candorv1.GetRosterRequest) (*candorv1.GetRosterResponse, error) {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	m, err := a.everybody(ctx, inc)
	if err != nil {
		return nil, err
	}
	return &candorv1.GetRosterResponse{Manifest: m}, nil
}

// listIncidents reads what is true now, and leaves the plans out: one incident's plan is asked for by its id.
func (a *API) listIncidents(ctx context.Context, _ *candorv1.ListIncidentsRequest) (*candorv1.ListIncidentsResponse, error) {
	incs, err := a.loadAll(ctx)
	if err != nil {
		return nil, err
	}
	resp := &candorv1.ListIncidentsResponse{Incidents: make([]*candorv1.Incident, len(incs))}
	for i, inc := range incs {
		resp.Incidents[i] = inc.Proto()
		resp.Incidents[i].Plan = nil
	}
	return resp, nil
}

// loadAll reads every incident, ordered by id.
func (a *API) loadAll(ctx context.Context) ([]*incident.Incident, error) {
	subjects, err := a.Bus.CountSubjects(ctx, topology.StreamBreach, topology.Breach("*"))
	if err != nil {
		return nil, fmt.Errorf("list incidents: %w", err)
	}
	ids := slices.Sorted(maps.Keys(subjects))
	incs := make([]*incident.Incident, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loadsAtOnce)
	for i, subject := range ids {
		g.Go(func() error {
			id, _ := topology.ParseBreach(subject)
			inc, err := a.events.Load(ctx, id)
			if err != nil {
				return fmt.Errorf("read incident %s: %w", id, err)
			}
			incs[i] = inc
			return nil
		})
	}
	return incs, g.Wait()
}

// approve makes a draft declared, or lets an addition go out.
//
// A crash after the append leaves a decision of which nobody was told: the republisher tells them at the next start.
func (a *API) approve(ctx context.Context, q *candorv1.ApproveRequest) (*candorv1.ApproveResponse, error) {
	hash, err := hex.DecodeString(q.GetPlanHash())
	if err != nil {
		return nil, refuse(connect.CodeInvalidArgument, "plan hash: %w", err)
	}
	who, fact := caller(ctx), ""
	inc, err := a.change(ctx, q.GetIncident(), func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := drafted(inc); err != nil {
			return nil, err
		}
		if wave, _ := inc.AdditionWith(hash); wave != "" {
			fact = topology.FactUpdated
			return a.approveAddition(ctx, inc, wave, who)
		}
		fact = topology.FactDeclared
		same := bytes.Equal(hash, inc.PlanHash())
		if inc.Declared() && same && inc.ApprovedBy == who.Person {
			return nil, nil // asked again after a lost answer
		}
		if err := approvable(inc, who, same); err != nil {
			return nil, err
		}
		if err := a.rosterThere(ctx, inc); err != nil {
			return nil, err
		}
		return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{
			Approved: &candorv1.Approved{Revision: inc.Draft.GetRevision(), PlanHash: inc.PlanHash()},
		}}, nil
	})
	if err != nil {
		return nil, err
	}
	a.tell(ctx, fact, inc)
	return &candorv1.ApproveResponse{Incident: shown(inc)}, nil
}

func approvable(inc *incident.Incident, who incident.Actor, sameHash bool) error {
	switch {
	case inc.State != candorv1.IncidentState_INCIDENT_STATE_DRAFT:
		return refuse(connect.CodeFailedPrecondition, "incident %s is %s, and nothing of it waits for an approval under that hash: candor status %s shows what waits", inc.ID, candorv1.Word(inc.State), inc.ID)
	case !sameHash:
		return refuse(connect.CodeAborted, "incident %s was changed, or the hash is mistyped: revision %d has the hash %x; look at it, and approve that hash",
			inc.ID, inc.Draft.GetRevision(), inc.PlanHash())
	case strings.EqualFold(inc.DraftedBy, who.Person):
		return refuse(connect.CodePermissionDenied, "%s drafted revision %d: a second person must approve it", who.Person, inc.Draft.GetRevision())
	}
	if blockers := inc.Draft.GetPlan().GetBlockers(); len(blockers) > 0 {
		return refuse(connect.CodeFailedPrecondition, "incident %s cannot be approved: %s", inc.ID, findingWords(blockers))
	}
	return nil
}

// reject voids a draft until it is changed, or an addition for ever.
func (a *API) reject(ctx context.Context, q *candorv1.RejectRequest) (*candorv1.RejectResponse, error) {
	inc, err := a.change(ctx, q.GetIncident(), func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := drafted(inc); err != nil {
			return nil, err
		}
		if wave := q.GetWave(); wave != "" {
			return rejectAddition(inc, wave, q.GetReason())
		}
		switch inc.State {
		case candorv1.IncidentState_INCIDENT_STATE_REJECTED:
			return nil, nil
		case candorv1.IncidentState_INCIDENT_STATE_DRAFT:
			return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Rejected{
				Rejected: &candorv1.Rejected{Revision: inc.Draft.GetRevision(), Reason: q.GetReason()},
			}}, nil
		}
		return nil, refuse(connect.CodeFailedPrecondition, "incident %s is %s: only a draft can be rejected; abort stops what was declared",
			inc.ID, candorv1.Word(inc.State))
	})
	if err != nil {
		return nil, err
	}
	if add := inc.Additions[q.GetWave()]; add != nil && add.GetAddition().GetKind() == incident.KindRoster {
		// A crash here leaves sealed pages that nobody is told by: the next rows to be added clear them away.
		a.rejectedRows(ctx, inc.ID, add.GetAddition())
	}
	return &candorv1.RejectResponse{Incident: shown(inc)}, nil
}
