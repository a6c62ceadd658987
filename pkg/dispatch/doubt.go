package dispatch

import (
	"context"
	"fmt"
	"time"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// doubtDue returns from when on something can be found out, or decided, about a slot whose sending nobody vouches for.
func (h *hand) doubtDue(n uint32) (time.Time, bool) {
	ref, ok := h.st.Open(n)
	if !ok || !h.st.InWave(n) {
		return time.Time{}, false
	}
	said, _ := h.st.Doubt(n)
	if said.IsZero() {
		return h.ownerGone(ref), true
	}
	_, canAsk := h.round.(Asker)
	switch {
	case canAsk:
		// The request had ended when its writer spoke, but the provider may still be storing the message.
		return h.after(said, max(h.cfg.VisibilityLag, shortestLag)), true
	case h.terms.ResendUncertainAfter > 0:
		return said.Add(h.terms.ResendUncertainAfter), true
	}
	return time.Time{}, false // kept for a person
}

// shortestLag keeps a provider that fails to answer from being asked in a tight loop.
const shortestLag = 500 * time.Millisecond

// ownerGone returns when no request of the intent can be under way any more. Until then the slot is its owner's alone:
// the fence stops a second intent, not a second request. An owner of an earlier boot is known to be dead since ours began;
// one without a boot is a process of its own, which outlives the broker's.
func (h *hand) ownerGone(ref journal.IntentRef) time.Time {
	last := ref.SendBefore
	if !h.Booted.IsZero() && ref.BootID != 0 && ref.BootID < h.BootID && h.Booted.Before(last) {
		last = h.Booted
	}
	return h.after(last, h.cfg.RequestTimeout+h.cfg.VisibilityLag)
}

// settleDoubts finds out what can be found out now.
//
// A crash here loses an answer of the provider, which is asked again.
func (h *hand) settleDoubts(ctx context.Context, now time.Time) error {
	if len(h.dueDoubts(now)) == 0 {
		return nil
	}
	// A receipt settles a doubt without asking, and one that came since the page was read must not be acted against.
	if err := h.Journal.Hear(ctx, h.key, h.st); err != nil {
		return fmt.Errorf("hear receipts: %w", err)
	}
	asker, canAsk := h.round.(Asker)
	said := newFacts(candorv1.Decider_DECIDER_LOOKUP, h.cfg.Provider)
	var doubts []Doubt
	for _, n := range h.dueDoubts(now) {
		ref, _ := h.st.Open(n)
		at, _ := h.st.Doubt(n)
		switch {
		case canAsk:
			doubts = append(doubts, Doubt{Slot: n, Address: h.st.Address(n), Since: h.Clock.ToMachine(ref.At)})
		case at.IsZero():
			said.add(n, h.st.Attempt(n), fact{result: candorv1.Result_RESULT_UNKNOWN, reason: "sender_died"})
		default:
			said.add(n, h.st.Attempt(n), fact{result: candorv1.Result_RESULT_NOT_FOUND, reason: "resent_by_policy"})
		}
	}
	if len(doubts) > 0 {
		h.ask(ctx, asker, doubts, said)
	}
	return h.record(ctx, said)
}

func (h *hand) dueDoubts(now time.Time) (slots []uint32) {
	for n := range uint32(h.st.Len()) {
		if due, ok := h.doubtDue(n); ok && !due.After(now) {
			slots = append(slots, n)
		}
	}
	return slots
}

// ask puts the doubts to the provider. Found settles at once; not found counts only twice, a lag apart.
func (h *hand) ask(ctx context.Context, asker Asker, doubts []Doubt, said *facts) {
	var failed int
	var cause error
	for i, f := range asker.Find(ctx, doubts) {
		n := doubts[i].Slot
		_, notSeen := h.st.Doubt(n)
		switch {
		case f.Err != nil:
			failed, cause = failed+1, f.Err
			// Called uncertain, so that everybody sees it and the next look is a lag away.
			said.add(n, h.st.Attempt(n), fact{result: candorv1.Result_RESULT_UNKNOWN, reason: "lookup_failed"})
		case f.ID != "":
			said.add(n, h.st.Attempt(n), fact{result: candorv1.Result_RESULT_ACCEPTED, id: f.ID})
		case notSeen:
			said.add(n, h.st.Attempt(n), fact{result: candorv1.Result_RESULT_NOT_FOUND, reason: "not_at_provider"})
		default:
			said.add(n, h.st.Attempt(n), fact{result: candorv1.Result_RESULT_NOT_SEEN, reason: "not_at_provider_yet"})
		}
	}
	if failed > 0 {
		h.Log.Warn().Err(cause).Int("notices", failed).Msg("provider could not be asked about uncertain notices; asked again")
	}
}
