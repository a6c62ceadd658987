package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// TransportConfig bounds the connections to one provider.
type TransportConfig struct {
	MaxInFlight    int           `yaml:"max_in_flight"`   // requests at once, and so connections
	DialTimeout    time.Duration `yaml:"dial_timeout"`    // for the connection, and again for TLS
	RequestTimeout time.Duration `yaml:"request_timeout"` // from the start of a request to the end of its answer
	IdleTimeout    time.Duration `yaml:"idle_timeout"`    // stay below the provider's own: a request on a connection just closed is ambiguous

	WriteBuffer int `yaml:"-"` // bytes of a request that go to the kernel at once; net/http's 4 kB if not set
}

// DefaultTransportConfig is right for a provider across the internet.
func DefaultTransportConfig() TransportConfig {
	return TransportConfig{MaxInFlight: 64, DialTimeout: 5 * time.Second, RequestTimeout: 15 * time.Second, IdleTimeout: 30 * time.Second}
}

// Validate names every setting that cannot work.
func (c TransportConfig) Validate() error {
	var errs []error
	if c.MaxInFlight < 1 {
		errs = append(errs, fmt.Errorf("max_in_flight is %d, must be at least 1", c.MaxInFlight))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"dial_timeout", c.DialTimeout}, {"request_timeout", c.RequestTimeout}, {"idle_timeout", c.IdleTimeout}} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s is %s, must be above zero", d.name, d.value))
		}
	}
	return errors.Join(errs...)
}

// Transport keeps the connections to one provider. Every request on it is a Call.
type Transport struct {
	http           *http.Transport
	requestTimeout time.Duration
	errorGrace     time.Duration
	now            func() time.Time
	date           atomic.Pointer[httpDate] // the last one read
}

// NewTransport makes a Transport that reads both clocks through now: time.Now outside of tests.
func NewTransport(cfg TransportConfig, now func() time.Time) *Transport {
	dialer := &net.Dialer{Timeout: cfg.DialTimeout}
	return newTransport(cfg, now, dialer.DialContext)
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func newTransport(cfg TransportConfig, now func() time.Time, dial dialFunc) *Transport {
	// One request at a time on a connection is what lets the connection enforce that request's send_before.
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &Transport{
		requestTimeout: cfg.RequestTimeout,
		errorGrace:     defaultErrorGrace,
		now:            now,
		http: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &conn{Conn: c}, nil
			},
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(cfg.MaxInFlight)},
			TLSHandshakeTimeout: cfg.DialTimeout,
			Protocols:           http1,
			DisableCompression:  true,
			MaxIdleConns:        cfg.MaxInFlight,
			MaxIdleConnsPerHost: cfg.MaxInFlight,
			MaxConnsPerHost:     cfg.MaxInFlight,
			IdleConnTimeout:     cfg.IdleTimeout,
			WriteBufferSize:     cfg.WriteBuffer,
		},
	}
}

// Close gives the idle connections back.
func (t *Transport) Close() { t.http.CloseIdleConnections() }

// Now reads the Transport's clock.
func (t *Transport) Now() time.Time { return t.now() }
