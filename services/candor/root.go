package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"candor/pkg/buildinfo"
	"candor/pkg/config"
)

// Groups of commands, in the order in which an incident meets them.
const (
	groupPrepare = "prepare"
	groupTell    = "tell"
	groupTouch   = "touch"
	groupCall    = "call"
	groupWatch   = "watch"
	groupServe   = "serve"
)

// orderKey annotates a command with its place in the help.
const orderKey = "order"

// commands are all commands of the binary, in the order of the help.
func commands(c *cli) []*cobra.Command {
	return []*cobra.Command{
		demoCommand(c), initCommand(c), rosterCommand(c), planCommand(c),
		declareCommand(c), approveCommand(c), rejectCommand(c), pauseCommand(c), resumeCommand(c), abortCommand(c), shredCommand(c),
		resendCommand(c), suppressionsCommand(c),
		updateCommand(c), timelineCommand(c), followupCommand(c), closeCommand(c), reopenCommand(c),
		callsCommand(c), scriptCommand(c), dialerCommand(c),
		incidentsCommand(c), watchCommand(c), statusCommand(c), unreachedCommand(c), findCommand(c), uncertainCommand(c), deadletterCommand(c),
		alertsCommand(c), ackCommand(c),
		serveCommand(c), targetsCommand(c), tokenCommand(c), benchCommand(c), versionCommand(c),
	}
}

// run gives a command and returns the process's exit code.
func run(ctx context.Context, c *cli, args []string) int {
	root := rootCommand(c)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && c.out.failed != nil {
		err = fmt.Errorf("write the answer: %w", c.out.failed)
	}
	return c.report(ctx, err)
}

func rootCommand(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "candor",
		Short: "Tell every customer of a data breach, once, and be able to prove it",
		Long: `Candor tells every customer of a data breach by text message and e-mail,
each once, in their language and at a decent hour, and shows at any moment who
was told and who was not. They hear again on a schedule, until the incident is
closed with a last word.

Nothing is sent that two people did not approve: one declares, another one
approves. What Candor calls accepted is the provider's word for having taken a
message; delivered is said only when the provider reported it.`,
		Example: `  candor demo                         see all of it work, on this machine, in a minute
  candor init breach && cd breach     start for real: settings, texts, keys
  candor help exit-codes              for scripts`,
		SilenceErrors: true, SilenceUsage: true,
		Args:              cobra.ArbitraryArgs,
		RunE:              group,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.fromEnvironment(cmd) },
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetHelpFunc(c.help)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, "%v", err) })
	root.AddGroup(
		&cobra.Group{ID: groupPrepare, Title: "Prepare"}, &cobra.Group{ID: groupTell, Title: "Tell people"},
		&cobra.Group{ID: groupTouch, Title: "Stay in touch"}, &cobra.Group{ID: groupCall, Title: "Call people"}, &cobra.Group{ID: groupWatch, Title: "See who was told"}, &cobra.Group{ID: groupServe, Title: "Run it"},
	)
	for i, cmd := range append(commands(c), topics()...) {
		cmd.Annotations = map[string]string{orderKey: fmt.Sprintf("%03d", i)}
		root.AddCommand(cmd)
	}
	root.SetHelpCommandGroupID(groupServe)
	root.SetCompletionCommandGroupID(groupServe)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	everyCommand(root, func(cmd *cobra.Command) {
		if cmd.Name() == "completion" {
			cmd.Annotations = map[string]string{orderKey: "last"}
			cmd.Short = "Print what a shell needs to complete commands, flags and incidents"
		}
		cmd.DisableFlagsInUseLine = true
		cmd.SuggestionsMinimumDistance = 2
		if strings.Contains(cmd.Use, "ID") && cmd.Flags().Lookup("server") != nil && cmd.Name() != "revoke" {
			cmd.ValidArgsFunction = c.completeID
		}
		cmd.Flags().SortFlags = false
		if check := cmd.Args; check != nil && cmd != root {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if err := check(cmd, args); err != nil {
					return usageError(cmd, "%v", err)
				}
				return nil
			}
		}
	})
	return root
}

func everyCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		everyCommand(sub, do)
	}
}

// group is what a command does that only holds others: it shows them, and knows none by another name.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	err := usageError(cmd, "there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "candor "))
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err.remedy = "did you mean " + cmd.CommandPath() + " " + strings.Join(near, ", ") + "?"
	}
	return err
}

// id is the argument of most commands.
func id(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 1:
		return nil
	case 0:
		return errors.New("which incident? name its id; candor incidents lists them")
	}
	return fmt.Errorf("one incident at a time: %q is one too many", args[1])
}

// idAndMore is an incident's id and what a command takes beside it.
func idAndMore(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > most {
			return fmt.Errorf("%q is one word too many", args[most])
		}
		return id(cmd, args[:min(len(args), 1)])
	}
}

func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is one word too many", args[0])
	}
	return nil
}

// deciding are the flags that answer in a person's place.
func deciding() []string {
	return []string{"yes", "send", "skip", "untold", "despite-call-requests", "despite-unsent"}
}

// twin is the environment variable of a flag; empty for those that make sense on the command line alone.
func twin(f *pflag.Flag) string {
	if f.Name == "help" || f.Name == "no-descriptions" || slices.Contains(deciding(), f.Name) { // a yes left in a profile would answer every question
		return ""
	}
	return config.EnvName(f.Name)
}

// fromEnvironment gives the flags that were not named the values of their twins.
func (c *cli) fromEnvironment(cmd *cobra.Command) error {
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := twin(f)
		if f.Changed || name == "" {
			return
		}
		value, ok := c.env(name)
		if !ok || value == "" {
			return
		}
		values := []string{value}
		if f.Value.Type() == "stringArray" {
			values = strings.Split(strings.TrimSpace(value), "\n")
		}
		for _, v := range values {
			if err := cmd.Flags().Set(f.Name, v); err != nil {
				errs = append(errs, usageError(cmd, "%s: %v", name, err))
			}
		}
	})
	return errors.Join(errs...)
}

func versionCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", GroupID: groupServe, Args: none,
		Short:   "Say which Candor this is",
		Long:    `Prints the version, the commit it was built from and the Go that built it.`,
		Example: `  candor version --json`,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return c.json(buildinfo.Read())
			}
			c.out.line(buildinfo.Read())
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func jsonFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "print JSON: one object, or one a line of a list")
}
