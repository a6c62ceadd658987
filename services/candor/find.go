package main

import (
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

func findCommand(c *cli) *cobra.Command {
	var incident string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "find WHO", GroupID: groupWatch,
		Short: "Show everything about one customer: what was sent, and what came back",
		Long: `Finds a customer by phone number, e-mail address, code or customer_ref, and shows
each of their notices: where it stands, the text as it was sent, and what the
provider said of it and when. Numbers and addresses are shown masked.

Somebody who looks over your shoulder at a shell's history reads what you searched
for: write - to be asked for it instead.`,
		Example: `  candor find 7K3-MP2-QD4
  candor find +15005550123 --incident breach-2026-11
  candor find - --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || strings.TrimSpace(args[0]) == "" {
				return usageError(cmd, "whom? give one phone number, e-mail address, code or customer_ref")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&incident, "incident", "", "`ID` of the incident; all if not named")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		who := args[0]
		if who == "-" {
			line, err := c.readLine("Who? ")
			if err != nil {
				return err
			}
			who = line
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.Find(cmd.Context(), connect.NewRequest(&candorv1.FindRequest{Incident: incident, Query: who}))
		if err != nil {
			return err
		}
		found := resp.Msg.GetCustomers()
		if asJSON {
			err = c.proto(resp.Msg)
		} else {
			for _, f := range found {
				c.found(f)
			}
		}
		if err == nil && len(found) == 0 {
			return &failure{code: exitNothing, what: "nobody is found by that", remedy: "numbers need their country code, like +15005550123; candor incidents lists where to search"}
		}
		return err
	}
	return cmd
}

func (c *cli) found(f *candorv1.FoundCustomer) {
	w := c.out
	w.printf("%s  %s  code %s\n", w.paint(bold, quoted(f.GetCustomerRef())[0]), w.paint(cyan, f.GetIncident()), f.GetCode())
	w.printf("%s\n", w.paint(faint, strings.Join([]string{f.GetLanguage(), f.GetTimeZone(), strings.Join(append(f.GetPhones(), f.GetEmail()), " ")}, ", ")))
	if f.GetAskedForCall() {
		w.line(w.paint(yellow, "asked to be called"))
	}
	for _, n := range f.GetNotices() {
		state := candorv1.Word(n.GetState())
		if n.GetState() == candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED { // who opted out of a channel that nothing came by
			state = "no notice"
		}
		w.printf("\n%s  %s", w.paint(bold, "Wave "+n.GetKey().GetWave()+", "+candorv1.Word(n.GetKey().GetChannel())), w.paint(noticeColour(n.GetState()), state))
		if n.GetReason() != "" {
			w.printf(": %s", plain(n.GetReason()))
		}
		w.line()
		var rows [][]cell
		for _, e := range n.GetEvents() {
			detail := plain(e.GetReason())
			if e.GetMessageId() != "" {
				detail = strings.TrimSpace(detail + " " + e.GetMessageId())
			}
			rows = append(rows, []cell{tinted(faint, c.clock(e.GetAt())), text(e.GetWhat()), tinted(faint, strings.TrimSpace(e.GetProvider()+" "+e.GetBy())), tinted(faint, detail)})
		}
		w.table("  ", rows)
		if n.GetSubject() != "" {
			w.printf("  %s\n", w.paint(bold, quoted(n.GetSubject())[0]))
		}
		if n.GetText() != "" {
			for _, line := range quoted(n.GetText()) {
				w.line("  │ " + wrap(line, w.textWidth()-4, "  │ "))
			}
		}
	}
	w.line()
}
