package main

import (
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

func followupCommand(c *cli) *cobra.Command {
	var send, skip, asJSON bool
	cmd := &cobra.Command{
		Use: "followup ID [NAME]", GroupID: groupTouch, Args: idAndMore(2),
		Short: "Answer a follow-up that asks whether it is sent",
		Long: `A follow-up asks when nobody has written what to say, or when its hour passed while
nothing ran and the playbook does not say what then. It waits, and so do those
after it, until a person answers: --send sends it, --skip lets it fall. With the
follow-up's NAME the answer is for that one alone, and not for the next one if
somebody has answered meanwhile.

Without either this says what asks. A follow-up without a text cannot be sent:
candor update ID -f update.md --with-next goes out in its place once it is approved.`,
		Example: `  candor followup breach-2026-11
  candor followup breach-2026-11 weekly --send
  candor followup breach-2026-11 weekly --skip`,
	}
	cmd.Flags().BoolVar(&send, "send", false, "send it")
	cmd.Flags().BoolVar(&skip, "skip", false, "let it fall")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if send && skip {
			return usageError(cmd, "--send or --skip: choose one")
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		inc, err := s.incident(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		asks := inc.GetAsks()
		if !send && !skip {
			return c.whatAsks(cmd, s, args[0], asks, asJSON)
		}
		switch {
		case asks == nil:
			return refusal("no follow-up of "+args[0]+" asks", "candor timeline "+args[0]+" shows what comes")
		case len(args) > 1 && asks.GetName() != args[1]:
			return refusal("follow-up "+args[1]+" of "+args[0]+" does not ask: "+asks.GetName()+" does", "candor followup "+args[0]+" shows which, and why")
		}
		answer := candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SKIP
		if send {
			answer = candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SEND
		}
		resp, err := s.DecideFollowUp(cmd.Context(), connect.NewRequest(&candorv1.DecideFollowUpRequest{
			Incident: args[0], Answer: answer, Name: asks.GetName(), DueAt: asks.GetDueAt(),
		}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		d := resp.Msg.GetDecided()
		if skip {
			c.out.printf("Follow-up %s of %s is let fall. candor timeline %s shows what comes next.\n", d.GetName(), args[0], args[0])
			return nil
		}
		c.out.printf("Follow-up %s of %s goes out as wave %s, at each customer's hours.\nWhat next:\n  candor watch %s\n", d.GetName(), args[0], d.GetWave(), args[0])
		return nil
	}
	return cmd
}

// whatAsks shows the follow-up that waits for a person.
func (c *cli) whatAsks(cmd *cobra.Command, s *client, name string, d *candorv1.FollowUpDecided, asJSON bool) error {
	if d == nil {
		if asJSON {
			return c.json(struct{}{})
		}
		c.out.printf("No follow-up of %s asks. candor timeline %s shows what comes.\n", name, name)
		return nil
	}
	if asJSON {
		return c.proto(d)
	}
	c.out.line(c.out.paint(yellow, asking(d, c.setting(cmd.Context(), s, name))))
	which := "candor followup " + name + " " + d.GetName()
	rows := [][]cell{{text(which + " --send"), text("send it")}, {text(which + " --skip"), text("let it fall")}}
	if d.GetReason() == noText {
		rows[0] = []cell{text("candor update " + name + " -f update.md --with-next"), text("draft the news that go out in its place")}
	}
	c.out.table("  ", rows)
	return nil
}

// noText is the reason of a follow-up for which there are no words.
const noText = "no_text"

// answers are the commands by which a person answers a follow-up that asks. What has no words cannot be sent.
func answers(id, name, reason string) string {
	if reason == noText {
		return "candor update " + id + " -f update.md --with-next, or candor followup " + id + " " + name + " --skip"
	}
	return "candor followup " + id + " " + name + " --send, or --skip"
}

// asking says which follow-up asks, and why.
func asking(d *candorv1.FollowUpDecided, at *setting) string {
	return "Follow-up " + d.GetName() + ", due " + at.moment(d.GetDueAt().AsTime()) + ", asks: " + decisionWords(d.GetReason())
}

// decisionWords is why a follow-up is skipped or asks, as a person reads it.
func decisionWords(reason string) string {
	switch reason {
	case noText:
		return "there is no text for it"
	case "late":
		return "its hour passed while nothing ran, or before it was approved"
	case "held":
		return "its hour passed while the incident was paused"
	case "missed":
		return "the next one was due before it went out"
	case "apart":
		return "too soon after another"
	case "superseded":
		return "newer news went out in its place"
	case "unanswered":
		return "nobody answered before the next one was due"
	case "closed":
		return "the incident ended before it went out"
	case "person":
		return "somebody said so"
	case "nobody_told":
		return "nobody was told yet"
	}
	return plain(reason)
}

func reopenCommand(c *cli) *cobra.Command {
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "reopen ID", GroupID: groupTouch, Args: id,
		Short: "Draft a new beginning of a closed incident",
		Long: `Drafts the reopening of an incident that was closed. Once a second person has
approved it with candor approve, updates can be drafted, customers added and
resends made again, and the follow-ups go on from then. What was sent stays sent;
what was given up stays given up.`,
		Example: `  candor reopen breach-2026-11 --reason "the investigation found another server"`,
	}
	reasonFlag(cmd, &reason)
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.TrimSpace(reason) == "" {
			return usageError(cmd, "why? --reason is kept with the incident")
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.Reopen(cmd.Context(), connect.NewRequest(&candorv1.ReopenRequest{Incident: args[0], Reason: reason}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.out.printf("A new beginning of %s is drafted. What next: a second person runs\n  %s\n", args[0], approveLine(args[0], resp.Msg.GetAddition()))
		return nil
	}
	return cmd
}
