package main

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"candor/pkg/config"
	"candor/services/app"
)

func quiet() *cli {
	return &cli{
		in: strings.NewReader(""), out: &printer{w: io.Discard}, err: &printer{w: io.Discard},
		env: noEnv, now: time.Now, zone: time.UTC,
	}
}

func TestEveryCommandHasItsPageOfTheManual(t *testing.T) {
	t.Parallel()
	everyCommand(rootCommand(quiet()), func(cmd *cobra.Command) {
		if path := cmd.CommandPath(); strings.HasPrefix(path, "candor completion") || path == "candor help" {
			return
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q: say in a few words, without a full stop, what it does", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Long == "" {
			t.Errorf("%s: no long help", cmd.CommandPath())
		}
		if cmd.Example == "" && cmd.Runnable() && !cmd.HasSubCommands() {
			t.Errorf("%s: no example", cmd.CommandPath())
		}
		if cmd.Runnable() && cmd.HasParent() && cmd.Parent() == cmd.Root() && cmd.GroupID == "" {
			t.Errorf("%s: in no group of the help", cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no help", cmd.CommandPath(), f.Name)
			}
		})
	})
}

// TestExamplesAreNotMadeUp gives the flags of every example to the command that it names.
func TestExamplesAreNotMadeUp(t *testing.T) {
	t.Parallel()
	gap := regexp.MustCompile(` {3,}.*`) // what follows is a remark
	seen := 0
	everyCommand(rootCommand(quiet()), func(shown *cobra.Command) {
		for line := range strings.SplitSeq(strings.ReplaceAll(shown.Example, "\\\n", " "), "\n") {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " | ")
			line, _, _ = strings.Cut(line, " > ")
			line, _, _ = strings.Cut(line, " && ")
			args, ok := strings.CutPrefix(gap.ReplaceAllString(line, ""), "candor ")
			if !ok {
				continue
			}
			seen++
			root := rootCommand(quiet())
			cmd, rest, err := root.Find(strings.Fields(args))
			if err != nil || cmd == root {
				t.Errorf("example of %s: %q names no command", shown.CommandPath(), line)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("example of %s: %q: %v", shown.CommandPath(), line, err)
			}
		}
	})
	if seen < 20 {
		t.Fatalf("%d examples seen: this test looks in the wrong place", seen)
	}
}

func TestEveryFlagHasATwinInTheHelp(t *testing.T) {
	t.Parallel()
	everyCommand(rootCommand(quiet()), func(cmd *cobra.Command) {
		page := strings.Join(helpFlags(cmd, 1000), "\n")
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if name := twin(f); name != "" && !f.Hidden && !strings.Contains(page, "[$"+name+"]") {
				t.Errorf("%s --%s: its twin %s is not in the help", cmd.CommandPath(), f.Name, name)
			}
		})
	})
}

func TestShortFlagsAreInTheHelp(t *testing.T) {
	t.Parallel()
	seen := 0
	everyCommand(rootCommand(quiet()), func(cmd *cobra.Command) {
		page := strings.Join(helpFlags(cmd, 1000), "\n")
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Shorthand == "" || f.Hidden || f.Name == "help" {
				return
			}
			seen++
			if !strings.Contains(page, "-"+f.Shorthand+", --"+f.Name) {
				t.Errorf("%s: -%s, short for --%s, is not in the help", cmd.CommandPath(), f.Shorthand, f.Name)
			}
		})
	})
	if seen == 0 {
		t.Fatal("no short flag was seen: this test looks in the wrong place")
	}
}

func TestTheManualNamesTheFlagsWithoutATwin(t *testing.T) {
	t.Parallel()
	page := ""
	for _, topic := range topics() {
		page += topic.Long
	}
	unknown := deciding()
	everyCommand(rootCommand(quiet()), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == f.Name })
			if f.Hidden || f.Name == "help" || f.Name == "no-descriptions" {
				return
			}
			if named := strings.Contains(page, "--"+f.Name+",") || strings.Contains(page, "--"+f.Name+"."); named != (twin(f) == "") {
				t.Errorf("%s --%s: named as one without a twin: %v, its twin: %q", cmd.CommandPath(), f.Name, named, twin(f))
			}
			if strings.HasPrefix(f.Name, "despite-") && twin(f) != "" {
				t.Errorf("%s --%s decides in a person's place, and has the twin %s", cmd.CommandPath(), f.Name, twin(f))
			}
		})
	})
	if len(unknown) > 0 {
		t.Errorf("no command has the flags %v", unknown)
	}
}

func TestTheStarterSaysHowARehearsalIsSet(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(starterSettings, "\n# clock:\n")
	cfg := app.DefaultConfig()
	if err := config.Decode("candor.yaml", []byte("clock:\n"+strings.ReplaceAll(section, "#   ", "   ")), &cfg); err != nil {
		t.Fatal(err)
	}
	if c := cfg.Clock; c.Speed != 3600 || c.Since.IsZero() || c.Origin.IsZero() {
		t.Errorf("clock: %+v, want every key shown", c)
	}
}

func TestTwinsAreRead(t *testing.T) {
	t.Parallel()
	c := quiet()
	c.env = func(name string) (string, bool) {
		v, ok := map[string]string{"CANDOR_ROSTER": "a.csv", "CANDOR_FACTS": "b.yaml", "CANDOR_MAP": "email=E-mail, work\nphones=Tel", "CANDOR_JSON": "true"}[name]
		return v, ok
	}
	cmd := planCommand(c)
	if err := cmd.ParseFlags([]string{"--facts", "named.yaml"}); err != nil {
		t.Fatal(err)
	}
	if err := c.fromEnvironment(cmd); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"roster": "a.csv", "facts": "named.yaml", "playbook": "playbook.yaml", "map": `["email=E-mail, work",phones=Tel]`, "json": "true",
	} {
		if got := cmd.Flags().Lookup(name).Value.String(); got != want {
			t.Errorf("--%s is %s, want %s", name, got, want)
		}
	}
}

func TestPagesFitATerminal(t *testing.T) {
	t.Parallel()
	everyCommand(rootCommand(quiet()), func(cmd *cobra.Command) {
		for line := range strings.SplitSeq(cmd.Long, "\n") {
			if n := utf8.RuneCountInString(line); n > 90 && !strings.HasPrefix(cmd.CommandPath(), "candor completion") {
				t.Errorf("%s: a line of %d characters: %s", cmd.CommandPath(), n, line)
			}
		}
	})
}
