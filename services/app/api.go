package app

import (
	"context"
	"errors"
	"fmt"

	"candor/pkg/httpd"
	"candor/pkg/token"
	"candor/pkg/topology"
	"candor/services/api"
)

// addAPI adds the service behind the command line. Its listener is opened here, so that the address is known and taken.
func (a *App) addAPI(ctx context.Context) error {
	kv, err := a.bus.KV(ctx, topology.BucketTokens)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	tokens, err := token.NewStore(kv, a.cfg.FirstAdmin, a.now)
	if err != nil {
		return fmt.Errorf("first_admin: %w", err)
	}
	settings := a.cfg.API
	settings.Webhook = a.cfg.Frontdoor.SendGrid.PublicKey != ""
	service, err := api.New(settings, api.Deps{
		Bus: a.bus, Vault: a.vault, Tokens: tokens, Suppressions: a.suppressed, Metrics: a.metrics, Clock: a.clock, Log: a.log,
	})
	if err != nil {
		return err
	}
	cfg := a.cfg.HTTP
	cfg.LargeBodies = map[string]int64{api.RosterPrefix: api.RosterMaxBytes}
	server, err := httpd.New(cfg, service.Handler(), httpd.Ops{Registry: a.metrics, Tokens: tokens, Ready: a.ready}, a.log)
	if err != nil {
		return err
	}
	a.http = server
	a.group.Add("api", service)
	a.group.Add("http", server)
	return nil
}

// ready says what is missing before requests can be answered.
func (a *App) ready() error {
	if !a.bus.Connected() {
		return errors.New("the broker is not reachable")
	}
	select {
	case <-a.incidents.Ready():
		return nil
	default:
		return errors.New("incidents are still being read")
	}
}
