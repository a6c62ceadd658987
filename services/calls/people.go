package calls

import (
	"fmt"
	"time"

	"candor/pkg/callqueue"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/suppression"
	candorv1 "candor/proto/candor/v1"
)

const channel = candorv1.Channel_CHANNEL_CALL

// people tells the queue what it may know of customers: no name, and numbers as hashes. It belongs to one goroutine.
type people struct {
	zones *roster.CallZones
	stops *suppression.Set
	// known are the zones that a list of names stands for, by its first name: the lists are shared.
	known map[*string][]*time.Location
}

func newPeople(stops *suppression.Set) (*people, error) {
	zones, err := roster.NewCallZones()
	if err != nil {
		return nil, fmt.Errorf("time zones of numbers: %w", err)
	}
	return &people{zones: zones, stops: stops, known: map[*string][]*time.Location{}}, nil
}

// facts tells of one customer, and which of their numbers were opted out of calls.
func (p *people) facts(c *roster.Customer, languages *playbook.Languages) (f callqueue.Facts, closed []uint64) {
	f = callqueue.Facts{Language: languages.Language(c.Language)}
	if ok, reason := c.Usable(channel); !ok {
		f.Suppressed = reason
	}
	left := false
	for _, phone := range c.Phones {
		names, certain := p.zones.Of(c, phone)
		hash := p.stops.Number(phone)
		if p.stops.Has(channel, phone) {
			closed = append(closed, hash)
		} else {
			left = true
		}
		f.Numbers = append(f.Numbers, hash)
		f.Zones = append(f.Zones, p.locations(names))
		f.Uncertain = append(f.Uncertain, !certain)
	}
	if f.Suppressed == "" && !left {
		f.Suppressed = roster.OptedOut
	}
	return f, closed
}

func (p *people) locations(names []string) []*time.Location {
	if known, ok := p.known[&names[0]]; ok {
		return known
	}
	zones := make([]*time.Location, 0, len(names))
	for _, name := range names {
		loc, err := time.LoadLocation(name)
		if err != nil {
			loc = time.UTC // the roster has checked its zones; another machine's table may lack one
		}
		zones = append(zones, loc)
	}
	p.known[&names[0]] = zones
	return zones
}
