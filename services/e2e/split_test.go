package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
)

func TestSeparateProcessesTellEverybodyOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	broker, services := s.split()
	services["second sms"] = s.start("sms")
	for _, story := range []bench.Story{{Incident: "sample", EmailBatch: 100}, {Incident: "large", Customers: 2000, EmailBatch: 100}} {
		v, err := s.driver.Tell(t.Context(), story, s.truth)
		whole(t, v, err, uint64(max(story.Customers, 12)))
	}
	for _, p := range services {
		p.stop()
	}
	broker.stop()
}

// Orders of a page may be in the queue more than once: resuming puts them back while the first ones are in hand.
func TestTwoWorkersOnTheSameOrdersNeverBothSend(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 20ms}}")
	_, services := s.split()
	s.start("sms")
	const customers = 400
	inc := declare(t, s.driver, bench.Story{Incident: "twice", Customers: customers, EmailBatch: 100})
	steer := s.steer(services["api"])
	for n := range uint64(5) {
		accepted(t, s.truth, 40*(n+1), 0)
		pauseAndResume(t, steer, inc.GetId())
	}
	whole(t, s.rest(inc.GetId()), nil, customers)
}

// A worker that is suspended between its intent and the requests cannot be fenced: its requests carry their own end.
func TestAWorkerThatSleptWhileAnotherTookOverSendsNothingAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 200ms}}") // enough is still to be sent when the test looks
	s.settings["sms"] = "{request_timeout: 5s, visibility_lag: 0s, retry_first: 100ms, pause_poll: 1s, in_flight: 4}"
	_, services := s.split()
	const customers = 200
	inc := declare(t, s.driver, bench.Story{Incident: "sleep", Customers: customers, EmailBatch: 100})
	accepted(t, s.truth, 10, 0) // strides are announced in full, four requests of them are under way
	asleep := services["sms"]
	asleep.signal(syscall.SIGSTOP)
	st, err := statusOf(t, s.driver, inc.GetId())
	if err != nil {
		t.Fatal(err)
	}
	if st.GetWaves()[0].GetChannels()[0].GetStates()["intended"] == 0 {
		t.Fatalf("the worker was not stopped in the middle of anything: %v", st)
	}
	s.start("sms")
	pauseAndResume(t, s.steer(services["api"]), inc.GetId()) // puts back the orders that the sleeper holds
	told := func() uint64 {
		truth, err := s.truth.Truth(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return truth.SMS.Accepted
	}
	v := s.rest(inc.GetId())
	whole(t, v, nil, customers)
	if v.Notices["sms"]["uncertain"] > 0 {
		t.Errorf("uncertain text messages were not settled: %+v", v)
	}
	before := told()
	asleep.signal(syscall.SIGCONT)
	asleep.stop() // with everything that it had in mind
	if after := told(); after != before {
		t.Errorf("the sleeper sent %d messages after it woke up", after-before)
	}
	whole(t, s.rest(inc.GetId()), nil, customers)
}

func TestWorkersWaitForABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		away func(s *site, broker, sms *process) (back func())
	}{
		{"restarted", func(s *site, broker, sms *process) func() {
			listen := strings.TrimPrefix(broker.NATS, "nats://")
			broker.stop()
			sms.says("connection to nats lost")
			return func() {
				s.start("nats", map[string]string{"nats": fmt.Sprintf("{listen: %q, free_space_mark: 1}", listen)})
			}
		}},
		{"killed", func(s *site, broker, sms *process) func() {
			listen := strings.TrimPrefix(broker.NATS, "nats://")
			broker.kill()
			sms.says("connection to nats lost")
			return func() {
				s.start("nats", map[string]string{"nats": fmt.Sprintf("{listen: %q, free_space_mark: 1}", listen)})
			}
		}},
		{"suspended", func(_ *site, broker, sms *process) func() {
			broker.signal(syscall.SIGSTOP)
			sms.says("outcomes wait for the journal")
			return func() { broker.signal(syscall.SIGCONT) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 250ms}}") // enough is still to be sent when the broker goes
			s.settings["sms"] = "{request_timeout: 5s, visibility_lag: 0s, retry_first: 100ms, in_flight: 8}"
			broker, services := s.split()
			const customers = 300
			inc := declare(t, s.driver, bench.Story{Incident: "away", Customers: customers, EmailBatch: 100})
			accepted(t, s.truth, 20, 0)
			tt.away(s, broker, services["sms"])()
			whole(t, s.rest(inc.GetId()), nil, customers)
		})
	}
}

func TestAnyServiceMayBeKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0', twilio: {latency: 20ms}, sendgrid: {latency: 50ms}, " +
		"receipts: {enabled: true, delay_final: 200ms, flush: 100ms, bounced: 0.05, undelivered: {30007: 0.05}, duplicate: 0.2, shuffle: 0.2}}")
	s.hear()
	s.settings["sms"] = "{request_timeout: 5s, visibility_lag: 0s, retry_first: 100ms, in_flight: 8, poll_after: 2s}"
	s.settings["email"] = "{request_timeout: 5s, visibility_lag: 0s, retry_first: 100ms, in_flight: 2}"
	s.settings["planner"] = "{sweep_every: 1s, poll_every: 2s}"
	_, services := s.split()
	const customers = 600
	inc := declare(t, s.driver, bench.Story{Incident: "kill", Customers: customers, EmailBatch: 5})
	for n, target := range []string{"planner", "ledger", "frontdoor", "email", "sms", "api"} {
		services[target].kill()
		services[target] = s.start(target)
		if target == "api" {
			s.drive(services[target])
		}
		accepted(t, s.truth, 30*uint64(n+1), 10*uint64(n+1))
	}
	// What a worker had in hand comes back when the broker has waited for it, or at once when somebody resumes.
	pauseAndResume(t, s.steer(services["api"]), inc.GetId())
	v := heard(t, s.driver, s.truth, inc)
	// Of what the worker of e-mails had announced when it was killed, and not sent, nobody can say that it was not.
	if n := v.Notices["sms"]; v.Lost != 0 || v.Duplicates != 0 || v.Disagree != 0 || n["delivered"]+n["failed"]+n["suppressed"] != customers || v.UncertainSent["email"] > 0 {
		t.Errorf("verdict = %+v", v)
	}
}

func TestEveryUserMayDoItsOwnWorkAndNoOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings["nats"] = "{listen: '127.0.0.1:0', free_space_mark: 1}"
	broker := s.start("nats")
	api := s.connect(broker.NATS, "api")
	order := topology.Order(candorv1.Channel_CHANNEL_SMS, topology.LaneFirst, "inc", "w0", 1)
	journal := topology.Journal(candorv1.Channel_CHANNEL_SMS, "inc", "w0", 1)
	kv, err := api.KV(t.Context(), topology.BucketTokens)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "token", []byte("hash")); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Append(t.Context(), topology.StreamRoster, bus.Message{Subject: topology.Page("inc", 1), Data: []byte("page")}); err != nil {
		t.Fatal(err)
	}

	put := func(stream, subject string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Append(ctx, stream, bus.Message{Subject: subject, Data: []byte("x")})
			return err
		}
	}
	read := func(stream, subject string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Last(ctx, stream, subject)
			return err
		}
	}
	token := func(ctx context.Context, b *bus.Bus) error {
		kv, err := b.KV(ctx, topology.BucketTokens)
		if err != nil {
			return err
		}
		_, _, err = kv.Get(ctx, "token")
		return err
	}
	var wg sync.WaitGroup
	users := map[string]*bus.Bus{}
	for _, user := range []string{"sms", "email", "ledger", "planner", "frontdoor", topology.Declarer} {
		users[user] = s.connect(broker.NATS, user)
	}
	for _, tt := range []struct {
		user, what string
		try        func(context.Context, *bus.Bus) error
		may        bool
	}{
		{"sms", "write its journal", put(topology.StreamJournal, journal), true},
		{"sms", "read sealed pages", read(topology.StreamRoster, topology.Page("inc", 1)), true},
		{"sms", "give orders", put(topology.StreamOrders, order), false},
		{"sms", "write the journal of e-mails", put(topology.StreamJournal, topology.Journal(candorv1.Channel_CHANNEL_EMAIL, "inc", "w0", 1)), false},
		{"sms", "approve an incident", put(topology.StreamBreach, topology.Breach("inc")), false},
		{"sms", "put pages", put(topology.StreamRoster, topology.Page("inc", 2)), false},
		{"sms", "read tokens", token, false},
		{"sms", "read tokens' stream", read("KV_"+topology.BucketTokens, "$KV."+topology.BucketTokens+".token"), false},
		{"sms", "purge", func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Purge(ctx, topology.StreamRoster, topology.Pages("inc"))
			return err
		}, false},
		{"email", "give orders", put(topology.StreamOrders, order), false},
		{"email", "write the journal of text messages", put(topology.StreamJournal, journal), false},
		{"email", "read tokens", token, false},
		{"ledger", "read journals", read(topology.StreamJournal, journal), true},
		{"ledger", "write a journal", put(topology.StreamJournal, journal), false},
		{"ledger", "give orders", put(topology.StreamOrders, order), false},
		{"ledger", "read tokens", token, false},
		{"planner", "give orders", put(topology.StreamOrders, order), true},
		{"frontdoor", "write receipts", put(topology.StreamReceipts, topology.Receipt(candorv1.Channel_CHANNEL_SMS, "inc", "w0", 1)), true},
		{"frontdoor", "read sealed pages", read(topology.StreamRoster, topology.Page("inc", 1)), false},
		{"frontdoor", "read journals", read(topology.StreamJournal, journal), false},
		{"frontdoor", "write a journal", put(topology.StreamJournal, journal), false},
		{"frontdoor", "give orders", put(topology.StreamOrders, order), false},
		{"frontdoor", "approve an incident", put(topology.StreamBreach, topology.Breach("inc")), false},
		{"frontdoor", "read tokens", token, false},
		{"frontdoor", "purge receipts", func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Purge(ctx, topology.StreamReceipts, "receipt.>")
			return err
		}, false},
		{"sms", "write receipts", put(topology.StreamReceipts, topology.Receipt(candorv1.Channel_CHANNEL_SMS, "inc", "w0", 1)), false},
		{topology.Declarer, "read sealed pages", read(topology.StreamRoster, topology.Page("inc", 1)), false},
		{topology.Declarer, "approve an incident", put(topology.StreamBreach, topology.Breach("inc")), false},
		{topology.Declarer, "read tokens", token, false},
	} {
		wg.Go(func() {
			if tt.user == "ledger" && tt.may { // which needs what sms writes
				until(t, "the journal has an entry", func() bool { return tt.try(t.Context(), users[tt.user]) == nil })
				return
			}
			// The broker says nothing to who may not.
			timeout := patience
			if !tt.may {
				timeout = 2 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			if err := tt.try(ctx, users[tt.user]); (err == nil) != tt.may {
				t.Errorf("%s: %s: %v, allowed: %v", tt.user, tt.what, err, tt.may)
			}
		})
	}
	wg.Wait()
	for subject, most := range map[string]int{order: 1, topology.Breach("inc"): 0, topology.Page("inc", 2): 0} {
		for _, stream := range []string{topology.StreamOrders, topology.StreamBreach, topology.StreamRoster} {
			n, err := api.CountSubjects(t.Context(), stream, subject)
			if err != nil {
				t.Fatal(err)
			}
			if len(n) > most {
				t.Errorf("%s was written to by somebody who may not", subject)
			}
		}
	}
}

func TestWithoutCredentialsThereIsNoRoadIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.settings["nats"] = "{listen: '127.0.0.1:0', free_space_mark: 1}"
	p := s.start("all,sandbox")
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.NATS, "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }() // the broker has closed it
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprint(conn, "CONNECT {\"verbose\":false}\r\nSUB > 1\r\nPUB breach.declare 2\r\n{}\r\nPING\r\n"); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(conn)
		refused := false
		for lines.Scan() {
			refused = refused || strings.Contains(lines.Text(), "Authorization Violation")
			if lines.Text() == "PONG" {
				t.Error("the broker answers")
			}
		}
		if !refused {
			t.Error("the broker did not say Authorization Violation")
		}
	})
	t.Run("another installation's key", func(t *testing.T) {
		t.Parallel()
		other := newSite(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		b, err := bus.Connect(ctx, bus.Config{URL: p.NATS, Name: "api", NKeySeedFile: other.keys() + "/nats/api.seed"}, zerolog.Nop())
		if err == nil {
			_ = b.Close(ctx) // it must not be open
			t.Error("the broker let a foreign key in")
		}
	})
	t.Run("the declarer without a token", func(t *testing.T) {
		t.Parallel()
		b := s.connect(p.NATS, topology.Declarer)
		_, err := b.Request(t.Context(), topology.Declare, []byte(`{"incident":"sneak"}`), map[string]string{"Content-Type": "application/json"})
		if err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("a declaration without a token: %v", err)
		}
	})
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		c := httpClient(t)
		_, err := candorv1connect.NewIncidentServiceClient(c, p.API).ListIncidents(t.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
		if connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("a list without a token: %v", err)
		}
	})
}
