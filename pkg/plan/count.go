package plan

import (
	"errors"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/segment"
	candorv1 "candor/proto/candor/v1"
)

// counts is what one goroutine has counted.
type counts struct {
	of    []*wave
	waves []waveCounts
	// members belong to the first wave; reachable are those whom one of its channels reaches.
	members, reachable uint64
	// numbers are hashes of the numbers that will be texted, to find those that several customers share.
	seed    maphash.Seed
	numbers []uint64
}

type waveCounts struct{ channels []*channelCounts }

type channelCounts struct {
	notices    uint64
	pages      uint32
	suppressed map[string]uint64
	byLanguage map[string]uint64
	byTier     map[string]uint64
	byZone     map[string]uint64
	segments   map[string]*segmentCounts // by offered language
	cost       playbook.Money
	unpriced   uint64 // notices to countries without a price
	strangers  uint64 // notices to countries that no sender is meant for
	loads      map[loadKey]uint64
	routes     map[string]*route // by country
}

type loadKey struct {
	sender string
	tier   uint8
	zone   string
}

type segmentCounts struct {
	messages, segments, ucs2 uint64
	longest                  int
	forces                   map[rune]uint64
}

// route is how a country's customers are reached.
type route struct {
	senders []string // which share the customers
	own     bool     // some sender is meant for the country
	price   playbook.Money
	priced  bool
}

// sender picks one for a customer, the same one as the worker will.
func (r *route) sender(c *roster.Customer) string {
	return r.senders[playbook.SenderOf(c.Code, len(r.senders))]
}

func newCounts(waves []*wave) *counts {
	c := &counts{of: waves, waves: make([]waveCounts, len(waves)), seed: seed}
	for i, w := range waves {
		for range w.channels {
			c.waves[i].channels = append(c.waves[i].channels, &channelCounts{
				suppressed: map[string]uint64{}, byLanguage: map[string]uint64{}, byTier: map[string]uint64{}, byZone: map[string]uint64{},
				segments: map[string]*segmentCounts{}, loads: map[loadKey]uint64{}, routes: map[string]*route{},
			})
		}
	}
	return c
}

// seed makes the hashes of all goroutines comparable. Nothing writes it after start.
var seed = maphash.MakeSeed()

// page counts the customers of a page. They share tier, zone and language, so that most maps are touched once a page.
func (c *counts) page(pb *playbook.Playbook, p *roster.Page) {
	language := pb.Languages.Language(p.Language)
	members := make([]bool, len(p.Customers))
	for i, w := range c.of {
		if !w.open {
			continue
		}
		for j := range p.Customers {
			members[j] = w.member(p, j)
		}
		for j, ch := range w.channels {
			c.waves[i].channels[j].page(pb, p, members, ch, language)
		}
		if w.first {
			c.first(w, p, members)
		}
	}
}

// first counts people, for the first wave.
func (c *counts) first(w *wave, p *roster.Page, members []bool) {
	for i := range p.Customers {
		if !members[i] {
			continue
		}
		c.members++
		cust := &p.Customers[i]
		reached := false
		for _, ch := range w.channels {
			if ok, _ := cust.Usable(ch.channel); ok {
				reached = true
				if ch.channel == candorv1.Channel_CHANNEL_SMS {
					c.numbers = append(c.numbers, maphash.String(c.seed, cust.TextPhone().Reveal()))
				}
			}
		}
		if reached {
			c.reachable++
		}
	}
}

func (c *channelCounts) page(pb *playbook.Playbook, p *roster.Page, members []bool, ch *channel, language string) {
	text := ch.texts[language]
	var notices uint64
	units := map[string]uint64{} // by sender
	for i := range p.Customers {
		if !members[i] {
			continue
		}
		cust := &p.Customers[i]
		if ok, reason := cust.Usable(ch.channel); !ok {
			c.suppressed[reason]++
			continue
		}
		r := c.routes[cust.Country]
		if r == nil {
			r = new(routeOf(pb, ch.channel, cust.Country))
			c.routes[cust.Country] = r
		}
		n := uint64(1)
		if ch.channel == candorv1.Channel_CHANNEL_SMS {
			n = c.message(language, text, cust)
		}
		notices++
		c.cost += r.price * playbook.Money(n)
		if !r.priced {
			c.unpriced++
		}
		if !r.own {
			c.strangers++
		}
		if len(r.senders) > 0 {
			units[r.sender(cust)] += n
		}
	}
	// A page with members has an order, if only to settle who is suppressed and why.
	if slices.Contains(members, true) {
		c.pages++
	}
	if notices == 0 {
		return
	}
	c.notices += notices
	c.byLanguage[language] += notices
	c.byTier[strconv.Itoa(int(p.Tier))] += notices
	c.byZone[p.TimeZone] += notices
	for sender, n := range units {
		c.loads[loadKey{sender, p.Tier, p.TimeZone}] += n
	}
}

// message counts the segments of one customer's text.
func (c *channelCounts) message(language string, text *notice.Text, cust *roster.Customer) uint64 {
	s := c.segments[language]
	if s == nil {
		s = &segmentCounts{forces: map[rune]uint64{}}
		c.segments[language] = s
	}
	info := segment.Count(text.SMS(cust))
	s.messages++
	s.segments += uint64(info.Segments)
	s.longest = max(s.longest, info.Segments)
	if info.Encoding == segment.UCS2 {
		s.ucs2++
		s.forces[info.Forces]++
	}
	return uint64(info.Segments)
}

func routeOf(pb *playbook.Playbook, ch candorv1.Channel, country string) (r route) {
	switch twilio, sendgrid := pb.Providers.Twilio, pb.Providers.SendGrid; {
	case ch == candorv1.Channel_CHANNEL_SMS && twilio != nil:
		senders := twilio.For(country)
		if r.own = len(senders) > 0; !r.own {
			senders = twilio.Senders
		}
		for _, s := range senders {
			r.senders = append(r.senders, s.From)
		}
		r.price, r.priced = pb.Prices.ForSegment(country)
	case ch == candorv1.Channel_CHANNEL_EMAIL && sendgrid != nil:
		r.senders, r.own = []string{sendgrid.From}, true
		r.price, r.priced = pb.Prices.ForEmail(country)
	case ch == candorv1.Channel_CHANNEL_CALL:
		r.own, r.priced = true, true // agents call every country, and have no price here
	}
	return r
}

// add takes over what another goroutine counted.
func (c *counts) add(o *counts) {
	c.members += o.members
	c.reachable += o.reachable
	c.numbers = append(c.numbers, o.numbers...)
	for i := range c.waves {
		for j, ch := range c.waves[i].channels {
			ch.add(o.waves[i].channels[j])
		}
	}
}

func (c *channelCounts) add(o *channelCounts) {
	c.notices += o.notices
	c.pages += o.pages
	c.cost += o.cost
	c.unpriced += o.unpriced
	c.strangers += o.strangers
	addAll(c.suppressed, o.suppressed)
	addAll(c.byLanguage, o.byLanguage)
	addAll(c.byTier, o.byTier)
	addAll(c.byZone, o.byZone)
	addAll(c.loads, o.loads)
	for language, s := range o.segments {
		mine := c.segments[language]
		if mine == nil {
			c.segments[language] = s
			continue
		}
		mine.messages += s.messages
		mine.segments += s.segments
		mine.ucs2 += s.ucs2
		mine.longest = max(mine.longest, s.longest)
		addAll(mine.forces, s.forces)
	}
}

func addAll[K comparable](into, from map[K]uint64) {
	for k, n := range from {
		into[k] += n
	}
}

// shared counts the customers whose number is another one's too.
func (c *counts) shared() (customers uint64) {
	slices.Sort(c.numbers)
	for i := 0; i < len(c.numbers); {
		j := i + 1
		for j < len(c.numbers) && c.numbers[j] == c.numbers[i] {
			j++
		}
		if j-i > 1 {
			customers += uint64(j - i)
		}
		i = j
	}
	return customers
}

// compareWaves has the first notice first.
func compareWaves(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == playbook.FirstNotice:
		return -1
	case b == playbook.FirstNotice:
		return 1
	}
	return strings.Compare(a, b)
}

// joinMistakes names each mistake once: what is wrong in the facts is wrong for every text.
func joinMistakes(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	seen := map[string]bool{}
	var all []error
	for _, m := range playbook.Mistakes(errors.Join(errs...)) {
		if !seen[m.Error()] {
			seen[m.Error()] = true
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return errors.Join(errs...)
	}
	return errors.Join(all...)
}
