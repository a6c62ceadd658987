package dialer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
)

// queue plays the call queue: it hands each task out once, and keeps account of what happens to it.
type queue struct {
	candorv1connect.CallQueueServiceClient // what the dialer must not use is nil
	mu                                     sync.Mutex
	dice                                   *rand.Rand
	waiting                                []*candorv1.CallTask
	leases                                 map[string]*heldTask
	// away is how often it does not answer, lost how often it does what it is asked and the answer is lost.
	away, lost float64
	deny       error
	denyRenew  error
	halfRenews bool // every other renewal of a lease is not answered

	claims, renewals, completions int
	renewedAt                     []time.Time
	most                          int
	reasons                       map[string]int
	wrong                         []string
}

type heldTask struct {
	task    *candorv1.CallTask
	until   time.Time
	length  time.Duration
	report  *candorv1.CompleteRequest
	release bool
	asked   int // renewals
}

func newQueue(tasks int) *queue {
	q := &queue{dice: rand.New(rand.NewPCG(1, 2)), leases: map[string]*heldTask{}, reasons: map[string]int{}}
	for i := range tasks {
		q.waiting = append(q.waiting, &candorv1.CallTask{
			Task: fmt.Sprintf("t%d", i), Incident: "i", Attempt: 1, Phone: fmt.Sprintf("+1500555%04d", i), GivenName: "Zacharias",
			Code: fmt.Sprintf("C0DE-%04d", i), WindowEndsAt: timestamppb.New(time.Now().Add(12 * time.Hour)),
			Script: &candorv1.Script{Parts: []*candorv1.ScriptPart{{Name: "voicemail", Text: "please call"}}},
		})
	}
	return q
}

var errAway = connect.NewError(connect.CodeUnavailable, errors.New("away"))

// begin fails as the queue is told to fail.
func (q *queue) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	if q.deny != nil {
		return q.deny
	}
	if q.dice.Float64() < q.away {
		return errAway
	}
	return nil
}

func (q *queue) end() error {
	if q.dice.Float64() < q.lost {
		return errAway
	}
	return nil
}

func (q *queue) Claim(ctx context.Context, r *connect.Request[candorv1.ClaimRequest]) (*connect.Response[candorv1.ClaimResponse], error) {
	give := func() (*candorv1.ClaimResponse, error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.claims++
		if err := q.begin(ctx); err != nil {
			return nil, err
		}
		resp := &candorv1.ClaimResponse{}
		if len(q.waiting) > 0 {
			t := q.waiting[0]
			q.waiting = q.waiting[1:]
			t.Lease = "lease-" + t.GetTask()
			length := r.Msg.GetLease().AsDuration()
			q.leases[t.GetLease()] = &heldTask{task: t, length: length, until: time.Now().Add(length)}
			t.ExpiresAt = timestamppb.New(time.Now().Add(length - time.Hour)) // its clock is an hour behind: of no matter
			resp.Tasks = append(resp.Tasks, t)
		}
		q.most = max(q.most, q.held())
		return resp, nil
	}
	resp, err := give()
	if err == nil && len(resp.GetTasks()) == 0 {
		wait(ctx, r.Msg.GetWait().AsDuration())
		resp, err = give()
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(resp), nil
}

// held counts the tasks that somebody has at this moment.
func (q *queue) held() (n int) {
	for _, l := range q.leases {
		if l.report == nil && !l.release && time.Now().Before(l.until) {
			n++
		}
	}
	return n
}

func (q *queue) Renew(ctx context.Context, r *connect.Request[candorv1.RenewRequest]) (*connect.Response[candorv1.RenewResponse], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.renewals++
	if q.denyRenew != nil {
		return nil, q.denyRenew
	}
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	l := q.leases[r.Msg.GetLease()]
	if l != nil && q.halfRenews {
		if l.asked++; l.asked%2 == 1 {
			return nil, errAway
		}
	}
	switch {
	case l == nil || l.release:
		q.wrong = append(q.wrong, "renewed what was not held: "+r.Msg.GetLease())
		return nil, connect.NewError(connect.CodeNotFound, errors.New("unknown"))
	case l.report != nil || time.Now().After(l.until): // the answer to its report was lost, or those to its renewals were
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("over"))
	}
	q.renewedAt = append(q.renewedAt, time.Now())
	l.until = time.Now().Add(r.Msg.GetLeaseFor().AsDuration())
	return connect.NewResponse(&candorv1.RenewResponse{ExpiresAt: timestamppb.New(l.until)}), q.end()
}

func (q *queue) Release(ctx context.Context, r *connect.Request[candorv1.ReleaseRequest]) (*connect.Response[candorv1.ReleaseResponse], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	l := q.leases[r.Msg.GetLease()]
	if l == nil || l.report != nil {
		q.wrong = append(q.wrong, "released what was not held: "+r.Msg.GetLease())
		return nil, connect.NewError(connect.CodeNotFound, errors.New("unknown"))
	}
	l.release = true
	q.reasons[r.Msg.GetReason()]++
	return connect.NewResponse(&candorv1.ReleaseResponse{}), nil
}

func (q *queue) Complete(ctx context.Context, r *connect.Request[candorv1.CompleteRequest]) (*connect.Response[candorv1.CompleteResponse], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.completions++
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	l := q.leases[r.Msg.GetLease()]
	switch {
	case l == nil || l.release:
		q.wrong = append(q.wrong, "completed what was not held: "+r.Msg.GetLease())
		return nil, connect.NewError(connect.CodeNotFound, errors.New("unknown"))
	case l.report != nil && l.report.GetDisposition() != r.Msg.GetDisposition():
		q.wrong = append(q.wrong, "two reports of "+r.Msg.GetLease())
	case r.Msg.GetDisposition() == "", r.Msg.GetStartedAt() == nil, r.Msg.GetEndedAt() == nil, r.Msg.GetCallId() == "":
		q.wrong = append(q.wrong, "half a report of "+r.Msg.GetLease())
	case (r.Msg.GetCallBackAt() != nil) != (r.Msg.GetDisposition() == "callback" || r.Msg.GetDisposition() == "notified_callback"):
		q.wrong = append(q.wrong, "a call-back that nobody asked for, or without its time: "+r.Msg.GetLease())
	}
	if l.report == nil {
		l.report = r.Msg
	}
	return connect.NewResponse(&candorv1.CompleteResponse{Late: time.Now().After(l.until)}), q.end()
}

// fates counts what became of the tasks.
func (q *queue) fates() (completed, released, left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.leases {
		switch {
		case l.report != nil:
			completed++
		case l.release:
			released++
		case time.Now().After(l.until):
			left++
		}
	}
	return completed, released, left
}
