package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	candorv1 "candor/proto/candor/v1"
	"candor/services/sandbox"
)

// ChaosConfig says how rough a chaos run is.
type ChaosConfig struct {
	Binary    string // of candor
	Customers int
	// Kills is how often everything but the sandbox is killed, at random moments.
	Kills int
	// Suspends is how often one of two workers for text messages is stopped between intent and send and woken later.
	Suspends int
	Faults   bool
	Seed     uint64
	// Keep leaves the folder for whoever wants to look.
	Keep bool
	// Report gets a line for what happens.
	Report io.Writer
}

// ChaosVerdict is the verdict of a chaos run.
type ChaosVerdict struct {
	Verdict
	Kills    int `json:"kills"`
	Suspends int `json:"suspends"`
	// Faults are what the sandbox did to its clients, by channel and kind.
	Faults map[string]map[string]uint64 `json:"faults"`
	Seed   uint64                       `json:"seed"`
	// Receipts are how the providers told what became of the messages, and how much of it was heard.
	Receipts sandbox.ReceiptsTruth `json:"receipts"`
	// OK is true if nobody was lost, nobody was told twice, every uncertain text message and every e-mail that was sent was
	// settled, and Candor and the sandbox say the same of every notice.
	OK  bool   `json:"ok"`
	Dir string `json:"dir,omitempty"`
}

// chaosTimeout is that of a request to the sandbox; what a killed process leaves behind is asked for after it.
const chaosTimeout = 2 * time.Second

// lastWords is how long a run waits for the final words on messages once nothing else happens.
const lastWords = time.Minute

// Chaos plays an incident while processes are killed, and counts.
func Chaos(ctx context.Context, cfg ChaosConfig) (_ *ChaosVerdict, err error) {
	dir, err := os.MkdirTemp("", "candor-chaos-")
	if err != nil {
		return nil, fmt.Errorf("folder for the run: %w", err)
	}
	if !cfg.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	site, err := NewSite(cfg.Binary, dir, chaosTimeout)
	if err != nil {
		return nil, err
	}
	defer site.Stop()
	x := &chaos{cfg: cfg, site: site, rnd: rand.New(rand.NewPCG(cfg.Seed, 0xcafe))} //nolint:gosec // repeatable, not secret
	v, err := x.run(ctx)
	if v != nil && cfg.Keep {
		v.Dir = dir
	}
	return v, err
}

type chaos struct {
	cfg     ChaosConfig
	site    *Site
	rnd     *rand.Rand
	main    *Child
	workers [2]*Child
}

func (x *chaos) say(format string, args ...any) {
	_, _ = fmt.Fprintf(x.cfg.Report, format+"\n", args...) // for a person who may have gone
}

func (x *chaos) run(ctx context.Context) (*ChaosVerdict, error) {
	box, err := x.site.Serve("sandbox")
	if err != nil {
		return nil, err
	}
	if err := x.site.Ready(ctx, box, "http://"+x.site.sandboxAddr+"/sandbox/truth"); err != nil {
		return nil, err
	}
	sb := x.site.Sandbox()
	defer sb.Close()
	if err := sb.SetReceipts(ctx, chaosReceipts(x.cfg.Seed)); err != nil {
		return nil, err
	}
	if x.cfg.Faults {
		if err := sb.SetFaults(ctx, chaosFaults(x.cfg.Seed)); err != nil {
			return nil, err
		}
	}
	if err := x.start(ctx); err != nil {
		return nil, err
	}
	d, err := NewDriver(ctx, x.site.APIURL(), x.site.Admin)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	story := Story{Incident: "chaos", Customers: x.cfg.Customers, EmailBatch: 100}
	inc, err := d.Draft(ctx, story)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	if err := d.Approve(ctx, inc.GetId(), inc.GetPlanHash()); err != nil {
		return nil, err
	}
	for n := range x.cfg.Kills {
		if err := x.kill(ctx, n); err != nil {
			return nil, err
		}
	}
	for n := range x.cfg.Suspends {
		if err := x.suspend(ctx, n); err != nil {
			return nil, err
		}
	}
	if err := x.hear(ctx, d, sb, inc); err != nil {
		return nil, err
	}
	seconds := time.Since(started).Seconds()
	v, err := d.Verify(ctx, story.Incident, sb)
	if err != nil {
		return nil, err
	}
	v.took(seconds)
	truth, err := sb.Truth(ctx)
	if err != nil {
		return nil, err
	}
	out := &ChaosVerdict{Verdict: *v, Kills: x.cfg.Kills, Suspends: x.cfg.Suspends, Seed: x.cfg.Seed, Receipts: truth.Receipts, Faults: map[string]map[string]uint64{
		"sms": truth.SMS.Faults, "email": truth.Email.Faults,
	}}
	out.OK = v.Lost == 0 && v.Duplicates == 0 && v.Disagree == 0 && truth.Receipts.ForgedTaken == 0 &&
		v.Notices["sms"]["uncertain"] == 0 && v.UncertainSent["email"] == 0
	return out, nil
}

// hear waits until everybody was told and everything was heard that can be. A text whose callbacks were lost while nobody
// listened is asked about, which comes last; what is not known in the end is the verdict's.
func (x *chaos) hear(ctx context.Context, d *Driver, sb *sandbox.Client, inc *candorv1.Incident) error {
	last := time.Now()
	if err := d.rest(ctx, Story{Incident: inc.GetId(), Seen: func(st *candorv1.Status) {
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			x.say("told %d of %d people", st.GetPeople().GetTold(), st.GetPeople().GetOnFile())
		}
	}}, inc, sb); err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	_, err := d.Await(patient, inc.GetId(), func(st *candorv1.Status) bool {
		accepted := uint64(0)
		for _, w := range st.GetWaves() {
			for _, c := range w.GetChannels() {
				accepted += c.GetStates()["accepted"]
			}
		}
		return accepted == 0 && Resting(inc.GetPlan(), st)
	})
	if ctx.Err() == nil && patient.Err() != nil {
		x.say("not everything was heard within %s", lastWords)
		return nil
	}
	return err
}

// start starts everything but the sandbox: one process, or three where workers are to be suspended.
func (x *chaos) start(ctx context.Context) (err error) {
	targets := "all"
	if x.cfg.Suspends > 0 {
		targets = "api,planner,ledger,email,frontdoor"
	}
	if x.main, err = x.site.Serve(targets); err != nil {
		return err
	}
	if err := x.site.Ready(ctx, x.main, x.site.APIURL()+"/readyz"); err != nil {
		return err
	}
	if x.cfg.Suspends == 0 {
		return nil
	}
	for i := range x.workers {
		if x.workers[i], err = x.site.Serve("sms", "--nats", "nats://"+x.site.NATS); err != nil {
			return err
		}
	}
	return nil
}

// kill kills everything but the sandbox at a random moment, and starts it again.
func (x *chaos) kill(ctx context.Context, n int) error {
	if err := x.sleep(ctx, 20*time.Millisecond, 700*time.Millisecond); err != nil {
		return err
	}
	x.main.Kill()
	for _, w := range x.workers {
		if w != nil {
			w.Kill()
		}
	}
	x.say("killed, %d of %d", n+1, x.cfg.Kills)
	return x.start(ctx)
}

// suspend stops one worker wherever it is, long enough for the other one to take over, and wakes it.
func (x *chaos) suspend(ctx context.Context, n int) error {
	if err := x.sleep(ctx, 20*time.Millisecond, 300*time.Millisecond); err != nil {
		return err
	}
	w := x.workers[n%len(x.workers)]
	w.Signal(syscall.SIGSTOP)
	x.say("stopped a worker, %d of %d", n+1, x.cfg.Suspends)
	// Its strides end at send_before at the latest; after that the other one may ask, and send what was not sent.
	if err := x.sleep(ctx, 3*chaosTimeout, 4*chaosTimeout); err != nil {
		return err
	}
	w.Signal(syscall.SIGCONT)
	return nil
}

func (x *chaos) sleep(ctx context.Context, least, most time.Duration) error {
	select {
	case <-time.After(least + time.Duration(x.rnd.Int64N(int64(most-least)))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// chaosFaults are a bad day at the providers: one request in fifteen goes wrong. A 429 is rare, because it makes
// everybody wait for a second.
func chaosFaults(seed uint64) sandbox.Faults {
	r := sandbox.Rates{
		RateLimited: 0.0002, ServerError: 0.01, ServerErrorKept: 0.01, AnswerLost: 0.02, Reset: 0.01, Slow: 0.005, Redirect: 0.002,
		NoID: 0.005, LateTail: 0.0002, Stall: 0.0005, StallKept: 0.0005,
		RetryAfter: sandbox.Duration(time.Second), SlowFor: sandbox.Duration(300 * time.Millisecond),
	}
	return sandbox.Faults{Seed: seed, SMS: r, Email: r}
}

// chaosReceipts are what becomes of the messages: told twice, late, in any order and by liars, to a front door that is killed
// with the rest.
func chaosReceipts(seed uint64) sandbox.Receipts {
	return sandbox.Receipts{
		Enabled: true, Seed: seed, DelaySent: sandbox.Duration(50 * time.Millisecond), DelayFinal: sandbox.Duration(300 * time.Millisecond),
		Flush: sandbox.Duration(200 * time.Millisecond), Duplicate: 0.2, Shuffle: 0.3, Forge: 0.05, Silent: 0.01,
		Undelivered: map[int]float64{30005: 0.02, 30006: 0.02, 30007: 0.02}, Bounced: 0.03, Spam: 0.01, DeferredFirst: 0.02,
	}
}
