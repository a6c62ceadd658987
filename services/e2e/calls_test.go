package e2e

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"

	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/dialer"
)

// centre runs the reference dialer against a queue until the returned func is called, which returns its counts.
func centre(t *testing.T, d *bench.Driver, seed uint64) (stop func() dialer.Stats) {
	t.Helper()
	queue, err := d.CallQueue(t.Context(), "centre")
	if err != nil {
		t.Fatal(err)
	}
	line, err := dialer.NewNetwork(seed, 6000, 0, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	cfg := dialer.DefaultConfig()
	cfg.Agents, cfg.Wait, cfg.Lease = 20, time.Second, 10*time.Second
	c, err := dialer.New(cfg, queue, line, time.Now, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return func() dialer.Stats {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("dialer: %v", err)
		}
		return c.Stats()
	}
}

// The owner of the queue is killed while it is worked off. Another process goes on, and the event log shows nothing of it but
// that another one owned it.
func TestTheCallQueueOutlivesItsOwner(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings["calls"] = "{renew_every: 500ms}"
	broker, services := s.split()
	const customers = 300
	inc := declare(t, s.driver, bench.Story{Incident: "calls", Customers: customers, CallsAlone: true})
	api := services["api"]
	queue := candorv1connect.NewCallQueueServiceClient(role(t, api.API, s.admin, "looker", candorv1.Role_ROLE_COMMANDER), api.API)
	done := func(least uint64) func() bool {
		return func() bool {
			q, err := queue.GetQueue(t.Context(), connect.NewRequest(&candorv1.GetQueueRequest{Incident: inc.GetId()}))
			return err == nil && q.Msg.GetStates()["done"] >= least
		}
	}
	until(t, "the queue is there", done(0))
	s.start("calls")
	stop := centre(t, s.driver, 7)
	until(t, "calls are made", done(20))
	services["calls"].kill()
	st, err := await(t, s.driver, inc.GetId(), func(st *candorv1.Status) bool { return bench.Resting(inc.GetPlan(), st) })
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	if !st.GetComplete() {
		t.Errorf("not complete: %v", st)
	}
	stats := stop()
	r, err := bench.CheckCalls(t.Context(), s.connect(broker.NATS, "api"))
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Tasks != customers || r.Owners < 2 || r.Leases < stats.Claimed || r.Completed < stats.Completed() {
		t.Errorf("the event log says %+v, the dialer %+v", r, stats)
	}
	if calls := channelOf(st, candorv1.Channel_CHANNEL_CALL); calls.GetStates()["delivered"] != r.Ends["done"] {
		t.Errorf("the ledger says %v, the event log %v", calls.GetStates(), r.Ends)
	}
}
