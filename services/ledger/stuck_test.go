package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

func TestStuck(t *testing.T) {
	t.Parallel()
	late := noon.Add(20 * time.Minute)
	half := func(p *pen) { p.write(on(sms, 0), intent(1, 0, 5), outcome(1, accepted, "", 0, 2)) }
	for _, tt := range []struct {
		name string
		inc  func(*incident.Incident)
		do   func(*pen)
		now  time.Time
		open uint64 // of page 0; 0 if it is not stuck
	}{
		{"untouched, and nobody works", nil, func(*pen) {}, late, 5},
		{"not yet", nil, half, noon.Add(15 * time.Minute), 0},
		{"left in the middle", nil, half, late, 3},
		{"untouched, and the queue goes on", nil, func(p *pen) {
			p.at = late.Add(-time.Minute)
			p.write(on(sms, 1), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		}, late, 0},
		{"left in the middle, and the queue goes on", nil, func(p *pen) {
			half(p)
			p.at = late.Add(-time.Minute)
			p.write(on(sms, 1), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		}, late, 3},
		{"a receipt came", nil, func(p *pen) {
			half(p)
			p.at = late.Add(-time.Minute)
			p.hear(sms, 0, outcome(1, delivered, "", 0, 1))
		}, late, 0},
		{"paused", func(i *incident.Incident) { i.Paused = map[candorv1.Channel]bool{sms: true} }, half, late, 0},
		{"another channel paused", func(i *incident.Incident) { i.Paused = map[candorv1.Channel]bool{email: true} }, half, late, 3},
		{"ended", func(i *incident.Incident) { i.State = candorv1.IncidentState_INCIDENT_STATE_ABORTED }, half, late, 0},
		{"sealed", nil, func(p *pen) { half(p); p.write(on(sms, 0), sealed()) }, late, 0},
		{"dead", nil, func(p *pen) { half(p); p.write(on(sms, 0), deadLettered("x")) }, late, 0},
		{"put off", nil, func(p *pen) { p.write(on(sms, 0), putOffUntil("quiet_hours", late.Add(-10*time.Minute))) }, late, 0},
		{"put off long ago", nil, func(p *pen) { p.write(on(sms, 0), putOffUntil("quiet_hours", noon.Add(time.Minute))) }, late, 5},
		{"a retry waits", nil, func(p *pen) { half(p); p.write(on(sms, 0), outcome(1, retry, "busy", 2, 3)) }, late, 0},
		{"uncertain", nil, func(p *pen) { half(p); p.write(on(sms, 0), outcome(1, unknownR, "timeout", 2, 3)) }, late, 0},
		{"settled", nil, func(p *pen) { half(p); p.write(on(sms, 0), outcome(1, failed, "x", 2, 3)) }, late, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			p.write(on(sms, 0), opened(5))
			p.write(on(sms, 1), opened(5))
			tt.do(p)
			if tt.name == "untouched, and nobody works" {
				p.write(on(sms, 1), deadLettered("x"))
			}
			inc := declared()
			if tt.inc != nil {
				tt.inc(inc)
			}
			var got uint64
			for _, s := range p.books.status("i1", inc, as(tt.now)).GetStuck() {
				if s.GetKey().GetPage() == 0 {
					got = s.GetOpenNotices()
					if s.GetKey().GetWave() != "w0" || s.GetKey().GetChannel() != sms || s.GetUnchangedSince().AsTime().After(noon.Add(time.Second)) {
						t.Errorf("stuck is %v", s)
					}
				}
			}
			if got != tt.open {
				t.Errorf("%d open notices are stuck, want %d", got, tt.open)
			}
		})
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.write(on(sms, 0), intent(1, 0, 4), outcome(1, accepted, "", 0, 2), outcome(1, unknownR, "timeout", 2, 1))
	p.write(on(email, 0), intent(1, 0, 5), outcome(1, unknownR, "timeout", 0, 2), outcome(1, accepted, "", 2, 3))
	p.write(on(email, 1), deadLettered("x"))
	p.write(on(sms, 2), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	p.write(on(sms, 3), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5), sealed())
	p.hear(sms, 3, outcome(1, delivered, "", 0, 5))
	p.write(on(sms, 4), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	p.hear(sms, 4, outcome(1, doubtful, "twilio_30000", 0, 1), outcome(1, delivered, "", 1, 4))
	p.at = noon.Add(time.Hour)
	p.write(on(sms, 5), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	p.hear(email, 9, outcome(1, delivered, "", 0, 1))

	page := func(ch candorv1.Channel, n, open uint32, at time.Time, poll bool) *candorv1.SweepPage {
		return &candorv1.SweepPage{
			Key: &candorv1.PageKey{Wave: "w0", Channel: ch, Page: n}, Open: open, UnchangedSince: timestamppb.New(at.Add(time.Second)), Poll: poll,
		}
	}
	for _, tt := range []struct {
		name          string
		polled, after time.Time
		want          []*candorv1.SweepPage
	}{
		{"no polls", time.Time{}, time.Time{}, []*candorv1.SweepPage{page(sms, 0, 3, noon, false), page(sms, 1, 5, noon, false)}},
		{
			"accepted long ago", noon.Add(time.Minute), noon.Add(-time.Hour),
			[]*candorv1.SweepPage{page(sms, 0, 3, noon, true), page(sms, 1, 5, noon, false), page(sms, 2, 0, noon, true)},
		},
		{
			"accepted too long ago", noon.Add(2 * time.Hour), noon.Add(time.Minute),
			[]*candorv1.SweepPage{page(sms, 0, 3, noon, false), page(sms, 1, 5, noon, false), page(sms, 5, 0, noon.Add(time.Hour), true)},
		},
	} {
		r := &candorv1.SweepRequest{Incident: "i1"}
		if !tt.polled.IsZero() {
			r.PolledBefore, r.NotBefore = timestamppb.New(tt.polled), timestamppb.New(tt.after)
		}
		res := p.books.sweep(r, declared(), as(noon.Add(time.Hour)))
		if diff := cmp.Diff(tt.want, res.GetPages(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: pages\n%s", tt.name, diff)
		}
		if len(res.GetDamage()) != 1 || len(res.GetStuck()) != 1 || res.GetStuck()[0].GetOpenNotices() != 3 {
			t.Errorf("%s: damage %q, stuck %v", tt.name, res.GetDamage(), res.GetStuck())
		}
	}

	// With a policy to send it again, what is uncertain wants its order.
	inc := declared()
	d := inc.Draft.GetDeclaration()
	d.Playbook = resendUncertain(d.GetPlaybook())
	for _, got := range p.books.sweep(&candorv1.SweepRequest{Incident: "i1"}, inc, as(noon)).GetPages() {
		if got.GetKey().GetChannel() == email && got.GetOpen() == 2 {
			return
		}
	}
	t.Error("uncertain e-mails that may be sent again want no order")
}

func TestCanaryNumbers(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.write(on(sms, 0), opened(5), outcome(0, suppressed, "no_phone", 0, 1), intent(1, 1, 4), outcome(1, accepted, "", 1, 3), outcome(1, failed, "twilio_21211", 4, 1))
	p.hear(sms, 0, outcome(1, delivered, "", 1, 1), outcome(1, undelivered, "twilio_30003", 2, 1))
	p.write(on(email, 0), opened(5, 0, 2), intent(1, 0, 1))
	p.hear(candorv1.Channel_CHANNEL_CALL, 0, outcome(1, delivered, "", 0, 1)) // no journal
	want := &candorv1.CanaryResponse{Channels: []*candorv1.CanaryChannel{
		{
			Channel: sms, Notices: 4, Waiting: 1, Delivered: 1, Rejected: 1, Bounced: 1, LastAcceptedAt: timestamppb.New(noon),
			Reasons: []*candorv1.ReasonCount{
				{State: candorv1.NoticeState_NOTICE_STATE_SUPPRESSED, Reason: "no_phone", Count: 1},
				{State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "twilio_21211", Count: 1},
				{State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "twilio_30003", Count: 1},
			},
		},
		{Channel: email, Notices: 2, Open: 2},
	}}
	if diff := cmp.Diff(want, p.books.canary(&candorv1.CanaryRequest{Incident: "i1", Wave: "w0"}), protocmp.Transform()); diff != "" {
		t.Errorf("canary:\n%s", diff)
	}
	for _, r := range []*candorv1.CanaryRequest{{Incident: "i1", Wave: "w1"}, {Incident: "i2", Wave: "w0"}} {
		if got := p.books.canary(r); len(got.GetChannels()) != 0 {
			t.Errorf("%v: %v", r, got)
		}
	}
}
