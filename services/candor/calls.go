package main

import (
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

func callsCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "calls", GroupID: groupCall, Args: cobra.ArbitraryArgs, RunE: group,
		Short: "Look at the call queue, have customers called, work it off by file",
		Long: `Candor does not dial. It hands dialers, of whatever make, who is to be called, when
and with which words: over HTTP, over NATS, or as a file with export and import.
deployments/dialers.md has an example of each road.`,
	}
	cmd.AddCommand(callsQueueCommand(c), callsExplainCommand(c), callsAddCommand(c), callsExportCommand(c), callsImportCommand(c))
	return cmd
}

func callsQueueCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "queue [ID]", Aliases: []string{"list"},
		Short: "Count who is still to be called, and how the calls ended",
		Long: `Counts the call tasks of an incident, or of all, by where they stand, and the calls
by how they ended. Callable are those that somebody could be called for now: the
others wait for the customer's hours, for a retry, a call-back or a cap.`,
		Example: `  candor calls queue
  candor calls queue breach-2026-11 --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New("one incident at a time, or none for all")
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.GetQueue(cmd.Context(), connect.NewRequest(&candorv1.GetQueueRequest{Incident: strings.Join(args, "")}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.queue(resp.Msg)
		return nil
	}
	return cmd
}

func (c *cli) queue(q *candorv1.GetQueueResponse) {
	var all uint64
	var rows [][]cell
	for n := int32(candorv1.CallState_CALL_STATE_PENDING); n <= int32(candorv1.CallState_CALL_STATE_EXPIRED); n++ {
		st := candorv1.CallState(n)
		if tasks := q.GetStates()[candorv1.Word(st)]; tasks > 0 {
			all += tasks
			rows = append(rows, []cell{tinted(callColour(st), candorv1.Word(st)), count(tasks)})
		}
	}
	if all == 0 {
		c.out.line("Nobody is in the call queue.")
		return
	}
	c.out.line(c.out.paint(bold, plural(all, "customer", "customers")+" in the call queue"))
	c.out.table("  ", rows)
	if len(q.GetDispositions()) > 0 {
		c.out.printf("\n%s\n", c.out.paint(bold, "How their calls ended"))
		rows = nil
		for _, d := range byCount(q.GetDispositions()) {
			rows = append(rows, []cell{text(plain(d)), count(q.GetDispositions()[d])})
		}
		c.out.table("  ", rows)
	}
	c.out.printf("\n%s may be called now.", number(q.GetCallable()))
	if q.GetNextAt() != nil {
		c.out.printf(" The next change by itself is at %s.", c.clock(q.GetNextAt()))
	}
	c.out.line()
}

func callsExplainCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "explain ID CUSTOMER", Args: oneCustomer,
		Short: "Say in words why a customer may or may not be called now, and when next",
		Long: `Shows the call task of one customer: whether anybody may call them at this moment,
every reason for and against, when they may be called next, and each call so far.
CUSTOMER is their code or customer_ref. Names and numbers are not shown.`,
		Example: `  candor calls explain breach-2026-11 7K3-MP2-QD4`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.Explain(cmd.Context(), connect.NewRequest(&candorv1.ExplainRequest{Incident: args[0], Customer: args[1]}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.explained(args[1], resp.Msg)
		return nil
	}
	return cmd
}

func (c *cli) explained(who string, e *candorv1.ExplainResponse) {
	w := c.out
	verdict := w.paint(yellow, "may not be called now")
	if e.GetCallable() {
		verdict = w.paint(green, "may be called now")
	}
	w.printf("%s %s. The task is %s.\n", w.paint(bold, quoted(who)[0]), verdict, w.paint(callColour(e.GetState()), candorv1.Word(e.GetState())))
	for _, reason := range e.GetReasons() {
		w.line("  - " + wrap(quoted(reason)[0], w.textWidth(), "    "))
	}
	if !e.GetCallable() && e.GetNextAt() != nil {
		w.printf("Not before %s.\n", c.zoned(e.GetNextAt()))
	}
	if len(e.GetAttempts()) == 0 {
		w.line("Nobody has called yet.")
		return
	}
	w.printf("\n%s\n", w.paint(bold, "Calls so far, by "+e.GetAttempts()[0].GetLeasedAt().AsTime().In(c.zone).Format("MST")))
	for _, a := range e.GetAttempts() {
		ended := plain(a.GetDisposition())
		switch {
		case ended == "" && a.GetEndedAt() == nil:
			ended = "a dialer has the task"
		case a.GetReleased():
			ended = "given back without a call"
		case ended == "":
			ended = "no report"
		case a.GetLate():
			ended += ", reported late"
		}
		w.printf("  %2d  %s  %s  %s\n", a.GetNumber(), w.paint(faint, c.clock(a.GetLeasedAt())), ended, w.paint(faint, "token "+a.GetDialer()))
	}
}

func callsAddCommand(c *cli) *cobra.Command {
	var at string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "add ID CUSTOMER", Args: oneCustomer,
		Short: "Have a customer called who asked for it",
		Long: `Puts a customer at the head of the call queue, as soon as their hours allow, or at
the time that they asked for. CUSTOMER is their code or customer_ref. A customer
who is in the queue already is not called twice for it: the time is noted.

--at takes the time with its zone, so that nobody calls at the wrong hour.`,
		Example: `  candor calls add breach-2026-11 7K3-MP2-QD4
  candor calls add breach-2026-11 NP-100010 --at 2026-11-23T17:30:00+01:00`,
	}
	cmd.Flags().StringVar(&at, "at", "", "`TIME` that the customer asked for, such as 2026-11-23T17:30:00+01:00; as soon as may be if not named")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := &candorv1.AddRequest{Incident: args[0], Customer: args[1]}
		if at != "" {
			t, err := zonedTime(at)
			if err != nil {
				return usageError(cmd, "--at %s: %v", at, err)
			}
			req.CallBackAt = timestamppb.New(t)
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.Add(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.addedCall(args[0], quoted(args[1])[0], req, resp.Msg)
		return nil
	}
	return cmd
}

// addedCall says what a wish makes of a customer's task.
func (c *cli) addedCall(id, who string, q *candorv1.AddRequest, a *candorv1.AddResponse) {
	next := "when that is, and why"
	switch a.GetState() {
	case candorv1.CallState_CALL_STATE_DONE, candorv1.CallState_CALL_STATE_FAILED,
		candorv1.CallState_CALL_STATE_SUPPRESSED, candorv1.CallState_CALL_STATE_EXPIRED:
		c.out.printf("%s of %s is not called: the task is %s.", who, id, c.out.paint(callColour(a.GetState()), candorv1.Word(a.GetState())))
		next = "why that is"
	default:
		when := "as soon as may be"
		if q.GetCallBackAt() != nil {
			when = "at " + c.zoned(q.GetCallBackAt())
		}
		c.out.printf("%s of %s is called %s.", who, id, when)
		switch {
		case a.GetReopened():
			c.out.printf(" Their task had ended, and is open again: they are called once more.")
		case a.GetKnown():
			c.out.printf(" They were in the queue already: nobody is called twice for it.")
		}
	}
	c.out.printf("\nWhat next: %s\n  candor calls explain %s %s\n", next, id, who)
}

// zoned is a time beside times by other clocks.
func (c *cli) zoned(t *timestamppb.Timestamp) string {
	return c.clock(t) + " " + t.AsTime().In(c.zone).Format("MST")
}

// oneCustomer are the arguments of commands about one customer.
func oneCustomer(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("which incident, and whom? name its id, and the customer's code or customer_ref")
	case len(args) == 1 || strings.TrimSpace(args[1]) == "":
		return errors.New("whom? name one customer by code or customer_ref")
	case len(args) > 2:
		return errors.New("one customer at a time")
	}
	return nil
}

var (
	errNoZone = errors.New("whose clock is that? add the zone, as in 2026-11-23T17:30:00+01:00, or Z for UTC")
	errNoTime = errors.New("write date and time with their zone, as in 2026-11-23T17:30:00+01:00")
)

// zonedTime reads a moment. A time without a zone is some other hour elsewhere, so it is none.
func zonedTime(s string) (time.Time, error) {
	for _, date := range []string{"2006-01-02T", "2006-01-02 "} {
		for _, clock := range []string{"15:04:05", "15:04"} {
			for _, zone := range []string{"Z07:00", " Z07:00", "Z0700", " Z0700"} {
				if t, err := time.Parse(date+clock+zone, s); err == nil {
					return t, nil
				}
			}
			if _, err := time.Parse(date+clock, s); err == nil {
				return time.Time{}, errNoZone
			}
		}
	}
	return time.Time{}, errNoTime
}

func callColour(s candorv1.CallState) string {
	switch s {
	case candorv1.CallState_CALL_STATE_DONE:
		return green
	case candorv1.CallState_CALL_STATE_LEASED:
		return cyan
	case candorv1.CallState_CALL_STATE_UNCERTAIN, candorv1.CallState_CALL_STATE_WAITING:
		return yellow
	case candorv1.CallState_CALL_STATE_FAILED:
		return red
	}
	return faint
}
