package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

// shownUnreached is how many customers a person is shown of each reason; --csv and --json show all.
const shownUnreached = 10

func unreachedCommand(c *cli) *cobra.Command {
	var asCSV, asJSON bool
	var reason, file string
	cmd := &cobra.Command{
		Use: "unreached ID", GroupID: groupWatch, Args: id,
		Short: "List who was not told, and why",
		Long: `Lists the customers whom no channel has told so far, by the reason that stands for
them: their own reference and code, and what became of each notice. Names,
numbers and addresses are not shown.

With --csv it writes customer_ref and reasons, one customer a line, for letters:
your own system knows the addresses.

--reason takes what candor status prints under unreached, or only its first part:
failed, or failed:twilio_30005. A reason that is nobody's is refused, with those that
there are.`,
		Example: `  candor unreached breach-2026-11
  candor unreached breach-2026-11 --csv --out letters.csv
  candor unreached breach-2026-11 --reason failed:twilio_30005`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`REASON` of those who are wanted; all if not named")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "write CSV: customer_ref, code, reason and what became of each notice")
	cmd.Flags().StringVar(&file, "out", "", "new `FILE` for the list, which only you may read; standard output if not named")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if asCSV && asJSON {
			return usageError(cmd, "--csv or --json: choose one")
		}
		if file != "" && !asCSV && !asJSON {
			return usageError(cmd, "--out needs --csv or --json")
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		if reason != "" {
			if reason, err = s.reason(cmd.Context(), args[0], reason); err != nil {
				return err
			}
		}
		var out io.Writer = c.out
		if file != "" {
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return &failure{code: exitFailed, what: err.Error(), remedy: "name a file that is not there yet", cause: err}
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			out = f
		}
		table := &unreachedTable{cli: c}
		list := unreachedList(table)
		switch {
		case asCSV:
			list = &unreachedCSV{w: csv.NewWriter(out)}
		case asJSON:
			list = &unreachedJSON{w: out}
		default:
			inc, err := s.incident(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			table.runs = runs(inc)
		}
		n, err := s.unreached(cmd, args[0], reason, list.add)
		if err != nil {
			return err
		}
		if err := list.end(args[0], n); err != nil {
			return err
		}
		if file != "" {
			c.err.printf("%s in %s.\n", plural(n, "customer", "customers"), file)
		}
		return nil
	}
	return cmd
}

// unreached hands over every customer who was not told, and returns how many there are.
func (s *client) unreached(cmd *cobra.Command, name, reason string, add func(*candorv1.Unreached) error) (n uint64, err error) {
	stream, err := s.ListUnreached(cmd.Context(), connect.NewRequest(&candorv1.ListUnreachedRequest{Incident: name, Reason: reason}))
	if err != nil {
		return 0, s.explain(err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	for stream.Receive() {
		for _, u := range stream.Msg().GetCustomers() {
			n++
			if err := add(u); err != nil {
				return n, err
			}
		}
	}
	return n, s.explain(stream.Err())
}

// unreachedList shows customers in one form or another.
type unreachedList interface {
	add(u *candorv1.Unreached) error
	end(incident string, n uint64) error
}

type unreachedJSON struct{ w io.Writer }

func (l *unreachedJSON) add(u *candorv1.Unreached) error {
	data, err := protoJSON(u)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(l.w, "%s\n", data)
	return err
}

func (*unreachedJSON) end(string, uint64) error { return nil }

type unreachedCSV struct {
	w       *csv.Writer
	started bool
}

func (l *unreachedCSV) add(u *candorv1.Unreached) error {
	if err := l.head(); err != nil {
		return err
	}
	return l.w.Write([]string{inCell(u.GetCustomerRef()), u.GetCode(), u.GetReason(), noticeWords(u.GetNotices())})
}

func (l *unreachedCSV) head() error {
	if l.started {
		return nil
	}
	l.started = true
	return l.w.Write([]string{"customer_ref", "code", "reason", "notices"})
}

func (l *unreachedCSV) end(string, uint64) error {
	err := l.head()
	l.w.Flush()
	return errors.Join(err, l.w.Error())
}

// inCell keeps a spreadsheet from taking a customer's reference for a formula.
func inCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// noticeWords is what became of a customer's notices, in a line.
func noticeWords(words []*candorv1.ChannelWord) string {
	var parts []string
	for _, w := range words {
		part := candorv1.Word(w.GetChannel()) + " " + candorv1.Word(w.GetState())
		if w.GetWave() != "w0" {
			part = w.GetWave() + " " + part
		}
		if w.GetReason() != "" {
			part += " " + w.GetReason()
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// unreachedTable shows a person a few of each reason.
type unreachedTable struct {
	*cli
	runs   bool // the incident does, so that another try can be drafted
	groups []unreachedGroup
}

type unreachedGroup struct {
	reason string
	n      uint64
	some   []*candorv1.Unreached
}

func (l *unreachedTable) add(u *candorv1.Unreached) error {
	i := slices.IndexFunc(l.groups, func(g unreachedGroup) bool { return g.reason == u.GetReason() })
	if i < 0 {
		i = len(l.groups)
		l.groups = append(l.groups, unreachedGroup{reason: u.GetReason()})
	}
	g := &l.groups[i]
	g.n++
	if len(g.some) < shownUnreached {
		g.some = append(g.some, u)
	}
	return nil
}

func (l *unreachedTable) end(incident string, n uint64) error {
	w := l.out
	if n == 0 {
		w.printf("Nobody of %s is unreached.\n", incident)
		return nil
	}
	slices.SortStableFunc(l.groups, func(a, b unreachedGroup) int { return int(b.n) - int(a.n) }) //nolint:gosec // counts of people
	for _, g := range l.groups {
		w.printf("%s  %s\n", w.paint(bold, reasonWords(g.reason)), plural(g.n, "customer", "customers"))
		rows := [][]cell{heads("CUSTOMER", "CODE", "NOTICES")}
		for _, u := range g.some {
			rows = append(rows, []cell{text(quoted(u.GetCustomerRef())[0]), text(u.GetCode()), text(noticeWords(u.GetNotices()))})
		}
		w.table("  ", rows)
		if more := g.n - uint64(len(g.some)); more > 0 {
			w.printf("  %s\n", w.paint(faint, "and "+number(more)+" more"))
		}
		w.line()
	}
	w.printf("What next: for letters\n  candor unreached %s --csv --out letters.csv\n", incident)
	for _, g := range l.groups {
		if l.runs && strings.HasPrefix(g.reason, "failed") { // the others may still be told, or must not be
			w.printf("or, when the cause is mended, another try for exactly those\n  candor resend %s --reason %s\n", incident, g.reason)
			break
		}
	}
	return nil
}

// runs says whether something may still be added to what is sent.
func runs(inc *candorv1.Incident) bool {
	switch inc.GetState() {
	case candorv1.IncidentState_INCIDENT_STATE_DECLARED, candorv1.IncidentState_INCIDENT_STATE_PAUSED:
		return true
	}
	return false
}

// reasonWords is a reason of people as a person reads it.
func reasonWords(reason string) string {
	state, why, _ := strings.Cut(reason, ":")
	words := stateWords(state)
	if why != "" {
		words += ": " + plain(why)
	}
	return words
}

func resendCommand(c *cli) *cobra.Command {
	var yes, asJSON bool
	var reason string
	cmd := &cobra.Command{
		Use: "resend ID", GroupID: groupTell, Args: id,
		Short: "Draft another try for exactly those who were not told for a reason",
		Long: `Counts the customers whom nothing has told for the reason that you name, and drafts
a wave for exactly those: the same texts, on the channels of the first notice or
on those named. It is an addition to the plan. A second person approves it with
candor approve, and what runs already goes on meanwhile.

Whoever has a notice of which nobody knows whether it was sent is left out: they
could be told twice. Settle those first, with candor uncertain. So is whoever is in no
wave yet because the first notice is still being planned.

Nobody is called by it: candor calls add puts a customer into the call queue.

--reason takes what candor status prints under unreached, or only its first part.
A reason that is nobody's is refused, with those that there are.`,
		Example: `  candor resend breach-2026-11 --reason failed:twilio_30003
  candor resend breach-2026-11 --reason failed --channel email --yes`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`REASON` of those who are meant")
	channels := cmd.Flags().StringArray("channel", nil, "`CHANNEL` to try, where not those of the first notice: sms or email, once or twice")
	cmd.Flags().BoolVar(&yes, "yes", false, "draft it without asking")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usageError(cmd, "for whom? --reason names why they were not told, as candor status prints it")
		}
		chs, err := parseChannels(cmd, *channels)
		if err != nil {
			return err
		}
		if slices.Contains(chs, candorv1.Channel_CHANNEL_CALL) {
			return &failure{code: exitUsage, what: "--channel call: another try goes by sms and email", remedy: "candor calls add ID CUSTOMER puts a customer into the call queue"}
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		if reason, err = s.reason(cmd.Context(), args[0], reason); err != nil {
			return err
		}
		req := &candorv1.ResendRequest{Incident: args[0], Reason: reason, Channels: chs, DryRun: true}
		if !yes {
			if err := c.mustAsk(cmd, "--yes"); err != nil {
				return err
			}
			resp, err := s.Resend(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			c.leftOut(resp.Msg.GetLeftOut())
			question := fmt.Sprintf("Draft a wave for %s (%s)? Type yes to draft it, anything else to leave:",
				plural(resp.Msg.GetCustomers(), "customer", "customers"), reasonWords(reason))
			if err := c.ask(question, "yes"); err != nil {
				return err
			}
		}
		req.DryRun = false
		resp, err := s.Resend(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		if yes {
			c.leftOut(resp.Msg.GetLeftOut())
		}
		a := resp.Msg.GetAddition()
		c.out.printf("%s of %s is drafted, for %s. Nobody is told before a second person approves it.\nWhat next: a second person runs\n  candor approve %s\n",
			c.out.paint(bold, "Wave "+a.GetAddition().GetWave()), args[0], plural(resp.Msg.GetCustomers(), "customer", "customers"), args[0])
		return nil
	}
	return cmd
}

// leftOut says who is not in a resend because they may yet be told.
func (c *cli) leftOut(n uint64) {
	if n > 0 {
		c.err.printf("%s left out: a notice of theirs is still open, or an addition for them waits.\n", plural(n, "customer is", "customers are"))
	}
}
