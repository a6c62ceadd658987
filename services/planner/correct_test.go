package planner

import (
	"testing"

	candorv1 "candor/proto/candor/v1"
)

// Two planners may be told of different pages, too: the faster one's count is put right when the other one has opened more.
func TestAPageThatOnlyTheSlowerPlannerWasToldOfIsCounted(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1, 1)
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {sms: {accepted}}, 1: {sms: {accepted, accepted}}})
	wave := w.follow()
	slower, err := w.planner.jobs(t.Context(), w.inc, wave)
	if err != nil {
		t.Fatal(err)
	}
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {sms: {accepted}}})
	w.updated()
	w.has(wave, map[uint32][]uint32{0: {0}}, sms, email)
	if err := w.planner.openAll(t.Context(), w.inc, slower); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.sweep()
	}
	said := w.reload().Waves[wave]
	if said.GetOrders() != 4 || said.GetNotices() != 6 || len(said.GetChannels()) != 2 || said.GetChannels()[0].GetPages() != 2 || said.GetChannels()[1].GetNotices() != 3 || len(w.inc.Paused) > 0 {
		t.Errorf("the wave is said to be %v; paused: %q", said, w.inc.Reason)
	}
	if n := len(w.queue("order")) + len(w.queue("later")); n != 8 { // two pages on two channels, of the first notice and of this wave
		t.Errorf("%d orders are out", n)
	}
	w.close("")
	w.look()
	w.isIn("closed", closed)
	w.reopen() // whose seals are in every journal that there could be
	seq := w.inc.Seq
	w.restart()
	w.sweep()
	if w.reload().Seq != seq {
		t.Errorf("written anew: %v", w.inc.Waves[wave])
	}
}
