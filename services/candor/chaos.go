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
	var asJSON bool
	cmd := &cobra.Command{
		Use: "chaos", Args: none,
		Short: "Kill the process at random moments, and count who was told",
		Long: `Plays an incident in processes of its own, with providers that lose answers, break
connections and refuse requests, and kills everything but the sandbox at random
moments. When nothing more happens, the sandbox's own count is held against
Candor's: nobody may be lost, nobody told twice, and every text message that may
have been sent must have been found out. An e-mail of which nobody knows stays
uncertain and is listed, until receipts or a person settle it.

With --suspends, two processes send the text messages; one is stopped in the
middle of its work, the other one takes over, and the first is woken again.

Ends with exit code 1 if anybody was lost or told twice.`,
		Example: `  candor bench chaos --customers 100000 --kills 20
  candor bench chaos --customers 20000 --suspends 4 --kills 0`,
	}
	cmd.Flags().IntVar(&cfg.Customers, "customers", 10_000, "`NUMBER` of invented customers")
	cmd.Flags().IntVar(&cfg.Kills, "kills", 10, "`NUMBER` of kills")
	cmd.Flags().IntVar(&cfg.Suspends, "suspends", 0, "`NUMBER` of times that one of two workers is stopped and woken")
	cmd.Flags().BoolVar(&cfg.Faults, "faults", true, "have the providers misbehave")
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
				c.out.printf("  %-5s Candor: %s accepted, %s suppressed, %s failed, %s uncertain    sandbox: %s\n", ch, number(n["accepted"]),
					number(n["suppressed"]), number(n["failed"]), number(n["uncertain"]), number(v.Sandbox[ch]))
			}
			c.out.printf("  lost %d, told twice %d\n", v.Lost, v.Duplicates)
		}
		if err == nil && !v.OK {
			return &failure{
				code: exitFailed, what: fmt.Sprintf("%d lost, %d told twice, %d text messages uncertain", v.Lost, v.Duplicates, v.Notices["sms"]["uncertain"]),
				remedy: "this is a defect of Candor: run it again with --keep and --seed as above, and report it",
			}
		}
		return err
	}
	return cmd
}
