package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

const (
	claimAtOnce  = 100 // the most that one claim may ask for
	longestLease = 24 * time.Hour
	// claimWithin is how long a claim may take. It is not cut short: what it answers is ours.
	claimWithin = 30 * time.Second
)

// exported are the columns of an export.
var exported = []string{
	"lease", "task", "incident", "phone", "next_phones", "given_name", "language", "code", "purpose", "wanted_at", "window_ends_at", "caller_id",
	"what_of_yours", "script_version",
}

// whatOfYours is the part of the script that differs from customer to customer: which of their data it is about.
const whatOfYours = "what_of_yours"

func callsExportCommand(c *cli) *cobra.Command {
	var (
		incidents []string
		lasting   time.Duration
		most      int
		file      string
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use: "export", Args: none,
		Short: "Write a list of who may be called, for dialers without an API",
		Long: `Claims customers who may be called now and writes them as CSV: one line for each,
with the number to dial, the name, the language and the code that they can check
the call by. Until --for is over nobody else gets them, so take only as many as
your agents can call in that time. Report every call with candor calls import
before it is over; import --release gives back who was not called. For a
customer without any word Candor must take it that they may have been called.

What agents say is what candor script ID prints, in the customer's language. The
one part of it that differs from customer to customer, which of their data it is
about, is in the column what_of_yours.

The list holds names and numbers: it is written to a new file that only you may
read, or with --out - to standard output. The last call must begin before
window_ends_at, by the customer's own clock.

Cells that a spreadsheet would take for a formula begin with an apostrophe. Phone
numbers do not: they are a plus and digits, as dialers want them. A spreadsheet
drops the plus: import phone, next_phones and caller_id as text.`,
		Example: `  candor calls export --for 8h --max 500 --out calls.csv
  candor calls export --incident breach-2026-11 --for 2h --out - > calls.csv`,
	}
	cmd.Flags().StringArrayVar(&incidents, "incident", nil, "`ID` of an incident, once or several times; all if not named")
	cmd.Flags().DurationVar(&lasting, "for", 8*time.Hour, "`TIME` for which nobody else gets these customers, at most 24h")
	cmd.Flags().IntVar(&most, "max", 1000, "`NUMBER` of customers at most")
	cmd.Flags().StringVar(&file, "out", "", "new `FILE` for the list, which only you may read; - is standard output")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case file == "":
			return usageError(cmd, "where to? the list holds names and numbers: --out names a new file, --out - is standard output")
		case file == "-" && asJSON:
			return usageError(cmd, "--json and the list on standard output: name a file with --out")
		case lasting < time.Minute || lasting > longestLease:
			return usageError(cmd, "--for %s: give 1m to 24h", lasting)
		case most < 1:
			return usageError(cmd, "--max %d: give at least 1", most)
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		sheet, err := c.newSheet(file)
		if err != nil {
			return err
		}
		claim := &candorv1.ClaimRequest{Mode: candorv1.DialMode_DIAL_MODE_PREVIEW, Incidents: incidents, Lease: durationpb.New(lasting)}
		n, err := s.export(cmd.Context(), claim, most, sheet)
		if err = errors.Join(err, sheet.close(n > 0)); err != nil {
			return exportFailure(err, n, file)
		}
		switch {
		case n == 0:
			return &failure{code: exitNothing, what: "nobody may be called now", remedy: "candor calls queue says how many wait, and until when"}
		case asJSON:
			return c.json(map[string]any{"customers": n, "file": file, "until": c.now().Add(lasting).UTC().Truncate(time.Second)})
		}
		where := "in " + file
		if file == "-" {
			where = "on standard output"
		}
		c.err.printf("%s %s. They are yours until %s.\nWhat next: call them with the words of candor script ID, and then\n  candor calls import results.csv\n",
			plural(uint64(n), "customer", "customers"), where, c.clock(timestamppb.New(c.now().Add(lasting))))
		if n == most {
			c.err.printf("There may be more: --max says how many are taken.\n")
		}
		return nil
	}
	return cmd
}

// exportFailure says what of an export there is all the same.
func exportFailure(err error, n int, file string) error {
	if n == 0 {
		return err
	}
	f := explain(err)
	return &failure{
		code: f.code, what: f.what, cause: err,
		remedy: fmt.Sprintf("%s in %s all the same and yours: call them, or give them back with candor calls import --release %s", plural(uint64(n), "customer is", "customers are"), file, file),
	}
}

// export claims customers and writes them, and returns how many it wrote.
//
// A crash after a claim and before its lines are written: the leases end by themselves, and their customers are held back for
// a while, as if they had been called.
func (s *client) export(ctx context.Context, claim *candorv1.ClaimRequest, most int, sheet *sheet) (n int, err error) {
	for n < most && ctx.Err() == nil {
		claim.Max = uint32(min(most-n, claimAtOnce))
		tasks, err := s.claim(ctx, claim)
		if err != nil || len(tasks) == 0 {
			return n, err
		}
		if err := sheet.write(tasks); err != nil {
			return n, errors.Join(err, s.giveBack(ctx, tasks))
		}
		n += len(tasks)
	}
	return n, ctx.Err()
}

func (s *client) claim(ctx context.Context, claim *candorv1.ClaimRequest) ([]*candorv1.CallTask, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimWithin)
	defer cancel()
	resp, err := s.Claim(ctx, connect.NewRequest(claim))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetTasks(), nil
}

// giveBack releases what nobody has a line of.
func (s *client) giveBack(ctx context.Context, tasks []*candorv1.CallTask) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimWithin)
	defer cancel()
	for _, t := range tasks {
		if _, err := s.Release(ctx, connect.NewRequest(&candorv1.ReleaseRequest{Lease: t.GetLease(), Reason: "not_written"})); err != nil {
			return fmt.Errorf("give back who is not in the list: %w", err)
		}
	}
	return nil
}

// sheet is the CSV of an export.
type sheet struct {
	csv     *csv.Writer
	started bool
	file    *os.File // nil if it is standard output
}

// newSheet makes the file before anybody is claimed: that it cannot be written is found out in time.
func (c *cli) newSheet(name string) (*sheet, error) {
	if name == "-" {
		return &sheet{csv: csv.NewWriter(c.out)}, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, &failure{code: exitFailed, what: err.Error(), remedy: "name a file that is not there yet", cause: err}
	}
	return &sheet{csv: csv.NewWriter(f), file: f}, nil
}

func (sh *sheet) write(tasks []*candorv1.CallTask) error {
	if !sh.started {
		sh.started = true
		if err := sh.csv.Write(exported); err != nil {
			return err
		}
	}
	for _, t := range tasks {
		err := sh.csv.Write([]string{
			t.GetLease(), inCell(t.GetTask()), inCell(t.GetIncident()), phoneCell(t.GetPhone()), phonesCell(t.GetNextPhones()),
			inCell(t.GetGivenName()), inCell(t.GetLanguage()), inCell(t.GetCode()), inCell(t.GetPurpose()), timeCell(t.GetCallBackAt()),
			timeCell(t.GetWindowEndsAt()), phoneCell(t.GetCallerId()), inCell(said(t.GetScript(), whatOfYours)), inCell(t.GetScript().GetVersion()),
		})
		if err != nil {
			return err
		}
	}
	sh.csv.Flush()
	return sh.csv.Error()
}

// said is a part of a script on one line, which is what a row is.
func said(s *candorv1.Script, part string) string {
	for _, p := range s.GetParts() {
		if p.GetName() == part {
			return strings.Join(strings.Fields(p.GetText()), " ")
		}
	}
	return ""
}

// close ends the list; the file of one that nobody is in is taken away.
func (sh *sheet) close(keep bool) error {
	if sh.file == nil {
		return nil
	}
	if !keep {
		return errors.Join(sh.file.Close(), os.Remove(sh.file.Name()))
	}
	return errors.Join(sh.file.Sync(), sh.file.Close())
}

var dialable = regexp.MustCompile(`^\+[0-9]{1,15}$`)

// phoneCell leaves a plus and digits as they are: dialers want them so, and to a spreadsheet they are a number at worst, never
// a formula that does something.
func phoneCell(s string) string {
	if dialable.MatchString(s) {
		return s
	}
	return inCell(s)
}

// phonesCell puts several numbers into a cell with semicolons: with spaces between them a spreadsheet would add them up.
func phonesCell(all []string) string {
	for i := range all {
		if !dialable.MatchString(all[i]) {
			return inCell(strings.Join(all, ";"))
		}
	}
	return strings.Join(all, ";")
}

func timeCell(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}
