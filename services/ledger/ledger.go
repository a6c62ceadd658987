// Package ledger knows where every notice stands: the fold of all journals, in memory.
//
// In:  journal.>, the incidents, ask.ledger.>   Out: answers: status, list, export, dead
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

// Ledger follows the journals and answers for them.
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

func (l *Ledger) follow(ctx context.Context) error {
	begun := l.cfg.Now()
	fold := func(m bus.Stored) error {
		if err := l.books.fold(m); err != nil {
			l.log.Error().Err(err).Str("subject", m.Subject).Uint64("seq", m.Seq).
				Msg("journal is damaged or newer than this version; its incident cannot become complete")
		}
		return nil
	}
	caughtUp := func(seq uint64) {
		journals := l.books.caughtUp(seq)
		close(l.ready)
		l.log.Info().Uint64("seq", seq).Int("journals", journals).Dur("took", l.cfg.Now().Sub(begun)).Msg("ledger rebuilt")
	}
	if err := l.bus.Follow(ctx, topology.StreamJournal, nil, 1, fold, caughtUp); err != nil {
		return fmt.Errorf("follow journals: %w", err)
	}
	return nil
}

// Ready is closed when everything that was written before the start has been folded.
func (l *Ledger) Ready() <-chan struct{} { return l.ready }

// Status says where the incident stands as far as it has been folded; nil if nobody knows it. It asks no stream, so it is
// never complete: only CurrentStatus knows that nothing more was written.
func (l *Ledger) Status(id string) *candorv1.Status {
	st := l.books.status(id, l.incidents.Get(id), l.cfg.Now())
	if st.GetComplete() {
		st.Complete, st.Open = false, append(st.Open, "the streams were not asked whether more was written")
	}
	return st
}

// CurrentStatus says where the incident stands once everything is folded that was written before the call, if that takes
// no longer than Config.CatchUp; nil if nobody knows the incident.
func (l *Ledger) CurrentStatus(ctx context.Context, id string) (*candorv1.Status, error) {
	stream, err := l.bus.State(ctx, topology.StreamJournal)
	if err != nil {
		return nil, err
	}
	if err := l.books.await(ctx, stream.Last, l.cfg.CatchUp); err != nil {
		return nil, err
	}
	inc := l.incidents.Get(id)
	st := l.books.status(id, inc, l.cfg.Now())
	if st == nil {
		return nil, nil //nolint:nilnil // nobody knows the incident, which is no error
	}
	st.JournalLast = stream.Last
	if st.GetFoldedTo() < stream.Last {
		st.Open = append(st.Open, plural(stream.Last-st.GetFoldedTo(), "entry of the journals is", "entries of the journals are")+" not folded yet")
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
