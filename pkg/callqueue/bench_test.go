package callqueue

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// million is a queue of tasks as a large incident has them: one and a half numbers each, twenty sets of zones, three languages,
// three classes, one customer in ten with a number that another has too.
func million(tb testing.TB, n int) (*Queue, time.Time) {
	now := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	rules := playbook.DefaultCalls()
	q := New()
	q.SetRules(now, inc, &rules)
	var sets [][]*time.Location
	names := []string{"America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Toronto", "America/Mexico_City"}
	for i, a := range names {
		sets = append(sets, []*time.Location{zone(tb, a)})
		for _, b := range names[i+1:] {
			if len(sets) < 20 {
				sets = append(sets, []*time.Location{zone(tb, a), zone(tb, b)})
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	languages := []string{"en", "es", "fr-CA"}
	for page := range (n + 999) / 1000 {
		count := min(1000, n-page*1000)
		z := [][]*time.Location{sets[page%len(sets)], sets[(page+1)%len(sets)]}
		_, err := q.Queue(now, inc, &candorv1.CallsQueued{Wave: "w0", Page: uint32(page), Slots: []uint32{0, uint32(count)}, Priority: uint32(2 + page%3), Purpose: "first_notice"},
			func(_, slot uint32) Facts {
				f := Facts{Numbers: []uint64{r.Uint64() | 1}, Zones: z[:1], Language: languages[page%3]}
				if slot%10 == 0 {
					f.Numbers[0] = uint64(1 + r.IntN(n/10))
				}
				if slot%2 == 0 {
					f.Numbers, f.Zones = append(f.Numbers, r.Uint64()|1), z
				}
				return f
			})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return q, now
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The bars: at most 300 bytes a task, with one call each; at least 50,000 claims a second.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		before := heapBytes()
		start := time.Now()
		q, now := million(b, n)
		queued := time.Since(start)
		size := heapBytes() - before
		b.ReportMetric(float64(size)/n, "bytes/task")
		b.ReportMetric(float64(queued.Nanoseconds())/n, "ns/queued")

		random := rand.New(rand.NewPCG(3, 4))
		const claims = 200_000
		leases := make([]Lease, 0, claims)
		start = time.Now()
		var worst time.Duration
		for range claims {
			one := time.Now()
			granted, err := q.Claim(now, Claim{Dialer: "d", Random: random.Uint64})
			if err != nil || len(granted) != 1 {
				b.Fatal(len(granted), err)
			}
			worst = max(worst, time.Since(one))
			leases = append(leases, granted[0].Lease)
		}
		took := time.Since(start)
		b.ReportMetric(claims/took.Seconds(), "claims/s")
		b.ReportMetric(float64(worst.Microseconds()), "worst-µs")

		start = time.Now()
		codes := []string{"notified", "no_answer", "busy", "voicemail_left"}
		for i, l := range leases {
			if _, _, err := q.Complete(now, l, "d", Report{Disposition: codes[i%4]}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(claims/time.Since(start).Seconds(), "completions/s")
		for range n - claims {
			granted, err := q.Claim(now, Claim{Dialer: "d", Random: random.Uint64})
			if err != nil {
				b.Fatal(err)
			}
			if len(granted) == 0 {
				break
			}
			if _, _, err := q.Complete(now, granted[0].Lease, "d", Report{Disposition: "no_answer"}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heapBytes()-before)/n, "bytes/task-called")
		b.ReportMetric(float64(q.leased)/n, "calls/task")
		runtime.KeepAlive(leases)
		runtime.KeepAlive(q)
	}
}
