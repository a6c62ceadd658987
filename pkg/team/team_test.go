package team_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/playbook"
	"candor/pkg/team"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func raised(id string, kind candorv1.AlertKind) *candorv1.TeamEvent {
	return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Raised{Raised: &candorv1.AlertRaised{Alert: &candorv1.Alert{Id: id, Incident: "field-1", Kind: kind, Text: "x"}}}}
}

func sent(id, mark string, reminder uint32, failure string) *candorv1.TeamEvent {
	return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Sent{Sent: &candorv1.AlertSent{Alert: id, Mark: mark, Reminder: reminder, Failure: failure}}}
}

func acknowledged(id, person string) *candorv1.TeamEvent {
	return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Acknowledged{Acknowledged: &candorv1.AlertAcknowledged{Alert: id, Person: person}}}
}

func isOver(id string) *candorv1.TeamEvent {
	return &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Over{Over: &candorv1.AlertOver{Alert: id}}}
}

// board folds events that happened a minute after each other, from noon on.
func board(t *testing.T, events ...*candorv1.TeamEvent) *team.Board {
	t.Helper()
	b := team.NewBoard("field-1")
	for i, e := range events {
		e.OccurredAt = timestamppb.New(noon.Add(time.Duration(i) * time.Minute))
		if err := fold(t, b, uint64(i+1), e); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func fold(t *testing.T, b *team.Board, seq uint64, e *candorv1.TeamEvent) error {
	t.Helper()
	data, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return b.Fold(bus.Stored{Seq: seq, Data: data})
}

func TestTheBoardFollowsTheEvents(t *testing.T) {
	t.Parallel()
	b := board(t,
		raised("draft-1", draft), sent("draft-1", "m1", 0, ""), sent("draft-1", "m2", 0, "http_404"), sent("draft-1", "m1", 1, ""),
		acknowledged("draft-1", "ana"), acknowledged("draft-1", "ben"), raised("paused-9", paused), isOver("paused-9"), raised("draft-1", draft),
	)
	if b.LastSeq() != 9 || len(b.Alerts()) != 2 || b.Alert("nothing") != nil {
		t.Fatalf("board at %d has %d alerts", b.LastSeq(), len(b.Alerts()))
	}
	a := b.Alert("draft-1")
	if a.GetSent() != 2 || a.GetFailed() != 1 || !a.GetLastSentAt().AsTime().Equal(noon.Add(3*time.Minute)) || a.GetAcknowledgedBy() != "ana" ||
		!a.GetAcknowledgedAt().AsTime().Equal(noon.Add(4*time.Minute)) || a.Open() {
		t.Errorf("alert %v", a.Alert)
	}
	if p := b.Alert("paused-9"); !p.GetOver() || p.Open() {
		t.Errorf("alert %v", p.Alert)
	}
	for name, e := range map[string]*candorv1.TeamEvent{
		"of an alert that nobody raised": sent("draft-7", "m1", 0, ""), "of an unknown kind": {},
	} {
		if err := fold(t, b, 10, e); err == nil {
			t.Errorf("an event %s was folded", name)
		}
	}
	if err := b.Fold(bus.Stored{Seq: 11, Data: []byte{0xff}}); err == nil {
		t.Error("a damaged event was folded")
	}
}

func TestWhatIsDue(t *testing.T) {
	t.Parallel()
	rules := &playbook.Team{RemindEvery: 15 * time.Minute, RemindersAtMost: 2}
	type events []*candorv1.TeamEvent
	for _, tt := range []struct {
		name   string
		events events
		after  time.Duration // since noon
		want   int           // -1 for nothing
	}{
		{"the first message, at once", events{raised("a", draft)}, 0, 0},
		{"the first message, however late", events{raised("a", draft)}, 72 * time.Hour, 0},
		{"nothing soon after it", events{raised("a", draft), sent("a", "m", 0, "")}, 15 * time.Minute, -1},
		{"a reminder", events{raised("a", draft), sent("a", "m", 0, "")}, 16 * time.Minute, 1},
		{"a reminder after a failure too", events{raised("a", draft), sent("a", "m", 0, "http_500")}, 16 * time.Minute, 1},
		{"one reminder after a long stop", events{raised("a", draft), sent("a", "m", 0, "")}, 99 * time.Hour, 1},
		{"the second one", events{raised("a", draft), sent("a", "m", 0, ""), sent("a", "m", 1, "")}, time.Hour, 2},
		{"no third one", events{raised("a", draft), sent("a", "m", 0, ""), sent("a", "m", 1, ""), sent("a", "m", 2, "")}, time.Hour, -1},
		{"none once somebody acknowledged", events{raised("a", draft), sent("a", "m", 0, ""), acknowledged("a", "ana")}, time.Hour, -1},
		{"the first message all the same", events{raised("a", draft), acknowledged("a", "ana")}, time.Hour, 0},
		{"nothing once it is over", events{raised("a", draft), isOver("a")}, time.Hour, -1},
		{"another address is told", events{raised("a", draft), sent("a", "other", 0, "")}, 0, 0},
		{"the end is told", events{raised("a", closed)}, 0, 0},
		{"of the end nobody is reminded", events{raised("a", closed), sent("a", "m", 0, "")}, time.Hour, -1},
		{"nor of an abort", events{raised("a", aborted), sent("a", "m", 0, "")}, time.Hour, -1},
		{"of a threshold they are", events{raised("a", threshold), sent("a", "m", 0, "")}, time.Hour, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := board(t, tt.events...).Alert("a").Due("m", rules, noon.Add(tt.after))
			if ok != (tt.want >= 0) || ok && int(got) != tt.want {
				t.Errorf("got %d, %t, want %d", got, ok, tt.want)
			}
		})
	}
	if _, ok := board(t, raised("a", draft), sent("a", "m", 0, "")).Alert("a").Due("m", &playbook.Team{RemindersAtMost: 5}, noon.Add(time.Hour)); ok {
		t.Error("reminded without an interval")
	}
}

func TestEachAddressOnce(t *testing.T) {
	t.Parallel()
	got := team.Recipients(&playbook.Team{
		Members: []playbook.Member{
			{Role: "commander", SMS: "s1", Email: "e1", ToldOf: []string{"draft"}},
			{Role: "duty", SMS: "s1", ToldOf: []string{"paused"}},
			{Role: "board", Email: "e1"},
		},
		Hooks: []playbook.Hook{{Name: "chat", URL: "u1", Secret: "k1", ToldOf: []string{"overdue", "closed"}}},
	})
	var lines []string
	for _, r := range got {
		var of []string
		for kind := range candorv1.AlertKind_name {
			if k := candorv1.AlertKind(kind); k != 0 && r.ToldOf(k) {
				of = append(of, candorv1.Word(k))
			}
		}
		slices.Sort(of)
		lines = append(lines, fmt.Sprintf("%s %d %s %s %s %v", r.Medium, r.Member, r.Role, r.Mark, r.Secret, of))
	}
	want := []string{
		"sms 0 commander s1  [draft paused]",
		"email 0 commander e1  [aborted closed declared draft overdue paused threshold]",
		"hook 0 chat u1 k1 [closed overdue]",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
	if team.Recipients(nil) != nil {
		t.Error("nobody has addresses")
	}
	words := playbook.Alerts()
	for kind := range candorv1.AlertKind_name {
		if w := candorv1.Word(candorv1.AlertKind(kind)); kind != 0 && !slices.Contains(words, w) {
			t.Errorf("a playbook does not know %s", w)
		}
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	a, b := team.Mark([]byte("key"), "+12125550156"), team.Mark([]byte("key"), "+12125550157")
	if a == b || a != team.Mark([]byte("key"), "+12125550156") || a == team.Mark([]byte("other"), "+12125550156") {
		t.Errorf("marks %s and %s", a, b)
	}
	if !playbook.IsMark(a) {
		t.Errorf("a playbook does not know the mark %s", a)
	}
	one := team.Digest(&candorv1.TeamAddresses{Addresses: map[string]string{a: "x", b: "y"}})
	if one != team.Digest(&candorv1.TeamAddresses{Addresses: map[string]string{b: "y", a: "x"}}) || one == team.Digest(&candorv1.TeamAddresses{Addresses: map[string]string{a: "x"}}) {
		t.Error("a digest does not name what is sealed")
	}
	if subject := topology.TeamAddresses("field-1", one); !topology.IsTeamAddresses(subject) {
		t.Errorf("%s is no subject of addresses", subject)
	}
}

func TestTwoWritersRaiseOnce(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	log := team.NewLog(b, func() time.Time { return noon })
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			mine, err := log.Load(t.Context(), "field-1")
			if err == nil {
				err = log.Decide(t.Context(), mine, func() *candorv1.TeamEvent {
					if mine.Alert("draft-1") != nil {
						return nil
					}
					return raised("draft-1", draft)
				})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	counts, err := b.CountSubjects(t.Context(), topology.StreamTeam, topology.TeamEvents("*"))
	if err != nil || counts[topology.TeamEvents("field-1")] != 1 {
		t.Errorf("events: %v, %v", counts, err)
	}
	after, err := log.Load(t.Context(), "field-1")
	if err != nil || after.Alert("draft-1") == nil {
		t.Errorf("board %v, %v", after, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := log.Load(gone, "field-1"); err == nil {
		t.Error("read after the end")
	}
}
