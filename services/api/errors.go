package api

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/vault"
)

// refuse makes an error that the caller reads: what is wrong, and what to do about it.
func refuse(code connect.Code, format string, args ...any) error {
	return connect.NewError(code, fmt.Errorf(format, args...))
}

// codes says how what happened below is told to the caller; the first match counts.
var codes = []struct {
	cause  error
	code   connect.Code
	remedy string
}{
	{incident.ErrUnknown, connect.CodeNotFound, "see candor incidents for those that there are"},
	{vault.ErrShredded, connect.CodeFailedPrecondition, "the incident was shredded: its customers cannot be read any more, and its id is not used again"},
	{vault.ErrNoKey, connect.CodeFailedPrecondition, "upload the roster first"},
	{bus.ErrNoSpace, connect.CodeResourceExhausted, "make room for the broker and try again"},
	{bus.ErrUnavailable, connect.CodeUnavailable, "try again when NATS can be reached"},
	{bus.ErrUnknownOutcome, connect.CodeUnavailable, "look at the incident before you try again"},
	{context.Canceled, connect.CodeCanceled, ""},
	{context.DeadlineExceeded, connect.CodeDeadlineExceeded, "try again; what was begun is gone on with"},
}

// ours says that an error has a cause for which no file and no request is to blame.
func ours(err error) bool {
	for _, k := range codes {
		if errors.Is(err, k.cause) {
			return true
		}
	}
	return false
}

// remoteCodes are the words in which another service answers.
var remoteCodes = map[bus.Code]connect.Code{
	bus.CodeInvalid: connect.CodeInvalidArgument, bus.CodeUnauthenticated: connect.CodeUnauthenticated,
	bus.CodePermissionDenied: connect.CodePermissionDenied, bus.CodeNotFound: connect.CodeNotFound,
	bus.CodeExists: connect.CodeAlreadyExists, bus.CodePrecondition: connect.CodeFailedPrecondition,
	bus.CodeUnavailable: connect.CodeUnavailable, bus.CodeInternal: connect.CodeInternal,
}

// asConnect gives every error a code. What has none is ours to mend: it is logged, and the caller is told where to look.
func (a *API) asConnect(procedure string, err error) error {
	var c *connect.Error
	if errors.As(err, &c) {
		if error(c) == err { //nolint:errorlint // asks whether anybody said more about it on the way
			return c
		}
		return connect.NewError(c.Code(), err)
	}
	var remote *bus.RemoteError
	if errors.As(err, &remote) {
		if code, ok := remoteCodes[remote.Code]; ok && code != connect.CodeInternal {
			return connect.NewError(code, err)
		}
	}
	for _, k := range codes {
		if !errors.Is(err, k.cause) {
			continue
		}
		if k.remedy == "" {
			return connect.NewError(k.code, err)
		}
		return connect.NewError(k.code, fmt.Errorf("%w: %s", err, k.remedy))
	}
	a.Log.Error().Err(err).Str("procedure", procedure).Msg("request failed")
	return connect.NewError(connect.CodeInternal, fmt.Errorf("%w: the log of the api says more", err))
}

// asReply is asConnect for whoever asked over NATS.
func (a *API) asReply(subject string, err error) error {
	err = a.asConnect(subject, err)
	var c *connect.Error
	errors.As(err, &c)
	return bus.Errorf(busCode(err), "%s", c.Message())
}

// busCode is asConnect's code in the words of a reply over NATS.
func busCode(err error) bus.Code {
	code := connect.CodeOf(err)
	for b, c := range remoteCodes {
		if c == code {
			return b
		}
	}
	switch code {
	case connect.CodeAborted:
		return bus.CodePrecondition
	case connect.CodeResourceExhausted, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		return bus.CodeUnavailable
	}
	return bus.CodeInternal
}
