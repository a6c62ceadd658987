package api

import (
	"context"

	"candor/pkg/audience"
	candorv1 "candor/proto/candor/v1"
)

// people asks the ledger where the customers of an incident stand: the best word over a wave, or over all of them without one.
func (a *API) people(ctx context.Context, id, wave string) (audience.People, error) {
	q, after, all := &candorv1.PeopleRequest{Incident: id}, "", audience.People{}
	if wave != "" {
		q.Waves = []string{wave}
	}
	for {
		part := &candorv1.PeopleResponse{}
		next, err := a.askAfter(ctx, "ledger", "people", after, q, part)
		if err != nil {
			return nil, err
		}
		all.Add(part)
		if next == "" {
			return all, nil
		}
		after = next
	}
}
