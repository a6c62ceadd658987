package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"candor/pkg/roster"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

var fieldOptions = url.Values{
	"default_country": {"US"}, "default_zone": {"America/New_York"}, "default_language": {"es"}, "name": {"roster-field-es.csv"},
}

func TestFieldFileIsUploaded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	up := h.upload(dana.bearer, "field", fieldOptions, fieldFile(t))
	r := up.Report
	if r.Customers != 397 || r.Merged != 1 || r.Rejected != 2 || r.Rows != 400 || len(up.Digest) != 64 || up.Known || len(r.Rejects) != 2 {
		t.Errorf("upload answers %+v", up)
	}
	// What lies in the stream is sealed: nothing of the file can be read there.
	stored := h.rosterBytes("field")
	for _, canary := range []string{"cliente0@example.com", "2125550100", "cliente396", "Ortiz"} {
		if bytes.Contains(stored, []byte(canary)) {
			t.Errorf("%q lies in ROSTER in the clear", canary)
		}
	}
	if len(stored) == 0 {
		t.Fatal("nothing was stored")
	}

	pages := h.pages("field")
	again := h.upload(dana.bearer, "field", fieldOptions, fieldFile(t))
	if !again.Known || again.Digest != up.Digest {
		t.Errorf("the same file again: known %v, digest %s", again.Known, again.Digest)
	}
	if got := h.pages("field"); got != pages {
		t.Errorf("the same file again leaves %d subjects, want %d", got, pages)
	}
	other := h.upload(dana.bearer, "field", fieldOptions, rows(5))
	if other.Known || other.Report.Pages[0].Number < uint32(len(r.Pages)) {
		t.Errorf("another file uses page %d again", other.Report.Pages[0].Number)
	}
}

// rosterBytes is all that ROSTER holds for an incident.
func (h *house) rosterBytes(incident string) []byte {
	h.t.Helper()
	subjects, err := h.bus.CountSubjects(h.t.Context(), topology.StreamRoster, topology.Pages(incident))
	if err != nil {
		h.t.Fatal(err)
	}
	var all []byte
	for subject := range subjects {
		m, err := h.bus.Last(h.t.Context(), topology.StreamRoster, subject)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, m.Data...)
	}
	return all
}

// pages counts what ROSTER holds for an incident.
func (h *house) pages(incident string) int {
	h.t.Helper()
	subjects, err := h.bus.CountSubjects(h.t.Context(), topology.StreamRoster, topology.Pages(incident))
	if err != nil {
		h.t.Fatal(err)
	}
	return len(subjects)
}

// cut is a body whose sender dies in the middle.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("connection reset")
	}
	return n, err
}

func TestUploadThatDidNotComeToItsEndIsClearedAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	// Pages that a crash left: sealed, and covered by no manifest.
	before := h.upload(dana.bearer, "crashed", nil, rows(2500))
	if _, err := h.bus.Purge(t.Context(), topology.StreamRoster, "roster.crashed.manifest-"+before.Digest[:16]); err != nil {
		t.Fatal(err)
	}
	_, err := dana.incidents.Declare(t.Context(), connect.NewRequest(&candorv1.DeclareRequest{Declaration: &candorv1.Declaration{
		Incident: "crashed", Playbook: string(starter(t, "playbook.yaml")), Facts: string(starter(t, "facts.yaml")), RosterDigest: before.Digest,
	}}))
	wantCode(t, err, connect.CodeFailedPrecondition, "upload it first")

	after := h.upload(dana.bearer, "crashed", nil, rows(2500))
	if got, want := h.pages("crashed"), len(after.Report.Pages)+1; got != want {
		t.Errorf("after the next upload there are %d subjects, want its %d pages and one manifest", got, want-1)
	}
	if first := after.Report.Pages[0].Number; first != uint32(len(before.Report.Pages)) {
		t.Errorf("the next upload starts with page %d, want one that was never used", first)
	}
}

// putWhenFree uploads as soon as the api has noticed that an earlier upload ended.
func (h *house) putWhenFree(bearer, incident string, query url.Values, body string) (int, []byte) {
	h.t.Helper()
	for {
		if status, answer := h.put(bearer, incident, query, strings.NewReader(body)); status != http.StatusConflict {
			return status, answer
		}
	}
}

func TestBrokenUploadsLeaveNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	file := rows(3000)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.url+"/v1/incidents/broken/roster", cut{bytes.NewReader(file[:len(file)/2])})
	if err != nil {
		t.Fatal(err)
	}
	withBearer(dana.bearer).add(req.Header)
	if resp, err := h.client.Do(req); err == nil {
		resp.Body.Close()
		t.Fatalf("a cut upload is answered %s", resp.Status)
	}
	for _, tt := range []struct {
		name  string
		query url.Values
		body  string
		says  string
	}{
		{"truncated gzip", nil, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc", ""},
		{"empty file", nil, "", ""},
		{"unknown word for data", nil, "customer_ref,email,data_exposed\nA1,somebody@example.com,zorkmid\n", "zorkmid"},
		{"unknown option", url.Values{"color": {"red"}}, "a", "default_country"},
		{"unknown country", url.Values{"default_country": {"Atlantis"}}, "a", "Atlantis"},
		{"map without a header", url.Values{"map": {"email"}}, "a", "map=FIELD=HEADER"},
	} {
		status, body := h.putWhenFree(dana.bearer, "broken", tt.query, tt.body)
		var answer struct{ Code, Message string }
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatalf("%s: %s", tt.name, body)
		}
		if status != http.StatusBadRequest || answer.Message == "" || !strings.Contains(answer.Message, tt.says) {
			t.Errorf("%s: %d %s", tt.name, status, body)
		}
	}
	if status, body := h.putWhenFree(dana.bearer, "broken", nil, "customer_ref,email\nA1,somebody@example.com\n"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if got := h.pages("broken"); got != 2 {
		t.Errorf("ROSTER holds %d subjects, want one page and its manifest", got)
	}
	mapped := h.upload(dana.bearer, "broken", url.Values{"map_data": {"zorkmid=payment_card"}, "map": {"customer_ref=Kunde"}},
		[]byte("Kunde,email,data_exposed\nA1,somebody@example.com,zorkmid\n"))
	if mapped.Report.ByData[roster.PaymentCard.String()] != 1 {
		t.Errorf("mapped words count as %v", mapped.Report.ByData)
	}
}

func TestUploadForADeclaredIncidentIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.declared(dana, erin, "frozen")
	status, body := h.put(dana.bearer, "frozen", nil, bytes.NewReader(rows(3)))
	if status != http.StatusBadRequest || !strings.Contains(string(body), "another id") {
		t.Errorf("%d %s", status, body)
	}
}
