// Package httpd serves HTTP: HTTP/1.1 and cleartext HTTP/2 (for gRPC) on one port, with limits, probes, metrics and a graceful stop.
//
// In: a handler.   Out: answers; /livez and /readyz beside the handler's own, for everybody, and /metrics for whoever has a token.
// Crash: a handler's panic ends its request and is counted; the process goes on.
package httpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"candor/pkg/token"
)

// unwindTimeout is Config.UnwindTimeout where it is not set.
const unwindTimeout = time.Second

// Ops is what the server tells those who operate it.
type Ops struct {
	Registry *prometheus.Registry // shown on /metrics; the server's own metrics are registered here
	Tokens   Authenticator        // of those who may see /metrics, which says how many people are affected; nil serves none
	Ready    func() error         // nil when requests can be answered; what is missing otherwise, without a figure: everybody may ask
}

// Server is a listening HTTP server.
type Server struct {
	cfg      Config
	log      zerolog.Logger
	ops      Ops
	listener net.Listener
	http     *http.Server
	panics   prometheus.Counter
	stopping atomic.Bool // written by Run, read by /readyz
}

// New opens the listener, so that the address is known and taken; handler may be nil where only the probes are wanted.
func New(cfg Config, handler http.Handler, ops Ops, log zerolog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("http server: %w", err)
	}
	s := &Server{cfg: cfg, log: log, ops: ops, panics: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "http_panics_total", Help: "Requests whose handler panicked.",
	})}
	// Several servers of one process share a registry and the count.
	if err := ops.Registry.Register(s.panics); err != nil {
		var twice prometheus.AlreadyRegisteredError
		if !errors.As(err, &twice) {
			return nil, fmt.Errorf("http server: %w", err)
		}
		s.panics = twice.ExistingCollector.(prometheus.Counter)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	if ops.Tokens != nil {
		shown := promhttp.HandlerFor(ops.Registry, promhttp.HandlerOpts{Registry: ops.Registry})
		mux.Handle("GET /metrics", requireToken(ops.Tokens, token.View, shown))
	}
	if handler != nil {
		mux.Handle("/", handler)
	}
	s.http = &http.Server{
		Handler:           s.limiting(s.recovering(mux)),
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          stdlog.New(acceptErrors{log}, "", 0),
		Protocols:         new(http.Protocols),
		// ReadTimeout and WriteTimeout would end streams; bodies have a stall timeout instead.
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	var err error
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(context.Background(), "tcp", cfg.Addr); err != nil {
		return nil, fmt.Errorf("http server: %w", err)
	}
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL returns the server's address as a browser wants it.
func (s *Server) URL() string { return "http://" + s.Addr() }

// Run serves until ctx ends. Then requests under way get DrainTimeout to finish, then their contexts end, then their connections.
func (s *Server) Run(ctx context.Context) error {
	base, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	s.http.BaseContext = func(net.Listener) context.Context { return base }
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	unwind := time.AfterFunc(s.cfg.DrainTimeout, endRequests)
	defer unwind.Stop()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout+cmp.Or(s.cfg.UnwindTimeout, unwindTimeout))
	defer cancel()
	err := s.http.Shutdown(bounded)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop http server %s: requests cut off: %w", s.Addr(), err), s.http.Close())
	}
	_ = <-served // that it was closed, which is known
	return err
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	err := s.ops.Ready()
	if s.stopping.Load() {
		err = errors.New("stopping")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}
