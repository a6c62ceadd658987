package ledger

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

func TestUnreached(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.write(on(sms, 0), opened(5, 0, 4), outcome(0, suppressed, "no_phone", 0, 1), intent(1, 1, 3), outcome(1, accepted, "", 1, 3))
	p.write(on(email, 0), opened(5, 0, 4), intent(1, 0, 4), outcome(1, failed, "sendgrid_550", 0, 4))
	p.hear(sms, 0, outcome(1, undelivered, "twilio_30003", 1, 1), outcome(1, delivered, "", 2, 1))
	p.write(on(sms, 1), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 1, 4), outcome(1, failed, "landline", 0, 1))
	word := func(ch candorv1.Channel, s candorv1.NoticeState, reason string) *candorv1.ChannelWord {
		return &candorv1.ChannelWord{Wave: "w0", Channel: ch, State: s, Reason: reason}
	}
	const no, gone = candorv1.NoticeState_NOTICE_STATE_SUPPRESSED, candorv1.NoticeState_NOTICE_STATE_FAILED
	mail := word(email, gone, "sendgrid_550")
	groups := []*candorv1.UnreachedGroup{
		{Reason: "failed:sendgrid_550", Notices: []*candorv1.ChannelWord{word(sms, no, "no_phone"), mail}, People: []*candorv1.PageSlots{{Page: 0, Slots: []uint32{0, 1}}}},
		{Reason: "failed:twilio_30003", Notices: []*candorv1.ChannelWord{word(sms, gone, "twilio_30003"), mail}, People: []*candorv1.PageSlots{{Page: 0, Slots: []uint32{1, 1}}}},
		{Reason: "not_in_wave", People: []*candorv1.PageSlots{{Page: 0, Slots: []uint32{4, 1}}}},
		{Reason: "failed:landline", Notices: []*candorv1.ChannelWord{word(sms, gone, "landline")}, People: []*candorv1.PageSlots{{Page: 1, Slots: []uint32{0, 1}}}},
	}
	for reason, want := range map[string][]*candorv1.UnreachedGroup{
		"": groups, "failed": {groups[0], groups[1], groups[3]}, "failed:landline": {groups[3]}, "not_in_wave": {groups[2]}, "suppressed": nil,
	} {
		res, _, more := p.books.unreached(&candorv1.UnreachedRequest{Incident: "i1", Reason: reason}, 0)
		if diff := cmp.Diff(want, res.GetGroups(), protocmp.Transform()); diff != "" || more {
			t.Errorf("%q, more %v:\n%s", reason, more, diff)
		}
	}
	// The same reasons, and as many customers, as in the status.
	counts := map[string]uint64{}
	for _, g := range groups {
		for _, pg := range g.GetPeople() {
			counts[g.GetReason()] += uint64(len(journal.Slots(pg.GetSlots())))
		}
	}
	if got := p.books.status("i1", declared(), as(noon)).GetPeople().GetUnreachedReasons(); !maps.Equal(got, counts) {
		t.Errorf("the status says %v, the list %v", got, counts)
	}
}

func TestUnreachedOfADamagedPage(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	_ = p.bad(on(sms, 0), []byte{0xff})
	if res, _, more := p.books.unreached(&candorv1.UnreachedRequest{Incident: "i1"}, 0); len(res.GetGroups()) != 0 || more {
		t.Errorf("%v", res)
	}
}

func TestUnreachedComesInParts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const pages = 300
	var runs []uint32
	for n := uint32(0); n < 1000; n += 2 {
		runs = append(runs, n, 1)
	}
	for page := range uint32(pages) {
		d.write(on(sms, page), opened(1000), outcome(0, suppressed, fmt.Sprint("no_phone_", page%3), runs...))
	}
	d.run(d.ledger().Run)
	seen, parts, after := map[uint32]int{}, 0, ""
	for {
		res := &candorv1.UnreachedResponse{}
		next, err := d.ask("unreached", &candorv1.UnreachedRequest{Incident: "i1"}, res, after)
		if err != nil {
			t.Fatal(err)
		}
		parts++
		for _, g := range res.GetGroups() {
			for _, pg := range g.GetPeople() {
				seen[pg.GetPage()] += len(journal.Slots(pg.GetSlots()))
			}
		}
		if after = next; after == "" {
			break
		}
	}
	for page := range uint32(pages) {
		if seen[page] != 1000 {
			t.Fatalf("page %d: %d customers", page, seen[page])
		}
	}
	if parts < 2 {
		t.Errorf("%d parts", parts)
	}
}
