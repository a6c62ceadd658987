package api

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	// claimWaits is the longest that a claim waits for a task, and claimPart of it the longest that the queue is asked to wait.
	claimWaits = 30 * time.Second
	claimPart  = 10 * time.Second
	// answered is what any request may take besides.
	answered = 10 * time.Second
	// askAgain is the pause before a queue without an owner is asked again.
	askAgain = 200 * time.Millisecond
)

// callQueueService passes requests on to whoever owns the call queue, under the caller's own token.
type callQueueService struct{ api *API }

// passOn asks the call queue what a caller asked here.
func passOn[Q, R proto.Message](ctx context.Context, a *API, method, authorization string, wait time.Duration, q Q, answer R) error {
	data, err := proto.Marshal(q)
	if err != nil {
		return err
	}
	header := map[string]string{"Authorization": authorization, headerContentType: "application/protobuf"}
	reply, err := a.Bus.RequestWithin(ctx, wait+answered, topology.CallMethod(method), data, header)
	var remote *bus.RemoteError
	switch {
	case errors.As(err, &remote):
		return remote
	case errors.Is(err, bus.ErrUnavailable), errors.Is(err, bus.ErrUnknownOutcome):
		return refuse(connect.CodeUnavailable, "the call queue does not answer: try again in a moment, and see that the target calls runs: %w", err)
	case err != nil:
		return err
	}
	return proto.Unmarshal(reply.Data, answer)
}

// callQueue answers a Connect request with what the call queue says.
func callQueue[Q, R any, PQ message[Q], PR message[R]](ctx context.Context, s callQueueService, method string, q *connect.Request[Q]) (*connect.Response[R], error) {
	answer := new(R)
	if err := passOn(ctx, s.api, method, q.Header().Get("Authorization"), 0, PQ(q.Msg), PR(answer)); err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

type message[T any] interface {
	*T
	proto.Message
}

// Claim asks for a part of the time at a time, so that neither an owner of the queue that dies nor a caller who goes away
// leaves much behind. While another owner takes over it asks again.
//
// Tasks that come when the caller has gone are given back: otherwise they would be taken for called when their leases end. A
// crash here leaves them leased, and uncertain in the end.
func (s callQueueService) Claim(ctx context.Context, q *connect.Request[candorv1.ClaimRequest]) (*connect.Response[candorv1.ClaimResponse], error) {
	authorization, own := q.Header().Get("Authorization"), context.WithoutCancel(ctx)
	part, _ := proto.Clone(q.Msg).(*candorv1.ClaimRequest)
	for until := time.Now().Add(min(q.Msg.GetWait().AsDuration(), claimWaits)); ; {
		wait := max(min(time.Until(until), claimPart), 0)
		part.Wait = durationpb.New(wait)
		resp := &candorv1.ClaimResponse{}
		err := passOn(own, s.api, "claim", authorization, wait, part, resp)
		gone := ctx.Err()
		switch {
		case gone != nil:
			s.giveBack(own, authorization, resp.GetTasks())
			return nil, gone
		case err != nil && (!queueAway(err) || time.Until(until) < askAgain):
			return nil, err
		case err == nil && (len(resp.GetTasks()) > 0 || time.Until(until) <= 0):
			return connect.NewResponse(resp), nil
		}
		pause := askAgain
		if err == nil {
			pause = 0
		}
		select {
		case <-time.After(pause):
		case <-s.api.stopping:
			return nil, refuse(connect.CodeUnavailable, "the api stops: claim again in a moment")
		}
	}
}

// queueAway says that nobody owns the call queue at this moment.
func queueAway(err error) bool {
	var remote *bus.RemoteError
	return errors.As(err, &remote) && remote.Code == bus.CodeUnavailable || connect.CodeOf(err) == connect.CodeUnavailable
}

func (s callQueueService) giveBack(ctx context.Context, authorization string, tasks []*candorv1.CallTask) {
	for _, t := range tasks {
		err := passOn(ctx, s.api, "release", authorization, 0, &candorv1.ReleaseRequest{Lease: t.GetLease()}, &candorv1.ReleaseResponse{})
		if err != nil {
			s.api.Log.Warn().Err(err).Str("incident", t.GetIncident()).Msg("a task that nobody waited for any more stays leased until its time is over")
		}
	}
}

func (s callQueueService) Renew(ctx context.Context, q *connect.Request[candorv1.RenewRequest]) (*connect.Response[candorv1.RenewResponse], error) {
	return callQueue[candorv1.RenewRequest, candorv1.RenewResponse](ctx, s, "renew", q)
}

func (s callQueueService) Release(ctx context.Context, q *connect.Request[candorv1.ReleaseRequest]) (*connect.Response[candorv1.ReleaseResponse], error) {
	return callQueue[candorv1.ReleaseRequest, candorv1.ReleaseResponse](ctx, s, "release", q)
}

func (s callQueueService) Complete(ctx context.Context, q *connect.Request[candorv1.CompleteRequest]) (*connect.Response[candorv1.CompleteResponse], error) {
	return callQueue[candorv1.CompleteRequest, candorv1.CompleteResponse](ctx, s, "complete", q)
}

func (s callQueueService) Add(ctx context.Context, q *connect.Request[candorv1.AddRequest]) (*connect.Response[candorv1.AddResponse], error) {
	return callQueue[candorv1.AddRequest, candorv1.AddResponse](ctx, s, "add", q)
}

func (s callQueueService) Explain(ctx context.Context, q *connect.Request[candorv1.ExplainRequest]) (*connect.Response[candorv1.ExplainResponse], error) {
	return callQueue[candorv1.ExplainRequest, candorv1.ExplainResponse](ctx, s, "explain", q)
}

func (s callQueueService) GetScript(ctx context.Context, q *connect.Request[candorv1.GetScriptRequest]) (*connect.Response[candorv1.GetScriptResponse], error) {
	return callQueue[candorv1.GetScriptRequest, candorv1.GetScriptResponse](ctx, s, "script", q)
}

func (s callQueueService) GetQueue(ctx context.Context, q *connect.Request[candorv1.GetQueueRequest]) (*connect.Response[candorv1.GetQueueResponse], error) {
	return callQueue[candorv1.GetQueueRequest, candorv1.GetQueueResponse](ctx, s, "queue", q)
}
