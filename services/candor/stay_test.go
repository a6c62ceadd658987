package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

const news = `---
title: "What we found"
sms:
  en: "{{organisation.short_name}}: we know more."
email:
  en: "What we know now"
---
<!-- en -->
Dear {{given_name}},

1

2

3

4
`

func newsFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "update.md")
	if err := os.WriteFile(file, []byte(news), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// declared is an incident that runs, with additions.
func declared(additions ...*candorv1.AdditionStatus) *candorv1.Incident {
	return &candorv1.Incident{
		Id: "breach-1", State: candorv1.IncidentState_INCIDENT_STATE_DECLARED, Revision: 1, DeclaredBy: "ana", ApprovedBy: "ben", PlanHash: hashOf("0"),
		DraftedAt: at(1, 13, 0), DeclaredAt: at(1, 14, 0), Additions: additions,
	}
}

func drafted(digit string, a *candorv1.Addition) *candorv1.AdditionStatus {
	return &candorv1.AdditionStatus{Addition: a, Hash: hashOf(digit), DraftedBy: "ana", DraftedAt: at(2, 15, 0)}
}

// additions are one of each kind.
func additions() map[string]*candorv1.AdditionStatus {
	plan := &candorv1.WavePlan{Channels: []*candorv1.ChannelPlan{
		{Channel: bySMS, Notices: 10, Cost: "0.083", Currency: "USD", Suppressed: map[string]uint64{"no_number": 2}}, {Channel: byEmail, Notices: 12, Cost: "0"},
	}}
	return map[string]*candorv1.AdditionStatus{
		"resend": drafted("1", &candorv1.Addition{Wave: "w0-r1", Kind: "resend", Base: "w0", Customers: 3, ChosenBy: "failed:twilio_30003", Channels: []candorv1.Channel{bySMS}}),
		"roster": drafted("2", &candorv1.Addition{
			Wave: "w0-a1", Kind: "roster", Base: "w0", Customers: 7, Added: &candorv1.People{Rows: 9, Customers: 7, Rejected: 2, Reachable: 6}, RosterDigest: hashOf("d"), Plan: plan,
		}),
		"update": drafted("3", &candorv1.Addition{Wave: "w3", Kind: "update", Customers: 12, Audience: "told and tier <= 2", Text: news, At: at(9, 15, 0), Plan: plan}),
		"correction": drafted("4", &candorv1.Addition{
			Wave: "w4", Kind: "correction", Corrects: "w0", Customers: 12, Audience: "told", Text: news, WithNext: true, Plan: plan,
		}),
		"close": drafted("5", &candorv1.Addition{
			Wave: "close-1", Kind: "close", Untold: map[string]uint64{"failed:twilio_30003": 2, "suppressed:no_address": 1}, CallRequestsOpen: 1,
			Closing: &candorv1.Closing{Wave: "w5", Base: "closing", Calls: candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW},
		}),
		"reopen": drafted("6", &candorv1.Addition{Wave: "reopen-1", Kind: "reopen", ChosenBy: "another server was found"}),
	}
}

func previews() []*candorv1.PreviewMessage {
	return []*candorv1.PreviewMessage{
		{CustomerRef: "NP-1", Channel: bySMS, Language: "en", Text: "Northwind: we know more.", Segments: 1, Encoding: "GSM-7"},
		{CustomerRef: "NP-2", Channel: bySMS, Language: "en", Text: "a second one is not shown"},
		{CustomerRef: "NP-3", Channel: byEmail, Language: "es", Subject: "Lo que sabemos", Text: "Estimada A…"},
	}
}

func TestAnUpdateIsShownAndDrafted(t *testing.T) {
	t.Parallel()
	f := &commander{timeline: december(), updated: &candorv1.UpdateResponse{Addition: additions()["update"], Preview: previews()}}
	out, errOut, code := f.give(t, "", "update", "breach-1", "-f", newsFile(t), "--at", "2026-12-09 10:00", "--audience", "told and tier <= 2")
	if code != exitDone || errOut != "" {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	golden(t, "update.txt", out)
	q := taken[*candorv1.UpdateRequest](f)
	if q.GetText() != news || !q.GetAt().AsTime().Equal(at(9, 15, 0).AsTime()) || q.GetAudience() != "told and tier <= 2" || q.GetDryRun() || q.GetWithNext() {
		t.Errorf("asked %v", q)
	}
	f.updated.Addition = &candorv1.AdditionStatus{Addition: additions()["correction"].GetAddition()}
	f.updated.Addition.Addition.Wave = ""
	out, _, code = f.give(t, "", "update", "breach-1", "-f", newsFile(t), "--with-next", "--dry-run")
	if code != exitDone || !strings.Contains(out, "Correction “What we found” of breach-1\n") || !strings.Contains(out, "corrects  w0 “First notice”") ||
		!strings.Contains(out, "in place of the next follow-up") || !strings.HasSuffix(out, "Nothing is drafted: this was a trial.\n") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, _, code = f.give(t, "", "update", "breach-1", "-f", newsFile(t), "--json"); code != exitDone || !strings.HasPrefix(out, `{"addition":{`) {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestAnUpdateThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	file := newsFile(t)
	odd := func(content string) string {
		path := filepath.Join(t.TempDir(), "update.md")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name string
		args []string
		err  error
		code int
		says string
	}{
		{"no file", []string{"update", "x1"}, nil, exitUsage, "name the file with -f"},
		{"a file that is not there", []string{"update", "x1", "-f", file + ".no"}, nil, exitFailed, "there is no file"},
		{"two hours", []string{"update", "x1", "-f", file, "--at", "2026-12-09 10:00", "--with-next"}, nil, exitUsage, "choose one"},
		{"an hour that never comes", []string{"update", "x1", "-f", file, "--at", "2026-03-08 02:30"}, nil, exitUsage, "they go from 02:00 to 03:00"},
		{"an empty file", []string{"update", "x1", "-f", odd("")}, nil, exitMistakes, ":1:1: there is nothing in it"},
		{"a file of another kind", []string{"update", "x1", "-f", odd("\xff\xfe")}, nil, exitMistakes, ":1:1: this is no text in UTF-8"},
		{"a long file", []string{"update", "x1", "-f", odd(strings.Repeat("x", newsAtMost+1))}, nil, exitMistakes, ":1:1: more than 256 kB"},
		{"closed", []string{"update", "x1", "-f", file}, connect.NewError(connect.CodeFailedPrecondition, errors.New("incident x1 is closed: reopen it with candor reopen")), exitRefused, "incident x1 is closed\n        reopen it"},
		{
			"mistakes",
			[]string{"update", "x1", "-f", file},
			connect.NewError(connect.CodeInvalidArgument, errors.New("update:3:2: there is no field titel; title is meant\nupdate:7:1: a text in es is missing; add a part <!-- es -->")),
			exitMistakes, file + ":3:2: there is no field titel — title is meant\n" + file + ":7:1: a text in es is missing — add",
		},
		{"nobody", []string{"update", "x1", "-f", file}, connect.NewError(connect.CodeInvalidArgument, errors.New("nobody is in the audience: name another one")), exitUsage, "nobody is in the audience\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &commander{timeline: december(), updated: &candorv1.UpdateResponse{}, refuse: tt.err}
			if _, errOut, code := f.give(t, "", tt.args...); code != tt.code || !strings.Contains(errOut, tt.says) {
				t.Errorf("exit code %d, %s", code, errOut)
			}
		})
	}
}

func TestEveryKindOfAdditionIsReadBeforeItIsApproved(t *testing.T) {
	t.Parallel()
	for kind, a := range additions() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := &commander{timeline: december(), incident: declared(a), preview: previews()}
			out, errOut, code := f.give(t, "yes", "approve", "breach-1", "--hash", a.GetHash())
			if code != exitDone {
				t.Errorf("exit code %d", code)
			}
			golden(t, "approve-"+kind+".txt", out+"\n(asks)\n"+errOut)
			if q := taken[*candorv1.ApproveRequest](f); q.GetPlanHash() != a.GetHash() {
				t.Errorf("approved %v", q)
			}
			if _, errOut, code = f.give(t, "no", "approve", "breach-1"); code != exitRefused || !strings.Contains(errOut, "the answer was not yes") {
				t.Errorf("exit code %d, %s", code, errOut)
			}
		})
	}
}

func TestAnApproverMayReadAllOfAnUpdate(t *testing.T) {
	t.Parallel()
	f := &commander{timeline: december(), incident: declared(additions()["update"]), preview: previews()}
	if out, _, _ := f.give(t, "no", "approve", "breach-1"); strings.Contains(out, "│ 4") || !strings.Contains(out, "5 lines more: --full shows all") {
		t.Errorf("without --full: %s", out)
	}
	if out, _, _ := f.give(t, "no", "approve", "breach-1", "--full"); !strings.Contains(out, "│ 4\n") {
		t.Errorf("with --full: %s", out)
	}
}

func TestTheStatusSaysWhatComesAndWhatWaits(t *testing.T) {
	t.Parallel()
	all := additions()
	f := &commander{
		timeline: december(), incident: declared(all["update"], all["close"]), alerts: []*candorv1.Alert{{Id: "a1"}},
		status: &candorv1.Status{Incident: "breach-1", AsOf: timestamppb.New(asOf), People: &candorv1.PeopleStatus{OnFile: 10, Told: 10}, Complete: true},
	}
	f.incident.Asks = &candorv1.FollowUpDecided{Name: "weekly", DueAt: at(2, 15, 2), Reason: "no_text"}
	out, _, code := f.give(t, "", "status", "breach-1")
	if code != exitDone {
		t.Errorf("exit code %d", code)
	}
	golden(t, "status.txt", out)

	// What cannot be known is said, and keeps nobody from the rest.
	f.timeline = nil
	if out, _, code = f.give(t, "", "status", "breach-1"); code != exitDone || !strings.Contains(out, "next: not known, the ledger does not answer\n") {
		t.Errorf("exit code %d, %s", code, out)
	}
	f.incident = &candorv1.Incident{Id: "breach-1", State: candorv1.IncidentState_INCIDENT_STATE_CLOSED, DeclaredAt: at(1, 14, 0), ClosedAt: at(20, 9, 0)}
	if out, _, _ = f.give(t, "", "status", "breach-1"); !strings.Contains(out, "✓ Closed since 20 Dec 2026 09:00:00: the last word was said, and nobody is told any more. 0 customers were not told.") {
		t.Errorf("%s", out)
	}
}

func TestTheListSaysWhatWaits(t *testing.T) {
	t.Parallel()
	f := &commander{incident: declared(additions()["update"])}
	f.incident.State, f.incident.Asks = candorv1.IncidentState_INCIDENT_STATE_CLOSING, &candorv1.FollowUpDecided{Name: "weekly"}
	if out, _, code := f.give(t, "", "incidents"); code != exitDone || !strings.Contains(out, "closing") || !strings.Contains(out, "follow-up weekly asks; 1 addition waits for approval") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestAFollowUpIsAnswered(t *testing.T) {
	t.Parallel()
	f := &commander{timeline: december(), incident: declared()}
	if out, _, code := f.give(t, "", "followup", "breach-1"); code != exitDone || !strings.Contains(out, "No follow-up of breach-1 asks.") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, _, code := f.give(t, "", "followup", "breach-1", "--json"); code != exitDone || out != "{}\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	f.incident.Asks = &candorv1.FollowUpDecided{Name: "weekly", DueAt: at(2, 15, 2), Reason: "late"}
	if out, _, code := f.give(t, "", "followup", "breach-1"); code != exitDone || !strings.Contains(out, "candor followup breach-1 weekly --send") {
		t.Errorf("exit code %d, %s", code, out)
	}
	f.incident.Asks.Reason = "no_text"
	out, _, code := f.give(t, "", "followup", "breach-1")
	if code != exitDone || !strings.Contains(out, "Follow-up weekly, due Wed 2 Dec 2026 10:02 EST, asks: there is no text for it\n") || !strings.Contains(out, "candor update breach-1 -f update.md --with-next") || strings.Contains(out, "--send") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if taken[*candorv1.DecideFollowUpRequest](f) != nil {
		t.Error("looking has decided")
	}
	if _, errOut, code := f.give(t, "", "followup", "breach-1", "apology", "--send"); code != exitRefused || !strings.Contains(errOut, "apology of breach-1 does not ask: weekly does") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	for flag, want := range map[string]candorv1.FollowUpAnswer{"--send": candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SEND, "--skip": candorv1.FollowUpAnswer_FOLLOW_UP_ANSWER_SKIP} {
		if out, _, code := f.give(t, "", "followup", "breach-1", flag); code != exitDone || !strings.Contains(out, "Follow-up weekly of breach-1") || taken[*candorv1.DecideFollowUpRequest](f).GetAnswer() != want ||
			taken[*candorv1.DecideFollowUpRequest](f).GetName() != "weekly" || !taken[*candorv1.DecideFollowUpRequest](f).GetDueAt().AsTime().Equal(at(2, 15, 2).AsTime()) {
			t.Errorf("%s: exit code %d, %s", flag, code, out)
		}
	}
	if _, _, code := f.give(t, "", "followup", "breach-1", "--send", "--skip"); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

func TestReopeningIsDrafted(t *testing.T) {
	t.Parallel()
	f := &commander{}
	out, _, code := f.give(t, "", "reopen", "breach-1", "--reason", "another server")
	if code != exitDone || !strings.Contains(out, "candor approve breach-1 --hash "+hashOf("c")) || taken[*candorv1.ReopenRequest](f).GetReason() != "another server" {
		t.Errorf("exit code %d, %s", code, out)
	}
	if _, errOut, code := f.give(t, "", "reopen", "breach-1"); code != exitUsage || !strings.Contains(errOut, "why?") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

func TestAlertsAreListedAndAcknowledged(t *testing.T) {
	t.Parallel()
	f := &commander{alerts: []*candorv1.Alert{
		{Id: "threshold-9", Incident: "breach-1", Kind: candorv1.AlertKind_ALERT_KIND_THRESHOLD, Text: "Candor paused text messages: 22% failed.", RaisedAt: at(2, 9, 0), Sent: 4, Failed: 1, LastSentAt: at(2, 9, 30)},
		{Id: "draft-3", Incident: "breach-1", Kind: candorv1.AlertKind_ALERT_KIND_DRAFT, Text: "w3 waits.", RaisedAt: at(2, 8, 0), Sent: 1, AcknowledgedBy: "ben", AcknowledgedAt: at(2, 8, 5)},
		{Id: "paused-2", Incident: "breach-2", Kind: candorv1.AlertKind_ALERT_KIND_PAUSED, Text: "ana paused.", RaisedAt: at(2, 7, 0), Over: true},
	}}
	out, _, code := f.give(t, "", "alerts", "--all")
	if code != exitDone || !taken[*candorv1.ListAlertsRequest](f).GetAll() {
		t.Errorf("exit code %d", code)
	}
	golden(t, "alerts.txt", out)
	if out, _, _ := f.give(t, "", "alerts", "breach-1", "--json"); strings.Count(out, "\n") != 3 {
		t.Errorf("%s", out)
	}
	f.alerts = f.alerts[1:2]
	out, _, code = f.give(t, "", "ack", "breach-1", "draft-3")
	if code != exitDone || out != "draft-3 is acknowledged by ben: w3 waits.\n" || taken[*candorv1.AcknowledgeRequest](f).GetAlerts()[0] != "draft-3" {
		t.Errorf("exit code %d, %s", code, out)
	}
	f.alerts = nil
	for _, tt := range []struct{ args, says string }{{"ack breach-1", "no open alert"}, {"alerts", "no alert that nobody"}} {
		if out, _, code := f.give(t, "", strings.Fields(tt.args)...); code != exitDone || !strings.Contains(out, tt.says) {
			t.Errorf("%s: exit code %d, %s", tt.args, code, out)
		}
	}
}

func TestRowsAreAdded(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "later.csv")
	data := "customer_ref,email\nNP-1,a@example.com\nNP-2,nonsense\n"
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	addition, err := protoJSON(additions()["roster"])
	if err != nil {
		t.Fatal(err)
	}
	f := &commander{timeline: december(), rows: `{"incident":"breach-1","digest":"dd","known":false,"on_file":1,"addition":` + string(addition) + `}`}
	rejects := filepath.Join(t.TempDir(), "rejects.csv")
	out, errOut, code := f.give(t, "", "roster", "add", "breach-1", file, "--map", "email=email", "--rejects", rejects)
	if code != exitDone || f.uploaded != data || !strings.HasPrefix(f.uploadURL, "/v1/incidents/breach-1/rows?") || !strings.Contains(f.uploadURL, "map=email%3Demail") {
		t.Errorf("exit code %d, %s, uploaded %q to %s", code, errOut, f.uploaded, f.uploadURL)
	}
	for _, want := range []string{"Added customers, wave w0-a1 of breach-1", "7 new customers, 6 of them reachable", "candor approve breach-1 --hash " + hashOf("2")} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if rows, err := os.ReadFile(rejects); err != nil || !strings.Contains(string(rows), "NP-2") {
		t.Errorf("rejects: %s, %v", rows, err)
	}
	f.rows = `{"incident":"breach-1","digest":"dd","known":true,"on_file":2}`
	if out, _, code := f.give(t, "", "roster", "add", "breach-1", file); code != exitDone || !strings.Contains(out, "Nobody in the file is new: there is nothing to approve") {
		t.Errorf("exit code %d, %s", code, out)
	}
	f.rows, f.refuse = `{"code":"failed_precondition","message":"incident breach-1 is closed: reopen it"}`, errors.New("refused")
	if _, errOut, code := f.give(t, "", "roster", "add", "breach-1", file); code != exitRefused || !strings.Contains(errOut, "incident breach-1 is closed\n        reopen it") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	if _, errOut, code := f.give(t, "", "roster", "add", "breach-1"); code != exitUsage || !strings.Contains(errOut, "whom?") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

func TestAnEndWaitsForWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	f := &commander{incident: declared(), dry: &candorv1.CloseResponse{
		Untold: map[string]uint64{"failed:twilio_30003": 1204, "suppressed:no_address": 12}, Unsent: map[string]uint64{"w3": 14}, CallRequestsOpen: 3, CallsOpen: 2, FollowUpsDropped: 4,
	}}
	out, errOut, code := f.give(t, "close", "close", "breach-1")
	if code != exitRefused {
		t.Errorf("exit code %d", code)
	}
	golden(t, "close-refused.txt", out+"\n(standard error)\n"+errOut)
	if q := taken[*candorv1.CloseRequest](f); !q.GetDryRun() {
		t.Error("it was closed all the same")
	}
	// Half of it is named, and something that nobody's reason is.
	_, errOut, code = f.give(t, "close", "close", "breach-1", "--untold", "failed,not begun", "--calls", "withdraw")
	if code != exitRefused || !strings.Contains(errOut, "candor close breach-1 --untold failed,suppressed:no_address --despite-unsent --despite-call-requests --calls withdraw\n") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	_, errOut, code = f.give(t, "close", "close", "breach-1", "--untold", "failed,suppressed:no_address", "--despite-unsent", "--despite-call-requests")
	if code != exitRefused || !strings.Contains(errOut, "breach-1 is not closed: calls are left in the queue\n        say whether they are made first, drain, or taken back, withdraw:\n") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	// All of it is: a second person must approve.
	f.end = &candorv1.CloseResponse{Incident: f.incident, Addition: additions()["close"]}
	out, errOut, code = f.give(t, "", "close", "breach-1", "--untold", "failed,suppressed:no_address", "--despite-unsent", "--despite-call-requests", "--calls", "withdraw")
	if code != exitDone || errOut != "" || !strings.Contains(out, "The end of breach-1 is drafted. Until it is approved everything goes on.") || !strings.Contains(out, "candor approve breach-1 --hash "+hashOf("5")) {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	q := taken[*candorv1.CloseRequest](f)
	if q.GetDryRun() || strings.Join(q.GetUntold(), " ") != "failed suppressed:no_address" || !q.GetCallRequests() || !q.GetUnsent() || q.GetCalls() != candorv1.CallsAtClose_CALLS_AT_CLOSE_WITHDRAW {
		t.Errorf("asked %v", q)
	}
	if _, _, code := f.give(t, "", "close", "breach-1", "--calls", "forget"); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

func TestAnEndThatNothingHindersIsAskedForAndFollowed(t *testing.T) {
	t.Parallel()
	closing := declared()
	closing.State = candorv1.IncidentState_INCIDENT_STATE_CLOSING
	f := &commander{
		incident: declared(), dry: &candorv1.CloseResponse{FollowUpsDropped: 4}, end: &candorv1.CloseResponse{Incident: closing}, timeline: december(),
		status: &candorv1.Status{Incident: "breach-1", Waves: []*candorv1.WaveStatus{
			{Wave: "w0", Channels: []*candorv1.ChannelStatus{{PlannedTotal: 500}}},
			{Wave: "w5", Channels: []*candorv1.ChannelStatus{{PlannedTotal: 12, States: map[string]uint64{"accepted": 10, "waiting": 2}}}},
		}},
	}
	f.timeline.Entries = append(f.timeline.Entries, &candorv1.TimelineEntry{Wave: "w5", Kind: "closing_note", State: candorv1.TimelineState_TIMELINE_STATE_RUNNING})
	if out, _, code := f.give(t, "no", "close", "breach-1"); code != exitRefused || !strings.Contains(out, "4  follow-ups and updates that were still to come are dropped") || !strings.Contains(out, "Nothing stands in the way of closing breach-1.") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if _, errOut, code := f.give(t, "", "close", "breach-1"); code != exitUsage || !strings.Contains(errOut, "pass --yes") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	if out, _, code := f.give(t, "", "close", "breach-1", "--dry-run"); code != exitDone || !strings.Contains(out, "Nothing stands in the way") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if q := taken[*candorv1.CloseRequest](f); !q.GetDryRun() {
		t.Error("it was closed without a yes")
	}
	if out, _, code := f.give(t, "close", "close", "breach-1", "--no-wait"); code != exitDone || !strings.Contains(out, "breach-1 is closing.\nWhat next: wait for its end\n  candor close breach-1\n") {
		t.Errorf("exit code %d, %s", code, out)
	}
	open := f.incident
	f.incident = closing
	if out, _, code := f.give(t, "", "close", "breach-1", "--dry-run"); code != exitDone || !strings.Contains(out, "breach-1 is closing.") {
		t.Errorf("exit code %d, %s", code, out)
	}
	f.incident = open
	// The end comes while it looks: the second look finds it closing, the third closed.
	looks := 0
	f.looked = func() {
		if looks++; looks == 1 {
			f.incident.State = candorv1.IncidentState_INCIDENT_STATE_CLOSING
		} else {
			f.incident.State, f.incident.ClosedAt = candorv1.IncidentState_INCIDENT_STATE_CLOSED, at(20, 9, 0)
		}
	}
	out, errOut, code := f.give(t, "", "close", "breach-1", "--yes")
	if code != exitDone || !strings.Contains(out, "15:04:00  closing note 10 of 12\n") || !strings.Contains(out, "✓ breach-1 is closed since 20 Dec 2026 09:00:00") {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	// Closing what is closed says so.
	if out, _, code := f.give(t, "", "close", "breach-1"); code != exitDone || !strings.Contains(out, "is closed since") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestWhoLeavesAClosingLeavesItClosing(t *testing.T) {
	t.Parallel()
	f := &commander{incident: declared(), timeline: december(), status: &candorv1.Status{Incident: "breach-1", Open: []string{"2 calls are being made"}}}
	f.incident.State = candorv1.IncidentState_INCIDENT_STATE_CLOSING
	c, flags := f.serve(t)
	var o, e lockedBuffer
	c.out, c.err = &printer{w: &o}, &printer{w: &e}
	ctx, leave := context.WithCancel(t.Context())
	f.looked = func() {
		if strings.Contains(o.String(), "not yet") {
			leave()
		}
	}
	defer leave()
	code := run(ctx, c, append([]string{"close", "breach-1"}, flags...))
	if code != exitIncomplete || !strings.Contains(o.String(), "closing note not yet: 2 calls are being made") || !strings.Contains(e.String(), "it goes on closing. candor close breach-1 follows it again") {
		t.Errorf("exit code %d, %s%s", code, o.String(), e.String())
	}
}

func TestTheWaitForAnEndOutlivesTheServer(t *testing.T) {
	t.Parallel()
	f := &commander{incident: declared(), status: &candorv1.Status{}}
	f.incident.State = candorv1.IncidentState_INCIDENT_STATE_CLOSING
	c, flags := f.serve(t)
	s, err := c.connect(statusCommand(c), &remote{server: flags[1], tokenFile: flags[3]})
	if err != nil {
		t.Fatal(err)
	}
	s.retry = time.Millisecond
	looks := 0
	f.looked = func() { // the timeline is away at first, which the wait bears
		if looks++; looks == 3 {
			f.incident.State = candorv1.IncidentState_INCIDENT_STATE_CLOSED
		}
	}
	inc, err := c.awaitClosed(t.Context(), s, f.incident, false)
	s.http.CloseIdleConnections()
	if err != nil || inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_CLOSED {
		t.Errorf("%v, %v", inc, err)
	}
}

func TestTheUpdateThatInitWritesIsGood(t *testing.T) {
	t.Parallel()
	data, err := fs.ReadFile(playbook.Starter(), "playbook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pb, err := playbook.Parse("playbook.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	update, err := fs.ReadFile(playbook.Starter(), "update.md")
	if err != nil {
		t.Fatal(err)
	}
	u, err := playbook.ParseUpdate("update.md", update, pb)
	if err != nil {
		t.Fatal(err)
	}
	if got := updateTitle(string(update)); got != u.Title || got == "" {
		t.Errorf("the title is %q, and read as %q", u.Title, got)
	}
}
