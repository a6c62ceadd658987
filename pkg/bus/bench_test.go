package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// BenchmarkCommitter appends small fenced entries from many goroutines, with fsync on; b.N is appends.
func BenchmarkCommitter(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			_, bs := bustest.Start(b, bustest.Options{Sync: true})
			c := bus.NewCommitter(bs, topology.StreamJournal, bus.CommitterOptions{})
			ctx, stop := context.WithCancel(b.Context())
			var run sync.WaitGroup
			run.Go(func() { _ = c.Run(ctx) })
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					subject := topology.Journal(candorv1.Channel_CHANNEL_SMS, "bench", "w0", uint32(i))
					data := make([]byte, 100)
					var last uint64
					for range b.N/callers + 1 {
						seq, err := c.Append(ctx, bus.Message{Subject: subject, Data: data, Expect: bus.Seq(last)})
						if err != nil {
							b.Error(err)
							return
						}
						last = seq
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			stop()
			run.Wait()
		})
	}
}

// BenchmarkAppendBatch stores batches of 500 small entries, with fsync on.
func BenchmarkAppendBatch(b *testing.B) {
	_, bs := bustest.Start(b, bustest.Options{Sync: true})
	ms := make([]bus.Message, 500)
	for b.Loop() {
		for i := range ms {
			ms[i] = bus.Message{Subject: topology.Journal(candorv1.Channel_CHANNEL_SMS, "bench", "w0", uint32(i)), Data: make([]byte, 300)}
		}
		if _, err := bs.AppendBatch(b.Context(), topology.StreamJournal, ms); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(ms))/b.Elapsed().Seconds(), "appends/s")
}

// BenchmarkAppend stores one fenced entry after the other, with fsync on.
func BenchmarkAppend(b *testing.B) {
	_, bs := bustest.Start(b, bustest.Options{Sync: true})
	var last uint64
	for b.Loop() {
		seq, err := bs.Append(b.Context(), topology.StreamJournal, bus.Message{Subject: "journal.sms.bench.w0.1", Data: make([]byte, 100), Expect: bus.Seq(last)})
		if err != nil {
			b.Fatal(err)
		}
		last = seq
	}
}

// BenchmarkRead reads a whole stream of small entries; b.N is messages.
func BenchmarkRead(b *testing.B) {
	_, bs := bustest.Start(b, bustest.Options{})
	ms := make([]bus.Message, bus.MaxBatch)
	for i := range ms {
		ms[i] = bus.Message{Subject: topology.Journal(candorv1.Channel_CHANNEL_SMS, "bench", "w0", uint32(i)), Data: make([]byte, 200)}
	}
	for range 100 {
		if _, err := bs.AppendBatch(b.Context(), topology.StreamJournal, ms); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	b.ResetTimer()
	for n < b.N {
		if _, err := bs.Read(b.Context(), topology.StreamJournal, "", 1, func(bus.Stored) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
}
