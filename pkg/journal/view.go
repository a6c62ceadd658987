package journal

import (
	"math/bits"
	"slices"
	"sync"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Len returns the number of slots of the page, 0 before it was opened.
func (s *State) Len() int {
	if s.Opened == nil {
		return 0
	}
	return len(s.slots)
}

// InWave says whether the slot belongs to the wave.
func (s *State) InWave(n uint32) bool { return s.slots[n].flags&inWave != 0 }

// Code is where one notice stands, in four bytes: its state and the word of its reason. The zero Code is a slot that
// does not belong to the wave.
type Code uint32

func code(state candorv1.NoticeState, word uint16) Code { return Code(state)<<16 | Code(word) }

// State returns where the notice stands, NOTICE_STATE_UNSPECIFIED outside the wave.
func (c Code) State() candorv1.NoticeState { return candorv1.NoticeState(c >> 16) }

// Reason returns the reason beside the state.
func (w *Words) Reason(c Code) string { return w.word(uint16(c)) }

// Codes appends the codes of all slots to dst.
func (s *State) Codes(dst []Code) []Code {
	key := s.key()
	dst = slices.Grow(dst, s.Len())
	for n := range uint32(s.Len()) {
		dst = append(dst, key.code(s, n))
	}
	return dst
}

// Notice returns where the slot stands and the reason beside it.
func (s *State) Notice(n uint32) (candorv1.NoticeState, string) {
	key := s.key()
	c := key.code(s, n)
	return c.State(), s.words.Reason(c)
}

// Says reports whether as much is known of a slot already as a worker's word would add.
func (s *State) Says(n uint32, r candorv1.Result) bool {
	now := s.rank(n)
	if s.SealedFor != "" && (now == rankPlanned || now.waits()) { // nothing will be tried any more
		now = max(now, rankExpired)
	}
	return now >= s.meaning(r, candorv1.Decider_DECIDER_WORKER)
}

// states says where each rank leaves a notice. Nothing writes it after start.
var states = [ranks]candorv1.NoticeState{
	rankPlanned:          candorv1.NoticeState_NOTICE_STATE_PLANNED,
	rankIntent:           candorv1.NoticeState_NOTICE_STATE_INTENDED,
	rankUnknown:          candorv1.NoticeState_NOTICE_STATE_UNCERTAIN,
	rankNotSeen:          candorv1.NoticeState_NOTICE_STATE_UNCERTAIN,
	rankWithdrawn:        candorv1.NoticeState_NOTICE_STATE_WAITING,
	rankRetry:            candorv1.NoticeState_NOTICE_STATE_WAITING,
	rankNotFound:         candorv1.NoticeState_NOTICE_STATE_WAITING,
	rankNextAddress:      candorv1.NoticeState_NOTICE_STATE_WAITING,
	rankExpired:          candorv1.NoticeState_NOTICE_STATE_EXPIRED,
	rankSuppressed:       candorv1.NoticeState_NOTICE_STATE_SUPPRESSED,
	rankFailed:           candorv1.NoticeState_NOTICE_STATE_FAILED,
	rankAccepted:         candorv1.NoticeState_NOTICE_STATE_ACCEPTED,
	rankDoubtful:         candorv1.NoticeState_NOTICE_STATE_UNCERTAIN,
	rankVouched:          candorv1.NoticeState_NOTICE_STATE_ACCEPTED,
	rankHanded:           candorv1.NoticeState_NOTICE_STATE_DELIVERED,
	rankUndeliveredRetry: candorv1.NoticeState_NOTICE_STATE_WAITING,
	rankUndeliveredNext:  candorv1.NoticeState_NOTICE_STATE_WAITING,
	rankUndelivered:      candorv1.NoticeState_NOTICE_STATE_FAILED,
	rankDelivered:        candorv1.NoticeState_NOTICE_STATE_DELIVERED,
}

// key says for each rank what its code is, and whether the slot's own reason stands beside it.
type key struct {
	base [ranks]Code
	mask [ranks]uint16
}

func (s *State) key() (k key) {
	var ended Code
	if s.SealedFor != "" { // nothing will be tried any more
		ended = code(candorv1.NoticeState_NOTICE_STATE_EXPIRED, s.words.intern(s.SealedFor))
	}
	const ownReason = 1<<16 - 1
	for r := range ranks {
		k.base[r], k.mask[r] = code(states[r], 0), ownReason
		if ended != 0 && r.waits() {
			k.base[r], k.mask[r] = ended, 0
		}
	}
	switch {
	case ended != 0:
		k.base[rankPlanned] = ended
	case s.PutOffFor != "":
		k.base[rankPlanned] = code(candorv1.NoticeState_NOTICE_STATE_WAITING, s.words.intern(s.PutOffFor))
	}
	return k
}

func (k *key) code(s *State, n uint32) Code {
	sl := &s.slots[n]
	if sl.flags&inWave == 0 {
		return 0
	}
	if sl.flags&hasPast != 0 {
		a := s.shown(n)
		return k.base[a.rank%ranks] | Code(a.reason&k.mask[a.rank%ranks])
	}
	return k.base[sl.rank%ranks] | Code(sl.reason&k.mask[sl.rank%ranks])
}

// shown returns the attempt that says where the notice stands: the first one that was delivered, or else the first one that
// a provider has, or else the first one that may have arrived, or else the highest.
func (s *State) shown(n uint32) attempt {
	sl := &s.slots[n]
	best := attempt{number: sl.attempt, rank: sl.rank, reason: sl.reason}
	if s.ids != nil {
		best.id = s.ids[n]
	}
	if s.acceptedAt != nil {
		best.at = s.acceptedAt[n]
	}
	if sl.flags&hasPast == 0 {
		return best
	}
	for _, a := range s.past[n] {
		if mine, its := standing(best.rank), standing(a.rank); its > mine || its == mine && its > 0 && a.number < best.number {
			best = a
		}
	}
	return best
}

// standing orders attempts by how much they say about the notice.
func standing(r rank) int {
	switch {
	case r == rankDelivered, r == rankHanded:
		return 3
	case r == rankDoubtful:
		return 1
	case r.has():
		return 2
	}
	return 0
}

// rank returns the rank of the attempt that says where the notice stands.
func (s *State) rank(n uint32) rank {
	if s.slots[n].flags&hasPast == 0 {
		return s.slots[n].rank
	}
	return s.shown(n).rank
}

// Twice returns how many notices have more than one message at a provider.
func (s *State) Twice() int { return s.twice }

// Settled says whether nothing more will happen to the slot by itself.
func (s *State) Settled(n uint32) bool {
	switch r := s.rank(n); {
	case r == rankPlanned || r.waits():
		return s.SealedFor != ""
	case r == rankIntent || r.asked() || r == rankDoubtful:
		return false
	}
	return true
}

// Attempt returns the number of the attempt that says where the notice stands, 0 if there was none. Where another attempt
// may follow it is the highest.
func (s *State) Attempt(n uint32) uint32 {
	if s.slots[n].flags&hasPast == 0 {
		return uint32(s.slots[n].attempt)
	}
	return uint32(s.shown(n).number)
}

// Address returns which of the customer's addresses is to be used next, counted from 0.
func (s *State) Address(n uint32) int {
	if len(s.moved) == 0 {
		return 0
	}
	return bits.OnesCount64(s.moved[n])
}

// Ready says whether an attempt at the slot may be intended at now, and if not, from when on; a zero time means that
// this slot does not wait for a time.
func (s *State) Ready(n uint32, now time.Time) (bool, time.Time) {
	if s.SealedFor != "" || !s.InWave(n) {
		return false, time.Time{}
	}
	switch r := s.rank(n); {
	case r == rankPlanned:
		return true, time.Time{}
	case r.waits():
		at := s.retryAt[n]
		return !at.After(now), at
	}
	return false, time.Time{}
}

// Retrying says whether the slot had an attempt that definitely failed and may have another.
func (s *State) Retrying(n uint32) bool { return s.rank(n).waits() }

// Returned says whether the slot's last message was accepted and then definitely not delivered, and another may follow.
func (s *State) Returned(n uint32) bool { r := s.rank(n); return r.waits() && r.had() }

// Doubtful says whether the provider itself cannot say what became of the message: only a person can.
func (s *State) Doubtful(n uint32) bool { return s.rank(n) == rankDoubtful }

// EverAccepted says whether a provider had a message of the notice, whatever became of it.
func (s *State) EverAccepted(n uint32) bool {
	return s.slots[n].rank.had() || s.slots[n].flags&hasPast != 0
}

// Undelivered says whether a provider had a message of the notice that was then definitely not delivered.
func (s *State) Undelivered(n uint32) bool {
	if s.slots[n].rank.bounced() {
		return true
	}
	return s.slots[n].flags&hasPast != 0 && slices.ContainsFunc(s.past[n], func(a attempt) bool { return a.rank.bounced() })
}

// OptedOut says whether the customer in the slot has asked for no more messages on this channel since.
func (s *State) OptedOut(n uint32) bool { return s.slots[n].flags&optedOut != 0 }

// OptOuts returns the slots of such customers, also of those who were heard before the page was opened.
func (s *State) OptOuts() (slots []uint32) {
	for n := range s.slots {
		if s.slots[n].flags&optedOut != 0 {
			slots = append(slots, uint32(n)) //nolint:gosec // at most MaxSlots
		}
	}
	return slots
}

// Stray returns the first slot with a receipt of a message that the journal, as far as it is folded, does not know. When
// both are folded to their ends it means that the journal has lost entries.
func (s *State) Stray() (slot uint32, ok bool) {
	if s.beyond > 0 {
		slot, ok = s.beyond-1, true
	}
	for n := range s.strays {
		if !ok || n < slot {
			slot, ok = n, true
		}
	}
	return slot, ok
}

// Open returns the intent that holds the slot, if the slot was intended and its end is not known.
func (s *State) Open(n uint32) (IntentRef, bool) {
	sl := s.slots[n]
	if r := s.rank(n); sl.intent == 0 || r != rankIntent && !r.asked() {
		return IntentRef{}, false
	}
	return s.intents[sl.intent-1], true
}

// Doubt returns when the slot was last called uncertain, zero if nobody spoke since the intent, and whether the provider
// was asked then and did not know the message.
func (s *State) Doubt(n uint32) (at time.Time, notSeen bool) {
	return s.doubtAt[n], s.slots[n].rank == rankNotSeen
}

// MessageID returns the provider's id of the message that says where the notice stands, where ids are kept.
func (s *State) MessageID(n uint32) string { return s.shown(n).id }

// AcceptedAt returns when a provider had the message that says where the notice stands, where that is kept; zero if none had.
func (s *State) AcceptedAt(n uint32) time.Time {
	if at := s.shown(n).at; at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Time{}
}

// Begun returns when the last of those of the page who were begun with had their first stride announced, zero before there is
// one. Time budgets run from there: a page may be begun with in parts, a canary first, and the rest after a pause of days.
func (s *State) Begun() time.Time { return s.begun }

// Words keeps each reason once: a million notices share a handful of them. Safe for concurrent use.
type Words struct {
	mu    sync.RWMutex
	index map[string]uint16
	list  []string
}

// NewWords returns an empty table whose word 0 is the empty one.
func NewWords() *Words {
	return &Words{index: map[string]uint16{"": 0}, list: []string{""}}
}

// otherWord stands for every word after the table is full: a journal cannot grow a reader's memory without bound.
const otherWord = "other"

func (w *Words) intern(word string) uint16 {
	if word == "" {
		return 0
	}
	w.mu.RLock()
	i, ok := w.index[word]
	w.mu.RUnlock()
	if ok {
		return i
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if i, ok := w.index[word]; ok {
		return i
	}
	const limit = 10_000
	if len(w.list) >= limit {
		word = otherWord
		if i, ok := w.index[word]; ok {
			return i
		}
	}
	i = uint16(len(w.list))
	w.list = append(w.list, word)
	w.index[word] = i
	return i
}

// later picks one of two reasons for the same fact, the same one in whatever order they come.
func (w *Words) later(a, b uint16) uint16 {
	if a == b || w.word(a) > w.word(b) {
		return a
	}
	return b
}

func (w *Words) word(i uint16) string {
	if i == 0 {
		return ""
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.list[i]
}
