package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"candor/pkg/bus"
)

const waitEvery = 250 * time.Millisecond

// Options says how the broker is set up.
type Options struct {
	Replicas int // of every stream; 1 if not set, 3 in a cluster
}

// ErrJournalGone means that there are incidents but no journal: making a new one would let everybody be told again.
var ErrJournalGone = errors.New("incidents exist, but the stream JOURNAL is gone: a new one would look as if nobody had been told; " +
	"stop, and bring back the data folder or a backup with candor restore")

// DamageError says that a journal or the incidents came back incomplete. Everything else is set up; nothing may be sent.
type DamageError struct{ Sentences []string }

func (e *DamageError) Error() string {
	return fmt.Sprintf("streams are damaged, nothing may be sent: %q", e.Sentences)
}

// Apply makes the broker what the table says, however often it is called, and checks that what must be complete is.
func Apply(ctx context.Context, b *bus.Bus, opts Options) error {
	if err := journalThere(ctx, b); err != nil {
		return err
	}
	for _, s := range streams() {
		s.Replicas = opts.Replicas
		if err := b.EnsureStream(ctx, s); err != nil {
			return err
		}
	}
	for _, c := range consumers() {
		if err := b.EnsureConsumer(ctx, c); err != nil {
			return err
		}
	}
	for _, k := range buckets() {
		k.Replicas = opts.Replicas
		if err := b.EnsureBucket(ctx, k); err != nil {
			return err
		}
	}
	return Check(ctx, b)
}

// Wait returns when somebody else has applied the table: what it makes last is there.
func Wait(ctx context.Context, b *bus.Bus) error {
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	last := buckets()[len(buckets())-1].Name
	for {
		_, err := b.KV(ctx, last)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the streams to be set up: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// Check says whether the kept streams are what append-only streams must be: *DamageError if not.
func Check(ctx context.Context, b *bus.Bus) error {
	var damage DamageError
	for _, s := range streams() {
		if !s.Kept {
			continue
		}
		st, err := b.State(ctx, s.Name)
		if err != nil {
			return err
		}
		if st.Last > 0 && (st.First != 1 || st.Deleted > 0 || st.Msgs != st.Last) {
			damage.Sentences = append(damage.Sentences, fmt.Sprintf(
				"Stream %s should hold entries 1 to %d and holds %d, from %d on.", s.Name, st.Last, st.Msgs, st.First))
		}
	}
	if len(damage.Sentences) > 0 {
		return &damage
	}
	return nil
}

func journalThere(ctx context.Context, b *bus.Bus) error {
	breach, err := b.State(ctx, StreamBreach)
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = b.State(ctx, StreamJournal)
	if errors.Is(err, bus.ErrNotFound) && breach.Last > 0 {
		return ErrJournalGone
	}
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	return err
}
