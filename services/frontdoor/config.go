package frontdoor

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"candor/pkg/config"
	"candor/pkg/httpd"
)

// Config says where the front door is and whose words it takes.
type Config struct {
	// Listen is host:port; a proxy with TLS stands before it.
	Listen string `yaml:"listen"`
	// PublicURL is how Twilio reaches the front door, up to /hooks: signatures are made over it. Empty is the address that it
	// listens on, which only a sandbox on this machine can reach.
	PublicURL string         `yaml:"public_url"`
	Twilio    TwilioConfig   `yaml:"twilio"`
	SendGrid  SendGridConfig `yaml:"sendgrid"`
	// BatchWait is how long receipts are gathered before they are written down together, BatchMost how many at most.
	BatchWait time.Duration `yaml:"batch_wait"`
	BatchMost int           `yaml:"batch_most"`
}

// TwilioConfig opens Twilio's roads.
type TwilioConfig struct {
	// AuthToken is the account's, which signs; an API key does not. Without it the roads are closed.
	AuthToken config.Secret `yaml:"auth_token"`
	// AccountSID is the only account whose words are taken; empty takes every account that signs with the token.
	AccountSID string `yaml:"account_sid"`
	// AnswersWords says that Twilio itself answers its own English words, such as STOP, HELP and START, so that nobody is answered
	// twice. It does so on ordinary numbers unless somebody had it switched off. With Advanced Opt-Out Twilio says of each text
	// whether it has answered it, whatever is set here; say false then, so that a word that was taken off its list is answered.
	AnswersWords bool `yaml:"answers_words"`
	// MaxBody in bytes.
	MaxBody int64 `yaml:"max_body"`
}

// SendGridConfig opens SendGrid's road.
type SendGridConfig struct {
	// PublicKey is the verification key as SendGrid's console shows it. Without it the road is closed.
	PublicKey string `yaml:"public_key"`
	// MaxAge is how old a signature may be; 0 takes any. SendGrid repeats for 24 hours and does not say whether a repetition
	// is signed anew, so less than that may refuse honest ones. A replay within it changes nothing: what is said twice is the
	// same fact.
	MaxAge time.Duration `yaml:"max_age"`
	// MaxBody in bytes.
	MaxBody int64 `yaml:"max_body"`
}

// The largest settings that make sense.
const (
	mostBatchWait = 2 * time.Second // Twilio waits 15 seconds for an answer, and a store may take a while
	mostBatch     = 100_000
	mostBody      = 16 << 20
)

// DefaultConfig listens on this machine only, with both providers' roads closed.
func DefaultConfig() Config {
	return Config{
		Listen:    "127.0.0.1:8422",
		Twilio:    TwilioConfig{AnswersWords: true, MaxBody: 64 << 10},
		SendGrid:  SendGridConfig{MaxBody: 2 << 20, MaxAge: 26 * time.Hour},
		BatchWait: 20 * time.Millisecond,
		BatchMost: 1000,
	}
}

var accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("frontdoor: "+format, args...)) }
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen %q: give host:port, as in 127.0.0.1:8422", c.Listen)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		switch {
		case err != nil:
			bad("public_url is no address: give it as Twilio reaches it, as in https://hooks.example.com")
		case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "":
			bad("public_url %q: give it as Twilio reaches it, as in https://hooks.example.com", u.Redacted())
		case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(c.PublicURL, "#"):
			bad("public_url %q: leave out user, query and fragment", u.Redacted())
		}
	}
	if c.Twilio.AccountSID != "" && !accountSID.MatchString(c.Twilio.AccountSID) {
		bad("twilio.account_sid %q: give AC and 32 hexadecimal digits", c.Twilio.AccountSID)
	}
	if c.SendGrid.PublicKey != "" {
		if _, err := parsePublicKey(c.SendGrid.PublicKey); err != nil {
			bad("sendgrid.public_key: %w", err)
		}
	}
	if c.SendGrid.MaxAge < 0 {
		bad("sendgrid.max_age %s: give more than 0, or 0 for any age", c.SendGrid.MaxAge)
	}
	for name, size := range map[string]int64{"twilio.max_body": c.Twilio.MaxBody, "sendgrid.max_body": c.SendGrid.MaxBody} {
		if size <= 0 || size > mostBody {
			bad("%s %d: give 1 to %d bytes", name, size, mostBody)
		}
	}
	if c.BatchWait < 0 || c.BatchWait > mostBatchWait {
		bad("batch_wait %s: give 0s to %s", c.BatchWait, mostBatchWait)
	}
	if c.BatchMost < 1 || c.BatchMost > mostBatch {
		bad("batch_most %d: give 1 to %d", c.BatchMost, mostBatch)
	}
	return errors.Join(errs...)
}

// pathPrefix is the part of the public URL that stands before the roads.
func (c Config) pathPrefix() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}

// http is the server's settings. Its clients are the whole internet, and what they have to say is short.
func (c Config) http() httpd.Config {
	h := httpd.DefaultConfig()
	h.Addr = c.Listen
	h.MaxBodyBytes = max(c.Twilio.MaxBody, c.SendGrid.MaxBody) + 1 // so that the road itself says that it is too much
	h.ReadHeaderTimeout = 5 * time.Second
	h.BodyStallTimeout = stallTime
	h.IdleTimeout = time.Minute
	h.DrainTimeout = 10 * time.Second
	return h
}
