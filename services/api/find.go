package api

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/finder"
	"candor/pkg/incident"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

const (
	// foundMost is how many customers of an incident one question may find: a household's number, not a placeholder's.
	foundMost     = 50
	placesMethod  = "find"
	placesAtOnce  = 4
	warmingsAhead = 256 // incidents whose index waits to be built
)

// find shows everything about one customer to those who may read the texts, which hold names.
func (a *API) find(ctx context.Context, q *candorv1.FindRequest) (*candorv1.FindResponse, error) {
	incs, err := a.searched(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	resp := &candorv1.FindResponse{}
	for _, inc := range incs {
		found, err := a.findIn(ctx, inc, q)
		if errors.Is(err, finder.ErrTooMany) {
			return nil, refuse(connect.CodeInvalidArgument, "more than %d customers of incident %s share that: look for one of them by code or customer_ref", foundMost, inc.ID)
		}
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			c, err := a.story(ctx, inc, f)
			if err != nil {
				return nil, err
			}
			resp.Customers = append(resp.Customers, c)
		}
	}
	// Who looks somebody up is on record; whom they looked for is not.
	a.Log.Info().Str("by", caller(ctx).Token).Int("customers", len(resp.GetCustomers())).Msg("customers looked up")
	return resp, nil
}

// findIn returns the customers of one incident. Who asks about all of them is not told that one of them cannot be searched
// any more, or not yet.
func (a *API) findIn(ctx context.Context, inc *incident.Incident, q *candorv1.FindRequest) ([]finder.Found, error) {
	set, err := a.texts.Plan(inc)
	if err != nil {
		return nil, err
	}
	found, err := a.finder.Find(ctx, rosterOf(inc), finder.Terms(q.GetQuery(), set.Playbook.Country), foundMost)
	unsearchable := errors.Is(err, vault.ErrShredded) || errors.Is(err, bus.ErrNotFound) && inc.DeclaredAt.IsZero()
	if q.GetIncident() == "" && unsearchable {
		return nil, nil
	}
	return found, err
}

func rosterOf(inc *incident.Incident) finder.Roster {
	return finder.Roster{Incident: inc.ID, Manifests: inc.Manifests()}
}

// searched are the incidents in which a customer is looked for: the named one, or all that are not shredded, the newest
// first and those that have ended last.
func (a *API) searched(ctx context.Context, id string) ([]*incident.Incident, error) {
	if id != "" {
		inc, err := a.load(ctx, id)
		if err == nil && inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
			return nil, refuse(connect.CodeFailedPrecondition, "incident %s was shredded: its customers cannot be found any more", id)
		}
		return []*incident.Incident{inc}, err
	}
	incs, err := a.loadAll(ctx)
	if err != nil {
		return nil, err
	}
	incs = slices.DeleteFunc(incs, func(inc *incident.Incident) bool {
		return inc.Draft == nil || inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED
	})
	slices.SortStableFunc(incs, func(x, y *incident.Incident) int {
		if x.Ended() != y.Ended() {
			if x.Ended() {
				return 1
			}
			return -1
		}
		return cmp.Or(y.DeclaredAt.Compare(x.DeclaredAt), y.DraftedAt.Compare(x.DraftedAt))
	})
	return incs, nil
}

// servePlaces answers the front door, which must not open pages, where a customer is.
func (a *API) servePlaces(ctx context.Context) error {
	subject := topology.Ask("api", placesMethod)
	return a.Bus.Serve(ctx, subject, "api", placesAtOnce, func(ctx context.Context, r bus.Request) (bus.Reply, error) {
		resp, err := a.places(ctx, r.Data)
		a.metrics.count(subject, err)
		if err != nil {
			return bus.Reply{}, a.asReply(subject, err)
		}
		data, err := proto.Marshal(resp)
		return bus.Reply{Data: data}, err
	})
}

// places finds customers of incidents that were declared.
func (a *API) places(ctx context.Context, data []byte) (*candorv1.PlaceResponse, error) {
	sealed, q := &candorv1.PlaceRequest{}, &candorv1.FindRequest{}
	err := proto.Unmarshal(data, sealed)
	if err == nil {
		data, err = a.Vault.Door().OpenRequest(sealed.GetSealed())
	}
	if err == nil {
		err = proto.Unmarshal(data, q)
	}
	if err != nil {
		return nil, refuse(connect.CodeInvalidArgument, "question about a customer cannot be read: %w", err)
	}
	if err := a.validate(q); err != nil {
		return nil, err
	}
	incs, err := a.searched(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	resp := &candorv1.PlaceResponse{}
	for _, inc := range incs {
		if inc.DeclaredAt.IsZero() {
			continue // nobody was told anything
		}
		found, err := a.findIn(ctx, inc, q)
		if errors.Is(err, finder.ErrTooMany) {
			a.Log.Warn().Str("incident", inc.ID).Int("most", foundMost).Msg("a reply is nobody's: too many customers share its address")
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			resp.Places = append(resp.Places, &candorv1.CustomerPlace{Incident: inc.ID, Page: f.Page.Number, Slot: f.Slot})
		}
	}
	return resp, nil
}

// warm builds the indexes of declared incidents ahead of the first question.
func (a *API) warm(ctx context.Context) error {
	for {
		var id string
		select {
		case <-ctx.Done():
			return nil
		case id = <-a.declared:
		}
		inc, err := a.events.Load(ctx, id)
		if err == nil && inc.Declared() {
			start := a.Clock.Now()
			if err = a.finder.Build(ctx, rosterOf(inc)); err == nil {
				a.Log.Info().Str("incident", id).Dur("took", a.Clock.Now().Sub(start)).Msg("customers can be found")
			}
		}
		if err != nil && ctx.Err() == nil {
			a.Log.Warn().Err(err).Str("incident", id).Msg("customers are not indexed yet: the first question about one does it")
		}
	}
}

// index follows what is decided: customers of declared incidents can be found quickly, those of shredded ones never again.
func (a *API) index(e *candorv1.BreachEvent) {
	switch e.GetEvent().(type) {
	case *candorv1.BreachEvent_Approved, *candorv1.BreachEvent_AdditionApproved: // rows that were added are indexed too
		select {
		case a.declared <- e.GetIncident():
		default: // so many wait that the first question will come before their turn
		}
	case *candorv1.BreachEvent_Shredded:
		a.finder.Forget(e.GetIncident())
	}
}
