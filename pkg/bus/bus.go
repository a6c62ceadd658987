// Package bus is Candor's only road to NATS: appends that are fenced and acknowledged, reads that ask the leader,
// work queues whose handler's error is the verdict, requests, and small tables.
//
// In:  a NATS server, embedded (natsd) or remote   Out: sequences, or errors that say whether something was stored
//
// Crash: what was acknowledged is on the server's disk. What was not is ErrUnknownOutcome to the caller and must be
// looked up, never repeated blindly. Nothing lands late: the client's reconnect buffer is off.
//
// The broker goes by the machine's clock, everybody above by the calendar: every instant is translated here, on its way in
// and out.
package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"candor/pkg/clock"
)

const (
	requestTimeout = 5 * time.Second  // of one question to the broker, where Config.RequestTimeout is not set
	drainTimeout   = 10 * time.Second // of Close
	waitingLog     = 10 * time.Second // between two log lines while nobody answers
)

// Server is a NATS server in the same process; natsd.Server is one.
type Server interface {
	InProcessConn() (net.Conn, error)
}

// signer is what a Server offers whose in-process connections must authenticate too.
type signer interface {
	InProcessUser() (publicKey string, sign func(nonce []byte) ([]byte, error))
}

// stuckReporter is what a Server offers that heals streams which stopped answering (a disk that was full).
type stuckReporter interface {
	ReportStuck(stream string)
}

// Config says which server to talk to, and as whom.
type Config struct {
	URL          string // of a remote server or several, comma separated; not used when Server is set
	Server       Server // an embedded server, reached without a socket
	Name         string // shown by the server; replies arrive under _INBOX.<Name>
	NKeySeedFile string // the user's seed, for a server that wants credentials
	Clock        clock.Clock
	// RequestTimeout bounds one question to the broker, unless the caller's context ends first; 5 s if not set. Tests on a busy
	// machine are more patient.
	RequestTimeout time.Duration
}

// Bus is one connection to NATS; all its methods may be called by many goroutines.
type Bus struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	log    zerolog.Logger
	stuck  func(stream string)
	clock  clock.Clock
	within time.Duration // which the broker must answer

	closed chan struct{} // closed when the connection is gone for good

	mu          sync.Mutex
	reconnected chan struct{} // closed, and replaced, at every reconnect
	timeStream  string        // any stream; asked for the broker's time
	inMemory    []BucketSpec  // buckets that a restarted server has forgotten
}

// Connect opens the connection. While nobody answers it waits, says so in the log, and ends only with ctx.
func Connect(ctx context.Context, cfg Config, log zerolog.Logger) (*Bus, error) {
	b := &Bus{
		log: log, stuck: func(string) {}, clock: cfg.Clock, within: cmp.Or(cfg.RequestTimeout, requestTimeout),
		closed: make(chan struct{}), reconnected: make(chan struct{}),
	}
	connected := make(chan struct{})
	opts := []nats.Option{
		nats.Name(cfg.Name),
		// A message in the client's buffer would be stored after its sender gave it up.
		nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(drainTimeout),
		nats.ConnectHandler(func(*nats.Conn) { close(connected) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("connection to nats lost, trying again")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info().Str("server", nc.ConnectedServerName()).Msg("connected to nats again")
			b.remake()
			b.mu.Lock()
			defer b.mu.Unlock()
			close(b.reconnected)
			b.reconnected = make(chan struct{})
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			e := log.Warn().Err(err)
			if sub != nil {
				e = e.Str("subject", sub.Subject)
			}
			e.Msg("nats reports an error")
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
	}
	if cfg.Name != "" {
		if !validToken(cfg.Name) {
			return nil, fmt.Errorf("name %q of the nats connection: use letters, digits, - and _", cfg.Name)
		}
		opts = append(opts, nats.CustomInboxPrefix("_INBOX."+cfg.Name))
	}
	if cfg.NKeySeedFile != "" {
		o, err := nats.NkeyOptionFromSeed(cfg.NKeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("read nkey seed %s: %w", cfg.NKeySeedFile, err)
		}
		opts = append(opts, o)
	}
	url := cfg.URL
	if cfg.Server != nil {
		url = ""
		opts = append(opts, nats.InProcessServer(cfg.Server))
		if s, ok := cfg.Server.(signer); ok {
			opts = append(opts, nats.Nkey(s.InProcessUser()))
		}
		if s, ok := cfg.Server.(stuckReporter); ok {
			b.stuck = s.ReportStuck
		}
	} else if url == "" {
		return nil, errors.New("no nats server: give its url, or embed one")
	}

	var err error
	if b.nc, err = nats.Connect(url, opts...); err != nil {
		return nil, fmt.Errorf("connect to nats %s: %w", url, err)
	}
	if err := b.wait(ctx, url, connected); err != nil {
		b.nc.Close()
		<-b.closed
		return nil, err
	}
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(b.within)); err != nil {
		b.nc.Close()
		<-b.closed
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	return b, nil
}

func (b *Bus) wait(ctx context.Context, url string, connected <-chan struct{}) error {
	tick := time.NewTicker(waitingLog)
	defer tick.Stop()
	for {
		select {
		case <-connected:
			return nil
		case <-b.closed:
			return fmt.Errorf("connect to nats %s: %w", url, b.nc.LastError())
		case <-ctx.Done():
			return fmt.Errorf("connect to nats %s: %w", url, errors.Join(ctx.Err(), b.nc.LastError()))
		case <-tick.C:
			b.log.Warn().AnErr("error", b.nc.LastError()).Str("url", url).Msg("waiting for nats")
		}
	}
}

// Close lets subscriptions finish what they hold, flushes, and closes the connection.
func (b *Bus) Close(ctx context.Context) error {
	if err := b.nc.Drain(); err != nil {
		b.nc.Close()
	}
	select {
	case <-b.closed:
		return nil
	case <-ctx.Done():
		b.nc.Close()
		<-b.closed
		return fmt.Errorf("drain the nats connection: %w", ctx.Err())
	}
}

// Connected says whether the server can be reached right now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

func (b *Bus) onReconnect() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reconnected
}

// reconnectDelay doubles from 50 ms to 2 s, with jitter, so that a restarted server is not met by everybody at once.
func reconnectDelay(attempts int) time.Duration {
	d := min(50*time.Millisecond<<min(attempts, 10), 2*time.Second)
	return d/2 + rand.N(d/2) //nolint:gosec // jitter needs no secrecy
}

// bounded limits one question to the broker; the caller's context may be shorter.
func (b *Bus) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.within)
}

// NewUser makes the key pair of a NATS user: the public key is for the server's list, the seed for the client's file.
func NewUser() (publicKey string, seed []byte, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", nil, fmt.Errorf("make nkey: %w", err)
	}
	if publicKey, err = pair.PublicKey(); err != nil {
		return "", nil, fmt.Errorf("make nkey: %w", err)
	}
	if seed, err = pair.Seed(); err != nil {
		return "", nil, fmt.Errorf("make nkey: %w", err)
	}
	return publicKey, seed, nil
}

func validToken(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return s != ""
}
