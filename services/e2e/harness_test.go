package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/bus"
	"candor/pkg/config"
	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

// envConfig makes this test binary candor serve, for the targets and with the settings that the environment names.
const (
	envConfig  = "CANDOR_E2E_CONFIG"
	envTargets = "CANDOR_E2E_TARGETS"
)

// patience bounds every wait for a state: far longer than any of them takes.
const patience = 40 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(envConfig) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// These tests wait for other processes, not for a processor.
	_ = flag.Set("test.parallel", "6")
	goleak.VerifyTestMain(m)
}

// where is what a served process says of itself, as one line of JSON.
type where struct{ API, NATS, Sandbox, Token string }

// serve is candor serve. It ends with SIGTERM, or with the process that started it.
func serve() error {
	targets, err := app.ParseTargets(os.Getenv(envTargets))
	if err != nil {
		return err
	}
	cfg, err := app.Load(os.Getenv(envConfig))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	a, err := app.New(ctx, cfg, targets, zerolog.New(os.Stderr).With().Timestamp().Logger())
	if err != nil {
		return err
	}
	w := where{API: a.APIURL(), NATS: a.NATSURL()}
	if s := a.Sandbox(); s != nil {
		w.Sandbox, w.Token = s.URL(), s.Token()
	}
	if err := json.NewEncoder(os.Stdout).Encode(w); err != nil {
		return err
	}
	return a.Run(ctx)
}

// site is an installation whose processes are real ones.
type site struct {
	t     *testing.T
	dir   string
	data  string // the broker's folder
	admin config.Secret
	first string // stands for the admin in the settings
	// settings are the sections of candor.yaml but for those that every process needs.
	settings map[string]string
	truth    *sandbox.Client
	driver   *bench.Driver
	started  int
}

// newSite makes keys and a folder; nothing runs yet.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	cfg, admin, err := bench.Prepare(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, dir: dir, data: filepath.Join(dir, "data"), admin: admin, first: cfg.FirstAdmin, settings: map[string]string{
		"http": "{addr: '127.0.0.1:0'}",
		"nats": "{free_space_mark: 1}",
		// A provider that answers at once or never, and that lists a message as soon as it has it.
		"sms":     "{request_timeout: 2s, visibility_lag: 0s, retry_first: 200ms, pause_poll: 1s, hold: 300ms}",
		"email":   "{request_timeout: 2s, visibility_lag: 0s, retry_first: 200ms, pause_poll: 1s, hold: 300ms}",
		"sandbox": "{listen: '127.0.0.1:0'}",
	}}
}

func (s *site) keys() string { return filepath.Join(s.dir, "keys") }

// process is one candor serve.
type process struct {
	where
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	log    string
	ended  chan struct{}
	status error // of its end, once ended is closed
}

// launch starts targets as a process; change may overwrite sections of its settings. It does not wait.
func (s *site) launch(targets string, change map[string]string) (*process, *bufio.Reader) {
	s.t.Helper()
	s.started++
	base := filepath.Join(s.dir, fmt.Sprintf("%02d-%s", s.started, strings.ReplaceAll(targets, ",", "-")))
	sections := maps.Clone(s.settings)
	maps.Copy(sections, change)
	var text strings.Builder
	fmt.Fprintf(&text, "data: %q\nkeys: %q\nfirst_admin: %q\n", s.data, s.keys(), s.first)
	for name, section := range sections {
		fmt.Fprintf(&text, "%s: %s\n", name, section)
	}
	if err := os.WriteFile(base+".yaml", []byte(text.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.Create(base + ".log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	def := sandbox.DefaultConfig()
	p := &process{t: s.t, log: log.Name(), ended: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), envConfig+"="+base+".yaml", envTargets+"="+targets,
		"CANDOR_E2E_TWILIO="+def.Twilio.AuthToken.Reveal(), "CANDOR_E2E_SENDGRID="+def.SendGrid.APIKey.Reveal())
	p.cmd.Stderr = log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	p.cmd.Stdout = w
	err = p.cmd.Start()
	_ = w.Close() // the process has its own
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		p.status = p.cmd.Wait()
		close(p.ended)
	}()
	s.t.Cleanup(func() {
		p.kill()
		_ = r.Close() // only read from
		if strings.Contains(p.said(), "DATA RACE") {
			s.t.Errorf("%s: a data race, see its log:\n%s", targets, p.said())
		}
		if s.t.Failed() {
			s.t.Logf("%s said at last:\n%s", targets, p.tail(4000))
		}
	})
	return p, bufio.NewReader(r)
}

// start starts targets as a process and returns when it serves.
func (s *site) start(targets string, change ...map[string]string) *process {
	s.t.Helper()
	merged := map[string]string{}
	for _, c := range change {
		maps.Copy(merged, c)
	}
	p, out := s.launch(targets, merged)
	line, err := out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.where)
	}
	if err != nil {
		s.t.Fatalf("%s did not start: %v\n%s", targets, err, p.tail(4000))
	}
	return p
}

// startSandbox starts the sandbox as a process of its own and points the settings at it.
func (s *site) startSandbox(section string) *process {
	s.t.Helper()
	p := s.start("sandbox", map[string]string{"sandbox": section})
	s.truth = sandbox.NewClient(p.Sandbox, config.Secret(p.Token))
	s.t.Cleanup(s.truth.Close)
	s.provide(p.Sandbox)
	return p
}

// provide says where both providers are.
func (s *site) provide(url string) {
	s.settings["providers"] = fmt.Sprintf("{twilio: {base_url: %q, account_sid: %s, secret: 'env:CANDOR_E2E_TWILIO', callback_url: '%s/callbacks'}, "+
		"sendgrid: {base_url: %q, api_key: 'env:CANDOR_E2E_SENDGRID'}}", url, sandbox.DefaultAccountSID, url, url)
}

// drive makes the people who use the api of a process.
func (s *site) drive(p *process) {
	s.t.Helper()
	d, err := bench.NewDriver(s.t.Context(), p.API, s.admin)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(d.Close)
	s.driver = d
}

// split starts a broker and every service as a process of its own, each with its own key.
func (s *site) split() (broker *process, services map[string]*process) {
	s.t.Helper()
	if s.truth == nil {
		s.startSandbox("{listen: '127.0.0.1:0'}")
	}
	broker = s.start("nats", map[string]string{"nats": "{listen: '127.0.0.1:0', free_space_mark: 1}"})
	s.settings["nats"] = fmt.Sprintf("{url: %q}", broker.NATS)
	services = map[string]*process{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, target := range app.All() {
		p, out := s.launch(target, nil)
		wg.Go(func() {
			line, err := out.ReadBytes('\n')
			if err == nil {
				err = json.Unmarshal(line, &p.where)
			}
			if err != nil {
				s.t.Errorf("%s did not start: %v", target, err)
			}
			mu.Lock()
			services[target] = p
			mu.Unlock()
		})
	}
	wg.Wait()
	if s.t.Failed() {
		s.t.FailNow()
	}
	s.drive(services["api"])
	return broker, services
}

// connect opens a connection to the broker as a user of the installation.
func (s *site) connect(url, user string) *bus.Bus {
	s.t.Helper()
	return dial(s.t, url, s.keys(), user)
}

func dial(t *testing.T, url, keys, user string) *bus.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: user, NKeySeedFile: filepath.Join(keys, "nats", user+".seed")}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = b.Close(ctx) // the broker may be gone already
	})
	return b
}

// signal sends a signal to the process.
func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%v to %s: %v", sig, p.log, err)
	}
}

// kill ends the process at once, whatever it does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
	_ = p.stdin.Close()
}

// stop ends the process in order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if p.status != nil {
			p.t.Errorf("%s ended with %v", p.log, p.status)
		}
	case <-time.After(patience):
		p.t.Errorf("%s does not stop", p.log)
		p.kill()
	}
}

// said returns what the process logged.
func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return string(b)
}

func (p *process) tail(n int) string {
	s := p.said()
	return s[max(0, len(s)-n):]
}

// says waits until the process has logged a sentence.
func (p *process) says(sentence string) {
	p.t.Helper()
	until(p.t, "log says "+sentence, func() bool { return strings.Contains(p.said(), sentence) })
}

// until looks until something holds.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-t.Context().Done():
			t.Fatalf("not yet: %s", what)
		}
	}
}

// accepted waits until the sandbox has taken so many messages of both channels.
func accepted(t *testing.T, sb *sandbox.Client, sms, email uint64) {
	t.Helper()
	until(t, fmt.Sprintf("the sandbox has %d text messages and %d e-mails", sms, email), func() bool {
		truth, err := sb.Truth(t.Context())
		return err == nil && truth.SMS.Accepted >= sms && truth.Email.Accepted >= email
	})
}

// whole fails unless everybody was told once and both sides agree.
func whole(t *testing.T, v *bench.Verdict, err error, audience uint64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if v.Lost != 0 || v.Duplicates != 0 || v.Audience != audience || !v.Complete {
		t.Errorf("verdict = %+v", v)
	}
}

// rest waits until nothing more happens to an incident, and takes stock.
func (s *site) rest(incident string) *bench.Verdict {
	s.t.Helper()
	return rest(s.t, s.driver, s.truth, incident)
}

func rest(t *testing.T, d *bench.Driver, sb *sandbox.Client, incident string) *bench.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if st, err := d.Await(ctx, incident, bench.Resting); err != nil {
		t.Fatalf("incident %s does not come to rest: %v\n%v", incident, err, st)
	}
	v, err := d.Verify(ctx, incident, sb)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// declare drafts a story and has it approved.
func declare(t *testing.T, d *bench.Driver, s bench.Story) *candorv1.Incident {
	t.Helper()
	inc, err := d.Draft(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Approve(t.Context(), inc.GetId(), inc.GetPlanHash()); err != nil {
		t.Fatal(err)
	}
	return inc
}

// home is an installation in this process, with the sandbox in place of the providers.
type home struct {
	t       *testing.T
	keys    string
	admin   config.Secret
	app     *app.App
	driver  *bench.Driver
	sandbox *sandbox.Client
}

// play starts an installation in this process; change may alter its settings before.
func play(t *testing.T, change func(*app.Config)) *home {
	t.Helper()
	cfg, admin, err := bench.Prepare(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATS.FreeSpaceMark, cfg.NATS.Listen = 1, "127.0.0.1:0"
	cfg.SMS.RetryFirst, cfg.Email.RetryFirst = 200*time.Millisecond, 200*time.Millisecond
	cfg.SMS.RequestTimeout, cfg.Email.RequestTimeout = 2*time.Second, 2*time.Second
	if change != nil {
		change(&cfg)
	}
	h := &home{t: t, keys: cfg.Keys, admin: admin}
	if h.app, err = app.New(t.Context(), cfg, append(app.All(), "sandbox"), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.app.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if h.driver, err = bench.NewDriver(t.Context(), h.app.APIURL(), admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.driver.Close)
	h.sandbox = sandbox.NewClient(h.app.Sandbox().URL(), config.Secret(h.app.Sandbox().Token()))
	t.Cleanup(h.sandbox.Close)
	return h
}

// bus connects to the broker as the api.
func (h *home) bus() *bus.Bus {
	h.t.Helper()
	return dial(h.t, h.app.NATSURL(), h.keys, "api")
}

// rest waits until nothing more happens to an incident, and takes stock.
func (h *home) rest(incident string) *bench.Verdict {
	h.t.Helper()
	return rest(h.t, h.driver, h.sandbox, incident)
}

// incidents is the api as a commander sees it.
func (h *home) incidents() candorv1connect.IncidentServiceClient {
	h.t.Helper()
	return candorv1connect.NewIncidentServiceClient(role(h.t, h.app.APIURL(), h.admin, "helmsman", candorv1.Role_ROLE_COMMANDER), h.app.APIURL())
}

// tell declares a roster with a playbook and has it approved.
func (h *home) tell(incident, pb, facts string, roster io.Reader) *candorv1.Incident {
	h.t.Helper()
	digest, err := h.driver.Upload(h.t.Context(), incident, roster, url.Values{"name": {"roster.csv"}})
	if err != nil {
		h.t.Fatal(err)
	}
	inc, err := h.driver.Declare(h.t.Context(), &candorv1.Declaration{Incident: incident, Playbook: pb, Facts: facts, RosterDigest: digest})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.driver.Approve(h.t.Context(), incident, inc.GetPlanHash()); err != nil {
		h.t.Fatal(err)
	}
	return inc
}

// httpClient is a client whose connections end with the test.
func httpClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// bearer puts a token on every request.
type bearer struct {
	token config.Secret
	next  http.RoundTripper
}

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	return b.next.RoundTrip(req)
}

// role makes a token with one role and returns a client that has it.
func role(t *testing.T, url string, admin config.Secret, name string, r candorv1.Role) *http.Client {
	t.Helper()
	c := httpClient(t)
	c.Transport = bearer{admin, c.Transport}
	res, err := candorv1connect.NewTokenServiceClient(c, url).CreateToken(t.Context(), connect.NewRequest(&candorv1.CreateTokenRequest{
		Name: name, Roles: []candorv1.Role{r},
	}))
	if err != nil {
		t.Fatal(err)
	}
	mine := httpClient(t)
	mine.Transport = bearer{config.Secret(res.Msg.GetSecret()), mine.Transport}
	return mine
}

// steer returns the incidents as a commander sees them.
func (s *site) steer(api *process) candorv1connect.IncidentServiceClient {
	s.t.Helper()
	return candorv1connect.NewIncidentServiceClient(role(s.t, api.API, s.admin, "helmsman", candorv1.Role_ROLE_COMMANDER), api.API)
}

func pauseAndResume(t *testing.T, incidents candorv1connect.IncidentServiceClient, id string) {
	t.Helper()
	if _, err := incidents.Pause(t.Context(), connect.NewRequest(&candorv1.PauseRequest{Incident: id, Reason: "test"})); err != nil {
		t.Fatal(err)
	}
	if _, err := incidents.Resume(t.Context(), connect.NewRequest(&candorv1.ResumeRequest{Incident: id})); err != nil {
		t.Fatal(err)
	}
}

// quiet swallows what net/http has to say about connections that were cut on purpose.
func quiet() *stdlog.Logger { return stdlog.New(io.Discard, "", 0) }

func secret(s string) config.Secret { return config.Secret(s) }

// startSandbox starts a sandbox in this process, apart from everything else.
func startSandbox(t *testing.T) (*sandbox.Sandbox, error) {
	t.Helper()
	s, err := sandbox.New(sandbox.DefaultConfig(), zerolog.Nop())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("sandbox: %v", err)
		}
	})
	return s, nil
}
