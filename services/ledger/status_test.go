package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.write(on(sms, 0), outcome(0, suppressed, "no_phone", 0, 1), intent(1, 1, 4), outcome(1, accepted, "", 1, 2), outcome(1, failed, "twilio_21211", 3, 2))
	p.write(on(sms, 1), putOff("quiet_hours"))
	p.at = noon.Add(4 * time.Second)
	p.write(on(email, 0), intent(1, 0, 5), outcome(1, accepted, "", 0, 2), outcome(1, unknownR, "timeout", 3, 2))
	got := p.books.status("i1", declared(), as(noon.Add(5*time.Second)))
	want := &candorv1.Status{
		Incident: "i1", FoldedTo: 12, AsOf: timestamppb.New(noon.Add(5 * time.Second)),
		Waves: []*candorv1.WaveStatus{{Wave: "w0", Channels: []*candorv1.ChannelStatus{
			{
				Channel: sms, PlannedTotal: 10, States: map[string]uint64{"suppressed": 1, "accepted": 2, "failed": 2, "waiting": 5},
				Reasons: []*candorv1.ReasonCount{
					{State: candorv1.NoticeState_NOTICE_STATE_WAITING, Reason: "quiet_hours", Count: 5},
					{State: candorv1.NoticeState_NOTICE_STATE_SUPPRESSED, Reason: "no_phone", Count: 1},
					{State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "twilio_21211", Count: 2},
				},
				FirstAcceptedAt: timestamppb.New(noon), LastAcceptedAt: timestamppb.New(noon), RatePerSec: 0.4, Tried: 4, Rejected: 2,
				Throughput: []*candorv1.MinuteCount{{Minute: timestamppb.New(noon), Accepted: 2}},
			},
			{
				Channel: email, PlannedTotal: 10, States: map[string]uint64{"accepted": 2, "intended": 1, "uncertain": 2, "planned": 5},
				Reasons:         []*candorv1.ReasonCount{{State: candorv1.NoticeState_NOTICE_STATE_UNCERTAIN, Reason: "timeout", Count: 2}},
				FirstAcceptedAt: timestamppb.New(noon.Add(4 * time.Second)), LastAcceptedAt: timestamppb.New(noon.Add(4 * time.Second)), RatePerSec: 2, Tried: 2,
				Throughput: []*candorv1.MinuteCount{{Minute: timestamppb.New(noon), Accepted: 2}},
			},
		}}},
		// Page 0: sms -aaff, e-mail aaiuu; page 1: sms waits, e-mail is planned.
		People: &candorv1.PeopleStatus{
			OnFile: 10, Told: 3, Unreached: 7, RejectedRows: 2, UnreachedReasons: map[string]uint64{"uncertain": 2, "waiting": 5},
		},
		ProvisionalUntil: timestamppb.New(noon.Add(4*time.Second + receipt.Horizon)),
		Open: []string{
			"wave w0, sms: 5 notices are open of 10: 5 waiting",
			"wave w0, email: 8 notices are open of 10: 5 planned, 1 intended, 2 uncertain",
		},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("status:\n%s", diff)
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		inc  func(*incident.Incident)
		do   func(*pen)
		open []string // parts of sentences, one each; none if complete
	}{
		{"all told", nil, func(p *pen) { p.openAll(); p.tellAll() }, nil},
		{"paused, all told", func(i *incident.Incident) {
			i.State = candorv1.IncidentState_INCIDENT_STATE_PAUSED
		}, func(p *pen) { p.openAll(); p.tellAll() }, nil},
		{"failures are settled", nil, func(p *pen) {
			p.openAll()
			p.tellAllBut(on(sms, 1))
			p.write(on(sms, 1), intent(1, 0, 5), outcome(1, failed, "twilio_21211", 0, 5))
		}, nil},
		{"nothing happened", nil, func(*pen) {}, []string{
			"wave w0: 0 journals are opened, planned were 4", "wave w0: the journals hold 0 notices, planned were 20",
			"wave w0, sms: 0 pages are opened, approved were 2", "wave w0, email: 0 pages are opened, approved were 2",
		}},
		{"wave not planned", func(i *incident.Incident) { i.Waves = nil }, func(p *pen) { p.openAll(); p.tellAll() }, []string{"wave w0 is not planned yet"}},
		{"a wave is prepared", func(i *incident.Incident) {
			i.Draft.Plan.Waves = append(i.Draft.Plan.Waves, &candorv1.WavePlan{Wave: "standing", Channels: []*candorv1.ChannelPlan{{Channel: sms, Pages: 2, Notices: 10}}})
		}, func(p *pen) { p.openAll(); p.tellAll() }, nil},
		{"a page is missing", nil, func(p *pen) {
			p.write(on(sms, 0), opened(5))
			p.write(on(sms, 1), opened(5))
			p.write(on(email, 0), opened(5))
			p.tellAllBut(on(email, 1))
		}, []string{"3 journals are opened, planned were 4", "hold 15 notices, planned were 20", "wave w0, email: 1 page is opened, approved were 2"}},
		{"slots are missing", nil, func(p *pen) {
			p.write(on(email, 1), opened(5, 0, 4))
			p.openAllBut(on(email, 1))
			p.tellAllBut(on(email, 1))
			p.write(on(email, 1), intent(1, 0, 4), outcome(1, accepted, "", 0, 4))
		}, []string{"hold 19 notices, planned were 20", "wave w0, email: the journals hold 9 notices, approved were 10"}},
		{"a page too many", nil, func(p *pen) {
			p.openAll()
			p.tellAll()
			p.write(on(email, 7), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		}, []string{"5 journals are opened, planned were 4", "hold 25 notices", "wave w0, email: 3 pages are opened, approved were 2", "15 customers have notices, on file are 10"}},
		{"a channel nobody approved", func(i *incident.Incident) {
			i.Draft.Plan.Waves[0].Channels = i.Draft.Plan.Waves[0].Channels[:1]
		}, func(p *pen) { p.openAll(); p.tellAll() }, []string{"wave w0, email is in no approved plan"}},
		{"a notice is planned", nil, func(p *pen) { p.openAll(); p.tellAllBut(on(sms, 1)) }, []string{"wave w0, sms: 5 notices are open of 10: 5 planned"}},
		{"a retry waits", nil, func(p *pen) {
			p.openAll()
			p.tellAllBut(on(sms, 1))
			p.write(on(sms, 1), intent(1, 0, 5), outcome(1, accepted, "", 0, 4), outcome(1, retry, "busy", 4, 1))
		}, []string{"wave w0, sms: 1 notice is open of 10: 1 waiting"}},
		{"uncertain, kept for a person", nil, func(p *pen) {
			p.openAll()
			p.tellAllBut(on(email, 1))
			p.write(on(email, 1), intent(1, 0, 5), outcome(1, unknownR, "timeout", 0, 5))
		}, []string{"wave w0, email: 5 notices are open of 10: 5 uncertain"}},
		{"dead letter", nil, func(p *pen) {
			p.openAll()
			p.tellAllBut(on(email, 1))
			p.write(on(email, 1), deadLettered("page cannot be opened"))
		}, []string{"wave w0, email: 1 dead letter waits for a person", "5 notices are open"}},
		{"dead letter with nothing open", nil, func(p *pen) {
			p.openAll()
			p.tellAll()
			p.write(on(email, 1), deadLettered("page cannot be opened"))
		}, []string{"wave w0, email: 1 dead letter waits for a person"}},
		{"dead letter replayed", nil, func(p *pen) {
			p.openAll()
			p.write(on(email, 1), deadLettered("page cannot be opened"), replayed())
			p.tellAll()
		}, nil},
		{"draft", func(i *incident.Incident) {
			i.State, i.DeclaredAt, i.Waves = candorv1.IncidentState_INCIDENT_STATE_DRAFT, time.Time{}, nil
		}, func(*pen) {}, []string{"the incident is not approved"}},
		{"being aborted", func(i *incident.Incident) { i.State = candorv1.IncidentState_INCIDENT_STATE_ABORTING }, func(p *pen) {
			p.openAll()
			p.tellAllBut(on(sms, 1))
			p.write(on(sms, 1), sealed())
		}, []string{"is being aborted", "wave w0, sms: 1 journal is not sealed", "wave w0, email: 2 journals are not sealed"}},
		{"aborted", func(i *incident.Incident) { i.State = candorv1.IncidentState_INCIDENT_STATE_ABORTED }, func(p *pen) {
			p.write(on(sms, 0), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 3), outcome(1, retry, "busy", 3, 2), sealed())
			p.write(on(sms, 1), sealed())
			p.write(on(email, 0), opened(5), deadLettered("no key"), sealed())
		}, nil},
		{"aborted while sending", func(i *incident.Incident) { i.State = candorv1.IncidentState_INCIDENT_STATE_ABORTED }, func(p *pen) {
			p.write(on(sms, 0), opened(5), intent(1, 0, 5), sealed())
		}, []string{"wave w0, sms: 5 notices are open of 5: 5 intended"}},
		{"damaged", nil, func(p *pen) {
			p.openAll()
			p.tellAll()
			if p.bad(on(sms, 1), []byte{0xff}) == nil {
				p.t.Error("damage was not noticed")
			}
		}, []string{"wave w0, sms, page 1: entry 14 cannot be read"}},
		{"newer version", nil, func(p *pen) {
			p.openAll()
			p.tellAll()
			if p.bad(on(sms, 1), []byte{0xa2, 0x06, 0x00}) == nil { // field 100
				p.t.Error("the unknown event was not noticed")
			}
		}, []string{"run that version"}},
		{"damage stops one journal only", nil, func(p *pen) {
			p.openAll()
			_ = p.bad(on(sms, 1), []byte{0xff})
			p.tellAll() // what follows on sms page 1 is not folded
		}, []string{"wave w0, sms, page 1: entry 5 cannot be read", "wave w0, sms: 5 notices are open of 10: 5 planned"}},
		{"emptied journal", nil, func(p *pen) {
			p.openAllBut(on(sms, 1))
			if p.bad(on(sms, 1), encode(p.t, intent(1, 0, 5))) == nil {
				p.t.Error("an intent without opening was folded")
			}
			p.tellAllBut(on(sms, 1))
		}, []string{"3 journals are opened", "hold 15 notices", "page 1: entry 4 cannot be read", "1 page is opened"}},
		{"stray", nil, func(p *pen) {
			p.openAll()
			p.tellAll()
			if p.bad("journal.fax.i1.w0.1", nil) == nil {
				p.t.Error("the stray was not noticed")
			}
		}, []string{"1 subject that this version cannot read, such as journal.fax.i1.w0.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			inc := declared()
			if tt.inc != nil {
				tt.inc(inc)
			}
			tt.do(p)
			st := p.books.status("i1", inc, as(noon))
			if st.GetComplete() != (len(tt.open) == 0) {
				t.Errorf("complete is %v", st.GetComplete())
			}
			if len(st.GetOpen()) != len(tt.open) {
				t.Fatalf("open is %q, want %d sentences: %q", st.GetOpen(), len(tt.open), tt.open)
			}
			for i, want := range tt.open {
				if !strings.Contains(st.GetOpen()[i], want) {
					t.Errorf("sentence %d is %q, want %q", i, st.GetOpen()[i], want)
				}
			}
			people := st.GetPeople()
			var because uint64
			for _, n := range people.GetUnreachedReasons() {
				because += n
			}
			if people.GetUnreached() != because || people.GetTold()+because < people.GetOnFile() {
				t.Errorf("people do not add up: %v", people)
			}
		})
	}
}

func (p *pen) openAllBut(journal string) {
	p.t.Helper()
	for _, s := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1)} {
		if s != journal {
			p.write(s, opened(5))
		}
	}
}

func (p *pen) tellAllBut(journal string) {
	p.t.Helper()
	for _, s := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1)} {
		if s != journal {
			p.write(s, intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		}
	}
}

func TestUnknownIncident(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	if st := p.books.status("i1", nil, as(noon)); st != nil {
		t.Errorf("status of nothing: %v", st)
	}
	p.openAll()
	p.tellAll()
	if st := p.books.status("i1", nil, as(noon)); st.GetComplete() || len(st.GetOpen()) == 0 {
		t.Errorf("journals without an incident are complete: %v", st)
	}
}

func TestDuplicatesAreNotices(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAll()
	p.write(on(sms, 1), outcome(2, accepted, "", 0, 2), outcome(3, accepted, "", 0, 1))
	if st := p.books.status("i1", declared(), as(noon)); st.GetDuplicates() != 2 {
		t.Errorf("%d duplicates, want 2", st.GetDuplicates())
	}
}

// Whatever happens to the notices, and whenever it is asked: the counts are those of a fold from the start, counted one by
// one, and they balance.
func TestCountsEqualANaiveRecount(t *testing.T) {
	t.Parallel()
	results := []candorv1.Result{
		accepted, retry, failed, unknownR, suppressed, candorv1.Result_RESULT_NOT_SEEN, candorv1.Result_RESULT_NOT_FOUND,
		candorv1.Result_RESULT_NEXT_ADDRESS, candorv1.Result_RESULT_WITHDRAWN, candorv1.Result_RESULT_EXPIRED,
	}
	rapid.Check(t, func(t *rapid.T) {
		b := newBooks()
		var history []bus.Stored
		write := func(subject string, e *candorv1.JournalEntry) {
			m := bus.Stored{Subject: subject, Seq: uint64(len(history) + 1), Time: noon, Data: encode(t, stamped(e, noon))}
			history = append(history, m)
			_ = b.fold(m) // what is refused must not count either
		}
		type order struct {
			subject string
			slots   uint32
			attempt uint32
		}
		var orders []*order
		for page := range rapid.Uint32Range(1, 3).Draw(t, "pages") {
			slots := rapid.Uint32Range(1, 8).Draw(t, "slots")
			for _, wave := range []string{"w0", "w1"}[:rapid.IntRange(1, 2).Draw(t, "waves")] {
				for _, ch := range []candorv1.Channel{sms, email} {
					o := &order{subject: topology.Journal(ch, "i1", wave, page), slots: slots}
					var audience []uint32
					if rapid.Bool().Draw(t, "part") {
						audience = []uint32{0, rapid.Uint32Range(1, slots).Draw(t, "audience")}
						o.slots = audience[1]
					}
					write(o.subject, opened(slots, audience...))
					orders = append(orders, o)
				}
			}
		}
		on := func() *order { return rapid.SampledFrom(orders).Draw(t, "order") }
		run := func(o *order) []uint32 {
			first := rapid.Uint32Range(0, o.slots-1).Draw(t, "first")
			return []uint32{first, rapid.Uint32Range(1, o.slots-first).Draw(t, "count")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"intent": func(*rapid.T) {
				o := on()
				o.attempt++
				write(o.subject, intent(o.attempt, run(o)...))
			},
			"outcome": func(*rapid.T) {
				o := on()
				write(o.subject, outcome(rapid.Uint32Range(0, o.attempt).Draw(t, "attempt"),
					rapid.SampledFrom(results).Draw(t, "result"), rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "reason"), run(o)...))
			},
			"put off": func(*rapid.T) {
				write(on().subject, putOff(rapid.SampledFrom([]string{"pace", "quiet_hours"}).Draw(t, "why")))
			},
			"dead":   func(*rapid.T) { write(on().subject, deadLettered("x")) },
			"replay": func(*rapid.T) { write(on().subject, replayed()) },
			"seal": func(*rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
					write(on().subject, sealed())
				}
			},
			"ask": func(*rapid.T) {
				got := b.status("i1", nil, as(noon))
				if diff := cmp.Diff(naive(history), summary(got)); diff != "" {
					t.Fatalf("naive count (-), ledger (+):\n%s", diff)
				}
			},
		})
	})
}

// summary is what naive counts, taken from a status.
func summary(st *candorv1.Status) map[string]uint64 {
	sum := map[string]uint64{"told": st.GetPeople().GetTold(), "unreached": st.GetPeople().GetUnreached(), "duplicates": st.GetDuplicates()}
	for _, w := range st.GetWaves() {
		for _, ch := range w.GetChannels() {
			at := w.GetWave() + " " + topology.ChannelToken(ch.GetChannel()) + " "
			sum[at+"all"] = ch.GetPlannedTotal()
			for s, n := range ch.GetStates() {
				sum[at+s] = n
			}
			for _, r := range ch.GetReasons() {
				sum[at+candorv1.Word(r.GetState())+" "+r.GetReason()] = r.GetCount()
			}
		}
	}
	for why, n := range st.GetPeople().GetUnreachedReasons() {
		sum["unreached "+strings.Split(why, ":")[0]] += n
	}
	return sum
}

// naive folds a history from its start, as a worker would, and counts one notice after the other.
func naive(history []bus.Stored) map[string]uint64 {
	states := map[string]*journal.State{}
	for _, m := range history {
		st := states[m.Subject]
		if st == nil {
			k, _ := topology.ParseJournal(m.Subject)
			st = journal.NewState(journal.NewWords(), k.Channel, true)
			states[m.Subject] = st
		}
		if st.LastSeq == 1<<63 {
			continue // damaged
		}
		e := &candorv1.JournalEntry{}
		if proto.Unmarshal(m.Data, e) != nil || st.Apply(m.Seq, e) != nil {
			st.LastSeq = 1 << 63
		}
	}
	sum := map[string]uint64{"told": 0, "unreached": 0, "duplicates": 0}
	customers := map[string][]string{}
	for subject, st := range states {
		key, _ := topology.ParseJournal(subject)
		at := key.Wave + " " + topology.ChannelToken(key.Channel) + " "
		sum["duplicates"] += uint64(st.Twice())
		for n := range uint32(st.Len()) {
			if !st.InWave(n) {
				continue
			}
			s, reason := st.Notice(n)
			sum[at+"all"]++
			sum[at+candorv1.Word(s)]++
			if reason != "" {
				sum[at+candorv1.Word(s)+" "+reason]++
			}
			who := fmt.Sprint(key.Page, n)
			customers[who] = append(customers[who], candorv1.Word(s))
		}
	}
	for _, states := range customers {
		if slices.Contains(states, "accepted") {
			sum["told"]++
			continue
		}
		sum["unreached"]++
		for _, s := range []string{"uncertain", "intended", "waiting", "planned", "failed", "expired", "suppressed"} {
			if slices.Contains(states, s) {
				sum["unreached "+s]++
				break
			}
		}
	}
	return sum
}
