package app

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"candor/services/frontdoor"
	"candor/services/sandbox"
	"candor/services/sms/twilio"
)

// playedBy returns the accounts beside a sandbox in the same process: whoever names the sandbox and no other server means the
// sandbox.
func (p Providers) playedBy(url string, played sandbox.Config) Providers {
	if p.Twilio.AccountSID == "" {
		p.Twilio.BaseURL = url
		p.Twilio.AccountSID, p.Twilio.Secret = played.Twilio.AccountSID, played.Twilio.AuthToken
	}
	if p.SendGrid.APIKey == "" {
		p.SendGrid.BaseURL, p.SendGrid.APIKey = url, played.SendGrid.APIKey
	}
	return p
}

// somewhere stands for an address that is known once its listener is open.
const somewhere = "http://127.0.0.1"

// validateProviders checks the accounts as the targets will be given them.
func (c Config) validateProviders(targets []string, check func(section string, err error)) {
	has := func(t string) bool { return slices.Contains(targets, t) }
	p := c.Providers
	if has("sandbox") {
		p = p.playedBy(somewhere, c.Sandbox)
	}
	// How many requests there are and how long they take is said by the sections sms, email and team, which are checked for themselves.
	usual := twilio.DefaultConfig().HTTP
	if tw := p.Twilio; has("sms") || has("team") && tw.AccountSID != "" {
		// The section frontdoor says where receipts come in, and is checked as a whole where the front door runs.
		if tw.CallbackURL == "" && !has("frontdoor") {
			door := frontdoor.DefaultConfig()
			door.PublicURL = c.Frontdoor.PublicURL
			check("frontdoor", door.Validate())
			if door.PublicURL == "" && has("sms") {
				check("frontdoor", errors.New("public_url is missing: say how Twilio reaches the front door, such as https://hooks.example.com"))
			}
		}
		tw.CallbackURL = cmp.Or(tw.CallbackURL, somewhere)
		tw.HTTP.MaxInFlight, tw.HTTP.RequestTimeout = usual.MaxInFlight, usual.RequestTimeout
		check("providers.twilio", tw.Validate())
	} else if has("frontdoor") && c.Frontdoor.Twilio.AuthToken == "" && tw.KeySID == "" {
		door := frontdoor.DefaultConfig() // which takes the account from here
		door.Twilio.AccountSID = tw.AccountSID
		check("frontdoor", door.Validate())
	}
	relay := p.SMTP
	if sg := p.SendGrid; has("email") && relay.Host == "" || (has("email") || has("team")) && sg.APIKey != "" {
		sg.HTTP.MaxInFlight, sg.HTTP.RequestTimeout = usual.MaxInFlight, usual.RequestTimeout
		check("providers.sendgrid", sg.Validate())
	}
	if relay.Host != "" && (has("email") || has("team")) {
		relay.RequestTimeout = usual.RequestTimeout
		check("providers.smtp", relay.Validate())
	}
}

// mistakes takes joined errors apart, so that each begins with its section.
func mistakes(section string, err error) (all []error) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked here, one level at a time
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			all = append(all, mistakes(section, part)...)
		}
		return all
	case interface{ Unwrap() error }:
		// Words before several mistakes, as in "failover: …", belong to each of them.
		if several := e.Unwrap(); several != nil && strings.Contains(several.Error(), "\n") {
			words := strings.TrimSuffix(err.Error(), several.Error())
			return mistakes(section+": "+strings.TrimSuffix(words, ": "), several)
		}
	}
	if strings.HasPrefix(err.Error(), section+": ") {
		return []error{err}
	}
	return []error{fmt.Errorf("%s: %w", section, err)}
}
