package sms

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"candor/pkg/dispatch"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/noticeid"
	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/provider"
	"candor/pkg/roster"
	"candor/pkg/suppression"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// carrier is a provider that keeps what it was handed.
type carrier struct {
	mu      sync.Mutex
	sent    []provider.SMS
	listed  map[string][]provider.Found // by number
	findErr error
	status  map[string]string // by id
}

func (c *carrier) PollSMS(_ context.Context, id string) (status string, code int, err error) {
	status, ok := c.status[id]
	if !ok {
		return "", 0, errors.New("http 404")
	}
	if status == "undelivered" {
		code = 30003
	}
	return status, code, nil
}

func (c *carrier) SendSMS(_ context.Context, m provider.SMS, _ time.Time) provider.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, m)
	return provider.Outcome{Class: provider.Accepted, ID: "SM" + m.ID}
}

func (c *carrier) FindSMS(_ context.Context, to pii.Phone, since time.Time) ([]provider.Found, error) {
	if c.findErr != nil {
		return nil, c.findErr
	}
	var found []provider.Found
	for _, f := range c.listed[to.Reveal()] {
		if !f.Created.Before(since) {
			found = append(found, f)
		}
	}
	return found, nil
}

// optOuts are the numbers of people who said STOP.
type optOuts map[string]bool

func (o optOuts) Has(_ candorv1.Channel, a suppression.Address) bool { return o[a.Reveal()] }

func (o optOuts) Version() uint64 { return uint64(len(o)) }

var now = time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)

func starter(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newRound(t *testing.T, c *carrier, stopped optOuts, customers ...roster.Customer) *round {
	t.Helper()
	return newRoundOf(t, "w0", c, stopped, customers...)
}

func newRoundOf(t *testing.T, wave string, c *carrier, stopped optOuts, customers ...roster.Customer) *round {
	t.Helper()
	cfg := DefaultConfig()
	cfg.InFlight = 4
	s := New(cfg, c, notice.NewLibrary(), stopped, noticeid.New([]byte("0123456789abcdef0123456789abcdef")), func() time.Time { return now })
	d := &candorv1.Declaration{Incident: "acme-2026", Playbook: starter(t, "playbook.yaml"), Facts: starter(t, "facts.yaml")}
	r, err := s.Ready(dispatch.Page{
		Key: journal.Key{Channel: channel, Incident: "acme-2026", Wave: wave},
		Incident: &incident.Incident{
			ID: "acme-2026", Draft: &candorv1.Drafted{Declaration: d, PlanHash: incident.Hash(d)},
			Additions: map[string]*incident.Addition{"w0-r1": {AdditionDrafted: &candorv1.AdditionDrafted{
				Addition: &candorv1.Addition{Wave: "w0-r1", Base: "w0"}, Hash: []byte("addition"),
			}}},
		},
		Roster: &roster.Page{TimeZone: "America/New_York", Language: "en", Customers: customers},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.(*round)
}

func customer(code, country string, phones ...string) roster.Customer {
	c := roster.Customer{Ref: code, Code: code, GivenName: pii.NewName("Ana"), Country: country, TextPhones: uint8(len(phones)), Language: "en"}
	for _, p := range phones {
		c.Phones = append(c.Phones, pii.NewPhone(p))
	}
	return c
}

func stride(slots ...uint32) dispatch.Stride {
	return dispatch.Stride{Attempt: 1, Slots: slots, Address: make([]int, len(slots)), Sender: "+18005550142", SendBefore: now.Add(time.Minute), At: now, Halted: func() bool { return false }}
}

func TestEverySlotGetsItsOwnMessage(t *testing.T) {
	t.Parallel()
	c := &carrier{}
	r := newRound(t, c, nil, customer("AAA-AAA-AAA", "US", "+12125550100"), customer("BBB-BBB-BBB", "US", "+12125550101"), customer("CCC-CCC-CCC", "US", "+12125550102"))
	out := r.Send(t.Context(), stride(0, 1, 2))
	if len(c.sent) != 3 {
		t.Fatalf("%d messages, want 3", len(c.sent))
	}
	for i, o := range out {
		if o.Class != provider.Accepted {
			t.Errorf("slot %d: %+v", i, o)
		}
	}
	seen := map[string]string{}
	for _, m := range c.sent {
		seen[m.To.Reveal()] = m.Body
		if m.From != "+18005550142" || m.ID == "" {
			t.Errorf("message from %q with id %q", m.From, m.ID)
		}
	}
	for number, code := range map[string]string{"+12125550100": "AAA-AAA-AAA", "+12125550101": "BBB-BBB-BBB", "+12125550102": "CCC-CCC-CCC"} {
		if !strings.Contains(seen[number], code) {
			t.Errorf("the customer with code %s got another one's message", code)
		}
	}
}

func TestStopIsLookedUpBeforeEachRequest(t *testing.T) {
	t.Parallel()
	c := &carrier{}
	stopped := optOuts{}
	r := newRound(t, c, stopped, customer("AAA-AAA-AAA", "US", "+12125550100"), customer("BBB-BBB-BBB", "US", "+12125550101"))
	if why := r.Suppressed(1, 0); why != "" {
		t.Fatalf("suppressed for %q before anybody said so", why)
	}
	stopped["+12125550101"] = true
	out := r.Send(t.Context(), stride(0, 1))
	if out[1].Suppressed != roster.OptedOut || len(c.sent) != 1 {
		t.Errorf("outcome %+v, %d messages; want the second one suppressed", out[1], len(c.sent))
	}
}

// Two customers, one number, one text.
func TestTwoMembersOfAHouseholdAreToldApart(t *testing.T) {
	t.Parallel()
	const number = "+12125550100"
	c := &carrier{listed: map[string][]provider.Found{number: {
		{ID: "SM-new", Body: "… code AAA-AAA-AAA. STOP", Created: now.Add(time.Second)},
		{ID: "SM-other", Body: "… code ZZZ-ZZZ-ZZZ. STOP", Created: now.Add(time.Second)},
		{ID: "SM-old", Body: "… code BBB-BBB-BBB. STOP", Created: now.Add(-time.Hour)},
	}}}
	r := newRound(t, c, nil, customer("AAA-AAA-AAA", "US", number), customer("BBB-BBB-BBB", "US", number))
	got := r.Find(t.Context(), []dispatch.Doubt{{Slot: 0, Since: now}, {Slot: 1, Since: now}})
	if got[0].ID != "SM-new" {
		t.Errorf("the first member = %+v, want the message with their code", got[0])
	}
	if got[1].ID != "" || got[1].Err != nil {
		t.Errorf("the second member = %+v, want nothing: the message with their code is an earlier wave's", got[1])
	}
}

func TestALookUpThatFailsSaysNothing(t *testing.T) {
	t.Parallel()
	c := &carrier{findErr: errors.New("http 503")}
	r := newRound(t, c, nil, customer("AAA-AAA-AAA", "US", "+12125550100"))
	if got := r.Find(t.Context(), []dispatch.Doubt{{Slot: 0, Since: now}}); got[0].Err == nil || got[0].ID != "" {
		t.Errorf("finding = %+v, want the error", got[0])
	}
}

func TestTheSenderIsTheCountrys(t *testing.T) {
	t.Parallel()
	r := newRound(t, &carrier{}, nil, customer("AAA-AAA-AAA", "US", "+12125550100"), customer("BBB-BBB-BBB", "ES", "+34612345678"))
	if p := r.Pace(0, 0); p.Sender != "+18005550142" || p.PerSec != 25 || p.Units != 1 {
		t.Errorf("US = %+v", p)
	}
	if p := r.Pace(1, 0); !strings.HasPrefix(p.Sender, "MG") {
		t.Errorf("ES = %+v, want the sender for all other countries", p)
	}
}

func TestUnusableCustomersAreSuppressedWithTheReason(t *testing.T) {
	t.Parallel()
	none := customer("AAA-AAA-AAA", "US")
	out := customer("BBB-BBB-BBB", "US", "+12125550101")
	out.OptOut = out.OptOut.With(channel)
	leaked := customer("CCC-CCC-CCC", "US", "+12125550102")
	leaked.Compromised = leaked.Compromised.With(channel)
	r := newRound(t, &carrier{}, nil, none, out, leaked)
	for slot, want := range []string{roster.NoNumber, roster.OptedOut, roster.CompromisedChannel} {
		if got := r.Suppressed(uint32(slot), 0); got != want {
			t.Errorf("slot %d is suppressed for %q, want %q", slot, got, want)
		}
	}
}

// Two people approved the addition's people; its text is that of the wave it adds to.
func TestAnAdditionUsesTheTextOfItsBase(t *testing.T) {
	t.Parallel()
	c := customer("AAA-AAA-AAA", "US", "+12125550100")
	first, again := newRound(t, &carrier{}, nil, c), newRoundOf(t, "w0-r1", &carrier{}, nil, c)
	if a, b := first.Terms(), again.Terms(); !bytes.Equal(a.TextHash, b.TextHash) || a.RetryBudget != b.RetryBudget {
		t.Errorf("terms of the wave are %+v, of its addition %+v", a, b)
	}
	if a, b := first.body(0).text, again.body(0).text; a != b {
		t.Errorf("the wave says %q, its addition %q", a, b)
	}
}

func TestPollTellsFinalWordsOnly(t *testing.T) {
	t.Parallel()
	c := &carrier{status: map[string]string{"SM1": "delivered", "SM2": "sent", "SM3": "queued", "SM4": "undelivered"}}
	r := newRound(t, c, nil, customer("AAA-AAA-AAA", "US", "+12125550100"))
	var asked []dispatch.Poll
	for i, id := range []string{"SM1", "SM2", "SM3", "SM4", "SM5"} {
		asked = append(asked, dispatch.Poll{Slot: uint32(i), Attempt: 1, ID: id})
	}
	got := r.Poll(t.Context(), asked)
	for i, want := range []candorv1.Result{
		candorv1.Result_RESULT_DELIVERED, candorv1.Result_RESULT_UNSPECIFIED, candorv1.Result_RESULT_UNSPECIFIED,
		candorv1.Result_RESULT_UNDELIVERED_RETRY, candorv1.Result_RESULT_UNSPECIFIED,
	} {
		if got[i].Result != want {
			t.Errorf("%s: %v, want %v", asked[i].ID, got[i].Result, want)
		}
	}
	if got[3].Reason != "twilio_30003" || !got[3].RetryAt.After(now) {
		t.Errorf("undelivered: %+v", got[3])
	}
	if got[4].Err == nil {
		t.Error("a message that the provider does not know has no error")
	}
}
