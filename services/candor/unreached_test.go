package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	candorv1 "candor/proto/candor/v1"
)

// ListUnreached filters as the ledger does.
func (f *commander) ListUnreached(_ context.Context, r *connect.Request[candorv1.ListUnreachedRequest], s *connect.ServerStream[candorv1.ListUnreachedResponse]) error {
	if err := f.took(r.Msg); err != nil {
		return err
	}
	resp := &candorv1.ListUnreachedResponse{}
	for _, u := range f.unreached {
		state, _, _ := strings.Cut(u.GetReason(), ":")
		if want := r.Msg.GetReason(); want == "" || want == u.GetReason() || want == state {
			resp.Customers = append(resp.Customers, u)
		}
	}
	return s.Send(resp)
}

func (f *commander) Resend(_ context.Context, r *connect.Request[candorv1.ResendRequest]) (*connect.Response[candorv1.ResendResponse], error) {
	return connect.NewResponse(&candorv1.ResendResponse{Customers: 1, Addition: additions()["resend"]}), f.took(r.Msg)
}

// fewAreUnreached is an incident in a state with four customers whom nothing has told.
func fewAreUnreached(state candorv1.IncidentState) *commander {
	f := &commander{incident: declared(), status: &candorv1.Status{Incident: "breach-1", People: &candorv1.PeopleStatus{
		OnFile: 9, Told: 5, Unreached: 4, UnreachedReasons: map[string]uint64{"failed:twilio_30006": 1, "planned": 1, "suppressed:no_number": 1, "not_in_wave": 1, "expired": 0},
	}}}
	f.incident.State = state
	for i, reason := range []string{"failed:twilio_30006", "planned", "suppressed:no_number", "not_in_wave"} {
		f.unreached = append(f.unreached, &candorv1.Unreached{CustomerRef: fmt.Sprint("NP-", i), Code: "7K3-MP2-QD4", Reason: reason})
	}
	return f
}

func TestAReasonIsUnderstoodAsItIsPrinted(t *testing.T) {
	t.Parallel()
	f := fewAreUnreached(candorv1.IncidentState_INCIDENT_STATE_DECLARED)
	for said, want := range map[string]string{
		"failed:twilio_30006": "failed:twilio_30006", "failed: twilio 30006": "failed:twilio_30006", "Failed": "failed",
		"not begun": "planned", "planned": "planned", "not sent: no number": "suppressed:no_number", "not sent": "suppressed",
		"not in wave": "not_in_wave", "not_in_wave": "not_in_wave",
	} {
		out, errOut, code := f.give(t, "", "unreached", "breach-1", "--reason", said, "--csv")
		if q := taken[*candorv1.ListUnreachedRequest](f); code != exitDone || q.GetReason() != want || strings.Count(out, "\n") != 2 {
			t.Errorf("unreached --reason %q asks for %q: %d, %s%s", said, q.GetReason(), code, out, errOut)
		}
		_, errOut, code = f.give(t, "", "resend", "breach-1", "--reason", said, "--yes")
		if q := taken[*candorv1.ResendRequest](f); code != exitDone || q.GetReason() != want {
			t.Errorf("resend --reason %q asks for %q: %d, %s", said, q.GetReason(), code, errOut)
		}
	}
}

func TestAReasonThatIsNobodysIsRefused(t *testing.T) {
	t.Parallel()
	f := fewAreUnreached(candorv1.IncidentState_INCIDENT_STATE_DECLARED)
	file := filepath.Join(t.TempDir(), "letters.csv")
	for _, said := range []string{"zz", "expired", "failed: zz"} {
		want := fmt.Sprintf("candor: nobody of breach-1 is unreached for the reason %q\n        there are failed:twilio_30006 (1), not_in_wave (1), planned (1), suppressed:no_number (1)\n", said)
		for _, args := range [][]string{{"unreached", "breach-1", "--csv", "--out", file}, {"unreached", "breach-1"}, {"resend", "breach-1", "--yes"}} {
			if out, errOut, code := f.give(t, "", append(args, "--reason", said)...); code != exitRefused || out != "" || errOut != want {
				t.Errorf("%s --reason %q: %d, %s%s", args[0], said, code, out, errOut)
			}
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file is left behind")
	}
	f.status.People = &candorv1.PeopleStatus{OnFile: 9, Told: 9}
	f.unreached = nil
	if out, errOut, code := f.give(t, "", "unreached", "breach-1", "--reason", "failed"); code != exitDone || out != "Nobody of breach-1 is unreached.\n" {
		t.Errorf("all are told: %d, %s%s", code, out, errOut)
	}
}

func TestAnotherTryIsOfferedWhereItCanBeMade(t *testing.T) {
	t.Parallel()
	for state, offered := range map[candorv1.IncidentState]bool{
		candorv1.IncidentState_INCIDENT_STATE_DECLARED: true, candorv1.IncidentState_INCIDENT_STATE_PAUSED: true,
		candorv1.IncidentState_INCIDENT_STATE_ABORTED: false, candorv1.IncidentState_INCIDENT_STATE_CLOSED: false,
	} {
		out, errOut, code := fewAreUnreached(state).give(t, "", "unreached", "breach-1")
		if code != exitDone || strings.Contains(out, "candor resend breach-1 --reason failed:twilio_30006") != offered || !strings.Contains(out, "letters.csv") {
			t.Errorf("%v: %d, %s%s", state, code, out, errOut)
		}
	}
}

func TestNobodyIsCalledByAResend(t *testing.T) {
	t.Parallel()
	f := fewAreUnreached(candorv1.IncidentState_INCIDENT_STATE_DECLARED)
	if _, errOut, code := f.give(t, "", "resend", "breach-1", "--reason", "failed", "--channel", "call", "--yes"); code != exitUsage || !strings.Contains(errOut, "candor calls add") {
		t.Errorf("%d, %s", code, errOut)
	}
}
