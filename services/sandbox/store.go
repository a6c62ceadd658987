package sandbox

import "hash/maphash"

// The stores below hold millions of small records without one pointer in them: the garbage collector has nothing to
// follow, and growing never moves what is there.

const recordsPerChunk = 4096

// records is a list that grows by chunks. Positions are stable for ever.
type records[T any] struct {
	chunks [][]T
	n      uint32
}

func (r *records[T]) add(v T) uint32 {
	if int(r.n/recordsPerChunk) == len(r.chunks) {
		r.chunks = append(r.chunks, make([]T, recordsPerChunk))
	}
	i := r.n
	r.n++
	*r.at(i) = v
	return i
}

func (r *records[T]) at(i uint32) *T { return &r.chunks[i/recordsPerChunk][i%recordsPerChunk] }

const arenaChunkBytes = 1 << 20

// arena holds bytes, written once. A piece never crosses two chunks.
type arena struct {
	chunks [][]byte
	size   int64 // bytes allocated
}

// put stores the pieces one after the other and returns where the first one starts.
func (a *arena) put(pieces ...[]byte) uint64 {
	need := 0
	for _, p := range pieces {
		need += len(p)
	}
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last])+need > cap(a.chunks[last]) {
		room := max(arenaChunkBytes, need)
		a.chunks = append(a.chunks, make([]byte, 0, room))
		a.size += int64(room)
		last++
	}
	at := uint64(last)<<32 | uint64(len(a.chunks[last]))
	for _, p := range pieces {
		a.chunks[last] = append(a.chunks[last], p...)
	}
	return at
}

// from returns what was stored at a place, and whatever follows it in the chunk.
func (a *arena) from(at uint64) []byte { return a.chunks[at>>32][uint32(at):] } //nolint:gosec // the low half is the offset

func (a *arena) get(at uint64, n int) []byte { return a.from(at)[:n:n] }

// index finds a record by its hash: open addressing, the upper half of a slot is the hash, the lower one the record + 1.
type index struct {
	slots []uint64
	n     int
}

// find returns the record with this hash of which same says that it is the one.
func (x *index) find(hash uint32, same func(record uint32) bool) (uint32, bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	mask := uint32(len(x.slots) - 1) //nolint:gosec // far below 2^32 slots
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := x.slots[i]
		if slot == 0 {
			return 0, false
		}
		if uint32(slot>>32) == hash {
			if record := uint32(slot) - 1; same(record) { //nolint:gosec // the low half is the record
				return record, true
			}
		}
	}
}

// add enters a record that find has not found.
func (x *index) add(hash, record uint32) {
	if x.n*4 >= len(x.slots)*3 {
		old := x.slots
		x.slots = make([]uint64, max(1024, 2*len(old)))
		for _, slot := range old {
			if slot != 0 {
				x.place(slot)
			}
		}
	}
	x.place(uint64(hash)<<32 | uint64(record+1))
	x.n++
}

func (x *index) place(slot uint64) {
	mask := uint32(len(x.slots) - 1) //nolint:gosec // far below 2^32 slots
	i := uint32(slot>>32) & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = slot
}

// interned gives equal strings one small number. Number 0 is the empty string.
type interned struct {
	numbers map[string]uint32
	strings []string
}

func newInterned() interned {
	return interned{numbers: map[string]uint32{"": 0}, strings: []string{""}}
}

func (t *interned) number(s []byte) uint32 {
	if n, ok := t.numbers[string(s)]; ok {
		return n
	}
	n := uint32(len(t.strings)) //nolint:gosec // far below 2^32 texts
	kept := string(s)
	t.strings = append(t.strings, kept)
	t.numbers[kept] = n
	return n
}

func hash32(seed maphash.Seed, b []byte) uint32 {
	return uint32(maphash.Bytes(seed, b) >> 32) //nolint:gosec // the upper half
}
