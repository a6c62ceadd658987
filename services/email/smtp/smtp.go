// Package smtp sends e-mail through a relay of the organisation's own: one message for each recipient.
//
// In: one Email.   Out: an Outcome for each recipient, with the Message-ID as its id; bounces go to the From address.
// Crash: a relay cannot be asked what it took. A message is committed by its last bytes: until they are written it is certainly
// not sent, from then on it is Unknown until the relay's answer is there. The Message-ID is the attempt's, so that logs show it.
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"candor/pkg/provider"
)

// Sender is a provider.EmailSender.
type Sender struct {
	cfg  Config
	addr string
	tls  *tls.Config // nil where there is none
	now  func() time.Time
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	pool *pool
	// relayed says that the relay has taken a recipient since the start: who is refused by its policy is then one of many.
	relayed atomic.Bool
}

// New makes a Sender that reads both clocks through now. It connects when there is something to send.
func New(cfg Config, now func() time.Time) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	if cfg.Hello == "" {
		name, err := os.Hostname()
		if err != nil || !isHost(name) {
			name = "localhost"
		}
		cfg.Hello = name
	}
	dialer := &net.Dialer{Timeout: cfg.DialTimeout}
	s := &Sender{
		cfg: cfg, addr: net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)), now: now, dial: dialer.DialContext,
		pool: newPool(cfg.Connections, cfg.IdleTimeout),
	}
	if cfg.TLS == None {
		return s, nil
	}
	s.tls = &tls.Config{ServerName: cfg.Host, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(cfg.Connections)}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("smtp: ca: %w", err)
		}
		s.tls.RootCAs = x509.NewCertPool()
		if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("smtp: ca: no certificate in %s: it must be a PEM file", cfg.CA)
		}
	}
	return s, nil
}

// Close ends the idle connections.
func (s *Sender) Close() { s.pool.close() }

// SendEmail hands over a message for each recipient, over as many connections as there are.
func (s *Sender) SendEmail(ctx context.Context, m *provider.Email, sendBefore time.Time) []provider.Outcome {
	out := make([]provider.Outcome, len(m.Recipients))
	if len(out) == 1 {
		out[0] = s.deliver(ctx, m, &m.Recipients[0], sendBefore)
		return out
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(len(out), s.cfg.Connections) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(out); i = int(next.Add(1)) - 1 {
				out[i] = s.deliver(ctx, m, &m.Recipients[i], sendBefore)
			}
		})
	}
	group.Wait()
	return out
}

// letter is one message on its way.
type letter struct {
	from, to string
	id       string // its Message-ID
	text     []byte
	// open carries all that the relay can still forget, commit the last bytes. Both are late at the same moment.
	open, commit *provider.Call
}

// deliver hands over one message.
func (s *Sender) deliver(ctx context.Context, m *provider.Email, r *provider.Recipient, sendBefore time.Time) provider.Outcome {
	l := &letter{open: provider.NewGuardedCall(sendBefore, s.now), commit: provider.NewGuardedCall(sendBefore, s.now)}
	if err := l.open.Late(); err != nil {
		return l.commit.Failure(err)
	}
	if o, ok := l.compose(m, r, s.now()); !ok {
		return o
	}
	if err := s.pool.enter(ctx); err != nil {
		return l.commit.Failure(err)
	}
	defer s.pool.leave()
	if c := s.pool.take(); c != nil {
		if o, again := s.hand(ctx, c, l); !again {
			return o
		}
		// The connection had died while nobody used it, before it was told of the message.
	}
	c, o := s.connect(ctx, l)
	if c == nil {
		return o
	}
	o, _ = s.hand(ctx, c, l)
	return o
}

// hand sends the letter over c, and puts c back if it can be used again. It asks for another connection if this one turned
// out to be dead.
func (s *Sender) hand(ctx context.Context, c *session, l *letter) (o provider.Outcome, again bool) {
	used := c.used
	_ = c.guard.SetDeadline(time.Now().Add(s.cfg.RequestTimeout))
	stop := context.AfterFunc(ctx, c.expire)
	at, err := c.send(l)
	c.guard.Carry(nil)
	stopped := stop()
	if err == nil {
		s.relayed.Store(true)
		if stopped {
			s.pool.put(c)
		} else {
			c.drop()
		}
		return provider.Outcome{Class: provider.Accepted, ID: l.id}, false
	}
	answer, answered := answerOf(err)
	if answered && answer.Code != closing && stopped {
		s.pool.put(c)
	} else {
		c.drop()
	}
	if at > atRecipient {
		s.relayed.Store(true)
	}
	if used && at <= atSender && ctx.Err() == nil && !timedOut(err) && (!answered || answer.Code == closing) && l.open.Late() == nil {
		return provider.Outcome{}, true
	}
	return s.judge(ctx, at, err, l), false
}

// timedOut tells a relay that hangs from one that hung up.
func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
