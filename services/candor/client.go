package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/config"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/token"
)

const (
	defaultServer = "http://127.0.0.1:8420"
	tokenEnv      = "CANDOR_TOKEN"
	// idleConns are kept for the agents of candor dialer, each of whom asks over and over.
	idleConns = 256
)

// remote says which server a command speaks to, and as whom.
type remote struct{ server, tokenFile string }

func remoteFlags(cmd *cobra.Command) *remote {
	r := &remote{}
	cmd.Flags().StringVar(&r.server, "server", defaultServer, "`URL` of a running candor serve")
	cmd.Flags().StringVar(&r.tokenFile, "token-file", "", "`FILE` with your token; or the token itself in $"+tokenEnv)
	return r
}

// client speaks to the api.
type client struct {
	candorv1connect.IncidentServiceClient
	candorv1connect.LedgerServiceClient
	candorv1connect.TokenServiceClient
	candorv1connect.SuppressionServiceClient
	candorv1connect.CallQueueServiceClient
	candorv1connect.TeamServiceClient
	http   *http.Client
	url    string
	source string        // where the token came from, for whoever named the wrong one
	retry  time.Duration // how often a watch looks for a server that went away
}

func (c *cli) connect(cmd *cobra.Command, r *remote) (*client, error) {
	u, err := url.Parse(strings.TrimSuffix(r.server, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usageError(cmd, "--server %s: give an address such as %s", r.server, defaultServer)
	}
	bearer, source, err := c.bearer(r)
	if err != nil {
		return nil, err
	}
	s := &client{url: u.String(), source: source, retry: retryEvery}
	s.http = &http.Client{Transport: &identified{as: func(h http.Header) { h.Set("Authorization", "Bearer "+bearer.Reveal()) }, next: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: 2 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   idleConns,
	}}}
	explain := connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			resp, err := next(ctx, req)
			return resp, s.explain(err)
		}
	}))
	s.IncidentServiceClient = candorv1connect.NewIncidentServiceClient(s.http, s.url, explain)
	s.LedgerServiceClient = candorv1connect.NewLedgerServiceClient(s.http, s.url, explain)
	s.TokenServiceClient = candorv1connect.NewTokenServiceClient(s.http, s.url, explain)
	s.SuppressionServiceClient = candorv1connect.NewSuppressionServiceClient(s.http, s.url, explain)
	s.CallQueueServiceClient = candorv1connect.NewCallQueueServiceClient(s.http, s.url, explain)
	s.TeamServiceClient = candorv1connect.NewTeamServiceClient(s.http, s.url, explain)
	return s, nil
}

func (c *cli) bearer(r *remote) (bearer config.Secret, source string, err error) {
	if r.tokenFile != "" {
		b, err := token.ReadFile(r.tokenFile)
		if err != nil {
			return "", "", &failure{code: exitFailed, what: err.Error(), remedy: "--token-file names the file that candor token create, or candor init, wrote", cause: err}
		}
		return b, r.tokenFile, nil
	}
	if v, ok := c.env(tokenEnv); ok && strings.TrimSpace(v) != "" {
		return config.Secret(strings.TrimSpace(v)), "$" + tokenEnv, nil
	}
	return "", "", &failure{code: exitUsage, what: "who are you? there is no token", remedy: "name your token's file with --token-file or $CANDOR_TOKEN_FILE; an admin makes one with candor token create"}
}

// identified puts the token on every request. It does not hold the token: whoever prints it prints an address.
type identified struct {
	as   func(http.Header)
	next http.RoundTripper
}

// RoundTrip adds the token to a copy of the request.
func (i *identified) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	i.as(req.Header)
	return i.next.RoundTrip(req)
}

// explain adds to an error what only this side knows: where it asked, and with whose token.
func (s *client) explain(err error) error {
	var refused *connect.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch {
	case connect.IsWireError(refused) && refused.Code() == connect.CodeUnauthenticated:
		return &failure{
			code: exitRefused, what: "the server does not take the token of " + s.source, cause: err,
			remedy: "it may be revoked, cut off or another installation's; --token-file names another one, candor token create makes one",
		}
	case !connect.IsWireError(refused) && refused.Code() == connect.CodeUnavailable:
		return s.unreachable(err)
	}
	return err
}

// unreachable says that nobody answered at the address.
func (s *client) unreachable(err error) error {
	why := err
	var op *net.OpError
	if errors.As(err, &op) {
		why = op.Err
	}
	return &failure{
		code: exitUnreachable, what: fmt.Sprintf("no answer from %s: %v", s.url, why), cause: err,
		remedy: "is candor serve running there? --server or $CANDOR_SERVER names another address",
	}
}
