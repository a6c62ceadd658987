package email

import (
	"slices"
	"time"

	"candor/pkg/playbook"
	"candor/pkg/provider"
)

// The routes that a playbook has sections for.
const (
	SendGrid = "sendgrid"
	SMTP     = "smtp"
)

// Route is a way for e-mails. A page uses those that its playbook has a section for.
type Route struct {
	Name     string
	Provider provider.EmailSender
}

// way is a route with what two people approved about it.
type way struct {
	*Route
	from, fromName, replyTo string
	perSec                  float64 // recipients
	batch                   int
}

// approved returns the playbook's ways by the number of the route, and the numbers in order of preference.
func (s *Sender) approved(p *playbook.Providers) (ways []way, usable []int) {
	ways = make([]way, len(s.routes))
	for i := range s.routes {
		w := way{Route: &s.routes[i]}
		switch {
		case w.Name == SendGrid && p.SendGrid != nil:
			g := p.SendGrid
			w.from, w.fromName, w.replyTo, w.batch = g.From, g.FromName, g.ReplyTo, g.Batch
			// A rate given in requests is turned into recipients by the size of a request.
			if w.perSec = g.RecipientsPerSec; w.perSec == 0 {
				w.perSec = g.RequestsPerSec * float64(g.Batch)
			}
		case w.Name == SMTP && p.SMTP != nil:
			m := p.SMTP
			w.from, w.fromName, w.replyTo, w.batch, w.perSec = m.From, m.FromName, m.ReplyTo, 1, m.MessagesPerSec
		default:
			continue
		}
		ways[i] = w
		usable = append(usable, i)
	}
	return ways, usable
}

// trialPerSec keeps a trial small: what a stride sends into the dark stays uncertain.
const trialPerSec = 5

// way returns the route of the next stride. It is the same for all slots of a stride, and chosen anew after each.
func (r *round) way() *way {
	if v := r.health.version.Load(); !r.chosen || v != r.version {
		r.ticket, r.version, r.chosen = r.health.pick(r.usable, r.clock.Machine()), v, true
	}
	return &r.ways[r.ticket.route]
}

// named returns the way of a stride and the ticket for it. The route may have changed since the stride was chosen; then what
// comes of the stride is not held for or against anybody.
func (r *round) named(name string) (*way, ticket, bool) {
	t, chosen := r.ticket, r.chosen
	r.chosen = false
	if chosen && r.ways[t.route].Name == name {
		return &r.ways[t.route], t, true
	}
	i := slices.IndexFunc(r.usable, func(n int) bool { return r.ways[n].Name == name })
	if i < 0 {
		return nil, ticket{}, false
	}
	return &r.ways[r.usable[i]], ticket{epoch: noEpoch}, true
}

// noEpoch is no route's.
const noEpoch = ^uint64(0)

// left says whether a stride's route was left since the stride was chosen.
func (s *Sender) left(t ticket) bool { return len(s.routes) > 1 && s.health.left(t) }

// heard passes a verdict on, and tells who watches when e-mails change their way.
func (s *Sender) heard(t ticket, v verdict, reason string, now time.Time) {
	if len(s.routes) < 2 {
		return
	}
	turn := s.health.heard(t, v, reason, now)
	switch {
	case turn == nil:
	case turn.left && turn.next < 0:
		s.log.Warn().Str("route", s.routes[turn.route].Name).Str("reason", turn.reason).Msg("every route of e-mails fails: the first is kept to")
	case turn.left:
		s.log.Warn().Str("route", s.routes[turn.route].Name).Str("reason", turn.reason).Str("next", s.routes[turn.next].Name).
			Dur("back_after", s.health.cfg.BackAfter).Msg("e-mails leave a route that fails")
	default:
		s.log.Info().Str("route", s.routes[turn.route].Name).Msg("e-mails may take a route again: its trials succeeded")
	}
}
