package calls

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/pii"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// BenchmarkClaims measures dialers that claim over the broker, one task at a time, from a queue on disk with an fsync before
// each answer; the second one also reports each call.
func BenchmarkClaims(b *testing.B) {
	for _, tt := range []struct {
		tasks  int
		report bool
	}{{100_000, false}, {100_000, true}, {1_000_000, false}, {1_000_000, true}} {
		if testing.Short() && tt.tasks > 100_000 {
			continue
		}
		b.Run(fmt.Sprintf("tasks=%d/report=%t", tt.tasks, tt.report), func(b *testing.B) { benchmarkClaims(b, tt.tasks, tt.report) })
	}
}

func benchmarkClaims(b *testing.B, tasks int, report bool) {
	const dialers = 64
	w := newWorld(b, plan{sync: true, pages: tasks / roster.PageSize, customers: roster.PageSize, change: func(page, slot int, c *roster.Customer) {
		c.Phones = []pii.Phone{pii.NewPhone(fmt.Sprintf("+1212%07d", 2_000_000+page*roster.PageSize+slot))}
	}})
	w.secret = nil
	for page := range w.pages {
		w.append(topology.StreamCalls, topology.CallEvents(id), &candorv1.CallEvents{
			EntryId: 1, OccurredAt: timestamppb.New(noon), Events: []*candorv1.CallEvent{{Event: &candorv1.CallEvent_Queued{
				Queued: &candorv1.CallsQueued{Wave: "w0", Page: uint32(page), Slots: []uint32{0, roster.PageSize}, Priority: 3, Purpose: "first_notice"},
			}}},
		})
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	w.process()
	for w.queue().GetCallable() != uint64(tasks) {
	}
	folded := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	var (
		wg   sync.WaitGroup
		left atomic.Int64
		mu   sync.Mutex
		took []time.Duration
	)
	left.Store(int64(b.N))
	b.ResetTimer()
	for range dialers {
		wg.Go(func() {
			var mine []time.Duration
			for left.Add(-1) >= 0 {
				start := time.Now()
				got := w.claim(&candorv1.ClaimRequest{})
				mine = append(mine, time.Since(start))
				if len(got) != 1 {
					b.Errorf("claimed %d", len(got))
					return
				}
				if report {
					w.complete(got[0].GetLease(), "notified")
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(folded.Seconds(), "s/fold")
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(tasks), "B/task")
	slices.Sort(took)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "claims/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms/p99")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/p50")
}
