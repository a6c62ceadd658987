// Package run runs the services of one process together: all or none, and stopped in the reverse of the order they were started in.
//
// In: services, in the order they depend on each other.   Out: the first error that ended them, joined with those of stopping.
// Crash: holds nothing.
package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// Service blocks until ctx ends and the work in hand is done; then it answers nil.
type Service interface {
	Run(ctx context.Context) error
}

// Func makes a service of a function.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Group is a set of services that live and end together.
type Group struct {
	stopWithin time.Duration
	log        zerolog.Logger
	services   []*service
}

type service struct {
	name   string
	run    Service
	cancel context.CancelFunc
	done   chan struct{} // closed after err is written
	err    error
}

// NewGroup returns an empty group that gives its services this long, all together, to stop.
func NewGroup(stopWithin time.Duration, log zerolog.Logger) *Group {
	return &Group{stopWithin: stopWithin, log: log}
}

// Add adds a service; what it needs must have been added before it.
func (g *Group) Add(name string, s Service) {
	g.services = append(g.services, &service{name: name, run: s, done: make(chan struct{})})
}

// Run starts the services in order and blocks until ctx ends, one of them fails, or all are done by themselves. Then it stops them
// one at a time, last added first, so that nobody loses what it needs to finish. A group runs once.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan struct{}, len(g.services))
	finished := make(chan struct{}, len(g.services))
	// Not the callers' context: its end would stop all of them at once.
	base := context.WithoutCancel(ctx)
	for _, s := range g.services {
		sctx, cancel := context.WithCancel(base)
		defer cancel()
		s.cancel = cancel
		go func() {
			if s.err = s.run.Run(sctx); s.err != nil {
				s.err = fmt.Errorf("%s: %w", s.name, s.err)
				failed <- struct{}{}
			}
			close(s.done)
			finished <- struct{}{}
		}()
	}
	for running := len(g.services); running > 0; {
		select {
		case <-ctx.Done():
			return g.stop()
		case <-failed:
			return g.stop()
		case <-finished:
			running--
		}
	}
	return g.stop()
}

func (g *Group) stop() error {
	var errs []error
	deadline := time.NewTimer(g.stopWithin)
	defer deadline.Stop()
	late := false
	for i := len(g.services) - 1; i >= 0; i-- {
		s := g.services[i]
		s.cancel()
		if late { // time is up: tell the others too, and leave
			select {
			case <-s.done:
				errs = append(errs, s.err)
			default:
				errs = append(errs, fmt.Errorf("%s: left running", s.name))
			}
			continue
		}
		started := time.Now()
		select {
		case <-s.done:
			errs = append(errs, s.err)
			g.log.Debug().Str("service", s.name).Dur("took", time.Since(started)).Msg("service stopped")
		case <-deadline.C:
			late = true
			errs = append(errs, fmt.Errorf("%s: not stopped within %s", s.name, g.stopWithin))
		}
	}
	return errors.Join(errs...)
}
