package api_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// unreachedLedger plays the ledger's list of who was not told; what it says may change.
type unreachedLedger struct {
	mu     sync.Mutex
	groups []*candorv1.UnreachedGroup
	opened map[uint32]int // slots of the pages for which there is a journal; nil if there is one for each
}

func (l *unreachedLedger) say(groups ...*candorv1.UnreachedGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups = groups
}

// serveUnreached answers a group at a time, as a long answer comes.
func serveUnreached(h *house) *unreachedLedger {
	h.t.Helper()
	l := &unreachedLedger{}
	answer(h, "ledger", "people", func(*candorv1.PeopleRequest, map[string]string) (*candorv1.PeopleResponse, map[string]string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		resp := &candorv1.PeopleResponse{}
		for page := range uint32(50) {
			if n, ok := l.opened[page]; ok || l.opened == nil {
				if l.opened == nil {
					n = 1000
				}
				resp.Pages = append(resp.Pages, &candorv1.PagePeople{Page: page, Channels: []*candorv1.ChannelStates{{Channel: sms, States: make([]byte, n)}}})
			}
		}
		return resp, nil, nil
	})
	answer(h, "ledger", "unreached", func(q *candorv1.UnreachedRequest, header map[string]string) (*candorv1.UnreachedResponse, map[string]string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		var part int
		_, _ = fmt.Sscan(header["after"], &part)
		resp := &candorv1.UnreachedResponse{}
		if part >= len(l.groups) {
			return resp, nil, nil
		}
		if g := l.groups[part]; q.GetReason() == "" || g.GetReason() == q.GetReason() || strings.HasPrefix(g.GetReason(), q.GetReason()+":") {
			resp.Groups = append(resp.Groups, g)
		}
		return resp, map[string]string{"next": fmt.Sprint(part + 1)}, nil
	})
	return l
}

func group(reason string, page uint32, slots []uint32, words ...*candorv1.ChannelWord) *candorv1.UnreachedGroup {
	return &candorv1.UnreachedGroup{Reason: reason, Notices: words, People: []*candorv1.PageSlots{{Page: page, Slots: slots}}}
}

func chWord(ch candorv1.Channel, state candorv1.NoticeState, reason string) *candorv1.ChannelWord {
	return &candorv1.ChannelWord{Wave: "w0", Channel: ch, State: state, Reason: reason}
}

const (
	failed    = candorv1.NoticeState_NOTICE_STATE_FAILED
	uncertain = candorv1.NoticeState_NOTICE_STATE_UNCERTAIN
	expired   = candorv1.NoticeState_NOTICE_STATE_EXPIRED
)

func (c caller) resend(t *testing.T, q *candorv1.ResendRequest) (*candorv1.ResendResponse, error) {
	t.Helper()
	resp, err := c.incidents.Resend(t.Context(), connect.NewRequest(q))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

func TestUnreachedAreNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 20)
	l := serveUnreached(h)
	l.say(group("failed:twilio_30003", page, []uint32{0, 2, 5, 1}, chWord(sms, failed, "twilio_30003")),
		group("suppressed:no_number", page, []uint32{3, 1}), group("failed:bounced", page+1, []uint32{0, 1}))
	list := func(reason string) (rows []string, err error) {
		stream, err := dana.ledger.ListUnreached(t.Context(), connect.NewRequest(&candorv1.ListUnreachedRequest{Incident: "leak-1", Reason: reason}))
		if err != nil {
			return nil, err
		}
		defer stream.Close()
		for stream.Receive() {
			for _, u := range stream.Msg().GetCustomers() {
				if len(u.GetCode()) != 11 {
					t.Errorf("code is %q", u.GetCode())
				}
				rows = append(rows, fmt.Sprint(u.GetCustomerRef(), " ", u.GetReason(), " ", len(u.GetNotices())))
			}
		}
		return rows, stream.Err()
	}
	all, err := list("")
	if want := []string{
		"C000000 failed:twilio_30003 1", "C000002 failed:twilio_30003 1", "C000010 failed:twilio_30003 1", "C000006 suppressed:no_number 0", "C000001 failed:bounced 0",
	}; err != nil || !slices.Equal(all, want) {
		t.Errorf("unreached are %q, %v", all, err)
	}
	if some, err := list("suppressed"); err != nil || len(some) != 1 {
		t.Errorf("suppressed are %q, %v", some, err)
	}
	l.say(group("failed:x", page, []uint32{900, 1}))
	if _, err := list(""); err == nil {
		t.Error("a slot that is not there is passed over in silence")
	}
}

// Whoever is in no journal stands in the list too, once, also if the page is opened while it is made.
func TestUnreachedWithoutAJournalAreNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 20)
	l := serveUnreached(h)
	count := func(reason string) (n int) {
		stream, err := dana.ledger.ListUnreached(t.Context(), connect.NewRequest(&candorv1.ListUnreachedRequest{Incident: "leak-1", Reason: reason}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		seen := map[string]bool{}
		for stream.Receive() {
			for _, u := range stream.Msg().GetCustomers() {
				if seen[u.GetCustomerRef()] {
					t.Errorf("%s stands twice", u.GetCustomerRef())
				}
				seen[u.GetCustomerRef()] = true
				n++
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	try := func() (*candorv1.ResendResponse, error) {
		return dana.resend(t, &candorv1.ResendRequest{Incident: "leak-1", Reason: "not_in_wave", DryRun: true})
	}
	l.opened = map[uint32]int{}
	for reason, want := range map[string]int{"": 20, "not_in_wave": 20, "failed": 0} {
		if n := count(reason); n != want {
			t.Errorf("nothing is opened, %q: %d customers", reason, n)
		}
	}
	// The wave is not planned: they may be told in a moment.
	_, err := try()
	wantCode(t, err, connect.CodeFailedPrecondition, "20 customers", "not planned yet")

	l.opened = map[uint32]int{page: 2}
	l.say(group("failed:x", page, []uint32{0, 1}, chWord(sms, failed, "x")))
	if n := count(""); n != 19 {
		t.Errorf("two slots are known, and one of them was told: %d customers", n)
	}
	l.opened = map[uint32]int{}
	l.say(group("not_in_wave", page, []uint32{0, 3}))
	if n, whole := count("not_in_wave"), count(""); n == 20 || n != whole {
		t.Errorf("a page was opened since: %d customers, %d altogether", n, whole)
	}

	l.opened = map[uint32]int{}
	l.say()
	h.happen("leak-1", planned("w0"))
	if resp, err := try(); err != nil || resp.GetCustomers() != 20 {
		t.Errorf("resend to those who are in no wave: %v, %v", resp, err)
	}
}

func TestResendIsDraftedAndApproved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	both := h.as(h.token("DANA", token.Approver))
	inc, page := h.told(dana, erin, "leak-1", 20)
	l := serveUnreached(h)
	l.say(
		group("failed:twilio_30003", page, []uint32{0, 3, 5, 1}, chWord(sms, failed, "twilio_30003")),
		group("failed:twilio_30003", page+1, []uint32{7, 1}, chWord(sms, failed, "twilio_30003"), chWord(email, failed, "bounced")),
		group("failed:twilio_30003", page, []uint32{3, 1}, chWord(sms, failed, "twilio_30003"), chWord(email, uncertain, "")),
		group("expired:aborted", page, []uint32{9, 1}, chWord(sms, expired, "aborted")),
	)
	q := &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed", DryRun: true}
	dry, err := dana.resend(t, q)
	if err != nil || dry.GetCustomers() != 5 || dry.GetLeftOut() != 1 || dry.GetAddition() != nil {
		t.Fatalf("count: %v, %v", dry, err)
	}
	q.DryRun = false
	drafted, err := dana.resend(t, q)
	if err != nil {
		t.Fatal(err)
	}
	add := drafted.GetAddition()
	if a := add.GetAddition(); drafted.GetCustomers() != 5 || a.GetWave() != "w0-r1" || a.GetKind() != "resend" || a.GetBase() != "w0" || a.GetChosenBy() != "failed" ||
		!slices.Equal(a.GetChannels(), []candorv1.Channel{sms, email}) || a.GetCustomers() != 5 || add.GetDraftedBy() != "dana" || len(add.GetHash()) != 64 {
		t.Fatalf("drafted %v", drafted)
	}
	now, err := incident.NewLog(h.bus, nil).Load(t.Context(), "leak-1")
	if err != nil {
		t.Fatal(err)
	}
	frozen := now.Additions["w0-r1"].GetAddition()
	if p := frozen.GetPeople(); len(p) != 2 || !slices.Equal(p[0].GetSlots(), []uint32{0, 3, 5, 1}) || !slices.Equal(p[1].GetSlots(), []uint32{7, 1}) {
		t.Errorf("people are %v", p)
	}
	if hash, err := incident.HashAddition(now.PlanHash(), frozen); err != nil || hex.EncodeToString(hash) != add.GetHash() {
		t.Errorf("hash is %s, %v", add.GetHash(), err)
	}
	again, err := dana.resend(t, q)
	if err != nil || again.GetAddition().GetAddition().GetWave() != "w0-r1" || again.GetAddition().GetHash() != add.GetHash() || again.GetCustomers() != 5 {
		t.Errorf("asked again: %v, %v", again, err)
	}
	_, err = dana.resend(t, &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed:twilio_30003", Channels: []candorv1.Channel{email}})
	wantCode(t, err, connect.CodeFailedPrecondition, "6 customers", "approve or reject")
	other, err := dana.resend(t, &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed:twilio_30003", Channels: []candorv1.Channel{sms}, DryRun: true})
	if err != nil || other.GetCustomers() != 1 || other.GetLeftOut() != 5 { // whose e-mail is uncertain, and not their text message
		t.Errorf("another resend: %v, %v", other, err)
	}

	_, err = h.approve(both, "leak-1", add.GetHash())
	wantCode(t, err, connect.CodePermissionDenied, "second person")
	l.say(l.groups[0])
	_, err = h.approve(erin, "leak-1", add.GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "1 of the 5", "resend")
	l.say(group("failed:other", page, []uint32{0, 20}, chWord(sms, failed, "twilio_30003")), group("failed:other", page+1, []uint32{7, 1}, chWord(sms, failed, "x")))
	approved, err := h.approve(erin, "leak-1", add.GetHash())
	if err != nil {
		t.Fatal(err)
	}
	if s := approved.GetAdditions()[0]; s.GetApprovedBy() != "erin" || s.GetPlanned() || approved.GetState() != inc.GetState() || approved.GetPlanHash() != inc.GetPlanHash() {
		t.Errorf("approved is %v", approved)
	}
	if told := h.fact(topology.FactUpdated, "leak-1"); told.GetSequence() != approved.GetSequence() || told.GetAdditions()[0].GetApprovedBy() != "erin" {
		t.Errorf("others were told %v", told)
	}
	if twice, err := h.approve(erin, "leak-1", add.GetHash()); err != nil || twice.GetSequence() != approved.GetSequence() {
		t.Errorf("approved again: %v, %v", twice.GetSequence(), err)
	}
	fay := h.as(h.token("Fay", token.Approver))
	_, err = h.approve(fay, "leak-1", add.GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "erin", "already")
	_, err = erin.incidents.Reject(t.Context(), connect.NewRequest(&candorv1.RejectRequest{Incident: "leak-1", Wave: "w0-r1", Reason: "late"}))
	wantCode(t, err, connect.CodeFailedPrecondition, "approved")

	// Approved and not planned yet: the ledger does not know it, and its people are not told once more.
	_, err = dana.resend(t, &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed:other", Channels: []candorv1.Channel{sms}})
	if err != nil {
		t.Fatal(err)
	}
	now, err = incident.NewLog(h.bus, nil).Load(t.Context(), "leak-1")
	if err != nil {
		t.Fatal(err)
	}
	if p := now.Additions["w0-r2"].GetAddition().GetPeople(); len(p) != 1 || !slices.Equal(p[0].GetSlots(), []uint32{3, 2, 6, 14}) {
		t.Errorf("people of the second resend are %v", p)
	}
	known := h.declare(dana, now.Draft.GetDeclaration())
	if !known.GetKnown() || len(known.GetIncident().GetAdditions()) != 2 {
		t.Errorf("declared again: %v", known)
	}
}

func TestRejectedAdditionStaysRejected(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 20)
	serveUnreached(h).say(group("failed:x", page, []uint32{0, 3}, chWord(sms, failed, "x")))
	q := &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed"}
	first, err := dana.resend(t, q)
	if err != nil {
		t.Fatal(err)
	}
	reject := func(wave string) (*candorv1.Incident, error) {
		resp, err := erin.incidents.Reject(t.Context(), connect.NewRequest(&candorv1.RejectRequest{Incident: "leak-1", Wave: wave, Reason: "still down"}))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetIncident(), nil
	}
	_, err = reject("w0-r7")
	wantCode(t, err, connect.CodeNotFound, "w0-r7")
	for range 2 {
		if inc, err := reject("w0-r1"); err != nil || inc.GetAdditions()[0].GetRejected() != "still down" || inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_DECLARED {
			t.Fatalf("reject: %v, %v", inc, err)
		}
	}
	_, err = h.approve(erin, "leak-1", first.GetAddition().GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "rejected")
	second, err := dana.resend(t, q)
	if err != nil || second.GetAddition().GetAddition().GetWave() != "w0-r2" || second.GetAddition().GetHash() == first.GetAddition().GetHash() {
		t.Errorf("drafted again: %v, %v", second, err)
	}
}

func TestResendIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	answer(h, "planner", "seal", func(*candorv1.SealRequest, map[string]string) (*candorv1.SealResponse, map[string]string, error) {
		return &candorv1.SealResponse{}, nil, nil
	})
	_, page := h.told(dana, erin, "leak-1", 20)
	l := serveUnreached(h)
	try := func(id, reason string, chs ...candorv1.Channel) error {
		_, err := dana.resend(t, &candorv1.ResendRequest{Incident: id, Reason: reason, Channels: chs})
		return err
	}
	h.declare(dana, h.declaration(dana, "draft"))
	wantCode(t, try("draft", "failed"), connect.CodeFailedPrecondition, "draft")
	wantCode(t, try("none", "failed"), connect.CodeNotFound)
	wantCode(t, try("leak-1", ""), connect.CodeInvalidArgument)
	wantCode(t, try("leak-1", "failed"), connect.CodeFailedPrecondition, "nobody", "candor status")
	wantCode(t, try("leak-1", "failed", candorv1.Channel_CHANNEL_CALL), connect.CodeInvalidArgument, "call")
	wantCode(t, try("leak-1", "failed", 9), connect.CodeInvalidArgument)
	l.say(group("failed:x", page, []uint32{0, 4}, chWord(sms, uncertain, "lost_answer")))
	wantCode(t, try("leak-1", "failed"), connect.CodeFailedPrecondition, "4 customers", "may still be sent")

	// A million slots of which none is beside another.
	var many []*candorv1.PageSlots
	for p := range uint32(1500) {
		var slots []uint32
		for s := uint32(0); s < 1000; s += 3 {
			slots = append(slots, s, 1)
		}
		many = append(many, &candorv1.PageSlots{Page: p, Slots: slots})
	}
	l.say()
	for i := 0; i < len(many); i += 500 {
		l.groups = append(l.groups, &candorv1.UnreachedGroup{Reason: "failed:x", People: many[i : i+500]})
	}
	wantCode(t, try("leak-1", "failed"), connect.CodeFailedPrecondition, "narrower reason")
	l.say(group("failed:x", page, []uint32{0, 4}))
	add, err := dana.resend(t, &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dana.incidents.Abort(t.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: "leak-1", Reason: "test"})); err != nil {
		t.Fatal(err)
	}
	wantCode(t, try("leak-1", "failed"), connect.CodeFailedPrecondition, "aborted")
	_, err = h.approve(erin, "leak-1", add.GetAddition().GetHash())
	wantCode(t, err, connect.CodeFailedPrecondition, "aborted")
}

// Two at the same moment draft one addition.
func TestResendTwiceAtOnceIsDraftedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 20)
	serveUnreached(h).say(group("failed:x", page, []uint32{0, 3}, chWord(sms, failed, "x")))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if resp, err := dana.resend(t, &candorv1.ResendRequest{Incident: "leak-1", Reason: "failed"}); err != nil || resp.GetAddition().GetAddition().GetWave() != "w0-r1" {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	wg.Wait()
	got, err := dana.incidents.GetIncident(t.Context(), connect.NewRequest(&candorv1.GetIncidentRequest{Incident: "leak-1"}))
	if err != nil || len(got.Msg.GetIncident().GetAdditions()) != 1 || got.Msg.GetIncident().GetAdditions()[0].GetAddition().GetPeople() != nil {
		t.Errorf("incident has %v, %v", got.Msg.GetIncident().GetAdditions(), err)
	}
}
