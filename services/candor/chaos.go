package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"candor/services/bench"
)

func chaosCommand(c *cli) *cobra.Command {
	cfg := bench.ChaosConfig{Report: c.err}
	calls := bench.CallChaosConfig{Report: c.err}
	var asJSON bool
	cmd := &cobra.Command{
		Use: "chaos", Args: none,
		Short: "Kill the process at random moments, and count who was told",
		Long: `Plays an incident in processes of its own, with providers that lose answers, break
connections and refuse requests, and kills everything but the sandbox at random
moments, the front door with it. When nothing more happens, the sandbox's own
count is held against Candor's, notice by notice: nobody may be lost, nobody told
twice, both must say the same of what was delivered, and everything that was sent
must have been found out. An e-mail that was announced and never sent stays
uncertain and is listed, until a person settles it.

With --suspends, two processes send the text messages; one is stopped in the
middle of its work, the other one takes over, and the first is woken again.

With --calls, customers are called instead, by processes of the reference dialer.
Each target has a process of its own, and the call queue two: its owner is killed,
and others at random, a dialer each time. In the end a checker that shares no code
with the queue reads the event log: every task must have come to one end, none may
have been held by two dialers at once, and caps, gaps and hours must have been
kept. --hours makes two incidents of the same people, whose hours end in one zone
and begin in another while they are called, and whose caps bind.

Ends with exit code 1 if anybody was lost or told twice, or if the checker found
anything.`,
		Example: `  candor bench chaos --customers 100000 --kills 20
  candor bench chaos --customers 20000 --suspends 4 --kills 0
  candor bench chaos --calls 50000 --dialers 20 --kills 20
  candor bench chaos --calls 5000 --hours --kills 3`,
	}
	cmd.Flags().IntVar(&cfg.Customers, "customers", 10_000, "`NUMBER` of invented customers")
	cmd.Flags().IntVar(&cfg.Kills, "kills", 10, "`NUMBER` of kills")
	cmd.Flags().IntVar(&cfg.Suspends, "suspends", 0, "`NUMBER` of times that one of two workers is stopped and woken")
	cmd.Flags().BoolVar(&cfg.Faults, "faults", true, "have the providers misbehave")
	cmd.Flags().IntVar(&calls.Calls, "calls", 0, "`NUMBER` of customers who are called, instead of written to")
	cmd.Flags().IntVar(&calls.Dialers, "dialers", 20, "`NUMBER` of dialers that call, each a process")
	cmd.Flags().IntVar(&calls.Agents, "agents", 25, "`NUMBER` of agents of a dialer")
	cmd.Flags().BoolVar(&calls.Together, "together", false, "with --calls: have one process do everything")
	cmd.Flags().BoolVar(&calls.Hours, "hours", false, "with --calls: have hours end and begin, and caps bind")
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", 0, "`NUMBER` that makes the moments and faults; 0 takes another one each time")
	cmd.Flags().BoolVar(&cfg.Keep, "keep", false, "keep the folder, for a look at the logs")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if cfg.Customers < 1 || cfg.Kills < 0 || cfg.Suspends < 0 {
			return usageError(cmd, "give at least one customer, and no negative numbers")
		}
		if cfg.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		if cfg.Seed == 0 {
			cfg.Seed = uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
		}
		if calls.Calls != 0 {
			calls.Binary, calls.Kills, calls.Seed, calls.Keep = cfg.Binary, cfg.Kills, cfg.Seed, cfg.Keep
			return c.callChaos(cmd, calls, asJSON)
		}
		v, err := bench.Chaos(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		if asJSON {
			err = c.json(v)
		} else {
			c.out.printf("%s customers, %d kills, %d suspends, seed %d: %.0f seconds\n", number(v.Audience), v.Kills, v.Suspends, v.Seed, v.Seconds)
			for _, ch := range []string{"sms", "email"} {
				n := v.Notices[ch]
				c.out.printf("  %-5s Candor: %s delivered, %s accepted, %s suppressed, %s failed, %s uncertain    sandbox: %s, delivered %s\n", ch, number(n["delivered"]),
					number(n["accepted"]), number(n["suppressed"]), number(n["failed"]), number(n["uncertain"]), number(v.Sandbox[ch]), number(v.Delivered[ch].Sandbox))
			}
			c.out.printf("  lost %d, told twice %d, said otherwise by the sandbox %d\n", v.Lost, v.Duplicates, v.Disagree)
		}
		if err == nil && !v.OK {
			return &failure{
				code: exitFailed, what: fmt.Sprintf("%d lost, %d told twice, %d said otherwise by the sandbox, %d text messages uncertain, %d e-mails sent and uncertain",
					v.Lost, v.Duplicates, v.Disagree, v.Notices["sms"]["uncertain"], v.UncertainSent["email"]),
				remedy: "this is a defect of Candor: run it again with --keep and --seed as above, and report it",
			}
		}
		return err
	}
	return cmd
}

// callChaos plays a chaos run of the call queue.
func (c *cli) callChaos(cmd *cobra.Command, cfg bench.CallChaosConfig, asJSON bool) error {
	if cfg.Calls < 20 || cfg.Dialers < 1 || cfg.Agents < 1 {
		return usageError(cmd, "give at least 20 calls, one dialer and one agent")
	}
	v, err := bench.CallChaos(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if asJSON {
		err = c.json(v)
	} else {
		c.callVerdict(v)
	}
	if err == nil && !v.OK {
		what := "not every task came to an end"
		if !v.Log.OK() {
			what = fmt.Sprintf("the event log is against the rules: %v", v.Log.Violations)
		}
		return &failure{code: exitFailed, what: what, remedy: "this is a defect of Candor: run it again with --keep and --seed as above, and report it"}
	}
	return err
}

func (c *cli) callVerdict(v *bench.CallChaosVerdict) {
	log := v.Log
	c.out.printf("%s tasks, killed %v, seed %d: %.0f seconds, %.0f leases a second\n", number(log.Tasks), v.Kills, v.Seed, v.Seconds, v.LeasesPerSec)
	c.out.printf("  %s leases by %d dialers: %s completed, %s of them late, %s expired, %s given back\n", number(log.Leases), log.Dialers,
		number(log.Completed), number(log.Late), number(log.Expired), number(log.Released))
	c.out.printf("  the queue changed hands %d times", log.Owners)
	for _, took := range v.TakeOvers {
		c.out.printf("  %.1f s", took)
	}
	c.out.printf("\n  ends: %v, %s outcomes in the journals\n", log.Ends, number(log.Outcomes))
	c.out.printf("  %s numbers, at most %g calls to one in a day; %d sets of zones, %s leases with an end of the hours\n",
		number(log.Numbers), log.MostPerDay, log.Zones, number(log.Windows))
	broken := uint64(0)
	for _, n := range log.Violations {
		broken += n
	}
	c.out.printf("  against the rules: %s\n", number(broken))
	for _, e := range log.Examples {
		c.out.printf("    %s\n", e)
	}
}
