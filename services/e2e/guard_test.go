package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

// incident waits until an incident is as it should be.
func (h *home) incident(id, what string, ok func(*candorv1.Incident) bool) *candorv1.Incident {
	h.t.Helper()
	steer := h.incidents()
	var inc *candorv1.Incident
	until(h.t, what, func() bool {
		res, err := steer.GetIncident(h.t.Context(), connect.NewRequest(&candorv1.GetIncidentRequest{Incident: id}))
		inc = res.Msg.GetIncident()
		return err == nil && ok(inc)
	})
	return inc
}

func (h *home) resume(id string) {
	h.t.Helper()
	if _, err := h.incidents().Resume(h.t.Context(), connect.NewRequest(&candorv1.ResumeRequest{Incident: id})); err != nil {
		h.t.Fatal(err)
	}
}

func TestABadCanaryKeepsEverybodyElseFromIt(t *testing.T) {
	t.Parallel()
	p := play(t, impatient)
	const customers, canary = 400, 40
	p.receipts(sandbox.Receipts{Seed: 6, Undelivered: map[int]float64{30007: 0.6}})
	pb, facts, err := bench.Texts(20)
	if err != nil {
		t.Fatal(err)
	}
	pb = edit(t, pb, "    channels:\n", "    guard:\n      canary: 40\n      canary_wait: 1m\n      bounced: 30%\n    channels:\n")
	inc := p.tell("canary", pb, facts, strings.NewReader(crowdOf(customers, nil)))
	paused := p.incident("canary", "the canary pauses the incident", func(inc *candorv1.Incident) bool {
		return inc.GetState() == candorv1.IncidentState_INCIDENT_STATE_PAUSED
	})
	for _, words := range []string{"canary of wave w0", "text messages bounced", "more than 30 %", "twilio_30007", "Nobody else was told"} {
		if !strings.Contains(paused.GetReason(), words) {
			t.Errorf("%q does not say %q", paused.GetReason(), words)
		}
	}
	truth, err := p.sandbox.Truth(t.Context())
	if err != nil || truth.SMS.Accepted != canary || truth.Email.Accepted > canary {
		t.Errorf("%d texts and %d e-mails were sent, the canary is %d: %v", truth.SMS.Accepted, truth.Email.Accepted, canary, err)
	}
	if st, err := statusOf(t, p.driver, "canary"); err != nil || st.GetComplete() {
		t.Errorf("status: %v, %v", st, err)
	}
	p.receipts(sandbox.Receipts{})
	p.resume("canary")
	v := p.heard(inc)
	agree(t, v, customers)
	if v.Sandbox["sms"] != customers || v.Sandbox["email"] != customers || v.Told != customers {
		t.Errorf("verdict = %+v", v)
	}
}

func TestAGoodCanaryLetsTheWaveGoOn(t *testing.T) {
	t.Parallel()
	p := play(t, impatient)
	const customers = 300
	p.receipts(sandbox.Receipts{Seed: 6, DelayFinal: sandbox.Duration(200 * time.Millisecond), Flush: sandbox.Duration(100 * time.Millisecond)})
	pb, facts, err := bench.Texts(20)
	if err != nil {
		t.Fatal(err)
	}
	pb = edit(t, pb, "    channels:\n", "    guard:\n      canary: 30\n      canary_wait: 1m\n    channels:\n")
	inc := p.tell("good", pb, facts, strings.NewReader(crowdOf(customers, nil)))
	v := p.heard(inc)
	agree(t, v, customers)
	if v.Sandbox["sms"] != customers || v.Sandbox["email"] != customers {
		t.Errorf("verdict = %+v", v)
	}
}

func TestAChannelThatBouncesIsPaused(t *testing.T) {
	t.Parallel()
	p := play(t, func(cfg *app.Config) {
		impatient(cfg)
		cfg.Planner.LookEvery = 100 * time.Millisecond
		cfg.Email.InFlight, cfg.Sandbox.SendGrid.Latency = 1, 250*time.Millisecond // enough is still to be sent
	})
	const customers = 700
	p.receipts(sandbox.Receipts{Seed: 6, Bounced: 0.5, Flush: sandbox.Duration(50 * time.Millisecond)})
	inc := declare(t, p.driver, bench.Story{Incident: "bounce", Customers: customers, EmailBatch: 10})
	email := []candorv1.Channel{candorv1.Channel_CHANNEL_EMAIL}
	paused := p.incident("bounce", "e-mails are paused", func(inc *candorv1.Incident) bool { return slices.Equal(inc.GetPausedChannels(), email) })
	for _, words := range []string{"too many notices of wave w0", "e-mails bounced", "more than 20 %"} {
		if !strings.Contains(paused.GetReason(), words) {
			t.Errorf("%q does not say %q", paused.GetReason(), words)
		}
	}
	truth, err := p.sandbox.Truth(t.Context())
	if err != nil || truth.Email.Accepted < 200 || truth.Email.Accepted > customers-100 {
		t.Errorf("%d e-mails of %d were sent: %v", truth.Email.Accepted, customers, err)
	}
	p.receipts(sandbox.Receipts{})
	p.resume("bounce")
	v := p.heard(inc)
	agree(t, v, customers)
	if n := v.Sandbox["email"] + v.Notices["email"]["suppressed"]; n != customers {
		t.Errorf("verdict = %+v", v)
	}
}
