package planner

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// add drafts an addition for slots 1 to 3 of page 0 and slot 0 of page 2, and approves it.
func (w *world) add(wave string) *incident.Addition {
	w.Helper()
	a := &candorv1.Addition{
		Wave: wave, Kind: "resend", Base: "w0", Channels: []candorv1.Channel{email}, Customers: 3,
		People: []*candorv1.PageSlots{{Page: 0, Slots: []uint32{1, 2}}, {Page: 2, Slots: []uint32{0, 1}}},
	}
	hash, err := incident.HashAddition(w.inc.PlanHash(), a)
	if err != nil {
		w.Fatal(err)
	}
	w.reload()
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: a, Hash: hash}}})
	if err := w.planner.updated(w.Context(), w.inc); err != nil {
		w.Fatal(err)
	}
	if len(w.audience(journal.Key{Channel: email, Incident: id, Wave: wave, Page: 0})) != 0 {
		w.Error("planned before anybody approved it")
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: wave, Hash: hash}}})
	return w.inc.Additions[wave]
}

func TestAnAdditionIsPlannedOnceAndSealedWithTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1, 1, 1)
	w.withLedger()
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	first := w.queue("order")
	a := w.add("w0-r1")
	w.crashes(func(ctx context.Context) error {
		inc, err := w.planner.log.Load(ctx, id)
		if err != nil {
			return err
		}
		return w.planner.updated(ctx, inc)
	})
	k0, k2 := key(email, 0), key(email, 2)
	k0.Wave, k2.Wave = "w0-r1", "w0-r1"
	if got := w.audience(k0); !slices.Equal(got, []uint32{1, 2}) {
		t.Errorf("page 0: %v, want 1 and 2", got)
	}
	if got := w.audience(k2); !slices.Equal(got, []uint32{0}) {
		t.Errorf("page 2: %v, want 0", got)
	}
	states := w.states()
	if len(states) != 8 || !bytes.Equal(states[k0].Opened.GetPlanHash(), a.GetHash()) ||
		!bytes.Equal(states[k0].Opened.GetTextHash(), states[key(email, 0)].Opened.GetTextHash()) {
		t.Errorf("%d journals; opened for %v", len(states), states[k0].Opened)
	}
	orders := slices.Compact(slices.DeleteFunc(w.queue("order"), func(s string) bool { return slices.Contains(first, s) }))
	slices.Sort(orders)
	want := []string{topology.Order(email, topology.LaneNext, id, "w0-r1", 0), topology.Order(email, topology.LaneNext, id, "w0-r1", 2)}
	if got := slices.Compact(orders); !slices.Equal(got, want) {
		t.Errorf("orders = %v, want %v: a resend delays no first notice", got, want)
	}
	if planned := w.reload().Waves["w0-r1"]; planned.GetOrders() != 2 || planned.GetNotices() != 3 {
		t.Errorf("planned = %v", planned)
	}
	seq := w.inc.Seq
	if err := w.planner.updated(t.Context(), w.reload()); err != nil || w.reload().Seq != seq {
		t.Errorf("planned again: %v", err)
	}

	// What is put back keeps its lane and its hash.
	w.purge("order.>")
	w.sweep()
	if got := slices.Sorted(slices.Values(w.queue("order.email.next"))); !slices.Equal(got, want) {
		t.Errorf("put back = %v, want %v", got, want)
	}
	if o := orderOf(w.inc, k0); !bytes.Equal(o.GetPlanHash(), a.GetHash()) {
		t.Errorf("order names plan %x, want %x", o.GetPlanHash(), a.GetHash())
	}

	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "mistake"}}})
	res, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id})
	if err != nil || res.GetJournals() != 8 {
		t.Errorf("sealed %d, want 8: %v", res.GetJournals(), err)
	}
	for k, st := range w.states() {
		if st.SealedFor == "" {
			t.Errorf("journal %s is not sealed", k)
		}
	}
}

func TestAnUpdateBringsItsOwnWords(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	wave := w.reload().NextWave()
	w.approved(&candorv1.Addition{Wave: wave, Kind: incident.KindUpdate, Audience: "told", Text: `---
title: The thief was found
sms:
  en: "{{organisation.short_name}}: We are sorry. The thief was found. Call {{organisation.phone}}, code {{code}}."
  es: "{{organisation.short_name}}: Lo sentimos. Llame al {{organisation.phone}}, {{code}}."
---
`})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: wave, Decision: candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND, Wave: wave,
	}}})
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {email: {accepted}}})
	w.updated()
	w.has(wave, map[uint32][]uint32{0: {0}}, sms)
	states := w.states()
	if st := states[of(sms, wave, 0)]; bytes.Equal(st.Opened.GetTextHash(), states[key(sms, 0)].Opened.GetTextHash()) {
		t.Error("opened with the words of the first notice")
	}
	keys, err := w.planner.journals(t.Context(), w.inc, wave)
	if err != nil || len(keys) != 1 {
		t.Errorf("its journals are %v: %v", keys, err)
	}
	// Words that cannot be read keep no incident from its end.
	w.inc.Additions[wave].GetAddition().Text = "---"
	w.planner.texts = notice.NewLibrary()
	if keys, err = w.planner.journals(t.Context(), w.inc, wave); err != nil || len(keys) != 3 {
		t.Errorf("journals of a wave whose words cannot be read: %v: %v", keys, err)
	}
}

func TestAnAdditionNamesOnlyWhatIsThere(t *testing.T) {
	t.Parallel()
	page := &candorv1.RosterPageInfo{Number: 1, Customers: 4}
	for _, tt := range []struct {
		name       string
		runs, want []uint32
		ok         bool
	}{
		{"nobody", nil, nil, true},
		{"twice and out of order", []uint32{2, 2, 0, 1, 3, 1}, []uint32{0, 2, 3}, true},
		{"beyond the page", []uint32{3, 2}, nil, false},
		{"beyond any page", []uint32{1, 1<<32 - 1}, nil, false},
		{"half a run", []uint32{1}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := unpack(tt.runs, page)
			if (err == nil) != tt.ok || !slices.Equal(got, tt.want) {
				t.Errorf("unpack = %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestConfigShowsAllItsMistakes(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	err := Config{}.Validate()
	if err == nil {
		t.Fatal("nothing wrong with nothing")
	}
	for _, name := range []string{"look_every", "sweep_every", "poll_every", "put_back_again"} {
		if !bytes.Contains([]byte(err.Error()), []byte(name)) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}
