package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
	"candor/services/dialer"
)

const (
	// The shortest lease of a dialer whose time goes faster: agents renew three times in it.
	shortestLease = 10 * time.Second
	// How long a stop lets calls go on, and waits for claims that are out.
	dialerGrace = 10 * time.Second
	dialerWait  = 2 * time.Second
)

func dialerCommand(c *cli) *cobra.Command {
	var (
		agents    int
		mode      string
		speed     float64
		crash     float64
		seed      uint64
		incidents []string
		lasting   time.Duration
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use: "dialer", GroupID: groupCall, Args: none,
		Short: "Play a contact centre that works the call queue off: no telephone rings",
		Long: `The reference dialer. Its agents claim customers from the queue, call them in a
telephone network of invented people, and report how the calls ended: some do not
pick up, some are busy, some ask to be called again. The queue is the real one, and
takes all of it for calls that were made: use it for demos, drills and load, with
incidents of invented people alone.

The same seed has the same customer pick up, or not, every time. --crash is the
share of calls in the middle of which an agent's machine dies: its lease is left
to end.

It works until Ctrl-C or --duration, gives back what was not dialled, and ends with
a count. Its code, services/dialer, is the example for a dialer of your own.`,
		Example: `  candor dialer --agents 50 --token-file dialer.token
  candor dialer --agents 5 --mode preview --speed 600 --crash 0.01 --duration 1m --json`,
	}
	cmd.Flags().IntVar(&agents, "agents", 10, "`NUMBER` of agents, with one call at a time each")
	cmd.Flags().StringVar(&mode, "mode", "progressive", "`MODE` of dialling: progressive, or preview, in which the agent reads first")
	cmd.Flags().Float64Var(&speed, "speed", 60, "`FACTOR` by which calls are shorter than in life: at 60 a call of three minutes is one of three seconds")
	cmd.Flags().StringArrayVar(&incidents, "incident", nil, "`ID` of an incident, once or several times; all if not named")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "`NUMBER` that decides who picks up")
	cmd.Flags().Float64Var(&crash, "crash", 0, "`SHARE` of the calls that an agent's machine does not survive, such as 0.01")
	cmd.Flags().DurationVar(&lasting, "duration", 0, "`TIME` after which it stops; until Ctrl-C if not named")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		m, ok := candorv1.DialMode_value["DIAL_MODE_"+strings.ToUpper(mode)]
		if !ok || m == 0 {
			return usageError(cmd, "--mode %s: there are progressive and preview", mode)
		}
		if lasting < 0 {
			return usageError(cmd, "--duration %s: give no negative time", lasting)
		}
		network, err := dialer.NewNetwork(seed, speed, crash, c.now)
		if err != nil {
			return usageError(cmd, "%s", strings.TrimPrefix(err.Error(), "dialer: "))
		}
		cfg := dialer.DefaultConfig()
		cfg.Agents, cfg.Mode, cfg.Incidents, cfg.Grace, cfg.Wait = agents, candorv1.DialMode(m), incidents, dialerGrace, dialerWait
		cfg.Preview = time.Duration(float64(cfg.Preview) / speed)
		cfg.Lease = max(time.Duration(float64(cfg.Lease)/max(speed, 1)), shortestLease)
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		d, err := dialer.New(cfg, s.CallQueueServiceClient, network, c.now, c.log())
		if err != nil {
			return usageError(cmd, "%s", strings.TrimPrefix(err.Error(), "dialer: "))
		}
		return c.dial(cmd.Context(), d, lasting, asJSON)
	}
	return cmd
}

// dial runs a dialer and says how it goes.
func (c *cli) dial(ctx context.Context, d *dialer.Dialer, lasting time.Duration, asJSON bool) error {
	if lasting > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lasting)
		defer cancel()
	}
	began, ended := c.now(), make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	tick := time.NewTicker(lineEvery)
	defer tick.Stop()
	progress := c.out
	if asJSON {
		progress = c.err
	}
	last, shown, lastAt := dialer.Stats{}, "", began
	for {
		select {
		case err := <-ended:
			if err := c.dialled(d.Stats(), c.now().Sub(began), asJSON); err != nil {
				return err
			}
			if err == nil && !d.Answered() {
				return &failure{
					code: exitUnreachable, what: "the call queue did not answer, so nobody was called",
					remedy: "see that candor serve runs there with the targets api and calls, and that --server names it",
				}
			}
			return dialerFailure(err)
		case <-tick.C:
			s, now := d.Stats(), c.now()
			if words := dialing(s, s.Claimed-last.Claimed, now.Sub(lastAt)); words != shown {
				progress.line(now.In(c.zone).Format(time.TimeOnly) + "  " + words)
				shown = words
			}
			last, lastAt = s, now
		}
	}
}

// dialerFailure says what ends a dialer, with the words of the queue.
func dialerFailure(err error) error {
	if err == nil {
		return nil
	}
	f := explain(err)
	if f.code == exitFailed && errors.Is(err, context.Canceled) {
		return nil
	}
	return f
}

// dialing is a dialer on one line.
func dialing(s dialer.Stats, claimed uint64, in time.Duration) string {
	return fmt.Sprintf("%d on calls, %d waiting  %s claimed (%.0f a second)  %s", s.Calling, s.Waiting, number(s.Claimed),
		float64(claimed)/max(in.Seconds(), 0.001), dispositionWords(s.Dispositions))
}

// dispositionWords names the most frequent ends of calls.
func dispositionWords(counts map[string]uint64) string {
	const some = 5
	var parts []string
	for i, d := range byCount(counts) {
		if i == some {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, plain(d)+" "+number(counts[d]))
	}
	return strings.Join(parts, ", ")
}

// dialled is the count at the end.
func (c *cli) dialled(s dialer.Stats, took time.Duration, asJSON bool) error {
	perSec := float64(s.Claimed) / max(took.Seconds(), 0.001)
	if asJSON {
		return c.json(struct {
			dialer.Stats
			Completed    uint64  `json:"completed"`
			Seconds      float64 `json:"seconds"`
			ClaimsPerSec float64 `json:"claims_per_sec"`
		}{s, s.Completed(), took.Seconds(), perSec})
	}
	c.out.printf("\n%s in %s: %s claimed, %.1f a second.\n", c.out.paint(bold, plural(s.Completed(), "call", "calls")), span(took), number(s.Claimed), perSec)
	var rows [][]cell
	for _, d := range byCount(s.Dispositions) {
		rows = append(rows, []cell{text(plain(d)), count(s.Dispositions[d]), {text: percent(s.Dispositions[d], s.Completed()), right: true}})
	}
	c.out.table("  ", rows)
	for _, also := range []struct {
		n    uint64
		what string
	}{
		{s.Released, "given back without a call"},
		{s.Vanished, "left to their leases by a machine that died: uncertain"},
		{s.Late, "reported after their lease: recorded all the same"},
		{s.Repeated, "reports made again, because no answer came"},
		{s.Refused, "reports refused: uncertain"},
		{s.Unreported, "not reported before the stop: uncertain"},
	} {
		if also.n > 0 {
			c.out.printf("%s %s\n", number(also.n), also.what)
		}
	}
	return nil
}
