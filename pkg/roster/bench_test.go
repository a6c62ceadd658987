package roster

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

func synthetic(tb testing.TB, n int) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := Synthetic(&b, n, SyntheticOptions{}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// The bar: BenchmarkImport takes at most 1.3 × the time of BenchmarkPhonesOnly, and its peak-MB stays flat and below 300.
func BenchmarkImport(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			// From a file, as in life: the text itself must not count as our memory.
			path := b.TempDir() + "/roster.csv"
			if err := os.WriteFile(path, synthetic(b, n), 0o600); err != nil {
				b.Fatal(err)
			}
			debug.FreeOSMemory()
			peak := &memoryPeak{}
			for b.Loop() {
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				rep, err := Import(context.Background(), f, Options{}, peak)
				f.Close()
				if err != nil || rep.Rows != n {
					b.Fatal(rep, err)
				}
			}
			b.ReportMetric(float64(peak.bytes)/(1<<20), "peak-MB")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
		})
	}
}

// memoryPeak is a sink that notes, at every page, what the process holds from the system.
type memoryPeak struct{ bytes uint64 }

func (p *memoryPeak) Page(context.Context, *Page) error {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.bytes = max(p.bytes, m.Sys-m.HeapReleased)
	return nil
}

// BenchmarkPhonesOnly parses the same numbers on all cores with the library, and does nothing else.
func BenchmarkPhonesOnly(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		numbers := syntheticNumbers(b, n)
		for _, what := range []string{"parse+validate+format", "parse"} {
			b.Run(fmt.Sprintf("%s/rows=%d", what, n), func(b *testing.B) {
				for b.Loop() {
					var wg sync.WaitGroup
					cores := runtime.GOMAXPROCS(0)
					for i := range cores {
						wg.Go(func() {
							for _, s := range numbers[i*n/cores : (i+1)*n/cores] {
								p, err := phonenumbers.Parse(s, "US")
								if err == nil && what != "parse" && phonenumbers.IsValidNumber(p) {
									phonenumbers.Format(p, phonenumbers.E164)
								}
							}
						})
					}
					wg.Wait()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
			})
		}
	}
}

func syntheticNumbers(tb testing.TB, n int) []string {
	tb.Helper()
	r := csv.NewReader(bytes.NewReader(synthetic(tb, n)))
	var numbers []string
	for {
		row, err := r.Read()
		if err == io.EOF {
			return numbers[1:]
		}
		if err != nil {
			tb.Fatal(err)
		}
		numbers = append(numbers, strings.Clone(row[4]))
	}
}

func BenchmarkSynthetic(b *testing.B) {
	for b.Loop() {
		if err := Synthetic(io.Discard, 100_000, SyntheticOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	var pages []*Page
	_, err := Import(context.Background(), bytes.NewReader(synthetic(b, 100_000)), Options{}, SinkFunc(func(_ context.Context, p *Page) error {
		pages = append(pages, p)
		return nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	p := pages[0]
	enc, err := p.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	perCustomer := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(p.Customers)), "ns/customer")
		b.ReportMetric(float64(len(enc)), "bytes")
	}
	b.Run("marshal/customers="+strconv.Itoa(len(p.Customers)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Marshal(); err != nil {
				b.Fatal(err)
			}
		}
		perCustomer(b)
	})
	b.Run("unmarshal/customers="+strconv.Itoa(len(p.Customers)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := UnmarshalPage(enc); err != nil {
				b.Fatal(err)
			}
		}
		perCustomer(b)
	})
}
