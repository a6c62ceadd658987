package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

func incidentsCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "incidents", GroupID: groupWatch, Args: none,
		Short: "List all incidents, from draft to shredded",
		Long: `Lists every incident: where it stands, which revision, who declared and who
approved it, and since when.`,
		Example: `  candor incidents
  candor incidents --json | jq -r 'select(.state == "INCIDENT_STATE_DRAFT").id'`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.ListIncidents(cmd.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
		if err != nil {
			return err
		}
		return c.incidents(resp.Msg.GetIncidents(), asJSON)
	}
	return cmd
}

func (c *cli) incidents(list []*candorv1.Incident, asJSON bool) error {
	if asJSON {
		for _, inc := range list {
			if err := c.proto(inc); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		c.out.line("There is no incident. candor declare makes one.")
		return nil
	}
	rows := [][]cell{heads("INCIDENT", "STATE", "REVISION", "DECLARED BY", "APPROVED BY", "SINCE", "WHY")}
	rows[0][2].right = true
	for _, inc := range list {
		since := inc.GetDraftedAt()
		if inc.GetDeclaredAt() != nil {
			since = inc.GetDeclaredAt()
		}
		if inc.GetClosedAt() != nil {
			since = inc.GetClosedAt()
		}
		state := candorv1.Word(inc.GetState())
		if inc.GetState() == candorv1.IncidentState_INCIDENT_STATE_PAUSED {
			state += ": " + channelWords(inc.GetPausedChannels())
		}
		approved := inc.GetApprovedBy()
		if approved == "" {
			approved = "—"
		}
		rows = append(rows, []cell{
			tinted(cyan, inc.GetId()), tinted(stateColour(inc.GetState()), state), right(strconv.Itoa(int(inc.GetRevision()))),
			text(inc.GetDeclaredBy()), text(approved), text(c.clock(since)), text(standing(inc)),
		})
	}
	c.out.table("", rows)
	return nil
}

// standing is why an incident is where it is, and what of it waits for a person.
func standing(inc *candorv1.Incident) string {
	parts := []string{inc.GetReason()}
	if d := inc.GetAsks(); d != nil {
		parts = append(parts, "follow-up "+d.GetName()+" asks")
	}
	if n := len(waiting(inc)); n > 0 {
		parts = append(parts, plural(uint64(n), "addition waits", "additions wait")+" for approval")
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

func stateColour(s candorv1.IncidentState) string {
	switch s {
	case candorv1.IncidentState_INCIDENT_STATE_DECLARED:
		return green
	case candorv1.IncidentState_INCIDENT_STATE_CLOSING:
		return cyan
	case candorv1.IncidentState_INCIDENT_STATE_DRAFT, candorv1.IncidentState_INCIDENT_STATE_PAUSED:
		return yellow
	case candorv1.IncidentState_INCIDENT_STATE_REJECTED, candorv1.IncidentState_INCIDENT_STATE_ABORTING, candorv1.IncidentState_INCIDENT_STATE_ABORTED:
		return red
	}
	return faint
}

func (s *client) incident(ctx context.Context, name string) (*candorv1.Incident, error) {
	resp, err := s.GetIncident(ctx, connect.NewRequest(&candorv1.GetIncidentRequest{Incident: name}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetIncident(), nil
}

// completeID offers the ids of incidents to the shell.
func (c *cli) completeID(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 || c.fromEnvironment(cmd) != nil {
		return nil, nothing
	}
	r := &remote{}
	r.server, _ = cmd.Flags().GetString("server")        // a flag that is not there is empty, and nothing is offered
	r.tokenFile, _ = cmd.Flags().GetString("token-file") // as above
	s, err := c.connect(cmd, r)
	if err != nil {
		return nil, nothing
	}
	resp, err := s.ListIncidents(cmd.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
	if err != nil {
		return nil, nothing
	}
	var ids []string
	for _, inc := range resp.Msg.GetIncidents() {
		ids = append(ids, inc.GetId()+"\t"+candorv1.Word(inc.GetState()))
	}
	return ids, nothing
}
