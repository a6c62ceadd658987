package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

func TestNobodyIsToldAfterTheAbortAnswered(t *testing.T) {
	t.Parallel()
	p := play(t, func(cfg *app.Config) {
		cfg.SMS.InFlight, cfg.Sandbox.Twilio.Latency = 32, 20*time.Millisecond
		cfg.Email.InFlight, cfg.Sandbox.SendGrid.Latency = 2, 50*time.Millisecond
	})
	const customers = 3000
	declare(t, p.driver, bench.Story{Incident: "halt", Customers: customers, EmailBatch: 5})
	accepted(t, p.sandbox, 200, 20)
	res, err := p.incidents().Abort(t.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: "halt", Reason: "wrong file"}))
	if err != nil {
		t.Fatal(err)
	}
	told := func() sandbox.Truth {
		truth, err := p.sandbox.Truth(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return truth
	}
	at := told()
	n := at.SMS.Accepted + at.Email.Accepted
	if n == 0 || n >= 2*customers {
		t.Fatalf("the abort did not come in the middle: %d", n)
	}
	if res.Msg.GetAtProvider() != n || res.Msg.GetUncertain() != 0 {
		t.Errorf("the abort answered with %d at the provider and %d uncertain, the sandbox has %d", res.Msg.GetAtProvider(), res.Msg.GetUncertain(), n)
	}
	st, err := await(t, p.driver, "halt", func(st *candorv1.Status) bool { return st.GetComplete() })
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	if later := told(); later.SMS.Requests != at.SMS.Requests || later.Email.Requests != at.Email.Requests {
		t.Errorf("after the answer %d text messages and %d e-mails were tried", later.SMS.Requests-at.SMS.Requests, later.Email.Requests-at.Email.Requests)
	}
	var counted uint64
	for _, w := range st.GetWaves() {
		for _, c := range w.GetChannels() {
			var sum uint64
			for _, k := range c.GetStates() {
				sum += k
			}
			if sum != customers || c.GetPlannedTotal() != customers {
				t.Errorf("%s: %v of %d", c.GetChannel(), c.GetStates(), customers)
			}
			counted += c.GetStates()["accepted"]
		}
	}
	if counted != n {
		t.Errorf("Candor counts %d told, the sandbox %d", counted, n)
	}
	v, err := p.driver.Verify(t.Context(), "halt", p.sandbox)
	if err != nil || v.Lost != 0 || v.Duplicates != 0 {
		t.Errorf("verdict = %+v, %v", v, err)
	}
}

// Approvals and a change of the draft meet: whichever is first, what is sent is what was approved, once.
func TestAnApprovalNeverMeetsAnotherText(t *testing.T) {
	t.Parallel()
	p := play(t, nil)
	for round := range 5 {
		id := fmt.Sprintf("meet-%d", round)
		first, err := p.driver.Draft(t.Context(), bench.Story{Incident: id, EmailBatch: 10})
		if err != nil {
			t.Fatal(err)
		}
		pb, facts, err := bench.Texts(10)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(pb, "We never ask for passwords.", fmt.Sprintf("Revision two of round %d.", round), 1)
		var wg sync.WaitGroup
		approvals, change := make([]error, 4), error(nil)
		for i := range approvals {
			wg.Go(func() { approvals[i] = p.driver.Approve(t.Context(), id, first.GetPlanHash()) })
		}
		wg.Go(func() {
			_, change = p.driver.Declare(t.Context(), &candorv1.Declaration{
				Incident: id, Playbook: changed, Facts: facts, RosterDigest: first.GetPlan().GetRosterDigest(),
			})
		})
		wg.Wait()
		won := 0
		for _, err := range approvals {
			if err == nil {
				won++
			}
		}
		switch {
		case won == len(approvals) && change != nil: // the approval was first: the change is refused
		case won == 0 && change == nil: // the change was first: every approval names a hash that is no more
			inc, err := p.driver.Declare(t.Context(), &candorv1.Declaration{
				Incident: id, Playbook: changed, Facts: facts, RosterDigest: first.GetPlan().GetRosterDigest(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.driver.Approve(t.Context(), id, inc.GetPlanHash()); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("%d of %d approvals won, the change: %v", won, len(approvals), change)
		}
		whole(t, p.rest(id), nil, 12)
		revised := 0
		for _, texts := range openInbox(t, p.app.Sandbox(), 0).texts {
			for _, text := range texts {
				if strings.Contains(text, fmt.Sprintf("Revision two of round %d.", round)) {
					revised++
				}
			}
		}
		if (revised > 0) != (won == 0) {
			t.Errorf("round %d: %d texts of the second revision, %d approvals of the first", round, revised, won)
		}
	}
}
