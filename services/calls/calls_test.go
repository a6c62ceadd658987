package calls

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/pii"
	"candor/pkg/roster"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	delivered  = candorv1.NoticeState_NOTICE_STATE_DELIVERED
	suppressed = candorv1.NoticeState_NOTICE_STATE_SUPPRESSED
	failed     = candorv1.NoticeState_NOTICE_STATE_FAILED
	planned    = candorv1.NoticeState_NOTICE_STATE_PLANNED
)

// untilSays waits until the journal says of slots, from 0 on, what is wanted.
func (w *world) untilSays(page int, want ...candorv1.NoticeState) {
	w.Helper()
	w.until(fmt.Sprintf("journal with %v", want), func() bool {
		st := w.journal(page)
		for n, s := range want {
			if got, _ := st.Notice(uint32(n)); got != s {
				return false
			}
		}
		return true
	})
}

func TestAnOrderBecomesCallsAndCallsBecomeOutcomes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 4, change: func(_, slot int, c *roster.Customer) {
		switch slot {
		case 1:
			c.Phones, c.TextPhones = nil, 0
		case 2:
			c.Phones = append(c.Phones, pii.NewPhone("+12065550100"))
		case 3:
			c.Compromised = c.Compromised.With(channel)
		}
	}})
	w.process()
	w.order(0)
	w.untilTasks("pending", 2)
	w.untilSays(0, planned, suppressed, planned, suppressed)
	for n, want := range map[uint32]string{1: roster.NoNumber, 3: roster.CompromisedChannel} {
		if _, reason := w.journal(0).Notice(n); reason != want {
			t.Errorf("slot %d is suppressed for %q, want %q", n, reason, want)
		}
	}

	tasks := w.claim(&candorv1.ClaimRequest{Max: 10, Mode: candorv1.DialMode_DIAL_MODE_PREVIEW, Wait: durationpb.New(time.Second)})
	if len(tasks) != 2 {
		t.Fatalf("claimed %v", tasks)
	}
	first, second := tasks[0], tasks[1]
	if first.GetPhone() != phoneOf(0, 0) || first.GetGivenName() != "Ximena0q0" || first.GetCode() != "COD-000-000" || first.GetIncident() != id ||
		first.GetAttempt() != 1 || first.GetFence() != 1 || first.GetPurpose() != "first_notice" || first.GetCallerId() != "+18005550142" ||
		first.GetLanguage() != "en" || !first.GetExpiresAt().AsTime().Equal(noon.Add(10*time.Minute)) || first.GetTask() != "field.0.0" {
		t.Errorf("first task %v", first)
	}
	if first.GetScript().GetVersion() == "" || !strings.Contains(first.GetScript().GetParts()[0].GetText(), "Ximena0q0") {
		t.Errorf("script %v", first.GetScript())
	}
	// The second number is in Seattle, where it is nine in the morning.
	if len(second.GetNextPhones()) != 1 || second.GetNextPhones()[0] != "+12065550100" {
		t.Errorf("second task %v", second)
	}
	if got := w.complete(first.GetLease(), "notified"); got.GetState() != candorv1.CallState_CALL_STATE_DONE || got.GetLate() {
		t.Errorf("notified: %v", got)
	}
	w.untilSays(0, delivered, suppressed, planned, suppressed)
	resp := &candorv1.CompleteResponse{}
	err := w.ask("complete", &candorv1.CompleteRequest{Lease: second.GetLease(), Disposition: "refused_info", Phone: "+12065550100", CallId: "x-1"}, resp)
	if err != nil || resp.GetState() != candorv1.CallState_CALL_STATE_FAILED {
		t.Errorf("refused_info: %v, %v", resp, err)
	}
	w.untilSays(0, delivered, suppressed, failed, suppressed)
	st := w.journal(0)
	if _, reason := st.Notice(2); reason != "refused_info" || st.Accepted != 1 || st.Duplicates != 0 {
		t.Errorf("journal: reason %q, %d accepted, %d duplicates", reason, st.Accepted, st.Duplicates)
	}
	q := w.queue()
	if q.GetStates()["done"] != 1 || q.GetStates()["failed"] != 1 || q.GetStates()["suppressed"] != 2 || q.GetDispositions()["notified"] != 1 {
		t.Errorf("queue %v", q)
	}
	// The order comes again, which changes nothing.
	before := len(w.events())
	w.order(0)
	w.until("an empty queue of orders", func() bool {
		st, err := w.bus.State(t.Context(), topology.StreamOrders)
		return err == nil && st.Msgs == 0
	})
	if n := len(w.events()); n != before {
		t.Errorf("the second order wrote %d events", n-before)
	}
	w.audit()
	w.nobodyNamed()
}

func TestBothFormsAreSpokenAndTheServiceIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	w.process()
	w.order(0)
	w.untilTasks("pending", 1)
	send := func(method, body string, header map[string]string) (bus.Reply, error) {
		h := map[string]string{"authorization": "bearer " + w.bearer}
		for k, v := range header {
			h[k] = v
		}
		return w.bus.RequestWithin(t.Context(), patience, topology.CallMethod(method), []byte(body), h)
	}
	reply, err := send("claim", `{"max": 1, "mode": "DIAL_MODE_PROGRESSIVE"}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	task := jsonOf(t, reply.Data)["tasks"].([]any)[0].(map[string]any)
	if reply.Header["Content-Type"] != "application/json" || task["phone"] != phoneOf(0, 0) {
		t.Errorf("claimed %v", task)
	}
	lease := task["lease"].(string)
	if reply, err = send("renew", fmt.Sprintf(`{"lease": %q, "leaseFor": "600s"}`, lease), map[string]string{"Content-Type": "application/json; charset=utf-8"}); err != nil ||
		jsonOf(t, reply.Data)["expiresAt"] != noon.Add(10*time.Minute).Format(time.RFC3339) {
		t.Errorf("renewed %s, %v", reply.Data, err)
	}
	if reply, err = send("complete", fmt.Sprintf(`{"lease": %q, "disposition": "notified"}`, lease), nil); err != nil || jsonOf(t, reply.Data)["state"] != "CALL_STATE_DONE" {
		t.Errorf("completed %s, %v", reply.Data, err)
	}
	for _, tt := range []struct {
		body, kind string
		want       string
	}{
		{`{"max": 1`, "", "candor.v1.ClaimRequest"},
		{`{"most": 1}`, "", "there is no field most"},
		{`{"wait": "Ximena"}`, "", "the field wait cannot be read"},
		{`{"max": 101}`, "", "max"},
		{`{}`, "text/plain", "application/json"},
		{"\x0a", "application/protobuf", "candor.v1.ClaimRequest"},
	} {
		header := map[string]string{}
		if tt.kind != "" {
			header["content-type"] = tt.kind
		}
		_, err := send("claim", tt.body, header)
		var remote *bus.RemoteError
		if !errors.As(err, &remote) || remote.Code != bus.CodeInvalid || !strings.Contains(remote.Message, tt.want) || strings.Contains(remote.Message, "Ximena") {
			t.Errorf("%q as %q: %v, want it to say %q", tt.body, tt.kind, err, tt.want)
		}
	}
	found, err := w.bus.Request(t.Context(), "$SRV.INFO.calls", nil, nil)
	if err != nil || !strings.Contains(string(found.Data), "calls.complete") || !strings.Contains(string(found.Data), "candor.v1.ClaimRequest") {
		t.Errorf("the service is described as %s, %v", found.Data, err)
	}
}

func TestWhoMayAskForWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	w.process()
	w.queue() // served
	bearers := map[string]string{
		"dialer": w.bearer, "commander": w.token("Dana", token.Commander), "viewer": w.token("Vic", token.Viewer), "nobody": "", "nonsense": "cdr_x",
	}
	gone := w.token("gone", token.Dialer)
	if err := w.tokens.Revoke(t.Context(), strings.Split(gone, "_")[1]); err != nil {
		t.Fatal(err)
	}
	bearers["revoked"] = gone
	for _, tt := range []struct {
		method string
		may    string
	}{{"claim", "dialer"}, {"renew", "dialer"}, {"release", "dialer"}, {"complete", "dialer"}, {"add", "dialer commander"}, {"explain", "dialer commander"}, {"script", "dialer commander"}, {"queue", "dialer commander"}} {
		for who, bearer := range bearers {
			ask := func() bus.Code {
				_, err := w.bus.Request(t.Context(), topology.CallMethod(tt.method), nil, map[string]string{"Authorization": "Bearer " + bearer})
				var remote *bus.RemoteError
				if errors.As(err, &remote) {
					return remote.Code
				}
				return ""
			}
			want := bus.CodePermissionDenied
			if who == "nobody" || who == "nonsense" || who == "revoked" {
				want = bus.CodeUnauthenticated
			}
			may := strings.Contains(tt.may, who)
			if who == "revoked" { // which is heard of a moment later
				w.until("the refusal of a revoked token", func() bool { return ask() == want })
				continue
			}
			// A token that was just made is heard of a moment later, too.
			w.until(fmt.Sprintf("%s as %s: %t", tt.method, who, may), func() bool { return (ask() == want) != may })
		}
	}
}

func TestADialerIsToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 3})
	w.process()
	w.order(0)
	w.untilTasks("pending", 3)
	tasks := w.claim(&candorv1.ClaimRequest{Max: 3})
	mine, released := tasks[0].GetLease(), tasks[1].GetLease()
	if err := w.ask("release", &candorv1.ReleaseRequest{Lease: released}, &candorv1.ReleaseResponse{}); err != nil {
		t.Fatal(err)
	}
	done := tasks[2].GetLease()
	w.complete(done, "notified")
	other := w.token("another centre", token.Dialer)
	w.until("the other token", func() bool {
		return w.askAs(other, "queue", &candorv1.GetQueueRequest{}, &candorv1.GetQueueResponse{}) == nil
	})
	complete := func(lease, disposition string, at time.Time, phone string) proto.Message {
		q := &candorv1.CompleteRequest{Lease: lease, Disposition: disposition, Phone: phone}
		if !at.IsZero() {
			q.CallBackAt = timestamppb.New(at)
		}
		return q
	}
	var none time.Time
	for _, tt := range []struct {
		name, bearer, method string
		q                    proto.Message
		code                 bus.Code
		says                 string
	}{
		{"unknown lease", w.bearer, "complete", complete("nonsense", "notified", none, ""), bus.CodeNotFound, "no such lease"},
		{"unknown lease of the right form", w.bearer, "renew", &candorv1.RenewRequest{Lease: mine[:4] + "1" + mine[5:]}, bus.CodeNotFound, "no such lease"},
		{"foreign lease", other, "complete", complete(mine, "notified", none, ""), bus.CodePermissionDenied, "another token"},
		{"foreign lease released", other, "release", &candorv1.ReleaseRequest{Lease: mine}, bus.CodePermissionDenied, "another token"},
		{"unknown disposition", w.bearer, "complete", complete(mine, "bored", none, ""), bus.CodeInvalid, "notified"},
		{"a note for a disposition", w.bearer, "complete", complete(mine, "call +12125550000", none, ""), bus.CodeInvalid, "is no code"},
		{"no disposition", w.bearer, "complete", complete(mine, "", none, ""), bus.CodeInvalid, "disposition"},
		{"a call-back in the past", w.bearer, "complete", complete(mine, "callback", noon.Add(-time.Hour), ""), bus.CodeInvalid, "in the past"},
		{"a call-back next year", w.bearer, "complete", complete(mine, "callback", noon.AddDate(1, 0, 0), ""), bus.CodeInvalid, "too far ahead"},
		{"a call-back without a time", w.bearer, "complete", complete(mine, "callback", none, ""), bus.CodeInvalid, "call_back_at"},
		{"a time without a call-back", w.bearer, "complete", complete(mine, "notified", noon.Add(time.Hour), ""), bus.CodeInvalid, "call_back_at"},
		{"somebody else's number", w.bearer, "complete", complete(mine, "notified", none, "+12125559999"), bus.CodeInvalid, "none of the customer's"},
		{"released, then renewed", w.bearer, "renew", &candorv1.RenewRequest{Lease: released}, bus.CodePrecondition, "over"},
		{"another report", w.bearer, "complete", complete(done, "no_answer", none, ""), bus.CodeExists, "notified"},
		{"unknown incident", w.bearer, "claim", &candorv1.ClaimRequest{Incidents: []string{"nowhere"}}, bus.CodeNotFound, "nowhere"},
		{"unknown incident's queue", w.bearer, "queue", &candorv1.GetQueueRequest{Incident: "nowhere"}, bus.CodeNotFound, "nowhere"},
		{"unknown incident's script", w.bearer, "script", &candorv1.GetScriptRequest{Incident: "nowhere"}, bus.CodeNotFound, "nowhere"},
		{"unknown kind", w.bearer, "script", &candorv1.GetScriptRequest{Incident: id, Kinds: []string{"shoes"}}, bus.CodeInvalid, "shoes"},
	} {
		err := w.askAs(tt.bearer, tt.method, tt.q, &candorv1.GetQueueResponse{})
		var remote *bus.RemoteError
		if !errors.As(err, &remote) || remote.Code != tt.code || !strings.Contains(remote.Message, tt.says) {
			t.Errorf("%s: %v; want %s, saying %q", tt.name, err, tt.code, tt.says)
		}
		if err != nil && strings.Contains(err.Error(), "+1212") {
			t.Errorf("%s: the error names a number: %v", tt.name, err)
		}
	}
	// Nothing was lost by it: the lease is good, and the same report again gets the same answer.
	for range 2 {
		if got := w.complete(mine, "notified"); got.GetState() != candorv1.CallState_CALL_STATE_DONE {
			t.Errorf("completed %v", got)
		}
	}
	resp := &candorv1.GetScriptResponse{}
	if err := w.ask("script", &candorv1.GetScriptRequest{Incident: id, Language: "en"}, resp); err != nil || len(resp.GetScript().GetAnswers()) == 0 {
		t.Errorf("script %v, %v", resp, err)
	}
	w.audit()
	w.nobodyNamed()
}

func TestAClaimWaitsForATaskAndTheFirstWhoWaitsGetsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 2, customers: 1})
	p := w.process()
	w.queue()
	got := make(chan int, 2)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for n := range 2 {
		wg.Go(func() {
			resp := &candorv1.ClaimResponse{}
			if err := w.ask("claim", &candorv1.ClaimRequest{Max: 5, Wait: durationpb.New(30 * time.Second)}, resp); err != nil || len(resp.GetTasks()) != 1 {
				t.Errorf("claim %d: %v, %v", n, resp, err)
			}
			got <- n
		})
		w.until("a waiting claim", func() bool { return p.metric("claims_waiting") == float64(n+1) })
	}
	for page := range 2 {
		w.order(page)
		if n := <-got; n != page {
			t.Errorf("claim %d was served as number %d", n, page)
		}
	}
	begin := time.Now()
	if tasks := w.claim(&candorv1.ClaimRequest{Wait: durationpb.New(50 * time.Millisecond)}); len(tasks) != 0 || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("claimed %v after %s", tasks, time.Since(begin))
	}
	// Whoever waits when the process stops is told to ask again, and somebody else answers.
	wg.Go(func() {
		_, err := w.bus.RequestWithin(t.Context(), patience, "calls.claim", []byte(`{"wait": "30s"}`), map[string]string{"Authorization": "Bearer " + w.bearer})
		if !again(err) {
			t.Errorf("at the stop: %v", err)
		}
	})
	w.until("a waiting claim", func() bool { return p.metric("claims_waiting") == 1 })
	p.stop()
	wg.Wait()
}

func TestNobodyIsCalledWhileTheIncidentIsPausedOrAfterItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 3})
	p := w.process()
	w.order(0)
	w.untilTasks("pending", 3)
	out := w.claim(&candorv1.ClaimRequest{Max: 2})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Reason: "wait", Channels: []candorv1.Channel{channel}}}})
	w.until("the pause", func() bool { return w.queue().GetCallable() == 0 })
	if tasks := w.claim(&candorv1.ClaimRequest{Max: 5}); len(tasks) != 0 {
		t.Errorf("claimed while paused: %v", tasks)
	}
	var refused *bus.RemoteError
	err := w.ask("renew", &candorv1.RenewRequest{Lease: out[0].GetLease(), LeaseFor: durationpb.New(time.Hour)}, &candorv1.RenewResponse{})
	if !errors.As(err, &refused) || refused.Code != bus.CodePrecondition || !strings.Contains(refused.Message, "paused") {
		t.Errorf("renewed while paused: %v", err)
	}
	if got := w.complete(out[0].GetLease(), "notified"); got.GetState() != candorv1.CallState_CALL_STATE_DONE {
		t.Errorf("completed while paused: %v", got)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	w.until("the resumption", func() bool { return w.queue().GetCallable() == 1 })
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "drill"}}})
	w.untilTasks("expired", 2)
	if tasks := w.claim(&candorv1.ClaimRequest{Max: 5}); len(tasks) != 0 {
		t.Errorf("claimed after the end: %v", tasks)
	}
	// Who was in a call may still say that the customer was told.
	if got := w.complete(out[1].GetLease(), "notified"); got.GetState() != candorv1.CallState_CALL_STATE_DONE {
		t.Errorf("completed after the end: %v", got)
	}
	w.untilSays(0, delivered, delivered)
	// The next owner finds the same.
	p.stop()
	w.process()
	w.untilTasks("expired", 1)
	w.audit()
}

func TestWhoeverAsksIsCalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 3, edit: func(p string) string { return p + "\n" }})
	place := func(slot uint32) *candorv1.CustomerPlace { return &candorv1.CustomerPlace{Incident: id, Slot: slot} }
	w.finds(map[string]*candorv1.CustomerPlace{"COD-000-001": place(1), "COD-000-002": place(2)})
	request := func(rid string, slot uint32) {
		w.append(topology.StreamCalls, topology.CallRequested(id), &candorv1.CallRequest{Id: rid, Customer: place(slot), AskedBy: "sms"})
	}
	request("one", 0) // before anybody owns the queue
	request("one", 0)
	w.append(topology.StreamCalls, topology.CallRequested(id), &candorv1.CallRequest{Id: "odd", Customer: &candorv1.CustomerPlace{Incident: id, Page: 7}})
	w.append(topology.StreamCalls, topology.CallRequested("nowhere"), &candorv1.CallRequest{Id: "nowhere", Customer: &candorv1.CustomerPlace{Incident: "nowhere"}})
	p := w.process()
	w.untilTasks("pending", 1)
	added := &candorv1.AddResponse{}
	at := noon.Add(26 * time.Hour)
	if err := w.ask("add", &candorv1.AddRequest{Incident: id, Customer: "COD-000-001", CallBackAt: timestamppb.New(at)}, added); err != nil || added.GetKnown() || added.GetTask() != "field.0.1" {
		t.Fatalf("added %v, %v", added, err)
	}
	for _, bad := range []*candorv1.AddRequest{{Incident: id, Customer: "COD-9"}, {Incident: "nowhere", Customer: "COD-000-001"}, {Incident: id, Customer: "COD-000-002", CallBackAt: timestamppb.New(noon.Add(-time.Hour))}} {
		var remote *bus.RemoteError
		if err := w.ask("add", bad, added); !errors.As(err, &remote) || remote.Code != bus.CodeNotFound && remote.Code != bus.CodeInvalid {
			t.Errorf("add %v: %v", bad, err)
		}
	}
	explain := func(code string) *candorv1.ExplainResponse {
		resp := &candorv1.ExplainResponse{}
		if err := w.ask("explain", &candorv1.ExplainRequest{Incident: id, Customer: code}, resp); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if e := explain("COD-000-001"); e.GetCallable() || e.GetState() != candorv1.CallState_CALL_STATE_WAITING || !e.GetNextAt().AsTime().Equal(at.Add(-15*time.Minute)) {
		t.Errorf("explained %v", e)
	}
	var remote *bus.RemoteError
	if err := w.ask("explain", &candorv1.ExplainRequest{Incident: id, Customer: "COD-000-002"}, &candorv1.ExplainResponse{}); !errors.As(err, &remote) || remote.Code != bus.CodeNotFound || strings.Contains(remote.Message, "page") {
		t.Errorf("explain of somebody who is not called: %v", err)
	}
	tasks := w.claim(&candorv1.ClaimRequest{Max: 5})
	if len(tasks) != 1 || tasks[0].GetPurpose() != "call_back" || tasks[0].GetPhone() != phoneOf(0, 0) {
		t.Fatalf("claimed %v", tasks)
	}
	w.complete(tasks[0].GetLease(), "notified")
	// Another owner reads the same wishes, and nobody is called again.
	p.stop()
	before := len(w.events())
	w.process()
	w.untilTasks("waiting", 1)
	w.advance(26 * time.Hour)
	w.untilTasks("pending", 1)
	if tasks = w.claim(&candorv1.ClaimRequest{Max: 5}); len(tasks) != 1 || !tasks[0].GetCallBackAt().AsTime().Equal(at) {
		t.Errorf("claimed %v", tasks)
	}
	if n := len(w.events()); n > before+2 {
		t.Errorf("the new owner wrote %d events", n-before)
	}
	// The wish that a person entered is where the others lie, for those who count them.
	n := 0
	_, err := w.bus.Read(t.Context(), topology.StreamCalls, topology.CallRequested(id), 1, func(bus.Stored) error { n++; return nil })
	if err != nil || n != 4 {
		t.Errorf("%d wishes, %v; want 4", n, err)
	}
	w.nobodyNamed()
}

func TestWhoWasOptedOutInTheMeantimeIsNotHandedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 2})
	p := w.process()
	w.order(0)
	w.untilTasks("pending", 2)
	if err := w.stops.Add(t.Context(), channel, pii.NewPhone(phoneOf(0, 0)), "person"); err != nil {
		t.Fatal(err)
	}
	w.until("the opt-out in the process", func() bool { return p.calls.Suppressions.Len() == 1 })
	tasks := w.claim(&candorv1.ClaimRequest{})
	if len(tasks) != 1 || tasks[0].GetPhone() != phoneOf(0, 1) {
		t.Errorf("claimed %v", tasks)
	}
	w.untilSays(0, suppressed)
	// Who says so to an agent is on the list as well.
	if got := w.complete(tasks[0].GetLease(), "do_not_call"); got.GetState() != candorv1.CallState_CALL_STATE_SUPPRESSED {
		t.Errorf("completed %v", got)
	}
	w.untilSays(0, suppressed, suppressed)
	w.until("the opt-out on the list", func() bool { return w.stops.Has(channel, pii.NewPhone(phoneOf(0, 1))) })
	w.nobodyNamed()
}

func TestOrdersThatOnlyAPersonCanMendAreDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 2, customers: 1})
	w.process()
	w.append(topology.StreamOrders, topology.Order(channel, topology.LaneFirst, id, "w0", 0), &candorv1.Order{
		Incident: id, Wave: "w0", Channel: channel, Page: 0, Lane: topology.LaneFirst, PlanHash: w.inc.PlanHash(),
	})
	w.pages[1].SealedSha256[0] ^= 1
	w.order(1)
	w.until("a dead letter", func() bool { return w.journal(1).DeadFor != "" })
	if why := w.journal(1).DeadFor; !strings.Contains(why, "not the one that was approved") {
		t.Errorf("dead for %q", why)
	}
	w.until("an empty queue of orders", func() bool {
		st, err := w.bus.State(t.Context(), topology.StreamOrders)
		return err == nil && st.Msgs == 0
	})
	if !strings.Contains(w.seen.String(), "never opened") {
		t.Error("nobody was told of the order without a journal")
	}
	if n := len(w.events()); n != 0 {
		t.Errorf("%d events", n)
	}
}

// Dialers go on whatever becomes of the owner, and in the end everybody was told once.
func TestOwnersAreKilledWhileDialersWork(t *testing.T) {
	t.Parallel()
	const pages, customers, dialers = 4, 60, 8
	w := newWorld(t, plan{pages: pages, customers: customers})
	w.answer = 5 * time.Second // of the answer of an owner that was killed, nothing more is heard
	a, b := w.process(oftenRenewed), w.process(oftenRenewed)
	for page := range pages {
		w.order(page)
	}
	var (
		wg   sync.WaitGroup
		told sync.Map // by customer: how often a dialer said so and was believed
		n    atomic.Int64
		busy atomic.Int64 // tasks in a dialer's hands
	)
	ctx, cancel := context.WithCancel(t.Context())
	for range dialers {
		wg.Go(func() {
			for ctx.Err() == nil {
				resp := &candorv1.ClaimResponse{}
				if err := w.ask("claim", &candorv1.ClaimRequest{Max: 3, Wait: durationpb.New(100 * time.Millisecond)}, resp); err != nil {
					if ctx.Err() == nil && !errors.Is(err, bus.ErrUnknownOutcome) { // the answer was lost with the owner
						t.Errorf("claim: %v", err)
					}
					continue
				}
				busy.Add(int64(len(resp.GetTasks())))
				for _, task := range resp.GetTasks() {
					for ctx.Err() == nil {
						err := w.ask("complete", &candorv1.CompleteRequest{Lease: task.GetLease(), Disposition: "notified"}, &candorv1.CompleteResponse{})
						if ctx.Err() == nil && err != nil {
							t.Errorf("complete %s: %v", task.GetTask(), err)
						}
						count, _ := told.LoadOrStore(task.GetTask(), new(atomic.Int64))
						count.(*atomic.Int64).Add(1)
						n.Add(1)
						busy.Add(-1)
						break
					}
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	for round, victim := range []*process{a, b, w.process(oftenRenewed)} {
		w.until("some calls", func() bool { return n.Load() >= int64(20*(round+1)) })
		next := w.process(oftenRenewed) // stands by
		owner := victim
		if victim.metric("owner") == 0 {
			for _, p := range []*process{a, b, next} {
				if p.metric("owner") == 1 {
					owner = p
				}
			}
		}
		owner.kill()
	}
	last := w.process(oftenRenewed)
	_ = last
	// Leases whose answers were lost end by themselves, and cool down.
	defer func() {
		if t.Failed() {
			t.Log(w.queue(), w.now())
		}
	}()
	w.until("everybody told", func() bool {
		if q := w.queue(); q.GetStates()["done"] == pages*customers {
			return true
		} else if q.GetCallable() == 0 && busy.Load() == 0 {
			w.advance(5 * time.Minute)
		}
		return false
	})
	cancel()
	wg.Wait()
	for page := range pages {
		want := make([]candorv1.NoticeState, customers)
		for i := range want {
			want[i] = delivered
		}
		w.untilSays(page, want...)
		if st := w.journal(page); st.Accepted != customers || st.Duplicates != 0 {
			t.Errorf("page %d: %d told, %d twice", page, st.Accepted, st.Duplicates)
		}
	}
	told.Range(func(task, count any) bool {
		if c := count.(*atomic.Int64).Load(); c != 1 {
			t.Errorf("customer %v was told %d times", task, c)
		}
		return true
	})
	if leases := w.audit(); leases < pages*customers {
		t.Errorf("%d leases", leases)
	}
	w.nobodyNamed()
}

func TestAnOwnerThatIsPrecededReadsAnewAndForgetsWhatItDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 2})
	p := w.process()
	w.order(0)
	w.untilTasks("pending", 2)
	// Somebody else takes over: the first thing they do is to write to the incident.
	w.append(topology.StreamCalls, topology.CallEvents(id), &candorv1.CallEvents{
		EntryId: 7, OccurredAt: timestamppb.New(noon), Owner: 42, Events: []*candorv1.CallEvent{owned()},
	})
	_, err := w.bus.RequestWithin(t.Context(), patience, "calls.claim", []byte(`{}`), map[string]string{"Authorization": "Bearer " + w.bearer})
	if !again(err) {
		t.Errorf("the old owner answers %v, want that it is to be asked again", err)
	}
	// They are gone, so it is the old one's turn once more; nothing of what was refused is left.
	tasks := w.claim(&candorv1.ClaimRequest{Max: 5, Wait: durationpb.New(time.Second)})
	if len(tasks) != 2 || tasks[0].GetFence() != 1 {
		t.Errorf("claimed %v", tasks)
	}
	if n := p.metric("take_overs_total"); n != 2 {
		t.Errorf("took over %v times", n)
	}
	if leases := w.audit(); leases != 2 {
		t.Errorf("%d leases", leases)
	}
}

func TestAnIncidentThatAnotherOwnerHasBegunIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	p := w.process()
	w.queue()
	w.append(topology.StreamCalls, topology.CallEvents(id), &candorv1.CallEvents{
		EntryId: 7, OccurredAt: timestamppb.New(noon), Owner: 42, Events: []*candorv1.CallEvent{owned(), {Event: &candorv1.CallEvent_Queued{
			Queued: &candorv1.CallsQueued{Wave: "w0", Slots: []uint32{0, 1}, Priority: 3, Purpose: "first_notice"},
		}}},
	})
	w.untilTasks("pending", 1)
	if n := p.metric("take_overs_total"); n != 2 {
		t.Errorf("took over %v times", n)
	}
}

func TestWhatTheJournalMissedIsWrittenByTheNextOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 2})
	p := w.process(func(c *Config) { c.RecordEvery = time.Minute }) // it dies before
	w.order(0)
	w.untilTasks("pending", 2)
	tasks := w.claim(&candorv1.ClaimRequest{Max: 2})
	w.complete(tasks[0].GetLease(), "notified")
	p.kill()
	w.untilSays(0, planned, planned)
	w.process(oftenRenewed)
	w.untilSays(0, delivered, planned)
	// The lease of the other one is as good as before.
	if got := w.complete(tasks[1].GetLease(), "notified"); got.GetState() != candorv1.CallState_CALL_STATE_DONE || got.GetLate() {
		t.Errorf("completed %v", got)
	}
	w.untilSays(0, delivered, delivered)
	before := w.journal(0).LastSeq
	w.order(0)
	w.until("an empty queue of orders", func() bool {
		st, err := w.bus.State(t.Context(), topology.StreamOrders)
		return err == nil && st.Msgs == 0
	})
	if after := w.journal(0).LastSeq; after != before {
		t.Errorf("the journal was written to again: %d, %d", before, after)
	}
}

func TestALeaseWithoutAReportIsUncertainAndALateReportCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	p := w.process()
	w.order(0)
	w.untilTasks("pending", 1)
	task := w.claim(&candorv1.ClaimRequest{})[0]
	w.advance(11 * time.Minute)
	w.untilTasks("uncertain", 1)
	if n := p.metric("leases_expired_total"); n != 1 {
		t.Errorf("%v leases expired", n)
	}
	if tasks := w.claim(&candorv1.ClaimRequest{}); len(tasks) != 0 {
		t.Errorf("called again at once: %v", tasks)
	}
	if got := w.complete(task.GetLease(), "notified"); !got.GetLate() || got.GetState() != candorv1.CallState_CALL_STATE_DONE {
		t.Errorf("completed %v", got)
	}
	w.untilSays(0, delivered)
}

func TestAnIncidentThatCannotBeReadDoesNotKeepOthersFromBeingCalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	w.append(topology.StreamCalls, topology.CallEvents("nowhere"), &candorv1.CallEvents{
		EntryId: 7, OccurredAt: timestamppb.New(noon), Events: []*candorv1.CallEvent{owned()},
	})
	w.process()
	w.order(0)
	w.untilTasks("pending", 1)
	if !strings.Contains(w.seen.String(), "calls of the incident are not served") {
		t.Errorf("nobody was told: %s", w.seen)
	}
}
