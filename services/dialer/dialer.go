// Package dialer is the reference dialer: it works off the call queue as a contact centre would, for demos, drills and load,
// and it is the example for whoever connects a dialer of their own. agent.go is the whole conversation with the queue and is
// to be read first, lease.go keeps a task while a call lasts, line.go says where the telephone goes. It uses the public API
// and nothing else.
//
// In:  the call queue's API, under a token with the role dialer   Out: the same, and counts
//
// Crash: nothing is kept. Leases end by themselves, and the queue holds the customers back for a while, because they may have
// been called.
package dialer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"candor/pkg/clock"
	"candor/pkg/rpc/candorv1connect"
)

// Dialer is a contact centre: a number of agents, each with one line.
type Dialer struct {
	cfg    Config
	client candorv1connect.CallQueueServiceClient
	line   Line
	now    func() time.Time
	mono   func() time.Duration
	log    zerolog.Logger

	// silent says that the queue did not answer when it was last asked: one line of log for all agents.
	silent atomic.Bool
	// answered says that it ever has.
	answered atomic.Bool
	mu       sync.Mutex // guards stats
	stats    Stats
}

// New returns a contact centre; Run opens it. The clock is the queue's calendar; waits and leases go by the machine's own.
func New(cfg Config, client candorv1connect.CallQueueServiceClient, line Line, now func() time.Time, log zerolog.Logger) (*Dialer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Dialer{cfg: cfg, client: client, line: line, now: now, mono: clock.Clock{}.Mono, log: log, stats: Stats{Dispositions: map[string]uint64{}}}, nil
}

// Run works until ctx ends, or until the queue says that this dialer may not. Then nobody claims any more, whoever has not
// dialled yet gives the task back, and calls go on to their end for as long as the settings say.
func (d *Dialer) Run(ctx context.Context) error {
	agents, ctx := errgroup.WithContext(ctx)
	onCall, hangUp := afterwards(ctx, d.cfg.Grace)
	defer hangUp()
	reporting, giveUp := afterwards(onCall, answerWithin)
	defer giveUp()
	for n := range d.cfg.Agents {
		a := &agent{Dialer: d, onCall: onCall, reporting: reporting, queue: newBackoff(uint64(n)), phone: newBackoff(uint64(n))}
		agents.Go(func() error { return a.run(ctx) })
	}
	if err := agents.Wait(); err != nil {
		return fmt.Errorf("work the call queue: %w", err)
	}
	return nil
}

// afterwards returns a context that ends so long after another one has.
func afterwards(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		wait(later, d) // the end of later ends it too
		cancel()
	})
	return later, func() { stop(); cancel() }
}

// wait returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
