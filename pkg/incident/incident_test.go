package incident

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = "acme-2026"

var ana = Actor{Token: "t1", Person: "ana"}

func drafted(revision uint32, facts string) *candorv1.BreachEvent {
	d := &candorv1.Declaration{Incident: id, Facts: facts}
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{
		Revision: revision, Declaration: d, PlanHash: Hash(d),
	}}}
}

func approved(hash []byte) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{PlanHash: hash}}}
}

func paused(chs ...candorv1.Channel) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{Channels: chs, Reason: "wrong number printed"}}}
}

func resumed(chs ...candorv1.Channel) *candorv1.BreachEvent {
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Resumed{Resumed: &candorv1.Resumed{Channels: chs}}}
}

// play folds events that are not stored.
func play(t *testing.T, events ...*candorv1.BreachEvent) *Incident {
	t.Helper()
	inc := &Incident{ID: id}
	for n, e := range events {
		next, err := inc.with(uint64(n+1), e)
		if err != nil {
			t.Fatal(err)
		}
		inc = next
	}
	return inc
}

func TestFold(t *testing.T) {
	t.Parallel()
	const (
		sms   = candorv1.Channel_CHANNEL_SMS
		email = candorv1.Channel_CHANNEL_EMAIL
	)
	ok := approved(Hash(&candorv1.Declaration{Incident: id}))
	for _, tt := range []struct {
		name            string
		events          []*candorv1.BreachEvent
		state           candorv1.IncidentState
		smsOff, mailOff bool
	}{
		{"a draft", []*candorv1.BreachEvent{drafted(1, "")}, candorv1.IncidentState_INCIDENT_STATE_DRAFT, false, false},
		{"approved", []*candorv1.BreachEvent{drafted(1, ""), ok}, candorv1.IncidentState_INCIDENT_STATE_DECLARED, false, false},
		{"a new revision of a rejected draft", []*candorv1.BreachEvent{
			drafted(1, ""), {Event: &candorv1.BreachEvent_Rejected{Rejected: &candorv1.Rejected{Reason: "tone"}}}, drafted(2, "x"),
		}, candorv1.IncidentState_INCIDENT_STATE_DRAFT, false, false},
		{"paused whole", []*candorv1.BreachEvent{drafted(1, ""), ok, paused()}, candorv1.IncidentState_INCIDENT_STATE_PAUSED, true, true},
		{"one channel paused", []*candorv1.BreachEvent{drafted(1, ""), ok, paused(sms)}, candorv1.IncidentState_INCIDENT_STATE_PAUSED, true, false},
		{"one of two channels resumed", []*candorv1.BreachEvent{drafted(1, ""), ok, paused(sms, email), resumed(sms)}, candorv1.IncidentState_INCIDENT_STATE_PAUSED, false, true},
		{"all resumed", []*candorv1.BreachEvent{drafted(1, ""), ok, paused(sms), paused(), resumed()}, candorv1.IncidentState_INCIDENT_STATE_DECLARED, false, false},
		{"resuming a channel does not lift a pause of all", []*candorv1.BreachEvent{drafted(1, ""), ok, paused(), resumed(sms)}, candorv1.IncidentState_INCIDENT_STATE_PAUSED, true, true},
		{
			"aborting",
			[]*candorv1.BreachEvent{drafted(1, ""), ok, {Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "false alarm"}}}},
			candorv1.IncidentState_INCIDENT_STATE_ABORTING, false, false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inc := play(t, tt.events...)
			if inc.State != tt.state || inc.PausedFor(sms) != tt.smsOff || inc.PausedFor(email) != tt.mailOff {
				t.Errorf("state %v, sms paused %v, e-mail paused %v", inc.State, inc.PausedFor(sms), inc.PausedFor(email))
			}
			if declared := inc.Declared(); declared && (inc.Ended() || len(tt.events) < 2) {
				t.Errorf("declared = %v in state %v", declared, inc.State)
			}
		})
	}
	if _, err := (&Incident{ID: id}).with(1, &candorv1.BreachEvent{}); err == nil {
		t.Error("an event of no known kind was folded")
	}
}

func TestHashChangesWithEveryPart(t *testing.T) {
	t.Parallel()
	base := &candorv1.Declaration{Incident: "a", Playbook: "b", Facts: "c", RosterDigest: "d"}
	seen := map[string]bool{string(Hash(base)): true}
	for _, change := range []func(*candorv1.Declaration){
		func(d *candorv1.Declaration) { d.Incident = "ab"; d.Playbook = "" },
		func(d *candorv1.Declaration) { d.Playbook = "B" },
		func(d *candorv1.Declaration) { d.Facts = "C" },
		func(d *candorv1.Declaration) { d.RosterDigest = "D" },
	} {
		d := proto.CloneOf(base)
		change(d)
		if seen[string(Hash(d))] {
			t.Errorf("%v has the hash of another declaration", d)
		}
		seen[string(Hash(d))] = true
	}
}

func TestOfTwoAppendsOneWins(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	log := NewLog(b, time.Now)
	inc, err := log.Append(t.Context(), &Incident{ID: id}, ana, drafted(1, "one"))
	if err != nil {
		t.Fatal(err)
	}
	// An approval and a change of the draft, both read the same revision.
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, e := range []*candorv1.BreachEvent{approved(inc.PlanHash()), drafted(2, "two")} {
		wg.Go(func() { _, errs[i] = log.Append(t.Context(), inc, ana, e) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, bus.ErrOvertaken):
			t.Errorf("loser = %v, want ErrOvertaken", err)
		}
	}
	if won != 1 {
		t.Fatalf("%d of two appends landed, want 1", won)
	}
	got, err := log.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := b.CountSubjects(t.Context(), topology.StreamBreach, topology.Breach(id)); err != nil || n[topology.Breach(id)] != 2 {
		t.Errorf("%v events, error %v; want 2", n, err)
	}
	if got.DraftedBy != "ana" {
		t.Errorf("drafted by %q", got.DraftedBy)
	}
}

func TestAFactIsToldOnce(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	log := NewLog(b, time.Now)
	inc, err := log.Append(t.Context(), &Incident{ID: id}, ana, drafted(1, ""))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := log.Republish(t.Context(), topology.FactDeclared, inc); err != nil {
			t.Fatal(err)
		}
	}
	subject := topology.BreachFact(topology.FactDeclared, id)
	if n, err := b.CountSubjects(t.Context(), topology.StreamBreach, subject); err != nil || n[subject] != 1 {
		t.Errorf("told %d times, error %v; want once", n[subject], err)
	}
}

func TestUnknownIncident(t *testing.T) {
	t.Parallel()
	if _, err := NewLog(bustest.New(t), time.Now).Load(t.Context(), id); !errors.Is(err, ErrUnknown) {
		t.Errorf("load = %v, want ErrUnknown", err)
	}
}

func TestRegistryFollows(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	log := NewLog(b, time.Now)
	inc, err := log.Append(t.Context(), &Incident{ID: id}, ana, drafted(1, ""))
	if err != nil {
		t.Fatal(err)
	}
	reg := NewRegistry(b)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := reg.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	defer wg.Wait()
	defer cancel()
	<-reg.Ready()
	if got := reg.Get(id); got == nil || got.State != candorv1.IncidentState_INCIDENT_STATE_DRAFT {
		t.Fatalf("at start = %+v, want the draft", got)
	}
	if _, err := log.Append(t.Context(), inc, ana, approved(inc.PlanHash())); err != nil {
		t.Fatal(err)
	}
	for {
		changed := reg.Changed()
		if reg.Get(id).Declared() {
			break
		}
		<-changed
	}
	if n, err := log.PauseAll(t.Context(), "damage"); err != nil || n != 1 {
		t.Errorf("paused %d, error %v; want 1", n, err)
	}
	if n, err := log.PauseAll(t.Context(), "damage"); err != nil || n != 0 {
		t.Errorf("paused %d again, error %v; want 0", n, err)
	}
	if list := reg.List(); len(list) != 1 {
		t.Errorf("%d incidents", len(list))
	}
}
