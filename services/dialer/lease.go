package dialer

import (
	"context"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	candorv1 "candor/proto/candor/v1"
)

// lease is a task that this dialer holds, kept alive in the background while the agent reads and talks.
type lease struct {
	stop   context.CancelFunc
	ended  chan struct{} // closed when nobody renews any more
	mono   func() time.Duration
	length time.Duration
	// heldAt is when the queue last said that the task is ours, on the clock mono; 0 when it is not any more. The renewing
	// goroutine writes it, the agent reads it.
	heldAt atomic.Int64
}

// keep renews a task's lease until it is dropped.
//
// It goes by the length that was asked for and by this machine's clock. The answer's expires_at is the queue's clock, and two
// clocks need not agree.
func (a *agent) keep(task *candorv1.CallTask) *lease {
	ctx, stop := context.WithCancel(a.reporting)
	l := &lease{stop: stop, ended: make(chan struct{}), mono: a.mono, length: a.cfg.Lease}
	l.heldAt.Store(int64(a.mono()))
	go func() {
		defer close(l.ended)
		// At a third of the lease: one renewal may fail, and the next one is still in time.
		for wait(ctx, a.cfg.Lease/3) {
			before := a.mono()
			_, err := asked(ctx, &candorv1.RenewRequest{Lease: task.GetLease(), LeaseFor: durationpb.New(a.cfg.Lease)}, a.client.Renew)
			switch {
			case err == nil:
				l.heldAt.Store(int64(before))
				a.count(func(s *Stats) { s.Renewed++ })
			case final(err):
				// Over, or the customer is not to be called any more. Whoever has not dialled does not; whoever is in the
				// call goes on with it, and reports it: that is recorded.
				l.heldAt.Store(0)
				a.log.Debug().Stringer("code", connect.CodeOf(err)).Msg("a lease is not renewed any more")
				return
			}
		}
	}()
	return l
}

// sure says that the task cannot be anybody else's yet.
func (l *lease) sure() bool {
	at := l.heldAt.Load()
	return at != 0 && l.mono()-time.Duration(at) < l.length*2/3
}

// drop ends the renewing.
func (l *lease) drop() {
	l.stop()
	<-l.ended
}
