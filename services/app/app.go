package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/clock"
	"candor/pkg/dispatch"
	"candor/pkg/httpd"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/natsd"
	"candor/pkg/notice"
	"candor/pkg/noticeid"
	"candor/pkg/pagestore"
	"candor/pkg/ratelimit"
	"candor/pkg/run"
	"candor/pkg/suppression"
	"candor/pkg/topology"
	"candor/pkg/vault"
	"candor/services/email"
	"candor/services/email/sendgrid"
	"candor/services/email/smtp"
	"candor/services/frontdoor"
	"candor/services/ledger"
	"candor/services/planner"
	"candor/services/sandbox"
	"candor/services/sms"
	"candor/services/sms/twilio"
)

// stopWithin bounds an orderly stop.
const stopWithin = 30 * time.Second

// ballastBytes are allocated and never touched, so that they take no memory. The collector starts when the heap has doubled:
// with them on board the small heap of a worker may fill up with garbage before it is gone through, instead of every few
// thousand messages, and a large one still only doubles.
const ballastBytes = 96 << 20

// App is the services of one process. Built means ready.
type App struct {
	cfg     Config
	targets []string
	log     zerolog.Logger
	clock   clock.Clock
	now     func() time.Time // the calendar's
	group   *run.Group
	closers []func(context.Context) error
	ballast []byte
	metrics *prometheus.Registry

	server  *natsd.Server
	bus     *bus.Bus
	vault   *vault.Vault
	door    *vault.Door
	http    *httpd.Server
	front   *frontdoor.Frontdoor
	sandbox *sandbox.Sandbox
	// booted is when this process got hold of the data folder; zero where the broker runs elsewhere.
	booted time.Time
	// spaceLow is what the broker's process says of its disk, where that is another one.
	spaceLow atomic.Bool

	incidents  *incident.Registry
	journal    *journal.Journal
	pages      *pagestore.Store
	texts      *notice.Library
	suppressed *suppression.Set
	limiter    *ratelimit.Limiter
}

// New builds the targets. Everything that can fail at start fails here.
func New(ctx context.Context, cfg Config, targets []string, log zerolog.Logger) (_ *App, err error) {
	if err := cfg.Validate(targets); err != nil {
		return nil, err
	}
	c := cfg.Clock.clock()
	a := &App{
		cfg: cfg, targets: targets, log: log, clock: c, now: c.Now, group: run.NewGroup(stopWithin, log), metrics: prometheus.NewRegistry(),
	}
	if !cfg.Clock.real() {
		log.Warn().Float64("speed", c.Speed()).Time("shows", c.Now()).Msg("the calendar is not the machine's: this is a rehearsal")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close(context.WithoutCancel(ctx)))
		}
	}()
	if a.has("sandbox") {
		if err := a.addSandbox(); err != nil {
			return nil, err
		}
	}
	if slices.Equal(targets, []string{"sandbox"}) {
		return a, nil
	}
	if err := a.connect(ctx); err != nil {
		return nil, err
	}
	if slices.Equal(targets, []string{"nats"}) {
		a.group.Add("nats", a.tellSpace())
		return a, nil
	}
	if err := a.openKeys(); err != nil {
		return nil, err
	}
	if err := a.addShared(ctx); err != nil {
		return nil, err
	}
	for _, t := range []struct {
		name string
		add  func(context.Context) error
	}{{"frontdoor", a.addFrontdoor}, {"ledger", a.addLedger}, {"planner", a.addPlanner}, {"sms", a.addSMS}, {"email", a.addEmail}, {"calls", a.addCalls}, {"team", a.addTeam}, {"followup", a.addFollowup}, {"api", a.addAPI}} {
		if a.has(t.name) {
			if err := t.add(ctx); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

func (a *App) has(target string) bool { return slices.Contains(a.targets, target) }

// Run runs the services until ctx ends or one of them fails, and then closes what New opened.
func (a *App) Run(ctx context.Context) error {
	defer runtime.KeepAlive(a.ballast)
	return errors.Join(a.group.Run(ctx), a.Close(context.WithoutCancel(ctx)))
}

// Close closes what New opened, last first. Run does it; it is for an App that is never run.
func (a *App) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		errs = append(errs, c(ctx))
	}
	a.closers = nil
	return errors.Join(errs...)
}

// APIURL is where the command line reaches this process; empty without the api.
func (a *App) APIURL() string {
	if a.http == nil {
		return ""
	}
	return a.http.URL()
}

// Sandbox is the sandbox of this process, nil without one.
func (a *App) Sandbox() *sandbox.Sandbox { return a.sandbox }

// NATSURL is where other processes reach the broker of this one; empty if it does not listen.
func (a *App) NATSURL() string {
	if a.server == nil {
		return ""
	}
	return a.server.ClientURL()
}

func (a *App) addSandbox() error {
	cfg := a.cfg.Sandbox
	cfg.Clock = a.clock
	s, err := sandbox.New(cfg, a.log)
	if err != nil {
		return err
	}
	a.sandbox = s
	a.group.Add("sandbox", s)
	a.cfg.Providers = a.cfg.Providers.playedBy(s.URL(), a.cfg.Sandbox)
	return nil
}

// openKeys opens what the targets need, and no more: ledger and followup get no key, and a front door by itself none that
// opens a page.
func (a *App) openKeys() (err error) {
	switch {
	case !slices.ContainsFunc(a.targets, func(t string) bool { return t != "ledger" && t != "followup" }):
		return nil
	case slices.Equal(a.targets, []string{"frontdoor"}):
		a.door, err = vault.OpenDoor(a.cfg.Keys)
		return err
	}
	if a.vault, err = vault.Open(a.cfg.Keys, a.log); err != nil {
		return err
	}
	a.door = a.vault.Door()
	return nil
}

// connect opens the broker, inside this process or elsewhere.
func (a *App) connect(ctx context.Context) error {
	bcfg := bus.Config{URL: a.cfg.NATS.URL, Name: a.user(), Clock: a.clock}
	if a.cfg.NATS.URL != "" {
		bcfg.NKeySeedFile = seedFile(a.cfg.Keys, a.user())
	} else {
		if err := a.openBroker(ctx); err != nil {
			return err
		}
		bcfg.Server = a.server
	}
	b, err := bus.Connect(ctx, bcfg, a.log)
	if err != nil {
		return err
	}
	a.bus = b
	a.closers = append(a.closers, b.Close)
	switch {
	case a.server == nil && !a.has("api"):
		return topology.Wait(ctx, b) // whoever runs the api keeps the streams in shape
	case a.server != nil:
		if err := topology.Release(ctx, b); err != nil {
			return err
		}
	}
	err = topology.Apply(ctx, b, topology.Options{})
	var damage *topology.DamageError
	if err != nil && !errors.As(err, &damage) {
		return err
	}
	var sentences []string
	if damage != nil {
		sentences = damage.Sentences
	}
	return a.pauseAfterDamage(ctx, sentences)
}

// user is the NATS user of this process: the target's own, or the one for several.
func (a *App) user() string {
	if len(a.targets) == 1 {
		return a.targets[0]
	}
	return topology.Several
}

func (a *App) openBroker(ctx context.Context) error {
	cfg := natsd.Config{
		Dir: filepath.Join(a.cfg.Data, "nats"), Witness: filepath.Join(a.cfg.Keys, "witness.json"),
		Listen: a.cfg.NATS.Listen, Hold: true, FreeSpaceMark: a.cfg.NATS.FreeSpaceMark,
	}
	if cfg.Listen != "" {
		users, err := natsUsers(a.cfg.Keys)
		if err != nil {
			return err
		}
		cfg.Users = users
	}
	if err := os.MkdirAll(a.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	s, err := natsd.Open(ctx, cfg, a.log)
	if err != nil {
		return err
	}
	a.server, a.booted = s, a.now()
	a.closers = append(a.closers, s.Close)
	return nil
}

// addShared adds what several targets use.
func (a *App) addShared(ctx context.Context) error {
	a.incidents = incident.NewRegistry(a.bus)
	a.group.Add("incidents", a.incidents)
	committer := bus.NewCommitter(a.bus, topology.StreamJournal, bus.CommitterOptions{})
	a.group.Add("journal", committer)
	a.journal = journal.New(a.bus, committer, a.now)
	if a.vault != nil {
		a.pages = pagestore.New(a.bus, a.vault)
	}
	a.texts = notice.NewLibrary()
	if a.server != nil && a.cfg.NATS.Listen != "" {
		a.group.Add("space", a.tellSpace())
	}
	// Who tells no customer need not know who wants nothing, and may not.
	tellsCustomers := slices.ContainsFunc(a.targets, func(t string) bool { return t != "team" && t != "followup" })
	if a.door != nil && tellsCustomers {
		kv, err := a.bus.KV(ctx, topology.BucketSuppressions)
		if err != nil {
			return fmt.Errorf("suppressions: %w", err)
		}
		a.suppressed = suppression.New(kv, a.door.SuppressionKey())
		a.group.Add("suppressions", a.suppressed)
	}
	if !a.has("sms") && !a.has("email") {
		return nil
	}
	if a.server == nil {
		a.group.Add("space", a.followSpace(&a.spaceLow))
	}
	a.ballast = make([]byte, ballastBytes)
	limits, err := a.bus.KV(ctx, topology.BucketLimits)
	if err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	a.limiter = ratelimit.New(limits, a.clock.Machine, a.log)
	return nil
}

func (a *App) addLedger(context.Context) error {
	cfg := a.cfg.Ledger
	cfg.Clock = a.clock
	l, err := ledger.New(cfg, a.bus, a.incidents, a.log)
	if err != nil {
		return err
	}
	a.group.Add("ledger", l)
	return nil
}

func (a *App) addPlanner(context.Context) error {
	cfg := a.cfg.Planner
	// What the planner spares providers and queues is the machine's time, and compared with the calendar's.
	cfg.PollEvery, cfg.PutBackAgain = a.clock.Work(cfg.PollEvery), a.clock.Work(cfg.PutBackAgain)
	a.group.Add("planner", planner.New(cfg, a.bus, a.pages, a.texts, a.now, a.log))
	return nil
}

func (a *App) addSMS(context.Context) error {
	cfg, tw := a.cfg.SMS, a.cfg.Providers.Twilio
	if tw.CallbackURL == "" {
		tw.CallbackURL = a.callbackURL()
	}
	tw.HTTP.MaxInFlight, tw.HTTP.RequestTimeout = cfg.InFlight, cfg.RequestTimeout
	p, err := twilio.New(tw, a.clock.Machine)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func(context.Context) error { p.Close(); return nil })
	return a.addWorker("sms", cfg.Config, sms.New(cfg, p, a.texts, a.suppressed, noticeid.New(a.vault.IDKey()), a.now))
}

func (a *App) addEmail(context.Context) error {
	cfg, sg, relay := a.cfg.Email, a.cfg.Providers.SendGrid, a.cfg.Providers.SMTP
	var routes []email.Route
	if sg.APIKey != "" || relay.Host == "" {
		sg.HTTP.MaxInFlight, sg.HTTP.RequestTimeout = cfg.InFlight, cfg.RequestTimeout
		p, err := sendgrid.New(sg, a.clock.Machine)
		if err != nil {
			return err
		}
		a.closers = append(a.closers, func(context.Context) error { p.Close(); return nil })
		routes = append(routes, email.Route{Name: "sendgrid", Provider: p})
	}
	if relay.Host != "" {
		relay.RequestTimeout = cfg.RequestTimeout
		p, err := smtp.New(relay, a.clock.Machine)
		if err != nil {
			return err
		}
		a.closers = append(a.closers, func(context.Context) error { p.Close(); return nil })
		routes = append(routes, email.Route{Name: "smtp", Provider: p})
	}
	return a.addWorker("email", cfg.Config, email.New(cfg, routes, a.texts, a.suppressed, noticeid.New(a.vault.IDKey()), a.clock, a.log))
}

func (a *App) addWorker(name string, cfg dispatch.Config, c dispatch.Courier) error {
	cfg.SpillDir = filepath.Join(a.cfg.Data, "spill")
	d := dispatch.Deps{
		Bus: a.bus, Journal: a.journal, Incidents: a.incidents, Pages: a.pages, Limiter: a.limiter, Courier: c,
		WorkerID: dispatch.NewWorkerID(), Booted: a.booted, Clock: a.clock, Log: a.log,
	}
	if a.server != nil {
		d.BootID, d.SpaceLow = a.server.BootID(), a.server.SpaceLow
	} else {
		d.SpaceLow = a.spaceLow.Load
	}
	w, err := dispatch.New(cfg, d)
	if err != nil {
		return err
	}
	a.group.Add(name, run.Func(func(ctx context.Context) error {
		// Somebody who said STOP yesterday is not told before that is known here.
		select {
		case <-a.suppressed.Ready():
			return w.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	}))
	return nil
}

// pauseAfterDamage pauses every incident if the broker came back with less than it had acknowledged: a journal that
// lost its tail would have people told twice.
//
// A crash here pauses some; the damage is found again at the next start, until all are paused.
func (a *App) pauseAfterDamage(ctx context.Context, sentences []string) error {
	if a.server != nil {
		sentences = append(sentences, a.server.Damage()...)
	}
	if len(sentences) == 0 {
		return a.admit()
	}
	for _, line := range sentences {
		a.log.Error().Str("damage", line).Msg("the data folder came back with less than it had acknowledged")
	}
	n, err := incident.NewLog(a.bus, a.now).PauseAll(ctx, "the data folder came back with less than it had acknowledged; see the log, and ask the providers before you resume")
	if err != nil {
		return fmt.Errorf("pause every incident after damage: %w", err)
	}
	a.log.Error().Int("incidents", n).Msg("every incident is paused: nobody is told until a person resumes")
	if a.server == nil {
		return nil
	}
	return errors.Join(a.server.SettleDamage(), a.admit())
}

// admit lets other processes in, who must not send before every incident is paused where the broker is damaged.
func (a *App) admit() error {
	if a.server == nil {
		return nil
	}
	return a.server.Admit()
}
