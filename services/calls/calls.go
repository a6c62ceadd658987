// Package calls owns the call queue: it turns orders and wishes into tasks, hands them to dialers, one at a time and each to
// one dialer only, and records what came of them.
//
// In:  order.call.>, call.request.*, the incidents, requests on calls.>
// Out: CALLS (call.incident.*), JOURNAL of the channel call, SUPPRESSIONS, answers to dialers
//
// Crash: what was answered is on disk, and what is on disk is folded again by the next owner. One process owns the queue of
// all incidents, because the caps of a number hold across them; others stand by, with everything folded. Each append is
// fenced by the last sequence of its incident, and a new owner begins by writing to every incident: what the old one decides
// after that is refused.
//
// Personal data is in memory only while a page is open, and leaves it only in the answer to a claim.
package calls

import (
	"context"
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/script"
	"candor/pkg/suppression"
	"candor/pkg/token"
	"candor/pkg/vault"
)

// Deps is what the call queue works with. Incidents, Suppressions and the journal's appender run elsewhere.
type Deps struct {
	Bus          *bus.Bus
	Incidents    *incident.Registry
	Suppressions *suppression.Set
	Pages        Pages
	Journal      *journal.Journal
	Door         *vault.Door
	Texts        *notice.Library
	// Tokens and Owner are the buckets TOKENS and CALLOWNER; FirstAdmin is the line of the settings.
	Tokens, Owner *bus.KV
	FirstAdmin    string
	Metrics       prometheus.Registerer
	Clock         clock.Clock
	Log           zerolog.Logger
}

// Calls is the service.
type Calls struct {
	Deps
	cfg       Config
	doorman   *doorman
	tokens    *token.Store
	scripts   *script.Library
	folder    *folder
	metrics   *metrics
	validator protovalidate.Validator
	seat      *seat
}

// New returns the service; Run runs it.
func New(cfg Config, d Deps) (*Calls, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Calls{
		Deps: d, cfg: cfg, doorman: newDoorman(d.Tokens), scripts: script.NewLibrary(),
		folder: newFolder(d.Pages, cfg.OpenPages, incident.NewLog(d.Bus, d.Clock.Now).Load),
		seat:   &seat{kv: d.Owner, every: cfg.RenewEvery, mono: d.Clock.Mono, log: d.Log},
	}
	var err error
	if c.tokens, err = token.NewStore(c.doorman, d.FirstAdmin, d.Clock.Now); err != nil {
		return nil, fmt.Errorf("calls: %w", err)
	}
	if c.validator, err = protovalidate.New(); err != nil {
		return nil, fmt.Errorf("calls: %w", err)
	}
	if c.metrics, err = newMetrics(d.Metrics); err != nil {
		return nil, fmt.Errorf("calls: %w", err)
	}
	return c, nil
}

// Run stands by, owns the queue whenever it is this process's turn, and ends with ctx.
func (c *Calls) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		defer stop()
		watched <- c.doorman.run(ctx)
	}()
	for ctx.Err() == nil {
		if err := c.tenure(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn().Err(err).Msg("call queue is read anew")
			_ = pause(ctx, c.cfg.RenewEvery/4) // ended by ctx, which the loop sees
		}
	}
	stop()
	c.folder.ahead.Wait()
	return <-watched
}

// tenure stands by until this process owns the queue, and owns it for as long as it can.
func (c *Calls) tenure(ctx context.Context) error {
	for _, ready := range []<-chan struct{}{c.Incidents.Ready(), c.Suppressions.Ready(), c.doorman.ready} {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	b, err := newBooks(c)
	if err != nil {
		return err
	}
	defer c.Suppressions.Follow(b.hear)()
	err = c.standBy(ctx, b)
	if err != nil || ctx.Err() != nil {
		return err
	}
	return c.own(ctx, b)
}

// standBy folds the queue as it is and goes on doing so until this process may own it.
func (c *Calls) standBy(ctx context.Context, b *books) error {
	fctx, endFold := context.WithCancel(ctx)
	caughtUp, folded := make(chan struct{}), make(chan error, 1)
	go func() { folded <- b.follow(fctx, func() { close(caughtUp) }) }()
	wait := func() error {
		endFold()
		return <-folded
	}
	select {
	case <-caughtUp:
	case err := <-folded:
		endFold()
		return err
	}
	b.me = newID()
	// What goes wrong with the fold meanwhile ends the waiting.
	tctx, endTake := context.WithCancel(fctx)
	defer endTake()
	took := make(chan error, 1)
	go func() {
		var err error
		b.rev, err = c.seat.take(tctx, b.me)
		took <- err
	}()
	select {
	case err := <-took:
		return errors.Join(err, wait())
	case err := <-folded:
		endTake()
		endFold()
		if terr := <-took; terr == nil {
			err = errors.Join(err, c.seat.giveUp(ctx, b.rev))
		}
		return err
	}
}
