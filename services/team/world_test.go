package team_test

import (
	"bytes"
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/playbook"
	"candor/pkg/provider"
	"candor/pkg/ratelimit"
	board "candor/pkg/team"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/sandbox"
	"candor/services/team"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// night is in the quiet hours of everybody in New York.
var night = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// The addresses of the team; no byte of them may be anywhere in the clear.
const (
	danaSMS   = "+12125550156"
	danaMail  = "dana.duty@team.example"
	erinSMS   = "+447400123456"
	hookToken = "T0SecretPathOfAHook"
	secret    = "a-secret-of-the-hook"
)

// world is a broker, an incident's keys, and the machine's clock in the test's hand.
type world struct {
	t     *testing.T
	bus   *bus.Bus
	as    *bus.Bus // the service's own
	vault *vault.Vault
	log   *lockedBuffer
	fast  *ratelimit.Limiter

	mu  sync.Mutex
	now time.Time
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, bustest.New(t))
}

func newWorldOn(t *testing.T, b *bus.Bus) *world {
	t.Helper()
	w := &world{t: t, bus: b, as: b, log: &lockedBuffer{}, now: time.Now()}
	dir := filepath.Join(t.TempDir(), "keys")
	if err := vault.Init(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.vault, err = vault.Open(dir, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	limits, err := w.bus.KV(t.Context(), topology.BucketLimits)
	if err != nil {
		t.Fatal(err)
	}
	w.fast = ratelimit.New(limits, time.Now, zerolog.Nop())
	return w
}

func (w *world) machine() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// config looks often, so that tests need not wait.
func config() team.Config {
	cfg := team.DefaultConfig()
	cfg.LookEvery = 5 * time.Millisecond
	return cfg
}

// run starts a service until the test ends or the function that it returns is called.
func (w *world) run(cfg team.Config, sms provider.SMSSender, mail provider.EmailSender) (stop func()) {
	w.t.Helper()
	d := team.Deps{
		Bus: w.as, Vault: w.vault, SMS: sms, Limiter: w.fast, Log: zerolog.New(w.log),
		Clock: clock.Fast(night, night, 1).On(w.machine, func() time.Duration { return 0 }),
	}
	if mail != nil {
		d.Emails = []team.Route{{Name: "sendgrid", Provider: mail}}
	}
	s, err := team.New(cfg, d)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// members is the team's section of a playbook, with Dana, who is told of everything, and Erin, who is told of pauses.
const members = `
team:
  remind_every: 15m
  reminders_at_most: 2
  members:
    - role: commander on duty
      sms: "` + danaSMS + `"
      email: ` + danaMail + `
    - role: second in London
      sms: "` + erinSMS + `"
      told_of: [paused]
`

// hook is another section, with a webhook.
func hook(url string) string {
	return `
team:
  remind_every: 15m
  reminders_at_most: 2
  hooks:
    - name: war room
      url: ` + url + `
      secret: ` + secret + `
`
}

// starter is the starter's playbook with another team.
func starter(t *testing.T, section string) string {
	t.Helper()
	b, err := fs.ReadFile(playbook.Starter(), "playbook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	inTeam := false
	for line := range strings.Lines(string(b)) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "-") {
			inTeam = strings.HasPrefix(line, "team:")
		}
		if !inTeam {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "") + section
}

// draft makes a draft of an incident as the api does.
func (w *world) draft(id, section string) *incident.Incident {
	w.t.Helper()
	ctx := w.t.Context()
	if err := w.vault.Create(id); err != nil {
		w.t.Fatal(err)
	}
	keys, err := w.vault.Incident(id)
	if err != nil {
		w.t.Fatal(err)
	}
	text, addresses, err := playbook.Redact("playbook", []byte(starter(w.t, section)), func(s string) string { return board.Mark(keys.TeamKey(), s) })
	if err != nil {
		w.t.Fatal(err)
	}
	all := &candorv1.TeamAddresses{Addresses: addresses}
	subject := topology.TeamAddresses(id, board.Digest(all))
	plain, err := proto.Marshal(all)
	if err != nil {
		w.t.Fatal(err)
	}
	sealed, err := keys.Seal(subject, plain)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.bus.Append(ctx, topology.StreamRoster, bus.Message{Subject: subject, Data: sealed}); err != nil {
		w.t.Fatal(err)
	}
	d := &candorv1.Drafted{Revision: 1, Declaration: &candorv1.Declaration{Incident: id, Playbook: string(text)}, Team: subject, PlanHash: []byte(id)}
	return w.event(&incident.Incident{ID: id}, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: d}})
}

func (w *world) event(inc *incident.Incident, e *candorv1.BreachEvent) *incident.Incident {
	w.t.Helper()
	next, err := incident.NewLog(w.bus, w.machine).Append(w.t.Context(), inc, incident.Actor{Token: "t1", Person: "dana"}, e)
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

func approved() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1}}}
}

func paused() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Reason: "wrong names"}}}
}

// alert waits until an alert of a kind is as ok wants it.
func (w *world) alert(id, kind string, ok func(*board.Alert) bool) (found *board.Alert) {
	w.t.Helper()
	log := board.NewLog(w.bus, w.machine)
	w.until(kind+" of "+id, func() bool {
		b, err := log.Load(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, a := range b.Alerts() {
			if candorv1.Word(a.GetKind()) == kind && ok(a) {
				found = a
			}
		}
		return found != nil
	})
	return found
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("never: %s\n%s", what, w.log)
		}
	}
}

// phones is a provider of text messages.
type phones struct {
	answer func(provider.SMS, int) provider.Outcome // nil takes everything; n counts the messages

	mu   sync.Mutex
	sent []provider.SMS
}

func (p *phones) SendSMS(_ context.Context, m provider.SMS, sendBefore time.Time) provider.Outcome {
	p.mu.Lock()
	p.sent = append(p.sent, m)
	n := len(p.sent)
	p.mu.Unlock()
	switch {
	case sendBefore.IsZero():
		return provider.Outcome{Class: provider.Defect, Reason: "no_send_before"}
	case p.answer != nil:
		return p.answer(m, n)
	}
	return provider.Outcome{Class: provider.Accepted, ID: "SM1"}
}

func (p *phones) texts() []provider.SMS {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]provider.SMS(nil), p.sent...)
}

// mailboxes is a provider of e-mails.
type mailboxes struct {
	mu   sync.Mutex
	sent []provider.Email
}

func (m *mailboxes) SendEmail(_ context.Context, e *provider.Email, _ time.Time) []provider.Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, *e)
	return []provider.Outcome{{Class: provider.Accepted, ID: "m1"}}
}

func (m *mailboxes) mails() []provider.Email {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]provider.Email(nil), m.sent...)
}

// newBox runs a sandbox until the test ends.
func newBox(t *testing.T, cfg sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- box.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return box
}
