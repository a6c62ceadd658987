package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/config"
	"candor/pkg/playbook"
)

// Exit codes; candor help exit-codes documents them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitIncomplete  = 3
	exitRefused     = 4
	exitNothing     = 5
	exitUnreachable = 6
	exitMistakes    = 7
	exitInterrupted = 130
)

// failure is what went wrong, what to do about it, and the exit code that says so. Without words the code alone speaks: the
// answer was printed already.
type failure struct {
	code   int
	what   string
	remedy string
	cause  error
}

func (f *failure) Error() string {
	switch {
	case f.what == "" && f.cause != nil:
		return f.cause.Error()
	case f.what == "":
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.what
}

func (f *failure) Unwrap() error { return f.cause }

func usageError(cmd *cobra.Command, format string, args ...any) *failure {
	return &failure{code: exitUsage, what: fmt.Sprintf(format, args...), remedy: cmd.CommandPath() + " --help says how it is used"}
}

func refusal(what, remedy string) error {
	return &failure{code: exitRefused, what: what, remedy: remedy}
}

// report prints an error and returns the exit code.
func (c *cli) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if mistakes := playbook.Mistakes(err); len(mistakes) > 0 {
		c.mistakes(mistakes)
		return exitMistakes
	}
	if lines := settingsMistakes(err); len(lines) > 0 {
		for _, m := range lines {
			c.err.line(m)
		}
		c.complain(plural(uint64(len(lines)), "mistake", "mistakes")+" in the settings", "mend them and start again")
		return exitMistakes
	}
	f := explain(err)
	if ctx.Err() != nil && f.code != exitIncomplete {
		c.complain("interrupted", "")
		return exitInterrupted
	}
	c.complain(f.what, f.remedy)
	return f.code
}

// complain prints what went wrong, and below it what to do.
func (c *cli) complain(what, remedy string) {
	if what == "" {
		return
	}
	for i, l := range strings.Split(what, "\n") {
		if i == 0 {
			c.err.printf("%s %s\n", c.err.paint(red, "candor:"), l)
		} else {
			c.err.printf("        %s\n", l)
		}
	}
	if remedy != "" {
		c.err.printf("        %s\n", remedy)
	}
}

// mistakes prints one a line in the order of the file, as compilers do, so that an editor can jump to them.
func (c *cli) mistakes(all []*playbook.MistakeError) {
	var files []string // in the order in which they were read
	for _, m := range all {
		if !slices.Contains(files, m.File) {
			files = append(files, m.File)
		}
	}
	slices.SortStableFunc(all, func(a, b *playbook.MistakeError) int {
		return cmp.Or(cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	for _, m := range all {
		at := fmt.Sprintf("%s:%d:%d:", m.File, m.Line, m.Column)
		c.err.printf("%s %s — %s\n", c.err.paint(bold, at), m.Message, m.Remedy)
	}
	what := plural(uint64(len(all)), "mistake", "mistakes")
	if len(files) == 1 {
		what += " in " + all[0].File
	}
	c.complain(what+": nothing was sent or stored", "")
}

func settingsMistakes(err error) (all []*config.Mistake) {
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the tree is walked here, one level at a time
		case *config.Mistake:
			all = append(all, e)
		case interface{ Unwrap() []error }:
			for _, part := range e.Unwrap() {
				walk(part)
			}
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		}
	}
	walk(err)
	return all
}

// explain finds the words and the code for an error.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var refused *connect.Error
	if errors.As(err, &refused) {
		return fromAPI(refused)
	}
	return &failure{code: exitFailed, what: err.Error(), cause: err}
}

// fromAPI gives the api's answer an exit code. What it refuses it says in one sentence, with what to do after a colon.
func fromAPI(e *connect.Error) *failure {
	f := &failure{code: exitFailed, what: e.Message(), cause: e}
	switch e.Code() {
	case connect.CodeNotFound:
		f.code = exitNothing
	case connect.CodePermissionDenied, connect.CodeFailedPrecondition, connect.CodeAborted, connect.CodeAlreadyExists, connect.CodeUnauthenticated:
		f.code = exitRefused
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted:
		f.code = exitUnreachable
	case connect.CodeInvalidArgument:
		f.code = exitUsage
	default:
		return f
	}
	if what, remedy, ok := strings.Cut(f.what, ": "); ok {
		f.what, f.remedy = what, remedy
	}
	return f
}
