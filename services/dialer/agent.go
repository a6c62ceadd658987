package dialer

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

// Why a task is given back without a call. The reason agent_skip would count towards the skips of the task.
const (
	reasonShutdown = "shutdown"
	reasonTooLate  = "too_late"
	reasonNoLine   = "no_line"
)

// agent is one seat with one line. It claims one task at a time, only when it is free, so nobody ever picks up and hears
// nobody: that is what makes this dialer progressive and not predictive.
type agent struct {
	*Dialer
	// onCall ends when the line hangs up after a stop, reporting when nothing is reported any more.
	onCall, reporting context.Context
	queue, phone      *backoff
}

// run is the agent's day: claim, call, report.
func (a *agent) run(ctx context.Context) error {
	for ctx.Err() == nil {
		away, before := time.Duration(0), a.mono()
		task, err := a.claim(ctx)
		switch {
		case final(err):
			return err
		case err != nil:
			a.silence(err)
			away = a.queue.next()
		case task != nil:
			a.queue.reset()
			away = a.work(ctx, task)
		case a.mono()-before < a.cfg.Wait/2: // a queue that does not wait is not asked all the time
			away = a.queue.next()
		}
		wait(ctx, away) // ended by ctx, which the loop sees
	}
	return nil
}

// claim asks for one task and waits for it; nil if none came.
//
// It does not run under ctx: whoever stops waiting for an answer may leave behind a lease that nobody knows of, and its
// customer is then held back as if they had been called. So a stop waits for the claims that are out, and gives back what they
// bring. If the answer is lost all the same, that is what happens: late, but nobody is called twice.
func (a *agent) claim(ctx context.Context) (*candorv1.CallTask, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Wait+answerWithin)
	defer cancel()
	a.count(func(s *Stats) { s.Waiting++ })
	defer a.count(func(s *Stats) { s.Waiting-- })
	resp, err := a.client.Claim(ctx, connect.NewRequest(&candorv1.ClaimRequest{
		Mode: a.cfg.Mode, Max: 1, Wait: durationpb.New(a.cfg.Wait), Lease: durationpb.New(a.cfg.Lease),
		Skills: a.cfg.Skills, Languages: a.cfg.Languages, Incidents: a.cfg.Incidents,
	}))
	if err != nil {
		return nil, err
	}
	a.answers()
	if len(resp.Msg.GetTasks()) == 0 {
		return nil, nil
	}
	a.count(func(s *Stats) { s.Claimed++ })
	return resp.Msg.GetTasks()[0], nil
}

// work takes a task to its end: completed, given back, or left to its lease. It returns how long the agent is away after that.
func (a *agent) work(ctx context.Context, task *candorv1.CallTask) (away time.Duration) {
	a.count(func(s *Stats) { s.Calling++ })
	defer a.count(func(s *Stats) { s.Calling-- })
	lease := a.keep(task)
	defer lease.drop()

	if a.cfg.Mode == candorv1.DialMode_DIAL_MODE_PREVIEW {
		wait(ctx, a.cfg.Preview) // the agent reads; a stop is looked for below
	}
	// Last look before the telephone rings. With a lease that may be over somebody else may hold the customer by now, and
	// after the window it is too late in the day for them.
	switch {
	case ctx.Err() != nil:
		a.release(task, reasonShutdown)
		return 0
	case !lease.sure(), task.GetWindowEndsAt() != nil && a.now().After(task.GetWindowEndsAt().AsTime()):
		a.release(task, reasonTooLate)
		return 0
	}

	// A crash from here on leaves a lease that ends without a word: the queue calls it uncertain and waits before anybody
	// calls again, because the telephone may have rung.
	result, err := a.line.Dial(a.onCall, task)
	switch {
	case errors.Is(err, ErrVanished): // a drill: this machine is dead, and comes back when its lease is over
		a.count(func(s *Stats) { s.Vanished++ })
		return a.cfg.Lease
	case err != nil: // not dialled
		a.release(task, reasonNoLine)
		return a.phone.next()
	}
	a.phone.reset()
	a.complete(task, result)
	return 0
}

// complete reports how the call ended, and says the same again until the queue has answered: a report that it knows already
// changes nothing. The lease may be over by then; the call was made, and is recorded all the same. A dialer whose calls must
// survive its own crash writes the result to its disk before this.
func (a *agent) complete(task *candorv1.CallTask, r Result) {
	report := &candorv1.CompleteRequest{
		Lease: task.GetLease(), Disposition: r.Disposition, CallId: r.CallID,
		CallBackAt: moment(r.CallBackAt), StartedAt: moment(r.Started), AnsweredAt: moment(r.Answered), EndedAt: moment(r.Ended),
	}
	for {
		resp, err := asked(context.WithoutCancel(a.reporting), report, a.client.Complete)
		switch {
		case err == nil:
			a.answers()
			a.queue.reset()
			a.count(func(s *Stats) {
				s.Dispositions[r.Disposition]++
				if resp.GetLate() {
					s.Late++
				}
			})
			return
		case final(err):
			a.count(func(s *Stats) { s.Refused++ })
			a.log.Error().Stringer("code", connect.CodeOf(err)).Str("disposition", r.Disposition).Msg("the call queue does not take a report: its call stays uncertain")
			return
		}
		a.silence(err)
		a.count(func(s *Stats) { s.Repeated++ })
		if !wait(a.reporting, a.queue.next()) {
			a.count(func(s *Stats) { s.Unreported++ })
			a.log.Error().Str("disposition", r.Disposition).Msg("a call could not be reported before the stop: it stays uncertain")
			return
		}
	}
}

// release gives back what was not dialled, so that another agent need not wait for the lease to end. It is not tried again: the
// lease ends anyway.
func (a *agent) release(task *candorv1.CallTask, reason string) {
	_, err := asked(context.WithoutCancel(a.reporting), &candorv1.ReleaseRequest{Lease: task.GetLease(), Reason: reason}, a.client.Release)
	if err != nil {
		a.log.Warn().Stringer("code", connect.CodeOf(err)).Msg("a task could not be given back: it is free when its lease has ended")
		return
	}
	a.count(func(s *Stats) { s.Released++ })
}

// asked puts one request.
func asked[Q, R any](ctx context.Context, q *Q, method func(context.Context, *connect.Request[Q]) (*connect.Response[R], error)) (*R, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := method(ctx, connect.NewRequest(q))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// final says that asking again is of no use: the request is wrong, or this dialer may not ask.
func final(err error) bool {
	if err == nil {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeAlreadyExists, connect.CodePermissionDenied,
		connect.CodeFailedPrecondition, connect.CodeOutOfRange, connect.CodeUnimplemented, connect.CodeUnauthenticated:
		return true
	}
	return false
}

// Answered says whether the queue has ever answered a claim.
func (d *Dialer) Answered() bool { return d.answered.Load() }

// silence and answers note whether the queue is there: agents that find it gone say so once between them.
func (d *Dialer) silence(err error) {
	if !d.silent.Swap(true) {
		d.log.Warn().Stringer("code", connect.CodeOf(err)).Msg("the call queue does not answer: agents ask again, less and less often")
	}
}

func (d *Dialer) answers() {
	d.answered.Store(true)
	if d.silent.Swap(false) {
		d.log.Info().Msg("the call queue answers again")
	}
}

func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
