package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
)

func demoCommand(c *cli) *cobra.Command {
	var (
		customers int
		dir       string
		exit      bool
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use: "demo", GroupID: groupPrepare, Args: none,
		Short: "See all of it work, on this machine, with invented people",
		Long: `Starts everything in one process, with the sandbox in place of the providers:
no message leaves this machine. A commander declares a sample incident, a second
person approves it, every customer is told by text message and e-mail, and the
sandbox's own count is held against Candor's.

The demo's texts are the ones that candor init writes, but always open, so that
it ends at any hour of any day. It stays up afterwards, for a look at the inboxes,
until Ctrl-C; with --exit it ends by itself.

With --json the last line of standard output is one JSON object: audience,
notices by channel and state, seconds, complete, and the sandbox's own count.
sandbox_lost counts notices that Candor calls accepted and the sandbox never
accepted, and those that either of them does not account for; sandbox_duplicates
counts notices of which a second message was accepted while an earlier one had
not definitely failed. Both must be 0.`,
		Example: `  candor demo
  candor demo --customers 280000 --exit --json`,
	}
	cmd.Flags().IntVar(&customers, "customers", 0, "`NUMBER` of invented customers; 0 takes the sample of twelve")
	cmd.Flags().StringVar(&dir, "dir", "", "empty `FOLDER` for its data and keys, kept afterwards; a temporary one if not named")
	cmd.Flags().BoolVar(&exit, "exit", false, "end when everybody was told")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if customers < 0 {
			return usageError(cmd, "--customers %d: give 0 or more", customers)
		}
		if dir == "" {
			if dir, err = os.MkdirTemp("", "candor-demo-"); err != nil {
				return fmt.Errorf("folder for the demo: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		}
		d := &demo{cli: c, customers: customers, exit: exit, json: asJSON}
		return d.run(cmd.Context(), dir)
	}
	return cmd
}

type demo struct {
	*cli
	customers  int
	exit, json bool
	seen       time.Time
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
	play, err := bench.Start(ctx, dir, d.log().Level(zerolog.WarnLevel), func(cfg *app.Config) { cfg.Sandbox.KeepTexts = d.customers <= 20_000 })
	if err != nil {
		return startFailure(err)
	}
	defer func() { err = errors.Join(err, play.Stop()) }()
	d.say("The sandbox plays Twilio and SendGrid. Inboxes: %s", play.App.Sandbox().PageURL())
	d.say("The commander uploads the roster and declares the incident.")
	v, err := play.Driver.Tell(ctx, bench.Story{
		Incident: "demo", Customers: d.customers, EmailBatch: 1000,
		Declared: func(inc *candorv1.Incident) {
			d.say("The approver read plan %.12s… and approved it: %s people on file.", inc.GetPlanHash(), number(inc.GetPlan().GetPeople().GetCustomers()))
		},
		Seen: d.progress,
	}, play.Sandbox)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	d.summary(v)
	if d.json {
		if err := d.cli.json(v); err != nil {
			return err
		}
	}
	if v.Lost > 0 || v.Duplicates > 0 {
		return &failure{code: exitFailed, what: fmt.Sprintf("%d lost, %d told twice", v.Lost, v.Duplicates), remedy: "this is a defect of Candor: please report it with the line above"}
	}
	if d.exit {
		return nil
	}
	d.say("\nLook at the inboxes: %s\nCtrl-C ends the demo.", play.App.Sandbox().PageURL())
	<-ctx.Done()
	return nil
}

// progress prints a line a second while people are being told.
func (d *demo) progress(st *candorv1.Status) {
	if time.Since(d.seen) < time.Second {
		return
	}
	d.seen = time.Now()
	for _, w := range st.GetWaves() {
		for _, ch := range w.GetChannels() {
			s := ch.GetStates()
			d.say("  %-5s %10s of %-10s accepted  %8s a second", topology.ChannelToken(ch.GetChannel()), number(s["accepted"]),
				number(ch.GetPlannedTotal()), number(uint64(ch.GetRatePerSec())))
		}
	}
}

func (d *demo) summary(v *bench.Verdict) {
	d.say("\n%s of %s people told in %.1f seconds.", number(v.Told), number(v.Audience), v.Seconds)
	for _, ch := range []string{"sms", "email"} {
		n := v.Notices[ch]
		d.say("  %-5s Candor: %s accepted, %s suppressed, %s failed, %s uncertain    sandbox: %s", ch, number(n["accepted"]), number(n["suppressed"]),
			number(n["failed"]), number(n["uncertain"]), number(v.Sandbox[ch]))
	}
	d.say("  lost %d, told twice %d, complete: %v", v.Lost, v.Duplicates, v.Complete)
}
