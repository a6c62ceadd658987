// Package api is the service behind the command line: it owns incidents, rosters, approvals and tokens, and asks the others
// what they know.
//
// In:  gRPC and JSON over HTTP (candor/v1), PUT of rosters, breach.declare, ask.api.find, call.request.*   Out: BREACH, ROSTER, breach.<fact>.*, ask.>
// Crash: what was answered is on disk. A decision that nobody was told of is told at the next start, an upload that did not
// come to its end is cleared away by the next one, and an abort is gone on with by aborting again.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"candor/pkg/bus"
	"candor/pkg/clock"
	"candor/pkg/finder"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/pagestore"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/suppression"
	"candor/pkg/token"
	"candor/pkg/vault"
)

// Deps is what the api works with.
type Deps struct {
	Bus    *bus.Bus
	Vault  *vault.Vault
	Tokens *token.Store
	// Suppressions is the list of opt-outs; somebody else runs it.
	Suppressions *suppression.Set
	Metrics      prometheus.Registerer
	Clock        clock.Clock
	Log          zerolog.Logger
}

// API is the service.
type API struct {
	Deps
	cfg       Config
	events    *incident.Log
	pages     *pagestore.Store
	finder    *finder.Finder
	texts     *notice.Library
	store     store
	asked     asked
	metrics   *metrics
	validator protovalidate.Validator

	stopping chan struct{} // closed when Run's context ends
	declared chan string   // incidents whose customers are to be indexed

	mu        sync.Mutex
	uploading map[string]bool // incidents whose roster is being uploaded to this process; guarded by mu
}

// New returns the api; it serves when its Handler does, and Run keeps its promises to others.
func New(cfg Config, d Deps) (*API, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	m, err := newMetrics(d.Metrics)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	v, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	pages := pagestore.New(d.Bus, d.Vault)
	return &API{
		Deps: d, cfg: cfg, events: incident.NewLog(d.Bus, d.Clock.Now), pages: pages, store: store{d.Bus, pages}, metrics: m, validator: v,
		finder: finder.New(pages, d.Vault), texts: notice.NewLibrary(), asked: asked{places: map[askedPlace]struct{}{}},
		stopping: make(chan struct{}), declared: make(chan string, warmingsAhead), uploading: map[string]bool{},
	}, nil
}

// Run takes declarations and the front door's questions from NATS, tells others of decisions that a crash kept from them, and
// indexes the customers of declared incidents, until ctx ends.
func (a *API) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { close(a.stopping) })()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.serveDeclare(ctx) })
	g.Go(func() error { return a.servePlaces(ctx) })
	g.Go(func() error { return a.followAsked(ctx) })
	g.Go(func() error { return a.republish(ctx) })
	g.Go(func() error { return a.warm(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

// RosterPrefix is the path under which rosters are uploaded, and RosterMaxBytes what httpd should let pass there: more than
// any file, because they are read as they come.
const (
	RosterPrefix         = "/v1/incidents/"
	RosterMaxBytes int64 = 1 << 40
)

// Handler answers everything: Connect, gRPC and gRPC-Web on one path each, and the upload of rosters.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	opts := append(jsonCodecs(), connect.WithInterceptors(gate{a}), connect.WithReadMaxBytes(4<<20))
	mux.Handle(candorv1connect.NewIncidentServiceHandler(incidentService{a}, opts...))
	mux.Handle(candorv1connect.NewLedgerServiceHandler(ledgerService{a}, opts...))
	mux.Handle(candorv1connect.NewSuppressionServiceHandler(suppressionService{a}, opts...))
	mux.Handle(candorv1connect.NewCallQueueServiceHandler(callQueueService{a}, append(slices.Clone(opts), strictCodecs()...)...))
	mux.Handle(candorv1connect.NewTokenServiceHandler(tokenService{a}, opts...))
	mux.Handle(candorv1connect.NewTeamServiceHandler(teamService{a}, opts...))
	mux.HandleFunc("PUT "+RosterPrefix+"{incident}/roster", a.uploadRoster)
	mux.HandleFunc("PUT "+RosterPrefix+"{incident}/rows", a.uploadRows)
	mux.HandleFunc("GET /openapi.yaml", serveOpenAPI)
	return mux
}

// answer lets a method that knows nothing of Connect answer a Connect request.
func answer[Q, R any](ctx context.Context, q *connect.Request[Q], method func(context.Context, *Q) (*R, error)) (*connect.Response[R], error) {
	r, err := method(ctx, q.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(r), nil
}
