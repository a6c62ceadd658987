package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	ics "github.com/arran4/golang-ical"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

// commander plays the api for the commands that stay in touch.
type commander struct {
	candorv1connect.UnimplementedIncidentServiceHandler
	candorv1connect.UnimplementedLedgerServiceHandler
	candorv1connect.UnimplementedTeamServiceHandler

	mu        sync.Mutex
	incident  *candorv1.Incident
	status    *candorv1.Status
	timeline  *candorv1.Timeline
	preview   []*candorv1.PreviewMessage
	updated   *candorv1.UpdateResponse
	dry, end  *candorv1.CloseResponse
	alerts    []*candorv1.Alert
	unreached []*candorv1.Unreached
	rows      string // the answer to an upload of rows
	refuse    error
	looked    func() // after each look at the incident
	asked     []proto.Message
	uploaded  string
	uploadURL string
}

func (f *commander) took(m proto.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, proto.CloneOf(m))
	return f.refuse
}

// taken returns the last request of a type; nil if there was none.
func taken[M proto.Message](f *commander) (last M) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.asked {
		if m, ok := m.(M); ok {
			last = m
		}
	}
	return last
}

func (f *commander) GetIncident(context.Context, *connect.Request[candorv1.GetIncidentRequest]) (*connect.Response[candorv1.GetIncidentResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := connect.NewResponse(&candorv1.GetIncidentResponse{Incident: proto.CloneOf(f.incident)})
	if f.looked != nil {
		f.looked()
	}
	return resp, nil
}

func (f *commander) ListIncidents(context.Context, *connect.Request[candorv1.ListIncidentsRequest]) (*connect.Response[candorv1.ListIncidentsResponse], error) {
	return connect.NewResponse(&candorv1.ListIncidentsResponse{Incidents: []*candorv1.Incident{f.incident}}), nil
}

func (f *commander) GetStatus(context.Context, *connect.Request[candorv1.GetStatusRequest]) (*connect.Response[candorv1.GetStatusResponse], error) {
	return connect.NewResponse(&candorv1.GetStatusResponse{Status: f.status}), nil
}

func (f *commander) GetTimeline(_ context.Context, r *connect.Request[candorv1.GetTimelineRequest]) (*connect.Response[candorv1.GetTimelineResponse], error) {
	if f.timeline == nil {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("the ledger does not answer: try again"))
	}
	_ = f.took(r.Msg)
	return connect.NewResponse(&candorv1.GetTimelineResponse{Timeline: f.timeline}), nil
}

func (f *commander) Preview(_ context.Context, r *connect.Request[candorv1.PreviewRequest]) (*connect.Response[candorv1.PreviewResponse], error) {
	return connect.NewResponse(&candorv1.PreviewResponse{Messages: f.preview}), f.took(r.Msg)
}

func (f *commander) Approve(_ context.Context, r *connect.Request[candorv1.ApproveRequest]) (*connect.Response[candorv1.ApproveResponse], error) {
	return connect.NewResponse(&candorv1.ApproveResponse{Incident: f.incident}), f.took(r.Msg)
}

func (f *commander) Update(_ context.Context, r *connect.Request[candorv1.UpdateRequest]) (*connect.Response[candorv1.UpdateResponse], error) {
	return connect.NewResponse(f.updated), f.took(r.Msg)
}

func (f *commander) DecideFollowUp(_ context.Context, r *connect.Request[candorv1.DecideFollowUpRequest]) (*connect.Response[candorv1.DecideFollowUpResponse], error) {
	return connect.NewResponse(&candorv1.DecideFollowUpResponse{Decided: &candorv1.FollowUpDecided{Name: "weekly", Wave: "w4"}}), f.took(r.Msg)
}

func (f *commander) Close(_ context.Context, r *connect.Request[candorv1.CloseRequest]) (*connect.Response[candorv1.CloseResponse], error) {
	if r.Msg.GetDryRun() {
		return connect.NewResponse(f.dry), f.took(r.Msg)
	}
	return connect.NewResponse(f.end), f.took(r.Msg)
}

func (f *commander) Reopen(_ context.Context, r *connect.Request[candorv1.ReopenRequest]) (*connect.Response[candorv1.ReopenResponse], error) {
	a := &candorv1.AdditionStatus{Addition: &candorv1.Addition{Wave: "reopen-1", Kind: "reopen", ChosenBy: r.Msg.GetReason()}, Hash: hashOf("c")}
	return connect.NewResponse(&candorv1.ReopenResponse{Addition: a}), f.took(r.Msg)
}

func (f *commander) ListAlerts(_ context.Context, r *connect.Request[candorv1.ListAlertsRequest]) (*connect.Response[candorv1.ListAlertsResponse], error) {
	return connect.NewResponse(&candorv1.ListAlertsResponse{Alerts: f.alerts}), f.took(r.Msg)
}

func (f *commander) Acknowledge(_ context.Context, r *connect.Request[candorv1.AcknowledgeRequest]) (*connect.Response[candorv1.AcknowledgeResponse], error) {
	return connect.NewResponse(&candorv1.AcknowledgeResponse{Alerts: f.alerts}), f.took(r.Msg)
}

func (f *commander) putRows(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	f.uploaded, f.uploadURL = string(body), r.URL.String()
	if f.refuse != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = io.WriteString(w, f.rows) // the caller notices
}

// serve starts the api, and returns a cli and the flags that find it.
func (f *commander) serve(t *testing.T) (c *cli, flags []string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(candorv1connect.NewIncidentServiceHandler(f))
	mux.Handle(candorv1connect.NewLedgerServiceHandler(f))
	mux.Handle(candorv1connect.NewTeamServiceHandler(f))
	mux.HandleFunc("PUT /v1/incidents/{incident}/rows", f.putRows)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "a.token")
	bearer, _ := token.NewAdmin()
	if err := token.WriteFile(file, bearer); err != nil {
		t.Fatal(err)
	}
	c = quiet()
	c.now = func() time.Time { return asOf }
	return c, []string{"--server", server.URL, "--token-file", file}
}

// give runs a command and returns what it says; answer is what is typed when it asks, and empty if nobody sits there.
func (f *commander) give(t *testing.T, answer string, args ...string) (out, errOut string, code int) {
	t.Helper()
	c, flags := f.serve(t)
	var o, e lockedBuffer
	c.out, c.err = &printer{w: &o}, &printer{w: &e}
	c.in, c.asks = strings.NewReader(answer+"\n"), answer != ""
	code = run(t.Context(), c, append(args, flags...))
	return o.String(), e.String(), code
}

// golden holds an answer against a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

var asOf = time.Date(2026, 12, 2, 15, 4, 0, 0, time.UTC)

func hashOf(digit string) string { return strings.Repeat(digit, 64) }

func at(day, hour, minute int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 12, day, hour, minute, 0, 0, time.UTC))
}

func sentTo(ch candorv1.Channel, n uint64, windows ...*candorv1.TimelineWindow) *candorv1.TimelineChannel {
	return &candorv1.TimelineChannel{Channel: ch, Customers: n, Windows: windows}
}

func win(zone string, n uint64, from, until *timestamppb.Timestamp) *candorv1.TimelineWindow {
	return &candorv1.TimelineWindow{TimeZone: zone, From: from, Until: until, Customers: n}
}

const (
	bySMS   = candorv1.Channel_CHANNEL_SMS
	byEmail = candorv1.Channel_CHANNEL_EMAIL
)

// december is a timeline with an entry in every state.
func december() *candorv1.Timeline {
	return &candorv1.Timeline{
		Incident: "breach-1", AsOf: timestamppb.New(asOf), TimeZone: "America/New_York",
		Notes: []string{"How many get a follow-up is reckoned from who was told by now."},
		Entries: []*candorv1.TimelineEntry{
			{
				Wave: "w0", Kind: "first_notice", Title: "First notice", State: candorv1.TimelineState_TIMELINE_STATE_PAST, DueAt: at(1, 14, 0),
				Channels: []*candorv1.TimelineChannel{
					sentTo(bySMS, 1816, win("America/New_York", 612, at(1, 14, 0), at(1, 14, 2)), win("America/Chicago", 1204, at(1, 15, 0), at(1, 15, 4))),
					sentTo(byEmail, 2240, win("America/New_York", 2240, at(1, 14, 0), at(1, 14, 0))),
				},
			},
			{Wave: "w1", Kind: "update", Title: "What we\x1b[2J found", State: candorv1.TimelineState_TIMELINE_STATE_RUNNING, DueAt: at(2, 15, 0), Channels: []*candorv1.TimelineChannel{sentTo(byEmail, 17)}},
			{Name: "third-day", Kind: "follow_up", Title: "What we know so far", State: candorv1.TimelineState_TIMELINE_STATE_SKIPPED, Reason: "late", DueAt: at(2, 15, 1)},
			{Name: "weekly", Kind: "follow_up", State: candorv1.TimelineState_TIMELINE_STATE_ASKS, Reason: "no_text", DueAt: at(2, 15, 2)},
			{
				Name: "weekly", Kind: "follow_up", Title: "What we know so far", State: candorv1.TimelineState_TIMELINE_STATE_COMING, DueAt: at(7, 15, 0),
				Channels: []*candorv1.TimelineChannel{sentTo(bySMS, 1816, win("America/Los_Angeles", 1816, at(7, 17, 0), at(8, 2, 30)))},
			},
			{
				Wave: "w2", Kind: "correction", Corrects: "w1", Title: "Not 2, but 3; sorry, all", State: candorv1.TimelineState_TIMELINE_STATE_DRAFT, DueAt: at(9, 15, 0),
				Channels: []*candorv1.TimelineChannel{sentTo(byEmail, 17)},
			},
			{Wave: "w3", Kind: "update", Title: "Next", State: candorv1.TimelineState_TIMELINE_STATE_COMING},
		},
	}
}

func TestATimelineIsRead(t *testing.T) {
	t.Parallel()
	f := &commander{timeline: december()}
	out, errOut, code := f.give(t, "", "timeline", "breach-1")
	if code != exitDone || errOut != "" {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	golden(t, "timeline.txt", out)
	if out, _, code := f.give(t, "", "timeline", "breach-1", "--json"); code != exitDone || !strings.HasPrefix(out, `{"incident":"breach-1"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestATimelineOfManyZonesIsNoLongList(t *testing.T) {
	t.Parallel()
	ch := sentTo(bySMS, 55)
	for i, zone := range []string{"Asia/Tokyo", "Asia/Kolkata", "Europe/Paris", "Europe/London", "America/Lima", "America/Denver", "America/Chicago", "Pacific/Auckland", "Africa/Cairo", "Africa/Lagos"} {
		ch.Windows = append(ch.Windows, win(zone, uint64(i+1), at(1, 14, 0), at(1, 14, 0)))
	}
	mail := sentTo(byEmail, 1, win("Africa/Lagos", 1, at(1, 14, 0), at(1, 14, 0)))
	rows := zoneRows(&candorv1.TimelineEntry{State: candorv1.TimelineState_TIMELINE_STATE_PAST, Channels: []*candorv1.TimelineChannel{ch, mail}}, time.UTC, false)
	if len(rows) != shownZones+1 || rows[0][0].text != "Tue 1 Dec 15:00" || rows[0][2].text != "10 by text; 1 by e-mail" || rows[shownZones][2].text != "3 by text" {
		t.Errorf("%v", rows)
	}
}

func TestATimelineOfACustomerIsByTheirClock(t *testing.T) {
	t.Parallel()
	f := &commander{timeline: &candorv1.Timeline{
		Incident: "breach-1", AsOf: timestamppb.New(asOf), TimeZone: "America/New_York", Slack: nil,
		Entries: []*candorv1.TimelineEntry{
			{Wave: "w0", Kind: "first_notice", State: candorv1.TimelineState_TIMELINE_STATE_PAST, DueAt: at(1, 14, 0), Channels: []*candorv1.TimelineChannel{
				{Channel: bySMS, Customers: 1, Notice: candorv1.NoticeState_NOTICE_STATE_DELIVERED, Windows: []*candorv1.TimelineWindow{win("Asia/Kolkata", 1, at(1, 14, 0), at(1, 14, 0))}},
			}},
			{Name: "weekly", Kind: "follow_up", State: candorv1.TimelineState_TIMELINE_STATE_COMING, DueAt: at(7, 15, 0), Channels: []*candorv1.TimelineChannel{
				{Channel: bySMS, Customers: 1, Windows: []*candorv1.TimelineWindow{win("Asia/Kolkata", 1, at(8, 3, 30), at(8, 3, 31))}},
			}},
		},
	}}
	out, _, code := f.give(t, "+15005550123", "timeline", "breach-1", "--customer", "-", "--until", "2026-12-31")
	if code != exitDone || !strings.Contains(out, "Tue 1 Dec 19:30  Asia/Kolkata  by text, delivered\n") || !strings.Contains(out, "Tue 8 Dec 09:00–09:01  Asia/Kolkata  by text\n") {
		t.Errorf("exit code %d, %s", code, out)
	}
	q := taken[*candorv1.GetTimelineRequest](f)
	if q.GetCustomer() != "+15005550123" || !q.GetUntil().AsTime().Equal(time.Date(2027, 1, 1, 5, 0, 0, 0, time.UTC)) {
		t.Errorf("asked %v", q)
	}
}

func TestATimelineSaysThatTheClockRunsFast(t *testing.T) {
	t.Parallel()
	tl := december()
	for slack, want := range map[time.Duration]bool{time.Second: false, time.Hour: true} {
		tl.Slack = durationpb.New(slack)
		out, _, _ := (&commander{timeline: tl}).give(t, "", "timeline", "breach-1")
		if strings.Contains(out, "a message may start up to 1 h 00 min beside the time that stands here") != want {
			t.Errorf("slack %v: %s", slack, out)
		}
	}
}

func TestAnEntryFitsANarrowTerminal(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	e := &candorv1.TimelineEntry{State: candorv1.TimelineState_TIMELINE_STATE_COMING}
	(&printer{w: &b}).entryHead(e, "Mon 7 Dec 2026 10:00", "follow-up weekly “What we know so far”", 36, true)
	if want := "Mon 7 Dec 2026 10:00  to come\n  follow-up weekly “What we know so\n  far”\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	rows := [][]cell{
		{text("Mon 7 Dec 09:00–09:01"), text("America/Chicago"), text("up to 2 by text; up to 3 by e-mail")},
		{text("Mon 7 Dec 10:00"), text("Asia/Kolkata"), text("up to 1 by text")},
	}
	b.Reset()
	(&printer{w: &b}).table("  ", fitting(rows, 60))
	want := "  Mon 7 Dec 09:00–09:01  America/Chicago\n    up to 2 by text; up to 3 by e-mail\n  Mon 7 Dec 10:00        Asia/Kolkata\n    up to 1 by text\n"
	if b.String() != want {
		t.Errorf("%q", b.String())
	}
	if len(fitting(rows, 80)) != len(rows) || len(fitting(rows, 0)) != len(rows) {
		t.Error("rows that fit are broken")
	}
}

func TestWhatComesHasNotAskedYet(t *testing.T) {
	t.Parallel()
	f := &commander{timeline: december()}
	f.timeline.Entries = []*candorv1.TimelineEntry{{
		Name: "weekly", Kind: "follow_up", State: candorv1.TimelineState_TIMELINE_STATE_ASKS, DueAt: at(7, 15, 0), Reason: "no_text",
	}, {
		Wave: "w4", Kind: "update", State: candorv1.TimelineState_TIMELINE_STATE_DRAFT, DueAt: f.timeline.GetAsOf(),
	}}
	out, _, code := f.give(t, "", "timeline", "breach-1")
	if now, draft := strings.Index(out, "now"), strings.Index(out, "\nonce it is approved  w4 update  waits for approval\n"); draft < now || now < 0 {
		t.Errorf("a draft does not stand below now: %s", out)
	}
	if code != exitDone || !strings.Contains(out, "Mon 7 Dec 2026 10:00  follow-up weekly  will ask: there is no text for it\n") || strings.Contains(out, "--skip") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if got, want := coming(f.timeline), "Mon 7 Dec 10:00 EST, follow-up weekly, will ask: there is no text for it"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheCalendarCanBeReadByOthers(t *testing.T) {
	t.Parallel()
	f := &commander{timeline: december()}
	f.timeline.Entries = append(f.timeline.Entries, &candorv1.TimelineEntry{
		Name: "weekly", Kind: "follow_up", State: candorv1.TimelineState_TIMELINE_STATE_COMING, DueAt: timestamppb.New(asOf.Add(calendarAhead + time.Hour)),
	})
	file := filepath.Join(t.TempDir(), "breach.ics")
	for range 2 { // a calendar is written again and again
		if out, errOut, code := f.give(t, "", "timeline", "breach-1", "--ics", file); code != exitDone || out != "" || errOut != "2 entries in "+file+".\n" {
			t.Fatalf("exit code %d, %s%s", code, out, errOut)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "breach.ics", string(data))
	for line := range strings.SplitSeq(strings.TrimSuffix(string(data), "\r\n"), "\r\n") {
		if len(line) > 75 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("%q is no line of RFC 5545", line)
		}
	}
	cal, err := ics.ParseCalendar(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	events := cal.Events()
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	start, serr := events[0].GetStartAt()
	end, eerr := events[0].GetEndAt()
	if serr != nil || eerr != nil || !start.Equal(at(7, 17, 0).AsTime()) || !end.Equal(at(8, 2, 30).AsTime()) || events[0].Id() != "breach-1-weekly-20261207t150000z@candor" {
		t.Errorf("%s from %v to %v, %v %v", events[0].Id(), start, end, serr, eerr)
	}
	if got := events[1].GetProperty(ics.ComponentPropertySummary).Value; got != "breach-1: correction “Not 2, but 3; sorry, all”" {
		t.Errorf("summary %q", got)
	}
	if out, _, code := f.give(t, "", "timeline", "breach-1", "--ics", "-"); code != exitDone || out != string(data) {
		t.Errorf("exit code %d, %s", code, out)
	}
	if _, errOut, code := f.give(t, "", "timeline", "breach-1", "--ics", "-", "--customer", "x"); code != exitUsage || !strings.Contains(errOut, "names no customer") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

func TestAnOccurrenceKeepsItsIdWhenItIsSent(t *testing.T) {
	t.Parallel()
	before := &candorv1.TimelineEntry{Name: "weekly", DueAt: at(7, 15, 0)}
	after := &candorv1.TimelineEntry{Name: "weekly", DueAt: at(7, 15, 0), Wave: "w4"}
	if a, b := eventID("x", before), eventID("x", after); a != b {
		t.Errorf("%s became %s", a, b)
	}
}
