package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/journal"
	"candor/pkg/provider"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func said(r candorv1.Result, reason string, slots ...uint32) *candorv1.OutcomeGroup {
	return &candorv1.OutcomeGroup{Result: r, Reason: reason, Slots: journal.Runs(slots)}
}

// outcomes returns what the journal's entries say, by decider.
func (w *world) outcomes(by candorv1.Decider) (list []*candorv1.Outcomes) {
	w.t.Helper()
	w.entries(func(e *candorv1.JournalEntry) {
		if o := e.GetOutcomes(); o != nil && o.GetDecider() == by {
			list = append(list, o)
		}
	})
	return list
}

func (w *world) entries(fn func(*candorv1.JournalEntry)) {
	w.t.Helper()
	_, err := w.bus.Read(w.t.Context(), topology.StreamJournal, w.key.Subject(), 1, func(m bus.Stored) error {
		e := &candorv1.JournalEntry{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return err
		}
		fn(e)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Nobody can be asked about an e-mail: SendGrid's processed event says that it was sent, and spares a person the question.
func TestAnUncertainNoticeIsSettledByItsReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.terms.ResendUncertainAfter = time.Nanosecond // it would be sent again at once
	w.open()
	w.write(intent(1, 1, time.Now().Add(-time.Hour), 0, 1, 2))
	w.write(outcome(1, candorv1.Result_RESULT_UNKNOWN, "http_502", 0, 1, 2))
	w.hear(1, said(candorv1.Result_RESULT_ACCEPTED, "", 0, 1))
	w.hear(1, said(candorv1.Result_RESULT_DELIVERED, "", 1))
	w.order()
	w.start()
	w.await("the third one is sent again, by policy", func(st *journal.State) bool {
		return counts(st)["NOTICE_STATE_ACCEPTED "] == 2 && counts(st)["NOTICE_STATE_DELIVERED "] == 1
	})
	w.queueEmpty()
	if m := w.carrier.messages(); len(m) != 1 || m[2] != 1 {
		t.Errorf("sent %v, want only the one that nobody had heard of", m)
	}
}

// A receipt that comes while the order waits for its doubts is heard before anybody is asked.
func TestAReceiptIsHeardBeforeTheProviderIsAsked(t *testing.T) {
	t.Parallel()
	w := askableWorld(t, 2)
	w.cfg.VisibilityLag = time.Millisecond // and no less than the shortest lag
	w.carrier.answer = func(slot, attempt uint32, _ int) (bool, provider.Outcome) {
		// It arrived, the answer got lost, and the receipt overtakes us.
		w.hear(attempt, said(candorv1.Result_RESULT_DELIVERED, "", slot))
		return true, provider.Outcome{Class: provider.Unknown, Reason: "timeout_after_write"}
	}
	w.order()
	w.start(withAsking(w))
	w.await("both delivered", all(candorv1.NoticeState_NOTICE_STATE_DELIVERED))
	w.queueEmpty()
	w.carrier.once(t, 2)
	if w.carrier.asked != 0 {
		t.Errorf("the provider was asked %d times about what it had said", w.carrier.asked)
	}
}

func TestAPhoneThatWasOffIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.open()
	w.order()
	w.start()
	w.await("both accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	at := time.Now().Add(1200 * time.Millisecond)
	g := said(candorv1.Result_RESULT_UNDELIVERED_RETRY, "twilio_30003", 1)
	g.RetryAt = timestamppb.New(at)
	w.hear(1, g)
	sent := make(chan time.Time, 1)
	w.carrier.mu.Lock()
	w.carrier.before = func(s Stride) {
		if s.Attempt == 2 && slices.Equal(s.Slots, []uint32{1}) {
			sent <- time.Now()
		}
	}
	w.carrier.mu.Unlock()
	w.order()
	if when := <-sent; when.Before(at) {
		t.Errorf("tried again %s too early", at.Sub(when))
	}
	st := w.await("both accepted again", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	if st.Attempt(1) != 2 || st.Duplicates != 0 || w.carrier.messages()[0] != 1 {
		t.Errorf("attempt %d, duplicates %d, messages %v", st.Attempt(1), st.Duplicates, w.carrier.messages())
	}
	// The first message arrives after all: she was told twice, and nothing is sent again.
	w.hear(1, said(candorv1.Result_RESULT_DELIVERED, "", 1))
	w.hear(2, said(candorv1.Result_RESULT_UNDELIVERED_RETRY, "twilio_30003", 1))
	w.order()
	w.queueEmpty()
	st = w.await("delivered", func(st *journal.State) bool { return counts(st)["NOTICE_STATE_DELIVERED "] == 1 })
	if n := w.carrier.messages()[1]; n != 2 || st.Duplicates != 0 || st.Attempt(1) != 1 {
		t.Errorf("%d messages, %d duplicates, attempt %d; want no third message, and the first one counts", n, st.Duplicates, st.Attempt(1))
	}
}

func TestWhatComesBackIsGivenUpWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.terms.RetryBudget = time.Minute
	w.open()
	first := intent(1, 1, time.Now().Add(-time.Hour), 0, 1, 2)
	first.OccurredAt = timestamppb.New(time.Now().Add(-2 * time.Hour))
	w.write(first)
	w.write(outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0, 1, 2))
	w.hear(1, said(candorv1.Result_RESULT_UNDELIVERED_RETRY, "twilio_30003", 0))
	w.hear(1, said(candorv1.Result_RESULT_UNDELIVERED_RETRY, "held_twilio_30034", 1))
	w.hear(1, said(candorv1.Result_RESULT_UNDELIVERED_RETRY, "twilio_30003", 2))
	w.carrier.suppressed = func(slot uint32, _ int) string {
		if slot == 1 {
			return "opted_out"
		}
		return ""
	}
	w.order()
	w.start()
	st := w.await("an end for everybody", func(st *journal.State) bool {
		c := counts(st)
		return c["NOTICE_STATE_FAILED gave_up_twilio_30003"] == 2 && c["NOTICE_STATE_FAILED opted_out"] == 1
	})
	w.queueEmpty()
	if len(w.carrier.messages()) != 0 || !st.Undelivered(0) {
		t.Errorf("sent %v, undelivered %v", w.carrier.messages(), st.Undelivered(0))
	}
}

func TestAfterABounceTheNextPhoneIsUsedWhereThereIsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.carrier.page.Customers[1].Phones = w.carrier.page.Customers[1].Phones[:1]
	w.open()
	w.order()
	w.start()
	w.await("both accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	w.hear(1, said(candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS, "twilio_30006", 0, 1))
	w.order()
	w.await("one told on the second phone, one failed", func(st *journal.State) bool {
		return counts(st)["NOTICE_STATE_ACCEPTED "] == 1 && counts(st)["NOTICE_STATE_FAILED twilio_30006"] == 1
	})
	w.queueEmpty()
	if got := w.carrier.held[0]; len(got) != 2 || got[1] != "+13125550000" {
		t.Errorf("slot 0 was told at %v, want its second phone last", got)
	}
	if o := w.outcomes(candorv1.Decider_DECIDER_POLICY); len(o) != 1 || o[0].GetGroups()[0].GetReason() != "twilio_30006" {
		t.Errorf("decided by policy: %v", o)
	}
}

// A message whose receipt was lost is asked about, once for each order.
func TestFinalWordsThatAreMissingAreAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	w.cfg.PollAfter = time.Hour
	w.open()
	w.write(intent(1, 1, time.Now().Add(-3*time.Hour), 0, 1, 2, 3, 4, 5, 6))
	accepted := func(ago time.Duration, ids string, slots ...uint32) {
		e := outcome(1, candorv1.Result_RESULT_ACCEPTED, "", slots...)
		e.GetOutcomes().GetGroups()[0].MessageIds = ids
		e.OccurredAt = timestamppb.New(time.Now().Add(-ago))
		w.write(e)
	}
	accepted(2*time.Hour, "SM0\nSM1\nSM2\nSM3", 0, 1, 2, 3)
	accepted(time.Minute, "SM4", 4)   // too young
	accepted(100*time.Hour, "SM5", 5) // too old
	accepted(2*time.Hour, "", 6)      // nothing to ask for
	w.carrier.words = make([]Word, 7)
	w.carrier.words[0] = Word{Result: candorv1.Result_RESULT_DELIVERED}
	w.carrier.words[1] = Word{Result: candorv1.Result_RESULT_UNDELIVERED_RETRY, Reason: "twilio_30003", RetryAt: time.Now().Add(-time.Second)}
	w.carrier.words[3] = Word{Err: errors.New("http 503")}
	w.order()
	w.start(func(d *Deps) { d.Courier = polling{w} })
	st := w.await("one delivered, one sent again", func(st *journal.State) bool {
		return counts(st)["NOTICE_STATE_DELIVERED "] == 1 && st.Attempt(1) == 2 && st.MessageID(1) == "SM1-2"
	})
	w.queueEmpty()
	if c := counts(st); c["NOTICE_STATE_ACCEPTED "] != 6 {
		t.Errorf("notices: %v", c)
	}
	ids := func() (list []string) {
		w.carrier.mu.Lock()
		defer w.carrier.mu.Unlock()
		for _, p := range w.carrier.polled {
			list = append(list, p.ID)
		}
		return list
	}
	if got := ids(); !slices.Equal(got, []string{"SM0", "SM1", "SM2", "SM3"}) {
		t.Errorf("asked about %v", got)
	}
	if o := w.outcomes(candorv1.Decider_DECIDER_LOOKUP); len(o) != 1 || o[0].GetAttempt() != 1 {
		t.Errorf("the provider's words: %v", o)
	}
	// The next order asks again about those without a word, and about nobody else.
	w.order()
	w.queueEmpty()
	if got := ids(); !slices.Equal(got[4:], []string{"SM2", "SM3"}) {
		t.Errorf("asked again about %v", got[4:])
	}
	if n := w.carrier.messages(); len(n) != 1 || n[1] != 1 {
		t.Errorf("sent %v", n)
	}
}

// A message that the provider does not know was complained of at each look, for days.
func TestWhatAProviderDoesNotKnowIsSaidOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.cfg.PollAfter = time.Nanosecond
	w.open()
	w.write(intent(1, 1, time.Now().Add(-time.Hour), 0))
	e := outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0)
	e.GetOutcomes().GetGroups()[0].MessageIds = "SM0"
	w.write(e)
	w.carrier.words = []Word{{Err: &provider.Error{Outcome: provider.Outcome{Class: provider.Misconfigured, Reason: "twilio_20404"}}}}
	var logs bytes.Buffer
	w.order()
	stop := w.start(func(d *Deps) { d.Courier, d.Log = polling{w}, zerolog.New(zerolog.SyncWriter(&logs)) })
	w.queueEmpty()
	for range 2 {
		w.order()
		w.queueEmpty()
	}
	stop()
	if n := strings.Count(logs.String(), "twilio_20404"); n != 1 || len(w.carrier.polled) != 3 {
		t.Errorf("said %d times of %d questions: %s", n, len(w.carrier.polled), &logs)
	}
}

func TestAProviderIsAskedWhileAWordMayCome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after time.Duration
		ok    bool
	}{{-1, false}, {0, true}, {time.Hour, true}, {receipt.Horizon - 1, true}, {receipt.Horizon, false}} {
		cfg := DefaultConfig(sms)
		cfg.PollAfter = tt.after
		if err := cfg.Validate(); (err == nil) != tt.ok {
			t.Errorf("poll_after %s: %v", tt.after, err)
		}
	}
}

// Asking tells nobody: a pause does not hold it up, and a page that nobody can open any more needs no person.
func TestASettledPageIsAskedAboutEvenWhilePaused(t *testing.T) {
	t.Parallel()
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("page cannot be opened %v", broken), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.cfg.PollAfter = time.Nanosecond
			w.open()
			w.write(intent(1, 1, time.Now().Add(-time.Hour), 0))
			e := outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0)
			e.GetOutcomes().GetGroups()[0].MessageIds = "SM0"
			w.write(e)
			w.carrier.words = []Word{{Result: candorv1.Result_RESULT_DELIVERED}}
			if broken {
				w.carrier.openErr = []error{errors.New("the seal is broken")}
			}
			w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{}}})
			w.order()
			w.start(func(d *Deps) { d.Courier = polling{w} })
			w.queueEmpty()
			st := w.await("no dead letter", func(st *journal.State) bool { return st.DeadFor == "" })
			want := candorv1.NoticeState_NOTICE_STATE_DELIVERED
			if broken {
				want = candorv1.NoticeState_NOTICE_STATE_ACCEPTED
			}
			if got, _ := st.Notice(0); got != want {
				t.Errorf("notice is %v, want %v", got, want)
			}
		})
	}
}

// A stride goes through one provider, whose name stands in the journal and whose time it takes.
func TestAStrideKeepsToItsProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40)
	var calls atomic.Int64
	w.carrier.pace = func(slot uint32) Pace {
		p := Pace{Sender: "x@acme.example", Units: 1}
		if slot >= 20 || calls.Add(1) > 30 { // and the courier changes its mind on the way
			p.Provider = "smtp"
		}
		return p
	}
	var mu sync.Mutex
	sent := map[uint32]string{}
	w.carrier.before = func(s Stride) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range s.Slots {
			sent[n] = s.Provider
		}
	}
	w.open()
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	w.carrier.once(t, 40)
	used := map[string]int{}
	w.entries(func(e *candorv1.JournalEntry) {
		name, runs := e.GetIntent().GetProvider(), e.GetIntent().GetSlots()
		if o := e.GetOutcomes(); o != nil {
			name = o.GetProvider()
			for _, g := range o.GetGroups() {
				runs = append(runs, g.GetSlots()...)
			}
		}
		for _, n := range journal.Slots(runs) {
			used[name]++
			if sent[n] != name {
				t.Errorf("slot %d went through %s, the journal says %s", n, sent[n], name)
			}
		}
	})
	if used["twilio"] == 0 || used["smtp"] == 0 {
		t.Errorf("providers in the journal: %v", used)
	}
}

// An addition is approved by a hash of its own, and uses the texts of the wave it adds to.
func TestAnAdditionIsWorkedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	w.key.Wave, w.hash = "w0-r1", []byte("addition")
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{
		Addition: &candorv1.Addition{Wave: "w0-r1", Kind: "resend", Base: testWave}, Hash: w.hash,
	}}})
	w.open()
	w.order()
	w.start()
	w.await("nobody approved it", func(st *journal.State) bool { return st.DeadFor != "" })
	w.queueEmpty()
	if n := len(w.carrier.messages()); n > 0 {
		t.Fatalf("%d were told what nobody approved", n)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: "w0-r1", Hash: w.hash}}})
	// The worker may know of the approval later than the order comes.
	w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Replayed{Replayed: &candorv1.Replayed{}}})
	w.order()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	w.carrier.once(t, 5)
	if w.carrier.base != testWave {
		t.Errorf("made ready with wave %q, want its base", w.carrier.base)
	}
}

// The order of the plan does not work for an addition's wave, and the other way round.
func TestAnAdditionHasAHashOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.key.Wave = "w0-r1"
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{
		Addition: &candorv1.Addition{Wave: "w0-r1", Base: testWave}, Hash: []byte("addition"),
	}}})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: "w0-r1", Hash: []byte("addition")}}})
	w.open()
	w.order()
	w.start()
	w.await("dead letter", func(st *journal.State) bool { return st.DeadFor != "" })
	if n := len(w.carrier.messages()); n > 0 {
		t.Errorf("%d were told what nobody approved", n)
	}
}

// A wave grows while its page is in hand: the second order is not lost.
func TestAnOrderThatComesWhileThePageIsInHandIsLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{
		PlanHash: w.hash, TextHash: textHash[:], Slots: 4, Audience: []uint32{0, 2},
	}}})
	worker := &Worker{cfg: w.cfg, hand: map[journal.Key]*inHand{}}
	in, ok := worker.take(w.key, 1)
	if !ok {
		t.Fatal("a free journal was not to be had")
	}
	if _, ok := worker.take(w.key, 1); ok {
		t.Fatal("the same order got the journal twice")
	}
	if !worker.done(w.key, in) {
		t.Error("the same order, delivered again, is no reason to look again")
	}
	if in, ok = worker.take(w.key, 1); !ok {
		t.Fatal("the journal was not given back")
	}
	if _, ok := worker.take(w.key, 2); ok {
		t.Fatal("two orders got the journal")
	}
	if worker.done(w.key, in) {
		t.Error("another order came, and nobody looks again")
	}
	if !worker.done(w.key, in) {
		t.Error("looked again, and still not done")
	}

	var once sync.Once
	w.carrier.before = func(Stride) {
		once.Do(func() { // while the canary is at the provider
			w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Admitted{Admitted: &candorv1.Admitted{Audience: []uint32{2, 2}}}})
			w.order()
		})
	}
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	w.carrier.once(t, 4)
}

// A page that nobody was told of yet is read without its receipts: it has none.
func TestAFreshPageIsNotHeard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.open()
	w.hear(1, said(candorv1.Result_RESULT_DELIVERED, "", 0))
	st, err := w.journal.Load(t.Context(), w.key)
	if err != nil || st.HeardSeq != 0 {
		t.Errorf("heard up to %d, error %v", st.HeardSeq, err)
	}
	if err := w.journal.Hear(context.Background(), w.key, st); err != nil || st.HeardSeq != 1 {
		t.Errorf("heard up to %d, error %v", st.HeardSeq, err)
	}
	if slot, stray := st.Stray(); !stray || slot != 0 {
		t.Error("a receipt without intent is no stray")
	}
}

// The worker's memory is a moment behind the approval of an addition: that is no dead letter.
func TestAnApprovalThatIsNotKnownYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	before := w.inc
	w.key.Wave, w.hash = "w0-r1", []byte("addition")
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{
		Addition: &candorv1.Addition{Wave: "w0-r1", Base: testWave}, Hash: w.hash,
	}}})
	w.open()
	st, err := w.journal.Load(t.Context(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	h := &hand{
		Worker: &Worker{cfg: w.cfg, Deps: Deps{Bus: w.bus}}, key: w.key, st: st,
		order: &candorv1.Order{Incident: testIncident, Wave: "w0-r1", PlanHash: w.hash},
	}
	if err := h.approved(t.Context(), before); !errors.Is(err, errDead) {
		t.Errorf("nobody approved it: %v, want a dead letter", err)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: "w0-r1", Hash: w.hash}}})
	if err := h.approved(t.Context(), before); err == nil || errors.Is(err, errDead) {
		t.Errorf("approved, and not known here yet: %v, want to be asked again", err)
	}
	if err := h.approved(t.Context(), w.inc); err != nil {
		t.Errorf("approved: %v", err)
	}
}

func TestNobodyReadsTheOlderWordsAfterTheNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	decided := func(wave string) {
		w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
			Name: wave, Wave: wave, Base: "standing", Decision: candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND,
		}}})
	}
	decided("w1")
	w.key.Wave = "w1"
	w.open()
	w.write(intent(1, 1, time.Now().Add(-time.Minute), 0, 1, 2))
	w.write(outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0, 1))
	w.write(outcome(1, candorv1.Result_RESULT_RETRY, "twilio_20429", 2))
	w.hear(1, said(candorv1.Result_RESULT_UNDELIVERED_RETRY, "twilio_30003", 0, 1))
	decided("w2")
	w.key.Wave = "w2"
	w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{
		PlanHash: w.hash, TextHash: textHash[:], Slots: 3, Audience: []uint32{0, 2},
	}}})
	w.key.Wave = "w1"
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{
		Wave: "w2", Channels: []*candorv1.PlannedChannel{{Channel: sms}},
	}}})
	w.order()
	w.start()
	w.await("an end for everybody", func(st *journal.State) bool {
		c := counts(st)
		return c["NOTICE_STATE_FAILED newer_message"] == 2 && c["NOTICE_STATE_ACCEPTED "] == 1
	})
	w.queueEmpty()
	if m := w.carrier.messages(); m[0] != 0 || m[1] != 0 || m[2] != 1 {
		t.Errorf("sent %v, want one to whom the newer words are not for", m)
	}
}
