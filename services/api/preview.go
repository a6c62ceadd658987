package api

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"

	"connectrpc.com/connect"

	"candor/pkg/audience"
	"candor/pkg/incident"
	"candor/pkg/plan"
	candorv1 "candor/proto/candor/v1"
)

// preview opens as few pages as show every language.
func (a *API) preview(ctx context.Context, q *candorv1.PreviewRequest) (*candorv1.PreviewResponse, error) {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	if inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		return nil, refuse(connect.CodeFailedPrecondition, "incident %s was shredded: its customers cannot be shown to anybody any more", inc.ID)
	}
	wave := cmp.Or(q.GetWave(), incident.FirstWave)
	in, base, err := a.waveInput(inc, wave)
	if err != nil {
		return nil, err
	}
	w := in.Playbook.Waves[base]
	if w == nil {
		return nil, refuse(connect.CodeNotFound, "incident %s has no wave %s: candor plan and candor timeline %s list them", inc.ID, wave, inc.ID)
	}
	pages, err := a.samples(ctx, inc, wave)
	if err != nil {
		return nil, err
	}
	to := w.Audience
	if len(to.Channels()) > 0 {
		to = audience.Audience{} // who that is shows when it is sent: any customer shows the words
	}
	count, err := plan.Wave(ctx, in, plan.Added{Wave: base, Audience: to}, pages)
	if err != nil {
		return nil, err
	}
	messages, err := count.Preview(int(q.GetCount()))
	if err != nil {
		return nil, err
	}
	return &candorv1.PreviewResponse{Messages: messages}, nil
}

// waveInput is what a wave of the plan, or one that followed or was added, is planned from, and the name of its words in it.
func (a *API) waveInput(inc *incident.Incident, wave string) (plan.Input, string, error) {
	set, base, err := a.texts.Of(inc, wave)
	if err != nil {
		return plan.Input{}, "", err
	}
	return plan.Input{
		Incident: inc.ID, Hash: inc.PlanHash(), Playbook: set.Playbook, Facts: set.Facts, Webhook: a.cfg.Webhook, Now: a.Clock.Now(),
	}, base, nil
}

// samples yields the first page of each language: of rows that are added theirs, else of all that is on file.
func (a *API) samples(ctx context.Context, inc *incident.Incident, wave string) (iter.Seq2[plan.Load, error], error) {
	subjects := inc.Manifests()
	if add := inc.Additions[wave]; add != nil && add.GetAddition().GetManifest() != "" {
		subjects = []string{add.GetAddition().GetManifest()}
	}
	m, err := a.together(ctx, subjects)
	if err != nil {
		return nil, err
	}
	first := map[string]*candorv1.RosterPageInfo{}
	for _, info := range m.GetPages() {
		if f := first[info.GetLanguage()]; f == nil || info.GetNumber() < f.GetNumber() {
			first[info.GetLanguage()] = info
		}
	}
	return a.loads(inc.ID, &candorv1.RosterManifest{Pages: slices.Collect(maps.Values(first))}), nil
}
