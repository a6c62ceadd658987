package main

import (
	"errors"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

func deadletterCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "deadletter", GroupID: groupWatch, Args: cobra.ArbitraryArgs, RunE: group,
		Short: "List and replay work that waits for a person",
		Long: `A dead letter is a page of customers on one channel that cannot be worked off
until a person mends the cause, such as an account that the provider refuses.
Nobody on it is forgotten: it keeps the incident from being complete.`,
	}
	cmd.AddCommand(deadletterListCommand(c), deadletterReplayCommand(c))
	return cmd
}

func deadletterListCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list [ID]", Args: cobra.MaximumNArgs(1),
		Short: "List dead letters, of an incident or of all",
		Long: `Lists dead letters with the reason, since when they wait, and how many messages
wait in them.`,
		Example: `  candor deadletter list breach-2026-11`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := &candorv1.ListDeadLettersRequest{}
		if len(args) == 1 {
			req.Incident = args[0]
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.ListDeadLetters(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		rows := [][]cell{heads("INCIDENT", "WAVE", "CHANNEL", "PAGE", "OPEN", "SINCE", "WHY")}
		rows[0][3].right, rows[0][4].right = true, true
		for _, d := range resp.Msg.GetDeadLetters() {
			if asJSON {
				if err := c.proto(d); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []cell{
				tinted(cyan, d.GetIncident()), text(d.GetKey().GetWave()), text(candorv1.Word(d.GetKey().GetChannel())),
				count(uint64(d.GetKey().GetPage())), count(d.GetOpenNotices()), text(c.clock(d.GetAt())), tinted(red, plain(d.GetReason())),
			})
		}
		switch {
		case asJSON:
		case len(rows) == 1:
			c.out.line("There is no dead letter: nothing waits for a person.")
		default:
			c.out.table("", rows)
			c.out.line("\nWhat next: mend the cause, then candor deadletter replay ID")
		}
		return nil
	}
	return cmd
}

func deadletterReplayCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "replay ID",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("of which incident? candor deadletter list shows them")
			}
			return id(cmd, args)
		},
		Short: "Take the dead letters of an incident back into work",
		Long: `Takes all dead letters of an incident back into work, under your name. Mend the
cause first: otherwise they come back. Whoever was told is not told again.`,
		Example: `  candor deadletter replay breach-2026-11`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.ReplayDeadLetters(cmd.Context(), connect.NewRequest(&candorv1.ReplayDeadLettersRequest{Incident: args[0]}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.out.printf("%s back in work.\n", plural(resp.Msg.GetReplayed(), "dead letter is", "dead letters are"))
		return nil
	}
	return cmd
}
