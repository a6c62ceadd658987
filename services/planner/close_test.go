package planner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	call    = candorv1.Channel_CHANNEL_CALL
	closing = candorv1.IncidentState_INCIDENT_STATE_CLOSING
	closed  = candorv1.IncidentState_INCIDENT_STATE_CLOSED
)

// close begins the end, with a last word or without, and returns its wave.
func (w *world) close(base string) (note string) {
	w.Helper()
	if w.reload(); base != "" {
		note = w.inc.NextWave()
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{Wave: note, Base: base}}})
	return note
}

func (w *world) reopen() {
	w.Helper()
	w.now = w.now.Add(time.Hour)
	w.reload()
	w.approved(&candorv1.Addition{Wave: w.inc.NextAddition("reopen-"), Kind: incident.KindReopen, ChosenBy: "more came to light"})
}

// isIn fails unless the incident is in a state.
func (w *world) isIn(what string, state candorv1.IncidentState) {
	w.Helper()
	if got := w.reload().State; got != state {
		w.Errorf("%s: the incident is %v, want %v", what, got, state)
	}
}

// ends counts how often the end was written down.
func (w *world) ends() (n int) {
	w.Helper()
	_, err := w.bus.Read(w.Context(), topology.StreamBreach, topology.Breach(id), 1, func(m bus.Stored) error {
		e := &candorv1.BreachEvent{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return err
		}
		if e.GetClosed() != nil {
			n++
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// silent fails if a journal of another wave can take an intent although an order of the last word is out.
func (w *world) silent(note string) {
	w.Helper()
	out := slices.ContainsFunc(append(w.queue("order"), w.queue("later")...), func(s string) bool {
		k, _, ok := topology.ParseOrder(s)
		if !ok {
			k, _, ok = topology.ParseLater(s)
		}
		return ok && k.Wave == note
	})
	if !out {
		return
	}
	states := w.states()
	waves, err := w.planner.waves(w.Context(), w.reload())
	if err != nil {
		w.Fatal(err)
	}
	for wave, keys := range waves {
		for _, k := range keys {
			if wave != note && (states[k] == nil || states[k].SealedFor == "") {
				w.Errorf("the last word is out, and %s is not sealed", k)
			}
		}
	}
}

// work settles the notices of a wave's open journals, as workers do.
func (w *world) work(wave string, channels ...candorv1.Channel) {
	w.Helper()
	for k, st := range w.states() {
		if k.Wave == wave && slices.Contains(channels, k.Channel) && st.Opened != nil && st.SealedFor == "" && st.Begun().IsZero() {
			w.settle(k)
		}
	}
}

func TestAnIncidentIsClosedWithALastWord(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1, 1)
	w.intend(key(sms, 0), 0, 1, 2)
	w.said(key(sms, 0), candorv1.Result_RESULT_ACCEPTED, 0)
	w.said(key(sms, 0), candorv1.Result_RESULT_UNKNOWN, 1) // slot 2 is under way until its time is over, which it is
	followUp := w.follow()
	w.updated()
	undecided := w.follow()
	note := w.close("closing")
	stale, err := w.planner.journal.Load(t.Context(), key(email, 1))
	if err != nil {
		t.Fatal(err)
	}
	w.look()
	w.isIn("after the first look", closing)
	w.silent(note)
	w.has(note, map[uint32][]uint32{0: {0}}, sms, email)
	if planned := w.inc.Waves[note]; planned.GetOrders() != 2 || w.inc.Waves[undecided] != nil {
		t.Errorf("planned %v, and %v", planned, w.inc.Waves[undecided])
	}
	// What was on its way is still found out, and of the other orders those of the last word are left.
	want := []string{
		topology.Order(email, topology.LaneNext, id, note, 0), topology.Order(sms, topology.LaneFirst, id, "w0", 0), topology.Order(sms, topology.LaneNext, id, note, 0),
	}
	got := append(w.queue("order"), w.queue("later")...)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("queue = %v\nwant %v", got, want)
	}
	// A worker in the middle loses.
	e := w.planner.journal.Entry()
	e.Event = &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{Attempt: 1, Slots: []uint32{0, 1}}}
	if err := w.planner.journal.Fence(t.Context(), key(email, 1), stale, e); !errors.Is(err, bus.ErrOvertaken) || stale.SealedFor != sealClosed {
		t.Errorf("an intent beside the last word: %v", err)
	}
	// So does a planner, and whoever decides now is not heard.
	late := w.follow()
	for _, wave := range []string{undecided, late} {
		if err := w.planner.begin(t.Context(), w.inc, wave); err != nil || w.reload().Waves[wave] != nil {
			t.Errorf("wave %s was planned: %v", wave, err)
		}
	}

	w.ledger.say(func(l *ledgerDouble) { l.status = &candorv1.Status{FoldedTo: 1} })
	w.look()
	w.isIn("while the ledger is behind", closing)
	w.ledger.say(func(l *ledgerDouble) { l.status = nil })
	w.work(note, sms)
	w.look()
	w.isIn("while an e-mail is open", closing)
	w.work(note, email)
	w.look()
	w.isIn("when all was said", closed)
	end := w.inc.Closing()
	// On two channels two pages each: of w0, of the follow-ups and of the last word.
	if end.Closed.GetJournals() != 2*2*5 || end.Closed.GetUncertain() != 2 {
		t.Errorf("closed = %v, want 20 journals and 2 notices that are uncertain", end.Closed)
	}
	for k, st := range w.states() {
		if st.SealedFor != sealClosed {
			t.Errorf("%s is sealed for %q", k, st.SealedFor)
		}
	}
	told := &candorv1.Incident{}
	m, err := w.bus.Last(t.Context(), topology.StreamBreach, topology.BreachFact(topology.FactClosed, id))
	if err != nil || proto.Unmarshal(m.Data, told) != nil || told.GetState() != closed {
		t.Errorf("told others %v: %v", told, err)
	}
	w.purge("order.>")
	for range 2 {
		w.look()
		w.sweep()
	}
	if n := w.ends(); n != 1 || len(w.queue("order")) != 0 {
		t.Errorf("closed %d times; orders %v", n, w.queue("order"))
	}
	if _, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id}); err == nil {
		t.Error("sealed for an abort that nobody asked for")
	}
	if w.inc.Waves[followUp] == nil {
		t.Errorf("wave %s is forgotten", followUp)
	}
}

func TestTheLastWordKeepsItsOrders(t *testing.T) {
	t.Parallel()
	subjects := map[string]uint64{"order.sms.next.acme.w1.0": 1, "order.sms.next.acme.w1.12": 1, "order.sms.next.acme.w0-r1.0": 1, "order.sms.next.acme.w11.0": 1}
	want := []string{"order.sms.next.acme.w0-r1.>", "order.sms.next.acme.w11.>"}
	if got := othersIn("order.sms.next.acme.>", subjects, "w1"); !slices.Equal(got, want) {
		t.Errorf("cleared: %v, want %v", got, want)
	}
}

// Wherever a planner dies, nobody gets the last word twice or not at all, nothing is said beside it, and one end is written.
func TestAnEndSurvivesACrashAtAnyMoment(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"closing", ""} {
		t.Run("with "+base, func(t *testing.T) {
			t.Parallel()
			w := newTold(t, 1, 1)
			w.work("w0", sms)
			w.intend(key(email, 1), 2)
			w.said(key(email, 1), candorv1.Result_RESULT_UNKNOWN, 2)
			w.follow()
			note := w.close(base)
			asked := 0
			w.ledger.say(func(l *ledgerDouble) {
				l.people = func(*candorv1.PeopleRequest) *candorv1.PeopleResponse {
					asked++ // what was uncertain becomes known in the middle
					last := []byte{accepted, accepted, 0, 0}
					if asked > 4 {
						last[3] = accepted
					}
					return answer(map[uint32]map[candorv1.Channel][]byte{0: {sms: {accepted, 0, accepted, 0}}, 1: {sms: last}})
				}
			})
			crashes := 0
			w.crashes(func(ctx context.Context) error {
				crashes++
				w.restart()
				for w.reload().State == closing && ctx.Err() == nil {
					if w.silent(note); note != "" && w.inc.Waves[note] != nil {
						w.work(note, sms, email)
					}
					w.tender.look(ctx)
					if ctx.Err() == nil {
						w.calm("look")
					}
				}
				return nil
			})
			w.isIn("in the end", closed)
			if n := w.ends(); n != 1 || crashes < 10 {
				t.Errorf("closed %d times, after %d crashes", n, crashes)
			}
			for k, st := range w.states() {
				if st.SealedFor != sealClosed {
					t.Errorf("%s is not sealed", k)
				}
			}
			if note == "" {
				return
			}
			for page, least := range [][]uint32{{0, 2}, {0, 1}} {
				by, mail := w.audience(of(sms, note, uint32(page))), w.audience(of(email, note, uint32(page)))
				if !slices.Equal(by, mail) || len(by) < 2 || !slices.Equal(by[:2], least) {
					t.Errorf("page %d got the last word: %v by text message and %v by e-mail, want at least %v", page, by, mail, least)
				}
			}
		})
	}
}

func TestTheEndWaitsForCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.tune(func(wave *playbook.Wave) { wave.Channels.Call = &playbook.Call{} })
	w.withLedger()
	w.prepare(nil) // the last word has calls, too
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	note := w.close("closing")
	w.look()
	if st := w.states()[key(sms, 0)]; st.SealedFor != "" || w.reload().Waves[note] != nil {
		t.Fatalf("went on although calls are open: sealed for %q, planned %v", st.SealedFor, w.inc.Waves)
	}
	asks := w.ledger.count("status")
	if w.look(); w.ledger.count("status") != asks {
		t.Error("asked again, although nothing was written and no time passed")
	}
	for _, s := range w.queue("order") { // of a wave that goes on, orders come back
		w.purge(s)
	}
	w.sweep()
	w.sweep()
	if n := len(w.queue("order")); n != 3 {
		t.Errorf("%d orders, want those of the first notice", n)
	}
	w.said(key(call, 0), candorv1.Result_RESULT_DELIVERED, 0, 1)
	w.said(key(call, 0), candorv1.Result_RESULT_EXPIRED, 2)
	// A ledger that knows nothing of the last open call is put right by the journal itself.
	w.ledger.say(func(l *ledgerDouble) { l.status = &candorv1.Status{FoldedTo: 1 << 40, ReceiptsFoldedTo: 1 << 40} })
	w.look()
	if w.reload().Waves[note] != nil || w.states()[key(call, 0)].SealedFor != "" {
		t.Fatal("sealed a call that is not ended")
	}
	w.ledger.say(func(l *ledgerDouble) { l.status = nil })
	w.said(key(call, 0), candorv1.Result_RESULT_FAILED, 3)
	w.restart()
	w.look()
	w.silent(note)
	w.has(note, map[uint32][]uint32{0: {0, 1}}, sms, email, call)
	w.work(note, sms, email)
	w.look()
	w.isIn("while the calls of the last word are made", closing)
	w.work(note, call)
	w.look()
	w.isIn("when they are made", closed)
}

// Without a call queue nobody ever says that a wish was met: the end does not wait for that.
func TestTheEndWaitsForWishesOnlyIfThereIsAQueue(t *testing.T) {
	t.Parallel()
	for _, queue := range []bool{false, true} {
		w := newTold(t, 1)
		set, err := w.planner.texts.Plan(w.inc)
		if err != nil {
			t.Fatal(err)
		}
		if set.Playbook.Calls = nil; queue {
			set.Playbook.Calls = &playbook.Calls{}
		}
		w.ledger.say(func(l *ledgerDouble) {
			l.status = &candorv1.Status{FoldedTo: 1 << 40, ReceiptsFoldedTo: 1 << 40, CallRequestsOpen: 2}
		})
		w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{Calls: candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN}}})
		w.look()
		want := closed
		if queue {
			want = closing
		}
		w.isIn("wishes are open", want)
	}
}

// Who is told by a stride that was under way gets the last word.
func TestTheLastWordWaitsForStridesUnderWay(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	st, err := w.planner.journal.Load(t.Context(), key(sms, 0))
	if err != nil {
		t.Fatal(err)
	}
	e := w.planner.journal.Entry()
	e.Event = &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{Attempt: 1, Slots: []uint32{1, 2}, SendBefore: timestamppb.New(w.now.Add(time.Second))}}
	if err := w.planner.journal.Fence(t.Context(), key(sms, 0), st, e); err != nil {
		t.Fatal(err)
	}
	note := w.close("closing")
	var wg sync.WaitGroup
	wg.Go(func() {
		for st.SealedFor == "" && t.Context().Err() == nil {
			if err := w.planner.journal.CatchUp(t.Context(), key(sms, 0), st); err != nil {
				t.Error(err)
				return
			}
		}
		for range 100 {
			if inc, err := w.planner.log.Load(t.Context(), id); err != nil || inc.Waves[note] != nil {
				t.Errorf("the last word was planned while somebody was being told: %v", err)
			}
		}
		w.said(key(sms, 0), candorv1.Result_RESULT_ACCEPTED, 1, 2)
	})
	w.look()
	wg.Wait()
	w.has(note, map[uint32][]uint32{0: {1, 2}}, sms, email)
}

func TestWhatMayHaveBeenSentOfTheLastWordIsFoundOutForAWhile(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.work("w0", sms)
	note := w.close("closing")
	w.look()
	w.work(note, email)
	w.intend(of(sms, note, 0), 0, 1, 2, 3)
	w.said(of(sms, note, 0), candorv1.Result_RESULT_ACCEPTED, 0, 1)
	w.said(of(sms, note, 0), candorv1.Result_RESULT_UNKNOWN, 2, 3)
	kept := false
	w.ledger.say(func(l *ledgerDouble) {
		l.sweep = func(*candorv1.SweepRequest) *candorv1.SweepResponse {
			page := &candorv1.SweepPage{Key: &candorv1.PageKey{Wave: note, Channel: sms}, Open: 2, UnchangedSince: timestamppb.New(w.now)}
			if kept {
				page.UnchangedSince = timestamppb.New(w.now.Add(-w.planner.cfg.PutBackAgain))
			}
			return &candorv1.SweepResponse{Pages: []*candorv1.SweepPage{page}}
		}
	})
	w.look()
	w.isIn("while the provider is asked", closing)
	kept = true
	w.now = w.now.Add(w.planner.cfg.PutBackAgain)
	w.look()
	w.isIn("when only a person can say", closed)
	if n := w.inc.Closing().Closed.GetUncertain(); n != 2 {
		t.Errorf("%d notices are uncertain, want 2", n)
	}
	if q := w.queue("order"); !slices.Equal(q, []string{topology.Order(sms, topology.LaneNext, id, note, 0)}) {
		t.Errorf("queue = %v, want the order that finds out", q)
	}
}

func TestNothingElseRunsWhileAnIncidentIsClosing(t *testing.T) {
	t.Parallel()
	w := newCanary(t, 5)
	w.prepare(nil)
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	w.moves(0, 1)
	note := w.close("closing")
	for range 3 {
		w.look()
		w.sweep()
	}
	if inc := w.reload(); inc.Waves["w0"] != nil || inc.Canaries["w0"] != incident.CanaryOut || w.ledger.count("move-on")+w.ledger.count("canary") != 0 {
		t.Errorf("planned %v, canary %v, asked %v", inc.Waves, inc.Canaries, w.ledger.asked)
	}
	w.isIn("for nobody", closed)
	if planned := w.inc.Waves[note]; planned == nil || planned.GetOrders() != 0 {
		t.Errorf("the last word: %v", planned)
	}
}

func TestAnAbortEndsAnEnd(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.work("w0", sms)
	note := w.close("closing")
	w.look()
	if len(w.audience(of(sms, note, 0))) != 4 {
		t.Fatal("the last word is not out")
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "mistake"}}})
	res, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id})
	if err != nil || res.GetJournals() != 4 || res.GetAtProvider() != 4 {
		t.Errorf("sealed %v: %v", res, err)
	}
	for k, st := range w.states() {
		if want := map[bool]string{true: sealAborted, false: sealClosed}[k.Wave == note]; st.SealedFor != want {
			t.Errorf("%s is sealed for %q, want %q", k, st.SealedFor, want)
		}
	}
	w.look()
	if n := len(w.queue("order")) + w.ends(); n != 0 {
		t.Errorf("went on: %v", w.queue("order"))
	}
}

func TestAnIncidentIsReopenedAndClosedAgain(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.work("w0", sms)
	dropped := w.follow()
	first := w.close("closing")
	w.look()
	w.work(first, sms, email)
	w.look()
	w.isIn("closed", closed)
	w.reopen()
	w.isIn("reopened", candorv1.IncidentState_INCIDENT_STATE_DECLARED)
	sealedThen := len(w.states())
	asks := w.ledger.count("people")
	again := w.follow()
	w.updated()
	for range 2 {
		w.look()
		w.sweep()
	}
	everybody := map[uint32][]uint32{0: {0, 1, 2, 3}}
	w.has(again, everybody, sms, email)
	if w.reload().Waves[dropped] != nil || len(w.inc.Paused) > 0 || w.ledger.count("people") != asks+1 {
		t.Errorf("planned %v, asked %v; paused: %s", w.inc.Waves, w.ledger.asked, w.inc.Reason)
	}
	open := 0
	for k, st := range w.states() {
		if st.SealedFor == "" && k.Wave != again {
			t.Errorf("%s is open again", k)
		} else if st.SealedFor == "" {
			open++
		}
	}
	if open != 2 || len(w.states()) != sealedThen+2 {
		t.Errorf("%d journals are open", open)
	}
	second := w.close("closing")
	w.look()
	w.silent(second)
	w.has(second, everybody, sms, email)
	w.has(first, everybody, sms, email)
	w.work(second, sms, email)
	w.look()
	w.isIn("closed again", closed)
	if w.ends() != 2 || w.inc.Closings[0].Closed == nil || w.inc.Closings[1].Closed.GetJournals() != 10 {
		t.Errorf("ends: %v, %v", w.inc.Closings[0].Closed, w.inc.Closings[1].Closed)
	}
}
