package planner

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"candor/pkg/journal"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// newLadder has text messages at once, and e-mails a day later for those whom they did not reach.
func newLadder(t *testing.T, tiers ...int) *world {
	t.Helper()
	w := newWorld(t, nil, tiers...)
	w.tune(func(wave *playbook.Wave) {
		wave.Channels.Email.After, wave.Channels.Email.Unless = 24*time.Hour, "accepted"
	})
	w.withLedger()
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	return w
}

// moves makes the ledger name those slots of a page, but not those whom the step has already.
func (w *world) moves(page uint32, slots ...uint32) {
	w.now = w.now.Add(time.Minute)
	w.ledger.say(func(l *ledgerDouble) {
		l.moveOn = func(*candorv1.MoveOnRequest) *candorv1.MoveOnResponse {
			has := w.audience(key(email, page))
			fresh := slices.DeleteFunc(slices.Clone(slots), func(n uint32) bool { return slices.Contains(has, n) })
			if len(fresh) == 0 {
				return &candorv1.MoveOnResponse{}
			}
			return &candorv1.MoveOnResponse{Pages: []*candorv1.PageSlots{{Page: page, Slots: journal.Runs(fresh)}}}
		}
	})
}

func TestAStepOfTheLadderTakesThoseWhomTheLedgerNames(t *testing.T) {
	t.Parallel()
	w := newLadder(t, 1, 1)
	if n := len(w.states()); n != 2 {
		t.Fatalf("%d journals, want those of the text messages alone", n)
	}
	var asked *candorv1.MoveOnRequest
	w.ledger.say(func(l *ledgerDouble) {
		l.moveOn = func(q *candorv1.MoveOnRequest) *candorv1.MoveOnResponse { asked = q; return &candorv1.MoveOnResponse{} }
	})
	at, err := w.planner.last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.sweep()
	if asked.GetStep() != email || !slices.Equal(asked.GetEarlier(), []candorv1.Channel{sms}) || !asked.GetUnlessAccepted() ||
		asked.GetJournalSeq() != at.journal || !asked.GetBegunBefore().AsTime().Equal(w.now.Add(-24*time.Hour)) {
		t.Errorf("asked %v", asked)
	}
	w.sweep()
	if n := w.ledger.count("move-on"); n != 1 {
		t.Errorf("asked %d times although neither a stream nor the clock moved", n)
	}
	order := topology.Order(email, topology.LaneFirst, id, "w0", 1)
	w.moves(1, 0, 2)
	w.sweep()
	if got := w.audience(key(email, 1)); !slices.Equal(got, []uint32{0, 2}) {
		t.Errorf("in the step's journal: %v, want 0 and 2", got)
	}
	if q := w.queue("order.email"); !slices.Equal(q, []string{order}) {
		t.Errorf("queue = %v", q)
	}
	w.moves(1, 0, 1, 2)
	w.sweep()
	w.sweep()
	if got := w.audience(key(email, 1)); !slices.Equal(got, []uint32{0, 1, 2}) {
		t.Errorf("in the step's journal: %v, want 1 added and nobody twice", got)
	}
	if n := len(w.queue("order.email")); n != 2 {
		t.Errorf("%d orders, want one for each time that somebody came", n)
	}
}

func TestNobodyMovesOnWhileAnythingIsPaused(t *testing.T) {
	t.Parallel()
	w := newLadder(t, 1)
	w.moves(0, 0)
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Channels: []candorv1.Channel{sms}}}})
	w.sweep()
	if n := w.ledger.count("move-on"); n != 0 || len(w.audience(key(email, 0))) != 0 {
		t.Errorf("asked %d times, moved %v", n, w.audience(key(email, 0)))
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	w.sweep()
	if got := w.audience(key(email, 0)); len(got) != 1 {
		t.Errorf("resumed, and %v moved on", got)
	}
}

func TestALadderSurvivesACrashAtAnyMoment(t *testing.T) {
	t.Parallel()
	w := newLadder(t, 1, 1)
	for _, slots := range [][]uint32{{3}, {0, 1, 3}} {
		w.moves(1, slots...)
		w.crashes(func(ctx context.Context) error {
			w.restart()
			w.tender.sweep(ctx)
			return nil
		})
		if got := w.audience(key(email, 1)); !slices.Equal(got, slots) {
			t.Errorf("in the step's journal: %v, want %v", got, slots)
		}
		if s := topology.Order(email, topology.LaneFirst, id, "w0", 1); !slices.Contains(w.queue("order"), s) {
			t.Errorf("no order %s", s)
		}
	}
}

// A crash between the journal and its order leaves an open journal without one.
func TestAStepWithoutOrderIsPutBack(t *testing.T) {
	t.Parallel()
	w := newLadder(t, 1)
	w.moves(0, 1)
	w.sweep()
	w.purge("order.email.>")
	w.restart()
	w.sweep()
	if q := w.queue("order.email"); !slices.Equal(q, []string{topology.Order(email, topology.LaneFirst, id, "w0", 0)}) {
		t.Errorf("queue = %v", q)
	}
}

func TestALedgerThatNamesStrangersMovesNobody(t *testing.T) {
	t.Parallel()
	w := newLadder(t, 1)
	w.ledger.say(func(l *ledgerDouble) {
		l.moveOn = func(*candorv1.MoveOnRequest) *candorv1.MoveOnResponse {
			return &candorv1.MoveOnResponse{Pages: []*candorv1.PageSlots{{Page: 0, Slots: []uint32{2, 3}}}}
		}
	})
	w.tender.sweep(t.Context())
	if w.tender.charges[id].failed["sweep"].times != 1 || len(w.audience(key(email, 0))) != 0 {
		t.Errorf("slots outside the page were taken: %v", w.audience(key(email, 0)))
	}
}

// Whatever the ledger names, however late or often, and wherever a planner dies: nobody is in a journal twice, and nobody who
// was named is missing in the end.
func TestNobodyIsMovedOnTwiceOrForgotten(t *testing.T) {
	t.Parallel()
	const pages = 120
	w := newLadder(t, make([]int, pages)...)
	var page uint32 // each check has one of its own
	rapid.Check(t, func(r *rapid.T) {
		if page == pages {
			return
		}
		at := page
		page++
		wanted := map[uint32]bool{}
		asked := rapid.SliceOfN(rapid.SliceOfN(rapid.Uint32Range(0, 3), 1, 4), 1, 3).Draw(r, "asked")
		for _, slots := range asked {
			for _, n := range slots {
				wanted[n] = true
			}
			// A ledger that lags names those again who are in the journal.
			w.ledger.say(func(l *ledgerDouble) {
				l.moveOn = func(*candorv1.MoveOnRequest) *candorv1.MoveOnResponse {
					res := &candorv1.MoveOnResponse{}
					for _, n := range slots {
						res.Pages = append(res.Pages, &candorv1.PageSlots{Page: at, Slots: []uint32{n, 1}})
					}
					return res
				}
			})
			if n := rapid.Int64Range(0, 60).Draw(r, "dies at"); n > 0 {
				w.crash(n, func(ctx context.Context) error {
					w.restart()
					return w.climb(ctx)
				})
			}
			if err := w.climb(w.Context()); err != nil {
				r.Fatal(err)
			}
		}
		got := w.audience(key(email, at))
		if len(got) != len(wanted) {
			r.Fatalf("in the journal: %v, asked for %v", got, asked)
		}
		for _, n := range got {
			if !wanted[n] {
				r.Fatalf("in the journal: %v, asked for %v", got, asked)
			}
		}
		if _, err := w.bus.Last(w.Context(), topology.StreamOrders, topology.Order(email, topology.LaneFirst, id, "w0", at)); err != nil {
			r.Fatalf("order: %v", err)
		}
	})
}

// climb is one sweep of the ladder alone; a sweep that was cut off says nothing.
func (w *world) climb(ctx context.Context) error {
	if err := w.tender.refresh(ctx); err != nil {
		return ctx.Err()
	}
	if err := w.tender.climb(ctx, w.tender.charges[id]); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
