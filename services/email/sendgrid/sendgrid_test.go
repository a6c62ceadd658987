package sendgrid_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"candor/pkg/pii"
	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
	"candor/services/email/sendgrid"
)

func TestMain(m *testing.M) {
	if !providertest.Answerer(taken) {
		goleak.VerifyTestMain(m)
	}
}

func open(t testing.TB, c providertest.Conditions, change ...func(*sendgrid.Config)) *sendgrid.Sender {
	t.Helper()
	cfg := sendgrid.DefaultConfig()
	cfg.BaseURL, cfg.APIKey, cfg.BatchSize = c.BaseURL, "SG.key", sendgrid.MaxBatch
	cfg.HTTP.RequestTimeout, cfg.HTTP.DialTimeout = c.RequestTimeout, time.Minute
	for _, f := range change {
		f(&cfg)
	}
	s, err := sendgrid.New(cfg, c.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func openAt(t testing.TB, base string, change ...func(*sendgrid.Config)) *sendgrid.Sender {
	t.Helper()
	return open(t, providertest.Conditions{BaseURL: base, Now: time.Now, RequestTimeout: time.Minute}, change...)
}

func soon() time.Time { return time.Now().Add(10 * time.Minute) }

var taken = providertest.Answer{Status: 202, Header: map[string]string{"X-Message-Id": "XBg2anf2TqCy6WXKQFhieQ"}}

func notice(mailboxes ...string) *provider.Email {
	m := &provider.Email{From: "notice@example.com", FromName: "Acme", Subject: "A notice", Text: "Your code is -code-.", HTML: "<p>-code-</p>", Vars: []string{"-code-"}}
	for i, mailbox := range mailboxes {
		m.Recipients = append(m.Recipients, provider.Recipient{ID: fmt.Sprint("id", i), To: pii.NewEmail(mailbox), Values: []string{fmt.Sprint("C", i)}})
	}
	return m
}

func mailboxes(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("c%d@example.com", i))
	}
	return out
}

func TestContract(t *testing.T) {
	t.Parallel()
	d := providertest.Dialect{Taken: taken, Nameless: []providertest.Answer{
		{Status: 202},
		{Status: 202, Header: map[string]string{"X-Message-Id": "<script>"}},
		{Status: 202, Header: map[string]string{"X-Message-Id": strings.Repeat("x", 200)}},
		{Status: 200, Header: taken.Header},
		{Status: 201, Header: taken.Header},
		{Status: 204, Header: taken.Header},
		{Status: 307, Header: taken.Header},
	}}
	providertest.Email(t, d, func(t testing.TB, c providertest.Conditions) provider.EmailSender { return open(t, c) })
}

func TestRequest(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(taken))
	got := openAt(t, server.URL).SendEmail(t.Context(), notice("ana@example.com"), soon())
	if len(got) != 1 || got[0] != (provider.Outcome{Class: provider.Accepted, ID: "XBg2anf2TqCy6WXKQFhieQ"}) {
		t.Errorf("got %+v", got)
	}
	r := server.Requests()[0]
	if r.Method != "POST" || r.Path != "/v3/mail/send" || r.Header.Get("Authorization") != "Bearer SG.key" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s %v", r.Method, r.Path, r.Header)
	}
	if r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != "" {
		t.Error("net/http would take an idempotency key as leave to send a request twice")
	}
}

func TestSingleAnswers(t *testing.T) {
	t.Parallel()
	errs := func(field, message string) string {
		return fmt.Sprintf(`{"errors":[{"message":%q,"field":%q,"help":null}]}`, message, field)
	}
	reset := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	for _, tt := range []struct {
		name   string
		answer providertest.Answer
		want   provider.Outcome
	}{
		{"bad address", providertest.Answer{Status: 400, Body: errs("personalizations.0.to.0.email", "Does not contain a valid address.")}, provider.Outcome{Class: provider.BadAddress, Reason: "invalid_recipient"}},
		{"bad address in brackets", providertest.Answer{Status: 400, Body: errs("personalizations[0].to[0].email", "Does not contain a valid address.")}, provider.Outcome{Class: provider.BadAddress, Reason: "invalid_recipient"}},
		{"bad variables", providertest.Answer{Status: 400, Body: errs("personalizations.0.substitutions", "too long")}, provider.Outcome{Class: provider.Defect, Reason: "invalid_variables"}},
		{"who is alone is nobody's duplicate", providertest.Answer{Status: 400, Body: errs("personalizations.0.to.0.email", "unique@x is not valid")}, provider.Outcome{Class: provider.BadAddress, Reason: "invalid_recipient"}},
		{"sender", providertest.Answer{Status: 400, Body: errs("from.email", "x")}, provider.Outcome{Class: provider.Misconfigured, Reason: "invalid_sender"}},
		{"reply to", providertest.Answer{Status: 400, Body: errs("reply_to.email", "x")}, provider.Outcome{Class: provider.Misconfigured, Reason: "invalid_sender"}},
		{"subject", providertest.Answer{Status: 400, Body: errs("subject", "x")}, provider.Outcome{Class: provider.Defect, Reason: "invalid_message"}},
		{"index of nobody", providertest.Answer{Status: 400, Body: errs("personalizations.7.to.0.email", "x")}, provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
		{"no field", providertest.Answer{Status: 400, Body: `{"errors":[{"message":"Bad Request","field":null,"help":null}]}`}, provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
		{"no json", providertest.Answer{Status: 400, Body: "<html>"}, provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
		{"too large", providertest.Answer{Status: 413, Body: "<html>nginx"}, provider.Outcome{Class: provider.Defect, Reason: "http_413"}},
		{"unsupported", providertest.Answer{Status: 415, Body: "{}"}, provider.Outcome{Class: provider.Defect, Reason: "http_415"}},
		{"unauthorised", providertest.Answer{Status: 401, Body: `{"errors":[{"message":"authorization required"}]}`}, provider.Outcome{Class: provider.Misconfigured, Reason: "http_401"}},
		{"sender not verified", providertest.Answer{Status: 403, Body: errs("from", "not verified")}, provider.Outcome{Class: provider.Misconfigured, Reason: "http_403"}},
		{"throttled, reset far off", providertest.Answer{Status: 429, Header: map[string]string{"X-RateLimit-Reset": reset}}, provider.Outcome{Class: provider.NotSent, Reason: "http_429", Throttled: true, RetryAfter: provider.MaxRetryAfter}},
		{"throttled, reset passed", providertest.Answer{Status: 429, Header: map[string]string{"X-RateLimit-Reset": "1"}}, provider.Outcome{Class: provider.NotSent, Reason: "http_429", Throttled: true}},
		{"throttled, Retry-After first", providertest.Answer{Status: 429, Header: map[string]string{"X-RateLimit-Reset": reset, "Retry-After": "3"}}, provider.Outcome{Class: provider.NotSent, Reason: "http_429", Throttled: true, RetryAfter: 3 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := providertest.NewServer(t, providertest.Always(tt.answer))
			got := openAt(t, server.URL).SendEmail(t.Context(), notice("ana@example.com"), soon())
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if n := len(server.Requests()); n != 1 {
				t.Errorf("%d requests for one recipient", n)
			}
		})
	}
}

// post is the part of a request that sendgrid, below, looks at.
type post struct {
	Personalizations []struct {
		To         []struct{ Email string }
		CustomArgs map[string]string `json:"custom_args"`
	}
}

// mailer is SendGrid's judgement of recipients, and its record of whom it took.
type mailer struct {
	bad       func(mailbox string) bool
	same      func(mailbox string) string // what it takes for the same mailbox
	nameFirst int                         // of the bad ones, how many it names in one answer
	limit     int                         // recipients at which a request is too large; 0 for none
	taken     map[string]int              // by candor_id
	answers   int
}

func (m *mailer) answer(r providertest.Request) providertest.Answer {
	m.answers++
	var p post
	if err := json.Unmarshal([]byte(r.Body), &p); err != nil || len(p.Personalizations) == 0 {
		return providertest.Answer{Status: 400, Body: `{"errors":[{"field":"personalizations","message":"missing"}]}`}
	}
	if m.limit > 0 && len(p.Personalizations) > m.limit {
		return providertest.Answer{Status: 413, Body: "<html>"}
	}
	var wrong []string
	refused := false
	seen := map[string]bool{}
	for i, q := range p.Personalizations {
		mailbox, why := q.To[0].Email, ""
		if m.bad(mailbox) {
			why = "Does not contain a valid address: " + mailbox
		} else if s := m.same(mailbox); seen[s] {
			why = "Each email address in the request should be unique. We found a duplicate: " + mailbox
		} else {
			seen[s] = true
		}
		if why != "" {
			refused = true
			if len(wrong) < m.nameFirst {
				wrong = append(wrong, fmt.Sprintf(`{"field":"personalizations.%d.to.0.email","message":%q}`, i, why))
			}
		}
	}
	if refused {
		return providertest.Answer{Status: 400, Body: `{"errors":[` + strings.Join(wrong, ",") + `]}`}
	}
	for _, q := range p.Personalizations {
		m.taken[q.CustomArgs["candor_id"]]++
	}
	return taken
}

// Whatever SendGrid finds wrong with some, everybody else is sent to exactly once, and each outcome is the truth.
func TestOthersAreNotHeldUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(r, "recipients")
		var boxes []string
		for range n {
			box := fmt.Sprintf("c%d@example.com", rapid.IntRange(0, 30).Draw(r, "mailbox"))
			if rapid.IntRange(0, 9).Draw(r, "kind") == 0 {
				box = "bad" + box
			}
			if rapid.Bool().Draw(r, "upper") {
				box = strings.ToUpper(box)
			}
			boxes = append(boxes, box)
		}
		m := &mailer{
			bad:       func(s string) bool { return strings.HasPrefix(strings.ToLower(s), "bad") },
			same:      func(s string) string { return strings.TrimLeft(strings.ToLower(s), "c1") }, // stricter than ours
			nameFirst: rapid.IntRange(0, 3).Draw(r, "named"),
			limit:     rapid.SampledFrom([]int{0, 0, 7}).Draw(r, "limit"),
			taken:     map[string]int{},
		}
		server := providertest.NewServer(t, m.answer)
		size := rapid.SampledFrom([]int{1, 10, 1000}).Draw(r, "batch")
		got := openAt(t, server.URL, func(c *sendgrid.Config) { c.BatchSize = size }).SendEmail(t.Context(), notice(boxes...), soon())
		if len(got) != n {
			r.Fatalf("%d outcomes for %d", len(got), n)
		}
		for i, o := range got {
			id, bad := fmt.Sprint("id", i), m.bad(boxes[i])
			switch {
			case m.taken[id] > 1:
				r.Errorf("%s was sent %d times", id, m.taken[id])
			case (m.taken[id] == 1) != (o.Class == provider.Accepted):
				r.Errorf("%s was sent %d times, outcome %+v", id, m.taken[id], o)
			case bad && o.Class == provider.Defect && o.Reason == "http_400" && m.nameFirst == 0:
				// Found by halving, and nobody said that it is the address.
			case bad && o.Class != provider.BadAddress && o.Reason != "too_many_refusals":
				r.Errorf("%s is bad, outcome %+v", id, o)
			case !bad && o.Class != provider.Accepted && o.Reason != "too_many_refusals":
				r.Errorf("%s is good, outcome %+v", id, o)
			}
		}
		if m.answers > 64 {
			r.Errorf("%d requests", m.answers)
		}
	})
}

func TestOneBadAddressAmongMany(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		named    int
		requests int
		want     provider.Outcome
	}{
		{"named", 9, 2, provider.Outcome{Class: provider.BadAddress, Reason: "invalid_recipient"}},
		{"not named", 0, 21, provider.Outcome{Class: provider.Defect, Reason: "http_400"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &mailer{bad: func(s string) bool { return s == "c500@example.com" }, same: func(s string) string { return s }, nameFirst: tt.named, taken: map[string]int{}}
			server := providertest.NewServer(t, m.answer)
			got := openAt(t, server.URL).SendEmail(t.Context(), notice(mailboxes(1000)...), soon())
			if got[500] != tt.want || len(m.taken) != 999 {
				t.Errorf("%d taken, the bad one %+v", len(m.taken), got[500])
			}
			if m.answers > tt.requests {
				t.Errorf("%d requests, want at most %d", m.answers, tt.requests)
			}
		})
	}
}

// A list of nothing but refusals must not go on for ever, and whom it was not decided for is not called sent.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 400, Body: "{}"}))
	got := openAt(t, server.URL).SendEmail(t.Context(), notice(mailboxes(1000)...), soon())
	for i, o := range got {
		if o.Class != provider.Defect && (o.Class != provider.NotSent || o.Reason != "too_many_refusals") {
			t.Errorf("%d: %+v", i, o)
		}
	}
	if n := len(server.Requests()); n != 64 {
		t.Errorf("%d requests", n)
	}
}

// What happens to a later request of a call says nothing about the earlier ones, nor about those not begun.
func TestLaterRequestFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		second       providertest.Answer
		second2nd    provider.Outcome // recipients of the second request
		thirdNotSent provider.Outcome // recipients of the one that was never made
	}{
		{"lost", providertest.Answer{Fault: providertest.ResetAfterRead}, provider.Outcome{Class: provider.Unknown, Reason: "connection_lost_after_write"}, provider.Outcome{Class: provider.NotSent, Reason: "not_begun"}},
		{"5xx", providertest.Answer{Status: 500}, provider.Outcome{Class: provider.Unknown, Reason: "http_500"}, provider.Outcome{Class: provider.NotSent, Reason: "not_begun"}},
		{"202 without id", providertest.Answer{Status: 202}, provider.Outcome{Class: provider.Unknown, Reason: "http_202_without_id"}, provider.Outcome{Class: provider.NotSent, Reason: "not_begun"}},
		{"throttled", providertest.Answer{Status: 429}, provider.Outcome{Class: provider.NotSent, Reason: "http_429", Throttled: true}, provider.Outcome{Class: provider.NotSent, Reason: "http_429", Throttled: true}},
		{"unauthorised", providertest.Answer{Status: 401}, provider.Outcome{Class: provider.Misconfigured, Reason: "http_401"}, provider.Outcome{Class: provider.Misconfigured, Reason: "http_401"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			server := providertest.NewServer(t, func(providertest.Request) providertest.Answer {
				calls++
				if calls == 1 {
					return taken
				}
				return tt.second
			})
			got := openAt(t, server.URL, func(c *sendgrid.Config) { c.BatchSize = 2 }).SendEmail(t.Context(), notice(mailboxes(6)...), soon())
			want := []provider.Outcome{{Class: provider.Accepted, ID: "XBg2anf2TqCy6WXKQFhieQ"}, {Class: provider.Accepted, ID: "XBg2anf2TqCy6WXKQFhieQ"}, tt.second2nd, tt.second2nd, tt.thirdNotSent, tt.thirdNotSent}
			if !slices.Equal(got, want) {
				t.Errorf("got %+v", got)
			}
			if n := len(server.Requests()); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
		})
	}
}

// The refused are sent again only while there is time.
func TestTimeEndsBetweenRequests(t *testing.T) {
	t.Parallel()
	late := make(chan struct{})
	server := providertest.NewServer(t, func(providertest.Request) providertest.Answer {
		close(late)
		return providertest.Answer{Status: 400, Body: `{"errors":[{"field":"personalizations.0.to.0.email","message":"m"}]}`}
	})
	now := func() time.Time {
		select {
		case <-late:
			return time.Now().Add(time.Hour)
		default:
			return time.Now()
		}
	}
	s := open(t, providertest.Conditions{BaseURL: server.URL, Now: now, RequestTimeout: time.Minute})
	got := s.SendEmail(t.Context(), notice(mailboxes(3)...), soon())
	if got[0].Class != provider.BadAddress || got[1] != (provider.Outcome{Class: provider.NotSent, Reason: "send_before_passed"}) || got[2] != got[1] {
		t.Errorf("got %+v", got)
	}
}

func TestOddEmails(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(taken))
	s := openAt(t, server.URL)
	if got := s.SendEmail(t.Context(), notice(), soon()); len(got) != 0 {
		t.Errorf("outcomes for nobody: %+v", got)
	}
	m := notice("ana@example.com", "ben@example.com")
	m.Recipients[0].Values = nil
	got := s.SendEmail(t.Context(), m, soon())
	if got[0] != (provider.Outcome{Class: provider.Defect, Reason: "values_misaligned"}) || got[1].Class != provider.Accepted {
		t.Errorf("got %+v", got)
	}
	if n := len(server.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestConfigShowsAllMistakes(t *testing.T) {
	t.Parallel()
	good := sendgrid.DefaultConfig()
	good.APIKey = "SG.key"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	_, err := sendgrid.New(sendgrid.Config{BaseURL: "x", BatchSize: 1001}, time.Now)
	for _, setting := range []string{"base_url", "api_key", "batch_size", "max_in_flight"} {
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("error %v does not name %s", err, setting)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", good, good, good); strings.Contains(s, "SG.") {
		t.Errorf("prints its key: %s", s)
	}
}
