package timeline

import (
	"time"

	"candor/pkg/playbook"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

// hours are when a channel may reach the customers of a zone.
type hours struct {
	rule window.Rule
	loc  *time.Location
	// call says that a message begins within the hours, and nobody knows how long all of them take.
	call bool
}

// channel says when a channel of some words may go out, and how long that takes at the approved pace. Rows that were added
// since make it longer.
func (b *Builder) channel(ch candorv1.Channel, terms *playbook.Terms, plan *candorv1.WavePlan) channel {
	calls := ch == candorv1.Channel_CHANNEL_CALL
	rule := terms.Quiet()
	if c := b.in.Plan.Playbook.Calls; calls && c != nil {
		rule = c.Hours
	}
	known := map[string]hours{}
	return channel{channel: ch, work: b.work(ch, plan), hours: func(zone string) hours {
		h, ok := known[zone]
		if !ok {
			h = hours{rule: rule, loc: location(zone), call: calls}
			known[zone] = h
		}
		return h
	}}
}

// work is how long the slowest sender of a channel needs for everybody whom the approved plan counts.
func (b *Builder) work(ch candorv1.Channel, plan *candorv1.WavePlan) time.Duration {
	var seconds float64
	for _, c := range plan.GetChannels() {
		if c.GetChannel() != ch {
			continue
		}
		for _, s := range c.GetSenders() {
			if !s.GetStandBy() {
				seconds = max(seconds, s.GetSeconds())
			}
		}
	}
	if planned := b.in.Incident.Draft.GetPlan().GetPeople().GetCustomers(); planned > 0 {
		seconds *= float64(b.in.Incident.OnFile().GetCustomers()) / float64(planned)
	}
	return time.Duration(seconds * float64(time.Second))
}

// window is when a message that is due reaches somebody, the last one of all who wait for the same senders included: it
// begins when the hours are open, goes on for as long as the work takes, and never beyond the hours. What does not fit into
// one day goes on in the next. It is false if the hours never come.
func (h hours) window(due time.Time, work, slack time.Duration) (from, until time.Time, ok bool) {
	from, ok = h.rule.Next(due, h.loc)
	if !ok {
		return from, until, false
	}
	for at := from; ; {
		end, ends := h.rule.Until(at, h.loc)
		switch {
		case !ends && h.call:
			return from, at.Add(24 * time.Hour), true
		case !ends || !at.Add(work+slack).After(end) && !h.call:
			return from, at.Add(work + slack), true
		case h.call || !at.Add(work).After(end):
			return from, end, true
		}
		work -= end.Sub(at)
		if at, ok = h.rule.Next(end, h.loc); !ok {
			return from, end, true
		}
	}
}

// location knows every zone that a roster lets pass; anything else counts as UTC.
func location(zone string) *time.Location {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return time.UTC
	}
	return loc
}
