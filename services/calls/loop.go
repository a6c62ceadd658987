package calls

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/callqueue"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	// turnMost is how many commands are decided together, and stored with one append.
	turnMost = 500
	// lookEvery is how often the queue is looked at by itself: leases end, hours open.
	lookEvery = 200 * time.Millisecond
	// chunkBytes bounds one message of events.
	chunkBytes = 256 << 10
	// reasonAborted and reasonClosed are why a task ended that nobody is to be called for any more.
	reasonAborted = "aborted"
	reasonClosed  = "closed"
	// storeAgain is the pause before an append is tried again that did not land.
	storeAgain = 50 * time.Millisecond
)

// command is something that the loop decides.
type command struct {
	// do changes the queue and returns what is to be stored; nothing where nothing changed.
	do func(now time.Time) ([]callqueue.Event, error)
	// done is told when that is on disk, or why it was not decided.
	done chan error
	// stored says that it changed something, and err that it was refused.
	stored bool
	err    error
}

// submit has something decided, and returns when it is on disk. After an error nothing that do left behind may be used.
func (o *owner) submit(ctx context.Context, do func(now time.Time) ([]callqueue.Event, error)) error {
	c := &command{do: do, done: make(chan error, 1)}
	select {
	case o.in <- c:
	case <-o.gone:
		return errLostSeat
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
	case <-o.gone:
		select {
		case err := <-c.done:
			return err
		default:
			return errLostSeat
		}
	}
}

// turn is what is decided together.
type turn struct {
	now      time.Time
	commands []*command
	granted  []*waiting
	events   []callqueue.Event
	// stirred says that somebody may be callable who was not before.
	stirred bool
}

func (t *turn) add(id string, events ...*candorv1.CallEvent) {
	for _, e := range events {
		if e == nil {
			continue
		}
		t.events = append(t.events, callqueue.Event{Incident: id, CallEvent: e})
		t.stirred = t.stirred || e.GetLeased() == nil && e.GetRenewed() == nil
	}
}

// loop decides until ctx ends or something cannot be stored. While one append is on its way, commands gather for the next
// turn.
func (o *owner) loop(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	changed := o.Incidents.Changed()
	t := &turn{now: o.Clock.Now(), stirred: true}
	o.lookAround(t)
	for {
		if err := o.finish(ctx, t); err != nil {
			return err
		}
		t = &turn{}
		select {
		case <-ctx.Done():
			return nil
		case c := <-o.in:
			t.commands = append(t.commands, c)
		case <-look.C:
			t.stirred = true
		case <-changed:
			t.stirred = true
		}
		t.now = o.Clock.Now()
		if t.stirred {
			changed = o.Incidents.Changed()
			o.lookAround(t)
			o.count(t.now)
		}
		o.gather(t)
		o.decide(t)
	}
}

// gather takes what waits to be decided.
func (o *owner) gather(t *turn) {
	for len(t.commands) < turnMost {
		select {
		case c := <-o.in:
			t.commands = append(t.commands, c)
		default:
			return
		}
	}
}

// decide carries out the commands of a turn, and then the claims: first those that have waited longest.
func (o *owner) decide(t *turn) {
	o.heedOptOuts(t.now)
	for _, c := range t.commands {
		events, err := c.do(t.now)
		c.err, c.stored = err, len(events) > 0
		for _, e := range events {
			t.add(e.Incident, e.CallEvent)
		}
	}
	o.answerClaims(t)
}

// lookAround does what the time and the incidents' own state ask for.
func (o *owner) lookAround(t *turn) {
	o.heedOptOuts(t.now)
	for _, inc := range o.Incidents.List() {
		_, known := o.last[inc.ID]
		if !known || o.broken[inc.ID] != "" {
			continue
		}
		t.add(inc.ID, o.steer(t.now, inc)...)
		if !inc.Ended() {
			delete(o.over, inc.ID) // it may have been opened again
			continue
		}
		open := o.queue.Open(inc.ID) > 0
		if open {
			reason := reasonAborted
			if inc.State == candorv1.IncidentState_INCIDENT_STATE_CLOSED {
				reason = reasonClosed
			}
			events, err := o.queue.Withdraw(t.now, inc.ID, nil, candorv1.CallState_CALL_STATE_EXPIRED, reason)
			if err != nil {
				o.Log.Error().Err(err).Str("incident", inc.ID).Msg("calls of an ended incident cannot be withdrawn")
			}
			t.add(inc.ID, events...)
		}
		if open || !o.over[inc.ID] {
			o.over[inc.ID] = true
			o.folder.forget(inc.ID)
		}
	}
	for _, e := range o.queue.Tick(t.now) {
		t.add(e.Incident, e.CallEvent)
	}
}

// finish stores what a turn decided and then tells those who wait for it.
//
// A crash before the append decides nothing. A crash after it: nobody has heard of it, the dialer asks again, and a lease
// that nobody knows of ends by itself.
func (o *owner) finish(ctx context.Context, t *turn) error {
	if len(t.events) > 0 {
		began := o.Clock.Mono()
		if err := o.store(ctx, t); err != nil {
			return err
		}
		o.metrics.appended(o.Clock.Mono() - began)
		o.metrics.turn.Observe(float64(len(t.commands) + len(t.granted)))
	}
	// What was stored is true whoever owns the queue now. A refusal, or what was only looked up, is the owner's to say: another
	// one may know better.
	fresh := o.seat.fresh()
	for _, c := range t.commands {
		if !c.stored && !fresh {
			c.err = errLostSeat
		}
		c.done <- c.err
	}
	for _, w := range t.granted {
		w.done <- w.granted
	}
	for _, e := range t.events {
		for _, p := range ended(e.CallEvent) {
			for _, s := range o.queue.SettledAt(placeOf(p)) {
				o.settle(s)
			}
		}
	}
	if !fresh {
		return errLostSeat
	}
	return nil
}

// letter is the events of one incident on their way.
type letter struct {
	id     string
	events []*candorv1.CallEvent
}

// store appends the events of a turn, those of each incident in their order, all or nothing.
func (o *owner) store(ctx context.Context, t *turn) error {
	if !o.seat.fresh() {
		return errLostSeat
	}
	var letters []*letter
	for _, e := range t.events {
		i := slices.IndexFunc(letters, func(l *letter) bool { return l.id == e.Incident })
		if i < 0 {
			i = len(letters)
			letters = append(letters, &letter{id: e.Incident})
		}
		letters[i].events = append(letters[i].events, e.CallEvent)
	}
	var ms []bus.Message
	for _, l := range letters {
		if !o.adopted[l.id] {
			// Nobody has written there for this owner yet, so nothing keeps an old one away.
			if err := o.seat.confirm(ctx, o.me); err != nil {
				return err
			}
			l.events = slices.Insert(l.events, 0, owned())
		}
		more, err := o.messages(l, t.now)
		if err != nil {
			return err
		}
		ms = append(ms, more...)
	}
	for len(ms) > 0 {
		// An incident of a million open tasks is withdrawn in several batches, each of them true by itself.
		n := min(len(ms), bus.MaxBatch)
		if err := o.append(ctx, ms[:n]); err != nil {
			return err
		}
		ms = ms[n:]
	}
	for _, l := range letters {
		o.adopted[l.id] = true
		o.metrics.stored(l.events)
	}
	return nil
}

// messages cuts the events of an incident into messages that the broker takes.
func (o *owner) messages(l *letter, now time.Time) (ms []bus.Message, err error) {
	for rest := l.events; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size < chunkBytes) {
			size += proto.Size(rest[n])
			n++
		}
		e := o.entry(rest[:n], now)
		data, err := proto.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encode call events of incident %s: %w", l.id, err)
		}
		ms, rest = append(ms, bus.Message{Subject: topology.CallEvents(l.id), Data: data}), rest[n:]
	}
	return ms, nil
}

// append stores messages as one; the first one of each incident is fenced, and the others come right after it. After an answer that is missing or says no, the subjects are read: there are our messages,
// or another owner's, and then we are none any more, or nothing new, and then the same is tried again.
func (o *owner) append(ctx context.Context, ms []bus.Message) error {
	fenced := map[string]bool{}
	for i := range ms {
		if id, _ := topology.ParseCallEvents(ms[i].Subject); !fenced[id] {
			fenced[id], ms[i].Expect = true, bus.Seq(o.last[id])
		}
	}
	for {
		first, err := o.Bus.AppendBatch(ctx, topology.StreamCalls, ms)
		if err == nil {
			for i, m := range ms {
				o.wrote(m, first+uint64(i))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		landed, ferr := o.found(ctx, ms)
		switch {
		case ferr == nil && landed:
			return nil
		case errors.Is(ferr, bus.ErrOvertaken):
			return fmt.Errorf("%w: %w", errLostSeat, ferr)
		case ferr == nil && !passing(err):
			return fmt.Errorf("store what was decided about calls: %w", err)
		}
		o.Log.Warn().Err(err).Msg("what was decided about calls is not stored yet, which is tried again")
		if pause(ctx, storeAgain+rand.N(storeAgain)) != nil { //nolint:gosec // jitter needs no secrecy
			return ctx.Err()
		}
	}
}

// passing says whether the same append may succeed later.
func passing(err error) bool {
	var wrong *bus.WrongSequenceError
	return errors.As(err, &wrong) || errors.Is(err, bus.ErrUnknownOutcome) || errors.Is(err, bus.ErrUnavailable) || errors.Is(err, bus.ErrNoSpace)
}

func (o *owner) wrote(m bus.Message, seq uint64) {
	id, _ := topology.ParseCallEvents(m.Subject)
	o.last[id] = seq
}

// found reads the subjects of a batch and says whether it has landed; bus.ErrOvertaken if somebody else wrote there.
func (o *owner) found(ctx context.Context, ms []bus.Message) (landed bool, err error) {
	ends := map[string]uint64{} // the entry that is a subject's last if the batch has landed
	for _, m := range ms {
		ends[m.Subject] = entryOf(bus.Stored{Data: m.Data})
	}
	found := map[string]uint64{}
	for subject, entry := range ends {
		last, err := o.Bus.Last(ctx, topology.StreamCalls, subject)
		id, _ := topology.ParseCallEvents(subject)
		switch {
		case errors.Is(err, bus.ErrNotFound) && o.last[id] == 0:
		case err != nil:
			return false, err
		case entryOf(last) == entry:
			found[subject] = last.Seq
		case last.Seq != o.last[id]:
			return false, bus.ErrOvertaken
		}
	}
	switch len(found) {
	case 0:
		return false, nil
	case len(ends):
		for subject, seq := range found {
			o.wrote(bus.Message{Subject: subject}, seq)
		}
		return true, nil
	}
	return false, fmt.Errorf("%w: a part of what was written together is there", bus.ErrOvertaken)
}

// count shows where the tasks stand.
func (o *owner) count(now time.Time) {
	states := o.queue.Counts(now, "").States
	for s := candorv1.CallState_CALL_STATE_PENDING; s <= candorv1.CallState_CALL_STATE_EXPIRED; s++ {
		name := candorv1.Word(s)
		o.metrics.tasks.WithLabelValues(name).Set(float64(states[name]))
	}
	o.metrics.waiting.Set(float64(len(o.claims)))
}
