package ledger

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/journal"
	"candor/pkg/receipt"
	candorv1 "candor/proto/candor/v1"
)

// count says how many notices, or customers, have one code.
type count struct {
	code journal.Code
	n    uint32
}

// tally counts by code; there are a handful of codes in a page.
type tally []count

func (t *tally) add(c journal.Code, n uint32) {
	for i := range *t {
		if (*t)[i].code == c {
			(*t)[i].n += n
			return
		}
	}
	*t = append(*t, count{c, n})
}

// addRuns counts codes, of which neighbours are mostly alike; zero codes lie outside the wave.
func (t *tally) addRuns(codes []journal.Code) {
	for i := 0; i < len(codes); {
		c, from := codes[i], i
		for i++; i < len(codes) && codes[i] == c; i++ {
		}
		if c != 0 {
			t.add(c, uint32(i-from))
		}
	}
}

// open returns how many notices are not settled.
func (t tally) open() (n uint64) {
	for _, c := range t {
		if !settled(c.code.State()) {
			n += uint64(c.n)
		}
	}
	return n
}

// dead says whether the order waits for a person. A sealed one only does if there is still something to find out.
func (sh *sheet) dead() bool {
	return sh.state.DeadFor != "" && (sh.state.SealedFor == "" || sh.counts.open() > 0)
}

// recount counts the pages of which entries were folded since they were counted. b.mu is held.
func (b *books) recount(bk *book) {
	for _, p := range bk.stale {
		b.recountPage(p)
	}
	clear(bk.stale)
	bk.stale = bk.stale[:0]
}

// scratch makes room for the codes of n pages. b.mu is held.
func (b *books) scratch(n int) {
	for len(b.codes) < n {
		b.codes = append(b.codes, make([]journal.Code, 0, journal.MaxSlots))
	}
}

func (b *books) recountPage(p *page) {
	b.scratch(len(p.sheets) + 1)
	customers := b.codes[len(p.sheets)][:0]
	for i, sh := range p.sheets {
		codes := sh.state.Codes(b.codes[i][:0])
		b.codes[i] = codes
		sh.counts = sh.counts[:0]
		sh.counts.addRuns(codes)
		sh.heard = b.listen(sh.state, codes)
		customers = mergeCustomers(customers, codes)
	}
	p.placeOptOuts()
	b.codes[len(p.sheets)] = customers
	p.people = p.people[:0]
	p.people.addRuns(customers)
	p.stale = false
	p.rungs = nil
}

// heard counts the notices of a journal by what a provider had to do with them, whatever became of them since.
type heard struct {
	tried    uint32 // accepted at some time, or failed
	rejected uint32 // failed without ever having been accepted
	bounced  uint32 // accepted and then definitely not delivered
	optedOut uint32 // the customer wants no more messages on the channel
	doubtful uint32 // uncertain, and only a person can find out
	retrying uint32 // tried, came back or was refused for now, and tried again
}

func (b *books) listen(st *journal.State, codes []journal.Code) (h heard) {
	for i, c := range codes {
		n := uint32(i)
		if c.State() == candorv1.NoticeState_NOTICE_STATE_WAITING && st.Retrying(n) && !receipt.Held(b.words.Reason(c)) {
			h.retrying++
		}
		switch {
		case c == 0:
			continue
		case st.EverAccepted(n):
			h.tried++
			if st.Undelivered(n) {
				h.bounced++
			}
			if c.State() == candorv1.NoticeState_NOTICE_STATE_UNCERTAIN && st.Doubtful(n) {
				h.doubtful++
			}
		case c.State() == candorv1.NoticeState_NOTICE_STATE_FAILED:
			h.tried++
			h.rejected++
		}
		if st.OptedOut(n) {
			h.optedOut++
		}
	}
	return h
}

// placeOptOuts counts the opt-outs that lie where no journal is open: with the page's first notices on the channel, and as long
// as there are none by themselves.
func (p *page) placeOptOuts() {
	for _, sh := range p.sheets {
		if !sh.silent() {
			continue
		}
		outs := sh.state.OptOuts()
		i := slices.IndexFunc(p.sheets, func(other *sheet) bool {
			return other.funnel.channel == sh.funnel.channel && other.state.Opened != nil
		})
		if i < 0 {
			sh.heard.optedOut = uint32(len(outs)) //nolint:gosec // at most journal.MaxSlots
			continue
		}
		for _, n := range outs {
			if st := p.sheets[i].state; int(n) < st.Len() && st.InWave(n) && !st.OptedOut(n) {
				p.sheets[i].heard.optedOut++
			}
		}
	}
}

// mergeCustomers lets each customer be spoken for by the heavier of two notices. Neighbours are mostly alike.
func mergeCustomers(customers, codes []journal.Code) []journal.Code {
	var one, other, heavier journal.Code
	for n, c := range codes {
		if n == len(customers) {
			return append(customers, codes[n:]...)
		}
		if customers[n] != one || c != other {
			one, other, heavier = customers[n], c, customers[n]
			if journal.Weight(c.State()) > journal.Weight(heavier.State()) {
				heavier = c
			}
		}
		customers[n] = heavier
	}
	return customers
}

// of returns how many notices are in a state.
func (t tally) of(s candorv1.NoticeState) (n uint64) {
	for _, c := range t {
		if c.code.State() == s {
			n += uint64(c.n)
		}
	}
	return n
}

func told(s candorv1.NoticeState) bool {
	return s == candorv1.NoticeState_NOTICE_STATE_ACCEPTED || s == candorv1.NoticeState_NOTICE_STATE_DELIVERED
}

// settled says whether nothing more happens to a notice by itself.
func settled(s candorv1.NoticeState) bool {
	switch s {
	case candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_DELIVERED,
		candorv1.NoticeState_NOTICE_STATE_FAILED, candorv1.NoticeState_NOTICE_STATE_SUPPRESSED,
		candorv1.NoticeState_NOTICE_STATE_EXPIRED:
		return true
	}
	return false
}

const (
	shownMinutes = 60
	rateSeconds  = 10
)

// window counts what happened in each of the last units of time.
type window struct {
	unit    time.Duration
	newest  int64 // number of the unit since 1970
	buckets []uint64
}

func newWindow(unit time.Duration, units int) window {
	return window{unit: unit, buckets: make([]uint64, units)}
}

func (w *window) number(at time.Time) int64 { return at.Unix() / int64(w.unit/time.Second) }

func (w *window) add(at time.Time, n uint64) {
	i, size := w.number(at), int64(len(w.buckets))
	if i < 0 || i <= w.newest-size {
		return
	}
	if i > w.newest {
		for k := max(w.newest+1, i-size+1); k <= i; k++ {
			w.buckets[k%size] = 0
		}
		w.newest = i
	}
	w.buckets[i%size] += n
}

func (w *window) at(i int64) uint64 {
	size := int64(len(w.buckets))
	if i < 0 || i > w.newest || i <= w.newest-size {
		return 0
	}
	return w.buckets[i%size]
}

// rate is how many there were a second, over the whole window up to now.
func (f *funnel) rate(now time.Time) float64 {
	w := &f.seconds
	last := w.number(now)
	from := last - int64(len(w.buckets)) + 1
	var n uint64
	for i := from; i <= last; i++ {
		n += w.at(i)
	}
	begun := time.Unix(from, 0)
	if f.first.After(begun) {
		begun = f.first
	}
	return float64(n) / max(now.Sub(begun).Seconds(), 1)
}

// throughput lists the minutes up to now, or up to the end of sending, in which something may have been accepted.
func (f *funnel) throughput(now time.Time, done bool) []*candorv1.MinuteCount {
	if f.first.IsZero() {
		return nil
	}
	w := &f.minutes
	last := max(w.number(now), w.newest)
	if done {
		last = w.newest
	}
	from := max(w.number(f.first), last-int64(len(w.buckets))+1)
	list := make([]*candorv1.MinuteCount, 0, last-from+1)
	for i := from; i <= last; i++ {
		list = append(list, &candorv1.MinuteCount{Minute: timestamppb.New(time.Unix(i*int64(w.unit/time.Second), 0)), Accepted: w.at(i)})
	}
	return list
}
