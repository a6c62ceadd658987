package calls

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/callqueue"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// books are the queue as it is folded, and how far.
type books struct {
	*Calls
	queue *callqueue.Queue
	// last is the sequence of the last event of each incident.
	last map[string]uint64
	// asked are the ids of the wishes to be called that the queue knows.
	asked map[string]struct{}
	// broken are the incidents that cannot be served: why.
	broken map[string]string

	mu     sync.Mutex // guards people
	people *people

	// heard are the opt-outs, by number, that were added or taken back since the queue was told of them for the last time.
	hearing sync.Mutex
	heard   map[uint64]bool

	// Of the tenure: who we are, and the seat's revision.
	me  string
	rev uint64
}

func newBooks(c *Calls) (*books, error) {
	p, err := newPeople(c.Suppressions)
	if err != nil {
		return nil, err
	}
	return &books{
		Calls: c, queue: callqueue.New(), last: map[string]uint64{}, asked: map[string]struct{}{}, broken: map[string]string{}, people: p,
		heard: map[uint64]bool{},
	}, nil
}

// hear notes an opt-out that was added or taken back, for whoever works with the queue.
func (b *books) hear(number uint64, in bool) {
	b.hearing.Lock()
	defer b.hearing.Unlock()
	b.heard[number] = in
}

// allHeard returns what was heard since it was called for the last time; nil for nothing, as nearly always.
func (b *books) allHeard() map[uint64]bool {
	b.hearing.Lock()
	defer b.hearing.Unlock()
	if len(b.heard) == 0 {
		return nil
	}
	heard := b.heard
	b.heard = map[uint64]bool{}
	return heard
}

// heedOptOuts tells the queue of the opt-outs that were heard of. Numbers that it does not know it is told of with their customers.
func (b *books) heedOptOuts(now time.Time) {
	for number, in := range b.allHeard() {
		switch {
		case !in:
			b.queue.Allow(now, number)
		case b.queue.Knows(number):
			b.queue.Suppress(now, number)
		}
	}
}

// follow folds all events until ctx ends.
func (b *books) follow(ctx context.Context, caughtUp func()) error {
	err := b.Bus.Follow(ctx, topology.StreamCalls, []string{topology.CallEvents("*")}, 1,
		func(m bus.Stored) error { return b.fold(ctx, m) }, func(uint64) { caughtUp() })
	if err != nil {
		return fmt.Errorf("fold the call queue: %w", err)
	}
	return nil
}

// fold takes the next message of an incident. What is wrong with one incident alone does not keep the others from being
// called.
func (b *books) fold(ctx context.Context, m bus.Stored) error {
	id, ok := topology.ParseCallEvents(m.Subject)
	if !ok {
		return fmt.Errorf("unexpected subject %s", m.Subject)
	}
	if m.Seq <= b.last[id] {
		return nil
	}
	if b.broken[id] == "" {
		err := b.take(ctx, id, m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var lasting *lastingError
		switch {
		case errors.As(err, &lasting):
			b.breakOff(id, lasting.Error())
		case err != nil:
			return err
		}
	}
	b.last[id] = m.Seq
	return nil
}

// lastingError is what reading again does not mend.
type lastingError struct{ error }

func (e *lastingError) Unwrap() error { return e.error }

func (b *books) breakOff(id, why string) {
	if b.broken[id] != "" {
		return
	}
	b.broken[id] = why
	b.queue.Hold(id, true)
	if inc := b.Incidents.Get(id); inc != nil && inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		return // nobody is to be called for it any more
	}
	b.Log.Error().Str("incident", id).Str("reason", why).Msg("calls of the incident are not served: mend the cause and restart this target")
}

func (b *books) take(ctx context.Context, id string, m bus.Stored) error {
	e := &candorv1.CallEvents{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return &lastingError{fmt.Errorf("event %d is damaged: %w", m.Seq, err)}
	}
	inc, set, err := b.rules(ctx, id)
	if err != nil {
		return err
	}
	at := e.GetOccurredAt().AsTime()
	for _, ev := range e.GetEvents() {
		facts, err := b.factsOf(ctx, inc, set, ev)
		if err != nil {
			return err
		}
		if err := b.queue.Apply(at, id, ev, facts.of); err != nil {
			return &lastingError{fmt.Errorf("event %d: %w", m.Seq, err)}
		}
		facts.close(b.queue, at)
		if request := ev.GetCallBackAsked().GetRequest(); request != "" {
			b.asked[request] = struct{}{}
		}
	}
	return nil
}

// rules gives the queue an incident's rules, and returns the incident and its plan.
func (b *books) rules(ctx context.Context, id string) (*incident.Incident, *notice.Set, error) {
	inc, set, err := b.plan(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if _, known := b.last[id]; !known {
		b.queue.SetRules(b.Clock.Now(), id, set.Playbook.Calls)
		b.last[id] = 0
	}
	return inc, set, nil
}

// plan returns an incident that may have calls, and its plan.
func (c *Calls) plan(ctx context.Context, id string) (*incident.Incident, *notice.Set, error) {
	inc := c.Incidents.Get(id)
	if inc == nil || inc.DeclaredAt.IsZero() { // what is kept in memory may be a moment behind
		fresh, err := incident.NewLog(c.Bus, c.Clock.Now).Load(ctx, id)
		if errors.Is(err, incident.ErrUnknown) {
			return nil, nil, &lastingError{err}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read incident %s: %w", id, err)
		}
		inc = fresh
	}
	set, err := c.Texts.Plan(inc)
	if err != nil {
		return nil, nil, &lastingError{fmt.Errorf("playbook of incident %s: %w", id, err)}
	}
	if set.Playbook.Calls == nil {
		return nil, nil, &lastingError{fmt.Errorf("incident %s: %w", id, errNoCalls)}
	}
	return inc, set, nil
}

var errNoCalls = errors.New("its playbook has no section calls: nobody can be called")

// factsOf opens the page that an event is about, if it makes tasks.
func (b *books) factsOf(ctx context.Context, inc *incident.Incident, set *notice.Set, ev *candorv1.CallEvent) (*facts, error) {
	var number uint32
	switch e := ev.GetEvent().(type) {
	case *candorv1.CallEvent_Queued:
		number = e.Queued.GetPage()
	case *candorv1.CallEvent_CallBackAsked:
		number = e.CallBackAsked.GetCustomer().GetPage()
	default:
		return &facts{}, nil
	}
	page, err := b.folder.page(ctx, inc, number)
	if err != nil {
		if lasting(err) {
			err = &lastingError{fmt.Errorf("page %d cannot be opened: %w", number, err)}
		}
		return nil, err
	}
	return b.factsOn(page, set), nil
}

// lasting says whether a page that cannot be opened will not be opened by trying again.
func lasting(err error) bool {
	for _, passing := range []error{bus.ErrUnavailable, bus.ErrUnknownOutcome, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, passing) {
			return false
		}
	}
	return true
}

// facts are those of the customers of an open page.
type facts struct {
	b    *books
	page *roster.Page
	set  *notice.Set
	// version is that of the opt-outs when it was asked for the first customer, known what was told of each, and closed their
	// numbers that were opted out.
	version uint64
	known   map[uint32]callqueue.Facts
	closed  []uint64
}

// factsOn returns the facts of the customers of an open page.
func (b *books) factsOn(page *roster.Page, set *notice.Set) *facts {
	return &facts{b: b, page: page, set: set, version: b.Suppressions.Version(), known: map[uint32]callqueue.Facts{}}
}

// of tells the facts of a customer.
func (f *facts) of(_, slot uint32) callqueue.Facts {
	if known, ok := f.known[slot]; ok {
		return known
	}
	told := callqueue.Facts{Suppressed: "no_customer"}
	if int(slot) < len(f.page.Customers) {
		var closed []uint64
		f.b.mu.Lock()
		told, closed = f.b.people.facts(&f.page.Customers[slot], &f.set.Playbook.Languages)
		f.b.mu.Unlock()
		f.closed = append(f.closed, closed...)
	}
	f.known[slot] = told
	return told
}

// renew has everything asked again if the opt-outs have changed since: the queue was told of those while it did not know whose
// they are.
func (f *facts) renew() {
	if v := f.b.Suppressions.Version(); v != f.version {
		f.version, f.closed = v, nil
		clear(f.known)
	}
}

// close tells the queue which of the numbers are opted out of calls. It does so after it was told of their customers, and before
// anybody can be called.
func (f *facts) close(q *callqueue.Queue, now time.Time) {
	for _, number := range f.closed {
		q.Suppress(now, number)
	}
}

// subjectFold is the part of the books that one subject's messages go into.
type subjectFold struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call of AppendFenced
	b   *books
	id  string
}

func (f subjectFold) LastSeq() uint64 { return f.b.last[f.id] }

func (f subjectFold) Fold(m bus.Stored) error { return f.b.fold(f.ctx, m) }

func newID() string { return strconv.FormatUint(random(), 16) }

func random() uint64 {
	var r [8]byte
	_, _ = rand.Read(r[:]) // never fails: crypto/rand aborts the program instead
	return binary.LittleEndian.Uint64(r[:]) | 1
}
