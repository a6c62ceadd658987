package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"candor/pkg/config"
)

// How a connection is encrypted.
const (
	StartTLS = "starttls" // after the greeting, and not without it
	TLS      = "tls"      // from the first byte
	None     = "none"     // not at all: only to this machine or within a private network
)

// Config is one relay.
type Config struct {
	Host     string        `yaml:"host"`
	Port     int           `yaml:"port"`
	TLS      string        `yaml:"tls"`
	CA       string        `yaml:"ca"` // file with the certificates that vouch for the relay; empty for the system's
	User     string        `yaml:"user"`
	Password config.Secret `yaml:"password"`
	Hello    string        `yaml:"hello"` // name by which we introduce ourselves; empty for the machine's
	// Connections is how many are open at once.
	Connections int `yaml:"connections"`
	// DialTimeout bounds the connection, and again greeting, TLS and sign-in.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// RequestTimeout is from the first command of a message to the relay's word on it.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// IdleTimeout is how long an unused connection is kept.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
}

// DefaultConfig lacks the host.
func DefaultConfig() Config {
	return Config{Port: 587, TLS: StartTLS, Connections: 8, DialTimeout: 10 * time.Second, RequestTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second}
}

// Validate names every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Host != "", "host is missing: set the name of the relay")
	check(c.Host == "" || isHost(c.Host), "host %q is no host name or address: write it without scheme and port", c.Host)
	check(c.Port >= 1 && c.Port <= 65535, "port is %d, must be 1 to 65535", c.Port)
	check(c.TLS == StartTLS || c.TLS == TLS || c.TLS == None, "tls is %q, must be %s, %s or %s", c.TLS, StartTLS, TLS, None)
	if c.TLS == None {
		check(!publicAddress(c.Host), "tls is none, but %s is a public address: mail may go unencrypted to this machine or within a private network only", c.Host)
		check(c.User == "", "tls is none, but there is a user: the password would travel in clear")
		check(c.CA == "", "tls is none, but there is a ca")
	}
	check((c.User == "") == (c.Password == ""), "user and password belong together: set both or neither")
	check(c.Hello == "" || isHost(c.Hello), "hello %q is no host name", c.Hello)
	check(c.Connections >= 1 && c.Connections <= 1000, "connections is %d, must be 1 to 1000", c.Connections)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"dial_timeout", c.DialTimeout}, {"request_timeout", c.RequestTimeout}, {"idle_timeout", c.IdleTimeout}} {
		check(d.value > 0, "%s is %s, must be above zero", d.name, d.value)
	}
	return errors.Join(errs...)
}

const hostLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) <= 253 && strings.Trim(s, hostLetters) == "" && !strings.HasPrefix(s, "-") && !strings.HasPrefix(s, ".")
}

// publicAddress says whether the host is written as an address that belongs to the internet. What a name stands for shows when
// it is dialled.
func publicAddress(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && !private(a)
}

func private(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}
