package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/playbook"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/suppression"
	"candor/pkg/token"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is a Monday's noon in New York: nobody's quiet hours there.
var noon = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)

// house is an api with everything around it.
type house struct {
	t      testing.TB
	bus    *bus.Bus
	vault  *vault.Vault
	tokens *token.Store
	stops  *suppression.Set
	api    *api.API
	url    string
	client *http.Client
	log    *lockedBuffer
	hungUp chan struct{} // a value for each client that left before its answer
	stop   func()        // ends Run and waits for it
	late   atomic.Int64  // how long after noon it is
}

// now is the time of the house.
func (h *house) now() time.Time { return noon.Add(time.Duration(h.late.Load())) }

// wait lets time pass.
func (h *house) wait(d time.Duration) { h.late.Add(int64(d)) }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

func newHouse(t testing.TB) *house {
	t.Helper()
	return newHouseWith(t, false)
}

// newHouseWith can write to the disk as in earnest.
func newHouseWith(t testing.TB, sync bool) *house {
	t.Helper()
	_, b := bustest.Start(t, bustest.Options{Sync: sync})
	h := &house{t: t, bus: b, log: &lockedBuffer{}, hungUp: make(chan struct{}, 64)}
	dir := filepath.Join(t.TempDir(), "keys")
	if err := vault.Init(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.vault, err = vault.Open(dir, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	kv, err := h.bus.KV(t.Context(), topology.BucketTokens)
	if err != nil {
		t.Fatal(err)
	}
	if h.tokens, err = token.NewStore(kv, "", func() time.Time { return noon }); err != nil {
		t.Fatal(err)
	}
	stops, err := h.bus.KV(t.Context(), topology.BucketSuppressions)
	if err != nil {
		t.Fatal(err)
	}
	h.stops = suppression.New(stops, h.vault.Door().SuppressionKey())
	h.open()
	h.start()
	return h
}

// open makes the api, as at the start of a process.
func (h *house) open() {
	h.t.Helper()
	cfg := api.DefaultConfig()
	cfg.WatchEvery = 10 * time.Millisecond
	var err error
	h.api, err = api.New(cfg, api.Deps{
		Bus: h.bus, Vault: h.vault, Tokens: h.tokens, Suppressions: h.stops, Metrics: prometheus.NewRegistry(),
		Clock: clock.Clock{}.On(h.now, nil), Log: zerolog.New(h.log),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	handler := h.api.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer context.AfterFunc(r.Context(), func() { h.hungUp <- struct{}{} })()
		handler.ServeHTTP(w, r)
	}))
	h.t.Cleanup(server.Close)
	h.url, h.client = server.URL, server.Client()
}

// start runs what the api does by itself.
func (h *house) start() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	done := make(chan error, 1)
	go func() { done <- h.api.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("run: %v", err)
		}
	})
	h.t.Cleanup(h.stop)
	for { // until the subscription is there
		if _, err := h.bus.Request(ctx, topology.Declare, nil, nil); !errors.Is(err, bus.ErrUnavailable) {
			return
		}
	}
}

// token makes a token for a person.
func (h *house) token(name string, roles ...token.Role) string {
	h.t.Helper()
	bearer, _, err := h.tokens.Create(h.t.Context(), name, roles)
	if err != nil {
		h.t.Fatal(err)
	}
	return bearer.Reveal()
}

// caller is a person with the clients they use.
type caller struct {
	incidents candorv1connect.IncidentServiceClient
	ledger    candorv1connect.LedgerServiceClient
	stops     candorv1connect.SuppressionServiceClient
	tokens    candorv1connect.TokenServiceClient
	bearer    string
}

func (h *house) as(bearer string, opts ...connect.ClientOption) caller {
	opts = append(opts, connect.WithInterceptors(withBearer(bearer)))
	return caller{
		incidents: candorv1connect.NewIncidentServiceClient(h.client, h.url, opts...),
		ledger:    candorv1connect.NewLedgerServiceClient(h.client, h.url, opts...),
		stops:     candorv1connect.NewSuppressionServiceClient(h.client, h.url, opts...),
		tokens:    candorv1connect.NewTokenServiceClient(h.client, h.url, opts...),
		bearer:    bearer,
	}
}

// withBearer adds a token to every request; an empty one adds none.
type withBearer string

func (b withBearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		b.add(req.Header())
		return next(ctx, req)
	}
}

func (b withBearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		b.add(conn.RequestHeader())
		return conn
	}
}

func (b withBearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (b withBearer) add(h http.Header) {
	if b != "" {
		h.Set("Authorization", "Bearer "+string(b))
	}
}

func starter(t testing.TB, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// put uploads a roster and returns the status and the body of the answer.
func (h *house) put(bearer, incident string, query url.Values, body io.Reader) (int, []byte) {
	h.t.Helper()
	return h.putTo(bearer, incident+"/roster", query, body)
}

// putTo uploads to a place under the incidents.
func (h *house) putTo(bearer, place string, query url.Values, body io.Reader) (int, []byte) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPut, h.url+"/v1/incidents/"+place+"?"+query.Encode(), body)
	if err != nil {
		h.t.Fatal(err)
	}
	withBearer(bearer).add(req.Header)
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// upload uploads a roster that must be taken.
func (h *house) upload(bearer, incident string, query url.Values, file []byte) *api.Upload {
	h.t.Helper()
	status, body := h.put(bearer, incident, query, bytes.NewReader(file))
	if status != http.StatusOK {
		h.t.Fatalf("upload: %d %s", status, body)
	}
	up := &api.Upload{}
	if err := json.Unmarshal(body, up); err != nil {
		h.t.Fatal(err)
	}
	return up
}

// declaration is the starter's, for an incident whose starter roster was uploaded.
func (h *house) declaration(c caller, incident string) *candorv1.Declaration {
	h.t.Helper()
	up := h.upload(c.bearer, incident, nil, starter(h.t, "roster.csv"))
	return &candorv1.Declaration{
		Incident: incident, Playbook: string(starter(h.t, "playbook.yaml")), Facts: string(starter(h.t, "facts.yaml")), RosterDigest: up.Digest,
	}
}

func (h *house) declare(c caller, d *candorv1.Declaration) *candorv1.DeclareResponse {
	h.t.Helper()
	resp, err := c.incidents.Declare(h.t.Context(), connect.NewRequest(&candorv1.DeclareRequest{Declaration: d}))
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.Msg
}

func (h *house) approve(c caller, incident, hash string) (*candorv1.Incident, error) {
	h.t.Helper()
	resp, err := c.incidents.Approve(h.t.Context(), connect.NewRequest(&candorv1.ApproveRequest{Incident: incident, PlanHash: hash}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetIncident(), nil
}

// declared drafts and approves an incident with the starter's content.
func (h *house) declared(commander, approver caller, incident string) *candorv1.Incident {
	h.t.Helper()
	draft := h.declare(commander, h.declaration(commander, incident)).GetIncident()
	inc, err := h.approve(approver, incident, draft.GetPlanHash())
	if err != nil {
		h.t.Fatal(err)
	}
	return inc
}

// fact returns what others were told, as soon as they were.
func (h *house) fact(fact, incident string) *candorv1.Incident {
	h.t.Helper()
	inc := &candorv1.Incident{}
	err := h.bus.Follow(h.t.Context(), topology.StreamBreach, []string{topology.BreachFact(fact, incident)}, 1, func(m bus.Stored) error {
		if err := proto.Unmarshal(m.Data, inc); err != nil {
			return err
		}
		return errFound
	}, nil)
	if !errors.Is(err, errFound) {
		h.t.Fatalf("follow %s: %v", fact, err)
	}
	return inc
}

var errFound = errors.New("found")

// answer plays another service until the test ends.
func answer[Q, R proto.Message](h *house, service, method string, f func(Q, map[string]string) (R, map[string]string, error)) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- h.bus.Serve(ctx, topology.Ask(service, method), service, 2, func(_ context.Context, r bus.Request) (bus.Reply, error) {
			var q Q
			q, _ = q.ProtoReflect().New().Interface().(Q)
			if err := proto.Unmarshal(r.Data, q); err != nil {
				return bus.Reply{}, err
			}
			resp, header, err := f(q, r.Header)
			if err != nil {
				return bus.Reply{}, err
			}
			data, err := proto.Marshal(resp)
			return bus.Reply{Data: data, Header: header}, err
		})
	}()
	h.t.Cleanup(func() {
		cancel()
		<-done
	})
	// A request finds nobody until the subscription is there.
	var zero Q
	for {
		data, err := proto.Marshal(zero.ProtoReflect().New().Interface())
		if err != nil {
			h.t.Fatal(err)
		}
		if _, err := h.bus.Request(h.t.Context(), topology.Ask(service, method), data, nil); !errors.Is(err, bus.ErrUnavailable) {
			return
		}
	}
}

func wantCode(t *testing.T, err error, code connect.Code, says ...string) {
	t.Helper()
	if connect.CodeOf(err) != code || err == nil {
		t.Fatalf("got %v, want code %s", err, code)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

// rows makes a roster of n customers.
func rows(n int) []byte {
	var b bytes.Buffer
	b.WriteString("customer_ref,given_name,family_name,email,phone,language,country,region\n")
	for i := range n {
		language := []string{"en", "es"}[i%2]
		fmt.Fprintf(&b, "C%06d,Testgiven%d,Testfamily%d,canary%d@example.com,+1212555%04d,%s,US,NY\n", i, i, i, i, i%10000, language)
	}
	return b.Bytes()
}

func fieldFile(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/roster-field-es.csv")
	if err != nil {
		t.Fatal(err)
	}
	return b
}
