package provider

import "time"

// For the tests outside of the package, which need providertest.
var (
	TimeLeft = timeLeft
	Skew     = new(Transport).skew
)

// NewTransportWith has its own way to dial and its own patience with error bodies.
func NewTransportWith(cfg TransportConfig, now func() time.Time, dial dialFunc, grace time.Duration) *Transport {
	t := newTransport(cfg, now, dial)
	t.errorGrace = grace
	return t
}
