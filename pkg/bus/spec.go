package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamSpec is what we want a stream to be; the zero value of a flag is the safe one.
type StreamSpec struct {
	Name        string
	Description string
	Subjects    []string
	WorkQueue   bool // a message is gone when its consumer has acknowledged it
	Kept        bool // nothing is ever deleted or purged
	WriteOnce   bool // one message per subject, a second one is ErrExists
	Schedules   bool // accepts Schedule
	Direct      bool // accepts LastDirect
	Replicas    int
}

// ConsumerSpec is what we want a durable consumer to be: explicit acks, delivered until settled.
type ConsumerSpec struct {
	Stream, Name  string
	Filter        string
	AckWait       time.Duration
	MaxAckPending int
}

// BucketSpec is what we want a key-value bucket to be.
type BucketSpec struct {
	Name        string
	Description string
	Memory      bool
	// TTL after which a key is forgotten; 0 keeps it.
	TTL      time.Duration
	Replicas int
}

func (s StreamSpec) config() jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:               s.Name,
		Description:        s.Description,
		Subjects:           s.Subjects,
		Retention:          jetstream.LimitsPolicy,
		Storage:            jetstream.FileStorage,
		Discard:            jetstream.DiscardNew,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		Replicas:           max(s.Replicas, 1),
		AllowDirect:        s.Direct,
		AllowAtomicPublish: true,
	}
	if s.WorkQueue {
		cfg.Retention = jetstream.WorkQueuePolicy
	}
	if s.Kept {
		cfg.DenyDelete, cfg.DenyPurge = true, true
	}
	if s.WriteOnce {
		cfg.MaxMsgsPerSubject, cfg.DiscardNewPerSubject = 1, true
	}
	if s.Schedules {
		cfg.AllowMsgSchedules, cfg.AllowRollup = true, true
		cfg.Discard = jetstream.DiscardOld // the broker wants it so; without limits nothing is ever discarded
	}
	return cfg
}

// EnsureStream creates a stream, or brings it to the spec. A kept one that somebody weakened is an error, not repaired:
// what its messages went through meanwhile is for a person to find out.
func (b *Bus) EnsureStream(ctx context.Context, spec StreamSpec) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	want := spec.config()
	s, err := b.js.Stream(ctx, spec.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = b.js.CreateStream(ctx, want); err != nil {
			return fmt.Errorf("create stream %s: %w", spec.Name, apiError(err))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", spec.Name, apiError(err))
	}
	have := s.CachedInfo().Config
	if spec.Kept {
		if err := weakened(have, want); err != nil {
			return err
		}
	}
	if same(have, want) {
		return nil
	}
	if _, err := b.js.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("update stream %s: %w", spec.Name, apiError(err))
	}
	return nil
}

// weakened names every limit by which a kept stream could lose messages.
func weakened(have, want jetstream.StreamConfig) error {
	var errs []error
	add := func(bad bool, what string) {
		if bad {
			errs = append(errs, fmt.Errorf("stream %s %s: somebody changed it and entries may be lost; "+
				"stop, compare with a backup, and set it back by hand", have.Name, what))
		}
	}
	add(!have.DenyDelete, "allows deleting messages")
	add(!have.DenyPurge, "allows purging")
	add(have.MaxMsgsPerSubject > 0, fmt.Sprintf("keeps only %d messages per subject", have.MaxMsgsPerSubject))
	add(have.MaxMsgs > 0, fmt.Sprintf("keeps only %d messages", have.MaxMsgs))
	add(have.MaxBytes > 0, fmt.Sprintf("keeps only %d bytes", have.MaxBytes))
	add(have.MaxAge > 0, fmt.Sprintf("keeps messages for %s only", have.MaxAge))
	add(have.Discard != want.Discard, "discards old messages to make room")
	add(have.Retention != want.Retention, "does not keep what was read")
	add(have.Storage != want.Storage, "is kept in memory only")
	return errors.Join(errs...)
}

func same(have, want jetstream.StreamConfig) bool {
	return have.Description == want.Description && slices.Equal(have.Subjects, want.Subjects) &&
		have.Replicas == want.Replicas && have.AllowDirect == want.AllowDirect &&
		have.AllowAtomicPublish == want.AllowAtomicPublish && have.AllowMsgSchedules == want.AllowMsgSchedules &&
		have.MaxMsgsPerSubject == want.MaxMsgsPerSubject && have.Discard == want.Discard &&
		have.DiscardNewPerSubject == want.DiscardNewPerSubject && have.MaxAge == want.MaxAge &&
		have.MaxBytes == want.MaxBytes && have.MaxMsgs == want.MaxMsgs &&
		have.DenyDelete == want.DenyDelete && have.DenyPurge == want.DenyPurge
}

// EnsureConsumer creates a durable consumer, or brings it to the spec. Two that overlap on a work queue are refused.
func (b *Bus) EnsureConsumer(ctx context.Context, spec ConsumerSpec) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	_, err := b.js.CreateOrUpdateConsumer(ctx, spec.Stream, jetstream.ConsumerConfig{
		Durable:       spec.Name,
		FilterSubject: spec.Filter,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       spec.AckWait,
		MaxAckPending: spec.MaxAckPending,
		// A message that used up its deliveries would stay in the queue, invisible; BackOff would replace AckWait.
		MaxDeliver: -1,
	})
	if err != nil {
		return fmt.Errorf("make consumer %s of %s: %w", spec.Name, spec.Stream, apiError(err))
	}
	return nil
}

// EnsureBucket creates a key-value bucket, or brings it to the spec. One in memory is made again after each reconnect, as
// long as this bus lives: a restarted server has forgotten it.
func (b *Bus) EnsureBucket(ctx context.Context, spec BucketSpec) error {
	if err := b.makeBucket(ctx, spec); err != nil {
		return err
	}
	if spec.Memory {
		b.mu.Lock()
		b.inMemory = append(b.inMemory, spec)
		b.mu.Unlock()
	}
	return nil
}

func (b *Bus) remake() {
	b.mu.Lock()
	specs := slices.Clone(b.inMemory)
	b.mu.Unlock()
	for _, spec := range specs {
		if err := b.makeBucket(context.Background(), spec); err != nil {
			b.log.Error().Err(err).Str("bucket", spec.Name).Msg("bucket cannot be made again: restart this process")
		}
	}
}

func (b *Bus) makeBucket(ctx context.Context, spec BucketSpec) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	cfg := jetstream.KeyValueConfig{Bucket: spec.Name, Description: spec.Description, History: 1, TTL: spec.TTL, Replicas: max(spec.Replicas, 1)}
	if spec.Memory {
		cfg.Storage = jetstream.MemoryStorage
	}
	if _, err := b.js.CreateOrUpdateKeyValue(ctx, cfg); err != nil {
		return fmt.Errorf("make bucket %s: %w", spec.Name, apiError(err))
	}
	return nil
}
