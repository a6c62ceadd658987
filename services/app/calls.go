package app

import (
	"context"
	"fmt"

	"candor/pkg/topology"
	"candor/services/calls"
)

// addCalls adds the call queue; one process of several owns it.
func (a *App) addCalls(ctx context.Context) error {
	tokens, err := a.bus.KV(ctx, topology.BucketTokens)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	owner, err := a.bus.KV(ctx, topology.BucketCallOwner)
	if err != nil {
		return fmt.Errorf("owner of the call queue: %w", err)
	}
	c, err := calls.New(a.cfg.Calls, calls.Deps{
		Bus: a.bus, Incidents: a.incidents, Suppressions: a.suppressed, Pages: a.pages, Journal: a.journal, Door: a.door, Texts: a.texts,
		Tokens: tokens, Owner: owner, FirstAdmin: a.cfg.FirstAdmin, Metrics: a.metrics, Clock: a.clock, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.group.Add("calls", c)
	return nil
}
