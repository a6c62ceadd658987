package timeline

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/audience"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// Counter counts who gets what comes. It belongs to one goroutine.
type Counter struct {
	rounds []*round
	asked  Asked
	barred Barred
	// zones counts customers, by round, channel and zone.
	zones [][]map[string]uint64
}

// Counter returns a new one.
func (b *Builder) Counter(asked Asked, barred Barred) *Counter {
	c := &Counter{rounds: b.rounds, asked: asked, barred: barred, zones: make([][]map[string]uint64, len(b.rounds))}
	for i, r := range b.rounds {
		for range r.channels {
			c.zones[i] = append(c.zones[i], map[string]uint64{})
		}
	}
	return c
}

// Page counts the customers of a page, who share a zone.
func (c *Counter) Page(p *roster.Page) {
	for slot := range p.Customers {
		c.customer(p, slot)
	}
}

func (c *Counter) customer(p *roster.Page, slot int) {
	cust := &p.Customers[slot]
	var known, reached roster.ChannelSet // an opt-out is looked up once for all rounds
	for i, r := range c.rounds {
		var states audience.States
		if r.asks {
			states = c.asked(r.of, p.Number, slot)
		}
		if !r.audience.Match(cust, states) {
			continue
		}
		for j := range r.channels {
			ch := r.channels[j].channel
			if !known.Has(ch) {
				known = known.With(ch)
				if usable, _ := cust.Usable(ch); usable && !c.barred(ch, cust) {
					reached = reached.With(ch)
				}
			}
			if reached.Has(ch) {
				c.zones[i][j][p.TimeZone]++
			}
		}
	}
}

// Add takes over what a Counter counted; it is not called at the same time from several goroutines.
func (b *Builder) Add(c *Counter) {
	for i, r := range b.rounds {
		for _, e := range r.entries {
			for j := range r.channels {
				b.addTo(e, &r.channels[j], c.zones[i][j])
			}
		}
	}
}

// addTo adds the customers of some zones to a channel of an entry.
func (b *Builder) addTo(e *candorv1.TimelineEntry, ch *channel, zones map[string]uint64) {
	at := slices.IndexFunc(e.GetChannels(), func(c *candorv1.TimelineChannel) bool { return c.GetChannel() == ch.channel })
	if at < 0 {
		at = len(e.GetChannels())
		e.Channels = append(e.Channels, &candorv1.TimelineChannel{Channel: ch.channel})
	}
	c := e.GetChannels()[at]
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		c.Customers += zones[zone]
		w := slices.IndexFunc(c.GetWindows(), func(w *candorv1.TimelineWindow) bool { return w.GetTimeZone() == zone })
		if w < 0 {
			w = len(c.GetWindows())
			window := &candorv1.TimelineWindow{TimeZone: zone}
			starts := b.starts[e]
			if from, until, ok := ch.hours(zone).window(starts.from, ch.work, b.in.Slack); ok {
				if starts.latest.After(starts.from) {
					_, until, _ = ch.hours(zone).window(starts.latest, ch.work, b.in.Slack)
				}
				window.From, window.Until = timestamppb.New(from), timestamppb.New(until)
			}
			c.Windows = append(c.Windows, window)
		}
		c.GetWindows()[w].Customers += zones[zone]
	}
	slices.SortStableFunc(c.GetWindows(), func(x, y *candorv1.TimelineWindow) int { return x.GetFrom().AsTime().Compare(y.GetFrom().AsTime()) })
}
