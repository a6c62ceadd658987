package callqueue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	gproto "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// Every incident has a subject of its own, and nothing says in which order a new owner reads them.
func TestTheOrderOfIncidentsIsNoMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := newPlayer(rt, t)
		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			p.step()
		}
		p.tick() // what an incident that is closing would take back, the old owner has
		want := p.view(p.refold())
		slices.SortStableFunc(p.log, func(a, b stored) int {
			if a.incident < b.incident {
				return 1
			}
			if a.incident > b.incident {
				return -1
			}
			return 0
		})
		if diff := gocmp.Diff(want, p.view(p.refold())); diff != "" {
			rt.Fatalf("-in order +incident by incident:\n%s", diff)
		}
	})
}

func TestEventsThatNoQueueMade(t *testing.T) {
	t.Parallel()
	at := theOne.proto()
	elsewhere := Place{"b-9", 1, 0}.proto()
	nobody := Place{inc, 1, 5}.proto()
	for _, ev := range []*candorv1.CallEvent{
		{},
		{Event: &candorv1.CallEvent_Queued{Queued: &candorv1.CallsQueued{Wave: "w1", Slots: []uint32{0}}}},
		{Event: &candorv1.CallEvent_Queued{Queued: &candorv1.CallsQueued{Wave: "w1", Slots: []uint32{0, 0}}}},
		{Event: &candorv1.CallEvent_Queued{Queued: &candorv1.CallsQueued{Wave: "w1", Slots: []uint32{999, 2}}}},
		{Event: &candorv1.CallEvent_Queued{Queued: &candorv1.CallsQueued{Wave: "w1", Slots: []uint32{0, 1000, 0, 1000}}}},
		{Event: &candorv1.CallEvent_Leased{Leased: &candorv1.CallLeased{Customer: nobody, Fence: 2}}},
		{Event: &candorv1.CallEvent_Leased{Leased: &candorv1.CallLeased{Customer: elsewhere, Fence: 2}}},
		{Event: &candorv1.CallEvent_Leased{Leased: &candorv1.CallLeased{Customer: at, Fence: 2}}},
		{Event: &candorv1.CallEvent_Renewed{Renewed: &candorv1.CallRenewed{Customer: at, Fence: 9}}},
		{Event: &candorv1.CallEvent_Released{Released: &candorv1.CallReleased{}}},
		{Event: &candorv1.CallEvent_LeaseExpired{}},
		{Event: &candorv1.CallEvent_Completed{Completed: &candorv1.CallCompleted{Customer: at, Fence: 7}}},
		{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: &candorv1.CallWithdrawn{Customers: []*candorv1.CustomerPlace{at}}}},
		{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: &candorv1.CallWithdrawn{Customers: []*candorv1.CustomerPlace{at, nobody}, State: candorv1.CallState_CALL_STATE_EXPIRED}}},
		{Event: &candorv1.CallEvent_CallBackAsked{CallBackAsked: &candorv1.CallBackAsked{Customer: Place{inc, 1, 1000}.proto()}}},
	} {
		w := oneTask(t, time.Unix(1795532400, 0), nil, inNewYork(t, 7))
		w.one()
		before := w.view(w.q)
		if err := w.q.Apply(w.now, inc, ev, w.factsOf(inc)); err == nil {
			t.Errorf("%v is taken", ev)
		}
		if diff := gocmp.Diff(before, w.view(w.q)); diff != "" {
			t.Errorf("%v (-before +after):\n%s", ev, diff)
		}
	}
	if err := New().Apply(time.Now(), inc, &candorv1.CallEvent{}, nil); err == nil {
		t.Error("an incident without rules is folded")
	}
}

// FuzzFold folds what lies on a stream, whatever that is, and uses the queue afterwards.
func FuzzFold(f *testing.F) {
	w := oneTask(f, time.Unix(1795532400, 0), nil, inNewYork(f, 7, 8))
	for _, code := range []string{"no_answer", "invalid"} {
		w.mustComplete(w.one().Lease, Report{Disposition: code})
		w.now = w.now.Add(4 * time.Hour)
	}
	if err := w.ask(theOne, w.now.Add(time.Hour), "r"); err != nil {
		f.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	w.one()
	w.now = w.now.Add(time.Hour)
	w.tick()
	all := &candorv1.CallEvents{}
	for _, s := range w.log {
		all.Events = append(all.Events, s.event)
	}
	seed, err := gproto.Marshal(all)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, int64(60))
	f.Add([]byte{}, int64(-1))
	rules := playbook.DefaultCalls()
	facts := inNewYork(f, 7, 8)
	f.Fuzz(func(t *testing.T, b []byte, step int64) {
		var events candorv1.CallEvents
		if gproto.Unmarshal(b, &events) != nil || len(events.Events) > 200 {
			return
		}
		q := New()
		now := time.Unix(1795532400, 0)
		q.SetRules(now, inc, &rules)
		for _, ev := range events.Events {
			err := q.Apply(now, inc, ev, func(_, slot uint32) Facts {
				if slot == 3 {
					return Facts{}
				}
				return facts
			})
			_ = err // refused or not: nothing may break
			now = now.Add(time.Duration(step%1e6) * time.Second)
		}
		q.Tick(now)
		if _, err := q.Claim(now, Claim{Dialer: "d", Max: 10, Random: func() uint64 { return 1 }}); err != nil {
			t.Fatal(err)
		}
		q.NextAt(now)
		sum := uint64(0)
		for _, n := range q.Counts(now, inc).States {
			sum += n
		}
		found := uint64(0)
		for _, page := range q.Pages(inc) {
			for slot := range uint32(1000) {
				if _, err := q.Explain(now, Place{inc, page, slot}); err == nil {
					found++
				}
			}
		}
		if sum != found {
			t.Fatal(fmt.Sprintf("%d tasks are counted, %d found", sum, found))
		}
	})
}
