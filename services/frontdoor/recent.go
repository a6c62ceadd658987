package frontdoor

// identity stands for a fact: equal facts have equal ones, and others only by an accident of 128 bits.
type identity [2]uint64

// recent remembers the latest facts that were stored, in bounded memory: when the young are many the old are forgotten. A fact
// that comes again after that is stored again, which changes nothing. Its user locks it.
type recent struct {
	most       int
	young, old map[identity]struct{}
}

// recentMost is half of the facts remembered at most; a million take about 40 MB.
const recentMost = 500_000

func newRecent(most int) *recent { return &recent{most: most, young: map[identity]struct{}{}} }

func (r *recent) has(id identity) bool {
	if _, ok := r.young[id]; ok {
		return true
	}
	_, ok := r.old[id]
	return ok
}

func (r *recent) add(id identity) {
	if len(r.young) >= r.most {
		r.old, r.young = r.young, map[identity]struct{}{}
	}
	r.young[id] = struct{}{}
}
