package frontdoor

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// The names of the roads in metrics.
const (
	roadStatus   = "twilio_status"
	roadInbound  = "twilio_inbound"
	roadSendGrid = "sendgrid"
)

// verdict is what became of a request, or of an event in it.
type verdict uint8

const (
	stored verdict = iota
	duplicate
	nothingNew
	answered
	badID
	wrongChannel
	badSignature
	wrongAccount
	stale
	tooLarge
	tooSlow
	malformed
	foreign
	unavailable
	busy
	crowded
	closed
	verdicts
)

var verdictNames = [verdicts]string{
	"stored", "duplicate", "nothing_new", "answered", "bad_id", "wrong_channel", "bad_signature", "wrong_account", "stale",
	"too_large", "too_slow", "malformed", "foreign", "unavailable", "busy", "crowded", "closed",
}

func (v verdict) String() string { return verdictNames[v] }

// status is the HTTP status of a refusal; 0 where the handler has answered.
func (v verdict) status() int {
	switch v {
	case badID, wrongChannel, badSignature, wrongAccount, stale:
		return http.StatusForbidden
	case tooLarge:
		return http.StatusRequestEntityTooLarge
	case tooSlow:
		return http.StatusRequestTimeout
	case malformed:
		return http.StatusBadRequest
	case unavailable, busy, crowded:
		return http.StatusServiceUnavailable
	case closed:
		return http.StatusNotFound
	}
	return 0
}

type metrics struct {
	requests   *prometheus.CounterVec
	events     *prometheus.CounterVec
	stored     prometheus.Counter
	duplicates prometheus.Counter
	batches    prometheus.Counter
	replies    *prometheus.CounterVec
	unplaced   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "candor_frontdoor_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "candor_frontdoor_" + name, Help: help}, labels)
	}
	m := &metrics{
		requests:   vec("requests_total", "Requests by road and what became of them.", "road", "verdict"),
		events:     vec("events_total", "SendGrid's events by what became of them.", "verdict"),
		stored:     counter("receipts_stored_total", "Receipts that were written down."),
		duplicates: counter("receipts_duplicate_total", "Receipts that were dropped since they were written down already."),
		batches:    counter("batches_total", "Messages that receipts were gathered into."),
		replies:    vec("replies_total", "Texts of customers by what they asked for.", "word"),
		unplaced:   counter("opt_outs_unplaced_total", "Opt-outs whose customer could not be looked up; they are in force."),
	}
	for _, c := range []prometheus.Collector{m.requests, m.events, m.stored, m.duplicates, m.batches, m.replies, m.unplaced} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// road returns the counter of a road's verdicts, looked up once.
func (m *metrics) road(name string) func(verdict) {
	var counters [verdicts]prometheus.Counter
	for v := range counters {
		counters[v] = m.requests.WithLabelValues(name, verdictNames[v])
	}
	return func(v verdict) { counters[v].Inc() }
}
