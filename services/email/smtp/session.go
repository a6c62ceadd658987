package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/wneessen/go-mail/smtp"

	"candor/pkg/provider"
)

// stage is how far a message came.
type stage uint8

const (
	atConnect stage = iota
	atHello
	atTLS
	atSignIn
	atReset
	atSender
	atRecipient
	atData
	atText
)

var (
	errNoTLS     = errors.New("relay offers no STARTTLS")
	errNoSignIn  = errors.New("relay offers no way to sign in that we know")
	errPublic    = errors.New("relay without TLS is on the internet")
	errCancelled = errors.New("connection was cancelled")
)

// session is one connection that is ready for messages. One goroutine has it at a time.
type session struct {
	guard  provider.Guard
	client *gosmtp.Client
	idle   *time.Timer
	used   bool
}

// connect makes a session. No byte of a message leaves here, so whatever happens the message is not sent.
func (s *Sender) connect(ctx context.Context, l *letter) (*session, provider.Outcome) {
	dctx, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	raw, err := s.dial(dctx, "tcp", s.addr)
	cancel()
	if err != nil {
		return nil, s.judge(ctx, atConnect, err, l)
	}
	c := &session{guard: provider.NewGuard(raw)}
	_ = c.guard.SetDeadline(time.Now().Add(s.cfg.DialTimeout))
	stop := context.AfterFunc(ctx, c.expire)
	at, err := s.greet(ctx, c)
	if !stop() && err == nil {
		err = errCancelled
	}
	if err != nil {
		_ = c.guard.Close()
		return nil, s.judge(ctx, at, err, l)
	}
	return c, provider.Outcome{}
}

// greet says hello, encrypts and signs in.
func (s *Sender) greet(ctx context.Context, c *session) (stage, error) {
	if s.tls == nil {
		if peer, err := netip.ParseAddrPort(c.guard.RemoteAddr().String()); err == nil && !private(peer.Addr()) {
			return atConnect, errPublic
		}
	}
	var conn net.Conn = c.guard
	if s.cfg.TLS == TLS {
		t := tls.Client(c.guard, s.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return atTLS, err
		}
		conn = t
	}
	client, err := gosmtp.NewClient(conn, s.cfg.Host)
	if err != nil {
		return atConnect, err
	}
	c.client = client
	client.SkipSMTPUTF8(true)
	if err := client.Hello(s.cfg.Hello); err != nil {
		return atHello, err
	}
	if s.cfg.TLS == StartTLS {
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return atTLS, errNoTLS
		}
		if err := client.StartTLS(s.tls); err != nil {
			return atTLS, err
		}
	}
	if s.cfg.User == "" {
		return atSignIn, nil
	}
	auth := s.auth(client)
	if auth == nil {
		return atSignIn, errNoSignIn
	}
	return atSignIn, client.Auth(auth)
}

// auth picks a way to sign in; the connection is encrypted.
func (s *Sender) auth(client *gosmtp.Client) gosmtp.Auth {
	_, offered := client.Extension("AUTH")
	user, password := s.cfg.User, s.cfg.Password.Reveal()
	for _, way := range []struct {
		name string
		auth func() gosmtp.Auth
	}{
		{"SCRAM-SHA-256", func() gosmtp.Auth { return gosmtp.ScramSHA256Auth(user, password) }},
		{"PLAIN", func() gosmtp.Auth { return gosmtp.PlainAuth("", user, password, s.cfg.Host, false) }},
		{"LOGIN", func() gosmtp.Auth { return gosmtp.LoginAuth(user, password, s.cfg.Host, false) }},
	} {
		for mechanism := range strings.FieldsSeq(offered) {
			if strings.EqualFold(mechanism, way.name) {
				return way.auth()
			}
		}
	}
	return nil
}

// send hands over one letter and returns where it failed, if it did.
func (c *session) send(l *letter) (stage, error) {
	c.guard.Carry(l.open)
	if c.used { // it also shows whether the connection still lives
		if err := c.client.Reset(); err != nil {
			return atReset, err
		}
	}
	c.used = true
	if err := c.client.Mail("<" + l.from + ">"); err != nil {
		return atSender, err
	}
	if err := c.client.Rcpt("<" + l.to + ">"); err != nil {
		return atRecipient, err
	}
	// Not the client's own Data: its writer hides that the end could not be written, and waits for an answer to it.
	text := c.client.Text
	if err := text.PrintfLine("DATA"); err != nil {
		return atData, err
	}
	if _, _, err := text.ReadResponse(goAhead); err != nil {
		return atData, err
	}
	w := text.DotWriter()
	if _, err := w.Write(l.text); err != nil {
		return atData, err
	}
	// Both clocks are asked once more when the last bytes are written. A crash before that sends nothing. A crash after it is
	// found as an intent without outcome.
	c.guard.Carry(l.commit)
	if err := w.Close(); err != nil {
		return atText, err
	}
	_, _, err := text.ReadResponse(accepted)
	return atText, err
}

// What the relay says to DATA, and when it has taken the message; nothing else will do.
const (
	goAhead  = 354
	accepted = 250
)

// expire makes whatever waits on the connection return.
func (c *session) expire() { _ = c.guard.SetDeadline(time.Unix(1, 0)) }

func (c *session) drop() { _ = c.guard.Close() }

// farewell bounds the leave-taking.
const farewell = time.Second

// quit takes its leave.
func (c *session) quit() {
	_ = c.guard.SetDeadline(time.Now().Add(farewell))
	_ = c.client.Quit()
	c.drop()
}

// pool bounds the connections, and keeps those that are not in use for a while.
type pool struct {
	places chan struct{}
	keep   time.Duration

	mu     sync.Mutex
	idle   []*session // last used last
	closed bool
}

func newPool(size int, keep time.Duration) *pool {
	return &pool{places: make(chan struct{}, size), keep: keep}
}

// enter waits for a place.
func (p *pool) enter(ctx context.Context) error {
	select {
	case p.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pool) leave() { <-p.places }

// take returns the connection that was used last, nil if none is left.
func (p *pool) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		if c.idle.Stop() { // otherwise its time is over
			return c
		}
	}
	return nil
}

func (p *pool) put(c *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.drop()
		return
	}
	c.idle = time.AfterFunc(p.keep, c.quit)
	p.idle = append(p.idle, c)
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		if c.idle.Stop() {
			c.quit()
		}
	}
}
