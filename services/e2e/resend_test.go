package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

// unreached are the references of those who were not told, by reason.
func unreached(t *testing.T, ledger candorv1connect.LedgerServiceClient, incident string) map[string][]*candorv1.Unreached {
	t.Helper()
	stream, err := ledger.ListUnreached(t.Context(), connect.NewRequest(&candorv1.ListUnreachedRequest{Incident: incident}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }() // only read from
	list := map[string][]*candorv1.Unreached{}
	for stream.Receive() {
		for _, u := range stream.Msg().GetCustomers() {
			list[u.GetReason()] = append(list[u.GetReason()], u)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestExactlyThoseWhoFailedAreSentToAgain(t *testing.T) {
	t.Parallel()
	p := play(t, func(cfg *app.Config) {
		impatient(cfg)
		cfg.Sandbox.Twilio.AdvancedOptOut = false
	})
	const customers, filtered = 120, "failed:twilio_30007"
	p.receipts(sandbox.Receipts{Seed: 4, Undelivered: map[int]float64{30007: 0.25, 30005: 0.1}})
	pb, facts, err := bench.Texts(100)
	if err != nil {
		t.Fatal(err)
	}
	pb = edit(t, pb, "    channels:\n", "    guard:\n      bounced: 0%\n    channels:\n") // so many fail on purpose
	inc := p.tell("again", pb, facts, strings.NewReader(crowdOf(customers, func(i int, _, email *string) {
		if i > 0 {
			*email = ""
		}
	})))
	agree(t, p.heard(inc), customers)
	ledger := p.ledger()
	before := unreached(t, ledger, "again")
	if len(before[filtered]) < 10 || len(before["failed:twilio_30005"]) < 3 || len(before) != 2 {
		t.Fatalf("unreached: %v", slices.Collect(maps.Keys(before)))
	}

	// A person with both roles is still one person.
	both := candorv1connect.NewIncidentServiceClient(
		role(t, p.app.APIURL(), p.admin, "both", candorv1.Role_ROLE_COMMANDER, candorv1.Role_ROLE_APPROVER), p.app.APIURL())
	ask := &candorv1.ResendRequest{Incident: "again", Reason: filtered, DryRun: true}
	dry, err := both.Resend(t.Context(), connect.NewRequest(ask))
	if err != nil || dry.Msg.GetCustomers() != uint64(len(before[filtered])) || dry.Msg.GetAddition() != nil {
		t.Fatalf("a count first: %v, %v", dry, err)
	}
	ask.DryRun = false
	drafted, err := both.Resend(t.Context(), connect.NewRequest(ask))
	if err != nil || drafted.Msg.GetCustomers() != dry.Msg.GetCustomers() {
		t.Fatalf("resend: %v, %v", drafted, err)
	}
	again, err := both.Resend(t.Context(), connect.NewRequest(ask))
	if err != nil || again.Msg.GetAddition().GetHash() != drafted.Msg.GetAddition().GetHash() {
		t.Errorf("asked again: %v, %v", again, err)
	}
	hash := drafted.Msg.GetAddition().GetHash()
	if _, err := both.Approve(t.Context(), connect.NewRequest(&candorv1.ApproveRequest{Incident: "again", PlanHash: hash})); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("who drafted it approves it: %v", err)
	}
	if truth, err := p.sandbox.Truth(t.Context()); err != nil || truth.SMS.Accepted != customers {
		t.Errorf("before the approval %d texts were sent: %v", truth.SMS.Accepted, err)
	}
	p.receipts(sandbox.Receipts{}) // the carrier has mended its filter
	if err := p.driver.Approve(t.Context(), "again", hash); err != nil {
		t.Fatal(err)
	}
	st, err := await(t, p.driver, "again", func(st *candorv1.Status) bool { return st.GetComplete() && len(st.GetWaves()) == 2 })
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	v := p.heard(inc)
	agree(t, v, customers)
	if v.Told != customers-uint64(len(before["failed:twilio_30005"])) {
		t.Errorf("told %d: %+v", v.Told, v)
	}
	after := unreached(t, ledger, "again")
	if len(after) != 1 || len(after["failed:twilio_30005"]) != len(before["failed:twilio_30005"]) {
		t.Errorf("still unreached: %v", after)
	}
	twice := 0
	for who, s := range stories(t, ledger, p.sandbox, "again") {
		first, second := s["w0.sms"], s["w0-r1.sms"]
		_, named := s["w0-r1.sms"]
		if named != (second.taken == 1) || second.taken > 1 || named && (first.delivered > 0 || second.delivered != 1) {
			t.Errorf("customer %v: first %+v, again %+v", who, first, second)
		}
		if named {
			twice++
		}
	}
	texts := 0
	for _, list := range openInbox(t, p.app.Sandbox(), 0).texts {
		if texts += len(list); len(list) > 2 {
			t.Errorf("a phone has %d texts", len(list))
		}
	}
	if twice != len(before[filtered]) || texts != customers+twice {
		t.Errorf("%d of %d were sent to again, %d texts altogether", twice, len(before[filtered]), texts)
	}
	p.find(ledger, before[filtered][0])
	res, err := ledger.Find(t.Context(), connect.NewRequest(&candorv1.FindRequest{Query: "C0000@Example.com"}))
	if err != nil || len(res.Msg.GetCustomers()) != 1 || res.Msg.GetCustomers()[0].GetCustomerRef() != "R-0000" {
		t.Fatalf("find by e-mail: %v, %v", res, err)
	}
	mailed := slices.IndexFunc(res.Msg.GetCustomers()[0].GetNotices(), func(n *candorv1.FoundNotice) bool {
		return n.GetKey().GetChannel() == candorv1.Channel_CHANNEL_EMAIL && n.GetState() == candorv1.NoticeState_NOTICE_STATE_DELIVERED &&
			strings.Contains(n.GetSubject(), "Notice of data breach") && strings.Contains(n.GetText(), "Dear Ana")
	})
	if mailed < 0 || strings.Contains(res.Msg.String(), "c0000@example.com") {
		t.Errorf("find by e-mail tells %v", res.Msg)
	}
}

// find looks a customer up in every way that there is, who failed first and was told then.
func (h *home) find(ledger candorv1connect.LedgerServiceClient, who *candorv1.Unreached) {
	h.t.Helper()
	t := h.t
	var phone string
	crowdOf(120, func(i int, number, _ *string) {
		if who.GetCustomerRef() == fmt.Sprintf("R-%04d", i) {
			phone = *number
		}
	})
	for how, query := range map[string]string{"code": who.GetCode(), "reference": who.GetCustomerRef(), "phone": phone, "phone as people write it": phone[2:5] + "-" + phone[5:8] + "-" + phone[8:]} {
		res, err := ledger.Find(t.Context(), connect.NewRequest(&candorv1.FindRequest{Incident: "again", Query: query}))
		if err != nil || len(res.Msg.GetCustomers()) != 1 {
			t.Errorf("find by %s: %v, %v", how, res, err)
			continue
		}
		c := res.Msg.GetCustomers()[0]
		if c.GetCustomerRef() != who.GetCustomerRef() || c.GetCode() != who.GetCode() || strings.Contains(c.String(), phone[2:]) {
			t.Errorf("find by %s found %v", how, c)
		}
		said := map[string]string{}
		for _, n := range c.GetNotices() {
			var what []string
			for _, e := range n.GetEvents() {
				what = append(what, e.GetWhat())
			}
			said[n.GetKey().GetWave()+" "+n.GetKey().GetChannel().String()] = strings.Join(what, " ")
			if n.GetKey().GetChannel() == candorv1.Channel_CHANNEL_SMS && !strings.Contains(n.GetText(), who.GetCode()) {
				t.Errorf("find by %s shows the text %q", how, n.GetText())
			}
		}
		// The receipts may have come in any order.
		for wave, last := range map[string]string{"w0": " undelivered", "w0-r1": " delivered"} {
			if what := said[wave+" CHANNEL_SMS"]; !strings.HasPrefix(what, "planned intended ") || !strings.Contains(what, " accepted") || !strings.Contains(what, last) {
				t.Errorf("find by %s tells of %s: %s", how, wave, what)
			}
		}
	}
}
