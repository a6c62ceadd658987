package calls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/callqueue"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Purposes of a task, as dialers read them.
const (
	purposeFirst    = "first_notice"
	purposeLadder   = "ladder"
	purposeFollowUp = "follow_up"
)

// Priorities of tasks; 0 is for those who asked.
const (
	priorityLadder   = 1
	priorityHit      = 2
	priorityNormal   = 3
	priorityFollowUp = 4
	// hitTier is the last tier before that of customers of whom none was given.
	hitTier = 4
)

var (
	// errDead marks what only a person can mend; what it wraps says what.
	errDead = errors.New("dead letter")
	// errYet is what is not known here yet.
	errYet = errors.New("not known here yet")
)

const lookAgain = time.Second

func dead(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errDead, fmt.Errorf(format, args...))
}

// order makes tasks of the customers of a page.
//
// A crash before the tasks are stored leaves the order in the queue. A crash after it: the order comes again and finds its
// tasks there. Customers who must not be called are told to the journal by what is stored, at the latest by the next owner.
func (o *owner) order(ctx context.Context, d *bus.Delivery) error {
	ord := &candorv1.Order{}
	if err := proto.Unmarshal(d.Data, ord); err != nil {
		return bus.Permanent(fmt.Errorf("order on %s is damaged: %w", d.Subject, err))
	}
	k := journal.Key{Channel: channel, Incident: ord.GetIncident(), Wave: ord.GetWave(), Page: ord.GetPage()}
	err := o.workOff(ctx, ord, k)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDead):
		return o.bury(ctx, k, err)
	case ctx.Err() != nil, errors.Is(err, errLostSeat):
		return bus.After(0, err)
	case errors.Is(err, errYet), errors.As(err, new(*bus.RemoteError)): // of an incident that is not served, which was said
		return bus.After(lookAgain, err)
	}
	o.Log.Warn().Err(err).Str("incident", k.Incident).Uint32("page", k.Page).Msg("order is tried again")
	return err
}

func (o *owner) workOff(ctx context.Context, ord *candorv1.Order, k journal.Key) error {
	slots, opened, sealed, err := o.record.openSlots(ctx, k)
	switch {
	case err != nil:
		return fmt.Errorf("read its journal: %w", err)
	case opened == nil && sealed:
		return nil
	case opened == nil:
		// An emptied journal looks like a page of which nobody was called.
		return dead("journal %s was never opened, or was emptied: nobody is called", k)
	case len(slots) == 0:
		return nil
	}
	inc, set, base, err := o.approved(ctx, ord, k, opened)
	if err != nil || inc.Ended() {
		return err
	}
	page, err := o.Pages.OpenPage(ctx, k.Incident, k.Page, opened.GetPageSha256())
	if err != nil {
		if ctx.Err() == nil && lasting(err) {
			return dead("page %d cannot be opened: %w", k.Page, err)
		}
		return fmt.Errorf("open page %d: %w", k.Page, err)
	}
	if len(page.Customers) != int(opened.GetSlots()) {
		return dead("page %d holds %d customers, its journal %d", k.Page, len(page.Customers), opened.GetSlots())
	}
	queued := &candorv1.CallsQueued{Wave: k.Wave, Page: k.Page, Slots: journal.Runs(slots)}
	queued.Priority, queued.Purpose = urgency(set.Playbook.Waves[base], ord, page.Tier)
	facts := o.factsOn(page, set)
	for _, slot := range slots { // before the loop's turn, which others wait for
		facts.of(k.Page, slot)
	}
	return o.submit(ctx, func(now time.Time) ([]callqueue.Event, error) {
		if err := o.introduce(now, inc, set); err != nil {
			return nil, err
		}
		facts.renew()
		events, err := o.queue.Queue(now, k.Incident, queued, facts.of)
		facts.close(o.queue, now)
		return of(k.Incident, events), err
	})
}

func of(id string, events []*candorv1.CallEvent) []callqueue.Event {
	all := make([]callqueue.Event, 0, len(events))
	for _, e := range events {
		if e != nil {
			all = append(all, callqueue.Event{Incident: id, CallEvent: e})
		}
	}
	return all
}

// introduce tells the queue of an incident that it does not know. Only the loop does so.
func (o *owner) introduce(now time.Time, inc *incident.Incident, set *notice.Set) error {
	if why := o.broken[inc.ID]; why != "" {
		return bus.Errorf(bus.CodePrecondition, "the calls of incident %s are not served: the log of the target calls says why", inc.ID)
	}
	if _, known := o.last[inc.ID]; !known {
		o.queue.SetRules(now, inc.ID, set.Playbook.Calls)
		o.last[inc.ID] = 0
		o.steer(now, inc) // of which nothing follows: it has no tasks
	}
	return nil
}

// steer tells the queue what an incident's own state means for its calls. Only the loop does so.
func (o *owner) steer(now time.Time, inc *incident.Incident) []*candorv1.CallEvent {
	o.queue.Hold(inc.ID, !inc.Declared() || inc.PausedFor(channel))
	return o.queue.Close(now, inc.ID, atClose(inc))
}

// atClose returns what becomes of an incident's calls; unspecified while it goes on.
func atClose(inc *incident.Incident) candorv1.CallsAtClose {
	switch c := inc.Closing(); {
	case c == nil:
		return candorv1.CallsAtClose_CALLS_AT_CLOSE_UNSPECIFIED
	case c.GetCalls() == candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW:
		return candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW
	}
	return candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN
}

// approved returns the incident, the texts of the wave and its name among them, if order and journal belong to what two people
// approved for the wave.
func (o *owner) approved(ctx context.Context, ord *candorv1.Order, k journal.Key, opened *candorv1.Opened) (
	_ *incident.Incident, _ *notice.Set, base string, _ error,
) {
	hash := ord.GetPlanHash()
	inc := o.Incidents.Get(k.Incident)
	if len(hash) > 0 && bytes.Equal(hash, opened.GetPlanHash()) && (inc == nil || !bytes.Equal(hash, inc.HashOf(k.Wave))) {
		// What is kept in memory may be a moment behind.
		fresh, err := incident.NewLog(o.Bus, o.Clock.Now).Load(ctx, k.Incident)
		if err != nil {
			return nil, nil, "", fmt.Errorf("read incident %s: %w", k.Incident, err)
		}
		inc = fresh
	}
	switch {
	case inc == nil:
		return nil, nil, "", fmt.Errorf("incident %s: %w", k.Incident, errYet)
	case len(hash) == 0 || !bytes.Equal(hash, opened.GetPlanHash()) || !bytes.Equal(hash, inc.HashOf(k.Wave)):
		return nil, nil, "", dead("the order belongs to another plan than the one that was approved")
	case !inc.Declared() && !inc.Ended():
		return nil, nil, "", dead("incident %s is not declared", k.Incident)
	}
	set, base, err := o.Texts.Of(inc, k.Wave)
	if err != nil {
		return nil, nil, "", dead("playbook of incident %s: %w", k.Incident, err)
	}
	if set.Playbook.Calls == nil {
		return nil, nil, "", dead("incident %s: %w", k.Incident, errNoCalls)
	}
	return inc, set, base, nil
}

// urgency says how urgent the tasks of an order are, and what they are for.
func urgency(wave *playbook.Wave, ord *candorv1.Order, tier uint8) (priority uint32, purpose string) {
	step := wave != nil && wave.Terms(channel) != nil && wave.Terms(channel).Step()
	switch {
	case ord.GetLane() == topology.LaneNext:
		return priorityFollowUp, purposeFollowUp
	case step:
		return priorityLadder, purposeLadder
	case tier <= hitTier:
		return priorityHit, purposeFirst
	}
	return priorityNormal, purposeFirst
}

// bury writes a dead letter: a journal entry, by which the ledger lists it, and the end of the order.
func (o *owner) bury(ctx context.Context, k journal.Key, cause error) error {
	o.Log.Error().Err(cause).Str("incident", k.Incident).Str("wave", k.Wave).Uint32("page", k.Page).
		Msg("order needs a person: mend the cause, then candor deadletter replay")
	err := o.record.with(ctx, k, func(st *journal.State) error {
		if st.Opened == nil {
			return nil
		}
		e := o.Journal.Entry()
		e.Event = &candorv1.JournalEntry_DeadLettered{DeadLettered: &candorv1.DeadLettered{Reason: cause.Error()}}
		return o.Journal.Fact(ctx, k, st, e)
	})
	if err != nil {
		return err
	}
	return bus.Permanent(cause)
}

// followRequests has those called who asked for it, from the first wish on: what was done about one is known by its id.
func (o *owner) followRequests(ctx context.Context) error {
	return o.Bus.Follow(ctx, topology.StreamCalls, []string{topology.CallRequested("*")}, 1, func(m bus.Stored) error {
		for {
			err := o.requested(ctx, m)
			if err == nil || ctx.Err() != nil {
				return nil //nolint:nilerr // the end of ctx is no failure
			}
			if errors.Is(err, errLostSeat) {
				return err
			}
			o.Log.Warn().Err(err).Uint64("sequence", m.Seq).Msg("a wish to be called is not in the queue yet, which is tried again")
			if pause(ctx, lookAgain) != nil {
				return nil //nolint:nilerr // the end of ctx is no failure
			}
		}
	}, nil)
}

func (o *owner) requested(ctx context.Context, m bus.Stored) error {
	r := &candorv1.CallRequest{}
	id, ok := topology.ParseCallRequested(m.Subject)
	if err := proto.Unmarshal(m.Data, r); err != nil || !ok || r.GetId() == "" || r.GetCustomer().GetIncident() != id {
		o.Log.Warn().Uint64("sequence", m.Seq).Str("subject", m.Subject).Msg("a wish to be called cannot be read, and is left alone")
		return nil //nolint:nilerr // one damaged wish must not keep the others from being called
	}
	inc := o.Incidents.Get(id)
	if inc == nil || !inc.Declared() {
		return nil // nobody is called for it
	}
	known := false
	err := o.submit(ctx, func(time.Time) ([]callqueue.Event, error) {
		_, known = o.asked[r.GetId()]
		return nil, nil
	})
	if err != nil || known {
		return err
	}
	if inc.Closing() != nil {
		o.Log.Info().Str("incident", id).Uint64("sequence", m.Seq).
			Msg("a customer wants to be called while the incident is closing, and is only if that was to be done already")
	}
	err = o.ask(ctx, callqueue.Asked{Place: placeOf(r.GetCustomer()), Request: r.GetId()}, nil)
	var remote *bus.RemoteError
	if errors.As(err, &remote) {
		o.Log.Warn().Err(err).Str("incident", id).Uint64("sequence", m.Seq).Msg("a customer who wants to be called cannot be")
		return nil
	}
	return err
}

// ask has a customer called, and says in the answer, unless it is nil, what that makes of their task. What cannot be is a
// *bus.RemoteError.
func (o *owner) ask(ctx context.Context, a callqueue.Asked, answer *candorv1.AddResponse) error {
	inc, set, err := o.plan(ctx, a.Place.Incident)
	var lasts *lastingError
	if errors.As(err, &lasts) {
		return bus.Errorf(bus.CodePrecondition, "%v", err)
	}
	if err != nil {
		return err
	}
	if !inc.Declared() {
		return bus.Errorf(bus.CodePrecondition, "incident %s is not declared, or has ended: nobody is called for it", inc.ID)
	}
	page, err := o.folder.page(ctx, inc, a.Place.Page)
	if err != nil {
		if ctx.Err() == nil && lasting(err) {
			return bus.Errorf(bus.CodePrecondition, "page %d of incident %s cannot be opened: %v", a.Place.Page, inc.ID, err)
		}
		return err
	}
	if int(a.Place.Slot) >= len(page.Customers) {
		return bus.Errorf(bus.CodeNotFound, "there is %v", a.Place)
	}
	facts := o.factsOn(page, set)
	facts.of(a.Place.Page, a.Place.Slot)
	err = o.submit(ctx, func(now time.Time) ([]callqueue.Event, error) {
		if err := o.introduce(now, inc, set); err != nil {
			return nil, err
		}
		before, known := o.queue.Shows(a.Place)
		facts.renew()
		events, err := o.queue.Ask(now, a, facts.of)
		if err != nil {
			return nil, err
		}
		facts.close(o.queue, now)
		o.asked[a.Request] = struct{}{}
		all := of(inc.ID, events)
		if answer != nil {
			all = append(all, o.queue.Tick(now)...) // it ends at once if nobody can be called
			answer.Known = known
			answer.State, _ = o.queue.Shows(a.Place)
			answer.Reopened = isOver(before) && !isOver(answer.State)
		}
		return all, nil
	})
	return told(err)
}

// isOver says that nobody is called in such a state, unless they ask.
func isOver(s candorv1.CallState) bool {
	switch s {
	case candorv1.CallState_CALL_STATE_DONE, candorv1.CallState_CALL_STATE_FAILED,
		candorv1.CallState_CALL_STATE_SUPPRESSED, candorv1.CallState_CALL_STATE_EXPIRED:
		return true
	}
	return false
}
