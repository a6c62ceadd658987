package calls

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// The journal knows a call task as one attempt, however often it rings: a second call that the customer wished for is no
// second message, and what is said of it twice is the same fact.
const theAttempt = 1

const (
	writesAtOnce = 32
	// pendingMost is how many journals may wait to be written to before those who have much to say hold their breath.
	pendingMost = 64
	writeAgain  = time.Second // after a write that failed
)

// verdict is what the journal is to say of a notice.
type verdict struct {
	result candorv1.Result
	reason string
}

// recorder writes into the journals what became of tasks. The truth lies in CALLS: what is not written when the process
// dies, the next owner writes.
type recorder struct {
	journal *journal.Journal
	gather  time.Duration
	log     zerolog.Logger
	wake    chan struct{} // one token: something is to be written

	mu      sync.Mutex
	pending map[journal.Key]map[uint32]verdict
	sheets  map[journal.Key]*sheet
}

// sheet is one journal as it was last read, used by one goroutine at a time.
type sheet struct {
	mu sync.Mutex
	st *journal.State // nil until it is read
}

func newRecorder(j *journal.Journal, gather time.Duration, log zerolog.Logger) *recorder {
	return &recorder{
		journal: j, gather: gather, log: log, wake: make(chan struct{}, 1),
		pending: map[journal.Key]map[uint32]verdict{}, sheets: map[journal.Key]*sheet{},
	}
}

// add has a verdict written.
func (r *recorder) add(k journal.Key, slot uint32, v verdict) {
	r.mu.Lock()
	slots := r.pending[k]
	if slots == nil {
		slots = map[uint32]verdict{}
		r.pending[k] = slots
	}
	slots[slot] = v
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// room waits until not too much is pending.
func (r *recorder) room(ctx context.Context) error {
	for {
		r.mu.Lock()
		n := len(r.pending)
		r.mu.Unlock()
		if n < pendingMost {
			return nil
		}
		if err := pause(ctx, r.gather+time.Millisecond); err != nil {
			return err
		}
	}
}

// run writes until ctx ends. Verdicts are gathered for a moment, so that an entry holds many.
func (r *recorder) run(ctx context.Context) error {
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
		if pause(ctx, r.gather) != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		if err := r.flush(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("what became of calls is not in every journal yet, which is tried again")
			if pause(ctx, writeAgain) != nil {
				return nil //nolint:nilerr // the end of ctx is no failure
			}
			select {
			case r.wake <- struct{}{}:
			default:
			}
		}
	}
}

// flush writes all that is pending; what cannot be written stays so.
func (r *recorder) flush(ctx context.Context) error {
	r.mu.Lock()
	pending := r.pending
	r.pending = map[journal.Key]map[uint32]verdict{}
	r.mu.Unlock()
	var (
		mu   sync.Mutex
		errs []error
	)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(writesAtOnce)
	for k, slots := range pending {
		g.Go(func() error {
			if err := r.write(gctx, k, slots); err != nil {
				r.putBack(k, slots)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are gathered
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

// putBack keeps what is still to be written, unless something newer is.
func (r *recorder) putBack(k journal.Key, slots map[uint32]verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	newer := r.pending[k]
	r.pending[k] = slots
	maps.Copy(slots, newer)
}

// write appends to a journal what it does not say yet.
//
// A crash here leaves tasks that ended and whose journals do not say so; the next owner finds them in CALLS.
func (r *recorder) write(ctx context.Context, k journal.Key, slots map[uint32]verdict) error {
	return r.with(ctx, k, func(st *journal.State) error {
		if st.Opened == nil {
			r.log.Error().Str("incident", k.Incident).Str("wave", k.Wave).Uint32("page", k.Page).
				Msg("journal of calls was never opened, or was emptied: what became of its calls is only in CALLS")
			return nil
		}
		missing := make([]uint32, 0, len(slots))
		for slot, v := range slots {
			if slot < uint32(st.Len()) && st.InWave(slot) && !st.Says(slot, v.result) {
				missing = append(missing, slot)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		slices.Sort(missing)
		o := &candorv1.Outcomes{Attempt: theAttempt, Decider: candorv1.Decider_DECIDER_WORKER, Provider: "calls"}
		verdicts, of := journal.Group(missing, func(slot uint32) verdict { return slots[slot] })
		for _, v := range verdicts {
			o.Groups = append(o.Groups, &candorv1.OutcomeGroup{Result: v.result, Reason: v.reason, Slots: journal.Runs(of[v])})
		}
		e := r.journal.Entry()
		e.Event = &candorv1.JournalEntry_Outcomes{Outcomes: o}
		return r.journal.Fact(ctx, k, st, e)
	})
}

// with hands fn a journal, read once; only fn uses it meanwhile.
func (r *recorder) with(ctx context.Context, k journal.Key, fn func(*journal.State) error) error {
	r.mu.Lock()
	s := r.sheets[k]
	if s == nil {
		s = &sheet{}
		r.sheets[k] = s
	}
	r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st == nil {
		st, err := r.journal.Load(ctx, k)
		if err != nil {
			return err
		}
		s.st = st
	}
	err := fn(s.st)
	if err != nil || settled(s.st) {
		s.st = nil // read again when it is needed, which for a settled one is hardly ever
	}
	return err
}

// settled says whether every notice of the journal has come to its end.
func settled(st *journal.State) bool {
	for n := range uint32(st.Len()) {
		if st.InWave(n) && !st.Settled(n) {
			return false
		}
	}
	return true
}

// openSlots returns the slots of a journal that have not come to their end, read anew, and what it was opened with; nil if it
// was not. The journal of an order that waits for a person has none.
func (r *recorder) openSlots(ctx context.Context, k journal.Key) (slots []uint32, opened *candorv1.Opened, sealed bool, err error) {
	err = r.with(ctx, k, func(st *journal.State) error {
		if err := r.journal.CatchUp(ctx, k, st); err != nil {
			return err
		}
		opened, sealed = st.Opened, st.SealedFor != ""
		if sealed || st.DeadFor != "" {
			return nil
		}
		for n := range uint32(st.Len()) {
			if st.InWave(n) && !st.Settled(n) {
				slots = append(slots, n)
			}
		}
		return nil
	})
	return slots, opened, sealed, err
}
