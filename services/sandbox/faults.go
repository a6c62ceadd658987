package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Faults says how often a provider misbehaves, and how.
type Faults struct {
	Seed  uint64 `json:"seed"  yaml:"seed"` // the same seed and the same order of requests make the same faults
	SMS   Rates  `json:"sms"   yaml:"sms"`
	Email Rates  `json:"email" yaml:"email"`
}

// Rates are the shares of requests, from 0 to 1, that meet a fault of each kind. Together they are at most 1.
type Rates struct {
	RateLimited     float64 `json:"rate_limited"      yaml:"rate_limited"`      // 429 with Retry-After; nothing was taken
	ServerError     float64 `json:"server_error"      yaml:"server_error"`      // 500 or 503 with an HTML page; nothing was taken
	ServerErrorKept float64 `json:"server_error_kept" yaml:"server_error_kept"` // the same, and the messages were taken
	AnswerLost      float64 `json:"answer_lost"       yaml:"answer_lost"`       // taken, and the connection closed without an answer
	Reset           float64 `json:"reset"             yaml:"reset"`             // the connection reset before anything was taken
	Slow            float64 `json:"slow"              yaml:"slow"`              // taken, and answered after SlowFor and up to half as much again
	Redirect        float64 `json:"redirect"          yaml:"redirect"`          // 307; nothing was taken
	NoID            float64 `json:"no_id"             yaml:"no_id"`             // taken; 201 without sid, 202 without X-Message-Id
	LateTail        float64 `json:"late_tail"         yaml:"late_tail"`         // 429 whose chunked body ends SlowFor later; nothing was taken
	Stall           float64 `json:"stall"             yaml:"stall"`             // never answered; nothing was taken
	StallKept       float64 `json:"stall_kept"        yaml:"stall_kept"`        // never answered; taken

	RetryAfter Duration `json:"retry_after" yaml:"retry_after"` // in the 429s, in whole seconds; default 1s
	SlowFor    Duration `json:"slow_for"    yaml:"slow_for"`    // default 2s
}

// Duration is a time.Duration that is written "1.5s" in JSON and YAML alike.
type Duration time.Duration

// MarshalText writes the duration as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration such as "1.5s".
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is no duration, write it as in 1.5s", b)
	}
	*d = Duration(v)
	return nil
}

// faultKind is a way to misbehave.
type faultKind uint8

const (
	faultNone faultKind = iota
	faultRateLimited
	faultServerError
	faultServerErrorKept
	faultAnswerLost
	faultReset
	faultSlow
	faultRedirect
	faultNoID
	faultLateTail
	faultStall
	faultStallKept
	faultKinds
)

// rate returns the share of a kind.
func (r *Rates) rate(k faultKind) *float64 {
	return [faultKinds]*float64{
		faultRateLimited: &r.RateLimited, faultServerError: &r.ServerError, faultServerErrorKept: &r.ServerErrorKept,
		faultAnswerLost: &r.AnswerLost, faultReset: &r.Reset, faultSlow: &r.Slow, faultRedirect: &r.Redirect, faultNoID: &r.NoID,
		faultLateTail: &r.LateTail, faultStall: &r.Stall, faultStallKept: &r.StallKept,
	}[k]
}

func (k faultKind) String() string {
	return [faultKinds]string{
		"none", "rate_limited", "server_error", "server_error_kept", "answer_lost", "reset", "slow", "redirect", "no_id",
		"late_tail", "stall", "stall_kept",
	}[k]
}

// code is what a refusal is counted as.
func (k faultKind) code() string { return "fault:" + k.String() }

// Validate reports every rate that is none.
func (f Faults) Validate() error {
	var errs []error
	for _, c := range []struct {
		name  string
		rates Rates
	}{{"sms", f.SMS}, {"email", f.Email}} {
		sum := 0.0
		for k := faultNone + 1; k < faultKinds; k++ {
			rate := *c.rates.rate(k)
			if !(rate >= 0 && rate <= 1) { // NaN too
				errs = append(errs, fmt.Errorf("faults: %s.%s is %v, give a share from 0 to 1", c.name, k, rate))
			}
			sum += rate
		}
		if sum > 1+1e-9 {
			errs = append(errs, fmt.Errorf("faults: the shares of %s sum up to %v, keep them to 1 together", c.name, sum))
		}
		if c.rates.RetryAfter < 0 || c.rates.SlowFor < 0 {
			errs = append(errs, fmt.Errorf("faults: %s.retry_after and slow_for cannot be negative", c.name))
		}
	}
	return errors.Join(errs...)
}

type channel uint8

const (
	channelSMS channel = iota
	channelEmail
	channels
)

// dice decides which request meets a fault. Without any it costs one load.
type dice struct {
	plan  atomic.Pointer[Faults]
	drawn [channels]atomic.Uint64
}

// fault is what a request meets.
type fault struct {
	kind  faultKind
	luck  float64 // a second throw, for what the kind leaves open
	rates *Rates
}

func (d *dice) set(f Faults) {
	for _, r := range []*Rates{&f.SMS, &f.Email} {
		if r.RetryAfter == 0 {
			r.RetryAfter = Duration(time.Second)
		}
		if r.SlowFor == 0 {
			r.SlowFor = Duration(2 * time.Second)
		}
	}
	d.plan.Store(&f)
}

func (d *dice) draw(c channel) fault {
	f := d.plan.Load()
	rates := &f.SMS
	if c == channelEmail {
		rates = &f.Email
	}
	if *rates == (Rates{RetryAfter: rates.RetryAfter, SlowFor: rates.SlowFor}) {
		return fault{rates: rates}
	}
	x := mix(f.Seed ^ mix(d.drawn[c].Add(1)<<1|uint64(c)))
	throw := unit(x)
	for k := faultNone + 1; k < faultKinds; k++ {
		if throw -= *rates.rate(k); throw < 0 {
			return fault{kind: k, luck: unit(mix(x)), rates: rates}
		}
	}
	return fault{rates: rates}
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// spares reports whether the fault ends the request before anything is taken.
func (f fault) spares() bool {
	switch f.kind {
	case faultRateLimited, faultServerError, faultReset, faultRedirect, faultLateTail, faultStall:
		return true
	default:
		return false
	}
}

// spare carries out a fault before anything is taken. busy is the body of a 429.
func (s *Sandbox) spare(w http.ResponseWriter, req *http.Request, f fault, busy string) {
	retryAfter := strconv.Itoa(int((time.Duration(f.rates.RetryAfter) + time.Second - 1) / time.Second))
	switch f.kind {
	case faultRateLimited:
		w.Header().Set("Retry-After", retryAfter)
		writeJSON(w, http.StatusTooManyRequests, []byte(busy))
	case faultServerError:
		serverError(w, f)
	case faultReset:
		hangUp(w, true)
	case faultRedirect:
		w.Header().Set("Location", req.URL.Path)
		writeJSON(w, http.StatusTemporaryRedirect, []byte("{}"))
	case faultLateTail:
		w.Header().Set("Retry-After", retryAfter)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(busy)) // who has gone needs no answer
		_ = http.NewResponseController(w).Flush()
		s.wait(req, time.Duration(f.rates.SlowFor))
		_, _ = w.Write([]byte("\n"))
	case faultStall:
		s.stall(w, req)
	default:
	}
}

// spoil carries out a fault after the messages were taken, and reports whether that was the answer.
func (s *Sandbox) spoil(w http.ResponseWriter, req *http.Request, f fault) bool {
	switch f.kind {
	case faultServerErrorKept:
		serverError(w, f)
	case faultAnswerLost:
		hangUp(w, false)
	case faultStallKept:
		s.stall(w, req)
	default:
		return false
	}
	return true
}

// delay is the provider's own time, and what a fault adds to it.
func (s *Sandbox) delay(req *http.Request, f fault, latency time.Duration) {
	if f.kind == faultSlow {
		latency += time.Duration(float64(f.rates.SlowFor) * (1 + f.luck/2))
	}
	s.wait(req, latency)
}

// wait returns after d, or when nobody waits for the answer any more.
func (s *Sandbox) wait(req *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	if d <= 100*time.Millisecond { // so short that it need not be broken off, and this is cheaper
		time.Sleep(d)
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-req.Context().Done():
	case <-s.stopping:
	}
}

// stall keeps a request without an answer until its sender gives up.
func (s *Sandbox) stall(w http.ResponseWriter, req *http.Request) {
	select {
	case <-req.Context().Done():
	case <-s.stopping:
	}
	hangUp(w, true)
}

func serverError(w http.ResponseWriter, f fault) {
	if f.luck < 0.5 {
		writeNginx(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	writeNginx(w, http.StatusServiceUnavailable, "Service Temporarily Unavailable")
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 has no connection to take over; this ends the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // then Close sends RST
	}
	_ = conn.Close() // nobody is left to be told
}

func writeNginx(w http.ResponseWriter, status int, text string) {
	title := strconv.Itoa(status) + " " + text
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", title, title)
}

// stopOn ends what waits when ctx ends.
func (s *Sandbox) stopOn(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { close(s.stopping) })
}
