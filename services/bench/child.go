package bench

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"text/template"
	"time"

	"candor/pkg/config"
	"candor/services/app"
	"candor/services/sandbox"
)

// Site is an installation whose processes are children of this one, so that they can be killed.
type Site struct {
	Binary string
	Dir    string
	API    string // host:port
	NATS   string // host:port
	Door   string // host:port, of the front door
	Admin  config.Secret

	cfg          app.Config
	sandboxAddr  string
	sandboxToken string
	webhookKey   string // with which the sandbox signs events of e-mails
	mu           sync.Mutex
	children     []*Child
}

// Child is a process of a Site.
type Child struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended and been waited for
	log    *os.File
}

// settings is what the children read; secrets come from the environment.
var settings = template.Must(template.New("candor.yaml").Parse(`data: {{.Data}}
keys: {{.Keys}}
first_admin: "{{.FirstAdmin}}"
nats:
  listen: "{{.NATS}}"
  free_space_mark: 1048576
http:
  addr: {{.API}}
sms:
  request_timeout: {{.Timeout}}
  visibility_lag: 0s
  retry_first: 500ms
  retry_most: 2s
  poll_after: 3s
email:
  request_timeout: {{.Timeout}}
  visibility_lag: 0s
  retry_first: 500ms
  retry_most: 2s
providers:
  twilio:
    base_url: http://{{.Sandbox}}
    account_sid: {{.AccountSID}}
    secret: env:CANDOR_TWILIO_SECRET
  sendgrid:
    base_url: http://{{.Sandbox}}
    api_key: env:CANDOR_SENDGRID_KEY
frontdoor:
  listen: {{.Door}}
  public_url: http://{{.Door}}
  twilio:
    auth_token: env:CANDOR_TWILIO_SECRET
  sendgrid:
    public_key: {{.WebhookPublic}}
planner:
  sweep_every: 1s
  poll_every: 3s
sandbox:
  listen: {{.Sandbox}}
  token: env:CANDOR_SANDBOX_TOKEN
  keep_texts: false
  twilio:
    account_sid: {{.AccountSID}}
    auth_token: env:CANDOR_TWILIO_SECRET
    inbound_url: http://{{.Door}}/hooks/twilio/inbound
  sendgrid:
    api_key: env:CANDOR_SENDGRID_KEY
    events_url: http://{{.Door}}/hooks/sendgrid
    webhook_key: env:CANDOR_WEBHOOK_KEY
`))

const sandboxSecret = "sandboxsecret0123456789"

// NewSite prepares an installation in dir, on free ports of this machine. Nothing runs yet.
func NewSite(binary, dir string, timeout time.Duration) (*Site, error) {
	cfg, admin, err := Prepare(dir)
	if err != nil {
		return nil, err
	}
	s := &Site{Binary: binary, Dir: dir, Admin: admin, cfg: cfg, sandboxToken: sandboxSecret}
	for _, addr := range []*string{&s.API, &s.NATS, &s.Door, &s.sandboxAddr} {
		if *addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	var public string
	if s.webhookKey, public, err = newWebhookKey(); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := settings.Execute(&text, map[string]any{
		"Data": cfg.Data, "Keys": cfg.Keys, "FirstAdmin": cfg.FirstAdmin, "API": s.API, "NATS": s.NATS, "Sandbox": s.sandboxAddr,
		"AccountSID": sandbox.DefaultAccountSID, "Timeout": timeout,
		"Door": s.Door, "WebhookPublic": public,
	}); err != nil {
		return nil, fmt.Errorf("settings of the site: %w", err)
	}
	if err := os.WriteFile(s.config(), text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("settings of the site: %w", err)
	}
	return s, nil
}

// newWebhookKey makes the pair with which a sandbox signs events, as SendGrid's console would.
func newWebhookKey() (private, public string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("webhook key: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("webhook key: %w", err)
	}
	open, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", "", fmt.Errorf("webhook key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(secret), base64.StdEncoding.EncodeToString(open), nil
}

// freeAddr finds a port that was free a moment ago.
func freeAddr() (string, error) {
	l, err := listen()
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listen takes a free port of this machine.
func listen() (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	return l, nil
}

func (s *Site) config() string { return filepath.Join(s.Dir, "candor.yaml") }

// APIURL is where the api is reached.
func (s *Site) APIURL() string { return "http://" + s.API }

// Sandbox returns a client of the site's sandbox.
func (s *Site) Sandbox() *sandbox.Client {
	return sandbox.NewClient("http://"+s.sandboxAddr, config.Secret(s.sandboxToken))
}

// Serve starts a process with the targets. Its log goes to a file in the site's folder.
func (s *Site) Serve(targets string, args ...string) (*Child, error) {
	return s.spawn(targets, append([]string{"serve", "--config", s.config(), "--target", targets}, args...)...)
}

// logFile is where a process of that name writes its log.
func (s *Site) logFile(name string) string { return filepath.Join(s.Dir, "log-"+name+".jsonl") }

// spawn starts this program with other arguments.
func (s *Site) spawn(name string, args ...string) (*Child, error) {
	log, err := os.OpenFile(s.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	cmd := exec.Command(s.Binary, args...) //nolint:gosec,noctx // our own binary, which outlives no context: Stop ends it
	cmd.Env = append(os.Environ(),
		"CANDOR_TWILIO_SECRET="+sandboxSecret, "CANDOR_SENDGRID_KEY=SG."+sandboxSecret, "CANDOR_SANDBOX_TOKEN="+s.sandboxToken, "CANDOR_WEBHOOK_KEY="+s.webhookKey)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	c := &Child{cmd: cmd, exited: make(chan struct{}), log: log}
	go func() {
		_ = cmd.Wait() // how it ended is the story of whoever killed it
		_ = log.Close()
		close(c.exited)
	}()
	s.mu.Lock()
	s.children = append(s.children, c)
	s.mu.Unlock()
	return c, nil
}

// Signal sends a signal to the process; one that has ended gets none.
func (c *Child) Signal(sig syscall.Signal) { _ = c.cmd.Process.Signal(sig) }

// Kill kills the process and waits for its end.
func (c *Child) Kill() {
	c.Signal(syscall.SIGKILL)
	<-c.exited
}

// Exited is closed when the process has ended.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// Stop kills every process of the site.
func (s *Site) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.children {
		c.Signal(syscall.SIGCONT)
		c.Kill()
	}
	s.children = nil
}

// Ready waits until the address answers, or the process that should has ended.
func (s *Site) Ready(ctx context.Context, c *Child, url string) error {
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := hc.Do(req); err == nil {
			_ = res.Body.Close() // only its status is of interest
			if res.StatusCode < http.StatusInternalServerError {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-c.exited:
			return fmt.Errorf("the process ended before it was ready: its log is in %s", s.Dir)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
