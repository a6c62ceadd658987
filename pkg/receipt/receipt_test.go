package receipt_test

import (
	"regexp"
	"testing"
	"time"

	"candor/pkg/receipt"

	candorv1 "candor/proto/candor/v1"
)

const (
	accepted    = candorv1.Result_RESULT_ACCEPTED
	delivered   = candorv1.Result_RESULT_DELIVERED
	retry       = candorv1.Result_RESULT_UNDELIVERED_RETRY
	nextAddress = candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS
	undelivered = candorv1.Result_RESULT_UNDELIVERED
	doubtful    = candorv1.Result_RESULT_DOUBTFUL
	optedOut    = candorv1.Result_RESULT_OPTED_OUT
)

func TestTwilio(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status string
		code   int
		want   receipt.Word
	}{
		{"accepted", 0, receipt.Word{Result: accepted}},
		{"sent", 0, receipt.Word{Result: accepted}},
		{"delivered", 0, receipt.Word{Result: delivered}},
		{"read", 0, receipt.Word{Result: delivered}},
		{"partially_delivered", 0, receipt.Word{Result: delivered, Reason: "twilio_partially_delivered"}},
		{"undelivered", 30003, receipt.Word{Result: retry, Reason: "twilio_30003", RetryIn: 2 * time.Hour}},
		{"undelivered", 30008, receipt.Word{Result: retry, Reason: "twilio_30008", RetryIn: time.Hour}},
		{"failed", 30001, receipt.Word{Result: retry, Reason: "twilio_30001", RetryIn: 15 * time.Minute}},
		{"failed", 30022, receipt.Word{Result: retry, Reason: "twilio_30022", RetryIn: 5 * time.Minute}},
		{"failed", 30023, receipt.Word{Result: retry, Reason: "twilio_30023", RetryIn: 8 * time.Hour}},
		{"undelivered", 30005, receipt.Word{Result: nextAddress, Reason: "twilio_30005"}},
		{"undelivered", 30006, receipt.Word{Result: nextAddress, Reason: "twilio_30006"}},
		{"undelivered", 30007, receipt.Word{Result: undelivered, Reason: "twilio_30007"}},
		{"failed", 21610, receipt.Word{Result: undelivered, Reason: "twilio_21610"}},
		{"failed", 21617, receipt.Word{Result: undelivered, Reason: "twilio_21617"}},
		{"failed", 30034, receipt.Word{Result: retry, Reason: "held_twilio_30034", RetryIn: time.Hour}},
		{"undelivered", 30410, receipt.Word{Result: doubtful, Reason: "twilio_30410"}},
		{"undelivered", 39999, receipt.Word{Result: undelivered, Reason: "twilio_39999"}},
		{"undelivered", 0, receipt.Word{Result: retry, Reason: "twilio_undelivered", RetryIn: time.Hour}},
		{"failed", -5, receipt.Word{Result: retry, Reason: "twilio_undelivered", RetryIn: time.Hour}},
		{"failed", 1 << 40, receipt.Word{Result: retry, Reason: "twilio_undelivered", RetryIn: time.Hour}},
		{"canceled", 0, receipt.Word{Result: retry, Reason: "twilio_canceled", RetryIn: time.Hour}},
	} {
		if got, ok := receipt.Twilio(tt.status, tt.code); !ok || got != tt.want {
			t.Errorf("Twilio(%q, %d) = %+v, %v; want %+v", tt.status, tt.code, got, ok, tt.want)
		}
	}
	for _, status := range []string{"", "queued", "sending", "scheduled", "receiving", "received", "Delivered", "x"} {
		if got, ok := receipt.Twilio(status, 30005); ok {
			t.Errorf("Twilio(%q) = %+v, want nothing", status, got)
		}
	}
}

func TestSendGrid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		event, kind, reason, status string
		want                        receipt.Word
	}{
		{"processed", "", "", "", receipt.Word{Result: accepted}},
		{"deferred", "", "450 ana@example.com is busy", "", receipt.Word{Result: accepted}},
		{"delivered", "", "", "", receipt.Word{Result: delivered}},
		{"bounce", "bounce", "Invalid Address", "5.1.1", receipt.Word{Result: nextAddress, Reason: "sendgrid_bounce_invalid_address"}},
		{"bounce", "bounce", "", "5.1.1", receipt.Word{Result: nextAddress, Reason: "sendgrid_bounce_5_1_1"}},
		{"bounce", "bounce", "550 <ana@example.com> unknown", "", receipt.Word{Result: nextAddress, Reason: "sendgrid_bounce"}},
		{"bounce", "", "", "5.1.1 ana", receipt.Word{Result: nextAddress, Reason: "sendgrid_bounce"}},
		{"bounce", "blocked", "Reputation", "", receipt.Word{Result: retry, Reason: "sendgrid_blocked_reputation", RetryIn: 4 * time.Hour}},
		{"blocked", "", "", "", receipt.Word{Result: retry, Reason: "sendgrid_blocked", RetryIn: 4 * time.Hour}},
		{"dropped", "", "Bounced Address", "", receipt.Word{Result: undelivered, Reason: "sendgrid_dropped_bounced_address"}},
		{"dropped", "", "Unsubscribed Address", "", receipt.Word{Result: undelivered, Reason: "sendgrid_dropped_unsubscribed_address"}},
		{"dropped", "", "Spam Reporting Address", "", receipt.Word{Result: undelivered, Reason: "sendgrid_dropped_spam_reporting_address"}},
		{"dropped", "", "Spam Content (if Spam Checker app is enabled)", "", receipt.Word{Result: undelivered, Reason: "sendgrid_dropped_spam_content"}},
		{"dropped", "", "Invalid", "", receipt.Word{Result: undelivered, Reason: "sendgrid_dropped_invalid"}},
		{"dropped", "", "Recipient List over Package Quota", "", receipt.Word{Result: retry, Reason: "held_sendgrid_dropped_over_quota", RetryIn: time.Hour}},
		{"dropped", "", "ana@example.com is not welcome", "", receipt.Word{Result: undelivered, Reason: "sendgrid_dropped"}},
		{"spamreport", "", "", "", receipt.Word{Result: optedOut, Reason: "sendgrid_spamreport"}},
		{"unsubscribe", "", "", "", receipt.Word{Result: optedOut, Reason: "sendgrid_unsubscribe"}},
		{"group_unsubscribe", "", "", "", receipt.Word{Result: optedOut, Reason: "sendgrid_group_unsubscribe"}},
	} {
		if got, ok := receipt.SendGrid(tt.event, tt.kind, tt.reason, tt.status); !ok || got != tt.want {
			t.Errorf("SendGrid(%q, %q, %q, %q) = %+v, %v; want %+v", tt.event, tt.kind, tt.reason, tt.status, got, ok, tt.want)
		}
	}
	for _, event := range []string{"", "open", "click", "group_resubscribe", "DELIVERED", "x"} {
		if got, ok := receipt.SendGrid(event, "", "", ""); ok {
			t.Errorf("SendGrid(%q) = %+v, want nothing", event, got)
		}
	}
}

var plain = regexp.MustCompile(`^[a-z0-9_]{0,60}$`)

func check(t *testing.T, w receipt.Word, ok bool) {
	t.Helper()
	if !plain.MatchString(w.Reason) {
		t.Errorf("reason %q is not a plain word", w.Reason)
	}
	if (w.RetryIn > 0) != (w.Result == retry) || ok != (w.Result != 0) {
		t.Errorf("%+v, %v", w, ok)
	}
}

func FuzzTwilio(f *testing.F) {
	f.Add("undelivered", 30005)
	f.Fuzz(func(t *testing.T, status string, code int) {
		w, ok := receipt.Twilio(status, code)
		check(t, w, ok)
	})
}

func FuzzSendGrid(f *testing.F) {
	f.Add("bounce", "bounce", "Invalid Address", "5.1.1")
	f.Add("dropped", "", "ana@example.com", "")
	f.Fuzz(func(t *testing.T, event, kind, reason, status string) {
		w, ok := receipt.SendGrid(event, kind, reason, status)
		check(t, w, ok)
	})
}
