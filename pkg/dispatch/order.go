package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

var (
	errStopping = errors.New("stopping")
	errSpaceLow = errors.New("disk is nearly full")
	// errDead marks what only a person can mend; what it wraps says what.
	errDead = errors.New("dead letter")
	// errShredded is a page of an ended incident that nobody can open any more.
	errShredded = errors.New("the page was shredded")
)

func dead(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errDead, fmt.Errorf(format, args...))
}

// hand is one order being worked off.
type hand struct {
	*Worker
	order *candorv1.Order
	key   journal.Key
	st    *journal.State
	round Round
	terms Terms
	// way is the sender on which the page has the right of way; empty for none.
	way string
	// polled says that the provider was asked for final words: once is enough for an order.
	polled bool
	// progress tells the broker that the order is still in hand. It is called by work done, never by a timer.
	progress func()
}

// order works off one order.
//
// A crash anywhere leaves the order in the queue; the next worker folds the journal and goes on from there.
func (w *Worker) order(ctx context.Context, d *bus.Delivery) error {
	o := &candorv1.Order{}
	if err := proto.Unmarshal(d.Data, o); err != nil {
		return bus.Permanent(fmt.Errorf("order on %s is damaged: %w", d.Subject, err))
	}
	key := journal.Key{Channel: w.cfg.Channel, Incident: o.GetIncident(), Wave: o.GetWave(), Page: o.GetPage()}
	in, ok := w.take(key, d.Seq)
	if !ok {
		if in.seq == d.Seq {
			return bus.After(w.cfg.RetryFirst, errors.New("the same order is still in hand"))
		}
		// A second order for a journal that is in hand adds nothing: the first one looks again before it is acknowledged.
		return nil
	}
	defer w.release(key, in)
	for {
		if err := w.workOff(ctx, o, key, d.Progress); err != nil || w.done(key, in) {
			return err
		}
	}
}

func (w *Worker) workOff(ctx context.Context, o *candorv1.Order, key journal.Key, progress func()) error {
	h := &hand{Worker: w, order: o, key: key, progress: progress}
	err := h.work(ctx)
	switch {
	case errors.Is(err, errStopping):
		return bus.After(0, err)
	case errors.Is(err, errDead):
		return h.bury(ctx, err)
	case errors.Is(err, errSpaceLow):
		return err
	case err != nil:
		w.Log.Warn().Err(err).Str("incident", key.Incident).Uint32("page", key.Page).Msg("order is tried again")
		return err
	}
	return nil
}

// bury writes a dead letter: a journal entry, by which the ledger lists it, and the end of the order.
func (h *hand) bury(ctx context.Context, cause error) error {
	h.Log.Error().Err(cause).Str("incident", h.key.Incident).Str("wave", h.key.Wave).Uint32("page", h.key.Page).
		Msg("order needs a person: mend the cause, then candor deadletter replay")
	if h.st == nil || h.st.Opened == nil {
		return bus.Permanent(cause)
	}
	e := h.Journal.Entry()
	e.Event = &candorv1.JournalEntry_DeadLettered{DeadLettered: &candorv1.DeadLettered{Reason: cause.Error()}}
	if err := h.Journal.Fact(ctx, h.key, h.st, e); err != nil {
		return err
	}
	return bus.Permanent(cause)
}

func (h *hand) work(ctx context.Context) error {
	st, err := h.Journal.Load(ctx, h.key)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("read its journal: %w", err)
	}
	h.st = st
	if st.Opened == nil {
		if st.SealedFor != "" {
			return nil
		}
		// An emptied journal looks like a page that was never sent.
		return dead("journal %s was never opened, or was emptied: nothing is sent", h.key)
	}
	if st.DeadFor != "" {
		return nil
	}
	settled := h.settled()
	if settled && len(h.unpolled(h.Clock.Now())) == 0 {
		return nil
	}
	switch err := h.ready(ctx); {
	case errors.Is(err, errShredded):
		return h.giveIn(ctx)
	case settled && errors.Is(err, errDead):
		// Everybody was told: that nobody can be asked about it is no reason for a person to act.
		h.Log.Warn().Err(err).Str("incident", h.key.Incident).Uint32("page", h.key.Page).Msg("page is not asked about any more")
		return nil
	case err != nil:
		return err
	}
	if settled {
		// Nobody is told by asking, so neither a pause nor an end holds it up.
		if err := h.poll(ctx); err != nil || h.settled() {
			return err
		}
	}
	defer h.leaveWay()
	for {
		if h.stopped() {
			return errStopping
		}
		h.progress()
		done, err := h.step(ctx)
		if errors.Is(err, bus.ErrOvertaken) {
			continue // somebody else works on this page: st was read again and says what is left
		}
		if done || err != nil {
			return err
		}
	}
}

// ready opens the page and makes its texts ready, if they are the ones that two people approved.
func (h *hand) ready(ctx context.Context) error {
	inc := h.Incidents.Get(h.key.Incident)
	if inc == nil {
		return fmt.Errorf("incident %s is not known here yet", h.key.Incident)
	}
	// This reads the incident anew where memory knows less than the order does: an approval that has not arrived here yet is
	// waited for, and makes no dead letter.
	if err := h.approved(ctx, inc); err != nil {
		return err
	}
	if !inc.Declared() && !inc.Ended() {
		return dead("incident %s is not declared", h.key.Incident)
	}
	page, err := h.Pages.OpenPage(ctx, h.key.Incident, h.key.Page, h.st.Opened.GetPageSha256())
	if err != nil {
		if ctx.Err() != nil || retryable(err) {
			return fmt.Errorf("open page %d: %w", h.key.Page, err)
		}
		if inc.Ended() && (errors.Is(err, vault.ErrShredded) || errors.Is(err, bus.ErrNotFound)) {
			return errShredded
		}
		return dead("page %d cannot be opened: %w", h.key.Page, err)
	}
	if len(page.Customers) != h.st.Len() {
		return dead("page %d holds %d customers, its journal %d", h.key.Page, len(page.Customers), h.st.Len())
	}
	round, err := h.Courier.Ready(Page{Key: h.key, Incident: inc, Roster: page})
	if err != nil {
		return dead("%w", err)
	}
	h.round, h.terms = round, round.Terms()
	if !bytes.Equal(h.terms.TextHash, h.st.Opened.GetTextHash()) {
		return dead("the text is not the one that was approved: this version of Candor renders it differently")
	}
	return nil
}

// approved checks that order and journal belong to what two people approved for the wave: the plan, or an addition to it.
func (h *hand) approved(ctx context.Context, inc *incident.Incident) error {
	hash := h.order.GetPlanHash()
	if len(hash) > 0 && bytes.Equal(hash, h.st.Opened.GetPlanHash()) {
		if bytes.Equal(hash, inc.HashOf(h.key.Wave)) {
			return nil
		}
		// What is kept in memory may be a moment behind the approval of an addition.
		fresh, err := incident.NewLog(h.Bus, h.Clock.Now).Load(ctx, h.key.Incident)
		if err != nil {
			return fmt.Errorf("read incident %s: %w", h.key.Incident, err)
		}
		if bytes.Equal(hash, fresh.HashOf(h.key.Wave)) {
			return bus.After(h.cfg.RetryFirst, fmt.Errorf("wave %s is not known here yet", h.key.Wave))
		}
	}
	return dead("the order belongs to another plan than the one that was approved")
}

// giveIn leaves a page whose customers were shredded: nobody can be asked about them any more, so what was on its way stays
// uncertain, and the others were settled by the seal.
func (h *hand) giveIn(ctx context.Context) error {
	facts := newFacts(candorv1.Decider_DECIDER_WORKER, h.cfg.Provider)
	for n := range uint32(h.st.Len()) {
		if at, _ := h.st.Doubt(n); at.IsZero() {
			if _, open := h.st.Open(n); open {
				facts.add(n, h.st.Attempt(n), fact{result: candorv1.Result_RESULT_UNKNOWN, reason: "shredded"})
			}
		}
	}
	return h.record(ctx, facts)
}

// step does the next thing that the page needs. It reports done when the order may be acknowledged.
func (h *hand) step(ctx context.Context) (done bool, err error) {
	now := h.Clock.Now()
	if done, err := h.held(ctx, now); done || err != nil {
		return done, err
	}
	if err := h.settleDoubts(ctx, now); err != nil {
		return false, err
	}
	slots := h.sendable(now)
	if len(slots) == 0 {
		return h.rest(ctx, now)
	}
	// What is recorded is folded, and with it whatever somebody else wrote in between: who is left is looked at anew then.
	seen := h.st.LastSeq
	for _, settle := range []func(context.Context, []uint32, time.Time) ([]uint32, error){h.endOfAddresses, h.giveUp, h.outdate, h.suppress} {
		if slots, err = settle(ctx, slots, now); err != nil || h.st.LastSeq != seen {
			return false, err
		}
	}
	if !h.terms.Quiet.Open(now, h.terms.Zone) {
		next, ok := h.terms.Quiet.Next(now, h.terms.Zone)
		if !ok {
			return false, dead("the quiet hours never end in %s", h.terms.Zone)
		}
		return true, h.putOff(ctx, "quiet_hours", next)
	}
	return h.stride(ctx, slots)
}

// held puts the order off while nobody may be told: paused, no space, a clock that jumped. The order of an ended incident
// is done, unless its journal is sealed already: then nothing can be sent, but what was on its way is still found out.
func (h *hand) held(ctx context.Context, now time.Time) (done bool, err error) {
	inc := h.Incidents.Get(h.key.Incident)
	switch drift, jumped := h.watch.check(h.Clock.Machine(), h.Clock.Mono(), h.cfg.Hold); {
	case inc.Ended() && h.st.SealedFor == "":
		return true, nil
	case inc.Ended():
		return false, nil
	case inc.PausedFor(h.key.Channel):
		return true, h.putOff(ctx, "paused", h.after(now, h.cfg.PausePoll))
	case jumped:
		if drift != 0 {
			h.Log.Error().Dur("drift", drift).Dur("hold", h.cfg.Hold).Msg("clock jumped: nobody is told until it has proved right; check the time service")
		}
		return true, h.putOff(ctx, "clock", h.after(now, h.cfg.Hold))
	case h.SpaceLow():
		if h.complain("space") {
			h.Log.Error().Msg("disk is nearly full: nothing new is sent until space is free")
		}
		return false, bus.After(h.cfg.RetryFirst, errSpaceLow)
	}
	return false, nil
}

// sendable returns the slots that may be intended now.
func (h *hand) sendable(now time.Time) []uint32 {
	var slots []uint32
	for n := range uint32(h.st.Len()) {
		if ok, _ := h.st.Ready(n, now); ok {
			slots = append(slots, n)
		}
	}
	return slots
}

// giveUp fails the slots whose time budget is over, and returns the others. Without an attempt nothing runs out.
func (h *hand) giveUp(ctx context.Context, slots []uint32, now time.Time) ([]uint32, error) {
	first := h.st.Begun()
	if first.IsZero() || h.terms.RetryBudget <= 0 || now.Before(first.Add(h.terms.RetryBudget)) {
		return slots, nil
	}
	var over, rest []uint32
	for _, n := range slots {
		if _, reason := h.st.Notice(n); h.st.Retrying(n) && !heldReason(reason) {
			over = append(over, n)
		} else {
			rest = append(rest, n)
		}
	}
	facts := newFacts(candorv1.Decider_DECIDER_POLICY, h.cfg.Provider)
	for _, n := range over {
		_, reason := h.st.Notice(n)
		facts.add(n, h.st.Attempt(n), fact{result: h.failure(n), reason: "gave_up_" + reason})
	}
	return rest, h.record(ctx, facts)
}

// outdate fails the slots that wait for another attempt at a follow-up, an update or a correction of which the customer has been
// sent a later one since, and returns the others: nobody reads the older words after the newer. A first notice is never outdated.
//
// The events are read anew: whatever is decided after that is planned and sent later than this attempt.
func (h *hand) outdate(ctx context.Context, slots []uint32, _ time.Time) ([]uint32, error) {
	if h.Incidents.Get(h.key.Incident).Sent(h.key.Wave) == nil || !slices.ContainsFunc(slots, h.st.Retrying) {
		return slots, nil
	}
	inc, err := incident.NewLog(h.Bus, h.Clock.Now).Load(ctx, h.key.Incident)
	if err != nil {
		return nil, fmt.Errorf("read incident %s: %w", h.key.Incident, err)
	}
	var later []*journal.State
	for _, wave := range inc.SentAfter(h.key.Wave) {
		if inc.Waves[wave] == nil {
			return nil, bus.After(h.cfg.RetryFirst, fmt.Errorf("wave %s is being planned, and may be for the same customers", wave))
		}
		for _, ch := range inc.Waves[wave].GetChannels() {
			st, err := h.Journal.Load(ctx, journal.Key{Channel: ch.GetChannel(), Incident: h.key.Incident, Wave: wave, Page: h.key.Page})
			if err != nil {
				return nil, fmt.Errorf("read the journal of wave %s: %w", wave, err)
			}
			later = append(later, st)
		}
	}
	facts := newFacts(candorv1.Decider_DECIDER_POLICY, h.cfg.Provider)
	rest := slots[:0]
	for _, n := range slots {
		told := slices.ContainsFunc(later, func(st *journal.State) bool { return int(n) < st.Len() && st.InWave(n) })
		if told && h.st.Retrying(n) {
			facts.add(n, h.st.Attempt(n), fact{result: h.failure(n), reason: "newer_message"})
			continue
		}
		rest = append(rest, n)
	}
	return rest, h.record(ctx, facts)
}

// failure is what ends a slot that waits for another attempt. Where the last one was accepted, "definitely not sent" would
// be untrue, and the fold would not take it.
func (h *hand) failure(n uint32) candorv1.Result {
	if h.st.Returned(n) {
		return candorv1.Result_RESULT_UNDELIVERED
	}
	return candorv1.Result_RESULT_FAILED
}

// endOfAddresses fails the slots whose last address turned out to be of no use, and returns the others.
func (h *hand) endOfAddresses(ctx context.Context, slots []uint32, _ time.Time) ([]uint32, error) {
	facts := newFacts(candorv1.Decider_DECIDER_POLICY, h.cfg.Provider)
	rest := slots[:0]
	for _, n := range slots {
		if h.st.Retrying(n) && h.st.Address(n) >= h.round.Addresses(n) {
			_, reason := h.st.Notice(n)
			facts.add(n, h.st.Attempt(n), fact{result: h.failure(n), reason: reason})
			continue
		}
		rest = append(rest, n)
	}
	return rest, h.record(ctx, facts)
}

// suppress settles the slots that must not be sent to, and returns the others.
func (h *hand) suppress(ctx context.Context, slots []uint32, _ time.Time) ([]uint32, error) {
	facts := newFacts(candorv1.Decider_DECIDER_WORKER, "")
	rest := slots[:0]
	for _, n := range slots {
		if reason := h.round.Suppressed(n, h.st.Address(n)); reason != "" {
			result := candorv1.Result_RESULT_SUPPRESSED
			if h.st.Returned(n) {
				result = candorv1.Result_RESULT_UNDELIVERED // it was sent, once
			}
			facts.add(n, h.st.Attempt(n), fact{result: result, reason: reason})
			continue
		}
		rest = append(rest, n)
	}
	return rest, h.record(ctx, facts)
}

// rest ends the work for now: nothing can be sent at this moment.
func (h *hand) rest(ctx context.Context, now time.Time) (done bool, err error) {
	h.leaveWay()
	next, why := h.nextTime(now)
	if next.IsZero() {
		if len(h.unpolled(now)) == 0 {
			return true, nil
		}
		return false, h.poll(ctx)
	}
	// A schedule costs an append and fires to the second: a short wait is cheaper in hand.
	const short = time.Second
	if wait := h.Clock.Real(next.Sub(now)); wait <= short {
		select {
		case <-time.After(max(wait, 0)):
			return false, nil
		case <-h.stopping:
			return false, errStopping
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return true, h.putOff(ctx, why, next)
}

// nextTime returns when something can be done for a slot that is not settled; zero if only a person can.
func (h *hand) nextTime(now time.Time) (next time.Time, why string) {
	sooner := func(t time.Time, reason string) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next, why = t, reason
		}
	}
	for n := range uint32(h.st.Len()) {
		if _, at := h.st.Ready(n, now); !at.IsZero() {
			sooner(at, "retry")
		}
		if at, ok := h.doubtDue(n); ok {
			sooner(at, "uncertain")
		}
	}
	return next, why
}

// settled says whether every notice of the wave on this page has come to its end.
func (h *hand) settled() bool {
	for n := range uint32(h.st.Len()) {
		if h.st.InWave(n) && !h.st.Settled(n) {
			return false
		}
	}
	return true
}

// putOff schedules the order anew; only when that is stored may the order in hand be acknowledged.
//
// A crash between the two leaves both: the journal makes the second one harmless.
func (h *hand) putOff(ctx context.Context, reason string, until time.Time) error {
	data, err := proto.Marshal(h.order)
	if err != nil {
		return fmt.Errorf("encode order: %w", err)
	}
	k, lane := h.key, h.order.GetLane()
	later := topology.Later(k.Channel, lane, k.Incident, k.Wave, k.Page)
	target := topology.Order(k.Channel, lane, k.Incident, k.Wave, k.Page)
	if err := h.Bus.Schedule(ctx, later, target, until, data, nil); err != nil {
		return fmt.Errorf("put off until %s: %w", until.UTC().Format(time.RFC3339), err)
	}
	if reason == "quiet_hours" && h.st.PutOffFor != reason && len(h.sendable(h.Clock.Now())) > 0 {
		e := h.Journal.Entry()
		e.Event = &candorv1.JournalEntry_PutOff{PutOff: &candorv1.PutOff{Reason: reason, Until: timestamppb.New(until)}}
		return h.Journal.Fact(ctx, k, h.st, e)
	}
	return nil
}
