package api

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// crowd is customers by their places: for each page a bit for each slot. A page without anybody is not in it.
type crowd map[uint32]*[(journal.MaxSlots + 63) / 64]uint64

// add takes people in.
func (c crowd) add(people []*candorv1.PageSlots) error {
	for _, p := range people {
		for _, slot := range journal.Slots(p.GetSlots()) {
			if slot >= journal.MaxSlots {
				return fmt.Errorf("page %d has no slot %d", p.GetPage(), slot)
			}
			if c[p.GetPage()] == nil {
				c[p.GetPage()] = &[(journal.MaxSlots + 63) / 64]uint64{}
			}
			c[p.GetPage()][slot/64] |= 1 << (slot % 64)
		}
	}
	return nil
}

// take moves those who are in other over to left.
func (c crowd) take(other, left crowd) {
	for number, theirs := range other {
		mine := c[number]
		if mine == nil {
			continue
		}
		var rest uint64
		for i := range mine {
			both := mine[i] & theirs[i]
			if both != 0 && left[number] == nil {
				left[number] = &[(journal.MaxSlots + 63) / 64]uint64{}
			}
			if both != 0 {
				left[number][i] |= both
			}
			mine[i] &^= both
			rest |= mine[i]
		}
		if rest == 0 {
			delete(c, number)
		}
	}
}

func (c crowd) clone() crowd {
	n := maps.Clone(c)
	for number, page := range n {
		copied := *page
		n[number] = &copied
	}
	return n
}

func (c crowd) count() (n uint64) {
	for _, page := range c {
		for _, word := range page {
			n += uint64(bits.OnesCount64(word))
		}
	}
	return n
}

// people is the crowd page by page, in ascending order.
func (c crowd) people() []*candorv1.PageSlots {
	people := make([]*candorv1.PageSlots, 0, len(c))
	for _, number := range slices.Sorted(maps.Keys(c)) {
		var slots []uint32
		for i, word := range c[number] {
			for ; word != 0; word &= word - 1 {
				slots = append(slots, uint32(64*i+bits.TrailingZeros64(word)))
			}
		}
		people = append(people, &candorv1.PageSlots{Page: number, Slots: journal.Runs(slots)})
	}
	return people
}
