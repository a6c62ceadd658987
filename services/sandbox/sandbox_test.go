package sandbox_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/sendgrid/rest"
	"github.com/sendgrid/sendgrid-go"
	twilio "github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"
	"go.uber.org/goleak"

	"candor/services/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a running sandbox and the official libraries pointed at it.
type world struct {
	t      testing.TB
	box    *sandbox.Sandbox
	cfg    sandbox.Config
	http   *http.Client
	client *sandbox.Client
	logs   *journal
}

func start(t testing.TB, changes ...func(*sandbox.Config)) *world {
	t.Helper()
	cfg := sandbox.DefaultConfig()
	for _, change := range changes {
		change(&cfg)
	}
	logs := &journal{}
	box, err := sandbox.New(cfg, zerolog.New(logs))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }()
	w := &world{t: t, box: box, cfg: cfg, http: httpClient(), logs: logs}
	w.client = sandbox.NewClient(box.URL(), sandboxToken(box))
	t.Cleanup(func() {
		w.http.CloseIdleConnections()
		w.client.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return w
}

// journal is a log that may be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func httpClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// pointed is the official library's client with another base URL. It keeps the last answer's status and headers.
type pointed struct {
	*twilio.Client
	base   string
	status int
	header http.Header
}

func (p *pointed) SendRequest(method, rawURL string, data url.Values, headers map[string]any, body ...byte) (*http.Response, error) {
	return p.Client.SendRequest(method, strings.Replace(rawURL, "https://api.twilio.com", p.base, 1), data, headers, body...)
}

func (p *pointed) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := p.HTTPClient.Transport.(*watched).next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	p.status, p.header = res.StatusCode, res.Header
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

type watched struct {
	next http.RoundTripper
	by   *pointed
}

func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) { return w.by.RoundTrip(req) }

func (w *world) twilio() (*openapi.ApiService, *pointed) {
	p := &pointed{
		Client: &twilio.Client{Credentials: twilio.NewCredentials(w.cfg.Twilio.AccountSID, w.cfg.Twilio.AuthToken.Reveal())},
		base:   w.box.URL(),
	}
	p.HTTPClient = &http.Client{Transport: &watched{next: w.http.Transport, by: p}, CheckRedirect: w.http.CheckRedirect}
	p.SetAccountSid(w.cfg.Twilio.AccountSID)
	return openapi.NewApiServiceWithClient(p), p
}

const ownSender = "+15005550006"

func sms(to, body, id string) *openapi.CreateMessageParams {
	p := (&openapi.CreateMessageParams{}).SetTo(to).SetFrom(ownSender).SetBody(body)
	if id != "" {
		p.SetStatusCallback("http://127.0.0.1:1/hooks/twilio/" + id + "#rc=5&rp=all")
	}
	return p
}

func (w *world) text(to, body, id string) *openapi.ApiV2010Message {
	w.t.Helper()
	api, _ := w.twilio()
	m, err := api.CreateMessage(sms(to, body, id))
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// mail posts a body with the official library.
func (w *world) mail(body []byte, headers ...string) (*rest.Response, error) {
	req := sendgrid.GetRequest(w.cfg.SendGrid.APIKey.Reveal(), "/v3/mail/send", w.box.URL())
	req.Method, req.Body = rest.Post, body
	for i := 0; i < len(headers); i += 2 {
		req.Headers[headers[i]] = headers[i+1]
	}
	return (&rest.Client{HTTPClient: w.http}).SendWithContext(context.Background(), req)
}

func (w *world) mustMail(body []byte, status int) *rest.Response {
	w.t.Helper()
	res, err := w.mail(body)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.StatusCode != status {
		w.t.Fatalf("status %d, want %d: %s", res.StatusCode, status, res.Body)
	}
	return res
}

// get fetches a path of the sandbox with the token.
func (w *world) get(path string) (int, string) {
	w.t.Helper()
	return w.request(http.MethodGet, path, "", "Authorization", "Bearer "+w.box.Token())
}

func (w *world) request(method, path, body string, headers ...string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, w.box.URL()+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (w *world) truth() sandbox.Truth {
	w.t.Helper()
	t, err := w.client.Truth(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

// until waits for a state.
func until(reached func() bool) {
	looks := time.NewTicker(time.Millisecond) // who looks all the time takes the processor from those it waits for
	defer looks.Stop()
	for !reached() {
		<-looks.C
	}
}

func TestEveryDoorNeedsItsOwnKey(t *testing.T) {
	t.Parallel()
	w := start(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(w.cfg.Twilio.AccountSID+":wrong"))
	for _, tt := range []struct {
		method, path, auth string
		want               int
	}{
		{"POST", "/2010-04-01/Accounts/" + w.cfg.Twilio.AccountSID + "/Messages.json", "", 401},
		{"POST", "/2010-04-01/Accounts/" + w.cfg.Twilio.AccountSID + "/Messages.json", basic, 401},
		{"GET", "/2010-04-01/Accounts/" + w.cfg.Twilio.AccountSID + "/Messages.json", basic, 401},
		{"GET", "/2010-04-01/Accounts/" + w.cfg.Twilio.AccountSID + "/Messages/SM1.json", "Bearer " + w.box.Token(), 401},
		{"POST", "/v3/mail/send", "", 401},
		{"POST", "/v3/mail/send", "Bearer " + w.box.Token(), 401},
		{"GET", "/sandbox/truth", "", 401},
		{"GET", "/sandbox/truth", "Bearer " + w.cfg.SendGrid.APIKey.Reveal(), 401},
		{"GET", "/sandbox/truth?token=" + w.box.Token(), "", 401},
		{"POST", "/sandbox/faults", "", 401},
		{"POST", "/sandbox/suppressed", "", 401},
		{"GET", "/", "", 401},
		{"GET", "/?token=wrong", "", 401},
		{"GET", "/phones/0", "", 401},
		{"POST", "/faults", "", 401},
	} {
		if got, body := w.request(tt.method, tt.path, "", "Authorization", tt.auth, "Content-Type", "application/json"); got != tt.want {
			t.Errorf("%s %s with %q = %d, want %d: %s", tt.method, tt.path, tt.auth, got, tt.want, body)
		}
	}
}

func TestConfigShowsAllMistakes(t *testing.T) {
	t.Parallel()
	cfg := sandbox.DefaultConfig()
	cfg.Listen, cfg.Twilio.AccountSID, cfg.Twilio.AuthToken, cfg.SendGrid.APIKey = "nowhere", "AC1", "with-dash", ""
	cfg.Twilio.RatePerSec, cfg.Twilio.Concurrency, cfg.Twilio.Latency, cfg.TextBytes = -1, -1, -1, -1
	cfg.Twilio.SenderRates = map[string]float64{ownSender: -2}
	cfg.SendGrid.Suppressed = []string{"nobody"}
	cfg.Faults.SMS.Reset, cfg.Faults.Email.Stall, cfg.Faults.Email.Slow = 2, 0.6, 0.6
	cfg.Faults.SMS.SlowFor = -1
	_, err := sandbox.New(cfg, zerolog.Nop())
	if err == nil {
		t.Fatal("New accepted it")
	}
	for _, want := range []string{
		"listen", "account_sid", "auth_token", "api_key", "rate_per_sec", "concurrency", "latency", "text_bytes", "sender_rates",
		"suppressed[0]", "sms.reset is 2", "shares of email", "shares of sms", "slow_for",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want a word about %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "with-dash") {
		t.Error("the error shows the secret")
	}
}

func TestNothingOfAPersonIsLogged(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.text("+447911123456", "canary words", "n1.1.mac")
	w.mustMail(simpleMail("canary@example.com", "n2.1.mac"), 202)
	_, _ = w.request("POST", "/v3/mail/send", `{"from":"canary@example.com"}`, "Authorization", "Bearer "+w.cfg.SendGrid.APIKey.Reveal(), "Content-Type", "application/json")
	until(func() bool { return strings.Contains(w.logs.String(), "sandbox serves") })
	if logs := w.logs.String(); strings.Contains(logs, "canary") || strings.Contains(logs, "7911123456") {
		t.Errorf("logs: %s", logs)
	}
}

func TestSecondProcessOnTheSamePortFails(t *testing.T) {
	t.Parallel()
	w := start(t)
	cfg := sandbox.DefaultConfig()
	cfg.Listen = strings.TrimPrefix(w.box.URL(), "http://")
	if _, err := sandbox.New(cfg, zerolog.Nop()); err == nil {
		t.Error("New took a port that is taken")
	}
}

func TestRunEndsWhileRequestsAreStalled(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *sandbox.Config) {
		c.Faults.SMS.StallKept = 1
		c.Faults.Email.Slow = 1
		c.Faults.Email.SlowFor = sandbox.Duration(time.Hour)
	})
	go func() {
		api, _ := w.twilio()
		_, _ = api.CreateMessage(sms("+447911123456", "hello", "n1.1.mac"))
	}()
	go func() { _, _ = w.mail(simpleMail("a@example.com", "n2.1.mac")) }()
	until(func() bool { return w.channel("sms").Accepted+w.channel("email").Accepted == 2 })
}
