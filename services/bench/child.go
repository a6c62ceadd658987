package bench

import (
	"bytes"
	"context"
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
	Admin  config.Secret

	cfg          app.Config
	sandboxAddr  string
	sandboxToken string
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
    callback_url: http://{{.Sandbox}}/callbacks
  sendgrid:
    base_url: http://{{.Sandbox}}
    api_key: env:CANDOR_SENDGRID_KEY
sandbox:
  listen: {{.Sandbox}}
  token: env:CANDOR_SANDBOX_TOKEN
  keep_texts: false
  twilio:
    account_sid: {{.AccountSID}}
    auth_token: env:CANDOR_TWILIO_SECRET
  sendgrid:
    api_key: env:CANDOR_SENDGRID_KEY
`))

const sandboxSecret = "sandboxsecret0123456789"

// NewSite prepares an installation in dir, on free ports of this machine. Nothing runs yet.
func NewSite(binary, dir string, timeout time.Duration) (*Site, error) {
	cfg, admin, err := Prepare(dir)
	if err != nil {
		return nil, err
	}
	s := &Site{Binary: binary, Dir: dir, Admin: admin, cfg: cfg, sandboxToken: sandboxSecret}
	for _, addr := range []*string{&s.API, &s.NATS, &s.sandboxAddr} {
		if *addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	var text bytes.Buffer
	if err := settings.Execute(&text, map[string]any{
		"Data": cfg.Data, "Keys": cfg.Keys, "FirstAdmin": cfg.FirstAdmin, "API": s.API, "NATS": s.NATS, "Sandbox": s.sandboxAddr,
		"AccountSID": sandbox.DefaultAccountSID, "Timeout": timeout,
	}); err != nil {
		return nil, fmt.Errorf("settings of the site: %w", err)
	}
	if err := os.WriteFile(s.config(), text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("settings of the site: %w", err)
	}
	return s, nil
}

// freeAddr finds a port that was free a moment ago.
func freeAddr() (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
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
	log, err := os.OpenFile(filepath.Join(s.Dir, "log-"+targets+".jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", targets, err)
	}
	cmd := exec.Command(s.Binary, append([]string{"serve", "--config", s.config(), "--target", targets}, args...)...) //nolint:gosec,noctx // our own binary, which outlives no context: Stop ends it
	cmd.Env = append(os.Environ(),
		"CANDOR_TWILIO_SECRET="+sandboxSecret, "CANDOR_SENDGRID_KEY=SG."+sandboxSecret, "CANDOR_SANDBOX_TOKEN="+s.sandboxToken)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", targets, err), log.Close())
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

// Usage returns the processor time and the peak memory of a process that has ended.
func (c *Child) Usage() (cpu time.Duration, peakBytes int64) {
	<-c.exited
	st := c.cmd.ProcessState
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		peakBytes = ru.Maxrss * 1024
	}
	return st.UserTime() + st.SystemTime(), peakBytes
}

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
