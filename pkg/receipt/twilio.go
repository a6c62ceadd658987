package receipt

import (
	"strconv"
	"time"

	"candor/pkg/provider"
	"candor/pkg/provider/twiliocode"
)

// Twilio's codes have five digits; another number is noise.
const maxTwilioCode = 99_999

// Twilio says what a message status means, with the error code that came along or 0. It is false for a status that says
// nothing new, such as queued.
func Twilio(status string, code int) (Word, bool) {
	switch status {
	case "accepted", "sent":
		return Word{Result: accepted}, true
	case "delivered", "read":
		return Word{Result: delivered}, true
	case "partially_delivered":
		return Word{Result: delivered, Reason: "twilio_partially_delivered"}, true
	case "undelivered", "failed":
		return twilioFailure(code), true
	case "canceled":
		return Word{Result: retry, Reason: "twilio_canceled", RetryIn: time.Hour}, true
	}
	return Word{}, false
}

func twilioFailure(code int) Word {
	if code <= 0 || code > maxTwilioCode {
		// As with 30008: nobody says why, so nothing speaks against one more try.
		return Word{Result: retry, Reason: "twilio_undelivered", RetryIn: time.Hour}
	}
	w := Word{Result: undelivered, Reason: "twilio_" + strconv.Itoa(code)}
	rule, ok := twiliocode.Of(code)
	if !ok {
		return w // definitely not delivered, and codes that nobody knows are more often final than not
	}
	switch rule.Class {
	case provider.NotSent:
		w.Result, w.RetryIn = retry, twilioWait(code)
	case provider.Misconfigured:
		// The account's fault, not the number's: a person mends it, and meanwhile the guard pauses the channel.
		w.Result, w.Reason, w.RetryIn = retry, heldPrefix+w.Reason, time.Hour
	case provider.BadAddress:
		w.Result = nextAddress
	case provider.Unknown:
		w.Result = doubtful
	}
	return w
}

// twilioWait is how long it takes until what was in the way may be gone.
func twilioWait(code int) time.Duration {
	switch code {
	case 30003: // handset off
		return 2 * time.Hour
	case 30008: // no reason given
		return time.Hour
	case 30023, 30027, 63038: // the day's limit
		return 8 * time.Hour
	case 21611: // ten hours of texts in the sender's queue
		return time.Hour
	case 30001, 30017, 30036: // full queues, congestion
		return 15 * time.Minute
	}
	return 5 * time.Minute
}
