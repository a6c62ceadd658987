package receipt

import (
	"strings"
	"time"
)

// blockedWait is until a mailbox provider that refused a message may think otherwise: SendGrid itself has tried soft
// refusals for up to three days.
const blockedWait = 4 * time.Hour

// classifications are SendGrid's words for why an e-mail bounced.
var classifications = map[string]string{
	"content":             "content",
	"frequency or volume": "frequency_or_volume",
	"frequency/volume":    "frequency_or_volume",
	"invalid address":     "invalid_address",
	"mailbox unavailable": "mailbox_unavailable",
	"reputation":          "reputation",
	"technical":           "technical",
	"technical failure":   "technical",
	"unclassified":        "unclassified",
}

// drops are SendGrid's reasons for not sending what it had accepted.
var drops = map[string]string{
	"bounced address":                   "bounced_address",
	"invalid":                           "invalid",
	"invalid smtpapi header":            "invalid_smtpapi_header",
	"recipient list over package quota": overQuota,
	"spam content":                      "spam_content",
	"spam reporting address":            "spam_reporting_address",
	"unsubscribed address":              "unsubscribed_address",
	"group unsubscribe":                 "unsubscribed_address",
}

const overQuota = "over_quota"

// SendGrid says what an event means. kind is the type of a bounce, reason the bounce_classification of a bounce or the reason
// of a drop, status the enhanced status code of a bounce. It is false for an event that says nothing of the notice, such as open.
func SendGrid(event, kind, reason, status string) (Word, bool) {
	switch event {
	case "processed", "deferred":
		return Word{Result: accepted}, true
	case "delivered":
		return Word{Result: delivered}, true
	case "bounce":
		why := bounceReason(reason, status)
		if kind == "blocked" {
			return Word{Result: retry, Reason: "sendgrid_blocked" + why, RetryIn: blockedWait}, true
		}
		return Word{Result: nextAddress, Reason: "sendgrid_bounce" + why}, true
	case "blocked": // as the event is called in SendGrid's older accounts
		return Word{Result: retry, Reason: "sendgrid_blocked" + bounceReason(reason, status), RetryIn: blockedWait}, true
	case "dropped":
		return dropped(reason), true
	case "spamreport", "unsubscribe", "group_unsubscribe":
		return Word{Result: optedOut, Reason: "sendgrid_" + event}, true
	}
	return Word{}, false
}

func bounceReason(classification, status string) string {
	if word, ok := classifications[strings.ToLower(classification)]; ok {
		return "_" + word
	}
	if enhanced(status) {
		return "_" + strings.ReplaceAll(status, ".", "_")
	}
	return ""
}

func dropped(reason string) Word {
	// Some are followed by an explanation in brackets.
	reason, _, _ = strings.Cut(strings.ToLower(reason), " (")
	word, ok := drops[reason]
	switch {
	case !ok:
		return Word{Result: undelivered, Reason: "sendgrid_dropped"}
	case word == overQuota:
		return Word{Result: retry, Reason: heldPrefix + "sendgrid_dropped_" + word, RetryIn: time.Hour}
	}
	return Word{Result: undelivered, Reason: "sendgrid_dropped_" + word}
}

// enhanced takes a status code of RFC 3463 whose parts are short enough not to be anything else.
func enhanced(s string) bool {
	if len(s) < len("5.1.1") || len(s) > len("5.1.10") || s[0] != '4' && s[0] != '5' {
		return false
	}
	for i, c := range []byte(s) {
		if (i == 1 || i == 3) != (c == '.') || c != '.' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
