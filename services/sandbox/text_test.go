package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	twilio "github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/services/sandbox"
)

func TestTextIsRefused(t *testing.T) {
	t.Parallel()
	service := "MG0123456789abcdef0123456789abcdef"
	owned := func(c *sandbox.Config) { c.Twilio.Senders = []string{ownSender, service, "+447700900001"} }
	for _, tt := range []struct {
		name   string
		params *openapi.CreateMessageParams
		code   int
	}{
		{"no To", sms("", "hello", ""), 21604},
		{"no From", sms("+447911123456", "hello", "").SetFrom(""), 21603},
		{"no Body", sms("+447911123456", "", ""), 21602},
		{"1601 characters", sms("+447911123456", strings.Repeat("é", 1601), ""), 21617},
		{"To is no number", sms("hello", "hello", ""), 21211},
		{"To without plus", sms("447911123456", "hello", ""), 21211},
		{"To with a space", sms("+44 7911123456", "hello", ""), 21211},
		{"To too long", sms("+4479111234561234", "hello", ""), 21211},
		{"To with a zero first", sms("+047911123456", "hello", ""), 21211},
		{"From is no number", sms("+447911123456", "hello", "").SetFrom("+44-7700"), 21212},
		{"From is too long a name", sms("+447911123456", "hello", "").SetFrom("Acme Bank plc"), 21212},
		{"From of another account", sms("+447911123456", "hello", "").SetFrom("+447700900002"), 21606},
		{"name of another account", sms("+447911123456", "hello", "").SetFrom("Acme"), 21606},
		{"service of another account", sms("+447911123456", "hello", "").SetMessagingServiceSid("MG1123456789abcdef0123456789abcdef"), 21705},
		{"service is none", sms("+447911123456", "hello", "").SetMessagingServiceSid("MG1"), 21705},
		{"callback is no URL", sms("+447911123456", "hello", "").SetStatusCallback("hooks.acme.example"), 21609},
		{"callback without host", sms("+447911123456", "hello", "").SetStatusCallback("https:///x"), 21609},
		{"validity too long", sms("+447911123456", "hello", "").SetValidityPeriod(36001), 21624},
		{"validity too short", sms("+447911123456", "hello", "").SetValidityPeriod(0), 21624},
		{"scheduled", sms("+447911123456", "hello", "").SetScheduleType("fixed"), 20001},
		{"magic invalid", sms("+15005550001", "hello", ""), 21211},
		{"magic route", sms("+15005550002", "hello", ""), 21612},
		{"magic region", sms("+15005550003", "hello", ""), 21408},
		{"magic opted out", sms("+15005550004", "hello", ""), 21610},
		{"magic no mobile", sms("+15005550009", "hello", ""), 21614},
		{"magic From invalid", sms("+447911123456", "hello", "").SetFrom("+15005550001"), 21212},
		{"magic From foreign", sms("+447911123456", "hello", "").SetFrom("+15005550007"), 21606},
		{"magic From full", sms("+447911123456", "hello", "").SetFrom("+15005550008"), 21611},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, owned)
			api, sdk := w.twilio()
			m, err := api.CreateMessage(tt.params)
			wantError(t, err, 400, tt.code)
			if m != nil || sdk.status != 400 || sdk.header.Get("Content-Type") != "application/json" {
				t.Errorf("answer %v, status %d, type %q", m, sdk.status, sdk.header.Get("Content-Type"))
			}
			if tr := w.truth().SMS; tr.Accepted != 0 || tr.Requests != 1 || tr.RefusedByCode[fmt.Sprint(tt.code)] != 1 {
				t.Errorf("truth %+v, want one request refused with %d", tr, tt.code)
			}
		})
	}
}

func wantError(t *testing.T, err error, status, code int) {
	t.Helper()
	var e *twilio.TwilioRestError
	if !errors.As(err, &e) || e.Status != status || e.Code != code || e.Message == "" || e.MoreInfo != fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code) {
		t.Errorf("error %+v, want status %d and code %d", err, status, code)
	}
}

func TestTextRefusalsRepeatTheNumberAsTheRealOnesDo(t *testing.T) {
	t.Parallel()
	api, _ := start(t).twilio()
	_, err := api.CreateMessage(sms("+15005550001", "hello", ""))
	if err == nil || !strings.Contains(err.Error(), "+15005550001") {
		t.Errorf("error %v, want the number in it", err)
	}
}

func TestTextIsAccepted(t *testing.T) {
	t.Parallel()
	service := "MG0123456789abcdef0123456789abcdef"
	for _, tt := range []struct {
		name, body, segments, status string
		change                       func(*openapi.CreateMessageParams)
	}{
		{"short", "hello", "1", "queued", nil},
		{"160 characters of GSM-7", strings.Repeat("a", 160), "1", "queued", nil},
		{"161", strings.Repeat("a", 161), "2", "queued", nil},
		{"80 of two septets", strings.Repeat("€", 80), "1", "queued", nil},
		{"81 of two septets", strings.Repeat("€", 81), "2", "queued", nil},
		{"two septets do not cross", strings.Repeat("a", 152) + "€" + strings.Repeat("a", 152), "3", "queued", nil},
		{"70 of UCS-2", strings.Repeat("ç", 70), "1", "queued", nil},
		{"71 of UCS-2", strings.Repeat("ç", 71), "2", "queued", nil},
		{"36 pairs", strings.Repeat("😀", 36), "2", "queued", nil},
		{"1600 characters", strings.Repeat("a", 1600), "11", "queued", nil},
		{"by service", "hello", "0", "accepted", func(p *openapi.CreateMessageParams) { p.From = nil; p.SetMessagingServiceSid(service) }},
		{"by name", "hello", "1", "queued", func(p *openapi.CreateMessageParams) { p.SetFrom("Acme Bank") }},
		{"by short code", "hello", "1", "queued", func(p *openapi.CreateMessageParams) { p.SetFrom("12345") }},
		{"odd characters", "a+b & c=d%41 \"q\" \\ ñ\n\t\x01✓", "1", "queued", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			api, _ := w.twilio()
			p := sms("+447911123456", tt.body, "n.1.mac")
			if tt.change != nil {
				tt.change(p)
			}
			m, err := api.CreateMessage(p)
			if err != nil {
				t.Fatal(err)
			}
			if *m.Body != tt.body || *m.NumSegments != tt.segments || *m.Status != tt.status || *m.To != "+447911123456" || m.DateSent != nil {
				t.Errorf("message %q of %s segments is %s to %s", *m.Body, *m.NumSegments, *m.Status, *m.To)
			}
			got, err := api.FetchMessage(*m.Sid, nil)
			if err != nil {
				t.Fatal(err)
			}
			if *got.Body != tt.body || *got.Sid != *m.Sid || *got.Status != "sent" || got.DateSent == nil || *got.DateCreated != *m.DateCreated {
				t.Errorf("fetched %q, %s, %s", *got.Body, *got.Sid, *got.Status)
			}
		})
	}
}

// TestTextsAreGivenBackAsTheyWere is about how they are kept: as the difference to one another.
func TestTextsAreGivenBackAsTheyWere(t *testing.T) {
	t.Parallel()
	w := start(t)
	api, _ := w.twilio()
	var bodies []string
	for i := range 200 {
		bodies = append(bodies,
			fmt.Sprintf("Acme: we are sorry. Your code is %d. Call 0800 123 456.", i),
			fmt.Sprintf("%d", i), strings.Repeat(fmt.Sprint(i%10), i+1), fmt.Sprintf("Estimado %d: lo sentimos", i))
	}
	for i, body := range bodies {
		if _, err := api.CreateMessage(sms(fmt.Sprintf("+4479%08d", i), body, "")); err != nil {
			t.Fatal(err)
		}
	}
	all, err := api.ListMessage((&openapi.ListMessageParams{}).SetPageSize(1000))
	if err != nil || len(all) != len(bodies) {
		t.Fatalf("%d messages, %v; want %d", len(all), err, len(bodies))
	}
	for i, m := range all {
		if want := bodies[len(bodies)-1-i]; *m.Body != want {
			t.Errorf("message %d is %q, want %q", i, *m.Body, want)
		}
	}
}

func TestListMessages(t *testing.T) {
	t.Parallel()
	w := start(t)
	api, sdk := w.twilio()
	other := "+447700900001"
	for i := range 7 {
		p := sms(fmt.Sprintf("+4479111234%02d", i%2), fmt.Sprintf("text %d", i), "")
		if i >= 4 {
			p.SetFrom(other)
		}
		if _, err := api.CreateMessage(p); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC()
	for _, tt := range []struct {
		name   string
		params *openapi.ListMessageParams
		want   []int
	}{
		{"all, newest first", &openapi.ListMessageParams{}, []int{6, 5, 4, 3, 2, 1, 0}},
		{"in pages of 2", (&openapi.ListMessageParams{}).SetPageSize(2), []int{6, 5, 4, 3, 2, 1, 0}},
		{"to one", (&openapi.ListMessageParams{}).SetTo("+447911123401"), []int{5, 3, 1}},
		{"to one in pages of 1", (&openapi.ListMessageParams{}).SetTo("+447911123400").SetPageSize(1), []int{6, 4, 2, 0}},
		{"to nobody", (&openapi.ListMessageParams{}).SetTo("+447911123409"), nil},
		{"from one", (&openapi.ListMessageParams{}).SetFrom(other), []int{6, 5, 4}},
		{"from one to one", (&openapi.ListMessageParams{}).SetFrom(other).SetTo("+447911123401"), []int{5}},
		{"sent today", (&openapi.ListMessageParams{}).SetDateSent(now), []int{6, 5, 4, 3, 2, 1, 0}},
		{"sent since yesterday", (&openapi.ListMessageParams{}).SetDateSentAfter(now.AddDate(0, 0, -1)), []int{6, 5, 4, 3, 2, 1, 0}},
		{"sent since tomorrow", (&openapi.ListMessageParams{}).SetDateSentAfter(now.AddDate(0, 0, 1)), nil},
		{"sent until yesterday", (&openapi.ListMessageParams{}).SetDateSentBefore(now.AddDate(0, 0, -1)), nil},
		{"limited", (&openapi.ListMessageParams{}).SetLimit(3), []int{6, 5, 4}},
	} {
		messages, err := api.ListMessage(tt.params)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []int
		for _, m := range messages {
			var n int
			_, _ = fmt.Sscanf(*m.Body, "text %d", &n)
			got = append(got, n)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	for _, query := range []string{"?PageSize=0", "?PageSize=x", "?Page=-1", "?To=hello", "?DateSent=yesterday", "?PageToken=PASM1", "?PageToken=x"} {
		status, body := w.request("GET", "/2010-04-01/Accounts/"+w.cfg.Twilio.AccountSID+"/Messages.json"+query, "", "Authorization", basicAuth(w))
		if status != 400 {
			t.Errorf("%s = %d %s, want 400", query, status, body)
		}
	}
	for _, sid := range []string{"SM00000000000000000000000000000000", "SM1", "x"} {
		if _, err := api.FetchMessage(sid, nil); err == nil || sdk.status != 404 {
			t.Errorf("fetch %s = %v, status %d, want 404", sid, err, sdk.status)
		}
	}
	if _, err := api.CreateMessage(sms("+447911123456", "hello", "").SetPathAccountSid("AC1")); err == nil || sdk.status != 404 {
		t.Errorf("another account = %v, status %d, want 404", err, sdk.status)
	}
}

func TestTheListLags(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *sandbox.Config) { c.Twilio.ListLag = time.Hour })
	m := w.text("+447911123456", "hello", "")
	api, _ := w.twilio()
	if list, err := api.ListMessage(nil); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v; want it empty for an hour", list, err)
	}
	if _, err := api.FetchMessage(*m.Sid, nil); err != nil {
		t.Errorf("fetch: %v", err)
	}
}

func TestASendersQueueHoldsTenHours(t *testing.T) {
	t.Parallel()
	service := "MG0123456789abcdef0123456789abcdef"
	// A segment takes four hours: the fourth would wait for twelve.
	w := start(t, func(c *sandbox.Config) {
		c.Twilio.RatePerSec = 1
		c.Twilio.SenderRates = map[string]float64{ownSender: 1.0 / (4 * 3600), service: 1.0 / (4 * 3600)}
	})
	api, _ := w.twilio()
	for i := range 3 {
		m := w.text("+447911123456", "hello", fmt.Sprintf("n%d.1.mac", i))
		got, err := api.FetchMessage(*m.Sid, nil)
		if want := map[bool]string{true: "sent", false: "queued"}[i == 0]; err != nil || *got.Status != want {
			t.Errorf("message %d: %v, %v, want %s", i, *got.Status, err, want)
		}
	}
	_, err := api.CreateMessage(sms("+447911123456", "hello", "n3.1.mac"))
	wantError(t, err, 400, 21611)
	if _, err := api.CreateMessage(sms("+447911123456", "hello", "n3.2.mac").SetFrom("+447700900001")); err != nil {
		t.Errorf("another sender's queue is full too: %v", err)
	}

	byService := (&openapi.CreateMessageParams{}).SetTo("+447911123457").SetMessagingServiceSid(service).SetBody("hello")
	var last string
	for i := range 4 { // a service says so only afterwards
		m, err := api.CreateMessage(byService.SetStatusCallback(fmt.Sprintf("https://acme.example/h/s.%d.mac", i+1)))
		if err != nil || *m.Status != "accepted" {
			t.Fatalf("by service: %v, %v", m, err)
		}
		last = *m.Sid
	}
	if m, err := api.FetchMessage(last, nil); err != nil || *m.Status != "failed" || *m.ErrorCode != 30001 {
		t.Errorf("fetched %+v, %v; want it failed with 30001", m, err)
	}
	if tr := w.truth().SMS; tr.Dropped != 1 || tr.Duplicates != 1 || tr.RefusedByCode["21611"] != 1 {
		t.Errorf("truth %+v, want the overflow among the dropped and notice s told twice", tr)
	}
}

func TestTooManyRequestsAtATime(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *sandbox.Config) { c.Twilio.Concurrency = 1; c.Faults.SMS.StallKept = 1 })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // the one that holds the place
		defer close(ended)
		_ = post(ctx, w, "To=%2B447911123456&From=%2B15005550006&Body=hello")
	}()
	until(func() bool { return w.channel("sms").Accepted == 1 })
	if err := w.box.SetFaults(sandbox.Faults{}); err != nil {
		t.Fatal(err)
	}
	api, sdk := w.twilio()
	_, err := api.CreateMessage(sms("+447911123457", "hello", "n.1.mac"))
	wantError(t, err, 429, 20429)
	if sdk.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", sdk.header.Get("Retry-After"))
	}
	cancel()
	<-ended
	until(func() bool { // the first has given up its place
		_, err = api.CreateMessage(sms("+447911123457", "hello", "n.2.mac"))
		return err == nil
	})
	if d := w.truth().Duplicates; d != 0 {
		t.Errorf("%d duplicates: the 429s were not definite failures", d)
	}
}

func TestOptedOutNumbersAreRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	if err := w.client.Suppress(context.Background(), sandbox.Suppressed{Phones: []string{"+447911123456"}}); err != nil {
		t.Fatal(err)
	}
	api, _ := w.twilio()
	_, err := api.CreateMessage(sms("+447911123456", "hello", ""))
	wantError(t, err, 400, 21610)
	if err := w.client.Suppress(context.Background(), sandbox.Suppressed{Phones: []string{"0800"}}); err == nil || !strings.Contains(err.Error(), "phones[0]") {
		t.Errorf("Suppress = %v, want it to refuse", err)
	}
}
