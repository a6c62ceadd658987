package email

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/clock"
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
	mu   sync.Mutex
	sent []provider.Email
	// answer is what becomes of a recipient; nil accepts.
	answer func(provider.Recipient) provider.Outcome
}

func (c *carrier) SendEmail(_ context.Context, m *provider.Email, _ time.Time) []provider.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := *m
	kept.Recipients = append([]provider.Recipient(nil), m.Recipients...)
	c.sent = append(c.sent, kept)
	out := make([]provider.Outcome, len(m.Recipients))
	for i, r := range m.Recipients {
		out[i] = provider.Outcome{Class: provider.Accepted, ID: "of " + r.ID}
		if c.answer != nil {
			out[i] = c.answer(r)
		}
	}
	return out
}

func (c *carrier) say(o provider.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = func(provider.Recipient) provider.Outcome { return o }
}

// told returns how often each mailbox was sent to.
func (c *carrier) told() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := map[string]int{}
	for _, e := range c.sent {
		for _, r := range e.Recipients {
			m[r.To.Reveal()]++
		}
	}
	return m
}

type optOuts map[string]bool

func (o optOuts) Has(_ candorv1.Channel, a suppression.Address) bool { return o[a.Reveal()] }

func (o optOuts) Version() uint64 { return uint64(len(o)) }

var now = time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)

func starter(t testing.TB, name string) string {
	t.Helper()
	b, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newRound(t testing.TB, c provider.EmailSender, stopped optOuts, batch int, customers ...roster.Customer) *round {
	t.Helper()
	cfg := DefaultConfig()
	cfg.InFlight = 4
	s := New(cfg, []Route{{Name: SendGrid, Provider: c}}, notice.NewLibrary(), stopped, ids, showing(func() time.Time { return now }), zerolog.Nop())
	return ready(t, s, declaration(t, batch), customers...)
}

// showing is a clock that shows what now says.
func showing(now func() time.Time) clock.Clock { return clock.Clock{}.On(now, nil) }

var ids = noticeid.New([]byte("0123456789abcdef0123456789abcdef"))

// declaration has the starter playbook, with requests of a size and a relay beside SendGrid.
func declaration(t testing.TB, batch int) *candorv1.Declaration {
	t.Helper()
	const relay = "\n  smtp:\n    from: relay@northwind.example\n    from_name: Northwind Power\n    reply_to: help@northwind.example\n    messages_per_sec: 20"
	return &candorv1.Declaration{
		Incident: "acme-2026", Facts: starter(t, "facts.yaml"),
		Playbook: strings.Replace(starter(t, "playbook.yaml"), "batch: 500", fmt.Sprintf("batch: %d%s", batch, relay), 1),
	}
}

func ready(t testing.TB, s *Sender, d *candorv1.Declaration, customers ...roster.Customer) *round {
	t.Helper()
	r, err := s.Ready(dispatch.Page{
		Key:      journal.Key{Channel: channel, Incident: "acme-2026", Wave: "w0"},
		Incident: &incident.Incident{ID: "acme-2026", Draft: &candorv1.Drafted{Declaration: d, PlanHash: incident.Hash(d)}},
		Roster:   &roster.Page{TimeZone: "America/New_York", Language: "en", Customers: customers},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.(*round)
}

func people(n int) []roster.Customer {
	var list []roster.Customer
	for i := range n {
		c := roster.Customer{
			Ref: fmt.Sprint(i), Code: fmt.Sprintf("COD-%03d", i), GivenName: pii.NewName(fmt.Sprintf("Name%d", i)), Language: "en",
			Email: pii.NewEmail(fmt.Sprintf("p%d@example.com", i)),
		}
		if i%2 == 1 { // who lost a card reads another text
			card, _ := roster.ParseDataKind("payment_card")
			c.Data = c.Data.With(card)
		}
		list = append(list, c)
	}
	return list
}

func stride(n int) dispatch.Stride {
	s := dispatch.Stride{Attempt: 1, Provider: SendGrid, Sender: "x", SendBefore: now.Add(time.Minute), At: now, Halted: func() bool { return false }}
	for i := range n {
		s.Slots, s.Address = append(s.Slots, uint32(i)), append(s.Address, 0)
	}
	return s
}

func TestRequestsHoldOneVariantAndNoMoreThanTheBatch(t *testing.T) {
	t.Parallel()
	c := &carrier{}
	r := newRound(t, c, nil, 3, people(10)...)
	out := r.Send(t.Context(), stride(10))
	if len(c.sent) != 4 { // 5 of each variant, at most 3 a request
		t.Errorf("%d requests, want 4", len(c.sent))
	}
	told := map[string]bool{}
	for _, m := range c.sent {
		if len(m.Recipients) > 3 {
			t.Errorf("a request for %d", len(m.Recipients))
		}
		for _, rec := range m.Recipients {
			if told[rec.To.Reveal()] {
				t.Errorf("somebody is in two requests")
			}
			told[rec.To.Reveal()] = true
		}
	}
	if len(told) != 10 {
		t.Errorf("%d people in the requests, want 10", len(told))
	}
	for i, o := range out {
		if o.Class != provider.Accepted || o.ID == "" {
			t.Errorf("slot %d: %+v", i, o)
		}
	}
}

// What the provider makes of text and values is what the preview renders.
func TestTheProviderPutsTogetherWhatThePreviewShows(t *testing.T) {
	t.Parallel()
	c := &carrier{}
	list := people(2)
	list[0].GivenName = pii.NewName(`Ana "[%code%]" <b>`)
	r := newRound(t, c, nil, 100, list...)
	r.Send(t.Context(), stride(2))
	byMailbox := map[string]*roster.Customer{}
	for i := range list {
		byMailbox[list[i].Email.Reveal()] = &list[i]
	}
	for _, m := range c.sent {
		for _, rec := range m.Recipients {
			var pairs []string
			for i, tag := range m.Vars {
				pairs = append(pairs, tag, rec.Values[i])
			}
			subst := strings.NewReplacer(pairs...)
			subject, text, html, err := r.text.RenderEmail(byMailbox[rec.To.Reveal()])
			if err != nil {
				t.Fatal(err)
			}
			if subst.Replace(m.Subject) != subject || subst.Replace(m.Text) != text || subst.Replace(m.HTML) != html {
				t.Errorf("what the provider puts together is not what the preview shows")
			}
		}
	}
}

func TestStopIsLookedUpBeforeEachRequest(t *testing.T) {
	t.Parallel()
	c := &carrier{}
	stopped := optOuts{}
	r := newRound(t, c, stopped, 100, people(4)...)
	stopped["p2@example.com"] = true
	out := r.Send(t.Context(), stride(4))
	if out[2].Suppressed != roster.OptedOut {
		t.Errorf("outcome = %+v, want it suppressed", out[2])
	}
	for _, m := range c.sent {
		for _, rec := range m.Recipients {
			if rec.To.Reveal() == "p2@example.com" {
				t.Error("somebody who said STOP is in a request")
			}
		}
	}
}

// One customer whose values are too long does not sink the request of the others.
func TestValuesThatAreTooLongAreThatCustomersDefect(t *testing.T) {
	t.Parallel()
	c := &carrier{}
	list := people(3)
	list[1].GivenName = pii.NewName(strings.Repeat("x", 20_000))
	r := newRound(t, c, nil, 100, list...)
	out := r.Send(t.Context(), stride(3))
	if out[1].Class != provider.Defect || out[0].Class != provider.Accepted || out[2].Class != provider.Accepted {
		t.Errorf("outcomes = %v %v %v, want the middle one a defect and the others accepted", out[0].Class, out[1].Class, out[2].Class)
	}
}

func TestPaceCountsRecipients(t *testing.T) {
	t.Parallel()
	r := newRound(t, &carrier{}, nil, 500, people(1)...)
	if p := r.Pace(0, 0); p.PerSec != 100*500 || p.Units != 1 || p.Provider != SendGrid {
		t.Errorf("pace = %+v, want 100 requests of 500 a second", p)
	}
}

// An addition has the texts and terms of the wave that it adds to.
func TestAdditionUsesItsBase(t *testing.T) {
	t.Parallel()
	s := New(DefaultConfig(), []Route{{Name: SendGrid, Provider: &carrier{}}}, notice.NewLibrary(), optOuts{}, ids, showing(func() time.Time { return now }), zerolog.Nop())
	d := declaration(t, 100)
	p := dispatch.Page{
		Key: journal.Key{Channel: channel, Incident: "acme-2026", Wave: "w0-r1"},
		Incident: &incident.Incident{
			ID: "acme-2026", Draft: &candorv1.Drafted{Declaration: d, PlanHash: incident.Hash(d)},
			Additions: map[string]*incident.Addition{"w0-r1": {AdditionDrafted: &candorv1.AdditionDrafted{Addition: &candorv1.Addition{Wave: "w0-r1", Base: "w0"}}}},
		},
		Roster: &roster.Page{TimeZone: "America/New_York", Language: "en", Customers: people(1)},
	}
	added, err := s.Ready(p)
	if err != nil {
		t.Fatal(err)
	}
	first := ready(t, s, d, people(1)...)
	if string(added.Terms().TextHash) != string(first.Terms().TextHash) {
		t.Error("the addition has another text")
	}
	p.Key.Wave = "w0-r2"
	if _, err := s.Ready(p); err == nil {
		t.Error("a wave that nobody has heard of is ready")
	}
}
