package ledger

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// history is the whole journal of an incident in which everybody was told on each channel: pages of 1,000, strides of 100,
// a provider's id of 34 characters for each message. Pages are worked off many at a time, as in earnest.
func history(t testing.TB, pages uint32, channels ...candorv1.Channel) []bus.Message {
	t.Helper()
	const stride, together = 100, 16
	ids := strings.Repeat("SM0123456789abcdef0123456789abcdef\n", stride)
	ids = ids[:len(ids)-1]
	var ms []bus.Message
	add := func(ch candorv1.Channel, page uint32, e *candorv1.JournalEntry) {
		ms = append(ms, bus.Message{Subject: on(ch, page), Data: encode(t, stamped(e, noon))})
	}
	for _, ch := range channels {
		for page := range pages {
			e := opened(1000)
			hash := make([]byte, 32)
			o := e.GetOpened()
			o.PlanHash, o.PageSha256, o.TextHash = hash, hash, hash
			add(ch, page, e)
		}
		for page := uint32(0); page < pages; page += together {
			for slot := uint32(0); slot < 1000; slot += stride {
				for p := page; p < min(page+together, pages); p++ {
					in := intent(1, slot, stride)
					in.GetIntent().Provider, in.GetIntent().Sender = "twilio", "+15005550006"
					add(ch, p, in)
					out := outcome(1, accepted, "", slot, stride)
					out.GetOutcomes().GetGroups()[0].MessageIds = ids
					add(ch, p, out)
				}
			}
		}
	}
	return ms
}

// receipts say of all messages of a history that they arrived, a few at a time as a front door batches them.
func receipts(t testing.TB, pages uint32, channels ...candorv1.Channel) []bus.Message {
	t.Helper()
	const batch = 25
	var ms []bus.Message
	for _, ch := range channels {
		for slot := uint32(0); slot < 1000; slot += batch {
			for page := range pages {
				e := outcome(1, delivered, "", slot, batch)
				ms = append(ms, bus.Message{Subject: topology.Receipt(ch, "i1", "w0", page), Data: encode(t, stamped(e, noon))})
			}
		}
	}
	return ms
}

func hearAll(t testing.TB, b *books, ms []bus.Message) {
	for i, m := range ms {
		if err := b.hear(bus.Stored{Subject: m.Subject, Seq: uint64(i + 1), Time: noon, Data: m.Data}); err != nil {
			t.Fatal(err)
		}
	}
	b.count()
}

func foldAll(t testing.TB, b *books, ms []bus.Message) {
	for i, m := range ms {
		if err := b.fold(bus.Stored{Subject: m.Subject, Seq: uint64(i + 1), Time: noon, Data: m.Data}); err != nil {
			t.Fatal(err)
		}
	}
	b.count()
}

// A million customers on two channels may cost 40 MB; this is a tenth of them.
func TestMemory(t *testing.T) { //nolint:paralleltest // measures the heap
	ms, heard := history(t, 100, sms, email), receipts(t, 100, sms, email)
	before := heap()
	b := newBooks()
	foldAll(t, b, ms)
	hearAll(t, b, heard)
	used := heap() - before
	t.Logf("200,000 notices take %d kB", used/1024)
	if used > 4<<20 {
		t.Errorf("200,000 notices take %d kB, want at most 4,096", used/1024)
	}
	runtime.KeepAlive(b)
	runtime.KeepAlive(ms)
	runtime.KeepAlive(heard)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkFold(b *testing.B) {
	ms := history(b, 1000, sms)
	b.ResetTimer()
	for b.Loop() {
		foldAll(b, newBooks(), ms)
	}
	b.ReportMetric(float64(b.N)*1e6/b.Elapsed().Seconds(), "notices/s")
}

func BenchmarkHear(b *testing.B) {
	ms, heard := history(b, 1000, sms), receipts(b, 1000, sms)
	for b.Loop() {
		b.StopTimer()
		bk := newBooks()
		foldAll(b, bk, ms)
		b.StartTimer()
		hearAll(b, bk, heard)
	}
	b.ReportMetric(float64(b.N)*1e6/b.Elapsed().Seconds(), "notices/s")
}

// BenchmarkRebuild is Fold with the broker before it.
func BenchmarkRebuild(b *testing.B) {
	conn := bustest.New(b)
	ms := history(b, 1000, sms)
	const batch = 100 // some are larger than others: a batch must fit the broker's memory
	for from := 0; from < len(ms); from += batch {
		if _, err := conn.AppendBatch(b.Context(), topology.StreamJournal, ms[from:min(from+batch, len(ms))]); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		l, err := New(DefaultConfig(), conn, incident.NewRegistry(conn), zerolog.Nop())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(b.Context(), topology.StreamJournal, "", 1, l.books.fold); err != nil {
			b.Fatal(err)
		}
		l.books.count()
	}
	b.ReportMetric(float64(b.N)*1e6/b.Elapsed().Seconds(), "notices/s")
}

func BenchmarkStatus(b *testing.B) {
	bk := newBooks()
	ms := history(b, 1000, sms, email)
	foldAll(b, bk, ms)
	inc := declared()
	b.Run("quiet", func(b *testing.B) {
		for b.Loop() {
			bk.status("i1", inc, as(noon))
		}
	})
	b.Run("all pages changed", func(b *testing.B) {
		for b.Loop() {
			i1 := bk.incidents["i1"]
			for _, p := range i1.pages {
				p.stale = true
				i1.stale = append(i1.stale, p)
			}
			start := time.Now()
			bk.status("i1", inc, as(noon))
			b.ReportMetric(float64(time.Since(start).Microseconds()), "last-µs")
		}
	})
}
