package api

import (
	"context"

	"connectrpc.com/connect"

	candorv1 "candor/proto/candor/v1"
)

// The services of the contract. Their methods are named as the contract names them, and do nothing else.
type (
	incidentService    struct{ api *API }
	ledgerService      struct{ api *API }
	suppressionService struct{ api *API }
	tokenService       struct{ api *API }
)

func (s incidentService) Declare(ctx context.Context, q *connect.Request[candorv1.DeclareRequest]) (*connect.Response[candorv1.DeclareResponse], error) {
	return answer(ctx, q, s.api.declare)
}

func (s incidentService) Approve(ctx context.Context, q *connect.Request[candorv1.ApproveRequest]) (*connect.Response[candorv1.ApproveResponse], error) {
	return answer(ctx, q, s.api.approve)
}

func (s incidentService) Reject(ctx context.Context, q *connect.Request[candorv1.RejectRequest]) (*connect.Response[candorv1.RejectResponse], error) {
	return answer(ctx, q, s.api.reject)
}

func (s incidentService) GetIncident(ctx context.Context, q *connect.Request[candorv1.GetIncidentRequest]) (*connect.Response[candorv1.GetIncidentResponse], error) {
	return answer(ctx, q, s.api.getIncident)
}

func (s incidentService) ListIncidents(ctx context.Context, q *connect.Request[candorv1.ListIncidentsRequest]) (*connect.Response[candorv1.ListIncidentsResponse], error) {
	return answer(ctx, q, s.api.listIncidents)
}

func (s incidentService) GetRoster(ctx context.Context, q *connect.Request[candorv1.GetRosterRequest]) (*connect.Response[candorv1.GetRosterResponse], error) {
	return answer(ctx, q, s.api.getRoster)
}

func (s incidentService) Preview(ctx context.Context, q *connect.Request[candorv1.PreviewRequest]) (*connect.Response[candorv1.PreviewResponse], error) {
	return answer(ctx, q, s.api.preview)
}

func (s incidentService) Pause(ctx context.Context, q *connect.Request[candorv1.PauseRequest]) (*connect.Response[candorv1.PauseResponse], error) {
	return answer(ctx, q, s.api.pause)
}

func (s incidentService) Resume(ctx context.Context, q *connect.Request[candorv1.ResumeRequest]) (*connect.Response[candorv1.ResumeResponse], error) {
	return answer(ctx, q, s.api.resume)
}

func (s incidentService) Abort(ctx context.Context, q *connect.Request[candorv1.AbortRequest]) (*connect.Response[candorv1.AbortResponse], error) {
	return answer(ctx, q, s.api.abort)
}

func (s incidentService) Shred(ctx context.Context, q *connect.Request[candorv1.ShredRequest]) (*connect.Response[candorv1.ShredResponse], error) {
	return answer(ctx, q, s.api.shred)
}

func (s ledgerService) GetStatus(ctx context.Context, q *connect.Request[candorv1.GetStatusRequest]) (*connect.Response[candorv1.GetStatusResponse], error) {
	return answer(ctx, q, s.api.getStatus)
}

func (s ledgerService) ListNotices(ctx context.Context, q *connect.Request[candorv1.ListNoticesRequest]) (*connect.Response[candorv1.ListNoticesResponse], error) {
	return answer(ctx, q, s.api.listNotices)
}

func (s ledgerService) SettleUncertain(ctx context.Context, q *connect.Request[candorv1.SettleUncertainRequest]) (*connect.Response[candorv1.SettleUncertainResponse], error) {
	return answer(ctx, q, s.api.settleUncertain)
}

func (s ledgerService) ListDeadLetters(ctx context.Context, q *connect.Request[candorv1.ListDeadLettersRequest]) (*connect.Response[candorv1.ListDeadLettersResponse], error) {
	return answer(ctx, q, s.api.listDeadLetters)
}

func (s ledgerService) ReplayDeadLetters(ctx context.Context, q *connect.Request[candorv1.ReplayDeadLettersRequest]) (*connect.Response[candorv1.ReplayDeadLettersResponse], error) {
	return answer(ctx, q, s.api.replayDeadLetters)
}

func (s tokenService) CreateToken(ctx context.Context, q *connect.Request[candorv1.CreateTokenRequest]) (*connect.Response[candorv1.CreateTokenResponse], error) {
	return answer(ctx, q, s.api.createToken)
}

func (s tokenService) ListTokens(ctx context.Context, q *connect.Request[candorv1.ListTokensRequest]) (*connect.Response[candorv1.ListTokensResponse], error) {
	return answer(ctx, q, s.api.listTokens)
}

func (s tokenService) RevokeToken(ctx context.Context, q *connect.Request[candorv1.RevokeTokenRequest]) (*connect.Response[candorv1.RevokeTokenResponse], error) {
	return answer(ctx, q, s.api.revokeToken)
}

func (s ledgerService) WatchStatus(ctx context.Context, q *connect.Request[candorv1.WatchStatusRequest], out *connect.ServerStream[candorv1.WatchStatusResponse]) error {
	return s.api.watchStatus(ctx, q.Msg, out.Send)
}

func (s ledgerService) ExportNotices(ctx context.Context, q *connect.Request[candorv1.ExportNoticesRequest], out *connect.ServerStream[candorv1.ExportNoticesResponse]) error {
	return s.api.exportNotices(ctx, q.Msg, out.Send)
}

func (s incidentService) Resend(ctx context.Context, q *connect.Request[candorv1.ResendRequest]) (*connect.Response[candorv1.ResendResponse], error) {
	return answer(ctx, q, s.api.resend)
}

func (s incidentService) Update(ctx context.Context, q *connect.Request[candorv1.UpdateRequest]) (*connect.Response[candorv1.UpdateResponse], error) {
	return answer(ctx, q, s.api.update)
}

func (s incidentService) DecideFollowUp(ctx context.Context, q *connect.Request[candorv1.DecideFollowUpRequest]) (*connect.Response[candorv1.DecideFollowUpResponse], error) {
	return answer(ctx, q, s.api.decideFollowUp)
}

func (s incidentService) Close(ctx context.Context, q *connect.Request[candorv1.CloseRequest]) (*connect.Response[candorv1.CloseResponse], error) {
	return answer(ctx, q, s.api.close)
}

func (s incidentService) Reopen(ctx context.Context, q *connect.Request[candorv1.ReopenRequest]) (*connect.Response[candorv1.ReopenResponse], error) {
	return answer(ctx, q, s.api.reopen)
}

func (s incidentService) GetTimeline(ctx context.Context, q *connect.Request[candorv1.GetTimelineRequest]) (*connect.Response[candorv1.GetTimelineResponse], error) {
	return answer(ctx, q, s.api.getTimeline)
}

func (s ledgerService) Find(ctx context.Context, q *connect.Request[candorv1.FindRequest]) (*connect.Response[candorv1.FindResponse], error) {
	return answer(ctx, q, s.api.find)
}

func (s ledgerService) ListUnreached(ctx context.Context, q *connect.Request[candorv1.ListUnreachedRequest], out *connect.ServerStream[candorv1.ListUnreachedResponse]) error {
	return s.api.listUnreached(ctx, q.Msg, out.Send)
}

func (s suppressionService) AddSuppressions(ctx context.Context, q *connect.Request[candorv1.AddSuppressionsRequest]) (*connect.Response[candorv1.AddSuppressionsResponse], error) {
	return answer(ctx, q, s.api.addSuppressions)
}

func (s suppressionService) RemoveSuppressions(ctx context.Context, q *connect.Request[candorv1.RemoveSuppressionsRequest]) (*connect.Response[candorv1.RemoveSuppressionsResponse], error) {
	return answer(ctx, q, s.api.removeSuppressions)
}

func (s suppressionService) ExportSuppressions(ctx context.Context, _ *connect.Request[candorv1.ExportSuppressionsRequest], out *connect.ServerStream[candorv1.ExportSuppressionsResponse]) error {
	return s.api.exportSuppressions(ctx, out.Send)
}

func (s suppressionService) ImportSuppressions(ctx context.Context, q *connect.Request[candorv1.ImportSuppressionsRequest]) (*connect.Response[candorv1.ImportSuppressionsResponse], error) {
	return answer(ctx, q, s.api.importSuppressions)
}
