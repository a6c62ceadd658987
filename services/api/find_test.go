package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/notice"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// told declares an incident with n customers, and returns its first page and the slots by customer_ref.
func (h *house) told(commander, approver caller, id string, n int) (inc *candorv1.Incident, page uint32) {
	h.t.Helper()
	up := h.upload(commander.bearer, id, nil, rows(n))
	d := h.declaration(commander, id)
	d.RosterDigest = up.Digest
	draft := h.declare(commander, d).GetIncident()
	inc, err := h.approve(approver, id, draft.GetPlanHash())
	if err != nil {
		h.t.Fatal(err)
	}
	return inc, up.Report.Pages[0].Number
}

func (c caller) find(t *testing.T, incident, query string) (*candorv1.FindResponse, error) {
	t.Helper()
	resp, err := c.ledger.Find(t.Context(), connect.NewRequest(&candorv1.FindRequest{Incident: incident, Query: query}))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// write appends an entry to a stream, at a time.
func (h *house) write(stream, subject string, at time.Time, e *candorv1.JournalEntry) {
	h.t.Helper()
	e.OccurredAt = timestamppb.New(at)
	data, err := proto.Marshal(e)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.bus.Append(h.t.Context(), stream, bus.Message{Subject: subject, Data: data}); err != nil {
		h.t.Fatal(err)
	}
}

// journal writes that a page was opened and that two of its slots were sent to; the second one was then put off for ever.
func (h *house) journal(id, wave, base, language string, ch candorv1.Channel, page uint32, size int) {
	h.t.Helper()
	set, err := notice.NewSet(&candorv1.Declaration{Playbook: string(starter(h.t, "playbook.yaml")), Facts: string(starter(h.t, "facts.yaml"))})
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := set.Text(base, ch, language)
	if err != nil {
		h.t.Fatal(err)
	}
	hash := text.Hash()
	subject := topology.Journal(ch, id, wave, page)
	write := func(after time.Duration, e *candorv1.JournalEntry) {
		h.t.Helper()
		h.write(topology.StreamJournal, subject, noon.Add(after), e)
	}
	write(0, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{TextHash: hash[:], Slots: uint32(size)}}})
	write(time.Second, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_PutOff{PutOff: &candorv1.PutOff{Reason: "quiet_hours"}}})
	write(10*time.Hour, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{Attempt: 1, Slots: []uint32{0, 2}, Provider: "twilio"}}})
	write(10*time.Hour+time.Second, &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
		Attempt: 1, Decider: candorv1.Decider_DECIDER_WORKER, Provider: "twilio", Groups: []*candorv1.OutcomeGroup{
			{Result: candorv1.Result_RESULT_ACCEPTED, Slots: []uint32{0, 2}, MessageIds: "SM0\nSM1"},
		},
	}}})
}

func (h *house) receipt(id, wave string, ch candorv1.Channel, page uint32, after time.Duration, result candorv1.Result, slots ...uint32) {
	h.t.Helper()
	h.write(topology.StreamReceipts, topology.Receipt(ch, id, wave, page), noon.Add(after), &candorv1.JournalEntry{
		Event: &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
			Attempt: 1, Decider: candorv1.Decider_DECIDER_RECEIPT, Provider: "twilio",
			Groups: []*candorv1.OutcomeGroup{{Result: result, Slots: slots, Reason: "twilio_delivered"}},
		}},
	})
}

func TestFindTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin, ann := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver)), h.as(h.token("Ann", token.Dialer))
	_, page := h.told(dana, erin, "leak-1", 10)
	first, err := ann.find(t, "leak-1", "+1 (212) 555-0000") // an English page comes first
	if err != nil || len(first.GetCustomers()) != 1 || len(first.GetCustomers()[0].GetNotices()) != 0 {
		t.Fatalf("before anything was sent: %v, %v", first, err)
	}
	h.journal("leak-1", "w0", "w0", "en", sms, page, 5)
	h.journal("leak-1", "w0", "w0", "en", email, page, 5)
	h.receipt("leak-1", "w0", sms, page, 10*time.Hour+2*time.Second, candorv1.Result_RESULT_DELIVERED, 0, 1)

	code := first.GetCustomers()[0].GetCode()
	for _, query := range []string{
		"+12125550000", "001 212 555 0000", "(212) 555-0000", "CANARY0@example.COM", code, strings.ToLower(strings.ReplaceAll(code, "-", "")), "C000000",
	} {
		for _, incident := range []string{"leak-1", ""} {
			found, err := ann.find(t, incident, query)
			if err != nil || len(found.GetCustomers()) != 1 || found.GetCustomers()[0].GetCustomerRef() != "C000000" {
				t.Fatalf("%q in %q: %v, %v", query, incident, found, err)
			}
		}
	}
	found, err := ann.find(t, "", code)
	if err != nil {
		t.Fatal(err)
	}
	c := found.GetCustomers()[0]
	if c.GetIncident() != "leak-1" || c.GetLanguage() != "en" || c.GetTimeZone() != "America/New_York" || !slices.Equal(c.GetPhones(), []string{"tel:…00"}) || c.GetEmail() != "mail:c…@…" {
		t.Errorf("the customer is %v", c)
	}
	if len(c.GetNotices()) != 2 {
		t.Fatalf("notices: %v", c.GetNotices())
	}
	n := c.GetNotices()[0]
	if n.GetKey().GetChannel() != sms || n.GetState() != candorv1.NoticeState_NOTICE_STATE_DELIVERED || !strings.Contains(n.GetText(), code) {
		t.Errorf("text message: %v", n)
	}
	var story []string
	for _, e := range n.GetEvents() {
		story = append(story, strings.Join(strings.Fields(fmt.Sprintln(e.GetWhat(), e.GetAttempt(), e.GetReason(), e.GetProvider(), e.GetMessageId(), e.GetBy())), " "))
	}
	want := []string{
		"planned 0 planner", "put_off 0 quiet_hours worker", "intended 1 twilio worker", "accepted 1 twilio SM0 worker",
		"delivered 1 twilio_delivered twilio receipt",
	}
	if !slices.Equal(story, want) {
		t.Errorf("the story is\n%s\nwant\n%s", strings.Join(story, "\n"), strings.Join(want, "\n"))
	}
	mail := c.GetNotices()[1]
	if mail.GetState() != candorv1.NoticeState_NOTICE_STATE_ACCEPTED || mail.GetSubject() == "" || !strings.Contains(mail.GetText(), "Testgiven0") {
		t.Errorf("e-mail: %v", mail)
	}
	// In London it was the next day already, and not in New York.
	if !strings.Contains(mail.GetText(), "November 23, 2026") || strings.Contains(mail.GetText(), "November 24") {
		t.Errorf("the e-mail is not dated by the customer's day:\n%s", mail.GetText())
	}
	if said := h.log.String(); strings.Contains(said, "555") || strings.Contains(said, "canary0") || strings.Contains(said, code) || !strings.Contains(said, "looked up") {
		t.Errorf("the log says\n%s", said)
	}
}

func TestFindNamesTheOthersOfAPage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 10)
	h.journal("leak-1", "w0", "w0", "en", sms, page, 5)
	second, err := dana.find(t, "", "C000002")
	if err != nil || len(second.GetCustomers()) != 1 {
		t.Fatalf("%v, %v", second, err)
	}
	events := second.GetCustomers()[0].GetNotices()[0].GetEvents()
	if last := events[len(events)-1]; last.GetMessageId() != "SM1" {
		t.Errorf("the second customer's message is %v", last)
	}
	untouched, err := dana.find(t, "", "C000004")
	if err != nil {
		t.Fatal(err)
	}
	n := untouched.GetCustomers()[0].GetNotices()[0]
	if len(n.GetEvents()) != 2 || n.GetText() != "" {
		t.Errorf("somebody who was not sent to: %v", n)
	}
}

// A text that this version would make differently than it was approved is not shown as the one that was sent.
func TestFindShowsNoTextThatWasNotSent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 10)
	h.journal("leak-1", "w0", "w0", "es", sms, page, 5) // another text's hash
	found, err := dana.find(t, "", "C000000")
	if err != nil {
		t.Fatal(err)
	}
	if n := found.GetCustomers()[0].GetNotices()[0]; n.GetText() != "" || len(n.GetEvents()) != 4 {
		t.Errorf("notice is %v", n)
	}
}

// A STOP lies on the roster's first notice, which the customer may have none of.
func TestFindShowsAnOptOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, wave, want string }{
		{"of the first notice", "w0", "w0"},
		{"of another wave", "w0-r1", "w0-r1"},
		{"of somebody who has no text", "", "w0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
			_, page := h.told(dana, erin, "leak-1", 10)
			if tt.wave != "" {
				h.write(topology.StreamJournal, topology.Journal(sms, "leak-1", tt.wave, page), noon, &candorv1.JournalEntry{
					Event: &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{Slots: 5}},
				})
			}
			h.receipt("leak-1", "w0", sms, page, 11*time.Hour, candorv1.Result_RESULT_OPTED_OUT, 0, 1)
			found, err := dana.find(t, "leak-1", "C000000")
			if err != nil || len(found.GetCustomers()) != 1 || len(found.GetCustomers()[0].GetNotices()) != 1 {
				t.Fatalf("%v, %v", found, err)
			}
			n := found.GetCustomers()[0].GetNotices()[0]
			last := n.GetEvents()[len(n.GetEvents())-1]
			if n.GetKey().GetWave() != tt.want || last.GetWhat() != "opted_out" {
				t.Errorf("notice is %v", n)
			}
			other, err := dana.find(t, "leak-1", "C000002")
			if err != nil || strings.Contains(other.String(), "opted_out") {
				t.Errorf("somebody else: %v, %v", other, err)
			}
		})
	}
}

func TestFindKnowsWhoAskedForACall(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "leak-1", 4)
	wish, err := proto.Marshal(&candorv1.CallRequest{Id: "1", Customer: &candorv1.CustomerPlace{Incident: "leak-1", Page: page, Slot: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{[]byte("nonsense"), wish} {
		if _, err := h.bus.Append(t.Context(), topology.StreamCalls, bus.Message{Subject: topology.CallRequested("leak-1"), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	for asked := false; !asked; {
		found, err := dana.find(t, "leak-1", "C000002")
		if err != nil {
			t.Fatal(err)
		}
		asked = found.GetCustomers()[0].GetAskedForCall()
	}
	if found, err := dana.find(t, "leak-1", "C000000"); err != nil || found.GetCustomers()[0].GetAskedForCall() {
		t.Errorf("somebody else: %v, %v", found, err)
	}
}

// The first question about a customer does not wait for a million pages: after the approval, and after a start.
func TestCustomersAreIndexedAhead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	h.told(dana, erin, "leak-1", 4)
	for range 2 {
		for !strings.Contains(h.log.String(), "customers can be found") {
			if _, err := h.bus.Now(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		h.stop()
		h.log.reset()
		h.open()
		h.start()
	}
}

func TestFindIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	var file strings.Builder
	file.WriteString("customer_ref,phone\n")
	for i := range 60 {
		fmt.Fprintf(&file, "C%d,+12125550100\n", i)
	}
	up := h.upload(dana.bearer, "many", nil, []byte(file.String()))
	d := h.declaration(dana, "many")
	d.RosterDigest = up.Digest
	h.declare(dana, d)
	_, err := dana.find(t, "", "+12125550100")
	wantCode(t, err, connect.CodeInvalidArgument, "code or customer_ref")
	if strings.Contains(err.Error(), "0100") {
		t.Errorf("the refusal repeats the number: %v", err)
	}
	_, err = dana.find(t, "none", "x")
	wantCode(t, err, connect.CodeNotFound)
	_, err = dana.find(t, "", "")
	wantCode(t, err, connect.CodeInvalidArgument)
	none, err := dana.find(t, "", "nobody@example.com")
	if err != nil || len(none.GetCustomers()) != 0 {
		t.Errorf("nobody is %v, %v", none, err)
	}
}

func TestShreddedCustomersAreNotFound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	answer(h, "planner", "seal", func(*candorv1.SealRequest, map[string]string) (*candorv1.SealResponse, map[string]string, error) {
		return &candorv1.SealResponse{}, nil, nil
	})
	h.told(dana, erin, "gone", 4)
	h.told(dana, erin, "kept", 4)
	if found, err := dana.find(t, "", "C000001"); err != nil || len(found.GetCustomers()) != 2 {
		t.Fatalf("%v, %v", found, err)
	}
	if _, err := dana.incidents.Abort(t.Context(), connect.NewRequest(&candorv1.AbortRequest{Incident: "gone", Reason: "test"})); err != nil {
		t.Fatal(err)
	}
	found, err := dana.find(t, "", "C000001")
	if err != nil || len(found.GetCustomers()) != 2 || found.GetCustomers()[0].GetIncident() != "kept" {
		t.Errorf("after the abort: %v, %v", found, err)
	}
	if _, err := dana.incidents.Shred(t.Context(), connect.NewRequest(&candorv1.ShredRequest{Incident: "gone"})); err != nil {
		t.Fatal(err)
	}
	found, err = dana.find(t, "", "C000001")
	if err != nil || len(found.GetCustomers()) != 1 || found.GetCustomers()[0].GetIncident() != "kept" {
		t.Errorf("after shredding: %v, %v", found, err)
	}
	_, err = dana.find(t, "gone", "C000001")
	wantCode(t, err, connect.CodeFailedPrecondition, "shredded")
}

func TestFrontDoorAsksForPlaces(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	_, page := h.told(dana, erin, "first", 4)
	h.told(dana, erin, "second", 4)
	h.upload(dana.bearer, "draft", nil, rows(4))
	d := h.declaration(dana, "draft")
	h.declare(dana, d)
	ask := func(q *candorv1.FindRequest) (*candorv1.PlaceResponse, error) {
		t.Helper()
		plain, err := proto.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := h.vault.Door().SealRequest(plain)
		if err != nil {
			t.Fatal(err)
		}
		data, err := proto.Marshal(&candorv1.PlaceRequest{Sealed: sealed})
		if err != nil {
			t.Fatal(err)
		}
		reply, err := h.bus.Request(t.Context(), topology.Ask("api", "find"), data, nil)
		resp := &candorv1.PlaceResponse{}
		if err == nil {
			err = proto.Unmarshal(reply.Data, resp)
		}
		return resp, err
	}
	resp, err := ask(&candorv1.FindRequest{Query: "+12125550002"})
	if err != nil || len(resp.GetPlaces()) != 2 {
		t.Fatalf("places: %v, %v", resp, err)
	}
	p := resp.GetPlaces()[slices.IndexFunc(resp.GetPlaces(), func(p *candorv1.CustomerPlace) bool { return p.GetIncident() == "first" })]
	if p.GetPage() != page || p.GetSlot() != 1 {
		t.Errorf("place is %v", p)
	}
	if none, err := ask(&candorv1.FindRequest{Query: "+12125559999"}); err != nil || len(none.GetPlaces()) != 0 {
		t.Errorf("nobody's place: %v, %v", none, err)
	}
	if _, err := ask(&candorv1.FindRequest{}); err == nil {
		t.Error("a question about nobody is answered")
	}
	data, err := proto.Marshal(&candorv1.PlaceRequest{Sealed: []byte("+12125550002 in the clear")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.bus.Request(t.Context(), topology.Ask("api", "find"), data, nil); err == nil || strings.Contains(err.Error(), "555") {
		t.Errorf("a question that is not sealed: %v", err)
	}
	if said := h.log.String() + protojson.Format(resp); strings.Contains(said, "2125550002") {
		t.Error("the number is said")
	}
}
