package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// MaxRetryAfter bounds the wait that a provider may ask for; whoever asks for more is asked again then.
const MaxRetryAfter = 15 * time.Minute

// Failure says what an error from Do or RoundTrip means: NotSent only where it is proven that no byte of the request left.
func (c *Call) Failure(err error) Outcome {
	if !c.seal() {
		return Outcome{Class: Unknown, Reason: ambiguity(err), Skew: c.skew}
	}
	if refused := c.refused.Load(); refused != nil {
		err = *refused
	}
	return Outcome{Class: NotSent, Reason: obstacle(err)}
}

// Skew is the provider's clock minus ours, as far as the answer's Date proves.
func (c *Call) Skew() time.Duration { return c.skew }

func ambiguity(err error) string {
	switch {
	case errors.Is(err, errTooLong):
		return "answer_too_long"
	case timedOut(err):
		return "timeout_after_write"
	case errors.Is(err, context.Canceled):
		return "cancelled_after_write"
	case errors.Is(err, errCut):
		return "answer_cut"
	}
	return "connection_lost_after_write"
}

func obstacle(err error) string {
	var (
		dns     *net.DNSError
		op      *net.OpError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(err, ErrLate):
		return "send_before_passed"
	case errors.Is(err, ErrStalled):
		return "clock_stalled"
	case errors.As(err, &dns):
		return "dns_failed"
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert), errors.As(err, &unknown):
		return "tls_failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case timedOut(err):
		return "timeout_before_write"
	case errors.Is(err, context.Canceled):
		return "cancelled_before_write"
	case errors.As(err, &op) && op.Op == "dial":
		return "dial_failed"
	}
	return "not_written"
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// RetryAfter reads the Retry-After header, in seconds or as a date, and returns 0 to MaxRetryAfter.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	// A number out of range comes back as the largest or smallest.
	if s, err := strconv.ParseInt(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(max(s, 0), int64(MaxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

// httpDate is a Date header that was read.
type httpDate struct {
	text string
	at   time.Time
}

// skew is how far the clock that wrote date, in whole seconds, must have been from ours between sent and received.
func (t *Transport) skew(date string, sent, received time.Time) time.Duration {
	if date == "" {
		return 0
	}
	// The answers of a second share a date.
	last := t.date.Load()
	if last == nil || last.text != date {
		at, err := time.Parse(http.TimeFormat, date)
		if err != nil {
			return 0
		}
		last = &httpDate{text: date, at: at}
		t.date.Store(last)
	}
	at := last.at
	if ahead := at.Sub(received.Round(0)); ahead > 0 {
		return ahead
	}
	return min(at.Add(time.Second).Sub(sent.Round(0)), 0)
}
