package sendgrid

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"candor/pkg/provider"
)

// verdict is what one answer means for a batch.
type verdict struct {
	outcome provider.Outcome // of everybody that does not stand in singled
	singled []finding        // recipients that the answer names; if there are any, the others are free to be sent again
	split   bool             // nobody was taken, and it may be because of one of many
	stop    bool             // the rest of the call would fare no better
}

// finding is what is wrong with one recipient.
type finding struct {
	index     int // in the batch
	outcome   provider.Outcome
	duplicate bool // the mailbox is in the batch twice: send it in a request of its own
}

func judge(status int, header http.Header, body string, size int, now time.Time, skew time.Duration) verdict {
	out := provider.Outcome{Reason: "http_" + strconv.Itoa(status), Skew: skew}
	switch status {
	case http.StatusAccepted:
		if id := header.Get("X-Message-Id"); isID(id) {
			return verdict{outcome: provider.Outcome{Class: provider.Accepted, ID: id, Skew: skew}}
		}
		out.Reason = "http_202_without_id"
		return verdict{outcome: out, stop: true}
	case http.StatusBadRequest:
		return badRequest(body, size, out)
	case http.StatusRequestEntityTooLarge:
		out.Class = provider.Defect
		return verdict{outcome: out, split: true}
	case http.StatusTooManyRequests:
		out.Class, out.Throttled, out.RetryAfter = provider.NotSent, true, retryAfter(header, now)
		return verdict{outcome: out, stop: true}
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusProxyAuthRequired, http.StatusGone, http.StatusUnavailableForLegalReasons:
		out.Class = provider.Misconfigured
		return verdict{outcome: out, stop: true}
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
		return verdict{outcome: out, stop: true}
	}
	if status >= 400 && status <= 499 {
		out.Class = provider.Defect
		return verdict{outcome: out}
	}
	// 200 without the 202's promise, redirects, 5xx: SendGrid may have taken it.
	return verdict{outcome: out, stop: true}
}

func isID(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/") == ""
}

// badRequest reads which recipients a 400 names. A 400 means that nobody was taken.
func badRequest(body string, size int, out provider.Outcome) verdict {
	out.Class = provider.Defect
	v := verdict{outcome: out}
	message := ""
	for _, e := range parseErrors(body) {
		index, rest, ok := personalization(e.Field)
		if !ok || index >= size {
			if !ok && e.Field != "" && e.Field != "personalizations" {
				message, _, _ = strings.Cut(e.Field, ".")
			}
			continue
		}
		f := finding{index: index, outcome: out}
		f.outcome.Reason = "invalid_recipient"
		switch {
		case rest != "" && rest != "to" && !strings.HasPrefix(rest, "to.") && !strings.HasPrefix(rest, "to["):
			f.outcome.Reason = "invalid_variables"
		case size > 1 && e.duplicate():
			f.duplicate = true
			f.outcome.Reason = "duplicate_recipient"
		default:
			f.outcome.Class = provider.BadAddress
		}
		v.singled = append(v.singled, f)
	}
	switch {
	case len(v.singled) > 0:
	case message == "from" || message == "reply_to":
		v.outcome.Class, v.outcome.Reason, v.stop = provider.Misconfigured, "invalid_sender", true
	case message != "":
		// Wrong for everybody alike.
		v.outcome.Reason, v.stop = "invalid_message", true
	default:
		v.split = true
	}
	return v
}

type fieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"` // quotes addresses: never show it
}

// duplicate tells "each email address must be unique" from a wrong address: the field is the same.
func (e fieldError) duplicate() bool {
	m := strings.ToLower(e.Message)
	return strings.Contains(m, "unique") || strings.Contains(m, "duplicate")
}

func parseErrors(body string) []fieldError {
	var answer struct {
		Errors []json.RawMessage `json:"errors"`
	}
	if json.Unmarshal([]byte(body), &answer) != nil {
		return nil
	}
	var errs []fieldError
	for _, raw := range answer.Errors {
		var e fieldError
		if json.Unmarshal(raw, &e) == nil {
			errs = append(errs, e)
		}
	}
	return errs
}

// personalization splits personalizations.N.rest, which is also written personalizations[N].rest.
func personalization(field string) (index int, rest string, ok bool) {
	field, ok = strings.CutPrefix(field, "personalizations")
	if !ok || field == "" || field[0] != '.' && field[0] != '[' {
		return 0, "", false
	}
	digits, rest, _ := strings.Cut(field[1:], ".")
	if field[0] == '[' {
		if digits, ok = strings.CutSuffix(digits, "]"); !ok {
			return 0, "", false
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 {
		return 0, "", false
	}
	return n, rest, true
}

func retryAfter(h http.Header, now time.Time) time.Duration {
	if d := provider.RetryAfter(h, now); d > 0 {
		return d
	}
	reset, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || reset <= 0 || reset > 1<<40 {
		return 0
	}
	return min(max(time.Unix(reset, 0).Sub(now), 0), provider.MaxRetryAfter)
}
