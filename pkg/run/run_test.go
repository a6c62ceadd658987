package run_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// order notes what happens, by several goroutines.
type order struct {
	mu  sync.Mutex
	log []string
}

func (o *order) note(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = append(o.log, s)
}

// waits returns a service that ends when it is told to, after a while.
func (o *order) waits(name string, while time.Duration) run.Func {
	return func(ctx context.Context) error {
		<-ctx.Done()
		o.note("told " + name)
		time.Sleep(while) // synctest's clock
		o.note("ended " + name)
		return nil
	}
}

func TestStopsInReverseAndOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o order
		g := run.NewGroup(time.Minute, zerolog.Nop())
		g.Add("server", o.waits("server", time.Second))
		g.Add("client", o.waits("client", 5*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if err := g.Run(ctx); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		want := []string{"told client", "ended client", "told server", "ended server"}
		if !slices.Equal(o.log, want) {
			t.Errorf("order = %q, want %q", o.log, want)
		}
	})
}

func TestFirstErrorStopsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o order
		boom, flush := errors.New("boom"), errors.New("flush")
		g := run.NewGroup(time.Minute, zerolog.Nop())
		g.Add("server", o.waits("server", 0))
		g.Add("bad", run.Func(func(context.Context) error { return boom }))
		g.Add("client", run.Func(func(ctx context.Context) error { <-ctx.Done(); return flush }))
		err := g.Run(t.Context())
		if !errors.Is(err, boom) || !errors.Is(err, flush) || !strings.Contains(err.Error(), "bad: boom") {
			t.Errorf("Run = %v, want both errors, named", err)
		}
		if len(o.log) != 2 {
			t.Errorf("server: %q, want it told and ended", o.log)
		}
	})
}

func TestEndsWhenAllAreDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := run.NewGroup(time.Minute, zerolog.Nop())
		for range 3 {
			g.Add("task", run.Func(func(context.Context) error { return nil }))
		}
		if err := g.Run(t.Context()); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if err := run.NewGroup(time.Minute, zerolog.Nop()).Run(t.Context()); err != nil {
			t.Errorf("empty: Run = %v, want nil", err)
		}
	})
}

func TestOneDoneEarlyLeavesTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o order
		g := run.NewGroup(time.Minute, zerolog.Nop())
		g.Add("stays", o.waits("stays", 0))
		g.Add("ends", run.Func(func(context.Context) error { return nil }))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := g.Run(ctx); err != nil || time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) < time.Hour {
			t.Errorf("Run = %v after %s, want nil after an hour", err, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))
		}
	})
}

func TestStoppingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o order
		release := make(chan struct{})
		g := run.NewGroup(10*time.Second, zerolog.Nop())
		g.Add("server", o.waits("server", 0))
		g.Add("stuck", run.Func(func(context.Context) error { <-release; return nil }))
		g.Add("slow", o.waits("slow", 4*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		err := g.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "stuck: not stopped within 10s") || strings.Contains(err.Error(), "slow") {
			t.Errorf("Run = %v, want it to name the stuck service and it only", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("stopping took %s, want 10s for all together", took)
		}
		synctest.Wait()
		if !slices.Contains(o.log, "told server") {
			t.Error("the server was not told to stop")
		}
		close(release)
	})
}
