// Package email tells customers by e-mail.
//
// In:  order.email.>   Out: journal.email.>, later.email.>, the provider
// Crash: as package dispatch says; an e-mail that may have been sent is kept as uncertain, since there is nobody to ask. It is
// never sent through another provider: the journal lets a notice go on only after a definite failure. Which provider works is
// known by each process for itself, and found out anew after a start.
package email

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/clock"
	"candor/pkg/dispatch"
	"candor/pkg/notice"
	"candor/pkg/noticeid"
	"candor/pkg/provider"
	"candor/pkg/roster"
	"candor/pkg/suppression"
	candorv1 "candor/proto/candor/v1"
)

const channel = candorv1.Channel_CHANNEL_EMAIL

// Suppressions says who has opted out.
type Suppressions interface {
	Has(ch candorv1.Channel, a suppression.Address) bool
	// Version changes whenever another answer of Has may.
	Version() uint64
}

// Sender is the courier of e-mails.
type Sender struct {
	routes  []Route
	health  *health
	texts   *notice.Library
	stopped Suppressions
	ids     *noticeid.Codec
	clock   clock.Clock
	log     zerolog.Logger
	gate    *dispatch.Gate
	share   int
}

// New returns a Sender that has at most cfg.InFlight requests under way, over all pages. The routes are in order of preference.
func New(cfg Config, routes []Route, texts *notice.Library, stopped Suppressions, ids *noticeid.Codec, c clock.Clock, log zerolog.Logger) *Sender {
	return &Sender{
		routes: routes, health: newHealth(cfg.Failover, len(routes)), texts: texts, stopped: stopped, ids: ids, clock: c, log: log,
		gate: dispatch.NewGate(cfg.InFlight), share: cfg.SharedIntent,
	}
}

// Ready prepares a page.
func (s *Sender) Ready(p dispatch.Page) (dispatch.Round, error) {
	set, base, err := s.texts.Of(p.Incident, p.Key.Wave)
	if err != nil {
		return nil, err
	}
	text, err := set.Text(base, channel, p.Roster.Language)
	if err != nil {
		return nil, err
	}
	pb := set.Playbook
	wave := pb.Waves[base]
	if wave == nil || wave.Channels.Email == nil {
		return nil, fmt.Errorf("the playbook has no e-mails in wave %s", base)
	}
	ways, usable := s.approved(&pb.Providers)
	if len(usable) == 0 {
		return nil, errors.New("the playbook names no sender of e-mails that this installation has")
	}
	zone, err := time.LoadLocation(p.Roster.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time zone of the page: %w", err)
	}
	hash := text.Hash()
	return &round{
		Sender: s, page: p, text: text.Dated(s.clock.Now().In(zone)), ways: ways, usable: usable,
		terms: dispatch.Terms{
			TextHash: hash[:], StrideSlots: max(ways[usable[0]].batch, s.share), Quiet: wave.Channels.Email.Quiet(), Zone: zone, RetryBudget: wave.Channels.Email.RetryFor,
			ResendUncertainAfter: wave.Channels.Email.Uncertain.ResendAfter,
		},
		asked: make([]uint64, len(p.Roster.Customers)),
	}, nil
}

// round is one page of e-mails.
type round struct {
	*Sender
	page   dispatch.Page
	text   *notice.Text
	ways   []way // by the number of the route
	usable []int // the numbers of those that the playbook has, in order of preference
	terms  dispatch.Terms
	// How the next stride goes, once somebody asked, and the version of the health that said so.
	ticket  ticket
	version uint64
	chosen  bool
	// By slot: one more than the version of the list at which the mailbox had not been opted out, 0 if nobody asked.
	asked []uint64
}

func (r *round) Terms() dispatch.Terms { return r.terms }

func (r *round) customer(slot uint32) *roster.Customer { return &r.page.Roster.Customers[slot] }

// Addresses is at most one: a customer has one mailbox.
func (r *round) Addresses(uint32) int { return 1 }

func (r *round) Suppressed(slot uint32, _ int) string {
	now := r.stopped.Version() + 1
	if r.asked[slot] == now {
		return ""
	}
	c := r.customer(slot)
	if ok, reason := c.Usable(channel); !ok {
		return reason
	}
	if r.stopped.Has(channel, c.Email) {
		return roster.OptedOut
	}
	r.asked[slot] = now
	return ""
}

// Pace counts recipients.
func (r *round) Pace(uint32, int) dispatch.Pace {
	w := r.way()
	p := dispatch.Pace{Provider: w.Name, Sender: w.from, PerSec: w.perSec, Units: 1}
	if r.ticket.claim != 0 && (p.PerSec == 0 || p.PerSec > trialPerSec) {
		p.PerSec = trialPerSec
	}
	return p
}

// Send makes requests of at most the playbook's batch, each of customers who read the same text.
func (r *round) Send(ctx context.Context, s dispatch.Stride) []dispatch.Outcome {
	out := make([]dispatch.Outcome, len(s.Slots))
	w, t, ok := r.named(s.Provider)
	if !ok {
		for i := range out {
			out[i].Outcome = provider.Outcome{Class: provider.Misconfigured, Reason: "no_such_route"}
		}
		return out
	}
	requests := r.requests(s, w.batch)
	verdicts := make([]verdict, len(requests))
	reasons := make([]string, len(requests))
	r.gate.Each(len(requests), func(i int) {
		if r.left(t) {
			// What fails in doubt stays in doubt: the rest of the stride is better sent by the next one.
			for _, n := range requests[i].places {
				out[n].Outcome = provider.Outcome{Class: provider.NotSent, Reason: "not_begun"}
			}
			return
		}
		m, places := r.mail(s, w, requests[i], out)
		if len(places) == 0 {
			return
		}
		outcomes := w.Provider.SendEmail(ctx, m, s.SendBefore)
		for i, o := range outcomes {
			out[places[i]].Outcome = o
		}
		verdicts[i], reasons[i] = judge(outcomes)
		if t.claim == 0 {
			r.heard(t, verdicts[i], reasons[i], r.clock.Machine())
		}
	})
	if t.claim != 0 {
		v, reason := trial(verdicts, reasons)
		r.heard(t, v, reason, r.clock.Machine())
	}
	return out
}

// trial makes one verdict of those of a trial's requests: it must not fail at all.
func trial(verdicts []verdict, reasons []string) (v verdict, reason string) {
	for i := range verdicts {
		if verdicts[i] == fails {
			return fails, reasons[i]
		}
		v = max(v, verdicts[i])
	}
	return v, ""
}

// request is places in a stride whose customers read the same text.
type request struct {
	variant notice.VariantKey
	places  []int
}

// requests splits the stride by variant and size.
func (r *round) requests(s dispatch.Stride, batch int) []request {
	var alike []*request
	byVariant := map[notice.VariantKey]*request{}
	var q *request // neighbours are mostly alike
	for i, slot := range s.Slots {
		v := r.text.Variant(r.customer(slot))
		if q == nil || q.variant != v {
			if q = byVariant[v]; q == nil {
				q = &request{variant: v, places: make([]int, 0, len(s.Slots)-i)}
				byVariant[v] = q
				alike = append(alike, q)
			}
		}
		q.places = append(q.places, i)
	}
	var list []request
	for _, q := range alike {
		for places := range slices.Chunk(q.places, batch) {
			list = append(list, request{variant: q.variant, places: places})
		}
	}
	return list
}

// mail makes one request, leaving out those who must not be sent to after all: STOP or
// a pause may have come since the stride was chosen. It returns the places of those who are in it.
func (r *round) mail(s dispatch.Stride, w *way, q request, out []dispatch.Outcome) (*provider.Email, []int) {
	if s.Halted() {
		for _, i := range q.places {
			out[i].Halted = true
		}
		return nil, nil
	}
	e := r.text.Email(q.variant)
	m := &provider.Email{
		From: w.from, FromName: w.fromName, ReplyTo: w.replyTo,
		Subject: e.Subject, Text: e.Text, HTML: e.HTML, Vars: e.Vars,
		Recipients: make([]provider.Recipient, 0, len(q.places)),
	}
	key := noticeid.Key{
		Incident: r.page.Key.Incident, Wave: r.page.Key.Wave, Channel: channel, Page: r.page.Key.Page,
	}
	values := make([]string, 0, len(q.places)*len(e.Vars))
	in := make([]int, 0, len(q.places))
	var id [96]byte
	for _, i := range q.places {
		if out[i].Suppressed = r.Suppressed(s.Slots[i], s.Address[i]); out[i].Suppressed != "" {
			continue
		}
		c := r.customer(s.Slots[i])
		from := len(values)
		all, err := r.text.Values(q.variant, c, values)
		if err != nil {
			// Nothing of theirs can be sent; the others of the request are told.
			out[i].Outcome = provider.Outcome{Class: provider.Defect, Reason: "values_too_long"}
			continue
		}
		values = all
		key.Slot = s.Slots[i]
		in = append(in, i)
		m.Recipients = append(m.Recipients, provider.Recipient{
			ID: string(r.ids.Append(id[:0], key, s.Attempt)), To: c.Email, Values: values[from:len(values):len(values)],
		})
	}
	return m, in
}
