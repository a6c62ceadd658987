// Package sms tells customers by text message.
//
// In:  order.sms.>   Out: journal.sms.>, later.sms.>, the provider
// Crash: as package dispatch says; a message that may have been sent is looked up by its number and the customer's code. One
// whose receipt did not come is looked up by its id.
package sms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"candor/pkg/dispatch"
	"candor/pkg/notice"
	"candor/pkg/noticeid"
	"candor/pkg/playbook"
	"candor/pkg/provider"
	"candor/pkg/receipt"
	"candor/pkg/roster"
	"candor/pkg/segment"
	"candor/pkg/suppression"
	candorv1 "candor/proto/candor/v1"
)

const channel = candorv1.Channel_CHANNEL_SMS

// Provider hands over text messages and knows what it was handed, and what became of it.
type Provider interface {
	provider.SMSSender
	provider.SMSLookup
	Poller
}

// Poller tells the status of a message by its id, in the provider's own words, and its error code, 0 without one.
type Poller interface {
	PollSMS(ctx context.Context, id string) (status string, code int, err error)
}

// Suppressions says who has opted out.
type Suppressions interface {
	Has(ch candorv1.Channel, a suppression.Address) bool
	// Version changes whenever another answer of Has may.
	Version() uint64
}

// Sender is the courier of text messages.
type Sender struct {
	provider Provider
	texts    *notice.Library
	stopped  Suppressions
	ids      *noticeid.Codec
	now      func() time.Time
	gate     *dispatch.Gate
	lag      time.Duration
}

// New returns a Sender that has at most cfg.InFlight requests under way, over all pages.
func New(cfg Config, p Provider, texts *notice.Library, stopped Suppressions, ids *noticeid.Codec, now func() time.Time) *Sender {
	return &Sender{provider: p, texts: texts, stopped: stopped, ids: ids, now: now, gate: dispatch.NewGate(cfg.InFlight), lag: cfg.ClockSkew}
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
	if wave == nil || wave.Channels.SMS == nil {
		return nil, fmt.Errorf("the playbook has no text messages in wave %s", base)
	}
	if pb.Providers.Twilio == nil || len(pb.Providers.Twilio.Senders) == 0 {
		return nil, errors.New("the playbook names no sender of text messages")
	}
	zone, err := time.LoadLocation(p.Roster.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("time zone of the page: %w", err)
	}
	hash := text.Hash()
	return &round{
		Sender: s, page: p, text: text.Dated(s.now().In(zone)), twilio: pb.Providers.Twilio,
		terms: dispatch.Terms{
			TextHash: hash[:], Quiet: wave.Channels.SMS.Quiet(), Zone: zone, RetryBudget: wave.Channels.SMS.RetryFor,
			ResendUncertainAfter: wave.Channels.SMS.Uncertain.ResendAfter,
		},
		bodies: make([]body, len(p.Roster.Customers)), asked: make([]asked, len(p.Roster.Customers)),
	}, nil
}

// round is one page of text messages. It is used by one goroutine, but for what Send starts: each of those has a slot to itself.
type round struct {
	*Sender
	page   dispatch.Page
	text   *notice.Text
	twilio *playbook.Twilio
	terms  dispatch.Terms
	bodies []body
	asked  []asked
}

// asked says that the customer's number had not been opted out at a version of the list.
type asked struct {
	version uint64
	address int
	ok      bool
}

// body is a customer's text, rendered once.
type body struct {
	text     string
	segments int
}

func (r *round) Terms() dispatch.Terms { return r.terms }

func (r *round) customer(slot uint32) *roster.Customer { return &r.page.Roster.Customers[slot] }

func (r *round) Addresses(slot uint32) int { return int(r.customer(slot).TextPhones) }

func (r *round) Suppressed(slot uint32, address int) string {
	now := asked{version: r.stopped.Version(), address: address, ok: true}
	if r.asked[slot] == now {
		return ""
	}
	c := r.customer(slot)
	if ok, reason := c.Usable(channel); !ok {
		return reason
	}
	if address < r.Addresses(slot) && r.stopped.Has(channel, c.Phones[address]) {
		return roster.OptedOut
	}
	r.asked[slot] = now
	return ""
}

func (r *round) body(slot uint32) body {
	b := &r.bodies[slot]
	if b.text == "" {
		b.text = r.text.SMS(r.customer(slot))
		b.segments = segment.Count(b.text).Segments
	}
	return *b
}

// Pace picks the sender by the customer's country, and among several by the customer, so that each keeps one sender.
func (r *round) Pace(slot uint32, _ int) dispatch.Pace {
	c := r.customer(slot)
	senders := r.twilio.For(c.Country)
	if len(senders) == 0 {
		senders = r.twilio.Senders
	}
	s := senders[playbook.SenderOf(c.Code, len(senders))]
	return dispatch.Pace{Sender: s.From, PerSec: s.SegmentsPerSec, Units: r.body(slot).segments}
}

// Send hands over one message for each slot, as many at a time as are free.
func (r *round) Send(ctx context.Context, s dispatch.Stride) []dispatch.Outcome {
	out := make([]dispatch.Outcome, len(s.Slots))
	r.gate.Each(len(out), func(i int) { out[i] = r.send(ctx, s, i) })
	return out
}

// send hands over the message for one place of the stride. It touches nothing of the round but what belongs to that slot.
func (r *round) send(ctx context.Context, s dispatch.Stride, i int) (out dispatch.Outcome) {
	slot, address := s.Slots[i], s.Address[i]
	// STOP may have come since the stride was chosen.
	if out.Suppressed = r.Suppressed(slot, address); out.Suppressed != "" {
		return out
	}
	if out.Halted = s.Halted(); out.Halted {
		return out
	}
	var id [96]byte
	key := noticeid.Key{Incident: r.page.Key.Incident, Wave: r.page.Key.Wave, Channel: channel, Page: r.page.Key.Page, Slot: slot}
	out.Outcome = r.provider.SendSMS(ctx, provider.SMS{
		ID: string(r.ids.Append(id[:0], key, s.Attempt)), To: r.customer(slot).Phones[address], From: s.Sender, Body: r.body(slot).text,
	}, s.SendBefore)
	return out
}

// Find asks the provider for messages to the customers' numbers, and takes the one that carries the customer's code.
// The code tells two members of a household apart; the time tells this wave from an earlier one.
func (r *round) Find(ctx context.Context, doubts []dispatch.Doubt) []dispatch.Finding {
	out := make([]dispatch.Finding, len(doubts))
	var g errgroup.Group
	const asksAtOnce = 16
	g.SetLimit(asksAtOnce)
	for i, d := range doubts {
		g.Go(func() error {
			c := r.customer(d.Slot)
			found, err := r.provider.FindSMS(ctx, c.Phones[d.Address], d.Since.Add(-r.lag).Truncate(time.Second))
			if err != nil {
				out[i].Err = err
				return nil //nolint:nilerr // one that cannot be asked about does not stop the others
			}
			// Newest first; the oldest match is the one in doubt, since nothing is sent twice.
			slices.Reverse(found)
			for _, f := range found {
				if strings.Contains(f.Body, c.Code) {
					out[i].ID = f.ID
					break
				}
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no errors
	return out
}

// Poll asks the provider what became of messages whose receipts did not come.
func (r *round) Poll(ctx context.Context, asked []dispatch.Poll) []dispatch.Word {
	out := make([]dispatch.Word, len(asked))
	r.gate.Each(len(asked), func(i int) {
		status, code, err := r.provider.PollSMS(ctx, asked[i].ID)
		if err != nil {
			out[i].Err = err
			return
		}
		word, ok := receipt.Twilio(status, code)
		if !ok || word.Result == candorv1.Result_RESULT_ACCEPTED {
			return // still on its way
		}
		out[i].Result, out[i].Reason = word.Result, word.Reason
		if word.RetryIn > 0 {
			out[i].RetryAt = r.now().Add(word.RetryIn)
		}
	})
	return out
}
