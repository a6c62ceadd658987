package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	settledAtOnce = 5000  // notices in one settlement
	listedAtOnce  = 10000 // notices in one list, where all of them are wanted
	openPagesMost = 64    // pages kept open while notices get their names
)

// ask puts a question to another service over NATS.
func (a *API) ask(ctx context.Context, service, method string, q, answer proto.Message) error {
	_, err := a.askAfter(ctx, service, method, "", q, answer)
	return err
}

// askAfter asks for the part of a long answer that follows another one.
func (a *API) askAfter(ctx context.Context, service, method, after string, q, answer proto.Message) (next string, err error) {
	data, err := proto.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("ask the %s: %w", service, err)
	}
	var header map[string]string
	if after != "" {
		header = map[string]string{topology.HeaderAfter: after}
	}
	reply, err := a.Bus.Request(ctx, topology.Ask(service, method), data, header)
	if errors.Is(err, bus.ErrUnavailable) || errors.Is(err, bus.ErrUnknownOutcome) {
		return "", refuse(connect.CodeUnavailable, "the %s does not answer: see that its target runs, and try again: %w", service, err)
	}
	var remote *bus.RemoteError
	if errors.As(err, &remote) && remote.Code != bus.CodeInternal {
		return "", remote // in words for the caller, to whom the subject says nothing
	}
	if err != nil {
		return "", err
	}
	if err := proto.Unmarshal(reply.Data, answer); err != nil {
		return "", fmt.Errorf("answer of the %s: %w", service, err)
	}
	return reply.Header[topology.HeaderNext], nil
}

// statusWithin is how long a ledger that is there takes at most.
const statusWithin = 5 * time.Second

func (a *API) status(ctx context.Context, id string) (*candorv1.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	resp := &candorv1.GetStatusResponse{}
	err := a.ask(ctx, "ledger", "status", &candorv1.GetStatusRequest{Incident: id}, resp)
	return resp.GetStatus(), err
}

func (a *API) getStatus(ctx context.Context, q *candorv1.GetStatusRequest) (*candorv1.GetStatusResponse, error) {
	status, err := a.status(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	return &candorv1.GetStatusResponse{Status: status}, nil
}

// watchStatus sends the status at once and then whenever it changed, until the watcher leaves.
func (a *API) watchStatus(ctx context.Context, q *candorv1.WatchStatusRequest, send func(*candorv1.WatchStatusResponse) error) error {
	tick := time.NewTicker(a.cfg.WatchEvery)
	defer tick.Stop()
	var last *candorv1.Status
	for {
		status, err := a.status(ctx, q.GetIncident())
		if err != nil {
			return err
		}
		if !sameStatus(last, status) {
			if err := send(&candorv1.WatchStatusResponse{Status: status}); err != nil {
				return err
			}
			last = status
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.stopping:
			return refuse(connect.CodeUnavailable, "the api stops: watch again in a moment")
		case <-tick.C:
		}
	}
}

// sameStatus compares what a watcher sees, not when it was looked up.
func sameStatus(a, b *candorv1.Status) bool {
	if a == nil {
		return false
	}
	x, _ := proto.Clone(a).(*candorv1.Status)
	x.AsOf, x.JournalLast, x.FoldedTo = b.GetAsOf(), b.GetJournalLast(), b.GetFoldedTo()
	return proto.Equal(x, b)
}

// listNotices adds to the ledger's list what only pages know: who they are for, by reference and code.
func (a *API) listNotices(ctx context.Context, q *candorv1.ListNoticesRequest) (*candorv1.ListNoticesResponse, error) {
	resp := &candorv1.ListNoticesResponse{}
	if err := a.ask(ctx, "ledger", "list", q, resp); err != nil {
		return nil, err
	}
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	if inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		return resp, nil // who they were is gone for ever
	}
	return resp, a.name(ctx, inc.ID, resp.GetNotices())
}

// name opens each page once, and keeps a few open.
func (a *API) name(ctx context.Context, id string, notices []*candorv1.Notice) error {
	type who struct{ ref, code string }
	open := map[uint32][]who{}
	for _, n := range notices {
		page, slot := n.GetKey().GetPage(), int(n.GetKey().GetSlot())
		customers, known := open[page]
		if !known {
			p, err := a.pages.OpenPage(ctx, id, page, nil)
			if err != nil {
				return err
			}
			for i := range p.Customers {
				customers = append(customers, who{p.Customers[i].Ref, p.Customers[i].Code})
			}
			if len(open) >= openPagesMost {
				clear(open)
			}
			open[page] = customers
		}
		if slot < len(customers) {
			n.CustomerRef, n.Code = customers[slot].ref, customers[slot].code
		}
	}
	return nil
}

// exportNotices passes on the ledger's parts as they come.
func (a *API) exportNotices(ctx context.Context, q *candorv1.ExportNoticesRequest, send func(*candorv1.ExportNoticesResponse) error) error {
	after := ""
	for {
		part := &candorv1.ExportNoticesResponse{}
		next, err := a.askAfter(ctx, "ledger", "export", after, q, part)
		if err != nil {
			return err
		}
		if err := send(part); err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// settleUncertain passes on a person's word about notices, or about all that wait for one.
func (a *API) settleUncertain(ctx context.Context, q *candorv1.SettleUncertainRequest) (*candorv1.SettleUncertainResponse, error) {
	if _, err := a.load(ctx, q.GetIncident()); err != nil {
		return nil, err
	}
	keys := q.GetNotices()
	if len(keys) == 0 {
		if q.GetChannel() == candorv1.Channel_CHANNEL_UNSPECIFIED {
			return nil, refuse(connect.CodeInvalidArgument, "name the notices, or the channel of which all uncertain ones are to be settled")
		}
		var err error
		if keys, err = a.uncertain(ctx, q.GetIncident(), q.GetChannel()); err != nil {
			return nil, err
		}
	}
	resp := &candorv1.SettleUncertainResponse{}
	for len(keys) > 0 {
		n := min(len(keys), settledAtOnce)
		settled := &candorv1.SettleResponse{}
		req := &candorv1.SettleRequest{
			Incident: q.GetIncident(), Settlement: q.GetSettlement(), Notices: keys[:n], Actor: caller(ctx).Token,
		}
		if err := a.ask(ctx, "planner", "settle", req, settled); err != nil {
			return nil, fmt.Errorf("%d notices are settled, the others are not, settle again: %w", resp.GetSettled(), err)
		}
		resp.Settled += settled.GetSettled()
		keys = keys[n:]
	}
	return resp, nil
}

// uncertain lists all notices of a channel that nobody knows the outcome of.
func (a *API) uncertain(ctx context.Context, id string, ch candorv1.Channel) ([]*candorv1.NoticeKey, error) {
	q := &candorv1.ListNoticesRequest{
		Incident: id, Channel: ch, Limit: listedAtOnce, States: []candorv1.NoticeState{candorv1.NoticeState_NOTICE_STATE_UNCERTAIN},
	}
	var keys []*candorv1.NoticeKey
	for {
		resp := &candorv1.ListNoticesResponse{}
		if err := a.ask(ctx, "ledger", "list", q, resp); err != nil {
			return nil, err
		}
		for _, n := range resp.GetNotices() {
			keys = append(keys, n.GetKey())
		}
		if q.PageToken = resp.GetNextPageToken(); q.GetPageToken() == "" {
			return keys, nil
		}
	}
}

func (a *API) listDeadLetters(ctx context.Context, q *candorv1.ListDeadLettersRequest) (*candorv1.ListDeadLettersResponse, error) {
	resp := &candorv1.ListDeadLettersResponse{}
	return resp, a.ask(ctx, "ledger", "dead", q, resp)
}

func (a *API) replayDeadLetters(ctx context.Context, q *candorv1.ReplayDeadLettersRequest) (*candorv1.ReplayDeadLettersResponse, error) {
	if _, err := a.load(ctx, q.GetIncident()); err != nil {
		return nil, err
	}
	replayed := &candorv1.ReplayResponse{}
	req := &candorv1.ReplayRequest{Incident: q.GetIncident(), Pages: q.GetPages(), Actor: caller(ctx).Token}
	if err := a.ask(ctx, "planner", "replay", req, replayed); err != nil {
		return nil, err
	}
	return &candorv1.ReplayDeadLettersResponse{Replayed: replayed.GetReplayed()}, nil
}
