package ledger

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// desk is a ledger that runs over a real broker, with incident i1 declared.
type desk struct {
	t   *testing.T
	bus *bus.Bus
	reg *incident.Registry
	log *incident.Log
	inc *incident.Incident
	now time.Time
}

// patience is for a machine that does a lot besides.
const patience = 3 * time.Minute

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, bus: bustest.New(t), now: time.Now(), inc: &incident.Incident{ID: "i1"}}
	d.log = incident.NewLog(d.bus, func() time.Time { return d.now })
	d.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: drafted("")}})
	d.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{}}})
	d.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_WavePlanned{WavePlanned: &candorv1.WavePlanned{Wave: "w0", Orders: 4, Notices: 20}}})
	d.reg = incident.NewRegistry(d.bus)
	d.run(d.reg.Run)
	<-d.reg.Ready()
	return d
}

func (d *desk) run(f func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(d.t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	d.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			d.t.Errorf("run: %v", err)
		}
	})
}

func (d *desk) event(e *candorv1.BreachEvent) {
	d.t.Helper()
	inc, err := d.log.Append(d.t.Context(), d.inc, incident.Service("test"), e)
	if err != nil {
		d.t.Fatal(err)
	}
	d.inc = inc
}

func (d *desk) ledger() *Ledger {
	d.t.Helper()
	cfg := DefaultConfig()
	cfg.Clock = clock.Clock{}.On(func() time.Time { return d.now }, nil)
	l, err := New(cfg, d.bus, d.reg, zerolog.Nop())
	if err != nil {
		d.t.Fatal(err)
	}
	l.cfg.CatchUp = patience
	return l
}

func (d *desk) write(subject string, entries ...*candorv1.JournalEntry) {
	d.t.Helper()
	for _, e := range entries {
		d.append(subject, encode(d.t, stamped(e, d.now)))
	}
}

func (d *desk) append(subject string, data []byte) {
	d.t.Helper()
	if _, err := d.bus.Append(d.t.Context(), topology.StreamJournal, bus.Message{Subject: subject, Data: data}); err != nil {
		d.t.Fatal(err)
	}
}

// tellAll opens what plan expects and accepts all of it.
func (d *desk) tellAll() {
	d.t.Helper()
	for _, s := range []string{on(sms, 0), on(sms, 1), on(email, 0), on(email, 1)} {
		d.write(s, opened(5), intent(1, 0, 5), outcome(1, accepted, "", 0, 5))
	}
}

// ask asks the ledger over the bus, as the api does.
func (d *desk) ask(method string, req, res proto.Message, after string) (next string, err error) {
	d.t.Helper()
	data, err := proto.Marshal(req)
	if err != nil {
		d.t.Fatal(err)
	}
	var header map[string]string
	if after != "" {
		header = map[string]string{topology.HeaderAfter: after}
	}
	// The ledger may not listen yet.
	for {
		reply, err := d.bus.RequestWithin(d.t.Context(), patience, topology.Ask("ledger", method), data, header)
		if errors.Is(err, bus.ErrUnavailable) && d.t.Context().Err() == nil {
			continue
		}
		if err != nil {
			return "", err
		}
		if err := proto.Unmarshal(reply.Data, res); err != nil {
			d.t.Fatal(err)
		}
		return reply.Header[topology.HeaderNext], nil
	}
}

func (d *desk) status() *candorv1.Status {
	d.t.Helper()
	res := &candorv1.GetStatusResponse{}
	if _, err := d.ask("status", &candorv1.GetStatusRequest{Incident: "i1"}, res, ""); err != nil {
		d.t.Fatal(err)
	}
	return res.GetStatus()
}

func TestAnswersWhatWasWrittenBeforeItStarted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tellAll()
	l := d.ledger()
	d.run(l.Run)
	st := d.status() // asked at once: the answer waits for the rebuild
	if !st.GetComplete() || st.GetFoldedTo() != 12 || st.GetJournalLast() != 12 {
		t.Fatalf("complete %v, folded to %d of %d, open %q", st.GetComplete(), st.GetFoldedTo(), st.GetJournalLast(), st.GetOpen())
	}
	if st.GetPeople().GetTold() != 10 {
		t.Errorf("%d told", st.GetPeople().GetTold())
	}
	if here := l.Status("i1"); here.GetComplete() || here.GetPeople().GetTold() != 10 {
		t.Errorf("in process, without asking the stream: %v", here)
	}

	// And what was written after it, whoever asks first.
	d.write(on(sms, 0), outcome(2, accepted, "", 0, 1))
	if st := d.status(); st.GetDuplicates() != 1 {
		t.Errorf("an entry written before the question is not in the answer: %v", st)
	}
}

func TestRebuildGivesTheSame(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	first := d.ledger()
	d.run(first.Run)
	<-first.Ready()
	d.tellAll()
	d.write(on(sms, 1), deadLettered("no key"))
	d.append(on(email, 0), []byte{0xff})
	d.write(on(email, 0), intent(2, 0, 1))
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
	if one.GetComplete() || len(one.GetOpen()) != 2 {
		t.Errorf("open is %q", one.GetOpen())
	}
}

// The registry is a moment behind: another wave was approved already.
func TestNotCompleteWhileEventsAreUnread(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tellAll()
	behind := incident.NewRegistry(d.bus)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- behind.Run(ctx) }()
	<-behind.Ready()
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Paused{Paused: &candorv1.Paused{}}})
	l, err := New(DefaultConfig(), d.bus, behind, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	l.cfg.CatchUp = patience
	d.run(l.Run)
	st := d.status()
	if st.GetComplete() || len(st.GetOpen()) != 1 {
		t.Errorf("complete %v, open %q", st.GetComplete(), st.GetOpen())
	}
}

// A ledger that does not get the entries says so instead of "complete".
func TestNotCompleteWhileEntriesAreUnread(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tellAll()
	l := d.ledger()
	l.cfg.CatchUp = 0
	_, err := d.bus.Read(t.Context(), topology.StreamJournal, "", 1, l.books.fold)
	if err != nil {
		t.Fatal(err)
	}
	d.write(on(sms, 1), intent(2, 0, 1))
	st, err := l.CurrentStatus(t.Context(), "i1")
	if err != nil {
		t.Fatal(err)
	}
	if st.GetComplete() || !slices.Equal(st.GetOpen(), []string{"1 entry of the journals is not folded yet"}) {
		t.Errorf("complete %v, open %q", st.GetComplete(), st.GetOpen())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run(d.ledger().Run)
	for _, tt := range []struct {
		name, method string
		req          proto.Message
		after        string
		want         bus.Code
	}{
		{"status of nothing", "status", &candorv1.GetStatusRequest{Incident: "i2"}, "", bus.CodeNotFound},
		{"list of nothing", "list", &candorv1.ListNoticesRequest{Incident: "i2"}, "", bus.CodeNotFound},
		{"export of nothing", "export", &candorv1.ExportNoticesRequest{Incident: "i2"}, "", bus.CodeNotFound},
		{"page token", "list", &candorv1.ListNoticesRequest{Incident: "i1", PageToken: "?"}, "", bus.CodeInvalid},
		{"cursor", "export", &candorv1.ExportNoticesRequest{Incident: "i1"}, "AAAA", bus.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := d.ask(tt.method, tt.req, &candorv1.ListNoticesResponse{}, tt.after)
			var remote *bus.RemoteError
			if !errors.As(err, &remote) || remote.Code != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
	_, err := d.bus.Request(t.Context(), topology.Ask("ledger", "status"), []byte{0xff}, nil)
	var remote *bus.RemoteError
	if !errors.As(err, &remote) || remote.Code != bus.CodeInvalid {
		t.Errorf("damaged request: %v", err)
	}
	// Declared, and nothing was opened yet.
	for method, res := range map[string]proto.Message{"list": &candorv1.ListNoticesResponse{}, "export": &candorv1.ExportNoticesResponse{}} {
		req := &candorv1.GetStatusRequest{Incident: "i1"} // all requests begin alike
		if _, err := d.ask(method, req, res, ""); err != nil {
			t.Errorf("%s of an incident without journals: %v", method, err)
		}
	}
}

func TestListNotices(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run(d.ledger().Run)
	d.write(on(sms, 0), opened(5, 1, 4), intent(1, 1, 4), outcome(1, failed, "bad", 1, 1), outcome(1, accepted, "", 2, 2), outcome(1, failed, "landline", 4, 1))
	d.write(on(sms, 1), opened(5), intent(1, 0, 5), outcome(1, failed, "bad", 0, 5))
	d.write(on(email, 0), opened(5), intent(1, 0, 5), outcome(1, failed, "bad", 3, 2))
	d.status() // waits until all of it is folded
	failedState := []candorv1.NoticeState{candorv1.NoticeState_NOTICE_STATE_FAILED}
	for _, tt := range []struct {
		name string
		req  *candorv1.ListNoticesRequest
		want int
	}{
		{"all", &candorv1.ListNoticesRequest{}, 14},
		{"by state", &candorv1.ListNoticesRequest{States: failedState}, 9},
		{"by state and reason", &candorv1.ListNoticesRequest{States: failedState, Reason: "bad"}, 8},
		{"by reason", &candorv1.ListNoticesRequest{Reason: "landline"}, 1},
		{"by channel", &candorv1.ListNoticesRequest{States: failedState, Channel: email}, 2},
		{"by wave", &candorv1.ListNoticesRequest{Wave: "w1"}, 0},
		{"none such", &candorv1.ListNoticesRequest{States: []candorv1.NoticeState{candorv1.NoticeState_NOTICE_STATE_EXPIRED}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.req.Incident = "i1"
			var whole *candorv1.ListNoticesResponse
			for _, limit := range []uint32{0, 1, 3, 5} { // however it is cut, the list is the same
				got := &candorv1.ListNoticesResponse{}
				tt.req.Limit, tt.req.PageToken = limit, ""
				for {
					res := &candorv1.ListNoticesResponse{}
					if _, err := d.ask("list", tt.req, res, ""); err != nil {
						t.Fatal(err)
					}
					if res.GetTotal() != uint64(tt.want) {
						t.Fatalf("total %d, want %d", res.GetTotal(), tt.want)
					}
					if limit > 0 && len(res.GetNotices()) > int(limit) {
						t.Fatalf("%d notices, asked for %d", len(res.GetNotices()), limit)
					}
					got.Notices = append(got.Notices, res.GetNotices()...)
					if tt.req.PageToken = res.GetNextPageToken(); tt.req.GetPageToken() == "" {
						break
					}
				}
				if len(got.GetNotices()) != tt.want {
					t.Fatalf("%d notices, want %d", len(got.GetNotices()), tt.want)
				}
				if whole == nil {
					whole = got
				} else if diff := cmp.Diff(whole, got, protocmp.Transform()); diff != "" {
					t.Fatalf("in parts of %d:\n%s", limit, diff)
				}
			}
		})
	}
	res := &candorv1.ListNoticesResponse{}
	if _, err := d.ask("list", &candorv1.ListNoticesRequest{Incident: "i1", Reason: "landline"}, res, ""); err != nil {
		t.Fatal(err)
	}
	want := &candorv1.Notice{
		Key:   &candorv1.NoticeKey{Wave: "w0", Channel: sms, Page: 0, Slot: 4},
		State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: "landline",
	}
	if diff := cmp.Diff([]*candorv1.Notice{want}, res.GetNotices(), protocmp.Transform()); diff != "" {
		t.Errorf("notice:\n%s", diff)
	}
}

func TestExportComesInParts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run(d.ledger().Run)
	const pages = 2000 // of 1,000: two million bytes
	data := encode(t, stamped(opened(1000, 0, 999), d.now))
	for from := 0; from < pages; from += bus.MaxBatch {
		ms := make([]bus.Message, bus.MaxBatch)
		for i := range ms {
			ms[i] = bus.Message{Subject: on(sms, uint32(from+i)), Data: data}
		}
		if _, err := d.bus.AppendBatch(t.Context(), topology.StreamJournal, ms); err != nil {
			t.Fatal(err)
		}
	}
	d.write(on(sms, 17), intent(1, 5, 2), outcome(1, failed, "bad", 5, 2))
	d.status()
	seen := map[uint32]bool{}
	after, parts := "", 0
	for {
		res := &candorv1.ExportNoticesResponse{}
		next, err := d.ask("export", &candorv1.ExportNoticesRequest{Incident: "i1"}, res, after)
		if err != nil {
			t.Fatal(err)
		}
		parts++
		for _, p := range res.GetPages() {
			n := p.GetKey().GetPage()
			if seen[n] {
				t.Fatalf("page %d came twice", n)
			}
			seen[n] = true
			want := make([]byte, 1000)
			for i := range 999 {
				want[i] = byte(candorv1.NoticeState_NOTICE_STATE_PLANNED)
			}
			if n == 17 {
				want[5], want[6] = byte(candorv1.NoticeState_NOTICE_STATE_FAILED), byte(candorv1.NoticeState_NOTICE_STATE_FAILED)
			}
			if !slices.Equal(p.GetStates(), want) {
				t.Fatalf("page %d: %v", n, p.GetStates())
			}
		}
		if after = next; after == "" {
			break
		}
	}
	if len(seen) != pages || parts < 3 {
		t.Errorf("%d pages in %d parts, want %d", len(seen), parts, pages)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run(d.ledger().Run)
	d.write(on(email, 3), opened(5, 0, 3), outcome(0, suppressed, "opted_out", 0, 1), deadLettered("page cannot be opened"))
	d.write(on(sms, 0), opened(5), deadLettered("x"), replayed())
	d.write(on(sms, 1), opened(5), deadLettered("x"), sealed())
	other := topology.Journal(sms, "a-second-one", "w0", 0)
	d.write(other, opened(2), deadLettered("no key"))
	d.status()
	for id, want := range map[string][]string{
		"":             {"a-second-one", "i1"},
		"i1":           {"i1"},
		"a-second-one": {"a-second-one"},
		"none":         nil,
	} {
		res := &candorv1.ListDeadLettersResponse{}
		if _, err := d.ask("dead", &candorv1.ListDeadLettersRequest{Incident: id}, res, ""); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range res.GetDeadLetters() {
			got = append(got, l.GetIncident())
			if l.GetIncident() == "i1" && (l.GetReason() != "page cannot be opened" || l.GetOpenNotices() != 2 || l.GetKey().GetPage() != 3 || l.GetAt() == nil) {
				t.Errorf("dead letter %v", l)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("dead letters of %q are those of %q, want %q", id, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{CatchUp: -1}, nil, nil, zerolog.Nop()); err == nil {
		t.Error("a ledger without patience and answers was made")
	}
}
