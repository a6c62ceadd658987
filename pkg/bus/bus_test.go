package bus_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/natsd"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sms      = candorv1.Channel_CHANNEL_SMS
	email    = candorv1.Channel_CHANNEL_EMAIL
	first    = topology.LaneFirst
	patience = 3 * time.Minute
)

// until waits for a state.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// within returns what arrives.
func within[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// background runs f until the test ends, and reports its error.
func background(t testing.TB, f func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func mustAppend(t testing.TB, b *bus.Bus, stream string, m bus.Message) uint64 {
	t.Helper()
	seq, err := b.Append(t.Context(), stream, m)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// remote is a server that can be stopped and started on one port, and a bus that reaches it by that port.
type remote struct {
	cfg    natsd.Config
	seed   string
	server *natsd.Server
}

func newRemote(t testing.TB) *remote {
	t.Helper()
	dir := t.TempDir()
	public, seed, err := bus.NewUser()
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{seed: filepath.Join(dir, "user.nk")}
	if err := os.WriteFile(r.seed, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	r.cfg = natsd.Config{
		Dir: filepath.Join(dir, "nats"), Memory: true, Listen: bustest.FreeAddr(t), FreeSpaceMark: 1,
		Users: []natsd.User{{Name: "all", NKeyPublic: public, Publish: []string{">"}, Subscribe: []string{">"}}},
	}
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (r *remote) start(t testing.TB) {
	t.Helper()
	var err error
	if r.server, err = natsd.Open(t.Context(), r.cfg, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
}

func (r *remote) stop(t testing.TB) {
	t.Helper()
	if r.server == nil {
		return
	}
	if err := r.server.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	r.server = nil
}

func (r *remote) connect(t testing.TB) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{URL: "nats://" + r.cfg.Listen, Name: "remote", NKeySeedFile: r.seed, RequestTimeout: 20 * time.Second}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		_ = b.Close(ctx) // the server may be gone
	})
	return b
}

func TestConnectWaitsForAServerThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	connected := make(chan *bus.Bus, 1)
	go func() { connected <- r.connect(t) }()
	r.start(t)
	if b := within(t, "the connection", connected); !b.Connected() {
		t.Error("not connected")
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := bus.Connect(ctx, bus.Config{URL: "nats://" + r.cfg.Listen, Name: "x"}, zerolog.Nop()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Connect = %v, want a deadline exceeded", err)
	}
}

func TestConnectNeedsAServerAndAPlainName(t *testing.T) {
	t.Parallel()
	for _, cfg := range []bus.Config{{}, {URL: "nats://127.0.0.1:1", Name: "a.b"}, {URL: "nats://127.0.0.1:1", NKeySeedFile: "none"}} {
		if b, err := bus.Connect(t.Context(), cfg, zerolog.Nop()); err == nil {
			t.Errorf("Connect(%+v) = %v, want an error", cfg, b)
		}
	}
}

func TestNothingLandsLateAfterTheConnectionWasLost(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.start(t)
	b := r.connect(t)
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	subject := topology.Journal(sms, "inc", "w0", 1)
	mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: subject, Data: []byte("before")})
	r.stop(t)
	until(t, "the loss is noticed", func() bool { return !b.Connected() })
	for range 3 {
		if _, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: subject, Data: []byte("lost")}); !errors.Is(err, bus.ErrUnavailable) {
			t.Fatalf("Append while disconnected = %v, want ErrUnavailable", err)
		}
		ms := []bus.Message{{Subject: subject, Data: []byte("lost")}, {Subject: subject, Data: []byte("lost")}}
		if _, err := b.AppendBatch(t.Context(), topology.StreamJournal, ms); !errors.Is(err, bus.ErrUnavailable) {
			t.Fatalf("AppendBatch while disconnected = %v, want ErrUnavailable", err)
		}
	}
	r.start(t)
	until(t, "connected again", b.Connected)
	mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: subject, Data: []byte("after")})
	var got []string
	if _, err := b.Read(t.Context(), topology.StreamJournal, "", 1, func(s bus.Stored) error {
		got = append(got, string(s.Data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != "before after" {
		t.Errorf("stored %q, want before and after only", got)
	}
}

func TestNowIsTheBrokersClock(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	before := time.Now()
	for range 2 {
		now, err := b.Now(t.Context())
		if err != nil || now.Before(before.Add(-time.Millisecond)) || now.After(time.Now().Add(time.Millisecond)) {
			t.Errorf("Now = %v, %v; started at %v", now, err, before)
		}
	}
	_, bare := bustest.Start(t, bustest.Options{Bare: true})
	if _, err := bare.Now(t.Context()); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("Now without any stream = %v, want ErrNotFound", err)
	}
}

func TestMessagesComeBackAsTheyWereStored(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	subject := topology.Page("inc", 7)
	m := bus.Message{Subject: subject, Data: bytes.Repeat([]byte{0, 1, 255}, 100_000), Header: map[string]string{"Candor-Kind": "page"}}
	before := time.Now().Add(-time.Millisecond)
	seq := mustAppend(t, b, topology.StreamRoster, m)
	for name, read := range map[string]func() (bus.Stored, error){
		"Last":       func() (bus.Stored, error) { return b.Last(t.Context(), topology.StreamRoster, subject) },
		"Next":       func() (bus.Stored, error) { return b.Next(t.Context(), topology.StreamRoster, subject, 0) },
		"LastDirect": func() (bus.Stored, error) { return b.LastDirect(t.Context(), topology.StreamRoster, subject) },
		"Read": func() (s bus.Stored, err error) {
			_, err = b.Read(t.Context(), topology.StreamRoster, "", 1, func(m bus.Stored) error { s = m; return nil })
			return s, err
		},
	} {
		s, err := read()
		if err != nil || s.Subject != subject || s.Seq != seq || !bytes.Equal(s.Data, m.Data) ||
			len(s.Header) != 1 || s.Header["Candor-Kind"] != "page" || s.Time.Before(before) || s.Time.After(time.Now().Add(time.Millisecond)) {
			t.Errorf("%s = %s %d %v %v (%d bytes), %v", name, s.Subject, s.Seq, s.Time, s.Header, len(s.Data), err)
		}
	}
	other := topology.Page("inc", 8)
	for name, err := range map[string]error{
		"Last":       second(b.Last(t.Context(), topology.StreamRoster, other)),
		"Next":       second(b.Next(t.Context(), topology.StreamRoster, subject, seq+1)),
		"LastDirect": second(b.LastDirect(t.Context(), topology.StreamRoster, other)),
		"stream":     second(b.Last(t.Context(), "NOSUCH", other)),
	} {
		if !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("%s of what is not there = %v, want ErrNotFound", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
