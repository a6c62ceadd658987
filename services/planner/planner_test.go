package planner

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = "acme-2026"

// night is three in the morning in New York, when the starter's text messages wait and its e-mails do not.
var night = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func TestAWaveIsPlannedHitHardestFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 3, 1, 2)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, s := range w.queue("order") {
		if k, _, ok := topology.ParseOrder(s); ok && k.Channel == candorv1.Channel_CHANNEL_EMAIL {
			pages = append(pages, fmt.Sprint(k.Page))
		}
	}
	if got := strings.Join(pages, " "); got != "1 2 0" {
		t.Errorf("pages in the queue = %s, want 1 2 0: tier 1 first", got)
	}
	inc := w.reload()
	if planned := inc.Waves["w0"]; planned.GetOrders() != 6 || planned.GetNotices() != 24 {
		t.Errorf("wave planned = %v, want 6 orders and 24 notices", planned)
	}
	for k, st := range w.states() {
		if !bytes.Equal(st.Opened.GetPlanHash(), inc.PlanHash()) {
			t.Errorf("journal %s was opened for plan %x", k, st.Opened.GetPlanHash())
		}
	}
}

func TestPlanningAgainOpensNothingAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1, 1)
	w.approve()
	inc := w.reload()
	// A planner that crashed had opened one of four journals and published nothing.
	jobs, err := w.planner.jobs(t.Context(), inc, "w0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.planner.openAll(t.Context(), inc, jobs[:1]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.planner.plan(t.Context(), inc, "w0"); err != nil && !strings.Contains(err.Error(), "another writer") {
			t.Fatal(err)
		}
	}
	states := w.states()
	if len(states) != 4 {
		t.Fatalf("%d journals, want 4", len(states))
	}
	n, err := w.bus.CountSubjects(t.Context(), topology.StreamJournal, topology.JournalsOf(id))
	if err != nil {
		t.Fatal(err)
	}
	for subject, entries := range n {
		if entries != 1 {
			t.Errorf("%s holds %d entries, want Opened alone", subject, entries)
		}
	}
}

func TestNothingIsPlannedForADraft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	if err := w.declared(); err == nil {
		t.Error("a draft was planned")
	}
	if n := len(w.states()); n != 0 {
		t.Errorf("%d journals were opened", n)
	}
}

func TestAtNightTextMessagesWaitAndEmailsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.now = night
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	if got := w.queue("later"); len(got) != 1 || !strings.HasPrefix(got[0], "later.sms.") {
		t.Errorf("waiting = %v, want the order for text messages", got)
	}
	if got := w.queue("order"); len(got) != 1 || !strings.HasPrefix(got[0], "order.email.") {
		t.Errorf("due = %v, want the order for e-mails", got)
	}
	st := w.states()[key(candorv1.Channel_CHANNEL_SMS, 0)]
	if state, reason := st.Notice(0); state != candorv1.NoticeState_NOTICE_STATE_WAITING || reason != "quiet_hours" {
		t.Errorf("a text message is %v (%s), want waiting for quiet hours", state, reason)
	}
	if st.PutOffUntil.Before(night) || st.PutOffUntil.After(night.Add(24*time.Hour)) {
		t.Errorf("it waits until %s", st.PutOffUntil)
	}
}

func TestAnAudienceIsFrozenInTheJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(pb string) string { return strings.Replace(pb, "audience: everyone", "audience: country = MX", 1) }, 1, 1)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	for k, st := range w.states() {
		for n := range uint32(st.Len()) {
			if st.InWave(n) != (n == 0) {
				t.Errorf("journal %s, slot %d in the wave = %v", k, n, st.InWave(n))
			}
		}
	}
}

func TestAbortSealsEveryJournalOpenedOrNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1, 1, 1)
	w.approve()
	inc := w.reload()
	jobs, err := w.planner.jobs(t.Context(), inc, "w0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.planner.openAll(t.Context(), inc, jobs[:3]); err != nil {
		t.Fatal(err)
	}
	if err := w.planner.publish(t.Context(), inc, jobs[:3]); err != nil {
		t.Fatal(err)
	}
	k := jobs[0].key
	w.intend(k, 0, 1, 2)
	w.said(k, candorv1.Result_RESULT_ACCEPTED, 0)
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "mistake"}}})
	res, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id})
	if err != nil {
		t.Fatal(err)
	}
	if res.GetJournals() != 6 || res.GetAtProvider() != 1 || res.GetUncertain() != 2 {
		t.Errorf("sealed = %v, want 6 journals, 1 at the provider, 2 uncertain", res)
	}
	states := w.states()
	if len(states) != 6 {
		t.Fatalf("%d journals, want 6", len(states))
	}
	for k, st := range states {
		if st.SealedFor == "" {
			t.Errorf("journal %s is not sealed", k)
		}
	}
	if got := append(w.queue("order"), w.queue("later")...); len(got) != 1 {
		t.Errorf("queue = %v, want only the order that finds out about the uncertain ones", got)
	}
	// The planner in the middle of the wave loses against the seal.
	if err := w.planner.openAll(t.Context(), inc, jobs[3:]); err == nil {
		t.Error("a sealed journal was opened")
	}
	// Sealing again changes nothing.
	if _, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id}); err != nil {
		t.Errorf("seal again: %v", err)
	}
}

// A worker that writes meanwhile refuses the batch of seals, and loses against the single one.
func TestADamagedJournalKeepsNoIncidentFromItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1, 1, 1)
	w.approve()
	inc := w.reload()
	jobs, err := w.planner.jobs(t.Context(), inc, "w0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.planner.openAll(t.Context(), inc, jobs); err != nil {
		t.Fatal(err)
	}
	bad := jobs[0].key
	if _, err := w.bus.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: bad.Subject(), Data: []byte{0xff, 0xff, 0xff}}); err != nil {
		t.Fatal(err)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "mistake"}}})
	res, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := w.planner.pagesOf(t.Context(), inc, "w0")
	if err != nil {
		t.Fatal(err)
	}
	if res.GetJournals() != 6 || res.GetUncertain() != uint64(pages[0].GetCustomers()) {
		t.Errorf("sealed = %v, want 6 journals, and the %d customers of the damaged one uncertain", res, pages[0].GetCustomers())
	}
	states, damaged, err := w.planner.foldUndamaged(t.Context(), topology.JournalsOf(id))
	if err != nil || len(damaged) != 1 || damaged[bad] == nil || len(states) != 5 {
		t.Fatalf("%d journals, damaged %v, %v", len(states), damaged, err)
	}
	for k, st := range states {
		if st.SealedFor == "" {
			t.Errorf("journal %s is not sealed", k)
		}
	}
}

func TestSealWinsAgainstABusyWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	stale := w.states()
	k := key(candorv1.Channel_CHANNEL_SMS, 0)
	w.intend(k, 0)
	w.said(k, candorv1.Result_RESULT_ACCEPTED, 0)
	keys := slices.Collect(func(yield func(journal.Key) bool) {
		for k := range stale {
			if !yield(k) {
				return
			}
		}
	})
	if err := w.planner.sealAll(t.Context(), keys, stale, sealAborted); err != nil {
		t.Fatal(err)
	}
	for k, st := range w.states() {
		if st.SealedFor == "" {
			t.Errorf("journal %s is not sealed", k)
		}
	}
}

func TestSealRefusesAnIncidentThatWasNotAborted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.approve()
	if _, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id}); err == nil {
		t.Error("sealed without an abort")
	}
}

func TestResumePutsBackWhatIsNotSettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1, 1)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	for _, filter := range topology.OrdersOf(id) {
		if _, err := w.bus.Purge(t.Context(), topology.StreamOrders, filter); err != nil {
			t.Fatal(err)
		}
	}
	k := key(candorv1.Channel_CHANNEL_EMAIL, 1)
	w.intend(k, 0, 1, 2, 3)
	w.said(k, candorv1.Result_RESULT_ACCEPTED, 0, 1, 2, 3)
	if err := w.planner.resumed(t.Context(), w.reload()); err != nil {
		t.Fatal(err)
	}
	if got := w.queue("order"); len(got) != 3 || slices.Contains(got, topology.Order(k.Channel, topology.LaneFirst, id, "w0", 1)) {
		t.Errorf("put back = %v, want the three pages that are not settled", got)
	}
}

func TestSettlingByHandTouchesOnlyUncertainNotices(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	k := key(candorv1.Channel_CHANNEL_EMAIL, 0)
	w.intend(k, 0, 1, 2, 3)
	w.said(k, candorv1.Result_RESULT_ACCEPTED, 0)
	w.said(k, candorv1.Result_RESULT_UNKNOWN, 1, 2)
	all := []*candorv1.NoticeKey{}
	for slot := range uint32(6) { // 4 and 5 do not exist
		all = append(all, &candorv1.NoticeKey{Wave: "w0", Channel: k.Channel, Page: 0, Slot: slot})
	}
	settle := func(s candorv1.Settlement, keys []*candorv1.NoticeKey) uint64 {
		res, err := w.planner.askSettle(t.Context(), &candorv1.SettleRequest{Incident: id, Settlement: s, Notices: keys})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetSettled()
	}
	before := len(w.queue("order"))
	if n := settle(candorv1.Settlement_SETTLEMENT_RESEND, all[1:2]); n != 1 {
		t.Errorf("resent %d, want 1", n)
	}
	if n := len(w.queue("order")); n != before+1 {
		t.Errorf("%d orders after a resend, want one more than %d", n, before)
	}
	if n := settle(candorv1.Settlement_SETTLEMENT_SENT, all); n != 1 {
		t.Errorf("settled %d as sent, want the one that is still uncertain", n)
	}
	st := w.states()[k]
	want := []candorv1.NoticeState{
		candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_WAITING,
		candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_INTENDED,
	}
	for n, s := range want {
		if got, _ := st.Notice(uint32(n)); got != s {
			t.Errorf("slot %d = %v, want %v", n, got, s)
		}
	}
	if st.Duplicates != 0 {
		t.Errorf("duplicates = %d", st.Duplicates)
	}
}

// What the provider took and cannot vouch for is a person's to settle too, and each word of theirs counts.
func TestSettlingByHandWhatTheProviderCannotVouchFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	k := key(candorv1.Channel_CHANNEL_SMS, 0)
	w.intend(k, 0, 1, 2)
	w.said(k, candorv1.Result_RESULT_ACCEPTED, 0, 1, 2)
	e := w.planner.journal.Entry()
	e.Event = &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
		Attempt: 1, Decider: candorv1.Decider_DECIDER_RECEIPT,
		Groups: []*candorv1.OutcomeGroup{{Result: candorv1.Result_RESULT_DOUBTFUL, Reason: "twilio_30410", Slots: []uint32{0, 3}}},
	}}
	data, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.planner.bus.Append(t.Context(), topology.StreamReceipts, bus.Message{Subject: k.Receipts(), Data: data}); err != nil {
		t.Fatal(err)
	}
	for slot, s := range []candorv1.Settlement{candorv1.Settlement_SETTLEMENT_SENT, candorv1.Settlement_SETTLEMENT_RESEND, candorv1.Settlement_SETTLEMENT_GIVE_UP} {
		notice := &candorv1.NoticeKey{Wave: "w0", Channel: k.Channel, Page: 0, Slot: uint32(slot)}
		res, err := w.planner.askSettle(t.Context(), &candorv1.SettleRequest{Incident: id, Settlement: s, Notices: []*candorv1.NoticeKey{notice}})
		if err != nil || res.GetSettled() != 1 {
			t.Errorf("%v: settled %d, %v", s, res.GetSettled(), err)
		}
	}
	st, err := w.planner.journal.Load(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	for slot, want := range []candorv1.NoticeState{
		candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_WAITING, candorv1.NoticeState_NOTICE_STATE_FAILED,
	} {
		if got, reason := st.Notice(uint32(slot)); got != want {
			t.Errorf("slot %d is %v (%s), want %v", slot, got, reason, want)
		}
	}
}

func TestReplayTakesADeadLetterBackIntoWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	k := key(candorv1.Channel_CHANNEL_SMS, 0)
	st := w.states()[k]
	e := w.planner.journal.Entry()
	e.Event = &candorv1.JournalEntry_DeadLettered{DeadLettered: &candorv1.DeadLettered{Reason: "page cannot be opened"}}
	if err := w.planner.journal.Fact(t.Context(), k, st, e); err != nil {
		t.Fatal(err)
	}
	before := len(w.queue("order"))
	res, err := w.planner.askReplay(t.Context(), &candorv1.ReplayRequest{Incident: id})
	if err != nil {
		t.Fatal(err)
	}
	if res.GetReplayed() != 1 || len(w.queue("order")) != before+1 || w.states()[k].DeadFor != "" {
		t.Errorf("replayed %d, %d orders more, dead for %q", res.GetReplayed(), len(w.queue("order"))-before, w.states()[k].DeadFor)
	}
}

// The facts come through the durable consumers, and a second one plans nothing again.
func TestRunPlansWhatWasDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.approve()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.planner.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("run: %v", err)
		}
	})
	defer wg.Wait()
	defer cancel()
	if err := w.planner.log.Republish(t.Context(), topology.FactDeclared, w.inc); err != nil {
		t.Fatal(err)
	}
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	for w.reload().Waves["w0"] == nil {
		select {
		case <-deadline.C:
			t.Fatal("never planned")
		default:
		}
	}
	if n := len(w.queue("order")); n != 2 {
		t.Errorf("%d orders, want 2", n)
	}
}

// The tender goes on by itself with a canary that did well, and an addition comes through its own consumer.
func TestRunLooksAfterWhatItPlanned(t *testing.T) {
	t.Parallel()
	w := newCanary(t, 6)
	w.planner.cfg.LookEvery, w.planner.cfg.SweepEvery = 10*time.Millisecond, 10*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.planner.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("run: %v", err)
		}
	})
	defer wg.Wait()
	defer cancel()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	until := func(what string, met func(*incident.Incident) bool) {
		t.Helper()
		for !met(w.reload()) {
			select {
			case <-deadline.C:
				t.Fatal("never " + what)
			default:
			}
		}
	}
	until("planned", func(inc *incident.Incident) bool { return inc.Waves["w0"] != nil })
	if got := w.out(sms); !equal(got, everybody()) {
		t.Errorf("in the journals: %v, want everybody once", got)
	}
	w.purge("order.>")
	until("put back", func(*incident.Incident) bool { return len(w.queue("order")) == 6 })
	w.add("w0-r1")
	if err := w.planner.log.Republish(t.Context(), topology.FactUpdated, w.inc); err != nil {
		t.Fatal(err)
	}
	until("planned the addition", func(inc *incident.Incident) bool { return inc.Waves["w0-r1"] != nil })
}
