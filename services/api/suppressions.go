package api

import (
	"context"
	"errors"
	"regexp"
	"sync/atomic"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"candor/pkg/roster"
	"candor/pkg/suppression"
	candorv1 "candor/proto/candor/v1"
)

const (
	suppressionsAtOnce = 16   // appends side by side
	suppressionsInPart = 1000 // of an export
)

// reasonWord keeps addresses out of reasons: no @, no + and too few digits for a telephone number.
var reasonWord = regexp.MustCompile(`^([A-Za-z_ -]*[0-9]?){0,6}[A-Za-z_ -]*$`)

var (
	errNoPhone  = errors.New("not a telephone number in international form, such as +1 212 555 0100")
	errNoEmail  = errors.New("not an e-mail address, such as somebody@example.com")
	errNoReason = errors.New("the reason is not a word: take letters, hyphens and at most six digits, and name nobody")
)

// addressOf reads an address as an import does. Its error does not repeat the address.
func addressOf(s *candorv1.Suppression) (suppression.Address, error) {
	if s.GetChannel() == candorv1.Channel_CHANNEL_EMAIL {
		email, ok := roster.ParseEmail(s.GetAddress())
		if !ok {
			return nil, errNoEmail
		}
		return email, nil
	}
	phone, ok := roster.ParsePhone(s.GetAddress(), "")
	if !ok {
		return nil, errNoPhone
	}
	return phone, nil
}

// addSuppressions records those that can be read, and says which cannot.
//
// A crash leaves some recorded; adding again changes nothing for those.
func (a *API) addSuppressions(ctx context.Context, q *candorv1.AddSuppressionsRequest) (*candorv1.AddSuppressionsResponse, error) {
	resp := &candorv1.AddSuppressionsResponse{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(suppressionsAtOnce)
	for i, s := range q.GetSuppressions() {
		address, err := addressOf(s)
		if err == nil && !reasonWord.MatchString(s.GetReason()) {
			err = errNoReason
		}
		if err != nil {
			resp.Problems = append(resp.Problems, &candorv1.SuppressionProblem{Index: uint32(i), Problem: err.Error()})
			continue
		}
		resp.Added++
		g.Go(func() error { return a.Suppressions.Add(gctx, s.GetChannel(), address, s.GetReason()) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	a.Log.Info().Str("by", caller(ctx).Token).Uint64("opt_outs", resp.GetAdded()).Msg("opt-outs added")
	return resp, nil
}

// removeSuppressions takes opt-outs back; it removes none if one of the addresses cannot be read.
//
// A crash leaves some removed; removing again takes back the others.
func (a *API) removeSuppressions(ctx context.Context, q *candorv1.RemoveSuppressionsRequest) (*candorv1.RemoveSuppressionsResponse, error) {
	addresses := make([]suppression.Address, len(q.GetSuppressions()))
	for i, s := range q.GetSuppressions() {
		var err error
		if addresses[i], err = addressOf(s); err != nil {
			return nil, refuse(connect.CodeInvalidArgument, "nothing is removed: number %d of the list is %w", i+1, err)
		}
	}
	var removed atomic.Uint64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(suppressionsAtOnce)
	for i, s := range q.GetSuppressions() {
		g.Go(func() error {
			if a.Suppressions.Has(s.GetChannel(), addresses[i]) {
				removed.Add(1)
			}
			return a.Suppressions.Remove(gctx, s.GetChannel(), addresses[i])
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	a.Log.Info().Str("by", caller(ctx).Token).Uint64("opt_outs", removed.Load()).Msg("opt-outs removed")
	return &candorv1.RemoveSuppressionsResponse{Removed: removed.Load()}, nil
}

// exportSuppressions streams the list as it is kept.
func (a *API) exportSuppressions(ctx context.Context, send func(*candorv1.ExportSuppressionsResponse) error) error {
	part := &candorv1.ExportSuppressionsResponse{}
	err := a.Suppressions.Export(ctx, func(hash, reason string) error {
		part.Suppressions = append(part.Suppressions, &candorv1.HashedSuppression{Hash: hash, Reason: reason})
		if len(part.GetSuppressions()) < suppressionsInPart {
			return nil
		}
		full := part
		part = &candorv1.ExportSuppressionsResponse{}
		return send(full)
	})
	if err != nil || len(part.GetSuppressions()) == 0 {
		return err
	}
	return send(part)
}

// importSuppressions takes back what an export handed over; nothing of a list with a mistake.
//
// A crash leaves some imported; importing again changes nothing for those.
func (a *API) importSuppressions(ctx context.Context, q *candorv1.ImportSuppressionsRequest) (*candorv1.ImportSuppressionsResponse, error) {
	for i, s := range q.GetSuppressions() {
		if !reasonWord.MatchString(s.GetReason()) {
			return nil, refuse(connect.CodeInvalidArgument, "nothing is imported: of number %d of the list %w", i+1, errNoReason)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(suppressionsAtOnce)
	for _, s := range q.GetSuppressions() {
		g.Go(func() error { return a.Suppressions.Import(gctx, s.GetHash(), s.GetReason()) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	a.Log.Info().Str("by", caller(ctx).Token).Int("opt_outs", len(q.GetSuppressions())).Msg("opt-outs imported")
	return &candorv1.ImportSuppressionsResponse{Imported: uint64(len(q.GetSuppressions()))}, nil
}
