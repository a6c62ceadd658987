package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"candor/pkg/journal"
	"candor/pkg/provider"
	"candor/pkg/receipt"
	candorv1 "candor/proto/candor/v1"
)

// unpolled returns the messages that a provider accepted long ago and never spoke of again: their receipts may be lost.
func (h *hand) unpolled(now time.Time) (list []Poll) {
	if h.polled || h.cfg.PollAfter == 0 {
		return nil
	}
	for n := range uint32(h.st.Len()) {
		at := h.st.AcceptedAt(n)
		if at.IsZero() || !h.st.InWave(n) || now.Sub(at) < h.cfg.PollAfter || now.Sub(at) >= receipt.Horizon {
			continue
		}
		id := h.st.MessageID(n)
		if state, _ := h.st.Notice(n); id == "" || state != candorv1.NoticeState_NOTICE_STATE_ACCEPTED {
			continue
		}
		list = append(list, Poll{Slot: n, Attempt: h.st.Attempt(n), ID: id})
	}
	return list
}

// poll asks for the final words that are missing, once. Where there is none yet, the planner orders the page again later.
//
// A crash here loses answers of the provider, which is asked again.
func (h *hand) poll(ctx context.Context) error {
	poller, ok := h.round.(Poller)
	if !ok {
		h.polled = true
		return nil
	}
	if err := h.Journal.Hear(ctx, h.key, h.st); err != nil {
		return fmt.Errorf("hear receipts: %w", err)
	}
	asked := h.unpolled(h.Clock.Now())
	h.polled = true
	var failed int
	var cause error
	for some := range slices.Chunk(asked, h.cfg.StrideSlots) {
		if h.stopped() {
			return errStopping
		}
		h.progress()
		said := newFacts(candorv1.Decider_DECIDER_LOOKUP, h.cfg.Provider)
		for i, word := range poller.Poll(ctx, some) {
			switch {
			case word.Err != nil:
				failed, cause = failed+1, word.Err
			case word.Result != candorv1.Result_RESULT_UNSPECIFIED:
				said.add(some[i].Slot, some[i].Attempt, fact{result: word.Result, reason: word.Reason, id: some[i].ID, retryAt: word.RetryAt})
			}
		}
		if err := h.record(ctx, said); err != nil {
			return err
		}
	}
	if failed > 0 && !errors.Is(cause, context.Canceled) && h.news(cause) {
		h.Log.Warn().Err(cause).Str("incident", h.key.Incident).Uint32("page", h.key.Page).Int("notices", failed).
			Msg("provider could not be asked about accepted notices; asked again later")
	}
	return nil
}

// news says whether a failed question is worth a line: what a provider answers it will answer at the next look too, and said
// once for each page is enough. A connection that fails is said each time.
func (h *hand) news(cause error) bool {
	var answer *provider.Error
	if !errors.As(cause, &answer) {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	what := unanswered{h.key, answer.Outcome.Reason}
	_, said := h.unanswered[what]
	h.unanswered[what] = struct{}{}
	return !said
}

// unanswered is a page about whose notices a provider does not say what became of them, and its reason.
type unanswered struct {
	key    journal.Key
	reason string
}
