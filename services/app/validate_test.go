package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"candor/pkg/config"
)

const account = "AC00000000000000000000000000000001"

// sandboxed are settings that lack nothing, of any target.
const sandboxed = `
providers:
  twilio: {base_url: 'http://127.0.0.1:8421', account_sid: ` + account + `, secret: SECRET}
  sendgrid: {base_url: 'http://127.0.0.1:8421', api_key: SECRET}
frontdoor: {public_url: 'http://127.0.0.1:8422'}
`

func settings(t *testing.T, yaml string) Config {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("letters"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	if err := config.Decode("candor.yaml", []byte(strings.ReplaceAll(yaml, "SECRET", "'file:"+secret+"'")), &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestSettingsShowAllTheirMistakesAtOnce(t *testing.T) {
	t.Parallel()
	const many = `
first_admin: nobody
nats: {listen: '4222'}
http: {addr: here}
ledger: {answers: 0, catch_up: 1h}
planner: {look_every: 0s}
frontdoor: {listen: here, public_url: here, batch_most: 0}
calls: {in_hand: 0}
sms: {in_flight: 0, pages: 0}
email: {in_flight: 0, failover: {after: 0, back_after: 0s}}
team: {tries: 0}
followup: {look_every: 1h}
providers:
  twilio: {base_url: here, account_sid: me}
  sendgrid: {base_url: here, batch_size: 0, api_key: SECRET}
  smtp: {host: 'a b', port: 0}
`
	names, err := ParseTargets("all")
	if err != nil {
		t.Fatal(err)
	}
	err = settings(t, many).Validate(names)
	if err == nil {
		t.Fatal("Validate took it")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		"first_admin: ", "nats.listen ", "http: addr ", "ledger: answers ", "ledger: catch_up ", "planner: look_every ",
		"frontdoor: listen ", "frontdoor: public_url ", "frontdoor: batch_most ", "calls: in_hand ", "sms: in_flight ", "sms: pages ",
		"email: in_flight ", "email: failover: ", "team: tries ", "followup: look_every ",
		"providers.twilio: base_url ", "providers.twilio: account_sid ", "providers.twilio: secret ",
		"providers.sendgrid: base_url ", "providers.sendgrid: batch_size ", "providers.smtp: host ", "providers.smtp: port ",
	} {
		n := 0
		for _, line := range lines {
			if strings.HasPrefix(line, want) {
				n++
			}
		}
		if n == 0 || n > 1 && !strings.HasSuffix(want, ": ") {
			t.Errorf("%d mistakes begin with %q, want one:\n%v", n, want, err)
		}
	}
	for _, line := range lines {
		if before, _, ok := strings.Cut(line, " "); !ok || !strings.HasSuffix(before, ":") && before != "nats.listen" {
			t.Errorf("%q does not begin with its section", line)
		}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); !ok || len(joined.Unwrap()) != len(lines) { //nolint:errorlint // what it joins is counted
		t.Errorf("%d lines, joined in another number of errors", len(lines))
	}
}

func TestATargetAsksForTheSettingsThatItUses(t *testing.T) {
	t.Parallel()
	const nothing = "frontdoor: {public_url: 'http://127.0.0.1:8422'}\n"
	for _, tt := range []struct {
		name, yaml, targets string
		want                []string // beginnings of all mistakes
	}{
		{"all there is", sandboxed, "all", nil},
		{"the sandbox's own account", "", "all,sandbox", nil},
		{"the sandbox by itself", "providers: {twilio: {account_sid: me}}", "sandbox", nil},
		{"no accounts", nothing, "all", []string{"providers.twilio: account_sid", "providers.twilio: secret", "providers.sendgrid: api_key"}},
		{"no accounts, and none needed", "", "api,calls,followup,ledger,planner,team", nil},
		{"a relay alone", nothing + "providers: {smtp: {host: relay.example.com}}", "email", nil},
		{"nobody knows the front door", strings.Replace(sandboxed, "{public_url: 'http://127.0.0.1:8422'}", "{}", 1), "sms", []string{"frontdoor: public_url is missing"}},
		{"the front door is in the process", strings.Replace(sandboxed, "{public_url: 'http://127.0.0.1:8422'}", "{}", 1), "sms,frontdoor", nil},
		{"the front door takes the account's name", "providers: {twilio: {account_sid: me}}", "frontdoor", []string{"frontdoor: twilio.account_sid"}},
		{"the team's account", "providers: {twilio: {account_sid: me, secret: SECRET}}", "team", []string{"providers.twilio: account_sid"}},
		{"somebody else's section", sandboxed + "sms: {in_flight: 0}\nledger: {answers: 0}\n", "email", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			names, err := ParseTargets(tt.targets)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if err := settings(t, tt.yaml).Validate(names); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("mistakes %q, want them to begin with %q", got, tt.want)
			}
		})
	}
}

func TestPathsAreRelativeToTheSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"candor.yaml": "data: d\nkeys: k\nproviders:\n  sendgrid: {api_key: file:key}\n  smtp: {host: relay.example.com, ca: ca.pem}\n",
		"key":         "SG.key\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Load(filepath.Join(dir, "candor.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{cfg.Data: "d", cfg.Keys: "k", cfg.Providers.SMTP.CA: "ca.pem"} {
		if got != filepath.Join(dir, want) {
			t.Errorf("%s, want %s beside the settings", got, want)
		}
	}
	if got := cfg.Providers.SendGrid.APIKey.Reveal(); got != "SG.key" {
		t.Errorf("the key is %q", got)
	}
}
