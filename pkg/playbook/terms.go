package playbook

import (
	"cmp"
	"slices"
	"time"

	"candor/pkg/roster"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

// Terms are on what terms a channel sends.
type Terms struct {
	QuietHours window.Rule `yaml:"quiet_hours"`
	// OverrideQuietHours is for a notice too urgent to wait; it is part of what is approved.
	OverrideQuietHours bool `yaml:"override_quiet_hours,optional"`
	// RetryFor is how long definite failures are tried again.
	RetryFor  time.Duration `yaml:"retry_for"`
	Uncertain Uncertain     `yaml:"uncertain,optional"`
	// After makes the channel a step of the ladder: it is for those whom the wave's earlier channels have not reached so long
	// after they began, and at once for those whom they cannot reach. 0 begins with the wave.
	After time.Duration `yaml:"after,optional"`
	// Unless says what counts as reached, Delivered or Accepted; it is empty for a channel that begins with the wave.
	Unless string `yaml:"unless,optional"`
}

// What Terms.Unless may say.
const (
	Delivered = "delivered"
	Accepted  = "accepted"
)

// Quiet returns the quiet hours that hold: those written down, or none if they are overridden.
func (t *Terms) Quiet() window.Rule {
	if t.OverrideQuietHours {
		return window.None()
	}
	return t.QuietHours
}

// Step reports whether the channel is a step of the ladder, and does not begin with the wave.
func (t *Terms) Step() bool { return t.After > 0 }

// Uncertain is what becomes of a notice that may have been sent: it is kept for a person, or sent again some time later.
type Uncertain struct {
	ResendAfter time.Duration // 0 keeps it
}

// String returns the policy as it is written in a playbook.
func (u Uncertain) String() string {
	if u.ResendAfter == 0 {
		return "keep"
	}
	return "resend after " + u.ResendAfter.String()
}

// Terms returns those of a channel of the wave; nil if the wave is not sent there.
func (w *Wave) Terms(ch candorv1.Channel) *Terms {
	switch {
	case ch == candorv1.Channel_CHANNEL_SMS && w.Channels.SMS != nil:
		return &w.Channels.SMS.Terms
	case ch == candorv1.Channel_CHANNEL_EMAIL && w.Channels.Email != nil:
		return &w.Channels.Email.Terms
	case ch == candorv1.Channel_CHANNEL_CALL && w.Channels.Call != nil:
		return &w.Channels.Call.Terms
	}
	return nil
}

// Each yields the channels of a wave with their terms, always in the same order: first those that begin with the wave, then
// the steps of its ladder as they follow.
func (w *Wave) Each(yield func(candorv1.Channel, *Terms) bool) {
	var channels []candorv1.Channel
	for _, ch := range roster.Channels() {
		if w.Terms(ch) != nil {
			channels = append(channels, ch)
		}
	}
	slices.SortStableFunc(channels, func(a, b candorv1.Channel) int { return cmp.Compare(w.Terms(a).After, w.Terms(b).After) })
	for _, ch := range channels {
		if !yield(ch, w.Terms(ch)) {
			return
		}
	}
}
