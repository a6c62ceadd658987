package callqueue

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// What a dialer is told when its lease is not what it takes it for.
var (
	ErrUnknownLease = errors.New("there is no such lease: claim a task, and use the lease that came with it")
	ErrForeignLease = errors.New("the lease belongs to another token: use the one that claimed the task")
	ErrLeaseOver    = errors.New("the lease is over: do not dial any more; a call that was made can still be completed")
	ErrWithdrawn    = errors.New("the customer is not to be called any more, or not at this number: do not dial; a call that was made can still be completed")
	ErrNotNow       = errors.New("do not dial now; a call that has begun goes on, and can still be completed")

	errNobody = errors.New("a claim needs a dialer and random numbers")
)

// Lease names a lease.
type Lease struct {
	Place  Place
	Fence  uint64
	Random uint64
}

var leaseText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// String returns the lease in the form that dialers are given.
func (l Lease) String() string {
	b := binary.AppendUvarint(nil, uint64(l.Place.Page))
	b = binary.AppendUvarint(b, uint64(l.Place.Slot))
	b = binary.AppendUvarint(b, l.Fence)
	b = binary.BigEndian.AppendUint64(b, l.Random)
	return leaseText.EncodeToString(append(b, l.Place.Incident...))
}

// ParseLease reads what String wrote.
func ParseLease(s string) (Lease, error) {
	b, err := leaseText.DecodeString(s)
	if err != nil {
		return Lease{}, ErrUnknownLease
	}
	var parts [3]uint64
	for i := range parts {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return Lease{}, ErrUnknownLease
		}
		parts[i], b = v, b[n:]
	}
	if len(b) < 8 {
		return Lease{}, ErrUnknownLease
	}
	l := Lease{
		Place: Place{Incident: string(b[8:]), Page: uint32(parts[0]), Slot: uint32(parts[1])},
		Fence: parts[2], Random: binary.BigEndian.Uint64(b),
	}
	if l.String() != s {
		return Lease{}, ErrUnknownLease
	}
	return l, nil
}

// leasedTo finds a lease that belongs to a dialer.
func (q *Queue) leasedTo(l Lease, dialer string) (id uint32, a *attempt, err error) {
	id = q.task(l.Place)
	if id == 0 {
		return 0, nil, ErrUnknownLease
	}
	a = q.leaseOf(q.tasks.at(id), l.Fence)
	switch {
	case a == nil || a.lease != [2]uint32{uint32(l.Random >> 32), uint32(l.Random)}:
		return 0, nil, ErrUnknownLease
	case q.words.list[a.dialer] != dialer:
		return 0, nil, ErrForeignLease
	}
	return id, a, nil
}

// leaseFor returns how long a lease lasts.
func leaseFor(rules *playbook.Calls, mode candorv1.DialMode, asked time.Duration) time.Duration {
	switch {
	case asked > 0:
		return min(asked, MaxLease)
	case mode == candorv1.DialMode_DIAL_MODE_PROGRESSIVE:
		return rules.Leases.Progressive
	}
	return rules.Leases.Preview
}

// Renew prolongs a lease to so long from now, never shortens it, and returns its new end; 0 is what suits the mode. There is
// no event if nothing changes. A lease lasts until Tick has ended it.
//
// A refusal is the sign to stop for a call that has not begun. It cannot be known here whether one has: that goes on, the lease
// may end before it does, and its report is taken late. Nobody else calls meanwhile, for the cool-down and the gap.
func (q *Queue) Renew(at time.Time, l Lease, dialer string, lasting time.Duration) (time.Time, *candorv1.CallEvent, error) {
	id, a, err := q.leasedTo(l, dialer)
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("renew: %w", err)
	}
	t := q.tasks.at(id)
	switch {
	case a.has(closed):
		return time.Time{}, nil, fmt.Errorf("renew: %w", ErrLeaseOver)
	case t.over(), t.pending != 0, a.phone < t.nPhones && !q.good(t, a.phone):
		return time.Time{}, nil, fmt.Errorf("renew: %w", ErrWithdrawn)
	}
	if why := q.notNow(t, a, sec(at)); why != "" {
		return time.Time{}, nil, fmt.Errorf("renew: %s: %w", why, ErrNotNow)
	}
	mode := candorv1.DialMode_DIAL_MODE_PREVIEW
	if a.has(progressive) {
		mode = candorv1.DialMode_DIAL_MODE_PROGRESSIVE
	}
	in := q.of(t)
	until := plus(sec(at), leaseFor(in.rules, mode, lasting))
	if until <= a.endedAt {
		return instant(a.endedAt), nil, nil
	}
	ev := &candorv1.CallEvent{Event: &candorv1.CallEvent_Renewed{Renewed: &candorv1.CallRenewed{
		Customer: l.Place.proto(), Fence: l.Fence, ExpiresAt: proto(until),
	}}}
	return instant(until), ev, q.apply(sec(at), in, ev, nil)
}

// notNow says why a call under an open lease must not begin at this moment; empty if it may.
func (q *Queue) notNow(t *task, a *attempt, now uint32) string {
	in := q.of(t)
	switch w := q.wishOf(t, in, now); {
	case in.held:
		return "the incident is paused"
	case a.lastCall != 0 && now > plus(a.lastCall, in.rules.Lead): // calls that began in time last into the lead
		return "the hours in which the customer may be called are over"
	case t.has(asked) && w.at != 0 && w.from > now:
		return "the customer asked to be called at another time"
	}
	return ""
}

// Release gives a task back that was not dialled. The reason agent_skip counts as the disposition of that name says. A lease
// that is over is left as it is, without an event.
func (q *Queue) Release(at time.Time, l Lease, dialer, reason string) (*candorv1.CallEvent, error) {
	id, a, err := q.leasedTo(l, dialer)
	if err != nil {
		return nil, fmt.Errorf("release: %w", err)
	}
	if a.has(closed) {
		return nil, nil
	}
	ev := &candorv1.CallEvent{Event: &candorv1.CallEvent_Released{Released: &candorv1.CallReleased{
		Customer: l.Place.proto(), Fence: l.Fence, Reason: code(reason),
	}}}
	return ev, q.apply(sec(at), q.of(q.tasks.at(id)), ev, nil)
}

// code lets through what looks like a code: free text could be about a person.
func code(s string) string {
	if len(s) > 32 {
		return "other"
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return "other"
		}
	}
	return s
}
