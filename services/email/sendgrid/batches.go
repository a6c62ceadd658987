package sendgrid

import (
	"hash/maphash"
	"strings"

	"candor/pkg/provider"
)

const (
	// maxRequests bounds what one bad list may cost. Finding one bad address among a thousand by halving takes twenty.
	maxRequests = 64
	// maxPicked is how often a batch is sent again without those it names, before it is halved as well.
	maxPicked = 8
)

// batches works off the recipients of one Email: every recipient stands in exactly one open batch or is settled.
type batches struct {
	outcomes []provider.Outcome
	open     []batch
	current  batch
	requests int
}

type batch struct {
	indexes []int
	picked  int
}

// newBatches splits the recipients. SendGrid refuses a request that names a mailbox twice, so who shares one with an earlier
// recipient waits for a later request.
func newBatches(m *provider.Email, size int) *batches {
	b := &batches{outcomes: make([]provider.Outcome, len(m.Recipients))}
	if len(m.Recipients) == 1 && len(m.Recipients[0].Values) == len(m.Vars) {
		b.open = []batch{{indexes: []int{0}}}
		return b
	}
	var all, again []int
	seed := maphash.MakeSeed()
	for i := range m.Recipients {
		if len(m.Recipients[i].Values) != len(m.Vars) {
			b.outcomes[i] = provider.Outcome{Class: provider.Defect, Reason: "values_misaligned"}
			continue
		}
		all = append(all, i)
	}
	for len(all) > 0 {
		// By hash: two mailboxes that share one are merely sent to in two requests.
		seen := make(map[uint64]struct{}, len(all))
		once := make([]int, 0, len(all))
		again = nil
		for _, i := range all {
			mailbox := maphash.String(seed, strings.ToLower(m.Recipients[i].To.Reveal()))
			if _, ok := seen[mailbox]; ok {
				again = append(again, i)
				continue
			}
			seen[mailbox] = struct{}{}
			once = append(once, i)
		}
		for len(once) > 0 {
			n := min(size, len(once))
			b.open = append(b.open, batch{indexes: once[:n:n]})
			once = once[n:]
		}
		all = again
	}
	return b
}

func (b *batches) next() ([]int, bool) {
	if len(b.open) == 0 {
		return nil, false
	}
	if b.requests == maxRequests {
		b.giveUp(provider.Outcome{Class: provider.NotSent, Reason: "too_many_refusals"})
		return nil, false
	}
	b.requests++
	b.current, b.open = b.open[0], b.open[1:]
	return b.current.indexes, true
}

// giveUp settles everybody who is in an open batch.
func (b *batches) giveUp(o provider.Outcome) {
	for _, open := range b.open {
		b.set(open.indexes, o)
	}
	b.open = nil
}

func (b *batches) set(indexes []int, o provider.Outcome) {
	for _, i := range indexes {
		b.outcomes[i] = o
	}
}

func (b *batches) settle(indexes []int, v verdict) {
	switch {
	case len(v.singled) > 0:
		b.pick(indexes, v.singled)
	case v.split && len(indexes) > 1:
		b.halve(indexes)
	default:
		b.set(indexes, v.outcome)
	}
	if v.stop {
		rest := v.outcome
		if rest.Class == provider.Unknown {
			// The doubt is about the batch that was sent. The others were not begun.
			rest = provider.Outcome{Class: provider.NotSent, Reason: "not_begun"}
		}
		b.giveUp(rest)
	}
}

// pick settles those whom a refusal names, and opens the others again.
func (b *batches) pick(indexes []int, singled []finding) {
	named := make(map[int]bool, len(singled))
	for _, f := range singled {
		if named[f.index] {
			continue
		}
		named[f.index] = true
		one := indexes[f.index : f.index+1 : f.index+1]
		if f.duplicate {
			b.open = append(b.open, batch{indexes: one})
			continue
		}
		b.set(one, f.outcome)
	}
	rest := make([]int, 0, len(indexes))
	for n, i := range indexes {
		if !named[n] {
			rest = append(rest, i)
		}
	}
	switch {
	case len(rest) == 0:
	case b.current.picked < maxPicked || len(rest) == 1:
		b.open = append(b.open, batch{indexes: rest, picked: b.current.picked + 1})
	default:
		b.halve(rest)
	}
}

func (b *batches) halve(indexes []int) {
	n := len(indexes) / 2
	b.open = append(b.open, batch{indexes: indexes[:n], picked: b.current.picked}, batch{indexes: indexes[n:], picked: b.current.picked})
}
