package main

import (
	"context"
	"fmt"
	"os"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"candor/services/bench"
)

// sideCommand is what a measurement calls itself with, to have its sides in processes of their own.
const sideCommand = "__side"

func benchCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", GroupID: groupServe, Args: cobra.ArbitraryArgs, RunE: group,
		Short: "Measure Candor on this machine, against the sandbox",
		Long: `Measures how fast Candor is on this machine, and says whether that is as fast as
it should be. Nothing leaves the machine: the providers are the sandbox, in a
process of its own.

What is fast depends on the machine, so every measurement compares two sides
within one run: Candor, with journal, fsync, encryption and ledger, and a plain
program that does the same without keeping any record. They take turns; the
median of the turns counts, as a ratio.`,
		Example: `  candor bench all
  candor bench sms --pairs 5
  candor bench all --scale 0.1       quick, and noisy
  candor bench all --markdown        the table as it stands in the README`,
	}
	cmd.AddCommand(measureCommand(c, "all", "everything, one thing after the other", bench.Measurements()...))
	for _, m := range bench.Measurements() {
		cmd.AddCommand(measureCommand(c, m.Name, m.Short, m))
	}
	cmd.AddCommand(benchSideCommand(c), chaosCommand(c))
	return cmd
}

func measureCommand(c *cli, name, short string, list ...bench.Measurement) *cobra.Command {
	lab := bench.Lab{Say: func(format string, args ...any) { c.err.line(fmt.Sprintf(format, args...)) }}
	var asJSON, markdown bool
	cmd := &cobra.Command{
		Use: name, Args: none,
		Short: "Measure " + short,
		Long: `Measures ` + short + `.
What it does meanwhile goes to standard error, the result to standard output.`,
		Example: `  candor bench ` + name,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && markdown {
				return usageError(cmd, "--markdown or --json, not both")
			}
			if lab.Scale <= 0 || lab.Pairs < 1 {
				return usageError(cmd, "--scale and --pairs must be more than nothing")
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			lab.Command = []string{self, "bench", sideCommand}
			rows, err := measure(cmd.Context(), &lab, list)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return c.json(struct {
					Machine string      `json:"machine"`
					Rows    []bench.Row `json:"rows"`
				}{bench.Machine(), rows})
			case markdown:
				return bench.Markdown(c.out, rows)
			}
			return bench.Text(c.out, rows)
		},
	}
	cmd.Flags().Float64Var(&lab.Scale, "scale", 1, "`SHARE` of the full sizes to measure with")
	cmd.Flags().IntVar(&lab.Pairs, "pairs", 3, "`TURNS` that each side takes")
	cmd.Flags().StringVar(&lab.Dir, "dir", os.TempDir(), "`FOLDER` for what is stored meanwhile; it should lie on a disk")
	cmd.Flags().StringVar(&lab.Profile, "profile", "", "`FOLDER` for CPU profiles of the sides")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the table for the README")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func measure(ctx context.Context, lab *bench.Lab, list []bench.Measurement) ([]bench.Row, error) {
	var all []bench.Row
	for _, m := range list {
		rows, err := lab.Measure(ctx, m)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

func benchSideCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: sideCommand, Hidden: true, Args: none,
		Short:   "Play one side of a measurement",
		Long:    `Plays one side of a measurement, which another candor bench has started.`,
		Example: `  candor bench all`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.Side(cmd.Context(), c.in, c.out, zerolog.New(c.err).Level(zerolog.WarnLevel))
		},
	}
}
