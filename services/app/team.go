package app

import (
	"cmp"
	"context"
	"fmt"

	"candor/pkg/ratelimit"
	"candor/pkg/topology"
	"candor/services/email/sendgrid"
	"candor/services/email/smtp"
	"candor/services/sms/twilio"
	"candor/services/team"
)

// addTeam adds the service that tells the response team. It has connections of its own, so that a colleague does not wait
// behind a million customers.
func (a *App) addTeam(ctx context.Context) error {
	if a.limiter == nil {
		limits, err := a.bus.KV(ctx, topology.BucketLimits)
		if err != nil {
			return fmt.Errorf("limits: %w", err)
		}
		a.limiter = ratelimit.New(limits, a.clock.Machine, a.log)
	}
	cfg := a.cfg.Team
	d := team.Deps{Bus: a.bus, Vault: a.vault, Limiter: a.limiter, Clock: a.clock, Log: a.log}
	if tw := a.cfg.Providers.Twilio; tw.AccountSID != "" {
		tw.CallbackURL = cmp.Or(tw.CallbackURL, a.callbackURL(), tw.BaseURL) // wanted, and never told: no receipt is asked for
		tw.HTTP.MaxInFlight, tw.HTTP.RequestTimeout = cfg.InFlight, cfg.RequestTimeout
		p, err := twilio.New(tw, a.clock.Machine)
		if err != nil {
			return fmt.Errorf("team: %w", err)
		}
		a.closers = append(a.closers, func(context.Context) error { p.Close(); return nil })
		d.SMS = p
	}
	if sg := a.cfg.Providers.SendGrid; sg.APIKey != "" {
		sg.HTTP.MaxInFlight, sg.HTTP.RequestTimeout = cfg.InFlight, cfg.RequestTimeout
		p, err := sendgrid.New(sg, a.clock.Machine)
		if err != nil {
			return fmt.Errorf("team: %w", err)
		}
		a.closers = append(a.closers, func(context.Context) error { p.Close(); return nil })
		d.Emails = append(d.Emails, team.Route{Name: "sendgrid", Provider: p})
	}
	if relay := a.cfg.Providers.SMTP; relay.Host != "" {
		relay.RequestTimeout = cfg.RequestTimeout
		p, err := smtp.New(relay, a.clock.Machine)
		if err != nil {
			return fmt.Errorf("team: %w", err)
		}
		a.closers = append(a.closers, func(context.Context) error { p.Close(); return nil })
		d.Emails = append(d.Emails, team.Route{Name: "smtp", Provider: p})
	}
	s, err := team.New(cfg, d)
	if err != nil {
		return err
	}
	a.group.Add("team", s)
	return nil
}
