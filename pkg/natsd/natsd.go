// Package natsd runs the NATS server inside Candor: JetStream on files, an fsync before every acknowledgement, no port
// unless asked for, and a guard over the data folder.
//
// In:  a folder   Out: connections, a boot number, and what the folder lost since it was last seen
//
// Crash: what was acknowledged is on the disk. The next Open takes a higher boot number and compares the streams with
// the witness file beside the folder; what came back with less is told by Damage, again and again until it is settled.
package natsd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
)

const (
	startTimeout = 60 * time.Second // from the end of recovery to the first connection
	watchEvery   = time.Second
)

// User is somebody who may use the port. Subjects are NATS allow lists.
type User struct {
	Name       string
	NKeyPublic string
	Publish    []string
	Subscribe  []string
}

// Config says where the data lies and who may come in.
type Config struct {
	Dir           string // the data folder; one process at a time
	Witness       string // the witness file; default: Dir + ".witness", so that a folder put back from a backup is noticed
	Listen        string // host:port for other processes; empty for none. Needs Users
	Users         []User
	Hold          bool   // keep the port closed until Admit, for whoever has to look at Damage first
	Memory        bool   // for tests: no fsync
	MaxPayload    int32  // bytes of one message; 8 MB if not set
	FreeSpaceMark uint64 // bytes free below which SpaceLow is true; the larger of 1 GB and 5 % of the disk if not set
}

// Server is a running NATS server and the guard of its folder.
type Server struct {
	cfg     Config
	log     zerolog.Logger
	key     nkeys.KeyPair // of the in-process user
	public  string
	lock    *folderLock
	witness *witness
	now     func() time.Time

	spaceLow atomic.Bool
	stop     context.CancelFunc
	watching sync.WaitGroup

	mu     sync.Mutex // guards the following
	inner  *server.Server
	said   *serverLog // by inner
	port   int        // kept over a restart
	closed bool
	// admitted says that a port that was held is open.
	admitted bool
	stuck    map[string]*stuckStream
	damage   []string
}

// Open starts the server and returns when streams can be used. Its boot number is on disk by then.
func Open(ctx context.Context, cfg Config, log zerolog.Logger) (_ *Server, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("no data folder for nats: name one")
	}
	if cfg.Listen != "" && len(cfg.Users) == 0 {
		return nil, fmt.Errorf("listen on %s: without users nobody may come in; name at least one nkey", cfg.Listen)
	}
	if cfg.MaxPayload <= 0 {
		cfg.MaxPayload = 8 << 20
	}
	if cfg.Witness == "" {
		cfg.Witness = filepath.Clean(cfg.Dir) + ".witness"
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	s := &Server{cfg: cfg, log: log, now: time.Now, stuck: make(map[string]*stuckStream)}
	if s.lock, err = lockFolder(cfg.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.unlock()
		}
	}()
	if s.key, err = nkeys.CreateUser(); err != nil {
		return nil, fmt.Errorf("make the in-process user: %w", err)
	}
	if s.public, err = s.key.PublicKey(); err != nil {
		return nil, fmt.Errorf("make the in-process user: %w", err)
	}
	if s.witness, err = openWitness(cfg.Witness, filepath.Join(cfg.Dir, "boot"), !cfg.Memory); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	streams, err := s.streams()
	if err != nil {
		s.shutdown()
		return nil, err
	}
	s.damage = s.witness.compare(streams)
	for _, d := range s.damage {
		log.Error().Str("folder", cfg.Dir).Msg(d)
	}
	if err := s.witness.write(streams, s.damage); err != nil {
		s.shutdown()
		return nil, err
	}
	s.checkSpace()
	wctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.watching.Go(func() { s.watch(wctx) })
	return s, nil
}

func (s *Server) options() (*server.Options, error) {
	o := &server.Options{
		ServerName: "candor",
		NoSigs:     true, // stopping in order is for main
		NoLog:      true,
		DontListen: s.cfg.Listen == "" || s.cfg.Hold && !s.admitted,
		MaxPayload: s.cfg.MaxPayload,
		JetStream:  true,
		StoreDir:   s.cfg.Dir,
		SyncAlways: !s.cfg.Memory,
		// Our own mark judges the disk; the server's reservation would refuse with less explanation.
		JetStreamMaxStore:      math.MaxInt64 / 2,
		JetStreamMaxMemory:     1 << 30,
		DisableJetStreamBanner: true,
		Nkeys:                  []*server.NkeyUser{{Nkey: s.public}},
	}
	if s.cfg.Listen != "" {
		host, port, err := net.SplitHostPort(s.cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("listen on %q: %w", s.cfg.Listen, err)
		}
		if o.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("listen on %q: %w", s.cfg.Listen, err)
		}
		switch {
		case s.port != 0:
			o.Port = s.port
		case o.Port == 0:
			o.Port = server.RANDOM_PORT
		}
		o.Host = host
	}
	for _, u := range s.cfg.Users {
		if !nkeys.IsValidPublicUserKey(u.NKeyPublic) {
			return nil, fmt.Errorf("nats user %s: %q is not the public nkey of a user (U…)", u.Name, u.NKeyPublic)
		}
		o.Nkeys = append(o.Nkeys, &server.NkeyUser{
			Nkey: u.NKeyPublic,
			Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: orNothing(u.Publish)},
				Subscribe: &server.SubjectPermission{Allow: orNothing(u.Subscribe)},
				Response:  &server.ResponsePermission{MaxMsgs: 1, Expires: 5 * time.Minute},
			},
		})
	}
	return o, nil
}

// orNothing keeps an empty list from meaning everything.
func orNothing(allow []string) []string {
	if len(allow) == 0 {
		return []string{"nothing"}
	}
	return allow
}

// start opens the inner server and waits until JetStream serves.
func (s *Server) start(ctx context.Context) error {
	o, err := s.options()
	if err != nil {
		return err
	}
	inner, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	logger := &serverLog{log: s.log}
	inner.SetLoggerV2(logger, false, false, false)
	inner.Start()
	ready := false
	for end := s.now().Add(startTimeout); !ready && ctx.Err() == nil && s.now().Before(end); {
		ready = inner.ReadyForConnections(100 * time.Millisecond)
	}
	if !ready || !inner.JetStreamEnabled() {
		inner.Shutdown()
		inner.WaitForShutdown()
		return fmt.Errorf("start nats in %s: %w", s.cfg.Dir, errors.Join(ctx.Err(), logger.fatalError()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inner, s.said = inner, logger
	if a, ok := inner.Addr().(*net.TCPAddr); ok {
		s.port = a.Port
	}
	return nil
}

// Admit opens the port of a server that was told to hold it closed.
func (s *Server) Admit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Listen == "" || !s.cfg.Hold || s.admitted || s.inner == nil {
		return nil
	}
	open := make(chan struct{})
	s.inner.AcceptLoop(open)
	<-open
	a, ok := s.inner.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("listen on %s: the port cannot be had; is another process on it? choose another one as nats.listen", s.cfg.Listen)
	}
	s.admitted, s.port = true, a.Port
	return nil
}

// InProcessConn opens a connection without a socket.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	inner := s.inner
	s.mu.Unlock()
	if inner == nil {
		return nil, errors.New("nats is not running")
	}
	return inner.InProcessConn()
}

// InProcessUser is how an in-process connection authenticates: a key that only this process has, which may do everything.
func (s *Server) InProcessUser() (publicKey string, sign func(nonce []byte) ([]byte, error)) {
	return s.public, s.key.Sign
}

// ClientURL is where other processes reach the server; empty if it does not listen.
func (s *Server) ClientURL() string {
	if s.cfg.Listen == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	host, _, _ := net.SplitHostPort(s.cfg.Listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(s.port))
}

// BootID is higher at every start on the same folder.
func (s *Server) BootID() uint64 { return s.witness.boot }

// Damage says, in plain sentences, what the folder came back without. As long as there is any, nothing may be sent.
// It is found again at every start until SettleDamage.
func (s *Server) Damage() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.damage...)
}

// SettleDamage forgets the damage, for whoever has recorded it and paused every incident.
func (s *Server) SettleDamage() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.witness.settle(); err != nil {
		return err
	}
	s.damage = nil
	return nil
}

// Close stops the server after writing everything, records what it holds, and lets the folder go. The bus comes first.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.watching.Wait()

	streams, err := s.streams()
	done := make(chan struct{})
	go func() {
		s.shutdown()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("stop nats: %w", ctx.Err()) // still writing: the folder stays locked until the process ends
	}
	if err == nil {
		err = s.witness.write(streams, s.damage)
	}
	s.lock.unlock()
	return err
}

func (s *Server) shutdown() {
	s.mu.Lock()
	inner := s.inner
	s.inner = nil
	s.mu.Unlock()
	if inner != nil {
		inner.Shutdown()
		inner.WaitForShutdown()
	}
}

// streams lists what JetStream holds.
func (s *Server) streams() ([]server.StreamDetail, error) {
	s.mu.Lock()
	inner := s.inner
	s.mu.Unlock()
	if inner == nil {
		return nil, errors.New("nats is not running")
	}
	info, err := inner.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Config: true})
	if err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	var out []server.StreamDetail
	for _, a := range info.AccountDetails {
		out = append(out, a.Streams...)
	}
	return out, nil
}

// serverLog passes the server's log on. What it calls notices are its own milestones, not ours.
type serverLog struct {
	log zerolog.Logger

	broken atomic.Pointer[string] // a stream that takes nothing more

	mu    sync.Mutex
	fatal []string
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug().Msgf(format, v...) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn().Msgf(format, v...) }

// Errorf also keeps the name of a stream whose files could not be written: it takes nothing more until the server is
// restarted, and who publishes to it is not told so.
func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error().Msgf(format, v...)
	if strings.HasPrefix(format, writeErrorFormat) && len(v) > 1 {
		if stream, ok := v[1].(string); ok {
			l.broken.Store(&stream)
		}
	}
}

// writeErrorFormat begins what the server says of such a stream.
const writeErrorFormat = "JetStream stream '%s > %s' critical write error"

func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	l.fatal = append(l.fatal, fmt.Sprintf(format, v...))
	l.mu.Unlock()
}

func (l *serverLog) fatalError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fatal) == 0 {
		return errors.New("jetstream did not come up")
	}
	return errors.New(strings.Join(l.fatal, "; "))
}
