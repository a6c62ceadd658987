package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/config"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/frontdoor"
	"candor/services/sandbox"
)

// envConfig makes this test binary candor serve, for the targets and with the settings that the environment names.
const (
	envConfig  = "CANDOR_E2E_CONFIG"
	envTargets = "CANDOR_E2E_TARGETS"
)

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
	// lent are the folders of targets that see a part of the keys only.
	lent   map[string]string
	truth  *sandbox.Client
	driver *bench.Driver
	door   string // where the front door is, once hear has found it a place
	// providers is where the providers are, or who stands in front of them.
	providers string
	started   int
}

// newSite makes keys and a folder; nothing runs yet.
func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	cfg, admin, err := bench.Prepare(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, dir: dir, data: filepath.Join(dir, "data"), admin: admin, first: cfg.FirstAdmin, lent: map[string]string{}, settings: map[string]string{
		"http": "{addr: '127.0.0.1:0'}",
		"nats": "{free_space_mark: 1}",
		// A provider that answers at once or never, and that lists a message as soon as it has it. On a busy machine some seconds
		// are at once; what was sent and is not answered in time is uncertain.
		"sms":       "{request_timeout: 5s, visibility_lag: 0s, retry_first: 200ms, pause_poll: 1s, hold: 300ms}",
		"email":     "{request_timeout: 5s, visibility_lag: 0s, retry_first: 200ms, pause_poll: 1s, hold: 300ms}",
		"ledger":    "{catch_up: 4s}",
		"sandbox":   "{listen: '127.0.0.1:0'}",
		"frontdoor": "{listen: '127.0.0.1:0'}",
		"planner":   "{sweep_every: 1s}",
	}}
}

// lend gives a target a folder of its own, with copies of some of the keys and no others.
func (s *site) lend(target string, names ...string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "lent-"+target)
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(s.keys(), name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.lent[target] = dir
}

// hear finds the front door a place, and tells the providers and us. Before that the sandbox must run, and nothing else.
func (s *site) hear() {
	s.t.Helper()
	addr := bustest.FreeAddr(s.t)
	s.door = "http://" + addr
	key, err := s.truth.SendGridPublicKey(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.truth.SetHooks(s.t.Context(), sandbox.Hooks{EventsURL: s.door + frontdoor.SendGridPath, InboundURL: s.door + frontdoor.TwilioInboundPath}); err != nil {
		s.t.Fatal(err)
	}
	s.settings["frontdoor"] = fmt.Sprintf("{listen: %q, public_url: %q, sendgrid: {public_key: %q}}", addr, s.door, key)
	s.provide(s.providers)
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
	fmt.Fprintf(&text, "data: %q\nkeys: %q\nfirst_admin: %q\n", s.data, cmp.Or(s.lent[targets], s.keys()), s.first)
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

// provide says where both providers are. They call the front door back, or nobody while it has no place.
func (s *site) provide(url string) {
	s.providers = url
	callback := ""
	if s.door == "" {
		callback = fmt.Sprintf(", callback_url: '%s/callbacks'", url)
	}
	s.settings["providers"] = fmt.Sprintf("{twilio: {base_url: %q, account_sid: %s, secret: 'env:CANDOR_E2E_TWILIO'%s}, "+
		"sendgrid: {base_url: %q, api_key: 'env:CANDOR_E2E_SENDGRID'}}", url, sandbox.DefaultAccountSID, callback, url)
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
	// It is to be had again after a restart.
	broker = s.start("nats", map[string]string{"nats": fmt.Sprintf("{listen: %q, free_space_mark: 1}", bustest.FreeAddr(s.t))})
	s.settings["nats"] = fmt.Sprintf("{url: %q}", broker.NATS)
	// What opens no page is enough for who faces the internet; the api would write it at its start.
	if _, err := vault.Open(s.keys(), zerolog.Nop()); err != nil {
		s.t.Fatal(err)
	}
	s.lend("frontdoor", "door.key", filepath.Join("nats", "frontdoor.seed"))
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

// rest waits until nothing more happens to an incident, and takes stock.
func (s *site) rest(incident string) *bench.Verdict {
	s.t.Helper()
	return rest(s.t, s.driver, s.truth, incident)
}

// steer returns the incidents as a commander sees them.
func (s *site) steer(api *process) candorv1connect.IncidentServiceClient {
	s.t.Helper()
	return candorv1connect.NewIncidentServiceClient(role(s.t, api.API, s.admin, "helmsman", candorv1.Role_ROLE_COMMANDER), api.API)
}
