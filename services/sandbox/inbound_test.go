package sandbox_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"candor/services/sandbox"
)

func (w *world) reply(phone, text string) {
	w.t.Helper()
	if err := w.client.Reply(context.Background(), phone, text); err != nil {
		w.t.Fatal(err)
	}
}

func TestStopIsObeyedAndStartUndoesIt(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{})
	const phone = "+447911123456"
	d.twiml = `<?xml version="1.0"?><Response/>`
	d.textTo(phone, "n1.1.mac", everyRetry)
	w.settled()
	d.heard = nil
	for _, word := range []string{" stop ", "Unsubscribe"} { // the second time there is nothing left to stop
		w.reply(phone, word)
		_, err := d.try(phone, "n2.1.mac", everyRetry)
		wantError(t, err, 400, 21610)
	}
	if tr := w.settled(); tr.SMS.OptedOut != 1 || tr.Receipts.Replies != 2 || tr.Receipts.Answers != 2 || tr.SMS.Accepted != 1 {
		t.Errorf("truth %+v", tr)
	}
	wants(t, w.page("/phones/0"), "1 message · opted out", "You have successfully been unsubscribed", "stop", "texted back")
	w.reply(phone, "START")
	d.textTo(phone, "n2.2.mac", everyRetry)
	if tr := w.settled(); tr.SMS.OptedOut != 0 || tr.SMS.Accepted != 2 {
		t.Errorf("truth %+v", tr)
	}
	w.reply(phone, "help")
	w.reply(phone, "please stop this")
	w.settled()
	var types []string
	for _, h := range d.heard {
		if strings.HasSuffix(h.path, "/inbound") {
			types = append(types, h.form.Get("OptOutType"))
			if h.form.Get("From") != phone || h.form.Get("To") != ownSender || h.form.Get("Body") == "" || len(h.form.Get("MessageSid")) != 34 || h.token == "" {
				t.Errorf("heard %v", h.form)
			}
		}
	}
	if got := strings.Join(types, ","); got != "STOP,STOP,START,HELP," {
		t.Errorf("told as %s", got)
	}
	if _, err := d.try("+447911123457", "n3.1.mac", everyRetry); err != nil {
		t.Errorf("another phone: %v", err)
	}
}

func TestWithoutAdvancedOptOutNobodySaysWhichWordItWas(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{}, func(c *sandbox.Config) { c.Twilio.AdvancedOptOut = false })
	w.reply("+447911123456", "STOP")
	if len(d.heard) != 1 || d.heard[0].form.Has("OptOutType") {
		t.Errorf("heard %+v", d.heard)
	}
	_, err := d.try("+447911123456", "n.1.mac", everyRetry)
	wantError(t, err, 400, 21610)
}

func TestAnswersAreShownOnce(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{Duplicate: 1})
	const phone = "+447911123456"
	w.text(phone, "We are sorry.", "")
	d.mu.Lock()
	d.twiml = `<?xml version="1.0" encoding="UTF-8"?><Response><Message>We call you &amp; soon.</Message><Message><Body>From 0800 123 456.</Body></Message></Response>`
	failed := d.posts
	d.status = func(n int) int { return map[bool]int{true: 503, false: 200}[n == failed] } // so that it is told three times: in vain, and twice
	d.mu.Unlock()
	w.reply(phone, "CALL & <me>")
	tr := w.settled()
	if len(d.heard) != 2 || d.heard[0].form.Get("Body") != "CALL & <me>" || d.heard[0].form.Get("MessageSid") != d.heard[1].form.Get("MessageSid") || d.heard[0].token != d.heard[1].token {
		t.Errorf("heard %+v", d.heard)
	}
	page := w.page("/phones/0")
	wants(t, page, "CALL & <me>", "We call you & soon.", "From 0800 123 456.", "We are sorry.", "1 message")
	if strings.Count(page, "We call you") != 1 {
		t.Error("the answer is not shown once")
	}
	if tr.SMS.Accepted != 1 || tr.Receipts.Answers != 2 || tr.Receipts.Replies != 1 || tr.Receipts.Refused != 1 {
		t.Errorf("truth %+v: an answer is no notice", tr)
	}
	for _, twiml := range []string{"Thank you", "<Response><Message>x</Response>", "<Other/>"} {
		d.mu.Lock()
		d.twiml = twiml
		d.mu.Unlock()
		if err := w.client.Reply(context.Background(), phone, "hello"); err == nil || !strings.Contains(err.Error(), "TwiML") {
			t.Errorf("an answer %q = %v", twiml, err)
		}
	}
	d.mu.Lock()
	d.status = func(int) int { return 500 }
	d.mu.Unlock()
	if err := w.client.Reply(context.Background(), phone, "hello"); err == nil || !strings.Contains(err.Error(), "did not take") {
		t.Errorf("Reply that nobody takes = %v", err)
	}
	if w.settled(); strings.Contains(w.logs.String(), "sorry") || strings.Contains(w.logs.String(), phone) {
		t.Errorf("logs: %s", w.logs)
	}
}

// TestThoseWhoStoppedGetNoAnswer is about a receiver that answers where Twilio has answered.
func TestThoseWhoStoppedGetNoAnswer(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{})
	d.twiml = `<Response><Message>You are out.</Message></Response>`
	w.reply("+447911123456", "STOP")
	if tr := w.settled(); tr.Receipts.Answers != 1 || tr.SMS.RefusedByCode["21610"] != 1 {
		t.Errorf("truth %+v", tr)
	}
}

func TestAPhoneTextsBackOnItsPage(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{})
	d.twiml = "<Response><Message>Thank you.</Message></Response>"
	m := d.textTo("+15005553005", "n.1.mac", everyRetry)
	w.settled()
	c := w.browser()
	send := func(path, text, site string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.box.URL()+path, strings.NewReader(url.Values{"text": {text}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", site)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for _, tt := range []struct {
		path, text, site string
		want             int
	}{
		{"/phones/0/reply", "I <3 you", "cross-site", 403},
		{"/phones/1/reply", "hello", "same-origin", 404},
		{"/phones/0/reply", "", "same-origin", 400},
		{"/phones/0/reply", strings.Repeat("x", 6401), "same-origin", 400},
		{"/phones/0/reply", "I <3 you", "same-origin", 200},
	} {
		if got := send(tt.path, tt.text, tt.site); got != tt.want {
			t.Errorf("POST %s %.20q from %s = %d, want %d", tt.path, tt.text, tt.site, got, tt.want)
		}
	}
	wants(t, w.page("/phones/0"), "I &lt;3 you", "Thank you.", "undelivered (30005: Unknown destination handset)", `action="/phones/0/reply"`, `value="STOP"`, `value="CALL"`)
	if m.Sid == nil || w.truth().Receipts.Replies != 1 {
		t.Errorf("%d replies, want 1", w.truth().Receipts.Replies)
	}
	d.mu.Lock()
	d.status = func(int) int { return 400 }
	d.mu.Unlock()
	send("/phones/0/reply", "again", "same-origin")
	wants(t, w.page("/phones/0?problem"), "did not take the text")
}

func TestMailboxesShowWhatBecameOfTheirMail(t *testing.T) {
	t.Parallel()
	w, _ := open(t, sandbox.Receipts{})
	people := []string{"a@example.com", "bounce@example.com", "blocked@example.com", "spam@example.com"}
	w.mustMail(encode(letter(people, nil)), 202)
	w.settled()
	for path, want := range map[string][]string{
		"/mailboxes/0": {"<dd>Delivered</dd>", "delivered</span>"},
		"/mailboxes/1": {"Bounced: 550 5.1.1", "Nobody ever saw this", "bounced</span>"},
		"/mailboxes/2": {"Blocked: 550 5.7.1", "blocked</span>"},
		"/mailboxes/3": {"reported as spam"},
		"/":            {"<dt>delivered</dt><dd>", "bounce × 1", "Receipts: 0 pending", w.box.SendGridPublicKey()},
	} {
		wants(t, w.page(path), want...)
	}
}
