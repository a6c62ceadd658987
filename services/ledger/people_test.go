package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// in names the journal of a page in any wave.
func in(wave string, ch candorv1.Channel, page uint32) string {
	return topology.Journal(ch, "i1", wave, page)
}

func states(s ...candorv1.NoticeState) []byte {
	b := make([]byte, len(s))
	for i := range s {
		b[i] = byte(s[i])
	}
	return b
}

func TestStanding(t *testing.T) {
	t.Parallel()
	const (
		none    = candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED
		planned = candorv1.NoticeState_NOTICE_STATE_PLANNED
		no      = candorv1.NoticeState_NOTICE_STATE_SUPPRESSED
		gone    = candorv1.NoticeState_NOTICE_STATE_FAILED
		has     = candorv1.NoticeState_NOTICE_STATE_ACCEPTED
		got     = candorv1.NoticeState_NOTICE_STATE_DELIVERED
	)
	p := newPen(t)
	p.write(on(sms, 0), opened(4, 0, 3), outcome(0, suppressed, "no_phone", 0, 1), intent(1, 1, 2), outcome(1, accepted, "", 1, 2))
	p.hear(sms, 0, outcome(1, undelivered, "twilio_30003", 2, 1))
	p.write(on(email, 0), opened(4, 0, 3))
	p.write(in("w0-r1", sms, 0), opened(4, 0, 4), intent(1, 2, 2), outcome(1, accepted, "", 2, 1), outcome(1, failed, "x", 3, 1))
	p.write(on(sms, 7), opened(2), sealed())
	p.write(on(email, 8), sealed()) // never opened
	p.hear(sms, 7, outcome(1, delivered, "", 1, 1))
	p.hear(sms, 9, outcome(1, delivered, "", 0, 1)) // damage: no journal knows it
	page := func(n uint32, chs ...*candorv1.ChannelStates) *candorv1.PagePeople {
		return &candorv1.PagePeople{Page: n, Channels: chs}
	}
	on := func(ch candorv1.Channel, s ...candorv1.NoticeState) *candorv1.ChannelStates {
		return &candorv1.ChannelStates{Channel: ch, States: states(s...)}
	}
	expired := candorv1.NoticeState_NOTICE_STATE_EXPIRED
	seven := page(7, on(sms, expired, got))
	for _, tt := range []struct {
		name  string
		waves []string
		from  uint32
		want  []*candorv1.PagePeople
	}{
		{"all waves", nil, 0, []*candorv1.PagePeople{page(0, on(sms, planned, has, has, gone), on(email, planned, planned, planned, none)), seven}},
		{"one wave", []string{"w0"}, 0, []*candorv1.PagePeople{page(0, on(sms, no, has, gone, none), on(email, planned, planned, planned, none)), seven}},
		{"a resend", []string{"w0-r1"}, 0, []*candorv1.PagePeople{page(0, on(sms, planned, planned, has, gone))}},
		{"both by name", []string{"w0-r1", "w0"}, 1, []*candorv1.PagePeople{seven}},
		{"a wave that nobody opened", []string{"w1"}, 0, nil},
	} {
		res, _, more := p.books.standing(&candorv1.PeopleRequest{Incident: "i1", Waves: tt.waves}, tt.from)
		if diff := cmp.Diff(tt.want, res.GetPages(), protocmp.Transform()); diff != "" || more || res == nil {
			t.Errorf("%s, more %v:\n%s", tt.name, more, diff)
		}
	}
	if res, _, _ := p.books.standing(&candorv1.PeopleRequest{Incident: "i2"}, 0); res != nil {
		t.Errorf("of an incident without a journal: %v", res)
	}
}

// The parts of a long answer fit the broker, and are the answer together.
func TestStandingInParts(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	const pages = 1000
	one := encode(t, stamped(opened(1000), noon))
	for n := range uint32(pages) {
		for _, ch := range []candorv1.Channel{sms, email} {
			if err := p.bad(on(ch, n), one); err != nil {
				t.Fatal(err)
			}
		}
	}
	var from, seen uint32
	for parts, more := 1, true; more; parts++ {
		var res *candorv1.PeopleResponse
		res, from, more = p.books.standing(&candorv1.PeopleRequest{Incident: "i1"}, from)
		if n := len(encodeAny(t, res)); n > partBytes || more && n < partBytes-3000 || parts > 3 {
			t.Fatalf("part %d has %d bytes, more %v", parts, n, more)
		}
		for _, page := range res.GetPages() {
			if page.GetPage() != seen || len(page.GetChannels()) != 2 {
				t.Fatalf("page %d on %d channels, want page %d", page.GetPage(), len(page.GetChannels()), seen)
			}
			seen++
		}
	}
	if seen != pages {
		t.Errorf("%d of %d pages", seen, pages)
	}
}

// A customer was told on a channel exactly if one of their notices there was accepted or delivered, in whatever wave.
func TestStandingTells(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := newBooks()
		var seq, heard uint64
		const slots = 4
		for range rapid.IntRange(1, 30).Draw(t, "entries") {
			wave := rapid.SampledFrom([]string{"w0", "w1", "w2"}).Draw(t, "wave")
			slot := rapid.Uint32Range(0, slots-1).Draw(t, "slot")
			result := rapid.SampledFrom([]candorv1.Result{accepted, failed, suppressed, unknownR, delivered, undelivered}).Draw(t, "result")
			e := rapid.SampledFrom([]*candorv1.JournalEntry{
				opened(slots), intent(1, slot, 1), outcome(1, result, "", slot, 1), outcome(0, suppressed, "", slot, 1), sealed(),
			}).Draw(t, "entry")
			if rapid.Bool().Draw(t, "receipt") {
				heard++
				_ = b.hear(bus.Stored{Subject: topology.Receipt(sms, "i1", wave, 0), Seq: heard, Time: noon, Data: encode(t, stamped(outcome(1, result, "", slot, 1), noon))})
				continue
			}
			seq++
			_ = b.fold(bus.Stored{Subject: in(wave, sms, 0), Seq: seq, Time: noon, Data: encode(t, stamped(e, noon))})
		}
		want := [slots]bool{}
		for _, n := range list(b) {
			want[n.GetKey().GetSlot()] = want[n.GetKey().GetSlot()] || told(n.GetState())
		}
		res, _, _ := b.standing(&candorv1.PeopleRequest{Incident: "i1"}, 0)
		var is [slots]bool
		for _, p := range res.GetPages() {
			for n, s := range p.GetChannels()[0].GetStates() {
				is[n] = told(candorv1.NoticeState(s))
			}
		}
		if is != want {
			t.Fatalf("told are %v, by their notices %v", is, want)
		}
	})
}

func list(b *books) []*candorv1.Notice {
	return b.list(&candorv1.ListNoticesRequest{Incident: "i1", Limit: listMost}, nil).GetNotices()
}

// BenchmarkPeople answers for a million customers who had a first notice and two follow-ups, by text and e-mail.
func BenchmarkPeople(b *testing.B) {
	bk := newBooks()
	foldAll(b, bk, history(b, 1000, sms, email))
	seq := bk.journals.foldedTo
	for _, wave := range []string{"w1", "w2"} {
		for page := range uint32(1000) {
			for _, ch := range []candorv1.Channel{sms, email} {
				for _, e := range []*candorv1.JournalEntry{opened(1000), intent(1, 0, 1000), outcome(1, accepted, "", 0, 1000)} {
					seq++
					m := bus.Stored{Subject: in(wave, ch, page), Seq: seq, Time: noon, Data: encode(b, stamped(e, noon))}
					if err := bk.fold(m); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
	}
	for b.Loop() {
		for from, more := uint32(0), true; more; {
			_, from, more = bk.standing(&candorv1.PeopleRequest{Incident: "i1"}, from)
		}
	}
}
