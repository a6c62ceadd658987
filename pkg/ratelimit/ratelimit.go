// Package ratelimit keeps a rate that is true across all workers.
//
// In: the bucket LIMITS, one number per limit: the next free instant.   Out: Grants, stretches of time that belong to one worker.
// Crash: a stretch that was booked and not used is lost, never used twice. If the bucket is lost (it is in memory) there is one short
// burst, and the provider's 429 corrects it.
//
// It is a generic cell rate limiter. A worker advances the number by the time that its stride takes, by compare-and-set, and
// sends only between the old and the new value. It books at most two seconds ahead, so that nobody books time away from those who come
// later and matter more.
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
)

const (
	horizon  = 2 * time.Second
	maxAhead = 15 * time.Minute // the furthest a Push goes
	skew     = time.Minute      // what two workers' clocks may differ before a number counts as absurd
	maxTake  = 24 * time.Hour
)

// KV is the bucket LIMITS, a bus.KV.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, rev uint64, err error)
	Create(ctx context.Context, key string, value []byte) (rev uint64, err error)
	Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error)
}

// Limiter books time; it is safe for use by many goroutines.
type Limiter struct {
	kv  KV
	now func() time.Time
	log zerolog.Logger

	mu    sync.Mutex
	turns map[string]chan struct{} // holds one value while nobody here is booking under that key
}

// Grant is a stretch of time in which its holder may send what it reserved, and no more.
type Grant struct {
	Start time.Time
	End   time.Time // zero without a limit
}

// BusyError says that there is no time to be had before the context's deadline. It is a context.DeadlineExceeded that comes early.
type BusyError struct {
	Until time.Time // nothing is free before
}

// Error says when there will be time.
func (e *BusyError) Error() string {
	return "no time free before " + e.Until.UTC().Format(time.RFC3339)
}

// Unwrap returns context.DeadlineExceeded.
func (e *BusyError) Unwrap() error { return context.DeadlineExceeded }

// New returns a limiter over the bucket. The clock is the machine's, and aligned with the broker's: workers compare their clocks through the bucket.
func New(kv KV, now func() time.Time, log zerolog.Logger) *Limiter {
	return &Limiter{kv: kv, now: now, log: log, turns: map[string]chan struct{}{}}
}

// Quantum returns how many units to reserve at once: at most limit, at most what two seconds allow, at least one.
func Quantum(perSec float64, limit int) int {
	if perSec <= 0 {
		return max(1, limit)
	}
	return max(1, min(limit, int(min(perSec*horizon.Seconds(), math.MaxInt32))))
}

// Reserve books the time for units at perSec under the key, and returns when that time starts. Workers here are served in order.
// It may wait long, behind others or a provider that wants quiet: look again at everything else afterwards, and bound it by ctx. A
// perSec of 0 is no limit. Where ctx has a deadline that comes too early, it answers a BusyError at once.
func (l *Limiter) Reserve(ctx context.Context, key string, units int, perSec float64) (Grant, error) {
	if perSec == 0 {
		return Grant{Start: l.now()}, nil
	}
	if !(perSec > 0) || units < 1 {
		return Grant{}, fmt.Errorf("reserve %d units at %v a second under %s: want at least 1 at more than 0", units, perSec, key)
	}
	take := time.Duration(min(float64(units)/perSec*float64(time.Second), float64(maxTake)))
	g, wait, err := l.book(ctx, key, take)
	if err == nil {
		err = sleep(ctx, wait)
	}
	if err != nil {
		return Grant{}, fmt.Errorf("reserve under %s: %w", key, err)
	}
	return g, nil
}

// book advances the number, and answers how long it is until the grant starts.
func (l *Limiter) book(ctx context.Context, key string, take time.Duration) (g Grant, wait time.Duration, err error) {
	turn := l.turn(key)
	select {
	case <-turn:
		defer func() { turn <- struct{}{} }()
	case <-ctx.Done():
		return Grant{}, 0, ctx.Err()
	}
	for lost := 0; ; {
		next, rev, err := l.read(ctx, key, take)
		if err != nil {
			return Grant{}, 0, err
		}
		now := l.now()
		g.Start = later(next, now)
		g.End = g.Start.Add(take)
		wait = g.Start.Sub(now)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return Grant{}, 0, &BusyError{Until: g.Start} // booking what we will not use would take it from others
		}
		if wait > horizon {
			// Not all of it at once: the number may be set back by hand.
			if err := sleep(ctx, min(wait-horizon, horizon)); err != nil {
				return Grant{}, 0, err
			}
			continue
		}
		switch err := l.write(ctx, key, g.End, rev); {
		case err == nil:
			return g, wait, nil
		case !isConflict(err):
			return Grant{}, 0, err
		}
		lost++
		if err := sleep(ctx, jitter(lost)); err != nil {
			return Grant{}, 0, err
		}
	}
}

// Push moves the next free instant to until for everybody, because the provider said so; never back, and never further than 15 minutes.
func (l *Limiter) Push(ctx context.Context, key string, until time.Time) error {
	for lost := 0; ; {
		next, rev, err := l.read(ctx, key, 0)
		if err != nil {
			return fmt.Errorf("push limit %s: %w", key, err)
		}
		target := until
		if furthest := l.now().Add(maxAhead); target.After(furthest) {
			target = furthest
		}
		if !target.After(next) {
			return nil
		}
		err = l.write(ctx, key, target, rev)
		if err == nil {
			return nil
		}
		if isConflict(err) {
			lost++
			err = sleep(ctx, jitter(lost))
		}
		if err != nil {
			return fmt.Errorf("push limit %s: %w", key, err)
		}
	}
}

// read returns the number, and the zero time for none and for an absurd one, which the next write replaces.
func (l *Limiter) read(ctx context.Context, key string, take time.Duration) (next time.Time, rev uint64, err error) {
	value, rev, err := l.kv.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return time.Time{}, 0, nil
	}
	if err != nil {
		return time.Time{}, 0, err
	}
	ns, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		l.log.Warn().Str("limit", key).Msg("rate limit was no number, reset")
		return time.Time{}, rev, nil //nolint:nilerr // what cannot be read counts as free
	}
	next = time.Unix(0, ns)
	if ahead := next.Sub(l.now()); ahead > maxAhead+take+skew {
		l.log.Warn().Str("limit", key).Dur("ahead", ahead).Msg("rate limit was absurdly far ahead, reset: look at the machines' clocks")
		return time.Time{}, rev, nil
	}
	return next, rev, nil
}

func (l *Limiter) write(ctx context.Context, key string, next time.Time, rev uint64) (err error) {
	value := strconv.AppendInt(nil, next.UnixNano(), 10)
	if rev == 0 {
		_, err = l.kv.Create(ctx, key, value)
	} else {
		_, err = l.kv.Update(ctx, key, value, rev)
	}
	return err
}

func (l *Limiter) turn(key string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.turns[key]
	if !ok {
		t = make(chan struct{}, 1)
		t <- struct{}{}
		l.turns[key] = t
	}
	return t
}

func isConflict(err error) bool {
	return errors.Is(err, bus.ErrConflict) || errors.Is(err, bus.ErrExists)
}

// jitter is how long to stand back after losing so many times in a row.
func jitter(lost int) time.Duration {
	return rand.N(time.Duration(min(lost, 10)) * 5 * time.Millisecond)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
