package email

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/dispatch"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/provider"
	"candor/pkg/ratelimit"
	"candor/pkg/roster"
	"candor/pkg/topology"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

var refused = provider.Outcome{Class: provider.NotSent, Reason: "connection_refused"}

// next sends the next stride as a worker would, and says through which route.
func next(t *testing.T, r *round, n int) dispatch.Pace {
	t.Helper()
	p := r.Pace(0, 0)
	s := stride(n)
	s.Provider, s.Sender = p.Provider, p.Sender
	r.Send(t.Context(), s)
	return p
}

// Ten minutes for a relay to recover are the machine's, however fast the calendar goes.
func TestInARehearsalARouteIsLeftAloneForAsLong(t *testing.T) {
	t.Parallel()
	main := &carrier{}
	at := now
	c := clock.Fast(now, now, 3600).On(func() time.Time { return at }, nil)
	s := New(DefaultConfig(), []Route{{SendGrid, main}, {SMTP, &carrier{}}}, notice.NewLibrary(), optOuts{}, ids, c, zerolog.Nop())
	r := ready(t, s, declaration(t, 1), people(8)...)
	main.say(refused)
	next(t, r, 8)
	for _, tt := range []struct {
		passed time.Duration
		want   string
	}{{time.Minute, SMTP}, {10 * time.Minute, SendGrid}} {
		at = now.Add(tt.passed)
		r.chosen = false
		if p := r.Pace(0, 0); p.Provider != tt.want {
			t.Errorf("after %s the route is %s, want %s", tt.passed, p.Provider, tt.want)
		}
	}
}

func TestEmailsLeaveARouteThatFailsAndComeBack(t *testing.T) {
	t.Parallel()
	main, relay := &carrier{}, &carrier{}
	at := now
	var log bytes.Buffer
	routes := []Route{{SendGrid, main}, {SMTP, relay}}
	s := New(DefaultConfig(), routes, notice.NewLibrary(), optOuts{}, ids, showing(func() time.Time { return at }), zerolog.New(&log))
	d := declaration(t, 1)
	a, b := ready(t, s, d, people(8)...), ready(t, s, d, people(8)...)

	if p := next(t, a, 2); p.Provider != SendGrid || p.Sender != "notices@northwind.example" || p.PerSec != 100 {
		t.Fatalf("at first: %+v", p)
	}
	main.say(refused)
	next(t, a, 4)
	if p := a.Pace(0, 0); p.Provider != SendGrid {
		t.Errorf("left after four failures: %+v", p)
	}
	next(t, b, 1)
	// The stride that a has chosen meanwhile is chosen anew.
	if p := next(t, a, 8); p.Provider != SMTP || p.Sender != "relay@northwind.example" || p.PerSec != 20 {
		t.Errorf("after five failures: %+v", p)
	}
	for _, m := range relay.sent {
		if len(m.Recipients) != 1 || m.From != "relay@northwind.example" || m.FromName != "Northwind Power" {
			t.Errorf("a message of the relay to %d, from %s", len(m.Recipients), m.From)
		}
	}
	at = at.Add(10 * time.Minute)
	if p := a.Pace(0, 0); p.Provider != SendGrid || p.PerSec != trialPerSec {
		t.Errorf("after ten minutes: %+v, want a small trial", p)
	}
	if p := next(t, b, 2); p.Provider != SMTP {
		t.Errorf("%s beside a trial", p.Provider)
	}
	next(t, a, 2)
	if p := next(t, a, 2); p.Provider != SMTP {
		t.Errorf("%s after a trial that failed", p.Provider)
	}
	main.say(provider.Outcome{Class: provider.Accepted, ID: "x"})
	at = at.Add(10 * time.Minute)
	for range 3 {
		if p := next(t, a, 2); p.Provider != SendGrid || p.PerSec != trialPerSec {
			t.Errorf("%+v, want a trial", p)
		}
	}
	for _, r := range []*round{a, b} {
		if p := next(t, r, 2); p.Provider != SendGrid || p.PerSec != 100 {
			t.Errorf("%+v after three good trials", p)
		}
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"route":"sendgrid","reason":"connection_refused","next":"smtp"`) || !strings.Contains(lines[1], "again") {
		t.Errorf("%d lines: %s", len(lines), log.String())
	}
	if strings.Contains(log.String(), "@example.com") {
		t.Error("the log names a customer")
	}
}

// Requests whose end nobody knows leave as few people in doubt as can be: those of the stride that were not begun wait for the
// next route.
func TestTheRestOfAStrideLeavesTheRouteToo(t *testing.T) {
	t.Parallel()
	main, relay := &carrier{}, &carrier{}
	main.say(provider.Outcome{Reason: "http_503"})
	cfg := DefaultConfig()
	cfg.InFlight, cfg.Failover.After = 1, 3
	s := New(cfg, []Route{{SendGrid, main}, {SMTP, relay}}, notice.NewLibrary(), optOuts{}, ids, showing(func() time.Time { return now }), zerolog.Nop())
	r := ready(t, s, declaration(t, 1), people(20)...)
	p, st := r.Pace(0, 0), stride(20)
	st.Provider, st.Sender = p.Provider, p.Sender
	got := map[string]int{}
	for _, o := range r.Send(t.Context(), st) {
		got[fmt.Sprint(o.Class, " ", o.Reason)]++
	}
	doubtful, waiting := fmt.Sprint(provider.Unknown, " http_503"), fmt.Sprint(provider.NotSent, " not_begun")
	if got[doubtful] != 3 || got[waiting] != 17 || len(main.sent) != 3 {
		t.Errorf("outcomes %v after %d requests, want 3 in doubt", got, len(main.sent))
	}
	if p := next(t, r, 20); p.Provider != SMTP || len(relay.told()) != 20 {
		t.Errorf("then through %s, %d told", p.Provider, len(relay.told()))
	}
}

// The recipients of a request are no reason to leave.
func TestBadAddressesAreNoReasonToLeave(t *testing.T) {
	t.Parallel()
	main := &carrier{}
	main.say(provider.Outcome{Class: provider.BadAddress, Reason: "invalid_recipient"})
	s := New(DefaultConfig(), []Route{{SendGrid, main}, {SMTP, &carrier{}}}, notice.NewLibrary(), optOuts{}, ids, showing(func() time.Time { return now }), zerolog.Nop())
	r := ready(t, s, declaration(t, 1), people(50)...)
	next(t, r, 50)
	if p := r.Pace(0, 0); p.Provider != SendGrid {
		t.Errorf("left for %s", p.Provider)
	}
}

func TestRoutesWithoutASectionAreNotUsed(t *testing.T) {
	t.Parallel()
	both := []Route{{SendGrid, &carrier{}}, {SMTP, &carrier{}}}
	g, m := &playbook.SendGrid{RecipientsPerSec: 7, Batch: 9}, &playbook.SMTP{MessagesPerSec: 3}
	for _, tt := range []struct {
		routes    []Route
		providers playbook.Providers
		want      []int
	}{
		{both, playbook.Providers{SendGrid: g, SMTP: m}, []int{0, 1}},
		{both, playbook.Providers{SendGrid: g}, []int{0}},
		{both, playbook.Providers{SMTP: m}, []int{1}},
		{both[:1], playbook.Providers{SMTP: m}, nil},
		{both, playbook.Providers{}, nil},
	} {
		s := New(DefaultConfig(), tt.routes, nil, nil, nil, clock.Clock{}, zerolog.Nop())
		if _, usable := s.approved(&tt.providers); !slices.Equal(usable, tt.want) {
			t.Errorf("%d routes, %+v: %v, want %v", len(tt.routes), tt.providers, usable, tt.want)
		}
	}
}

// anytime is a courier whose customers have no quiet hours.
type anytime struct{ *Sender }

func (c anytime) Ready(p dispatch.Page) (dispatch.Round, error) {
	r, err := c.Sender.Ready(p)
	return awake{r}, err
}

type awake struct{ dispatch.Round }

func (r awake) Terms() dispatch.Terms {
	t := r.Round.Terms()
	t.Quiet = window.None()
	return t
}

type onePage struct{ page *roster.Page }

func (p onePage) OpenPage(context.Context, string, uint32, []byte) (*roster.Page, error) {
	return p.page, nil
}

// work has a worker with a real broker tell the people on one page until the queue is empty, and returns the page's journal
// and the providers that its entries name, by attempt.
func work(t *testing.T, s *Sender, d *candorv1.Declaration, page *roster.Page) (*journal.State, map[uint32][]string) {
	t.Helper()
	b := bustest.New(t)
	key := journal.Key{Channel: channel, Incident: d.GetIncident(), Wave: "w0"}
	hash := incident.Hash(d)
	log, inc := incident.NewLog(b, time.Now), &incident.Incident{ID: d.GetIncident()}
	for _, e := range []*candorv1.BreachEvent{
		{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1, Declaration: d, PlanHash: hash}}},
		{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1, PlanHash: hash}}},
	} {
		var err error
		if inc, err = log.Append(t.Context(), inc, incident.Service("test"), e); err != nil {
			t.Fatal(err)
		}
	}
	round, err := s.Ready(dispatch.Page{Key: key, Incident: inc, Roster: page})
	if err != nil {
		t.Fatal(err)
	}
	j := journal.New(b, bus.Direct{Bus: b, Stream: topology.StreamJournal}, time.Now)
	st, err := j.Load(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	e := j.Entry()
	e.Event = &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{
		PlanHash: hash, TextHash: round.Terms().TextHash, Slots: uint32(len(page.Customers)),
	}}
	if err := j.Fact(t.Context(), key, st, e); err != nil {
		t.Fatal(err)
	}
	order, err := proto.Marshal(&candorv1.Order{Incident: key.Incident, Wave: key.Wave, Channel: channel, Lane: topology.LaneFirst, PlanHash: hash})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(t.Context(), topology.StreamOrders, bus.Message{Subject: topology.Order(channel, topology.LaneFirst, key.Incident, key.Wave, 0), Data: order}); err != nil {
		t.Fatal(err)
	}
	kv, err := b.KV(t.Context(), topology.BucketLimits)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.SpillDir = t.TempDir()
	cfg.RequestTimeout, cfg.VisibilityLag = 200*time.Millisecond, 0
	cfg.RetryFirst, cfg.RetryMost, cfg.Hold = 10*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	reg := incident.NewRegistry(b)
	w, err := dispatch.New(cfg.Config, dispatch.Deps{
		Bus: b, Journal: j, Incidents: reg, Pages: onePage{page}, Limiter: ratelimit.New(kv, time.Now, zerolog.Nop()), Courier: anytime{s},
		BootID: 2, WorkerID: 1, Booted: time.Now(), Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = reg.Run(ctx) })
	running.Go(func() { _ = w.Run(ctx) })
	defer running.Wait()
	defer cancel()
	deadline, tick := time.NewTimer(3*time.Minute), time.NewTicker(5*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for {
		left, err := b.CountSubjects(t.Context(), topology.StreamOrders, ">")
		if err == nil && len(left) == 0 {
			break
		}
		select {
		case <-deadline.C:
			t.Fatal("the order was never done")
		case <-tick.C:
		}
	}
	if st, err = j.Load(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	named := map[uint32][]string{}
	if _, err := b.Read(t.Context(), topology.StreamJournal, ">", 1, func(m bus.Stored) error {
		e := &candorv1.JournalEntry{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return err
		}
		switch o := e.GetOutcomes(); {
		case e.GetIntent() != nil:
			named[e.GetIntent().GetAttempt()] = append(named[e.GetIntent().GetAttempt()], e.GetIntent().GetProvider())
		case o != nil:
			named[o.GetAttempt()] = append(named[o.GetAttempt()], o.GetProvider())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return st, named
}

// The one promise of fail-over: what may have been sent is never sent through the other provider.
func TestUncertainEmailsNeverTakeTheOtherRoute(t *testing.T) {
	t.Parallel()
	main, relay := &carrier{}, &carrier{}
	doubtful := map[string]bool{"p2@example.com": true, "p5@example.com": true}
	main.answer = func(r provider.Recipient) provider.Outcome {
		if doubtful[r.To.Reveal()] {
			return provider.Outcome{Reason: "timeout_after_write"}
		}
		return refused
	}
	cfg := DefaultConfig()
	cfg.Failover.After = 8 // as soon as everybody was tried
	s := New(cfg, []Route{{SendGrid, main}, {SMTP, relay}}, notice.NewLibrary(), optOuts{}, ids, clock.Clock{}, zerolog.Nop())
	page := &roster.Page{TimeZone: "America/New_York", Language: "en", Customers: people(8)}
	st, named := work(t, s, declaration(t, 1), page)

	told := relay.told()
	for i := range page.Customers {
		mailbox := fmt.Sprintf("p%d@example.com", i)
		state, reason := st.Notice(uint32(i))
		if doubtful[mailbox] {
			if state != candorv1.NoticeState_NOTICE_STATE_UNCERTAIN || told[mailbox] != 0 || main.told()[mailbox] != 1 {
				t.Errorf("customer %d: %v %s, %d through the relay, want uncertain and none", i, state, reason, told[mailbox])
			}
			continue
		}
		if state != candorv1.NoticeState_NOTICE_STATE_ACCEPTED || told[mailbox] != 1 {
			t.Errorf("customer %d: %v %s, %d through the relay, want accepted and one", i, state, reason, told[mailbox])
		}
	}
	if got := named[1]; !slices.Equal(got, []string{SendGrid, SendGrid}) {
		t.Errorf("the first attempt's entries name %v", got)
	}
	if got := slices.Compact(named[2]); !slices.Equal(got, []string{SMTP}) {
		t.Errorf("the second attempt's entries name %v", got)
	}
}
