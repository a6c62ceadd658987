package ledger

import (
	"testing"

	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// The front door writes every STOP on the roster's first notice, whatever the customer is in. Where no journal is open there,
// it is no damage, holds nothing up, and is counted with the texts that the customer has.
func TestAnOptOutWhereNoJournalIsOpenIsNoDamage(t *testing.T) {
	t.Parallel()
	draft, approve := added(rows())
	channels := []*candorv1.PlannedChannel{{Channel: sms, Pages: 1, Notices: 2}, {Channel: email, Pages: 1, Notices: 2}}
	late := func(t *testing.T) *incident.Incident {
		return after(t, "", draft, approve, planning("w0-a1", channels...))
	}
	usual := func(*testing.T) *incident.Incident { return declared() }
	stop := func(slot uint32) *candorv1.JournalEntry { return outcome(1, optedOut, "sms_stop", slot, 1) }
	for _, tt := range []struct {
		name string
		inc  func(*testing.T) *incident.Incident
		do   func(*pen)
		want map[string]uint64 // opt-outs by wave
	}{
		{"a page outside the audience", usual, func(p *pen) { p.hear(sms, 7, stop(2)) }, map[string]uint64{"w0": 1}},
		{"before the page is opened", usual, func(p *pen) {
			p.hear(sms, 1, stop(3), stop(3))
			p.write(on(sms, 1), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
		}, map[string]uint64{"w0": 1}},
		{"added rows", late, func(p *pen) {
			p.write(in("w0-a1", sms, 2), opened(2), intent(1, 0, 2), outcome(1, accepted, "", 0, 2))
			p.write(in("w0-a1", email, 2), opened(2), intent(1, 0, 2), outcome(1, accepted, "", 0, 2))
			p.hear(sms, 2, stop(1))
		}, map[string]uint64{"w0": 0, "w0-a1": 1}},
		{"by e-mail alone", func(*testing.T) *incident.Incident {
			inc := declared()
			inc.Draft.Plan.Waves[0].Channels = inc.Draft.Plan.Waves[0].Channels[1:]
			inc.Waves["w0"] = &candorv1.WavePlanned{Wave: "w0", Orders: 2, Notices: 10}
			return inc
		}, func(p *pen) { p.hear(sms, 0, stop(2)) }, map[string]uint64{"w0": 0}},
		{"aborted", func(*testing.T) *incident.Incident {
			inc := declared()
			inc.State = candorv1.IncidentState_INCIDENT_STATE_ABORTED
			return inc
		}, func(p *pen) {
			p.write(on(sms, 0), sealed())
			p.write(on(sms, 1), sealed())
			p.write(on(email, 0), sealed())
			p.write(on(email, 1), sealed())
			p.hear(sms, 7, stop(2))
		}, map[string]uint64{"w0": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPen(t)
			for _, page := range []uint32{0, 1} {
				if tt.name != "by e-mail alone" && (tt.name != "before the page is opened" || page == 0) {
					p.write(on(sms, page), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
				}
				p.write(on(email, page), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
			}
			tt.do(p)
			inc := tt.inc(t)
			st := p.books.status("i1", inc, as(noon))
			if len(st.GetDamage()) != 0 || !st.GetComplete() {
				t.Errorf("damage %q, open %q", st.GetDamage(), st.GetOpen())
			}
			if res := p.books.sweep(&candorv1.SweepRequest{Incident: "i1"}, inc, as(noon)); len(res.GetDamage()) != 0 {
				t.Errorf("the sweeper would pause it: %q", res.GetDamage())
			}
			for _, w := range st.GetWaves() {
				n := uint64(0)
				for _, ch := range w.GetChannels() {
					n += ch.GetOptedOut()
				}
				if n != tt.want[w.GetWave()] {
					t.Errorf("wave %s: %d opt-outs, want %d", w.GetWave(), n, tt.want[w.GetWave()])
				}
			}
		})
	}
}

// A receipt of a message is damage all the same, also where a customer opted out.
func TestAReceiptWithoutAJournalIsDamage(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	p.tellAll()
	p.hear(sms, 7, outcome(1, optedOut, "sms_stop", 2, 1), outcome(1, delivered, "", 1, 1))
	if st := p.books.status("i1", declared(), as(noon)); len(st.GetDamage()) != 1 || st.GetComplete() {
		t.Errorf("damage %q, complete %v", st.GetDamage(), st.GetComplete())
	}
}

// An end is not held up by what a customer said who is in no wave.
func TestAnOptOutHoldsUpNoEnd(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	for _, journal := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1)} {
		p.write(journal, opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5), sealedFor("closed"))
	}
	p.hear(sms, 7, outcome(1, optedOut, "sms_stop", 2, 1))
	expect(t, p.books.status("i1", after(t, "", closes("")), as(noon)), "the incident is closing: its end is being written down")
	if name := topology.Receipt(sms, "i1", "w0", 7); p.books.sheets[name[len("receipt."):]] == nil {
		t.Errorf("%s was not read", name)
	}
}
