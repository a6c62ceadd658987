package twilio_test

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"candor/pkg/pii"
	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
	"candor/services/sms/twilio"
)

func TestMain(m *testing.M) {
	if !providertest.Answerer(providertest.Answer{Status: 201, Header: map[string]string{"Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, Body: created}) {
		goleak.VerifyTestMain(m)
	}
}

const account = "AC0123456789abcdef0123456789abcdef"

// created is Twilio's whole answer, as its documentation shows it.
const created = `{"account_sid":"` + account + `","api_version":"2010-04-01","body":"Hi \"there\" \u00e9","date_created":"Sun, 22 Nov 2026 12:00:00 +0000",` +
	`"date_sent":null,"date_updated":"Sun, 22 Nov 2026 12:00:00 +0000","direction":"outbound-api","error_code":null,"error_message":null,` +
	`"from":"+12125550100","messaging_service_sid":null,"num_media":"0","num_segments":"1","price":null,"price_unit":"USD","sid":"SM0123456789abcdef0123456789abcdef",` +
	`"status":"queued","subresource_uris":{"media":"/2010-04-01/Media.json","sid":"not this one"},"to":"+12125550156","uri":"/2010-04-01/x.json"}`

func config(base string) twilio.Config {
	cfg := twilio.DefaultConfig()
	cfg.BaseURL, cfg.AccountSID, cfg.Secret, cfg.CallbackURL = base, account, "token-with_specials", "https://candor.example.com/hooks/twilio/"
	return cfg
}

func open(t testing.TB, c providertest.Conditions) *twilio.Sender {
	t.Helper()
	cfg := config(c.BaseURL)
	cfg.HTTP.RequestTimeout, cfg.HTTP.DialTimeout = c.RequestTimeout, time.Minute
	s, err := twilio.New(cfg, c.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func openAt(t testing.TB, base string) *twilio.Sender {
	t.Helper()
	return open(t, providertest.Conditions{BaseURL: base, Now: time.Now, RequestTimeout: time.Minute})
}

func soon() time.Time { return time.Now().Add(10 * time.Minute) }

func notice() provider.SMS {
	return provider.SMS{ID: "b3BhcXVl_-1", To: pii.NewPhone("+12125550156"), From: "+12125550100", Body: "Señor & Söhne: 50% + 1 = ~Code 7K3M\n…"}
}

func TestContract(t *testing.T) {
	t.Parallel()
	taken := providertest.Answer{Status: 201, Body: created}
	say := func(status int, body string) providertest.Answer {
		return providertest.Answer{Status: status, Body: body}
	}
	d := providertest.Dialect{Taken: taken, Nameless: []providertest.Answer{
		say(201, `{}`), say(201, `{"sid":null,"status":"queued"}`), say(201, `{"sid":""}`), say(201, `{"sid":17}`), say(201, `{"sid":"S M"}`),
		say(201, ``), say(201, `[]`), say(201, `null`), say(201, created[:len(created)-1]), say(201, created+"}"),
		say(201, `<html>welcome to the airport's network</html>`), say(200, `{}`), say(202, `{}`), say(204, ``), say(307, `{"sid":"SM1"}`),
	}}
	providertest.SMS(t, d, func(t testing.TB, c providertest.Conditions) provider.SMSSender { return open(t, c) })
}

func TestRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, from string
		want       url.Values
	}{
		{"number", "+12125550100", url.Values{"From": {"+12125550100"}}},
		{"short code", "12345", url.Values{"From": {"12345"}}},
		{"service", "MG0123456789abcdef0123456789abcdef", url.Values{"MessagingServiceSid": {"MG0123456789abcdef0123456789abcdef"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 201, Body: created}))
			m := notice()
			m.From = tt.from
			got := openAt(t, server.URL).SendSMS(t.Context(), m, soon())
			if got != (provider.Outcome{Class: provider.Accepted, ID: "SM0123456789abcdef0123456789abcdef"}) {
				t.Errorf("got %+v", got)
			}
			r := server.Requests()[0]
			if r.Method != "POST" || r.Path != "/2010-04-01/Accounts/"+account+"/Messages.json" {
				t.Errorf("%s %s", r.Method, r.Path)
			}
			// AC…:token-with_specials
			if a := r.Header.Get("Authorization"); a != "Basic QUMwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjp0b2tlbi13aXRoX3NwZWNpYWxz" {
				t.Errorf("authorization %q", a)
			}
			if c := r.Header.Get("Content-Type"); c != "application/x-www-form-urlencoded" {
				t.Errorf("content type %q", c)
			}
			// net/http would take this header as leave to send a request twice.
			if r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != "" {
				t.Error("carries an idempotency key")
			}
			want := url.Values{
				"To": {"+12125550156"}, "Body": {m.Body},
				"StatusCallback": {"https://candor.example.com/hooks/twilio/b3BhcXVl_-1#rc=5&rp=all"},
			}
			maps.Copy(want, tt.want)
			if form := r.Form(t); !reflect.DeepEqual(form, want) {
				t.Errorf("form %v, want %v", form, want)
			}
		})
	}
}

func TestAPIKeySignsIn(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 201, Body: created}))
	cfg := config(server.URL)
	cfg.KeySID, cfg.Secret = "SK0123456789abcdef0123456789abcdef", "s"
	s, err := twilio.New(cfg, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.SendSMS(t.Context(), notice(), soon())
	r := server.Requests()[0]
	if a := r.Header.Get("Authorization"); a != "Basic U0swMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjpz" || !strings.Contains(r.Path, account) {
		t.Errorf("authorization %q on %s", a, r.Path)
	}
}

func TestErrorCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status, code int
		want         provider.Outcome
	}{
		{400, 20429, provider.Outcome{Class: provider.NotSent, Throttled: true}},
		{429, 21610, provider.Outcome{Class: provider.NotSent, Throttled: true}},
		{400, 14107, provider.Outcome{Class: provider.NotSent, Throttled: true}},
		{400, 21611, provider.Outcome{Class: provider.NotSent, Throttled: true}},
		{400, 63017, provider.Outcome{Class: provider.NotSent, Throttled: true}},
		{400, 21211, provider.Outcome{Class: provider.BadAddress}},
		{400, 21614, provider.Outcome{Class: provider.BadAddress}},
		{400, 21612, provider.Outcome{Class: provider.BadAddress}},
		{403, 21408, provider.Outcome{Class: provider.BadAddress}},
		{400, 21610, provider.Outcome{Class: provider.Refused}},
		{401, 20003, provider.Outcome{Class: provider.Misconfigured}},
		{400, 21606, provider.Outcome{Class: provider.Misconfigured}},
		{400, 21703, provider.Outcome{Class: provider.Misconfigured}},
		{404, 20404, provider.Outcome{Class: provider.Misconfigured}},
		{400, 21617, provider.Outcome{Class: provider.Defect}},
		{400, 21602, provider.Outcome{Class: provider.Defect}},
		{400, 29999, provider.Outcome{Class: provider.Refused}},
		{401, 29999, provider.Outcome{Class: provider.Misconfigured}},
		{408, 29999, provider.Outcome{Class: provider.Unknown}},
		{500, 21610, provider.Outcome{Class: provider.Unknown}},
		{503, 20503, provider.Outcome{Class: provider.Unknown}},
		{400, 30410, provider.Outcome{Class: provider.Unknown}},
	} {
		t.Run(fmt.Sprint(tt.status, " ", tt.code), func(t *testing.T) {
			t.Parallel()
			body := fmt.Sprintf(`{"code":%d,"message":"about +12125550156","more_info":"https://www.twilio.com/docs/errors/x","status":%d}`, tt.code, tt.status)
			server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: tt.status, Body: body}))
			tt.want.Reason = fmt.Sprintf("twilio_%d", tt.code)
			if got := openAt(t, server.URL).SendSMS(t.Context(), notice(), soon()); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestErrorsWithoutACode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   provider.Outcome
	}{
		{"proxy's html", 400, "<html>", provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
		{"problem+json", 422, `{"type":"x","status":422,"detail":"y"}`, provider.Outcome{Class: provider.Defect, Reason: "http_422"}},
		{"code zero", 400, `{"code":0}`, provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
		{"negative code", 400, `{"code":-21610}`, provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
		{"code in words", 400, `{"code":"21610"}`, provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
		{"code and a wrong type elsewhere", 400, `{"code":21610,"status":"400"}`, provider.Outcome{Class: provider.Refused, Reason: "twilio_21610"}},
		{"firewall", 403, "blocked", provider.Outcome{Class: provider.Misconfigured, Reason: "http_403"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: tt.status, Body: tt.body}))
			if got := openAt(t, server.URL).SendSMS(t.Context(), notice(), soon()); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestCreatedAsFailed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code string
		want provider.Outcome
	}{
		{"30001", provider.Outcome{Class: provider.NotSent, Throttled: true, Reason: "twilio_30001", ID: "SM1"}},
		{"30005", provider.Outcome{Class: provider.BadAddress, Reason: "twilio_30005", ID: "SM1"}},
		{"null", provider.Outcome{Class: provider.Defect, Reason: "twilio_failed", ID: "SM1"}},
	} {
		body := `{"sid":"SM1","status":"failed","error_code":` + tt.code + `}`
		server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 201, Body: body}))
		if got := openAt(t, server.URL).SendSMS(t.Context(), notice(), soon()); got != tt.want {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
}

// mailbag answers a list of messages, newest first, in pages of two.
func mailbag(created ...time.Time) func(providertest.Request) providertest.Answer {
	return func(r providertest.Request) providertest.Answer {
		first := 0
		if token := r.Query.Get("PageToken"); token != "" {
			_, _ = fmt.Sscanf(token, "PA%d", &first)
		}
		var messages []string
		last := min(first+2, len(created))
		for n := first; n < last; n++ {
			messages = append(messages, fmt.Sprintf(`{"sid":"SM%d","body":"body %d","status":"sent","date_created":%q,"to":"+12125550156"}`, n, n, created[n].Format(time.RFC1123Z)))
		}
		next := "null"
		if last < len(created) {
			next = fmt.Sprintf(`"/2010-04-01/Accounts/%s/Messages.json?To=%%2B12125550156&PageSize=50&Page=1&PageToken=PA%d"`, account, last)
		}
		return providertest.Answer{Status: 200, Body: `{"messages":[` + strings.Join(messages, ",") + `],"next_page_uri":` + next + `}`}
	}
}

func TestFindSMS(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	for _, tt := range []struct {
		name  string
		has   []time.Time
		since time.Time
		want  []string
		pages int
	}{
		{"nothing", nil, noon, nil, 1},
		{"in the very second", []time.Time{at(0)}, noon.Add(900 * time.Millisecond), []string{"SM0"}, 1},
		{"over pages", []time.Time{at(9), at(8), at(7), at(6), at(5)}, at(6), []string{"SM0", "SM1", "SM2", "SM3"}, 3},
		{"stops at a page of older ones", []time.Time{at(9), at(8), at(-1), at(-2), at(-3), at(-4)}, noon, []string{"SM0", "SM1"}, 2},
		{"reads on after a page that is partly older", []time.Time{at(9), at(-1), at(8), at(-2)}, noon, []string{"SM0", "SM2"}, 2},
		{"another zone", []time.Time{at(1).In(time.FixedZone("", 3600))}, noon, []string{"SM0"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := providertest.NewServer(t, mailbag(tt.has...))
			found, err := openAt(t, server.URL).FindSMS(t.Context(), pii.NewPhone("+12125550156"), tt.since)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, f := range found {
				ids = append(ids, f.ID)
				if f.Body != "body "+f.ID[2:] || f.Status != "sent" || f.Created.IsZero() {
					t.Errorf("found %+v", f)
				}
			}
			if !slices.Equal(ids, tt.want) {
				t.Errorf("found %v, want %v", ids, tt.want)
			}
			requests := server.Requests()
			if len(requests) != tt.pages {
				t.Errorf("%d pages, want %d", len(requests), tt.pages)
			}
			for _, r := range requests {
				// Any other filter can hide a message that is still queued.
				if r.Method != "GET" || r.Query.Get("To") != "+12125550156" || r.Query.Has("From") || r.Query.Has("DateSent") || r.Query.Has("DateSent>") {
					t.Errorf("%s %v", r.Method, r.Query)
				}
			}
		})
	}
}

func TestFindSMSFailsAsAWhole(t *testing.T) {
	t.Parallel()
	page := func(next string) string {
		return `{"messages":[{"sid":"SM1","body":"b","date_created":"Sun, 22 Nov 2026 12:00:00 +0000"}],"next_page_uri":` + next + `}`
	}
	for _, tt := range []struct {
		name   string
		answer providertest.Answer
		want   string
	}{
		{"throttled", providertest.Answer{Status: 429, Body: `{"code":20429}`}, "not_sent: twilio_20429"},
		{"broken off", providertest.Answer{Fault: providertest.ResetAfterRead}, "unknown: connection_lost_after_write"},
		{"html", providertest.Answer{Status: 200, Body: "<html>"}, "bad_json"},
		{"redirect", providertest.Answer{Status: 302, Header: map[string]string{"Location": "/"}}, "http_302"},
		{"no date", providertest.Answer{Status: 200, Body: `{"messages":[{"sid":"SM1","body":"b"}]}`}, "incomplete_message"},
		{"strange date", providertest.Answer{Status: 200, Body: `{"messages":[{"sid":"SM1","date_created":"2026-11-22"}]}`}, "incomplete_message"},
		{"next page without a token", providertest.Answer{Status: 200, Body: page(`"/x?y=z"`)}, "bad_next_page"},
		{"pages without end", providertest.Answer{Status: 200, Body: page(`"/x?Page=1&PageToken=PA1"`)}, "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := providertest.NewServer(t, providertest.Always(tt.answer))
			found, err := openAt(t, server.URL).FindSMS(t.Context(), pii.NewPhone("+12125550156"), time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC))
			if err == nil || found != nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, %v", found, err)
			}
			if strings.Contains(err.Error(), "2125550156") {
				t.Errorf("error shows the number: %v", err)
			}
		})
	}
}

func TestConfigShowsAllMistakes(t *testing.T) {
	t.Parallel()
	if err := config("http://127.0.0.1:1").Validate(); err != nil {
		t.Error(err)
	}
	bad := twilio.Config{BaseURL: "api.twilio.com", AccountSID: "AC1", KeySID: "AC1", CallbackURL: "https://x/y#z"}
	_, err := twilio.New(bad, time.Now)
	for _, setting := range []string{"base_url", "account_sid", "key_sid", "secret", "callback_url", "max_in_flight"} {
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("error %v does not name %s", err, setting)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", config("x"), config("x"), config("x")); strings.Contains(s, "specials") {
		t.Errorf("prints its secret: %s", s)
	}
}
