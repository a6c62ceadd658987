package team

import (
	"context"
	"errors"
	"time"

	"candor/pkg/bus"
	"candor/pkg/dispatch"
	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/provider"
	"candor/pkg/roster"
	"candor/pkg/segment"
	"candor/pkg/team"
)

// The providers as the limits name them: their senders' rates are shared with the notices.
const (
	twilio   = "twilio"
	sendGrid = "sendgrid"
	smtp     = "smtp"
)

func notSent(reason string) provider.Outcome {
	return provider.Outcome{Class: provider.NotSent, Reason: reason}
}

func refused(reason string) provider.Outcome {
	return provider.Outcome{Class: provider.Refused, Reason: reason}
}

// send hands a message over.
func (s *Service) send(ctx context.Context, m *message) provider.Outcome {
	switch m.to.Medium {
	case team.MediumSMS:
		return s.text(ctx, m)
	case team.MediumEmail:
		return s.mail(ctx, m)
	default:
		return s.post(ctx, m)
	}
}

// text sends a text message from a sender that customers of the member's country are told by. It carries no id, so that nobody
// calls back about it.
func (s *Service) text(ctx context.Context, m *message) provider.Outcome {
	if s.SMS == nil {
		return refused(noProvider)
	}
	to := pii.NewPhone(m.address)
	if m.plan.providers.Twilio == nil {
		return refused(noSender)
	}
	senders := m.plan.providers.Twilio.For(roster.PhoneCountry(to))
	if len(senders) == 0 {
		senders = m.plan.providers.Twilio.Senders
	}
	if len(senders) == 0 {
		return refused(noSender)
	}
	sender := senders[playbook.SenderOf(m.to.Mark, len(senders))]
	body := team.Message(m.alert, m.reminder)
	return s.paced(ctx, dispatch.LimitKey(twilio, sender.From), segment.Count(body).Segments, sender.SegmentsPerSec, func(ctx context.Context, sendBefore time.Time) provider.Outcome {
		return s.SMS.SendSMS(ctx, provider.SMS{To: to, From: sender.From, Body: body}, sendBefore)
	})
}

// mail sends an e-mail by the first way that takes it.
func (s *Service) mail(ctx context.Context, m *message) provider.Outcome {
	if len(s.Emails) == 0 {
		return refused(noProvider)
	}
	out := refused(noSender)
	for _, route := range s.Emails {
		e := &provider.Email{
			Subject: team.Subject(m.alert, m.reminder), Text: team.Message(m.alert, m.reminder) + "\n",
			Recipients: []provider.Recipient{{To: pii.NewEmail(m.address)}},
		}
		var perSec float64
		switch sg, relay := m.plan.providers.SendGrid, m.plan.providers.SMTP; {
		case route.Name == sendGrid && sg != nil:
			e.From, e.FromName, e.ReplyTo = sg.From, sg.FromName, sg.ReplyTo
			if perSec = sg.RecipientsPerSec; perSec == 0 {
				perSec = sg.RequestsPerSec * float64(sg.Batch)
			}
		case route.Name == smtp && relay != nil:
			e.From, e.FromName, e.ReplyTo, perSec = relay.From, relay.FromName, relay.ReplyTo, relay.MessagesPerSec
		default:
			continue
		}
		out = s.paced(ctx, dispatch.LimitKey(route.Name, e.From), 1, perSec, func(ctx context.Context, sendBefore time.Time) provider.Outcome {
			return route.Provider.SendEmail(ctx, e, sendBefore)[0]
		})
		if out.Class != provider.NotSent && out.Class != provider.Misconfigured {
			return out
		}
	}
	return out
}

// paced hands over when the sender's rate allows.
func (s *Service) paced(ctx context.Context, key string, units int, perSec float64, send func(context.Context, time.Time) provider.Outcome) provider.Outcome {
	wait, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if _, err := s.Limiter.Reserve(wait, key, max(units, 1), perSec); err != nil {
		if errors.Is(err, bus.ErrUnavailable) {
			return notSent("limits_unavailable")
		}
		return notSent(rateTaken)
	}
	ctx, done := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer done()
	out := send(ctx, s.Clock.Machine().Add(s.cfg.RequestTimeout))
	if out.Throttled {
		if err := s.Limiter.Push(ctx, key, s.Clock.Machine().Add(out.RetryAfter)); err != nil {
			s.Log.Warn().Err(err).Str("limit", key).Msg("provider asks for less, but the limit could not be moved")
		}
	}
	return out
}
