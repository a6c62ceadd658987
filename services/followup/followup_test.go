package followup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/incident"
	"candor/pkg/natsd"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestAFollowUpIsDecidedAtItsHourAndThePlannerIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.background(w.service().Run)
	w.until(func() bool { return w.alarmAt(acme, "follow-up").Equal(york(23, 10, 0)) }, "the alarm is set")
	w.clock.set(york(23, 9, 59))
	w.pause("other") // a change of something else, after which everybody looks
	if got := w.decisions(acme); len(got) != 0 {
		t.Errorf("decided before its hour: %q", got)
	}
	w.clock.set(york(23, 10, 1))
	w.wants(acme, "daily 11-23 15:00 send w1: prepared")
	w.until(func() bool { return w.told(acme) == w.load(acme).Seq }, "the planner is told")
	if got := w.alarmAt(acme, "follow-up"); !got.Equal(york(24, 10, 0)) {
		t.Errorf("the next alarm is set to %s", got)
	}
	if d := w.load(acme).Decisions[0]; d.GetBase() != "standing" || d.By != "followup" {
		t.Errorf("decided %+v", d)
	}
}

func TestAnAlarmWakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now().UTC()
	w.clock.set(now)
	w.declare(acme, "")
	f := w.service()
	f.cfg.LookEvery = time.Minute // a look is of no help
	// The clock of the service stands still until the alarm has gone off, and goes on only then.
	w.approve(acme, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, At: timestamppb.New(now.Add(time.Second))})
	w.background(f.Run)
	w.until(func() bool { // on a slow machine it goes off at once
		return w.alarmAt(acme, "w1").Equal(now.Add(time.Second)) || w.timetable("due.>") == 1
	}, "the alarm is set")
	w.until(func() bool { return w.timetable("due.>") == 1 }, "the alarm goes off, early by our clock")
	if got := w.decisions(acme); len(got) != 0 {
		t.Errorf("woken too early it decides %q", got)
	}
	w.clock.set(now.Add(time.Second))
	w.until(func() bool { return len(w.decisions(acme)) == 1 }, "it is decided")
	w.until(func() bool { return w.timetable(">") == 0 }, "the alarm is acknowledged")
}

func TestAlarmsThatBelongToNothingAreAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	for _, subject := range []string{topology.Due("gone-2020", "daily"), topology.Due(acme, "monthly"), topology.Due(acme, "w9"), "due.all.x"} {
		if _, err := w.bus.Append(t.Context(), topology.StreamTimetable, bus.Message{Subject: subject}); err != nil {
			t.Fatal(err)
		}
	}
	w.background(w.service().Run)
	w.until(func() bool { return w.timetable("due.>") == 0 }, "all are acknowledged")
	if got := w.decisions(acme); len(got) != 0 {
		t.Errorf("decided %q", got)
	}
}

func TestWokenAgainAndAgainItDecidesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.clock.set(york(23, 10, 0))
	for range 5 {
		if _, err := w.bus.Append(t.Context(), topology.StreamTimetable, bus.Message{Subject: topology.Due(acme, "daily")}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // as many processes
		w.background(w.service().Run)
	}
	w.until(func() bool { return w.timetable("due.>") == 0 }, "all alarms are acknowledged")
	w.wants(acme, "daily 11-23 15:00 send w1: prepared")
	w.planned(acme, "w1")
	for day := 24; day < 28; day++ {
		w.clock.set(york(day, 10, 0))
		w.until(func() bool { return len(w.load(acme).Decisions) == day-22 }, "the next one is decided")
		w.planned(acme, fmt.Sprintf("w%d", day-22))
	}
	w.wants(acme,
		"daily 11-23 15:00 send w1: prepared", "daily 11-24 15:00 send w2: prepared", "daily 11-25 15:00 send w3: prepared",
		"daily 11-26 15:00 send w4: prepared", "daily 11-27 15:00 send w5: prepared")
}

func TestAlarmsAreSetAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.approve(acme, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, At: timestamppb.New(york(29, 12, 0))})
	w.background(w.service().Run)
	both := func() bool {
		return w.alarmAt(acme, "follow-up").Equal(york(23, 10, 0)) && w.alarmAt(acme, "w1").Equal(york(29, 12, 0))
	}
	w.until(both, "both alarms are set")
	if _, err := w.bus.Purge(t.Context(), topology.StreamTimetable, topology.Timetable(acme, "*")); err != nil {
		t.Fatal(err)
	}
	w.until(both, "lost alarms are set again")
	other := york(30, 1, 0)
	if err := w.bus.Schedule(t.Context(), topology.Timetable(acme, "w1"), topology.Due(acme, "w1"), other, nil, map[string]string{headerAt: other.Format(time.RFC3339Nano)}); err != nil {
		t.Fatal(err)
	}
	w.until(both, "an alarm that is set to another hour is set right")
	if n := w.timetable("timetable.>"); n != 2 {
		t.Errorf("%d alarms are set, want 2", n)
	}
}

func TestStoppedOverTwoDueTimes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		at   time.Time
		want []string
	}{
		{"one is sent within its tolerance", york(24, 11, 30), []string{"daily 11-23 15:00 skip: missed", "daily 11-24 15:00 send w1: prepared"}},
		{"a person is asked later", york(24, 13, 0), []string{"daily 11-23 15:00 skip: missed", "daily 11-24 15:00 ask: late"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.declare(acme, daily)
			stop := w.background(w.service().Run)
			w.until(func() bool { return !w.alarmAt(acme, "follow-up").IsZero() }, "the alarm is set")
			stop()
			w.clock.set(tt.at)
			stop = w.background(w.service().Run)
			w.wants(acme, tt.want...)
			w.until(func() bool { return w.alarmAt(acme, "follow-up").Equal(york(25, 10, 0)) }, "the next alarm is set")
			stop()
			again := w.service()
			if err := w.look(t.Context(), again, acme); err != nil {
				t.Fatal(err)
			}
			w.wants(acme, tt.want...)
		})
	}
}

func TestTheRightHour(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, cadence       string
		declared, due, next time.Time
	}{
		{
			"before and after the clocks go forward in New York", `{name: weekly, every: "sun 10:00", send: standing}`,
			time.Date(2038, 3, 6, 12, 0, 0, 0, time.UTC), time.Date(2038, 3, 7, 15, 0, 0, 0, time.UTC), time.Date(2038, 3, 14, 14, 0, 0, 0, time.UTC),
		},
		{
			"before and after they go back", `{name: weekly, every: "sun 10:00", send: standing}`,
			time.Date(2037, 10, 24, 12, 0, 0, 0, time.UTC), time.Date(2037, 10, 25, 14, 0, 0, 0, time.UTC), time.Date(2037, 11, 1, 15, 0, 0, 0, time.UTC),
		},
		{
			"the twenty-ninth of February", `{name: weekly, every: "tue 10:00", send: standing}`,
			time.Date(2056, 2, 28, 12, 0, 0, 0, time.UTC), time.Date(2056, 2, 29, 15, 0, 0, 0, time.UTC), time.Date(2056, 3, 7, 15, 0, 0, 0, time.UTC),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.clock.set(tt.declared)
			w.declare(acme, "\nfollow_ups:\n  cadence:\n    - "+tt.cadence+"\n")
			f := w.service()
			w.clock.set(tt.due.Add(-time.Second))
			if err := w.look(t.Context(), f, acme); err != nil {
				t.Fatal(err)
			}
			if got := w.alarmAt(acme, "follow-up"); !got.Equal(tt.due) {
				t.Errorf("the alarm is set to %s, want %s", got, tt.due)
			}
			w.wants(acme)
			w.clock.set(tt.due)
			if err := w.look(t.Context(), f, acme); err != nil {
				t.Fatal(err)
			}
			w.wants(acme, "weekly "+tt.due.Format("01-02 15:04")+" send w1: prepared")
			if got := w.alarmAt(acme, "follow-up"); !got.Equal(tt.next) {
				t.Errorf("the next alarm is set to %s, want %s", got, tt.next)
			}
		})
	}
}

func TestNothingIsDecidedWhilePausedAndClosingTakesTheAlarmsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.declare("other", daily)
	w.approve(acme, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, At: timestamppb.New(york(28, 12, 0))})
	w.background(w.service().Run)
	w.until(func() bool { return w.timetable("timetable.>") == 3 }, "the alarms are set")
	w.pause(acme)
	w.clock.set(york(23, 10, 1))
	w.wants("other", "daily 11-23 15:00 send w1: prepared")
	w.until(func() bool { return w.alarmAt(acme, "follow-up").Equal(york(24, 10, 0)) }, "a paused incident is looked at")
	w.wants(acme)
	w.clock.set(york(23, 11, 0))
	w.event(acme, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{}}})
	w.wants(acme, "daily 11-23 15:00 send w2: prepared")
	w.event(acme, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{}}})
	w.until(func() bool { return w.timetable("timetable."+acme+".*") == 0 }, "its alarms are taken away")
	w.planned("other", "w1")
	w.clock.set(york(24, 10, 1))
	w.wants("other", "daily 11-23 15:00 send w1: prepared", "daily 11-24 15:00 send w2: prepared")
	w.wants(acme, "daily 11-23 15:00 send w2: prepared")
	if n := w.timetable("timetable." + acme + ".*"); n != 0 {
		t.Errorf("%d alarms are set for an incident that is closing", n)
	}
}

func TestTwoNeverOverlap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.clock.set(york(23, 9, 58))
	w.approve(acme, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate})
	w.background(w.service().Run)
	w.wants(acme, "w1 11-23 14:58 send w1: news")
	w.clock.set(york(23, 10, 0))
	w.until(func() bool { return w.alarmAt(acme, "follow-up").Equal(york(24, 10, 0)) }, "the following alarm is set")
	w.ledger.say(func(l *ledgerDouble) { l.open = map[string]bool{"w1": true} })
	before := w.ledger.count()
	w.planned(acme, "w1")
	w.until(func() bool { return w.ledger.count() > before+1 }, "the ledger is asked where the update stands")
	w.wants(acme, "w1 11-23 14:58 send w1: news")
	w.ledger.say(func(l *ledgerDouble) { l.open, l.lag = nil, true })
	before = w.ledger.count()
	w.until(func() bool { return w.ledger.count() > before+1 }, "a ledger that lags is asked again")
	w.wants(acme, "w1 11-23 14:58 send w1: news")
	w.ledger.say(func(l *ledgerDouble) { l.lag = false })
	w.wants(acme, "w1 11-23 14:58 send w1: news", "daily 11-23 15:00 send w2: prepared")
}

func TestWhatWaitsIsWrittenDownOnceAndIsNotLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.approve(acme, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate})
	f := w.service()
	w.ledger.say(func(l *ledgerDouble) { l.open = map[string]bool{"w1": true} })
	if err := w.look(t.Context(), f, acme); err != nil {
		t.Fatal(err)
	}
	w.planned(acme, "w1")
	for _, at := range []time.Time{york(23, 10, 0), york(23, 12, 30), york(23, 20, 0)} {
		w.clock.set(at)
		for range 2 {
			if err := w.look(t.Context(), w.service(), acme); err != nil {
				t.Fatal(err)
			}
		}
	}
	if inc := w.load(acme); len(inc.Holds) != 1 || !inc.HeldSince("daily", york(23, 10, 0)).Equal(york(23, 10, 0)) {
		t.Errorf("holds = %v", inc.Holds)
	}
	w.ledger.say(func(l *ledgerDouble) { l.open = nil })
	if err := w.look(t.Context(), w.service(), acme); err != nil {
		t.Fatal(err)
	}
	w.wants(acme, "w1 11-23 09:00 send w1: news", "daily 11-23 15:00 send w2: prepared")
}

func TestNobodyWasTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.ledger.say(func(l *ledgerDouble) { l.told = false })
	w.clock.set(york(23, 10, 0))
	w.background(w.service().Run)
	w.wants(acme, "daily 11-23 15:00 skip: nobody_told")
}

func TestNewsAnswersAQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, "\nfollow_ups:\n  cadence: [{name: daily, every: \"day 10:00\"}]\n")
	w.clock.set(york(23, 10, 0))
	w.background(w.service().Run)
	w.wants(acme, "daily 11-23 15:00 ask: no_text")
	w.clock.set(york(23, 16, 0))
	w.approve(acme, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, WithNext: true})
	w.wants(acme, "daily 11-23 15:00 ask: no_text", "daily 11-23 15:00 send w1: news")
}

func TestWithoutALedgerNothingIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(acme, daily)
	w.clock.set(york(23, 10, 0))
	f := w.service()
	w.ledger.say(func(l *ledgerDouble) { l.lag = true })
	if err := w.look(t.Context(), f, acme); !errors.Is(err, errBehind) {
		t.Errorf("look = %v, want %v", err, errBehind)
	}
	w.wants(acme)
	if got := w.alarmAt(acme, "follow-up"); !got.Equal(york(24, 10, 0)) {
		t.Errorf("the following alarm is set to %s", got)
	}
}

// TestCutOffAnywhere stops the service at each of its steps, over two due times with news, and starts another.
func TestCutOffAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cut := 0
	for n := int64(1); ; n++ {
		id := fmt.Sprintf("acme-%d", n)
		w.clock.set(begun)
		w.declare(id, daily)
		w.approve(id, &candorv1.Addition{Wave: "w1", Kind: incident.KindUpdate, WithNext: true})
		w.approve(id, &candorv1.Addition{Wave: "w2", Kind: incident.KindUpdate, WithNext: true})
		if err := w.look(t.Context(), w.service(), id); err != nil {
			t.Fatal(err)
		}
		w.clock.set(york(24, 10, 30))
		died := w.crash(n, func(ctx context.Context) error { return w.look(ctx, w.service(), id) })
		if err := w.look(t.Context(), w.service(), id); err != nil {
			t.Fatal(err)
		}
		w.wants(id, "w1 11-23 09:00 skip: superseded", "daily 11-23 15:00 skip: missed", "daily 11-24 15:00 send w2: news")
		if got := w.alarmAt(id, "follow-up"); !got.Equal(york(25, 10, 0)) {
			t.Errorf("cut off at step %d: the next alarm is set to %s", n, got)
		}
		if w.told(id) != w.load(id).Seq {
			t.Errorf("cut off at step %d: the planner was told of event %d of %d", n, w.told(id), w.load(id).Seq)
		}
		if !died {
			break
		}
		cut++
	}
	if cut < 10 {
		t.Errorf("it was cut off %d times, and has more steps", cut)
	}
}

func TestCutOffWhileTheAlarmsAreTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := int64(1); ; n++ {
		id := fmt.Sprintf("acme-%d", n)
		w.declare(id, daily)
		if err := w.look(t.Context(), w.service(), id); err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{topology.Due(id, "daily"), topology.Due(id, "w9")} {
			if _, err := w.bus.Append(t.Context(), topology.StreamTimetable, bus.Message{Subject: subject}); err != nil {
				t.Fatal(err)
			}
		}
		w.event(id, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{}}})
		died := w.crash(n, func(ctx context.Context) error { return w.look(ctx, w.service(), id) })
		f := w.service()
		for range 2 {
			if err := w.look(t.Context(), f, id); err != nil {
				t.Fatal(err)
			}
		}
		if left := w.timetable(">"); left != 0 {
			t.Errorf("cut off at step %d: %d messages are left", n, left)
		}
		if !died {
			return
		}
	}
}

func TestTenIncidentsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := map[string]int{}
	for n := range 10 {
		id := fmt.Sprintf("acme-%d", n)
		// Every one to ten hours after the first notice: as many as fit into ten hours.
		var lines []string
		for k := 1; k*(n+1) <= 10; k++ {
			lines = append(lines, fmt.Sprintf("    - {name: f%d, after: %dh, send: standing, if_late: skip}", k, k*(n+1)))
		}
		want[id] = len(lines)
		w.declare(id, "\nfollow_ups:\n  apart: 30m\n  cadence:\n"+strings.Join(lines, "\n")+"\n")
	}
	for range 2 {
		w.background(w.service().Run)
	}
	for hour := 1; hour <= 10; hour++ {
		w.clock.set(begun.Add(time.Duration(hour) * time.Hour))
		for n := range 10 {
			if id := fmt.Sprintf("acme-%d", n); hour%(n+1) == 0 {
				k := hour / (n + 1)
				w.until(func() bool { return len(w.load(id).Decisions) == k }, fmt.Sprintf("%s has decided %d", id, k))
				w.planned(id, fmt.Sprintf("w%d", k))
			}
		}
	}
	for id, n := range want {
		got := w.decisions(id)
		if len(got) != n || slices.ContainsFunc(got, func(s string) bool { return !strings.Contains(s, " send ") }) {
			t.Errorf("%s: %d follow-ups, want %d sent: %q", id, len(got), n, got)
		}
	}
}

func TestItMayDoItsWork(t *testing.T) {
	t.Parallel()
	public, seed, err := bus.NewUser()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "followup.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	user := natsd.User{Name: "followup", NKeyPublic: public}
	user.Publish, user.Subscribe = topology.Permissions("followup")
	server, b := bustest.Start(t, bustest.Options{Listen: "127.0.0.1:0", Users: []natsd.User{user}})
	w := worldOn(t, b)
	own, err := bus.Connect(t.Context(), bus.Config{URL: server.ClientURL(), Name: "followup", NKeySeedFile: file, RequestTimeout: bustest.Patience}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	registry := incident.NewRegistry(own)
	w.background(registry.Run)
	cfg := DefaultConfig()
	cfg.LookEvery = 20 * time.Millisecond
	w.declare(acme, daily)
	w.background(New(cfg, Deps{Bus: own, Incidents: registry, Texts: w.texts, Clock: w.clock.clock(), Log: zerolog.Nop()}).Run)
	w.until(func() bool { return !w.alarmAt(acme, "follow-up").IsZero() }, "the alarm is set")
	if _, err := w.bus.Append(t.Context(), topology.StreamTimetable, bus.Message{Subject: topology.Due(acme, "daily")}); err != nil {
		t.Fatal(err)
	}
	w.clock.set(york(23, 10, 0))
	w.wants(acme, "daily 11-23 15:00 send w1: prepared")
	w.until(func() bool { return w.told(acme) == w.load(acme).Seq && w.timetable("due.>") == 0 }, "the planner is told, and the alarm acknowledged")
	w.event(acme, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{}}})
	w.until(func() bool { return w.timetable(">") == 0 }, "the alarms are taken away")
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{LookEvery: time.Hour}).Validate(); err == nil || !strings.Contains(err.Error(), "look_every is 1h") {
		t.Errorf("Validate = %v", err)
	}
}
