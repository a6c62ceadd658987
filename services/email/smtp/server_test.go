package smtp_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"candor/pkg/config"
	"candor/pkg/provider"
	"candor/services/email/smtp"
)

// mailbox is a server that somebody else wrote; it keeps what it is handed.
type mailbox struct {
	mu      sync.Mutex
	letters []received
	ways    []string // to sign in
	must    bool     // who did not sign in is refused
}

type received struct {
	from, signedIn string
	to             []string
	text           string
	encrypted      bool
}

func (b *mailbox) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	_, encrypted := c.TLSConnectionState()
	return &visit{mailbox: b, letter: received{encrypted: encrypted}}, nil
}

type visit struct {
	*mailbox
	letter received
	user   string
}

func (v *visit) Reset() { v.letter = received{encrypted: v.letter.encrypted} }

func (v *visit) Logout() error { return nil }

func (v *visit) Mail(from string, _ *gosmtp.MailOptions) error {
	if v.must && v.user == "" {
		return gosmtp.ErrAuthRequired
	}
	v.letter.from, v.letter.signedIn = from, v.user
	return nil
}

func (v *visit) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	v.letter.to = append(v.letter.to, to)
	return nil
}

func (v *visit) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	v.letter.text = string(b)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.letters = append(v.letters, v.letter)
	return nil
}

func (v *visit) AuthMechanisms() []string { return v.ways }

func (v *visit) Auth(way string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != "candor" || password != "hunter2" {
			return gosmtp.ErrAuthFailed
		}
		v.user = user
		return nil
	}
	switch way {
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case sasl.Login:
		return &login{check: check}, nil
	}
	return nil, errors.New("unknown")
}

// login is the server's side of LOGIN.
type login struct {
	check func(user, password string) error
	step  int
	user  string
}

func (l *login) Next(answer []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(answer)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(answer))
}

// certificate returns a TLS configuration for 127.0.0.1, and the file that vouches for it.
func certificate(t testing.TB) (*tls.Config, string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, file
}

func (b *mailbox) start(t testing.TB, encrypt *tls.Config, first bool) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	s := gosmtp.NewServer(b)
	s.Domain, s.TLSConfig = "relay.test", encrypt
	s.ErrorLog = log.New(io.Discard, "", 0) //nolint:forbidigo // failed handshakes are meant
	if first {
		l = tls.NewListener(l, encrypt)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); _ = l.Close(); running.Wait() })
	return addr
}

func TestEncryptionAndSignIn(t *testing.T) {
	t.Parallel()
	server, ca := certificate(t)
	for _, tt := range []struct {
		name           string
		ways           []string
		server         *tls.Config
		mode, ca       string
		user, password string
		want           provider.Outcome
	}{
		{name: "starttls", server: server, mode: smtp.StartTLS, ca: ca},
		{name: "tls", server: server, mode: smtp.TLS, ca: ca},
		{name: "plain", ways: []string{"PLAIN"}, server: server, mode: smtp.StartTLS, ca: ca, user: "candor", password: "hunter2"},
		{name: "login", ways: []string{"LOGIN"}, server: server, mode: smtp.TLS, ca: ca, user: "candor", password: "hunter2"},
		{
			name: "starttls is not offered", mode: smtp.StartTLS, ca: ca, user: "candor", password: "hunter2",
			want: provider.Outcome{Class: provider.Misconfigured, Reason: "smtp_no_starttls"},
		},
		{name: "nobody vouches for starttls", server: server, mode: smtp.StartTLS, want: provider.Outcome{Class: provider.NotSent, Reason: "tls_failed"}},
		{name: "nobody vouches for tls", server: server, mode: smtp.TLS, want: provider.Outcome{Class: provider.NotSent, Reason: "tls_failed"}},
		{
			name: "wrong password", ways: []string{"PLAIN"}, server: server, mode: smtp.StartTLS, ca: ca, user: "candor", password: "hunter3",
			want: provider.Outcome{Class: provider.Misconfigured, Reason: "smtp_auth_535_5_7_8"},
		},
		{
			name: "no way to sign in", ways: []string{"GSSAPI"}, server: server, mode: smtp.StartTLS, ca: ca, user: "candor", password: "hunter2",
			want: provider.Outcome{Class: provider.Misconfigured, Reason: "smtp_no_auth"},
		},
		{
			name: "must sign in", ways: []string{"PLAIN"}, server: server, mode: smtp.StartTLS, ca: ca,
			want: provider.Outcome{Class: provider.Misconfigured, Reason: "smtp_mail_502_5_7_0"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &mailbox{ways: tt.ways, must: tt.name == "must sign in"}
			addr := b.start(t, tt.server, tt.mode == smtp.TLS)
			got := send(t, open(t, addr, func(c *smtp.Config) {
				c.TLS, c.CA, c.User, c.Password = tt.mode, tt.ca, tt.user, config.Secret(tt.password)
			}))
			want := tt.want
			if want == (provider.Outcome{}) {
				want = provider.Outcome{Class: provider.Accepted, ID: id0}
			}
			if got != want {
				t.Fatalf("got %+v, want %+v", got, want)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if want.Class == provider.Accepted && (len(b.letters) != 1 || !b.letters[0].encrypted || b.letters[0].signedIn != tt.user) {
				t.Errorf("the relay has %d letters, encrypted and signed in as %q wanted", len(b.letters), tt.user)
			}
			if want.Class != provider.Accepted && len(b.letters) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestEveryRecipientGetsALetterOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	s := open(t, b.start(t, nil, false), func(c *smtp.Config) { c.Connections = 2 })
	m := notice(5)
	for i, o := range s.SendEmail(t.Context(), m, soon()) {
		if o.Class != provider.Accepted || o.ID != m.Recipients[i].ID+"@acme.example" {
			t.Errorf("recipient %d: %+v", i, o)
		}
	}
	if len(b.letters) != 5 {
		t.Fatalf("%d letters, want 5", len(b.letters))
	}
	told := map[string]bool{}
	for _, l := range b.letters {
		if len(l.to) != 1 || l.from != "notice@acme.example" {
			t.Fatalf("from %s to %d", l.from, len(l.to))
		}
		told[l.to[0]] = true
		for i, r := range m.Recipients {
			mine := r.To.Reveal() == l.to[0]
			if strings.Contains(l.text, r.To.Reveal()) != mine || strings.Contains(l.text, r.ID) != mine {
				t.Errorf("the letter to %d shows somebody else, or not its own reader", i)
			}
			if mine {
				checkLetter(t, l.text, &r)
			}
		}
	}
	if len(told) != 5 {
		t.Errorf("%d readers", len(told))
	}
}

func checkLetter(t *testing.T, text string, r *provider.Recipient) {
	t.Helper()
	letter, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"Message-Id": "<" + r.ID + "@acme.example>", smtp.IDHeader: r.ID, "Auto-Submitted": "auto-generated",
		"From": `"Acme, Inc." <notice@acme.example>`, "To": "<" + r.To.Reveal() + ">", "Reply-To": "<help@acme.example>", "Bcc": "", "Cc": "",
	} {
		if got := letter.Header.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if _, err := letter.Header.Date(); err != nil {
		t.Error(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(letter.Header.Get("Subject"))
	if err != nil || subject != "A notice for "+r.Values[0] {
		t.Errorf("subject %q, %v", subject, err)
	}
	kind, params, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s, %v", kind, err)
	}
	parts := multipart.NewReader(letter.Body, params["boundary"])
	for _, want := range []struct{ kind, text string }{
		{"text/plain", "Dear " + r.Values[0] + ",\nyour code is " + r.Values[2] + ".\n.\nAcme\n"},
		{"text/html", "<p>Dear " + r.Values[1] + ", " + r.Values[2] + "</p>"},
	} {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(string(body), "\r\n", "\n"); !strings.HasPrefix(p.Header.Get("Content-Type"), want.kind) || got != want.text {
			t.Errorf("%s: %q, want %q", p.Header.Get("Content-Type"), got, want.text)
		}
	}
}

// What a customer is called cannot make a header.
func TestValuesStayInTheirPlace(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	s := open(t, b.start(t, nil, false))
	m := notice(1)
	m.Recipients[0].Values[0] = "Ana\r\nBcc: all@customer.example\r\n\r\n.\r\nMAIL FROM:<x@y>"
	s.SendEmail(t.Context(), m, soon())
	letter, err := mail.ReadMessage(strings.NewReader(b.letters[0].text))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.letters) != 1 || letter.Header.Get("Bcc") != "" || letter.Header.Get("Auto-Submitted") == "" {
		t.Errorf("%d letters, headers %v", len(b.letters), letter.Header)
	}
}

func FuzzEnhanced(f *testing.F) {
	for _, s := range []string{"5.1.1 no", "5.1.1", "5.1", "5.1.1234 x", "4.1.1 x", "5..1", "", "5.1.1\nx", "5.a.1"} {
		f.Add(550, s)
	}
	f.Fuzz(func(t *testing.T, code int, text string) {
		e := smtp.Enhanced(code, text)
		if strings.Trim(e, "0123456789.") != "" || e != "" && (strings.Count(e, ".") != 2 || !strings.HasPrefix(text, e)) {
			t.Errorf("%d %q: %q", code, text, e)
		}
	})
}
