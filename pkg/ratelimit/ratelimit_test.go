package ratelimit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a bucket under synctest's clock, where a real broker cannot be: it refuses stale writes as the broker does, takes a while
// for each call, and can refuse others at random.
type memory struct {
	latency  time.Duration
	conflict float64 // how often a good write is refused

	mu      sync.Mutex
	values  map[string]string
	revs    map[string]uint64
	rev     uint64
	lost    int // writes that were refused
	reads   int
	failure error
}

func newMemory() *memory { return &memory{values: map[string]string{}, revs: map[string]uint64{}} }

func (m *memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	time.Sleep(m.latency)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.failure != nil {
		return nil, 0, m.failure
	}
	if m.revs[key] == 0 {
		return nil, 0, bus.ErrNotFound
	}
	return []byte(m.values[key]), m.revs[key], nil
}

func (m *memory) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := m.Update(ctx, key, value, 0)
	if errors.Is(err, bus.ErrConflict) {
		err = bus.ErrExists
	}
	return rev, err
}

func (m *memory) Update(_ context.Context, key string, value []byte, rev uint64) (uint64, error) {
	time.Sleep(m.latency)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] != rev || rand.Float64() < m.conflict {
		m.lost++
		return 0, bus.ErrConflict
	}
	m.rev++
	m.values[key], m.revs[key] = string(value), m.rev
	return m.rev, nil
}

func (m *memory) set(key, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rev++
	m.values[key], m.revs[key] = value, m.rev
}

func (m *memory) next(key string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	ns, _ := strconv.ParseInt(m.values[key], 10, 64)
	return time.Unix(0, ns)
}

type booking struct {
	Grant
	units    int
	returned time.Time
}

// TestRateHoldsAcrossWorkers is the promise: whatever the workers, strides, clocks and conflicts, no window holds more than its time's
// worth and one quantum; and what may be sent is nearly all used.
func TestRateHoldsAcrossWorkers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		perSec := rapid.SampledFrom([]float64{0.5, 1, 3.7, 10, 100, 300}).Draw(rt, "rate")
		limit := rapid.SampledFrom([]int{1, 10, 100}).Draw(rt, "stride")
		processes := rapid.IntRange(1, 4).Draw(rt, "processes")
		goroutines := rapid.IntRange(1, 4).Draw(rt, "goroutines")
		conflict := rapid.SampledFrom([]float64{0, 0.1, 0.3}).Draw(rt, "conflict")
		skewed := rapid.SampledFrom([]time.Duration{0, 50 * time.Millisecond}).Draw(rt, "skew")
		var all []booking
		var took time.Duration
		synctest.Test(t, func(t *testing.T) {
			all, took = simulate(t, perSec, limit, processes, goroutines, conflict, skewed)
		})
		slices.SortFunc(all, func(a, b booking) int { return a.Start.Compare(b.Start) })
		quantum := float64(Quantum(perSec, limit))
		units := 0.0
		for i, b := range all {
			units += float64(b.units)
			if early := b.Start.Sub(b.returned); early > skewed {
				rt.Errorf("a grant was handed out %s before its start", early)
			}
			if i == 0 {
				continue
			}
			if over := all[i-1].End.Sub(b.Start); over > 0 {
				rt.Errorf("two grants overlap by %s", over)
			}
		}
		// Everything of a grant at its start is the worst that a worker may do. For each end j the window that begins at the worst i:
		// units(i..j) - rate × time(i..j), as a difference of two running sums.
		sum, worst := 0.0, math.Inf(1)
		for _, b := range all {
			at := perSec * b.Start.Sub(all[0].Start).Seconds()
			worst = min(worst, sum-at)
			sum += float64(b.units)
			if over := sum - at - worst; over > quantum+1e-3 {
				rt.Fatalf("%v units more than the rate allows up to %s: want at most a quantum of %v", over, b.Start, quantum)
			}
		}
		// Strides that are over sooner than a lost race cannot keep the rate up.
		if quantum/perSec < 0.1 {
			return
		}
		if possible := perSec * took.Seconds(); units < 0.8*possible {
			rt.Errorf("only %v of %v units were handed out in %s", units, possible, took)
		}
	})
}

// simulate lets workers take all they can get for a while.
func simulate(t *testing.T, perSec float64, limit, processes, goroutines int, conflict float64, skewed time.Duration) ([]booking, time.Duration) {
	kv := newMemory()
	kv.latency, kv.conflict = 200*time.Microsecond, conflict
	const lasts = 20 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var mu sync.Mutex
	var all []booking
	var wg sync.WaitGroup
	for p := range processes {
		// Behind, not ahead: then a worker's own clock never has it start too early by more than the skew.
		now := func() time.Time { return time.Now().Add(-skewed * time.Duration(p%2)) }
		l := New(kv, now, zerolog.Nop())
		for range goroutines {
			wg.Go(func() {
				for {
					units := 1 + rand.N(Quantum(perSec, limit))
					g, err := l.Reserve(ctx, "k", units, perSec)
					if errors.Is(err, context.DeadlineExceeded) {
						return
					}
					if err != nil {
						t.Errorf("Reserve = %v", err)
						return
					}
					mu.Lock()
					all = append(all, booking{g, units, time.Now()})
					mu.Unlock()
					if d := cmp.Compare(g.End.Sub(g.Start).Seconds(), float64(units)/perSec-1e-6); d < 0 {
						t.Errorf("%d units got %s at %v a second", units, g.End.Sub(g.Start), perSec)
					}
				}
			})
		}
	}
	wg.Wait()
	return all, lasts
}

func TestUnlimitedDoesNotTouchTheBucket(t *testing.T) {
	t.Parallel()
	kv := newMemory()
	kv.failure = errors.New("touched")
	g, err := New(kv, time.Now, zerolog.Nop()).Reserve(t.Context(), "k", 100, 0)
	if err != nil || g.Start.IsZero() || !g.End.IsZero() {
		t.Errorf("Reserve = %+v, %v; want a start without an end", g, err)
	}
}

func TestReserveRefusesNonsense(t *testing.T) {
	t.Parallel()
	l := New(newMemory(), time.Now, zerolog.Nop())
	for _, tt := range []struct {
		units  int
		perSec float64
	}{{0, 1}, {-1, 1}, {1, -1}, {1, math.NaN()}} {
		if _, err := l.Reserve(t.Context(), "k", tt.units, tt.perSec); err == nil {
			t.Errorf("Reserve(%d, %v) succeeded", tt.units, tt.perSec)
		}
	}
}

func TestBooksAtMostTwoSecondsAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := newMemory()
		followUps := New(kv, time.Now, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 50 { // a crowd that would book minutes
			wg.Go(func() { _, _ = followUps.Reserve(ctx, "k", 2, 1) })
		}
		synctest.Wait()
		if ahead := time.Until(kv.next("k")); ahead > 4*time.Second {
			t.Errorf("%s are booked: want strides that start at most 2s ahead", ahead)
		}
		start := time.Now()
		if _, err := New(kv, time.Now, zerolog.Nop()).Reserve(t.Context(), "k", 1, 1); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("the first notice waited %s behind the crowd", took)
		}
		cancel()
		wg.Wait()
	})
}

func TestPushHoldsEverybody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		before, in  time.Duration
		want        time.Duration
		wantWritten bool
	}{
		{"as the provider says", 0, 10 * time.Second, 10 * time.Second, true},
		{"never back", time.Minute, 10 * time.Second, time.Minute, false},
		{"clamped", 0, 100 * time.Hour, 15 * time.Minute, true},
		{"past", 0, -time.Second, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				kv, start := newMemory(), time.Now()
				kv.conflict = 0.5
				kv.set("k", strconv.FormatInt(start.Add(tt.before).UnixNano(), 10))
				before := kv.rev
				if err := New(kv, time.Now, zerolog.Nop()).Push(t.Context(), "k", start.Add(tt.in)); err != nil {
					t.Fatal(err)
				}
				if (kv.rev != before) != tt.wantWritten {
					t.Errorf("written = %t, want %t", kv.rev != before, tt.wantWritten)
				}
				g, err := New(kv, time.Now, zerolog.Nop()).Reserve(t.Context(), "k", 1, 10)
				if err != nil {
					t.Fatal(err)
				}
				// Push may have lost a few times first: then "now" is a little later.
				if got := g.Start.Sub(start); got < tt.want || got > tt.want+time.Second {
					t.Errorf("another worker starts after %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestAbsurdNumberIsResetAndSaid(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"junk", "", "99999999999999999999999",
		strconv.FormatInt(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC).UnixNano(), 10), // an hour ahead of synctest's clock
		strconv.FormatInt(math.MaxInt64, 10),
	} {
		synctest.Test(t, func(t *testing.T) {
			kv, start := newMemory(), time.Now()
			kv.set("k", value)
			var log bytes.Buffer
			if _, err := New(kv, time.Now, zerolog.New(&log)).Reserve(t.Context(), "k", 1, 10); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 0 {
				t.Errorf("%q: waited %s", value, took)
			}
			if !strings.Contains(log.String(), `"limit":"k"`) || !strings.Contains(log.String(), "reset") {
				t.Errorf("%q: log = %s", value, log.String())
			}
			if kv.next("k").After(start.Add(time.Minute)) {
				t.Errorf("%q: the number is still %s", value, kv.next("k"))
			}
		})
	}
}

// A rate so small that one unit takes longer than any push must not look absurd to the next.
func TestVerySlowRateIsNotReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, start := newMemory(), time.Now()
		l := New(kv, time.Now, zerolog.Nop())
		for range 3 {
			if _, err := l.Reserve(t.Context(), "k", 1, 1.0/3600); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 2*time.Hour {
			t.Errorf("three units at one an hour took %s, want two hours", took)
		}
	})
}

func TestNumberSetBackByHandIsNoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, start := newMemory(), time.Now()
		l := New(kv, time.Now, zerolog.Nop())
		if err := l.Push(t.Context(), "k", start.Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() { kv.set("k", "0") })
		if _, err := l.Reserve(t.Context(), "k", 1, 10); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Minute+horizon {
			t.Errorf("waited %s, want little more than the minute", took)
		}
	})
}

func TestTooLateIsSaidAtOnceAndBooksNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, start := newMemory(), time.Now()
		l := New(kv, time.Now, zerolog.Nop())
		if err := l.Push(t.Context(), "k", start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		before := kv.rev
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := l.Reserve(ctx, "k", 1, 10)
		var busy *BusyError
		if !errors.As(err, &busy) || !busy.Until.Equal(start.Add(time.Minute)) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Reserve = %v, want a BusyError that says when", err)
		}
		if time.Since(start) != 0 || kv.rev != before {
			t.Errorf("after %s and %d writes, want neither", time.Since(start), kv.rev-before)
		}
	})
}

func TestCancelledReserveReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, start := newMemory(), time.Now()
		l := New(kv, time.Now, zerolog.Nop())
		if err := l.Push(t.Context(), "k", start.Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 { // one waits for the number, the others for their turn
			wg.Go(func() {
				if _, err := l.Reserve(ctx, "k", 1, 10); !errors.Is(err, context.Canceled) {
					t.Errorf("Reserve = %v, want context.Canceled", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if time.Since(start) != 0 {
			t.Errorf("they returned after %s", time.Since(start))
		}
	})
}

func TestBrokerAwayIsAnError(t *testing.T) {
	t.Parallel()
	kv := newMemory()
	kv.failure = bus.ErrUnavailable
	l := New(kv, time.Now, zerolog.Nop())
	if _, err := l.Reserve(t.Context(), "k", 1, 10); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Reserve = %v, want ErrUnavailable: without the bucket nothing may be sent", err)
	}
	if err := l.Push(t.Context(), "k", time.Now().Add(time.Minute)); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Push = %v, want ErrUnavailable", err)
	}
}

func TestKeysAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv, start := newMemory(), time.Now()
		l := New(kv, time.Now, zerolog.Nop())
		if err := l.Push(t.Context(), "a", start.Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Reserve(t.Context(), "b", 1, 10); err != nil || time.Since(start) != 0 {
			t.Errorf("another key waited %s, %v", time.Since(start), err)
		}
	})
}

func TestQuantum(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		perSec float64
		limit  int
		want   int
	}{{1, 100, 2}, {0.1, 100, 1}, {1000, 100, 100}, {10, 100, 20}, {0, 100, 100}, {0, 0, 1}, {1e300, 1000, 1000}, {10, 0, 1}} {
		if got := Quantum(tt.perSec, tt.limit); got != tt.want {
			t.Errorf("Quantum(%v, %d) = %d, want %d", tt.perSec, tt.limit, got, tt.want)
		}
	}
}

// TestRealBucket books through a real broker: many processes at once, at a rate that never makes anybody wait long.
func TestRealBucket(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	kv, err := b.KV(t.Context(), topology.BucketLimits)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []Grant
	var wg sync.WaitGroup
	for range 4 {
		l := New(kv, time.Now, zerolog.Nop())
		for range 2 {
			wg.Go(func() {
				for range 20 {
					g, err := l.Reserve(t.Context(), "twilio.main.us", 10, 1e5)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					all = append(all, g)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b Grant) int { return a.Start.Compare(b.Start) })
	if len(all) != 160 {
		t.Errorf("%d grants, want 160", len(all))
	}
	for i := 1; i < len(all); i++ {
		if all[i].Start.Before(all[i-1].End) {
			t.Fatalf("grants overlap: %v", fmt.Sprint(all[i-1], all[i]))
		}
	}
	// The value may be deleted under us: it is begun anew.
	if _, err := kv.Delete(t.Context(), "twilio.main.us"); err != nil {
		t.Fatal(err)
	}
	if _, err := New(kv, time.Now, zerolog.Nop()).Reserve(t.Context(), "twilio.main.us", 1, 1e5); err != nil {
		t.Error(err)
	}
}
