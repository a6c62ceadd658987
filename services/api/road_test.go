package api_test

import (
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestSameContentByEveryRoadIsOneIncident(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.token("Dana", token.Commander)
	robot := h.token("soar", token.Machine)
	dana := h.as(bearer)
	d := h.declaration(dana, "roads")
	asJSON, err := protojson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}

	first := h.declare(h.as(robot), d)
	for name, c := range map[string]caller{
		"connect": dana, "grpc": h.as(bearer, connect.WithGRPCWeb()), "json": h.as(bearer, connect.WithProtoJSON()),
	} {
		if resp := h.declare(c, d); !resp.GetKnown() || resp.GetIncident().GetSequence() != first.GetIncident().GetSequence() {
			t.Errorf("%s: %v", name, resp.GetIncident())
		}
	}
	for name, m := range map[string]struct {
		data   []byte
		header map[string]string
	}{
		"json":                  {asJSON, map[string]string{"Candor-Token": robot, "Content-Type": "application/json; charset=utf-8"}},
		"json without a type":   {asJSON, map[string]string{"Candor-Token": robot}},
		"protobuf":              {binary, map[string]string{"Candor-Token": bearer, "Content-Type": "application/protobuf"}},
		"binary without a type": {binary, map[string]string{"Candor-Token": bearer}},
	} {
		reply, err := h.bus.Request(t.Context(), topology.Declare, m.data, m.header)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp := &candorv1.DeclareResponse{}
		if strings.HasPrefix(name, "json") {
			err = protojson.Unmarshal(reply.Data, resp)
		} else {
			err = proto.Unmarshal(reply.Data, resp)
		}
		if err != nil || !resp.GetKnown() || resp.GetIncident().GetSequence() != first.GetIncident().GetSequence() {
			t.Errorf("%s: %v, %v", name, resp.GetIncident(), err)
		}
	}
	list, err := dana.incidents.ListIncidents(t.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
	if err != nil || len(list.Msg.GetIncidents()) != 1 || list.Msg.GetIncidents()[0].GetRevision() != 1 {
		t.Errorf("list is %v, %v", list, err)
	}
}

func TestDeclareByNATSIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	viewer := h.token("Vic", token.Viewer)
	robot := h.token("soar", token.Machine)
	for _, tt := range []struct {
		name   string
		data   string
		header map[string]string
		code   bus.Code
		says   string
	}{
		{"without a token", "{}", nil, bus.CodeUnauthenticated, "candor token"},
		{"with a made-up token", "{}", map[string]string{"Candor-Token": "cdr_a_b"}, bus.CodeUnauthenticated, "candor token"},
		{"with a role that may not", "{}", map[string]string{"Candor-Token": viewer}, bus.CodePermissionDenied, "viewer"},
		{"without content", "{}", map[string]string{"Candor-Token": robot}, bus.CodeInvalid, "incident"},
		{"with nonsense", "{nonsense", map[string]string{"Candor-Token": robot}, bus.CodeInvalid, "candor.v1.Declaration"},
		{"as XML", "<a/>", map[string]string{"Candor-Token": robot, "Content-Type": "text/xml"}, bus.CodeInvalid, "application/json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h.bus.Request(t.Context(), topology.Declare, []byte(tt.data), tt.header)
			var remote *bus.RemoteError
			if !errors.As(err, &remote) || remote.Code != tt.code || !strings.Contains(remote.Message, tt.says) {
				t.Errorf("got %v, want %s about %q", err, tt.code, tt.says)
			}
		})
	}
}

func TestDeclareIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	good := h.declaration(dana, "refused")
	declare := func(change func(*candorv1.Declaration)) error {
		d, _ := proto.Clone(good).(*candorv1.Declaration)
		change(d)
		_, err := dana.incidents.Declare(t.Context(), connect.NewRequest(&candorv1.DeclareRequest{Declaration: d}))
		return err
	}
	wantCode(t, declare(func(d *candorv1.Declaration) { d.Incident = "No Id" }), connect.CodeInvalidArgument, "incident")
	wantCode(t, declare(func(d *candorv1.Declaration) { d.Incident = "declare" }), connect.CodeInvalidArgument, "reserved")
	wantCode(t, declare(func(d *candorv1.Declaration) { d.RosterDigest = strings.Repeat("a", 64) }), connect.CodeFailedPrecondition, "upload it first")
	// All mistakes of both files come back at once, each with its place.
	wantCode(t, declare(func(d *candorv1.Declaration) {
		d.Playbook = strings.Replace(d.GetPlaybook(), "country: US", "country: XX", 1)
		d.Facts = strings.Replace(d.GetFacts(), "reference: NP-2026-11", "reference: ''", 1)
	}), connect.CodeInvalidArgument, "playbook:37:", "facts:5:")

	draft := h.declare(dana, good).GetIncident()
	if _, err := h.approve(erin, "refused", draft.GetPlanHash()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, declare(func(d *candorv1.Declaration) { d.Facts += "# more\n" }), connect.CodeFailedPrecondition, "another id")
	if resp := h.declare(dana, good); !resp.GetKnown() || resp.GetIncident().GetState() != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
		t.Errorf("the same content again: %v", resp)
	}
}
