package main

import (
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func uncertainCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "uncertain", GroupID: groupWatch, Args: cobra.ArbitraryArgs, RunE: group,
		Short: "List and settle messages that may have been sent",
		Long: `A message is uncertain when the provider's answer was lost: it may have been sent.
Candor never sends it again blindly. It asks the provider where it can, and keeps
the rest for a person, or sends it again later if the playbook says so.`,
	}
	cmd.AddCommand(uncertainListCommand(c), uncertainSettleCommand(c))
	return cmd
}

func uncertainListCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list ID", Args: id,
		Short: "List the uncertain messages of an incident",
		Long: `Lists every uncertain message with the customer's own reference and code, so that
somebody can look it up at the provider or ask the customer. Names, numbers and
addresses are not shown.`,
		Example: `  candor uncertain list breach-2026-11`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		rows := [][]cell{heads("NOTICE", "CUSTOMER", "CODE", "WHY")}
		req := &candorv1.ListNoticesRequest{Incident: args[0], States: []candorv1.NoticeState{candorv1.NoticeState_NOTICE_STATE_UNCERTAIN}, Limit: 1000}
		for {
			resp, err := s.ListNotices(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			for _, n := range resp.Msg.GetNotices() {
				if asJSON {
					if err := c.proto(n); err != nil {
						return err
					}
					continue
				}
				rows = append(rows, []cell{tinted(cyan, noticeName(n.GetKey())), text(n.GetCustomerRef()), text(n.GetCode()), text(plain(n.GetReason()))})
			}
			if req.PageToken = resp.Msg.GetNextPageToken(); req.GetPageToken() == "" {
				break
			}
		}
		switch {
		case asJSON:
		case len(rows) == 1:
			c.out.printf("No message of %s is uncertain.\n", args[0])
		default:
			c.out.table("", rows)
			c.out.printf("\nWhat next: look them up at the provider, then\n  candor uncertain settle %s --sent | --resend | --give-up\n", args[0])
		}
		return nil
	}
	return cmd
}

func noticeName(k *candorv1.NoticeKey) string {
	return fmt.Sprintf("%s/%s/%d/%d", k.GetWave(), candorv1.Word(k.GetChannel()), k.GetPage(), k.GetSlot())
}

func parseNotice(s string) (*candorv1.NoticeKey, error) {
	parts := strings.Split(s, "/")
	if len(parts) == 4 {
		ch, ok := topology.ParseChannel(parts[1])
		page, err1 := strconv.ParseUint(parts[2], 10, 32)
		slot, err2 := strconv.ParseUint(parts[3], 10, 32)
		if ok && err1 == nil && err2 == nil && parts[0] != "" {
			return &candorv1.NoticeKey{Wave: parts[0], Channel: ch, Page: uint32(page), Slot: uint32(slot)}, nil
		}
	}
	return nil, fmt.Errorf("--notice %s: write wave/channel/page/slot as candor uncertain list does, such as w0/email/3/17", s)
}

func uncertainSettleCommand(c *cli) *cobra.Command {
	var sent, resend, giveUp, asJSON bool
	var notices []string
	var channel string
	cmd := &cobra.Command{
		Use: "settle ID", Args: id,
		Short: "Record what a person found out about uncertain messages",
		Long: `Records a person's word about uncertain messages, under that person's name:

  --sent     it was sent
  --resend   it was not sent: send it again
  --give-up  it was not sent, and is not tried again on this channel

With --notice it is about those messages, with --channel about every uncertain
one of a channel. A message that was settled in the meantime is left alone.

Whoever says --resend of a message that was sent has the customer told twice.`,
		Example: `  candor uncertain settle breach-2026-11 --sent --notice w0/email/3/17 --notice w0/email/3/18
  candor uncertain settle breach-2026-11 --resend --channel email`,
	}
	cmd.Flags().BoolVar(&sent, "sent", false, "they were sent")
	cmd.Flags().BoolVar(&resend, "resend", false, "they were not sent: send them again")
	cmd.Flags().BoolVar(&giveUp, "give-up", false, "they were not sent, and are not tried again here")
	cmd.Flags().StringArrayVar(&notices, "notice", nil, "`WAVE/CHANNEL/PAGE/SLOT` of a message, once or several times")
	cmd.Flags().StringVar(&channel, "channel", "", "`CHANNEL` of which every uncertain message is meant: sms or email")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := &candorv1.SettleUncertainRequest{Incident: args[0]}
		said := 0
		for s, flag := range map[candorv1.Settlement]bool{
			candorv1.Settlement_SETTLEMENT_SENT: sent, candorv1.Settlement_SETTLEMENT_RESEND: resend, candorv1.Settlement_SETTLEMENT_GIVE_UP: giveUp,
		} {
			if flag {
				said++
				req.Settlement = s
			}
		}
		if said != 1 {
			return usageError(cmd, "what became of them? say one of --sent, --resend and --give-up")
		}
		if (len(notices) == 0) == (channel == "") {
			return usageError(cmd, "which ones? name them with --notice, or all of a channel with --channel")
		}
		for _, n := range notices {
			k, err := parseNotice(n)
			if err != nil {
				return usageError(cmd, "%v", err)
			}
			req.Notices = append(req.Notices, k)
		}
		if channel != "" {
			chs, err := parseChannels(cmd, []string{channel})
			if err != nil {
				return err
			}
			req.Channel = chs[0]
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.SettleUncertain(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.out.printf("%s settled.\n", plural(resp.Msg.GetSettled(), "message is", "messages are"))
		return nil
	}
	return cmd
}
