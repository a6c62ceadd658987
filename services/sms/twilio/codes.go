package twilio

import (
	"encoding/json"
	"net/http"
	"time"

	"candor/pkg/provider"
	"candor/pkg/provider/twiliocode"
)

// ruleFor is the table, and for what is not in it, the HTTP status: Twilio's advice, as codes are added all the time.
func ruleFor(code, status int) twiliocode.Rule {
	switch {
	case status < 400 || status > 499:
		// A redirect is followed by nobody, and behind a 5xx the message may exist.
		return twiliocode.Rule{Class: provider.Unknown}
	case status == http.StatusTooManyRequests:
		return twiliocode.Rule{Class: provider.NotSent, Throttled: true}
	}
	if r, ok := twiliocode.Of(code); ok {
		return r
	}
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusProxyAuthRequired, http.StatusGone, http.StatusUnavailableForLegalReasons:
		return twiliocode.Rule{Class: provider.Misconfigured}
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
		return twiliocode.Rule{Class: provider.Unknown}
	}
	if code > 0 {
		return twiliocode.Rule{Class: provider.Refused}
	}
	// Twilio gives every refusal a code, so this came from something in between and says nothing about the customer.
	return twiliocode.Rule{Class: provider.Defect}
}

// refusal classifies an answer that is no success.
func (s *Sender) refusal(a *provider.Answer, skew time.Duration) provider.Outcome {
	code := errorCode(a.Body)
	r := ruleFor(code, a.Status)
	return provider.Outcome{
		Class: r.Class, Throttled: r.Throttled, Reason: reason(code, a.Status),
		RetryAfter: provider.RetryAfter(a.Header, s.transport.Now()), Skew: skew,
	}
}

// errorCode is Twilio's code in the body of an error; 0 if the body is not Twilio's.
func errorCode(body []byte) int {
	var e struct {
		Code int `json:"code"`
	}
	if json.Unmarshal(body, &e) != nil || e.Code < 0 {
		return 0
	}
	return e.Code
}
