package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"time"

	"candor/pkg/clock"
	"candor/pkg/config"
)

// Config is what a sandbox imitates and how.
type Config struct {
	Listen string        `yaml:"listen"` // address to serve on; port 0 takes a free one
	Token  config.Secret `yaml:"token"`  // for the pages, the ground truth and the faults; random where empty

	Twilio   TwilioConfig   `yaml:"twilio"`
	SendGrid SendGridConfig `yaml:"sendgrid"`
	Faults   Faults         `yaml:"faults"`
	Receipts Receipts       `yaml:"receipts"`

	TeamSecret config.Secret `yaml:"team_secret"` // with which posts to /hooks/team are signed

	// Clock is whose calendar the pages and the ground truth go by. What it tells as a provider is the machine's time.
	Clock clock.Clock `yaml:"-"`

	KeepTexts bool  `yaml:"keep_texts"` // keep what e-mails say, for the pages; the words of an SMS are kept in any case, since Twilio's list gives them back
	TextBytes int64 `yaml:"text_bytes"` // once e-mails take this much, what further ones say is not kept
}

// TwilioConfig is the Twilio account of the sandbox.
type TwilioConfig struct {
	AccountSID  string             `yaml:"account_sid"`
	AuthToken   config.Secret      `yaml:"auth_token"`   // letters and digits only: Twilio's library refuses others
	Senders     []string           `yaml:"senders"`      // numbers and Messaging Services of the account; any will do where empty
	RatePerSec  float64            `yaml:"rate_per_sec"` // segments per second of a sender; 0 is no limit
	SenderRates map[string]float64 `yaml:"sender_rates"` // the same, of single senders
	Concurrency int                `yaml:"concurrency"`  // requests at a time before 429; 0 is no limit
	Latency     time.Duration      `yaml:"latency"`      // of every answer
	ListLag     time.Duration      `yaml:"list_lag"`     // after which the list shows a new message

	InboundURL     string `yaml:"inbound_url"`      // where it is told what phones text back; a fragment such as #rc=3&rp=all says how often
	AdvancedOptOut bool   `yaml:"advanced_opt_out"` // tell there in OptOutType which English word Twilio understood; it obeys and answers them in any case
}

// SendGridConfig is the SendGrid account of the sandbox.
type SendGridConfig struct {
	APIKey     config.Secret `yaml:"api_key"`
	Latency    time.Duration `yaml:"latency"`    // of every answer
	Suppressed []string      `yaml:"suppressed"` // addresses whose mail is accepted and dropped

	EventsURL  string        `yaml:"events_url"`  // of the event webhook; empty for none
	WebhookKey config.Secret `yaml:"webhook_key"` // its P-256 private key, as PEM or base64 of DER; made at start where empty
}

// The account that a sandbox has unless told otherwise. They open nothing but a sandbox.
const (
	DefaultAccountSID = "AC00000000000000000000000000000000"
	defaultAuthToken  = "sandboxauthtoken"
	defaultAPIKey     = "SG.sandbox"
)

// DefaultConfig answers at once, knows no limits and makes no faults.
func DefaultConfig() Config {
	return Config{
		Listen:    "127.0.0.1:0",
		Twilio:    TwilioConfig{AccountSID: DefaultAccountSID, AuthToken: defaultAuthToken, AdvancedOptOut: true},
		SendGrid:  SendGridConfig{APIKey: defaultAPIKey},
		KeepTexts: true,
		TextBytes: 1 << 30,

		TeamSecret: defaultTeamSecret,
	}
}

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	alnum      = regexp.MustCompile(`^[0-9a-zA-Z]+$`)
)

// Validate reports every mistake at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("sandbox: "+format, args...)) }
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen %q: give host:port, as in 127.0.0.1:0", c.Listen)
	}
	if !accountSID.MatchString(c.Twilio.AccountSID) {
		bad("twilio.account_sid %q: give AC and 32 hexadecimal digits", c.Twilio.AccountSID)
	}
	if !alnum.MatchString(c.Twilio.AuthToken.Reveal()) {
		bad("twilio.auth_token: give letters and digits only")
	}
	if c.SendGrid.APIKey == "" {
		bad("sendgrid.api_key is empty")
	}
	for sender, rate := range c.Twilio.SenderRates {
		if !validRate(rate) {
			bad("twilio.sender_rates of %s is %v, give segments per second", sender, rate)
		}
	}
	if !validRate(c.Twilio.RatePerSec) {
		bad("twilio.rate_per_sec is %v, give segments per second, 0 for no limit", c.Twilio.RatePerSec)
	}
	if c.Twilio.Concurrency < 0 {
		bad("twilio.concurrency is %d, give a number of requests, 0 for no limit", c.Twilio.Concurrency)
	}
	if c.Twilio.Latency < 0 || c.Twilio.ListLag < 0 || c.SendGrid.Latency < 0 {
		bad("latency and list_lag cannot be negative")
	}
	for i, a := range c.SendGrid.Suppressed {
		if !validAddress([]byte(a)) {
			bad("sendgrid.suppressed[%d] is no address", i)
		}
	}
	if c.TextBytes < 0 {
		bad("text_bytes cannot be negative")
	}
	if c.SendGrid.WebhookKey != "" {
		if _, err := parseWebhookKey(c.SendGrid.WebhookKey); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.hooks().Validate(), c.Faults.Validate(), c.Receipts.Validate())...)
}

func (c *Config) hooks() Hooks {
	return Hooks{EventsURL: c.SendGrid.EventsURL, InboundURL: c.Twilio.InboundURL}
}

func validRate(r float64) bool { return r >= 0 && !math.IsInf(r, 1) }

func randomToken() config.Secret {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return config.Secret(hex.EncodeToString(b[:]))
}
