// Package sandbox stands in for Twilio and SendGrid, over real HTTP: for tests, the demo, benchmarks and chaos runs.
//
// In: their requests, as the official libraries make them.   Out: their answers; afterwards, where receipts are enabled, signed
// status callbacks and events, and what phones text back; pages that show the phones and mailboxes as their owners see them; the
// ground truth per notice and attempt, which a real provider could not tell.
// Crash: forgets everything; in chaos runs it is a process of its own and is never killed.
//
// Numbers and mailboxes with a fate of their own, beside those of Twilio's test credentials, where receipts are enabled:
//
//	+1 500 555 3nnn   undelivered with code 30nnn, as +15005553003 with 30003; codes that pass, at the first attempt only
//	+1 500 555 4000   sent, and never a word of it
//	bounce@ any domain, or bounce+tag@: there is no such mailbox   blocked@: refused at the first attempt
//	deferred@: told to try later first, then delivered             spam@: delivered, and reported as spam
//
// What it holds is people's data. It stays in memory: nothing here writes a file or logs what was sent.
package sandbox

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
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
	team     teamRoom
	faults   dice
	courier  *courier
	plan     atomic.Pointer[receiptPlan]
	hooks    atomic.Pointer[Hooks]
	inFlight atomic.Int64 // Twilio requests being answered
	buffers  *sync.Pool
	seed     maphash.Seed
	ids      cipher.Block

	basic, bearer, token []byte // what the Authorization header must be
	senders              map[string]bool

	webhookKey, foreignKey *ecdsa.PrivateKey // SendGrid's, and somebody else's
	publicKey              string
	messagesPath           string
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
	webhookKey, err := parseWebhookKey(cfg.SendGrid.WebhookKey)
	if err != nil {
		return nil, err
	}
	foreignKey, err := parseWebhookKey("")
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&webhookKey.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("sandbox: write the key of the event webhook: %w", err)
	}
	room := cfg.TextBytes
	if !cfg.KeepTexts {
		room = 0
	}
	s := &Sandbox{
		cfg: cfg, log: log, now: cfg.Clock.Machine, stopping: make(chan struct{}),
		sms: newCarrier(ids), mail: newMailroom(room, ids), buffers: newBuffers(), seed: maphash.MakeSeed(), ids: ids,
		basic:   []byte("Basic " + base64.StdEncoding.EncodeToString([]byte(cfg.Twilio.AccountSID+":"+cfg.Twilio.AuthToken.Reveal()))),
		bearer:  []byte("Bearer " + cfg.SendGrid.APIKey.Reveal()),
		token:   []byte("Bearer " + cfg.Token.Reveal()),
		courier: newCourier(), webhookKey: webhookKey, foreignKey: foreignKey, publicKey: base64.StdEncoding.EncodeToString(public),
		senders: map[string]bool{}, messagesPath: "/2010-04-01/Accounts/" + cfg.Twilio.AccountSID + "/Messages/",
	}
	s.team = teamRoom{secret: cfg.TeamSecret, machine: cfg.Clock.Machine}
	for _, name := range cfg.Twilio.Senders {
		s.senders[name] = true
	}
	for _, a := range cfg.SendGrid.Suppressed {
		s.mail.suppressed[strings.ToLower(a)] = ""
	}
	s.sms.clock, s.mail.clock = cfg.Clock, cfg.Clock
	s.faults.set(cfg.Faults)
	s.plan.Store(newReceiptPlan(cfg.Receipts))
	hooks := cfg.hooks()
	s.hooks.Store(&hooks)
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
	telling, quiet := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		s.deliver(telling)
	}()
	// Who is being told when it ends is told no more: a provider's customer cannot count on that either.
	defer func() { quiet(); <-told }()
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
	s.teamRoutes(mux)
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
