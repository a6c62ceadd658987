package api_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"candor/pkg/bus"
	"candor/pkg/token"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL
)

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	answer(h, "ledger", "status", func(q *candorv1.GetStatusRequest, _ map[string]string) (*candorv1.GetStatusResponse, map[string]string, error) {
		return &candorv1.GetStatusResponse{Status: &candorv1.Status{Incident: q.GetIncident(), Waves: []*candorv1.WaveStatus{{
			Wave: "w0", Channels: []*candorv1.ChannelStatus{
				{Channel: sms, States: map[string]uint64{"intended": 7, "accepted": 5}}, {Channel: email, States: map[string]uint64{"intended": 30}},
			},
		}}}}, nil, nil
	})
	pause := func(who caller, chs ...candorv1.Channel) (*candorv1.PauseResponse, error) {
		resp, err := who.incidents.Pause(t.Context(), connect.NewRequest(&candorv1.PauseRequest{Incident: "slow", Channels: chs, Reason: "wait"}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	resume := func(chs ...candorv1.Channel) *candorv1.Incident {
		t.Helper()
		resp, err := dana.incidents.Resume(t.Context(), connect.NewRequest(&candorv1.ResumeRequest{Incident: "slow", Channels: chs}))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Msg.GetIncident()
	}
	d := h.declaration(dana, "slow")
	draft := h.declare(dana, d).GetIncident()
	_, err := pause(dana)
	wantCode(t, err, connect.CodeFailedPrecondition, "draft")
	if _, err := h.approve(erin, "slow", draft.GetPlanHash()); err != nil {
		t.Fatal(err)
	}

	one, err := pause(erin, sms)
	if err != nil || one.GetAtProvider() != 7 || !slices.Equal(one.GetIncident().GetPausedChannels(), []candorv1.Channel{sms}) {
		t.Fatalf("pause of text messages: %v, %v", one, err)
	}
	all, err := pause(dana)
	if err != nil || all.GetAtProvider() != 37 || all.GetIncident().GetState() != candorv1.IncidentState_INCIDENT_STATE_PAUSED {
		t.Fatalf("pause of all: %v, %v", all, err)
	}
	if told := h.fact(topology.FactPaused, "slow"); len(told.GetPausedChannels()) == 0 {
		t.Errorf("others were told %v", told)
	}
	again, err := pause(dana, email)
	if err != nil || again.GetIncident().GetSequence() == 0 {
		t.Fatalf("pause of what is paused: %v, %v", again, err)
	}
	// Resuming one channel of a pause of everything keeps the others paused.
	if inc := resume(email); slices.Contains(inc.GetPausedChannels(), email) || !slices.Contains(inc.GetPausedChannels(), sms) ||
		slices.Contains(inc.GetPausedChannels(), candorv1.Channel_CHANNEL_UNSPECIFIED) {
		t.Errorf("after resuming e-mail %v are paused", inc.GetPausedChannels())
	}
	if inc := resume(); inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_DECLARED || len(inc.GetPausedChannels()) > 0 {
		t.Errorf("after resuming all: %v", inc)
	}
	if told := h.fact(topology.FactResumed, "slow"); told.GetId() != "slow" {
		t.Errorf("others were told %v", told)
	}
	_, err = pause(dana, 99)
	wantCode(t, err, connect.CodeInvalidArgument, "sms")
}

func TestAbortAnswersWhenAllIsSealed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.declared(dana, erin, "stop")
	abort := func() (*candorv1.AbortResponse, error) {
		resp, err := dana.incidents.Abort(t.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: "stop", Reason: "wrong people"}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	shred := func() (*candorv1.ShredResponse, error) {
		resp, err := dana.incidents.Shred(t.Context(), connect.NewRequest(&candorv1.ShredRequest{Incident: "stop"}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	_, err := shred()
	wantCode(t, err, connect.CodeFailedPrecondition, "aborted")

	// No planner answers: the incident is aborting, told to all, and not said to be aborted.
	_, err = abort()
	wantCode(t, err, connect.CodeUnavailable, "abort it again")
	if told := h.fact(topology.FactAborted, "stop"); told.GetState() != candorv1.IncidentState_INCIDENT_STATE_ABORTING {
		t.Errorf("others were told %v", told)
	}
	_, err = shred()
	wantCode(t, err, connect.CodeFailedPrecondition, "aborting")

	var asked atomic.Int32
	answer(h, "planner", "seal", func(q *candorv1.SealRequest, _ map[string]string) (*candorv1.SealResponse, map[string]string, error) {
		switch {
		case q.GetIncident() == "":
			return &candorv1.SealResponse{}, nil, nil
		case asked.Add(1) == 1:
			return nil, nil, bus.Errorf(bus.CodeUnavailable, "journals are busy")
		}
		return &candorv1.SealResponse{Journals: 4, AtProvider: 3, Uncertain: 2}, nil, nil
	})
	_, err = abort()
	wantCode(t, err, connect.CodeUnavailable, "journals are busy")
	done, err := abort()
	if err != nil || done.GetAtProvider() != 3 || done.GetUncertain() != 2 ||
		done.GetIncident().GetState() != candorv1.IncidentState_INCIDENT_STATE_ABORTED {
		t.Fatalf("abort: %v, %v", done, err)
	}
	again, err := abort()
	if err != nil || again.GetAtProvider() != 3 || asked.Load() != 2 {
		t.Errorf("abort of what is aborted: %v, %v; the planner was asked %d times", again, err, asked.Load())
	}

	gone, err := shred()
	if err != nil || gone.GetPagesPurged() == 0 || gone.GetIncident().GetState() != candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		t.Fatalf("shred: %v, %v", gone, err)
	}
	if _, err := h.vault.Incident("stop"); !errors.Is(err, vault.ErrShredded) {
		t.Errorf("the key after shredding: %v", err)
	}
	if left := h.pages("stop"); left != 1 {
		t.Errorf("%d subjects are left, want the manifest alone", left)
	}
	if _, err := shred(); err != nil {
		t.Errorf("shred again: %v", err)
	}
	status, body := h.put(dana.bearer, "stop", nil, nil)
	if status == 200 {
		t.Errorf("a roster for a shredded incident is taken: %s", body)
	}
}

func TestDraftIsAbortedWithoutAPlanner(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	h.declare(dana, h.declaration(dana, "never"))
	resp, err := dana.incidents.Abort(t.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: "never", Reason: "false alarm"}))
	if err != nil || resp.Msg.GetIncident().GetState() != candorv1.IncidentState_INCIDENT_STATE_ABORTED {
		t.Fatalf("abort of a draft: %v, %v", resp, err)
	}
	_, err = dana.incidents.Shred(t.Context(), connect.NewRequest(&candorv1.ShredRequest{Incident: "never"}))
	if err != nil {
		t.Error(err)
	}
}
