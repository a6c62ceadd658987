package calls

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"candor/pkg/bus"
	candorv1 "candor/proto/candor/v1"
)

type metrics struct {
	tasks    *prometheus.GaugeVec
	owner    prometheus.Gauge
	requests *prometheus.CounterVec
	claimed  prometheus.Counter
	expired  prometheus.Counter
	ended    *prometheus.CounterVec
	append   prometheus.Histogram
	turn     prometheus.Histogram
	waiting  prometheus.Gauge
	takeOver prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	name := func(s string) string { return "candor_calls_" + s }
	m := &metrics{
		tasks:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("tasks"), Help: "Call tasks by state, while this process owns the queue."}, []string{"state"}),
		owner:    prometheus.NewGauge(prometheus.GaugeOpts{Name: name("owner"), Help: "1 while this process owns the queue."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("requests_total"), Help: "Requests by method and result."}, []string{"method", "result"}),
		claimed:  prometheus.NewCounter(prometheus.CounterOpts{Name: name("leases_total"), Help: "Leases given out."}),
		expired:  prometheus.NewCounter(prometheus.CounterOpts{Name: name("leases_expired_total"), Help: "Leases that ended without a word."}),
		ended:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("completed_total"), Help: "Reported calls by disposition."}, []string{"disposition"}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name("append_seconds"), Help: "How long an append took that requests waited for.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		turn: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name("turn_commands"), Help: "Commands that were decided together.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		waiting:  prometheus.NewGauge(prometheus.GaugeOpts{Name: name("claims_waiting"), Help: "Claims that wait for a task."}),
		takeOver: prometheus.NewCounter(prometheus.CounterOpts{Name: name("take_overs_total"), Help: "How often this process has taken the queue over."}),
	}
	for _, c := range []prometheus.Collector{m.tasks, m.owner, m.requests, m.claimed, m.expired, m.ended, m.append, m.turn, m.waiting, m.takeOver} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) request(method string, err error) {
	result := "ok"
	var remote *bus.RemoteError
	switch {
	case errors.As(err, &remote):
		result = string(remote.Code)
	case err != nil:
		result = "failed"
	}
	m.requests.WithLabelValues(method, result).Inc()
}

// stored counts what is on disk.
func (m *metrics) stored(events []*candorv1.CallEvent) {
	for _, e := range events {
		switch ev := e.GetEvent().(type) {
		case *candorv1.CallEvent_Leased:
			m.claimed.Inc()
		case *candorv1.CallEvent_LeaseExpired:
			m.expired.Inc()
		case *candorv1.CallEvent_Completed:
			m.ended.WithLabelValues(ev.Completed.GetDisposition()).Inc()
		}
	}
}

func (m *metrics) appended(took time.Duration) { m.append.Observe(took.Seconds()) }
