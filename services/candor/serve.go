package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"candor/pkg/buildinfo"
	"candor/pkg/config"
	"candor/pkg/topology"
	"candor/services/app"
)

const defaultConfig = "candor.yaml"

func configFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("config", defaultConfig, "`FILE` with the settings, as candor init wrote it")
}

func serveCommand(c *cli) *cobra.Command {
	var target, nats, level string
	cmd := &cobra.Command{
		Use: "serve", GroupID: groupServe, Args: none,
		Short: "Run Candor: all of it, or the targets named",
		Long: `Runs Candor until it is told to stop. Without --target one process does
everything, with its own NATS broker in it; nothing else must be running. For
more machines, run the target nats on one of them, and the other targets
anywhere, each with --nats.

The sandbox, which plays Twilio and SendGrid and shows what they would have
sent, runs only when it is named: --target all,sandbox.

Standard output gets one line: where the api and the sandbox's pages are. The
log goes to standard error, as JSON lines, or readable on a terminal. It holds
no name, number or address.

SIGINT or SIGTERM stop it in order: nothing new is begun, what is in hand is
finished and written down. It may also be killed at any moment: whoever was told
is not told again, and nobody is forgotten.`,
		Example: `  candor serve --target all,sandbox           everything, and no message leaves this machine
  candor serve                                for real: accounts as candor.yaml names them
  candor serve --target nats                  the broker alone
  candor serve --target sms --nats nats://broker:4222`,
	}
	cmd.Flags().StringVar(&target, "target", "all", "`TARGETS` to run, with commas between; candor targets lists them")
	cmd.Flags().StringVar(&nats, "nats", "", "`URL` of a broker that runs elsewhere, instead of the one inside")
	path := configFlag(cmd)
	cmd.Flags().StringVar(&level, "log-level", "info", "least important `LEVEL` that is logged: debug, info, warn or error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		targets, err := app.ParseTargets(target)
		if err != nil {
			return usageError(cmd, "%v", err)
		}
		least, err := zerolog.ParseLevel(level)
		if err != nil || least < zerolog.DebugLevel || least > zerolog.ErrorLevel {
			return usageError(cmd, "--log-level %s: there are debug, info, warn and error", level)
		}
		cfg, err := loadSettings(*path)
		if err != nil {
			return err
		}
		if nats != "" {
			cfg.NATS.URL = nats
		}
		if err := checkSettings(*path, cfg, targets); err != nil {
			return err
		}
		return c.serve(cmd.Context(), cfg, targets, c.log().Level(least))
	}
	return cmd
}

func loadSettings(path string) (app.Config, error) {
	cfg, err := app.Load(path)
	if errors.Is(err, fs.ErrNotExist) && len(settingsMistakes(err)) == 0 {
		return cfg, &failure{code: exitFailed, what: "no settings: there is no file " + path, remedy: "run candor init here, or name the file with --config", cause: err}
	}
	return cfg, err
}

// checkSettings says what is wrong with the settings for the targets, as the reader says it of a file that it does not understand.
func checkSettings(path string, cfg app.Config, targets []string) error {
	err := cfg.Validate(targets)
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // Validate itself joined them
	if !ok {
		return err
	}
	var all []error
	for _, mistake := range joined.Unwrap() {
		all = append(all, &config.Mistake{File: path, Err: mistake})
	}
	return errors.Join(all...)
}

func (c *cli) serve(ctx context.Context, cfg app.Config, targets []string, log zerolog.Logger) error {
	a, err := app.New(ctx, cfg, targets, log)
	if err != nil {
		return startFailure(err)
	}
	var where []string
	if u := a.APIURL(); u != "" {
		where = append(where, "api "+u)
	}
	if s := a.Sandbox(); s != nil {
		where = append(where, "sandbox "+s.PageURL())
	}
	if u := a.NATSURL(); u != "" {
		where = append(where, "nats "+u)
	}
	if len(where) == 0 {
		where = append(where, strings.Join(targets, ", "))
	}
	c.out.line("candor serves " + strings.Join(where, "  "))
	log.Info().Strs("targets", targets).Str("version", buildinfo.Read().Version).Msg("serving")
	if err := a.Run(ctx); err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	log.Info().Msg("stopped in order")
	return nil
}

// startFailure says all that kept the services from starting, one a line.
func startFailure(err error) error {
	var all []string
	var walk func(error)
	walk = func(err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the tree is walked here, one level at a time
			for _, part := range joined.Unwrap() {
				walk(part)
			}
			return
		}
		all = append(all, err.Error())
	}
	walk(err)
	return &failure{code: exitFailed, what: "cannot start: " + strings.Join(all, "\n"), cause: err}
}

// log is what services write to: lines of JSON, or readable ones for a person.
func (c *cli) log() zerolog.Logger {
	if !c.err.terminal() {
		return zerolog.New(c.err).With().Timestamp().Logger()
	}
	return zerolog.New(zerolog.ConsoleWriter{
		Out: c.err, NoColor: !c.err.coloured, TimeFormat: time.TimeOnly, TimeLocation: c.zone,
	}).With().Timestamp().Logger()
}

func targetsCommand(c *cli) *cobra.Command {
	var markdown, asJSON bool
	cmd := &cobra.Command{
		Use: "targets", GroupID: groupServe, Args: none,
		Short: "List what candor serve can run",
		Long: `Lists the targets of candor serve, in the order in which a notice meets them,
with what each one reads and writes. The same table configures the broker and
gives every target the permissions it needs and no others.`,
		Example: `  candor targets
  candor targets --markdown > topology.md`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if markdown && asJSON {
				return usageError(cmd, "--markdown or --json, not both")
			}
			if markdown {
				c.out.printf("%s", topology.Markdown())
				return nil
			}
			return c.targets(asJSON)
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print streams, buckets, consumers and targets as tables for the docs")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (c *cli) targets(asJSON bool) error {
	if !asJSON {
		var rows [][]cell
		for _, t := range topology.Targets() {
			rows = append(rows, []cell{tinted(cyan, t.Name), text(t.Does)})
		}
		c.out.table("", rows)
		c.out.line("\nall stands for everything but nats and sandbox.")
		return nil
	}
	for _, t := range topology.Targets() {
		err := c.json(struct {
			Name   string   `json:"name"`
			Does   string   `json:"does"`
			Reads  []string `json:"reads,omitempty"`
			Takes  []string `json:"takes,omitempty"`
			Serves []string `json:"serves,omitempty"`
			Writes []string `json:"writes,omitempty"`
		}{t.Name, t.Does, t.Reads, t.Takes, t.Serves, t.Writes})
		if err != nil {
			return err
		}
	}
	return nil
}
