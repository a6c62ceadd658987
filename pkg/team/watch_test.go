package team_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/segment"
	"candor/pkg/team"
	candorv1 "candor/proto/candor/v1"
)

const (
	draft     = candorv1.AlertKind_ALERT_KIND_DRAFT
	declared  = candorv1.AlertKind_ALERT_KIND_DECLARED
	paused    = candorv1.AlertKind_ALERT_KIND_PAUSED
	threshold = candorv1.AlertKind_ALERT_KIND_THRESHOLD
	overdue   = candorv1.AlertKind_ALERT_KIND_OVERDUE
	closed    = candorv1.AlertKind_ALERT_KIND_CLOSED
	aborted   = candorv1.AlertKind_ALERT_KIND_ABORTED
)

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	sms  = candorv1.Channel_CHANNEL_SMS
	mail = candorv1.Channel_CHANNEL_EMAIL
)

// The events of an incident, by persons unless by says otherwise.
func drafted() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1}}}
}

func approved() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{}}}
}

func rejected() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Rejected{Rejected: &candorv1.Rejected{}}}
}

func pausedFor(chs ...candorv1.Channel) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Channels: chs, Reason: "Ana saw wrong names"}}}
}

func byService(e *candorv1.BreachEvent) *candorv1.BreachEvent {
	e.Actor = incident.Service("planner").Token
	return e
}

func resumed(chs ...candorv1.Channel) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{Channels: chs}}}
}

func added(kind, wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{
		AdditionDrafted: &candorv1.AdditionDrafted{Addition: &candorv1.Addition{Kind: kind, Wave: wave}},
	}}
}

func addedApproved(wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: wave}}}
}

func addedRejected(wave string) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionRejected{AdditionRejected: &candorv1.AdditionRejected{Wave: wave}}}
}

func decided(name string, d candorv1.FollowUpDecision) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{
		FollowUpDecided: &candorv1.FollowUpDecided{Name: name, DueAt: timestamppb.New(noon), Decision: d, Reason: "no_text"},
	}}
}

func closing() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{}}}
}

func closedNow() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: &candorv1.Closed{}}}
}

func abortedNow() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "x"}}}
}

func shreddedNow() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Shredded{Shredded: &candorv1.Shredded{}}}
}

func planned() *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{Wave: "w0"}}}
}

// watch folds events with the sequences 10, 20 and so on.
func watch(t interface {
	Helper()
	Fatal(...any)
}, id string, events ...*candorv1.BreachEvent,
) *team.Watch {
	t.Helper()
	w := team.NewWatch(id)
	for i, e := range events {
		e.OccurredAt = timestamppb.New(noon.Add(time.Duration(i) * time.Minute))
		data, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Fold(bus.Stored{Seq: uint64(10 * (i + 1)), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestEventsMakeAlerts(t *testing.T) {
	t.Parallel()
	const (
		send = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND
		skip = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP
		ask  = candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK
	)
	events := func(e ...*candorv1.BreachEvent) []*candorv1.BreachEvent { return e }
	for _, tt := range []struct {
		name   string
		events []*candorv1.BreachEvent
		want   string // ids, those that are over in brackets
	}{
		{"nothing", nil, ""},
		{"a draft waits", events(drafted()), "draft-10"},
		{"a newer revision takes its place", events(drafted(), drafted()), "(draft-10) draft-20"},
		{"it is rejected", events(drafted(), rejected()), "(draft-10)"},
		{"it is approved", events(drafted(), approved(), planned()), "(draft-10) declared-20"},
		{"an addition waits", events(drafted(), approved(), added("resend", "w0-r1")), "(draft-10) declared-20 draft-30"},
		{"it is approved, and another one waits", events(added("resend", "w0-r1"), added("update", "w3"), addedApproved("w0-r1")), "(draft-10) draft-20"},
		{"it is rejected", events(added("resend", "w0-r1"), addedRejected("w0-r1")), "(draft-10)"},
		{"somebody pauses", events(pausedFor()), "paused-10"},
		{"and resumes", events(pausedFor(), resumed()), "(paused-10)"},
		{"a guard pauses", events(byService(pausedFor(sms))), "threshold-10"},
		{"two pauses, one is undone", events(byService(pausedFor(sms)), pausedFor(mail), resumed(sms)), "(threshold-10) paused-20"},
		{"a channel of two is undone", events(pausedFor(sms, mail), resumed(sms)), "paused-10"},
		{"both are undone", events(pausedFor(sms, mail), resumed(sms), resumed(mail)), "(paused-10)"},
		{"all is paused, and one channel undone", events(pausedFor(), resumed(sms)), "paused-10"},
		{"it is paused twice", events(pausedFor(), byService(pausedFor())), "(paused-10) threshold-20"},
		{"everything is undone", events(pausedFor(sms), pausedFor(mail), resumed()), "(paused-10) (paused-20)"},
		{"a follow-up asks", events(decided("weekly", ask)), "overdue-10"},
		{"it is answered", events(decided("weekly", ask), decided("weekly", skip)), "(overdue-10)"},
		{"another one is sent", events(decided("weekly", ask), decided("first", send)), "overdue-10"},
		{"it is closed", events(decided("weekly", ask), closing(), closedNow()), "(overdue-10) (closed-20) closed-30"},
		{"an end waits, and is approved", events(added("close", "close-1"), added("update", "w1"), addedApproved("close-1")), "(draft-10) (draft-20) closed-30"},
		{"it is opened again", events(closing(), closedNow(), added("reopen", "reopen-1"), addedApproved("reopen-1")), "(closed-10) (closed-20) (draft-30) declared-40"},
		{
			"what was paused before the end still is when it is opened again",
			events(byService(pausedFor(sms)), closing(), closedNow(), added("reopen", "reopen-1"), addedApproved("reopen-1")),
			"(threshold-10) (closed-20) (closed-30) (draft-40) declared-50 paused-50",
		},
		{
			"until somebody resumes",
			events(pausedFor(sms), closing(), closedNow(), added("reopen", "reopen-1"), addedApproved("reopen-1"), resumed(sms)),
			"(paused-10) (closed-20) (closed-30) (draft-40) declared-50 (paused-50)",
		},
		{"nobody is reminded that customers are being told", events(drafted(), approved(), closing()), "(draft-10) (declared-20) closed-30"},
		{"a pause outlasts the beginning of the end", events(pausedFor(), closing()), "paused-10 closed-20"},
		{"it is aborted", events(drafted(), approved(), pausedFor(), added("resend", "w0-r1"), abortedNow()), "(draft-10) (declared-20) (paused-30) (draft-40) aborted-50"},
		{"it is shredded", events(abortedNow(), shreddedNow()), "(aborted-10)"},
		{"what nobody drafted", events(addedApproved("w9"), addedRejected("w9"), resumed(sms)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, a := range watch(t, "field-1", tt.events...).Alerts() {
				id := a.GetId()
				if a.GetOver() {
					id = "(" + id + ")"
				}
				if a.GetIncident() != "field-1" || !strings.HasPrefix(a.GetId(), candorv1.Word(a.GetKind())+"-") || a.GetRaisedAt().AsTime().Before(noon) {
					t.Errorf("alert %v", a)
				}
				got = append(got, id)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), tt.want)
			}
		})
	}
}

func TestADamagedEventStopsTheFold(t *testing.T) {
	t.Parallel()
	if err := team.NewWatch("field-1").Fold(bus.Stored{Seq: 3, Data: []byte{0xff}}); err == nil || !strings.Contains(err.Error(), "event 3") {
		t.Errorf("got %v", err)
	}
}

func TestWhatWasHandedOutDoesNotChange(t *testing.T) {
	t.Parallel()
	w := watch(t, "field-1", drafted())
	before := w.Alerts()
	data, err := proto.Marshal(approved())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Fold(bus.Stored{Seq: 20, Data: data}); err != nil {
		t.Fatal(err)
	}
	if before[0].GetOver() || !w.Alerts()[0].GetOver() {
		t.Error("an alert that was handed out changed")
	}
}

// TestAlertsFitTwoTexts has the longest ids, and reasons of every kind.
func TestAlertsFitTwoTexts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("i", 40)
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.SampledFrom([]func() *candorv1.BreachEvent{
			drafted, approved, rejected, closing, closedNow, abortedNow,
			func() *candorv1.BreachEvent { return resumed() },
			func() *candorv1.BreachEvent { return pausedFor(sms, mail, candorv1.Channel_CHANNEL_CALL) },
			func() *candorv1.BreachEvent {
				e := byService(pausedFor(rapid.SampledFrom([][]candorv1.Channel{nil, {sms}, {sms, mail, candorv1.Channel_CHANNEL_CALL}}).Draw(t, "channels")...))
				e.GetPaused().Reason = rapid.OneOf(rapid.StringMatching(`[a-z0-9 .,:]{0,400}`), rapid.String()).Draw(t, "reason")
				return e
			},
			func() *candorv1.BreachEvent {
				kind := rapid.SampledFrom([]string{"resend", "roster", "update", "correction", "close", "reopen", "other"}).Draw(t, "kind")
				return added(kind, strings.Repeat("w", 20))
			},
			func() *candorv1.BreachEvent {
				e := decided(strings.Repeat("n", 20), candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK)
				e.GetFollowUpDecided().Reason = rapid.SampledFrom([]string{"no_text", "late", ""}).Draw(t, "why")
				return e
			},
		})
		var events []*candorv1.BreachEvent
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			events = append(events, one.Draw(t, "event")())
		}
		alerts := watch(t, long, events...).Alerts()
		seen := map[string]bool{}
		for _, a := range alerts {
			if seen[a.GetId()] {
				t.Fatalf("id %s twice", a.GetId())
			}
			seen[a.GetId()] = true
			for _, reminder := range []uint32{0, 1, 100} {
				text := team.Message(a, reminder)
				if info := segment.Count(text); info.Encoding != segment.GSM7 || info.Segments > 2 {
					t.Fatalf("%v: %s", info, text)
				}
				if !strings.Contains(text, "candor ") || !strings.Contains(text, long) {
					t.Fatalf("no command in %q", text)
				}
			}
			if s := team.Subject(a, 1); !strings.Contains(s, long) || strings.Contains(s, "\n") {
				t.Fatalf("subject %q", s)
			}
		}
	})
}

func TestTheWordsOfAlerts(t *testing.T) {
	t.Parallel()
	guard := byService(pausedFor(sms))
	guard.GetPaused().Reason = "too many notices of wave w0 fail: 12 of 100. The channel is paused; mend the cause and resume"
	var got []string
	for _, e := range []*candorv1.BreachEvent{
		drafted(), approved(), added("update", "w3"), pausedFor(mail), guard, decided("weekly", candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK), closing(), closedNow(), abortedNow(),
	} {
		got = append(got, watch(t, "field-1", e).Alerts()[0].GetText())
	}
	want := []string{
		"Candor: draft 1 of incident field-1 waits for a second person. Type: candor approve field-1. No more reminders: candor ack field-1",
		"Candor: incident field-1 was approved, and customers are being told. Type: candor watch field-1. No more reminders: candor ack field-1",
		"Candor: an update (w3) of incident field-1 waits for a second person. Type: candor approve field-1. No more reminders: candor ack field-1",
		"Candor: somebody paused email of incident field-1; nothing is sent there until it goes on. Type: candor resume field-1. No more reminders: candor ack field-1",
		"Candor: sms of incident field-1 paused by itself: too many notices of wave w0 fail: 12 of 100. The channel is paused; mend the cause and resume. Type: candor resume field-1. No more reminders: candor ack field-1",
		"Candor: weekly of incident field-1, due 23 Nov 12:00 UTC, has no text, and waits for your word. Type: candor followup field-1. No more reminders: candor ack field-1",
		"Candor: incident field-1 is being closed: the last word goes out, and then nothing more. See: candor status field-1",
		"Candor: incident field-1 is closed: nobody is told anything more. See: candor status field-1",
		"Candor: incident field-1 was aborted: nobody is told anything more. See: candor status field-1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(strings.Join(got, ""), "Ana") {
		t.Error("a person's words are in an alert")
	}
}
