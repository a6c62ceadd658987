package api

import (
	"strings"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the api's numbers.
type metrics struct {
	requests  *prometheus.CounterVec
	customers prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "candor_api_requests_total", Help: "Requests by procedure and the code they were answered with.",
		}, []string{"procedure", "code"}),
		customers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "candor_api_uploaded_customers_total", Help: "Customers of rosters that were sealed and stored.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.customers} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(procedure string, err error) {
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	m.requests.WithLabelValues(procedure[strings.LastIndexByte(procedure, '/')+1:], code).Inc()
}
