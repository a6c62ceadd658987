package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/api"
)

// add adds rows that must be taken, and returns their addition, if there is one.
func (h *house) add(bearer, incident, file string) (*api.AddedRows, *candorv1.AdditionStatus) {
	h.t.Helper()
	status, body := h.putTo(bearer, incident+"/rows", nil, strings.NewReader(file))
	if status != http.StatusOK {
		h.t.Fatalf("rows: %d %s", status, body)
	}
	up, add := &api.AddedRows{}, &candorv1.AdditionStatus{}
	err := json.Unmarshal(body, up)
	if err == nil && len(up.Addition) > 0 {
		err = protojson.Unmarshal(up.Addition, add)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return up, add
}

// more are rows of which the first is on file already.
const more = "customer_ref,given_name,email,phone,language,country,region\n" +
	"C000003,Testgiven3,canary3@example.com,+12125550003,en,US,NY\n" +
	"N-1,Testnew1,new1@example.com,+12125550771,en,US,NY\n" +
	"N-2,Testnew2,new2@example.com,,es,US,NY\n" +
	"N-3,Testnew3,,,en,US,NY\n"

func TestRowsAreAdded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 10)
	if found, err := dana.find(t, "leak-1", "C000003"); err != nil || len(found.GetCustomers()) != 1 { // the index is there
		t.Fatal(found, err)
	}
	up, add := h.add(dana.bearer, "leak-1", more)
	a := add.GetAddition()
	if up.Known || up.OnFile != 1 || up.Report.Customers != 2 || len(up.Report.OnFileRows) != 1 || up.Report.OnFileRows[0].Row != 2 {
		t.Errorf("rows were taken as %+v, %+v", up, up.Report)
	}
	if a.GetWave() != "w0-a1" || a.GetKind() != "roster" || a.GetBase() != "w0" || a.GetCustomers() != 2 || a.GetRosterDigest() != up.Digest || len(add.GetHash()) != 64 ||
		a.GetAdded().GetRows() != 4 || a.GetAdded().GetCustomers() != 2 || a.GetAdded().GetMerged() != 1 || a.GetAdded().GetRejected() != 1 ||
		a.GetPlan().GetWave() != "w0-a1" || a.GetPlan().GetChannels()[0].GetNotices() != 1 || len(a.GetChannels()) != 2 {
		t.Errorf("drafted %v", add)
	}
	// The same file again is the same addition, and leaves nothing behind.
	left := h.pages("leak-1")
	if again, same := h.add(dana.bearer, "leak-1", more); !again.Known || same.GetHash() != add.GetHash() || h.pages("leak-1") != left {
		t.Errorf("again: %+v, %v, %d subjects", again, same, h.pages("leak-1"))
	}
	// Whoever waits to be added is on file for others.
	if others, none := h.add(dana.bearer, "leak-1", "customer_ref,email\nN-1,new1@example.com\n"); others.OnFile != 1 || none.GetHash() != "" || others.Known {
		t.Errorf("others: %+v, %v", others, none)
	}
	if found, err := dana.find(t, "leak-1", "N-1"); err != nil || len(found.GetCustomers()) != 0 {
		t.Errorf("before the approval: %v, %v", found, err)
	}
	preview, err := erin.incidents.Preview(t.Context(), connect.NewRequest(&candorv1.PreviewRequest{Incident: "leak-1", Count: 5, Wave: "w0-a1"}))
	if err != nil || len(preview.Msg.GetMessages()) != 3 || preview.Msg.GetMessages()[0].GetCustomerRef() != "N-1" {
		t.Errorf("preview: %v, %v", preview, err)
	}
	approved, err := h.approve(erin, "leak-1", add.GetHash())
	if err != nil {
		t.Fatal(err)
	}
	h.factAt(topology.FactUpdated, approved)
	found, err := dana.find(t, "leak-1", "+12125550771")
	if err != nil || len(found.GetCustomers()) != 1 || found.GetCustomers()[0].GetCustomerRef() != "N-1" {
		t.Errorf("after the approval: %v, %v", found, err)
	}
	roster, err := erin.incidents.GetRoster(t.Context(), connect.NewRequest(&candorv1.GetRosterRequest{Incident: "leak-1"}))
	if m := roster.Msg.GetManifest(); err != nil || m.GetCustomers() != 12 || m.GetRows() != 14 || len(m.GetPages()) != 4 || m.GetUsable()["email"] != 12 || m.GetUsable()["sms"] != 11 {
		t.Errorf("roster: %v, %v", m, err)
	}
	if up, none := h.add(dana.bearer, "leak-1", string(rows(10))); up.OnFile != 10 || none.GetHash() != "" || up.Known {
		t.Errorf("everybody again: %+v, %v", up, none)
	}
}

func TestRejectedRowsArePurged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 10)
	before := h.pages("leak-1")
	_, add := h.add(dana.bearer, "leak-1", more)
	if got := h.pages("leak-1"); got != before+3 {
		t.Errorf("%d subjects, want %d", got, before+3)
	}
	reject := func(wave string) {
		t.Helper()
		if _, err := erin.incidents.Reject(t.Context(), connect.NewRequest(&candorv1.RejectRequest{Incident: "leak-1", Wave: wave, Reason: "wrong file"})); err != nil {
			t.Fatal(err)
		}
	}
	reject("w0-a1")
	reject("w0-a1")
	if got := h.pages("leak-1"); got != before {
		t.Errorf("%d subjects are left, want %d", got, before)
	}
	_, err := h.approve(erin, "leak-1", add.GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "rejected", "candor roster add")

	// The same file can come again, on pages and under a manifest that nothing remembers.
	up, second := h.add(dana.bearer, "leak-1", more)
	if up.Known || second.GetAddition().GetWave() != "w0-a2" || second.GetAddition().GetManifest() == add.GetAddition().GetManifest() {
		t.Errorf("again: %+v, %v", up, second)
	}
	// Pages that are gone are not approved.
	if _, err := h.bus.Purge(t.Context(), topology.StreamRoster, topology.Page("leak-1", up.Report.Pages[0].Number)); err != nil {
		t.Fatal(err)
	}
	_, err = h.approve(erin, "leak-1", second.GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "1 pages", "gone")
}

// Two processes take the same rows in at the same moment: the second one is not approved after the first.
func TestRowsAreNotApprovedTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 10)
	_, first := h.add(dana.bearer, "leak-1", more)
	twin := first.GetAddition()
	twin.Wave = "w0-a2"
	h.happen("leak-1", &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: twin, Hash: bytes.Repeat([]byte{7}, 32)}}})
	if _, err := h.approve(erin, "leak-1", first.GetHash()); err != nil {
		t.Fatal(err)
	}
	_, err := h.approve(erin, "leak-1", strings.Repeat("07", 32))
	wantCode(t, err, connect.CodeFailedPrecondition, "2 of the 2 customers", "candor roster add")
}

func TestRowsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin, mac := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver)), h.as(h.token("Mac", token.Machine))
	h.declare(dana, h.declaration(dana, "draft"))
	h.told(dana, erin, "leak-1", 10)
	h.told(dana, erin, "closed", 10)
	h.happen("closed", &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{}}})
	before := h.pages("leak-1")
	for _, tt := range []struct {
		name, bearer, id, file string
		status                 int
		says                   string
	}{
		{"nobody", "", "leak-1", more, http.StatusUnauthorized, "token"},
		{"a machine", mac.bearer, "leak-1", more, http.StatusForbidden, "roles machine"},
		{"unknown", dana.bearer, "none", more, http.StatusNotFound, "no incident none"},
		{"a draft", dana.bearer, "draft", more, http.StatusBadRequest, "upload its roster again"},
		{"closing", dana.bearer, "closed", more, http.StatusBadRequest, "is closing"},
		{"no file", dana.bearer, "leak-1", "", http.StatusBadRequest, "empty"},
		{"unknown words", dana.bearer, "leak-1", "customer_ref,email,data_exposed\nN-1,n1@example.com,tarjeta_xyz\n", http.StatusBadRequest, "tarjeta_xyz"},
	} {
		status, body := h.putTo(tt.bearer, tt.id+"/rows", nil, strings.NewReader(tt.file))
		if status != tt.status || !strings.Contains(string(body), tt.says) {
			t.Errorf("%s: %d %s, want %d %s", tt.name, status, body, tt.status, tt.says)
		}
	}
	if got := h.pages("leak-1"); got != before {
		t.Errorf("%d subjects are left, want %d", got, before)
	}
}
