// Package team tells the response team of an incident what needs them, and reminds until somebody acknowledges.
//
// In:  breach.incident.*, team.*, order.*.team.>, sealed addresses in ROSTER
// Out: team.*, order.*.team.>, the providers, the team's webhooks
// Crash: an alert that was raised is on disk, and so is its order. A message that was handed over and not written down is sent
// again: a colleague told twice is better than one not told at all.
//
// Messages to the team are no notices: neither pause nor quiet hours hold them up, they have a lane of their own, and no
// journal. The addresses are unsealed for each message, and kept by nobody.
package team

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"candor/pkg/bus"
	"candor/pkg/clock"
	"candor/pkg/playbook"
	"candor/pkg/provider"
	"candor/pkg/ratelimit"
	"candor/pkg/team"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

// Limiter keeps the senders' rates, which the team's messages share with the notices.
type Limiter interface {
	Reserve(ctx context.Context, key string, units int, perSec float64) (ratelimit.Grant, error)
	Push(ctx context.Context, key string, until time.Time) error
}

// Route is a way for e-mails, named as the playbook's providers are.
type Route struct {
	Name     string
	Provider provider.EmailSender
}

// Deps is what the service works with.
type Deps struct {
	Bus   *bus.Bus
	Vault *vault.Vault
	// SMS is nil, and Emails empty, where this installation has no provider.
	SMS     provider.SMSSender
	Emails  []Route // in order of preference
	Limiter Limiter
	Clock   clock.Clock
	Log     zerolog.Logger
}

// Service is the service.
type Service struct {
	Deps
	cfg    Config
	events *team.Log
	hooks  *provider.Transport

	ready   chan struct{} // closed when the incidents at the start have been read
	changed chan struct{} // holds a value while an incident changed since the last look
	warned  sync.Map      // media without a provider, each logged once

	mu    sync.Mutex
	cases map[string]*incidentCase // guarded by mu
}

// incidentCase is what is known of one incident.
type incidentCase struct {
	id string
	// Guarded by the service's mu.
	watch *team.Watch
	plan  *plan // of the newest draft; nil while it has none, or names nobody

	// A turn: held while TEAM is read and written for the incident, never while a message is handed over nor with the service's mu.
	mu    sync.Mutex
	board *team.Board // guarded by mu
	read  bool        // the board was read at least once; guarded by mu
}

// plan is what two people approved, or shall approve, about the team.
type plan struct {
	addresses  string // subject of the sealed addresses
	team       *playbook.Team
	providers  *playbook.Providers
	recipients []team.Recipient
}

// New returns the service.
func New(cfg Config, d Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("team: %w", err)
	}
	hooks := provider.DefaultTransportConfig()
	hooks.MaxInFlight, hooks.RequestTimeout = cfg.InFlight, cfg.RequestTimeout
	return &Service{
		Deps: d, cfg: cfg, events: team.NewLog(d.Bus, d.Clock.Now), hooks: provider.NewTransport(hooks, d.Clock.Machine),
		ready: make(chan struct{}), changed: make(chan struct{}, 1), cases: map[string]*incidentCase{},
	}, nil
}

// Run works until ctx ends and the messages in hand are handed over.
func (s *Service) Run(ctx context.Context) error {
	defer s.hooks.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		caughtUp := sync.OnceFunc(func() { close(s.ready) })
		return s.Bus.Follow(ctx, topology.StreamBreach, []string{topology.Breach("*")}, 1, s.fold, func(uint64) { caughtUp() })
	})
	g.Go(func() error { return s.lookOut(ctx) })
	g.Go(func() error {
		if !s.isReady(ctx) {
			return nil
		}
		opts := bus.ConsumeOptions{Concurrency: s.cfg.InFlight}
		return s.Bus.Consume(ctx, topology.StreamOrders, topology.ConsumerTeam, opts, s.tell)
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("team: %w", err)
	}
	return nil
}

func (s *Service) isReady(ctx context.Context) bool {
	select {
	case <-s.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// fold takes the next event of any incident.
func (s *Service) fold(m bus.Stored) error {
	id, ok := topology.ParseBreach(m.Subject)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cases[id]
	if c == nil {
		c = &incidentCase{id: id, watch: team.NewWatch(id), board: team.NewBoard(id)}
		s.cases[id] = c
	}
	before := c.watch.Draft
	if err := c.watch.Fold(m); err != nil {
		return err
	}
	if c.watch.Draft != before {
		c.plan = s.read(id, c.watch.Draft)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// read takes what a draft says about the team.
func (s *Service) read(id string, d *candorv1.Drafted) *plan {
	if d.GetTeam() == "" {
		return nil
	}
	pb, err := playbook.Parse("playbook", []byte(d.GetDeclaration().GetPlaybook()))
	if err != nil {
		s.Log.Error().Err(err).Str("incident", id).Msg("the playbook cannot be read, so its team is told nothing: run the version that took it")
		return nil
	}
	return &plan{addresses: d.GetTeam(), team: pb.Team, providers: &pb.Providers, recipients: team.Recipients(pb.Team)}
}

// find returns what is known of an incident; nil if that is nothing, or if it has no team.
func (s *Service) find(id string) (*incidentCase, *plan, []*candorv1.Alert) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cases[id]
	if c == nil || c.plan == nil {
		return nil, nil, nil
	}
	return c, c.plan, c.watch.Alerts()
}

// known lists the incidents by id.
func (s *Service) known() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.cases))
}
