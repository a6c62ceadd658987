package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/dialer"
	"candor/services/sandbox"
)

func demoCommand(c *cli) *cobra.Command {
	var (
		customers int
		dir       string
		exit      bool
		asJSON    bool
		speed     float64
	)
	cmd := &cobra.Command{
		Use: "demo", GroupID: groupPrepare, Args: none,
		Short: "See all of it work, on this machine, with invented people",
		Long: `Starts everything in one process, with the sandbox in place of the providers:
no message leaves this machine. A commander declares a sample incident, a second
person approves it, every customer is told by text message and e-mail, and the
sandbox's own count is held against Candor's.

With --speed 3600 an hour passes each second, and the incident is lived through to
its end: follow-ups by the starter's cadence, an update and its correction, the
closing note, each at the hours of the customers' own clocks. Before that the timeline
is printed, and afterwards held against what the sandbox took.

Without --speed the texts are those that candor init writes, but always open, so
that it ends at any hour of any day. It stays up afterwards, for a look at the inboxes,
until Ctrl-C; with --exit it ends by itself.

With --json the last line of standard output is one JSON object: audience,
notices by channel and state, seconds, complete, and the sandbox's own count.
sandbox_lost counts notices that Candor calls accepted and the sandbox never
accepted, and those that either of them does not account for; sandbox_duplicates
counts notices of which a second message was accepted while an earlier one had
not definitely failed. Both must be 0.`,
		Example: `  candor demo
  candor demo --speed 3600
  candor demo --customers 280000 --exit --json`,
	}
	cmd.Flags().IntVar(&customers, "customers", 0, "`NUMBER` of invented customers; 0 takes the sample of twelve")
	cmd.Flags().StringVar(&dir, "dir", "", "empty `FOLDER` for its data and keys, kept afterwards; a temporary one if not named")
	cmd.Flags().BoolVar(&exit, "exit", false, "end when everybody was told")
	cmd.Flags().Float64Var(&speed, "speed", 1, "how many `TIMES` as fast the calendar goes; above 1 weeks pass in minutes")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if customers < 0 {
			return usageError(cmd, "--customers %d: give 0 or more", customers)
		}
		if speed != 1 && (speed < 60 || speed > 20_000) {
			return usageError(cmd, "--speed %g: give 1, or 60 to 20000", speed)
		}
		if speed != 1 && customers > weeksMost {
			return usageError(cmd, "--customers %d: with --speed the timeline of each is looked at, of at most %d", customers, weeksMost)
		}
		if dir == "" {
			if dir, err = os.MkdirTemp("", "candor-demo-"); err != nil {
				return fmt.Errorf("folder for the demo: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		}
		d := &demo{cli: c, customers: customers, exit: exit, json: asJSON, speed: speed}
		return d.run(cmd.Context(), dir)
	}
	return cmd
}

// weeksMost is how many customers' timelines are looked at one by one.
const weeksMost = 500

// demoResult is the demo's last line with --json.
type demoResult struct {
	*bench.Verdict
	Promises *bench.Promises `json:"promises,omitempty"`
}

type demo struct {
	*cli
	customers  int
	exit, json bool
	speed      float64
	seen       time.Time
	said       string
}

// say tells a person what happens: beside the JSON on standard error, else on standard output.
func (d *demo) say(format string, args ...any) {
	if d.json {
		d.err.printf(format+"\n", args...)
		return
	}
	d.out.printf(format+"\n", args...)
}

func (d *demo) run(ctx context.Context, dir string) (err error) {
	play, err := bench.Start(ctx, dir, d.log().Level(zerolog.WarnLevel), func(cfg *app.Config) {
		cfg.Sandbox.KeepTexts = d.customers <= 20_000
		d.calendar(cfg)
	})
	if err != nil {
		return startFailure(err)
	}
	defer func() { err = errors.Join(err, play.Stop()) }()
	d.say("The sandbox plays Twilio and SendGrid. Inboxes: %s", play.App.Sandbox().PageURL())
	d.say("The commander uploads the roster and declares the incident.")
	story, err := d.story()
	if err != nil {
		return err
	}
	story.Declared, story.Seen = func(inc *candorv1.Incident) {
		d.say("The approver read plan %.12s… and approved it: %s people on file.", inc.GetPlanHash(), number(inc.GetPlan().GetPeople().GetCustomers()))
	}, d.progress
	hangUp, err := d.dial(ctx, play, story)
	if err != nil {
		return err
	}
	var v *bench.Verdict
	var p *bench.Promises
	if d.speed == 1 {
		v, err = play.Driver.Tell(ctx, story, play.Sandbox)
	} else {
		v, p, err = d.weeks(ctx, play, story)
	}
	err = errors.Join(err, hangUp())
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	d.summary(v)
	if p != nil {
		d.promises(p)
	}
	if d.json {
		if err := d.cli.json(demoResult{v, p}); err != nil {
			return err
		}
	}
	if p != nil && len(p.Broken)+len(p.Beside) > 0 {
		return &failure{code: exitFailed, what: fmt.Sprintf("%d messages were not as the timeline announced them", len(p.Broken)+len(p.Beside)), remedy: "this is a defect of Candor: please report it with the lines above"}
	}
	if v.Lost > 0 || v.Duplicates > 0 || v.Disagree > 0 {
		return &failure{code: exitFailed, what: fmt.Sprintf("%d lost, %d told twice, %d said differently", v.Lost, v.Duplicates, v.Disagree), remedy: "this is a defect of Candor: please report it with the line above"}
	}
	if d.exit {
		return nil
	}
	d.say("\nLook at the inboxes: %s\nCtrl-C ends the demo.", play.App.Sandbox().PageURL())
	<-ctx.Done()
	return nil
}

// story is what happens: receipts come in, some messages do not arrive, and one person texts STOP. The sample of twelve shows
// the ladder too: the e-mail is for those whose text message did not arrive.
func (d *demo) story() (bench.Story, error) {
	s := bench.Story{Incident: "demo", Customers: d.customers, EmailBatch: 1000, Receipts: &sandbox.Receipts{
		Enabled: true, Seed: demoSeed, DelaySent: sandbox.Duration(200 * time.Millisecond), DelayFinal: sandbox.Duration(500 * time.Millisecond),
		Flush: sandbox.Duration(500 * time.Millisecond), Duplicate: 0.1, Shuffle: 0.1, Forge: 0.01,
		Undelivered: map[int]float64{30005: 0.01, 30006: 0.01, 30007: 0.005}, Bounced: 0.01, Spam: 0.001,
	}}
	if d.speed != 1 {
		s.Hours, s.CallAfter = true, 6*time.Hour
	}
	if d.customers == 0 {
		s.Receipts.Undelivered, s.Receipts.Bounced = map[int]float64{30005: 0.15, 30006: 0.15}, 0.15
		if d.speed == 1 {
			s.EmailAfter, s.CallAfter = 2*time.Second, 5*time.Second
		}
	}
	people, err := bench.Customers(d.customers)
	if err != nil {
		return s, err
	}
	s.Stop, err = bench.SomePhone(people)
	return s, err
}

// dial lets the reference dialer work the call queue while the story goes on. hangUp ends it.
func (d *demo) dial(ctx context.Context, play *bench.Play, s bench.Story) (hangUp func() error, err error) {
	if s.CallAfter == 0 {
		return func() error { return nil }, nil
	}
	queue, err := play.Driver.CallQueue(ctx, "dialer")
	if err != nil {
		return nil, err
	}
	// A call of a minute takes a tenth of a second, or what the calendar makes of it.
	network, err := dialer.NewNetwork(demoSeed, max(d.speed, 600), 0, play.App.Clock().Now)
	if err != nil {
		return nil, err
	}
	network = network.On(play.App.Clock())
	cfg := dialer.DefaultConfig()
	cfg.Agents, cfg.Wait, cfg.Grace = 3, time.Second, time.Second
	cfg.Lease = min(cfg.Lease, play.App.Clock().Real(24*time.Hour)) // the queue leases for no longer
	centre, err := dialer.New(cfg, queue, network, play.App.Clock().Now, d.log())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- centre.Run(ctx) }()
	return func() error {
		cancel()
		err := <-ended
		d.say("The reference dialer made %s: %s.", plural(centre.Stats().Claimed, "call", "calls"), dispositionWords(centre.Stats().Dispositions))
		return err
	}, nil
}

// demoSeed decides who of the sample is not reached at first.
const demoSeed = 1

// progress prints a line a second while people are being told.
func (d *demo) progress(st *candorv1.Status) {
	if time.Since(d.seen) < time.Second {
		return
	}
	d.seen = time.Now()
	var lines []string
	for _, w := range st.GetWaves() {
		for _, ch := range w.GetChannels() {
			s := ch.GetStates()
			lines = append(lines, fmt.Sprintf("  %-5s %10s of %-10s told, %s of them delivered  %8s a second", topology.ChannelToken(ch.GetChannel()),
				number(s["accepted"]+s["delivered"]), number(ch.GetPlannedTotal()), number(s["delivered"]), number(uint64(ch.GetRatePerSec()))))
		}
	}
	if now := strings.Join(lines, "\n"); now != d.said {
		d.said = now
		d.say("%s", now)
	}
}

func (d *demo) summary(v *bench.Verdict) {
	d.say("\n%s of %s people told in %.1f seconds.", number(v.Told), number(v.Audience), v.Seconds)
	if n := v.Notices["call"]; n != nil {
		d.say("  call  Candor: %s told, %s failed, %s suppressed", number(n["delivered"]), number(n["failed"]), number(n["suppressed"]))
	}
	for _, ch := range []string{"sms", "email"} {
		n := v.Notices[ch]
		d.say("  %-5s Candor: %s delivered, %s accepted, %s failed, %s suppressed, %s uncertain", ch, number(n["delivered"]), number(n["accepted"]),
			number(n["failed"]), number(n["suppressed"]), number(n["uncertain"]))
		d.say("        agreed with the sandbox: delivered %s / %s, not delivered %s / %s, texted STOP %s / %s", number(v.Delivered[ch].Candor), number(v.Delivered[ch].Sandbox),
			number(v.Undelivered[ch].Candor), number(v.Undelivered[ch].Sandbox), number(v.OptedOut[ch].Candor), number(v.OptedOut[ch].Sandbox))
	}
	d.say("  lost %d, told twice %d, said differently %d, complete: %v", v.Lost, v.Duplicates, v.Disagree, v.Complete)
}
