package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"connectrpc.com/connect"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// declare makes a draft or a new revision of one. The same id and content is the same incident, by whichever road it comes.
//
// A crash leaves either nothing or the revision; declaring again tells which, and changes nothing twice.
func (a *API) declare(ctx context.Context, q *candorv1.DeclareRequest) (*candorv1.DeclareResponse, error) {
	d := q.GetDeclaration()
	if err := topology.ValidIncident(d.GetIncident()); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	// Before anything is made of it, kept or said: what follows knows marks, and no address.
	d, addresses, err := a.redact(d)
	if err != nil {
		return nil, err
	}
	hash := incident.Hash(d)
	inc, err := a.events.Load(ctx, d.GetIncident())
	if err != nil && !errors.Is(err, incident.ErrUnknown) {
		return nil, fmt.Errorf("read incident %s: %w", d.GetIncident(), err)
	}
	if bytes.Equal(inc.PlanHash(), hash) {
		return &candorv1.DeclareResponse{Incident: shown(inc), Known: true}, nil
	}
	if err := revisable(inc); err != nil {
		return nil, err
	}
	draft, err := a.draft(ctx, d, addresses, inc.Draft.GetRevision()+1)
	if err != nil {
		return nil, err
	}
	next, err := a.events.Append(ctx, inc, caller(ctx), &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: draft}})
	if errors.Is(err, bus.ErrOvertaken) {
		if bytes.Equal(next.PlanHash(), hash) {
			return &candorv1.DeclareResponse{Incident: shown(next), Known: true}, nil
		}
		return nil, refuse(connect.CodeAborted, "incident %s was changed by somebody else at this moment: look at it, and declare again if yours is right", inc.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("record the draft of incident %s: %w", inc.ID, err)
	}
	a.Log.Info().Str("incident", inc.ID).Uint32("revision", draft.GetRevision()).Msg("draft made")
	return &candorv1.DeclareResponse{Incident: shown(next)}, nil
}

// revisable refuses other content for what two people stand behind already.
func revisable(inc *incident.Incident) error {
	switch inc.State {
	case candorv1.IncidentState_INCIDENT_STATE_UNSPECIFIED, candorv1.IncidentState_INCIDENT_STATE_DRAFT,
		candorv1.IncidentState_INCIDENT_STATE_REJECTED:
		return nil
	}
	return refuse(connect.CodeFailedPrecondition,
		"incident %s is %s with other content: it cannot be changed any more; abort it, or declare under another id", inc.ID, candorv1.Word(inc.State))
}

// draft compiles every text, plans over the sealed pages, and seals the addresses of the team.
func (a *API) draft(ctx context.Context, d *candorv1.Declaration, addresses map[string]string, revision uint32) (*candorv1.Drafted, error) {
	in, err := a.planInput(d)
	if err != nil {
		return nil, err
	}
	in.Revision = revision
	subject := manifestSubject(d.GetIncident(), d.GetRosterDigest())
	m, err := a.pages.Manifest(ctx, subject)
	if errors.Is(err, bus.ErrNotFound) || err == nil && m.GetDigest() != d.GetRosterDigest() {
		return nil, noRoster(d)
	}
	if err != nil {
		return nil, err
	}
	p, err := plan.Make(ctx, in, m, a.loads(d.GetIncident(), m))
	if len(playbook.Mistakes(err)) > 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if err != nil {
		return nil, fmt.Errorf("plan incident %s: %w", d.GetIncident(), err)
	}
	sealed, err := a.sealTeam(ctx, d.GetIncident(), in.Playbook.Team, addresses)
	if err != nil {
		return nil, err
	}
	return &candorv1.Drafted{Revision: revision, Declaration: d, PlanHash: in.Hash, Plan: p, Manifest: subject, Team: sealed}, nil
}

func noRoster(d *candorv1.Declaration) error {
	return refuse(connect.CodeFailedPrecondition, "the roster %.16s… of incident %s is not there: upload it first, and declare the digest that the upload answers with",
		d.GetRosterDigest(), d.GetIncident())
}

// planInput reads what a declaration carries; its error joins the mistakes of both files.
func (a *API) planInput(d *candorv1.Declaration) (plan.Input, error) {
	pb, err := playbook.Parse("playbook", []byte(d.GetPlaybook()))
	facts, ferr := playbook.ParseFacts("facts", []byte(d.GetFacts()))
	if err := errors.Join(err, ferr); err != nil {
		return plan.Input{}, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return plan.Input{
		Incident: d.GetIncident(), Hash: incident.Hash(d), Playbook: pb, Facts: facts, Webhook: a.cfg.Webhook, Now: a.Clock.Now(),
	}, nil
}

// loads yields the pages of a roster, each proved to be the one that the manifest names.
func (a *API) loads(id string, m *candorv1.RosterManifest) iter.Seq2[plan.Load, error] {
	return func(yield func(plan.Load, error) bool) {
		for _, info := range m.GetPages() {
			load := func(ctx context.Context) (*roster.Page, error) {
				return a.pages.OpenPage(ctx, id, info.GetNumber(), info.GetSealedSha256())
			}
			if !yield(load, nil) {
				return
			}
		}
	}
}

// rosterThere refuses an approval of people who cannot be told.
func (a *API) rosterThere(ctx context.Context, inc *incident.Incident) error {
	m, err := a.pages.Manifest(ctx, inc.Draft.GetManifest())
	if err != nil {
		return err
	}
	gone, err := a.store.missing(ctx, inc.ID, m)
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		return refuse(connect.CodeFailedPrecondition, "%d pages of the roster of incident %s are gone: upload it again, and declare it", len(gone), inc.ID)
	}
	return nil
}
