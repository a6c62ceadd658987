package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamState is what a stream holds.
type StreamState struct {
	First, Last, Msgs uint64
	Created           time.Time
	Deleted           int // messages missing between First and Last
}

// State asks the stream's leader what it holds.
func (b *Bus) State(ctx context.Context, stream string) (StreamState, error) {
	info, err := b.info(ctx, stream)
	if err != nil {
		return StreamState{}, err
	}
	s := info.State
	return StreamState{First: s.FirstSeq, Last: s.LastSeq, Msgs: s.Msgs, Created: b.clock.FromMachine(info.Created), Deleted: s.NumDeleted}, nil
}

func (b *Bus) info(ctx context.Context, stream string, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", stream, apiError(err))
	}
	if len(opts) == 0 {
		return s.CachedInfo(), nil
	}
	info, err := s.Info(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", stream, apiError(err))
	}
	return info, nil
}

// CountSubjects returns how many messages each subject that matches a filter has.
func (b *Bus) CountSubjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	info, err := b.info(ctx, stream, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, err
	}
	return info.State.Subjects, nil
}

// Purge removes all messages on a filter and returns how many there were.
func (b *Bus) Purge(ctx context.Context, stream, filter string) (uint64, error) {
	if filter == "" {
		return 0, errors.New("purge without a filter: name the subjects")
	}
	counts, err := b.CountSubjects(ctx, stream, filter)
	if err != nil {
		return 0, err
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", filter, apiError(err))
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(filter)); err != nil {
		return 0, fmt.Errorf("purge %s: %w", filter, apiError(err))
	}
	var n uint64
	for _, c := range counts {
		n += c
	}
	return n, nil
}

// ConsumerState says how far a durable consumer is.
type ConsumerState struct {
	Pending     uint64 // not yet delivered
	AckPending  int    // delivered and not settled
	Redelivered int
}

// Consumer asks for the state of a durable consumer.
func (b *Bus) Consumer(ctx context.Context, stream, durable string) (ConsumerState, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	c, err := b.js.Consumer(ctx, stream, durable)
	if err != nil {
		return ConsumerState{}, fmt.Errorf("look up consumer %s of %s: %w", durable, stream, apiError(err))
	}
	i := c.CachedInfo()
	return ConsumerState{Pending: i.NumPending, AckPending: i.NumAckPending, Redelivered: i.NumRedelivered}, nil
}

// Now returns what the calendar shows by the broker's clock.
func (b *Bus) Now(ctx context.Context) (time.Time, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	b.mu.Lock()
	stream := b.timeStream
	b.mu.Unlock()
	if stream == "" {
		names := b.js.StreamNames(ctx)
		for n := range names.Name() {
			stream = n // any will do; the list is drained so that its goroutine ends
		}
		if err := names.Err(); err != nil {
			return time.Time{}, fmt.Errorf("ask the broker's clock: %w", apiError(err))
		}
		if stream == "" {
			return time.Time{}, fmt.Errorf("ask the broker's clock: a stream: %w", ErrNotFound)
		}
		b.mu.Lock()
		b.timeStream = stream
		b.mu.Unlock()
	}
	info, err := b.info(ctx, stream)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the broker's clock: %w", err)
	}
	return b.clock.FromMachine(info.TimeStamp), nil
}

// DropConsumer deletes a durable consumer, and with it what it knows of messages in hand; none is no error.
func (b *Bus) DropConsumer(ctx context.Context, stream, durable string) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	err := b.js.DeleteConsumer(ctx, stream, durable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete consumer %s of %s: %w", durable, stream, apiError(err))
	}
	return nil
}
