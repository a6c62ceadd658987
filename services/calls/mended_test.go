package calls

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/pii"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// damaged is a store of which one page cannot be read for a while.
type damaged struct {
	Pages
	on atomic.Bool
}

func (d *damaged) OpenPage(ctx context.Context, id string, page uint32, sum []byte) (*roster.Page, error) {
	if d.on.Load() && page == 0 {
		return nil, errors.New("page 0 is damaged on disk")
	}
	return d.Pages.OpenPage(ctx, id, page, sum)
}

// One page that could not be read had every claim answered with an error, while customers of other pages waited.
func TestAPageThatCannotBeReadStopsNoOtherCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 3, customers: 4})
	p := w.process()
	d := &damaged{Pages: p.calls.Pages}
	p.calls.folder.pages = d
	for page := range 3 {
		w.order(page)
		w.untilTasks("pending", uint64(4*(page+1)))
	}
	d.on.Store(true)
	p.calls.folder.forget(id)
	got := map[string]bool{}
	for range 8 {
		for _, task := range w.claim(&candorv1.ClaimRequest{Max: 1}) {
			got[task.GetTask()] = true
		}
	}
	if len(got) != 8 {
		t.Errorf("%d of the 8 customers who can be read were handed out", len(got))
	}
	if tasks := w.claim(&candorv1.ClaimRequest{Max: 12, Wait: durationpb.New(10 * time.Millisecond)}); len(tasks) != 0 {
		t.Errorf("handed out %v", tasks)
	}
	w.untilTasks("pending", 4) // given back, and not left to a lease
	if n := strings.Count(w.seen.String(), "customers of a page cannot be handed to dialers"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if n := w.audit(); n > 8+2 {
		t.Errorf("%d leases for the 8", n)
	}
	d.on.Store(false)
	w.advance(asideFor)
	if tasks := w.claim(&candorv1.ClaimRequest{Max: 12, Wait: durationpb.New(20 * time.Second)}); len(tasks) != 4 {
		t.Errorf("of the page that can be read again %d were handed out", len(tasks))
	}
	w.nobodyNamed()
}

// Agents whose claims waited for somebody kept others from renewing their leases.
func TestClaimsThatWaitKeepNobodyFromReporting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 2})
	p := w.process(func(c *Config) { c.InHand = 1 })
	w.order(0)
	w.untilTasks("pending", 2)
	lease := w.claim(&candorv1.ClaimRequest{})[0].GetLease()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	ask := func(method string, q proto.Message) error {
		data, err := proto.Marshal(q)
		if err == nil {
			_, err = w.bus.RequestWithin(t.Context(), time.Minute, topology.CallMethod(method), data, map[string]string{"Authorization": "Bearer " + w.bearer})
		}
		return err
	}
	wg.Go(func() {
		_ = ask("claim", &candorv1.ClaimRequest{Languages: []string{"xx"}, Wait: durationpb.New(30 * time.Second)})
	}) // ended by the stop
	w.until("a waiting claim", func() bool { return p.metric("claims_waiting") == 1 })
	for range 3 {
		// A place is free a moment after its answer has arrived.
		w.until("a renewal", func() bool { return ask("renew", &candorv1.RenewRequest{Lease: lease}) == nil })
	}
	w.until("a report", func() bool {
		return ask("complete", &candorv1.CompleteRequest{Lease: lease, Disposition: "notified"}) == nil
	})
	if p.metric("claims_waiting") != 1 {
		t.Error("the claim has ended, so it kept nobody from anything")
	}
	p.stop()
}

// The list of opt-outs was heard of when somebody claimed the customer, and what was taken from it not before a restart.
func TestTheQueueFollowsTheListOfOptOuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 3, change: func(_, slot int, c *roster.Customer) {
		if slot == 0 {
			c.Phones = append(c.Phones, pii.NewPhone("+12125559000"))
		}
	}})
	w.finds(map[string]*candorv1.CustomerPlace{"two": {Incident: id, Slot: 0}, "one": {Incident: id, Slot: 1}, "last": {Incident: id, Slot: 2}})
	first, second := pii.NewPhone(phoneOf(0, 0)), pii.NewPhone("+12125559000")
	put := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put(w.stops.Add(t.Context(), channel, first, "person")) // before there is a task
	w.process()
	w.order(0, 0, 1)
	w.untilTasks("pending", 2)
	explain := func(customer string) *candorv1.ExplainResponse {
		resp := &candorv1.ExplainResponse{}
		put(w.ask("explain", &candorv1.ExplainRequest{Incident: id, Customer: customer}, resp))
		return resp
	}
	says := func(words string) func() bool {
		return func() bool { return strings.Contains(strings.Join(explain("two").GetReasons(), " "), words) }
	}
	w.until("the first number is known to be shut", says("Number 1 of 2 must not be called"))
	task := w.claim(&candorv1.ClaimRequest{Max: 1})[0]
	if task.GetTask() != "field.0.0" || task.GetPhone() != second.Reveal() {
		t.Fatalf("claimed %s", task.GetTask())
	}
	put(w.ask("release", &candorv1.ReleaseRequest{Lease: task.GetLease()}, &candorv1.ReleaseResponse{}))
	if a := explain("two").GetAttempts(); len(a) != 1 || !a[0].GetReleased() {
		t.Errorf("attempts %v", a)
	}
	put(w.stops.Remove(t.Context(), channel, first))
	w.until("the first number is open again", func() bool { return !says("must not be called")() })
	task = w.claim(&candorv1.ClaimRequest{Max: 1})[0]
	if task.GetPhone() != first.Reveal() {
		t.Error("the number that was taken from the list is not dialled")
	}
	// Whoever is about to be dialled is not, from the next renewal on.
	put(w.stops.Add(t.Context(), channel, first, "person"))
	w.until("a refused renewal", func() bool {
		var remote *bus.RemoteError
		err := w.ask("renew", &candorv1.RenewRequest{Lease: task.GetLease()}, &candorv1.RenewResponse{})
		return errors.As(err, &remote) && remote.Code == bus.CodePrecondition
	})
	// The only number of a customer: the task ends, without a claim.
	put(w.stops.Add(t.Context(), channel, pii.NewPhone(phoneOf(0, 1)), "person"))
	w.untilSays(0, planned, suppressed)
	added := &candorv1.AddResponse{}
	put(w.ask("add", &candorv1.AddRequest{Incident: id, Customer: "one"}, added))
	if !added.GetKnown() || added.GetReopened() || added.GetState() != candorv1.CallState_CALL_STATE_SUPPRESSED {
		t.Errorf("added %v", added)
	}
	put(w.stops.Remove(t.Context(), channel, pii.NewPhone(phoneOf(0, 1))))
	w.until("who asks again is called", func() bool {
		put(w.ask("add", &candorv1.AddRequest{Incident: id, Customer: "one"}, added))
		return added.GetReopened() && added.GetState() == candorv1.CallState_CALL_STATE_PENDING
	})
	put(w.ask("add", &candorv1.AddRequest{Incident: id, Customer: "last"}, added))
	if added.GetKnown() || added.GetReopened() || added.GetState() != candorv1.CallState_CALL_STATE_PENDING {
		t.Errorf("added %v", added)
	}
	w.nobodyNamed()
}

func TestAPastCallBackIsToldWhatCuresIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	w.process()
	w.order(0)
	w.untilTasks("pending", 1)
	report := &candorv1.CompleteRequest{
		Lease: w.claim(&candorv1.ClaimRequest{})[0].GetLease(), Disposition: "callback", CallBackAt: timestamppb.New(noon.Add(-time.Minute)),
	}
	if err := w.ask("complete", report, &candorv1.CompleteResponse{}); err == nil || !strings.Contains(err.Error(), "ended_at") {
		t.Errorf("complete = %v", err)
	}
	report.EndedAt = timestamppb.New(noon.Add(-time.Hour))
	if err := w.ask("complete", report, &candorv1.CompleteResponse{}); err != nil {
		t.Errorf("complete = %v", err)
	}
}

func TestBeforeTheApprovalItIsSaidThatNobodyIsCalledYet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{pages: 1, customers: 1})
	w.inc = &incident.Incident{ID: "draft"}
	decl := &candorv1.Declaration{Incident: "draft", Playbook: withCalls(starter(t, "playbook.yaml")), Facts: starter(t, "facts.yaml")}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1, Declaration: decl, PlanHash: incident.Hash(decl)}}})
	p := w.process()
	w.until("the draft", func() bool { return p.calls.Incidents.Get("draft") != nil })
	for method, q := range map[string]proto.Message{
		"add":     &candorv1.AddRequest{Incident: "draft", Customer: "x"},
		"explain": &candorv1.ExplainRequest{Incident: "draft", Customer: "x"},
	} {
		var remote *bus.RemoteError
		if err := w.ask(method, q, &candorv1.GetQueueResponse{}); !errors.As(err, &remote) || remote.Code != bus.CodePrecondition || !strings.Contains(remote.Message, "approved") {
			t.Errorf("%s = %v", method, err)
		}
	}
}
