package frontdoor

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// Broken HTTP, over and over: the door stays open, says nothing of it, and does not grow. Not parallel: it reads the process's
// memory.
func TestBrokenHTTP(t *testing.T) {
	h := newHouse(t)
	id := string(h.IDs.Append(nil, smsNotice(1, 1), 1))
	post := func(path, rest string) string { return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + rest }
	shapes := []string{
		"\x00\xff\x16\x03\x01", "GET", "GET / HTTP/9.9\r\n\r\n", "POST  HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00",
		post(TwilioStatusPath+id, "Content-Length: -1\r\n\r\n"),
		post(TwilioStatusPath+id, "Content-Length: 99999999999999\r\nX-Twilio-Signature: x\r\n\r\nabc"),
		post(TwilioStatusPath+id, "Transfer-Encoding: chunked\r\nX-Twilio-Signature: x\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n"),
		post(TwilioStatusPath+id, "Content-Length: 3\r\nX-Twilio-Signature: x\r\n\r\n%zz"),
		post(TwilioStatusPath+id, "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"),
		post(TwilioStatusPath+"%00%ff%2e%2e", "Content-Length: 0\r\nX-Twilio-Signature: x\r\n\r\n"),
		post(TwilioStatusPath+strings.Repeat("a", 5000), "\r\n"),
		post(TwilioStatusPath+"../../etc/passwd", "\r\n"),
		post(TwilioInboundPath+"?"+strings.Repeat("%3B;&=", 500), "X-Twilio-Signature: \x7f\r\nContent-Length: 1\r\n\r\n;"),
		post(TwilioInboundPath, "Expect: 100-continue\r\nX-Twilio-Signature: "+strings.Repeat("A", 28)+"\r\nContent-Length: 1\r\n\r\na"),
		post(SendGridPath, strings.Repeat("X-A: b\r\n", 2000)+"\r\n"),
		post(SendGridPath, sendGridSignature+": AAAA\r\n"+sendGridTimestamp+": -1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]"),
		post(SendGridPath, sendGridSignature+": "+strings.Repeat("A", 9000)+"\r\n"+sendGridTimestamp+": 1\r\nContent-Length: 2\r\n\r\n[]"),
		post("/hooks/\\x/é", "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
	}
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	round := func(n int) {
		for i := range n {
			s := shapes[i%len(shapes)]
			if i >= len(shapes) { // and something broken in it
				b := []byte(s)
				b[rng.IntN(len(b))] ^= byte(1 << rng.IntN(8))
				s = string(b)
			}
			// Of these two net/http says by itself that it does not speak so.
			code, _, _ := strings.Cut(strings.TrimPrefix(shout(t, h.Addr(), s), "HTTP/1.1 "), " ")
			if strings.HasPrefix(code, "5") && code != "501" && code != "505" {
				t.Fatalf("%q is answered with %s", s, code)
			}
		}
	}
	round(500)
	before := heapBytes()
	round(2000)
	if after := heapBytes(); after > before+4<<20 {
		t.Errorf("it grew from %d to %d bytes", before, after)
	}
	if w := h.tell(smsNotice(1, 1), 1, statusForm("SM1", "delivered", "")); w != http.StatusNoContent {
		t.Errorf("the door is shut: %d", w)
	}
	if _, messages := h.stored(); messages != 1 || h.count("http_panics_total") != 0 {
		t.Errorf("%d messages are stored, %v panics", messages, h.count("http_panics_total"))
	}
	if lines := strings.Count(h.logs.String(), "\n"); lines > 5 {
		t.Errorf("%d lines are logged: %s", lines, h.logs)
	}
}

// shout sends bytes and returns the beginning of the answer.
func shout(t *testing.T, addr, s string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, s)
	_ = c.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(io.LimitReader(c, 200)) // a cut connection is an answer too
	return fmt.Sprintf("%.30s", b)
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
