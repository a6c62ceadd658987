package smtp_test

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"candor/pkg/pii"
	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
	"candor/services/email/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a relay may do instead of answering.
const (
	cut  = "cut"
	hang = "hang"
)

// relay says what it is told to at each stage, or what a relay says that takes everything.
type relay struct {
	addr    string
	say     func(conn int, verb string) string
	done    chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	accepted int
	letters  []string
	verbs    []string
	changed  chan struct{}
}

func newRelay(t testing.TB, say func(conn int, verb string) string) *relay {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), say: say, done: make(chan struct{}), changed: make(chan struct{})}
	r.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := 0
			r.change(func() { r.accepted++; n = r.accepted })
			r.running.Go(func() {
				stop := make(chan struct{})
				r.running.Go(func() {
					select {
					case <-r.done:
					case <-stop:
					}
					_ = c.Close()
				})
				r.serve(c, n)
				close(stop)
			})
		}
	})
	t.Cleanup(func() { close(r.done); _ = l.Close(); r.running.Wait() })
	return r
}

func (r *relay) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// answer reports whether the connection goes on.
func (r *relay) answer(c net.Conn, n int, verb string) bool {
	usual := map[string]string{
		"greeting": "220 relay ESMTP", "EHLO": "250-relay\r\n250 8BITMIME", "DATA": "354 go on", "QUIT": "221 2.0.0 bye", ".": "250 2.0.0 queued",
	}
	text := ""
	if r.say != nil {
		text = r.say(n, verb)
	}
	switch text {
	case cut:
		if verb != "greeting" { // a reset may come before the dialler is done
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		return false
	case hang:
		<-r.done
		return false
	case "":
		if text = usual[verb]; text == "" {
			text = "250 2.0.0 ok"
		}
	}
	_, err := fmt.Fprintf(c, "%s\r\n", text)
	return err == nil && verb != "QUIT" && !strings.HasPrefix(text, "421")
}

func (r *relay) serve(c net.Conn, n int) {
	in := textproto.NewReader(bufio.NewReader(c))
	if !r.answer(c, n, "greeting") {
		return
	}
	for {
		line, err := in.ReadLine()
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(line, " ")
		verb, _, _ = strings.Cut(verb, ":")
		r.change(func() { r.verbs = append(r.verbs, verb) })
		if !r.answer(c, n, verb) {
			return
		}
		if verb != "DATA" || r.say != nil && r.say(n, verb) != "" {
			continue
		}
		if r.say != nil && r.say(n, "text") == cut {
			b := make([]byte, 1)
			_, _ = in.R.Read(b)
			_ = c.(*net.TCPConn).SetLinger(0)
			return
		}
		text, err := in.ReadDotBytes()
		if err != nil {
			return
		}
		r.change(func() { r.letters = append(r.letters, string(text)) })
		if !r.answer(c, n, ".") {
			return
		}
	}
}

func (r *relay) await(ok func() bool) {
	for {
		r.mu.Lock()
		reached, changed := ok(), r.changed
		r.mu.Unlock()
		if reached {
			return
		}
		<-changed
	}
}

func (r *relay) count(of func() int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return of()
}

func (r *relay) connections() int { return r.count(func() int { return r.accepted }) }

func (r *relay) taken() int { return r.count(func() int { return len(r.letters) }) }

func (r *relay) heard() (verbs string) {
	r.change(func() { verbs = strings.Join(r.verbs, " ") })
	return verbs
}

// at answers with one text at one stage, on every connection.
func at(verb, text string) func(int, string) string {
	return func(_ int, v string) string {
		if v == verb {
			return text
		}
		return ""
	}
}

func open(t testing.TB, addr string, change ...func(*smtp.Config)) *smtp.Sender {
	t.Helper()
	return openAt(t, addr, time.Now, change...)
}

func openAt(t testing.TB, addr string, now func() time.Time, change ...func(*smtp.Config)) *smtp.Sender {
	t.Helper()
	cfg := smtp.DefaultConfig()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Host, cfg.TLS, cfg.Hello = host, smtp.None, "candor.test"
	cfg.DialTimeout, cfg.RequestTimeout, cfg.IdleTimeout = time.Minute, 3*time.Minute, 3*time.Minute
	if cfg.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := smtp.New(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func notice(n int) *provider.Email {
	m := &provider.Email{
		From: "notice@acme.example", FromName: "Acme, Inc.", ReplyTo: "help@acme.example", Subject: "A notice for -name-",
		Text: "Dear -name-,\nyour code is -code-.\n.\nAcme\n", HTML: "<p>Dear -html-name-, -code-</p>", Vars: []string{"-name-", "-html-name-", "-code-"},
	}
	for i := range n {
		m.Recipients = append(m.Recipients, provider.Recipient{
			ID: fmt.Sprintf("bm90aWNl%d.1.bWFj", i), To: pii.NewEmail(fmt.Sprintf("ana%d@customer.example", i)),
			Values: []string{fmt.Sprintf("Ana%d O'<b>", i), fmt.Sprintf("Ana%d O&#39;&lt;b&gt;", i), fmt.Sprintf("C-%d", i)},
		})
	}
	return m
}

func soon() time.Time { return time.Now().Add(10 * time.Minute) }

func send(t testing.TB, s *smtp.Sender) provider.Outcome {
	t.Helper()
	out := s.SendEmail(t.Context(), notice(1), soon())
	if len(out) != 1 {
		t.Fatalf("%d outcomes", len(out))
	}
	return out[0]
}

func TestContract(t *testing.T) {
	t.Parallel()
	start := func(t testing.TB, silent bool) providertest.Stand {
		say := at(".", "")
		if silent {
			say = at(".", hang)
		}
		r := newRelay(t, say)
		return providertest.Stand{URL: "smtp://" + r.addr, Accepted: r.connections, Messages: r.taken, AwaitMessages: func(n int) {
			r.await(func() bool { return len(r.letters) >= n })
		}}
	}
	providertest.Mail(t, start, func(t testing.TB, c providertest.Conditions) provider.EmailSender {
		u, err := url.Parse(c.BaseURL)
		if err != nil {
			t.Fatal(err)
		}
		return openAt(t, u.Host, c.Now, func(cfg *smtp.Config) { cfg.RequestTimeout = c.RequestTimeout })
	})
}
