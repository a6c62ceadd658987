package team_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/incident"
	"candor/pkg/natsd"
	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
	"candor/pkg/ratelimit"
	board "candor/pkg/team"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/sandbox"
	"candor/services/team"
)

func whole(sent uint32) func(*board.Alert) bool {
	return func(a *board.Alert) bool { return a.GetSent() == sent }
}

func TestADraftThatWaitsIsToldAtNight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.now = night
	texts, mails := &phones{}, &mailboxes{}
	w.run(config(), texts, mails)
	w.draft("field-1", members)

	a := w.alert("field-1", "draft", whole(2))
	if len(texts.texts()) != 1 || len(mails.mails()) != 1 || a.GetFailed() != 0 {
		t.Fatalf("%d texts and %d mails, alert %v", len(texts.texts()), len(mails.mails()), a.Alert)
	}
	text, mail := texts.texts()[0], mails.mails()[0]
	if text.To.Reveal() != danaSMS || text.ID != "" || text.From == "" || text.Body != a.GetText() {
		t.Errorf("text %+v says %q", text, text.Body)
	}
	if mail.Recipients[0].To.Reveal() != danaMail || mail.Recipients[0].ID != "" || mail.From == "" ||
		mail.Text != a.GetText()+"\n" || mail.Subject != "[Candor] field-1: waits for approval" {
		t.Errorf("mail %+v says %q", mail, mail.Text)
	}
}

func TestAPauseHoldsUpNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	texts := &phones{}
	inc := w.event(w.event(w.draft("field-1", members), approved()), paused())
	w.run(config(), texts, &mailboxes{})
	w.alert("field-1", "paused", whole(3)) // Dana by both ways, and Erin
	w.alert("field-1", "declared", whole(2))
	if a, _ := board.NewLog(w.bus, w.machine).Load(t.Context(), "field-1"); len(a.Alerts()) != 2 {
		t.Errorf("%d alerts: what was approved before anybody could be told needs nobody", len(a.Alerts()))
	}
	to := map[string]int{}
	for _, m := range texts.texts() {
		to[m.To.Reveal()]++
	}
	if to[danaSMS] != 2 || to[erinSMS] != 1 {
		t.Errorf("Dana got %d and Erin %d", to[danaSMS], to[erinSMS])
	}
	w.event(inc, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	w.alert("field-1", "paused", func(a *board.Alert) bool { return a.GetOver() })
}

func TestRemindersUntilSomebodyAcknowledges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	texts := &phones{}
	w.run(config(), texts, &mailboxes{})
	w.draft("acked", members)
	w.draft("ignored", members)
	w.alert("acked", "draft", whole(2))
	w.alert("ignored", "draft", whole(2))
	w.advance(15 * time.Minute)
	first := w.alert("acked", "draft", whole(4))
	w.alert("ignored", "draft", whole(4))

	log := board.NewLog(w.bus, w.machine)
	b, err := log.Load(t.Context(), "acked")
	if err != nil {
		t.Fatal(err)
	}
	err = log.Decide(t.Context(), b, func() *candorv1.TeamEvent {
		return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Acknowledged{Acknowledged: &candorv1.AlertAcknowledged{Alert: first.GetId(), Person: "erin"}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.advance(15 * time.Minute)
	w.alert("ignored", "draft", whole(6))
	// Two were enough, and a day later nobody wants a third.
	w.advance(24 * time.Hour)
	w.draft("later", members)
	w.alert("later", "draft", whole(2))
	if got := w.alert("acked", "draft", func(a *board.Alert) bool { return a.GetAcknowledgedBy() == "erin" }); got.GetSent() != 4 {
		t.Errorf("%d messages about what Erin acknowledged, want 4", got.GetSent())
	}
	if got := w.alert("ignored", "draft", whole(6)); got.GetSent() != 6 {
		t.Errorf("%d messages, want 6", got.GetSent())
	}
	reminded := 0
	for _, m := range texts.texts() {
		if strings.HasPrefix(m.Body, "Reminder ") {
			reminded++
		}
	}
	if reminded != 3 {
		t.Errorf("%d reminders by text, want 3", reminded)
	}
}

func TestOldAlertsAreToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inc := w.event(w.draft("field-1", members), approved())
	w.advance(72 * time.Hour)
	texts := &phones{}
	stop := w.run(config(), texts, &mailboxes{})
	w.alert("field-1", "declared", whole(2))
	stop()
	w.advance(72 * time.Hour)
	w.event(inc, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "false alarm"}}})
	w.run(config(), texts, &mailboxes{})
	w.alert("field-1", "aborted", whole(2))
	if n := len(texts.texts()); n != 2 {
		t.Errorf("%d texts, want one of the declaration and one of the abort", n)
	}
}

func TestTwoProcessesTellOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	texts := &phones{}
	for range 3 {
		w.run(config(), texts, &mailboxes{})
	}
	for _, id := range []string{"one", "two", "three", "four"} {
		w.event(w.event(w.draft(id, members), approved()), paused())
	}
	for _, id := range []string{"one", "two", "three", "four"} {
		w.alert(id, "paused", whole(3))
		w.alert(id, "declared", whole(2))
	}
	told := map[string]int{}
	for _, m := range texts.texts() {
		told[m.To.Reveal()+m.Body]++
	}
	for what, n := range told {
		if n != 1 {
			t.Errorf("%d times %s", n, what[len(danaSMS):])
		}
	}
}

// TestACrashAfterTheHandOverTellsTwice stops a process between the hand-over and the word that it was done.
func TestACrashAfterTheHandOverTellsTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dead := make(chan struct{})
	first := &phones{answer: func(provider.SMS, int) provider.Outcome {
		<-dead
		return provider.Outcome{Class: provider.Accepted, ID: "SM1"}
	}}
	defer close(dead)
	busy := config()
	busy.InFlight = 1 // what comes back is for the second process
	w.run(busy, first, &mailboxes{})
	w.draft("field-1", members)
	w.until("the first process has handed over", func() bool { return len(first.texts()) == 1 })

	// Whoever starts again gives back what was in hand.
	if err := topology.Release(t.Context(), w.bus); err != nil {
		t.Fatal(err)
	}
	if err := topology.Apply(t.Context(), w.bus, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	second := &phones{}
	w.run(config(), second, &mailboxes{})
	w.alert("field-1", "draft", func(a *board.Alert) bool { return a.GetSent() >= 2 })
	if len(second.texts()) != 1 || second.texts()[0].To != first.texts()[0].To {
		t.Errorf("the second process sent %d texts", len(second.texts()))
	}
}

func TestMessagesThatAreNotTaken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		class    provider.Class
		reason   string
		messages int
	}{
		{"a number that does not exist", provider.BadAddress, "twilio_21211", 1},
		{"an account that is closed", provider.Misconfigured, "twilio_20003", 1},
		{"nobody there for long", provider.NotSent, "connection_refused", 4},
		{"no answer", provider.Unknown, "timeout_after_write", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			texts := &phones{answer: func(provider.SMS, int) provider.Outcome {
				return provider.Outcome{Class: tt.class, Reason: tt.reason}
			}}
			cfg := config()
			cfg.Tries = 4
			w.run(cfg, texts, &mailboxes{})
			w.draft("field-1", members)
			w.alert("field-1", "draft", func(a *board.Alert) bool { return a.GetFailed() == 1 && a.GetSent() == 1 })
			if n := len(texts.texts()); n != tt.messages {
				t.Errorf("%d messages, want %d", n, tt.messages)
			}
			log := w.log.String()
			for _, want := range []string{tt.reason, "commander on duty", "sealed:"} {
				if !strings.Contains(log, want) {
					t.Errorf("the log does not say %q: %s", want, log)
				}
			}
		})
	}
	t.Run("and then are", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		texts := &phones{answer: func(_ provider.SMS, n int) provider.Outcome {
			if n == 1 {
				return provider.Outcome{Class: provider.NotSent, Reason: "twilio_20429", Throttled: true}
			}
			return provider.Outcome{Class: provider.Accepted, ID: "SM2"}
		}}
		w.run(config(), texts, &mailboxes{})
		w.draft("field-1", members)
		if a := w.alert("field-1", "draft", whole(2)); a.GetFailed() != 0 {
			t.Errorf("alert %v", a.Alert)
		}
	})
}

func TestWithoutAProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(config(), nil, nil)
	w.draft("field-1", members)
	w.draft("field-2", members)
	for _, id := range []string{"field-1", "field-2"} {
		w.alert(id, "draft", func(a *board.Alert) bool { return a.GetFailed() == 2 && a.GetSent() == 0 })
	}
	if n := strings.Count(w.log.String(), "has no provider"); n != 2 {
		t.Errorf("said %d times, want once for each medium: %s", n, w.log)
	}
}

func TestAShreddedIncidentTellsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.draft("field-1", members)
	if err := w.vault.Shred("field-1"); err != nil {
		t.Fatal(err)
	}
	texts := &phones{}
	w.run(config(), texts, &mailboxes{})
	w.alert("field-1", "draft", func(a *board.Alert) bool { return a.GetFailed() == 2 })
	if len(texts.texts()) != 0 || !strings.Contains(w.log.String(), "shredded") {
		t.Errorf("%d texts, log %s", len(texts.texts()), w.log)
	}
}

// TestTheWebhookIsSigned has the sandbox check it, as a receiver would.
func TestTheWebhookIsSigned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, secret, seal string
		taken              bool
	}{
		{"with the receiver's secret", secret, "signed", true},
		{"with another one", "what-somebody-else-signs-with", "bad signature", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cfg := sandbox.DefaultConfig()
			cfg.TeamSecret = "a-secret-of-the-hook"
			if !tt.taken {
				cfg.TeamSecret = "another-secret-entirely"
			}
			box := newBox(t, cfg)
			w.run(config(), nil, nil)
			w.draft("field-1", hook(box.URL()+sandbox.TeamHookPath))
			a := w.alert("field-1", "draft", func(a *board.Alert) bool { return a.GetSent()+a.GetFailed() == 1 })
			posts := box.TeamPosts()
			if len(posts) != 1 || posts[0].Text != a.GetText() || posts[0].Seal != tt.seal || (a.GetSent() == 1) != tt.taken {
				t.Errorf("posts %+v, alert %v", posts, a.Alert)
			}
		})
	}
}

func TestTheWebhooksAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		answers []providertest.Answer
		taken   bool
		posts   int
	}{
		{"taken", []providertest.Answer{{Status: http.StatusOK, Body: "ok"}}, true, 1},
		{"no content", []providertest.Answer{{Status: http.StatusNoContent}}, true, 1},
		{"gone", []providertest.Answer{{Status: http.StatusGone}}, false, 1},
		{"elsewhere", []providertest.Answer{{Status: http.StatusTemporaryRedirect, Header: map[string]string{"Location": "/other"}}}, false, 1},
		{"down, then taken", []providertest.Answer{{Status: http.StatusBadGateway}, {Status: http.StatusTooManyRequests}, {Status: http.StatusOK}}, true, 3},
		{"cut, then taken", []providertest.Answer{{Fault: providertest.CloseAfterRead}, {Status: http.StatusOK}}, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := 0
			server := providertest.NewServer(t, func(providertest.Request) providertest.Answer {
				n++ // connections are used one after the other
				return tt.answers[min(n, len(tt.answers))-1]
			})
			w.run(config(), nil, nil)
			w.draft("field-1", hook(server.URL+"/services/"+hookToken))
			a := w.alert("field-1", "draft", func(a *board.Alert) bool { return a.GetSent()+a.GetFailed() == 1 })
			if len(server.Requests()) != tt.posts || (a.GetSent() == 1) != tt.taken {
				t.Errorf("%d posts, alert %v", len(server.Requests()), a.Alert)
			}
			r := server.Requests()[0]
			if r.Header.Get("Content-Type") != "application/json" || r.Body != `{"text":"`+a.GetText()+`"}` || r.Header.Get(team.HeaderTimestamp) == "" {
				t.Errorf("request %v: %s", r.Header, r.Body)
			}
			if strings.Contains(w.log.String(), hookToken) {
				t.Errorf("the log has the address: %s", w.log)
			}
		})
	}
}

// TestNoAddressIsKept looks through everything that the broker and the log hold.
func TestNoAddressIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	texts := &phones{answer: func(m provider.SMS, _ int) provider.Outcome {
		return provider.Outcome{Class: provider.BadAddress, Reason: "twilio_21211"}
	}}
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Fault: providertest.CloseAfterRead}))
	w.run(config(), texts, &mailboxes{})
	w.draft("field-1", members)
	w.draft("field-2", hook(server.URL+"/services/"+hookToken))
	w.alert("field-1", "draft", func(a *board.Alert) bool { return a.GetFailed() == 1 && a.GetSent() == 1 })
	w.alert("field-2", "draft", func(a *board.Alert) bool { return a.GetFailed() == 1 })
	messages := 0
	look := func(where string, data []byte) {
		for _, address := range []string{danaSMS, danaSMS[1:], danaMail, erinSMS, hookToken, secret, server.URL} {
			if bytes.Contains(data, []byte(address)) {
				t.Errorf("%s holds %s", where, address)
			}
		}
	}
	for _, stream := range []string{topology.StreamBreach, topology.StreamRoster, topology.StreamOrders, topology.StreamTeam, topology.StreamJournal} {
		_, err := w.bus.Read(t.Context(), stream, "", 1, func(m bus.Stored) error {
			messages++
			look(stream+" "+m.Subject, append([]byte(m.Subject), m.Data...))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if messages < 6 {
		t.Errorf("%d messages looked at: this test looks in the wrong place", messages)
	}
	look("the log", []byte(w.log.String()))
}

// TestOrdersThatSayNothing are those of incidents, alerts and members that there are not.
func TestOrdersThatSayNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	texts := &phones{}
	w.run(config(), texts, &mailboxes{})
	w.draft("field-1", members)
	a := w.alert("field-1", "draft", whole(2))
	for i, o := range []*candorv1.TeamOrder{
		{Incident: "nothing", Alert: "draft-1", Medium: "sms"},
		{Incident: "field-1", Alert: "draft-999", Medium: "sms"},
		{Incident: "field-1", Alert: a.GetId(), Medium: "sms", Member: 40},
		{Incident: "field-1", Alert: a.GetId(), Medium: "pigeon"},
		{Incident: "field-1", Alert: a.GetId(), Medium: "sms"},              // told already
		{Incident: "field-1", Alert: a.GetId(), Medium: "sms", Reminder: 2}, // not due
		nil,
	} {
		data := []byte{0xff}
		if o != nil {
			var err error
			if data, err = proto.Marshal(o); err != nil {
				t.Fatal(err)
			}
		}
		subject := topology.TeamOrder("sms", "field-1", "x", uint32(i))
		if _, err := w.bus.Append(t.Context(), topology.StreamOrders, bus.Message{Subject: subject, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	w.until("the orders are done", func() bool {
		left, err := w.bus.CountSubjects(t.Context(), topology.StreamOrders, "order.*.team.>")
		return err == nil && len(left) == 0
	})
	if n := len(texts.texts()); n != 1 {
		t.Errorf("%d texts, want the first one", n)
	}
}

func TestAnIncidentWithoutATeam(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(config(), &phones{}, &mailboxes{})
	w.event(&incident.Incident{ID: "alone"}, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{
		Drafted: &candorv1.Drafted{Revision: 1, Declaration: &candorv1.Declaration{Incident: "alone", Playbook: starter(t, "")}},
	}})
	w.draft("field-1", members)
	w.alert("field-1", "draft", whole(2))
	if b, err := board.NewLog(w.bus, w.machine).Load(t.Context(), "alone"); err != nil || len(b.Alerts()) != 0 {
		t.Errorf("alerts %v, %v", b.Alerts(), err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	if err := team.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := team.Config{LookEvery: -1, InFlight: 1000, RequestTimeout: time.Minute}.Validate()
	for _, want := range []string{"look_every", "in_flight", "request_timeout", "tries"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if _, err := team.New(team.Config{}, team.Deps{}); err == nil {
		t.Error("made of nothing")
	}
}

// TestTheNATSUserMayDoIt runs the service with the rights that a process of its own has.
func TestTheNATSUserMayDoIt(t *testing.T) {
	t.Parallel()
	public, seed, err := bus.NewUser()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "team.seed")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	publish, subscribe := topology.Permissions("team")
	server, b := bustest.Start(t, bustest.Options{
		Listen: "127.0.0.1:0", Users: []natsd.User{{Name: "team", NKeyPublic: public, Publish: publish, Subscribe: subscribe}},
	})
	w := newWorldOn(t, b)
	if w.as, err = bus.Connect(t.Context(), bus.Config{URL: server.ClientURL(), Name: "team", NKeySeedFile: file, RequestTimeout: bustest.Patience}, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.as.Close(context.WithoutCancel(t.Context())) })
	limits, err := w.as.KV(t.Context(), topology.BucketLimits)
	if err != nil {
		t.Fatal(err)
	}
	w.fast = ratelimit.New(limits, time.Now, zerolog.Nop())
	w.run(config(), &phones{}, &mailboxes{})
	w.draft("field-1", members)
	w.alert("field-1", "draft", whole(2))
}
