package ledger

import (
	"maps"
	"math/rand/v2"
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
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestReceiptsCount(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAllBut(on(sms, 1))
	p.write(on(sms, 1), intent(1, 0, 5), outcome(1, accepted, "", 0, 3), outcome(1, failed, "twilio_21211", 3, 1), outcome(1, unknownR, "timeout", 4, 1))
	p.hear(sms, 0, outcome(1, delivered, "", 0, 3), outcome(1, undelivered, "twilio_30003", 3, 2), outcome(1, optedOut, "", 0, 1))
	p.hear(sms, 1, outcome(1, softly, "twilio_30008", 0, 1), outcome(1, doubtful, "twilio_30000", 1, 1), outcome(1, delivered, "", 4, 1))
	p.hear(email, 0, outcome(1, undelivered, "sendgrid_bounce", 3, 2))
	st := p.books.status("i1", declared(), as(noon))
	ch := st.GetWaves()[0].GetChannels()[0]
	if want := (map[string]uint64{"delivered": 4, "failed": 3, "waiting": 1, "uncertain": 1, "accepted": 1}); !maps.Equal(ch.GetStates(), want) {
		t.Errorf("states %v, want %v", ch.GetStates(), want)
	}
	if ch.GetTried() != 10 || ch.GetRejected() != 1 || ch.GetBounced() != 3 || ch.GetOptedOut() != 1 {
		t.Errorf("tried %d, rejected %d, bounced %d, opted out %d", ch.GetTried(), ch.GetRejected(), ch.GetBounced(), ch.GetOptedOut())
	}
	// Page 0, slots 3 and 4: neither text nor e-mail arrived.
	if ps := st.GetPeople(); ps.GetTold() != 8 || ps.GetUnreachedReasons()["failed:twilio_30003"]+ps.GetUnreachedReasons()["failed:sendgrid_bounce"] != 2 {
		t.Errorf("people %v", ps)
	}
	if st.GetReceiptsFoldedTo() != 7 || st.GetComplete() {
		t.Errorf("folded to %d, complete %v", st.GetReceiptsFoldedTo(), st.GetComplete())
	}
}

// What is tried again after it came back stays counted as bounced.
func TestBouncedStaysBounced(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAllBut(on(sms, 1))
	p.write(on(sms, 1), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	p.hear(sms, 1, outcome(1, softly, "twilio_30008", 0, 1))
	p.write(on(sms, 1), intent(2, 0, 1), outcome(2, accepted, "", 0, 1))
	p.hear(sms, 1, outcome(2, delivered, "", 0, 1))
	st := p.books.status("i1", declared(), as(noon))
	if ch := st.GetWaves()[0].GetChannels()[0]; !st.GetComplete() || ch.GetTried() != 10 || ch.GetRejected() != 0 || ch.GetBounced() != 1 || st.GetDuplicates() != 0 {
		t.Errorf("%v", st)
	}
}

// What waits for its hours was not tried, and what concerns everybody is not the customer's retry.
func TestFurtherAttemptsAreCounted(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.write(on(sms, 0), intent(1, 0, 4), outcome(1, accepted, "", 0, 4))
	p.hear(sms, 0, outcome(1, softly, "twilio_30008", 0, 2), outcome(1, softly, "held_twilio_30034", 2, 1))
	ch := p.books.status("i1", declared(), as(noon)).GetWaves()[0].GetChannels()[0]
	if ch.GetRetrying() != 2 || ch.GetStates()["waiting"] != 3 {
		t.Errorf("%d are tried again, waiting %d, want 2 of 3", ch.GetRetrying(), ch.GetStates()["waiting"])
	}
}

// A receipt may say first that a provider has the message.
func TestAcceptedByReceipt(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.write(on(email, 0), intent(1, 0, 5), outcome(1, unknownR, "timeout", 0, 5))
	p.at = noon.Add(time.Minute)
	p.hear(email, 0, outcome(1, accepted, "", 0, 5), outcome(1, delivered, "", 0, 2))
	p.at = noon.Add(2 * time.Minute)
	p.hear(email, 0, outcome(1, delivered, "", 0, 2), outcome(1, softly, "later", 2, 1))
	p.write(on(email, 0), intent(2, 2, 1), outcome(2, accepted, "", 2, 1))
	ch := p.books.status("i1", declared(), as(noon.Add(time.Minute+5*time.Second))).GetWaves()[0].GetChannels()[1]
	at := noon.Add(time.Minute)
	if !ch.GetFirstAcceptedAt().AsTime().Equal(at) || !ch.GetLastAcceptedAt().AsTime().Equal(at) || ch.GetRatePerSec() != 1 {
		t.Errorf("accepted %v to %v, %v a second", ch.GetFirstAcceptedAt().AsTime(), ch.GetLastAcceptedAt().AsTime(), ch.GetRatePerSec())
	}
}

func TestReceiptsBeforeTheJournal(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.hear(sms, 1, outcome(1, delivered, "", 0, 5))
	before := as(noon)
	before.receipts = 0 // the journals were not read far enough to know better
	if st := p.books.status("i1", declared(), before); len(st.GetDamage()) != 0 {
		t.Errorf("damage is %q", st.GetDamage())
	}
	p.openAll()
	p.tellAll()
	st := p.books.status("i1", declared(), as(noon))
	if got := st.GetWaves()[0].GetChannels()[0].GetStates()["delivered"]; got != 5 || !st.GetComplete() {
		t.Errorf("%d delivered, open %q", got, st.GetOpen())
	}
}

func TestDamagedReceipt(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"garbage":          {0xff},
		"not a receipt":    encode(t, stamped(intent(2, 0, 1), noon)),
		"an unknown event": {0xa2, 0x06, 0x00},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			p.openAll()
			if p.badReceipt(sms, 1, data) == nil {
				t.Fatal("damage was not noticed")
			}
			p.tellAll()
			p.hear(sms, 1, outcome(1, delivered, "", 0, 5))
			p.hear(sms, 0, outcome(1, delivered, "", 1, 4))
			st := p.books.status("i1", declared(), as(noon))
			if st.GetComplete() || len(st.GetOpen()) != 1 || !strings.Contains(st.GetOpen()[0], "wave w0, sms, page 1: receipt 1 cannot be read") {
				t.Errorf("open is %q", st.GetOpen())
			}
			if got := st.GetWaves()[0].GetChannels()[0].GetStates(); got["delivered"] != 4 || got["accepted"] != 5 {
				t.Errorf("states %v", got)
			}
		})
	}
	p := newPen(t)
	if err := p.books.hear(bus.Stored{Subject: "receipt.fax.i1.w0.1", Seq: 1}); err == nil {
		t.Error("the stray was not noticed")
	}
}

// A receipt of a message that the journal does not know means that the journal lost entries.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(*pen)
		want []string
	}{
		{"none", func(p *pen) { p.openAll(); p.tellAll(); p.hear(sms, 1, outcome(1, delivered, "", 0, 5)) }, nil},
		{"unknown attempt", func(p *pen) {
			p.openAll()
			p.tellAll()
			p.hear(sms, 1, outcome(2, delivered, "", 0, 1))
		}, []string{"wave w0, sms, page 1: a receipt speaks of a message that the journal does not know"}},
		{"known a moment later", func(p *pen) {
			p.openAll()
			p.tellAll()
			p.hear(sms, 1, outcome(1, softly, "", 0, 1), outcome(2, delivered, "", 0, 1))
			p.write(on(sms, 1), intent(2, 0, 1))
		}, nil},
		{"no journal", func(p *pen) {
			p.openAll()
			p.tellAll()
			p.hear(email, 9, outcome(1, delivered, "", 0, 1))
		}, []string{"wave w0, email, page 9"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			tt.do(p)
			at := as(noon)
			st := p.books.status("i1", declared(), at)
			if len(st.GetDamage()) != len(tt.want) || st.GetComplete() != (len(tt.want) == 0) {
				t.Fatalf("damage is %q, open %q", st.GetDamage(), st.GetOpen())
			}
			for i, want := range tt.want {
				if !strings.Contains(st.GetDamage()[i], want) || !slices.Contains(st.GetOpen(), st.GetDamage()[i]) {
					t.Errorf("damage is %q, open %q", st.GetDamage(), st.GetOpen())
				}
			}
			// Receipts beyond those whose intents must have been read accuse nobody.
			at.receipts = p.heard - 1
			if st := p.books.status("i1", declared(), at); len(st.GetDamage()) != 0 {
				t.Errorf("damage is %q", st.GetDamage())
			}
		})
	}
}

func TestDamageIsNotListedWithoutEnd(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	for page := range uint32(damageShown + 7) {
		p.hear(sms, page, outcome(1, delivered, "", 0, 1))
	}
	d := p.books.status("i1", declared(), as(noon)).GetDamage()
	if len(d) != damageShown+1 || d[damageShown] != "and 7 pages like these" {
		t.Errorf("%d sentences, the last is %q", len(d), d[len(d)-1])
	}
}

func TestProvisional(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAll()
	horizon := noon.Add(receipt.Horizon)
	for _, tt := range []struct {
		now  time.Time
		want *timestamppb.Timestamp
	}{
		{noon, timestamppb.New(horizon)},
		{horizon.Add(-time.Second), timestamppb.New(horizon)},
		{horizon, nil},
	} {
		if st := p.books.status("i1", declared(), as(tt.now)); !proto.Equal(st.GetProvisionalUntil(), tt.want) || !st.GetComplete() {
			t.Errorf("at %v: provisional until %v, complete %v", tt.now, st.GetProvisionalUntil(), st.GetComplete())
		}
	}
	for _, ch := range []candorv1.Channel{sms, email} {
		p.hear(ch, 0, outcome(1, delivered, "", 1, 4))
		p.hear(ch, 1, outcome(1, undelivered, "", 0, 5))
	}
	p.hear(email, 0, outcome(1, delivered, "", 0, 1))
	if st := p.books.status("i1", declared(), as(noon)); st.GetProvisionalUntil() != nil || !st.GetComplete() {
		t.Errorf("all words are final: provisional until %v, open %q", st.GetProvisionalUntil(), st.GetOpen())
	}
}

func TestCallRequests(t *testing.T) {
	t.Parallel()
	b := newBooks()
	seq := uint64(0)
	call := func(subject, incident, id string) error {
		seq++
		data, err := proto.Marshal(&candorv1.CallRequest{Id: id, Customer: &candorv1.CustomerPlace{Incident: incident, Page: 1, Slot: 2}})
		if err != nil {
			t.Fatal(err)
		}
		return b.call(bus.Stored{Subject: subject, Seq: seq, Data: data})
	}
	mine := topology.CallRequested("i1")
	for _, id := range []string{"a", "b", "a"} {
		if err := call(mine, "i1", id); err != nil {
			t.Error(err)
		}
	}
	if err := call(topology.CallRequested("i2"), "i2", "a"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{call(mine, "i2", "c"), call(mine, "i1", ""), call("call.request.all", "all", "c"), b.call(bus.Stored{Subject: mine, Seq: 99, Data: []byte{0xff}})} {
		if err == nil {
			t.Error("a wish that cannot be was counted")
		}
	}
	if st := b.status("i1", declared(), as(noon)); st.GetCallRequests() != 2 {
		t.Errorf("%d requests", st.GetCallRequests())
	}
}

// Receipts may come in any order, more than once, before or after the entries that they belong to.
func TestAnyOrderOfReceiptsGivesTheSame(t *testing.T) {
	t.Parallel()
	results := []candorv1.Result{
		accepted, delivered, undelivered, softly, candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS, doubtful, optedOut,
	}
	rapid.Check(t, func(t *rapid.T) {
		var journals, receipts []bus.Message
		for _, ch := range []candorv1.Channel{sms, email} {
			for page := range uint32(2) {
				put := func(e *candorv1.JournalEntry) {
					journals = append(journals, bus.Message{Subject: on(ch, page), Data: encode(t, stamped(e, noon))})
				}
				run := func() []uint32 {
					first := rapid.Uint32Range(0, 4).Draw(t, "first")
					return []uint32{first, rapid.Uint32Range(1, 5-first).Draw(t, "count")}
				}
				put(opened(5))
				attempts := rapid.Uint32Range(1, 3).Draw(t, "attempts")
				for a := range attempts {
					put(intent(a+1, run()...))
					put(outcome(a+1, rapid.SampledFrom([]candorv1.Result{accepted, unknownR, retry, failed}).Draw(t, "outcome"), "x", run()...))
				}
				for range rapid.IntRange(0, 6).Draw(t, "receipts") {
					e := outcome(rapid.Uint32Range(1, attempts+1).Draw(t, "attempt"), rapid.SampledFrom(results).Draw(t, "result"),
						rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "reason"), run()...)
					receipts = append(receipts, bus.Message{Subject: topology.Receipt(ch, "i1", "w0", page), Data: encode(t, stamped(e, noon))})
				}
			}
		}
		want := inOrder(t, journals, receipts, nil)
		tripled := slices.Concat(receipts, receipts, receipts)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		random.Shuffle(len(tripled), func(i, j int) { tripled[i], tripled[j] = tripled[j], tripled[i] })
		got := inOrder(t, journals, tripled, random)
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("in order and once (-), shuffled and tripled (+):\n%s", diff)
		}
	})
}

// inOrder folds journals and after them receipts; or both mixed, each in its own order, as random has it.
func inOrder(t *rapid.T, journals, receipts []bus.Message, random *rand.Rand) *candorv1.Status {
	b := newBooks()
	for j, r := 0, 0; j < len(journals) || r < len(receipts); {
		if j < len(journals) && (random == nil || r == len(receipts) || random.IntN(2) == 0) {
			m := journals[j]
			j++
			if err := b.fold(bus.Stored{Subject: m.Subject, Seq: uint64(j), Time: noon, Data: m.Data}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		m := receipts[r]
		r++
		if err := b.hear(bus.Stored{Subject: m.Subject, Seq: uint64(r), Time: noon, Data: m.Data}); err != nil {
			t.Fatal(err)
		}
	}
	st := b.status("i1", declared(), as(noon))
	st.ReceiptsFoldedTo = 0
	return st
}
