package httpd

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Config is where and how patiently a server listens.
type Config struct {
	Addr              string        `yaml:"addr"`                // host:port; port 0 takes a free one
	MaxBodyBytes      int64         `yaml:"max_body_bytes"`      // of a request, unless its path is in LargeBodies
	ReadHeaderTimeout time.Duration `yaml:"read_header_timeout"` // for a request's header
	BodyStallTimeout  time.Duration `yaml:"body_stall_timeout"`  // between two reads of a request's body
	IdleTimeout       time.Duration `yaml:"idle_timeout"`        // of a connection between requests
	DrainTimeout      time.Duration `yaml:"drain_timeout"`       // for requests under way when the server stops

	// LargeBodies are the path prefixes under which bodies may be larger, and how large. They are the service's, not the operator's.
	LargeBodies map[string]int64 `yaml:"-"`
	// UnwindTimeout is what handlers get to notice that their request's context has ended; a second if not set.
	UnwindTimeout time.Duration `yaml:"-"`
}

// DefaultConfig listens on this machine only.
func DefaultConfig() Config {
	return Config{
		Addr:              "127.0.0.1:0",
		MaxBodyBytes:      4 << 20,
		ReadHeaderTimeout: 10 * time.Second,
		BodyStallTimeout:  30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		DrainTimeout:      3 * time.Second,
	}
}

// Validate reports every mistake.
func (c Config) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		errs = append(errs, fmt.Errorf("addr %q: want host:port", c.Addr))
	}
	if c.MaxBodyBytes <= 0 {
		errs = append(errs, errors.New("max_body_bytes: want more than 0"))
	}
	for name, d := range map[string]time.Duration{
		"read_header_timeout": c.ReadHeaderTimeout, "body_stall_timeout": c.BodyStallTimeout,
		"idle_timeout": c.IdleTimeout, "drain_timeout": c.DrainTimeout,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s: want more than 0s", name))
		}
	}
	return errors.Join(errs...)
}
