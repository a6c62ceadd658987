package dispatch

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/journal"
	"candor/pkg/provider"
	"candor/pkg/ratelimit"
	candorv1 "candor/proto/candor/v1"
)

// stride sends to as many of the slots as share an attempt and a sender, once: reserve time, write down, send, record. It
// reports done when it put the order off instead.
func (h *hand) stride(ctx context.Context, slots []uint32) (done bool, err error) {
	s, pace := h.choose(slots)
	// A slow sender has a long queue of pages: each comes up for air, to see a pause and to keep its order in hand.
	rctx, cancel := context.WithTimeout(ctx, h.reserving)
	grant, err := h.reserve(rctx, LimitKey(s.Provider, pace.Sender), pace)
	cancel()
	switch {
	case errors.Is(err, errGivesWay): // for longer than a moment: its place in hand is for pages of other senders
		return true, h.putOff(ctx, "right_of_way", h.after(h.Clock.Now(), h.cfg.PausePoll))
	case errors.Is(err, errLookAgain), errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return false, nil
	case err != nil:
		return false, err
	}
	// The wait for the limiter may have been long enough for a pause, a STOP or the end of the open hours.
	machine := h.Clock.Machine()
	now := h.Clock.FromMachine(machine)
	if h.stopped() {
		return false, errStopping
	}
	if !h.stillAllowed(now) {
		return false, nil
	}
	// Requests go by the machine's clock, as the limiter does; whoever finds the intent goes by the calendar.
	lasts := max(strideTime, grant.End.Sub(machine)) + h.cfg.RequestTimeout
	s.At, s.SendBefore = now, machine.Add(lasts)

	e := h.Journal.Entry()
	e.Event = &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{
		BootId: h.BootID, WorkerId: h.WorkerID, Attempt: s.Attempt, Slots: journal.Runs(s.Slots),
		SendBefore: timestamppb.New(h.after(now, lasts)), Provider: s.Provider, Sender: s.Sender,
	}}
	// A crash before this line sends nothing. A crash after it leaves an intent: the next owner waits until no request of
	// it can be under way, and asks the provider. A crash after record finds everything settled.
	if err := h.Journal.Fence(ctx, h.key, h.st, e); err != nil {
		if errors.Is(err, bus.ErrOvertaken) {
			return false, err
		}
		return false, errors.Join(err, h.withdraw(ctx, s))
	}
	s.Halted = func() bool {
		inc := h.Incidents.Get(h.key.Incident)
		return !inc.Declared() || inc.PausedFor(h.key.Channel)
	}
	// A context of its own: requests under way register with it, and all of them at one would wait for its lock.
	sctx, end := context.WithCancel(ctx)
	defer end()
	outcomes := h.round.Send(sctx, s)
	return false, h.record(ctx, h.judge(ctx, s, outcomes))
}

// withdraw says that a stride was not sent whose intent may have landed, or may land yet: only its writer knows that, and
// what nobody can be asked about would stay uncertain. It is fenced: whoever else intended the slots meanwhile keeps them, and
// once it is written our intent cannot land any more.
//
// A crash here leaves an intent without outcome, or none.
func (h *hand) withdraw(ctx context.Context, s Stride) error {
	for {
		err := h.Journal.CatchUp(ctx, h.key, h.st)
		if err == nil {
			facts := newFacts(candorv1.Decider_DECIDER_WORKER, s.Provider)
			for _, n := range s.Slots {
				ref, open := h.st.Open(n)
				mine := open && ref.WorkerID == h.WorkerID && ref.BootID == h.BootID && uint32(ref.Attempt) == s.Attempt
				if mine || h.st.Attempt(n) < s.Attempt {
					facts.add(n, s.Attempt, fact{result: candorv1.Result_RESULT_WITHDRAWN, reason: heldPrefix + "journal_silent"})
				}
			}
			entries := facts.entries(h.Journal.Entry)
			if len(entries) == 0 {
				return nil
			}
			err = h.Journal.Fence(ctx, h.key, h.st, entries[0]) // one attempt, one entry
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, bus.ErrOvertaken):
			continue
		case ctx.Err() != nil || !retryable(err):
			return err
		}
		h.progress()
		select {
		case <-time.After(withdrawPause):
		case <-ctx.Done():
		}
	}
}

// withdrawPause is how long a broker that does not answer is left alone.
const withdrawPause = 250 * time.Millisecond

// reserveTime bounds one wait for the sender's time, Worker.reserving.
const reserveTime = 5 * time.Second

// choose picks the next stride: slots of one attempt, through one provider and sender, within the sender's two seconds.
func (h *hand) choose(slots []uint32) (Stride, Pace) {
	first := slots[0]
	s := Stride{Attempt: h.st.Attempt(first) + 1}
	pace := h.round.Pace(first, h.st.Address(first))
	s.Provider, s.Sender = cmp.Or(pace.Provider, h.cfg.Provider), pace.Sender
	size := h.cfg.StrideSlots
	if h.terms.StrideSlots > 0 {
		size = min(size, h.terms.StrideSlots)
	}
	most := ratelimit.Quantum(pace.PerSec, size*max(pace.Units, 1))
	for i, n := range slots {
		if len(s.Slots) == size {
			break
		}
		p := pace
		if i > 0 {
			// A courier may change the provider between two calls: the first slot's answer holds for the stride.
			p = h.round.Pace(n, h.st.Address(n))
		} else {
			pace.Units = 0
		}
		if h.st.Attempt(n)+1 != s.Attempt || p.Sender != s.Sender || cmp.Or(p.Provider, h.cfg.Provider) != s.Provider {
			continue
		}
		if len(s.Slots) > 0 && pace.Units+p.Units > most {
			break
		}
		pace.Units += p.Units
		s.Slots = append(s.Slots, n)
		s.Address = append(s.Address, h.st.Address(n))
	}
	return s, pace
}

// stillAllowed looks again, right before the intent, at what may have changed while the limiter waited.
func (h *hand) stillAllowed(now time.Time) bool {
	inc := h.Incidents.Get(h.key.Incident)
	return inc.Declared() && !inc.PausedFor(h.key.Channel) && h.terms.Quiet.Open(now, h.terms.Zone)
}

// heldPrefix marks reasons that concern everybody, not the customer: they burn no time budget.
const heldPrefix = "held_"

func heldReason(reason string) bool { return strings.HasPrefix(reason, heldPrefix) }

// judge turns the outcomes of a stride into facts.
func (h *hand) judge(ctx context.Context, s Stride, outcomes []Outcome) *facts {
	facts := newFacts(candorv1.Decider_DECIDER_WORKER, s.Provider)
	now := h.Clock.Now()
	var throttled time.Duration
	var misconfigured, defect string
	for i, o := range outcomes {
		n := s.Slots[i]
		f := fact{reason: o.Reason, id: o.ID}
		if o.Suppressed != "" {
			f = fact{result: candorv1.Result_RESULT_SUPPRESSED, reason: o.Suppressed}
			facts.add(n, s.Attempt, f)
			continue
		}
		if o.Halted {
			facts.add(n, s.Attempt, fact{result: candorv1.Result_RESULT_WITHDRAWN, reason: heldPrefix + "halted"})
			continue
		}
		h.watch.observe(o.Skew)
		if o.Throttled {
			throttled = max(throttled, o.RetryAfter, time.Second)
		}
		switch o.Class {
		case provider.Accepted:
			f.result = candorv1.Result_RESULT_ACCEPTED
		case provider.NotSent:
			f.result, f.retryAt = candorv1.Result_RESULT_RETRY, h.after(now, h.backoff(s.Attempt, o.RetryAfter))
		case provider.BadAddress:
			f.result = candorv1.Result_RESULT_FAILED
			if s.Address[i]+1 < h.round.Addresses(n) {
				f.result = candorv1.Result_RESULT_NEXT_ADDRESS
			}
		case provider.Refused:
			f.result = candorv1.Result_RESULT_FAILED
		case provider.Misconfigured:
			misconfigured = o.Reason
			f.result, f.reason, f.retryAt = candorv1.Result_RESULT_RETRY, heldPrefix+o.Reason, h.after(now, h.cfg.Hold)
		case provider.Defect:
			defect = o.Reason
			f.result = candorv1.Result_RESULT_FAILED
		default:
			f.result = candorv1.Result_RESULT_UNKNOWN
		}
		facts.add(n, s.Attempt, f)
	}
	if throttled > 0 {
		if err := h.Limiter.Push(ctx, LimitKey(s.Provider, s.Sender), h.Clock.Machine().Add(throttled)); err != nil {
			h.Log.Warn().Err(err).Str("provider", s.Provider).Str("sender", s.Sender).Msg("provider asks for less, but the limit could not be moved")
		}
	}
	if misconfigured != "" && h.complain(s.Provider+" "+s.Sender+" "+misconfigured) {
		h.Log.Error().Str("provider", s.Provider).Str("sender", s.Sender).Str("reason", misconfigured).Dur("hold", h.cfg.Hold).
			Msg("provider refuses account or sender: mend its settings; nobody is given up meanwhile")
	}
	if defect != "" {
		h.Log.Error().Str("incident", h.key.Incident).Str("reason", defect).Msg("provider refuses the message itself: notices failed, see candor status")
	}
	return facts
}

// backoff is how long a slot waits for its next attempt.
func (h *hand) backoff(attempt uint32, named time.Duration) time.Duration {
	d := h.cfg.RetryFirst << min(attempt-1, 16)
	if d <= 0 || d > h.cfg.RetryMost {
		d = h.cfg.RetryMost
	}
	return max(named, d/2+rand.N(d/2+1))
}

// record appends facts. While the journal cannot be written the order stays in hand and no stride starts; if the
// process has to stop first, the facts go to a file that the next start appends.
func (h *hand) record(ctx context.Context, facts *facts) error {
	for _, e := range facts.entries(h.Journal.Entry) {
		for {
			actx, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := h.Journal.Fact(actx, h.key, h.st, e)
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return errors.Join(err, h.spill(e))
			}
			if errors.Is(err, journal.ErrNotOpened) || !retryable(err) {
				return errors.Join(err, h.spill(e))
			}
			h.Log.Warn().Err(err).Str("incident", h.key.Incident).Uint32("page", h.key.Page).Msg("outcomes wait for the journal; nothing new is sent from this page")
			h.progress()
		}
	}
	return nil
}

// retryable says whether the same append may succeed later.
func retryable(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, bus.ErrUnknownOutcome) || errors.Is(err, bus.ErrUnavailable) ||
		errors.Is(err, bus.ErrNoSpace)
}

// LimitKey names the rate limit of a provider's sender.
func LimitKey(prov, sender string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, sender)
	return prov + "." + clean
}
