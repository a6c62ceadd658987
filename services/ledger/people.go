package ledger

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// standing says where the customers stand on each channel, best word over some waves, for the pages from one on, and names
// the first page that did not fit. It is nil if the incident has no journal.
//
// Of two notices of a customer on one channel the heavier speaks, as it does in the count of people: delivered, accepted,
// uncertain, intended, waiting, planned, failed, expired, suppressed.
func (b *books) standing(r *candorv1.PeopleRequest, from uint32) (res *candorv1.PeopleResponse, next uint32, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bk := b.incidents[r.GetIncident()]
	if bk == nil {
		return nil, 0, false
	}
	res = &candorv1.PeopleResponse{}
	size := 0
	for _, number := range slices.Sorted(maps.Keys(bk.pages)) {
		if number < from {
			continue
		}
		p := b.standingOf(bk.pages[number], r.GetWaves())
		if p == nil {
			continue
		}
		n := proto.Size(p)
		if size += 1 + protowire.SizeBytes(n); size > partBytes {
			return res, number, true
		}
		res.Pages = append(res.Pages, p)
	}
	return res, 0, false
}

// standingOf is standing for one page; nil if no journal of the waves was opened for it. b.mu is held.
func (b *books) standingOf(p *page, waves []string) *candorv1.PagePeople {
	var res *candorv1.PagePeople
	b.scratch(1)
	for _, sh := range p.sheets {
		if sh.state.Opened == nil || len(waves) > 0 && !slices.Contains(waves, sh.funnel.wave) {
			continue
		}
		if res == nil {
			res = &candorv1.PagePeople{Page: p.number}
		}
		i := slices.IndexFunc(res.GetChannels(), func(c *candorv1.ChannelStates) bool { return c.GetChannel() == sh.funnel.channel })
		if i < 0 {
			i = len(res.GetChannels())
			res.Channels = append(res.Channels, &candorv1.ChannelStates{Channel: sh.funnel.channel, States: make([]byte, 0, sh.state.Len())})
		}
		b.codes[0] = sh.state.Codes(b.codes[0][:0])
		c := res.GetChannels()[i]
		c.States = heavier(c.GetStates(), b.codes[0])
	}
	slices.SortFunc(res.GetChannels(), func(a, b *candorv1.ChannelStates) int { return cmp.Compare(a.GetChannel(), b.GetChannel()) })
	return res
}

// heavier lets each slot be spoken for by the heavier of two notices.
func heavier(states []byte, codes []journal.Code) []byte {
	for n, c := range codes {
		s := byte(c.State())
		switch {
		case n == len(states):
			states = append(states, s)
		case states[n] != s && journal.Weight(c.State()) > journal.Weight(candorv1.NoticeState(states[n])):
			states[n] = s
		}
	}
	return states
}
