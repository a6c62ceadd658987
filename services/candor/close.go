package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	candorv1 "candor/proto/candor/v1"
)

func closeCommand(c *cli) *cobra.Command {
	var calls string
	var yes, noWait, asJSON bool
	req := &candorv1.CloseRequest{}
	cmd := &cobra.Command{
		Use: "close ID", GroupID: groupTouch, Args: id,
		Short: "End an incident with a last word to everybody who was told",
		Long: `Ends an incident: no follow-up comes any more, the closing note goes out at each
customer's hours, and then the incident is read-only. Nobody is told anything
after the closing note.

It refuses while customers are untold or wait for a call, or while messages are
not sent yet, says why they are, and how to see who they are. To close all the
same, name the reasons for which customers may stay untold with --untold, and say
--despite-call-requests and --despite-unsent: that drafts the end, and a second
person approves it. The refusal ends with the whole command.

If calls are left in the queue, say whether they are made first, --calls drain, or
taken back, --calls withdraw.

It waits until the incident is closed, which takes as long as quiet hours last.
Ctrl-C leaves it closing; the same command follows it again. With --no-wait it
only begins. Ends with exit code 0 if the incident is closed or the end is drafted
or begun, with 3 if you left before, and with 4 if something stands in the way.`,
		Example: `  candor close breach-2026-11 --dry-run
  candor close breach-2026-11
  candor close breach-2026-11 --untold failed:twilio_30003,suppressed:no_address --despite-call-requests`,
	}
	cmd.Flags().StringSliceVar(&req.Untold, "untold", nil, "`REASONS` for which customers may stay untold, as the refusal names them or only their first part")
	cmd.Flags().BoolVar(&req.CallRequests, "despite-call-requests", false, "close although customers who asked for a call wait for it")
	cmd.Flags().BoolVar(&req.Unsent, "despite-unsent", false, "close although messages are not sent yet, which nobody gets then")
	cmd.Flags().StringVar(&calls, "calls", "", "what becomes of the calls that are left, `HOW`: drain or withdraw")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "say what stands in the way, and change nothing")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is closed")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch calls {
		case "":
		case "drain":
			req.Calls = candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN
		case "withdraw":
			req.Calls = candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW
		default:
			return usageError(cmd, "--calls %s: there are drain and withdraw", calls)
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		req.Incident = args[0]
		inc, err := s.incident(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		resp := &candorv1.CloseResponse{Incident: inc}
		if state := inc.GetState(); state != candorv1.IncidentState_INCIDENT_STATE_CLOSING && state != candorv1.IncidentState_INCIDENT_STATE_CLOSED {
			if resp, err = c.close(cmd, s, req, yes, asJSON); err != nil || req.GetDryRun() {
				return err
			}
		}
		return c.closed(cmd.Context(), s, args[0], resp, noWait || req.GetDryRun(), asJSON)
	}
	return cmd
}

// close looks what stands in the way, asks if nothing does, and closes or drafts the end.
func (c *cli) close(cmd *cobra.Command, s *client, req *candorv1.CloseRequest, yes, asJSON bool) (*candorv1.CloseResponse, error) {
	look := proto.CloneOf(req)
	look.DryRun = true
	dry, err := s.Close(cmd.Context(), connect.NewRequest(look))
	if err != nil {
		return nil, err
	}
	way := inTheWay(req, dry.Msg)
	switch {
	case asJSON && (req.GetDryRun() || !way.clear()):
		err = c.proto(dry.Msg)
	case !asJSON && (req.GetDryRun() || !way.clear() || !yes && !way.named):
		c.way(req, dry.Msg, way)
	}
	if err != nil {
		return nil, err
	}
	if !way.clear() {
		return nil, &failure{code: exitRefused, what: way.refusal(req.GetIncident()), remedy: way.remedy(req, dry.Msg)}
	}
	if req.GetDryRun() {
		return dry.Msg, nil
	}
	if !way.named && !yes {
		if err := c.mustAsk(cmd, "--yes"); err != nil {
			return nil, err
		}
		if err := c.ask(fmt.Sprintf("Close %s? The closing note is the last that customers get. Type close:", req.GetIncident()), "close"); err != nil {
			return nil, err
		}
	}
	resp, err := s.Close(cmd.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// obstacles are what stands in the way of an end.
type obstacles struct {
	reasons []string // of untold customers, which nobody named
	unsent  bool     // messages are, and nobody said that they may be dropped
	wishes  bool     // calls that customers asked for, and nobody said that they may stay open
	calls   bool     // that are left, and nobody said what becomes of them
	named   bool     // something stands in the way and was named: a second person must approve
}

func (o obstacles) clear() bool { return len(o.reasons) == 0 && !o.unsent && !o.wishes && !o.calls }

func inTheWay(req *candorv1.CloseRequest, r *candorv1.CloseResponse) (o obstacles) {
	for _, reason := range byCount(r.GetUntold()) {
		switch {
		case r.GetUntold()[reason] == 0:
		case isNamed(reason, req.GetUntold()):
			o.named = true
		default:
			o.reasons = append(o.reasons, reason)
		}
	}
	if len(r.GetUnsent()) > 0 {
		o.named = o.named || req.GetUnsent()
		o.unsent = !req.GetUnsent()
	}
	if r.GetCallRequestsOpen() > 0 {
		o.named = o.named || req.GetCallRequests()
		o.wishes = !req.GetCallRequests()
	}
	o.calls = r.GetCallsOpen() > 0 && req.GetCalls() == candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED
	return o
}

// isNamed says whether a reason is among those that were named, in full or by its first part.
func isNamed(reason string, names []string) bool {
	first, _, _ := strings.Cut(reason, ":")
	for _, n := range names {
		if n = strings.TrimSpace(n); n == reason || n == first {
			return true
		}
	}
	return false
}

func (o obstacles) refusal(name string) string {
	var why []string
	if len(o.reasons) > 0 {
		why = append(why, "customers are untold")
	}
	if o.unsent {
		why = append(why, "messages are not sent yet")
	}
	if o.wishes {
		why = append(why, "customers wait for a call that they asked for")
	}
	if o.calls {
		why = append(why, "calls are left in the queue")
	}
	return name + " is not closed: " + strings.Join(why, ", ")
}

// remedy is the command that closes all the same. What was named and is nobody's reason is left out.
func (o obstacles) remedy(req *candorv1.CloseRequest, r *candorv1.CloseResponse) string {
	line := "candor close " + req.GetIncident()
	all := slices.DeleteFunc(slices.Clone(req.GetUntold()), func(name string) bool {
		return !slices.ContainsFunc(byCount(r.GetUntold()), func(reason string) bool { return isNamed(reason, []string{name}) })
	})
	if all = append(all, o.reasons...); len(all) > 0 {
		line += " --untold " + strings.Join(all, ",")
	}
	if o.unsent || req.GetUnsent() {
		line += " --despite-unsent"
	}
	if o.wishes || req.GetCallRequests() {
		line += " --despite-call-requests"
	}
	switch {
	case o.calls:
		line += " --calls drain"
	case req.GetCalls() != candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED:
		line += " --calls " + candorv1.Word(req.GetCalls())
	}
	if len(o.reasons) == 0 && !o.unsent && !o.wishes {
		return "say whether they are made first, drain, or taken back, withdraw:\n        " + line
	}
	return "wait for them; or name them, and a second person approves the end:\n        " + line
}

// one chooses the words for a number that stands before them.
func one(n uint64, single, many string) string {
	if n == 1 {
		return single
	}
	return many
}

// way shows what an end would leave, and how to see who that is.
func (c *cli) way(req *candorv1.CloseRequest, r *candorv1.CloseResponse, o obstacles) {
	name := req.GetIncident()
	var rows [][]cell
	var who []string
	add := func(n uint64, what, said string, how ...string) {
		verdict := tinted(yellow, "in the way")
		if said != "" {
			verdict = tinted(faint, said)
		}
		rows, who = append(rows, []cell{count(n), text(what), verdict}), append(who, how...)
	}
	for _, reason := range byCount(r.GetUntold()) {
		said := ""
		if isNamed(reason, req.GetUntold()) {
			said = "named"
		}
		add(r.GetUntold()[reason], "untold, "+reasonWords(reason), said, "candor unreached "+name+" --reason "+reason)
	}
	for _, wave := range slices.Sorted(maps.Keys(r.GetUnsent())) {
		said := ""
		if req.GetUnsent() {
			said = "named"
		}
		n := r.GetUnsent()[wave]
		add(n, one(n, "message of "+wave+" is not sent yet", "messages of "+wave+" are not sent yet"), said, "candor timeline "+name)
	}
	if n := r.GetCallRequestsOpen(); n > 0 {
		said := ""
		if req.GetCallRequests() {
			said = "named"
		}
		add(n, one(n, "asked for a call and waits for it", "asked for a call and wait for it"), said, "candor calls queue "+name)
	}
	if n := r.GetCallsOpen(); n > 0 {
		said := ""
		if !o.calls {
			said = candorv1.Word(req.GetCalls())
		}
		add(n, one(n, "call is left in the queue", "calls are left in the queue"), said, "candor calls queue "+name)
	}
	if n := r.GetFollowUpsDropped(); n > 0 {
		rows = append(rows, []cell{count(n), text(one(n, "follow-up or update that was still to come is dropped", "follow-ups and updates that were still to come are dropped"))})
	}
	if len(rows) > 0 {
		c.out.table("  ", rows)
	}
	if len(who) > 0 {
		c.out.line("\nTo see who they are:\n  " + strings.Join(slices.Compact(who), "\n  "))
	}
	switch {
	case o.clear() && o.named:
		c.out.printf("A second person must approve the end of %s.\n", name)
	case o.clear():
		c.out.printf("Nothing stands in the way of closing %s.\n", name)
	}
}

// closed says what came of it, and waits for the end if it has begun.
func (c *cli) closed(ctx context.Context, s *client, name string, resp *candorv1.CloseResponse, noWait, asJSON bool) error {
	inc := resp.GetIncident()
	switch {
	case resp.GetAddition() != nil && asJSON, noWait && asJSON:
		return c.proto(resp)
	case resp.GetAddition() != nil:
		c.addition(inc, resp.GetAddition(), &setting{place: c.zone}, prefix(resp.GetAddition()))
		c.out.printf("\nThe end of %s is drafted. Until it is approved everything goes on. What next: a second person runs\n  %s\n",
			name, approveLine(name, resp.GetAddition()))
		return nil
	case noWait && inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_CLOSED:
		c.out.printf("%s is %s.\nWhat next: wait for its end\n  candor close %s\n", name, candorv1.Word(inc.GetState()), name)
		return nil
	}
	inc, err := c.awaitClosed(ctx, s, inc, asJSON)
	switch {
	case err != nil:
		return err
	case asJSON:
		return c.proto(inc)
	}
	c.out.printf("%s %s is closed since %s: it can be read, and nobody is told any more.\nWhat next:\n  candor status %s    who was told\n  candor shred %s     destroy the customers' data, for good\n",
		c.out.paint(green, "✓"), name, c.clock(inc.GetClosedAt()), name, name)
	return nil
}
