// Package sandbox stands in for Twilio and SendGrid, over real HTTP: for tests, the demo, benchmarks and chaos runs.
//
// In: their requests, as the official libraries make them.   Out: their answers; pages that show the phones and mailboxes as
// their owners see them; the ground truth per notice and attempt, which a real provider could not tell.
// Crash: forgets everything; in chaos runs it is a process of its own and is never killed.
//
// What it holds is people's data. It stays in memory: nothing here writes a file or logs what was sent.
package sandbox

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	stdlog "log"

	"github.com/rs/zerolog"
)

// Sandbox is both providers, their customers and their faults.
type Sandbox struct {
	cfg      Config
	log      zerolog.Logger
	now      func() time.Time
	listener net.Listener
	server   *http.Server
	stopping chan struct{} // closed when Run is told to end

	sms      *carrier
	mail     *mailroom
	faults   dice
	inFlight atomic.Int64 // Twilio requests being answered
	buffers  *sync.Pool
	seed     maphash.Seed
	ids      cipher.Block

	basic, bearer, token []byte // what the Authorization header must be
	senders              map[string]bool
	messagesPath         string
}

// New opens the listener; Run serves on it.
func New(cfg Config, log zerolog.Logger) (*Sandbox, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Token == "" {
		cfg.Token = randomToken()
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	ids, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("make ids: %w", err)
	}
	room := cfg.TextBytes
	if !cfg.KeepTexts {
		room = 0
	}
	s := &Sandbox{
		cfg: cfg, log: log, now: time.Now, stopping: make(chan struct{}),
		sms: newCarrier(ids), mail: newMailroom(room, ids), buffers: newBuffers(), seed: maphash.MakeSeed(), ids: ids,
		basic:   []byte("Basic " + base64.StdEncoding.EncodeToString([]byte(cfg.Twilio.AccountSID+":"+cfg.Twilio.AuthToken.Reveal()))),
		bearer:  []byte("Bearer " + cfg.SendGrid.APIKey.Reveal()),
		token:   []byte("Bearer " + cfg.Token.Reveal()),
		senders: map[string]bool{}, messagesPath: "/2010-04-01/Accounts/" + cfg.Twilio.AccountSID + "/Messages/",
	}
	for _, name := range cfg.Twilio.Senders {
		s.senders[name] = true
	}
	for _, a := range cfg.SendGrid.Suppressed {
		s.mail.suppressed[strings.ToLower(a)] = true
	}
	s.faults.set(cfg.Faults)
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil { //nolint:noctx // bound before anything runs
		return nil, fmt.Errorf("sandbox listen on %s: %w", cfg.Listen, err)
	}
	s.server = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          stdlog.New(serverLog{log}, "", 0),
	}
	return s, nil
}

// URL is where the sandbox listens: the base URL of both providers, and its pages.
func (s *Sandbox) URL() string { return "http://" + s.listener.Addr().String() }

// Token opens the pages, the ground truth and the faults.
func (s *Sandbox) Token() string { return s.cfg.Token.Reveal() }

// PageURL is the address of the pages with the token in it, for a person to open.
func (s *Sandbox) PageURL() string { return s.URL() + "/?token=" + s.Token() }

// Run serves until ctx ends and the requests in hand are answered.
func (s *Sandbox) Run(ctx context.Context) error {
	defer s.stopOn(ctx)()
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	s.log.Info().Str("url", s.URL()).Msg("sandbox serves")
	select {
	case err := <-served:
		return fmt.Errorf("sandbox serve: %w", err)
	case <-ctx.Done():
	}
	// A connection that was opened and never used counts as busy for five seconds.
	const graceTime = 500 * time.Millisecond
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	err := s.server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.server.Close() // who still keeps a connection gets no answer, as from a provider
	}
	_ = <-served // that it was closed, which is known
	if err != nil {
		return fmt.Errorf("sandbox stop: %w", err)
	}
	return nil
}

// Handler is the sandbox without its listener.
func (s *Sandbox) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2010-04-01/Accounts/{account}/Messages.json", s.createMessage)
	mux.HandleFunc("GET /2010-04-01/Accounts/{account}/Messages.json", s.listMessages)
	mux.HandleFunc("GET /2010-04-01/Accounts/{account}/Messages/{message}", s.fetchMessage)
	mux.HandleFunc("/2010-04-01/", func(w http.ResponseWriter, _ *http.Request) { writeTwilioError(w, errNotFound) })
	mux.HandleFunc("POST /v3/mail/send", s.sendMail)
	mux.HandleFunc("/v3/", func(w http.ResponseWriter, _ *http.Request) {
		writeMailProblems(w, http.StatusNotFound, problem{message: "not found"})
	})
	s.controlRoutes(mux)
	s.pageRoutes(mux)
	return mux
}

func sameSecret(got string, want []byte) bool {
	return subtle.ConstantTimeCompare([]byte(got), want) == 1
}

// serverLog takes what net/http has to say. It may quote a request, so only the fact is passed on.
type serverLog struct{ log zerolog.Logger }

// Write logs that there was something, and nothing of it.
func (l serverLog) Write(b []byte) (int, error) {
	l.log.Warn().Bool("panic", strings.Contains(string(b), "panic")).Msg("sandbox server complained")
	return len(b), nil
}
