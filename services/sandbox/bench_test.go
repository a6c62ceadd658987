package sandbox_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"candor/services/sandbox"
)

// loop is the barest client there is: it writes requests that next makes and reads answers, over many connections.
func loop(b *testing.B, box *sandbox.Sandbox, connections int, next func(buf []byte, i int64) []byte, status string) {
	var (
		wg sync.WaitGroup
		n  atomic.Int64
	)
	b.ResetTimer()
	for range connections {
		conn, err := net.Dial("tcp", strings.TrimPrefix(box.URL(), "http://"))
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer func() { _ = conn.Close() }()
			in := bufio.NewReader(conn)
			var buf []byte
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				buf = next(buf[:0], i)
				if _, err := conn.Write(buf); err != nil {
					b.Error(err)
					return
				}
				if err := readAnswer(in, status); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

func readAnswer(in *bufio.Reader, status string) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(line, []byte(status)) {
		return fmt.Errorf("answer %q", line)
	}
	length := 0
	for {
		line, err = in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			_, err = in.Discard(length)
			return err
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
}

const benchText = "Acme+Bank%3A+a+break-in+on+3+Nov+exposed+your+name+and+number.+We+are+sorry.+No+password+is+needed+from+you.+Call+0800+123+456%2C+code+"

func smsRequest(w *world, hooks string) func([]byte, int64) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(w.cfg.Twilio.AccountSID + ":" + w.cfg.Twilio.AuthToken.Reveal()))
	hooks = url.QueryEscape(hooks)
	head := "POST /2010-04-01/Accounts/" + w.cfg.Twilio.AccountSID + "/Messages.json HTTP/1.1\r\nHost: sandbox\r\nUser-Agent: bench\r\nAuthorization: Basic " + auth +
		"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "
	return func(b []byte, i int64) []byte {
		var body [512]byte
		f := append(body[:0], "Body="+benchText...)
		f = appendNumber(f, "K7Q", i)
		f = append(f, ".+STOP+to+opt+out&From=%2B15005550006&StatusCallback="+hooks+"%2Fhooks%2Ftwilio%2F"...)
		f = appendNumber(f, "BWluY2lkZW50LTIwMjYCdzABAg", i)
		f = append(f, ".1.c2VjcmV0LW1hYy0x%23rc%3D5%26rp%3Dall&To=%2B447"...)
		f = appendNumber(f, "", i)
		b = append(b, head...)
		b = strconv.AppendInt(b, int64(len(f)), 10)
		return append(append(b, "\r\n\r\n"...), f...)
	}
}

func appendNumber(b []byte, prefix string, i int64) []byte {
	b = append(b, prefix...)
	return strconv.AppendInt(b, 100_000_000+i, 10)
}

func BenchmarkTexts(b *testing.B) {
	w := start(b)
	before := memory()
	loop(b, w.box, 64, smsRequest(w, "https://hooks.acme.example"), "201")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
	b.ReportMetric(float64(memory()-before)/float64(b.N), "B/text")
	if tr := w.truth(); tr.SMS.Accepted != uint64(b.N) || tr.SMS.Notices != uint64(b.N) {
		b.Errorf("truth %+v, want %d", tr.SMS, b.N)
	}
}

// BenchmarkTextsAt20ms is the capacity with a provider that takes its time, 512 requests in flight.
func BenchmarkTextsAt20ms(b *testing.B) {
	w := start(b, func(c *sandbox.Config) { c.Twilio.Latency = 20e6 })
	loop(b, w.box, 512, smsRequest(w, "https://hooks.acme.example"), "201")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
}

func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// mailBody is a request to n people from number first on.
func mailBody(b []byte, first int64, n int) []byte {
	b = append(b, `{"from":{"name":"Acme","email":"notice@acme.example"},"subject":"About your data, -name-","personalizations":[`...)
	for i := range int64(n) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, `{"to":[{"email":"someone.`, first+i)
		b = append(b, `@example.com"}],"substitutions":{"-code-":"`...)
		b = appendNumber(b, "K7Q", first+i)
		b = append(b, `","-name-":"Ana María","-phone-":"0800 123 456"},"custom_args":{"candor_id":"`...)
		b = appendNumber(b, "BWluY2lkZW50LTIwMjYCdzABAg", first+i)
		b = append(b, `.1.c2VjcmV0LW1hYy0x"}}`...)
	}
	text := strings.Repeat(`Dear -name-,\n\nWe are sorry. Somebody broke into our systems and read \"your\" data.\n`, 20)
	b = append(b, `],"content":[{"type":"text/plain","value":"`+text+`"},{"type":"text/html","value":"<p>`+text+`</p>"}]}`...)
	return b
}

func BenchmarkMails(b *testing.B) {
	for _, batch := range []int{1, 100, 1000} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			w := start(b)
			head := "POST /v3/mail/send HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer " + w.cfg.SendGrid.APIKey.Reveal() +
				"\r\nContent-Type: application/json\r\nContent-Length: "
			before := memory()
			requests := (b.N + batch - 1) / batch
			n := b.N
			b.N = requests
			var bodies sync.Pool
			loop(b, w.box, 16, func(buf []byte, i int64) []byte {
				body, _ := bodies.Get().([]byte)
				body = mailBody(body[:0], i*int64(batch), batch)
				buf = append(buf, head...)
				buf = strconv.AppendInt(buf, int64(len(body)), 10)
				buf = append(append(buf, "\r\n\r\n"...), body...)
				bodies.Put(body) //nolint:staticcheck // a slice header more per request of a benchmark
				return buf
			}, "202")
			b.N = n
			b.ReportMetric(float64(requests*batch)/b.Elapsed().Seconds(), "recipients/s")
			b.ReportMetric(float64(memory()-before)/float64(requests*batch), "B/mail")
		})
	}
}

func BenchmarkNotices(b *testing.B) {
	w := start(b)
	const batch, all = 1000, 200_000
	for i := range int64(all / batch) {
		if res, err := w.mail(mailBody(nil, i*batch, batch)); err != nil || res.StatusCode != 202 {
			b.Fatal(res, err)
		}
	}
	for b.Loop() {
		n := 0
		if err := w.client.Notices(b.Context(), "email", "", func(sandbox.Attempt) error { n++; return nil }); err != nil || n != all {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(all*float64(b.N)/b.Elapsed().Seconds(), "notices/s")
}

// BenchmarkReceipts is how fast texts and mails are taken and told of, with the receiver in the same process.
func BenchmarkReceipts(b *testing.B) {
	var told atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		told.Add(n)
	}))
	b.Cleanup(server.Close)
	for _, channel := range []string{"sms", "email"} {
		b.Run(channel, func(b *testing.B) {
			w := start(b, func(c *sandbox.Config) {
				c.Receipts = sandbox.Receipts{Enabled: true, Undelivered: map[int]float64{30003: 0.01}, Bounced: 0.01}
				c.SendGrid.EventsURL = server.URL
			})
			if channel == "sms" {
				loop(b, w.box, 16, smsRequest(w, server.URL), "201")
				b.StartTimer()
			} else {
				for i := 0; i < b.N; i += 1000 {
					w.mustMail(mailBody(nil, int64(i), 1000), 202)
				}
			}
			receipts := w.settled().Receipts.Acknowledged
			b.ReportMetric(float64(receipts)/b.Elapsed().Seconds(), "receipts/s")
		})
	}
}
