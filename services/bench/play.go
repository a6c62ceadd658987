package bench

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
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

// SomePhone returns a number out of a roster: that of the first customer who has one.
func SomePhone(r io.Reader) (string, error) {
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = -1
	for {
		row, err := rows.Read()
		if err != nil {
			return "", fmt.Errorf("no customer with a phone: %w", err)
		}
		for _, field := range row {
			if phone, ok := roster.ParsePhone(field, "US"); ok {
				return phone.Reveal(), nil
			}
		}
	}
}

// Story is one incident from draft to rest.
type Story struct {
	Incident   string
	Customers  int
	EmailBatch int
	// EmailAfter makes the e-mails a step of the ladder, for those whose text message did not arrive by then.
	EmailAfter time.Duration
	// CallAfter makes calls the last step, for those whom nothing written has reached by then; 0 for no calls.
	CallAfter time.Duration
	// CallsAlone has everybody called at once, and nobody written to.
	CallsAlone bool
	// Hours keeps the starter's hours, rates and cadence, for a clock that runs fast.
	Hours bool
	// Edit changes the playbook that the others have made; nil for nothing.
	Edit func(playbook string) string
	// Receipts is what becomes of the messages after they were taken; nil for nothing.
	Receipts *sandbox.Receipts
	// Stop is the phone that texts STOP when it has heard; empty for none.
	Stop string
	// Declared is called when the second person has approved; Seen with each status after that.
	Declared func(*candorv1.Incident)
	Seen     func(*candorv1.Status)
}

// Tell declares, approves, waits until nothing more happens, and takes stock.
func (d *Driver) Tell(ctx context.Context, s Story, sb *sandbox.Client) (*Verdict, error) {
	_, seconds, err := d.begin(ctx, s, sb)
	if err != nil {
		return nil, err
	}
	v, err := d.Verify(ctx, s.Incident, sb)
	if err != nil {
		return nil, err
	}
	v.took(seconds)
	return v, nil
}

// begin declares, approves, and waits until the first notice has come to rest and somebody has said STOP.
func (d *Driver) begin(ctx context.Context, s Story, sb *sandbox.Client) (_ *candorv1.Incident, seconds float64, err error) {
	if s.Receipts != nil {
		if err := sb.SetReceipts(ctx, *s.Receipts); err != nil {
			return nil, 0, err
		}
	}
	inc, err := d.Draft(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	started := time.Now()
	if err := d.Approve(ctx, inc.GetId(), inc.GetPlanHash()); err != nil {
		return nil, 0, err
	}
	if s.Declared != nil {
		s.Declared(inc)
	}
	if err := d.rest(ctx, s, inc, sb); err != nil {
		return nil, 0, err
	}
	seconds = time.Since(started).Seconds()
	if s.Stop != "" {
		if err := sb.Reply(ctx, s.Stop, "STOP"); err != nil {
			return nil, 0, err
		}
		if _, err := d.Await(ctx, s.Incident, func(st *candorv1.Status) bool { return optedOut(st) > 0 }); err != nil {
			return nil, 0, err
		}
	}
	return inc, seconds, nil
}

// rest waits until everybody was told and every receipt was heard.
func (d *Driver) rest(ctx context.Context, s Story, inc *candorv1.Incident, sb *sandbox.Client) error {
	for {
		if _, err := d.Await(ctx, s.Incident, func(st *candorv1.Status) bool {
			if s.Seen != nil {
				s.Seen(st)
			}
			return Resting(inc.GetPlan(), st)
		}); err != nil {
			return err
		}
		truth, err := sb.Truth(ctx)
		if err != nil {
			return err
		}
		if truth.Receipts.Pending > 0 {
			continue
		}
		// What was heard last may have moved somebody on.
		st, err := d.Status(ctx, s.Incident)
		if err != nil || Resting(inc.GetPlan(), st) {
			return err
		}
	}
}

// optedOut counts the customers who asked for no more.
func optedOut(st *candorv1.Status) (n uint64) {
	for _, w := range st.GetWaves() {
		for _, c := range w.GetChannels() {
			n += c.GetOptedOut()
		}
	}
	return n
}

// Draft uploads the story's customers and declares its incident.
func (d *Driver) Draft(ctx context.Context, s Story) (*candorv1.Incident, error) {
	pb, facts, err := Texts(max(s.EmailBatch, 1))
	if s.Hours {
		pb, facts, err = Starter()
		pb = strings.Replace(pb, "    total: 6\n", "    total: 2\n", 1) // whom nobody answers for is given up before the first follow-up
	}
	if err != nil {
		return nil, err
	}
	if s.EmailAfter > 0 {
		pb = laterEmails(pb, s.EmailAfter)
	}
	if s.CallAfter > 0 {
		pb = withCalls(pb, s.CallAfter)
	}
	if s.CallsAlone {
		if pb, facts, err = callTexts(nil); err != nil {
			return nil, err
		}
	}
	if s.Edit != nil {
		pb = s.Edit(pb)
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
