package callqueue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// What a dialer is told of a report that cannot be right.
var (
	ErrCallBackMissing  = errors.New("the disposition needs the time at which the customer wants to be called: give call_back_at")
	ErrCallBackUnwanted = errors.New("the disposition takes no call_back_at: leave it out, or report callback")
	ErrForeignNumber    = errors.New("the phone is none of the customer's: give one that came with the task")
)

// UnknownDispositionError says that a code is not in the playbook's table.
type UnknownDispositionError struct {
	Code  string
	Known []string
}

func (e *UnknownDispositionError) Error() string {
	return fmt.Sprintf("there is no disposition %q: use one of %s", e.Code, strings.Join(e.Known, ", "))
}

// CallBackTimeError says that a customer cannot be called at the time that was asked for.
type CallBackTimeError struct{ At, From, Until time.Time }

func (e *CallBackTimeError) Error() string {
	if !e.At.After(e.From) {
		return fmt.Sprintf("the call-back at %s lies in the past: it is %s", e.At.Format(time.RFC3339), e.From.Format(time.RFC3339))
	}
	return fmt.Sprintf("the call-back at %s is too far ahead: %s is the latest", e.At.Format(time.RFC3339), e.Until.Format(time.RFC3339))
}

// ReportedError says that another report was made of the same lease; that one stands.
type ReportedError struct{ Disposition string }

func (e *ReportedError) Error() string {
	return fmt.Sprintf("the lease was completed before, with %s, and that report stands", e.Disposition)
}

// Report is how a call ended, in a dialer's words.
type Report struct {
	Disposition string
	CallBackAt  time.Time
	// Number is the one that was dialled, as a keyed hash; 0 is the task's first.
	Number                         uint64
	StartedAt, AnsweredAt, EndedAt time.Time
	CallID                         string
}

// Answer is what a report makes of the task.
type Answer struct {
	State candorv1.CallState
	// Late says that the lease was over before.
	Late bool
	// NextAt is from when on the task may be claimed again; zero if it may not, or if that is not known.
	NextAt time.Time
}

// Complete notes how a call ended. The same report of the same lease gets the same answer, and makes no event. A report on a
// lease that is over is noted all the same: it decides if nobody has claimed the task since, and ends it in any case if
// the customer was told, or is not to be called.
func (q *Queue) Complete(at time.Time, l Lease, dialer string, r Report) (Answer, *candorv1.CallEvent, error) {
	now := sec(at)
	id, a, err := q.leasedTo(l, dialer)
	if err != nil {
		return Answer{}, nil, fmt.Errorf("complete: %w", err)
	}
	t := q.tasks.at(id)
	in := q.of(t)
	d, known := in.rules.Dispositions[r.Disposition]
	if !known {
		codes := make([]string, 0, len(in.rules.Dispositions))
		for c := range in.rules.Dispositions {
			codes = append(codes, c)
		}
		slices.Sort(codes)
		return Answer{}, nil, fmt.Errorf("complete: %w", &UnknownDispositionError{Code: r.Disposition, Known: codes})
	}
	index, number, err := q.dialled(t, a, r.Number)
	if err != nil {
		return Answer{}, nil, fmt.Errorf("complete: %w", err)
	}
	if a.has(reported) {
		if q.words.list[a.disposition] != r.Disposition || a.callBack != sec(r.CallBackAt) || a.phone != index {
			return Answer{}, nil, fmt.Errorf("complete: %w", &ReportedError{q.words.list[a.disposition]})
		}
		return a.answer(), nil, nil
	}
	if err := checkCallBack(d, r, at); err != nil {
		return Answer{}, nil, fmt.Errorf("complete: %w", err)
	}
	e := &candorv1.CallCompleted{
		Customer: l.Place.proto(), Fence: l.Fence, Disposition: r.Disposition, CallBackAt: proto(sec(r.CallBackAt)),
		Phone: uint32(index), Number: number, StartedAt: moment(r.StartedAt), AnsweredAt: moment(r.AnsweredAt),
		EndedAt: moment(r.EndedAt), CallId: r.CallID, Late: a.has(closed),
	}
	q.record(now, id, a, e)
	q.decide(t, in, d, a, e, now)
	q.conclude(now, id, a, e)
	return a.answer(), &candorv1.CallEvent{Event: &candorv1.CallEvent_Completed{Completed: e}}, nil
}

func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func (a *attempt) answer() Answer {
	return Answer{State: candorv1.CallState(a.state), Late: a.has(late), NextAt: instant(a.nextAt)}
}

// dialled returns the phone that a report is about: the leased one, or another of the customer's.
func (q *Queue) dialled(t *task, a *attempt, hash uint64) (index uint8, n uint64, err error) {
	if hash == 0 {
		if a.number != 0 {
			n = q.numbers.at(a.number).hash
		}
		return a.phone, n, nil
	}
	for i := range t.nPhones {
		if p := q.phones.at(t.phones + uint32(i)); p.number != 0 && q.numbers.at(p.number).hash == hash {
			return i, hash, nil
		}
	}
	return 0, 0, ErrForeignNumber
}

// checkCallBack refuses a time that lay in the past when the customer named it.
func checkCallBack(d playbook.Disposition, r Report, now time.Time) error {
	switch {
	case d.CallBack && r.CallBackAt.IsZero():
		return ErrCallBackMissing
	case !d.CallBack && !r.CallBackAt.IsZero():
		return ErrCallBackUnwanted
	case !d.CallBack:
		return nil
	}
	from := now
	if !r.EndedAt.IsZero() && r.EndedAt.Before(now) {
		from = r.EndedAt
	}
	return checkTime(r.CallBackAt, from, now)
}

func checkTime(at, from, now time.Time) error {
	if until := now.Add(MaxAhead); !at.After(from) || at.After(until) {
		return &CallBackTimeError{At: at.UTC(), From: from.UTC(), Until: until.UTC()}
	}
	return nil
}

// decide says what a report makes of the task, after it was recorded.
func (q *Queue) decide(t *task, in *incident, d playbook.Disposition, a *attempt, e *candorv1.CallCompleted, now uint32) {
	done := candorv1.CallState_CALL_STATE_DONE
	goOn := func(next uint32) {
		e.State, e.NextAt = candorv1.CallState(waitingOrPending(next, now)), proto(next)
	}
	switch {
	case !q.current(t, a):
		e.State = candorv1.CallState(t.state)
	case t.over():
		if e.State = candorv1.CallState(t.state); d.Told {
			e.State = done
		}
	case t.has(leaseOut):
		e.State = candorv1.CallState_CALL_STATE_LEASED
	case a.fence != t.fence && d.Ends == "" && !d.CallBack:
		w := q.wishOf(t, in, now)
		e.State, _ = t.showing(w, now)
		e.NextAt = proto(q.soonest(t, in, w, now))
	default:
		if next, ends := q.follows(t, in, d, a, now); !ends.ends() {
			goOn(next)
		} else if e.State = ends.state; t.has(wasTold) {
			e.State = done
		}
	}
}

func (e end) ends() bool { return e.state != candorv1.CallState_CALL_STATE_UNSPECIFIED }

// follows returns when the task may be claimed again after a report, or how it ends.
func (q *Queue) follows(t *task, in *incident, d playbook.Disposition, a *attempt, now uint32) (next uint32, ends end) {
	failed := end{state: candorv1.CallState_CALL_STATE_FAILED}
	switch {
	case d.Ends != "":
		return 0, end{state: endState(d.Ends)}
	case t.pending != 0: // an earlier call, reported late, has told the customer
		return 0, end{state: endState(in.rules.Dispositions[q.words.list[t.pending]].Ends)}
	case in.withdrawn(): // nobody tries again
		return 0, failed
	case d.CallBack:
		return q.after(t, in, a.callBack, a.calledAt, 0, t.phone, now), end{}
	case d.Most > 0 && q.times(t, a.disposition) >= d.Most && !t.has(asked):
		return 0, failed
	}
	phone, atOnce := q.turn(t, d, a)
	if !q.good(t, phone) {
		if d.DoNotCall {
			return 0, end{state: candorv1.CallState_CALL_STATE_SUPPRESSED}
		}
		return 0, failed
	}
	if t.has(asked) { // the customer asked during the call
		return q.after(t, in, t.callBack, t.wishedAt, 0, phone, now), end{}
	}
	if q.spent(t)+whole > in.rules.Caps.Total*whole {
		return 0, failed
	}
	from := now
	if !atOnce {
		from = q.pause(t, d, a.disposition, int(a.phone), now)
	}
	return q.after(t, in, 0, 0, from, phone, now), end{}
}

// turn returns the phone that is tried next, and whether at once: it is not if the customer's phones have all had their turn.
func (q *Queue) turn(t *task, d playbook.Disposition, a *attempt) (phone uint8, atOnce bool) {
	if a.phone >= t.nPhones {
		return t.phone, false
	}
	stay := q.good(t, a.phone)
	if stay && d.Number != playbook.NumberNext && d.Number != playbook.NumberBadTwice {
		return a.phone, false
	}
	for i := uint8(1); i < t.nPhones; i++ {
		if next := (a.phone + i) % t.nPhones; q.good(t, next) {
			return next, !stay || next > a.phone
		}
	}
	return a.phone, false
}

// pause returns until when a disposition has the customer left alone.
func (q *Queue) pause(t *task, d playbook.Disposition, disposition uint16, phone int, now uint32) uint32 {
	until := now
	if n := len(d.After); n > 0 {
		until = plus(now, d.After[min(max(q.times(t, disposition), 1), n)-1])
	}
	if d.NextDay {
		zone := time.UTC
		if phone < int(t.nPhones) {
			if h := q.hours[q.phones.at(t.phones+uint32(phone)).hours]; len(h.zones) > 0 {
				zone = h.zones[0]
			}
		}
		y, m, day := instant(now).In(zone).Date()
		until = max(until, sec(time.Date(y, m, day+1, 0, 0, 0, 0, zone)))
	}
	return until
}

// after returns when a task may be claimed that waits for a time, or for its customer's own.
func (q *Queue) after(t *task, in *incident, callBack, wishedAt, from uint32, phone uint8, now uint32) uint32 {
	like := *t
	like.callBack, like.wishedAt, like.nextAt, like.phone = callBack, wishedAt, max(from, 1), phone
	like.state = waitingOrPending(like.nextAt, now)
	return q.soonest(&like, in, q.wishOf(&like, in, now), now)
}

// soonest returns when a task may be claimed as far as is known now; never if it may not.
func (q *Queue) soonest(t *task, in *incident, w wish, now uint32) uint32 {
	index, ok := q.phoneOf(t, w, now)
	if !ok {
		return never
	}
	b := q.barsOf(t, in, index, w.at != 0, now)
	from := max(now, b.until())
	if t.cooling(now) {
		from = max(from, t.nextAt)
	}
	switch {
	case w.at != 0:
		if from = max(from, w.from); from <= w.until {
			return from
		}
		missed := q.wishOf(t, in, w.until+1)
		from = max(from, missed.from)
		index, _ = q.phoneOf(t, missed, now)
	case w.missed:
		from = max(from, w.from)
	default:
		from = max(from, t.nextAt)
	}
	p := q.phones.at(t.phones + uint32(index))
	if from == never || p.number == 0 {
		return never
	}
	return q.hours[p.hours].opens(from, q.numbers.at(p.number).avoid)
}
