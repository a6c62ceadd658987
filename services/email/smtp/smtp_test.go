package smtp_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candor/pkg/config"
	"candor/pkg/provider"
	"candor/services/email/smtp"
)

const id0 = "bm90aWNl0.1.bWFj@acme.example"

func TestAnswers(t *testing.T) {
	t.Parallel()
	taken := provider.Outcome{Class: provider.Accepted, ID: id0}
	is := func(c provider.Class, reason string) provider.Outcome {
		return provider.Outcome{Class: c, Reason: reason}
	}
	later := func(reason string) provider.Outcome {
		return provider.Outcome{Class: provider.NotSent, Reason: reason, RetryAfter: time.Minute}
	}
	for _, tt := range []struct {
		name, verb, answer string
		want               provider.Outcome
	}{
		{"taken", ".", "", taken},
		{"taken, and no more", ".", "250 2.0.0 Ok: queued as 4F1", taken},
		{"greeting: later", "greeting", "421 4.3.2 too many connections", later("smtp_connect_421_4_3_2")},
		{"greeting: never", "greeting", "554 5.7.1 no SMTP service for you", is(provider.Misconfigured, "smtp_connect_554_5_7_1")},
		{"hello: later", "EHLO", "421 4.3.0 shutting down", is(provider.NotSent, "smtp_hello_421_4_3_0")},
		{"sender: later", "MAIL", "452 4.3.1 Insufficient system storage", later("smtp_mail_452_4_3_1")},
		{"sender: refused", "MAIL", "550 5.1.8 <notice@acme.example>: Sender address rejected", is(provider.Misconfigured, "smtp_mail_550_5_1_8")},
		{"sender: must sign in", "MAIL", "530 5.7.0 Authentication required", is(provider.Misconfigured, "smtp_mail_530_5_7_0")},
		{"recipient: greylisted", "RCPT", "450 4.7.1 <ana0@customer.example>: Greylisted", later("smtp_450_4_7_1")},
		{"recipient: unknown", "RCPT", "550 5.1.1 <ana0@customer.example>: User unknown", is(provider.BadAddress, "smtp_550_5_1_1")},
		{"recipient: unknown, in old words", "RCPT", "550 No such user ana0@customer.example", is(provider.BadAddress, "smtp_550")},
		{"recipient: elsewhere", "RCPT", "551 5.1.6 moved", is(provider.BadAddress, "smtp_551_5_1_6")},
		{"recipient: not allowed", "RCPT", "553 5.1.3 bad syntax", is(provider.BadAddress, "smtp_553_5_1_3")},
		{"recipient: full", "RCPT", "552 5.2.2 mailbox full", is(provider.Refused, "smtp_552_5_2_2")},
		{"recipient: refused", "RCPT", "554 5.2.1 no", is(provider.Refused, "smtp_554_5_2_1")},
		{"recipient: must sign in", "RCPT", "530 5.7.1 no", is(provider.Misconfigured, "smtp_530_5_7_1")},
		{"recipient: the relay does not relay", "RCPT", "554 5.7.1 <ana0@customer.example>: Relay access denied", is(provider.Misconfigured, "smtp_554_5_7_1")},
		{"recipient: many lines", "RCPT", "550-5.1.1 The account ana0@customer.example\r\n550 5.1.1 does not exist", is(provider.BadAddress, "smtp_550_5_1_1")},
		{"data: later", "DATA", "451 4.3.0 milter", later("smtp_data_451_4_3_0")},
		{"data: no", "DATA", "554 5.5.1 no valid recipients", is(provider.Refused, "smtp_data_554_5_5_1")},
		{"data: out of turn", "DATA", "503 5.5.1 bad sequence", is(provider.Misconfigured, "smtp_data_503_5_5_1")},
		{"data: nonsense", "DATA", "250 ok", is(provider.NotSent, "smtp_data_lost")},
		{"text: later", ".", "451 4.7.1 try again", later("smtp_text_451_4_7_1")},
		{"text: shutting down", ".", "421 4.3.0 bye", later("smtp_text_421_4_3_0")},
		{"text: refused", ".", "554 5.7.1 <ana0@customer.example> spam", is(provider.Refused, "smtp_text_554_5_7_1")},
		{"text: too large", ".", "552 5.3.4 too big", is(provider.Defect, "smtp_text_552_5_3_4")},
		{"text: another success", ".", "251 forwarded", is(provider.Unknown, "connection_lost_after_write")},
		{"text: nonsense", ".", "ana0@customer.example", is(provider.Unknown, "connection_lost_after_write")},
		{"cut at the greeting", "greeting", cut, is(provider.NotSent, "smtp_connect_lost")},
		{"cut at hello", "EHLO", cut, is(provider.NotSent, "smtp_hello_lost")},
		{"cut at the sender", "MAIL", cut, is(provider.NotSent, "smtp_mail_lost")},
		{"cut at the recipient", "RCPT", cut, is(provider.NotSent, "smtp_lost")},
		{"cut at data", "DATA", cut, is(provider.NotSent, "smtp_data_lost")},
		{"cut after the end", ".", cut, is(provider.Unknown, "connection_lost_after_write")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t, at(tt.verb, tt.answer))
			got := send(t, open(t, r.addr))
			if tt.want.RetryAfter == 0 {
				got.RetryAfter = 0
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if strings.Contains(fmt.Sprintf("%+v", got), "ana0") {
				t.Error("the outcome names the customer")
			}
		})
	}
}

// Nothing is delivered of a text that the relay has not read to its end.
func TestCutWithinTheText(t *testing.T) {
	t.Parallel()
	r := newRelay(t, at("text", cut))
	m := notice(1)
	m.Text = strings.Repeat("A long line that goes on and on.\n", 1<<18) // more than the sockets hold
	if got := open(t, r.addr).SendEmail(t.Context(), m, soon())[0]; got.Class != provider.NotSent {
		t.Errorf("got %+v, want not sent", got)
	}
}

func TestHangs(t *testing.T) {
	t.Parallel()
	for verb, want := range map[string]provider.Outcome{
		"greeting": {Class: provider.NotSent, Reason: "timeout_before_write"},
		"MAIL":     {Class: provider.NotSent, Reason: "timeout_before_write"},
		"DATA":     {Class: provider.NotSent, Reason: "timeout_before_write"},
		".":        {Class: provider.Unknown, Reason: "timeout_after_write"},
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			for timeout := 200 * time.Millisecond; ; timeout *= 4 {
				r := newRelay(t, at(verb, hang))
				got := send(t, open(t, r.addr, func(c *smtp.Config) { c.RequestTimeout, c.DialTimeout = timeout, timeout }))
				if verb == "." && r.taken() == 0 && got.Class == provider.NotSent && timeout < time.Minute {
					continue // a busy machine did not get that far
				}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				return
			}
		})
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	t.Parallel()
	r := newRelay(t, nil)
	s := open(t, r.addr)
	for range 3 {
		if got := send(t, s); got.Class != provider.Accepted {
			t.Fatalf("got %+v", got)
		}
	}
	if n := r.connections(); n != 1 {
		t.Errorf("%d connections for three messages in a row, want 1", n)
	}
	if verbs := r.heard(); verbs != "EHLO MAIL RCPT DATA RSET MAIL RCPT DATA RSET MAIL RCPT DATA" {
		t.Errorf("the relay heard %s", verbs)
	}
}

func TestRefusalLeavesTheConnectionUsable(t *testing.T) {
	t.Parallel()
	var first atomic.Bool
	first.Store(true)
	r := newRelay(t, func(_ int, verb string) string {
		if verb == "RCPT" && first.Swap(false) {
			return "550 5.1.1 no"
		}
		return ""
	})
	s := open(t, r.addr)
	if got := send(t, s); got.Class != provider.BadAddress {
		t.Fatalf("got %+v", got)
	}
	if got := send(t, s); got.Class != provider.Accepted || r.connections() != 1 {
		t.Errorf("got %+v over %d connections", got, r.connections())
	}
}

// A connection that died after a message was taken changes nothing about that message, and the next one goes over another.
func TestDeadConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]string{"reset": cut, "421": "421 4.4.2 idle for too long"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t, at("RSET", say))
			s := open(t, r.addr)
			for range 2 {
				if got := send(t, s); got != (provider.Outcome{Class: provider.Accepted, ID: id0}) {
					t.Fatalf("got %+v", got)
				}
			}
			if r.connections() != 2 || r.taken() != 2 {
				t.Errorf("%d messages over %d connections, want 2 over 2", r.taken(), r.connections())
			}
		})
	}
}

func TestIdleConnectionIsGivenBack(t *testing.T) {
	t.Parallel()
	r := newRelay(t, nil)
	s := open(t, r.addr, func(c *smtp.Config) { c.IdleTimeout = time.Millisecond })
	send(t, s)
	r.await(func() bool { return len(r.verbs) > 0 && r.verbs[len(r.verbs)-1] == "QUIT" })
	if got := send(t, s); got.Class != provider.Accepted || r.connections() != 2 {
		t.Errorf("got %+v over %d connections, want another one", got, r.connections())
	}
}

func TestNeverMoreConnectionsThanAllowed(t *testing.T) {
	t.Parallel()
	r := newRelay(t, nil)
	s := open(t, r.addr, func(c *smtp.Config) { c.Connections = 3 })
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i, o := range s.SendEmail(t.Context(), notice(20), soon()) {
				if o.Class != provider.Accepted || o.ID != fmt.Sprintf("bm90aWNl%d.1.bWFj@acme.example", i) {
					t.Errorf("recipient %d: %+v", i, o)
				}
			}
		})
	}
	group.Wait()
	if r.connections() > 3 || r.taken() != 80 {
		t.Errorf("%d messages over %d connections, want 80 over at most 3", r.taken(), r.connections())
	}
}

// Its time runs out while it waits for the one connection.
func TestSendBeforePassesWhileWaiting(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	r := newRelay(t, func(_ int, verb string) string {
		if verb == "." {
			<-release
		}
		return ""
	})
	var late atomic.Bool
	now := func() time.Time {
		if late.Load() {
			return time.Now().Add(time.Hour)
		}
		return time.Now()
	}
	s := openAt(t, r.addr, now, func(c *smtp.Config) { c.Connections = 1 })
	var group sync.WaitGroup
	group.Go(func() {
		if got := send(t, s); got.Class != provider.Accepted {
			t.Errorf("the one in front: %+v", got)
		}
	})
	r.await(func() bool { return len(r.letters) == 1 })
	waiting := make(chan provider.Outcome)
	entered := make(chan struct{})
	var once sync.Once
	group.Go(func() {
		ctx := watched{t.Context(), func() { once.Do(func() { close(entered) }) }}
		waiting <- s.SendEmail(ctx, notice(1), soon())[0]
	})
	<-entered // it waits for a place
	late.Store(true)
	close(release)
	if got := <-waiting; got.Class != provider.NotSent || got.Reason != "send_before_passed" {
		t.Errorf("got %+v", got)
	}
	group.Wait()
	if n := r.taken(); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
}

// Once its time is over the relay hears nothing more of a message, at whatever stage.
func TestNothingIsSaidTooLate(t *testing.T) {
	t.Parallel()
	for stage, heard := range map[string]string{"greeting": "EHLO", "EHLO": "EHLO", "MAIL": "EHLO MAIL", "RCPT": "EHLO MAIL RCPT", "DATA": "EHLO MAIL RCPT DATA"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			var late atomic.Bool
			r := newRelay(t, func(_ int, verb string) string {
				if verb == stage {
					late.Store(true)
				}
				return ""
			})
			now := func() time.Time {
				if late.Load() {
					return time.Now().Add(time.Hour)
				}
				return time.Now()
			}
			got := send(t, openAt(t, r.addr, now))
			if got.Class != provider.NotSent || got.Reason != "send_before_passed" {
				t.Errorf("got %+v", got)
			}
			if verbs := r.heard(); verbs != heard || r.taken() != 0 {
				t.Errorf("the relay heard %s, want %s", verbs, heard)
			}
		})
	}
}

// watched tells when somebody waits for the context.
type watched struct {
	context.Context
	asked func()
}

func (w watched) Done() <-chan struct{} { w.asked(); return w.Context.Done() }

func TestRelayThatRelaysRefusesOneByPolicy(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r := newRelay(t, func(_ int, verb string) string {
		if verb == "RCPT" && n.Add(1) > 1 {
			return "554 5.7.1 not to them"
		}
		return ""
	})
	s := open(t, r.addr)
	send(t, s)
	if got := send(t, s); got.Class != provider.Refused || got.Reason != "smtp_554_5_7_1" {
		t.Errorf("got %+v", got)
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := newRelay(t, nil)
	s := open(t, r.addr)
	for name, tt := range map[string]struct {
		change func(*provider.Email)
		want   provider.Outcome
	}{
		"misaligned": {func(m *provider.Email) { m.Vars = m.Vars[1:] }, provider.Outcome{Class: provider.Defect, Reason: "values_misaligned"}},
		"sender":     {func(m *provider.Email) { m.From = "x>\r\nRCPT TO:<y" }, provider.Outcome{Class: provider.Misconfigured, Reason: "invalid_sender"}},
	} {
		m := notice(1)
		tt.change(m)
		if got := s.SendEmail(t.Context(), m, soon())[0]; got != tt.want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if n := r.connections(); n != 0 {
		t.Errorf("%d connections for what cannot be sent", n)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := smtp.DefaultConfig()
	good.Host = "relay.acme.example"
	for _, tt := range []struct {
		name   string
		change func(*smtp.Config)
		want   []string // none means valid
	}{
		{"good", func(*smtp.Config) {}, nil},
		{"signed in", func(c *smtp.Config) { c.User, c.Password = "candor", "hunter2" }, nil},
		{"private", func(c *smtp.Config) { c.Host, c.TLS = "10.1.2.3", smtp.None }, nil},
		{"loopback", func(c *smtp.Config) { c.Host, c.TLS = "::1", smtp.None }, nil},
		{"name without tls", func(c *smtp.Config) { c.TLS = smtp.None }, nil}, // found out when it is dialled
		{"public without tls", func(c *smtp.Config) { c.Host, c.TLS = "192.0.2.1", smtp.None }, []string{"public"}},
		{"password in clear", func(c *smtp.Config) { c.TLS, c.User, c.Password = smtp.None, "candor", "hunter2" }, []string{"in clear"}},
		{"user alone", func(c *smtp.Config) { c.User = "candor" }, []string{"belong together"}},
		{"url", func(c *smtp.Config) { c.Host = "smtp://relay:25" }, []string{"host"}},
		{"everything", func(c *smtp.Config) { *c = smtp.Config{Hello: "a b"} }, []string{
			"host", "port", "tls", "hello", "connections", "dial_timeout", "request_timeout", "idle_timeout",
		}},
	} {
		c := good
		tt.change(&c)
		err := c.Validate()
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, w := range tt.want {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not named in %v", tt.name, w, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is shown", tt.name)
		}
	}
	c := good
	c.Password = config.Secret("hunter2")
	if s := fmt.Sprintf("%+v", c); strings.Contains(s, "hunter2") {
		t.Error("the password is printed")
	}
	c = good
	c.CA = "no-such-file.pem"
	if _, err := smtp.New(c, time.Now); err == nil || !strings.Contains(err.Error(), "ca") {
		t.Errorf("a missing ca: %v", err)
	}
}

// A name that turns out to be on the internet gets nothing in clear.
func TestPublicRelayWithoutTLS(t *testing.T) {
	t.Parallel()
	r := newRelay(t, nil)
	s := open(t, r.addr)
	smtp.SetDial(s, func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, r.addr)
		return public{c}, err
	})
	if got := send(t, s); got.Class != provider.Misconfigured || got.Reason != "smtp_public_without_tls" {
		t.Errorf("got %+v", got)
	}
	if r.taken() != 0 {
		t.Error("it was sent")
	}
}

type public struct{ net.Conn }

func (public) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }
