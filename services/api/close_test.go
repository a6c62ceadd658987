package api_test

import (
	"maps"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	closing = candorv1.IncidentState_INCIDENT_STATE_CLOSING
	closed  = candorv1.IncidentState_INCIDENT_STATE_CLOSED
	running = candorv1.IncidentState_INCIDENT_STATE_DECLARED
	drain   = candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN
)

func (c caller) close(t *testing.T, q *candorv1.CloseRequest) (*candorv1.CloseResponse, error) {
	t.Helper()
	resp, err := c.incidents.Close(t.Context(), connect.NewRequest(q))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// left is a status with people who are untold, wishes and calls that are open.
func left(untold map[string]uint64, wishes, calls uint64) *candorv1.Status {
	return &candorv1.Status{
		People: &candorv1.PeopleStatus{UnreachedReasons: maps.Clone(untold)}, CallRequestsOpen: wishes,
		Waves: []*candorv1.WaveStatus{{Wave: "w0", Channels: []*candorv1.ChannelStatus{
			{Channel: sms, States: map[string]uint64{"uncertain": 3, "accepted": 5}},
			{Channel: candorv1.Channel_CHANNEL_CALL, States: map[string]uint64{"waiting": calls, "delivered": 4}},
		}}},
	}
}

func TestIncidentIsClosedAndReopened(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	h.happen("leak-1", planned("w0"))
	k := serveBooks(h)
	k.say(left(map[string]uint64{"failed": 0}, 0, 0))
	dry, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1", DryRun: true})
	if err != nil || dry.GetIncident().GetState() != running || dry.GetFollowUpsDropped() != 12 || len(dry.GetUntold()) != 0 {
		t.Errorf("trial: %v, %v", dry, err)
	}
	reopen := func() (*candorv1.ReopenResponse, error) {
		resp, err := dana.incidents.Reopen(t.Context(), connect.NewRequest(&candorv1.ReopenRequest{Incident: "leak-1", Reason: "another server"}))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	}
	_, err = reopen()
	wantCode(t, err, connect.CodeFailedPrecondition, "only a closed one")

	got, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1"})
	if err != nil || got.GetIncident().GetState() != closing || got.GetAddition() != nil {
		t.Fatalf("closed: %v, %v", got, err)
	}
	h.factAt(topology.FactUpdated, got.GetIncident())
	inc := h.happen("leak-1")
	if c := inc.Closing(); c.GetWave() != "w1" || c.GetBase() != "closing" {
		t.Errorf("closing note is %v", c)
	}
	again, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1"})
	if err != nil || again.GetIncident().GetSequence() != got.GetIncident().GetSequence() {
		t.Errorf("closed again: %v, %v", again, err)
	}
	// What is on its way can be stopped, and nothing is added.
	paused, err := dana.incidents.Pause(t.Context(), connect.NewRequest(&candorv1.PauseRequest{Incident: "leak-1"}))
	if err != nil || paused.Msg.GetIncident().GetState() != closing || len(paused.Msg.GetIncident().GetPausedChannels()) != 1 {
		t.Errorf("paused: %v, %v", paused, err)
	}
	if _, err := dana.incidents.Resume(t.Context(), connect.NewRequest(&candorv1.ResumeRequest{Incident: "leak-1"})); err != nil {
		t.Error(err)
	}
	_, err = dana.resend(t, &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed"})
	wantCode(t, err, connect.CodeFailedPrecondition, "is closing", "last word")

	h.happen("leak-1", &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: &candorv1.Closed{Journals: 2}}})
	h.fact(topology.FactClosed, "leak-1")
	_, err = dana.update(t, &candorv1.UpdateRequest{Incident: "leak-1", Text: news("")})
	wantCode(t, err, connect.CodeFailedPrecondition, "is closed", "candor reopen")
	draft, err := reopen()
	if err != nil || draft.GetAddition().GetAddition().GetWave() != "reopen-1" || draft.GetAddition().GetAddition().GetChosenBy() != "another server" {
		t.Fatalf("new beginning: %v, %v", draft, err)
	}
	if same, err := reopen(); err != nil || same.GetAddition().GetHash() != draft.GetAddition().GetHash() {
		t.Errorf("drafted again: %v, %v", same, err)
	}
	opened, err := h.approve(erin, "leak-1", draft.GetAddition().GetHash())
	if err != nil || opened.GetState() != running {
		t.Fatalf("reopened: %v, %v", opened.GetState(), err)
	}
	h.factAt(topology.FactUpdated, opened)

	// Closed for the second time, and then shredded: nobody can begin it again.
	if _, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1"}); err != nil {
		t.Fatal(err)
	}
	if c := h.happen("leak-1", &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: &candorv1.Closed{}}}).Closing(); c.GetWave() != "w2" {
		t.Errorf("second closing note is %v", c)
	}
	if draft, err = reopen(); err != nil {
		t.Fatal(err)
	}
	shredded, err := dana.incidents.Shred(t.Context(), connect.NewRequest(&candorv1.ShredRequest{Incident: "leak-1"}))
	if err != nil || shredded.Msg.GetIncident().GetState() != candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		t.Fatalf("shredded: %v, %v", shredded, err)
	}
	_, err = h.approve(erin, "leak-1", draft.GetAddition().GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "shredded")
}

func TestClosingIsRefusedWhilePeopleAreLeft(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	h.happen("leak-1", planned("w0"))
	k := serveBooks(h)
	k.say(left(map[string]uint64{"failed:bounced": 7, "failed:twilio_30003": 2, "not_in_wave": 1}, 3, 4))
	name := func(calls candorv1.CallsAtClose, wishes bool, reasons ...string) *candorv1.CloseRequest {
		return &candorv1.CloseRequest{Incident: "leak-1", Untold: reasons, CallRequests: wishes, Calls: calls}
	}
	for _, tt := range []struct {
		name string
		q    *candorv1.CloseRequest
	}{
		{"nothing is named", name(0, false)},
		{"a reason is left out", name(drain, true, "failed")},
		{"wishes are left out", name(drain, false, "failed", "not_in_wave")},
		{"calls are left out", name(0, true, "failed", "not_in_wave")},
		{"half a word is no reason", name(drain, true, "fail", "not_in_wave")},
	} {
		_, err := dana.close(t, tt.q)
		wantCode(t, err, connect.CodeFailedPrecondition, "10 (7 failed:bounced, 2 failed:twilio_30003, 1 not_in_wave)", "wishes to be called that are open: 3",
			"calls that are not ended: 4", "candor close leak-1 --untold failed:bounced,failed:twilio_30003,not_in_wave --despite-call-requests --calls drain")
	}
	q := name(drain, true, "failed", "not_in_wave")
	got, err := dana.close(t, q)
	if err != nil {
		t.Fatal(err)
	}
	add := got.GetAddition()
	if a := add.GetAddition(); a.GetWave() != "close-1" || a.GetKind() != "close" || a.GetUntold()["failed:bounced"] != 7 || a.GetCallRequestsOpen() != 3 ||
		a.GetClosing().GetCalls() != drain || a.GetClosing().GetWave() != "w1" || got.GetIncident().GetState() != running {
		t.Errorf("drafted %v", got)
	}
	if same, err := dana.close(t, q); err != nil || same.GetAddition().GetHash() != add.GetHash() {
		t.Errorf("drafted again: %v, %v", same, err)
	}

	approve := func() error {
		_, err := h.approve(erin, "leak-1", add.GetHash())
		return err
	}
	for _, tt := range []struct {
		name string
		now  *candorv1.Status
		says string
	}{
		{"more of a reason", left(map[string]uint64{"failed:bounced": 8}, 3, 0), "8 customers"},
		{"another reason", left(map[string]uint64{"failed:other": 1}, 3, 0), "failed:other"},
		{"more wishes", left(nil, 4, 0), "4 customers"},
	} {
		k.say(tt.now)
		wantCode(t, approve(), connect.CodeFailedPrecondition, tt.says, "draft it again with candor close")
	}
	dead := left(nil, 0, 9)
	dead.DeadLetters = 1
	k.say(dead)
	wantCode(t, approve(), connect.CodeFailedPrecondition, "the end would wait", "candor deadletter list")
	k.say(left(map[string]uint64{"failed:bounced": 6}, 1, 9))
	if err := approve(); err != nil {
		t.Fatal(err)
	}
	if inc := h.happen("leak-1"); inc.State != closing || inc.Closing().GetWave() != "w1" || inc.KindOf("w1") != "closing_note" {
		t.Errorf("incident is %v, %v", inc.State, inc.Closing())
	}
}

// The name of the closing note goes to whatever is sent first.
func TestClosingNoteNeedsItsOwnName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	k := serveBooks(h)
	k.say(left(map[string]uint64{"failed:x": 1}, 0, 0))
	got, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1", Untold: []string{"failed:x"}})
	if err != nil {
		t.Fatal(err)
	}
	taken := got.GetAddition().GetAddition().GetClosing().GetWave()
	h.happen("leak-1", planned("w0"), decision("apology", noon, sendIt, taken, "apology", "prepared"))
	_, err = h.approve(erin, "leak-1", got.GetAddition().GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, taken, "draft it again")
	_, err = erin.incidents.Reject(t.Context(), connect.NewRequest(&candorv1.RejectRequest{Incident: "leak-1", Wave: "close-1", Reason: "again"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.approve(erin, "leak-1", got.GetAddition().GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "rejected", "candor close")
	if got, err = dana.close(t, &candorv1.CloseRequest{Incident: "leak-1", Untold: []string{"failed"}}); err != nil || got.GetAddition().GetAddition().GetWave() != "close-2" {
		t.Errorf("drafted again: %v, %v", got, err)
	}
}

func TestTimelineSaysWhatComes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin, vera := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver)), h.as(h.token("Vera", token.Viewer))
	timeline := func(c caller, q *candorv1.GetTimelineRequest) (*candorv1.Timeline, error) {
		resp, err := c.incidents.GetTimeline(t.Context(), connect.NewRequest(q))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetTimeline(), nil
	}
	h.declare(dana, h.declaration(dana, "draft"))
	if tl, err := timeline(vera, &candorv1.GetTimelineRequest{Incident: "draft"}); err != nil || len(tl.GetEntries()) != 0 || len(tl.GetNotes()) != 1 || tl.GetTimeZone() != "America/New_York" {
		t.Errorf("of a draft: %v, %v", tl, err)
	}
	_, page := h.told(dana, erin, "leak-1", 10)
	h.happen("leak-1", planned("w0"))
	k := serveBooks(h)
	k.told("", page, 5, 0, 1, 2)
	k.say(&candorv1.Status{Waves: []*candorv1.WaveStatus{{Wave: "w0", Channels: []*candorv1.ChannelStatus{
		{Channel: sms, States: map[string]uint64{"accepted": 1, "delivered": 2}, Settled: true, FirstAcceptedAt: timestamppb.New(noon), LastAcceptedAt: timestamppb.New(noon.Add(60))},
	}}}})
	h.journal("leak-1", "w0", "w0", "en", sms, page, 5)
	at := noon.Add(48 * 3600e9)
	up, err := dana.update(t, &candorv1.UpdateRequest{Incident: "leak-1", Text: news(""), At: timestamppb.New(at)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.approve(erin, "leak-1", up.GetAddition().GetHash()); err != nil {
		t.Fatal(err)
	}
	words := func(tl *candorv1.Timeline) string {
		var all []string
		for _, e := range tl.GetEntries() {
			w := candorv1.Word(e.GetState()) + " " + e.GetKind() + " " + e.GetWave() + e.GetName() + " " + e.GetDueAt().AsTime().Format("02 15:04")
			for _, ch := range e.GetChannels() {
				w += " " + topology.ChannelToken(ch.GetChannel())
				for _, win := range ch.GetWindows() {
					w += " " + win.GetFrom().AsTime().Format("02 15:04") + "-" + win.GetUntil().AsTime().Format("02 15:04")
				}
			}
			all = append(all, w)
		}
		return strings.Join(all, "\n")
	}
	tl, err := timeline(vera, &candorv1.GetTimelineRequest{Incident: "leak-1", Until: timestamppb.New(noon.Add(8 * 24 * 3600e9))})
	want := `past first_notice w0 23 17:00 sms 23 17:00-23 17:00
coming update w1 25 17:00 sms 25 17:00-25 17:01
coming follow_up apology 26 17:00 email 26 17:00-26 17:01
coming follow_up weekly 30 15:00 sms 30 15:00-30 15:01 email 30 15:00-30 15:01`
	if err != nil || words(tl) != want {
		t.Errorf("timeline is\n%s\n%v, want\n%s", words(tl), err, want)
	}
	if n := tl.GetEntries()[1].GetChannels()[0].GetCustomers(); n != 3 {
		t.Errorf("%d get the update, want 3", n)
	}

	mine, err := timeline(dana, &candorv1.GetTimelineRequest{Incident: "leak-1", Customer: "C000000", Until: timestamppb.New(noon.Add(4 * 24 * 3600e9))})
	want = `past first_notice w0 23 17:00 sms 24 03:00-24 03:00
coming update w1 25 17:00 sms 25 17:00-25 17:01
coming follow_up apology 26 17:00 email 26 17:00-26 17:01`
	if err != nil || words(mine) != want || mine.GetEntries()[0].GetChannels()[0].GetNotice() != candorv1.NoticeState_NOTICE_STATE_ACCEPTED {
		t.Errorf("timeline of one is\n%s\n%v, want\n%s", words(mine), err, want)
	}
	// Whom nothing reached, no follow-up follows.
	other, err := timeline(dana, &candorv1.GetTimelineRequest{Incident: "leak-1", Customer: "C000008"})
	if err != nil || words(other) != "running first_notice w0 23 17:00 sms 23 17:00-23 17:01" {
		t.Errorf("timeline of another is\n%s\n%v", words(other), err)
	}
	_, err = timeline(vera, &candorv1.GetTimelineRequest{Incident: "leak-1", Customer: "C000000"})
	wantCode(t, err, connect.CodePermissionDenied, "find")
	_, err = timeline(dana, &candorv1.GetTimelineRequest{Incident: "leak-1", Customer: "C999999"})
	wantCode(t, err, connect.CodeNotFound, "no customer")
}

// Rows that are approved while the ledger is being asked are of people whom nobody has told.
func TestNobodyIsLeftOutByAnEndWhoCameOntoTheFileMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	h.happen("leak-1", planned("w0"))
	k := serveBooks(h)
	now := left(nil, 0, 0)
	now.People.OnFile = 4
	k.say(now)
	k.meanwhile = func() {
		h.happen("leak-1",
			&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Hash: []byte("rows"), Addition: &candorv1.Addition{
				Wave: "w0-a1", Kind: "roster", Base: "w0", Customers: 3, Added: &candorv1.People{Customers: 3},
			}}}},
			&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: "w0-a1"}}},
		)
	}
	_, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1"})
	wantCode(t, err, connect.CodeUnavailable, "has not read everything", "try again") // as long as the ledger does not know of them
	now = left(map[string]uint64{"not_in_wave": 3}, 0, 0)
	now.People.OnFile = 7
	k.say(now)
	_, err = dana.close(t, &candorv1.CloseRequest{Incident: "leak-1"})
	wantCode(t, err, connect.CodeFailedPrecondition, "3 not_in_wave")
	if inc := h.happen("leak-1"); inc.State != running {
		t.Errorf("incident is %v", inc.State)
	}
}

// A message that was approved and is on its way falls only if two people know of it.
func TestAnEndNamesWhatIsNotSentYet(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	h.happen("leak-1", planned("w0"))
	k := serveBooks(h)
	unsent := func(n uint64) {
		k.say(&candorv1.Status{People: &candorv1.PeopleStatus{}, Waves: []*candorv1.WaveStatus{
			{Wave: "w0", Channels: []*candorv1.ChannelStatus{{Channel: sms, States: map[string]uint64{"delivered": 4}}}},
			{Wave: "w3", Channels: []*candorv1.ChannelStatus{{Channel: sms, States: map[string]uint64{"planned": n, "delivered": 4 - n}}}},
		}})
	}
	unsent(2)
	dry, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1", DryRun: true})
	if err != nil || len(dry.GetUnsent()) != 1 || dry.GetUnsent()["w3"] != 2 {
		t.Fatalf("trial: %v, %v", dry, err)
	}
	_, err = dana.close(t, &candorv1.CloseRequest{Incident: "leak-1"})
	wantCode(t, err, connect.CodeFailedPrecondition, "messages of w3 that are not sent yet: 2", "candor close leak-1 --despite-unsent")
	draft, err := dana.close(t, &candorv1.CloseRequest{Incident: "leak-1", Unsent: true})
	if err != nil || draft.GetIncident().GetState() != running || draft.GetAddition().GetAddition().GetUnsent()["w3"] != 2 {
		t.Fatalf("draft: %v, %v", draft, err)
	}
	unsent(3)
	_, err = h.approve(erin, "leak-1", draft.GetAddition().GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "3 messages of w3", "names 2", "candor close")
	unsent(1)
	got, err := h.approve(erin, "leak-1", draft.GetAddition().GetHash())
	if err != nil || got.GetState() != closing {
		t.Errorf("approved: %v, %v", got, err)
	}
}
