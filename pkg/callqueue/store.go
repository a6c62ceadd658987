package callqueue

import (
	"math"
	"strings"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// slab holds many values in pieces that never move. 0 names none of them.
type slab[T any] struct {
	pieces [][]T
	n      uint32
}

const pieceBits = 10

func (s *slab[T]) add() (uint32, *T) {
	if s.n == 0 || s.n>>pieceBits == uint32(len(s.pieces)) {
		s.pieces = append(s.pieces, make([]T, 1<<pieceBits))
	}
	s.n = max(s.n, 1)
	i := s.n
	s.n++
	return i, s.at(i)
}

func (s *slab[T]) at(i uint32) *T { return &s.pieces[i>>pieceBits][i&(1<<pieceBits-1)] }

// task is one customer to be called. Sixty-eight bytes, so that a million of them fit. Instants are seconds since 1970, 0 is
// none.
type task struct {
	page   uint32 // index of Queue.pages
	phones uint32 // the first of its phones, the others follow
	queued uint32
	// Not before it, and when it ended for one that has.
	nextAt   uint32
	callBack uint32 // when the customer asked to be called
	wishedAt uint32 // when they said so
	last     uint32 // newest attempt
	since    uint32 // newest attempt before the task was opened, for the last time
	fence    uint32
	past     uint32 // how it ended before
	heap     uint32 // the heap that it lies in, and where
	pos      uint32
	slot     uint16
	language uint16
	purpose  uint16
	waves    uint16 // sets of waves: those that the task answers, and those for which the customer was told
	told     uint16
	reason   uint16 // why it ended
	pending  uint16 // the disposition with which it ends as soon as nobody holds it
	state    uint8
	shown    uint8
	priority uint8
	nPhones  uint8
	phone    uint8 // the next to dial, or one of those after it
	flags    taskFlags
}

type taskFlags uint8

const (
	// leaseOut: somebody holds the task, even if it has been ended meanwhile.
	leaseOut taskFlags = 1 << iota
	// urgent: the customer asked to be called, as soon as may be.
	urgent
	// asked: the customer asked to be called since the task was leased for the last time, so that its report is no answer.
	asked
	// wasTold: the customer was told all that the task is for.
	wasTold
)

func (t *task) has(f taskFlags) bool { return t.flags&f != 0 }

func (t *task) set(f taskFlags, on bool) {
	t.flags &^= f
	if on {
		t.flags |= f
	}
}

func (t *task) over() bool { return over(candorv1.CallState(t.state)) }

func over(s candorv1.CallState) bool {
	switch s {
	case candorv1.CallState_CALL_STATE_DONE, candorv1.CallState_CALL_STATE_FAILED,
		candorv1.CallState_CALL_STATE_SUPPRESSED, candorv1.CallState_CALL_STATE_EXPIRED:
		return true
	}
	return false
}

// phone is one number of one customer.
type phone struct {
	task   uint32
	number uint32 // 0 if it cannot be dialled
	hours  uint32
	next   uint32 // next phone, of another customer perhaps, with the same number
	bad    bool
}

// number is what holds for a number, whosever it is.
type number struct {
	hash  uint64
	first uint32 // phones that have it
	last  uint32 // newest attempt at it
	avoid uint32 // when nobody answered last: not at this time of day again
	held  uint16 // open leases that may dial it
	// closed: voice is closed by the list of suppressions; refused: by the person who answered.
	closed, refused bool
}

func (n *number) shut() bool { return n.closed || n.refused }

// attempt is one lease and what came of it, or one more call that was made under it.
type attempt struct {
	lease       [2]uint32 // random part of its id
	older       uint32    // of the same task
	olderCall   uint32    // of the same number
	number      uint32
	leasedAt    uint32
	endedAt     uint32 // when it ends while it is open
	calledAt    uint32 // what the caps count from
	nextAt      uint32 // what the dialer was answered
	callBack    uint32 // what the dialer reported
	fence       uint32
	lastCall    uint32 // until when its call was to begin; 0 if there was no end
	dialer      uint16
	disposition uint16
	phone       uint8
	offered     uint8 // bits: the phones that belong to the lease
	weight      uint8 // hundredths of a call
	state       uint8 // what the dialer was answered
	flags       attemptFlags
}

type attemptFlags uint8

const (
	closed attemptFlags = 1 << iota
	reported
	late
	expired
	released
	progressive
	// rang: no lease, but a call that went unanswered under the lease before which it stands in the list.
	rang
)

const whole = 100

func (a *attempt) has(f attemptFlags) bool { return a.flags&f != 0 }

// ending is how a task ended that was opened again.
type ending struct {
	older       uint32
	at          uint32
	waves, told uint16
	reason      uint16
	state       uint8
}

type page struct {
	incident *incident
	number   uint32
	shelved  uint32   // its tasks are not claimed before that
	slots    []uint32 // tasks
}

// words numbers the few words that tasks refer to; 0 is the empty one, and any for which there is no room.
type words struct {
	list  []string
	index map[string]uint16
}

func newWords() words { return words{list: []string{""}, index: map[string]uint16{"": 0}} }

func (w *words) of(s string) uint16 {
	if i, ok := w.index[s]; ok {
		return i
	}
	if len(w.list) > math.MaxUint16 {
		return 0
	}
	i := uint16(len(w.list))
	s = strings.Clone(s)
	w.list, w.index[s] = append(w.list, s), i
	return i
}

// with returns the set of waves with one more in it.
func (in *incident) with(set, wave uint16) uint16 {
	waves := in.sets[set]
	for _, w := range waves {
		if w == wave {
			return set
		}
	}
	key := make([]byte, 0, 2*len(waves)+2)
	for _, w := range waves {
		key = append(key, byte(w>>8), byte(w))
	}
	key = append(key, byte(wave>>8), byte(wave))
	if i, ok := in.setIndex[string(key)]; ok {
		return i
	}
	if len(in.sets) > math.MaxUint16 {
		return set
	}
	i := uint16(len(in.sets))
	in.sets = append(in.sets, append(append([]uint16(nil), waves...), wave))
	in.setIndex[string(key)] = i
	return i
}

func (in *incident) includes(set, wave uint16) bool {
	for _, w := range in.sets[set] {
		if w == wave {
			return true
		}
	}
	return false
}

// never is later than all instants that are.
const never = math.MaxUint32

func sec(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 1), never-1))
}

func instant(s uint32) time.Time {
	if s == 0 || s == never {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}

func plus(s uint32, d time.Duration) uint32 {
	d = max(d, 0)
	n := uint64(d / time.Second)
	if d%time.Second != 0 {
		n++
	}
	return uint32(min(uint64(s)+n, never-1))
}

func minus(s uint32, d time.Duration) uint32 {
	n := uint64(max(d, 0) / time.Second)
	if n >= uint64(s) {
		return 1
	}
	return s - uint32(n)
}
