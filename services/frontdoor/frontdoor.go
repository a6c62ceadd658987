// Package frontdoor faces the internet: it takes what providers and customers say, believes nothing that is not signed, and
// writes down the rest.
//
// In:  Twilio's status callbacks and inbound texts, SendGrid's events
// Out: receipt.>, call.request.>, SUPPRESSIONS; the answers to texts
//
// Crash: a receipt is answered with 2xx only once it is on disk; without an answer the provider repeats it, and a receipt that
// is stored twice says the same twice. An opt-out is stored before anything else is done with it.
//
// What comes in is people's data. Nothing of it gets into a log line, a metric or an error, and none of it is kept: addresses
// are hashed or sealed at once.
package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/clock"
	"candor/pkg/httpd"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/noticeid"
	"candor/pkg/suppression"
	"candor/pkg/topology"
	"candor/pkg/vault"
)

// The roads, as providers are told them.
const (
	TwilioStatusPath  = "/hooks/twilio/status/" // and the notice's id
	TwilioInboundPath = "/hooks/twilio/inbound"
	SendGridPath      = "/hooks/sendgrid"
)

// Replies remembers which texts of customers were answered: the bucket REPLIES, a bus.KV.
type Replies interface {
	Create(ctx context.Context, key string, value []byte) (rev uint64, err error)
	Get(ctx context.Context, key string) (value []byte, rev uint64, err error)
}

// Deps is what the front door works with. Incidents and Suppressions run elsewhere.
type Deps struct {
	Bus          *bus.Bus
	Incidents    *incident.Registry
	Suppressions *suppression.Set
	IDs          *noticeid.Codec
	Door         *vault.Door
	Replies      Replies
	Metrics      *prometheus.Registry
	Clock        clock.Clock
	Log          zerolog.Logger
}

// Frontdoor is the service.
type Frontdoor struct {
	Deps
	cfg       Config
	metrics   *metrics
	committer *bus.Committer
	receipts  *gatherer
	texts     *notice.Library
	server    *httpd.Server
	handler   http.Handler

	statuses, texted, mails *road

	twilio   *twilioVerifier   // nil closes Twilio's roads
	sendgrid *sendGridVerifier // nil closes SendGrid's road
}

// New opens the listener; Run serves on it.
func New(cfg Config, d Deps) (*Frontdoor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(d.Metrics)
	if err != nil {
		return nil, fmt.Errorf("frontdoor: %w", err)
	}
	f := &Frontdoor{
		Deps: d, cfg: cfg, metrics: m, texts: notice.NewLibrary(),
		committer: bus.NewCommitter(d.Bus, topology.StreamReceipts, bus.CommitterOptions{}),
	}
	f.receipts = newGatherer(f.committer, cfg.BatchWait, cfg.BatchMost, d.Clock.Now, m)
	if cfg.SendGrid.PublicKey != "" {
		if f.sendgrid, err = newSendGridVerifier(cfg.SendGrid, d.Clock.Machine); err != nil {
			return nil, fmt.Errorf("frontdoor: %w", err)
		}
	}
	// Without tokens, which the front door's NATS user may not read, the public port has no /metrics. What the server counts goes
	// the way of the other counts, below.
	public := prometheus.NewRegistry()
	f.server, err = httpd.New(cfg.http(), http.HandlerFunc(f.serve), httpd.Ops{Registry: public, Ready: f.ready}, d.Log)
	if err != nil {
		return nil, fmt.Errorf("frontdoor: %w", err)
	}
	if f.cfg.PublicURL == "" {
		f.cfg.PublicURL = f.server.URL()
	}
	if cfg.Twilio.AuthToken != "" {
		f.twilio = newTwilioVerifier(f.cfg.PublicURL, cfg.Twilio.AuthToken.Reveal())
	}
	f.statuses = f.newRoad(roadStatus, twilioInHand, textBytes)
	f.texted = f.newRoad(roadInbound, inboundInHand, textBytes)
	f.mails = f.newRoad(roadSendGrid, sendGridInHand, mailBytes)
	f.handler = f.routes()
	if err := prometheus.WrapRegistererWithPrefix("candor_frontdoor_", d.Metrics).Register(public); err != nil {
		return nil, fmt.Errorf("frontdoor: %w", err)
	}
	return f, nil
}

// Addr is where the front door listens; a proxy with TLS stands before it.
func (f *Frontdoor) Addr() string { return f.server.Addr() }

// URL is the address that the front door listens on, for those on this machine.
func (f *Frontdoor) URL() string { return f.server.URL() }

// PublicURL is how providers reach the front door: as the settings say, or the address that it listens on.
func (f *Frontdoor) PublicURL() string { return strings.TrimRight(f.cfg.PublicURL, "/") }

func (f *Frontdoor) serve(w http.ResponseWriter, r *http.Request) { f.handler.ServeHTTP(w, r) }

// Handler is the front door without its listener. It stores while Run runs.
func (f *Frontdoor) Handler() http.Handler { return f.handler }

// Run serves until ctx ends; requests in hand are stored and answered before it returns.
func (f *Frontdoor) Run(ctx context.Context) error {
	f.announce()
	// The stores outlive the server: what a request waits for must still land.
	gather, endGather := context.WithCancel(context.WithoutCancel(ctx))
	commit, endCommit := context.WithCancel(context.WithoutCancel(ctx))
	gathered, committed := make(chan struct{}), make(chan error, 1)
	go func() { defer close(gathered); f.receipts.Run(gather) }()
	go func() { committed <- f.committer.Run(commit) }()
	err := f.server.Run(ctx)
	endGather()
	<-gathered
	endCommit()
	return errors.Join(err, <-committed)
}

func (f *Frontdoor) announce() {
	e := f.Log.Info().Str("addr", f.Addr()).Bool("twilio", f.twilio != nil).Bool("sendgrid", f.sendgrid != nil)
	e.Msg("front door is open")
	if f.twilio == nil {
		f.Log.Warn().Str("setting", "frontdoor.twilio.auth_token").Msg("twilio's road is closed: without the setting its words cannot be checked")
	}
	if f.sendgrid == nil {
		f.Log.Warn().Str("setting", "frontdoor.sendgrid.public_key").Msg("sendgrid's road is closed: without the setting its words cannot be checked")
	}
}

func (f *Frontdoor) ready() error {
	if !f.Bus.Connected() {
		return errors.New("the broker is not reachable")
	}
	for what, ready := range map[string]<-chan struct{}{"incidents": f.Incidents.Ready(), "opt-outs": f.Suppressions.Ready()} {
		select {
		case <-ready:
		default:
			return errors.New(what + " are still being read")
		}
	}
	return nil
}

func (f *Frontdoor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+TwilioStatusPath+"{id}", f.statuses.handle(f.twilio != nil, f.status))
	mux.Handle("POST "+TwilioInboundPath, f.texted.handle(f.twilio != nil, f.inbound))
	mux.Handle("POST "+SendGridPath, f.mails.handle(f.sendgrid != nil, f.events))
	prefix := f.cfg.pathPrefix()
	if prefix == "" {
		return mux
	}
	// Some proxies strip the prefix and some do not.
	bare := http.StripPrefix(prefix, mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix+"/") {
			bare.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
