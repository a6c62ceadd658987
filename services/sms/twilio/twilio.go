// Package twilio sends text messages through Twilio's Messages API, and finds out what became of a lost request.
//
// In: one SMS.   Out: an Outcome; the receipt comes later, to the callback URL, under the SMS's own id.
// Crash: Twilio has no idempotency key. A request that may have left is Unknown, and only FindSMS or the receipt settles it.
package twilio

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/pkg/config"
	"candor/pkg/provider"
)

// Config is one Twilio account.
type Config struct {
	BaseURL     string                   `yaml:"base_url"`
	AccountSID  string                   `yaml:"account_sid"`
	KeySID      string                   `yaml:"key_sid"`      // API key; without it the account itself signs in
	Secret      config.Secret            `yaml:"secret"`       // the key's secret, or the account's auth token
	CallbackURL string                   `yaml:"callback_url"` // where receipts come in, as Twilio reaches it; the message's id is appended
	HTTP        provider.TransportConfig `yaml:"http"`
}

// DefaultConfig lacks the account, its secret and the callback URL.
func DefaultConfig() Config {
	return Config{BaseURL: "https://api.twilio.com", HTTP: provider.DefaultTransportConfig()}
}

// Validate names every setting that cannot work.
func (c Config) Validate() error {
	errs := []error{wantURL("base_url", c.BaseURL), wantURL("callback_url", c.CallbackURL)}
	if !isSID(c.AccountSID, "AC") {
		errs = append(errs, errors.New("account_sid must be AC and 32 hexadecimal digits, from the first page of the Twilio console"))
	}
	if c.KeySID != "" && !isSID(c.KeySID, "SK") {
		errs = append(errs, errors.New("key_sid must be SK and 32 hexadecimal digits, or empty"))
	}
	if c.Secret == "" {
		errs = append(errs, errors.New("secret is missing: the auth token, or the secret of key_sid"))
	}
	if err := c.HTTP.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("http: %w", err))
	}
	return errors.Join(errs...)
}

func wantURL(name, value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%s must be an http or https URL without query and fragment", name)
	}
	return nil
}

func isSID(s, prefix string) bool {
	digits, ok := strings.CutPrefix(s, prefix)
	return ok && len(digits) == 32 && strings.Trim(digits, "0123456789abcdefABCDEF") == ""
}

// receiptRetries makes Twilio repeat a lost receipt: five times, after every kind of failure. By default it is once, if it could
// not connect. The fragment stays with Twilio and is not part of what it signs.
const receiptRetries = "#rc=5&rp=all"

// Sender is a provider.SMSSender and a provider.SMSLookup, and tells the status of single messages.
type Sender struct {
	accountSID  string
	callbackURL string
	transport   *provider.Transport
	post, get   *http.Request // templates, read by every call
}

// New makes a Sender that reads the clock through now.
func New(cfg Config, now func() time.Time) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("twilio: %w", err)
	}
	target, err := url.Parse(strings.TrimSuffix(cfg.BaseURL, "/") + "/2010-04-01/Accounts/" + cfg.AccountSID + "/Messages.json")
	if err != nil {
		return nil, fmt.Errorf("twilio: %w", err)
	}
	user := cfg.KeySID
	if user == "" {
		user = cfg.AccountSID
	}
	header := http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+cfg.Secret.Reveal()))},
		"User-Agent":    {"candor twilio-go/" + client.LibraryVersion},
		"Accept":        {"application/json"},
	}
	form := header.Clone()
	form["Content-Type"] = []string{"application/x-www-form-urlencoded"}
	return &Sender{
		accountSID:  cfg.AccountSID,
		callbackURL: strings.TrimSuffix(cfg.CallbackURL, "/") + "/",
		transport:   provider.NewTransport(cfg.HTTP, now),
		post:        &http.Request{Method: http.MethodPost, URL: target, Host: target.Host, Header: form},
		get:         &http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: header},
	}, nil
}

// Close gives the idle connections back.
func (s *Sender) Close() { s.transport.Close() }

// SendSMS creates one message. Of one without an id no receipt is asked for.
func (s *Sender) SendSMS(ctx context.Context, m provider.SMS, sendBefore time.Time) provider.Outcome {
	to := m.To.Reveal()
	params := openapi.CreateMessageParams{To: &to, Body: &m.Body}
	if m.ID != "" {
		callback := s.callbackURL + url.PathEscape(m.ID) + receiptRetries
		params.StatusCallback = &callback
	}
	if strings.HasPrefix(m.From, "MG") {
		params.MessagingServiceSid = &m.From
	} else {
		params.From = &m.From
	}
	c := s.newCall(ctx, sendBefore)
	message, err := c.api().CreateMessage(&params)
	if c.failed {
		return c.outcome
	}
	out := provider.Outcome{Skew: c.http.Skew()}
	if err != nil || message.Sid == nil {
		// The call has checked the answer, so only a change in the SDK leads here.
		out.Reason = "sdk_disagrees"
		return out
	}
	if message.Status != nil && *message.Status == failedStatus {
		code := 0
		if message.ErrorCode != nil {
			code = *message.ErrorCode
		}
		r := ruleFor(code, http.StatusBadRequest)
		out.Class, out.Throttled, out.Reason, out.ID = r.Class, r.Throttled, reason(code, 0), *message.Sid
		return out
	}
	out.Class, out.ID = provider.Accepted, *message.Sid
	return out
}
