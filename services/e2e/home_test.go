package e2e

import (
	"context"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/config"
	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
	"candor/services/sandbox"
)

// home is an installation in this process, with the sandbox in place of the providers.
type home struct {
	t       *testing.T
	keys    string
	admin   config.Secret
	app     *app.App
	driver  *bench.Driver
	sandbox *sandbox.Client
}

// play starts an installation in this process; change may alter its settings before.
func play(t *testing.T, change func(*app.Config)) *home {
	t.Helper()
	cfg, admin, err := bench.Prepare(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATS.FreeSpaceMark, cfg.NATS.Listen = 1, "127.0.0.1:0"
	cfg.SMS.RetryFirst, cfg.Email.RetryFirst = 200*time.Millisecond, 200*time.Millisecond
	// What was sent and is not answered in time is uncertain: nothing here is slow on purpose, but the machine may be.
	cfg.SMS.RequestTimeout, cfg.Email.RequestTimeout = 10*time.Second, 10*time.Second
	cfg.Ledger.CatchUp = 4 * time.Second
	if change != nil {
		change(&cfg)
	}
	h := &home{t: t, keys: cfg.Keys, admin: admin}
	if h.app, err = app.New(t.Context(), cfg, append(app.All(), "sandbox"), zerolog.New(t.Output()).Level(zerolog.InfoLevel)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.app.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if h.driver, err = bench.NewDriver(t.Context(), h.app.APIURL(), admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.driver.Close)
	h.sandbox = sandboxClient(t, h.app.Sandbox())
	return h
}

// bus connects to the broker as the api.
func (h *home) bus() *bus.Bus {
	h.t.Helper()
	return dial(h.t, h.app.NATSURL(), h.keys, "api")
}

// rest waits until nothing more happens to an incident, and takes stock.
func (h *home) rest(incident string) *bench.Verdict {
	h.t.Helper()
	return rest(h.t, h.driver, h.sandbox, incident)
}

// incidents is the api as a commander sees it.
func (h *home) incidents() candorv1connect.IncidentServiceClient {
	h.t.Helper()
	return candorv1connect.NewIncidentServiceClient(role(h.t, h.app.APIURL(), h.admin, "helmsman", candorv1.Role_ROLE_COMMANDER), h.app.APIURL())
}

// ledger is what is known, as a commander sees it.
func (h *home) ledger() candorv1connect.LedgerServiceClient {
	h.t.Helper()
	return candorv1connect.NewLedgerServiceClient(role(h.t, h.app.APIURL(), h.admin, "watcher", candorv1.Role_ROLE_COMMANDER), h.app.APIURL())
}

// receipts says what becomes of messages from now on.
func (h *home) receipts(r sandbox.Receipts) {
	h.t.Helper()
	r.Enabled = true
	if err := h.sandbox.SetReceipts(h.t.Context(), r); err != nil {
		h.t.Fatal(err)
	}
}

// heard waits until every receipt is in and nothing more happens, and takes stock.
func (h *home) heard(inc *candorv1.Incident) *bench.Verdict {
	h.t.Helper()
	return heard(h.t, h.driver, h.sandbox, inc)
}

// tell declares a roster with a playbook and has it approved.
func (h *home) tell(incident, pb, facts string, roster io.Reader) *candorv1.Incident {
	h.t.Helper()
	digest, err := h.driver.Upload(h.t.Context(), incident, roster, url.Values{"name": {"roster.csv"}})
	if err != nil {
		h.t.Fatal(err)
	}
	inc, err := h.driver.Declare(h.t.Context(), &candorv1.Declaration{Incident: incident, Playbook: pb, Facts: facts, RosterDigest: digest})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.driver.Approve(h.t.Context(), incident, inc.GetPlanHash()); err != nil {
		h.t.Fatal(err)
	}
	return inc
}

// startSandbox starts a sandbox in this process, apart from everything else.
func startSandbox(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.New(sandbox.DefaultConfig(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("sandbox: %v", err)
		}
	})
	return s
}

// sandboxClient asks a sandbox as other processes do.
func sandboxClient(t *testing.T, s *sandbox.Sandbox) *sandbox.Client {
	t.Helper()
	c := sandbox.NewClient(s.URL(), config.Secret(s.Token()))
	t.Cleanup(c.Close)
	return c
}
