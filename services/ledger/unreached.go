package ledger

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// unreached groups the customers who were not told, of the pages from one on, and names the first page that did not fit. The
// same group may come in several parts. Customers whose page was opened for no wave are not among them: no journal knows them,
// and whoever asks adds them from the roster's manifest, which the ledger does not read.
func (b *books) unreached(r *candorv1.UnreachedRequest, from uint32) (res *candorv1.UnreachedResponse, next uint32, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	res = &candorv1.UnreachedResponse{}
	bk := b.incidents[r.GetIncident()]
	if bk == nil {
		return res, 0, false
	}
	b.recount(bk)
	groups := map[string]*candorv1.UnreachedGroup{}
	size := 0
	for _, number := range slices.Sorted(maps.Keys(bk.pages)) {
		if number < from {
			continue
		}
		if size > partBytes {
			return res, number, true
		}
		p := bk.pages[number]
		stories, slots := b.stories(p)
		for _, s := range stories {
			reason, notices := b.tell(bk, s)
			if reason == "" || !asks(r.GetReason(), reason) {
				continue
			}
			g := groups[s]
			if g == nil {
				g = &candorv1.UnreachedGroup{Reason: reason, Notices: notices}
				groups[s] = g
				res.Groups = append(res.Groups, g)
				size += proto.Size(g) + perPage
			}
			runs := journal.Runs(slots[s])
			g.People = append(g.People, &candorv1.PageSlots{Page: number, Slots: runs})
			size += perPage + perRun*len(runs)
		}
	}
	return res, 0, false
}

func asks(wanted, reason string) bool {
	state, _, _ := strings.Cut(reason, ":")
	return wanted == "" || wanted == reason || wanted == state
}

// bytesPerWord of a story: which of the book's funnels, and the code.
const bytesPerWord = 6

// stories groups the slots of a page by what became of all notices of a customer. b.mu is held, and the page is counted.
func (b *books) stories(p *page) ([]string, map[string][]uint32) {
	b.scratch(len(p.sheets))
	bk := p.sheets[0].book
	funnels := make([]uint16, len(p.sheets))
	var slots []uint32
	for i, sh := range p.sheets {
		b.codes[i] = sh.state.Codes(b.codes[i][:0])
		funnels[i] = uint16(slices.Index(bk.funnels, sh.funnel))
		for n := len(slots); n < len(b.codes[i]); n++ {
			slots = append(slots, uint32(n))
		}
	}
	var words []byte
	return journal.Group(slots, func(n uint32) string {
		words = words[:0]
		for i := range p.sheets {
			if int(n) >= len(b.codes[i]) || b.codes[i][n] == 0 {
				continue
			}
			words = binary.BigEndian.AppendUint16(words, funnels[i])
			words = binary.BigEndian.AppendUint32(words, uint32(b.codes[i][n]))
		}
		return string(words)
	})
}

// tell reads a story: why the customer was not reached, empty for one who was told, and where their notices stand.
func (b *books) tell(bk *book, story string) (reason string, notices []*candorv1.ChannelWord) {
	var heaviest journal.Code
	for s := []byte(story); len(s) > 0; s = s[bytesPerWord:] {
		f, code := bk.funnels[binary.BigEndian.Uint16(s)], journal.Code(binary.BigEndian.Uint32(s[2:]))
		if journal.Weight(code.State()) > journal.Weight(heaviest.State()) {
			heaviest = code
		}
		notices = append(notices, &candorv1.ChannelWord{Wave: f.wave, Channel: f.channel, State: code.State(), Reason: b.words.Reason(code)})
	}
	switch {
	case heaviest == 0:
		return journal.NotInWave, nil
	case told(heaviest.State()):
		return "", nil
	}
	return b.whyUnreached(heaviest), notices
}
