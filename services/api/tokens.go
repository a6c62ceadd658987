package api

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

func (a *API) createToken(ctx context.Context, q *candorv1.CreateTokenRequest) (*candorv1.CreateTokenResponse, error) {
	names := make([]string, len(q.GetRoles()))
	for i, r := range q.GetRoles() {
		names[i] = candorv1.Word(r)
	}
	roles, err := token.ParseRoles(names)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	bearer, record, err := a.Tokens.Create(ctx, q.GetName(), roles)
	if err != nil {
		return nil, err
	}
	a.Log.Info().Str("token", record.ID).Str("by", caller(ctx).Token).Msg("token made")
	return &candorv1.CreateTokenResponse{Token: tokenProto(record), Secret: bearer.Reveal()}, nil
}

func (a *API) listTokens(ctx context.Context, _ *candorv1.ListTokensRequest) (*candorv1.ListTokensResponse, error) {
	records, err := a.Tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	resp := &candorv1.ListTokensResponse{}
	for _, r := range records {
		if r.RevokedAt.IsZero() {
			resp.Tokens = append(resp.Tokens, tokenProto(r))
		}
	}
	return resp, nil
}

func (a *API) revokeToken(ctx context.Context, q *candorv1.RevokeTokenRequest) (*candorv1.RevokeTokenResponse, error) {
	err := a.Tokens.Revoke(ctx, q.GetId())
	if errors.Is(err, token.ErrUnknown) {
		return nil, refuse(connect.CodeNotFound, "%w: see candor token list", err)
	}
	if err != nil {
		return nil, err
	}
	a.Log.Info().Str("token", q.GetId()).Str("by", caller(ctx).Token).Msg("token revoked")
	return &candorv1.RevokeTokenResponse{}, nil
}

func tokenProto(r token.Record) *candorv1.Token {
	t := &candorv1.Token{Id: r.ID, Name: r.Name}
	if !r.CreatedAt.IsZero() {
		t.CreatedAt = timestamppb.New(r.CreatedAt)
	}
	for _, role := range r.Roles {
		t.Roles = append(t.Roles, candorv1.Role(candorv1.Role_value["ROLE_"+strings.ToUpper(string(role))]))
	}
	return t
}
