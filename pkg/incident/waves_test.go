package incident

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

var begin = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// story folds events an hour apart.
func story(t *testing.T, events ...*candorv1.BreachEvent) *Incident {
	t.Helper()
	for n, e := range events {
		e.OccurredAt, e.Person = timestamppb.New(begin.Add(time.Duration(n)*time.Hour)), "ana"
	}
	return play(t, events...)
}

func add(a *candorv1.Addition) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: a, Hash: []byte(a.GetWave())}}}
}

func agree(wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: wave, Hash: []byte(wave)}}}
}

func decide(name string, due time.Time, what candorv1.FollowUpDecision, wave, base string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: name, DueAt: timestamppb.New(due), Decision: what, Wave: wave, Base: base,
	}}}
}

func closing(wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{Wave: wave, Base: "closing"}}}
}

const (
	send = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND
	skip = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP
	ask  = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK
)

func TestWavesOfALongStory(t *testing.T) {
	t.Parallel()
	plan := drafted(1, "")
	plan.GetDrafted().Plan = &candorv1.Plan{People: &candorv1.People{Customers: 10, Rows: 11}}
	plan.GetDrafted().Manifest = "roster.acme-2026.manifest-1"
	monday := begin.Add(72 * time.Hour)
	inc := story(
		t, plan, approved(nil),
		add(&candorv1.Addition{Wave: "w0-r1", Kind: KindResend, Base: FirstWave}), agree("w0-r1"),
		add(&candorv1.Addition{Wave: "w0-a1", Kind: KindRoster, Base: FirstWave, Manifest: "roster.acme-2026.manifest-2", Added: &candorv1.People{Customers: 3, Rows: 4}}),
		decide("weekly", monday, ask, "", ""),
		add(&candorv1.Addition{Wave: "w1", Kind: KindUpdate, Text: "news"}), agree("w1"),
		add(&candorv1.Addition{Wave: "w2", Kind: KindCorrection, Corrects: "w1", Text: "we were wrong"}), agree("w2"),
		decide("weekly", monday, send, "w1", ""),
		decide("weekly", monday.Add(7*24*time.Hour), send, "w3", "standing"),
	)
	if got := inc.Begun(); !slices.Equal(got, []string{"w0", "w0-r1", "w1", "w3"}) {
		t.Errorf("begun = %v", got)
	}
	if news := inc.News(); len(news) != 1 || news[0].GetAddition().GetWave() != "w2" {
		t.Errorf("news = %v, want w2 alone: w1 took the place of a follow-up", news)
	}
	if asks := inc.Asks(); len(asks) > 0 {
		t.Errorf("asks = %v, which was answered", asks)
	}
	for wave, want := range map[string]struct{ kind, base, lane string }{
		"w0":    {KindFirstNotice, "w0", topology.LaneFirst},
		"w0-r1": {KindResend, "w0", topology.LaneNext},
		"w0-a1": {KindRoster, "w0", topology.LaneFirst},
		"w1":    {KindUpdate, "w1", topology.LaneNext},
		"w2":    {KindCorrection, "w2", topology.LaneNext},
		"w3":    {KindFollowUp, "standing", topology.LaneNext},
		"w4":    {"", "w4", topology.LaneNext},
	} {
		if kind, base, lane := inc.KindOf(wave), inc.BaseOf(wave), inc.LaneOf(wave); kind != want.kind || base != want.base || lane != want.lane {
			t.Errorf("%s is %q on %q in lane %s, want %v", wave, kind, base, lane, want)
		}
	}
	if inc.HashOf("w3") == nil || string(inc.HashOf("w1")) != "w1" || inc.HashOf("w0-a1") != nil || inc.HashOf("w4") != nil {
		t.Error("a wave has the hash that was approved for it, and none before")
	}
	if next, resend := inc.NextWave(), inc.NextAddition("w0-r"); next != "w4" || resend != "w0-r2" {
		t.Errorf("next = %s, %s", next, resend)
	}
	// Rows count once two people stand behind them.
	if m := inc.Manifests(); len(m) != 1 || inc.OnFile().GetCustomers() != 10 {
		t.Errorf("on file before the approval: %v, %v", m, inc.OnFile())
	}
	last := agree("w0-a1")
	last.Person = "ben"
	inc, err := inc.with(99, last)
	if err != nil {
		t.Fatal(err)
	}
	if m := inc.Manifests(); len(m) != 2 || inc.OnFile().GetCustomers() != 13 || inc.OnFile().GetRows() != 15 {
		t.Errorf("on file after it: %v, %v", m, inc.OnFile())
	}
}

func TestADecisionIsAboutOneInstant(t *testing.T) {
	t.Parallel()
	inc := story(t, drafted(1, ""), approved(nil), decide("weekly", begin, skip, "", ""), decide("weekly", begin.Add(time.Hour), ask, "", ""))
	if d := inc.DecisionOn("weekly", begin); d.GetDecision() != skip || d.By != "ana" {
		t.Errorf("first = %v", d)
	}
	if inc.DecisionOn("weekly", begin.Add(time.Minute)) != nil || inc.DecisionOn("monthly", begin) != nil {
		t.Error("a decision about something else")
	}
	if asks := inc.Asks(); len(asks) != 1 || !asks[0].GetDueAt().AsTime().Equal(begin.Add(time.Hour)) || inc.Proto().GetAsks() == nil {
		t.Errorf("asks = %v", asks)
	}
}

func TestWhatSharesTheWordsOfAWave(t *testing.T) {
	t.Parallel()
	inc := story(
		t, drafted(1, ""), approved(nil),
		add(&candorv1.Addition{Wave: "w0-r1", Kind: KindResend, Base: FirstWave}), agree("w0-r1"),
		add(&candorv1.Addition{Wave: "w0-a1", Kind: KindRoster, Base: FirstWave}), agree("w0-a1"),
		add(&candorv1.Addition{Wave: "w0-a2", Kind: KindRoster, Base: FirstWave}),
		decide("weekly", begin, send, "w1", "standing"), decide("weekly", begin.Add(time.Hour), send, "w2", "standing"),
	)
	if got := inc.Sharing(FirstWave); len(got) != 3 || got[0] != FirstWave || !slices.Contains(got, "w0-r1") || !slices.Contains(got, "w0-a1") {
		t.Errorf("w0 is shared by %v", got)
	}
	if got := inc.Sharing("w1"); !slices.Equal(got, []string{"w1"}) {
		t.Errorf("w1 is shared by %v", got)
	}
	if got := inc.SentAfter("w1"); !slices.Equal(got, []string{"w2"}) {
		t.Errorf("after w1 came %v", got)
	}
}

func TestHoldsAndPausesAreRemembered(t *testing.T) {
	t.Parallel()
	sms, email := candorv1.Channel_CHANNEL_SMS, candorv1.Channel_CHANNEL_EMAIL
	held := &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpHeld{FollowUpHeld: &candorv1.FollowUpHeld{Name: "weekly", DueAt: timestamppb.New(begin), Behind: "w0"}}}
	events := []*candorv1.BreachEvent{drafted(1, ""), approved(nil), held, paused(sms), paused(email), resumed(sms)}
	inc := story(t, events...)
	if inc.HeldSince("weekly", begin).IsZero() || !inc.HeldSince("weekly", begin.Add(time.Hour)).IsZero() || len(inc.Decisions) != 0 {
		t.Errorf("holds = %v, decisions = %v", inc.Holds, inc.Decisions)
	}
	if inc.PausedAt.IsZero() || !inc.ResumedAt.IsZero() {
		t.Errorf("one of two pauses goes on: paused %v, resumed %v", inc.PausedAt, inc.ResumedAt)
	}
	if inc = story(t, append(events, resumed())...); !inc.ResumedAt.After(inc.PausedAt) {
		t.Errorf("paused %v, resumed %v", inc.PausedAt, inc.ResumedAt)
	}
}

func TestAnEndAndANewBeginning(t *testing.T) {
	t.Parallel()
	closed := &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: &candorv1.Closed{Journals: 2}}}
	events := []*candorv1.BreachEvent{drafted(1, ""), approved(nil), paused(), closing("w1")}
	state := func(inc *Incident, want candorv1.IncidentState, declared, running, ended bool) {
		t.Helper()
		if inc.State != want || inc.Declared() != declared || inc.Running() != running || inc.Ended() != ended {
			t.Errorf("%v: declared %v, running %v, ended %v; want %v", inc.State, inc.Declared(), inc.Running(), inc.Ended(), want)
		}
	}
	inc := story(t, events...)
	state(inc, candorv1.IncidentState_INCIDENT_STATE_CLOSING, true, false, false)
	if !inc.PausedFor(candorv1.Channel_CHANNEL_SMS) || inc.KindOf("w1") != KindClosingNote || inc.BaseOf("w1") != "closing" {
		t.Errorf("a pause outlasts the beginning of the end, and the note has its text: %+v", inc)
	}
	inc = story(t, append(events, resumed())...)
	state(inc, candorv1.IncidentState_INCIDENT_STATE_CLOSING, true, false, false)

	events = append(events, resumed(), closed)
	inc = story(t, events...)
	state(inc, candorv1.IncidentState_INCIDENT_STATE_CLOSED, false, false, true)
	state(story(t, append(slices.Clone(events), resumed())...), candorv1.IncidentState_INCIDENT_STATE_CLOSED, false, false, true)
	if inc.Closing().Closed.GetJournals() != 2 || inc.Proto().GetClosedAt() == nil {
		t.Errorf("closing = %+v", inc.Closing())
	}
	events = append(events, add(&candorv1.Addition{Wave: "reopen-1", Kind: KindReopen, ChosenBy: "more files were found"}), agree("reopen-1"))
	inc = story(t, events...)
	state(inc, candorv1.IncidentState_INCIDENT_STATE_DECLARED, true, true, false)
	if inc.Closing() != nil || inc.NextWave() != "w2" || !slices.Contains(inc.Begun(), "w1") {
		t.Errorf("reopened: closing %v, next %s, begun %v", inc.Closing(), inc.NextWave(), inc.Begun())
	}
	// The second end names people who stay untold, and two people agreed to it.
	events = append(events, add(&candorv1.Addition{Wave: "close-1", Kind: KindClose, Closing: &candorv1.Closing{Wave: "w2", Base: "closing"}}), agree("close-1"))
	inc = story(t, events...)
	state(inc, candorv1.IncidentState_INCIDENT_STATE_CLOSING, true, false, false)
	if inc.Closing().GetWave() != "w2" || !slices.Equal(inc.Begun(), []string{"w0", "w1", "w2"}) {
		t.Errorf("second end: %v, begun %v", inc.Closing(), inc.Begun())
	}
	inc = story(t, append(events, closed)...)
	state(inc, candorv1.IncidentState_INCIDENT_STATE_CLOSED, false, false, true)
	if _, err := story(t, drafted(1, ""), approved(nil)).with(3, closed); err == nil {
		t.Error("closed without a beginning of the end")
	}
}
