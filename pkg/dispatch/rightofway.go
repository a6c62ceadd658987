package dispatch

import (
	"context"
	"errors"
	"sync"

	"candor/pkg/ratelimit"
	"candor/pkg/topology"
)

// ways keeps the right of way: while a page of lane first wants a sender's time, strides of lane next wait for it. What is
// under way already goes on: a written intent is sent, and time that was booked would be lost.
//
// It knows this process alone, and that suffices. Orders of both lanes are spread over all processes, so while first notices
// queue up every process has some in hand. When their last pages are left, a process without one competes through the limiter
// only, with one stride of a sender at a time, and the limiter books at most two seconds ahead: a first notice waits for that
// much, and never behind a backlog.
type ways struct {
	mu      sync.Mutex
	senders map[string]*way
}

// way is one sender's. There is none for a sender that nobody wants.
type way struct {
	// first counts the pages of lane first that want the sender's time.
	first int
	// turn says that a stride of lane next books time. One at a time: who comes with right of way finds no queue before it.
	turn bool
	// changed is closed when the above has; nil while nobody waits for that.
	changed chan struct{}
}

func newWays() *ways { return &ways{senders: map[string]*way{}} }

// want says that a page of lane first is about to use a sender's time, until unwant.
func (w *ways) want(sender string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of(sender).first++
}

func (w *ways) unwant(sender string) {
	w.change(sender, func(s *way) { s.first-- })
}

// pass takes the turn for a stride of lane next, until passed; or returns a channel that is closed when it is worth another
// try, and whether it is for a first notice that the stride waits.
func (w *ways) pass(sender string) (wait <-chan struct{}, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.of(sender)
	if s.first == 0 && !s.turn {
		s.turn = true
		return nil, false
	}
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed, s.first > 0
}

func (w *ways) passed(sender string) {
	w.change(sender, func(s *way) { s.turn = false })
}

func (w *ways) change(sender string, do func(*way)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.senders[sender]
	do(s)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	if s.first == 0 && !s.turn {
		delete(w.senders, sender)
	}
}

func (w *ways) of(sender string) *way {
	s := w.senders[sender]
	if s == nil {
		s = &way{}
		w.senders[sender] = s
	}
	return s
}

var (
	// errLookAgain ends a wait in which something changed that the page has to see.
	errLookAgain = errors.New("look again")
	// errGivesWay ends a wait that first notices made too long.
	errGivesWay = errors.New("first notices go before")
)

// reserve books time with the sender, when it is this lane's turn.
func (h *hand) reserve(ctx context.Context, sender string, pace Pace) (ratelimit.Grant, error) {
	if h.order.GetLane() == topology.LaneFirst {
		h.keepWay(sender)
	} else {
		if err := h.giveWay(ctx, sender); err != nil {
			return ratelimit.Grant{}, err
		}
		defer h.ways.passed(sender)
	}
	return h.Limiter.Reserve(ctx, sender, pace.Units, pace.PerSec)
}

// keepWay keeps the right of way from one stride of the page to its next. A page of several senders has that of the one whose
// time it uses: the others' would be idle.
func (h *hand) keepWay(sender string) {
	if h.way == sender {
		return
	}
	h.ways.want(sender)
	h.leaveWay()
	h.way = sender
}

// leaveWay gives the right of way back when the page has nothing to send at this moment.
func (h *hand) leaveWay() {
	if h.way != "" {
		h.ways.unwant(h.way)
		h.way = ""
	}
}

// giveWay waits until no first notice wants the sender's time, and takes the turn.
func (h *hand) giveWay(ctx context.Context, sender string) error {
	changed := h.Incidents.Changed()
	for {
		wait, first := h.ways.pass(sender)
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-changed: // a pause, or an end
			return errLookAgain
		case <-h.stopping:
			return errLookAgain
		case <-ctx.Done():
			if first {
				return errGivesWay
			}
			return ctx.Err()
		}
	}
}
