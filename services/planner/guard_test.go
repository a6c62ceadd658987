package planner

import (
	"strings"
	"testing"

	"candor/pkg/incident"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// numbers makes the ledger say that so many text messages were tried and rejected.
func numbers(seq, tried, rejected uint64) func(*ledgerDouble) {
	return func(l *ledgerDouble) {
		l.status = &candorv1.Status{FoldedTo: seq, Waves: []*candorv1.WaveStatus{{Wave: "w0", Channels: []*candorv1.ChannelStatus{
			{Channel: sms, Tried: tried, Rejected: rejected, Reasons: []*candorv1.ReasonCount{
				{State: candorv1.NoticeState_NOTICE_STATE_WAITING, Reason: "quiet_hours", Count: 1000},
				{State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "twilio_30007", Count: rejected},
				{State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "twilio_21610", Count: 1},
			}},
			{Channel: email, Tried: 100},
		}}}}
	}
}

func TestGuardPausesTheChannelOnWhichTooManyFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.tune(func(wave *playbook.Wave) { wave.Guard = playbook.Guard{Rejected: 0.1, Bounced: 0.05, Least: 50} })
	l := w.withLedger()
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	at, err := w.planner.last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	look := func(what string, tried, rejected uint64, paused bool) {
		t.Helper()
		l.say(numbers(0, tried, rejected))
		w.look()
		if got := w.reload().PausedFor(sms); got != paused {
			t.Errorf("%s: paused = %v, want %v (%s)", what, got, paused, w.inc.Reason)
		}
	}
	look("too few to tell", 49, 49, false)
	look("as many as allowed", 100, 10, false)
	look("too many", 100, 11, true)
	inc := w.reload()
	if inc.PausedFor(email) || !strings.Contains(inc.Reason, "11 of 100 text messages were rejected (11 %, more than 10 %), most often twilio_30007") {
		t.Errorf("e-mails paused: %v; reason %q", inc.PausedFor(email), inc.Reason)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{Channels: []candorv1.Channel{sms}}}})
	look("resumed with the same numbers", 100, 11, false)
	look("a few more", 140, 30, false)
	w.restart()
	look("a new planner, which knows of the resume", 140, 30, false)
	look("too many since", 190, 40, true)

	// Nothing has changed: nothing is asked.
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	l.say(numbers(at.journal, 190, 40))
	w.look()
	before := l.count("status")
	w.look()
	if n := l.count("status"); n != before {
		t.Errorf("asked %d times although no sequence moved", n-before)
	}
}

// An update goes by the guard of the first notice, which it brings itself.
func TestGuardLooksAfterAnUpdate(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	wave := w.reload().NextWave()
	w.approved(&candorv1.Addition{Wave: wave, Kind: incident.KindUpdate, Audience: "told", Text: `---
title: The thief was found
sms:
  en: "{{organisation.short_name}}: We are sorry. The thief was found. Call {{organisation.phone}}, code {{code}}."
  es: "{{organisation.short_name}}: Lo sentimos. Llame al {{organisation.phone}}, {{code}}."
---
`})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: wave, Decision: candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND, Wave: wave,
	}}})
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {email: {accepted}}})
	w.updated()
	w.ledger.say(func(l *ledgerDouble) {
		l.status = &candorv1.Status{FoldedTo: 1, Waves: []*candorv1.WaveStatus{{Wave: wave, Channels: []*candorv1.ChannelStatus{{Channel: sms, Tried: 1000, Rejected: 900}}}}}
	})
	w.look()
	if !w.reload().PausedFor(sms) || !strings.Contains(w.inc.Reason, "too many notices of wave "+wave) {
		t.Errorf("paused %v for %q", w.inc.Paused, w.inc.Reason)
	}
}

func TestComplaintNamesOnlyWhatIsAboveItsShare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		guard playbook.Guard
		n     tally
		want  string
	}{
		{"nothing tried", playbook.Guard{Rejected: 0.1}, tally{}, ""},
		{"no threshold", playbook.Guard{}, tally{10, 10, 10}, ""},
		{"bounced", playbook.Guard{Rejected: 0.5, Bounced: 0.025}, tally{1000, 10, 26}, "26 of 1000 e-mails bounced (2.6 %, more than 2.5 %)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := complaint(tt.guard, email, tt.n, nil); got != tt.want {
				t.Errorf("complaint = %q, want %q", got, tt.want)
			}
		})
	}
}
