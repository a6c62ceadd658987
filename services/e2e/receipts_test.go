package e2e

import (
	"encoding/csv"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

// impatient makes everything that is waited for short.
func impatient(cfg *app.Config) {
	cfg.SMS.RequestTimeout, cfg.Email.RequestTimeout = 5*time.Second, 5*time.Second // or a busy machine would be taken for a provider that hangs
	cfg.SMS.RetryFirst, cfg.Email.RetryFirst = 50*time.Millisecond, 50*time.Millisecond
	cfg.SMS.RetryMost, cfg.Email.RetryMost = 200*time.Millisecond, 200*time.Millisecond
	cfg.SMS.Hold, cfg.Email.Hold = 200*time.Millisecond, 200*time.Millisecond
	cfg.SMS.PollAfter, cfg.Planner.PollEvery = time.Second, time.Second
}

// rough is what the sandbox's people meet with, and how badly it is told.
func rough() sandbox.Receipts {
	return sandbox.Receipts{
		Enabled: true, Seed: 5, DelaySent: sandbox.Duration(20 * time.Millisecond), DelayFinal: sandbox.Duration(100 * time.Millisecond),
		Flush: sandbox.Duration(100 * time.Millisecond), Duplicate: 0.3, Shuffle: 0.4, Forge: 0.1,
		Undelivered: map[int]float64{30005: 0.05, 30006: 0.04, 30007: 0.04}, Bounced: 0.06, Spam: 0.02, DeferredFirst: 0.05,
	}
}

// synthetic reads the phones of customers who can be sent text messages, by language.
func synthetic(t *testing.T, n int) (english, spanish []string) {
	t.Helper()
	people, err := bench.Customers(n)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(people).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, row := range rows[1:] {
		// Those who wrote their number in full.
		phone := row[column["phone"]]
		if len(phone) != len("+12125550100") || phone[:2] != "+1" || row[column["no_sms"]] != "" || row[column["compromised_channels"]] != "" {
			continue
		}
		switch row[column["language"]] {
		case "en":
			english = append(english, phone)
		case "español":
			spanish = append(spanish, phone)
		}
	}
	return english, spanish
}

// conversation is a phone's page at the sandbox, as text.
func conversation(t *testing.T, s *sandbox.Sandbox, phone string) string {
	t.Helper()
	c := httpClient(t)
	get := func(path string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.Token())
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }() // only read from
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, res.Status, err)
		}
		return string(b)
	}
	link := regexp.MustCompile(`href="(/phones/\d+)"`).FindStringSubmatch(get("/?q=" + strings.ReplaceAll(phone, "+", "%2B")))
	if link == nil {
		t.Fatal("the sandbox has no such phone")
	}
	return html.UnescapeString(get(link[1]))
}

func TestCandorHearsWhatBecameOfEveryMessage(t *testing.T) {
	t.Parallel()
	p := play(t, impatient)
	const customers = 2000
	fates := rough()
	story := bench.Story{Incident: "hear", Customers: customers, EmailBatch: 100, Receipts: &fates}
	v, err := p.driver.Tell(t.Context(), story, p.sandbox)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, v, customers)
	if v.Delivered["sms"].Candor == 0 || v.Undelivered["sms"].Candor == 0 || v.Delivered["email"].Candor == 0 || v.Undelivered["email"].Candor == 0 {
		t.Errorf("something did not happen at all: %+v", v)
	}
	truth, err := p.sandbox.Truth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := truth.Receipts; r.Forged == 0 || r.ForgedTaken != 0 || r.Duplicates == 0 || r.Lost != 0 {
		t.Errorf("receipts = %+v", r)
	}
	for ch, n := range map[string]sandbox.ChannelTruth{"sms": truth.SMS, "email": truth.Email} {
		if v.Delivered[ch].Candor != n.Delivered || v.Undelivered[ch].Candor != n.Undelivered {
			t.Errorf("%s: Candor says %d delivered and %d not, the sandbox has %d and %d", ch,
				v.Delivered[ch].Candor, v.Undelivered[ch].Candor, n.Delivered, n.Undelivered)
		}
	}
	stopped := v.OptedOut

	english, spanish := synthetic(t, customers)
	text := func(phone, words string) {
		t.Helper()
		if err := p.sandbox.Reply(t.Context(), phone, words); err != nil {
			t.Fatalf("%s: %v", words, err)
		}
	}
	text(english[0], "STOP")
	text(english[1], "stop!")
	text(english[2], "Stop please")
	text(english[3], "HELP")
	text(english[4], "CALL")
	text(spanish[0], "ALTO")
	text(spanish[1], "Llamar")
	text(english[5], "I am not amused")
	st, err := await(t, p.driver, "hear", func(st *candorv1.Status) bool {
		return st.GetCallRequests() == 2 && st.GetReceiptsFoldedTo() == st.GetReceiptsLast() && channelOf(st, candorv1.Channel_CHANNEL_SMS).GetOptedOut() >= 4
	})
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	called(t, p.driver, "hear", 2)
	if v, err = p.driver.Verify(t.Context(), "hear", p.sandbox); err != nil {
		t.Fatal(err)
	}
	agree(t, v, customers)
	// Twilio itself knows the English words when they stand alone; the others are ours.
	if n := v.OptedOut["sms"]; n.Candor != 4 || n.Sandbox != 1 {
		t.Errorf("STOP was heard of %+v", n)
	}
	if n := v.OptedOut["email"]; n != stopped["email"] || n.Candor != n.Sandbox || n.Candor == 0 {
		t.Errorf("spam was reported by %+v", n)
	}
	box := p.app.Sandbox()
	for _, tt := range []struct{ phone, answer string }{
		{english[1], "You get no more texts from us"},
		{english[4], "We will call you"},
		{spanish[0], "No le enviaremos otro SMS"},
		{spanish[1], "Le llamaremos"},
	} {
		if n := strings.Count(conversation(t, box, tt.phone), tt.answer); n != 1 {
			t.Errorf("%q was answered %d times", tt.answer, n)
		}
	}
	for _, phone := range []string{english[0], english[3]} { // Twilio has answered them
		if n := strings.Count(conversation(t, box, phone), "Northwind Power: "); n != 1 {
			t.Errorf("%d texts of ours, want the notice alone", n)
		}
	}
}

// What is uncertain is settled by what the providers say later, or when they are asked; nobody has to decide anything.
func TestUncertainNoticesAreSettledByReceipts(t *testing.T) {
	t.Parallel()
	p := play(t, func(cfg *app.Config) {
		impatient(cfg)
		bad := sandbox.Rates{AnswerLost: 0.15, ServerErrorKept: 0.1, NoID: 0.1, StallKept: 0.05}
		cfg.Sandbox.Faults = sandbox.Faults{Seed: 7, SMS: bad, Email: bad}
	})
	const customers = 300
	fates := sandbox.Receipts{Enabled: true, Seed: 5, Bounced: 0.1, DelayFinal: sandbox.Duration(100 * time.Millisecond), Flush: sandbox.Duration(100 * time.Millisecond)}
	v, err := p.driver.Tell(t.Context(), bench.Story{Incident: "doubt", Customers: customers, EmailBatch: 5, Receipts: &fates}, p.sandbox)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, v, customers)
	if n := v.Notices["sms"]["uncertain"] + v.Notices["email"]["uncertain"]; n > 0 || v.Undelivered["email"].Candor == 0 {
		t.Errorf("%d notices are uncertain: %+v", n, v)
	}
	truth, err := p.sandbox.Truth(t.Context())
	if err != nil || truth.Email.Faults["answer_lost"] == 0 || truth.SMS.Faults["answer_lost"] == 0 {
		t.Errorf("no answer was lost: %+v, %v", truth, err)
	}
}

func TestALostCallbackIsNotALostCustomer(t *testing.T) {
	t.Parallel()
	p := play(t, impatient)
	const customers = 200
	p.receipts(sandbox.Receipts{Seed: 3, Silent: 1, Undelivered: map[int]float64{30005: 0.1, 30007: 0.1}, Flush: sandbox.Duration(100 * time.Millisecond)})
	inc := declare(t, p.driver, bench.Story{Incident: "silence", Customers: customers, EmailBatch: 100})
	st, err := await(t, p.driver, "silence", func(st *candorv1.Status) bool {
		texts := channelOf(st, candorv1.Channel_CHANNEL_SMS).GetStates()
		return st.GetComplete() && texts["accepted"] == 0 && texts["delivered"] > 0
	})
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	v := p.heard(inc)
	agree(t, v, customers)
	truth, err := p.sandbox.Truth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if truth.Receipts.Silent == 0 || v.Delivered["sms"].Candor == 0 || v.Undelivered["sms"].Candor == 0 {
		t.Errorf("receipts = %+v, verdict = %+v", truth.Receipts, v)
	}
}
