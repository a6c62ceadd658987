package frontdoor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"candor/pkg/bustest"
	"candor/pkg/noticeid"
	"candor/pkg/pii"
	candorv1 "candor/proto/candor/v1"
)

func TestAReceiptIsStoredUnderItsNotice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, step := range []struct{ status, code string }{{"queued", ""}, {"sent", ""}, {"undelivered", "30003"}, {"delivered", ""}, {"delivered", ""}} {
		if code := h.tell(smsNotice(3, 7), 2, statusForm("SM1", step.status, step.code)); code != http.StatusNoContent {
			t.Fatalf("%s is answered with %d", step.status, code)
		}
	}
	if code := h.mail(events(h, ev{"delivered", mailNotice(4, 9), "abc.filter-1.0", nil})); code != http.StatusOK {
		t.Fatalf("an e-mail's event is answered with %d", code)
	}
	texts, mails := "receipt.sms."+inc+".w0.3", "receipt.email."+inc+".w0.4"
	want := map[said]int{
		{texts, "twilio", 2, 7, candorv1.Result_RESULT_ACCEPTED, "", 0, "SM1"}:                                  1,
		{texts, "twilio", 2, 7, candorv1.Result_RESULT_UNDELIVERED_RETRY, "twilio_30003", 2 * time.Hour, "SM1"}: 1,
		{texts, "twilio", 2, 7, candorv1.Result_RESULT_DELIVERED, "", 0, "SM1"}:                                 1,
		{mails, "sendgrid", 1, 9, candorv1.Result_RESULT_DELIVERED, "", 0, "abc"}:                               1,
	}
	if got, _ := h.stored(); !maps.Equal(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
	if got := h.count("requests_total", roadStatus, "duplicate"); got != 1 || h.count("receipts_duplicate_total") != 1 {
		t.Errorf("%v duplicates", got)
	}
	if got := h.count("receipts_stored_total"); got != 4 {
		t.Errorf("%v receipts are counted", got)
	}
}

// ev is one of SendGrid's events.
type ev struct {
	event string
	key   noticeid.Key
	id    string
	more  map[string]any
}

func events(h *house, all ...ev) string {
	out := make([]map[string]any, len(all))
	for i, e := range all {
		out[i] = map[string]any{
			"event": e.event, "candor_id": string(h.IDs.Append(nil, e.key, 1)), "sg_message_id": e.id, "email": "ana@example.com",
			"timestamp": noon.Unix(), "sg_event_id": strconv.Itoa(i), "smtp-id": "<x>",
		}
		maps.Copy(out[i], e.more)
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return string(b) + "\r\n"
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *Config) { c.Twilio.MaxBody, c.SendGrid.MaxBody = 4096, 8192 })
	id := string(h.IDs.Append(nil, smsNotice(1, 1), 1))
	path, body := TwilioStatusPath+id, statusForm("SM1", "delivered", "")
	signed := func(path, body string) *http.Request {
		return twilioRequest(path, body, signTwilio(token, publicURL+path, body))
	}
	other := TwilioStatusPath + string(h.IDs.Append(nil, mailNotice(1, 1), 1))
	beyond := TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(1, 1000), 1))
	now := strconv.FormatInt(noon.Unix(), 10)
	mail := events(h, ev{"delivered", mailNotice(1, 1), "a.b", nil})
	stranger, _ := newKey(t)
	old := strconv.FormatInt(noon.Add(-27*time.Hour).Unix(), 10)
	mailSigned := func(body, timestamp string) *http.Request {
		return mailRequest(body, signSendGrid(t, h.key, timestamp, body), timestamp)
	}
	for _, tt := range []struct {
		name, road, verdict string
		request             *http.Request
		want                int
	}{
		{"no id of ours", roadStatus, "bad_id", signed(TwilioStatusPath+"abc", body), 403},
		{"an id changed", roadStatus, "bad_id", signed(strings.Replace(path, ".1.", ".2.", 1), body), 403},
		{"an e-mail's id", roadStatus, "wrong_channel", signed(other, body), 403},
		{"a slot beyond the page", roadStatus, "wrong_channel", signed(beyond, body), 403},
		{"no signature", roadStatus, "bad_signature", twilioRequest(path, body, ""), 403},
		{"another token's signature", roadStatus, "bad_signature", twilioRequest(path, body, signTwilio("x", publicURL+path, body)), 403},
		{"another notice's signature", roadStatus, "bad_signature", twilioRequest(path, body, signTwilio(token, publicURL+other, body)), 403},
		{"signed without the prefix", roadStatus, "bad_signature", twilioRequest(path, body, signTwilio(token, "https://hooks.example.com"+path, body)), 403},
		{"signed with the fragment", roadStatus, "bad_signature", twilioRequest(path, body, signTwilio(token, publicURL+path+"#rc=5", body)), 403},
		{"another account", roadStatus, "wrong_account", signed(path, strings.Replace(body, account, "AC0", 1)), 403},
		{"too large", roadStatus, "too_large", signed(path, body+"&x="+strings.Repeat("y", 5000)), 413},
		{"broken escape", roadStatus, "malformed", twilioRequest(path, body+"&x=%zz", "x"), 400},
		{"too many fields", roadStatus, "malformed", signed(path, body+strings.Repeat("&x=", 300)), 400},
		{"without a status", roadStatus, "malformed", signed(path, "MessageSid=SM1"), 400},
		{"with two statuses", roadStatus, "malformed", signed(path, body+"&MessageStatus=failed"), 400},
		{"inbound unsigned", roadInbound, "bad_signature", twilioRequest(TwilioInboundPath, "Body=STOP", "x"), 403},
		{"inbound without an id", roadInbound, "malformed", signed(TwilioInboundPath, "Body=STOP&From=%2B15005550006"), 400},
		{"inbound of another account", roadInbound, "wrong_account", signed(TwilioInboundPath, "MessageSid=SM1&AccountSid=AC1&From=%2B15005550006&Body=STOP"), 403},
		{"e-mail unsigned", roadSendGrid, "bad_signature", mailRequest(mail, "", now), 403},
		{"e-mail without a timestamp", roadSendGrid, "bad_signature", mailRequest(mail, "x", ""), 403},
		{"e-mail signed by another", roadSendGrid, "bad_signature", mailRequest(mail, signSendGrid(t, stranger, now, mail), now), 403},
		{"e-mail with another body", roadSendGrid, "bad_signature", mailRequest(mail+" ", signSendGrid(t, h.key, now, mail), now), 403},
		{"e-mail of long ago", roadSendGrid, "stale", mailSigned(mail, old), 403},
		{"e-mail too large", roadSendGrid, "too_large", mailSigned(mail+strings.Repeat(" ", 9000), now), 413},
		{"e-mail that is no array", roadSendGrid, "malformed", mailSigned(`{"event":"delivered"}`, now), 400},
		{"e-mail that is empty", roadSendGrid, "malformed", mailSigned("", now), 400},
		{"e-mail cut off", roadSendGrid, "malformed", mailSigned(`[{"event":"open"}`, now), 400},
		{"e-mail with more behind", roadSendGrid, "malformed", mailSigned(`[] []`, now), 400},
	} {
		before := h.count("requests_total", tt.road, tt.verdict)
		w := h.send(tt.request)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, w.Code, tt.want)
		}
		if got := h.count("requests_total", tt.road, tt.verdict); got != before+1 {
			t.Errorf("%s is not counted as %s", tt.name, tt.verdict)
		}
	}
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRequest(http.MethodPost, "/hooks/else", nil),
		httptest.NewRequest(http.MethodPost, "/", nil), httptest.NewRequest(http.MethodPost, TwilioStatusPath+id+"/x", nil),
	} {
		if w := h.send(r); w.Code != 404 && w.Code != 405 {
			t.Errorf("%s %s: %d", r.Method, r.URL, w.Code)
		}
	}
	if facts, messages := h.stored(); messages != 0 {
		t.Errorf("stored %v", facts)
	}
	if h.Suppressions.Len() != 0 {
		t.Error("somebody is suppressed")
	}
	if w := h.send(signed(path, body)); w.Code != http.StatusNoContent {
		t.Errorf("the honest one: %d", w.Code)
	}
}

func TestBothKindsOfProxyWillDo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	path := TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(1, 1), 1))
	body := statusForm("SM1", "delivered", "")
	signature := signTwilio(token, publicURL+path+"?x=1&y=%2F", body)
	for _, seen := range []string{path, "/candor" + path} {
		if w := h.send(twilioRequest(seen+"?x=1&y=%2F", body, signature)); w.Code != http.StatusNoContent {
			t.Errorf("%s: %d", seen, w.Code)
		}
	}
}

func TestWithoutAPublicURLItIsReachedWhereItListens(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *Config) { c.PublicURL = "" })
	path := TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(1, 1), 1))
	body := statusForm("SM1", "delivered", "")
	if h.PublicURL() != h.URL() {
		t.Errorf("PublicURL = %s, want %s", h.PublicURL(), h.URL())
	}
	if w := h.send(twilioRequest(path, body, signTwilio(token, h.URL()+path, body))); w.Code != http.StatusNoContent {
		t.Errorf("answered with %d", w.Code)
	}
}

func TestOneBadEventDoesNotSinkTheOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	good := func(n uint32) string {
		return strings.Trim(events(h, ev{"delivered", mailNotice(1, n), "m.x", nil}), "[]\r\n")
	}
	forged := strings.Replace(good(5), ".1.", ".2.", 1)
	wrong := strings.Trim(events(h, ev{"delivered", smsNotice(1, 6), "m.x", nil}), "[]\r\n")
	body := fmt.Sprintf(`[%s, 5, null, "x", [], {}, {"event":7,"candor_id":{"a":[1]}}, {"event":"delivered","email":"other@example.com"}, %s, %s, {"event":"open","candor_id":%q}, %s, {"status":5,%s]`,
		good(1), forged, wrong, h.IDs.Append(nil, mailNotice(1, 9), 1), good(2), good(3)[1:])
	if code := h.mail(body); code != http.StatusOK {
		t.Fatalf("answered with %d", code)
	}
	facts, _ := h.stored()
	var slots []uint32
	for s := range facts {
		slots = append(slots, s.slot)
	}
	slices.Sort(slots)
	if !slices.Equal(slots, []uint32{1, 2, 3}) {
		t.Errorf("slots %v are stored, want 1, 2 and 3", slots)
	}
	for verdict, want := range map[string]float64{"stored": 3, "malformed": 6, "foreign": 1, "bad_id": 1, "wrong_channel": 1, "nothing_new": 1} {
		if got := h.count("events_total", verdict); got != want {
			t.Errorf("%v events are %s, want %v", got, verdict, want)
		}
	}
	// What comes before a break in the array is kept, and all of it asked for again.
	if code := h.mail("[" + good(4) + ",{\"event\""); code != http.StatusBadRequest {
		t.Errorf("a broken array is answered with %d", code)
	}
	if facts, _ = h.stored(); len(facts) != 4 {
		t.Errorf("%d facts are stored, want 4", len(facts))
	}
}

func TestAnUnsubscribedMailboxIsSuppressed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	to := func(address string) map[string]any { return map[string]any{"email": address} }
	code := h.mail(events(h,
		ev{"spamreport", mailNotice(1, 1), "m.x", to("Ana@Example.com")},
		ev{"unsubscribe", mailNotice(1, 2), "m.x", to("bo@example.com")},
		ev{"group_unsubscribe", mailNotice(1, 3), "m.x", to("cy@example.com")},
		ev{"group_resubscribe", mailNotice(1, 3), "m.x", to("cy@example.com")},
		ev{"delivered", mailNotice(1, 4), "m.x", to("di@example.com")},
		ev{"unsubscribe", mailNotice(1, 5), "m.x", to("")},
		ev{"unsubscribe", mailNotice(1, 6), "m.x", map[string]any{"email": "eve@example.com", "candor_id": ""}},
	))
	if code != http.StatusOK {
		t.Fatalf("answered with %d", code)
	}
	for address, want := range map[string]bool{
		"ana@example.com": true, "bo@example.com": true, "cy@example.com": true, "di@example.com": false, "eve@example.com": false,
	} {
		if got := h.Suppressions.Has(email, pii.NewEmail(address)); got != want {
			t.Errorf("%s is suppressed: %v", address, got)
		}
	}
	facts, _ := h.stored()
	for s := range facts {
		if want := map[uint32]string{1: "sendgrid_spamreport", 2: "sendgrid_unsubscribe", 3: "sendgrid_group_unsubscribe", 4: "", 5: "sendgrid_unsubscribe"}[s.slot]; s.reason != want {
			t.Errorf("%+v, want %s", s, want)
		}
	}
	if len(facts) != 5 {
		t.Errorf("%d facts, want 5", len(facts))
	}
	nothingPersonal(h)
}

// nothingPersonal fails if what tests send as people's data is in a log line or a metric.
func nothingPersonal(h *house) {
	h.Helper()
	w := httptest.NewRecorder()
	families, err := h.reg.Gather()
	if err != nil {
		h.Fatal(err)
	}
	for _, f := range families {
		_, _ = fmt.Fprintln(w, f)
	}
	all := h.logs.String() + w.Body.String()
	for _, bad := range []string{"example.com", "5550006", "8005550142", "SM1", "MSG", account, token} {
		if strings.Contains(strings.ReplaceAll(all, "hooks.example.com", ""), bad) {
			h.Errorf("%q is in a log line or metric:\n%s", bad, all)
		}
	}
}

func TestWithoutTheBrokerTheProviderIsAskedToRepeat(t *testing.T) {
	t.Parallel()
	server, b := bustest.Start(t, bustest.Options{})
	h := newHouseOn(t, b)
	if code := h.tell(smsNotice(1, 1), 1, statusForm("SM1", "sent", "")); code != http.StatusNoContent {
		t.Fatalf("answered with %d", code)
	}
	if err := server.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	path := TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(1, 1), 1))
	body := statusForm("SM1", "delivered", "")
	w := h.send(twilioRequest(path, body, signTwilio(token, publicURL+path, body)))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("answered with %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if code := h.mail(events(h, ev{"spamreport", mailNotice(1, 1), "m.x", nil})); code != http.StatusServiceUnavailable {
		t.Errorf("an opt-out is answered with %d", code)
	}
	if h.count("receipts_stored_total") != 1 {
		t.Error("something is counted as stored")
	}
	// What is known to be stored is so still.
	if code := h.tell(smsNotice(1, 1), 1, statusForm("SM1", "sent", "")); code != http.StatusNoContent {
		t.Errorf("a duplicate is answered with %d", code)
	}
	if err := h.ready(); err == nil {
		t.Error("ready without a broker")
	}
	nothingPersonal(h)
}

func TestARoadWithoutSettingsIsClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *Config) { c.Twilio.AuthToken, c.SendGrid.PublicKey = "", "" })
	for _, path := range []string{TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(1, 1), 1)), TwilioInboundPath, SendGridPath} {
		if w := h.send(httptest.NewRequest(http.MethodPost, path, strings.NewReader("x"))); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if got := h.count("requests_total", "closed"); got != 3 {
		t.Errorf("%v are counted", got)
	}
}

func TestItSaysAtTheStartWhatIsClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *Config) { c.SendGrid.PublicKey = "" })
	res, err := http.Get(h.URL() + "/readyz") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s", res.Status)
	}
	// Once it answers it has announced itself.
	if s := h.logs.String(); !strings.Contains(s, "frontdoor.sendgrid.public_key") || strings.Contains(s, "frontdoor.twilio.auth_token") {
		t.Errorf("it says %s", s)
	}
}

func TestManyReceiptsOfAPageAreOneMessage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var all []ev
	for n := range uint32(1000) {
		all = append(all, ev{"processed", mailNotice(n%4, n), "m.x", nil}, ev{"delivered", mailNotice(n%4, n), "m.x", nil})
	}
	if code := h.mail(events(h, all...)); code != http.StatusOK {
		t.Fatalf("answered with %d", code)
	}
	facts, messages := h.stored()
	if len(facts) != 2000 || messages != 4 || h.count("batches_total") != 4 {
		t.Errorf("%d facts in %d messages, want 2000 in 4", len(facts), messages)
	}
}

// Over a real connection: the listener, its limits, its probes, and a stop that lets a request finish.
func TestServing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	path := TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(1, 1), 1))
	body := statusForm("SM1", "delivered", "")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(twilioSignature, signTwilio(token, publicURL+path, body))
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	for _, want := range []int{http.StatusNoContent, http.StatusRequestEntityTooLarge} {
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s, want %d", res.Status, want)
		}
		r.Body, r.ContentLength = http.NoBody, -1
		r.Body = readCloser{strings.NewReader(strings.Repeat("x", 70<<10))}
	}
	res, err := client.Get(h.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	shown := httptest.NewRecorder()
	_, _ = shown.Body.ReadFrom(res.Body)
	if s := shown.Body.String(); res.StatusCode != http.StatusNotFound || strings.Contains(s, "_total") {
		t.Errorf("the public port answers /metrics with %s and %s", res.Status, s)
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
