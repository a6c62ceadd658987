// Package providertest holds every adapter to the same promises: what the provider did not get is never called sent, what it
// may have got is never called unsent, and nothing is written late.
//
// In: an adapter, opened against a server that misbehaves as told.   Out: failed tests.   Crash: nothing to lose.
package providertest

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candor/pkg/pii"
	"candor/pkg/provider"
)

// Conditions are what an adapter is opened under. The adapter closes its connections when the test ends.
type Conditions struct {
	BaseURL        string
	Now            func() time.Time
	RequestTimeout time.Duration
}

// Dialect is how the provider says that it took a message.
type Dialect struct {
	Taken    Answer
	Nameless []Answer // a success by its status, but without a message id, or not what it should be
}

// SMS runs the contract of a provider.SMSSender.
func SMS(t *testing.T, d Dialect, open func(testing.TB, Conditions) provider.SMSSender) {
	t.Helper()
	run(t, d, func(t testing.TB, c Conditions) send {
		sender := open(t, c)
		return func(ctx context.Context, sendBefore time.Time) provider.Outcome {
			m := provider.SMS{ID: "opaque1", To: pii.NewPhone("+12125550156"), From: "+12125550100", Body: "A notice. Code 7K3M."}
			return sender.SendSMS(ctx, m, sendBefore)
		}
	})
}

// Email runs the contract of a provider.EmailSender. Each request has three recipients, who must share its outcome.
func Email(t *testing.T, d Dialect, open func(testing.TB, Conditions) provider.EmailSender) {
	t.Helper()
	run(t, d, func(t testing.TB, c Conditions) send {
		sender := open(t, c)
		return func(ctx context.Context, sendBefore time.Time) provider.Outcome {
			m := &provider.Email{From: "notice@example.com", Subject: "A notice", Text: "Your code is -code-.", HTML: "<p>-code-</p>", Vars: []string{"-code-"}}
			for i := range 3 {
				m.Recipients = append(m.Recipients, provider.Recipient{
					ID: fmt.Sprint("opaque", i), To: pii.NewEmail(fmt.Sprintf("c%d@example.com", i)), Values: []string{"7K3M"},
				})
			}
			out := sender.SendEmail(ctx, m, sendBefore)
			if len(out) != len(m.Recipients) {
				t.Errorf("%d outcomes for %d recipients", len(out), len(m.Recipients))
				return provider.Outcome{Reason: "misaligned"}
			}
			for _, o := range out {
				if o != out[0] {
					t.Errorf("recipients of one request differ: %+v and %+v", o, out[0])
				}
			}
			return out[0]
		}
	})
}

// Stand is a provider that speaks another protocol than HTTP.
type Stand struct {
	URL string
	// Accepted counts the connections ever made, Messages those messages that were read whole.
	Accepted, Messages func() int
	// AwaitMessages returns once n messages were read whole.
	AwaitMessages func(n int)
}

// Mail runs as much of the contract of a provider.EmailSender as does not speak of HTTP: start makes a provider that takes each
// message, or one that takes none and never answers.
func Mail(t *testing.T, start func(t testing.TB, silent bool) Stand, open func(testing.TB, Conditions) provider.EmailSender) {
	t.Helper()
	one := func(t testing.TB, c Conditions) send {
		sender := open(t, c)
		return func(ctx context.Context, sendBefore time.Time) provider.Outcome {
			m := &provider.Email{
				From: "notice@example.com", Subject: "A notice", Text: "Your code is -code-.", HTML: "<p>-code-</p>", Vars: []string{"-code-"},
				Recipients: []provider.Recipient{{ID: "opaque0", To: pii.NewEmail("c0@example.com"), Values: []string{"7K3M"}}},
			}
			out := sender.SendEmail(ctx, m, sendBefore)
			if len(out) != 1 {
				t.Errorf("%d outcomes for one recipient", len(out))
				return provider.Outcome{Reason: "misaligned"}
			}
			return out[0]
		}
	}
	t.Run("nothing listens", func(t *testing.T) { t.Parallel(); nothingListens(t, one) })
	whenever(t, start, one)
}

// whenever is what holds for every protocol.
func whenever(t *testing.T, start func(testing.TB, bool) Stand, open opener) {
	t.Run("send_before passed", func(t *testing.T) { t.Parallel(); alreadyLate(t, start, open) })
	t.Run("clock jumps on the way", func(t *testing.T) { t.Parallel(); clockJumps(t, start, open) })
	t.Run("cancelled", func(t *testing.T) { t.Parallel(); cancelled(t, start, open) })
	t.Run("times out", func(t *testing.T) { t.Parallel(); timesOut(t, start, open) })
}

// web makes Stands of Servers.
func web(d Dialect) func(testing.TB, bool) Stand {
	return func(t testing.TB, silent bool) Stand {
		a := d.Taken
		if silent {
			a = Answer{Fault: Silent}
		}
		s := NewServer(t, Always(a))
		return Stand{URL: s.URL, Accepted: s.Accepted, Messages: func() int { return len(s.Requests()) }, AwaitMessages: s.AwaitRequests}
	}
}

type (
	send   func(ctx context.Context, sendBefore time.Time) provider.Outcome
	opener func(testing.TB, Conditions) send
)

func run(t *testing.T, d Dialect, open opener) {
	t.Helper()
	t.Run("answers", func(t *testing.T) { t.Parallel(); answers(t, d, open) })
	t.Run("faults", func(t *testing.T) { t.Parallel(); faults(t, d, open) })
	t.Run("nothing listens", func(t *testing.T) { t.Parallel(); nothingListens(t, open) })
	t.Run("tls fails", func(t *testing.T) { t.Parallel(); tlsFails(t, open) })
	whenever(t, web(d), open)
	t.Run("storm of 429", func(t *testing.T) { t.Parallel(); storm(t, open) })
	t.Run("clock differs from the provider's", func(t *testing.T) { t.Parallel(); clockDiffers(t, d, open) })
}

func plain(url string) Conditions {
	return Conditions{BaseURL: url, Now: time.Now, RequestTimeout: 3 * time.Minute}
}

func soon() time.Time { return time.Now().Add(10 * time.Minute) }

const html = "<html><head><title>Error</title></head><body>nginx</body></html>"

func answers(t *testing.T, d Dialect, open opener) {
	type answer struct {
		name string
		say  Answer
		want provider.Outcome
	}
	classed := func(c provider.Class) provider.Outcome { return provider.Outcome{Class: c} }
	throttled := provider.Outcome{Class: provider.NotSent, Throttled: true, RetryAfter: 7 * time.Second}
	tests := []answer{
		{"taken", d.Taken, classed(provider.Accepted)},
		{"429", Answer{Status: 429, Header: map[string]string{"Retry-After": "7"}, Body: "{}"}, throttled},
		{"429 html", Answer{Status: 429, Header: map[string]string{"Retry-After": "7"}, Body: html}, throttled},
		{"429 cut", Answer{Status: 429, Header: map[string]string{"Retry-After": "7"}, Body: `{"co`, Fault: CutAnswer}, throttled},
		{"408", Answer{Status: 408, Body: html}, classed(provider.Unknown)},
	}
	for _, s := range []int{301, 302, 303, 304, 307, 308, 500, 501, 502, 503, 504, 520, 599} {
		header := map[string]string{"Location": "http://127.0.0.1:1/elsewhere"}
		body := html
		if s == 304 {
			body = ""
		}
		tests = append(tests, answer{fmt.Sprint(s), Answer{Status: s, Header: header, Body: body}, classed(provider.Unknown)})
	}
	for _, s := range []int{401, 403, 404, 405} {
		tests = append(tests, answer{fmt.Sprint(s), Answer{Status: s, Body: html}, classed(provider.Misconfigured)})
	}
	for i, a := range d.Nameless {
		tests = append(tests, answer{fmt.Sprintf("nameless %d", i), a, classed(provider.Unknown)})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := NewServer(t, Always(tt.say))
			got := open(t, plain(server.URL))(t.Context(), soon())
			check(t, got)
			if got.Class != tt.want.Class || got.Throttled != tt.want.Throttled || got.RetryAfter != tt.want.RetryAfter {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if n := len(server.Requests()); n != 1 {
				t.Errorf("%d requests, want 1: nothing is repeated or redirected", n)
			}
		})
	}
}

// check holds for every outcome.
func check(t testing.TB, o provider.Outcome) {
	t.Helper()
	if (o.Class == provider.Accepted) != (o.ID != "") {
		t.Errorf("class %v with id %q", o.Class, o.ID)
	}
	if (o.Class == provider.Accepted) != (o.Reason == "") {
		t.Errorf("class %v with reason %q", o.Class, o.Reason)
	}
	if strings.Trim(o.Reason, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		t.Errorf("reason %q is not snake_case", o.Reason)
	}
}

func faults(t *testing.T, d Dialect, open opener) {
	for _, tt := range []struct {
		name  string
		fault Fault
		want  string
	}{
		{"reset after read", ResetAfterRead, "connection_lost_after_write"},
		{"closed after read", CloseAfterRead, "connection_lost_after_write"},
		{"answer cut", CutAnswer, "answer_cut"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := d.Taken
			a.Fault = tt.fault
			// An empty answer cannot be cut.
			a.Body += " "
			server := NewServer(t, Always(a))
			got := open(t, plain(server.URL))(t.Context(), soon())
			check(t, got)
			if got.Class != provider.Unknown || got.Reason != tt.want {
				t.Errorf("got %+v, want unknown %s", got, tt.want)
			}
			if n := len(server.Requests()); n != 1 {
				t.Errorf("%d requests, want 1: an ambiguous request is never repeated", n)
			}
		})
	}
	t.Run("reset before read", func(t *testing.T) {
		t.Parallel()
		got := open(t, plain(NewServer(t, nil).URL))(t.Context(), soon())
		check(t, got)
		// Whether a byte left before the reset came is a race; both truths are right.
		if got.Class != provider.Unknown && got.Class != provider.NotSent {
			t.Errorf("got %+v, want unknown or not sent", got)
		}
	})
}

func nothingListens(t *testing.T, open opener) {
	// A port that was free a moment ago may be another test's now.
	expect(t, open(t, plain("http://127.0.0.1:1"))(t.Context(), soon()), provider.NotSent, "connection_refused")
}

func tlsFails(t *testing.T, open opener) {
	reached := atomic.Bool{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) //nolint:forbidigo // the failed handshakes are meant
	server.StartTLS()
	t.Cleanup(server.Close)
	expect(t, open(t, plain(server.URL))(t.Context(), soon()), provider.NotSent, "tls_failed")
	if reached.Load() {
		t.Error("the request went to a server that nobody vouches for")
	}
	notTLS := NewServer(t, Always(Answer{Status: 400}))
	if got := open(t, plain(strings.Replace(notTLS.URL, "http:", "https:", 1)))(t.Context(), soon()); got.Class != provider.NotSent {
		t.Errorf("a server without TLS: got %+v, want not sent", got)
	}
}

func alreadyLate(t *testing.T, start func(testing.TB, bool) Stand, open opener) {
	server := start(t, false)
	expect(t, open(t, plain(server.URL))(t.Context(), time.Now()), provider.NotSent, "send_before_passed")
	if n := server.Accepted(); n != 0 {
		t.Errorf("%d connections for a request that was late", n)
	}
}

// clockJumps suspends the process, as it sees it, at every moment at which an adapter looks at its clock.
func clockJumps(t *testing.T, start func(testing.TB, bool) Stand, open opener) {
	seen := map[provider.Class]int{}
	for n := range int64(12) {
		server := start(t, false)
		looks := atomic.Int64{}
		c := plain(server.URL)
		c.Now = func() time.Time {
			if looks.Add(1) > n {
				return time.Now().Add(time.Hour)
			}
			return time.Now()
		}
		got := open(t, c)(t.Context(), soon())
		seen[got.Class]++
		switch reached := server.Messages(); {
		case reached == 0 && (got.Class != provider.NotSent || got.Reason != "send_before_passed"):
			t.Errorf("jump at look %d: nothing was sent, got %+v", n, got)
		case reached == 1 && got.Class != provider.Accepted:
			t.Errorf("jump at look %d: it was sent, got %+v", n, got)
		}
	}
	if seen[provider.Accepted] == 0 || seen[provider.NotSent] < 2 {
		t.Errorf("outcomes %v: the clock must be asked before dialling, and again when writing", seen)
	}
}

func cancelled(t *testing.T, start func(testing.TB, bool) Stand, open opener) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	expect(t, open(t, plain(start(t, false).URL))(ctx, soon()), provider.NotSent, "cancelled_before_write")

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	silent := start(t, true)
	go func() { silent.AwaitMessages(1); cancel() }()
	expect(t, open(t, plain(silent.URL))(ctx, soon()), provider.Unknown, "cancelled_after_write")
}

func timesOut(t *testing.T, start func(testing.TB, bool) Stand, open opener) {
	server := start(t, true)
	c := plain(server.URL)
	c.RequestTimeout = 100 * time.Millisecond
	got := open(t, c)(t.Context(), soon())
	check(t, got)
	// On a busy machine the time may be over before the request left.
	if server.Messages() == 0 && got.Class == provider.NotSent {
		return
	}
	expect(t, got, provider.Unknown, "timeout_after_write")
}

// storm answers 429 with a tail that comes late; 20 connections must be all that two rounds of 20 requests take.
func storm(t *testing.T, open opener) {
	const n = 20
	server := NewServer(t, Always(Answer{Status: 429, Body: "{}", Fault: LateTail}))
	send := open(t, plain(server.URL))
	for round := range 2 {
		var group sync.WaitGroup
		for range n {
			group.Go(func() {
				if o := send(t.Context(), soon()); o.Class != provider.NotSent || !o.Throttled {
					t.Errorf("got %+v, want throttled", o)
				}
			})
		}
		server.AwaitRequests((round + 1) * n)
		server.SendTails()
		group.Wait()
	}
	if got := server.Accepted(); got > n {
		t.Errorf("%d connections for %d requests at once: error answers leak them", got, n)
	}
}

func clockDiffers(t *testing.T, d Dialect, open opener) {
	for _, off := range []time.Duration{0, 90 * time.Second, -90 * time.Second} {
		server := NewServer(t, func(Request) Answer {
			a := d.Taken
			a.Header = map[string]string{"Date": time.Now().Add(off).UTC().Format(http.TimeFormat)}
			for k, v := range d.Taken.Header {
				a.Header[k] = v
			}
			return a
		})
		got := open(t, plain(server.URL))(t.Context(), soon())
		check(t, got)
		if off == 0 && got.Skew > 0 || (got.Skew-off).Abs() > 30*time.Second {
			t.Errorf("provider's clock is %s off, skew says %s", off, got.Skew)
		}
	}
}

func expect(t *testing.T, got provider.Outcome, class provider.Class, reason string) {
	t.Helper()
	check(t, got)
	if got.Class != class || got.Reason != reason {
		t.Errorf("got %+v, want %v %s", got, class, reason)
	}
}
