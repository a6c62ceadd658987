package sandbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"
	twilio "github.com/twilio/twilio-go/client"
	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/services/sandbox"
)

// door hears what the providers tell, and checks it with their own helpers.
type door struct {
	t      testing.TB
	server *httptest.Server
	mu     sync.Mutex // guards everything below
	box    *world
	status func(n int) int // the answer to the n-th request, from 0; 204 where nil
	twiml  string          // the answer to what phones text
	posts  int
	heard  []heard
	forged []heard // what the helpers refuse
	events []map[string]any
	lies   []map[string]any // events of posts that the helpers refuse
	bodies []int            // sizes of the posts of events
}

// heard is one callback or one text of a phone.
type heard struct {
	path, token string
	form        url.Values
}

// open starts a sandbox with receipts and a door that hears them.
func open(t testing.TB, r sandbox.Receipts, changes ...func(*sandbox.Config)) (*world, *door) {
	t.Helper()
	d := &door{t: t}
	d.server = httptest.NewServer(http.HandlerFunc(d.take))
	t.Cleanup(d.server.Close)
	r.Enabled = true
	if r.Flush == 0 {
		r.Flush = sandbox.Duration(time.Millisecond)
	}
	if r.RetryWait == 0 {
		r.RetryWait = sandbox.Duration(time.Millisecond)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.box = start(t, append([]func(*sandbox.Config){func(c *sandbox.Config) {
		c.Receipts = r
		c.SendGrid.EventsURL = d.server.URL + "/hooks/sendgrid"
		c.Twilio.InboundURL = d.server.URL + "/hooks/twilio/inbound#rc=2&rp=all"
	}}, changes...)...)
	return d.box, d
}

func (d *door) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.posts
	d.posts++
	status := http.StatusNoContent
	if d.status != nil {
		status = d.status(n)
	}
	if status/100 != 2 {
		w.WriteHeader(status)
		return
	}
	if strings.HasSuffix(req.URL.Path, "/sendgrid") {
		d.takeEvents(w, req, body)
		return
	}
	validator := twilio.NewRequestValidator(d.box.cfg.Twilio.AuthToken.Reveal())
	form, err := url.ParseQuery(string(body))
	if err != nil {
		d.t.Errorf("form %q: %v", body, err)
	}
	h := heard{path: req.URL.Path, token: req.Header.Get("I-Twilio-Idempotency-Token"), form: form}
	if !validator.ValidateBody(d.server.URL+req.URL.Path, body, req.Header.Get("X-Twilio-Signature")) {
		d.forged = append(d.forged, h)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	d.heard = append(d.heard, h)
	if strings.HasSuffix(req.URL.Path, "/inbound") {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, d.twiml)
		return
	}
	w.WriteHeader(status)
}

func (d *door) takeEvents(w http.ResponseWriter, req *http.Request, body []byte) {
	key, err := eventwebhook.ConvertPublicKeyBase64ToECDSA(d.box.box.SendGridPublicKey())
	if err != nil {
		d.t.Error(err)
		return
	}
	var list []map[string]any
	if err := json.Unmarshal(body, &list); err != nil {
		d.t.Errorf("events %q: %v", body, err)
	}
	ok, err := eventwebhook.VerifySignature(key, body, req.Header.Get(eventwebhook.VerificationHTTPHeader), req.Header.Get(eventwebhook.TimestampHTTPHeader))
	if err != nil || !ok || !strings.HasSuffix(string(body), "\r\n") {
		d.lies = append(d.lies, list...)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	d.bodies = append(d.bodies, len(body))
	d.events = append(d.events, list...)
}

// settled waits until everything is told.
func (w *world) settled() sandbox.Truth {
	until(func() bool { return w.box.Truth().Receipts.Pending == 0 })
	return w.truth()
}

func (d *door) textTo(to, id, fragment string) *openapi.ApiV2010Message {
	d.t.Helper()
	m, err := d.try(to, id, fragment)
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

func (d *door) try(to, id, fragment string) (*openapi.ApiV2010Message, error) {
	api, _ := d.box.twilio()
	return api.CreateMessage(sms(to, "hello", "").SetStatusCallback(d.server.URL + "/hooks/twilio/status/" + id + fragment))
}

const everyRetry = "#rc=5&rp=all"

func TestStatusCallbacksAreAsTwilioSendsThem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ to, id, status, code string }{
		{"+447911123456", "n1.1.mac", "delivered", ""},
		{"+15005553003", "n2.1.mac", "undelivered", "30003"},
		{"+15005553003", "n2.2.mac", "delivered", ""},
		{"+15005553005", "n3.1.mac", "undelivered", "30005"},
		{"+15005553005", "n3.2.mac", "undelivered", "30005"},
		{"+15005553006", "n4.1.mac", "undelivered", "30006"},
		{"+15005553007", "n5.1.mac", "undelivered", "30007"},
		{"+15005553008", "n6.1.mac", "undelivered", "30008"},
		{"+15005553410", "n7.1.mac", "failed", "30410"},
		{"+447911123456", "an-id-of-another-form", "delivered", ""},
	} {
		t.Run(tt.to+" "+tt.id, func(t *testing.T) {
			t.Parallel()
			w, d := open(t, sandbox.Receipts{})
			m := d.textTo(tt.to, tt.id, everyRetry)
			w.settled()
			slices.SortFunc(d.heard, func(a, b heard) int {
				return -strings.Compare(a.form.Get("MessageStatus"), b.form.Get("MessageStatus"))
			})
			if slices.SortFunc(d.heard, func(a, b heard) int { return len(a.form) - len(b.form) }); len(d.heard) != 2 || len(d.forged) != 0 {
				t.Fatalf("heard %+v and forged %+v, want two", d.heard, d.forged)
			}
			for i, status := range []string{"sent", tt.status} {
				h := d.heard[i]
				want := url.Values{
					"AccountSid": {w.cfg.Twilio.AccountSID}, "ApiVersion": {"2010-04-01"}, "From": {ownSender}, "To": {tt.to},
					"MessageSid": {*m.Sid}, "SmsSid": {*m.Sid}, "MessageStatus": {status}, "SmsStatus": {status},
				}
				if status == "delivered" || status == "undelivered" {
					want["RawDlrDoneDate"] = h.form["RawDlrDoneDate"]
					if _, err := time.Parse("0601021504", h.form.Get("RawDlrDoneDate")); err != nil {
						t.Error(err)
					}
				}
				if status != "sent" && tt.code != "" {
					want["ErrorCode"] = []string{tt.code}
				}
				if h.path != "/hooks/twilio/status/"+tt.id || h.token == "" || !maps.EqualFunc(h.form, want, slices.Equal) {
					t.Errorf("%s was told at %s as %v, want %v", status, h.path, h.form, want)
				}
			}
			api, _ := w.twilio()
			got, err := api.FetchMessage(*m.Sid, nil)
			if err != nil || *got.Status != tt.status || got.DateSent == nil {
				t.Errorf("fetched %v, %v; want it %s", *got.Status, err, tt.status)
			}
			if tt.code != "" && (got.ErrorCode == nil || fmt.Sprint(*got.ErrorCode) != tt.code || *got.ErrorMessage == "") {
				t.Errorf("fetched with code %v, want %s", got.ErrorCode, tt.code)
			}
		})
	}
}

func TestAServiceIsNamedInItsCallbacks(t *testing.T) {
	t.Parallel()
	service := "MG0123456789abcdef0123456789abcdef"
	w, d := open(t, sandbox.Receipts{}, func(c *sandbox.Config) { c.Twilio.Senders = []string{service, "+447700900001"} })
	api, _ := w.twilio()
	p := (&openapi.CreateMessageParams{}).SetTo("+447911123456").SetMessagingServiceSid(service).SetBody("hello")
	if _, err := api.CreateMessage(p.SetStatusCallback(d.server.URL + "/status/n.1.mac")); err != nil {
		t.Fatal(err)
	}
	w.settled()
	for _, h := range d.heard {
		if h.form.Get("MessagingServiceSid") != service || h.form.Get("From") != "+447700900001" {
			t.Errorf("heard %v", h.form)
		}
	}
	if len(d.heard) != 2 {
		t.Errorf("heard %d times, want 2", len(d.heard))
	}
}

func TestWithoutReceiptsNothingIsTold(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{}, func(c *sandbox.Config) { c.Receipts.Enabled = false })
	m := d.textTo("+15005553003", "n.1.mac", everyRetry)
	w.mustMail(simpleMail("bounce@example.com", "n.1.mac"), 202)
	tr := w.settled()
	api, _ := w.twilio()
	if got, err := api.FetchMessage(*m.Sid, nil); err != nil || *got.Status != "sent" {
		t.Errorf("fetched %v, %v", got, err)
	}
	if d.posts != 0 || tr.Receipts.Posts != 0 || tr.SMS.Undelivered+tr.Email.Undelivered != 0 {
		t.Errorf("%d posts; truth %+v", d.posts, tr)
	}
}

func TestEventsAreAsSendGridSendsThem(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{}, func(c *sandbox.Config) { c.SendGrid.Suppressed = []string{"gone@example.com"} })
	people := []string{"a@example.com", "bounce+1@example.com", "blocked@example.com", "deferred@example.com", "spam@example.com", "gone@example.com"}
	ids := make([]string, len(people))
	for i := range people {
		ids[i] = fmt.Sprintf("n%d.1.mac", i)
	}
	res := w.mustMail(encode(letter(people, ids)), 202)
	w.settled()
	w.mustMail(encode(letter(people[1:3], []string{"n1.2.mac", "n2.2.mac"})), 202)
	w.mustMail(simpleMail(people[4], "n4.2.mac"), 202)
	tr := w.settled()
	got, seen := map[string][]string{}, map[string]bool{}
	for _, e := range d.events {
		text := func(key string) string { s, _ := e[key].(string); return s }
		said := text("event")
		for _, key := range []string{"type", "reason", "bounce_classification", "status"} {
			if text(key) != "" {
				said += " " + strings.Fields(text(key))[0]
			}
		}
		got[text("candor_id")] = append(got[text("candor_id")], said)
		if seen[text("sg_event_id")] || text("sg_event_id") == "" || !slices.Contains(people, text("email")) {
			t.Errorf("event %v", e)
		}
		seen[text("sg_event_id")] = true
		if at, _ := e["timestamp"].(float64); time.Since(time.Unix(int64(at), 0)).Abs() > time.Hour {
			t.Errorf("event of %v", e["timestamp"])
		}
		if first := strings.HasSuffix(text("candor_id"), ".1.mac"); first != strings.HasPrefix(text("sg_message_id"), res.Headers["X-Message-Id"][0]+".") {
			t.Errorf("message id %q, X-Message-Id was %q", text("sg_message_id"), res.Headers["X-Message-Id"][0])
		}
	}
	want := map[string][]string{
		"n0.1.mac": {"processed", "delivered"},
		"n1.1.mac": {"processed", "bounce bounce 550 Invalid 5.1.1"},
		"n1.2.mac": {"dropped Bounced 5.0.0"},
		"n2.1.mac": {"processed", "bounce blocked 550 Reputation 5.7.1"},
		"n2.2.mac": {"processed", "delivered"},
		"n3.1.mac": {"processed", "deferred 4.2.1", "delivered"},
		"n4.1.mac": {"processed", "delivered", "spamreport"},
		"n4.2.mac": {"dropped Spam 5.0.0"},
		"n5.1.mac": {"dropped Unsubscribed 5.0.0"},
	}
	for id, events := range want {
		slices.Sort(got[id])
		slices.Sort(events)
		if !slices.Equal(got[id], events) {
			t.Errorf("of %s %q was told, want %q", id, got[id], events)
		}
	}
	if len(got) != len(want) {
		t.Errorf("told of %d attempts, want %d", len(got), len(want))
	}
	if e := tr.Email; e.Delivered != 4 || e.Undelivered != 2 || e.Bounced != 4 || e.Fates["delivered"] != 4 || e.Fates["bounce"] != 1 || e.Fates["blocked"] != 1 || e.Fates["dropped"] != 3 {
		t.Errorf("truth %+v", e)
	}
	if tr.Duplicates != 0 { // what was sent again had come to nothing, or did
		t.Errorf("%d duplicates, want 0", tr.Duplicates)
	}
}

func TestEventsComeInBatchesOfABoundedSize(t *testing.T) {
	t.Parallel()
	const limit = 20_000
	w, d := open(t, sandbox.Receipts{BatchBytes: limit, Flush: sandbox.Duration(500 * time.Millisecond)})
	w.mustMail(mailBody(nil, 0, 1000), 202)
	tr := w.settled()
	if len(d.events) != 2000 || tr.Receipts.Acknowledged != 2000 || slices.Max(d.bodies) > limit || len(d.bodies) > 200 {
		t.Errorf("%d events in %d posts of up to %d bytes", len(d.events), len(d.bodies), slices.Max(d.bodies))
	}
}

func TestReceiptsAreToldAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, fragment string
		status         func(n int) int
		heard          int
		lost           uint64
	}{
		{"every retry", everyRetry, func(n int) int { return map[bool]int{true: 500, false: 204}[n < 6] }, 2, 0},
		{"no rule for what is answered", "", func(n int) int { return map[bool]int{true: 500, false: 204}[n < 1] }, 1, 1},
		{"4xx only", "#rc=5&rp=4xx", func(n int) int { return []int{500, 404, 404, 204}[min(n, 3)] }, 1, 1},
		{"5xx or nothing", "#rp=5xx,ct&rc=9", func(n int) int { return []int{503, 204}[min(n, 1)] }, 2, 0},
		{"never", "#rc=5&rp=all", func(int) int { return 500 }, 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, d := open(t, sandbox.Receipts{})
			d.mu.Lock()
			d.status = tt.status
			d.mu.Unlock()
			d.textTo("+447911123456", "n.1.mac", tt.fragment)
			tr := w.settled().Receipts
			if len(d.heard) != tt.heard || tr.Lost != tt.lost || tr.Acknowledged != uint64(tt.heard) || tr.Posts != uint64(d.posts) {
				t.Errorf("heard %d of %d posts, %+v; want %d and %d lost", len(d.heard), d.posts, tr, tt.heard, tt.lost)
			}
		})
	}
	t.Run("events", func(t *testing.T) {
		t.Parallel()
		w, d := open(t, sandbox.Receipts{RetryMost: 20})
		d.mu.Lock()
		d.status = func(n int) int { return map[bool]int{true: 503, false: 200}[n < 5] }
		d.mu.Unlock()
		w.mustMail(mailBody(nil, 0, 10), 202)
		if tr := w.settled().Receipts; len(d.events) != 20 || tr.Refused != 5 || tr.Lost != 0 {
			t.Errorf("%d events, %+v", len(d.events), tr)
		}
	})
	t.Run("events that nobody takes", func(t *testing.T) {
		t.Parallel()
		w, d := open(t, sandbox.Receipts{RetryMost: 2})
		d.mu.Lock()
		d.status = func(int) int { return 500 }
		d.mu.Unlock()
		w.mustMail(mailBody(nil, 0, 10), 202)
		if tr := w.settled().Receipts; tr.Lost != 20 || tr.Acknowledged != 0 {
			t.Errorf("%+v, want 20 lost", tr)
		}
	})
}

// TestTheRetryHasTheSameToken is about what a receiver knows a repetition by.
func TestTheRetryHasTheSameToken(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{Duplicate: 1})
	d.textTo("+447911123456", "n.1.mac", everyRetry)
	w.settled()
	tokens := map[string]int{}
	for _, h := range d.heard {
		tokens[h.form.Get("MessageStatus")+" "+h.token]++
	}
	if len(d.heard) != 4 || len(tokens) != 2 {
		t.Errorf("heard %v", tokens)
	}
}

// TestAWildStormTellsEverythingAtLeastOnce is about duplicates, disorder and lies.
func TestAWildStormTellsEverythingAtLeastOnce(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{
		Seed: 3, Duplicate: 0.5, Shuffle: 0.5, ShuffleFor: sandbox.Duration(50 * time.Millisecond), Forge: 0.5,
		Undelivered: map[int]float64{30003: 0.2, 30005: 0.2}, Bounced: 0.2, DeferredFirst: 0.2,
	})
	const all = 200
	for i := range all {
		d.textTo(fmt.Sprintf("+4479111%05d", i), fmt.Sprintf("n%d.1.mac", i), everyRetry)
	}
	w.mustMail(mailBody(nil, 0, all), 202)
	tr := w.settled()

	told := map[string]map[string]int{} // what was said of each id, how often
	say := func(id, word string) {
		if told[id] == nil {
			told[id] = map[string]int{}
		}
		told[id][word]++
	}
	order := map[string]string{}
	disorder, wrongID := 0, 0
	for _, h := range d.heard {
		id := h.path[strings.LastIndexByte(h.path, '/')+1:]
		if !strings.HasSuffix(id, ".1.mac") {
			wrongID++
			continue
		}
		word := h.form.Get("MessageStatus")
		if word == "sent" && order[id] != "" && order[id] != "sent" {
			disorder++
		}
		order[id] = word
		say("sms "+id, word)
	}
	for _, e := range d.events {
		id, _ := e["candor_id"].(string)
		if !strings.HasSuffix(id, ".c2VjcmV0LW1hYy0x") {
			wrongID++
			continue
		}
		word, _ := e["event"].(string)
		say("email "+id, word)
	}
	repeated := 0
	for id, words := range told {
		final := 0
		for word, n := range words {
			if word != "sent" && word != "processed" && word != "deferred" {
				final++
			}
			if n > 1 {
				repeated++
			}
		}
		if words["sent"]+words["processed"] == 0 || final != 1 {
			t.Errorf("of %s was told %v, want its way and one end", id, words)
		}
	}
	if len(told) != 2*all || repeated == 0 || disorder == 0 || wrongID == 0 || len(d.forged) == 0 || len(d.lies) == 0 {
		t.Errorf("told of %d; %d repeated, %d out of order, %d with a wrong id, %d and %d with a wrong signature", len(told), repeated, disorder, wrongID, len(d.forged), len(d.lies))
	}
	if r := tr.Receipts; r.Lost != 0 || r.ForgedTaken != 0 || r.Forged == 0 || r.Duplicates == 0 {
		t.Errorf("%+v", r)
	}
}

func TestSilenceLosesCallbacksOnly(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{Silent: 1})
	m := d.textTo("+447911123456", "n.1.mac", everyRetry)
	magic := d.textTo("+15005554000", "n2.1.mac", everyRetry)
	w.mustMail(simpleMail("a@example.com", "n.1.mac"), 202)
	tr := w.settled()
	api, _ := w.twilio()
	for sid, want := range map[string]string{*m.Sid: "delivered", *magic.Sid: "sent"} {
		if got, err := api.FetchMessage(sid, nil); err != nil || *got.Status != want {
			t.Errorf("fetched %v, %v; want it %s", *got.Status, err, want)
		}
	}
	if len(d.heard) != 0 || len(d.events) != 2 || tr.Receipts.Silent != 3 || tr.SMS.Delivered != 1 {
		t.Errorf("heard %d callbacks and %d events, %+v", len(d.heard), len(d.events), tr.Receipts)
	}
}

// TestFatesCompare is about seeds: the same people have the same fate in another run, whatever comes first.
func TestFatesCompare(t *testing.T) {
	t.Parallel()
	const all = 200
	play := func(seed uint64, order func(i int) int) map[string]string {
		w, d := open(t, sandbox.Receipts{
			Seed: seed, Undelivered: map[int]float64{30003: 0.2, 30005: 0.1, 30410: 0.1}, Bounced: 0.1, Blocked: 0.2, Spam: 0.1,
		}, func(c *sandbox.Config) { c.SendGrid.EventsURL = "" })
		again := map[string]bool{"30003": true, "30005": true, "blocked": true}
		fates := map[string]string{}
		for attempt := 1; attempt <= 2; attempt++ {
			var people, ids []string
			for i := range all {
				i = order(i)
				id := fmt.Sprintf("n%d", i)
				if was := fates["sms "+id]; attempt == 1 || again[was] {
					d.textTo(fmt.Sprintf("+4479111%05d", i), fmt.Sprintf("%s.%d.mac", id, attempt), everyRetry)
				}
				if was := fates["email "+id]; attempt == 1 || again[was] {
					people, ids = append(people, fmt.Sprintf("p%d@example.com", i)), append(ids, fmt.Sprintf("%s.%d.mac", id, attempt))
				}
			}
			w.mustMail(encode(letter(people, ids)), 202)
			tr := w.settled()
			if tr.Duplicates != 0 {
				t.Errorf("%d duplicates: what came to nothing was not sent again", tr.Duplicates)
			}
			count := map[string]uint64{}
			for _, channel := range []string{"sms", "email"} {
				for _, a := range notices(t, w, channel, "") {
					if a.Attempt == 1 && attempt == 1 {
						fates[channel+" "+string(a.Notice)] = a.Fate
					} else if a.Attempt == 2 {
						fates[channel+" "+string(a.Notice)] += "," + a.Fate
					}
					count[channel+a.Fate]++
				}
			}
			for fate, n := range tr.SMS.Fates {
				if count["sms"+fate] != n {
					t.Errorf("%d texts %s by notice, %d in all", count["sms"+fate], fate, n)
				}
			}
			if attempt == 2 && (tr.SMS.Delivered+tr.SMS.Undelivered+tr.SMS.Fates["30410"] != all || tr.Email.Delivered+tr.Email.Undelivered != all) {
				t.Errorf("truth %+v and %+v does not account for %d", tr.SMS, tr.Email, all)
			}
		}
		return fates
	}
	one := play(1, func(i int) int { return i })
	if backwards := play(1, func(i int) int { return all - 1 - i }); !maps.Equal(one, backwards) {
		t.Error("another order makes other fates")
	}
	if maps.Equal(one, play(2, func(i int) int { return i })) {
		t.Error("another seed makes the same fates")
	}
	count := map[string]int{}
	for key, fate := range one {
		channel, _, _ := strings.Cut(key, " ")
		count[channel+" "+fate]++
	}
	for fate, want := range map[string]int{
		"sms delivered": 120, "sms 30003,delivered": 40, "sms 30005,30005": 20, "sms 30410": 20,
		"email delivered": 140, "email blocked,delivered": 40, "email bounce": 20,
	} {
		if got := count[fate]; got < want*6/10 || got > want*14/10 {
			t.Errorf("%d times %s, want about %d; all: %v", got, fate, want, count)
		}
	}
}

func TestReceiptsAreRefused(t *testing.T) {
	t.Parallel()
	cfg := sandbox.DefaultConfig()
	cfg.Receipts = sandbox.Receipts{
		Duplicate: 2, Shuffle: -1, Silent: 1.5, Forge: 3, DelaySent: -1, BatchBytes: -1,
		Undelivered: map[int]float64{21610: 0.1, 30003: 0.6, 30005: 0.6}, Bounced: 0.9, Spam: 0.9,
	}
	cfg.SendGrid.EventsURL, cfg.Twilio.InboundURL, cfg.SendGrid.WebhookKey = "nowhere", "ftp://x", "not a key"
	_, err := sandbox.New(cfg, zerolog.Nop())
	if err == nil {
		t.Fatal("New accepted it")
	}
	for _, want := range []string{
		"duplicate is 2", "shuffle is -1", "silent", "forge", "21610", "shares of undelivered", "bounced, blocked", "negative", "batch_bytes",
		"events_url", "inbound_url", "webhook_key",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want a word about %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "not a key") {
		t.Error("the error shows the secret")
	}
	w := start(t)
	auth := []string{"Authorization", "Bearer " + w.box.Token()}
	for path, bodies := range map[string][]string{
		"/sandbox/receipts": {`{"silent":2}`, `{"silence":1}`, `[`},
		"/sandbox/hooks":    {`{"events_url":"x"}`, `{"url":"http://x"}`},
		"/sandbox/reply":    {`{"phone":"0800","text":"STOP"}`, `{"phone":"+447911123456","text":" "}`, `{}`},
	} {
		for _, body := range bodies {
			if status, text := w.request("POST", path, body, auth...); status != 400 || text == "" {
				t.Errorf("%s %s = %d %s, want 400", path, body, status, text)
			}
		}
		if status, _ := w.request("POST", path, "{}"); status != 401 {
			t.Errorf("%s without the token = %d, want 401", path, status)
		}
	}
}

func TestReceiptsAreSetWhileItRuns(t *testing.T) {
	t.Parallel()
	w, d := open(t, sandbox.Receipts{}, func(c *sandbox.Config) { c.Receipts = sandbox.Receipts{}; c.SendGrid.EventsURL = "" })
	ctx := context.Background()
	if err := w.client.SetReceipts(ctx, sandbox.Receipts{Enabled: true, Undelivered: map[int]float64{30005: 1}, Flush: sandbox.Duration(time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	if err := w.client.SetHooks(ctx, sandbox.Hooks{EventsURL: d.server.URL + "/hooks/sendgrid"}); err != nil {
		t.Fatal(err)
	}
	if key, err := w.client.SendGridPublicKey(ctx); err != nil || key != w.box.SendGridPublicKey() {
		t.Errorf("key %q, %v", key, err)
	}
	if status, now := w.get("/sandbox/receipts"); status != 200 || !strings.Contains(now, `"undelivered":{"30005":1}`) {
		t.Errorf("GET = %d %s", status, now)
	}
	d.textTo("+447911123456", "n.1.mac", everyRetry)
	w.mustMail(simpleMail("a@example.com", "n.1.mac"), 202)
	if tr := w.settled(); tr.SMS.Undelivered != 1 || len(d.events) != 2 || len(d.heard) != 2 {
		t.Errorf("%d events, %d callbacks, truth %+v", len(d.events), len(d.heard), tr)
	}
}

func TestRunEndsWhileTheReceiverHangs(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	hung := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		hung <- struct{}{}
		<-hang
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	cfg := sandbox.DefaultConfig()
	cfg.Receipts.Enabled = true
	cfg.Receipts.DelayFinal = sandbox.Duration(time.Hour)
	box, err := sandbox.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }()
	w := &world{t: t, box: box, cfg: cfg, http: httpClient(), logs: &journal{}}
	t.Cleanup(w.http.CloseIdleConnections)
	api, _ := w.twilio()
	if _, err := api.CreateMessage(sms("+447911123456", "hello", "").SetStatusCallback(server.URL + "/n.1.mac")); err != nil {
		t.Fatal(err)
	}
	<-hung
	began := time.Now()
	stop()
	if err := <-ended; err != nil || time.Since(began) > 14*time.Second { // the receiver has fifteen
		t.Errorf("Run = %v after %v", err, time.Since(began))
	}
}
