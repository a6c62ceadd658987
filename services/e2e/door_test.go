package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Twilio's choice
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/noticeid"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
	"candor/services/bench"
	"candor/services/frontdoor"
	"candor/services/sandbox"
)

// What the hostile requests carry, in the hope that it is written down somewhere.
const (
	strangerPhone = "+14155550973"
	strangerEmail = "eve.stranger@nowhere.example"
)

// The front door runs with a key that opens no page, and a NATS user that may do little.
func TestTheFrontDoorStandsAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.startSandbox("{listen: '127.0.0.1:0'}")
	s.hear()
	nats, services := s.split()
	door := services["frontdoor"]
	var lent []string
	err := filepath.WalkDir(s.lent["frontdoor"], func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			lent = append(lent, filepath.Base(path))
		}
		return err
	})
	if slices.Sort(lent); err != nil || !slices.Equal(lent, []string{"door.key", "frontdoor.seed"}) {
		t.Fatalf("the front door sees %v, %v", lent, err)
	}
	const customers = 500
	fates := rough()
	v, err := s.driver.Tell(t.Context(), bench.Story{Incident: "door", Customers: customers, EmailBatch: 100, Receipts: &fates}, s.truth)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, v, customers)
	english, _ := synthetic(t, customers)
	for _, words := range []string{"STOP", "CALL"} {
		if err := s.truth.Reply(t.Context(), english[len(words)], words); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
	if err := s.truth.Reply(t.Context(), english[0], "STOP"); err != nil {
		t.Error(err)
	}
	st, err := await(t, s.driver, "door", func(st *candorv1.Status) bool {
		return channelOf(st, candorv1.Channel_CHANNEL_SMS).GetOptedOut() == 2
	})
	if err != nil {
		t.Fatalf("%v: %v", err, st)
	}

	broker := s.connect(nats.NATS, "api")
	receipts := func() uint64 {
		t.Helper()
		state, err := broker.State(t.Context(), topology.StreamReceipts)
		if err != nil {
			t.Fatal(err)
		}
		return state.Last
	}
	before := receipts()
	s.forge(t)
	siege(t, s.door, door)
	if after := receipts(); after != before {
		t.Errorf("%d receipts were written by nobody", after-before)
	}
	called(t, s.driver, "door", 1)
	if v, err = s.driver.Verify(t.Context(), "door", s.truth); err != nil {
		t.Fatal(err)
	}
	agree(t, v, customers)
	for name, p := range services {
		said := p.said()
		for _, word := range []string{strangerPhone[1:], strangerPhone[2:], strangerEmail, url.QueryEscape(strangerEmail), "eve.stranger"} {
			if strings.Contains(said, word) {
				t.Errorf("%s has logged %s", name, word)
			}
		}
		if strings.Contains(said, "panic") {
			t.Errorf("%s panicked", name)
		}
	}
}

// forge sends what is right in everything but its signature; it is refused. The same with its signature is taken, or the test
// shows nothing.
func (s *site) forge(t *testing.T) {
	t.Helper()
	v, err := vault.Open(s.keys(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	id := string(noticeid.New(v.IDKey()).Append(nil, noticeid.Key{Incident: "door", Wave: "w0", Channel: candorv1.Channel_CHANNEL_SMS}, 1))
	token := sandbox.DefaultConfig().Twilio.AuthToken.Reveal()
	target := s.door + frontdoor.TwilioStatusPath + id
	// It says nothing that is kept.
	form := url.Values{"AccountSid": {sandbox.DefaultAccountSID}, "MessageSid": {"SM1"}, "MessageStatus": {"queued"}, "To": {strangerPhone}}
	sign := func(token, target string, form url.Values) string {
		text := target
		for _, key := range slices.Sorted(maps.Keys(form)) {
			text += key + form.Get(key)
		}
		m := hmac.New(sha1.New, []byte(token))
		_, _ = io.WriteString(m, text) // a hash never fails
		return base64.StdEncoding.EncodeToString(m.Sum(nil))
	}
	undelivered := maps.Clone(form)
	undelivered.Set("MessageStatus", "undelivered")
	undelivered.Set("ErrorCode", "30005")
	good := sign(token, target, form)
	c := httpClient(t)
	for _, tt := range []struct {
		name, target, signature string
		form                    url.Values
		want                    int
	}{
		{"genuine", target, good, form, http.StatusNoContent},
		{"another's key", target, sign("x"+token, target, undelivered), undelivered, http.StatusForbidden},
		{"no signature", target, "", undelivered, http.StatusForbidden},
		{"another's words", target, good, undelivered, http.StatusForbidden},
		{"another place", target + "?x=1", good, form, http.StatusForbidden},
		{"another id", target + "x", sign(token, target+"x", undelivered), undelivered, http.StatusForbidden},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tt.target, strings.NewReader(tt.form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Twilio-Signature", tt.signature)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close() // only its status is of interest
		if res.StatusCode != tt.want {
			t.Errorf("%s: %s, want %d", tt.name, res.Status, tt.want)
		}
	}
}

// rss is how much memory a process has.
func rss(t *testing.T, p *process) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// siege throws at a front door whatever does not belong there, three times the same: after that it stands, and has not grown.
func siege(t *testing.T, door string, p *process) {
	t.Helper()
	const requests, attackers, mayGrow = 1500, 6, 16 << 20
	statuses := map[int]int{}
	var mu sync.Mutex
	var grown [3]int
	for round := range grown {
		var wg sync.WaitGroup
		for n := range attackers {
			wg.Go(func() {
				a := newAttacker(t, door, uint64(n)) //nolint:gosec // small
				for range requests / attackers {
					status := a.attack()
					mu.Lock()
					statuses[status]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if runtime.GOOS == "linux" {
			grown[round] = rss(t, p)
		}
	}
	select {
	case <-p.ended:
		t.Fatalf("the front door has fallen: %v", p.status)
	default:
	}
	t.Logf("answers by status, 0 for none: %v; memory after each round: %v", statuses, grown)
	for status, n := range statuses {
		if status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable || status/100 == 2 {
			t.Errorf("%d requests were answered with %d", n, status)
		}
	}
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusBadRequest} {
		if statuses[status] == 0 {
			t.Errorf("nothing was answered with %d", status)
		}
	}
	if more := grown[2] - grown[1]; more > mayGrow {
		t.Errorf("the same requests once more took %d bytes more", more)
	}
}

// attacker makes one bad request after the other; the same seed makes the same ones.
type attacker struct {
	t    *testing.T
	door string
	addr string
	http *http.Client
	rnd  *rand.Rand
}

func newAttacker(t *testing.T, door string, seed uint64) *attacker {
	return &attacker{t: t, door: door, addr: strings.TrimPrefix(door, "http://"), http: httpClient(t), rnd: rand.New(rand.NewPCG(seed, 10))} //nolint:gosec // repeatable, not secret
}

// attack makes a request and returns the status of the answer, 0 if there was none.
func (a *attacker) attack() int {
	paths := []string{
		frontdoor.TwilioStatusPath + "YQ.1.AAAAAAAAAAAAAAAA", frontdoor.TwilioStatusPath + strings.Repeat("A", 3000), frontdoor.TwilioInboundPath,
		frontdoor.SendGridPath, frontdoor.TwilioStatusPath, "/", "/metrics/../hooks", "/hooks/%00", "/v1/incidents", frontdoor.SendGridPath + "?email=" + strangerEmail,
	}
	methods := []string{http.MethodPost, http.MethodPost, http.MethodPost, http.MethodGet, http.MethodPut, http.MethodDelete, "BREW"}
	bodies := []func() []byte{
		func() []byte { return nil },
		func() []byte { return []byte("From=" + url.QueryEscape(strangerPhone) + "&Body=STOP&MessageSid=SM1") },
		func() []byte { return []byte("From=%zz" + strangerPhone + ";;&&&=&=") },
		func() []byte {
			return fmt.Appendf(nil, `[{"email":%q,"event":"bounce","candor_id":"YQ.1.AAAAAAAAAAAAAAAA"}]`, strangerEmail)
		},
		func() []byte { return []byte(`[{"email":"` + strangerEmail + `","event":`) },
		func() []byte { return bytes.Repeat([]byte("["), 100_000) },
		func() []byte { return bytes.Repeat([]byte("a=b&"), 300_000) },
		func() []byte {
			b := make([]byte, a.rnd.IntN(4000))
			for i := range b {
				b[i] = byte(a.rnd.IntN(256)) //nolint:gosec // a byte
			}
			return append(b, strangerEmail...)
		},
	}
	path, method, body := paths[a.rnd.IntN(len(paths))], methods[a.rnd.IntN(len(methods))], bodies[a.rnd.IntN(len(bodies))]()
	switch a.rnd.IntN(20) {
	case 0: // cut off in the middle
		return a.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nX-Twilio-Signature: x\r\nContent-Length: %d\r\n\r\n", method, path, len(body)+10), body[:len(body)/2], true)
	case 1: // no HTTP at all
		return a.raw(strangerPhone+" \x00\xff\r\n\r\n", nil, false)
	case 2: // endless headers
		return a.raw("POST "+path+" HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat(strangerEmail, 3000)+"\r\n\r\n", nil, false)
	case 3: // chunks that are none
		return a.raw("POST "+path+" HTTP/1.1\r\nHost: x\r\nX-Twilio-Signature: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", body[:min(len(body), 1000)], false)
	case 4: // two lengths
		return a.raw("POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", []byte("xx"), false)
	}
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.door+path, bytes.NewReader(body))
	if err != nil {
		a.t.Error(err)
		return 0
	}
	if a.rnd.IntN(4) > 0 { // what is not signed is not even read
		req.Header.Set("X-Twilio-Signature", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, sha1.Size)))
		req.Header.Set("X-Twilio-Email-Event-Webhook-Signature", base64.StdEncoding.EncodeToString([]byte(strangerEmail)))
		req.Header.Set("X-Twilio-Email-Event-Webhook-Timestamp", strconv.FormatInt(time.Now().Unix(), 10))
	}
	req.Header.Set("Content-Type", []string{"application/json", "application/x-www-form-urlencoded", strangerEmail}[a.rnd.IntN(3)])
	res, err := a.http.Do(req)
	if err != nil {
		return 0 // refused in the middle of a body that is too large
	}
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection can be used again
	_ = res.Body.Close()
	return res.StatusCode
}

// raw writes bytes to a connection of its own.
func (a *attacker) raw(head string, body []byte, hangUp bool) int {
	conn, err := new(net.Dialer).DialContext(a.t.Context(), "tcp", a.addr)
	if err != nil {
		a.t.Errorf("the front door takes no connection: %v", err)
		return 0
	}
	defer func() { _ = conn.Close() }() // whatever became of it
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(append([]byte(head), body...)); err != nil || hangUp {
		return 0
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = res.Body.Close() // only its status is of interest
	return res.StatusCode
}

// Whoever sends nothing more, or a byte now and then, is not waited for.
func TestTheFrontDoorDoesNotWaitForTheSlow(t *testing.T) {
	t.Parallel()
	p := play(t, nil)
	addr := strings.TrimPrefix(p.app.FrontdoorURL(), "http://")
	var wg sync.WaitGroup
	for _, head := range []string{
		"POST " + frontdoor.TwilioInboundPath + " HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"POST " + frontdoor.TwilioInboundPath + " HTTP/1.1\r\nHost: x\r\nX-Twilio-Signature: x\r\nContent-Length: 1000\r\n\r\nFrom=",
		"POST " + frontdoor.SendGridPath + " HTTP/1.1\r\nHost: x\r\nX-Twilio-Email-Event-Webhook-Signature: x\r\nX-Twilio-Email-Event-Webhook-Timestamp: 1\r\nContent-Length: 1000\r\n\r\n[",
	} {
		for _, drip := range []bool{false, true} {
			wg.Go(func() {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }() // it is closed already
				_ = conn.SetDeadline(time.Now().Add(patience))
				if _, err := io.WriteString(conn, head); err != nil {
					t.Error(err)
					return
				}
				closed := make(chan error, 1)
				go func() {
					_, err := io.Copy(io.Discard, conn)
					closed <- err
				}()
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for {
					select {
					case err := <-closed:
						if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // as it comes from the connection
							t.Errorf("%q, a byte now and then %t: still waited for", head[:30], drip)
						}
						return
					case <-tick.C:
						if drip {
							_, _ = conn.Write([]byte("x")) // an error shows at the other end
						}
					}
				}
			})
		}
	}
	wg.Wait()
}
