package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	letters "net/mail"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/email/smtp"
	"candor/services/sandbox"
)

// relay is a mail relay that somebody else wrote. It counts letters by notice.
type relay struct {
	mu      sync.Mutex
	letters map[string]int
}

func (r *relay) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return visit{r}, nil }

type visit struct{ *relay }

func (visit) Reset()                                 {}
func (visit) Logout() error                          { return nil }
func (visit) Mail(string, *gosmtp.MailOptions) error { return nil }
func (visit) Rcpt(string, *gosmtp.RcptOptions) error { return nil }

func (v visit) Data(r io.Reader) error {
	letter, err := letters.ReadMessage(r)
	if err != nil {
		return err
	}
	notice, _, _ := strings.Cut(letter.Header.Get(smtp.IDHeader), ".")
	v.mu.Lock()
	defer v.mu.Unlock()
	v.letters[notice]++
	return nil
}

func (r *relay) start(t *testing.T) (host string, port int) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := gosmtp.NewServer(r)
	s.Domain, s.ErrorLog = "relay.test", quiet()
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(l) }) // until it is closed
	t.Cleanup(func() { _ = s.Close(); _ = l.Close(); running.Wait() })
	addr := l.Addr().(*net.TCPAddr)
	return addr.IP.String(), addr.Port
}

// moody stands in front of the sandbox and answers with a status of its own once there is one.
func moody(t *testing.T, target string, status *atomic.Int32) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.Transport, proxy.ErrorLog = tr, quiet()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := int(status.Load()); code != 0 {
			_, _ = io.Copy(io.Discard, r.Body)
			http.Error(w, "no", code)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestARelayTakesOverAndNobodyGetsBoth(t *testing.T) {
	t.Parallel()
	for _, status := range []int32{http.StatusUnauthorized, http.StatusServiceUnavailable} {
		t.Run(strconv.Itoa(int(status)), func(t *testing.T) {
			t.Parallel()
			box := startSandbox(t)
			var mood atomic.Int32
			r := &relay{letters: map[string]int{}}
			p := play(t, func(cfg *app.Config) {
				impatient(cfg)
				cfg.SMS.RequestTimeout, cfg.Email.RequestTimeout = 10*time.Second, 10*time.Second // nothing here is slow on purpose
				def := sandbox.DefaultConfig()
				sg, relay := &cfg.Providers.SendGrid, &cfg.Providers.SMTP
				sg.BaseURL, sg.APIKey = moody(t, box.URL(), &mood), def.SendGrid.APIKey
				relay.Host, relay.Port = r.start(t)
				relay.TLS = smtp.None
				cfg.Email.InFlight, cfg.Email.Failover.After, cfg.Email.Failover.BackAfter = 2, 3, time.Hour
			})
			const customers = 300
			pb, facts, err := bench.Texts(5)
			if err != nil {
				t.Fatal(err)
			}
			pb = edit(t, pb, "    requests_per_sec: 1000000\n", "    requests_per_sec: 8\n") // enough is still to be sent when the mood changes
			pb = edit(t, pb, "    batch: 5\n", "    batch: 5\n  smtp:\n    from: notices@northwind.example\n    from_name: Northwind Power\n    reply_to: help@northwind.example\n    messages_per_sec: 100000\n")
			p.tell("relay", pb, facts, strings.NewReader(crowdOf(customers, nil)))
			until(t, "some e-mails go through SendGrid", func() bool { return box.Truth().Email.Accepted >= 40 })
			mood.Store(status)
			st, err := await(t, p.driver, "relay", func(st *candorv1.Status) bool { return bench.Resting(nil, st) })
			if err != nil {
				t.Fatalf("%v: %v", err, st)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			first := map[string]int{}
			direct := box.Truth().Email
			c := sandboxClient(t, box)
			if err := c.Notices(t.Context(), "email", "", func(a sandbox.Attempt) error {
				first[string(a.Notice)] += a.Accepted
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			for notice, n := range r.letters {
				if n > 1 || first[notice] > 0 {
					t.Errorf("notice %s: %d letters through the relay, %d through SendGrid", notice, n, first[notice])
				}
			}
			states := channelOf(st, candorv1.Channel_CHANNEL_EMAIL).GetStates()
			// Who was in a request that was answered with 503 may have been told, and is not told again.
			unsure := states["uncertain"]
			if status == http.StatusUnauthorized && unsure > 0 || status != http.StatusUnauthorized && (unsure == 0 || unsure > 25) {
				t.Errorf("%d e-mails are uncertain", unsure)
			}
			if states["accepted"]+unsure != customers || uint64(len(r.letters))+direct.Notices != states["accepted"] || direct.Duplicates > 0 {
				t.Errorf("%d through SendGrid, %d through the relay, states %v", direct.Notices, len(r.letters), states)
			}
			if len(r.letters) < customers/4 || direct.Notices < 40 {
				t.Errorf("%d through SendGrid and %d through the relay show nothing", direct.Notices, len(r.letters))
			}
		})
	}
}
