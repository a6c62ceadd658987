package planner

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL
)

func withCanary(n int) func(*playbook.Wave) {
	return func(w *playbook.Wave) {
		w.Guard = playbook.Guard{Canary: n, CanaryWait: time.Minute, Rejected: 0.2, Bounced: 0.2, Least: 4}
	}
}

// fared is the ledger's word on a canary that has ended, but for what edit changes of the text messages.
func fared(edit func(*candorv1.CanaryChannel)) func(*ledgerDouble) {
	text := &candorv1.CanaryChannel{Channel: sms, Notices: 5, Delivered: 5}
	if edit != nil {
		edit(text)
	}
	return func(l *ledgerDouble) {
		l.canary = &candorv1.CanaryResponse{Channels: []*candorv1.CanaryChannel{text, {Channel: email, Notices: 5, Delivered: 5}}}
	}
}

// newCanary has a canary of n notices out of three pages of four customers.
func newCanary(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t, nil, 1, 1, 1)
	w.tune(withCanary(n))
	w.withLedger().say(fared(nil))
	w.approve()
	return w
}

// out is whom the journals hold, by channel and page.
func (w *world) out(ch candorv1.Channel) (pages [3][]uint32) {
	w.Helper()
	for n := range pages {
		pages[n] = w.audience(key(ch, uint32(n)))
	}
	return pages
}

func equal(got, want [3][]uint32) bool {
	for i := range got {
		if !slices.Equal(got[i], want[i]) {
			return false
		}
	}
	return true
}

func everybody() [3][]uint32 { return [3][]uint32{{0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}} }

func TestACanaryGoesAheadAndTheOthersFollow(t *testing.T) {
	t.Parallel()
	w := newCanary(t, 6)
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.out(email), ([3][]uint32{{0, 1, 2, 3}, {0, 1}, nil}); !equal(got, want) {
		t.Errorf("canary = %v, want a page and a part of the next: %v", got, want)
	}
	if n := len(w.queue("order")); n != 4 {
		t.Errorf("%d orders, want those of two pages on two channels", n)
	}
	w.ledger.say(fared(func(c *candorv1.CanaryChannel) { c.Open = 1 }))
	w.look()
	if inc := w.reload(); inc.Canaries["w0"] != incident.CanaryOut || inc.Waves["w0"] != nil {
		t.Errorf("judged while a notice is open: %v", inc.Canaries)
	}
	w.ledger.say(fared(func(c *candorv1.CanaryChannel) {
		c.Delivered, c.Waiting, c.LastAcceptedAt = 4, 1, timestamppb.New(w.now)
	}))
	w.look()
	if inc := w.reload(); inc.Canaries["w0"] != incident.CanaryOut {
		t.Errorf("judged while a receipt may still come")
	}
	w.now = w.now.Add(time.Minute)
	w.look()
	inc := w.reload()
	if inc.Canaries["w0"] != incident.CanaryGood || inc.Waves["w0"].GetOrders() != 6 || inc.Waves["w0"].GetNotices() != 24 {
		t.Errorf("canary %v, wave %v, want it passed and 6 orders with 24 notices planned", inc.Canaries, inc.Waves["w0"])
	}
	for _, ch := range []candorv1.Channel{sms, email} {
		if got := w.out(ch); !equal(got, everybody()) {
			t.Errorf("channel %v: %v, want everybody once", ch, got)
		}
	}
	for page := range uint32(3) {
		if s := topology.Order(sms, topology.LaneFirst, id, "w0", page); !slices.Contains(w.queue("order"), s) {
			t.Errorf("no order %s", s)
		}
	}
}

// Customers whom a channel cannot reach say nothing about it, so they do not count as notices of a canary.
func TestACanaryCountsOnlyWhomTheChannelReaches(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(slot int, c *roster.Customer) {
		if slot == 0 {
			c.Phones, c.TextPhones = nil, 0
		}
	}, nil, 1, 1, 1)
	w.tune(withCanary(4))
	w.withLedger().say(fared(nil))
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.out(sms), ([3][]uint32{{0, 1, 2, 3}, {0, 1}, nil}); !equal(got, want) {
		t.Errorf("texts = %v, want %v: slot 0 of each page has no number", got, want)
	}
	if got, want := w.out(email), ([3][]uint32{{0, 1, 2, 3}, nil, nil}); !equal(got, want) {
		t.Errorf("e-mails = %v, want %v", got, want)
	}
}

func TestAWaveNoLargerThanItsCanaryGoesAtOnce(t *testing.T) {
	t.Parallel()
	w := newCanary(t, 12)
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	w.look()
	if w.reload().Waves["w0"] == nil || w.ledger.count("canary") != 0 {
		t.Error("it waits for a verdict about everybody")
	}
}

func TestABadCanaryPausesAndSaysWhy(t *testing.T) {
	t.Parallel()
	dead := func(w *world) {
		st := w.states()[key(sms, 0)]
		e := w.planner.journal.Entry()
		e.Event = &candorv1.JournalEntry_DeadLettered{DeadLettered: &candorv1.DeadLettered{Reason: "page cannot be opened"}}
		if err := w.planner.journal.Fact(w.Context(), key(sms, 0), st, e); err != nil {
			w.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		ledger func(*candorv1.CanaryChannel)
		do     func(*world)
		want   []string
	}{
		{"rejected", func(c *candorv1.CanaryChannel) {
			c.Delivered, c.Rejected = 3, 2
			c.Reasons = []*candorv1.ReasonCount{
				{State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "twilio_30007", Count: 2},
				{State: candorv1.NoticeState_NOTICE_STATE_DELIVERED, Reason: "other", Count: 3},
			}
		}, nil, []string{"2 of 5 text messages were rejected (40 %, more than 20 %), most often twilio_30007", "wave w0", "Nobody else"}},
		{"bounced, and more are under way", func(c *candorv1.CanaryChannel) { c.Delivered, c.Bounced, c.Open = 0, 2, 3 }, nil, []string{"2 of 5 text messages bounced"}},
		{"an order that is dead", func(c *candorv1.CanaryChannel) { c.Open = 4 }, dead, []string{"text messages cannot be worked off (page cannot be opened)"}},
		{"nobody can say", func(c *candorv1.CanaryChannel) {
			c.Open = 4
			c.Reasons = []*candorv1.ReasonCount{{State: candorv1.NoticeState_NOTICE_STATE_UNCERTAIN, Reason: "timeout", Count: 4}}
		}, nil, []string{"4 of its notices may have been sent"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newCanary(t, 5)
			if err := w.declared(); err != nil {
				t.Fatal(err)
			}
			if tt.do != nil {
				tt.do(w)
			}
			w.ledger.say(fared(tt.ledger))
			w.look()
			w.now = w.now.Add(w.planner.cfg.PutBackAgain)
			w.look()
			inc := w.reload()
			if inc.Canaries["w0"] != incident.CanaryBad || !inc.PausedFor(email) {
				t.Fatalf("canary %v, paused %v", inc.Canaries, inc.Paused)
			}
			for _, words := range tt.want {
				if !strings.Contains(inc.Reason, words) {
					t.Errorf("reason = %q, want it to say %q", inc.Reason, words)
				}
			}
			if _, err := w.bus.Last(t.Context(), topology.StreamBreach, topology.BreachFact(topology.FactPaused, id)); err != nil {
				t.Errorf("nobody was told of the pause: %v", err)
			}
			seq := inc.Seq
			w.look()
			if inc := w.reload(); inc.Seq != seq || len(w.audience(key(sms, 2))) != 0 {
				t.Error("it went on while it is paused, or said so twice")
			}
			w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
			w.look()
			if inc := w.reload(); inc.Waves["w0"] == nil || !equal(w.out(sms), everybody()) {
				t.Errorf("resumed by a person, and yet it does not go on: %v", w.out(sms))
			}
		})
	}
}

// Whatever moment a planner dies in, the next one ends with everybody in a journal, once.
func TestACanarySurvivesACrashAtAnyMoment(t *testing.T) {
	t.Parallel()
	w := newCanary(t, 6)
	w.crashes(func(ctx context.Context) error {
		inc, err := w.planner.log.Load(ctx, id)
		if err != nil {
			return err
		}
		return w.planner.declared(ctx, inc)
	})
	if got, want := w.out(email), ([3][]uint32{{0, 1, 2, 3}, {0, 1}, nil}); !equal(got, want) {
		t.Fatalf("canary = %v, want %v", got, want)
	}
	w.crashes(func(ctx context.Context) error {
		w.restart()
		w.tender.look(ctx)
		return nil
	})
	for _, ch := range []candorv1.Channel{sms, email} {
		if got := w.out(ch); !equal(got, everybody()) {
			t.Errorf("channel %v: %v, want everybody once", ch, got)
		}
	}
	if planned := w.reload().Waves["w0"]; planned.GetNotices() != 24 {
		t.Errorf("planned = %v", planned)
	}
	for page := range uint32(3) {
		for _, ch := range []candorv1.Channel{sms, email} {
			if s := topology.Order(ch, topology.LaneFirst, id, "w0", page); !slices.Contains(w.queue("order"), s) {
				t.Errorf("no order %s", s)
			}
		}
	}
}

// The same from scratch for every moment: what one crash leaves must not depend on what an earlier one had done.
func TestACanaryCutOffOnceConverges(t *testing.T) {
	t.Parallel()
	for n := int64(1); ; n += 5 {
		w := newCanary(t, 6)
		if err := w.declared(); err != nil {
			t.Fatal(err)
		}
		cut := w.crash(n, func(ctx context.Context) error { w.tender.look(ctx); return nil })
		w.restart()
		w.look()
		if got := w.out(sms); !equal(got, everybody()) || w.reload().Waves["w0"] == nil {
			t.Errorf("cut off at %d: %v, want everybody once", n, got)
		}
		if !cut {
			return
		}
	}
}

func TestAbortInTheMiddleOfACanarySealsEverything(t *testing.T) {
	t.Parallel()
	w := newCanary(t, 6)
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	stale := w.reload()
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "mistake"}}})
	res, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id})
	if err != nil {
		t.Fatal(err)
	}
	if res.GetJournals() != 6 {
		t.Errorf("%d journals sealed, want all 6", res.GetJournals())
	}
	// A planner that knows nothing of it lets the others follow.
	good := *stale
	good.Canaries = map[string]incident.Canary{"w0": incident.CanaryGood}
	if err := w.planner.declared(t.Context(), &good); err != nil {
		t.Fatal(err)
	}
	for k, st := range w.states() {
		if st.SealedFor == "" {
			t.Errorf("journal %s is not sealed", k)
		}
	}
	if got, want := w.out(sms), ([3][]uint32{{0, 1, 2, 3}, {0, 1}, nil}); !equal(got, want) {
		t.Errorf("after the seal there are %v in the journals, want %v", got, want)
	}
}

func TestAJournalOfAnotherPlanIsAnAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1)
	w.approve()
	inc := w.reload()
	jobs, err := w.planner.jobs(t.Context(), inc, "w0")
	if err != nil {
		t.Fatal(err)
	}
	j := jobs[0]
	j.opened = &candorv1.Opened{
		PlanHash: j.opened.GetPlanHash(), PageSha256: j.opened.GetPageSha256(), TextHash: j.opened.GetTextHash(), Slots: 4,
		Audience: journal.Runs([]uint32{1, 2}),
	}
	if err := w.planner.openEach(t.Context(), []job{j}); err != nil {
		t.Fatal(err)
	}
	if err := w.planner.plan(t.Context(), inc, "w0"); err == nil || !strings.Contains(err.Error(), "another plan") {
		t.Errorf("plan = %v, want an alarm: without a canary a part of the audience is none of this plan's", err)
	}
}
