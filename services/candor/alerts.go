package main

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

func alertsCommand(c *cli) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use: "alerts [ID]", GroupID: groupWatch,
		Short: "List what the response team was told, and who has acknowledged",
		Long: `Lists what the response team of an incident, or of all, was told and nobody has
acknowledged yet: what happened, when, and to how many messages and reminders it
came. With --all also what was acknowledged or is over.

The team is reminded until somebody acknowledges with candor ack.`,
		Example: `  candor alerts
  candor alerts breach-2026-11 --all`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New("one incident at a time, or none for all")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that were acknowledged or are over")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		list, err := s.alerts(cmd.Context(), strings.Join(args, ""), all)
		if err != nil {
			return err
		}
		if asJSON {
			return c.alertsJSON(list)
		}
		if len(list) == 0 {
			c.out.line("There is no alert that nobody has acknowledged.")
			return nil
		}
		for i, a := range list {
			if i > 0 {
				c.out.line()
			}
			c.alert(a)
		}
		return nil
	}
	return cmd
}

func (s *client) alerts(ctx context.Context, name string, all bool) ([]*candorv1.Alert, error) {
	resp, err := s.ListAlerts(ctx, connect.NewRequest(&candorv1.ListAlertsRequest{Incident: name, All: all}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetAlerts(), nil
}

func (c *cli) alertsJSON(list []*candorv1.Alert) error {
	for _, a := range list {
		if err := c.proto(a); err != nil {
			return err
		}
	}
	return nil
}

// alert shows one on a few lines: they are read on narrow screens too.
func (c *cli) alert(a *candorv1.Alert) {
	w := c.out
	w.printf("%s  %s  %s  %s\n", w.paint(cyan, a.GetIncident()), w.paint(bold, a.GetId()), w.paint(alertColour(a), alertWord(a.GetKind())), w.paint(faint, c.clock(a.GetRaisedAt())))
	for _, l := range quoted(a.GetText()) {
		w.line("  " + wrap(l, w.textWidth(), "  "))
	}
	told := plural(uint64(a.GetSent()), "message", "messages") + " sent"
	if n := a.GetFailed(); n > 0 {
		told += ", " + number(uint64(n)) + " could not be"
	}
	if a.GetLastSentAt() != nil {
		told += ", the last " + c.clock(a.GetLastSentAt())
	}
	w.line("  " + w.paint(faint, told))
	switch {
	case a.GetAcknowledgedBy() != "":
		w.printf("  %s acknowledged it, %s\n", a.GetAcknowledgedBy(), c.clock(a.GetAcknowledgedAt()))
	case a.GetOver():
		w.line("  it is over: it needs nobody any more")
	default:
		w.printf("  nobody has acknowledged it: candor ack %s %s\n", a.GetIncident(), a.GetId())
	}
}

func alertWord(k candorv1.AlertKind) string {
	switch k {
	case candorv1.AlertKind_ALERT_KIND_DRAFT:
		return "waits for approval"
	case candorv1.AlertKind_ALERT_KIND_THRESHOLD:
		return "paused by itself"
	}
	return plain(candorv1.Word(k))
}

func alertColour(a *candorv1.Alert) string {
	switch {
	case a.GetAcknowledgedBy() != "" || a.GetOver():
		return faint
	case a.GetKind() == candorv1.AlertKind_ALERT_KIND_THRESHOLD, a.GetKind() == candorv1.AlertKind_ALERT_KIND_ABORTED:
		return red
	}
	return yellow
}

func ackCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "ack ID [ALERT…]", GroupID: groupWatch,
		Short: "Acknowledge alerts, so that the response team is reminded no more",
		Long: `Says for everybody that somebody takes care: the reminders of the alerts named, or of
all open ones of the incident, end. Who acknowledged is kept. It changes nothing
about the incident itself.`,
		Example: `  candor ack breach-2026-11
  candor ack breach-2026-11 paused-14`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("which incident? name its id; candor alerts lists what is open")
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
		resp, err := s.Acknowledge(cmd.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: args[0], Alerts: args[1:]}))
		if err != nil {
			return err
		}
		list := resp.Msg.GetAlerts()
		if asJSON {
			return c.alertsJSON(list)
		}
		if len(list) == 0 {
			c.out.printf("There is no open alert of %s.\n", args[0])
			return nil
		}
		for _, a := range list {
			c.out.printf("%s is acknowledged by %s: %s\n", a.GetId(), a.GetAcknowledgedBy(), strings.Join(quoted(a.GetText()), " "))
		}
		return nil
	}
	return cmd
}
