package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

// callQueue plays the call queue for the commands.
type callQueue struct {
	candorv1connect.UnimplementedCallQueueServiceHandler
	mu       sync.Mutex
	tasks    []*candorv1.CallTask
	claims   []*candorv1.ClaimRequest
	reports  map[string]*candorv1.CompleteRequest
	released map[string]string
	refuse   map[string]error // by lease
	away     int              // answers that are lost first
	added    *candorv1.AddRequest
	explain  *candorv1.ExplainResponse
	queue    *candorv1.GetQueueResponse
	script   *candorv1.GetScriptRequest
}

func (q *callQueue) Claim(_ context.Context, r *connect.Request[candorv1.ClaimRequest]) (*connect.Response[candorv1.ClaimResponse], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.claims = append(q.claims, proto.CloneOf(r.Msg))
	n := min(int(r.Msg.GetMax()), len(q.tasks))
	given := q.tasks[:n]
	q.tasks = q.tasks[n:]
	return connect.NewResponse(&candorv1.ClaimResponse{Tasks: given}), nil
}

func (q *callQueue) Complete(_ context.Context, r *connect.Request[candorv1.CompleteRequest]) (*connect.Response[candorv1.CompleteResponse], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.away > 0 {
		q.away--
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("the call queue does not answer: try again in a moment"))
	}
	if err := q.refuse[r.Msg.GetLease()]; err != nil {
		return nil, err
	}
	q.reports[r.Msg.GetLease()] = r.Msg
	return connect.NewResponse(&candorv1.CompleteResponse{State: candorv1.CallState_CALL_STATE_DONE, Late: r.Msg.GetLease() == "late"}), nil
}

func (q *callQueue) Release(_ context.Context, r *connect.Request[candorv1.ReleaseRequest]) (*connect.Response[candorv1.ReleaseResponse], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.released[r.Msg.GetLease()] = r.Msg.GetReason()
	return connect.NewResponse(&candorv1.ReleaseResponse{}), nil
}

func (q *callQueue) Renew(context.Context, *connect.Request[candorv1.RenewRequest]) (*connect.Response[candorv1.RenewResponse], error) {
	return connect.NewResponse(&candorv1.RenewResponse{}), nil
}

func (q *callQueue) Add(_ context.Context, r *connect.Request[candorv1.AddRequest]) (*connect.Response[candorv1.AddResponse], error) {
	q.added = r.Msg
	states := map[string]candorv1.CallState{"suppressed": candorv1.CallState_CALL_STATE_SUPPRESSED}
	return connect.NewResponse(&candorv1.AddResponse{
		Task: "b.0.1", Known: r.Msg.GetCustomer() == "known" || r.Msg.GetCustomer() == "done", Reopened: r.Msg.GetCustomer() == "done",
		State: cmp.Or(states[r.Msg.GetCustomer()], candorv1.CallState_CALL_STATE_PENDING),
	}), nil
}

func (q *callQueue) Explain(context.Context, *connect.Request[candorv1.ExplainRequest]) (*connect.Response[candorv1.ExplainResponse], error) {
	return connect.NewResponse(q.explain), nil
}

func (q *callQueue) GetQueue(context.Context, *connect.Request[candorv1.GetQueueRequest]) (*connect.Response[candorv1.GetQueueResponse], error) {
	return connect.NewResponse(q.queue), nil
}

func (q *callQueue) GetScript(_ context.Context, r *connect.Request[candorv1.GetScriptRequest]) (*connect.Response[candorv1.GetScriptResponse], error) {
	q.script = r.Msg
	return connect.NewResponse(&candorv1.GetScriptResponse{Script: &candorv1.Script{
		Version: "a1b2", Language: "en",
		Parts:   []*candorv1.ScriptPart{{Name: "what_happened", Text: strings.Repeat("Somebody stole data. ", 12) + "\n\n\x1b[2JWe are sorry."}},
		Answers: []*candorv1.ScriptAnswer{{Question: "Do I need to call my bank?", Answer: "Yes."}},
	}}), nil
}

// give runs a command against the queue and returns what it says.
func (q *callQueue) give(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(candorv1connect.NewCallQueueServiceHandler(q))
	server := httptest.NewServer(mux)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "a.token")
	bearer, _ := token.NewAdmin()
	if err := token.WriteFile(file, bearer); err != nil {
		t.Fatal(err)
	}
	var o, e lockedBuffer
	c := quiet()
	c.out, c.err = &printer{w: &o}, &printer{w: &e}
	c.now = func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }
	code = run(t.Context(), c, append(args, "--server", server.URL, "--token-file", file))
	return o.String(), e.String(), code
}

func newCallQueue() *callQueue {
	return &callQueue{reports: map[string]*candorv1.CompleteRequest{}, released: map[string]string{}, refuse: map[string]error{}}
}

func exportedTask(i int) *candorv1.CallTask {
	return &candorv1.CallTask{
		Task: fmt.Sprint("b.0.", i), Lease: fmt.Sprint("l", i), Incident: "b", Phone: fmt.Sprintf("+1500555%04d", i), GivenName: "Ana",
		Language: "en", Code: "7K3-MP2-QD4", Purpose: "ladder", CallerId: "+18005550100",
		WindowEndsAt: timestamppb.New(time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)),
	}
}

func TestAnExportIsAListForADialer(t *testing.T) {
	t.Parallel()
	q := newCallQueue()
	for i := range 250 {
		q.tasks = append(q.tasks, exportedTask(i))
	}
	q.tasks[0].GivenName, q.tasks[0].NextPhones = `=HYPERLINK("http://x","Ana")`, []string{"+15005550198", "+15005550199"}
	q.tasks[0].CallBackAt = timestamppb.New(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))
	q.tasks[0].Script = &candorv1.Script{Version: "a1b2", Parts: []*candorv1.ScriptPart{{Name: "opening", Text: "Hello"}, {Name: "what_of_yours", Text: "Your name\n and your card.\n"}}}
	q.tasks[1].GivenName, q.tasks[1].Phone = "@SUM(A1)", "+1 cmd|' /C calc'!A0"
	file := filepath.Join(t.TempDir(), "calls.csv")
	out, errOut, code := q.give(t, "calls", "export", "--for", "8h", "--max", "220", "--incident", "b", "--out", file)
	if code != exitDone || out != "" || !strings.Contains(errOut, "220 customers in "+file+". They are yours until 22 Nov 2026 17:00:00") {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	want := []string{
		"lease,task,incident,phone,next_phones,given_name,language,code,purpose,wanted_at,window_ends_at,caller_id,what_of_yours,script_version",
		`l0,b.0.0,b,+15005550000,+15005550198;+15005550199,"'=HYPERLINK(""http://x"",""Ana"")",en,7K3-MP2-QD4,ladder,2026-11-22T10:00:00Z,2026-11-22T20:00:00Z,+18005550100,Your name and your card.,a1b2`,
		`l1,b.0.1,b,'+1 cmd|' /C calc'!A0,,'@SUM(A1),en,7K3-MP2-QD4,ladder,,2026-11-22T20:00:00Z,+18005550100,,`,
	}
	for i, w := range want {
		if lines[i] != w {
			t.Errorf("line %d is\n%s, want\n%s", i+1, lines[i], w)
		}
	}
	if len(lines) != 222 {
		t.Errorf("%d lines", len(lines))
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	for i, n := range []uint32{100, 100, 20} {
		if c := q.claims[i]; c.GetMax() != n || c.GetLease().AsDuration() != 8*time.Hour || c.GetIncidents()[0] != "b" || c.GetMode() != candorv1.DialMode_DIAL_MODE_PREVIEW {
			t.Errorf("claim %d: %v", i, c)
		}
	}
	// The list comes back with how the calls ended: what the export writes, the import reads.
	lines[0] = "disposition," + lines[0]
	for i := 1; i < 221; i++ {
		lines[i] = "no_answer," + lines[i]
	}
	lines[2] = strings.Replace(lines[2], "'+1 cmd|' /C calc'!A0", "+15005550001", 1)
	back := filepath.Join(t.TempDir(), "results.csv")
	if err := os.WriteFile(back, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code = q.give(t, "calls", "import", back); code != exitDone || out != "220 calls reported.\n" {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	if r := q.reports["l0"]; r.GetPhone() != "+15005550000" || r.GetDisposition() != "no_answer" || r.GetCallBackAt() != nil {
		t.Errorf("%v", r)
	}
}

func TestAnExportOfNobodyLeavesNoFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "calls.csv")
	_, errOut, code := newCallQueue().give(t, "calls", "export", "--out", file)
	if code != exitNothing || !strings.Contains(errOut, "nobody may be called now") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestAnExportGoesNowhereByAccident(t *testing.T) {
	t.Parallel()
	there := filepath.Join(t.TempDir(), "there.csv")
	if err := os.WriteFile(there, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"calls", "export"}, exitUsage, "--out names a new file"},
		{[]string{"calls", "export", "--out", there}, exitFailed, "not there yet"},
		{[]string{"calls", "export", "--out", "-", "--json"}, exitUsage, "name a file"},
		{[]string{"calls", "export", "--out", "x.csv", "--for", "25h"}, exitUsage, "1m to 24h"},
		{[]string{"calls", "export", "--out", "x.csv", "--max", "0"}, exitUsage, "at least 1"},
	} {
		q := newCallQueue()
		q.tasks = append(q.tasks, exportedTask(1))
		if _, errOut, code := q.give(t, tt.args...); code != tt.code || !strings.Contains(errOut, tt.says) || len(q.claims) > 0 {
			t.Errorf("%v: exit code %d, %d claims, %s", tt.args, code, len(q.claims), errOut)
		}
	}
	q := newCallQueue()
	q.tasks = append(q.tasks, exportedTask(1))
	if out, _, code := q.give(t, "calls", "export", "--out", "-"); code != exitDone || !strings.Contains(out, "\nl1,b.0.1,b,+15005550001,") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// broken is a file that takes so many bytes.
type broken struct{ left int }

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestWhoCannotBeWrittenDownIsGivenBack(t *testing.T) {
	t.Parallel()
	q := newCallQueue()
	for i := range 150 {
		q.tasks = append(q.tasks, exportedTask(i))
	}
	mux := http.NewServeMux()
	mux.Handle(candorv1connect.NewCallQueueServiceHandler(q))
	server := httptest.NewServer(mux)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "a.token")
	bearer, _ := token.NewAdmin()
	if err := token.WriteFile(file, bearer); err != nil {
		t.Fatal(err)
	}
	var e lockedBuffer
	c := quiet()
	c.out, c.err = &printer{w: &broken{left: 12_000}}, &printer{w: &e}
	code := run(t.Context(), c, []string{"calls", "export", "--out", "-", "--server", server.URL, "--token-file", file})
	if code != exitFailed || !strings.Contains(e.String(), "no space left") || !strings.Contains(e.String(), "100 customers are in -") {
		t.Errorf("exit code %d, %s", code, e.String())
	}
	if len(q.released) != 50 || q.released["l149"] == "" {
		t.Errorf("%d given back", len(q.released))
	}
}

func TestResultsAreTakenAndMistakesNamed(t *testing.T) {
	t.Parallel()
	q := newCallQueue()
	q.refuse["unknown"] = connect.NewError(connect.CodeNotFound, errors.New("complete: there is no such lease: claim a task"))
	q.refuse["odd"] = connect.NewError(connect.CodeInvalidArgument, errors.New(`complete: there is no disposition "magic": use one of notified`))
	q.away = 1
	file := filepath.Join(t.TempDir(), "results.csv")
	data := "\ufeffLease;Disposition;call_back_at;phone;started_at;ended_at;call_id;Agent\r\n" +
		"a;notified;;;2026-11-22T08:00:00Z;2026-11-22 09:05+01:00;c-1;Eve\r\n" +
		"b;CALLBACK;2026-11-23T17:30:00+01:00;'+15005550123;;;;\r\n" +
		"unknown;no_answer;;;;;;\r\n" +
		"odd;magic;;;;;;\r\n" +
		"late;no_answer;;15005550123;;;;\r\n" +
		"c;;;;;;;\r\n" +
		";;;;;;;\r\n" +
		";notified;;;;;;\r\n" +
		"d;callback;2026-11-23T17:30:00;;;;;\r\n" +
		"e;notified;;1,5005E+10;;;;\r\n" +
		"a;notified;;;2026-11-22T08:00:00Z;2026-11-22T08:05:00Z;c-1;Eve\r\n" +
		"b;notified;;;;;;\r\n" +
		"f;notified;;0599;;;;\r\n"
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // importing twice is harmless
		out, errOut, code := q.give(t, "calls", "import", file)
		if code != exitMistakes {
			t.Errorf("exit code %d", code)
		}
		wantOut := "3 calls reported.\n1 call was reported after the time of the list was over: recorded all the same.\n" +
			"1 row has no disposition: yours until the time of the list is over. --release gives them back.\n1 row says again what another one says.\nColumns left alone: agent.\n"
		if out != wantOut {
			t.Errorf("standard output:\n%s", out)
		}
		for _, want := range []string{
			":4: there is no such lease: claim a task\n", `:5: there is no disposition "magic": use one of notified`, ":9: the lease is missing",
			":10: call_back_at: whose clock is that?", ":11: phone: a spreadsheet has rounded the number", ":13: line 3 has the same lease and says something else",
			":14: phone: write the number in international form", "7 rows were not taken",
		} {
			if !strings.Contains(errOut, want) {
				t.Errorf("%q is not in\n%s", want, errOut)
			}
		}
		if strings.Contains(errOut, "5E+10") || strings.Contains(errOut, "0599") {
			t.Errorf("a number is told:\n%s", errOut)
		}
	}
	if len(q.reports) != 3 || len(q.released) != 0 {
		t.Errorf("%v, %v", q.reports, q.released)
	}
	a := &candorv1.CompleteRequest{
		Lease: "a", Disposition: "notified", CallId: "c-1", StartedAt: timestamppb.New(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)),
		EndedAt: timestamppb.New(time.Date(2026, 11, 22, 8, 5, 0, 0, time.UTC)),
	}
	b := &candorv1.CompleteRequest{
		Lease: "b", Disposition: "callback", Phone: "+15005550123", CallBackAt: timestamppb.New(time.Date(2026, 11, 23, 16, 30, 0, 0, time.UTC)),
	}
	if !proto.Equal(q.reports["a"], a) || !proto.Equal(q.reports["b"], b) || q.reports["late"].GetPhone() != "+15005550123" {
		t.Errorf("%v", q.reports)
	}
	out, _, code := q.give(t, "calls", "import", file, "--release", "--json")
	if code != exitMistakes || !strings.Contains(out, `"imported":3`) || !strings.Contains(out, `"released":1`) || !strings.Contains(out, `{"line":4,"problem":`) || q.released["c"] != "not_called" {
		t.Errorf("exit code %d, %s, %v", code, out, q.released)
	}
}

func TestAFileThatIsNoListIsRefusedWhole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ data, says string }{
		{"", "the file is empty"},
		{"lease,dispo\na,notified\n", "there is no column disposition"},
		{"a,notified\n", "there is no column lease"},
		{"lease,disposition,Lease\n", `two columns "lease"`},
		{"lease,disposition\ra,notified\r", "carriage return"},
		{"lease,disposition,\"note\na,notified,\n", "a quotation mark is not closed"},
		{"lease,disposition\na," + strings.Repeat("x", 1<<20) + "\n", "line 2 is longer"},
	} {
		file := filepath.Join(t.TempDir(), "r.csv")
		if err := os.WriteFile(file, []byte(tt.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errOut, code := newCallQueue().give(t, "calls", "import", file); code != exitMistakes || !strings.Contains(errOut, tt.says) {
			t.Errorf("%q: exit code %d, %s", tt.data, code, errOut)
		}
	}
}

func TestAQuotationMarkSwallowsNoRows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, data string
		reports    int
		problems   []string
	}{
		{"tabs, a quote at the front", "lease\tnote\tdisposition\na\tx\tnotified\nb\t\"hello\" she said\tno_answer\nc\t\tbusy\nd\t\tdo_not_call\ne\t\tbusy\nf\t\tbusy\n", 6, nil},
		{"tabs, never closed", "lease\tnote\tdisposition\na\t\"hello\tnotified\nb\t5\" tall\tdo_not_call\n", 2, nil},
		{"tabs, a cell in marks", "lease\tnote\tdisposition\n\"a\"\t\"she said \"\"hi\"\"\"\tnotified\nb\t\"a\tb\"\tno_answer\n", 2, nil},
		{"commas, a mark within", "lease,note,disposition\na,\"hello\" she said,notified\nb,,do_not_call\n", 1, []string{":2: a quotation mark"}},
		{"commas, never closed", "lease,note,disposition\na,\"hello,notified\nb,,do_not_call\nc,\"x, y\",busy\n", 2, []string{":2: a quotation mark"}},
		{"two lines in a cell", "lease;note;disposition\na;\"one\r\ntwo\";notified\r\nb;;do_not_call\r\n", 1, []string{":2: a quotation mark", ":3: a quotation mark"}},
		{"a note for a disposition", "lease;disposition\na;she said yes\nb;do_not_call\n", 1, []string{":2: disposition: this is no code"}},
		{"a comma too many", "lease,note,disposition\na,hello, she said,notified\nb,,do_not_call\n", 1, []string{":2: the row has more cells"}},
		{"returns alone", "lease,disposition\na,notified\rb,do_not_call\rc,busy\nd,busy\n", 1, []string{":2: the line holds a carriage return"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := newCallQueue()
			file := filepath.Join(t.TempDir(), "r.csv")
			if err := os.WriteFile(file, []byte(tt.data), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errOut, code := q.give(t, "calls", "import", file)
			if want := map[bool]int{false: exitDone, true: exitMistakes}[len(tt.problems) > 0]; code != want || len(q.reports) != tt.reports {
				t.Errorf("exit code %d, %d reports\n%s%s", code, len(q.reports), out, errOut)
			}
			for _, want := range tt.problems {
				if !strings.Contains(errOut, want) {
					t.Errorf("%q is not in\n%s", want, errOut)
				}
			}
			if strings.Contains(errOut, "she said") {
				t.Errorf("what stands in a cell is told:\n%s", errOut)
			}
		})
	}
}

func TestAForeignTokenIsToldOnce(t *testing.T) {
	t.Parallel()
	q := newCallQueue()
	data := "lease,disposition\nnot-called,\n"
	for i := range 30 {
		q.refuse[fmt.Sprint("l", i)] = connect.NewError(connect.CodePermissionDenied, errors.New("this token may not call: take one with another role"))
		data += fmt.Sprintf("l%d,notified\n", i)
	}
	file := filepath.Join(t.TempDir(), "r.csv")
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := q.give(t, "calls", "import", file); code != exitRefused || strings.Count(errOut, "may not call") != 1 {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

func TestCallsInWords(t *testing.T) {
	t.Parallel()
	q := newCallQueue()
	at := timestamppb.New(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	q.queue = &candorv1.GetQueueResponse{
		States: map[string]uint64{"pending": 1200, "leased": 3, "done": 40}, Callable: 800, NextAt: at,
		Dispositions: map[string]uint64{"no_answer": 9, "notified": 40},
	}
	q.explain = &candorv1.ExplainResponse{
		State: candorv1.CallState_CALL_STATE_WAITING, Reasons: []string{"it is Sunday where they live", "three calls in 24 hours are enough"}, NextAt: at,
		Attempts: []*candorv1.CallAttempt{
			{Number: 1, LeasedAt: at, Dialer: "d1", Disposition: "no_answer", EndedAt: at, Late: true},
			{Number: 2, LeasedAt: at, Dialer: "d1", EndedAt: at},
			{Number: 3, LeasedAt: at, Dialer: "d2"},
			{Number: 4, LeasedAt: at, Dialer: "d2", EndedAt: at, Released: true},
		},
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"calls", "queue", "b"}, `1,243 customers in the call queue
  pending  1,200
  leased       3
  done        40

How their calls ended
  notified   40
  no answer   9

800 may be called now. The next change by itself is at 23 Nov 2026 09:00:00.
`},
		{[]string{"calls", "explain", "b", "7K3-MP2-QD4"}, `7K3-MP2-QD4 may not be called now. The task is waiting.
  - it is Sunday where they live
  - three calls in 24 hours are enough
Not before 23 Nov 2026 09:00:00 UTC.

Calls so far, by UTC
   1  23 Nov 2026 09:00:00  no answer, reported late  token d1
   2  23 Nov 2026 09:00:00  no report  token d1
   3  23 Nov 2026 09:00:00  a dialer has the task  token d2
   4  23 Nov 2026 09:00:00  given back without a call  token d2
`},
		{[]string{"calls", "add", "b", "7K3-MP2-QD4", "--at", "2026-11-23T17:30:00+01:00"}, `7K3-MP2-QD4 of b is called at 23 Nov 2026 16:30:00 UTC.
What next: when that is, and why
  candor calls explain b 7K3-MP2-QD4
`},
		{[]string{"script", "b", "--language", "fr", "--kind", "payment_card"}, `Script a1b2, in en

What happened
  Somebody stole data. Somebody stole data. Somebody stole data. Somebody stole data. Somebody
  stole data. Somebody stole data. Somebody stole data. Somebody stole data. Somebody stole data.
  Somebody stole data. Somebody stole data. Somebody stole data.

  [2JWe are sorry.

Questions and answers

Do I need to call my bank?
  Yes.
`},
	} {
		if out, errOut, code := q.give(t, tt.args...); code != exitDone || out != tt.want {
			t.Errorf("%v: exit code %d\n%s%s", tt.args, code, out, errOut)
		}
		if out, _, code := q.give(t, append(tt.args, "--json")...); code != exitDone || !strings.HasPrefix(out, "{") || strings.Count(out, "\n") != 1 {
			t.Errorf("%v --json: exit code %d\n%s", tt.args, code, out)
		}
	}
	if q.script.GetLanguage() != "fr" || q.script.GetKinds()[0] != "payment_card" || !q.added.GetCallBackAt().AsTime().Equal(time.Date(2026, 11, 23, 16, 30, 0, 0, time.UTC)) {
		t.Errorf("%v, %v", q.script, q.added)
	}
	for who, want := range map[string]string{
		"known":      "known of b is called as soon as may be. They were in the queue already: nobody is called twice for it.\n",
		"done":       "done of b is called as soon as may be. Their task had ended, and is open again: they are called once more.\n",
		"suppressed": "suppressed of b is not called: the task is suppressed.\nWhat next: why that is\n",
	} {
		if out, _, _ := q.give(t, "calls", "add", "b", who); !strings.HasPrefix(out, want) {
			t.Error(out)
		}
	}
	for _, tt := range [][]string{
		{"calls", "add", "b", "c", "--at", "2026-11-23T17:30:00"},
		{"calls", "add", "b", "c", "--at", "tomorrow"},
		{"calls", "add", "b"},
		{"calls", "add"},
		{"calls", "explain", "b", "c", "d"},
		{"calls", "queue", "a", "b"},
		{"calls", "import"},
		{"dialer", "--mode", "predictive"},
		{"dialer", "--speed", "0"},
		{"dialer", "--agents", "0"},
		{"dialer", "--crash", "2"},
		{"dialer", "--duration", "-1s"},
		{"script"},
	} {
		if _, errOut, code := q.give(t, tt...); code != exitUsage {
			t.Errorf("%v: exit code %d, %s", tt, code, errOut)
		}
	}
}

// A pause once said that nothing was on its way, while agents were calling.
func TestAPauseSaysWhomDialersHold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		states map[string]uint64
		paused []candorv1.Channel
		want   string
	}{
		{"two calls", map[string]uint64{"leased": 2, "pending": 5}, []candorv1.Channel{candorv1.Channel_CHANNEL_UNSPECIFIED}, "Dialers hold 2 customers: calls that have begun go on"},
		{"calls alone", map[string]uint64{"leased": 1}, []candorv1.Channel{candorv1.Channel_CHANNEL_CALL}, "Dialers hold 1 customer: "},
		{"no calls", map[string]uint64{"pending": 5}, []candorv1.Channel{candorv1.Channel_CHANNEL_CALL}, "No dialer holds a customer.\n"},
		{"texts alone", map[string]uint64{"leased": 1}, []candorv1.Channel{candorv1.Channel_CHANNEL_SMS}, ""},
		{"nobody is ever called", nil, []candorv1.Channel{candorv1.Channel_CHANNEL_UNSPECIFIED}, ""},
		{"nobody knows", map[string]uint64{"away": 1}, []candorv1.Channel{candorv1.Channel_CHANNEL_CALL}, "does not say how many"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := newCallQueue()
			q.queue = &candorv1.GetQueueResponse{States: tt.states}
			mux := http.NewServeMux()
			if tt.states["away"] == 0 {
				mux.Handle(candorv1connect.NewCallQueueServiceHandler(q))
			}
			server := httptest.NewServer(mux)
			defer server.Close()
			var o lockedBuffer
			c := quiet()
			c.out = &printer{w: &o}
			c.callsInHand(t.Context(), &client{CallQueueServiceClient: candorv1connect.NewCallQueueServiceClient(server.Client(), server.URL)}, "b", tt.paused)
			if out := o.String(); (out == "") != (tt.want == "") || !strings.Contains(out, tt.want) {
				t.Errorf("%q, want %q", out, tt.want)
			}
		})
	}
}

func TestADialerThatNobodyAnswersSaysSo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.token")
	bearer, _ := token.NewAdmin()
	if err := token.WriteFile(file, bearer); err != nil {
		t.Fatal(err)
	}
	var e lockedBuffer
	c := quiet()
	c.err = &printer{w: &e}
	code := run(t.Context(), c, []string{"dialer", "--agents", "1", "--duration", "10ms", "--server", "http://127.0.0.1:1", "--token-file", file})
	if code != exitUnreachable || !strings.Contains(e.String(), "the call queue did not answer") {
		t.Errorf("exit code %d, %s", code, e.String())
	}
}

func TestTheDialerWorksTheQueueOff(t *testing.T) {
	t.Parallel()
	q := newCallQueue()
	for i := range 40 {
		task := exportedTask(i)
		task.Code, task.Attempt, task.WindowEndsAt = fmt.Sprint("C", i), 1, nil
		q.tasks = append(q.tasks, task)
	}
	out, errOut, code := q.give(t, "dialer", "--agents", "10", "--speed", "100000", "--duration", "1s")
	if code != exitDone || len(q.reports) != 40 || !strings.Contains(out, "40 calls in") || !strings.Contains(out, "notified") {
		t.Errorf("exit code %d, %d reports\n%s%s", code, len(q.reports), out, errOut)
	}
	if strings.Contains(out+errOut, "+1500") || strings.Contains(out+errOut, "Ana") {
		t.Errorf("a customer is told of:\n%s%s", out, errOut)
	}
	out, _, code = q.give(t, "dialer", "--agents", "1", "--duration", "10ms", "--json")
	if code != exitDone || !strings.Contains(out, `"claimed":0`) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestTimesHaveTheirZone(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 23, 16, 30, 0, 0, time.UTC)
	for _, s := range []string{
		"2026-11-23T17:30:00+01:00", "2026-11-23T16:30:00Z", "2026-11-23T17:30+01:00", "2026-11-23 17:30:00+01:00", "2026-11-23 17:30:00 +0100",
		"2026-11-23 17:30 +01:00", "2026-11-23T16:30:00.000Z",
	} {
		if got, err := zonedTime(s); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"2026-11-23T17:30:00", "2026-11-23 17:30"} {
		if _, err := zonedTime(s); !errors.Is(err, errNoZone) {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "now", "17:30", "2026-11-23", "23.11.2026 17:30 +01:00", "2026-02-30T17:30:00Z"} {
		if _, err := zonedTime(s); !errors.Is(err, errNoTime) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// Whatever stands in a file, each of its lines is a call, or nothing said yet, or named as a problem: a quotation mark in one of them once
// swallowed those that came after it.
func FuzzResults(f *testing.F) {
	f.Add("lease,disposition\na,notified\n")
	f.Add("\ufefflease;disposition;phone;call_back_at\r\n'a;\"x\"\"y\";+1 (500) 555;2026-11-23T17:30:00Z\r\n")
	f.Add("disposition\tlease\n\"\n\t\x00\xff")
	f.Add("lease\tnote\tdisposition\na\t\"hello\" she said\tnotified\nb\t\tdo_not_call\nb\t\tdo_not_call\n")
	f.Add("lease,disposition,note\na,notified,\"never closed\nb,do_not_call,\nc,no_answer,x\n")
	f.Add("lease,disposition\ra,notified\rb,no_answer\r")
	f.Fuzz(func(t *testing.T, data string) {
		r, err := readResults(strings.NewReader(data))
		if err != nil {
			return
		}
		seen, lines := map[string]bool{}, map[int]bool{}
		for _, row := range r.rows {
			m := row.report
			if m.GetLease() == "" || seen[m.GetLease()] || row.line < 2 || m.GetPhone() != "" && !dialable.MatchString(m.GetPhone()) {
				t.Fatalf("%d: %v", row.line, m)
			}
			seen[m.GetLease()], lines[row.line] = true, true
		}
		for _, p := range r.problems {
			if lines[p.Line] || p.Problem == "" {
				t.Fatalf("line %d: %q", p.Line, p.Problem)
			}
			lines[p.Line] = true
		}
		full := uint64(0) // lines that say something
		for _, line := range strings.Split(strings.TrimPrefix(data, "\ufeff"), "\n")[1:] {
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsSpace(r) && !strings.ContainsRune(",;\"'", r) }) {
				full++
			}
		}
		if n := uint64(len(lines)) + r.repeated; n != r.lines || n < full {
			t.Fatalf("%d of %d lines, of which %d are not empty, are accounted for", n, r.lines, full)
		}
	})
}
