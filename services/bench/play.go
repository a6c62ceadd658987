package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/config"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/sandbox"
)

// Play is a whole installation in this process, with the sandbox in place of the providers.
type Play struct {
	App     *app.App
	Driver  *Driver
	Sandbox *sandbox.Client

	cancel context.CancelFunc
	ended  chan error
}

// Start starts an installation in dir, which must be empty. change may alter its settings before.
func Start(ctx context.Context, dir string, log zerolog.Logger, change func(*app.Config)) (*Play, error) {
	cfg, admin, err := Prepare(dir)
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(&cfg)
	}
	a, err := app.New(ctx, cfg, append(app.All(), "sandbox"), log)
	if err != nil {
		return nil, err
	}
	rctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &Play{App: a, cancel: cancel, ended: make(chan error, 1)}
	go func() { p.ended <- a.Run(rctx) }()
	if p.Driver, err = NewDriver(ctx, a.APIURL(), admin); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	p.Sandbox = sandbox.NewClient(a.Sandbox().URL(), config.Secret(a.Sandbox().Token()))
	return p, nil
}

// Ended gives the error with which the installation ended by itself.
func (p *Play) Ended() <-chan error { return p.ended }

// Stop stops the installation in order.
func (p *Play) Stop() error {
	p.cancel()
	if p.Driver != nil {
		p.Driver.Close()
	}
	if p.Sandbox != nil {
		p.Sandbox.Close()
	}
	return <-p.ended
}

// Customers writes a roster of n invented people, or the starter's sample for 0.
func Customers(n int) (io.Reader, error) {
	if n == 0 {
		b, err := fs.ReadFile(playbook.Starter(), "roster.csv")
		return bytes.NewReader(b), err
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(roster.Synthetic(w, n, roster.SyntheticOptions{Seed: 1})) }() // the reader gets its error
	return r, nil
}

// Story is one incident from draft to rest.
type Story struct {
	Incident   string
	Customers  int
	EmailBatch int
	// Declared is called when the second person has approved; Seen with each status after that.
	Declared func(*candorv1.Incident)
	Seen     func(*candorv1.Status)
}

// Tell declares, approves, waits until nothing more happens, and takes stock.
func (d *Driver) Tell(ctx context.Context, s Story, sb *sandbox.Client) (*Verdict, error) {
	inc, err := d.Draft(ctx, s)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	if err := d.Approve(ctx, inc.GetId(), inc.GetPlanHash()); err != nil {
		return nil, err
	}
	if s.Declared != nil {
		s.Declared(inc)
	}
	if _, err := d.Await(ctx, s.Incident, func(st *candorv1.Status) bool {
		if s.Seen != nil {
			s.Seen(st)
		}
		return Resting(st)
	}); err != nil {
		return nil, err
	}
	seconds := time.Since(started).Seconds()
	v, err := d.Verify(ctx, s.Incident, sb)
	if err != nil {
		return nil, err
	}
	v.took(seconds)
	return v, nil
}

// Draft uploads the story's customers and declares its incident.
func (d *Driver) Draft(ctx context.Context, s Story) (*candorv1.Incident, error) {
	pb, facts, err := Texts(max(s.EmailBatch, 1))
	if err != nil {
		return nil, err
	}
	people, err := Customers(s.Customers)
	if err != nil {
		return nil, err
	}
	digest, err := d.Upload(ctx, s.Incident, people, url.Values{"name": {"roster.csv"}})
	if err != nil {
		return nil, err
	}
	return d.Declare(ctx, &candorv1.Declaration{Incident: s.Incident, Playbook: pb, Facts: facts, RosterDigest: digest})
}
