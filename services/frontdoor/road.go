package frontdoor

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// How many requests of a road are worked off at a time, once they have come in whole and are known to be signed; more are
// turned away, so that memory has an end.
const (
	twilioInHand   = 2048
	inboundInHand  = 128
	sendGridInHand = 32
)

// Whoever connects can send half a request, without any secret, and must not keep out a customer's STOP with it. So what is
// still coming in has bounds of its own: a large number, a short time (in body.go) and memory.
const (
	requestsAtOnce = 4096     // of a road
	firstPiece     = 4 << 10  // of a body, which hardly a text is longer than; it is not counted in the bytes below
	textBytes      = 32 << 20 // of all bodies of a road of texts beyond their first piece
	mailBytes      = 64 << 20 // the same of e-mails' events, of which many come at once
)

// saidEvery is how often a road says that it turns requests away.
const saidEvery = time.Minute

// road is one of the front door's paths.
type road struct {
	name                    string
	count                   func(verdict)
	now                     func() time.Time
	log                     zerolog.Logger
	slots                   chan struct{}
	mostRequests, mostBytes int64
	requests, bytes         atomic.Int64

	mu         sync.Mutex
	said       [verdicts]time.Time
	turnedAway [verdicts]int // since then
}

func (f *Frontdoor) newRoad(name string, inHand int, mostBytes int64) *road {
	return &road{
		name: name, count: f.metrics.road(name), now: f.Clock.Machine, log: f.Log, slots: make(chan struct{}, inHand),
		mostRequests: requestsAtOnce, mostBytes: mostBytes,
	}
}

// visit is one request on a road. It is used by one goroutine.
type visit struct {
	*road
	bytes  int64
	inHand bool
}

// grow makes room for so many bytes more of the body beyond its first piece; false if there is none.
func (v *visit) grow(n int) bool {
	if v.road.bytes.Add(int64(n)) > v.mostBytes {
		v.road.bytes.Add(int64(-n))
		return false
	}
	v.bytes += int64(n)
	return true
}

// begin takes one of the road's slots for a request that has come in whole and is signed; false if all are taken.
func (v *visit) begin() bool {
	select {
	case v.slots <- struct{}{}:
		v.inHand = true
	default:
	}
	return v.inHand
}

func (v *visit) end() {
	if v.inHand {
		<-v.slots
	}
	v.road.bytes.Add(-v.bytes)
	v.requests.Add(-1)
}

// handle counts what becomes of a road's requests, and bounds how many are coming in.
func (rd *road) handle(open bool, h func(http.ResponseWriter, *http.Request, *visit) verdict) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := closed
		if open {
			v = rd.visit(w, r, h)
		}
		rd.count(v)
		rd.complain(v)
		refuse(w, v)
	})
}

func (rd *road) visit(w http.ResponseWriter, r *http.Request, h func(http.ResponseWriter, *http.Request, *visit) verdict) verdict {
	v := &visit{road: rd}
	defer v.end()
	if rd.requests.Add(1) > rd.mostRequests {
		return crowded
	}
	return h(w, r, v)
}

// complain says once in a while that requests are turned away which may have been honest. A provider repeats them, but not
// for ever.
func (rd *road) complain(v verdict) {
	remedy := ""
	switch v {
	case crowded, tooSlow:
		remedy = "requests come in too slowly, or too many at once: let the proxy in front read a request whole before it passes it on"
	case busy:
		remedy = "more signed requests come in at once than can be worked off: run another front door"
	default:
		return
	}
	rd.mu.Lock()
	rd.turnedAway[v]++
	now, n := rd.now(), rd.turnedAway[v]
	say := rd.said[v].IsZero() || now.Sub(rd.said[v]) >= saidEvery
	if say {
		rd.said[v], rd.turnedAway[v] = now, 0
	}
	rd.mu.Unlock()
	if say {
		rd.log.Warn().Str("road", rd.name).Stringer("verdict", v).Int("requests", n).Str("remedy", remedy).Msg("front door turns requests away")
	}
}

// refuse answers for every verdict whose handler has not answered itself.
func refuse(w http.ResponseWriter, v verdict) {
	code := v.status()
	if code == 0 {
		return
	}
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	// The words are fixed: nothing of the request comes back.
	http.Error(w, strings.ToLower(http.StatusText(code)), code)
}
