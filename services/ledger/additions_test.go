package ledger

import (
	"strings"
	"testing"
	"time"

	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// withAddition is declared with a resend of texts to three customers of two pages.
func withAddition(approvedBy string) *incident.Incident {
	inc := declared()
	inc.Additions = map[string]*incident.Addition{"w0-r1": {ApprovedBy: approvedBy, AdditionDrafted: &candorv1.AdditionDrafted{Addition: &candorv1.Addition{
		Wave: "w0-r1", Kind: "resend", Base: "w0", Channels: []candorv1.Channel{sms}, Customers: 3,
		People: []*candorv1.PageSlots{{Page: 0, Slots: []uint32{1, 2}}, {Page: 1, Slots: []uint32{4, 1}}},
	}}}}
	return inc
}

func TestAdditions(t *testing.T) {
	t.Parallel()
	wave := func(page uint32) string { return topology.Journal(sms, "i1", "w0-r1", page) }
	planned := func(inc *incident.Incident, orders uint32, notices uint64) *incident.Incident {
		inc.Waves["w0-r1"] = &candorv1.WavePlanned{Wave: "w0-r1", Orders: orders, Notices: notices}
		return inc
	}
	for _, tt := range []struct {
		name string
		inc  *incident.Incident
		do   func(*pen)
		open []string
	}{
		{"drafted", withAddition(""), func(*pen) {}, nil},
		{"approved", withAddition("erin"), func(*pen) {}, []string{"wave w0-r1 is not planned yet"}},
		{"planned", planned(withAddition("erin"), 2, 3), func(p *pen) {
			p.write(wave(0), opened(5, 1, 2))
			p.write(wave(1), opened(5, 4, 1))
		}, []string{"wave w0-r1, sms: 3 notices are open of 3: 3 planned"}},
		{"sent", planned(withAddition("erin"), 2, 3), func(p *pen) {
			p.write(wave(0), opened(5, 1, 2), intent(1, 1, 2), outcome(1, accepted, "", 1, 2))
			p.write(wave(1), opened(5, 4, 1), outcome(0, suppressed, "opted_out", 4, 1))
		}, nil},
		{"a page is missing", planned(withAddition("erin"), 2, 3), func(p *pen) {
			p.write(wave(0), opened(5, 1, 2), intent(1, 1, 2), outcome(1, accepted, "", 1, 2))
		}, []string{"w0-r1: 1 journal is opened, planned were 2", "w0-r1: the journals hold 2 notices, planned were 3", "w0-r1, sms: 1 page is opened, approved were 2"}},
		{"a customer too many", planned(withAddition("erin"), 2, 4), func(p *pen) {
			p.write(wave(0), opened(5, 1, 3), intent(1, 1, 3), outcome(1, accepted, "", 1, 3))
			p.write(wave(1), opened(5, 4, 1), intent(1, 4, 1), outcome(1, accepted, "", 4, 1))
		}, []string{"w0-r1, sms: the journals hold 4 notices, approved were 3"}},
		{"opened and never approved", withAddition(""), func(p *pen) {
			p.write(wave(0), opened(5, 1, 1), intent(1, 1, 1), outcome(1, accepted, "", 1, 1))
		}, []string{"wave w0-r1 is in no approved plan", "wave w0-r1 is not planned yet", "wave w0-r1, sms is in no approved plan"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			p.openAll()
			p.tellAll()
			tt.do(p)
			st := p.books.status("i1", tt.inc, as(noon))
			if st.GetComplete() != (len(tt.open) == 0) || len(st.GetOpen()) != len(tt.open) {
				t.Fatalf("complete %v, open is %q, want %q", st.GetComplete(), st.GetOpen(), tt.open)
			}
			for i, want := range tt.open {
				if !strings.Contains(st.GetOpen()[i], want) {
					t.Errorf("sentence %d is %q, want %q", i, st.GetOpen()[i], want)
				}
			}
		})
	}
}

// The people of an addition get all its channels at once, whatever the ladder of its base says.
func TestAdditionsHaveNoLadder(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openFirst()
	for _, page := range []uint32{0, 1} {
		p.write(on(sms, page), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		p.hear(sms, page, outcome(1, delivered, "", 0, 5))
	}
	inc := withAddition("erin")
	inc.Draft = drafted(aDayLater)
	inc.Waves["w0"] = &candorv1.WavePlanned{Wave: "w0", Orders: 2, Notices: 10}
	inc.Additions["w0-r1"].Addition.Channels = []candorv1.Channel{sms, email}
	inc.Waves["w0-r1"] = &candorv1.WavePlanned{Wave: "w0-r1", Orders: 4, Notices: 6}
	for _, ch := range []candorv1.Channel{sms, email} {
		p.write(topology.Journal(ch, "i1", "w0-r1", 0), opened(5, 1, 2), intent(1, 1, 2), outcome(1, accepted, "", 1, 2))
		p.write(topology.Journal(ch, "i1", "w0-r1", 1), opened(5, 4, 1), intent(1, 4, 1), outcome(1, failed, "x", 4, 1))
	}
	if st := p.books.status("i1", inc, as(noon.Add(time.Hour))); !st.GetComplete() {
		t.Errorf("open is %q", st.GetOpen())
	}
}
