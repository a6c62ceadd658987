package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	maxAnswerBytes = 8 << 20 // a list page of 1,000 messages is about 1 MB
	maxErrorBytes  = 64 << 10
	// defaultErrorGrace is how long the body of an answer may take whose status has already decided: in a storm of 429s with a
	// late tail each one would otherwise hold its connection until the request times out.
	defaultErrorGrace = 3 * time.Second
)

var (
	errCut     = errors.New("answer ended early")
	errTooLong = errors.New("answer is too long")
)

// Call is one request and what became of it. Use it once.
type Call struct {
	t          *Transport
	sendBefore time.Time
	trace      httptrace.ClientTrace
	conn       *conn // set by gotConn, before the request can reach it
	reused     bool
	skew       time.Duration
	progress   atomic.Uint32
	refused    atomic.Pointer[error] // why conn.Write refused; set by the write loop, read after it ended
}

// NewCall begins a request that may not be written after sendBefore; the zero time sets no limit (only for reading).
func (t *Transport) NewCall(sendBefore time.Time) *Call {
	c := &Call{t: t, sendBefore: sendBefore}
	c.trace.GotConn = c.gotConn
	return c
}

// Answer is a provider's whole answer; nothing of it is still on the wire.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // of an error, as much as came in time
}

// Do sends template, with body in place of its own, and reads the whole answer. It does not change template, follows no
// redirect, and never repeats a request of which a byte may have left. After an error ask Failure what may have happened.
func (c *Call) Do(ctx context.Context, template *http.Request, body []byte) (*Answer, error) {
	var rewind func() io.ReadCloser
	if body != nil {
		rewind = func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
	}
	resp, answer, err := c.do(ctx, template, int64(len(body)), rewind) //nolint:bodyclose // do has read and closed it
	if err != nil {
		return nil, err
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: answer}, nil
}

// RoundTrip lets an http.Client carry the Call. The answer's body is a buffer.
func (c *Call) RoundTrip(r *http.Request) (*http.Response, error) {
	var rewind func() io.ReadCloser
	if r.Body != nil && r.Body != http.NoBody {
		first := r.Body
		rewind = func() io.ReadCloser {
			if b := first; b != nil {
				first = nil
				return b
			}
			if r.GetBody == nil {
				return nil
			}
			b, err := r.GetBody()
			if err != nil {
				return nil
			}
			return b
		}
	}
	resp, answer, err := c.do(r.Context(), r, r.ContentLength, rewind)
	if err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding = io.NopCloser(bytes.NewReader(answer)), int64(len(answer)), nil
	return resp, nil
}

func (c *Call) do(ctx context.Context, template *http.Request, length int64, rewind func() io.ReadCloser) (*http.Response, []byte, error) {
	started := c.t.now()
	if !c.sendBefore.IsZero() {
		if _, err := timeLeft(started, c.sendBefore); err != nil {
			c.refused.Store(&err)
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(ctx, &c.trace), c.t.requestTimeout)
	defer cancel()
	for {
		r := template.WithContext(ctx)
		// Without GetBody net/http repeats nothing by itself; what it may repeat, the loop does.
		r.GetBody, r.Body, r.ContentLength = nil, nil, length
		if rewind != nil {
			if r.Body = rewind(); r.Body == nil {
				return nil, nil, errors.New("body cannot be read again")
			}
		}
		resp, err := c.t.http.RoundTrip(r)
		if err == nil {
			body, err := c.read(resp, cancel)
			c.release()
			c.skew = c.t.skew(resp.Header.Get("Date"), started, c.t.now())
			return resp, body, err
		}
		if !c.idleConnDied(ctx) {
			return nil, nil, err
		}
	}
}

// idleConnDied reports whether the request met a connection that the provider had just closed, without one byte leaving.
// Each such connection is used up, so trying again ends with a fresh one at the latest.
func (c *Call) idleConnDied(ctx context.Context) bool {
	if !c.reused || c.refused.Load() != nil || ctx.Err() != nil {
		return false
	}
	p := c.progress.Load()
	if p != untouched && p != empty {
		return false
	}
	c.conn, c.reused = nil, false
	return true
}

func (c *Call) gotConn(info httptrace.GotConnInfo) {
	nc := info.Conn
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c.conn, c.reused = nc.(*conn), info.Reused
	c.conn.call.Store(c)
}

// release lets later bytes on the connection, such as TLS's own, pass without asking this Call.
func (c *Call) release() {
	if c.conn != nil {
		c.conn.call.CompareAndSwap(c, nil)
	}
}

// seal ends the Call and reports whether it is proven that no byte of it left, nor will.
func (c *Call) seal() bool {
	return c.progress.CompareAndSwap(untouched, sealed) || c.progress.CompareAndSwap(empty, sealed) || c.progress.Load() == sealed
}

func (c *Call) read(resp *http.Response, cancel func()) ([]byte, error) {
	defer resp.Body.Close()
	decided := resp.StatusCode >= 300
	limit := maxAnswerBytes
	if decided {
		limit = maxErrorBytes
		defer time.AfterFunc(c.t.errorGrace, cancel).Stop()
	}
	size := int64(512)
	if resp.ContentLength >= 0 {
		size = min(resp.ContentLength, int64(limit)) + 1
	}
	b := make([]byte, 0, size)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := resp.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case decided && (err != nil || len(b) > limit):
			return b[:min(len(b), limit)], nil
		case len(b) > limit:
			return nil, errTooLong
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, errors.Join(errCut, err)
		}
	}
}
