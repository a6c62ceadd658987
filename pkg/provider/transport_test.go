package provider_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"candor/pkg/provider"
	"candor/pkg/provider/providertest"
)

// suspended is t with only its wall clock moved on, as after a machine's suspend; package time offers no such thing.
func suspended(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // 1 bit "has monotonic", 33 bits of seconds, 30 bits of nanoseconds
	*wall += uint64(d/time.Second) << 30
	return t
}

func TestTimeLeft(t *testing.T) {
	t.Parallel()
	now := time.Now()
	in := now.Add(10 * time.Second)
	if moved := suspended(now, time.Hour); moved.Sub(now) != 0 || moved.Round(0).Sub(now.Round(0)) != time.Hour {
		t.Fatal("time.Time is laid out differently now, correct this test")
	}
	for _, tt := range []struct {
		name string
		now  time.Time
		want time.Duration
		err  error
	}{
		{"in time", now, 10 * time.Second, nil},
		{"on the dot", in, 0, provider.ErrLate},
		{"late", in.Add(time.Hour), 0, provider.ErrLate},
		{"wall clock a second ahead", suspended(now, time.Second), 9 * time.Second, nil},
		{"suspended, still in time by both", suspended(now, 3*time.Second), 0, provider.ErrStalled},
		{"suspended, late by the wall", suspended(now, time.Hour), 0, provider.ErrStalled},
		{"wall clock set back", suspended(now.Add(time.Hour), -time.Hour), 0, provider.ErrStalled},
		{"no monotonic reading", now.Round(0), 10 * time.Second, nil},
		{"no monotonic reading, late", in.Round(0), 0, provider.ErrLate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := provider.TimeLeft(tt.now, in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %s, %v, want %s, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func post(t *testing.T, target string) *http.Request {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{}}
}

func open(t *testing.T, now func() time.Time, dial func(context.Context, string, string) (net.Conn, error), grace time.Duration) *provider.Transport {
	t.Helper()
	tr := provider.NewTransportWith(provider.DefaultTransportConfig(), now, dial, grace)
	t.Cleanup(tr.Close)
	return tr
}

// The machine sleeps while the connection is being made: send_before is still ahead, but nobody knows what happened meanwhile.
func TestSuspendedBetweenDialAndWrite(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 201}))
	slept := atomic.Bool{}
	now := func() time.Time {
		if slept.Load() {
			return suspended(time.Now(), 30*time.Second)
		}
		return time.Now()
	}
	tr := open(t, now, func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		slept.Store(true)
		return c, err
	}, time.Second)
	call := tr.NewCall(time.Now().Add(time.Hour))
	_, err := call.Do(t.Context(), post(t, server.URL), []byte("body"))
	if err == nil {
		t.Fatal("was sent")
	}
	if got := call.Failure(err); got.Class != provider.NotSent || got.Reason != "clock_stalled" {
		t.Errorf("got %+v", got)
	}
	if n := len(server.Requests()); n != 0 {
		t.Errorf("%d requests got through", n)
	}
}

// stuck is a peer that takes nothing: a Write stands until its deadline.
func TestWriteEndsAtSendBefore(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	tr := open(t, time.Now, func(context.Context, string, string) (net.Conn, error) { return ours, nil }, time.Second)
	call := tr.NewCall(time.Now().Add(100 * time.Millisecond))
	_, err := call.Do(t.Context(), post(t, "http://provider.test"), []byte("body"))
	if err == nil {
		t.Fatal("was sent")
	}
	// On a slow machine it may be late before it is written; either way nothing left.
	if got := call.Failure(err); got.Class != provider.NotSent || got.Reason != "timeout_before_write" && got.Reason != "send_before_passed" {
		t.Errorf("got %+v", got)
	}
}

// failing lets Writes through until told to fail with n bytes.
type failing struct {
	net.Conn
	fail *atomic.Bool
	n    int
}

func (c failing) Write(p []byte) (int, error) {
	if !c.fail.Load() {
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:c.n])
	return n, syscall.EPIPE
}

func TestIdleConnectionDies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		n        int // bytes that leave before the error
		class    provider.Class
		requests int
	}{
		{"before a byte left: sent on another one", 0, provider.Accepted, 2},
		{"after a byte left: ambiguous", 1, provider.Unknown, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 201, Body: "{}"}))
			first := new(atomic.Bool)
			dials := atomic.Int64{}
			tr := open(t, time.Now, func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dial(ctx, network, addr)
				if dials.Add(1) == 1 {
					return failing{c, first, tt.n}, err
				}
				return c, err
			}, time.Second)
			send := func() provider.Outcome {
				call := tr.NewCall(time.Now().Add(time.Minute))
				if _, err := call.Do(t.Context(), post(t, server.URL), []byte("body")); err != nil {
					return call.Failure(err)
				}
				return provider.Outcome{Class: provider.Accepted}
			}
			if got := send(); got.Class != provider.Accepted {
				t.Fatalf("first: %+v", got)
			}
			first.Store(true)
			if got := send(); got.Class != tt.class {
				t.Errorf("second: %+v, want %v", got, tt.class)
			}
			if n := len(server.Requests()); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
		})
	}
}

// The same through an http.Client, which brings its own ideas about replaying and redirecting.
func TestRoundTripRepeatsTheWholeBody(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 202, Body: "ok"}))
	first := new(atomic.Bool)
	dials := atomic.Int64{}
	tr := open(t, time.Now, func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if dials.Add(1) == 1 {
			return failing{c, first, 0}, err
		}
		return c, err
	}, time.Second)
	for range 2 {
		client := http.Client{Transport: tr.NewCall(time.Now().Add(time.Minute))}
		resp, err := client.Post(server.URL, "text/plain", strings.NewReader("the body"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "ok" {
			t.Errorf("answer %q, %v", body, err)
		}
		first.Store(true)
	}
	requests := server.Requests()
	if len(requests) != 2 || requests[1].Body != "the body" {
		t.Errorf("server has %+v", requests)
	}
}

// An error's body that never ends holds neither the caller nor, later, a connection.
func TestEndlessErrorBody(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 503, Body: "some of it", Fault: providertest.LateTail}))
	tr := open(t, time.Now, dial, time.Millisecond)
	call := tr.NewCall(time.Now().Add(time.Minute))
	answer, err := call.Do(t.Context(), post(t, server.URL), []byte("body"))
	if err != nil || answer.Status != 503 {
		t.Errorf("got %+v, %v", answer, err)
	}
}

func TestAnswerTooLong(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{201: "answer_too_long", 502: ""} {
		server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: status, Body: strings.Repeat("x", 8<<20+1)}))
		call := open(t, time.Now, dial, time.Minute).NewCall(time.Now().Add(time.Minute))
		answer, err := call.Do(t.Context(), post(t, server.URL), []byte("body"))
		switch {
		case want == "" && (err != nil || len(answer.Body) > 64<<10):
			t.Errorf("error answer: %v", err)
		case want != "" && (err == nil || call.Failure(err).Reason != want || call.Failure(err).Class != provider.Unknown):
			t.Errorf("long answer: %v", err)
		}
	}
}

func TestReadingHasNoSendBefore(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, providertest.Always(providertest.Answer{Status: 200, Body: "list"}))
	r := post(t, server.URL)
	r.Method = http.MethodGet
	answer, err := open(t, time.Now, dial, time.Second).NewCall(time.Time{}).Do(t.Context(), r, nil)
	if err != nil || string(answer.Body) != "list" {
		t.Errorf("got %+v, %v", answer, err)
	}
}

// Many at once over few connections, half of them broken off: whatever a Call calls unsent, the server has not got.
func TestUnsentIsTrueUnderLoad(t *testing.T) {
	t.Parallel()
	server := providertest.NewServer(t, func(r providertest.Request) providertest.Answer {
		if strings.HasSuffix(r.Body, "7") {
			return providertest.Answer{Fault: providertest.ResetAfterRead}
		}
		return providertest.Answer{Status: 201, Body: "{}"}
	})
	cfg := provider.DefaultTransportConfig()
	cfg.MaxInFlight = 4
	tr := provider.NewTransport(cfg, time.Now)
	t.Cleanup(tr.Close)
	var (
		group  sync.WaitGroup
		mu     sync.Mutex
		unsent = map[string]bool{}
		counts = map[provider.Class]int{}
	)
	for worker := range 16 {
		group.Go(func() {
			for n := range 50 {
				body := strings.Repeat("w", worker+1) + "-" + strings.Repeat("n", n) + string(rune('0'+n%10))
				ctx, cancel := context.WithCancel(t.Context())
				if n%5 == 0 {
					go cancel()
				}
				call := tr.NewCall(time.Now().Add(time.Minute))
				_, err := call.Do(ctx, post(t, server.URL), []byte(body))
				o := provider.Outcome{Class: provider.Accepted}
				if err != nil {
					o = call.Failure(err)
				}
				cancel()
				mu.Lock()
				unsent[body] = o.Class == provider.NotSent
				counts[o.Class]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	got := map[string]int{}
	for _, r := range server.Requests() {
		got[r.Body]++
		if unsent[r.Body] || got[r.Body] > 1 {
			t.Errorf("%d of a request that is unsent=%v", got[r.Body], unsent[r.Body])
		}
	}
	if len(unsent) != 16*50 || counts[provider.Accepted] == 0 || counts[provider.Unknown] == 0 {
		t.Errorf("%d bodies, outcomes %v", len(unsent), counts)
	}
}
