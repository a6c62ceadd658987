package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

func TestKV(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	ctx := t.Context()
	for _, bucket := range []string{topology.BucketTokens, topology.BucketLimits} {
		kv, err := b.KV(ctx, bucket)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := kv.Get(ctx, "a"); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("Get of nothing = %v, want ErrNotFound", err)
		}
		rev, err := kv.Create(ctx, "a", []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Create(ctx, "a", []byte("2")); !errors.Is(err, bus.ErrExists) {
			t.Errorf("second Create = %v, want ErrExists", err)
		}
		next, err := kv.Update(ctx, "a", []byte("3"), rev)
		if err != nil || next <= rev {
			t.Errorf("Update = %d, %v", next, err)
		}
		if _, err := kv.Update(ctx, "a", []byte("4"), rev); !errors.Is(err, bus.ErrConflict) {
			t.Errorf("Update with an old revision = %v, want ErrConflict", err)
		}
		if v, rev, err := kv.Get(ctx, "a"); err != nil || string(v) != "3" || rev != next {
			t.Errorf("Get = %s %d, %v; want 3 %d", v, rev, err, next)
		}
		gone, err := kv.Delete(ctx, "a")
		if err != nil || gone != next+1 {
			t.Fatalf("Delete = %d, %v, want the revision after %d", gone, err, next)
		}
		if _, _, err := kv.Get(ctx, "a"); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("Get of a deleted key = %v, want ErrNotFound", err)
		}
		if _, err := kv.Create(ctx, "a", []byte("5")); err != nil {
			t.Errorf("Create of a deleted key = %v", err)
		}
		if _, err := kv.Put(ctx, "b.c", []byte("6")); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(ctx, "gone", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Delete(ctx, "gone"); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		if err := kv.All(ctx, func(key string, value []byte) error { got[key] = string(value); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got["a"] != "5" || got["b.c"] != "6" {
			t.Errorf("All = %v", got)
		}
	}
	if _, err := b.KV(ctx, "NOSUCH"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("KV = %v, want ErrNotFound", err)
	}
}

func TestWatchTellsThePresentThenTheChanges(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	kv, err := b.KV(t.Context(), topology.BucketSuppressions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "old", []byte("1")); err != nil {
		t.Fatal(err)
	}
	events := make(chan string, 10)
	background(t, func(ctx context.Context) error {
		return kv.Watch(ctx, func(key string, value []byte, rev uint64, deleted bool) error {
			if deleted {
				key += " deleted"
			}
			events <- fmt.Sprintf("%s%s at %d", key, value, rev)
			return nil
		}, func() { events <- "caught up" })
	})
	expect := func(want string) {
		t.Helper()
		if got := within(t, want, events); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	expect("old1 at 1")
	expect("caught up")
	if _, err := kv.Put(t.Context(), "new", []byte("2")); err != nil {
		t.Fatal(err)
	}
	expect("new2 at 2")
	if _, err := kv.Delete(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	expect("old deleted at 3")
}

func TestABucketInMemoryIsThereAgainAfterARestart(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.start(t)
	b := r.connect(t)
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	kv, err := b.KV(t.Context(), topology.BucketLimits)
	if err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	until(t, "the loss is noticed", func() bool { return !b.Connected() })
	r.start(t)
	until(t, "it can be written", func() bool {
		_, err := kv.Put(t.Context(), "sender", []byte("1"))
		return err == nil
	})
}
