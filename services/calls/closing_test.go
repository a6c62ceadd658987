package calls

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func (w *world) close(how candorv1.CallsAtClose) {
	w.Helper()
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{Calls: how}}})
}

// add drafts an addition and has it approved.
func (w *world) add(a *candorv1.Addition) {
	w.Helper()
	hash, err := incident.HashAddition(w.inc.PlanHash(), a)
	if err != nil {
		w.Fatal(err)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: a, Hash: hash}}})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: a.GetWave(), Hash: hash}}})
}

func (w *world) reopen() {
	w.Helper()
	w.add(&candorv1.Addition{Wave: w.inc.NextAddition("reopen-"), Kind: incident.KindReopen, ChosenBy: "a mistake"})
}

func (w *world) wish(id string, page, slot uint32) {
	w.Helper()
	w.append(topology.StreamCalls, topology.CallRequested(w.inc.ID), &candorv1.CallRequest{
		Id: id, AskedBy: "sms", Customer: &candorv1.CustomerPlace{Incident: w.inc.ID, Page: page, Slot: slot},
	})
}

func (w *world) open() (n uint64) {
	w.Helper()
	for state, count := range w.queue().GetStates() {
		if slices.Contains([]string{"pending", "waiting", "leased", "uncertain"}, state) {
			n += count
		}
	}
	return n
}

// untilReads waits until the journal of a wave's page says so of its slots, in order.
func (w *world) untilReads(wave string, page int, want ...string) {
	w.Helper()
	k := key(page)
	k.Wave = wave
	says := func() (got []string) {
		st := w.journalOf(k)
		for n := range uint32(st.Len()) {
			if !st.InWave(n) {
				continue
			}
			state, reason := st.Notice(n)
			word := candorv1.Word(state)
			if reason != "" {
				word += ":" + reason
			}
			got = append(got, word)
		}
		return got
	}
	w.until(fmt.Sprintf("the journal of wave %s, page %d: %v", wave, page, want), func() bool { return slices.Equal(says(), want) })
}

func TestCallsAreTakenBackAtTheClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 3, customers: 2})
	w.finds(map[string]*candorv1.CustomerPlace{"COD-002-000": {Incident: id, Page: 2}})
	p := w.process()
	w.order(0)
	w.untilTasks("pending", 2)
	out := w.claim(&candorv1.ClaimRequest{})
	w.close(candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW)
	w.untilTasks("expired", 1)
	w.untilReads("w0", 0, "planned", "expired:closed") // the one is being called
	if tasks := w.claim(&candorv1.ClaimRequest{Max: 5}); len(tasks) != 0 {
		t.Errorf("claimed while closing: %v", tasks)
	}

	// What comes late is settled, and nobody is called for it.
	w.order(1)
	w.untilReads("w0", 1, "expired:closed", "expired:closed")
	w.wish("late", 2, 1)
	w.untilTasks("expired", 4)
	var remote *bus.RemoteError
	err := w.ask("add", &candorv1.AddRequest{Incident: id, Customer: "COD-002-000"}, &candorv1.AddResponse{})
	if !errors.As(err, &remote) || remote.Code != bus.CodePrecondition || !strings.Contains(remote.Error(), "closing") {
		t.Errorf("added while closing: %v", err)
	}

	// The next owner folds the same, and nobody tries the call again that it finds under way.
	p.kill()
	p = w.process(oftenRenewed)
	w.untilTasks("leased", 1)
	if got := w.complete(out[0].GetLease(), "no_answer"); got.GetState() != candorv1.CallState_CALL_STATE_FAILED {
		t.Errorf("completed while closing: %v", got)
	}
	w.untilReads("w0", 0, "failed:no_answer", "expired:closed")
	if n := w.open(); n != 0 {
		t.Errorf("%d tasks are open", n)
	}

	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: &candorv1.Closed{}}})
	w.reopen()
	w.until("the new beginning", func() bool { return !p.calls.Incidents.Get(id).ReopenedAt.IsZero() })
	w.order(2)
	w.untilTasks("pending", 2)
	tasks := w.claim(&candorv1.ClaimRequest{Max: 5})
	if len(tasks) != 2 {
		t.Fatalf("claimed %v", tasks)
	}
	w.complete(tasks[0].GetLease(), "notified")
	w.audit()
	w.nobodyNamed()
}

func TestALeaseRunsOutWhileClosing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	w.process()
	w.order(0)
	w.untilTasks("pending", 1)
	w.claim(&candorv1.ClaimRequest{})
	w.close(candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW)
	w.until("the close", func() bool { return w.queue().GetStates()["leased"] == 1 })
	w.advance(time.Hour)
	w.untilReads("w0", 0, "expired:closed")
}

func TestCallsAreMadeAtTheClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 3, customers: 2})
	p := w.process()
	w.order(0)
	w.untilTasks("pending", 2)
	w.close(candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN)
	w.until("the close", func() bool { return p.calls.Incidents.Get(id).Closing() != nil })
	w.order(1) // which waited for its hours
	w.wish("late", 2, 0)
	w.untilTasks("expired", 1)
	w.untilTasks("pending", 4)
	tasks := w.claim(&candorv1.ClaimRequest{Max: 5})
	if len(tasks) != 4 || w.open() != 4 {
		t.Fatalf("claimed %v", tasks)
	}
	for _, task := range tasks[:3] {
		w.complete(task.GetLease(), "notified")
	}
	back := w.now().Add(26 * time.Hour)
	resp := &candorv1.CompleteResponse{}
	err := w.ask("complete", &candorv1.CompleteRequest{Lease: tasks[3].GetLease(), Disposition: "callback", CallBackAt: timestamppb.New(back)}, resp)
	if err != nil || resp.GetState() != candorv1.CallState_CALL_STATE_WAITING {
		t.Fatalf("completed %v, %v", resp, err)
	}
	p.stop()
	w.process()
	w.untilTasks("waiting", 1)
	w.advance(26 * time.Hour)
	w.untilTasks("pending", 1)
	w.complete(w.claim(&candorv1.ClaimRequest{})[0].GetLease(), "notified")
	w.untilReads("w0", 0, "delivered:notified", "delivered:notified")
	w.untilReads("w0", 1, "delivered:notified", "delivered:notified")
	if n := w.open(); n != 0 {
		t.Errorf("%d tasks are open", n)
	}
	w.audit()
}

// What is left when the incident has ended is over, as after an abort.
func TestCallsOfAClosedIncidentAreOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 2})
	w.process()
	w.order(0)
	w.untilTasks("pending", 2)
	w.close(candorv1.CallsAtClose_CALLS_AT_CLOSE_DRAIN)
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closed{Closed: &candorv1.Closed{}}})
	w.untilTasks("expired", 2)
	w.untilReads("w0", 0, "expired:closed", "expired:closed")
}

// An update may call, with the script of the plan, and so may the wave of rows that were added.
func TestUpdatesAndAddedRowsAreCalled(t *testing.T) {
	t.Parallel()
	p := plan{pages: 1, customers: 1}
	w := newWorld(t, p)
	proc := w.process()
	w.pages = append(w.pages, w.page(1, p))
	const subject = "roster." + id + ".manifest-bbbbbbbbbbbbbbbb"
	w.append(topology.StreamRoster, subject, &candorv1.RosterManifest{Digest: strings.Repeat("b", 64), Pages: w.pages[1:]})
	w.add(&candorv1.Addition{Wave: "w0-a1", Kind: incident.KindRoster, Base: "w0", Channels: []candorv1.Channel{channel}, Manifest: subject})
	w.orderOf("w0-a1", 1)
	w.untilTasks("pending", 1)
	tasks := w.claim(&candorv1.ClaimRequest{})
	if len(tasks) != 1 || tasks[0].GetPurpose() != purposeFirst || tasks[0].GetPhone() != phoneOf(1, 0) {
		t.Fatalf("claimed %v", tasks)
	}
	w.complete(tasks[0].GetLease(), "notified")
	w.untilReads("w0-a1", 1, "delivered:notified")

	w.add(&candorv1.Addition{
		Wave: "w1", Kind: incident.KindUpdate, Channels: []candorv1.Channel{channel}, Audience: "told",
		Text: "---\ntitle: More is known\ncall: true\n---\n",
	})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: "w1", Decision: candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND, Wave: "w1",
	}}})
	w.orderOf("w1", 1)
	w.untilTasks("pending", 1)
	// Another owner knows the rows and the update, too.
	proc.stop()
	w.process()
	w.untilTasks("pending", 1)
	w.advance(24 * time.Hour)
	if tasks = w.claim(&candorv1.ClaimRequest{}); len(tasks) != 1 || tasks[0].GetPurpose() != purposeFollowUp || len(tasks[0].GetScript().GetParts()) == 0 {
		t.Fatalf("claimed %v", tasks)
	}
	w.complete(tasks[0].GetLease(), "notified")
	w.untilReads("w1", 1, "delivered:notified")
	k := key(1)
	if st := w.journalOf(journal.Key{Channel: k.Channel, Incident: k.Incident, Wave: "w0", Page: k.Page}); st.Opened != nil {
		t.Error("the added page was opened for the first notice")
	}
	w.audit()
	w.nobodyNamed()
}
