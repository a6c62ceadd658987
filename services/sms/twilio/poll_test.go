package twilio_test

import (
	"errors"
	"strings"
	"testing"

	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
)

const sid = "SM0123456789abcdef0123456789abcdef"

func TestPoll(t *testing.T) {
	t.Parallel()
	answer := func(status, code string) providertest.Answer {
		body := strings.Replace(created, `"status":"queued"`, `"status":"`+status+`"`, 1)
		return providertest.Answer{Status: 200, Body: strings.Replace(body, `"error_code":null`, `"error_code":`+code, 1)}
	}
	for _, tt := range []struct {
		name, id string
		answer   providertest.Answer
		status   string
		code     int
		reason   string // of the error
	}{
		{"delivered", sid, answer("delivered", "null"), "delivered", 0, ""},
		{"undelivered", sid, answer("undelivered", "30003"), "undelivered", 30003, ""},
		{"on its way", sid, answer("sent", "null"), "sent", 0, ""},
		{"unknown", sid, providertest.Answer{Status: 404, Body: `{"code":20404,"message":"not found","status":404}`}, "", 0, "twilio_20404"},
		{"too many requests", sid, providertest.Answer{Status: 429, Body: `{"code":20429,"status":429}`}, "", 0, "twilio_20429"},
		{"out of order", sid, providertest.Answer{Status: 503, Body: `<html>`}, "", 0, "http_503"},
		{"another message", "SM0123456789abcdef0123456789abcdee", answer("delivered", "null"), "", 0, "bad_json"},
		{"no message", sid, providertest.Answer{Status: 200, Body: `{}`}, "", 0, "bad_json"},
		{"no JSON", sid, providertest.Answer{Status: 200, Body: `delivered to +12125550156`}, "", 0, "bad_json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := providertest.NewServer(t, providertest.Always(tt.answer))
			status, code, err := openAt(t, server.URL).PollSMS(t.Context(), tt.id)
			if status != tt.status || code != tt.code {
				t.Errorf("%q with code %d, want %q with %d", status, code, tt.status, tt.code)
			}
			var e *provider.Error
			if errors.As(err, &e) != (tt.reason != "") || e != nil && e.Outcome.Reason != tt.reason {
				t.Errorf("error %v, want %q", err, tt.reason)
			}
			if err != nil && strings.Contains(err.Error(), "+1212") {
				t.Errorf("the error quotes the answer: %v", err)
			}
			if r := server.Requests()[0]; r.Method != "GET" || r.Path != "/2010-04-01/Accounts/"+account+"/Messages/"+tt.id+".json" {
				t.Errorf("%s %s", r.Method, r.Path)
			}
		})
	}
}

func TestOnlySIDsArePolled(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 200, Body: created}))
	for _, id := range []string{"", "SM1", "../Calls/CA0123456789abcdef0123456789abcde", "CA0123456789abcdef0123456789abcdef"} {
		if _, _, err := openAt(t, server.URL).PollSMS(t.Context(), id); err == nil {
			t.Errorf("%q was asked about", id)
		}
	}
	if n := len(server.Requests()); n > 0 {
		t.Errorf("%d requests", n)
	}
}
