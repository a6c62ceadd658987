package api

import (
	"context"

	"candor/pkg/audience"
	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// people asks the ledger where the customers of an incident stand: the best word over a wave and those that brought its words to
// others, or over all waves without one.
func (a *API) people(ctx context.Context, inc *incident.Incident, wave string) (audience.People, error) {
	q, after, all := &candorv1.PeopleRequest{Incident: inc.ID}, "", audience.People{}
	if wave != "" {
		q.Waves = inc.Sharing(wave)
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
