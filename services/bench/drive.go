// Package bench plays incidents through Candor's own doors and counts afterwards who was told: demonstrations, chaos
// runs and measurements.
//
// In: an address and an admin's token   Out: verdicts and figures
// Crash: holds nothing; what it starts, it stops.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/config"
	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
)

// Driver is a commander and an approver who use the api as people do.
type Driver struct {
	url       string
	admin     config.Secret
	http      *http.Client
	commander string
	approver  string
}

// NewDriver makes tokens for a commander and an approver, with the admin's.
func NewDriver(ctx context.Context, apiURL string, admin config.Secret) (*Driver, error) {
	d := &Driver{url: apiURL, admin: admin, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	for _, who := range []struct {
		name string
		role candorv1.Role
		into *string
	}{{"commander", candorv1.Role_ROLE_COMMANDER, &d.commander}, {"approver", candorv1.Role_ROLE_APPROVER, &d.approver}} {
		var err error
		if *who.into, err = d.token(ctx, who.name, who.role); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// token makes one more token.
func (d *Driver) token(ctx context.Context, name string, role candorv1.Role) (string, error) {
	tokens := candorv1connect.NewTokenServiceClient(d.http, d.url, bearer(d.admin.Reveal()))
	res, err := tokens.CreateToken(ctx, connect.NewRequest(&candorv1.CreateTokenRequest{Name: name, Roles: []candorv1.Role{role}}))
	if err != nil {
		return "", fmt.Errorf("token for the %s: %w", name, err)
	}
	return res.Msg.GetSecret(), nil
}

// CallQueue is the queue as a dialer of that name sees it.
func (d *Driver) CallQueue(ctx context.Context, name string) (candorv1connect.CallQueueServiceClient, error) {
	secret, err := d.token(ctx, name, candorv1.Role_ROLE_DIALER)
	if err != nil {
		return nil, err
	}
	return candorv1connect.NewCallQueueServiceClient(d.http, d.url, bearer(secret)), nil
}

// Close closes the idle connections.
func (d *Driver) Close() { d.http.CloseIdleConnections() }

// bearer puts a token on every request.
func bearer(token string) connect.ClientOption {
	return connect.WithInterceptors(bearerInterceptor(token))
}

type bearerInterceptor string

func (b bearerInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, r)
	}
}

func (b bearerInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

func (b bearerInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (d *Driver) incidents(token string) candorv1connect.IncidentServiceClient {
	return candorv1connect.NewIncidentServiceClient(d.http, d.url, bearer(token))
}

func (d *Driver) ledger() candorv1connect.LedgerServiceClient {
	return candorv1connect.NewLedgerServiceClient(d.http, d.url, bearer(d.commander))
}

// callQueue is the queue as the commander sees it.
func (d *Driver) callQueue() candorv1connect.CallQueueServiceClient {
	return candorv1connect.NewCallQueueServiceClient(d.http, d.url, bearer(d.commander))
}

// Abort ends an incident for good.
func (d *Driver) Abort(ctx context.Context, incident, reason string) error {
	_, err := d.incidents(d.commander).Abort(ctx, connect.NewRequest(&candorv1.AbortRequest{Incident: incident, Reason: reason}))
	if err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	return nil
}

// Upload streams a roster and returns its digest.
func (d *Driver) Upload(ctx context.Context, incident string, roster io.Reader, options url.Values) (digest string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, d.url+"/v1/incidents/"+incident+"/roster?"+options.Encode(), roster)
	if err != nil {
		return "", fmt.Errorf("upload: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+d.commander)
	res, err := d.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("upload: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // only read from
	var answer struct {
		Digest, Code, Message string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("upload: %s: %w", res.Status, err)
	}
	if res.StatusCode/100 != 2 {
		return "", fmt.Errorf("upload: %s: %s", answer.Code, answer.Message)
	}
	return answer.Digest, nil
}

// Declare makes a draft and returns the hash to be approved.
func (d *Driver) Declare(ctx context.Context, decl *candorv1.Declaration) (*candorv1.Incident, error) {
	res, err := d.incidents(d.commander).Declare(ctx, connect.NewRequest(&candorv1.DeclareRequest{Declaration: decl}))
	if err != nil {
		return nil, fmt.Errorf("declare: %w", err)
	}
	return res.Msg.GetIncident(), nil
}

// Approve approves the hash, as the second person.
func (d *Driver) Approve(ctx context.Context, incident, hash string) error {
	_, err := d.incidents(d.approver).Approve(ctx, connect.NewRequest(&candorv1.ApproveRequest{Incident: incident, PlanHash: hash}))
	if err != nil {
		return fmt.Errorf("approve: %w", err)
	}
	return nil
}

// Incident reads the incident.
func (d *Driver) Incident(ctx context.Context, incident string) (*candorv1.Incident, error) {
	res, err := d.incidents(d.commander).GetIncident(ctx, connect.NewRequest(&candorv1.GetIncidentRequest{Incident: incident}))
	if err != nil {
		return nil, fmt.Errorf("incident: %w", err)
	}
	return res.Msg.GetIncident(), nil
}

// Timeline is what customers got and will get, or what one of them does.
func (d *Driver) Timeline(ctx context.Context, incident, customer string) (*candorv1.Timeline, error) {
	res, err := d.incidents(d.commander).GetTimeline(ctx, connect.NewRequest(&candorv1.GetTimelineRequest{Incident: incident, Customer: customer}))
	if err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	return res.Msg.GetTimeline(), nil
}

// Publish has an update drafted for an hour, and approved by the second person.
func (d *Driver) Publish(ctx context.Context, incident, text string, at time.Time) (wave string, err error) {
	res, err := d.incidents(d.commander).Update(ctx, connect.NewRequest(&candorv1.UpdateRequest{Incident: incident, Text: text, At: timestamppb.New(at)}))
	if err != nil {
		return "", fmt.Errorf("update: %w", err)
	}
	a := res.Msg.GetAddition()
	return a.GetAddition().GetWave(), d.Approve(ctx, incident, a.GetHash())
}

// End closes an incident with a last word. Customers who stay untold are named, and the second person agrees.
func (d *Driver) End(ctx context.Context, incident string) error {
	asked := &candorv1.CloseRequest{Incident: incident, DryRun: true}
	said, err := d.incidents(d.commander).Close(ctx, connect.NewRequest(asked))
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	asked = &candorv1.CloseRequest{
		Incident: incident, Untold: slices.Collect(maps.Keys(said.Msg.GetUntold())), CallRequests: said.Msg.GetCallRequestsOpen() > 0, Unsent: true,
		Calls: candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW,
	}
	res, err := d.incidents(d.commander).Close(ctx, connect.NewRequest(asked))
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if a := res.Msg.GetAddition(); a != nil {
		return d.Approve(ctx, incident, a.GetHash())
	}
	return nil
}

// Status asks where the incident stands.
func (d *Driver) Status(ctx context.Context, incident string) (*candorv1.Status, error) {
	res, err := d.ledger().GetStatus(ctx, connect.NewRequest(&candorv1.GetStatusRequest{Incident: incident}))
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return res.Msg.GetStatus(), nil
}

// Await asks for the status until done says so, calling seen with each. An api that is away for a while, or whose broker is, is waited
// for.
func (d *Driver) Await(ctx context.Context, incident string, seen func(*candorv1.Status) (done bool)) (*candorv1.Status, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := d.Status(ctx, incident)
		switch {
		case err == nil && seen(st):
			return st, nil
		case ctx.Err() != nil:
			return st, errors.Join(ctx.Err(), err)
		case err != nil && connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeDeadlineExceeded:
			return st, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return st, ctx.Err()
		}
	}
}

// Resting says whether nothing more will happen to the incident by itself: every customer on file has a notice on every
// channel that is not a step of the ladder, and every notice is settled or kept for a person.
func Resting(p *candorv1.Plan, st *candorv1.Status) bool {
	if len(st.GetWaves()) == 0 || st.GetFoldedTo() != st.GetJournalLast() || st.GetReceiptsFoldedTo() != st.GetReceiptsLast() {
		return false
	}
	if st.GetComplete() {
		return true
	}
	steps := map[candorv1.Channel]bool{}
	if len(p.GetWaves()) > 0 {
		for _, c := range p.GetWaves()[0].GetChannels() {
			steps[c.GetChannel()] = c.GetAfter() != nil
		}
	}
	kept := uint64(0)
	for _, w := range st.GetWaves() {
		if len(w.GetChannels()) == 0 {
			return false
		}
		for _, c := range w.GetChannels() {
			s := c.GetStates()
			if steps[c.GetChannel()] {
				return false // a step is over when the incident is complete
			}
			if c.GetPlannedTotal() < st.GetPeople().GetOnFile() || s["planned"]+s["waiting"]+s["intended"] > 0 {
				return false
			}
			if c.GetChannel() == candorv1.Channel_CHANNEL_SMS && s["uncertain"] > 0 {
				return false
			}
			kept += s["uncertain"]
		}
	}
	return kept > 0
}
