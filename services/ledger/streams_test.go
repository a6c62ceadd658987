package ledger

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func (d *desk) put(stream, subject string, data []byte) {
	d.t.Helper()
	if _, err := d.bus.Append(d.t.Context(), stream, bus.Message{Subject: subject, Data: data}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) hear(ch candorv1.Channel, page uint32, e *candorv1.JournalEntry) {
	d.t.Helper()
	d.put(topology.StreamReceipts, topology.Receipt(ch, "i1", "w0", page), encode(d.t, stamped(e, d.now)))
}

func (d *desk) call(id string) {
	d.t.Helper()
	r := &candorv1.CallRequest{Id: id, Customer: &candorv1.CustomerPlace{Incident: "i1", Page: 1, Slot: 2}}
	d.put(topology.StreamCalls, topology.CallRequested("i1"), encodeAny(d.t, r))
}

// called writes what the queue decided about the customer who asked.
func (d *desk) called(events ...*candorv1.CallEvent) {
	d.t.Helper()
	d.put(topology.StreamCalls, topology.CallEvents("i1"), encodeAny(d.t, &candorv1.CallEvents{Events: events}))
}

func TestWhoAskedForACallIsWaitedFor(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tellAll()
	l := d.ledger()
	d.run(l.Run)
	who := &candorv1.CustomerPlace{Incident: "i1", Page: 1, Slot: 2}
	asked := &candorv1.CallEvent{Event: &candorv1.CallEvent_CallBackAsked{CallBackAsked: &candorv1.CallBackAsked{Customer: who, Request: "a"}}}
	ended := func(s candorv1.CallState) *candorv1.CallEvent {
		return &candorv1.CallEvent{Event: &candorv1.CallEvent_Completed{Completed: &candorv1.CallCompleted{Customer: who, State: s}}}
	}
	gone := &candorv1.CallEvent{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: &candorv1.CallWithdrawn{Customers: []*candorv1.CustomerPlace{who}}}}
	check := func(when string, wishes, open uint64) {
		t.Helper()
		st := d.status()
		if st.GetCallRequests() != wishes || st.GetCallRequestsOpen() != open || st.GetComplete() != (open == 0) {
			t.Errorf("%s: %d wishes, %d open, complete %v: %q", when, st.GetCallRequests(), st.GetCallRequestsOpen(), st.GetComplete(), st.GetOpen())
		}
	}
	check("nobody asked", 0, 0)
	d.call("a")
	check("asked", 1, 1)
	d.called(asked)
	d.called(ended(candorv1.CallState_CALL_STATE_WAITING))
	check("called in vain", 1, 1)
	d.called(ended(candorv1.CallState_CALL_STATE_DONE))
	check("told", 1, 0)
	d.call("a") // told of again
	check("the same wish", 1, 0)
	d.call("b")
	d.called(ended(candorv1.CallState_CALL_STATE_FAILED), asked)
	check("an earlier task ended as they asked", 2, 1)
	d.called(gone)
	check("withdrawn", 2, 0)
}

func TestFollowsReceiptsAndCalls(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tellAll()
	d.hear(sms, 0, outcome(1, delivered, "", 0, 5))
	d.call("a")
	met := &candorv1.CallEvent{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: &candorv1.CallWithdrawn{
		Customers: []*candorv1.CustomerPlace{{Incident: "i1", Page: 1, Slot: 2}},
	}}}
	d.called(met)
	l := d.ledger()
	d.run(l.Run)
	check := func(delivered, receipts, calls uint64) {
		t.Helper()
		st := d.status()
		if got := st.GetWaves()[0].GetChannels()[0].GetStates()["delivered"]; got != delivered || !st.GetComplete() {
			t.Errorf("%d delivered, open %q", got, st.GetOpen())
		}
		if st.GetReceiptsFoldedTo() != receipts || st.GetReceiptsLast() != receipts || st.GetCallRequests() != calls {
			t.Errorf("receipts %d of %d, calls %d", st.GetReceiptsFoldedTo(), st.GetReceiptsLast(), st.GetCallRequests())
		}
	}
	check(5, 1, 1)
	d.hear(sms, 1, outcome(1, delivered, "", 0, 3)) // written before the question, and so in the answer
	d.call("b")
	d.call("a")
	d.called(met)
	check(8, 2, 2)
}

func TestRebuildHearsTheSame(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	first := d.ledger()
	d.run(first.Run)
	<-first.Ready()
	d.hear(sms, 1, outcome(1, delivered, "", 0, 1)) // before anything is opened
	d.tellAll()
	d.hear(sms, 0, outcome(1, undelivered, "twilio_30003", 0, 2))
	d.hear(email, 0, outcome(2, delivered, "", 0, 2))
	d.put(topology.StreamReceipts, topology.Receipt(email, "i1", "w0", 1), []byte{0xff})
	one, err := first.CurrentStatus(t.Context(), "i1")
	if err != nil {
		t.Fatal(err)
	}
	second := d.ledger()
	d.run(second.Run)
	<-second.Ready()
	other, err := second.CurrentStatus(t.Context(), "i1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, other, protocmp.Transform()); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
	if len(one.GetOpen()) != 2 || len(one.GetDamage()) != 1 {
		t.Errorf("open is %q", one.GetOpen())
	}
}

// A ledger that does not get the receipts says so instead of "complete".
func TestNotCompleteWhileReceiptsAreUnread(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tellAll()
	l := d.ledger()
	l.cfg.CatchUp = 0
	if _, err := d.bus.Read(t.Context(), topology.StreamJournal, "", 1, l.books.fold); err != nil {
		t.Fatal(err)
	}
	d.hear(sms, 1, outcome(1, delivered, "", 0, 1))
	d.call("a")
	st, err := l.CurrentStatus(t.Context(), "i1")
	if err != nil {
		t.Fatal(err)
	}
	if st.GetComplete() || !slices.Equal(st.GetOpen(), []string{"1 receipt is not folded yet", "who was called is not read to the end yet"}) {
		t.Errorf("complete %v, open %q", st.GetComplete(), st.GetOpen())
	}
}

// What the planner acts on is folded as far as it asks for, or there is no answer.
func TestPlannersQuestions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	l := d.ledger()
	l.cfg.CatchUp = 50 * time.Millisecond
	d.run(l.Run)
	d.write(on(sms, 0), opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	d.hear(sms, 0, outcome(1, undelivered, "twilio_30003", 0, 2))
	for st := d.status(); st.GetFoldedTo() < 3 || st.GetReceiptsFoldedTo() < 1; st = d.status() {
		// The machine needs longer for it than a question waits.
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
	move := &candorv1.MoveOnRequest{Incident: "i1", Wave: "w0", Step: email, Earlier: []candorv1.Channel{sms}}
	for _, tt := range []struct {
		name, method string
		req          func(journals, receipts uint64) proto.Message
		res, want    proto.Message
	}{
		{"move on", "move-on", func(j, r uint64) proto.Message {
			m := proto.CloneOf(move)
			m.JournalSeq, m.ReceiptsSeq = j, r
			return m
		}, &candorv1.MoveOnResponse{}, &candorv1.MoveOnResponse{Pages: []*candorv1.PageSlots{{Page: 0, Slots: []uint32{0, 2}}}}},
		{"canary", "canary", func(j, r uint64) proto.Message {
			return &candorv1.CanaryRequest{Incident: "i1", Wave: "w0", JournalSeq: j, ReceiptsSeq: r}
		}, &candorv1.CanaryResponse{}, &candorv1.CanaryResponse{Channels: []*candorv1.CanaryChannel{{
			Channel: sms, Notices: 5, Waiting: 3, Bounced: 2, LastAcceptedAt: timestamppb.New(d.now),
			Reasons: []*candorv1.ReasonCount{{State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "twilio_30003", Count: 2}},
		}}}},
		{"people", "people", func(j, r uint64) proto.Message {
			return &candorv1.PeopleRequest{Incident: "i1", JournalSeq: j, ReceiptsSeq: r}
		}, &candorv1.PeopleResponse{}, &candorv1.PeopleResponse{Pages: []*candorv1.PagePeople{{Page: 0, Channels: []*candorv1.ChannelStates{{
			Channel: sms, States: []byte{
				byte(candorv1.NoticeState_NOTICE_STATE_FAILED), byte(candorv1.NoticeState_NOTICE_STATE_FAILED),
				byte(candorv1.NoticeState_NOTICE_STATE_ACCEPTED), byte(candorv1.NoticeState_NOTICE_STATE_ACCEPTED), byte(candorv1.NoticeState_NOTICE_STATE_ACCEPTED),
			},
		}}}}}},
		{"sweep", "sweep", func(j, r uint64) proto.Message {
			return &candorv1.SweepRequest{Incident: "i1", JournalSeq: j, ReceiptsSeq: r}
		}, &candorv1.SweepResponse{}, &candorv1.SweepResponse{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := d.ask(tt.method, tt.req(3, 1), tt.res, ""); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.res, protocmp.Transform()); diff != "" {
				t.Errorf("answer:\n%s", diff)
			}
			for _, seq := range [][2]uint64{{4, 1}, {3, 2}} {
				_, err := d.ask(tt.method, tt.req(seq[0], seq[1]), tt.res, "")
				var remote *bus.RemoteError
				if !errors.As(err, &remote) || remote.Code != bus.CodeUnavailable {
					t.Errorf("folded up to 3 and 1, asked for %v: %v", seq, err)
				}
			}
		})
	}
	for method, req := range map[string]proto.Message{
		"unreached": &candorv1.UnreachedRequest{Incident: "i2"}, "people": &candorv1.PeopleRequest{Incident: "i2"},
	} {
		_, err := d.ask(method, req, &candorv1.UnreachedResponse{}, "")
		var remote *bus.RemoteError
		if !errors.As(err, &remote) || remote.Code != bus.CodeNotFound {
			t.Errorf("%s of nothing: %v", method, err)
		}
	}
}
