package ledger

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const call = candorv1.Channel_CHANNEL_CALL

var monday = timestamppb.New(time.Date(2026, 12, 7, 9, 0, 0, 0, time.UTC))

// after is declared as the log folds it, with more events.
func after(t testing.TB, ladder string, events ...*candorv1.BreachEvent) *incident.Incident {
	t.Helper()
	log := incident.NewLog(bustest.New(t), func() time.Time { return noon })
	begin := []*candorv1.BreachEvent{
		{Event: &candorv1.BreachEvent_Drafted{Drafted: drafted(ladder)}},
		{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{}}},
		planning("w0", &candorv1.PlannedChannel{Channel: sms, Pages: 2, Notices: 10}, &candorv1.PlannedChannel{Channel: email, Pages: 2, Notices: 10}),
	}
	if ladder != "" {
		begin[2] = planning("w0", &candorv1.PlannedChannel{Channel: sms, Pages: 2, Notices: 10})
	}
	inc := &incident.Incident{ID: "i1"}
	for _, e := range append(begin, events...) {
		// The log signs what it is given, and tests side by side give it the same.
		next, err := log.Append(t.Context(), inc, incident.Service("test"), proto.CloneOf(e))
		if err != nil {
			t.Fatal(err)
		}
		inc = next
	}
	return inc
}

func planning(wave string, channels ...*candorv1.PlannedChannel) *candorv1.BreachEvent {
	p := &candorv1.WavePlanned{Wave: wave, Channels: channels}
	for _, ch := range channels {
		p.Orders += ch.GetPages()
		p.Notices += ch.GetNotices()
	}
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: p}}
}

func decided(d candorv1.FollowUpDecision, name, wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: name, DueAt: monday, Decision: d, Wave: wave, Reason: "no_text",
	}}}
}

func sent(name, wave string) *candorv1.BreachEvent {
	return decided(candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND, name, wave)
}

func asksAbout(name string) *candorv1.BreachEvent {
	return decided(candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK, name, "")
}

func added(a *candorv1.Addition) (drafted, approved *candorv1.BreachEvent) {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: a}}},
		&candorv1.BreachEvent{Person: "erin", Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: a.GetWave()}}}
}

// rows is an addition of one page with two customers.
func rows() *candorv1.Addition {
	return &candorv1.Addition{
		Wave: "w0-a1", Kind: incident.KindRoster, Base: "w0", Channels: []candorv1.Channel{sms, email}, Customers: 2,
		Added: &candorv1.People{Rows: 3, Customers: 2, Rejected: 1},
		Plan: &candorv1.WavePlan{Wave: "w0-a1", Channels: []*candorv1.ChannelPlan{
			{Channel: sms, Notices: 1, Suppressed: map[string]uint64{"no_phone": 1}, Pages: 1}, {Channel: email, Notices: 2, Pages: 1},
		}},
	}
}

func closes(wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{Wave: wave, Base: "closing", Calls: candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN}}}
}

func closed() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: &candorv1.Closed{}}}
}

func sealedFor(reason string) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Sealed{Sealed: &candorv1.Sealed{Reason: reason}}}
}

// tell opens a page of a wave for the slots and accepts them all.
func (p *pen) tell(wave string, ch candorv1.Channel, page uint32, slots ...uint32) {
	p.t.Helper()
	p.write(in(wave, ch, page), opened(5, slots...), intent(1, slots...), outcome(1, accepted, "", slots...))
}

// expect compares what is open: parts of sentences, one each; none if it is complete.
func expect(t *testing.T, st *candorv1.Status, open ...string) {
	t.Helper()
	if st.GetComplete() != (len(open) == 0) || len(st.GetOpen()) != len(open) {
		t.Fatalf("complete %v, open is %q, want %q", st.GetComplete(), st.GetOpen(), open)
	}
	for i, want := range open {
		if !strings.Contains(st.GetOpen()[i], want) {
			t.Errorf("sentence %d is %q, want %q", i, st.GetOpen()[i], want)
		}
	}
}

func TestFollowUps(t *testing.T) {
	t.Parallel()
	one := &candorv1.PlannedChannel{Channel: sms, Pages: 1, Notices: 3}
	update := &candorv1.Addition{Wave: "w2", Kind: incident.KindUpdate, Channels: []candorv1.Channel{sms}, Plan: &candorv1.WavePlan{
		Channels: []*candorv1.ChannelPlan{{Channel: sms, Notices: 10, Pages: 2}}, // as many as that were told at the draft
	}}
	draft, approve := added(update)
	later := &candorv1.Addition{Wave: "w2", Kind: incident.KindUpdate, At: monday}
	laterDraft, laterApprove := added(later)
	next := &candorv1.Addition{Wave: "w2", Kind: incident.KindCorrection, WithNext: true}
	nextDraft, nextApprove := added(next)
	type events = []*candorv1.BreachEvent
	for _, tt := range []struct {
		name   string
		events events
		do     func(*pen)
		open   []string
	}{
		{"not due yet", nil, func(*pen) {}, nil},
		{"skipped", events{decided(candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP, "weekly", "")}, func(*pen) {}, nil},
		{"asks", events{asksAbout("weekly")}, func(*pen) {}, []string{
			"follow-up weekly of 2026-12-07 09:00 UTC asks a person whether it is sent (no_text): candor followup i1",
		}},
		{"answered", events{asksAbout("weekly"), decided(candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP, "weekly", "")}, func(*pen) {}, nil},
		{"decided", events{sent("weekly", "w1")}, func(*pen) {}, []string{"wave w1 is not planned yet"}},
		{"half opened", events{sent("weekly", "w1")}, func(p *pen) { p.tell("w1", sms, 0, 1, 3) }, []string{"wave w1 is not planned yet"}},
		{"planned", events{sent("weekly", "w1"), planning("w1", one)}, func(p *pen) { p.write(in("w1", sms, 0), opened(5, 1, 3)) }, []string{
			"wave w1, sms: 3 notices are open of 3: 3 planned",
		}},
		{"planned for nobody", events{sent("weekly", "w1"), planning("w1")}, func(*pen) {}, nil},
		{"sent", events{sent("weekly", "w1"), planning("w1", one)}, func(p *pen) { p.tell("w1", sms, 0, 1, 3) }, nil},
		{"a page is lost", events{sent("weekly", "w1"), planning("w1", one)}, func(*pen) {}, []string{
			"wave w1: 0 journals are opened, planned were 1", "wave w1: the journals hold 0 notices, planned were 3",
			"wave w1, sms: 0 pages are opened, approved were 1",
		}},
		{"on a channel too many", events{sent("weekly", "w1"), planning("w1", one)}, func(p *pen) {
			p.tell("w1", sms, 0, 1, 3)
			p.tell("w1", email, 0, 1, 1)
		}, []string{"wave w1: 2 journals are opened, planned were 1", "wave w1: the journals hold 4 notices, planned were 3", "wave w1, email is in no approved plan"}},
		{"nobody decided", nil, func(p *pen) { p.tell("w1", sms, 0, 1, 3) }, []string{
			"wave w1 is in no approved plan", "wave w1 is not planned yet", "wave w1, sms is in no approved plan",
		}},
		{"an update is drafted", events{draft}, func(*pen) {}, nil},
		{"an update waits for a follow-up to end", events{draft, approve}, func(*pen) {}, []string{"update w2 is approved and waits for its turn"}},
		{"an update for later", events{laterDraft, laterApprove}, func(*pen) {}, nil},
		{"a correction with the next follow-up", events{nextDraft, nextApprove}, func(*pen) {}, nil},
		{"an update asks", events{draft, approve, asksAbout("w2")}, func(*pen) {}, []string{"update w2 of 2026-12-07 09:00 UTC asks a person"}},
		{"an update is decided", events{draft, approve, sent("w2", "w2")}, func(*pen) {}, []string{"wave w2 is not planned yet"}},
		{"an update reaches fewer than at its draft", events{draft, approve, sent("w2", "w2"), planning("w2", one)}, func(p *pen) {
			p.tell("w2", sms, 0, 1, 3)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			p.openAll()
			p.tellAll()
			tt.do(p)
			expect(t, p.books.status("i1", after(t, "", tt.events...), as(noon)), tt.open...)
		})
	}
}

// An update whose hour came is not complete, and one whose hour is to come keeps nobody waiting.
func TestAnUpdateIsDue(t *testing.T) {
	t.Parallel()
	draft, approve := added(&candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, At: monday})
	inc := after(t, "", draft, approve)
	p := newPen(t)
	p.openAll()
	p.tellAll()
	expect(t, p.books.status("i1", inc, as(monday.AsTime().Add(-time.Second))))
	expect(t, p.books.status("i1", inc, as(monday.AsTime())), "update w1 is approved and waits for its turn")
}

func TestAddedRows(t *testing.T) {
	t.Parallel()
	draft, approve := added(rows())
	channels := []*candorv1.PlannedChannel{{Channel: sms, Pages: 1, Notices: 2}, {Channel: email, Pages: 1, Notices: 2}}
	p := newPen(t)
	p.openAll()
	p.tellAll()
	st := p.books.status("i1", after(t, "", draft), as(noon))
	if expect(t, st); st.GetPeople().GetOnFile() != 10 {
		t.Errorf("rows that nobody approved are on file: %v", st.GetPeople())
	}

	st = p.books.status("i1", after(t, "", draft, approve), as(noon))
	expect(t, st, "wave w0-a1 is not planned yet")
	if ps := st.GetPeople(); ps.GetOnFile() != 12 || ps.GetRejectedRows() != 3 || ps.GetTold() != 10 || ps.GetUnreachedReasons()[journal.NotInWave] != 2 {
		t.Errorf("people are %v", ps)
	}

	inc := after(t, "", draft, approve, planning("w0-a1", channels...))
	p.write(in("w0-a1", sms, 2), opened(2), outcome(0, suppressed, "no_phone", 0, 1), intent(1, 1, 1), outcome(1, failed, "twilio_21211", 1, 1))
	p.write(in("w0-a1", email, 2), opened(2), intent(1, 0, 1), outcome(1, accepted, "", 0, 1), outcome(0, suppressed, "no_email", 1, 1))
	st = p.books.status("i1", inc, as(noon))
	expect(t, st)
	if ps := st.GetPeople(); ps.GetTold() != 11 || ps.GetUnreached() != 1 || ps.GetUnreachedReasons()["failed:twilio_21211"] != 1 {
		t.Errorf("people are %v", ps)
	}
	groups, _, _ := p.books.unreached(&candorv1.UnreachedRequest{Incident: "i1"}, 0)
	if len(groups.GetGroups()) != 1 || groups.GetGroups()[0].GetPeople()[0].GetPage() != 2 {
		t.Errorf("unreached are %v", groups)
	}
}

// Added rows climb the ladder of the first notice, each in their own journals.
func TestAddedRowsClimb(t *testing.T) {
	t.Parallel()
	draft, approve := added(rows())
	p := newPen(t)
	p.openFirst()
	for _, page := range []uint32{0, 1} {
		p.write(on(sms, page), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		p.hear(sms, page, outcome(1, delivered, "", 0, 5))
	}
	expect(t, p.books.status("i1", after(t, aDayLater, draft), as(noon)))
	p.write(in("w0-a1", sms, 2), opened(2), outcome(0, suppressed, "no_phone", 0, 1), intent(1, 1, 1), outcome(1, accepted, "", 1, 1))
	inc := after(t, aDayLater, draft, approve, planning("w0-a1", &candorv1.PlannedChannel{Channel: sms, Pages: 1, Notices: 2}))
	// One has no phone, and belongs on the step at once; the other is given the day.
	expect(t, p.books.status("i1", inc, as(noon)), "wave w0-a1, email: 1 customer is due", "wave w0-a1, email: 1 customer waits for this step")
	expect(t, p.books.status("i1", inc, as(noon.Add(25*time.Hour))), "wave w0-a1, email: 2 customers are due")
	p.tell("w0-a1", email, 2, 0, 2)
	expect(t, p.books.status("i1", inc, as(noon.Add(25*time.Hour))))
}

func TestClosing(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAllBut(on(sms, 1))
	inc := after(t, "", closes("w1"))
	note := []string{"wave w1 is not planned yet"}
	unsealed := []string{"wave w0, sms: 2 journals are not sealed", "wave w0, sms: 5 notices are open of 10", "wave w0, email: 2 journals are not sealed"}
	at := func(step string, open ...string) {
		t.Helper()
		expect(t, p.books.status("i1", inc, as(noon)), append([]string{step}, open...)...)
	}

	p.write(in("w0", call, 0), opened(5, 0, 3))
	at("the incident is closing: calls are still being made", slices.Concat(
		unsealed, []string{"wave w0, call: 1 journal is not sealed", "wave w0, call: 3 notices are open"}, note)...)
	p.write(in("w0", call, 0), outcome(0, candorv1.Result_RESULT_EXPIRED, "closed", 0, 3))
	at("the incident is closing: 5 journals are being sealed", slices.Concat(unsealed, []string{"wave w0, call: 1 journal"}, note)...)
	for _, journal := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1), on(call, 0)} {
		p.write(journal, sealedFor("closed"))
	}
	at("the incident is closing: the closing note, wave w1, goes out", note...)
	inc = after(t, "", closes("w1"), planning("w1", &candorv1.PlannedChannel{Channel: email, Pages: 1, Notices: 5}))
	p.write(in("w1", email, 0), opened(5))
	at("the incident is closing: the closing note, wave w1, goes out", "wave w1, email: 5 notices are open")
	p.write(in("w1", email, 0), intent(1, 0, 5), outcome(1, accepted, "", 0, 5), sealedFor("closed"))
	at("the incident is closing: its end is being written down")

	inc = after(t, "", sent("weekly", "w2"), asksAbout("monthly"), closes("w1"), closed()) // w2 was decided and never planned
	st := p.books.status("i1", inc, as(noon))
	expect(t, st)
	if ps := st.GetPeople(); ps.GetTold() != 10 || len(ps.GetUnreachedReasons()) != 0 {
		t.Errorf("people are %v", ps)
	}
}

// Who was not told when the incident was closed is named by the seal.
func TestClosedAndUntold(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	for page := range uint32(2) {
		p.write(on(sms, page), opened(5), putOff("quiet_hours"), sealedFor("closed"))
		p.write(on(email, page), opened(5, 0, 2), intent(1, 0, 2), outcome(1, accepted, "", 0, 2), sealedFor("closed"))
	}
	inc := after(t, "", closes(""), closed())
	st := p.books.status("i1", inc, as(noon))
	expect(t, st)
	if ps := st.GetPeople(); !maps.Equal(ps.GetUnreachedReasons(), map[string]uint64{"expired:closed": 6}) {
		t.Errorf("people are %v", ps)
	}
	res, _, _ := p.books.unreached(&candorv1.UnreachedRequest{Incident: "i1", Reason: "expired"}, 0)
	if len(res.GetGroups()) != 1 || res.GetGroups()[0].GetReason() != "expired:closed" || len(res.GetGroups()[0].GetPeople()) != 2 {
		t.Errorf("unreached are %v", res)
	}
	p.write(in("w9", sms, 0), opened(5)) // whatever it is, nobody sealed it
	expect(t, p.books.status("i1", inc, as(noon)), "wave w9, sms: 1 journal is not sealed", "wave w9, sms: 5 notices are open")
}

// After it was opened again, an incident misses no closing note that was never sent, and no follow-up that was sealed.
func TestOpenedAgain(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAllBut(on(sms, 1))
	for _, journal := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1)} {
		p.write(journal, sealedFor("closed"))
	}
	draft, approve := added(&candorv1.Addition{Wave: "reopen-1", Kind: incident.KindReopen, ChosenBy: "a mistake"})
	inc := after(t, "", closes("w1"), draft, approve)
	st := p.books.status("i1", inc, as(noon))
	if expect(t, st); len(st.GetWaves()) != 1 {
		t.Errorf("waves are %v", st.GetWaves())
	}
	inc = after(t, "", closes("w1"), draft, approve, sent("weekly", "w2"))
	expect(t, p.books.status("i1", inc, as(noon)), "wave w2 is not planned yet")
}

// What was decided before the end, and sealed before it was planned, keeps no incident open that was opened again.
func TestOpenedAgainAfterAnEndThatCameBeforeAWave(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAllBut(on(sms, 1))
	for _, journal := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1), in("w0-a1", sms, 2), in("w0-a1", email, 2), in("w2", sms, 0), in("w2", email, 0)} {
		p.write(journal, sealedFor("closed"))
	}
	draft, approve := added(&candorv1.Addition{Wave: "reopen-1", Kind: incident.KindReopen, ChosenBy: "a mistake"})
	draftRows, approveRows := added(rows())
	inc := after(t, "", draftRows, approveRows, sent("weekly", "w2"), closes(""), closed(), draft, approve)
	inc.Additions["w0-a1"].ApprovedAt, inc.Decisions[0].At = noon.Add(-time.Hour), noon.Add(-time.Hour)
	st := p.books.status("i1", inc, as(noon))
	expect(t, st)
	if ps := st.GetPeople(); ps.GetOnFile() != 12 || ps.GetUnreachedReasons()["not_in_wave"] != 2 {
		t.Errorf("people are %v", ps)
	}
	p.write(in("w0-a1", sms, 3), opened(5)) // which nobody sealed
	expect(t, p.books.status("i1", inc, as(noon)), "wave w0-a1, sms: 5 notices are open", "customers have notices")
}

// Waves stand in the order in which they were decided, not in that of their names.
func TestOrderOfWaves(t *testing.T) {
	t.Parallel()
	draft, approve := added(rows())
	inc := after(t, "", sent("weekly", "w10"), draft, approve, sent("weekly", "w2"))
	// The log of a test has one instant for all: by their names, then.
	for i, at := range []time.Duration{time.Hour, 3 * time.Hour} {
		inc.Decisions[i].At = noon.Add(at)
	}
	inc.Additions["w0-a1"].ApprovedAt = noon.Add(2 * time.Hour)
	var waves []string
	for _, w := range newBooks().status("i1", inc, as(noon)).GetWaves() {
		waves = append(waves, w.GetWave())
	}
	if want := []string{"w0", "w10", "w0-a1", "w2"}; !slices.Equal(waves, want) {
		t.Errorf("waves are %q, want %q", waves, want)
	}
}

// Rows that were added later make the ladder longer, and the pages are climbed again.
func TestTheLadderGrows(t *testing.T) {
	t.Parallel()
	b := newBooks()
	draft, approve := added(rows())
	inc := after(t, aDayLater, draft)
	l := b.ladder(inc)
	if b.ladder(inc) != l || len(l.steps) != 1 {
		t.Errorf("%d steps, or read twice", len(l.steps))
	}
	grown := after(t, aDayLater, draft, approve)
	grown.Draft = inc.Draft
	if got := b.ladder(grown); got == l || len(got.steps) != 2 || got.step("w0-a1", email) == nil || got.step("w1", email) != nil {
		t.Errorf("steps are %v", got.steps)
	}
}

// Who asked to be called is called before the end, unless nobody calls for the incident.
func TestClosingWaitsForWishes(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	for _, journal := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1)} {
		p.write(journal, opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5), sealedFor("closed"))
	}
	seq := uint64(0)
	say := func(subject string, m proto.Message) {
		t.Helper()
		seq++
		if err := p.books.call(bus.Stored{Subject: subject, Seq: seq, Data: encodeAny(t, m)}); err != nil {
			t.Fatal(err)
		}
	}
	who := &candorv1.CustomerPlace{Incident: "i1", Page: 1, Slot: 2}
	inc := after(t, "", closes(""))
	say(topology.CallRequested("i1"), &candorv1.CallRequest{Id: "a", Customer: who})
	expect(t, p.books.status("i1", inc, as(noon)), "the incident is closing: calls are still being made", "1 customer who asked to be called was not called yet")
	say(topology.CallEvents("i1"), &candorv1.CallEvents{Events: []*candorv1.CallEvent{
		{Event: &candorv1.CallEvent_CallBackAsked{CallBackAsked: &candorv1.CallBackAsked{Customer: who}}},
		{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: &candorv1.CallWithdrawn{
			Customers: []*candorv1.CustomerPlace{who}, State: candorv1.CallState_CALL_STATE_EXPIRED, Reason: "closed",
		}}},
	}})
	expect(t, p.books.status("i1", inc, as(noon)), "the incident is closing: its end is being written down")
}

// An update brings its own words and goes by the terms of the first notice.
func TestTermsOfAnUpdate(t *testing.T) {
	t.Parallel()
	draft, approve := added(&candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, Channels: []candorv1.Channel{email}})
	inc := after(t, "", draft, approve, sent("w1", "w1"), planning("w1", &candorv1.PlannedChannel{Channel: email, Pages: 1, Notices: 5}))
	for _, tt := range []struct {
		name string
		edit func(string) string
		open int
	}{
		{"kept for a person", func(s string) string { return s }, 0},
		{"sent again some day", resendUncertain, 1},
	} {
		p := newPen(t)
		p.write(in("w1", email, 0), opened(5), intent(1, 0, 5), outcome(1, unknownR, "timeout", 0, 5))
		inc.Draft = drafted("")
		inc.Draft.Declaration.Playbook = tt.edit(inc.Draft.GetDeclaration().GetPlaybook())
		if got := p.books.sweep(&candorv1.SweepRequest{Incident: "i1"}, inc, as(noon)).GetPages(); len(got) != tt.open {
			t.Errorf("%s: pages %v", tt.name, got)
		}
	}
}
