package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	candorv1 "candor/proto/candor/v1"
)

const (
	reportsAtOnce = 8 // the queue makes one fsync of those that come together
	reportTries   = 5
	shownProblems = 20
)

func callsImportCommand(c *cli) *cobra.Command {
	var release, asJSON bool
	cmd := &cobra.Command{
		Use: "import FILE", Args: oneFile,
		Short: "Take back how the calls of a list ended",
		Long: `Reads CSV with a header: lease and disposition, and where there is something to say
call_back_at, phone, started_at, answered_at, ended_at and call_id. Other columns
are left alone, so the list of candor calls export with a column disposition will
do. With - it reads standard input.

disposition is a code of the playbook's table, such as notified or no_answer. With
callback and notified_callback, call_back_at says when. Times come with their
zone, such as 2026-11-23T17:30:00+01:00. phone is the number that was dialled, if
it was not the first.

A row is one line: take line breaks out of its cells. One without a disposition was
not called (yet), and stays yours until its time is over; with --release it is
given back. Rows that are wrong are named by their line, and all others are taken:
mend those and import the file again. What was taken counts once, however often it
is imported. A report that comes after the time of its list counts too; ended_at
says that a call-back which is past by now was asked for in time.

The token must be the one that made the list.`,
		Example: `  candor calls import results.csv
  candor calls import results.csv --release     at the end of the day`,
	}
	cmd.Flags().BoolVar(&release, "release", false, "give back the rows without a disposition: they were not called")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, done, err := c.input(args[0])
		if err != nil {
			return err
		}
		defer done()
		results, err := readResults(in)
		if err != nil {
			return &failure{code: exitMistakes, what: fmt.Sprintf("%s: %v", args[0], err), remedy: "nothing was taken; candor calls import --help says what the file must look like", cause: err}
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		back := &imported{problems: results.problems}
		if err := s.report(cmd.Context(), results.rows, release, back); err != nil {
			return importFailure(err, back.taken)
		}
		return c.importedResults(args[0], results, back, asJSON)
	}
	return cmd
}

// importFailure says how far an import came.
func importFailure(err error, taken uint64) error {
	if taken == 0 {
		return err
	}
	f := explain(err)
	remedy := "import the file again: what was taken counts once"
	if f.remedy != "" {
		remedy = f.remedy + "; then " + remedy
	}
	return &failure{code: f.code, cause: err, what: fmt.Sprintf("%s (%s taken before)", f.what, plural(taken, "row was", "rows were")), remedy: remedy}
}

// imported counts what became of the rows of an import.
type imported struct {
	mu       sync.Mutex // guards what follows
	taken    uint64
	late     uint64
	released uint64
	open     uint64 // without a disposition, and not given back
	problems []rowProblem
	refused  *connect.Error // the last refusal of a row
}

// rowProblem is what is wrong with a line of a file.
type rowProblem struct {
	Line    int    `json:"line"`
	Problem string `json:"problem"`
}

func (i *imported) count(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// report hands in the rows. What is wrong with one of them is noted, what is wrong with all of them is returned.
//
// A crash half-way: the file is imported again, and what the queue knows already changes nothing.
func (s *client) report(ctx context.Context, rows []resultRow, release bool, back *imported) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(reportsAtOnce)
	sent := len(back.problems)
	for _, row := range rows {
		if gctx.Err() != nil {
			break
		}
		if row.report.GetDisposition() == "" && !release {
			back.count(func() { back.open++ })
			continue
		}
		sent++
		g.Go(func() error {
			late, err := s.reportRow(gctx, row)
			var refused *connect.Error
			switch {
			case err == nil && row.report.GetDisposition() == "":
				back.count(func() { back.released++ })
			case err == nil:
				back.count(func() {
					back.taken++
					if late {
						back.late++
					}
				})
			case errors.As(err, &refused) && ofTheRow(refused.Code()):
				_, what, found := strings.Cut(refused.Message(), "complete: ")
				if !found {
					what = refused.Message()
				}
				back.count(func() {
					back.problems, back.refused = append(back.problems, rowProblem{row.line, what}), refused
				})
			default:
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if back.refused != nil && back.refused.Code() == connect.CodePermissionDenied && len(back.problems) == sent {
		return back.refused // every row: it is the token
	}
	return ctx.Err()
}

// ofTheRow says whether a refusal is about this row and not about the queue, the token or the way there.
func ofTheRow(code connect.Code) bool {
	return slices.Contains([]connect.Code{
		connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeAlreadyExists, connect.CodeFailedPrecondition, connect.CodePermissionDenied,
	}, code)
}

// reportRow hands in a row, again and again for a while if the queue does not answer: a new owner needs a few seconds.
func (s *client) reportRow(ctx context.Context, row resultRow) (late bool, err error) {
	for try := 1; ; try++ {
		if row.report.GetDisposition() == "" {
			_, err = s.Release(ctx, connect.NewRequest(&candorv1.ReleaseRequest{Lease: row.report.GetLease(), Reason: "not_called"}))
		} else {
			var resp *connect.Response[candorv1.CompleteResponse]
			if resp, err = s.Complete(ctx, connect.NewRequest(row.report)); err == nil {
				return resp.Msg.GetLate(), nil
			}
		}
		if err == nil || exitOf(err) != exitUnreachable || try == reportTries {
			return false, err
		}
		select {
		case <-time.After(s.retry):
		case <-ctx.Done():
			return false, err
		}
	}
}

func (c *cli) importedResults(file string, r *results, back *imported, asJSON bool) error {
	slices.SortFunc(back.problems, func(a, b rowProblem) int { return a.Line - b.Line })
	open := back.open
	// Each row is in one of these: one that nobody counts is a customer whose call nobody reports.
	if counted := back.taken + back.released + open + uint64(len(back.problems)) + r.repeated; counted != r.lines {
		return &failure{
			code: exitFailed, what: fmt.Sprintf("%s has %s, and %d of them are accounted for", file, plural(r.lines, "row", "rows"), counted),
			remedy: "this is a mistake in Candor: report it, and import the file again: what was taken counts once",
		}
	}
	if asJSON {
		err := c.json(map[string]any{
			"imported": back.taken, "late": back.late, "released": back.released, "not_called": open,
			"rows": r.lines, "repeated": r.repeated, "problems": append([]rowProblem{}, back.problems...), "columns_left_alone": append([]string{}, r.ignored...),
		})
		if err != nil {
			return err
		}
	} else {
		c.out.printf("%s reported.\n", plural(back.taken, "call", "calls"))
		if back.late > 0 {
			c.out.printf("%s after the time of the list was over: recorded all the same.\n", plural(back.late, "call was reported", "calls were reported"))
		}
		if back.released > 0 {
			c.out.printf("%s given back.\n", plural(back.released, "customer is", "customers are"))
		}
		if open > 0 {
			c.out.printf("%s no disposition: yours until the time of the list is over. --release gives them back.\n", plural(open, "row has", "rows have"))
		}
		if r.repeated > 0 {
			c.out.printf("%s again what another one says.\n", plural(r.repeated, "row says", "rows say"))
		}
		if len(r.ignored) > 0 {
			c.out.printf("Columns left alone: %s.\n", strings.Join(r.ignored, ", "))
		}
		for _, p := range back.problems[:min(len(back.problems), shownProblems)] {
			c.err.printf("%s:%d: %s\n", file, p.Line, p.Problem)
		}
		if more := len(back.problems) - shownProblems; more > 0 {
			c.err.printf("and %d more: --json has them all\n", more)
		}
	}
	if n := len(back.problems); n > 0 {
		return &failure{code: exitMistakes, what: plural(uint64(n), "row was", "rows were") + " not taken", remedy: "mend them and import the file again: what was taken counts once"}
	}
	return nil
}
