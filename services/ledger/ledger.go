// Package ledger knows where every notice stands: the fold of all journals and receipts, in memory.
//
// In:  journal.>, receipt.>, call.request.*, the incidents, ask.ledger.>   Out: answers: status, list, export, dead,
// unreached; and for the planner: move-on, canary, people, sweep
// Crash: holds nothing that is not in the streams; it is read again at the next start, and asks wait until then.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Ledger follows journals and receipts and answers for them.
type Ledger struct {
	cfg       Config
	bus       *bus.Bus
	incidents *incident.Registry
	log       zerolog.Logger
	books     *books
	ready     chan struct{} // closed when everything that was there at start has been folded
}

// New returns a Ledger over b that knows the incidents from reg.
func New(cfg Config, b *bus.Bus, reg *incident.Registry, log zerolog.Logger) (*Ledger, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &Ledger{cfg: cfg, bus: b, incidents: reg, log: log, books: newBooks(), ready: make(chan struct{})}, nil
}

// Run folds and answers until ctx ends.
func (l *Ledger) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	parts := []func(context.Context) error{
		l.follow,
		func(ctx context.Context) error { return serve(ctx, l, "status", l.answerStatus) },
		func(ctx context.Context) error { return serve(ctx, l, "list", l.answerList) },
		func(ctx context.Context) error { return serve(ctx, l, "export", l.answerExport) },
		func(ctx context.Context) error { return serve(ctx, l, "dead", l.answerDead) },
		func(ctx context.Context) error { return serve(ctx, l, "unreached", l.answerUnreached) },
		func(ctx context.Context) error { return serve(ctx, l, "move-on", l.answerMoveOn) },
		func(ctx context.Context) error { return serve(ctx, l, "canary", l.answerCanary) },
		func(ctx context.Context) error { return serve(ctx, l, "people", l.answerPeople) },
		func(ctx context.Context) error { return serve(ctx, l, "sweep", l.answerSweep) },
	}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			defer stop() // one that ends takes the others along
			errs[i] = part(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// follow reads the journals and then the receipts, which would only wait for them, and the calls; after that all go on side
// by side.
func (l *Ledger) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	begun := l.cfg.Clock.Now()
	sources := []source{
		{topology.StreamJournal, l.books.fold, &l.books.journals},
		{topology.StreamReceipts, l.books.hear, &l.books.receipts},
		{topology.StreamCalls, l.books.call, &l.books.calls},
	}
	errs := make([]error, len(sources))
	var wg sync.WaitGroup
	for i, s := range sources {
		there := make(chan struct{})
		wg.Go(func() {
			defer stop()
			errs[i] = l.read(ctx, s, func() { close(there) })
		})
		select {
		case <-there:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		journals := l.books.count()
		close(l.ready)
		l.log.Info().Int("journals", journals).Dur("took", l.cfg.Clock.Now().Sub(begun)).Msg("ledger rebuilt")
	}
	wg.Wait()
	return errors.Join(errs...)
}

// source is a stream that is folded.
type source struct {
	stream string
	fold   func(bus.Stored) error
	tide   *tide
}

func (l *Ledger) read(ctx context.Context, s source, caughtUp func()) error {
	fold := func(m bus.Stored) error {
		if err := s.fold(m); err != nil {
			l.log.Error().Err(err).Str("subject", m.Subject).Uint64("seq", m.Seq).
				Msg("message is damaged or newer than this version: what it says is not counted")
		}
		return nil
	}
	err := l.bus.Follow(ctx, s.stream, nil, 1, fold, func(seq uint64) {
		l.books.mu.Lock()
		s.tide.advance(seq)
		l.books.mu.Unlock()
		caughtUp()
	})
	if err != nil {
		return fmt.Errorf("follow %s: %w", s.stream, err)
	}
	return nil
}

// Ready is closed when everything that was written before the start has been folded.
func (l *Ledger) Ready() <-chan struct{} { return l.ready }

// Status says where the incident stands as far as it has been folded; nil if nobody knows it. It asks no stream, so it is
// never complete: only CurrentStatus knows that nothing more was written.
func (l *Ledger) Status(id string) *candorv1.Status {
	st := l.books.status(id, l.incidents.Get(id), l.look(ends{}))
	if st.GetComplete() {
		st.Complete, st.Open = false, append(st.Open, "the streams were not asked whether more was written")
	}
	return st
}

// CurrentStatus says where the incident stands once everything is folded that was written before the call, if that takes
// no longer than Config.CatchUp; nil if nobody knows the incident.
func (l *Ledger) CurrentStatus(ctx context.Context, id string) (*candorv1.Status, error) {
	e, err := l.ends(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.await(ctx, e); err != nil {
		return nil, err
	}
	if err := l.books.calls.await(ctx, e.calls, l.cfg.CatchUp); err != nil {
		return nil, err
	}
	inc := l.incidents.Get(id)
	st := l.books.status(id, inc, l.look(e))
	if st == nil {
		return nil, nil //nolint:nilnil // nobody knows the incident, which is no error
	}
	st.JournalLast, st.ReceiptsLast = e.journals, e.receipts
	behind := func(folded, last uint64, one, many string) {
		if folded < last {
			st.Open = append(st.Open, plural(last-folded, one, many)+" not folded yet")
		}
	}
	behind(st.GetFoldedTo(), e.journals, "entry of the journals is", "entries of the journals are")
	behind(st.GetReceiptsFoldedTo(), e.receipts, "receipt is", "receipts are")
	if !l.books.calls.reached(e.calls) {
		st.Open = append(st.Open, "who was called is not read to the end yet")
	}
	if len(st.GetOpen()) == 0 {
		// The registry may be a moment behind: another wave may have been approved.
		last, err := l.bus.Last(ctx, topology.StreamBreach, topology.Breach(id))
		if err != nil {
			return nil, err
		}
		if inc.Seq != last.Seq {
			st.Open = append(st.Open, fmt.Sprintf("the incident's events are read up to %d of %d", inc.Seq, last.Seq))
		}
	}
	st.Complete = len(st.GetOpen()) == 0
	return st, nil
}

// ends asks the streams for their last sequences. The receipts come first: whatever one of these speaks of was written to
// a journal before it, and lies before the journals' end.
func (l *Ledger) ends(ctx context.Context) (e ends, err error) {
	for _, s := range []struct {
		name string
		last *uint64
	}{{topology.StreamCalls, &e.calls}, {topology.StreamReceipts, &e.receipts}, {topology.StreamJournal, &e.journals}} {
		state, err := l.bus.State(ctx, s.name)
		if err != nil {
			return ends{}, err
		}
		*s.last = state.Last
	}
	return e, nil
}

// await waits until both streams are folded so far, at most for Config.CatchUp each.
func (l *Ledger) await(ctx context.Context, e ends) error {
	if err := l.books.journals.await(ctx, e.journals, l.cfg.CatchUp); err != nil {
		return err
	}
	return l.books.receipts.await(ctx, e.receipts, l.cfg.CatchUp)
}

// look is how the books are looked at now, when both streams are known to end no earlier than at e.
func (l *Ledger) look(e ends) look {
	at := look{now: l.cfg.Clock.Now(), stuckAfter: l.cfg.Clock.Work(l.cfg.StuckAfter)}
	if l.books.journals.reached(e.journals) {
		at.receipts = e.receipts
	}
	return at
}
