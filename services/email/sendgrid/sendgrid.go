// Package sendgrid sends e-mail through SendGrid's v3 Mail Send API, one text for up to 1,000 recipients per request.
//
// In: one Email.   Out: an Outcome for each recipient; receipts come later, with the recipient's id in candor_id.
// Crash: SendGrid has no idempotency key and nobody to ask. A request that may have left is Unknown for all of its recipients until
// its receipts come.
package sendgrid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sendgrid/rest"
	sdk "github.com/sendgrid/sendgrid-go"

	"candor/pkg/config"
	"candor/pkg/provider"
)

// MaxBatch is how many recipients SendGrid takes in one request.
const MaxBatch = 1000

// Config is one SendGrid account.
type Config struct {
	BaseURL   string                   `yaml:"base_url"` // https://api.eu.sendgrid.com keeps the mail in the EU
	APIKey    config.Secret            `yaml:"api_key"`  // one that may send mail and nothing else
	BatchSize int                      `yaml:"batch_size"`
	Gzip      bool                     `yaml:"gzip"` // fewer bytes for more CPU
	HTTP      provider.TransportConfig `yaml:"http"`
}

// DefaultConfig lacks the key.
func DefaultConfig() Config {
	return Config{BaseURL: "https://api.sendgrid.com", BatchSize: 100, HTTP: provider.DefaultTransportConfig()}
}

// Validate names every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.BaseURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, errors.New("base_url must be an http or https URL without query and fragment"))
	}
	if c.APIKey == "" {
		errs = append(errs, errors.New("api_key is missing"))
	}
	if c.BatchSize < 1 || c.BatchSize > MaxBatch {
		errs = append(errs, fmt.Errorf("batch_size is %d, must be 1 to %d", c.BatchSize, MaxBatch))
	}
	if err := c.HTTP.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("http: %w", err))
	}
	return errors.Join(errs...)
}

// Sender is a provider.EmailSender.
type Sender struct {
	host      string
	key       config.Secret
	batchSize int
	gzip      bool
	transport *provider.Transport
}

// New makes a Sender that reads the clock through now.
func New(cfg Config, now func() time.Time) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sendgrid: %w", err)
	}
	cfg.HTTP.WriteBuffer = 32 << 10 // a mail to one person fits
	return &Sender{
		host: strings.TrimSuffix(cfg.BaseURL, "/"), key: cfg.APIKey, batchSize: cfg.BatchSize, gzip: cfg.Gzip,
		transport: provider.NewTransport(cfg.HTTP, now),
	}, nil
}

// Close gives the idle connections back.
func (s *Sender) Close() { s.transport.Close() }

// SendEmail hands the Email over in as few requests as its recipients allow. Those refused with a batch of others are sent again
// within the same call, but only where SendGrid's answer means that it took nobody.
func (s *Sender) SendEmail(ctx context.Context, m *provider.Email, sendBefore time.Time) []provider.Outcome {
	b := newBatches(m, s.batchSize)
	for {
		batch, ok := b.next()
		if !ok {
			return b.outcomes
		}
		b.settle(batch, s.post(ctx, m, batch, sendBefore))
	}
}

// post makes one request. The SDK's own client keeps the mail in a field and mixes up customers when it is shared, so each
// request is a value of its own.
func (s *Sender) post(ctx context.Context, m *provider.Email, batch []int, sendBefore time.Time) verdict {
	call := s.transport.NewCall(sendBefore)
	r := sdk.GetRequest(s.key.Reveal(), "/v3/mail/send", s.host)
	r.Method = rest.Post
	r.Headers["Content-Type"] = "application/json"
	r.Body = appendBody(make([]byte, 0, bodySize(m, batch)), m, batch)
	if s.gzip {
		r.Headers["Content-Encoding"] = "gzip"
		r.Body = compress(r.Body)
	}
	hc := http.Client{Transport: call, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	client := rest.Client{HTTPClient: &hc}
	answer, err := client.SendWithContext(ctx, r)
	if err != nil {
		return verdict{outcome: call.Failure(err), stop: true}
	}
	return judge(answer.StatusCode, answer.Headers, answer.Body, len(batch), s.transport.Now(), call.Skew())
}
