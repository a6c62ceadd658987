package calls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/callqueue"
	"candor/pkg/incident"
	"candor/pkg/roster"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// add has a customer called. The wish is noted with its time in the queue first, and then where wishes lie, for those who
// count them.
//
// A crash between the two: the customer is called, and the count misses one.
func (o *owner) add(ctx context.Context, _ token.Identity, q *candorv1.AddRequest) (*candorv1.AddResponse, error) {
	if inc := o.Incidents.Get(q.GetIncident()); inc != nil && inc.Closing() != nil {
		return nil, bus.Errorf(bus.CodePrecondition, "incident %s is closing, or closed: nobody new is called for it; candor reopen opens it again", inc.ID)
	}
	place, err := o.find(ctx, q.GetIncident(), q.GetCustomer())
	if err != nil {
		return nil, err
	}
	request := "add-" + newID()
	answer := &candorv1.AddResponse{Task: taskID(place)}
	if err := o.ask(ctx, callqueue.Asked{Place: place, At: instant(q.GetCallBackAt()), Request: request}, answer); err != nil {
		return nil, err
	}
	r := &candorv1.CallRequest{
		Id: request, AskedAt: timestamppb.New(o.Clock.Now()), AskedBy: "person",
		Customer: &candorv1.CustomerPlace{Incident: place.Incident, Page: place.Page, Slot: place.Slot},
	}
	data, err := proto.Marshal(r)
	if err == nil {
		_, err = o.Bus.Append(ctx, topology.StreamCalls, bus.Message{Subject: topology.CallRequested(place.Incident), Data: data})
	}
	if err != nil {
		o.Log.Warn().Err(err).Str("incident", place.Incident).Msg("a customer is called who asked for it, but the status does not count them")
	}
	return answer, nil
}

// find asks the api for a customer's place; the question is sealed, since it may name them.
func (o *owner) find(ctx context.Context, id, customer string) (callqueue.Place, error) {
	inc := o.Incidents.Get(id)
	switch {
	case inc == nil:
		return callqueue.Place{}, bus.Errorf(bus.CodeNotFound, "there is no incident %s", id)
	case inc.DeclaredAt.IsZero():
		return callqueue.Place{}, bus.Errorf(bus.CodePrecondition, "incident %s is %s: nobody is called before two people have approved it", id, candorv1.Word(inc.State))
	}
	plain, err := proto.Marshal(&candorv1.FindRequest{Incident: id, Query: customer})
	if err != nil {
		return callqueue.Place{}, err
	}
	sealed, err := o.Door.SealRequest(plain)
	clear(plain)
	if err != nil {
		return callqueue.Place{}, err
	}
	data, err := proto.Marshal(&candorv1.PlaceRequest{Sealed: sealed})
	if err != nil {
		return callqueue.Place{}, err
	}
	answer, err := o.Bus.Request(ctx, topology.Ask("api", "find"), data, nil)
	var remote *bus.RemoteError
	switch {
	case errors.As(err, &remote) && remote.Code == bus.CodeInternal:
		return callqueue.Place{}, fmt.Errorf("the api cannot look up a customer: %s", remote.Code) // its words may quote the question
	case errors.As(err, &remote):
		return callqueue.Place{}, remote
	case err != nil:
		return callqueue.Place{}, bus.Errorf(bus.CodeUnavailable, "customers are looked up by the api, which does not answer: see that its target runs, and ask again")
	}
	found := &candorv1.PlaceResponse{}
	if err := proto.Unmarshal(answer.Data, found); err != nil {
		return callqueue.Place{}, fmt.Errorf("decode places: %w", err)
	}
	switch len(found.GetPlaces()) {
	case 0:
		return callqueue.Place{}, bus.Errorf(bus.CodeNotFound, "incident %s has no such customer: give the code or the customer_ref", id)
	case 1:
		return placeOf(found.GetPlaces()[0]), nil
	}
	return callqueue.Place{}, bus.Errorf(bus.CodeInvalid, "%d customers of incident %s share that: give the code or the customer_ref", len(found.GetPlaces()), id)
}

func (o *owner) explain(ctx context.Context, _ token.Identity, q *candorv1.ExplainRequest) (*candorv1.ExplainResponse, error) {
	place, err := o.find(ctx, q.GetIncident(), q.GetCustomer())
	if err != nil {
		return nil, err
	}
	var e callqueue.Explanation
	err = o.submit(ctx, func(now time.Time) (_ []callqueue.Event, err error) {
		e, err = o.queue.Explain(now, place)
		return nil, err
	})
	if err != nil {
		return nil, told(err)
	}
	resp := &candorv1.ExplainResponse{State: e.State, Callable: e.Callable, Reasons: e.Words(), NextAt: stamp(e.Next)}
	for i, a := range e.Attempts {
		at := &candorv1.CallAttempt{
			Number: uint32(i + 1), LeasedAt: stamp(a.LeasedAt), Dialer: a.Dialer, Disposition: a.Disposition, Late: a.Late,
			Released: a.Released && !a.Reported,
		}
		if !a.Out {
			at.EndedAt = stamp(a.EndedAt)
		}
		resp.Attempts = append(resp.Attempts, at)
	}
	return resp, nil
}

// scriptFor returns what agents say. It does not need the incident to be declared: agents read it before the first notice.
func (o *owner) scriptFor(ctx context.Context, _ token.Identity, q *candorv1.GetScriptRequest) (*candorv1.GetScriptResponse, error) {
	inc, err := incident.NewLog(o.Bus, o.Clock.Now).Load(ctx, q.GetIncident())
	switch {
	case errors.Is(err, incident.ErrUnknown), err == nil && inc.Draft == nil:
		return nil, bus.Errorf(bus.CodeNotFound, "there is no incident %s", q.GetIncident())
	case err != nil:
		return nil, err
	}
	set, err := o.Texts.Plan(inc)
	if err != nil {
		return nil, bus.Errorf(bus.CodePrecondition, "playbook of incident %s: %v", inc.ID, err)
	}
	script, err := o.scriptOf(inc, set)
	if err != nil {
		return nil, bus.Errorf(bus.CodePrecondition, "incident %s: %v", inc.ID, err)
	}
	var kinds roster.DataKinds
	for _, code := range q.GetKinds() {
		i := slices.IndexFunc(roster.AllDataKinds(), func(k roster.DataKind) bool { return k.String() == code })
		if i < 0 {
			return nil, bus.Errorf(bus.CodeInvalid, "there is no kind of data %q: use some of %v", code, roster.AllDataKinds())
		}
		kinds = kinds.With(roster.AllDataKinds()[i])
	}
	return &candorv1.GetScriptResponse{Script: script.General(q.GetLanguage(), kinds)}, nil
}

func (o *owner) counts(ctx context.Context, _ token.Identity, q *candorv1.GetQueueRequest) (*candorv1.GetQueueResponse, error) {
	if id := q.GetIncident(); id != "" && o.Incidents.Get(id) == nil {
		return nil, bus.Errorf(bus.CodeNotFound, "there is no incident %s", id)
	}
	resp := &candorv1.GetQueueResponse{}
	err := o.submit(ctx, func(now time.Time) ([]callqueue.Event, error) {
		n := o.queue.Counts(now, q.GetIncident())
		resp.States, resp.Callable, resp.Dispositions = n.States, n.Callable, n.Dispositions
		if at, ok := o.queue.NextAt(now); ok {
			resp.NextAt = stamp(at)
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}
