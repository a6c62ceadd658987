package app

import (
	"context"
	"sync/atomic"
	"time"

	"candor/pkg/bus"
	"candor/pkg/run"
	"candor/pkg/topology"
)

// The broker's process tells workers elsewhere whether its disk is nearly full: they start nothing new then.
const (
	spaceEvery = time.Second
	spaceIsLow = "low"
)

func spaceSubject() string { return topology.Ask("nats", "space") }

// tellSpace answers for the disk of the broker in this process.
func (a *App) tellSpace() run.Service {
	return run.Func(func(ctx context.Context) error {
		return a.bus.Serve(ctx, spaceSubject(), "nats", 1, func(context.Context, bus.Request) (bus.Reply, error) {
			if a.server.SpaceLow() {
				return bus.Reply{Data: []byte(spaceIsLow)}, nil
			}
			return bus.Reply{}, nil
		})
	})
}

// followSpace keeps low as the broker's process says. A stock broker says nothing: there only a disk that is full is noticed.
func (a *App) followSpace(low *atomic.Bool) run.Service {
	return run.Func(func(ctx context.Context) error {
		tick := time.NewTicker(spaceEvery)
		defer tick.Stop()
		for {
			rctx, cancel := context.WithTimeout(ctx, spaceEvery)
			reply, err := a.bus.Request(rctx, spaceSubject(), nil, nil)
			cancel()
			if err == nil {
				low.Store(string(reply.Data) == spaceIsLow)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
}
