package frontdoor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // as Twilio signs
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/noticeid"
	"candor/pkg/playbook"
	"candor/pkg/suppression"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	publicURL = "https://hooks.example.com/candor"
	account   = "AC0123456789abcdef0123456789abcdef"
	token     = "atokenoftests"
	inc       = "northwind-2026"
	email     = candorv1.Channel_CHANNEL_EMAIL
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// house is a running front door with a real broker behind it.
type house struct {
	testing.TB
	*Frontdoor
	bus  *bus.Bus
	door *vault.Door
	key  *ecdsa.PrivateKey
	logs *logs
	reg  *prometheus.Registry
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newKey(t testing.TB) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, base64.StdEncoding.EncodeToString(der)
}

func testConfig(publicKey string) Config {
	cfg := DefaultConfig()
	cfg.Listen, cfg.PublicURL = "127.0.0.1:0", publicURL
	cfg.Twilio.AuthToken, cfg.Twilio.AccountSID = token, account
	cfg.SendGrid.PublicKey = publicKey
	cfg.BatchWait = time.Millisecond
	cfg.Twilio.AnswersWords = false // so that tests hear what we answer
	return cfg
}

// newHouse starts a front door that ends with the test.
func newHouse(t testing.TB, change ...func(*Config)) *house {
	t.Helper()
	return newHouseOn(t, bustest.New(t), change...)
}

func newHouseOn(t testing.TB, b *bus.Bus, change ...func(*Config)) *house {
	t.Helper()
	dir := t.TempDir()
	if err := vault.Init(dir); err != nil {
		t.Fatal(err)
	}
	h := &house{TB: t, bus: b, logs: &logs{}, reg: prometheus.NewRegistry()}
	log := zerolog.New(h.logs)
	v, err := vault.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	h.door = v.Door()
	key, public := newKey(t)
	h.key = key
	cfg := testConfig(public)
	for _, c := range change {
		c(&cfg)
	}
	stops, err := b.KV(t.Context(), topology.BucketSuppressions)
	if err != nil {
		t.Fatal(err)
	}
	replies, err := b.KV(t.Context(), topology.BucketReplies)
	if err != nil {
		t.Fatal(err)
	}
	d := Deps{
		Bus: b, Incidents: incident.NewRegistry(b), Suppressions: suppression.New(stops, h.door.SuppressionKey()),
		IDs: noticeid.New(h.door.IDKey()), Door: h.door, Replies: replies, Metrics: h.reg,
		Clock: clock.Clock{}.On(func() time.Time { return noon }, nil), Log: log,
	}
	if h.Frontdoor, err = New(cfg, d); err != nil {
		t.Fatal(err)
	}
	start(t, d.Incidents.Run)
	start(t, d.Suppressions.Run)
	start(t, h.Run)
	<-d.Incidents.Ready()
	<-d.Suppressions.Ready()
	return h
}

// start runs something until the test ends.
func start(t testing.TB, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// declare declares an incident with the starter's playbook, and waits until the front door knows.
func (h *house) declare(id string, at time.Time, edit func(pb string) string) {
	h.Helper()
	pb, err := fs.ReadFile(playbook.Starter(), "playbook.yaml")
	if err != nil {
		h.Fatal(err)
	}
	facts, err := fs.ReadFile(playbook.Starter(), "facts.yaml")
	if err != nil {
		h.Fatal(err)
	}
	d := &candorv1.Declaration{Incident: id, Playbook: edit(string(pb)), Facts: string(facts)}
	hash := incident.Hash(d)
	h.event(id, at, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1, Declaration: d, PlanHash: hash}}})
	h.event(id, at, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{PlanHash: hash}}})
}

func (h *house) event(id string, at time.Time, e *candorv1.BreachEvent) {
	h.Helper()
	log := incident.NewLog(h.bus, func() time.Time { return at })
	was, err := log.Load(h.Context(), id)
	if err != nil && !errors.Is(err, incident.ErrUnknown) {
		h.Fatal(err)
	}
	is, err := log.Append(h.Context(), was, incident.Actor{Token: "t", Person: "ana"}, e)
	if err != nil {
		h.Fatal(err)
	}
	for {
		changed := h.Incidents.Changed()
		if known := h.Incidents.Get(id); known != nil && known.Seq >= is.Seq {
			return
		}
		<-changed
	}
}

// signTwilio signs as Twilio does.
func signTwilio(secret, address, body string) string {
	values, err := url.ParseQuery(body)
	if err != nil {
		panic(err)
	}
	text := address
	for _, k := range slices.Sorted(maps.Keys(values)) {
		text += k + values[k][0]
	}
	mac := hmac.New(sha1.New, []byte(secret))
	_, _ = io.WriteString(mac, text)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signSendGrid signs as SendGrid does.
func signSendGrid(t testing.TB, key *ecdsa.PrivateKey, timestamp, body string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(timestamp + body))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

// twilioRequest is a request as Twilio makes it, behind a proxy that keeps the prefix of the public URL.
func twilioRequest(path, body, signature string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	r.Header.Set(twilioSignature, signature)
	return r
}

func (h *house) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	return w
}

func statusForm(sid, status, code string) string {
	v := url.Values{
		"MessageSid": {sid}, "SmsSid": {sid}, "MessageStatus": {status}, "SmsStatus": {status}, "AccountSid": {account},
		"From": {"+18005550142"}, "To": {"+15005550006"}, "ApiVersion": {"2010-04-01"},
	}
	if code != "" {
		v.Set("ErrorCode", code)
	}
	return v.Encode()
}

// tell sends a status callback for a notice and returns the HTTP status.
func (h *house) tell(k noticeid.Key, attempt uint32, body string) int {
	path := TwilioStatusPath + string(h.IDs.Append(nil, k, attempt))
	return h.send(twilioRequest(path, body, signTwilio(token, publicURL+path, body))).Code
}

// mail sends SendGrid's events.
func (h *house) mail(body string) int {
	timestamp := strconv.FormatInt(noon.Unix(), 10)
	return h.send(mailRequest(body, signSendGrid(h, h.key, timestamp, body), timestamp)).Code
}

func mailRequest(body, signature, timestamp string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, SendGridPath, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(sendGridSignature, signature)
	r.Header.Set(sendGridTimestamp, timestamp)
	return r
}

func smsNotice(page, slot uint32) noticeid.Key {
	return noticeid.Key{Incident: inc, Wave: "w0", Channel: sms, Page: page, Slot: slot}
}

func mailNotice(page, slot uint32) noticeid.Key {
	return noticeid.Key{Incident: inc, Wave: "w0", Channel: email, Page: page, Slot: slot}
}

// said is one fact as it lies in RECEIPTS.
type said struct {
	subject  string
	provider string
	attempt  uint32
	slot     uint32
	result   candorv1.Result
	reason   string
	retryIn  time.Duration
	id       string
}

// stored reads all of RECEIPTS: each fact and how often it was stored, and the number of messages.
func (h *house) stored() (facts map[said]int, messages int) {
	h.Helper()
	facts = map[said]int{}
	_, err := h.bus.Read(h.Context(), topology.StreamReceipts, "", 1, func(m bus.Stored) error {
		messages++
		for _, s := range entryFacts(h, m.Subject, m.Data) {
			facts[s]++
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return facts, messages
}

// entryFacts takes a *testing.T or a *rapid.T.
func entryFacts(t interface{ Fatalf(string, ...any) }, subject string, data []byte) (facts []said) {
	e := &candorv1.JournalEntry{}
	if err := proto.Unmarshal(data, e); err != nil {
		t.Fatalf("%v", err)
	}
	o := e.GetOutcomes()
	if e.GetEntryId() == 0 || o.GetDecider() != candorv1.Decider_DECIDER_RECEIPT || !e.GetOccurredAt().AsTime().Equal(noon) {
		t.Fatalf("entry %v", e)
	}
	for _, g := range o.GetGroups() {
		var retryIn time.Duration
		if g.GetRetryAt() != nil {
			retryIn = g.GetRetryAt().AsTime().Sub(noon)
		}
		ids, last := g.GetMessageIds(), ""
		for i := 0; i < len(g.GetSlots()); i += 2 {
			for n := g.GetSlots()[i]; n < g.GetSlots()[i]+g.GetSlots()[i+1]; n++ {
				if ids != "" {
					last, ids, _ = strings.Cut(ids, "\n")
				}
				facts = append(facts, said{subject, o.GetProvider(), o.GetAttempt(), n, g.GetResult(), g.GetReason(), retryIn, last})
			}
		}
	}
	return facts
}

// count returns a counter by name and labels' values.
func (h *house) count(name string, labels ...string) float64 {
	h.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		h.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() != "candor_frontdoor_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(values, l) }) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
