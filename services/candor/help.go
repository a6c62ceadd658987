package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help prints a command's page of the manual.
func (c *cli) help(cmd *cobra.Command, _ []string) {
	w := c.out
	head := func(s string) { w.printf("\n%s\n", w.paint(bold, s)) }
	if cmd.HasParent() && cmd.Runnable() {
		w.printf("%s — %s\n\n", w.paint(bold, cmd.CommandPath()), cmd.Short)
	}
	if cmd.Long != "" {
		w.line(strings.TrimSpace(cmd.Long))
	} else {
		w.line(cmd.Short)
	}
	if cmd.Runnable() {
		head("Usage")
		for _, l := range strings.Split(usageLines(cmd), "\n") {
			w.line("  " + l)
		}
	}
	if cmd.Example != "" {
		head("Examples")
		w.line(strings.TrimRight(cmd.Example, "\n"))
	}
	helpCommands(cmd, w, head)
	if flags := helpFlags(cmd, c.out.textWidth()); len(flags) > 0 {
		head("Flags")
		for _, f := range flags {
			w.line(f)
		}
	}
	if cmd.HasAvailableSubCommands() {
		w.printf("\n%s COMMAND --help is the command's page.\n", cmd.CommandPath())
	}
}

func usageLines(cmd *cobra.Command) string {
	use := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	if len(helpFlags(cmd, proseWidth)) > 0 {
		use += " [flags]"
	}
	return use
}

func helpCommands(cmd *cobra.Command, w *printer, head func(string)) {
	list := func(title string, of func(*cobra.Command) bool) {
		var rows [][]cell
		subs := slices.Clone(cmd.Commands())
		slices.SortStableFunc(subs, func(a, b *cobra.Command) int {
			return strings.Compare(a.Annotations[orderKey], b.Annotations[orderKey])
		})
		for _, sub := range subs {
			if of(sub) {
				rows = append(rows, []cell{tinted(cyan, sub.Name()), text(sub.Short)})
			}
		}
		if len(rows) > 0 {
			head(title)
			w.table("  ", rows)
		}
	}
	for _, g := range cmd.Groups() {
		list(g.Title, func(sub *cobra.Command) bool { return sub.GroupID == g.ID && sub.IsAvailableCommand() })
	}
	list("Commands", func(sub *cobra.Command) bool { return sub.GroupID == "" && sub.IsAvailableCommand() })
	list("More to read", func(sub *cobra.Command) bool { return sub.IsAdditionalHelpTopicCommand() })
}

// helpFlags lists flags with their environment twins.
func helpFlags(cmd *cobra.Command, width int) []string {
	var flags []*pflag.Flag
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			flags = append(flags, f)
		}
	})
	names := make([]string, len(flags))
	widest := 0
	for i, f := range flags {
		kind, _ := pflag.UnquoteUsage(f)
		names[i] = strings.TrimSpace("--" + f.Name + " " + kind)
		if f.Shorthand != "" {
			names[i] = "-" + f.Shorthand + ", " + names[i]
		}
		widest = max(widest, len(names[i]))
	}
	var lines []string
	for i, f := range flags {
		_, usage := pflag.UnquoteUsage(f)
		if d := f.DefValue; !slices.Contains([]string{"", "false", "0", "[]", "0s"}, d) {
			usage += fmt.Sprintf(" (default %s)", d)
		}
		if t := twin(f); t != "" {
			usage += " [$" + t + "]"
		}
		indent := strings.Repeat(" ", widest+4)
		lines = append(lines, fmt.Sprintf("  %-*s  %s", widest, names[i], wrap(usage, width, indent)))
	}
	return lines
}

// topics are pages of the manual that belong to no single command.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{
			Use: "exit-codes", Short: "What the exit code of a command says",
			Long: `Every command ends with one of these exit codes:

    0  done
    1  failed for another reason than those below
    2  not understood: a flag, an argument or a setting of the command is wrong
    3  not complete: status, watch or close ended, and notices are still open
    4  refused: the token may not do that, a second person is needed, the
       incident's state does not allow it, or you answered no
    5  nothing there: no incident, token or list entry of that name
    6  no answer: candor serve, or a service behind it, cannot be reached
    7  to be mended first: mistakes in a file, or blockers in a roster or plan
  130  interrupted

With --json the answer is on standard output and nothing else is; what went
wrong is on standard error, whatever the format.`,
		},
		{
			Use: "environment", Short: "Variables that commands read",
			Long: `Flags have twins in the environment: CANDOR_ and the flag's name in capitals, with
_ for -. A flag on the command line counts more. Flags that can be given several
times take one value a line.

Flags that decide in your place have no twin, for one left in a profile would
answer every question:
--` + strings.Join(deciding(), ", --") + `.

  CANDOR_SERVER      where candor serve is, as --server
  CANDOR_TOKEN_FILE  the file with your token, as --token-file
  CANDOR_TOKEN       the token itself; --token-file counts more
  CANDOR_CONFIG      the settings of candor serve, as --config
  NO_COLOR           anything: no colours

Secrets come from files or the environment, never from flags: others on the
machine can read a command line.`,
		},
	}
}
