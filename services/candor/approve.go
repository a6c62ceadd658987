package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/incident"
	"candor/pkg/plan"
	candorv1 "candor/proto/candor/v1"
)

var planHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

func approveCommand(c *cli) *cobra.Command {
	var yes, full, asJSON bool
	var hash string
	cmd := &cobra.Command{
		Use: "approve ID", GroupID: groupTell, Args: id,
		Short: "Approve a draft, as the second person: people are told",
		Long: `Shows what a draft would do: the texts as customers would read them, masked; how
many are told, how and when; limits and cost; what changed since the revision
before; and the hash of all this. Then it asks. With your yes the incident is
declared, and the first messages leave at once, as far as quiet hours allow.

Your approval is bound to the hash: if somebody changes the draft while you
read, it is refused, and you read again. Nobody approves their own draft.

A message that was sent cannot be taken back. candor pause and candor abort stop
what was not sent yet.

An addition is approved in the same way, without stopping what runs: the oldest
that waits, or the one that --hash names. Additions are a resend, customers found
later, an update, a correction, an end that leaves customers untold, and a new
beginning. Of an update the first lines of its file are shown, with --full all.

In a script there is nobody to ask: pass --yes, and --hash with the hash that a
person has seen.`,
		Example: `  candor approve breach-2026-11 --token-file ben.token
  candor approve breach-2026-11 --yes --hash 4f0c…`,
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not show and ask; --hash says what is approved")
	cmd.Flags().StringVar(&hash, "hash", "", "`HASH` of the plan that is approved, and no other")
	cmd.Flags().BoolVar(&full, "full", false, "show the whole file of an update")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case yes && hash == "":
			return usageError(cmd, "--yes needs --hash: name the plan that a person has seen")
		case hash != "" && !planHash.MatchString(hash):
			return usageError(cmd, "--hash %s: give all 64 digits of the plan hash", hash)
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		if !yes {
			if err := c.mustAsk(cmd, "--yes and --hash HASH"); err != nil {
				return err
			}
			if hash, err = c.readAndAsk(cmd, s, args[0], hash, full); err != nil {
				return err
			}
		}
		resp, err := s.Approve(cmd.Context(), connect.NewRequest(&candorv1.ApproveRequest{Incident: args[0], PlanHash: hash}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg.GetIncident())
		}
		inc := resp.Msg.GetIncident()
		what, next := inc.GetId()+" is declared: people are being told", "candor watch "+inc.GetId()
		if a := additionOf(inc, hash); a != nil {
			what, next = approved(inc.GetId(), a.GetAddition(), func() *setting { return c.setting(cmd.Context(), s, inc.GetId()) })
		}
		c.out.printf("\n%s %s.\n", c.out.paint(green, "✓"), what)
		if held := inc.GetPausedChannels(); len(held) > 0 {
			c.out.line(c.out.paint(yellow, wrap("It is still paused on "+channelWords(held)+", and no follow-up goes out: candor resume "+inc.GetId()+" lifts that.", c.out.textWidth(), "")))
		}
		c.out.printf("What next:\n  %s\n", next)
		return nil
	}
	return cmd
}

// readAndAsk shows a draft and returns its hash if the answer is yes.
func (c *cli) readAndAsk(cmd *cobra.Command, s *client, name, wanted string, full bool) (string, error) {
	inc, err := s.incident(cmd.Context(), name)
	if err != nil {
		return "", err
	}
	if a := pendingAddition(inc, wanted); a != nil {
		return c.readAddition(cmd.Context(), s, inc, a, full)
	}
	switch {
	case inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_DRAFT:
		what := "incident " + name + " is " + candorv1.Word(inc.GetState()) + ", and nothing of it waits for an approval"
		if wanted != "" {
			what += " under that hash"
		}
		return "", refusal(what, "candor status "+name+" shows where it stands, and what waits")
	case wanted != "" && wanted != inc.GetPlanHash():
		return "", refusal("the draft has another hash: "+inc.GetPlanHash(), "somebody changed it since; read it, and approve that")
	}
	messages, err := s.preview(cmd.Context(), name, mostPreviews)
	if err != nil {
		return "", err
	}
	if err := c.draft(inc, everyText(messages)); err != nil {
		return "", err
	}
	if blockers := inc.GetPlan().GetBlockers(); len(blockers) > 0 {
		return "", refusal("this draft cannot be approved before "+plural(uint64(len(blockers)), "thing is", "things are")+" mended", "the declarer mends what is listed above, and declares again")
	}
	question := fmt.Sprintf("Tell %s? A sent message cannot be taken back. Type yes to approve, anything else to leave:",
		plural(inc.GetPlan().GetPeople().GetReachable(), "customer", "customers"))
	return inc.GetPlanHash(), c.ask(question, "yes")
}

// additionOf returns the addition with the hash, nil if the hash is the plan's.
func additionOf(inc *candorv1.Incident, hash string) *candorv1.AdditionStatus {
	for _, a := range inc.GetAdditions() {
		if a.GetHash() == hash {
			return a
		}
	}
	return nil
}

// pendingAddition returns the addition that waits for an approval: the one with the hash, or the oldest if none is named.
func pendingAddition(inc *candorv1.Incident, hash string) *candorv1.AdditionStatus {
	for _, a := range waiting(inc) {
		if hash == "" || hash == a.GetHash() {
			return a
		}
	}
	return nil
}

// readAddition shows an addition and returns its hash if the answer is yes.
func (c *cli) readAddition(ctx context.Context, s *client, inc *candorv1.Incident, status *candorv1.AdditionStatus, full bool) (string, error) {
	a := status.GetAddition()
	c.addition(inc, status, c.setting(ctx, s, inc.GetId()), status.GetHash())
	if wave := previewed(a); wave != "" {
		resp, err := s.Preview(ctx, connect.NewRequest(&candorv1.PreviewRequest{Incident: inc.GetId(), Count: mostPreviews, Wave: wave}))
		if err != nil {
			return "", err
		}
		c.messages(everyText(resp.Msg.GetMessages()))
	}
	c.file(a, full)
	return status.GetHash(), c.ask(approvalQuestion(inc.GetId(), a)+" Type yes to approve, anything else to leave:", "yes")
}

// previewed is the wave whose words an approver of an addition reads; empty if they were read before, or there are none.
func previewed(a *candorv1.Addition) string {
	switch a.GetKind() {
	case incident.KindUpdate, incident.KindCorrection:
		return a.GetWave()
	case incident.KindClose:
		return a.GetClosing().GetBase()
	}
	return ""
}

func approvalQuestion(name string, a *candorv1.Addition) string {
	switch a.GetKind() {
	case incident.KindClose:
		var untold uint64
		for _, n := range a.GetUntold() {
			untold += n
		}
		return fmt.Sprintf("Close %s? %s untold.", name, plural(untold, "customer stays", "customers stay"))
	case incident.KindReopen:
		return fmt.Sprintf("Reopen %s? Its follow-ups go on.", name)
	}
	return fmt.Sprintf("Tell %s? A sent message cannot be taken back.", plural(a.GetCustomers(), "customer", "customers"))
}

// approved says what an approval of an addition has set off, and what to look at now.
func approved(name string, a *candorv1.Addition, at func() *setting) (what, next string) {
	head := additionName(a) + " of " + name + " is approved: "
	switch a.GetKind() {
	case incident.KindClose:
		return name + " is closing: nobody is told anything after the closing note", "candor close " + name + "   waits for the end"
	case incident.KindReopen:
		return name + " is open again", "candor timeline " + name
	case incident.KindUpdate, incident.KindCorrection:
		if a.GetAt() != nil || a.GetWithNext() {
			return head + "it goes out " + at().when(a), "candor timeline " + name
		}
	}
	return head + "people are being told", "candor watch " + name
}

// everyText keeps one message of each channel and language.
func everyText(all []*candorv1.PreviewMessage) (some []*candorv1.PreviewMessage) {
	seen := map[string]bool{}
	for _, m := range all {
		key := m.GetChannel().String() + m.GetLanguage()
		if !seen[key] {
			seen[key] = true
			some = append(some, m)
		}
	}
	return some
}

// draft shows all that an approval covers.
func (c *cli) draft(inc *candorv1.Incident, messages []*candorv1.PreviewMessage) error {
	c.out.printf("%s, declared by %s\n", c.out.paint(bold, fmt.Sprintf("Draft %d of %s", inc.GetRevision(), inc.GetId())), inc.GetDeclaredBy())
	c.messages(messages)
	c.out.line()
	if err := plan.Text(c.out, inc.GetPlan(), c.zone); err != nil {
		return err
	}
	if len(inc.GetChanges()) > 0 {
		c.out.printf("\n%s\n", c.out.paint(bold, fmt.Sprintf("What changed since revision %d", inc.GetRevision()-1)))
		for _, change := range inc.GetChanges() {
			c.out.line("  - " + wrap(change, c.out.textWidth(), "    "))
		}
	}
	return nil
}

func rejectCommand(c *cli) *cobra.Command {
	var reason, wave string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "reject ID", GroupID: groupTell, Args: id,
		Short: "Send a draft back to whoever declared it",
		Long: `Voids a draft until it is declared again. The reason is kept, and shown to
everybody who looks at the incident: say what is to be mended, and write no
customer's name, number or address into it.

What was declared already cannot be rejected: candor abort stops it. An addition
that waits for its approval can: name its wave, or close-1 for an end.`,
		Example: `  candor reject breach-2026-11 --reason "the Spanish text names the wrong phone number"
  candor reject breach-2026-11 --wave w0-r1 --reason "the carrier is still down"`,
	}
	reasonFlag(cmd, &reason)
	cmd.Flags().StringVar(&wave, "wave", "", "`WAVE` of the addition that is rejected, such as w0-r1, w3 or close-1")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.TrimSpace(reason) == "" {
			return usageError(cmd, "why? --reason says what is to be mended")
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.Reject(cmd.Context(), connect.NewRequest(&candorv1.RejectRequest{Incident: args[0], Reason: reason, Wave: wave}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg.GetIncident())
		}
		if wave != "" {
			c.out.printf("%s of %s is rejected: nothing of it happens.\n", wave, args[0])
			return nil
		}
		c.out.printf("Draft %d of %s is rejected. What next: whoever declared it mends it, and declares it again.\n", resp.Msg.GetIncident().GetRevision(), args[0])
		return nil
	}
	return cmd
}

func reasonFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "reason", "", "`WHY`, for everybody who looks at the incident")
}
