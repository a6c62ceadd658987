package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// ErrOvertaken is a fenced append that did not land because somebody else wrote first. What they wrote has been folded.
var ErrOvertaken = errors.New("another writer was first")

// Appender writes one message and returns its sequence: a Committer, or Direct.
type Appender interface {
	Append(ctx context.Context, m Message) (seq uint64, err error)
}

// Direct appends to one stream, a message at a time.
type Direct struct {
	Bus    *Bus
	Stream string
}

// Append writes one message and waits until it is stored.
func (d Direct) Append(ctx context.Context, m Message) (uint64, error) {
	return d.Bus.Append(ctx, d.Stream, m)
}

// Fold is what a reader made of one subject so far.
type Fold interface {
	// LastSeq is the sequence of the last message folded, 0 if there was none.
	LastSeq() uint64
	// Fold takes the next message of the subject.
	Fold(m Stored) error
}

// CatchUp folds what the subject holds beyond the fold's last sequence, read at the stream's leader.
func (b *Bus) CatchUp(ctx context.Context, stream, subject string, f Fold) error {
	for {
		m, err := b.Next(ctx, stream, subject, f.LastSeq()+1)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", subject, err)
		}
		if err := f.Fold(m); err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
	}
}

// AppendFenced appends m so that it lands only if nobody wrote to its subject since f was read, and folds it.
// mine tells m from the messages of others. It returns ErrOvertaken, with f read again, if somebody did.
//
// After an answer that is missing or says "wrong sequence" the subject is read: there is m, or somebody else's message,
// or nothing new; only in the last case m is tried again. The broker's own duplicate detection is no proof and is not used.
func (b *Bus) AppendFenced(ctx context.Context, out Appender, stream string, m Message, f Fold, mine func(Stored) bool) error {
	for {
		expect := f.LastSeq()
		m.Expect = &expect
		seq, err := out.Append(ctx, m)
		if err == nil {
			return f.Fold(Stored{Subject: m.Subject, Seq: seq, Data: m.Data, Header: m.Header})
		}
		if ctx.Err() != nil || !worthRetrying(err) {
			return fmt.Errorf("append to %s: %w", m.Subject, err)
		}
		w := watchingFold{inner: f, mine: mine}
		if rerr := b.CatchUp(ctx, stream, m.Subject, &w); rerr != nil {
			return errors.Join(rerr, err)
		}
		switch {
		case w.met:
			return nil
		case f.LastSeq() != expect:
			return ErrOvertaken
		}
		if err := fencePause(ctx, err); err != nil {
			return fmt.Errorf("append to %s: %w", m.Subject, err)
		}
	}
}

// worthRetrying says whether the same append may succeed later; a header that is refused or a page that is too large never will.
func worthRetrying(err error) bool {
	var wrong *WrongSequenceError
	return errors.As(err, &wrong) || errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNoSpace)
}

// watchingFold notices the message it looks for on its way into the fold.
type watchingFold struct {
	inner Fold
	mine  func(Stored) bool
	met   bool
}

func (w *watchingFold) LastSeq() uint64 { return w.inner.LastSeq() }

func (w *watchingFold) Fold(m Stored) error {
	w.met = w.met || w.mine(m)
	return w.inner.Fold(m)
}

// fencePause waits a moment before the same append is tried again; short if the broker only said "one is in flight".
func fencePause(ctx context.Context, cause error) error {
	d := 100 * time.Millisecond
	var wrong *WrongSequenceError
	if errors.As(cause, &wrong) {
		d = 5 * time.Millisecond
	}
	d += rand.N(d)
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err(), cause)
	case <-time.After(d):
		return nil
	}
}
