package frontdoor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"candor/pkg/pii"
	candorv1 "candor/proto/candor/v1"
)

// trickle opens connections that send the beginning of a request each, and then a byte of its body now and then until the test
// ends. It returns when all of them are being read.
func (h *house) trickle(rd *road, n int, header string) {
	h.Helper()
	var all []net.Conn
	for range n {
		c, err := net.Dial("tcp", h.Addr()) //nolint:noctx // a test
		if err != nil {
			h.Fatal(err)
		}
		all = append(all, c)
	}
	start(h, func(ctx context.Context) error {
		for _, c := range all {
			_, _ = io.WriteString(c, header+"Host: x\r\nContent-Length: 60000\r\n\r\n")
		}
		for ctx.Err() == nil {
			for _, c := range all {
				_, _ = io.WriteString(c, "B")
			}
		}
		for _, c := range all {
			_ = c.Close()
		}
		return nil
	})
	for rd.requests.Load() < int64(n) && h.count("requests_total", rd.name, "busy") == 0 {
		runtime.Gosched()
	}
}

// 150 slow requests without any secret took all the slots there are, and a customer's STOP was turned away until Twilio gave it
// up.
func TestSlowSocketsDoNotKeepOutASTOP(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	h.trickle(h.texted, 3*inboundInHand, "POST "+TwilioInboundPath+" HTTP/1.1\r\n"+twilioSignature+": x\r\n")
	h.trickle(h.mails, 3*sendGridInHand, "POST "+SendGridPath+" HTTP/1.1\r\n"+sendGridSignature+": x\r\n"+sendGridTimestamp+": 1\r\n")
	if code, answer := h.text(inboundForm("SM1", "STOP")); code != http.StatusOK || answer == "" || !h.suppressed() {
		t.Errorf("%d %q, suppressed: %v", code, answer, h.suppressed())
	}
	unsubscribe := events(h, ev{"unsubscribe", mailNotice(1, 2), "m.x", map[string]any{"email": "bo@example.com"}})
	if code := h.mail(unsubscribe); code != http.StatusOK || !h.Suppressions.Has(candorv1.Channel_CHANNEL_EMAIL, pii.NewEmail("bo@example.com")) {
		t.Errorf("an e-mail's opt-out: %d", code)
	}
	if texts, mails := h.texted.requests.Load(), h.mails.requests.Load(); texts <= inboundInHand || mails <= sendGridInHand {
		t.Errorf("only %d and %d of the slow ones are left", texts, mails)
	}
}

// ticking is a body that a machine's clock goes on by a second with each byte of.
type ticking struct {
	h *house
	n int
}

func (b *ticking) Read(p []byte) (int, error) {
	b.n++
	b.h.texted.now = func() time.Time { return noon.Add(time.Duration(b.n) * time.Second) }
	p[0] = 'B'
	return 1, nil
}

func TestABodyThatTricklesInIsCutOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	body := &ticking{h: h}
	r := twilioRequest(TwilioInboundPath, "", "x")
	r.Body, r.ContentLength = io.NopCloser(body), 900
	w := h.send(r)
	if w.Code != http.StatusRequestTimeout || body.n > 5 {
		t.Errorf("%d after %d bytes, one a second", w.Code, body.n)
	}
	if h.count("requests_total", roadInbound, "too_slow") != 1 || h.texted.requests.Load() != 0 {
		t.Error("it is not counted, or kept")
	}
}

// Over a real connection: one that says no more is not waited for longer than a moment.
func TestABodyThatStopsComingIsCutOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	request := "POST " + TwilioInboundPath + " HTTP/1.1\r\n" + twilioSignature + ": x\r\nHost: x\r\nContent-Length: 900\r\n\r\nB"
	c, err := net.Dial("tcp", h.Addr()) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 408") {
		t.Errorf("%.60q, %v", b, err)
	}
}

func TestWhatIsTurnedAwayIsCountedAndLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, verdict, remedy string
		code                  int
		prepare               func(*house)
		form                  string
	}{
		{"too many are coming in", "crowded", "proxy", 503, func(h *house) { h.texted.mostRequests = 0 }, inboundForm("SM1", "STOP")},
		{"no memory for a long one", "crowded", "proxy", 503, func(h *house) { h.texted.mostBytes = 1000 }, inboundForm("SM1", strings.Repeat("STOP ", 1000))},
		{"too many signed ones", "busy", "another front door", 503, func(h *house) { h.texted.slots = make(chan struct{}) }, inboundForm("SM1", "STOP")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			tt.prepare(h)
			now := noon
			h.texted.now = func() time.Time { return now }
			send := func() {
				t.Helper()
				if code, _ := h.text(tt.form); code != tt.code {
					t.Fatalf("answered with %d", code)
				}
			}
			send()
			send()
			send()
			if n := strings.Count(h.logs.String(), "front door turns requests away"); n != 1 {
				t.Errorf("logged %d times in a minute: %s", n, h.logs)
			}
			now = now.Add(time.Minute)
			send()
			said := h.logs.String()
			if strings.Count(said, "front door turns requests away") != 2 || !strings.Contains(said, `"requests":3`) || !strings.Contains(said, tt.remedy) ||
				!strings.Contains(said, fmt.Sprintf(`"verdict":%q`, tt.verdict)) {
				t.Errorf("it says %s", said)
			}
			if h.count("requests_total", roadInbound, tt.verdict) != 4 || h.texted.requests.Load() != 0 || h.texted.bytes.Load() != 0 || len(h.texted.slots) != 0 {
				t.Error("it is not counted, or kept")
			}
			if h.suppressed() {
				t.Error("what was turned away was done")
			}
			nothingPersonal(h)
		})
	}
}
