package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/playbook"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/team"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// The addresses of a team, and what nobody must find of them.
const (
	teamSMS    = "+447400123456"
	teamMail   = "duty.officer@team.example"
	teamURL    = "https://chat.example/services/T0SECRETPATH"
	teamSecret = "what-the-hook-is-signed-with"
)

var teamNeedles = []string{teamSMS, teamSMS[1:], teamMail, "T0SECRETPATH", teamSecret}

const teamSection = `
team:
  members:
    - role: commander on duty
      sms: "` + teamSMS + `"
      email: ` + teamMail + `
  hooks:
    - name: war room
      url: ` + teamURL + `
      secret: ` + teamSecret + `
`

// withTeam replaces the team of a playbook.
func withTeam(text, section string) string {
	var kept strings.Builder
	inTeam := false
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" && !strings.ContainsRune(" #-", rune(line[0])) {
			inTeam = strings.HasPrefix(line, "team:")
		}
		if !inTeam {
			kept.WriteString(line)
		}
	}
	return kept.String() + section
}

func (h *house) team(bearer string) candorv1connect.TeamServiceClient {
	return candorv1connect.NewTeamServiceClient(h.client, h.url, connect.WithInterceptors(withBearer(bearer)))
}

// findAddresses looks through every stream and the log.
func (h *house) findAddresses(also ...string) {
	h.t.Helper()
	look := func(where string, data []byte) {
		for _, needle := range append(teamNeedles, also...) {
			if bytes.Contains(data, []byte(needle)) {
				h.t.Errorf("%s holds %s", where, needle)
			}
		}
	}
	seen := 0
	for _, stream := range []string{
		topology.StreamBreach, topology.StreamRoster, topology.StreamOrders, topology.StreamJournal, topology.StreamTeam, topology.StreamTimetable,
	} {
		_, err := h.bus.Read(h.t.Context(), stream, "", 1, func(m bus.Stored) error {
			seen++
			look(stream+" "+m.Subject, append([]byte(m.Subject), m.Data...))
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	if seen < 3 {
		h.t.Errorf("%d messages: this looks in the wrong place", seen)
	}
	look("the log", []byte(h.log.String()))
}

// sealedTeam opens what a draft names.
func (h *house) sealedTeam(id string) map[string]string {
	h.t.Helper()
	inc, err := incident.NewLog(h.bus, nil).Load(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	subject := inc.Draft.GetTeam()
	if !topology.IsTeamAddresses(subject) {
		h.t.Fatalf("the draft names %q", subject)
	}
	m, err := h.bus.Last(h.t.Context(), topology.StreamRoster, subject)
	if err != nil {
		h.t.Fatal(err)
	}
	keys, err := h.vault.Incident(id)
	if err != nil {
		h.t.Fatal(err)
	}
	plain, err := keys.Open(subject, m.Data)
	if err != nil {
		h.t.Fatal(err)
	}
	all := &candorv1.TeamAddresses{}
	if err := proto.Unmarshal(plain, all); err != nil {
		h.t.Fatal(err)
	}
	return all.GetAddresses()
}

func TestTheTeamsAddressesAreSealed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	d := h.declaration(dana, "leak-1")
	d.Playbook = withTeam(d.GetPlaybook(), teamSection)
	first := h.declare(dana, d)
	if first.GetKnown() {
		t.Fatal("the first declaration is known")
	}
	sealed := h.sealedTeam("leak-1")
	values := map[string]bool{}
	for mark, address := range sealed {
		if !playbook.IsMark(mark) {
			t.Errorf("mark %q", mark)
		}
		values[address] = true
	}
	if len(sealed) != 4 || !values[teamSMS] || !values[teamMail] || !values[teamURL] || !values[teamSecret] {
		t.Errorf("sealed are %d addresses: %v", len(sealed), values)
	}

	// The same content is the same draft, by NATS too, and with the marks in it that are stored.
	if again := h.declare(dana, d); !again.GetKnown() || again.GetIncident().GetPlanHash() != first.GetIncident().GetPlanHash() {
		t.Errorf("declared again: %v", again.GetIncident().GetPlanHash())
	}
	request, err := protojson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := h.bus.Request(t.Context(), topology.Declare, request, map[string]string{"Candor-Token": dana.bearer})
	resp := &candorv1.DeclareResponse{}
	if err != nil || protojson.Unmarshal(reply.Data, resp) != nil || !resp.GetKnown() {
		t.Errorf("by NATS: %s, %v", reply.Data, err)
	}
	inc, err := incident.NewLog(h.bus, nil).Load(t.Context(), "leak-1")
	if err != nil {
		t.Fatal(err)
	}
	if copied := h.declare(dana, inc.Draft.GetDeclaration()); !copied.GetKnown() {
		t.Error("the stored declaration is another one")
	}
	if _, err := h.approve(erin, "leak-1", first.GetIncident().GetPlanHash()); err != nil {
		t.Error(err)
	}
	h.findAddresses()

	// Marks go with the incident's key: what lies on two incidents does not tell that they share a team.
	other := h.declaration(dana, "leak-2")
	other.Playbook = d.GetPlaybook()
	h.declare(dana, other)
	for mark := range h.sealedTeam("leak-2") {
		if sealed[mark] != "" {
			t.Errorf("two incidents share the mark %s", mark)
		}
	}
	h.findAddresses()
}

func TestARevisedTeamIsSealedAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	d := h.declaration(dana, "leak-1")
	plain := d.GetPlaybook()
	d.Playbook = withTeam(plain, teamSection)
	h.declare(dana, d)
	// Somebody takes the stored playbook, with its marks, and adds a member.
	inc, err := incident.NewLog(h.bus, nil).Load(t.Context(), "leak-1")
	if err != nil {
		t.Fatal(err)
	}
	const newcomer = "newcomer@team.example"
	stored := inc.Draft.GetDeclaration().GetPlaybook()
	hooks := strings.LastIndex(stored, "  hooks:\n")
	d.Playbook = stored[:hooks] + "    - role: second\n      email: " + newcomer + "\n" + stored[hooks:]
	if r := h.declare(dana, d).GetIncident(); r.GetRevision() != 2 {
		t.Errorf("revision %d", r.GetRevision())
	}
	if sealed := h.sealedTeam("leak-1"); len(sealed) != 5 {
		t.Errorf("%d addresses are sealed, want the four and the newcomer's", len(sealed))
	}
	// And then the team is dropped.
	d.Playbook = withTeam(plain, "")
	h.declare(dana, d)
	if inc, err = incident.NewLog(h.bus, nil).Load(t.Context(), "leak-1"); err != nil || inc.Draft.GetTeam() != "" {
		t.Errorf("names %q, %v", inc.Draft.GetTeam(), err)
	}
	h.findAddresses(newcomer)

	// An upload still finds its way among what lies in the roster.
	h.upload(dana.bearer, "leak-1", nil, rows(20))
}

func TestATeamThatIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	d := h.declaration(dana, "leak-1")
	plain := d.GetPlaybook()
	for _, tt := range []struct {
		name, id, section string
		code              connect.Code
		says              string
	}{
		{"a mark that nobody made", "leak-1", strings.Replace(teamSection, teamMail, `"sealed:0123456789abcdef"`, 1), connect.CodeInvalidArgument, "sealed:0123456789abcdef"},
		{"an address with a mistake", "leak-1", strings.Replace(teamSection, teamMail, teamMail+"@again", 1), connect.CodeInvalidArgument, "email"},
		{"an address in a comment", "leak-1", teamSection + "\n# was " + teamMail + "\n", connect.CodeInvalidArgument, "team"},
		{"no roster yet", "leak-9", teamSection, connect.CodeFailedPrecondition, "upload it first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := proto.CloneOf(d)
			q.Incident, q.Playbook = tt.id, withTeam(plain, tt.section)
			_, err := dana.incidents.Declare(t.Context(), connect.NewRequest(&candorv1.DeclareRequest{Declaration: q}))
			wantCode(t, err, tt.code, tt.says)
			for _, needle := range teamNeedles {
				if strings.Contains(err.Error(), needle) {
					t.Errorf("the error names %s: %v", needle, err)
				}
			}
		})
	}
	q := proto.CloneOf(d)
	q.Playbook, q.Facts = withTeam(plain, teamSection), q.GetFacts()+"\n# "+strings.ToUpper(teamMail)+"\n"
	_, err := dana.incidents.Declare(t.Context(), connect.NewRequest(&candorv1.DeclareRequest{Declaration: q}))
	wantCode(t, err, connect.CodeInvalidArgument, "the facts hold an address")
	h.findAddresses()
}

func TestARequestThatCannotBeReadIsNotRepeated(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.token("Dana", token.Commander)
	quoted, err := json.Marshal(teamSection)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for name, body := range map[string]string{"a playbook": string(quoted), "a playbook in place of a declaration": `{"declaration":` + string(quoted) + `}`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+candorv1connect.IncidentServiceDeclareProcedure, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Authorization": {"Bearer " + bearer}, "Content-Type": {"application/json"}}
		resp, err := h.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s, %v", name, resp.Status, err)
		}
		said[name] = string(answer)
	}
	_, err = h.bus.Request(t.Context(), topology.Declare, quoted, map[string]string{"Candor-Token": bearer, "Content-Type": "application/json"})
	said["by NATS"] = err.Error()
	said["the log"] = h.log.String()
	for name, text := range said {
		if name != "the log" && !strings.Contains(text, "line 1:") {
			t.Errorf("%s: it does not say where: %s", name, text)
		}
		for _, needle := range teamNeedles {
			if strings.Contains(text, needle) {
				t.Errorf("%s: the answer repeats %s: %s", name, needle, text)
			}
		}
	}
}

// alerts is a team that was told of a draft and of two pauses, of which one is over.
func (h *house) alerts(id string) {
	h.t.Helper()
	log := team.NewLog(h.bus, h.now)
	b := team.NewBoard(id)
	for _, e := range []*candorv1.TeamEvent{
		{Event: &candorv1.TeamEvent_Raised{Raised: &candorv1.AlertRaised{Alert: &candorv1.Alert{Id: "draft-1", Incident: id, Kind: candorv1.AlertKind_ALERT_KIND_DRAFT}}}},
		{Event: &candorv1.TeamEvent_Raised{Raised: &candorv1.AlertRaised{Alert: &candorv1.Alert{Id: "paused-2", Incident: id, Kind: candorv1.AlertKind_ALERT_KIND_PAUSED}}}},
		{Event: &candorv1.TeamEvent_Raised{Raised: &candorv1.AlertRaised{Alert: &candorv1.Alert{Id: "threshold-3", Incident: id, Kind: candorv1.AlertKind_ALERT_KIND_THRESHOLD}}}},
		{Event: &candorv1.TeamEvent_Over{Over: &candorv1.AlertOver{Alert: "paused-2"}}},
	} {
		if err := log.Append(h.t.Context(), b, e); err != nil {
			h.t.Fatal(err)
		}
	}
}

func ids(alerts []*candorv1.Alert) string {
	var all []string
	for _, a := range alerts {
		id := a.GetIncident() + "/" + a.GetId()
		if a.GetAcknowledgedBy() != "" {
			id += " by " + a.GetAcknowledgedBy()
		}
		all = append(all, id)
	}
	return strings.Join(all, ", ")
}

func TestSomebodyAcknowledges(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, vera := h.as(h.token("Dana", token.Commander)), h.token("Vera", token.Viewer)
	for _, id := range []string{"leak-1", "leak-2"} {
		h.declare(dana, h.declaration(dana, id))
		h.alerts(id)
	}
	c := h.team(vera)
	list := func(q *candorv1.ListAlertsRequest) string {
		t.Helper()
		resp, err := c.ListAlerts(t.Context(), connect.NewRequest(q))
		if err != nil {
			t.Fatal(err)
		}
		return ids(resp.Msg.GetAlerts())
	}
	if got := list(&candorv1.ListAlertsRequest{}); got != "leak-1/draft-1, leak-1/threshold-3, leak-2/draft-1, leak-2/threshold-3" {
		t.Errorf("open are %s", got)
	}
	one, err := c.Acknowledge(t.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: "leak-1", Alerts: []string{"draft-1"}}))
	if err != nil || ids(one.Msg.GetAlerts()) != "leak-1/draft-1 by vera" {
		t.Errorf("acknowledged %v, %v", one, err)
	}
	all, err := h.team(dana.bearer).Acknowledge(t.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: "leak-1"}))
	if err != nil || ids(all.Msg.GetAlerts()) != "leak-1/threshold-3 by dana" {
		t.Errorf("acknowledged %v, %v", all, err)
	}
	// Whoever was first stays it.
	if _, err := h.team(dana.bearer).Acknowledge(t.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: "leak-1", Alerts: []string{"draft-1"}})); err != nil {
		t.Error(err)
	}
	if got := list(&candorv1.ListAlertsRequest{Incident: "leak-1", All: true}); got != "leak-1/draft-1 by vera, leak-1/paused-2, leak-1/threshold-3 by dana" {
		t.Errorf("all are %s", got)
	}
	if got := list(&candorv1.ListAlertsRequest{Incident: "leak-1"}); got != "" {
		t.Errorf("open are %s", got)
	}
	none, err := c.Acknowledge(t.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: "leak-1"}))
	if err != nil || len(none.Msg.GetAlerts()) != 0 {
		t.Errorf("acknowledged %v, %v", none, err)
	}

	_, err = c.Acknowledge(t.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: "leak-2", Alerts: []string{"draft-7"}}))
	wantCode(t, err, connect.CodeNotFound, "draft-7", "candor alerts leak-2")
	_, err = c.Acknowledge(t.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: "nothing"}))
	wantCode(t, err, connect.CodeNotFound)
	_, err = c.ListAlerts(t.Context(), connect.NewRequest(&candorv1.ListAlertsRequest{Incident: "nothing"}))
	wantCode(t, err, connect.CodeNotFound)
	_, err = h.team(h.token("Dialer", token.Dialer)).Acknowledge(t.Context(), connect.NewRequest(&candorv1.AcknowledgeRequest{Incident: "leak-2"}))
	wantCode(t, err, connect.CodePermissionDenied)
	_, err = h.team("").ListAlerts(t.Context(), connect.NewRequest(&candorv1.ListAlertsRequest{}))
	wantCode(t, err, connect.CodeUnauthenticated)
}
