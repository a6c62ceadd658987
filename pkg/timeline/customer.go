package timeline

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/audience"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// Standing tells where one customer of an incident stands, from all their notices.
func Standing(inc *incident.Incident, notices []*candorv1.FoundNotice) Asked {
	return func(wave string, _ uint32, _ int) audience.States {
		var waves []string // none are all
		if wave != "" {
			waves = inc.Sharing(wave)
		}
		return func(ch candorv1.Channel) (best candorv1.NoticeState) {
			for _, n := range notices {
				if n.GetKey().GetChannel() == ch && (wave == "" || slices.Contains(waves, n.GetKey().GetWave())) &&
					journal.Weight(n.GetState()) > journal.Weight(best) {
					best = n.GetState()
				}
			}
			return best
		}
	}
}

// For makes the timeline that of one customer: what they got, and what they will get.
func (b *Builder) For(p *roster.Page, slot uint32, notices []*candorv1.FoundNotice, barred Barred) error {
	c := b.Counter(Standing(b.in.Incident, notices), barred)
	c.customer(p, int(slot))
	b.Add(c)
	var mine []*candorv1.TimelineEntry
	for _, e := range slices.Concat(b.past, b.coming) {
		if b.in.Incident.Waves[e.GetWave()] != nil {
			if err := b.got(e, p, slot, notices, barred); err != nil {
				return err
			}
		}
		e.Channels = slices.DeleteFunc(e.GetChannels(), func(c *candorv1.TimelineChannel) bool { return len(c.GetWindows()) == 0 && c.GetNotice() == 0 })
		if len(e.GetChannels()) > 0 {
			mine = append(mine, e)
		}
	}
	b.past, b.coming = mine, nil
	return nil
}

// got says where a customer's notices of a wave stand.
func (b *Builder) got(e *candorv1.TimelineEntry, p *roster.Page, slot uint32, notices []*candorv1.FoundNotice, barred Barred) error {
	customer := &p.Customers[slot]
	e.Channels, e.State = nil, candorv1.TimelineState_TIMELINE_STATE_PAST
	for _, n := range notices {
		if n.GetKey().GetWave() != e.GetWave() {
			continue
		}
		c := &candorv1.TimelineChannel{Channel: n.GetKey().GetChannel(), Notice: n.GetState()}
		e.Channels = append(e.Channels, c)
		w := &candorv1.TimelineWindow{TimeZone: p.TimeZone, Customers: 1}
		switch n.GetState() {
		case candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_DELIVERED:
			c.Customers = 1
			if at := acceptedAt(n); at != nil {
				w.From, w.Until = at, at
			}
		case candorv1.NoticeState_NOTICE_STATE_PLANNED, candorv1.NoticeState_NOTICE_STATE_WAITING, candorv1.NoticeState_NOTICE_STATE_INTENDED:
			if usable, _ := customer.Usable(c.GetChannel()); !usable || barred(c.GetChannel(), customer) {
				continue // nobody has looked at it yet, and then it is suppressed
			}
			e.State = candorv1.TimelineState_TIMELINE_STATE_RUNNING
			from, until, ok, err := b.still(e.GetWave(), c.GetChannel(), p.TimeZone)
			if err != nil {
				return err
			}
			if ok {
				w.From, w.Until = timestamppb.New(from), timestamppb.New(until)
			}
		case candorv1.NoticeState_NOTICE_STATE_UNCERTAIN:
			e.State = candorv1.TimelineState_TIMELINE_STATE_RUNNING
		}
		if w.GetFrom() != nil {
			c.Windows = []*candorv1.TimelineWindow{w}
		}
	}
	return nil
}

// still is when a notice can go out that has not.
func (b *Builder) still(wave string, ch candorv1.Channel, zone string) (from, until time.Time, ok bool, err error) {
	words, plan, err := b.words(wave, b.in.Incident.BaseOf(wave))
	if err != nil || words.Terms(ch) == nil {
		return from, until, false, err
	}
	c := b.channel(ch, words.Terms(ch), plan)
	from, until, ok = c.hours(zone).window(b.in.Now, c.work, b.in.Slack)
	return from, until, ok, nil
}

// acceptedAt is when a provider first took the notice.
func acceptedAt(n *candorv1.FoundNotice) *timestamppb.Timestamp {
	for _, e := range n.GetEvents() {
		if e.GetWhat() == "accepted" || e.GetWhat() == "delivered" {
			return e.GetAt()
		}
	}
	return nil
}
