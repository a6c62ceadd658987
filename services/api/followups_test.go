package api_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// bookkeeper plays the ledger: what it says may change.
type bookkeeper struct {
	mu     sync.Mutex
	status *candorv1.Status
	people map[string]*candorv1.PeopleResponse // by wave; empty for all of them
	// meanwhile happens once, when the status is asked for and before the answer arrives.
	meanwhile func()
}

func serveBooks(h *house) *bookkeeper {
	h.t.Helper()
	k := &bookkeeper{status: &candorv1.Status{}, people: map[string]*candorv1.PeopleResponse{}}
	answer(h, "ledger", "status", func(*candorv1.GetStatusRequest, map[string]string) (*candorv1.GetStatusResponse, map[string]string, error) {
		k.mu.Lock()
		status, meanwhile := proto.CloneOf(k.status), k.meanwhile
		k.meanwhile = nil
		k.mu.Unlock()
		if status.GetPeople().GetOnFile() == 0 { // a test that does not count them
			if status.People == nil {
				status.People = &candorv1.PeopleStatus{}
			}
			status.People.OnFile = 1 << 40
		}
		if meanwhile != nil {
			meanwhile()
		}
		return &candorv1.GetStatusResponse{Status: status}, nil, nil
	})
	// A page at a time, as a long answer comes.
	answer(h, "ledger", "people", func(q *candorv1.PeopleRequest, header map[string]string) (*candorv1.PeopleResponse, map[string]string, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		all := k.people[strings.Join(q.GetWaves(), ",")].GetPages()
		n := len(header["after"])
		if n >= len(all) {
			return &candorv1.PeopleResponse{}, nil, nil
		}
		resp := &candorv1.PeopleResponse{Pages: all[n : n+1]}
		if n+1 == len(all) {
			return resp, nil, nil
		}
		return resp, map[string]string{"next": strings.Repeat("x", n+1)}, nil
	})
	return k
}

func (k *bookkeeper) say(status *candorv1.Status) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status = status
}

// told says of a wave whom it told by text message, on one page.
func (k *bookkeeper) told(wave string, page uint32, size int, slots ...int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	states := make([]byte, size)
	for i := range states {
		states[i] = byte(failed)
	}
	for _, slot := range slots {
		states[slot] = byte(candorv1.NoticeState_NOTICE_STATE_ACCEPTED)
	}
	if k.people[wave] == nil {
		k.people[wave] = &candorv1.PeopleResponse{}
	}
	k.people[wave].Pages = append(k.people[wave].Pages, &candorv1.PagePeople{
		Page: page, Channels: []*candorv1.ChannelStates{{Channel: sms, States: states}},
	})
}

// happen appends what other services decide.
func (h *house) happen(id string, events ...*candorv1.BreachEvent) *incident.Incident {
	h.t.Helper()
	log := incident.NewLog(h.bus, h.now)
	inc, err := log.Load(h.t.Context(), id)
	for _, e := range events {
		if err == nil {
			inc, err = log.Append(h.t.Context(), inc, incident.Service("planner"), e)
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return inc
}

func planned(wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{Wave: wave}}}
}

func decision(name string, due time.Time, what candorv1.FollowUpDecision, wave, base, reason string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: name, DueAt: timestamppb.New(due), Decision: what, Wave: wave, Base: base, Reason: reason,
	}}}
}

// factAt waits until others were told how an incident stands.
func (h *house) factAt(fact string, inc *candorv1.Incident) {
	h.t.Helper()
	told := &candorv1.Incident{}
	err := h.bus.Follow(h.t.Context(), topology.StreamBreach, []string{topology.BreachFact(fact, inc.GetId())}, 1, func(m bus.Stored) error {
		if err := proto.Unmarshal(m.Data, told); err != nil || told.GetSequence() < inc.GetSequence() {
			return err
		}
		return errFound
	}, nil)
	if !errors.Is(err, errFound) || told.GetState() != inc.GetState() {
		h.t.Fatalf("others were told %v, %v", told.GetState(), err)
	}
}

const (
	sendIt = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND
	skipIt = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP
	askIt  = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK
)

// news is an update's file.
func news(front string) string {
	return `---
title: What we found since
` + front + `
sms:
  en: "{{organisation.short_name}}: We are sorry. We know more. Call {{organisation.phone}}, code {{code}}."
  es: "{{organisation.short_name}}: Le pedimos disculpas. Sabemos algo mas. Llame gratis al {{organisation.phone}} y diga {{code}}."
---
`
}

func (c caller) update(t *testing.T, q *candorv1.UpdateRequest) (*candorv1.UpdateResponse, error) {
	t.Helper()
	resp, err := c.incidents.Update(t.Context(), connect.NewRequest(q))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

func TestUpdateIsDraftedAndApproved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 20)
	h.happen("leak-1", planned("w0"))
	k := serveBooks(h)
	k.told("", page, 10, 0, 1, 2)
	k.told("", page+1, 10, 7)
	k.told("w0", page, 10, 1)
	at := timestamppb.New(noon.Add(26 * time.Hour))
	q := &candorv1.UpdateRequest{Incident: "leak-1", Text: news(""), At: at, DryRun: true}
	dry, err := dana.update(t, q)
	if err != nil {
		t.Fatal(err)
	}
	a := dry.GetAddition().GetAddition()
	if a.GetWave() != "" || dry.GetAddition().GetHash() != "" || a.GetCustomers() != 4 || a.GetAudience() != "told" || a.GetKind() != "update" ||
		len(a.GetPlan().GetChannels()) != 1 || a.GetPlan().GetChannels()[0].GetNotices() != 4 || a.GetPlan().GetChannels()[0].GetCost() == "" {
		t.Errorf("trial: %v", dry.GetAddition())
	}
	if p := dry.GetPreview(); len(p) != 2 || strings.Contains(p[0].GetText()+p[1].GetText(), "Testgiven") || !strings.Contains(p[0].GetText()+p[1].GetText(), "We know more.") {
		t.Errorf("preview is %v", p)
	}
	q.DryRun = false
	drafted, err := dana.update(t, q)
	if err != nil {
		t.Fatal(err)
	}
	add := drafted.GetAddition()
	if add.GetAddition().GetWave() != "w1" || len(add.GetHash()) != 64 || !add.GetAddition().GetAt().AsTime().Equal(at.AsTime()) || add.GetAddition().GetText() != news("") {
		t.Fatalf("drafted %v", add)
	}
	k.told("", page, 10, 0, 1, 2, 3) // who was told since makes no other update of it
	again, err := dana.update(t, q)
	if err != nil || again.GetAddition().GetHash() != add.GetHash() {
		t.Errorf("drafted again: %v, %v", again.GetAddition(), err)
	}
	correction, err := dana.update(t, &candorv1.UpdateRequest{Incident: "leak-1", Text: news("corrects: w0"), WithNext: true})
	if err != nil {
		t.Fatal(err)
	}
	if c := correction.GetAddition().GetAddition(); c.GetKind() != "correction" || c.GetCorrects() != "w0" || c.GetWave() != "w2" || c.GetCustomers() != 1 || !c.GetWithNext() {
		t.Errorf("correction is %v", c)
	}
	preview, err := erin.incidents.Preview(t.Context(), connect.NewRequest(&candorv1.PreviewRequest{Incident: "leak-1", Count: 2, Wave: "w1"}))
	if err != nil || len(preview.Msg.GetMessages()) != 2 || !strings.Contains(preview.Msg.String(), "We know more.") {
		t.Errorf("preview of the update: %v, %v", preview, err)
	}
	standing, err := erin.incidents.Preview(t.Context(), connect.NewRequest(&candorv1.PreviewRequest{Incident: "leak-1", Count: 4, Wave: "standing"}))
	if err != nil || len(standing.Msg.GetMessages()) != 4 || !strings.Contains(standing.Msg.String(), "No news yet") {
		t.Errorf("preview of what is prepared: %v, %v", standing, err)
	}
	_, err = erin.incidents.Preview(t.Context(), connect.NewRequest(&candorv1.PreviewRequest{Incident: "leak-1", Count: 2, Wave: "w9"}))
	wantCode(t, err, connect.CodeNotFound, "no wave w9")

	_, err = h.approve(h.as(h.token("dana", token.Approver)), "leak-1", add.GetHash())
	wantCode(t, err, connect.CodePermissionDenied, "second person")
	h.wait(51 * time.Hour)
	_, err = h.approve(erin, "leak-1", add.GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "25h0m0s ago", "draft it again")
	h.wait(-2 * time.Hour)
	approved, err := h.approve(erin, "leak-1", add.GetHash())
	if err != nil {
		t.Fatal(err)
	}
	if told := h.fact(topology.FactUpdated, "leak-1"); told.GetSequence() != approved.GetSequence() || told.GetState() != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
		t.Errorf("others were told %v", told)
	}
	if _, err := h.approve(erin, "leak-1", add.GetHash()); err != nil {
		t.Errorf("approved again: %v", err)
	}
}

// The second person is told of everybody whom the planner will take, and for what the correction waits.
func TestACorrectionIsForWhoeverTheWordsReached(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 20)
	resend := &candorv1.Addition{Wave: "w0-r1", Kind: incident.KindResend, Base: "w0"}
	h.happen(
		"leak-1", planned("w0"),
		&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: resend, Hash: []byte("r1")}}},
		&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: "w0-r1", Hash: []byte("r1")}}},
		planned("w0-r1"),
	)
	k := serveBooks(h)
	k.told("w0", page, 10, 1)
	k.told("w0,w0-r1", page, 10, 1, 2)
	q := &candorv1.UpdateRequest{Incident: "leak-1", Text: news("corrects: w0"), DryRun: true}
	for _, tt := range []struct {
		waits   string
		channel *candorv1.ChannelStatus
	}{
		{"", &candorv1.ChannelStatus{Channel: sms, States: map[string]uint64{"accepted": 2}}},
		{"w0-r1", &candorv1.ChannelStatus{Channel: sms, States: map[string]uint64{"accepted": 1, "waiting": 1}}},
	} {
		k.say(&candorv1.Status{Waves: []*candorv1.WaveStatus{{Wave: "w0-r1", Channels: []*candorv1.ChannelStatus{tt.channel}}}})
		dry, err := dana.update(t, q)
		if err != nil {
			t.Fatal(err)
		}
		if n := dry.GetAddition().GetAddition().GetCustomers(); n != 2 || dry.GetWaitsFor() != tt.waits {
			t.Errorf("for %d customers, waits for %q; want 2, %q", n, dry.GetWaitsFor(), tt.waits)
		}
	}
}

func TestUpdateIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	answer(h, "planner", "seal", func(*candorv1.SealRequest, map[string]string) (*candorv1.SealResponse, map[string]string, error) {
		return &candorv1.SealResponse{}, nil, nil
	})
	h.told(dana, erin, "leak-1", 4)
	h.happen("leak-1", planned("w0"))
	serveBooks(h)
	h.declare(dana, h.declaration(dana, "draft"))
	h.told(dana, erin, "closed", 4)
	h.happen("closed", &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{}}})
	h.told(dana, erin, "aborted", 4)
	if _, err := dana.incidents.Abort(t.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: "aborted", Reason: "test"})); err != nil {
		t.Fatal(err)
	}
	if _, err := dana.update(t, &candorv1.UpdateRequest{Incident: "leak-1", Text: news(""), Audience: "everyone"}); err != nil { // w1 waits
		t.Fatal(err)
	}
	past := timestamppb.New(noon.Add(-2 * time.Minute))
	for _, tt := range []struct {
		name string
		q    *candorv1.UpdateRequest
		code connect.Code
		says []string
	}{
		{"unknown", &candorv1.UpdateRequest{Incident: "none", Text: news("")}, connect.CodeNotFound, nil},
		{"draft", &candorv1.UpdateRequest{Incident: "draft", Text: news("")}, connect.CodeFailedPrecondition, []string{"is draft", "approve it first"}},
		{"closing", &candorv1.UpdateRequest{Incident: "closed", Text: news("")}, connect.CodeFailedPrecondition, []string{"is closing", "last word"}},
		{"aborted", &candorv1.UpdateRequest{Incident: "aborted", Text: news("")}, connect.CodeFailedPrecondition, []string{"is aborted", "another id"}},
		{"nobody told", &candorv1.UpdateRequest{Incident: "leak-1", Text: news("")}, connect.CodeFailedPrecondition, []string{"no customer belongs to told"}},
		{"nobody like that", &candorv1.UpdateRequest{Incident: "leak-1", Text: news(""), Audience: "country = MX"}, connect.CodeFailedPrecondition, []string{"no customer belongs to country = MX"}},
		{"no audience", &candorv1.UpdateRequest{Incident: "leak-1", Text: news(""), Audience: "teir = 1"}, connect.CodeInvalidArgument, []string{"audience cannot be read, column 1", "did you mean tier?"}},
		{"nothing to correct", &candorv1.UpdateRequest{Incident: "leak-1", Text: news("corrects: w7")}, connect.CodeInvalidArgument, []string{"no wave w7"}},
		{"nothing sent to correct", &candorv1.UpdateRequest{Incident: "leak-1", Text: news("corrects: w1")}, connect.CodeFailedPrecondition, []string{"w1 has not gone out"}},
		{"past", &candorv1.UpdateRequest{Incident: "leak-1", Text: news("audience: everyone"), At: past}, connect.CodeInvalidArgument, []string{"is past"}},
		{"both", &candorv1.UpdateRequest{Incident: "leak-1", Text: news(""), At: timestamppb.New(noon), WithNext: true}, connect.CodeInvalidArgument, []string{"one of the two"}},
		{"mistakes", &candorv1.UpdateRequest{Incident: "leak-1", Text: "---\ntitel: x\nsms:\n  en: \"x {{cod}}\"\n---\n"}, connect.CodeInvalidArgument, []string{"update:2:1", "title", "update:3:1"}},
		{"empty", &candorv1.UpdateRequest{Incident: "leak-1"}, connect.CodeInvalidArgument, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := dana.update(t, tt.q)
			wantCode(t, err, tt.code, tt.says...)
		})
	}
}

func TestFollowUpIsDecidedByAPerson(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	k := serveBooks(h)
	first, second := noon.Add(72*time.Hour), noon.Add(7*24*time.Hour)
	decide := func(name string, due time.Time, answer candorv1.FollowUpAnswer) (*candorv1.DecideFollowUpResponse, error) {
		resp, err := dana.incidents.DecideFollowUp(t.Context(), connect.NewRequest(&candorv1.DecideFollowUpRequest{
			Incident: "leak-1", Answer: answer, Name: name, DueAt: timestamppb.New(due),
		}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	send, skip := candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SEND, candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SKIP
	_, err := decide("apology", first, send)
	wantCode(t, err, connect.CodeFailedPrecondition, "no follow-up", "candor timeline")
	h.happen("leak-1", planned("w0"), decision("apology", first, askIt, "", "", "late"), decision("weekly", second, askIt, "", "", "late"), decision("other", second, askIt, "", "", "no_text"))
	for _, other := range []time.Time{first, second} {
		_, err = decide("weekly", other, skip)
		wantCode(t, err, connect.CodeFailedPrecondition, "apology", "asks now", "candor followup leak-1")
	}
	sent, err := decide("apology", first, send)
	if err != nil {
		t.Fatal(err)
	}
	if d := sent.GetDecided(); d.GetName() != "apology" || !d.GetDueAt().AsTime().Equal(first) || d.GetDecision() != sendIt || d.GetWave() != "w1" || d.GetBase() != "apology" || d.GetReason() != "person" {
		t.Errorf("decided %v", d)
	}
	h.factAt(topology.FactUpdated, sent.GetIncident())
	// The answer was lost, and the request comes once more.
	if again, err := decide("apology", first, send); err != nil || again.GetDecided().GetWave() != "w1" || len(again.GetIncident().GetAsks().GetName()) == 0 {
		t.Errorf("again %v, %v", again, err)
	}
	_, err = decide("apology", first, skip)
	wantCode(t, err, connect.CodeFailedPrecondition, "weekly", "asks now")
	_, err = decide("weekly", second, send)
	wantCode(t, err, connect.CodeFailedPrecondition, "w1", "never overlap")
	h.happen("leak-1", planned("w1"))
	k.say(&candorv1.Status{Waves: []*candorv1.WaveStatus{{Wave: "w1", Channels: []*candorv1.ChannelStatus{{Channel: email, States: map[string]uint64{"waiting": 1}}}}}})
	_, err = decide("weekly", second, send)
	wantCode(t, err, connect.CodeFailedPrecondition, "w1", "never overlap")
	skipped, err := decide("weekly", second, skip)
	if err != nil || skipped.GetDecided().GetName() != "weekly" || skipped.GetDecided().GetDecision() != skipIt || skipped.GetDecided().GetReason() != "person" || skipped.GetDecided().GetWave() != "" {
		t.Errorf("skipped %v, %v", skipped, err)
	}
	k.say(&candorv1.Status{})
	_, err = decide("other", second, send)
	wantCode(t, err, connect.CodeFailedPrecondition, "nobody prepared words", "candor update leak-1")
}

// What was planned while the ledger was being asked is still going out, whatever the ledger said before.
func TestAnAnswerDoesNotOverlapWithWhatBeganMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	k := serveBooks(h)
	due := noon.Add(72 * time.Hour)
	h.happen("leak-1", planned("w0"), decision("apology", due, askIt, "", "", "late"))
	k.meanwhile = func() {
		h.happen("leak-1", decision("weekly", due.Add(time.Hour), sendIt, "w1", "apology", "prepared"), planned("w1"))
		k.say(&candorv1.Status{Waves: []*candorv1.WaveStatus{{Wave: "w1", Channels: []*candorv1.ChannelStatus{{Channel: email, States: map[string]uint64{"waiting": 1}}}}}})
	}
	q := &candorv1.DecideFollowUpRequest{
		Incident: "leak-1", Answer: candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SEND, Name: "apology", DueAt: timestamppb.New(due),
	}
	_, err := dana.incidents.DecideFollowUp(t.Context(), connect.NewRequest(q))
	wantCode(t, err, connect.CodeFailedPrecondition, "w1", "never overlap")
	k.say(&candorv1.Status{JournalLast: 8, FoldedTo: 7})
	_, err = dana.incidents.DecideFollowUp(t.Context(), connect.NewRequest(q))
	wantCode(t, err, connect.CodeUnavailable, "has not read everything", "try again")
}
