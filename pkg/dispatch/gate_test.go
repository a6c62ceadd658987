package dispatch

import (
	"sync/atomic"
	"testing"
)

func TestGateCallsEachOnceAndNotTooManyAtATime(t *testing.T) {
	t.Parallel()
	const places = 4
	g := NewGate(places)
	for _, n := range []int{0, 1, 3, places, 100} {
		var now, most atomic.Int64
		calls := make([]atomic.Int64, n)
		g.Each(n, func(i int) {
			if k := now.Add(1); k > most.Load() {
				most.Store(k)
			}
			calls[i].Add(1)
			now.Add(-1)
		})
		for i := range calls {
			if k := calls[i].Load(); k != 1 {
				t.Errorf("%d of %d was called %d times", i, n, k)
			}
		}
		if most.Load() > places {
			t.Errorf("%d at a time, want at most %d", most.Load(), places)
		}
		if len(g.waiting) != 0 {
			t.Errorf("%d strides wait though all is done", len(g.waiting))
		}
	}
}

// Two strides must not wait for each other's places for ever.
func TestGateIsSharedByStrides(t *testing.T) {
	t.Parallel()
	g := NewGate(1)
	var calls atomic.Int64
	done := make(chan struct{})
	for range 3 {
		go func() {
			g.Each(50, func(int) { calls.Add(1) })
			done <- struct{}{}
		}()
	}
	for range 3 {
		<-done
	}
	if calls.Load() != 150 {
		t.Errorf("%d calls, want 150", calls.Load())
	}
}
