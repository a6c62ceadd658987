package api_test

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"candor/pkg/pii"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

func optOut(ch candorv1.Channel, address, reason string) *candorv1.Suppression {
	return &candorv1.Suppression{Channel: ch, Address: address, Reason: reason}
}

func TestOptOutsAreKeptWithoutAddresses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	list := []*candorv1.Suppression{
		optOut(sms, "+1 (212) 555-0100", "STOP"), optOut(email, "Canary@Example.COM", "list"), optOut(candorv1.Channel_CHANNEL_CALL, "0044 20 7946 0123", ""),
		optOut(sms, "(212) 555-0199", "STOP"), optOut(email, "canary at example.com", ""), optOut(sms, "+12125550111", "canary2@example.com"),
		optOut(sms, "+12125550111", "2125550111"),
	}
	added, err := dana.stops.AddSuppressions(t.Context(), connect.NewRequest(&candorv1.AddSuppressionsRequest{Suppressions: list}))
	if err != nil || added.Msg.GetAdded() != 3 || len(added.Msg.GetProblems()) != 4 {
		t.Fatalf("add: %v, %v", added, err)
	}
	for i, says := range map[int]string{0: "international", 1: "e-mail", 2: "reason", 3: "reason"} {
		if p := added.Msg.GetProblems()[i]; int(p.GetIndex()) != 3+i || !strings.Contains(p.GetProblem(), says) {
			t.Errorf("problem %d is %v", i, p)
		}
	}
	if !h.stops.Has(sms, pii.NewPhone("+12125550100")) || !h.stops.Has(email, pii.NewEmail("canary@example.com")) ||
		!h.stops.Has(candorv1.Channel_CHANNEL_CALL, pii.NewPhone("+442079460123")) || h.stops.Has(sms, pii.NewPhone("+12125550111")) {
		t.Error("the opt-outs in force are not those that were added")
	}
	exported := dana.exported(t)
	if len(exported) != 3 {
		t.Fatalf("exported %v", exported)
	}
	removed, err := dana.stops.RemoveSuppressions(t.Context(), connect.NewRequest(&candorv1.RemoveSuppressionsRequest{Suppressions: []*candorv1.Suppression{
		list[0], optOut(sms, "+12125550177", ""),
	}}))
	if err != nil || removed.Msg.GetRemoved() != 1 || h.stops.Has(sms, pii.NewPhone("+12125550100")) || len(dana.exported(t)) != 2 {
		t.Errorf("remove: %v, %v", removed, err)
	}
	_, err = dana.stops.RemoveSuppressions(t.Context(), connect.NewRequest(&candorv1.RemoveSuppressionsRequest{Suppressions: []*candorv1.Suppression{
		list[1], optOut(sms, "canary-phone", ""),
	}}))
	wantCode(t, err, connect.CodeInvalidArgument, "number 2")
	if strings.Contains(err.Error(), "canary") || len(dana.exported(t)) != 2 {
		t.Errorf("a list with a mistake: %v", err)
	}
	imported, err := dana.stops.ImportSuppressions(t.Context(), connect.NewRequest(&candorv1.ImportSuppressionsRequest{Suppressions: exported}))
	if err != nil || imported.Msg.GetImported() != 3 || !h.stops.Has(sms, pii.NewPhone("+12125550100")) {
		t.Errorf("import: %v, %v", imported, err)
	}
	for _, bad := range []*candorv1.HashedSuppression{{Hash: "zz"}, {Hash: exported[0].GetHash(), Reason: "+12125550111"}} {
		_, err = dana.stops.ImportSuppressions(t.Context(), connect.NewRequest(&candorv1.ImportSuppressionsRequest{Suppressions: []*candorv1.HashedSuppression{bad}}))
		wantCode(t, err, connect.CodeInvalidArgument)
		if strings.Contains(err.Error(), "555") {
			t.Errorf("the refusal repeats the number: %v", err)
		}
	}
	if said := strings.ToLower(h.log.String() + added.Msg.String()); strings.Contains(said, "canary") || strings.Contains(said, "2125550") || strings.Contains(said, "79460123") {
		t.Errorf("somebody is named:\n%s", said)
	}
}

func (c caller) exported(t *testing.T) (all []*candorv1.HashedSuppression) {
	t.Helper()
	stream, err := c.stops.ExportSuppressions(t.Context(), connect.NewRequest(&candorv1.ExportSuppressionsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
		all = append(all, stream.Msg().GetSuppressions()...)
	}
	if stream.Err() != nil {
		t.Fatal(stream.Err())
	}
	return all
}

// An export of many comes in parts, and holds everybody once.
func TestExportOfManyOptOuts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	var list []*candorv1.Suppression
	for i := range 2100 {
		list = append(list, optOut(email, fmt.Sprintf("canary%d@example.com", i), "list"))
	}
	if _, err := dana.stops.AddSuppressions(t.Context(), connect.NewRequest(&candorv1.AddSuppressionsRequest{Suppressions: list})); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range dana.exported(t) {
		seen[s.GetHash()] = true
	}
	if len(seen) != 2100 {
		t.Errorf("%d of 2100 are exported", len(seen))
	}
}
