// Package receipt turns what providers say of a message later into results and stable reasons.
//
// In: a Twilio message status with its error code; a SendGrid event.   Out: a Word for the notice's receipts, or none.
// Crash: nothing to lose, these are tables.
//
// A provider's free text may quote an address. None of it ever gets into a reason: reasons come from closed tables, from
// numbers, or are left out.
package receipt

import (
	"strings"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Horizon is how long after a message was accepted anything may still be heard of it: until then receipts are waited for and
// providers asked. SendGrid tries a mailbox for 72 hours, and repeats an event that nobody took for 24.
const Horizon = 97 * time.Hour

// Word is what a receipt says of one attempt at a notice.
type Word struct {
	Result candorv1.Result
	// Reason is a stable word, such as twilio_30005; empty where all is well.
	Reason string
	// RetryIn is how long to wait before the next attempt; 0 unless Result is UNDELIVERED_RETRY.
	RetryIn time.Duration
}

// heldPrefix marks reasons that concern everybody and not the customer: they burn none of the notice's time.
const heldPrefix = "held_"

// Held says whether a reason concerns everybody and not the customer.
func Held(reason string) bool { return strings.HasPrefix(reason, heldPrefix) }

const (
	accepted    = candorv1.Result_RESULT_ACCEPTED
	delivered   = candorv1.Result_RESULT_DELIVERED
	retry       = candorv1.Result_RESULT_UNDELIVERED_RETRY
	nextAddress = candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS
	undelivered = candorv1.Result_RESULT_UNDELIVERED
	doubtful    = candorv1.Result_RESULT_DOUBTFUL
	optedOut    = candorv1.Result_RESULT_OPTED_OUT
)
