package api

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// asked is who asked to be called, a moment behind the stream.
type asked struct {
	mu     sync.Mutex
	places map[askedPlace]struct{}
}

type askedPlace struct {
	incident   string
	page, slot uint32
}

func (c *asked) has(incident string, page, slot uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.places[askedPlace{incident, page, slot}]
	return ok
}

// followAsked follows the wishes to be called, until ctx ends.
func (a *API) followAsked(ctx context.Context) error {
	err := a.Bus.Follow(ctx, topology.StreamCalls, []string{topology.CallRequested("*")}, 1, func(m bus.Stored) error {
		r := &candorv1.CallRequest{}
		id, ok := topology.ParseCallRequested(m.Subject)
		if err := proto.Unmarshal(m.Data, r); err != nil || !ok {
			a.Log.Warn().Uint64("sequence", m.Seq).Str("subject", m.Subject).Msg("a wish to be called cannot be read, and is not shown")
			return nil //nolint:nilerr // one damaged wish must not hide the others
		}
		a.asked.mu.Lock()
		defer a.asked.mu.Unlock()
		a.asked.places[askedPlace{id, r.GetCustomer().GetPage(), r.GetCustomer().GetSlot()}] = struct{}{}
		return nil
	}, nil)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of ctx is no failure
	}
	return fmt.Errorf("follow who asked to be called: %w", err)
}
