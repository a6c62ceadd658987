package frontdoor

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"candor/pkg/httpd"
)

// The benchmarks compare the front door with handlers that verify as it does and drop what they verified: "over HTTP" as
// providers see it, the others without a network, which leaves nothing but verifying and storing.

// answer takes an answer and keeps nothing but its code.
type answer struct {
	header http.Header
	code   int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }

// makeAll makes the requests of a benchmark before its clock runs.
func makeAll(n int, make1 func(int) *http.Request) []*http.Request {
	all := make([]*http.Request, n)
	for i := range all {
		all[i] = make1(i)
	}
	return all
}

// handle hands b.N requests to the handler, from so many clients per processor at a time.
func handle(b *testing.B, perRequest, clients int, h http.Handler, make1 func(n int) *http.Request) {
	b.Helper()
	requests := makeAll(b.N, make1)
	var next atomic.Int64
	b.SetParallelism(clients)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a := &answer{header: http.Header{}, code: http.StatusOK}
			h.ServeHTTP(a, requests[next.Add(1)-1])
			if a.code >= 300 {
				b.Errorf("answered with %d", a.code)
			}
		}
	})
	b.ReportMetric(float64(b.N*perRequest)/b.Elapsed().Seconds(), "receipts/s")
}

// overHTTP sends b.N requests through so many connections. The client does as little as it can: it shares the processors.
func overHTTP(b *testing.B, perRequest, connections int, addr string, make1 func(n int) *http.Request) {
	b.Helper()
	raw := make([][]byte, b.N)
	for i, r := range makeAll(b.N, make1) {
		var buf bytes.Buffer
		if err := r.Write(&buf); err != nil {
			b.Fatal(err)
		}
		raw[i] = buf.Bytes()
	}
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		conns []net.Conn
	)
	for range connections {
		c, err := net.Dial("tcp", addr) //nolint:noctx // a benchmark
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		conns = append(conns, c)
	}
	b.ResetTimer()
	for _, c := range conns {
		wg.Go(func() {
			in := bufio.NewReaderSize(c, 1024)
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if _, err := c.Write(raw[i-1]); err != nil {
					b.Error(err)
					return
				}
				if code, err := readAnswer(in); err != nil || code[0] != '2' {
					b.Errorf("answered with %s, %v", code, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*perRequest)/b.Elapsed().Seconds(), "receipts/s")
}

// readAnswer reads an answer without a body.
func readAnswer(in *bufio.Reader) (code string, err error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return code, err
		}
		if code == "" {
			code = string(line[9:12])
		}
		if len(line) == 2 {
			return code, nil
		}
	}
}

func textRequest(h *house, n int) *http.Request {
	path := TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(uint32(n/1000), uint32(n%1000)), 1))
	body := statusForm("SM"+strconv.Itoa(n), "delivered", "")
	return twilioRequest(path, body, signTwilio(token, publicURL+path, body))
}

// textDrop verifies what the front door verifies.
func textDrop(h *house) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+TwilioStatusPath+"{id}", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, h.statuses.visit(w, r, func(w http.ResponseWriter, r *http.Request, at *visit) verdict {
			_, _, err := h.IDs.Parse(r.PathValue("id"))
			_, _, ok := h.signedForm(w, r, at)
			if err != nil || !ok {
				return badSignature
			}
			w.WriteHeader(http.StatusNoContent)
			return stored
		}))
	})
	return mux
}

func BenchmarkTwilio(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		h := newHouse(b, inEarnest)
		handle(b, 1, 900, h.Handler(), func(n int) *http.Request { return textRequest(h, n) })
	})
	b.Run("drop", func(b *testing.B) {
		h := newHouse(b, inEarnest)
		handle(b, 1, 900, textDrop(h), func(n int) *http.Request { return textRequest(h, n) })
	})
}

func BenchmarkTwilioOverHTTP(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		h := newHouse(b, inEarnest)
		overHTTP(b, 1, 1500, h.Addr(), func(n int) *http.Request { return textRequest(h, n) })
	})
	b.Run("drop", func(b *testing.B) {
		h := newHouse(b, inEarnest)
		overHTTP(b, 1, 1500, serve(b, h, textDrop(h)), func(n int) *http.Request { return textRequest(h, n) })
	})
}

// serve serves a handler as the front door's own is served.
func serve(b *testing.B, h *house, handler http.Handler) (addr string) {
	b.Helper()
	ops := httpd.Ops{Registry: prometheus.NewRegistry(), Ready: func() error { return nil }}
	s, err := httpd.New(h.cfg.http(), handler, ops, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	start(b, s.Run)
	return s.Addr()
}

const eventsPerRequest = 200

func mailRequestN(h *house, n int) *http.Request {
	now := strconv.FormatInt(noon.Unix(), 10)
	all := make([]ev, eventsPerRequest)
	for i := range all {
		m := n*eventsPerRequest + i
		all[i] = ev{"delivered", mailNotice(uint32(m/1000), uint32(m%1000)), "Rn3kQfYfTkGv2ZsYQbNwzA" + strconv.Itoa(m) + ".filter-x-1.0", map[string]any{
			"response": "250 OK: queued as 1A2B3C4D5E", "ip": "192.0.2.1", "tls": 1, "category": []string{"notice"},
		}}
	}
	body := events(h, all...)
	return mailRequest(body, signSendGrid(h, h.key, now, body), now)
}

func BenchmarkSendGrid(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		h := newHouse(b, inEarnest)
		handle(b, eventsPerRequest, 15, h.Handler(), func(n int) *http.Request { return mailRequestN(h, n) })
	})
	b.Run("drop", func(b *testing.B) {
		h := newHouse(b, inEarnest)
		drop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			refuse(w, h.mails.visit(w, r, func(w http.ResponseWriter, r *http.Request, at *visit) verdict {
				body, err := at.readBody(w, r, h.cfg.SendGrid.MaxBody, mailTime)
				if err != nil || !h.sendgrid.verify(body, r.Header.Get(sendGridSignature), r.Header.Get(sendGridTimestamp)) {
					return badSignature
				}
				readEvents(body, func(e *event) {
					if _, _, err := h.IDs.Parse(e.ID); err != nil {
						b.Error(err)
					}
				})
				return stored
			}))
		})
		handle(b, eventsPerRequest, 15, drop, func(n int) *http.Request { return mailRequestN(h, n) })
	})
}

// inEarnest sets the batches as they are by default.
func inEarnest(c *Config) {
	c.BatchWait, c.BatchMost = DefaultConfig().BatchWait, DefaultConfig().BatchMost
}
