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

	"candor/pkg/bus"
	"candor/pkg/config"
	"candor/pkg/rpc/candorv1connect"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/sandbox"
)

// patience bounds every wait for a state: far longer than any of them takes.
const patience = 40 * time.Second

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
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: user, NKeySeedFile: filepath.Join(keys, "nats", user+".seed")}, zerolog.Nop())
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
	if st, err := d.Await(ctx, incident, bench.Resting); err != nil {
		t.Fatalf("incident %s does not come to rest: %v\n%v", incident, err, st)
	}
	v, err := d.Verify(ctx, incident, sb)
	if err != nil {
		t.Fatal(err)
	}
	return v
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

// role makes a token with one role and returns a client that has it.
func role(t *testing.T, url string, admin config.Secret, name string, r candorv1.Role) *http.Client {
	t.Helper()
	c := httpClient(t)
	c.Transport = bearer{admin, c.Transport}
	res, err := candorv1connect.NewTokenServiceClient(c, url).CreateToken(t.Context(), connect.NewRequest(&candorv1.CreateTokenRequest{
		Name: name, Roles: []candorv1.Role{r},
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
