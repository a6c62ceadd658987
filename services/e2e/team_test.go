package e2e

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/sandbox"
)

// TestTheResponseTeamIsTold follows an alert through every medium, and looks at what it does to the books.
func TestTheResponseTeamIsTold(t *testing.T) {
	t.Parallel()
	h := play(t, nil)
	box := h.app.Sandbox()
	pb, facts, err := bench.Texts(1000)
	if err != nil {
		t.Fatal(err)
	}
	pb = regexp.MustCompile(`(?m)^team:\n(?:[ ].*\n|\n)*`).ReplaceAllLiteralString(pb, "") + `
team:
  members:
    - role: commander on duty
      sms: "+12125550199"
      email: duty@team.example
  hooks:
    - name: war room
      url: ` + box.URL() + sandbox.TeamHookPath + `
      secret: ` + sandbox.DefaultConfig().TeamSecret.Reveal() + `
`
	const id, customers = "team-1", 20
	ctx := t.Context()
	digest, err := h.driver.Upload(ctx, id, strings.NewReader(crowdOf(customers, nil)), url.Values{"name": {"roster.csv"}})
	if err != nil {
		t.Fatal(err)
	}
	inc, err := h.driver.Declare(ctx, &candorv1.Declaration{Incident: id, Playbook: pb, Facts: facts, RosterDigest: digest})
	if err != nil {
		t.Fatal(err)
	}
	told := func(words string) func() bool {
		return func() bool {
			truth := box.Truth()
			posts := box.TeamPosts()
			return len(posts) > 0 && posts[0].Seal == "signed" && strings.Contains(posts[0].Text, words) && truth.SMS.MessagesWithoutID == uint64(len(posts)) &&
				truth.Email.MessagesWithoutID == uint64(len(posts))
		}
	}
	until(t, "the team knows of the draft", told("draft 1 of incident team-1 waits for a second person. Type: candor approve team-1"))
	if err := h.driver.Approve(ctx, id, inc.GetPlanHash()); err != nil {
		t.Fatal(err)
	}
	until(t, "the team knows that it is declared", told("incident team-1 was approved"))
	whole(t, h.rest(id), nil, customers)

	c := candorv1connect.NewTeamServiceClient(role(t, h.app.APIURL(), h.admin, "Vera", candorv1.Role_ROLE_VIEWER), h.app.APIURL())
	acked, err := c.Acknowledge(ctx, connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: id}))
	if err != nil || len(acked.Msg.GetAlerts()) != 1 || acked.Msg.GetAlerts()[0].GetAcknowledgedBy() != "vera" {
		t.Errorf("acknowledged %v, %v", acked, err)
	}
	all, err := c.ListAlerts(ctx, connect.NewRequest(&candorv1.ListAlertsRequest{Incident: id, All: true}))
	if err != nil || len(all.Msg.GetAlerts()) != 2 || !all.Msg.GetAlerts()[0].GetOver() || all.Msg.GetAlerts()[0].GetSent() != 3 {
		t.Errorf("alerts %v, %v", all, err)
	}
}
