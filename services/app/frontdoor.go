package app

import (
	"context"
	"fmt"
	"strings"

	"candor/pkg/noticeid"
	"candor/pkg/topology"
	"candor/services/frontdoor"
	"candor/services/sandbox"
)

// addFrontdoor adds the service that hears providers and customers. Its listener is opened here, so that its address is known
// to those who are to call back.
func (a *App) addFrontdoor(ctx context.Context) error {
	cfg := &a.cfg.Frontdoor
	if tw := a.cfg.Providers.Twilio; cfg.Twilio.AuthToken == "" && tw.KeySID == "" {
		cfg.Twilio.AuthToken, cfg.Twilio.AccountSID = tw.Secret, tw.AccountSID // without an API key the secret is the auth token
	}
	if a.sandbox != nil && cfg.SendGrid.PublicKey == "" {
		cfg.SendGrid.PublicKey = a.sandbox.SendGridPublicKey()
	}
	replies, err := a.bus.KV(ctx, topology.BucketReplies)
	if err != nil {
		return fmt.Errorf("replies: %w", err)
	}
	f, err := frontdoor.New(*cfg, frontdoor.Deps{
		Bus: a.bus, Incidents: a.incidents, Suppressions: a.suppressed, IDs: noticeid.New(a.door.IDKey()), Door: a.door,
		Replies: replies, Metrics: a.metrics, Clock: a.clock, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.front, cfg.PublicURL = f, f.PublicURL()
	a.group.Add("frontdoor", f)
	if a.sandbox == nil {
		return nil
	}
	return a.sandbox.SetHooks(sandbox.Hooks{EventsURL: f.PublicURL() + frontdoor.SendGridPath, InboundURL: f.PublicURL() + frontdoor.TwilioInboundPath})
}

// callbackURL is where Twilio tells what became of a message: the front door, in this process or another.
func (a *App) callbackURL() string {
	if a.cfg.Frontdoor.PublicURL == "" {
		return ""
	}
	return strings.TrimSuffix(a.cfg.Frontdoor.PublicURL, "/") + strings.TrimSuffix(frontdoor.TwilioStatusPath, "/")
}

// FrontdoorURL is where this process hears providers and customers; empty without the front door.
func (a *App) FrontdoorURL() string {
	if a.front == nil {
		return ""
	}
	return a.front.URL()
}
