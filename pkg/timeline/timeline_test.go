package timeline

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/audience"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL

	accepted = candorv1.NoticeState_NOTICE_STATE_ACCEPTED
	failed   = candorv1.NoticeState_NOTICE_STATE_FAILED
	waiting  = candorv1.NoticeState_NOTICE_STATE_WAITING
	planned  = candorv1.NoticeState_NOTICE_STATE_PLANNED
)

// noon is a Monday's in New York: the apology is due on Thursday at the same hour, and then every Monday at 10.
var noon = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)

func starter(t testing.TB) *notice.Set {
	t.Helper()
	d := &candorv1.Declaration{}
	for name, into := range map[string]*string{"playbook.yaml": &d.Playbook, "facts.yaml": &d.Facts} {
		b, err := fs.ReadFile(playbook.Starter(), name)
		if err != nil {
			t.Fatal(err)
		}
		*into = string(b)
	}
	set, err := notice.NewSet(d)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const update = `---
title: What we found since
sms:
  en: "{{organisation.short_name}}: We are sorry. We know more. Call {{organisation.phone}}, code {{code}}."
  es: "{{organisation.short_name}}: Le pedimos disculpas. Sabemos algo mas. Llame al {{organisation.phone}} y diga {{code}}."
---
`

// story is an incident whose first notice went out.
type story struct{ *incident.Incident }

func told() story {
	return story{&incident.Incident{
		ID: "acme", State: candorv1.IncidentState_INCIDENT_STATE_DECLARED, DeclaredAt: noon,
		Draft: &candorv1.Drafted{Plan: &candorv1.Plan{People: &candorv1.People{Customers: 100}, Waves: []*candorv1.WavePlan{
			{Wave: "w0", Channels: []*candorv1.ChannelPlan{{Channel: sms, Notices: 90}}},
			{Wave: "standing", Channels: []*candorv1.ChannelPlan{
				{Channel: sms, Senders: []*candorv1.SenderPlan{{Seconds: 600}, {Seconds: 7200}}},
				{Channel: email, Senders: []*candorv1.SenderPlan{{Seconds: 60}, {Seconds: 90000, StandBy: true}}},
			}},
		}}},
		Waves: map[string]*candorv1.WavePlanned{"w0": {}},
	}}
}

// unplanned is before the planner has worked out who gets the first notice.
func (s story) unplanned() story {
	s.Waves = nil
	return s
}

func (s story) decided(name string, due time.Time, what candorv1.FollowUpDecision, wave, base, reason string) story {
	s.Decisions = append(s.Decisions, incident.Decision{At: due, FollowUpDecided: &candorv1.FollowUpDecided{
		Name: name, DueAt: timestamppb.New(due), Decision: what, Wave: wave, Base: base, Reason: reason,
	}})
	return s
}

// adds an addition, approved or waiting.
func (s story) adds(approved time.Time, a *candorv1.Addition) story {
	all := maps.Clone(s.Additions)
	if all == nil {
		all = map[string]*incident.Addition{}
	}
	add := &incident.Addition{AdditionDrafted: &candorv1.AdditionDrafted{Addition: a}, ApprovedAt: approved}
	if !approved.IsZero() {
		add.ApprovedBy = "erin"
	}
	all[a.GetWave()] = add
	s.Additions = all
	return s
}

func (s story) closes() story {
	s.State = candorv1.IncidentState_INCIDENT_STATE_CLOSING
	s.Closings = append(s.Closings, incident.Closing{Closing: &candorv1.Closing{Wave: "w9", Base: "closing"}, At: noon.Add(24 * time.Hour)})
	return s
}

func (s story) in(state candorv1.IncidentState) story {
	s.State = state
	return s
}

// page is customers of New York by two channels, and one of them without an address.
func page(number uint32, zone string) *roster.Page {
	p := &roster.Page{Number: number, Tier: 5, TimeZone: zone, Language: "en"}
	for i := range 4 {
		c := roster.Customer{Ref: fmt.Sprint(number, "-", i), Country: "US", TimeZone: zone, Tier: 5, Language: "en"}
		c.Phones, c.TextPhones = []pii.Phone{pii.NewPhone(fmt.Sprintf("+1212555%02d%02d", number, i))}, 1
		if i > 0 {
			c.Email = pii.NewEmail(fmt.Sprintf("c%d@example.com", i))
		}
		p.Customers = append(p.Customers, c)
	}
	return p
}

func nobodyBarred(candorv1.Channel, *roster.Customer) bool { return false }

// everybodyButTheLast was told.
func everybodyButTheLast(wave string, _ uint32, slot int) audience.States {
	return func(ch candorv1.Channel) candorv1.NoticeState {
		if ch == sms && slot < 3 && (wave == "" || slot == 0) {
			return accepted
		}
		return failed
	}
}

// lines writes a timeline as a test reads it, in New York.
func lines(tl *candorv1.Timeline) string {
	var b strings.Builder
	at := func(t *timestamppb.Timestamp) string {
		return t.AsTime().In(location("America/New_York")).Format("Jan 2 15:04")
	}
	for _, e := range tl.GetEntries() {
		fmt.Fprintf(&b, "%s  %s %s", at(e.GetDueAt()), candorv1.Word(e.GetState()), e.GetKind())
		for _, w := range []string{e.GetWave(), e.GetName(), e.GetReason(), e.GetCorrects()} {
			if w != "" {
				b.WriteString(" " + w)
			}
		}
		b.WriteString("\n")
		for _, c := range e.GetChannels() {
			fmt.Fprintf(&b, "  %s %d", roster.ChannelName(c.GetChannel()), c.GetCustomers())
			for _, w := range c.GetWindows() {
				fmt.Fprintf(&b, "; %s %d %s to %s", w.GetTimeZone(), w.GetCustomers(), at(w.GetFrom()), at(w.GetUntil()))
			}
			b.WriteString("\n")
		}
	}
	for _, n := range tl.GetNotes() {
		b.WriteString("- " + n + "\n")
	}
	return b.String()
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	set := starter(t)
	day := 24 * time.Hour
	send, skip, ask := candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND, candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SKIP, candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK
	news := func(wave string) *candorv1.Addition {
		return &candorv1.Addition{Wave: wave, Kind: incident.KindUpdate, Text: update, Audience: "told"}
	}
	for _, tt := range []struct {
		name   string
		story  story
		status *candorv1.Status
		days   int
		want   string
	}{
		{"what went out, and what comes", told(), &candorv1.Status{Waves: []*candorv1.WaveStatus{{Wave: "w0", Channels: []*candorv1.ChannelStatus{
			{
				Channel: sms, States: map[string]uint64{"accepted": 1, "delivered": 2, "failed": 1}, Settled: true,
				FirstAcceptedAt: timestamppb.New(noon), LastAcceptedAt: timestamppb.New(noon.Add(time.Hour)),
			},
			{Channel: email, States: map[string]uint64{"waiting": 4}},
		}}}}, 8, `Nov 23 12:00  running first_notice w0
  sms 3; America/New_York 3 Nov 23 12:00 to Nov 23 13:00
  email 0
Nov 26 12:00  coming follow_up apology prepared
  email 4; America/New_York 2 Nov 26 12:00 to Nov 26 12:01; Asia/Tokyo 2 Nov 26 18:00 to Nov 26 18:01
Nov 30 10:00  coming follow_up weekly prepared
  sms 6; America/New_York 3 Nov 30 10:00 to Nov 30 12:01; Asia/Tokyo 3 Nov 30 19:00 to Nov 30 21:01
  email 4; America/New_York 2 Nov 30 10:00 to Nov 30 10:02; Asia/Tokyo 2 Nov 30 18:00 to Nov 30 18:02
`},
		{
			"news at an hour, and in place of a follow-up",
			told().adds(noon, &candorv1.Addition{Wave: "w1", Kind: incident.KindCorrection, Text: update, Audience: "told", Corrects: "w0", At: timestamppb.New(noon.Add(day))}).
				adds(noon, &candorv1.Addition{Wave: "w2", Kind: incident.KindUpdate, Text: update, Audience: "not told", WithNext: true}),
			&candorv1.Status{}, 4, `Nov 23 12:00  past first_notice w0
Nov 24 12:00  coming correction w1 news w0
  sms 2; America/New_York 1 Nov 24 12:00 to Nov 24 12:01; Asia/Tokyo 1 Nov 24 19:00 to Nov 24 19:01
Nov 26 12:00  coming update w2 apology news
  sms 2; America/New_York 1 Nov 26 12:00 to Nov 26 12:01; Asia/Tokyo 1 Nov 26 19:00 to Nov 26 19:01
`,
		},
		{
			"drafts wait", told().adds(time.Time{}, news("w1")).adds(time.Time{}, &candorv1.Addition{Wave: "close-1", Kind: incident.KindClose}), nil, 1,
			`Nov 23 12:00  past first_notice w0
Nov 23 13:00  draft update w1
  sms 6; America/New_York 3 Nov 23 13:00 to Nov 23 13:01; Asia/Tokyo 3 Nov 23 19:00 to Nov 23 19:01
- close-1 (close) waits for a second person
- w1 (update) waits for a second person
`,
		},
		{
			"decided", told().decided("apology", noon.Add(-3*time.Hour), ask, "", "", "late").decided("weekly", noon.Add(-2*time.Hour), skip, "", "", "missed").
				decided("weekly", noon.Add(-time.Hour), send, "w1", "standing", "prepared"), nil, 0,
			`Nov 23 09:00  asks follow_up apology late
Nov 23 10:00  skipped follow_up weekly missed
Nov 23 12:00  past first_notice w0
Nov 23 11:00  coming follow_up w1 weekly prepared
  sms 6; America/New_York 3 Nov 23 13:00 to Nov 23 15:01; Asia/Tokyo 3 Nov 23 19:00 to Nov 23 21:01
  email 4; America/New_York 2 Nov 23 13:00 to Nov 23 13:02; Asia/Tokyo 2 Nov 23 18:00 to Nov 23 18:02
- apology, due 2026-11-23 09:00 EST, waits for a person: candor followup acme
`,
		},
		{"the last word", told().adds(time.Time{}, news("w1")).closes(), nil, 30, `Nov 23 12:00  past first_notice w0
Nov 24 12:00  coming closing_note w9
  sms 6; America/New_York 3 Nov 24 12:00 to Nov 24 12:01; Asia/Tokyo 3 Nov 24 19:00 to Nov 24 19:01
  email 4; America/New_York 2 Nov 24 12:00 to Nov 24 12:01; Asia/Tokyo 2 Nov 24 18:00 to Nov 24 18:01
- the incident closes: nothing is sent any more but its last word
`},
		{"closed", told().in(candorv1.IncidentState_INCIDENT_STATE_CLOSED), nil, 30, "Nov 23 12:00  past first_notice w0\n- the incident is closed: nothing is sent any more\n"},
		{"aborted", told().in(candorv1.IncidentState_INCIDENT_STATE_ABORTED), nil, 30, "Nov 23 12:00  past first_notice w0\n- the incident was aborted: nothing is sent any more\n"},
		{"aborted before it was planned", told().unplanned().in(candorv1.IncidentState_INCIDENT_STATE_ABORTED), nil, 30, "- the incident was aborted: nothing is sent any more\n"},
		{
			"aborted while a canary was out", told().unplanned().in(candorv1.IncidentState_INCIDENT_STATE_ABORTED),
			&candorv1.Status{Waves: []*candorv1.WaveStatus{{Wave: "w0", Channels: []*candorv1.ChannelStatus{{Channel: sms, Settled: true, States: map[string]uint64{"accepted": 4}}}}}},
			30, "Nov 23 12:00  past first_notice w0\n  sms 4\n- the incident was aborted: nothing is sent any more\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			now := noon.Add(time.Hour)
			b, err := New(Input{Incident: tt.story.Incident, Plan: set, Status: tt.status, Now: now, Until: now.AddDate(0, 0, tt.days), Slack: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []*roster.Page{page(1, "America/New_York"), page(2, "Asia/Tokyo")} {
				c := b.Counter(everybodyButTheLast, nobodyBarred)
				c.Page(p)
				b.Add(c)
			}
			if got := lines(b.Timeline()); got != tt.want {
				t.Errorf("timeline is\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// Follow-ups for which nothing is prepared ask; what falls because nobody answers is not said twice.
func TestWhatWillAsk(t *testing.T) {
	t.Parallel()
	set := starter(t)
	pb := *set.Playbook
	f := *pb.FollowUps
	f.Cadence = slices.Clone(f.Cadence)
	f.Cadence[1].Send = ""
	pb.FollowUps = &f
	b, err := New(Input{Incident: told().Incident, Plan: &notice.Set{Playbook: &pb}, Now: noon.Add(4 * 24 * time.Hour), Until: noon.Add(16 * 24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	want := `Nov 23 12:00  past first_notice w0
Nov 26 12:00  coming follow_up apology prepared
Nov 30 10:00  asks follow_up weekly no_text
Dec 7 10:00  asks follow_up weekly no_text
- nothing is prepared for the follow-up weekly: without news, it will wait for a person
`
	if got := lines(b.Timeline()); got != want {
		t.Errorf("timeline is\n%s\nwant\n%s", got, want)
	}
}

// In a rehearsal a follow-up is due for hours before the machine comes to it. The timeline calls it late when the service does.
func TestARehearsalIsAsLateAsItsService(t *testing.T) {
	t.Parallel()
	set := starter(t)
	pb := *set.Playbook
	f := *pb.FollowUps
	f.Cadence = slices.Clone(f.Cadence)
	f.Cadence[0].IfLate = playbook.Late{Skip: true}
	pb.FollowUps = &f
	now := noon.Add(3*24*time.Hour + 2*time.Hour) // two hours after the first follow-up was due
	for speed, want := range map[float64]string{1: "skipped follow_up apology late", 3600: "coming follow_up apology prepared"} {
		b, err := New(Input{Incident: told().Incident, Plan: &notice.Set{Playbook: &pb}, Now: now, Until: now.Add(time.Hour), Clock: clock.Fast(now, now, speed)})
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(b.Timeline()); !strings.Contains(got, want) {
			t.Errorf("at %g times the speed the timeline is\n%s\nwant %s", speed, got, want)
		}
	}
}

// A follow-up that waits for hours in one zone holds up what is due after it in all of them.
func TestWhatComesWaitsForWhatCameBefore(t *testing.T) {
	t.Parallel()
	monday := noon.Add(7*24*time.Hour - 2*time.Hour) // 10:00 in New York: past the hours for texts in Tokyo
	inc := told().adds(noon, &candorv1.Addition{
		Wave: "w1", Kind: incident.KindUpdate, Text: update, Audience: "told", At: timestamppb.New(monday.Add(3 * time.Hour)),
	})
	for _, tt := range []struct {
		zones []string
		until string
	}{
		{[]string{"America/New_York"}, "Nov 30 13:01"},
		{[]string{"America/New_York", "Asia/Tokyo"}, "Dec 1 09:01"}, // Tokyo's texts take two hours from 19:00 in New York on
	} {
		b, err := New(Input{Incident: inc.Incident, Plan: starter(t), Now: noon.Add(6 * 24 * time.Hour), Until: noon.Add(8 * 24 * time.Hour), Zones: tt.zones, Slack: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		c := b.Counter(everybodyButTheLast, nobodyBarred)
		c.Page(page(1, "America/New_York"))
		b.Add(c)
		want := "Nov 30 13:00  coming update w1 news\n  sms 3; America/New_York 3 Nov 30 13:00 to " + tt.until + "\n"
		if got := lines(b.Timeline()); !strings.Contains(got, want) {
			t.Errorf("with %v the timeline is\n%s\nwant\n%s", tt.zones, got, want)
		}
	}
}

// What waits keeps the hour for which it was ordered, says what it waits for, and begins when that has gone out.
func TestACorrectionWaitsForWhatItCorrects(t *testing.T) {
	t.Parallel()
	now := noon.Add(10 * time.Hour) // 22:00 in New York: its texts wait for the morning
	correction := &candorv1.Addition{Wave: "w1", Kind: incident.KindCorrection, Text: update, Audience: "told", Corrects: "w0"}
	draft := &candorv1.Addition{Wave: "w2", Kind: incident.KindCorrection, Text: update, Audience: "told", Corrects: "w0"}
	inc := told().adds(now.Add(-time.Hour), correction).adds(time.Time{}, draft)
	states := map[string]uint64{"accepted": 98, "waiting": 2}
	for _, tt := range []struct {
		name, waits string
		channel     *candorv1.ChannelStatus
	}{
		{"for two who wait for their hours", "w0", &candorv1.ChannelStatus{Channel: sms, States: states}},
		{"for those who are tried again", "w0", &candorv1.ChannelStatus{Channel: sms, States: states, Retrying: 2}},
		{"for a step", "w0", &candorv1.ChannelStatus{Channel: email, ToCome: 1}},
		{"for nobody", "", &candorv1.ChannelStatus{Channel: sms, States: map[string]uint64{"accepted": 98, "failed": 2}, Settled: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			status := &candorv1.Status{Waves: []*candorv1.WaveStatus{{Wave: "w0", Channels: []*candorv1.ChannelStatus{tt.channel}}}}
			b, err := New(Input{
				Incident: inc.Incident, Plan: starter(t), Status: status, Now: now, Until: now.Add(24 * time.Hour), Zones: []string{"America/New_York"},
			})
			if err != nil {
				t.Fatal(err)
			}
			tl := b.Timeline()
			for _, wave := range []string{"w1", "w2"} {
				i := slices.IndexFunc(tl.GetEntries(), func(e *candorv1.TimelineEntry) bool { return e.GetWave() == wave })
				if i < 0 || tl.GetEntries()[i].GetWaitsFor() != tt.waits {
					t.Errorf("%s waits for another wave than %q: %v", wave, tt.waits, tl)
				}
			}
			if e := tl.GetEntries()[1]; e.GetWave() == "w1" && !e.GetDueAt().AsTime().Equal(now.Add(-time.Hour)) {
				t.Errorf("it was ordered for %s, and is due %s", now.Add(-time.Hour), e.GetDueAt().AsTime())
			}
			if said := slices.ContainsFunc(tl.GetNotes(), func(n string) bool { return strings.Contains(n, "w1 corrects w0, and waits") }); said != (tt.waits != "") {
				t.Errorf("notes are %q", tl.GetNotes())
			}
		})
	}
}

func TestNobodyIsOfferedWhatTheEndCameBefore(t *testing.T) {
	t.Parallel()
	now := noon.Add(48 * time.Hour)
	inc := told().adds(noon, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, Text: update, Audience: "told"}).
		decided("w1", noon, candorv1.FollowUpDecision_FOLLOW_UP_DECISION_ASK, "", "", "late")
	for _, state := range []candorv1.IncidentState{candorv1.IncidentState_INCIDENT_STATE_CLOSED, candorv1.IncidentState_INCIDENT_STATE_DECLARED} {
		is := *inc.Incident
		if is.State = state; state == candorv1.IncidentState_INCIDENT_STATE_DECLARED {
			is.ReopenedAt = now.Add(-time.Hour)
		}
		b, err := New(Input{Incident: &is, Plan: starter(t), Now: now, Until: now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(b.Timeline()); strings.Count(got, "skipped update w1") != 1 || !strings.Contains(got, "closed") || strings.Contains(got, "asks") || strings.Contains(got, "candor followup") {
			t.Errorf("%v: %s", state, got)
		}
	}
}

// Whoever got the words of a wave as an added row, or by a resend, was told by it.
func TestOneCustomerStandsWhereTheWordsReachedThem(t *testing.T) {
	t.Parallel()
	inc := told().adds(noon, &candorv1.Addition{Wave: "w0-a1", Kind: incident.KindRoster, Base: "w0"}).Incident
	notices := []*candorv1.FoundNotice{{Key: &candorv1.NoticeKey{Wave: "w0-a1", Channel: sms}, State: accepted}}
	if got := Standing(inc, notices)("w0", 0, 0)(sms); got != accepted {
		t.Errorf("added and told, and stands at %v", got)
	}
	if got := Standing(inc, notices)("w1", 0, 0)(sms); got == accepted {
		t.Error("told by a wave that never reached them")
	}
}

func TestTimelineOfOneCustomer(t *testing.T) {
	t.Parallel()
	set := starter(t)
	got := func(ch candorv1.Channel, state candorv1.NoticeState, events ...string) *candorv1.FoundNotice {
		n := &candorv1.FoundNotice{Key: &candorv1.NoticeKey{Wave: "w0", Channel: ch}, State: state}
		for i, e := range events {
			n.Events = append(n.Events, &candorv1.NoticeEvent{What: e, At: timestamppb.New(noon.Add(time.Duration(i) * time.Minute))})
		}
		return n
	}
	noTexts := func(ch candorv1.Channel, _ *roster.Customer) bool { return ch == sms }
	for _, tt := range []struct {
		name    string
		slot    uint32
		notices []*candorv1.FoundNotice
		barred  Barred
		want    string
	}{
		{"told", 1, []*candorv1.FoundNotice{got(sms, accepted, "planned", "intended", "accepted"), got(email, waiting)}, nobodyBarred, `Nov 23 12:00  running first_notice w0
  sms 1; America/New_York 1 Nov 23 12:02 to Nov 23 12:02
  email 0; America/New_York 1 Nov 23 13:00 to Nov 23 13:01
Nov 26 12:00  coming follow_up apology prepared
  email 1; America/New_York 1 Nov 26 12:00 to Nov 26 12:01
Nov 30 10:00  coming follow_up weekly prepared
  sms 1; America/New_York 1 Nov 30 10:00 to Nov 30 12:01
  email 1; America/New_York 1 Nov 30 10:00 to Nov 30 10:02
`},
		{"said stop", 1, []*candorv1.FoundNotice{got(sms, accepted, "accepted")}, noTexts, `Nov 23 12:00  past first_notice w0
  sms 1; America/New_York 1 Nov 23 12:00 to Nov 23 12:00
Nov 26 12:00  coming follow_up apology prepared
  email 1; America/New_York 1 Nov 26 12:00 to Nov 26 12:01
Nov 30 10:00  coming follow_up weekly prepared
  email 1; America/New_York 1 Nov 30 10:00 to Nov 30 10:02
`},
		{"no address", 0, []*candorv1.FoundNotice{got(sms, accepted, "accepted")}, nobodyBarred, `Nov 23 12:00  past first_notice w0
  sms 1; America/New_York 1 Nov 23 12:00 to Nov 23 12:00
Nov 30 10:00  coming follow_up weekly prepared
  sms 1; America/New_York 1 Nov 30 10:00 to Nov 30 12:01
`},
		{"not told", 1, []*candorv1.FoundNotice{got(sms, failed)}, nobodyBarred, "Nov 23 12:00  past first_notice w0\n  sms 0\n"},
		{"in no wave", 1, nil, nobodyBarred, ""},
		{"nobody has looked at who said stop", 1, []*candorv1.FoundNotice{got(sms, planned), got(email, planned)}, noTexts, `Nov 23 12:00  running first_notice w0
  sms 0
  email 0; America/New_York 1 Nov 23 13:00 to Nov 23 13:01
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := New(Input{Incident: told().Incident, Plan: set, Now: noon.Add(time.Hour), Until: noon.Add(8 * 24 * time.Hour), Slack: time.Minute})
			if err == nil {
				err = b.For(page(1, "America/New_York"), tt.slot, tt.notices, tt.barred)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := lines(b.Timeline()); got != tt.want {
				t.Errorf("timeline is\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// BenchmarkPage counts a thousand customers for a month's follow-ups.
func BenchmarkPage(b *testing.B) {
	tl, err := New(Input{Incident: told().Incident, Plan: starter(b), Now: noon, Until: noon.AddDate(0, 0, 30)})
	if err != nil {
		b.Fatal(err)
	}
	p := page(1, "America/New_York")
	for len(p.Customers) < 1000 {
		p.Customers = append(p.Customers, p.Customers[1])
	}
	c := tl.Counter(everybodyButTheLast, nobodyBarred)
	for b.Loop() {
		c.Page(p)
	}
}
