package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/httpd"
	"candor/pkg/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serving is a running server.
type serving struct {
	*httpd.Server
	client *http.Client
	stop   func() error
	log    *bytes.Buffer // complete after stop
}

func serve(t *testing.T, cfg httpd.Config, h http.Handler, ready func() error) *serving {
	t.Helper()
	return serveTo(t, cfg, h, httpd.Ops{Registry: prometheus.NewRegistry(), Ready: ready})
}

func serveTo(t *testing.T, cfg httpd.Config, h http.Handler, ops httpd.Ops) *serving {
	t.Helper()
	s := &serving{log: &bytes.Buffer{}}
	var err error
	if s.Server, err = httpd.New(cfg, h, ops, zerolog.New(zerolog.SyncWriter(s.log))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	tr := &http.Transport{}
	s.client = &http.Client{Transport: tr}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = s.stop()
	})
	return s
}

func (s *serving) get(t *testing.T, path string) (int, string) {
	t.Helper()
	res, err := s.client.Get(s.URL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func always() error { return nil }

func TestProbes(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	missing := errors.New("roster store is still opening")
	s := serve(t, httpd.DefaultConfig(), nil, func() error {
		mu.Lock()
		defer mu.Unlock()
		return missing
	})
	if code, _ := s.get(t, "/livez"); code != 200 {
		t.Errorf("/livez = %d, want 200", code)
	}
	if code, body := s.get(t, "/readyz"); code != 503 || !strings.Contains(body, "still opening") {
		t.Errorf("/readyz = %d %q, want 503 and what is missing", code, body)
	}
	mu.Lock()
	missing = nil
	mu.Unlock()
	if code, _ := s.get(t, "/readyz"); code != 200 {
		t.Errorf("/readyz = %d, want 200", code)
	}
	if code, body := s.get(t, "/metrics"); code != 404 || strings.Contains(body, "http_panics_total") {
		t.Errorf("/metrics of a server that knows no tokens = %d %q, want 404", code, body)
	}
	if code, _ := s.get(t, "/other"); code != 404 {
		t.Errorf("/other = %d, want 404", code)
	}
}

func TestHTTP2InTheClear(t *testing.T) {
	t.Parallel()
	s := serve(t, httpd.DefaultConfig(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}), always)
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	s.client.Transport = tr
	if _, body := s.get(t, "/"); body != "HTTP/2.0" {
		t.Errorf("the handler saw %q, want HTTP/2.0", body)
	}
}

func TestBodiesAreLimitedByPath(t *testing.T) {
	t.Parallel()
	cfg := httpd.DefaultConfig()
	cfg.MaxBodyBytes = 10
	cfg.LargeBodies = map[string]int64{"/rosters/": 100, "/rosters/small/": 20}
	s := serve(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		fmt.Fprint(w, n, err)
	}), always)
	for _, tt := range []struct {
		path string
		size int
		want int
	}{
		{"/x", 10, 200},
		{"/x", 11, 413},
		{"/rosters/a", 100, 200},
		{"/rosters/a", 101, 413},
		{"/rosters/small/a", 20, 200},
		{"/rosters/small/a", 21, 413},
		{"/x", 0, 200},
	} {
		res, err := s.client.Post(s.URL()+tt.path, "", strings.NewReader(strings.Repeat("x", tt.size)))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != tt.want || tt.want == 200 && string(b) != fmt.Sprint(tt.size, " ", nil) {
			t.Errorf("%d bytes to %s: %d %s, want %d", tt.size, tt.path, res.StatusCode, b, tt.want)
		}
	}
}

func TestStalledBodyIsGivenUp(t *testing.T) {
	t.Parallel()
	cfg := httpd.DefaultConfig()
	cfg.BodyStallTimeout = 20 * time.Millisecond
	gaveUp := make(chan error, 1)
	s := serve(t, cfg, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		gaveUp <- err
	}), always)
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf") // and no more
	var timeout net.Error
	if err := <-gaveUp; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("the handler read %v, want a timeout", err)
	}
}

// Whoever announces a body that is not read, and does not send it, held a connection and a goroutine for ever.
func TestABodyThatNobodyReadsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	cfg := httpd.DefaultConfig()
	cfg.BodyStallTimeout = 50 * time.Millisecond
	s := serve(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read" {
			_, _ = r.Body.Read(make([]byte, 1))
		}
		http.Error(w, "no", http.StatusForbidden)
	}), always)
	for _, path := range []string{"/", "/read"} {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(3 * time.Minute))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", path) // and no more
		if b, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 403 ") {
			t.Errorf("%s: %q, %v: want an answer and the end", path, b, err)
		}
	}
}

// A stall timeout that stays on the connection would end every stream after it: net/http takes it for the client's end.
func TestStreamOutlivesTheStallTimeout(t *testing.T) {
	t.Parallel()
	cfg := httpd.DefaultConfig()
	cfg.BodyStallTimeout = 20 * time.Millisecond
	s := serve(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		later := time.NewTimer(5 * cfg.BodyStallTimeout)
		defer later.Stop()
		select {
		case <-later.C:
			_, _ = io.WriteString(w, "alive")
		case <-r.Context().Done():
			_, _ = io.WriteString(w, "ended")
		}
	}), always)
	res, err := s.client.Post(s.URL(), "", strings.NewReader("subscribe"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); string(b) != "alive" {
		t.Errorf("the stream answered %q, want it alive", b)
	}
}

func TestPanicEndsOneRequestAndIsCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := serveTo(t, httpd.DefaultConfig(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			panic("Ada Lovelace, +15005550006")
		case "/index":
			var none []int
			_ = none[len(r.URL.Path)]
		case "/after":
			_, _ = io.WriteString(w, strings.Repeat("half", 10_000))
			panic("late")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	}), httpd.Ops{Registry: reg, Ready: always})
	for _, path := range []string{"/before", "/index"} {
		if code, body := s.get(t, path); code != 500 || strings.Contains(body, "Ada") {
			t.Errorf("%s = %d %q, want 500 and no more", path, code, body)
		}
	}
	for _, path := range []string{"/after", "/abort"} {
		res, err := s.client.Get(s.URL() + path)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the answer looks whole", path)
		}
	}
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() != 3 {
		t.Errorf("metrics do not count 3 panics: %v, %v", families, err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if log := s.log.String(); strings.Contains(log, "Ada") || strings.Count(log, "http handler panicked") != 3 ||
		!strings.Contains(log, "index out of range") || !strings.Contains(log, "httpd_test.go") {
		t.Errorf("log: %s", log)
	}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	cfg := httpd.DefaultConfig()
	cfg.DrainTimeout = 3 * time.Minute
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	}), always)
	body := make(chan string, 1)
	go func() {
		res, err := s.client.Get(s.URL())
		if err != nil {
			body <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		body <- string(b)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	// The listener is closed first; from then on the server is waiting for the request.
	for {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if b := <-body; b != "done" {
		t.Errorf("the request under way got %q, want done", b)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	cfg := httpd.DefaultConfig()
	cfg.DrainTimeout, cfg.UnwindTimeout = time.Millisecond, 3*time.Minute
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			s := serve(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintln(w, r.Proto)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}), always)
			tr := &http.Transport{Protocols: new(http.Protocols)}
			tr.Protocols.SetHTTP1(proto == "HTTP/1.1")
			tr.Protocols.SetUnencryptedHTTP2(proto == "HTTP/2.0")
			defer tr.CloseIdleConnections()
			res, err := (&http.Client{Transport: tr}).Get(s.URL())
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != proto+"\n" {
				t.Fatalf("the stream began with %q, %v", line, err)
			}
			if err := s.stop(); err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
		})
	}
}

func TestStopCutsOffWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	cfg := httpd.DefaultConfig()
	cfg.DrainTimeout = time.Millisecond
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, cfg, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	}), always)
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		if res, err := s.client.Get(s.URL()); err == nil {
			res.Body.Close()
		}
	}()
	<-entered
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Run = %v, want it to say that requests were cut off", err)
	}
	<-failed
	close(release)
}

func TestNewFailsAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, httpd.DefaultConfig(), nil, always)
	cfg := httpd.DefaultConfig()
	cfg.Addr = s.Addr()
	if _, err := httpd.New(cfg, nil, httpd.Ops{Registry: prometheus.NewRegistry(), Ready: always}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("address in use: New = %v, want it named", err)
	}
	_, err := httpd.New(httpd.Config{Addr: "nowhere"}, nil, httpd.Ops{Registry: prometheus.NewRegistry(), Ready: always}, zerolog.Nop())
	for _, want := range []string{"addr", "max_body_bytes", "read_header_timeout", "body_stall_timeout", "idle_timeout", "drain_timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want it to name %s too", err, want)
		}
	}
}

func TestServersShareARegistry(t *testing.T) {
	t.Parallel()
	ops := httpd.Ops{Registry: prometheus.NewRegistry(), Ready: always}
	for range 2 {
		s, err := httpd.New(httpd.DefaultConfig(), nil, ops, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}
}

// store knows a viewer and a dialer, or has gone away.
type store struct{ err error }

func (s store) Authenticate(_ context.Context, bearer string) (token.Identity, error) {
	role, ok := map[string]token.Role{"cdr_viewer": token.Viewer, "cdr_dialer": token.Dialer}[bearer]
	if s.err == nil && !ok {
		return token.Identity{}, token.ErrInvalid
	}
	return token.Identity{Name: "Ada", Roles: []token.Role{role}}, s.err
}

// The figures say how many people are affected.
func TestMetricsAreShownToNobodyWithoutAToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, header string
		store        store
		want         int
	}{
		{"a viewer", "Bearer cdr_viewer", store{}, 200},
		{"a viewer, other spelling", "bearer  cdr_viewer ", store{}, 200},
		{"a dialer", "Bearer cdr_dialer", store{}, 403},
		{"wrong", "Bearer cdr_bad", store{}, 401},
		{"none", "", store{}, 401},
		{"another scheme", "Basic cdr_viewer", store{}, 401},
		{"no scheme", "cdr_viewer", store{}, 401},
		{"store away", "Bearer cdr_viewer", store{errors.New("nats is away")}, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			reached := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was reached") })
			s := serveTo(t, httpd.DefaultConfig(), reached, httpd.Ops{Registry: prometheus.NewRegistry(), Tokens: tt.store, Ready: always})
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+"/metrics", nil)
				if err != nil {
					t.Fatal(err)
				}
				if tt.header != "" {
					req.Header.Set("Authorization", tt.header)
				}
				res, err := s.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				if err := errors.Join(err, res.Body.Close()); err != nil {
					t.Fatal(err)
				}
				shown := strings.Contains(string(b), "http_panics_total 0")
				if res.StatusCode != tt.want || shown != (method == http.MethodGet && tt.want == 200) {
					t.Errorf("%s: %d %q, want %d", method, res.StatusCode, b, tt.want)
				}
			}
		})
	}
}
