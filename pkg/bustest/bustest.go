// Package bustest gives a test a real broker: JetStream embedded, in a folder of the test, with Candor's streams.
//
// In, out: what the test sends.   Crash: the folder goes with the test.
package bustest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/natsd"
	"candor/pkg/topology"
)

// Patience is how long a test waits for what takes milliseconds on a machine that does nothing else.
const Patience = 3 * time.Minute

// Options changes what Start starts; the zero value is New's.
type Options struct {
	Dir           string       // of the broker; a folder of the test if not set. For tests that restart
	Sync          bool         // fsync as in earnest
	Listen        string       // with Users: a port for other processes
	Users         []natsd.User // who may use the port
	FreeSpaceMark uint64       // bytes; never low if not set
	Bare          bool         // without Candor's streams
	Log           zerolog.Logger
}

// New starts a broker with Candor's streams and connects to it; both end with the test.
func New(t testing.TB) *bus.Bus {
	t.Helper()
	_, b := Start(t, Options{})
	return b
}

// Start is New for a test that needs the server too. Both end with the test; closing them earlier is allowed.
func Start(t testing.TB, opts Options) (*natsd.Server, *bus.Bus) {
	t.Helper()
	ctx := t.Context()
	if opts.Dir == "" {
		opts.Dir = filepath.Join(t.TempDir(), "nats")
	}
	if opts.FreeSpaceMark == 0 {
		opts.FreeSpaceMark = 1
	}
	s, err := natsd.Open(ctx, natsd.Config{
		Dir: opts.Dir, Memory: !opts.Sync, Listen: opts.Listen, Users: opts.Users, FreeSpaceMark: opts.FreeSpaceMark,
	}, opts.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(stopping(t)); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	b, err := bus.Connect(ctx, bus.Config{Server: s, Name: "test", RequestTimeout: Patience}, opts.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(stopping(t)); err != nil {
			t.Errorf("close the bus: %v", err)
		}
	})
	if !opts.Bare {
		if err := topology.Apply(ctx, b, topology.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return s, b
}

// ports are handed out one after the other, by any goroutine.
var ports atomic.Uint32

// FreeAddr returns an address of this machine that nobody listens on, for a test that must know it before there is a listener,
// or when there is none. It lies below the ports that a system gives to whoever asks for any: one of those could be somebody
// else's a moment later. No test of a process gets it twice, and processes begin at different ones.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+(97*os.Getpid()+int(ports.Add(1)))%12000)
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			continue // taken
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatal("no port is free")
	panic("unreachable")
}

// stopping bounds a cleanup; the test's own context is done by then.
func stopping(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
	t.Cleanup(cancel)
	return ctx
}
