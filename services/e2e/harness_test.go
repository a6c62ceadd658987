package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	"candor/pkg/bus"
	"candor/pkg/config"
	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/sandbox"
)

// patience bounds every wait for a state: far longer than any of them takes.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(envConfig) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// These tests wait for other processes, not for a processor.
	_ = flag.Set("test.parallel", "6")
	goleak.VerifyTestMain(m)
}

// dial opens a connection to a broker as a user of the installation whose keys these are.
func dial(t *testing.T, url, keys, user string) *bus.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: user, NKeySeedFile: filepath.Join(keys, "nats", user+".seed"), RequestTimeout: 30 * time.Second}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = b.Close(ctx) // the broker may be gone already
	})
	return b
}

// until looks until something holds.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-t.Context().Done():
			t.Fatalf("not yet: %s", what)
		}
	}
}

// await waits until the status of an incident is as done wants it.
func await(t *testing.T, d *bench.Driver, incident string, done func(*candorv1.Status) bool) (*candorv1.Status, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return d.Await(ctx, incident, done)
}

// statusOf asks how an incident stands, again while a busy machine keeps the ledger from answering.
func statusOf(t *testing.T, d *bench.Driver, incident string) (*candorv1.Status, error) {
	t.Helper()
	return await(t, d, incident, func(*candorv1.Status) bool { return true })
}

// accepted waits until the sandbox has taken so many messages of both channels.
func accepted(t *testing.T, sb *sandbox.Client, sms, email uint64) {
	t.Helper()
	until(t, fmt.Sprintf("the sandbox has %d text messages and %d e-mails", sms, email), func() bool {
		truth, err := sb.Truth(t.Context())
		return err == nil && truth.SMS.Accepted >= sms && truth.Email.Accepted >= email
	})
}

// whole fails unless everybody was told once and both sides agree.
func whole(t *testing.T, v *bench.Verdict, err error, audience uint64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if v.Lost != 0 || v.Duplicates != 0 || v.Audience != audience || !v.Complete {
		t.Errorf("verdict = %+v", v)
	}
}

func rest(t *testing.T, d *bench.Driver, sb *sandbox.Client, incident string) *bench.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if st, err := d.Await(ctx, incident, func(st *candorv1.Status) bool { return bench.Resting(nil, st) }); err != nil {
		t.Fatalf("incident %s does not come to rest: %v\n%v", incident, err, st)
	}
	v, err := d.Verify(ctx, incident, sb)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// heard waits until every receipt was told, taken and folded and nothing more happens, and takes stock.
func heard(t *testing.T, d *bench.Driver, sb *sandbox.Client, inc *candorv1.Incident) *bench.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if st, err := d.Await(ctx, inc.GetId(), func(st *candorv1.Status) bool { return bench.Resting(inc.GetPlan(), st) }); err != nil {
			t.Fatalf("incident %s does not come to rest: %v\n%v", inc.GetId(), err, st)
		}
		truth, err := sb.Truth(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// What was heard last may have moved somebody on.
		st, err := statusOf(t, d, inc.GetId())
		if err != nil {
			t.Fatal(err)
		}
		if truth.Receipts.Pending == 0 && bench.Resting(inc.GetPlan(), st) {
			break
		}
	}
	v, err := d.Verify(ctx, inc.GetId(), sb)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// agree fails unless everybody was told once and Candor and the sandbox say the same of every notice.
func agree(t *testing.T, v *bench.Verdict, audience uint64) {
	t.Helper()
	if v.Audience != audience || !v.Complete || v.Lost != 0 || v.Duplicates != 0 || v.Disagree != 0 {
		t.Errorf("verdict = %+v", v)
	}
	for ch, n := range v.Delivered {
		if n.Candor != n.Sandbox {
			t.Errorf("%s: Candor says %d are delivered, the sandbox %d", ch, n.Candor, n.Sandbox)
		}
	}
	for ch, n := range v.Undelivered {
		if n.Candor != n.Sandbox {
			t.Errorf("%s: Candor says %d came to nothing, the sandbox %d", ch, n.Candor, n.Sandbox)
		}
	}
}

// called waits until so many customers wait for a call, sees that the incident is not complete before they had it, and calls
// them.
func called(t *testing.T, d *bench.Driver, incident string, customers uint64) {
	t.Helper()
	st, err := await(t, d, incident, func(st *candorv1.Status) bool { return st.GetCallRequestsOpen() == customers })
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}
	if st.GetComplete() {
		t.Errorf("complete, and %d customers wait for a call", customers)
	}
	queue, err := d.CallQueue(t.Context(), "centre-"+incident)
	if err != nil {
		t.Fatal(err)
	}
	for range customers {
		var claimed *connect.Response[candorv1.ClaimResponse]
		until(t, "a task is handed out", func() bool {
			claimed, err = queue.Claim(t.Context(), connect.NewRequest(&candorv1.ClaimRequest{Mode: candorv1.DialMode_DIAL_MODE_PREVIEW, Wait: durationpb.New(time.Second)}))
			return err == nil && len(claimed.Msg.GetTasks()) == 1
		})
		task := claimed.Msg.GetTasks()[0]
		if task.GetPurpose() != "call_back" || task.GetPhone() == "" || len(task.GetScript().GetParts()) == 0 {
			t.Errorf("a task for %q with %d parts of a script", task.GetPurpose(), len(task.GetScript().GetParts()))
		}
		if _, err := queue.Complete(t.Context(), connect.NewRequest(&candorv1.CompleteRequest{Lease: task.GetLease(), Disposition: "notified"})); err != nil {
			t.Fatal(err)
		}
	}
	if st, err = await(t, d, incident, func(st *candorv1.Status) bool { return st.GetCallRequestsOpen() == 0 }); err != nil {
		t.Fatalf("%v: %v", err, st)
	}
}

// declare drafts a story and has it approved.
func declare(t *testing.T, d *bench.Driver, s bench.Story) *candorv1.Incident {
	t.Helper()
	inc, err := d.Draft(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Approve(t.Context(), inc.GetId(), inc.GetPlanHash()); err != nil {
		t.Fatal(err)
	}
	return inc
}

// channelOf is a channel of the first wave that has it.
func channelOf(st *candorv1.Status, ch candorv1.Channel) *candorv1.ChannelStatus {
	for _, w := range st.GetWaves() {
		for _, c := range w.GetChannels() {
			if c.GetChannel() == ch {
				return c
			}
		}
	}
	return nil
}

// httpClient is a client whose connections end with the test.
func httpClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// bearer puts a token on every request.
type bearer struct {
	token config.Secret
	next  http.RoundTripper
}

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	return b.next.RoundTrip(req)
}

// role makes a token with these roles and returns a client that has it.
func role(t *testing.T, url string, admin config.Secret, name string, r ...candorv1.Role) *http.Client {
	t.Helper()
	c := httpClient(t)
	c.Transport = bearer{admin, c.Transport}
	res, err := candorv1connect.NewTokenServiceClient(c, url).CreateToken(t.Context(), connect.NewRequest(&candorv1.CreateTokenRequest{
		Name: name, Roles: r,
	}))
	if err != nil {
		t.Fatal(err)
	}
	mine := httpClient(t)
	mine.Transport = bearer{config.Secret(res.Msg.GetSecret()), mine.Transport}
	return mine
}

func pauseAndResume(t *testing.T, incidents candorv1connect.IncidentServiceClient, id string) {
	t.Helper()
	if _, err := incidents.Pause(t.Context(), connect.NewRequest(&candorv1.PauseRequest{Incident: id, Reason: "test"})); err != nil {
		t.Fatal(err)
	}
	if _, err := incidents.Resume(t.Context(), connect.NewRequest(&candorv1.ResumeRequest{Incident: id})); err != nil {
		t.Fatal(err)
	}
}

// quiet swallows what net/http has to say about connections that were cut on purpose.
func quiet() *stdlog.Logger { return stdlog.New(io.Discard, "", 0) }
