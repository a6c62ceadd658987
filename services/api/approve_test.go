package api_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestTwoPeopleDeclareAnIncident(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))

	draft := h.declare(dana, h.declaration(dana, "leak-1"))
	inc := draft.GetIncident()
	if draft.GetKnown() || inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_DRAFT || inc.GetRevision() != 1 || inc.GetDeclaredBy() != "dana" {
		t.Fatalf("draft is %v", inc)
	}
	if p := inc.GetPlan(); p.GetPeople().GetReachable() == 0 || len(p.GetBlockers()) > 0 || p.GetPlanHash() != inc.GetPlanHash() {
		t.Fatalf("plan is %v", p)
	}

	inc, err := h.approve(erin, "leak-1", inc.GetPlanHash())
	if err != nil {
		t.Fatal(err)
	}
	if inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_DECLARED || inc.GetApprovedBy() != "erin" {
		t.Errorf("approved is %v", inc)
	}
	if told := h.fact(topology.FactDeclared, "leak-1"); told.GetSequence() != inc.GetSequence() || told.GetPlanHash() != inc.GetPlanHash() {
		t.Errorf("others were told %v", told)
	}
	again, err := h.approve(erin, "leak-1", inc.GetPlanHash())
	if err != nil || again.GetSequence() != inc.GetSequence() {
		t.Errorf("approving again: %v, %v", again.GetSequence(), err)
	}

	list, err := dana.incidents.ListIncidents(t.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
	if err != nil || len(list.Msg.GetIncidents()) != 1 || list.Msg.GetIncidents()[0].GetId() != "leak-1" {
		t.Errorf("list is %v, %v", list, err)
	}
}

func TestApprovalIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	both := h.as(h.token("DANA", token.Approver))

	t.Run("of one's own draft, under whatever token", func(t *testing.T) {
		draft := h.declare(dana, h.declaration(dana, "own")).GetIncident()
		_, err := h.approve(both, "own", draft.GetPlanHash())
		wantCode(t, err, connect.CodePermissionDenied, "second person")
	})
	t.Run("of a draft that was changed", func(t *testing.T) {
		d := h.declaration(dana, "changed")
		old := h.declare(dana, d).GetIncident().GetPlanHash()
		d.Facts = strings.Replace(d.GetFacts(), "NP-2026-11", "NP-2026-12", 1)
		next := h.declare(dana, d).GetIncident()
		if next.GetRevision() != 2 || next.GetPlanHash() == old || len(next.GetChanges()) == 0 {
			t.Errorf("second revision is %d with changes %q", next.GetRevision(), next.GetChanges())
		}
		_, err := h.approve(erin, "changed", old)
		wantCode(t, err, connect.CodeAborted, next.GetPlanHash())
		if _, err := h.approve(erin, "changed", next.GetPlanHash()); err != nil {
			t.Error(err)
		}
	})
	t.Run("of a rejected draft", func(t *testing.T) {
		draft := h.declare(dana, h.declaration(dana, "rejected")).GetIncident()
		resp, err := erin.incidents.Reject(t.Context(), connect.NewRequest(&candorv1.RejectRequest{Incident: "rejected", Reason: "names the wrong day"}))
		if err != nil || resp.Msg.GetIncident().GetReason() != "names the wrong day" {
			t.Fatalf("reject: %v, %v", resp, err)
		}
		_, err = h.approve(erin, "rejected", draft.GetPlanHash())
		wantCode(t, err, connect.CodeFailedPrecondition, "rejected")
	})
	t.Run("of what is not there", func(t *testing.T) {
		_, err := h.approve(erin, "nothing", strings.Repeat("0", 64))
		wantCode(t, err, connect.CodeNotFound, "candor incidents")
	})
	t.Run("of a plan with a blocker", func(t *testing.T) {
		d := h.declaration(dana, "blocked")
		up := h.upload(dana.bearer, "blocked", nil, []byte("customer_ref,email,compromised_channels\nA1,somebody@example.com,email\n"))
		d.RosterDigest = up.Digest
		draft := h.declare(dana, d).GetIncident()
		if len(draft.GetPlan().GetBlockers()) == 0 {
			t.Fatal("nobody is reachable, and nothing blocks the plan")
		}
		_, err := h.approve(erin, "blocked", draft.GetPlanHash())
		wantCode(t, err, connect.CodeFailedPrecondition, draft.GetPlan().GetBlockers()[0].GetMessage())
	})
	t.Run("when pages of the roster are gone", func(t *testing.T) {
		draft := h.declare(dana, h.declaration(dana, "gone")).GetIncident()
		if _, err := h.bus.Purge(t.Context(), topology.StreamRoster, topology.Page("gone", 0)); err != nil {
			t.Fatal(err)
		}
		_, err := h.approve(erin, "gone", draft.GetPlanHash())
		wantCode(t, err, connect.CodeFailedPrecondition, "upload it again")
		if up := h.upload(dana.bearer, "gone", nil, starter(t, "roster.csv")); up.Known {
			t.Error("a roster without its pages is said to be there")
		}
		if _, err := h.approve(erin, "gone", draft.GetPlanHash()); err != nil {
			t.Error(err)
		}
	})
}

// An approval and a change of the draft cannot pass each other: either the approval names the newest revision, or it fails.
func TestApprovalAndChangeRace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	d := h.declaration(dana, "race-0")
	for i := range 8 {
		id := "race-" + string(rune('a'+i))
		mine := &candorv1.Declaration{Incident: id, Playbook: d.GetPlaybook(), Facts: d.GetFacts(), RosterDigest: d.GetRosterDigest()}
		h.upload(dana.bearer, id, nil, starter(t, "roster.csv"))
		draft := h.declare(dana, mine).GetIncident()

		var wg sync.WaitGroup
		var approved, changed error
		wg.Go(func() { _, approved = h.approve(erin, id, draft.GetPlanHash()) })
		wg.Go(func() {
			other := &candorv1.Declaration{Incident: id, Playbook: d.GetPlaybook(), Facts: d.GetFacts() + "# later\n", RosterDigest: d.GetRosterDigest()}
			_, changed = dana.incidents.Declare(t.Context(), connect.NewRequest(&candorv1.DeclareRequest{Declaration: other}))
		})
		wg.Wait()
		if (approved == nil) == (changed == nil) {
			t.Fatalf("approval: %v; change: %v; want exactly one of them to win", approved, changed)
		}
		got, err := dana.incidents.GetIncident(t.Context(), connect.NewRequest(&candorv1.GetIncidentRequest{Incident: id}))
		if err != nil {
			t.Fatal(err)
		}
		inc := got.Msg.GetIncident()
		if declared := inc.GetState() == candorv1.IncidentState_INCIDENT_STATE_DECLARED; declared != (approved == nil) || declared && inc.GetRevision() != 1 {
			t.Errorf("after approval %v and change %v the incident is %s, revision %d", approved, changed, inc.GetState(), inc.GetRevision())
		}
	}
}

// A crash between the decision and its news: the next start tells others.
func TestSwallowedFactIsToldAtStart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	inc := h.declared(dana, erin, "crash-1")
	h.stop()
	if _, err := h.bus.Last(t.Context(), topology.StreamBreach, topology.BreachFact(topology.FactPaused, "crash-1")); err == nil {
		t.Fatal("nobody paused it yet")
	}
	log := incident.NewLog(h.bus, func() time.Time { return noon })
	now, err := log.Load(t.Context(), inc.GetId())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), now, incident.Actor{Token: "t", Person: "dana"}, &candorv1.BreachEvent{
		Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{}},
	}); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.start()
	if told := h.fact(topology.FactPaused, "crash-1"); told.GetState() != candorv1.IncidentState_INCIDENT_STATE_PAUSED {
		t.Errorf("others were told %v", told)
	}
}
