package planner

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// newSwept has four pages whose orders are there, and a tender that has looked once.
func newSwept(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, nil, 1, 1, 1, 1)
	w.withLedger()
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	w.sweep()
	return w
}

func (w *world) settle(k journal.Key) {
	w.Helper()
	slots := w.audience(k)
	w.intend(k, slots...)
	w.said(k, candorv1.Result_RESULT_ACCEPTED, slots...)
}

func TestExactlyTheMissingOrdersComeBack(t *testing.T) {
	t.Parallel()
	w := newSwept(t)
	before := w.queue("order")
	gone := []string{before[1], before[4], before[6]}
	settled, _, _ := topology.ParseOrder(before[6])
	w.settle(journal.Key(settled))
	w.purge(gone...)
	w.sweep()
	if n := len(w.queue("order")); n != len(before)-3 {
		t.Errorf("%d orders, want none back that may only be on its way from one place to the other", n)
	}
	w.sweep()
	want := slices.DeleteFunc(slices.Clone(before), func(s string) bool { return s == before[6] })
	got := w.queue("order")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("queue = %v\nwant %v: those that were missing, none twice, and none for a settled page", got, want)
	}
	if n := len(w.queue("order")); n != 7 {
		t.Errorf("%d orders", n)
	}
}

func TestAPlannerThatStartsPutsBackAtOnce(t *testing.T) {
	t.Parallel()
	w := newSwept(t)
	gone := w.queue("order")[2]
	w.purge(gone)
	w.restart()
	w.sweep()
	if !slices.Contains(w.queue("order"), gone) {
		t.Errorf("%s did not come back", gone)
	}
}

// The first look at an incident often comes while its first wave is being planned: journals are open, orders are on their way.
func TestOrdersThatAreBeingPublishedAreNotMissing(t *testing.T) {
	t.Parallel()
	tend := &tender{Planner: &Planner{cfg: DefaultConfig()}}
	pages := []*candorv1.SweepPage{{
		Key: &candorv1.PageKey{Wave: incident.FirstWave, Channel: candorv1.Channel_CHANNEL_SMS, Page: 1}, Open: 5, UnchangedSince: timestamppb.New(night),
	}}
	for _, tt := range []struct {
		name  string
		waves map[string]*candorv1.WavePlanned
		want  []int // orders put back by each look
	}{
		{"being planned", nil, []int{0, 1}},
		{"planned", map[string]*candorv1.WavePlanned{incident.FirstWave: {}}, []int{1, 0}},
	} {
		c := &charge{inc: &incident.Incident{ID: "inc", Waves: tt.waves}, sweeps: newSweeps()}
		for i, want := range tt.want {
			if got := len(tend.wanted(c, pages, nil, night)); got != want {
				t.Errorf("%s: look %d puts back %d, want %d", tt.name, i+1, got, want)
			}
		}
	}
}

func TestAnOrderThatWaitsIsNotMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.now = night
	w.withLedger()
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.sweep()
	}
	if got := w.queue("order.sms"); len(got) != 0 {
		t.Errorf("put back although it waits for the morning: %v", got)
	}
}

// An order that changes nothing is not put back in a loop: its notices may be kept for a person.
func TestAPageThatDoesNotChangeIsPutBackOnceInAWhile(t *testing.T) {
	t.Parallel()
	w := newSwept(t)
	gone := w.queue("order")[0]
	back := func() bool {
		t.Helper()
		w.purge(gone)
		w.sweep()
		w.sweep()
		return slices.Contains(w.queue("order"), gone)
	}
	if !back() {
		t.Fatal("did not come back")
	}
	if back() {
		t.Error("came back again, although nothing changed")
	}
	w.now = w.now.Add(w.planner.cfg.PutBackAgain)
	if !back() {
		t.Error("never came back again")
	}
	k, _, _ := topology.ParseOrder(gone)
	w.intend(journal.Key(k), 0)
	if !back() {
		t.Error("the page changed, and its order did not come back")
	}
}

func TestWhatIsHeldIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newSwept(t)
	orders := w.queue("order.email")
	for _, k := range []journal.Key{key(email, 1)} {
		st := w.states()[k]
		e := w.planner.journal.Entry()
		e.Event = &candorv1.JournalEntry_DeadLettered{DeadLettered: &candorv1.DeadLettered{Reason: "page cannot be opened"}}
		if err := w.planner.journal.Fact(t.Context(), k, st, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.planner.sealOne(t.Context(), key(email, 2), sealAborted); err != nil {
		t.Fatal(err)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Channels: []candorv1.Channel{sms}}}})
	w.ledger.say(func(l *ledgerDouble) { // a ledger that names all of them
		l.sweep = func(*candorv1.SweepRequest) *candorv1.SweepResponse {
			res := &candorv1.SweepResponse{}
			for _, k := range []journal.Key{key(sms, 0), key(email, 1), key(email, 2), key(email, 3)} {
				res.Pages = append(res.Pages, &candorv1.SweepPage{Key: &candorv1.PageKey{Wave: k.Wave, Channel: k.Channel, Page: k.Page}, Open: 1})
			}
			return res
		}
	})
	w.purge("order.>")
	w.sweep()
	w.sweep()
	if got := w.queue("order"); !slices.Equal(got, []string{orders[3]}) {
		t.Errorf("queue = %v, want only the page that is neither paused, dead nor sealed", got)
	}
}

func TestAPageIsPolledOnceInAWhileAndACompleteIncidentIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newSwept(t)
	w.purge("order.>")
	var q *candorv1.SweepRequest
	w.ledger.say(func(l *ledgerDouble) {
		l.sweep = func(r *candorv1.SweepRequest) *candorv1.SweepResponse {
			q = r
			return &candorv1.SweepResponse{Pages: []*candorv1.SweepPage{{Key: &candorv1.PageKey{Wave: "w0", Channel: sms, Page: 2}, Poll: true}}}
		}
	})
	polls := func() int {
		t.Helper()
		w.sweep()
		n := len(w.queue("order"))
		w.purge("order.>")
		return n
	}
	if n := polls(); n != 1 {
		t.Fatalf("%d orders, want one that asks the provider", n)
	}
	if got := q.GetPolledBefore().AsTime(); !got.Equal(w.now.Add(-time.Hour)) || !q.GetNotBefore().AsTime().Equal(w.now.Add(-receipt.Horizon)) {
		t.Errorf("asked for polls of what was accepted from %s to %s", q.GetNotBefore().AsTime(), got)
	}
	before := w.ledger.count("sweep")
	if n := polls() + polls(); n != 0 {
		t.Errorf("%d orders more within the hour", n)
	}
	if n := w.ledger.count("sweep") - before; n != 0 {
		t.Errorf("asked %d times although nothing is open and no sequence moved", n)
	}
	w.now = w.now.Add(time.Hour)
	if n := polls(); n != 1 {
		t.Errorf("%d orders an hour later, want one", n)
	}
	before = w.ledger.count("sweep")
	w.intend(key(sms, 0), 0)
	if polls(); w.ledger.count("sweep") != before+1 {
		t.Error("a journal moved, and nothing was asked")
	}
}

func TestDamagePausesOnce(t *testing.T) {
	t.Parallel()
	w := newSwept(t)
	const sentence = "receipts speak of 3 messages that journal.sms.acme-2026.w0.1 does not know"
	w.ledger.say(func(l *ledgerDouble) {
		l.sweep = func(*candorv1.SweepRequest) *candorv1.SweepResponse {
			return &candorv1.SweepResponse{Damage: []string{sentence}}
		}
	})
	w.restart()
	w.sweep()
	inc := w.reload()
	if !inc.PausedFor(email) || !strings.Contains(inc.Reason, sentence) {
		t.Fatalf("paused %v, reason %q", inc.Paused, inc.Reason)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	w.restart()
	w.sweep()
	if inc := w.reload(); inc.PausedFor(email) {
		t.Errorf("paused again for what a person has read: %q", inc.Reason)
	}
}

func TestAMissingJournalPausesAndIsNotOpenedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1, 1)
	w.withLedger()
	w.approve()
	inc := w.reload()
	jobs, err := w.planner.jobs(t.Context(), inc, "w0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.planner.openAll(t.Context(), inc, jobs[1:]); err != nil {
		t.Fatal(err)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{Wave: "w0", Orders: 4, Notices: 16}}})
	w.sweep()
	if inc := w.reload(); !inc.PausedFor(sms) || !strings.Contains(inc.Reason, "1 of the 4 journals of wave w0 are gone, the first is "+jobs[0].key.Subject()) {
		t.Errorf("paused %v, reason %q", inc.Paused, inc.Reason)
	}
	if st := w.states()[jobs[0].key]; st != nil {
		t.Error("it was opened again")
	}
}

func TestStuckPagesAreNamedOnce(t *testing.T) {
	t.Parallel()
	w := newSwept(t)
	var log strings.Builder
	w.planner.out = zerolog.New(&log)
	w.ledger.say(func(l *ledgerDouble) {
		l.sweep = func(*candorv1.SweepRequest) *candorv1.SweepResponse {
			return &candorv1.SweepResponse{Stuck: []*candorv1.StuckPage{{
				Key: &candorv1.PageKey{Wave: "w0", Channel: sms, Page: 3}, OpenNotices: 2, UnchangedSince: timestamppb.New(night),
			}}}
		}
	})
	w.restart()
	w.sweep()
	w.intend(key(sms, 0), 0)
	w.sweep()
	if n := strings.Count(log.String(), "stuck"); n != 1 || !strings.Contains(log.String(), `"page":3`) {
		t.Errorf("said %d times: %s", n, log.String())
	}
}
