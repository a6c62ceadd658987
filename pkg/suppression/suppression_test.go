package suppression_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/pii"
	"candor/pkg/suppression"
	"candor/pkg/topology"

	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL
	call  = candorv1.Channel_CHANNEL_CALL
)

var key = bytes.Repeat([]byte{7}, 32)

func bucket(t *testing.T, b *bus.Bus) *bus.KV {
	t.Helper()
	kv, err := b.KV(t.Context(), topology.BucketSuppressions)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// start runs a set until the test ends, and waits until it is filled.
func start(t *testing.T, kv suppression.KV) *suppression.Set {
	t.Helper()
	s := suppression.New(kv, key)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	<-s.Ready()
	return s
}

// watched tells a test when the set has seen a change.
type watched struct {
	*bus.KV
	seen chan string
}

func (w watched) Watch(ctx context.Context, fn func(string, []byte, uint64, bool) error, caughtUp func()) error {
	return w.KV.Watch(ctx, func(key string, value []byte, rev uint64, deleted bool) error {
		err := fn(key, value, rev, deleted)
		w.seen <- key
		return err
	}, caughtUp)
}

func TestOptOutReachesEveryProcess(t *testing.T) {
	t.Parallel()
	kv := bucket(t, bustest.New(t))
	phone, ctx := pii.NewPhone("+15005550006"), t.Context()
	frontdoor := start(t, kv)
	w := watched{kv, make(chan string, 10)}
	worker := start(t, w)
	if worker.Has(sms, phone) {
		t.Fatal("an opt-out from the start")
	}
	if err := frontdoor.Add(ctx, sms, phone, "STOP"); err != nil {
		t.Fatal(err)
	}
	if !frontdoor.Has(sms, phone) {
		t.Error("the opt-out is not in force where it was made")
	}
	k := <-w.seen
	if !worker.Has(sms, phone) || worker.Len() != 1 {
		t.Error("the opt-out is not in force elsewhere")
	}
	if !start(t, kv).Has(sms, phone) {
		t.Error("the opt-out is not in force after a restart")
	}
	if _, err := kv.Delete(ctx, k); err != nil {
		t.Fatal(err)
	}
	<-w.seen
	if worker.Has(sms, phone) || worker.Len() != 0 {
		t.Error("a withdrawn opt-out is still in force")
	}
}

// slow holds up the callers of a bucket until the test lets them go on: what they did is in the bucket by then.
type slow struct {
	watched
	written chan chan struct{} // closing what comes out lets the caller go on
}

func (s slow) wait() {
	goOn := make(chan struct{})
	s.written <- goOn
	<-goOn
}

func (s slow) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := s.KV.Put(ctx, key, value)
	s.wait()
	return rev, err
}

func (s slow) Delete(ctx context.Context, key string) (uint64, error) {
	rev, err := s.KV.Delete(ctx, key)
	s.wait()
	return rev, err
}

// A STOP that came between a START and its effect in memory was forgotten until the next restart, and the other way round.
func TestTheBucketsOrderDecidesNotTheCallers(t *testing.T) {
	t.Parallel()
	phone := pii.NewPhone("+15005550006")
	add := func(ctx context.Context, s *suppression.Set) error { return s.Add(ctx, sms, phone, "STOP") }
	remove := func(ctx context.Context, s *suppression.Set) error { return s.Remove(ctx, sms, phone) }
	for _, tt := range []struct {
		name         string
		first, later func(context.Context, *suppression.Set) error
		want         bool
	}{{"STOP after START", remove, add, true}, {"START after STOP", add, remove, false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kv := slow{watched{bucket(t, bustest.New(t)), make(chan string, 10)}, make(chan chan struct{})}
			s := start(t, kv)
			first, later := make(chan error, 1), make(chan error, 1)
			go func() { first <- tt.first(t.Context(), s) }()
			firstGoesOn := <-kv.written
			<-kv.seen
			go func() { later <- tt.later(t.Context(), s) }()
			close(<-kv.written)
			<-kv.seen // memory has heard of both, in the bucket's order
			err := <-later
			close(firstGoesOn)
			if err := errors.Join(err, <-first); err != nil {
				t.Fatal(err)
			}
			want := map[bool]int{true: 1}[tt.want]
			if s.Has(sms, phone) != tt.want || s.Len() != want {
				t.Errorf("memory says opted out: %v, %d of them; want %v", s.Has(sms, phone), s.Len(), tt.want)
			}
		})
	}
}

func TestHasTellsChannelsAndAddressesApart(t *testing.T) {
	t.Parallel()
	kv := bucket(t, bustest.New(t))
	s, ctx := start(t, kv), t.Context()
	if err := s.Add(ctx, sms, pii.NewPhone("+15005550006"), "STOP"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Add(ctx, email, pii.NewEmail("Ada@Example.com"), "unsubscribed"); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		ch   candorv1.Channel
		a    suppression.Address
		want bool
	}{
		{sms, pii.NewPhone("+15005550006"), true},
		{sms, pii.NewPhone("+15005550007"), false},
		{call, pii.NewPhone("+15005550006"), false},
		{email, pii.NewEmail("ada@example.com"), true},
		{email, pii.NewEmail("ADA@EXAMPLE.COM"), true},
		{email, pii.NewEmail("ada@example.org"), false},
		{email, pii.NewEmail("+15005550006"), false},
		{sms, pii.NewPhone(""), false},
		{0, pii.NewPhone("+15005550006"), false},
	} {
		if got := s.Has(tt.ch, tt.a); got != tt.want {
			t.Errorf("Has(%s, %v) = %t, want %t", tt.ch, tt.a, got, tt.want)
		}
	}
	if s.Len() != 2 {
		t.Errorf("Len = %d, want 2", s.Len())
	}
}

func TestTheBucketNamesNobody(t *testing.T) {
	t.Parallel()
	kv := bucket(t, bustest.New(t))
	s := start(t, kv)
	if err := s.Add(t.Context(), sms, pii.NewPhone("+15005550006"), "STOP"); err != nil {
		t.Fatal(err)
	}
	var all []string
	err := kv.All(t.Context(), func(key string, value []byte) error {
		all = append(all, key, string(value))
		return nil
	})
	if err != nil || len(all) != 2 || strings.Contains(all[0], "5005550006") || all[1] != "STOP" {
		t.Fatalf("the bucket holds %q, %v", all, err)
	}
	if b, err := hex.DecodeString(all[0]); err != nil || len(b) != 16 {
		t.Errorf("key %q is not half a hash in hex", all[0])
	}
	if other := suppression.New(kv, []byte("another installation")); other.Has(sms, pii.NewPhone("+15005550006")) {
		t.Error("an empty set has somebody")
	}
}

func TestForeignKeyIsSaid(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"x", strings.Repeat("a", 31), strings.Repeat("a", 33), strings.Repeat("g", 32)} {
		kv := &fake{keys: []string{bad}}
		if err := suppression.New(kv, key).Run(t.Context()); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("Run with key %q = %v, want it named", bad, err)
		}
	}
}

// fake is a bucket with these keys.
type fake struct {
	suppression.KV
	keys []string
}

func (f *fake) Watch(ctx context.Context, fn func(string, []byte, uint64, bool) error, caughtUp func()) error {
	for i, k := range f.keys {
		if err := fn(k, nil, uint64(i)+1, false); err != nil {
			return err
		}
	}
	caughtUp()
	<-ctx.Done()
	return ctx.Err()
}

// Not parallel: it reads the process's memory.
func TestAMillionFitIn64MB(t *testing.T) {
	const n = 1_000_000
	kv := &many{n: n}
	before := heap()
	s := start(t, kv)
	if got := heap() - before; got > 64<<20 {
		t.Errorf("%d opt-outs take %d MB, want at most 64", n, got>>20)
	}
	if s.Len() != n {
		t.Errorf("Len = %d, want %d", s.Len(), n)
	}
}

// many is a bucket of n keys that are made as they are read.
type many struct {
	suppression.KV
	n int
}

func (m *many) Watch(ctx context.Context, fn func(string, []byte, uint64, bool) error, caughtUp func()) error {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range m.n {
		if err := fn(fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()), nil, uint64(i)+1, false); err != nil {
			return err
		}
	}
	caughtUp()
	<-ctx.Done()
	return ctx.Err()
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkHas(b *testing.B) {
	s := suppression.New(nil, key)
	p := pii.NewPhone("+15005550006")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Has(sms, p)
		}
	})
}

func TestANumberIsTheStartOfItsOptOut(t *testing.T) {
	t.Parallel()
	kv := bucket(t, bustest.New(t))
	s := start(t, kv)
	phone := pii.NewPhone("+12125550100")
	if err := s.Add(t.Context(), call, phone, "do_not_call"); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%016x", s.Number(phone))
	err := kv.All(t.Context(), func(k string, _ []byte) error {
		if !strings.HasPrefix(k, want) {
			t.Errorf("opt-out %s of number %s", k, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Number(phone) == s.Number(pii.NewPhone("+12125550101")) || s.Number(phone) == suppression.New(kv, []byte("another key")).Number(phone) {
		t.Error("two numbers, or two installations, are one")
	}
}
