package roster

import (
	"cmp"
	"slices"
)

// A million rows must fit into memory beside everything else, so the tables hold numbers and no pointers, and grow in
// small pieces: a table that doubles as a whole needs three times its size while it does.

const shards = 256

// pieces is a list that grows without moving.
type pieces[T any] struct{ parts [][]T }

const pieceLen = 1 << 14

func (p *pieces[T]) add(v T) {
	if n := len(p.parts); n == 0 || len(p.parts[n-1]) == pieceLen {
		p.parts = append(p.parts, make([]T, 0, pieceLen))
	}
	last := &p.parts[len(p.parts)-1]
	*last = append(*last, v)
}

func (p *pieces[T]) at(i uint32) T { return p.parts[i/pieceLen][i%pieceLen] }

// refIndex holds the customers' references and what is needed to tell rows apart that share one.
type refIndex struct {
	table  [shards]slots
	hashes pieces[uint32] // what the shard has not used of the hash
	rows   pieces[uint32]
	ends   pieces[uint32] // end of the reference in its part of text
	text   [][]byte       // one part for pieceLen references
	prints [][]byte       // fingerprints of the rows, side by side, one part for pieceLen references
	n      uint32
}

type slots struct {
	at []uint32 // 1 + position
	n  int
}

// find returns the position of a reference.
func (x *refIndex) find(hash uint64, ref string) (uint32, bool) {
	s := &x.table[hash%shards]
	if len(s.at) == 0 {
		return 0, false
	}
	mask, tag := uint32(len(s.at)-1), uint32(hash/shards)
	for i := tag & mask; s.at[i] != 0; i = (i + 1) & mask {
		if at := s.at[i] - 1; x.hashes.at(at) == tag && string(x.ref(at)) == ref {
			return at, true
		}
	}
	return 0, false
}

// add appends a reference that is not there yet.
func (x *refIndex) add(hash uint64, ref string, row uint32, print []byte) uint32 {
	at := x.n
	x.n++
	tag := uint32(hash / shards)
	x.hashes.add(tag)
	x.rows.add(row)
	if at%pieceLen == 0 {
		x.text = append(x.text, nil)
		x.prints = append(x.prints, make([]byte, 0, pieceLen*len(print)))
	}
	part := &x.text[len(x.text)-1]
	*part = append(*part, ref...)
	x.ends.add(uint32(len(*part)))
	x.prints[len(x.prints)-1] = append(x.prints[len(x.prints)-1], print...)

	s := &x.table[hash%shards]
	if s.n >= len(s.at)*7/8 {
		old := s.at
		s.at = make([]uint32, max(16, 2*len(old)))
		for _, o := range old {
			if o != 0 {
				s.put(x.hashes.at(o-1), o)
			}
		}
	}
	s.put(tag, at+1)
	s.n++
	return at
}

func (s *slots) put(tag, v uint32) {
	mask := uint32(len(s.at) - 1)
	i := tag & mask
	for s.at[i] != 0 {
		i = (i + 1) & mask
	}
	s.at[i] = v
}

func (x *refIndex) ref(at uint32) []byte {
	start := uint32(0)
	if at%pieceLen != 0 {
		start = x.ends.at(at - 1)
	}
	return x.text[at/pieceLen][start:x.ends.at(at)]
}

// print returns the fingerprint of a row; all are of one size.
func (x *refIndex) print(at uint32, size int) []byte {
	i := int(at%pieceLen) * size
	return x.prints[at/pieceLen][i : i+size]
}

// codeSet holds the codes given out so far.
type codeSet struct{ table [shards]codeSlots }

type codeSlots struct {
	at []uint64 // 0 is free
	n  int
}

// add returns false if the code is taken.
func (c *codeSet) add(code uint64) bool {
	code++ // 0 is a code too
	s := &c.table[code%shards]
	if s.n >= len(s.at)*7/8 {
		old := s.at
		s.at, s.n = make([]uint64, max(16, 2*len(old))), 0
		for _, o := range old {
			if o != 0 {
				s.put(o)
			}
		}
	}
	return s.put(code)
}

func (s *codeSlots) put(code uint64) bool {
	mask := uint64(len(s.at) - 1)
	// Codes are random already.
	i := code / shards & mask
	for s.at[i] != 0 {
		if s.at[i] == code {
			return false
		}
		i = (i + 1) & mask
	}
	s.at[i] = code
	s.n++
	return true
}

// sharers finds values that several customers have.
type sharers struct{ shard [shards][]holder }

type holder struct{ high, low, customer uint32 } // three small ones are not padded

func (s *sharers) add(hash uint64, customer uint32) {
	p := &s.shard[hash%shards]
	*p = append(*p, holder{uint32(hash >> 32), uint32(hash), customer})
}

// groups calls f for every value that several customers have, with the customers in order; it ends the sharers.
func (s *sharers) groups(f func(customers []uint32)) {
	var groups [][]uint32
	for i := range s.shard {
		p := s.shard[i]
		slices.SortFunc(p, func(a, b holder) int {
			return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low), cmp.Compare(a.customer, b.customer))
		})
		for len(p) > 0 {
			n := 1
			for n < len(p) && p[n].high == p[0].high && p[n].low == p[0].low {
				n++
			}
			if n > 1 {
				var g []uint32
				for _, h := range p[:n] {
					if len(g) == 0 || g[len(g)-1] != h.customer {
						g = append(g, h.customer)
					}
				}
				if len(g) > 1 {
					groups = append(groups, g)
				}
			}
			p = p[n:]
		}
		s.shard[i] = nil
	}
	slices.SortFunc(groups, slices.Compare)
	for _, g := range groups {
		f(g)
	}
}
