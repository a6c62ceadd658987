package team

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/provider"
	"candor/pkg/team"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

// Stable words for messages that were not handed over, beside those of the providers.
const (
	noProvider = "no_provider"
	noSender   = "no_sender"
	noAddress  = "no_address"
	shredded   = "shredded"
	rateTaken  = "rate_taken"
)

const (
	// inDoubt is how often a message is handed over of which the provider did not say whether it was taken.
	inDoubt = 3
	// sendWithin bounds a hand-over with all its waits, before the order is given to somebody else.
	sendWithin = topology.AckWait - 5*time.Second
)

// message is one message to one address.
type message struct {
	alert    *candorv1.Alert
	to       team.Recipient
	reminder uint32
	plan     *plan
	address  string
	secret   string // of a hook
}

// tell works off one order.
//
// A crash before the message is handed over leaves the order in the queue. A crash after it, and before AlertSent is written
// down, has the colleague told a second time: better than not at all.
func (s *Service) tell(ctx context.Context, d *bus.Delivery) error {
	o := &candorv1.TeamOrder{}
	if err := proto.Unmarshal(d.Data, o); err != nil {
		return bus.Permanent(fmt.Errorf("order on %s is damaged: %w", d.Subject, err))
	}
	c, p, alerts := s.find(o.GetIncident())
	if c == nil {
		return nil // no team any more, or none that is known here yet: the next look orders what is due
	}
	m, err := s.message(ctx, c, p, alerts, o)
	if m == nil || err != nil {
		return err
	}
	failure, err := s.open(ctx, m)
	if err != nil {
		return err
	}
	if failure == "" {
		sctx, cancel := context.WithTimeout(ctx, sendWithin)
		out := s.send(sctx, m)
		cancel()
		if again(s.cfg.Tries, out.Class, d.Delivered) {
			return fmt.Errorf("tell the team by %s: %s, %s", m.to.Medium, out.Class, out.Reason)
		}
		if failure = out.Reason; out.Class == provider.Accepted {
			failure = ""
		}
	}
	if failure != "" {
		s.complain(m, failure)
	}
	return s.record(ctx, c, m, failure)
}

// again says whether a message that was not taken is tried once more.
func again(tries int, class provider.Class, delivered uint64) bool {
	switch class {
	case provider.NotSent:
		return delivered < uint64(tries)
	case provider.Unknown:
		return delivered < uint64(min(tries, inDoubt))
	}
	return false
}

// message is what an order asks for; nil if there is nothing to say any more.
func (s *Service) message(ctx context.Context, c *incidentCase, p *plan, alerts []*candorv1.Alert, o *candorv1.TeamOrder) (*message, error) {
	i := slices.IndexFunc(p.recipients, func(r team.Recipient) bool { return r.Medium == o.GetMedium() && r.Member == o.GetMember() })
	if i < 0 {
		return nil, nil // a newer draft has a smaller team
	}
	for _, a := range alerts {
		if a.GetId() == o.GetAlert() && a.GetOver() {
			return nil, nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Somebody may have acknowledged a moment ago, or told of it already.
	if err := s.events.CatchUp(ctx, c.board); err != nil {
		return nil, err
	}
	a := c.board.Alert(o.GetAlert())
	if a == nil {
		return nil, nil
	}
	reminder, due := a.Due(p.recipients[i].Mark, p.team, s.Clock.Now())
	if !due || reminder != o.GetReminder() {
		return nil, nil
	}
	return &message{alert: proto.CloneOf(a.Alert), to: p.recipients[i], reminder: reminder, plan: p}, nil
}

// open unseals the address. What can never be opened is a failure, and what cannot be read now an error.
func (s *Service) open(ctx context.Context, m *message) (failure string, err error) {
	sealed, err := s.Bus.Last(ctx, topology.StreamRoster, m.plan.addresses)
	if errors.Is(err, bus.ErrNotFound) {
		return noAddress, nil
	}
	if err != nil {
		return "", err
	}
	keys, err := s.Vault.Incident(m.alert.GetIncident())
	var plain []byte
	if err == nil {
		plain, err = keys.Open(m.plan.addresses, sealed.Data)
	}
	switch {
	case errors.Is(err, vault.ErrShredded):
		return shredded, nil
	case errors.Is(err, vault.ErrSealed):
		return noAddress, nil
	case err != nil:
		return "", err
	}
	all := &candorv1.TeamAddresses{}
	if proto.Unmarshal(plain, all) != nil {
		return noAddress, nil //nolint:nilerr // err is the one above, and nil
	}
	var ok bool
	if m.address, ok = all.GetAddresses()[m.to.Mark]; !ok {
		return noAddress, nil
	}
	if m.to.Secret != "" {
		if m.secret, ok = all.GetAddresses()[m.to.Secret]; !ok {
			return noAddress, nil
		}
	}
	return "", nil
}

// record writes down how a message fared.
func (s *Service) record(ctx context.Context, c *incidentCase, m *message, failure string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &candorv1.TeamEvent{Event: &candorv1.TeamEvent_Sent{
		Sent: &candorv1.AlertSent{Alert: m.alert.GetId(), Mark: m.to.Mark, Reminder: m.reminder, Failure: failure},
	}}
	if err := s.events.Decide(ctx, c.board, func() *candorv1.TeamEvent { return e }); err != nil {
		return fmt.Errorf("write down that the team was told: %w", err)
	}
	return nil
}

// complain logs a message that was not taken, by its mark and role.
func (s *Service) complain(m *message, failure string) {
	if failure == noProvider {
		if _, before := s.warned.LoadOrStore(m.to.Medium, true); before {
			return
		}
		s.Log.Error().Str("medium", m.to.Medium).Msg("this installation has no provider for messages to the team: set its account for the target team")
		return
	}
	s.Log.Error().Str("incident", m.alert.GetIncident()).Str("alert", m.alert.GetId()).Str("medium", m.to.Medium).Str("role", m.to.Role).
		Str("mark", m.to.Mark).Str("reason", failure).Msg("a member of the response team was not told: look at their address in the playbook, and tell them by other means")
}
