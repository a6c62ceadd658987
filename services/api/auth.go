package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"candor/pkg/incident"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/token"
)

// actionOf says what a token must be allowed to do for each procedure; one that is not listed is refused to everybody.
func actionOf(procedure string) (token.Action, bool) {
	switch procedure {
	case candorv1connect.IncidentServiceDeclareProcedure:
		return token.Declare, true
	case candorv1connect.IncidentServiceApproveProcedure:
		return token.Approve, true
	case candorv1connect.IncidentServiceRejectProcedure:
		return token.Reject, true
	case candorv1connect.IncidentServicePauseProcedure:
		return token.Pause, true
	case candorv1connect.IncidentServiceResumeProcedure:
		return token.Resume, true
	case candorv1connect.IncidentServiceAbortProcedure:
		return token.Abort, true
	case candorv1connect.IncidentServiceShredProcedure:
		return token.Shred, true
	case candorv1connect.IncidentServiceGetIncidentProcedure,
		candorv1connect.IncidentServiceListIncidentsProcedure,
		candorv1connect.IncidentServiceGetRosterProcedure,
		candorv1connect.IncidentServicePreviewProcedure,
		candorv1connect.IncidentServiceGetTimelineProcedure,
		candorv1connect.LedgerServiceGetStatusProcedure,
		candorv1connect.LedgerServiceWatchStatusProcedure,
		candorv1connect.LedgerServiceListNoticesProcedure,
		candorv1connect.LedgerServiceExportNoticesProcedure,
		candorv1connect.LedgerServiceListUnreachedProcedure,
		candorv1connect.LedgerServiceListDeadLettersProcedure,
		candorv1connect.TeamServiceListAlertsProcedure,
		candorv1connect.TeamServiceAcknowledgeProcedure:
		return token.View, true
	case candorv1connect.IncidentServiceResendProcedure,
		candorv1connect.IncidentServiceUpdateProcedure,
		candorv1connect.IncidentServiceDecideFollowUpProcedure,
		candorv1connect.IncidentServiceCloseProcedure,
		candorv1connect.IncidentServiceReopenProcedure:
		return token.Amend, true
	case candorv1connect.LedgerServiceFindProcedure:
		return token.Find, true
	case candorv1connect.SuppressionServiceAddSuppressionsProcedure,
		candorv1connect.SuppressionServiceRemoveSuppressionsProcedure,
		candorv1connect.SuppressionServiceExportSuppressionsProcedure,
		candorv1connect.SuppressionServiceImportSuppressionsProcedure:
		return token.Suppress, true
	case candorv1connect.CallQueueServiceClaimProcedure,
		candorv1connect.CallQueueServiceRenewProcedure,
		candorv1connect.CallQueueServiceReleaseProcedure,
		candorv1connect.CallQueueServiceCompleteProcedure:
		return token.Call, true
	case candorv1connect.CallQueueServiceAddProcedure,
		candorv1connect.CallQueueServiceExplainProcedure,
		candorv1connect.CallQueueServiceGetScriptProcedure,
		candorv1connect.CallQueueServiceGetQueueProcedure:
		return token.Queue, true
	case candorv1connect.LedgerServiceSettleUncertainProcedure:
		return token.Settle, true
	case candorv1connect.LedgerServiceReplayDeadLettersProcedure:
		return token.DeadLetter, true
	case candorv1connect.TokenServiceCreateTokenProcedure,
		candorv1connect.TokenServiceListTokensProcedure,
		candorv1connect.TokenServiceRevokeTokenProcedure:
		return token.Token, true
	}
	return "", false
}

var errNoToken = errors.New("this needs a token: pass --token-file, or the header Authorization: Bearer <token>; an admin makes one with candor token create")

// authenticate finds out who is asking and whether they may, and returns a context that knows.
func (a *API) authenticate(ctx context.Context, bearer string, action token.Action) (context.Context, error) {
	if bearer == "" {
		return ctx, connect.NewError(connect.CodeUnauthenticated, errNoToken)
	}
	who, err := a.Tokens.Authenticate(ctx, bearer)
	if errors.Is(err, token.ErrInvalid) {
		return ctx, refuse(connect.CodeUnauthenticated, "%w: it may be revoked or cut off; an admin makes another one with candor token create", err)
	}
	if err != nil {
		return ctx, fmt.Errorf("find out who is asking: %w", err)
	}
	if !who.Allows(action) {
		return ctx, refuse(connect.CodePermissionDenied, "the token of %s has the roles %s, and this needs one that may %s: ask somebody who has it",
			who.Name, roleNames(who.Roles), action)
	}
	return token.NewContext(ctx, who), nil
}

func roleNames(roles []token.Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

func bearerOf(h http.Header) string { return token.FromHeader(h.Get("Authorization")) }

// caller is who stands behind what is decided now.
func caller(ctx context.Context) incident.Actor {
	who, _ := token.FromContext(ctx) // without one nobody gets past the gate
	return incident.Actor{Token: who.ID, Person: who.Person()}
}

// gate is what every call passes before its handler: who is it, may they, and is the request well formed.
type gate struct{ api *API }

func (g gate) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		procedure := req.Spec().Procedure
		ctx, err := g.admit(ctx, procedure, req.Header())
		if err == nil {
			err = g.api.validate(req.Any())
		}
		var resp connect.AnyResponse
		if err == nil {
			resp, err = next(ctx, req)
		}
		g.api.metrics.count(procedure, err)
		if err != nil {
			return nil, g.api.asConnect(procedure, err)
		}
		return resp, nil
	}
}

func (g gate) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		procedure := conn.Spec().Procedure
		ctx, err := g.admit(ctx, procedure, conn.RequestHeader())
		if err == nil {
			err = next(ctx, validatingConn{conn, g.api})
		}
		g.api.metrics.count(procedure, err)
		if err != nil {
			return g.api.asConnect(procedure, err)
		}
		return nil
	}
}

// WrapStreamingClient leaves clients alone: the api is none.
func (g gate) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (g gate) admit(ctx context.Context, procedure string, h http.Header) (context.Context, error) {
	action, ok := actionOf(procedure)
	if !ok {
		return ctx, refuse(connect.CodeUnimplemented, "%s is not served here", procedure)
	}
	return g.api.authenticate(ctx, bearerOf(h), action)
}

// validatingConn checks what a streaming call asks for.
type validatingConn struct {
	connect.StreamingHandlerConn
	api *API
}

func (c validatingConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	return c.api.validate(m)
}

func (a *API) validate(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return refuse(connect.CodeInternal, "request of type %T cannot be checked", m)
	}
	err := a.validator.Validate(msg)
	var violations *protovalidate.ValidationError
	if errors.As(err, &violations) {
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	return err
}
