package api

import (
	"context"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// everybody is one manifest of all that is on file: the roster, under its digest, and the rows that were added.
func (a *API) everybody(ctx context.Context, inc *incident.Incident) (*candorv1.RosterManifest, error) {
	return a.together(ctx, inc.Manifests())
}

// together adds up what lies on some subjects, under the digest of the first.
func (a *API) together(ctx context.Context, subjects []string) (sum *candorv1.RosterManifest, err error) {
	for _, subject := range subjects {
		m, err := a.pages.Manifest(ctx, subject)
		if err != nil {
			return nil, err
		}
		if sum == nil {
			sum = m
			continue
		}
		addManifest(sum, m)
	}
	return sum, nil
}

func addManifest(sum, m *candorv1.RosterManifest) {
	sum.Rows += m.GetRows()
	sum.Customers += m.GetCustomers()
	sum.Merged += m.GetMerged()
	sum.Rejected += m.GetRejected()
	sum.EmptyLines += m.GetEmptyLines()
	sum.Pages = append(sum.Pages, m.GetPages()...)
	for _, counts := range []struct {
		into *map[string]uint64
		from map[string]uint64
	}{
		{&sum.Usable, m.GetUsable()},
		{&sum.Unusable, m.GetUnusable()},
		{&sum.ByLanguage, m.GetByLanguage()},
		{&sum.ByCountry, m.GetByCountry()},
		{&sum.ByTier, m.GetByTier()},
		{&sum.ByZone, m.GetByZone()},
		{&sum.ByZoneSource, m.GetByZoneSource()},
		{&sum.ByData, m.GetByData()},
	} {
		if *counts.into == nil {
			*counts.into = map[string]uint64{}
		}
		for word, n := range counts.from {
			(*counts.into)[word] += n
		}
	}
}
