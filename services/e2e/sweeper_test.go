package e2e

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
)

// putBack are the pages whose orders a process has put back, by what it logged.
func putBack(t *testing.T, p *process, incident string) map[topology.PageKey]bool {
	t.Helper()
	pages := map[topology.PageKey]bool{}
	for line := range strings.Lines(p.said()) {
		var said struct {
			Message, Incident, Wave, Channel string
			Page                             uint32
		}
		if json.Unmarshal([]byte(line), &said) != nil || said.Message != "order put back" || said.Incident != incident {
			continue
		}
		ch, _ := topology.ParseChannel(said.Channel)
		pages[topology.PageKey{Channel: ch, Incident: incident, Wave: said.Wave, Page: said.Page}] = true
	}
	return pages
}

func TestOrdersThatVanishComeBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 250ms}, sendgrid: {latency: 200ms}}")
	s.settings["nats"] = "{listen: '127.0.0.1:0', free_space_mark: 1}"
	s.settings["sms"] = "{request_timeout: 5s, visibility_lag: 0s, retry_first: 200ms, in_flight: 12, pages: 2}"
	s.settings["email"] = "{request_timeout: 5s, visibility_lag: 0s, retry_first: 200ms, in_flight: 2, pages: 2, shared_intent: 10}"
	p := s.start("all")
	s.drive(p)
	const customers = 800
	inc := declare(t, s.driver, bench.Story{Incident: "vanish", Customers: customers, EmailBatch: 20})
	accepted(t, s.truth, 20, 20)

	seed := rand.Uint64() //nolint:gosec // which orders vanish is no secret
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // as above
	vanish := func(p *process) map[topology.PageKey]bool {
		broker := s.connect(p.NATS, "planner") // who may purge orders
		gone := map[topology.PageKey]bool{}
		for _, filter := range topology.OrdersOf(inc.GetId()) {
			orders, err := broker.CountSubjects(t.Context(), topology.StreamOrders, filter)
			if err != nil {
				t.Fatal(err)
			}
			for _, subject := range slices.Sorted(maps.Keys(orders)) {
				k, _, ok := topology.ParseOrder(subject)
				if !ok {
					k, _, ok = topology.ParseLater(subject)
				}
				if !ok || rnd.IntN(2) == 0 {
					continue
				}
				n, err := broker.Purge(t.Context(), topology.StreamOrders, subject)
				if err != nil {
					t.Fatal(err)
				}
				if n > 0 { // or it was done meanwhile
					gone[k] = true
				}
			}
		}
		return gone
	}
	check := func(p *process, gone map[topology.PageKey]bool, fresh int) {
		t.Helper()
		if fresh < 3 { // how many are left depends on the machine
			t.Fatalf("only %d orders vanished", fresh)
		}
		// That all do shows in the end: pages without an order do not come to theirs. Those in hand may need none.
		until(t, "orders come back", func() bool { return len(putBack(t, p, inc.GetId())) > 0 })
		for k := range putBack(t, p, inc.GetId()) {
			if !gone[k] {
				t.Errorf("the order of page %d, %s was put back, and it was there", k.Page, topology.ChannelToken(k.Channel))
			}
		}
	}
	gone := vanish(p)
	check(p, gone, len(gone))
	// Others vanish, and whoever would have worked them off and whoever would have missed them are killed. Some of the first
	// ones may not be back yet.
	others := vanish(p)
	maps.Copy(gone, others)
	p.kill()
	p = s.start("all")
	s.drive(p)
	check(p, gone, len(others))
	v := s.rest(inc.GetId())
	if v.Lost != 0 || v.Duplicates != 0 || v.Notices["sms"]["accepted"]+v.Notices["sms"]["suppressed"] != customers {
		t.Errorf("verdict = %+v", v)
	}
	st, err := statusOf(t, s.driver, inc.GetId())
	if err != nil || len(st.GetStuck()) > 0 || len(st.GetDamage()) > 0 || channelOf(st, candorv1.Channel_CHANNEL_EMAIL).GetStates()["planned"] > 0 {
		t.Errorf("status: %v, %v", st, err)
	}
}
