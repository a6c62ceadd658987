package journal

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// rank orders what may be said of one attempt. A fact replaces another of the same attempt only if it ranks higher, so
// facts give the same fold in whatever order they land. Accepted beats all that is said before it: a message that went out
// went out. What was said after it, by a receipt, beats it.
type rank uint8

const (
	rankPlanned rank = iota
	rankIntent
	rankUnknown
	rankNotSeen
	rankWithdrawn
	rankRetry
	rankNotFound
	rankNextAddress
	rankExpired
	rankSuppressed
	rankFailed
	rankAccepted
	rankDoubtful
	// rankVouched: a person says that the customer has it.
	rankVouched
	// rankHanded: a mailbox provider has an e-mail, and may still send it back.
	rankHanded
	rankUndeliveredRetry
	rankUndeliveredNext
	rankUndelivered
	rankDelivered
	ranks
)

// had says whether a provider had the message once.
func (r rank) had() bool { return r >= rankAccepted }

// has says whether the provider has the message, as far as is known: another one would be a second message.
func (r rank) has() bool {
	return r >= rankAccepted && r <= rankHanded || r == rankDelivered
}

func (r rank) bounced() bool { return r >= rankUndeliveredRetry && r <= rankUndelivered }

// waits says whether another attempt may follow.
func (r rank) waits() bool {
	return r >= rankWithdrawn && r <= rankNextAddress || r == rankUndeliveredRetry || r == rankUndeliveredNext
}

// asked says whether the provider may be asked what became of it.
func (r rank) asked() bool { return r == rankUnknown || r == rankNotSeen }

// meaning says how a result ranks; rankPlanned for a result that this version does not know, or that has no rank.
func (s *State) meaning(r candorv1.Result, by candorv1.Decider) rank {
	switch r {
	case candorv1.Result_RESULT_UNKNOWN:
		return rankUnknown
	case candorv1.Result_RESULT_NOT_SEEN:
		return rankNotSeen
	case candorv1.Result_RESULT_WITHDRAWN:
		return rankWithdrawn
	case candorv1.Result_RESULT_RETRY:
		return rankRetry
	case candorv1.Result_RESULT_NOT_FOUND:
		return rankNotFound
	case candorv1.Result_RESULT_NEXT_ADDRESS:
		return rankNextAddress
	case candorv1.Result_RESULT_EXPIRED:
		return rankExpired
	case candorv1.Result_RESULT_SUPPRESSED:
		return rankSuppressed
	case candorv1.Result_RESULT_FAILED:
		return rankFailed
	case candorv1.Result_RESULT_ACCEPTED:
		if by == candorv1.Decider_DECIDER_PERSON {
			return rankVouched
		}
		return rankAccepted
	case candorv1.Result_RESULT_DOUBTFUL:
		return rankDoubtful
	case candorv1.Result_RESULT_UNDELIVERED_RETRY:
		return rankUndeliveredRetry
	case candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS:
		return rankUndeliveredNext
	case candorv1.Result_RESULT_UNDELIVERED:
		return rankUndelivered
	case candorv1.Result_RESULT_DELIVERED:
		if s.channel == candorv1.Channel_CHANNEL_EMAIL {
			return rankHanded
		}
		return rankDelivered
	}
	return rankPlanned
}

// attempt is one before the highest. Only those are kept that a provider had: of the others nothing can matter any more.
type attempt struct {
	number, reason uint16
	rank           rank
	// For a worker: when the provider had it, and by which id.
	at int64
	id string
}

// fact is what one group of an entry says of each of its slots.
type fact struct {
	attempt uint16
	rank    rank
	receipt bool
	reason  uint16
	at      time.Time
	retryAt time.Time
	id      string
}

// ErrNoReceipt is an entry among the receipts that only a journal may hold.
var ErrNoReceipt = errors.New("not a receipt")

// Hear folds one entry of the receipts. They are folded in the order of their sequences, whatever the journal's fold knows
// by then; one already folded changes nothing, and neither does one that is refused.
func (s *State) Hear(seq uint64, e *candorv1.JournalEntry) error {
	if seq <= s.HeardSeq {
		return nil
	}
	if err := s.hear(e); err != nil {
		return fmt.Errorf("receipt %d: %w", seq, err)
	}
	s.HeardSeq = seq
	return nil
}

func (s *State) hear(e *candorv1.JournalEntry) error {
	ev, ok := e.GetEvent().(*candorv1.JournalEntry_Outcomes)
	if !ok {
		return fmt.Errorf("%w: %T", ErrNoReceipt, e.GetEvent())
	}
	o := ev.Outcomes
	if o.GetAttempt() > math.MaxUint16 {
		return fmt.Errorf("outcomes of attempt %d", o.GetAttempt())
	}
	end := 0
	for _, g := range o.GetGroups() {
		// The door faces the internet: what it writes may stop a message, and never free a customer for a second one.
		if r := s.meaning(g.GetResult(), candorv1.Decider_DECIDER_RECEIPT); !r.had() && g.GetResult() != candorv1.Result_RESULT_OPTED_OUT {
			return fmt.Errorf("%w: it says %v", ErrNoReceipt, g.GetResult())
		}
		if err := checkRuns(g.GetSlots(), MaxSlots); err != nil {
			return err
		}
		for i := 0; i < len(g.GetSlots()); i += 2 {
			end = max(end, int(g.GetSlots()[i]+g.GetSlots()[i+1]))
		}
	}
	if s.Opened == nil && end > len(s.slots) {
		s.resize(end)
	}
	s.take(e.GetOccurredAt().AsTime(), o, true)
	return nil
}

func (s *State) foldOutcomes(at time.Time, o *candorv1.Outcomes) error {
	if o.GetAttempt() > math.MaxUint16 {
		return fmt.Errorf("outcomes of attempt %d", o.GetAttempt())
	}
	for _, g := range o.GetGroups() {
		if s.meaning(g.GetResult(), o.GetDecider()) == rankPlanned && g.GetResult() != candorv1.Result_RESULT_OPTED_OUT {
			return fmt.Errorf("unknown result %v: a newer version wrote it; run that version", g.GetResult())
		}
		if err := s.checkSlots(g.GetSlots()); err != nil {
			return err
		}
	}
	s.take(at, o, false)
	return nil
}

// take folds outcomes that were checked.
func (s *State) take(at time.Time, o *candorv1.Outcomes, receipt bool) {
	by := o.GetDecider()
	if receipt {
		by = candorv1.Decider_DECIDER_RECEIPT // whatever it claims to be
	}
	for _, g := range o.GetGroups() {
		x := fact{
			attempt: uint16(o.GetAttempt()), rank: s.meaning(g.GetResult(), by), receipt: receipt,
			reason: s.words.intern(g.GetReason()), at: at,
		}
		if x.rank.had() {
			x.attempt = max(x.attempt, 1)
		}
		if g.GetRetryAt() != nil {
			x.retryAt = g.GetRetryAt().AsTime()
		}
		ids := idReader{text: g.GetMessageIds()}
		runs := g.GetSlots()
		for i := 0; i < len(runs); i += 2 {
			for n := runs[i]; n < runs[i]+runs[i+1]; n++ {
				if s.worker {
					x.id = ids.next()
				}
				switch {
				case n >= uint32(len(s.slots)): // a receipt for a customer whom the page does not have
					s.astray(n, &x)
				case x.rank == rankPlanned:
					s.slots[n].flags |= optedOut
				default:
					s.say(n, &x)
				}
			}
		}
	}
}

func (s *State) astray(n uint32, x *fact) {
	if x.rank.had() && (s.beyond == 0 || n < s.beyond-1) {
		s.beyond = n + 1
	}
}

// say folds what is said of one slot.
func (s *State) say(n uint32, x *fact) {
	if sl := &s.slots[n]; x.attempt == sl.attempt && x.rank.has() && !sl.rank.had() && sl.flags&hasPast == 0 && len(s.strays) == 0 {
		// What is said of nearly all notices, told shortly.
		s.forget(n)
		sl.rank, sl.reason = x.rank, x.reason
		s.Accepted++
		if s.worker {
			s.keep(n, x)
		}
		return
	}
	if x.rank == rankNextAddress || x.rank == rankUndeliveredNext {
		s.move(n, x.attempt)
	}
	if x.receipt {
		s.heard(n, x.attempt)
	}
	latest := x.attempt >= s.slots[n].attempt
	switch {
	case x.rank.had():
		before := s.messages(n)
		if latest {
			s.sayLatest(n, x)
		} else {
			s.sayEarlier(n, x)
		}
		s.count(before, s.messages(n))
	case latest:
		s.sayLatest(n, x)
	}
	if !x.receipt && len(s.strays) > 0 {
		s.known(n, x.attempt)
	}
}

// sayLatest folds what is said of the highest attempt, or of a higher one.
func (s *State) sayLatest(n uint32, x *fact) {
	sl := &s.slots[n]
	if x.attempt > sl.attempt {
		s.raise(n, x.attempt)
	}
	if x.rank.asked() && sl.rank.asked() {
		s.doubt(n, x.at) // said again: the next look is counted from the latest word
	}
	if s.worker && x.rank.had() {
		s.keep(n, x)
	}
	if x.rank < sl.rank {
		return
	}
	if x.rank == sl.rank {
		sl.reason = s.words.later(sl.reason, x.reason)
		if x.rank.waits() {
			s.retry(n, x.retryAt)
		}
		return
	}
	if !x.rank.asked() {
		s.forget(n)
	}
	sl.rank, sl.reason = x.rank, x.reason
	switch {
	case x.rank.asked():
		s.doubt(n, x.at)
	case x.rank.waits():
		s.retry(n, x.retryAt)
	}
}

// sayEarlier folds what is said of an attempt before the highest, which a provider had.
func (s *State) sayEarlier(n uint32, x *fact) {
	list := s.past[n]
	i := slices.IndexFunc(list, func(a attempt) bool { return a.number == x.attempt })
	if i < 0 {
		s.remember(n, attempt{number: x.attempt, rank: x.rank, reason: x.reason, at: nanos(x.at, s.worker), id: x.id})
		return
	}
	a := &list[i]
	a.at, a.id = earlier(a.at, nanos(x.at, s.worker)), max(a.id, x.id)
	switch {
	case x.rank > a.rank:
		a.rank, a.reason = x.rank, x.reason
	case x.rank == a.rank:
		a.reason = s.words.later(a.reason, x.reason)
	}
}

// raise begins a higher attempt. The one before it is remembered if a provider had it.
func (s *State) raise(n uint32, number uint16) {
	sl := &s.slots[n]
	s.forget(n)
	if sl.rank.had() {
		a := attempt{number: sl.attempt, rank: sl.rank, reason: sl.reason}
		if s.ids != nil {
			a.id, s.ids[n] = s.ids[n], ""
		}
		if s.acceptedAt != nil {
			a.at, s.acceptedAt[n] = s.acceptedAt[n], 0
		}
		s.remember(n, a)
	}
	sl.rank, sl.attempt, sl.reason = rankPlanned, number, 0
}

func (s *State) remember(n uint32, a attempt) {
	if s.past == nil {
		s.past = map[uint32][]attempt{}
	}
	s.past[n] = append(s.past[n], a)
	s.slots[n].flags |= hasPast
}

// messages counts those of a notice that a provider has.
func (s *State) messages(n uint32) int {
	sl := &s.slots[n]
	k := 0
	if sl.rank.has() {
		k = 1
	}
	if sl.flags&hasPast != 0 {
		for _, a := range s.past[n] {
			if a.rank.has() {
				k++
			}
		}
	}
	return k
}

// count takes a notice from so many messages to so many.
func (s *State) count(before, after int) {
	if before == after {
		return
	}
	one := func(is bool) int {
		if is {
			return 1
		}
		return 0
	}
	s.Accepted += one(after > 0) - one(before > 0)
	s.twice += one(after > 1) - one(before > 1)
	s.Duplicates += max(after-1, 0) - max(before-1, 0)
}

// drop takes back what receipts said of a slot that the page turns out not to have.
func (s *State) drop(n uint32) {
	s.count(s.messages(n), 0)
	if s.slots[n].attempt > 0 {
		s.astray(n, &fact{rank: rankAccepted})
	}
	s.forget(n)
	delete(s.past, n)
	delete(s.moved, n)
	delete(s.strays, n)
}

// heard says that a receipt names an attempt at a slot. Without a stray the highest attempt is the journal's.
func (s *State) heard(n uint32, number uint16) {
	if _, ok := s.strays[n]; ok || number <= s.slots[n].attempt {
		return
	}
	if s.strays == nil {
		s.strays = map[uint32]uint16{}
	}
	s.strays[n] = s.slots[n].attempt
}

// known says that the journal names an attempt at a slot that receipts may have named before.
func (s *State) known(n uint32, number uint16) {
	journal, ok := s.strays[n]
	switch {
	case !ok:
	case max(journal, number) >= s.slots[n].attempt:
		delete(s.strays, n)
	default:
		s.strays[n] = max(journal, number)
	}
}

// move keeps that an attempt showed an address to be of no use.
func (s *State) move(n uint32, number uint16) {
	if s.moved == nil {
		s.moved = map[uint32]uint64{}
	}
	s.moved[n] |= 1 << min(number, 63)
}

// keep notes, for the highest attempt, the provider's id and when the provider had it.
func (s *State) keep(n uint32, x *fact) {
	if x.id != "" {
		if s.ids == nil {
			s.ids = make([]string, len(s.slots))
		}
		s.ids[n] = max(s.ids[n], x.id)
	}
	if at := nanos(x.at, true); at != 0 {
		if s.acceptedAt == nil {
			s.acceptedAt = make([]int64, len(s.slots))
		}
		s.acceptedAt[n] = earlier(s.acceptedAt[n], at)
	}
}

func nanos(at time.Time, worker bool) int64 {
	if !worker {
		return 0
	}
	return at.UnixNano()
}

// earlier returns the earlier of two times; 0 is none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// forget drops what is kept beside a slot only while it waits or its end is not known.
func (s *State) forget(n uint32) {
	if sl := &s.slots[n]; sl.intent != 0 {
		s.intents[sl.intent-1].holds--
		sl.intent = 0
	}
	if len(s.retryAt) > 0 {
		delete(s.retryAt, n)
	}
	if len(s.doubtAt) > 0 {
		delete(s.doubtAt, n)
	}
}

// doubt keeps when a slot was last called uncertain.
func (s *State) doubt(n uint32, at time.Time) {
	if !s.worker || !at.After(s.doubtAt[n]) {
		return
	}
	if s.doubtAt == nil {
		s.doubtAt = map[uint32]time.Time{}
	}
	s.doubtAt[n] = at
}

// retry keeps from when on a slot may be tried again.
func (s *State) retry(n uint32, at time.Time) {
	if !s.worker || !at.After(s.retryAt[n]) {
		return
	}
	if s.retryAt == nil {
		s.retryAt = map[uint32]time.Time{}
	}
	s.retryAt[n] = at
}

// idReader hands out message ids, one a line; a single id stands for all.
type idReader struct {
	text string
	last string
}

func (r *idReader) next() string {
	if r.text != "" {
		r.last, r.text, _ = strings.Cut(r.text, "\n")
	}
	return r.last
}
