package calls

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
)

// missed is how many renewals an owner may miss before somebody else takes over.
const missed = 3

const seatKey = "owner"

var errLostSeat = errors.New("somebody else answers for the call queue now")

// seat is the right to answer for the queue: one process holds a key and renews it, the others wait until it does not any
// more. It decides who tries. That two never succeed is for the fence on each append to see to.
type seat struct {
	kv    seatKV
	every time.Duration
	mono  func() time.Duration
	log   zerolog.Logger
	// renewed is when the key was last known to be ours, on the clock mono; 0 while it is not.
	renewed atomic.Int64
}

// seatKV is the bucket CALLOWNER, a bus.KV.
type seatKV interface {
	Get(ctx context.Context, key string) (value []byte, rev uint64, err error)
	Create(ctx context.Context, key string, value []byte) (rev uint64, err error)
	Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error)
}

// take waits until the seat is free, and takes it under the name of me.
func (s *seat) take(ctx context.Context, me string) (rev uint64, err error) {
	var (
		seen  uint64
		since time.Duration
	)
	for {
		value, now, err := s.kv.Get(ctx, seatKey)
		switch {
		case errors.Is(err, bus.ErrNotFound):
			rev, err = s.kv.Create(ctx, seatKey, []byte(me))
		case err != nil:
		case len(value) == 0, now == seen && s.mono()-since >= missed*s.every: // given up, or not renewed
			rev, err = s.kv.Update(ctx, seatKey, []byte(me), now)
		default:
			if now != seen {
				seen, since = now, s.mono()
			}
			err = errLostSeat
		}
		if err == nil {
			s.renewed.Store(int64(s.mono()))
			return rev, nil
		}
		if !errors.Is(err, errLostSeat) && !errors.Is(err, bus.ErrExists) && !errors.Is(err, bus.ErrConflict) { // another was quicker
			s.log.Debug().Err(err).Msg("the call queue's owner cannot be found out yet")
		}
		if err := pause(ctx, s.every); err != nil {
			return 0, err
		}
	}
}

// hold renews the seat until ctx ends, or returns errLostSeat when it is somebody else's or could not be renewed for as long
// as the others wait.
func (s *seat) hold(ctx context.Context, me string, rev uint64) error {
	defer s.renewed.Store(0)
	for {
		if err := pause(ctx, s.every); err != nil {
			s.leave(ctx, rev)
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		began := s.mono()
		next, err := s.renew(ctx, me, rev)
		switch {
		case err == nil:
			rev = next
			s.renewed.Store(int64(began))
		case errors.Is(err, errLostSeat):
			return err
		case s.mono()-time.Duration(s.renewed.Load()) >= missed*s.every:
			return fmt.Errorf("%w, as far as is known: %w", errLostSeat, err)
		}
	}
}

func (s *seat) renew(ctx context.Context, me string, rev uint64) (uint64, error) {
	next, err := s.kv.Update(ctx, seatKey, []byte(me), rev)
	if !errors.Is(err, bus.ErrConflict) {
		return next, err
	}
	// An update whose answer was lost has landed, or the broker was restarted and has forgotten the key.
	value, now, err := s.kv.Get(ctx, seatKey)
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return s.kv.Create(ctx, seatKey, []byte(me))
	case err != nil:
		return 0, err
	case string(value) != me:
		return 0, errLostSeat
	}
	return now, nil
}

// leave gives the seat up, so that another process need not wait.
func (s *seat) leave(ctx context.Context, rev uint64) {
	if err := s.giveUp(ctx, rev); err != nil {
		s.log.Debug().Err(err).Msg("the call queue was not given up, another process takes over in a moment")
	}
}

func (s *seat) giveUp(ctx context.Context, rev uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.every)
	defer cancel()
	_, err := s.kv.Update(ctx, seatKey, nil, rev)
	return err
}

// fresh says whether nobody else can have taken the seat yet.
func (s *seat) fresh() bool {
	at := s.renewed.Load()
	return at != 0 && s.mono()-time.Duration(at) < missed*s.every
}

// confirm asks whether the seat is ours.
func (s *seat) confirm(ctx context.Context, me string) error {
	value, _, err := s.kv.Get(ctx, seatKey)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	if err == nil && string(value) != me {
		return errLostSeat
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
