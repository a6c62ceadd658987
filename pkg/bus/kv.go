package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// KV is a small table with a revision per key.
type KV struct {
	b      *Bus
	kv     jetstream.KeyValue
	bucket string
}

// KV opens a bucket that topology made.
func (b *Bus) KV(ctx context.Context, bucket string) (*KV, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, apiError(err))
	}
	return &KV{b: b, kv: kv, bucket: bucket}, nil
}

// Get returns a key's value and revision, or ErrNotFound.
func (k *KV) Get(ctx context.Context, key string) (value []byte, rev uint64, err error) {
	ctx, cancel := k.b.bounded(ctx)
	defer cancel()
	e, err := k.kv.Get(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("get %s/%s: %w", k.bucket, key, apiError(err))
	}
	return e.Value(), e.Revision(), nil
}

// Create writes a key that must not be there: ErrExists if it is.
func (k *KV) Create(ctx context.Context, key string, value []byte) (rev uint64, err error) {
	ctx, cancel := k.b.bounded(ctx)
	defer cancel()
	if rev, err = k.kv.Create(ctx, key, value); err != nil {
		return 0, fmt.Errorf("create %s/%s: %w", k.bucket, key, kvError(err, ErrExists))
	}
	return rev, nil
}

// Update writes a key whose revision must be rev: ErrConflict if it is not.
func (k *KV) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	ctx, cancel := k.b.bounded(ctx)
	defer cancel()
	next, err := k.kv.Update(ctx, key, value, rev)
	if err != nil {
		return 0, fmt.Errorf("update %s/%s: %w", k.bucket, key, kvError(err, ErrConflict))
	}
	return next, nil
}

// Put writes a key, whatever was there.
func (k *KV) Put(ctx context.Context, key string, value []byte) (rev uint64, err error) {
	ctx, cancel := k.b.bounded(ctx)
	defer cancel()
	if rev, err = k.kv.Put(ctx, key, value); err != nil {
		return 0, fmt.Errorf("put %s/%s: %w", k.bucket, key, kvError(err, nil))
	}
	return rev, nil
}

// Delete marks a key as deleted. Its old bytes may stay on the disk for a while: no secrets belong here.
//
// The client's own Delete does not say the mark's revision, so the mark is written here.
func (k *KV) Delete(ctx context.Context, key string) (rev uint64, err error) {
	ctx, cancel := k.b.bounded(ctx)
	defer cancel()
	ack, err := k.b.js.PublishMsg(ctx, &nats.Msg{Subject: k.subject(key), Header: nats.Header{kvOperation: {"DEL"}}})
	if err != nil {
		return 0, fmt.Errorf("delete %s/%s: %w", k.bucket, key, kvError(err, nil))
	}
	return ack.Sequence, nil
}

// All hands fn every key and value of the bucket as it is now.
func (k *KV) All(ctx context.Context, fn func(key string, value []byte) error) error {
	_, err := k.b.Read(ctx, "KV_"+k.bucket, "", 0, func(s Stored) error {
		key, deleted := k.entry(s)
		if deleted {
			return nil
		}
		return fn(key, s.Data)
	})
	return err
}

// Watch hands fn every key's present value and then every change, with its revision, until ctx ends; it survives reconnects.
// caughtUp (nil if not needed) is called once, after the present values.
func (k *KV) Watch(ctx context.Context, fn func(key string, value []byte, rev uint64, deleted bool) error, caughtUp func()) error {
	return k.b.Follow(ctx, "KV_"+k.bucket, nil, 0, func(s Stored) error {
		key, deleted := k.entry(s)
		return fn(key, s.Data, s.Seq, deleted)
	}, func(uint64) {
		if caughtUp != nil {
			caughtUp()
		}
	})
}

// kvOperation is the header that tells a mark from a value.
const kvOperation = "KV-Operation"

func (k *KV) subject(key string) string { return "$KV." + k.bucket + "." + key }

func (k *KV) entry(s Stored) (key string, deleted bool) {
	return strings.TrimPrefix(s.Subject, k.subject("")), s.Header[kvOperation] != ""
}

func kvError(err, conflict error) error {
	err = apiError(err)
	var wrong *WrongSequenceError
	switch {
	case errors.Is(err, jetstream.ErrKeyExists) && conflict != nil:
		return conflict
	case errors.As(err, &wrong) && conflict != nil:
		return conflict
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err
}
