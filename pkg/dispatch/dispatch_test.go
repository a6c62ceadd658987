package dispatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/journal"
	"candor/pkg/provider"
	"candor/pkg/topology"
	"candor/pkg/vault"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

func intent(boot uint64, attempt uint32, sendBefore time.Time, slots ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{
		BootId: boot, WorkerId: 9, Attempt: attempt, Slots: journal.Runs(slots), SendBefore: timestamppb.New(sendBefore), Provider: "twilio",
	}}}
}

func outcome(attempt uint32, r candorv1.Result, reason string, slots ...uint32) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
		Attempt: attempt, Groups: []*candorv1.OutcomeGroup{{Result: r, Reason: reason, Slots: journal.Runs(slots)}},
	}}}
}

func askableWorld(t *testing.T, n int) *world {
	w := newWorld(t, n)
	w.open()
	return w
}

func withAsking(w *world) func(*Deps) { return func(d *Deps) { d.Courier = asking{w} } }

func TestEverybodyIsToldOnceAndTheOrderEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 250)
	w.open()
	w.order()
	w.start()
	st := w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	w.carrier.once(t, 250)
	if got := st.MessageID(7); got != "SM7-1" {
		t.Errorf("message id of slot 7 = %q, want the provider's", got)
	}
}

func TestASecondOrderSendsNothingAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 120)
	w.open()
	w.order()
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.order()
	w.queueEmpty()
	w.carrier.once(t, 120)
}

// Two workers hold the same order.
func TestTwoWorkersOnOneOrderNeverBothSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 400)
	w.cfg.StrideSlots = 20
	w.open()
	for range 4 {
		w.order()
	}
	for id := range uint64(3) {
		w.start(func(d *Deps) { d.WorkerID = 10 + id; d.Booted = time.Time{} })
	}
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	w.carrier.once(t, 400)
}

// Between the moment at which a worker looks who is left and the one at which it sends, it may write down that somebody must not
// be told. Whatever another worker wrote meanwhile is known from then on: those whom that one told are not told again.
func TestWhoWasToldWhileAnotherWasSuppressedIsNotToldAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.open()
	var once sync.Once
	w.carrier.suppressed = func(slot uint32, _ int) string {
		if slot != 0 {
			return ""
		}
		once.Do(func() {
			w.write(intent(2, 1, time.Now().Add(time.Minute), 1, 2, 3))
			w.write(outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 1, 2, 3))
		})
		return "no_number"
	}
	w.order()
	w.start()
	w.queueEmpty()
	if told := w.carrier.messages(); len(told) > 0 {
		t.Errorf("told again: %v", told)
	}
}

// An emptied journal looks like a page that was never sent.
func TestAJournalThatWasNeverOpenedSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.order()
	w.start()
	w.queueEmpty()
	if n := w.carrier.messages(); len(n) != 0 {
		t.Errorf("%d customers were told", len(n))
	}
}

func TestAnIntentOfADeadProcessIsAskedForAndNeverSentBlindly(t *testing.T) {
	t.Parallel()
	w := askableWorld(t, 3)
	// The dead process had sent to slot 0 and 1 and died before it could say so; slot 2 it never reached.
	w.write(intent(1, 1, time.Now().Add(time.Hour), 0, 1, 2))
	w.carrier.held[0], w.carrier.held[1] = []string{"x"}, []string{"x"}
	w.order()
	w.start(withAsking(w))
	st := w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.queueEmpty()
	w.carrier.once(t, 3)
	if st.Attempt(0) != 1 || st.Attempt(2) != 2 {
		t.Errorf("attempts = %d and %d, want 1 (found) and 2 (sent anew)", st.Attempt(0), st.Attempt(2))
	}
	if st.Duplicates != 0 {
		t.Errorf("duplicates = %d", st.Duplicates)
	}
}

// A live owner's slots are its own until its requests cannot be under way any more. Boot 0 is a process of
// its own, which outlives the broker's boots.
func TestALiveOwnersSlotsAreLeftAlone(t *testing.T) {
	t.Parallel()
	for _, boot := range []uint64{0, 2} {
		t.Run(fmt.Sprintf("boot %d", boot), func(t *testing.T) {
			t.Parallel()
			w := askableWorld(t, 2)
			w.write(intent(boot, 1, time.Now().Add(time.Hour), 0))
			w.order()
			w.start(withAsking(w))
			w.await("the free slot is accepted", func(st *journal.State) bool {
				s, _ := st.Notice(1)
				return s == candorv1.NoticeState_NOTICE_STATE_ACCEPTED
			})
			w.until("the order waits for the owner", func() bool {
				n, err := w.bus.CountSubjects(t.Context(), topology.StreamOrders, "later.>")
				return err == nil && len(n) == 1
			})
			if m := w.carrier.messages(); m[0] != 0 {
				t.Errorf("the owner's customer got %d messages from another worker", m[0])
			}
			// The owner's own word settles it.
			w.write(outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0))
			w.order()
			w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
		})
	}
}

func TestNotFoundOnceIsNotEnough(t *testing.T) {
	t.Parallel()
	w := askableWorld(t, 1)
	w.write(intent(1, 1, time.Now().Add(-time.Hour), 0))
	w.order()
	looked := make(chan struct{})
	release := make(chan struct{})
	var once sync.Once
	w.carrier.before = func(Stride) { once.Do(func() { close(looked); <-release }) }
	w.start(withAsking(w))
	freed := sync.OnceFunc(func() { close(release) })
	t.Cleanup(freed) // or a test that failed would wait for the worker
	<-looked         // the second attempt is about to be sent: only after two looks
	if w.carrier.asked < 2 {
		t.Errorf("provider was asked %d times before a new attempt, want 2", w.carrier.asked)
	}
	freed()
	w.await("accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
}

func TestAnAmbiguousAnswerStaysUncertainWhereNobodyCanBeAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10)
	w.carrier.answer = func(slot, _ uint32, _ int) (bool, provider.Outcome) {
		if slot%2 == 0 {
			return true, provider.Outcome{Class: provider.Unknown, Reason: "timeout_after_write"}
		}
		return true, provider.Outcome{Class: provider.Accepted}
	}
	w.open()
	w.order()
	w.start()
	st := w.await("half uncertain", func(st *journal.State) bool {
		return counts(st)["NOTICE_STATE_UNCERTAIN timeout_after_write"] == 5 && counts(st)["NOTICE_STATE_ACCEPTED "] == 5
	})
	w.queueEmpty()
	w.carrier.once(t, 10)
	if st.Settled(0) {
		t.Error("an uncertain notice counts as settled")
	}
}

func TestUncertainIsSentAgainOnlyByPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.terms.ResendUncertainAfter = 50 * time.Millisecond
	w.carrier.answer = func(_, attempt uint32, _ int) (bool, provider.Outcome) {
		if attempt == 1 {
			return false, provider.Outcome{Class: provider.Unknown, Reason: "http_502"}
		}
		return true, provider.Outcome{Class: provider.Accepted}
	}
	w.open()
	w.order()
	w.start()
	st := w.await("accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	if st.Attempt(0) != 2 {
		t.Errorf("attempt = %d, want 2", st.Attempt(0))
	}
}

// The late answer of attempt 1 must not settle attempt 2, and shows the second message.
func TestALateAcceptedOutcomeIsCountedAsADuplicate(t *testing.T) {
	t.Parallel()
	w := askableWorld(t, 1)
	w.write(intent(1, 1, time.Now().Add(-time.Hour), 0))
	w.order()
	w.start(withAsking(w))
	w.await("accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.write(outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0))
	st := w.await("the duplicate is seen", func(st *journal.State) bool { return st.Duplicates == 1 })
	if s, _ := st.Notice(0); s != candorv1.NoticeState_NOTICE_STATE_ACCEPTED {
		t.Errorf("state = %v", s)
	}
}

func TestDefiniteFailuresAreTriedAgainUntilTheBudgetIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.terms.RetryBudget = time.Hour
	start := time.Now()
	var ahead atomic.Int64 // of this machine
	w.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w.mono = func() time.Duration { return time.Since(start) + time.Duration(ahead.Load()) }
	second := 0 // attempts; an hour passes when everybody had theirs
	w.carrier.answer = func(slot, attempt uint32, _ int) (bool, provider.Outcome) {
		if attempt == 2 {
			if second++; second == 4 {
				ahead.Store(int64(time.Hour))
			}
		}
		if slot == 3 && attempt == 2 {
			return true, provider.Outcome{Class: provider.Accepted}
		}
		return false, provider.Outcome{Class: provider.NotSent, Reason: "twilio_20429"}
	}
	w.open()
	w.order()
	w.start()
	st := w.await("an end for everybody", func(st *journal.State) bool {
		return counts(st)["NOTICE_STATE_FAILED gave_up_twilio_20429"] == 3 && counts(st)["NOTICE_STATE_ACCEPTED "] == 1
	})
	w.queueEmpty()
	if st.Attempt(0) < 2 {
		t.Errorf("given up after %d attempts", st.Attempt(0))
	}
}

// A canary was told a day ago: the time of the others begins when they are.
func TestTheTimeOfTheRestBeginsWithTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.terms.RetryBudget = 12 * time.Hour
	w.carrier.answer = func(_, attempt uint32, _ int) (bool, provider.Outcome) {
		if attempt > 1 {
			return true, provider.Outcome{Class: provider.Accepted}
		}
		return false, provider.Outcome{Class: provider.NotSent, Reason: "twilio_20429"}
	}
	w.open()
	canary := intent(1, 1, time.Now().Add(-24*time.Hour), 0)
	canary.OccurredAt = timestamppb.New(time.Now().Add(-24 * time.Hour))
	w.write(canary)
	w.write(outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0))
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
}

// Without an attempt nothing expires, however long everything was down.
func TestADayOfSilenceExpiresNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.terms.RetryBudget = time.Nanosecond
	w.open()
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
}

func TestAMisconfiguredAccountBurnsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.cfg.Hold = 20 * time.Millisecond
	w.terms.RetryBudget = 30 * time.Millisecond
	var mended atomic.Bool
	w.carrier.answer = func(_, attempt uint32, _ int) (bool, provider.Outcome) {
		if attempt > 4 {
			mended.Store(true)
		}
		if !mended.Load() {
			return false, provider.Outcome{Class: provider.Misconfigured, Reason: "twilio_20003"}
		}
		return true, provider.Outcome{Class: provider.Accepted}
	}
	w.open()
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
}

func TestTheNextPhoneIsUsedWhereOneCannotTakeATextMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.carrier.answer = func(slot, _ uint32, address int) (bool, provider.Outcome) {
		if address == 0 || slot == 1 {
			return false, provider.Outcome{Class: provider.BadAddress, Reason: "twilio_21614"}
		}
		return true, provider.Outcome{Class: provider.Accepted}
	}
	w.open()
	w.order()
	w.start()
	w.await("one told on the second phone, one failed", func(st *journal.State) bool {
		return counts(st)["NOTICE_STATE_ACCEPTED "] == 1 && counts(st)["NOTICE_STATE_FAILED twilio_21614"] == 1
	})
	if got := w.carrier.held[0]; len(got) != 1 || got[0] != "+13125550000" {
		t.Errorf("slot 0 was told at %v, want its second phone", got)
	}
}

func TestSuppressedNoticesAreSettledWithTheirReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6)
	var stop atomic.Bool
	w.carrier.suppressed = func(slot uint32, _ int) string {
		if slot == 0 {
			return "no_number"
		}
		if slot == 5 && stop.Load() {
			return "opted_out"
		}
		return ""
	}
	// STOP arrives between intent and send.
	w.carrier.before = func(Stride) { stop.Store(true) }
	w.open()
	w.order()
	w.start()
	w.await("both suppressed", func(st *journal.State) bool {
		c := counts(st)
		return c["NOTICE_STATE_SUPPRESSED no_number"] == 1 && c["NOTICE_STATE_SUPPRESSED opted_out"] == 1 && c["NOTICE_STATE_ACCEPTED "] == 4
	})
	w.queueEmpty()
}

// A pause takes effect at the next stride, and loses nobody.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	w.cfg.StrideSlots = 10
	sending, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.carrier.before = func(Stride) { once.Do(func() { close(sending); <-release }) }
	w.open()
	w.order()
	w.start()
	freed := sync.OnceFunc(func() { close(release) })
	t.Cleanup(freed) // or a test that failed would wait for the worker
	<-sending
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{}}})
	w.until("the worker knows", func() bool { return w.known.Get(testIncident).PausedFor(sms) })
	freed()
	w.until("the order waits", func() bool {
		n, err := w.bus.CountSubjects(t.Context(), topology.StreamOrders, "later.>")
		return err == nil && len(n) == 1
	})
	if n := len(w.carrier.messages()); n == 100 {
		t.Error("the pause stopped nothing")
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.carrier.once(t, 100)
}

// What was announced and is not sent is withdrawn: it can be sent later without asking anybody.
func TestAPauseReachesTheStrideInHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20)
	w.carrier.before = func(s Stride) {
		if s.Attempt == 1 {
			w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{}}})
			w.until("the stride knows", s.Halted)
		}
	}
	w.open()
	w.order()
	w.start()
	w.until("the order waits", func() bool {
		n, err := w.bus.CountSubjects(t.Context(), topology.StreamOrders, "later.>")
		return err == nil && len(n) == 1
	})
	w.await("all withdrawn", all(candorv1.NoticeState_NOTICE_STATE_WAITING))
	if n := len(w.carrier.messages()); n > 0 {
		t.Errorf("%d were told after the pause was known", n)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.carrier.once(t, 20)
}

// Abort seals the journal under a worker's hands.
func TestNobodyIsToldAfterTheSeal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	w.cfg.StrideSlots = 10
	var told atomic.Int64
	var once sync.Once
	w.carrier.before = func(s Stride) {
		once.Do(func() { // while the first stride is at the provider
			w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Sealed{Sealed: &candorv1.Sealed{Reason: "aborted"}}})
		})
		told.Add(int64(len(s.Slots)))
	}
	w.open()
	w.order()
	w.start()
	w.queueEmpty()
	w.await("the rest expired", func(st *journal.State) bool {
		c := counts(st)
		return c["NOTICE_STATE_ACCEPTED "] == 10 && c["NOTICE_STATE_EXPIRED aborted"] == 90
	})
	if told.Load() != 10 {
		t.Errorf("%d were told, want the 10 that were on their way", told.Load())
	}
}

// A schedule wakes, it does not permit.
func TestQuietHoursAreLookedAtByTheWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	rule, err := window.Parse("outside mon-sun 09:00-18:00")
	if err != nil {
		t.Fatal(err)
	}
	w.terms.Quiet = rule
	var clock atomic.Int64
	clock.Store(time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC).UnixNano())
	start := clock.Load()
	w.now = func() time.Time { return time.Unix(0, clock.Load()).UTC() }
	w.mono = func() time.Duration { return time.Duration(clock.Load() - start) }
	w.open()
	w.order()
	w.start()
	w.await("waiting for the morning", func(st *journal.State) bool { return counts(st)["NOTICE_STATE_WAITING quiet_hours"] == 5 })
	if n := w.carrier.messages(); len(n) != 0 {
		t.Errorf("%d were told at three in the morning", len(n))
	}
	clock.Store(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC).UnixNano())
	w.order()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
}

// The wall clock jumps over the night: nobody is told until it has proved right.
func TestAClockThatJumpsHoldsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var jump atomic.Int64
	base := time.Now()
	w.now = func() time.Time { return time.Now().Round(0).Add(time.Duration(jump.Load())) }
	w.mono = func() time.Duration { return time.Since(base) }
	w.cfg.Hold = time.Hour
	w.open()
	w.start()
	jump.Store(int64(6 * time.Hour))
	w.order()
	w.until("the order waits", func() bool {
		n, err := w.bus.CountSubjects(t.Context(), topology.StreamOrders, "later.>")
		return err == nil && len(n) == 1
	})
	if n := w.carrier.messages(); len(n) != 0 {
		t.Error("somebody was told by a clock that had just jumped")
	}
}

func TestOutcomesThatCannotBeAppendedAreKeptForTheNextStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.open()
	st, err := w.journal.Load(t.Context(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	w.write(intent(1, 1, time.Now().Add(-time.Hour), 0, 1, 2))
	worker := &Worker{cfg: w.cfg, Deps: Deps{Bus: w.bus, Journal: w.journal}}
	h := &hand{Worker: worker, key: w.key, st: st, progress: func() {}}
	facts := newFacts(candorv1.Decider_DECIDER_WORKER, "twilio")
	for n := range uint32(3) {
		facts.add(n, 1, fact{result: candorv1.Result_RESULT_ACCEPTED, id: "SM"})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.record(ended, facts); !errors.Is(err, context.Canceled) {
		t.Fatalf("record at shutdown = %v, want it to say so", err)
	}
	if files, _ := filepath.Glob(filepath.Join(w.cfg.SpillDir, "*")); len(files) != 1 {
		t.Fatalf("%d files kept, want 1", len(files))
	}
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	if n := w.carrier.messages(); len(n) != 0 {
		t.Errorf("%d were sent again", len(n))
	}
	w.until("the file is gone", func() bool {
		files, err := os.ReadDir(w.cfg.SpillDir)
		return err == nil && len(files) == 0
	})
}

func TestOutcomesOfWhichAPartWasKeptAreNotAppended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.open()
	e := w.journal.Entry()
	e.Event = intent(1, 1, time.Now(), 0, 1).GetEvent()
	data, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(w.cfg.SpillDir, "cut"+spillSuffix)
	if err := os.WriteFile(kept, append([]byte(w.key.Subject()+"\n"), data[:len(data)-3]...), 0o600); err != nil {
		t.Fatal(err)
	}
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	if _, err := os.Stat(kept + damagedSuffix); err != nil {
		t.Errorf("what was kept is not put aside: %v", err)
	}
}

func TestAnotherPlansOrderIsADeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{
		PlanHash: []byte("another plan"), TextHash: textHash[:], Slots: 2,
	}}})
	w.order()
	w.start()
	w.await("dead letter", func(st *journal.State) bool { return st.DeadFor != "" })
	w.queueEmpty()
	if n := w.carrier.messages(); len(n) != 0 {
		t.Errorf("%d were told what nobody approved", len(n))
	}
}

func TestAnotherTextIsADeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.terms.TextHash = []byte("another text")
	w.open()
	w.order()
	w.start()
	w.await("dead letter", func(st *journal.State) bool { return st.DeadFor != "" })
	if n := w.carrier.messages(); len(n) != 0 {
		t.Errorf("%d were told what nobody approved", len(n))
	}
}

// An intent that was written while the broker was gone must not land late. The bus keeps no buffer; here the fence.
func TestAFencedEntryThatLostItsAnswerIsNotTakenForAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.open()
	st, err := w.journal.Load(t.Context(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	lossy := &losing{Appender: bus.Direct{Bus: w.bus, Stream: topology.StreamJournal}}
	j := journal.New(w.bus, lossy, time.Now)
	e := j.Entry()
	e.Event = intent(2, 1, time.Now().Add(time.Minute), 0).GetEvent()
	if err := j.Fence(t.Context(), w.key, st, e); err != nil {
		t.Fatalf("own entry, answer lost: %v", err)
	}
	if lossy.lost != 1 || st.Attempt(0) != 1 {
		t.Fatalf("lost %d answers, attempt %d", lossy.lost, st.Attempt(0))
	}
	stale, err := w.journal.Load(t.Context(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	w.write(outcome(1, candorv1.Result_RESULT_ACCEPTED, "", 0))
	e = j.Entry()
	e.Event = intent(2, 2, time.Now().Add(time.Minute), 0).GetEvent()
	if err := j.Fence(t.Context(), w.key, stale, e); !errors.Is(err, bus.ErrOvertaken) {
		t.Fatalf("somebody else's entry: %v, want ErrOvertaken", err)
	}
}

// losing stores the first message and loses its answer.
type losing struct {
	bus.Appender
	lost int
}

func (l *losing) Append(ctx context.Context, m bus.Message) (uint64, error) {
	seq, err := l.Appender.Append(ctx, m)
	if err == nil && l.lost == 0 {
		l.lost++
		return 0, bus.ErrUnknownOutcome
	}
	return seq, err
}

// An intent can land although its writer gave it up, and with e-mail there is nobody to ask.
func TestAnIntentWhoseAnswerIsMissingIsWithdrawn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lands bool
	}{{"it landed", true}, {"it did not land", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 3)
			w.open()
			w.order()
			out := &sullen{Appender: bus.Direct{Bus: w.bus, Stream: topology.StreamJournal}, lands: tt.lands}
			w.start(func(d *Deps) { d.Journal = journal.New(w.bus, out, time.Now) })
			st := w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
			w.carrier.once(t, 3)
			w.queueEmpty()
			if n := out.refused.Load(); n != 1 || st.Attempt(0) != 2 {
				t.Errorf("%d appends refused, attempt %d; want the first intent withdrawn and the second one sent", n, st.Attempt(0))
			}
		})
	}
}

// Whoever was first keeps the slots: what is withdrawn is one's own.
func TestNobodyWithdrawsAnothersIntent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.open()
	w.order()
	out := &sullen{Appender: bus.Direct{Bus: w.bus, Stream: topology.StreamJournal}, instead: func() {
		w.write(intent(0, 1, time.Now().Add(time.Hour), 0, 1))
	}}
	w.start(func(d *Deps) { d.Journal = journal.New(w.bus, out, time.Now) })
	w.until("the order waits for the owner", func() bool {
		n, err := w.bus.CountSubjects(t.Context(), topology.StreamOrders, "later.>")
		return err == nil && len(n) == 1
	})
	w.await("the owner has both", all(candorv1.NoticeState_NOTICE_STATE_INTENDED))
	if m := w.carrier.messages(); len(m) > 0 {
		t.Errorf("the owner's customers got %v messages from another worker", m)
	}
}

// sullen refuses the first intent in words that tell nothing, whether or not it was stored.
type sullen struct {
	bus.Appender
	lands   bool
	instead func()
	refused atomic.Int32
}

func (s *sullen) Append(ctx context.Context, m bus.Message) (uint64, error) {
	e := &candorv1.JournalEntry{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return 0, err
	}
	if e.GetIntent() == nil || !s.refused.CompareAndSwap(0, 1) {
		return s.Appender.Append(ctx, m)
	}
	if s.instead != nil {
		s.instead()
	}
	if s.lands {
		if _, err := s.Appender.Append(ctx, m); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("the connection is gone")
}

func TestABrokerThatIsSilentMakesNoDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.open()
	w.carrier.openErr = []error{
		fmt.Errorf("read the page: %w", context.DeadlineExceeded), fmt.Errorf("read the page: %w", bus.ErrUnavailable),
	}
	w.order()
	w.start()
	w.await("all accepted", all(candorv1.NoticeState_NOTICE_STATE_ACCEPTED))
	w.carrier.once(t, 2)
}

func TestAShreddedPageIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.open()
	w.write(intent(1, 1, time.Now().Add(-time.Hour), 0))
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "test"}}})
	w.write(&candorv1.JournalEntry{Event: &candorv1.JournalEntry_Sealed{Sealed: &candorv1.Sealed{Reason: "aborted"}}})
	w.carrier.openErr = []error{fmt.Errorf("key: %w", vault.ErrShredded)}
	w.order()
	w.start()
	st := w.await("the one on its way is uncertain", func(st *journal.State) bool {
		state, reason := st.Notice(0)
		return state == candorv1.NoticeState_NOTICE_STATE_UNCERTAIN && reason == "shredded"
	})
	w.queueEmpty()
	if st.DeadFor != "" || len(w.carrier.messages()) != 0 {
		t.Errorf("dead letter %q, sent %v", st.DeadFor, w.carrier.messages())
	}
}
