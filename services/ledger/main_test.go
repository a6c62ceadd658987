package ledger

import (
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL

	accepted   = candorv1.Result_RESULT_ACCEPTED
	retry      = candorv1.Result_RESULT_RETRY
	failed     = candorv1.Result_RESULT_FAILED
	unknownR   = candorv1.Result_RESULT_UNKNOWN
	suppressed = candorv1.Result_RESULT_SUPPRESSED

	delivered   = candorv1.Result_RESULT_DELIVERED
	undelivered = candorv1.Result_RESULT_UNDELIVERED
	softly      = candorv1.Result_RESULT_UNDELIVERED_RETRY
	doubtful    = candorv1.Result_RESULT_DOUBTFUL
	optedOut    = candorv1.Result_RESULT_OPTED_OUT
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// pen writes journal entries by hand into books, as the stream would bring them.
type pen struct {
	t     testing.TB
	books *books
	seq   uint64
	heard uint64
	at    time.Time
}

func newPen(t testing.TB) *pen { return &pen{t: t, books: newBooks(), at: noon} }

// bad writes bytes and returns what the books say of them.
func (p *pen) bad(subject string, data []byte) error {
	p.seq++
	return p.books.fold(bus.Stored{Subject: subject, Seq: p.seq, Time: p.at.Add(time.Second), Data: data})
}

func (p *pen) write(subject string, entries ...*candorv1.JournalEntry) {
	p.t.Helper()
	for _, e := range entries {
		if err := p.bad(subject, encode(p.t, stamped(e, p.at))); err != nil {
			p.t.Fatal(err)
		}
	}
}

// badReceipt brings bytes as a receipt of page and returns what the books say of them.
func (p *pen) badReceipt(ch candorv1.Channel, page uint32, data []byte) error {
	p.heard++
	return p.books.hear(bus.Stored{Subject: topology.Receipt(ch, "i1", "w0", page), Seq: p.heard, Time: p.at.Add(time.Second), Data: data})
}

func (p *pen) hear(ch candorv1.Channel, page uint32, entries ...*candorv1.JournalEntry) {
	p.t.Helper()
	for _, e := range entries {
		if err := p.badReceipt(ch, page, encode(p.t, stamped(e, p.at))); err != nil {
			p.t.Fatal(err)
		}
	}
}

func stamped(e *candorv1.JournalEntry, at time.Time) *candorv1.JournalEntry {
	e.OccurredAt = timestamppb.New(at)
	return e
}

// as looks at the books at a moment, when the streams are folded to their ends.
func as(now time.Time) look {
	return look{now: now, stuckAfter: 15 * time.Minute, receipts: math.MaxUint64}
}

func encode(t interface{ Fatal(...any) }, e *candorv1.JournalEntry) []byte {
	data, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func on(ch candorv1.Channel, page uint32) string { return topology.Journal(ch, "i1", "w0", page) }

func opened(slots uint32, audience ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{Slots: slots, Audience: audience}}}
}

func intent(attempt uint32, runs ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{Attempt: attempt, Slots: runs}}}
}

func outcome(attempt uint32, r candorv1.Result, reason string, runs ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
		Attempt: attempt, Groups: []*candorv1.OutcomeGroup{{Result: r, Reason: reason, Slots: runs}},
	}}}
}

func admitted(audience ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Admitted{Admitted: &candorv1.Admitted{Audience: audience}}}
}

func sealed() *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Sealed{Sealed: &candorv1.Sealed{Reason: "aborted"}}}
}

func deadLettered(reason string) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_DeadLettered{DeadLettered: &candorv1.DeadLettered{Reason: reason}}}
}

func replayed() *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Replayed{Replayed: &candorv1.Replayed{}}}
}

func putOff(reason string) *candorv1.JournalEntry { return putOffUntil(reason, time.Time{}) }

func putOffUntil(reason string, until time.Time) *candorv1.JournalEntry {
	p := &candorv1.PutOff{Reason: reason}
	if !until.IsZero() {
		p.Until = timestamppb.New(until)
	}
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_PutOff{PutOff: p}}
}

// plan is the approved plan of two pages with five customers each, by SMS and e-mail.
func plan() *candorv1.Plan {
	return &candorv1.Plan{
		Incident: "i1", People: &candorv1.People{Rows: 13, Customers: 10, Merged: 1, Rejected: 2},
		Waves: []*candorv1.WavePlan{{Wave: "w0", Channels: []*candorv1.ChannelPlan{
			{Channel: sms, Notices: 9, Suppressed: map[string]uint64{"no_phone": 1}, Pages: 2},
			{Channel: email, Notices: 10, Pages: 2},
		}}},
	}
}

// drafted is the draft of plan. What ladder says stands in the playbook before the text of the e-mail of wave w0.
func drafted(ladder string) *candorv1.Drafted {
	return &candorv1.Drafted{Plan: plan(), Declaration: &candorv1.Declaration{Incident: "i1", Playbook: prepare(ladder)}}
}

func prepare(ladder string) string {
	text, err := fs.ReadFile(playbook.Starter(), "playbook.yaml")
	if err != nil {
		panic(err) // it is embedded
	}
	const before = "      email:\n"
	at := strings.Index(string(text), before) + len(before)
	return string(text[:at]) + ladder + string(text[at:])
}

// declared is an incident that was approved with plan, and whose wave was planned.
func declared() *incident.Incident {
	return &incident.Incident{
		ID: "i1", State: candorv1.IncidentState_INCIDENT_STATE_DECLARED, DeclaredAt: noon, Seq: 3,
		Draft: drafted(""),
		Waves: map[string]*candorv1.WavePlanned{"w0": {Wave: "w0", Orders: 4, Notices: 20}},
	}
}

// declaredWith is declared with a ladder in its playbook, whose first step is all that was planned.
func declaredWith(ladder string) *incident.Incident {
	inc := declared()
	inc.Draft = drafted(ladder)
	inc.Waves["w0"] = &candorv1.WavePlanned{Wave: "w0", Orders: 2, Notices: 10}
	return inc
}

// openAll opens the journals that plan expects.
func (p *pen) openAll() {
	p.t.Helper()
	for _, ch := range []candorv1.Channel{sms, email} {
		p.write(on(ch, 0), opened(5))
		p.write(on(ch, 1), opened(5))
	}
}

// tellAll accepts what plan wants to be sent.
func (p *pen) tellAll() {
	p.t.Helper()
	p.write(on(sms, 0), outcome(0, suppressed, "no_phone", 0, 1), intent(1, 1, 4), outcome(1, accepted, "", 1, 4))
	for _, journal := range []string{on(sms, 1), on(email, 0), on(email, 1)} {
		p.write(journal, intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	}
}

func encodeAny(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// resendUncertain lets the e-mails of w0 be sent again that may have been sent.
func resendUncertain(text string) string {
	const keep = "uncertain: keep"
	at := strings.Index(text, "      email:\n")
	return text[:at] + strings.Replace(text[at:], keep, "uncertain: resend after 24h", 1)
}
