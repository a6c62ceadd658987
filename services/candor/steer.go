package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func channelFlag(cmd *cobra.Command, what string) *[]string {
	return cmd.Flags().StringArray("channel", nil, "`CHANNEL` "+what+": sms, email or call, once or several times")
}

func parseChannels(cmd *cobra.Command, names []string) ([]candorv1.Channel, error) {
	var chs []candorv1.Channel
	for _, n := range names {
		ch, ok := topology.ParseChannel(n)
		if !ok {
			return nil, usageError(cmd, "--channel %s: there are sms, email and call", n)
		}
		chs = append(chs, ch)
	}
	return chs, nil
}

func channelWords(chs []candorv1.Channel) string {
	if len(chs) == 0 || slices.Contains(chs, candorv1.Channel_CHANNEL_UNSPECIFIED) {
		return "all channels"
	}
	words := make([]string, len(chs))
	for i, ch := range chs {
		words[i] = candorv1.Word(ch)
	}
	return strings.Join(words, ", ")
}

func pauseCommand(c *cli) *cobra.Command {
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "pause ID", GroupID: groupTell, Args: id,
		Short: "Stop sending for now, on all channels or some",
		Long: `Stops the sending of an incident at the next handful of messages. One person is
enough. Nothing is lost: candor resume goes on where this stopped.

While anything is paused, even one channel and even by itself, no follow-up, update
or correction begins on any channel, and nobody moves on to a later channel.

What is at the provider already cannot be called back; how much that is, is
printed. Nor can a call that has begun: dialers hear at their next renewal not to
begin any more, and whoever works off an exported list hears nothing. How many
customers they hold is printed too; tell them.`,
		Example: `  candor pause breach-2026-11 --reason "call centre is overrun"
  candor pause breach-2026-11 --channel sms --reason "sender is blocked"`,
	}
	channels := channelFlag(cmd, "to pause, where not all")
	reasonFlag(cmd, &reason)
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		chs, err := parseChannels(cmd, *channels)
		if err != nil {
			return err
		}
		if strings.TrimSpace(reason) == "" {
			return usageError(cmd, "why? --reason tells whoever wonders why nothing moves")
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.Pause(cmd.Context(), connect.NewRequest(&candorv1.PauseRequest{Incident: args[0], Channels: chs, Reason: reason}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.out.printf("%s is paused on %s. %s at the provider already.\n",
			args[0], channelWords(resp.Msg.GetIncident().GetPausedChannels()), plural(resp.Msg.GetAtProvider(), "message was", "messages were"))
		c.callsInHand(cmd.Context(), s, args[0], resp.Msg.GetIncident().GetPausedChannels())
		c.out.printf("What next:\n  candor resume %s\n", args[0])
		return nil
	}
	return cmd
}

// callsInHand says how many customers dialers hold, and may be calling, while calls are paused. The pause stands, whether or not
// the call queue can say.
func (c *cli) callsInHand(ctx context.Context, s *client, id string, paused []candorv1.Channel) {
	if !slices.Contains(paused, candorv1.Channel_CHANNEL_CALL) && !slices.Contains(paused, candorv1.Channel_CHANNEL_UNSPECIFIED) {
		return
	}
	resp, err := s.GetQueue(ctx, connect.NewRequest(&candorv1.GetQueueRequest{Incident: id}))
	if err != nil {
		c.out.line("The call queue does not say how many customers dialers hold: candor calls queue " + id)
		return
	}
	leased := resp.Msg.GetStates()[candorv1.Word(candorv1.CallState_CALL_STATE_LEASED)]
	switch {
	case leased > 0:
		c.out.printf("Dialers hold %s: calls that have begun go on, and new ones are refused at the next renewal. Exported lists hear nothing: tell those who call from one.\n",
			plural(leased, "customer", "customers"))
	case len(resp.Msg.GetStates()) > 0:
		c.out.line("No dialer holds a customer.")
	}
}

func resumeCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "resume ID", GroupID: groupTell, Args: id,
		Short: "Go on with what was paused",
		Long: `Goes on where candor pause stopped, on all channels or on those named. Nobody who
was told is told again. Quiet hours and limits hold as before.`,
		Example: `  candor resume breach-2026-11
  candor resume breach-2026-11 --channel email`,
	}
	channels := channelFlag(cmd, "to resume, where not all")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		chs, err := parseChannels(cmd, *channels)
		if err != nil {
			return err
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.Resume(cmd.Context(), connect.NewRequest(&candorv1.ResumeRequest{Incident: args[0], Channels: chs}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg.GetIncident())
		}
		if still := resp.Msg.GetIncident().GetPausedChannels(); len(still) > 0 {
			c.out.printf("%s goes on; still paused: %s.\n", args[0], channelWords(still))
		} else {
			c.out.printf("%s goes on, on all channels.\n", args[0])
		}
		return nil
	}
	return cmd
}

func abortCommand(c *cli) *cobra.Command {
	var reason string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use: "abort ID", GroupID: groupTell, Args: id,
		Short: "End an incident for good: nobody is told after this",
		Long: `Ends an incident, draft or declared, for ever. When it answers, no message can be
sent for it any more, by anybody, whatever is restarted. Whoever was not told by
then is not told, and stands in candor status as expired.

It cannot be undone, so it asks. If you only need time, candor pause is better.
How many messages were at the provider already, and how many may have been sent
without anybody knowing, is printed.`,
		Example: `  candor abort breach-2026-11 --reason "declared with the wrong customer file"`,
	}
	reasonFlag(cmd, &reason)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
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
		if !yes {
			if err := c.mustAsk(cmd, "--yes"); err != nil {
				return err
			}
			if err := c.ask(fmt.Sprintf("End %s for ever? Whoever was not told will not be told. Type abort:", args[0]), "abort"); err != nil {
				return err
			}
		}
		resp, err := s.Abort(cmd.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: args[0], Reason: reason}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.out.printf("%s is aborted: nobody is told after this.\n", args[0])
		c.out.table("  ", [][]cell{
			{count(resp.Msg.GetAtProvider()), text("were at the provider already")},
			{count(resp.Msg.GetUncertain()), text("may have been sent; candor uncertain list " + args[0])},
		})
		c.out.printf("What next:\n  candor status %s   who was told\n  candor shred %s    destroy the customers' data, for good\n", args[0], args[0])
		return nil
	}
	return cmd
}

func shredCommand(c *cli) *cobra.Command {
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use: "shred ID", GroupID: groupTell, Args: id,
		Short: "Destroy the customers' data of an incident that has ended, for good",
		Long: `Destroys the key under which an incident's customers were sealed, and purges what
was sealed. After this nobody can read a name, number or address of them, from
the data folder or from a backup of it, as long as no backup holds the folder of
the keys. Counts and proofs stay: how many were told, when, and by whose decision.

Only an incident that was aborted or closed can be shredded. It cannot be undone,
so you are asked to type its id.`,
		Example: `  candor shred breach-2026-11`,
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		if !yes {
			if err := c.mustAsk(cmd, "--yes"); err != nil {
				return err
			}
			if err := c.ask(fmt.Sprintf("Destroy the customers' data of %s for ever? Type the incident's id:", args[0]), args[0]); err != nil {
				return err
			}
		}
		resp, err := s.Shred(cmd.Context(), connect.NewRequest(&candorv1.ShredRequest{Incident: args[0]}))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.out.printf("%s is shredded: its key is destroyed, and %s purged. Counts and proofs stay.\n",
			args[0], plural(resp.Msg.GetPagesPurged(), "sealed page was", "sealed pages were"))
		return nil
	}
	return cmd
}
