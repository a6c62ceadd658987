package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/rs/zerolog"

	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/sandbox"
)

// playSandbox is both providers.
func playSandbox(ctx context.Context, r role, log zerolog.Logger) (*actor, error) {
	cfg := sandbox.DefaultConfig()
	cfg.Listen, cfg.Twilio.Latency, cfg.SendGrid.Latency, cfg.KeepTexts = "127.0.0.1:0", r.Latency, r.Latency, false
	s, err := sandbox.New(cfg, log)
	if err != nil {
		return nil, err
	}
	return &actor{ready: said{URL: s.URL(), Token: s.Token()}, stop: running(ctx, s.Run)}, nil
}

// running runs a service until the returned func is called, which returns its error.
func running(ctx context.Context, run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// playCandor is a whole installation with its broker, whose providers are elsewhere.
func playCandor(ctx context.Context, r role, log zerolog.Logger) (*actor, error) {
	cfg, admin, err := Prepare(r.Dir)
	if err != nil {
		return nil, err
	}
	box := sandbox.DefaultConfig()
	tw, sg := &cfg.Providers.Twilio, &cfg.Providers.SendGrid
	tw.BaseURL, tw.CallbackURL, tw.AccountSID, tw.Secret = r.URL, r.URL+"/callbacks", box.Twilio.AccountSID, box.Twilio.AuthToken
	sg.BaseURL, sg.APIKey = r.URL, box.SendGrid.APIKey
	if r.InFlight > 0 {
		cfg.SMS.InFlight, cfg.Email.InFlight = r.InFlight, r.InFlight
	}
	if r.SharedIntent > 0 {
		cfg.Email.SharedIntent = r.SharedIntent
	}
	if r.Pages > 0 {
		cfg.SMS.Pages, cfg.Email.Pages = r.Pages, r.Pages
	}
	a, err := app.New(ctx, cfg, app.All(), log)
	if err != nil {
		return nil, err
	}
	return &actor{ready: said{URL: a.APIURL(), Token: admin.Reveal()}, stop: running(ctx, a.Run)}, nil
}

// installation is a Candor and its provider, each in a process of its own, and two people who use it.
type installation struct {
	candor, provider *side
	driver           *Driver
	sandbox          *sandbox.Client
}

// install starts an installation in dir.
func (l *Lab) install(ctx context.Context, dir string, provider, candor role) (_ *installation, err error) {
	in := &installation{}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.stop())
		}
	}()
	provider.Name, candor.Name = "sandbox", "candor"
	if in.provider, err = l.start(ctx, provider); err != nil {
		return nil, err
	}
	in.sandbox = sandbox.NewClient(in.provider.ready.URL, in.provider.ready.secret)
	candor.Dir, candor.URL = dir, in.provider.ready.URL
	if in.candor, err = l.start(ctx, candor); err != nil {
		return nil, err
	}
	in.driver, err = NewDriver(ctx, in.candor.ready.URL, in.candor.ready.secret)
	return in, err
}

func (in *installation) stop() error {
	var errs []error
	if in.driver != nil {
		in.driver.Close()
	}
	if in.sandbox != nil {
		in.sandbox.Close()
	}
	for _, s := range []*side{in.candor, in.provider} {
		if s != nil {
			errs = append(errs, s.stop())
		}
	}
	return errors.Join(errs...)
}

// draft uploads people and declares an incident about them, on one channel or on all.
func (in *installation) draft(ctx context.Context, incident, channel string, batch int, people func(io.Writer) error) (*candorv1.Incident, error) {
	pb, facts, err := Texts(batch)
	if err != nil {
		return nil, err
	}
	if channel != "" {
		pb = alone(pb, channel)
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(people(w)) }() // the reader gets its error
	digest, err := in.driver.Upload(ctx, incident, r, url.Values{"name": {"roster.csv"}})
	if err != nil {
		return nil, err
	}
	return in.driver.Declare(ctx, &candorv1.Declaration{Incident: incident, Playbook: pb, Facts: facts, RosterDigest: digest})
}

// tell approves a draft and waits until everybody was told and the ledger says so. The time runs from the first message at the
// provider: how long that takes is a measurement of its own. The CPU is all that was used, planning included.
func (in *installation) tell(ctx context.Context, inc *candorv1.Incident, people int) (said, error) {
	before, err := in.sandbox.Truth(ctx)
	if err != nil {
		return said{}, err
	}
	used, err := in.candor.usage()
	if err != nil {
		return said{}, err
	}
	if err := in.driver.Approve(ctx, inc.GetId(), inc.GetPlanHash()); err != nil {
		return said{}, err
	}
	if err := in.await(ctx, 2*time.Millisecond, before, 1); err != nil {
		return said{}, err
	}
	began := time.Now()
	if err := in.await(ctx, 20*time.Millisecond, before, people); err != nil {
		return said{}, err
	}
	st, err := in.rest(ctx, inc)
	if err != nil {
		return said{}, err
	}
	took := time.Since(began)
	now, err := in.candor.usage()
	if err != nil {
		return said{}, err
	}
	s := said{Seconds: took.Seconds(), Usage: usage{CPU: now.CPU - used.CPU, PeakBytes: now.PeakBytes}}
	for _, w := range st.GetWaves() {
		for _, c := range w.GetChannels() {
			s.Count += int(c.GetStates()["accepted"]) //nolint:gosec // millions
		}
	}
	truth, err := in.sandbox.Truth(ctx)
	if err != nil {
		return s, err
	}
	if !st.GetComplete() || truth.Duplicates != 0 {
		return s, fmt.Errorf("incident %s: complete %v, %d told twice: what was measured is wrong", inc.GetId(), st.GetComplete(), truth.Duplicates)
	}
	return s, nil
}

// rest waits until the ledger says that nothing more will happen.
func (in *installation) rest(ctx context.Context, inc *candorv1.Incident) (*candorv1.Status, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := in.driver.Status(ctx, inc.GetId())
		if err != nil || Resting(inc.GetPlan(), st) {
			return st, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return st, ctx.Err()
		}
	}
}

// await waits until the provider has so many messages more than before. It asks the provider, whose CPU is nobody's.
func (in *installation) await(ctx context.Context, every time.Duration, before sandbox.Truth, more int) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		now, err := in.sandbox.Truth(ctx)
		if err != nil {
			return err
		}
		if now.SMS.Accepted+now.Email.Accepted >= before.SMS.Accepted+before.Email.Accepted+uint64(more) { //nolint:gosec // not negative
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
