package journal

import (
	"sync"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Len returns the number of slots of the page, 0 before it was opened.
func (s *State) Len() int { return len(s.slots) }

// InWave says whether the slot belongs to the wave.
func (s *State) InWave(n uint32) bool { return s.slots[n].inWave }

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
	for i := range s.slots {
		dst = append(dst, key.code(&s.slots[i]))
	}
	return dst
}

// Notice returns where the slot stands and the reason beside it.
func (s *State) Notice(n uint32) (candorv1.NoticeState, string) {
	key := s.key()
	c := key.code(&s.slots[n])
	return c.State(), s.words.Reason(c)
}

// key says for each phase what its code is, and whether the slot's own reason stands beside it.
type key struct {
	base [phases]Code
	mask [phases]uint16
}

func (s *State) key() (k key) {
	set := func(p phase, state candorv1.NoticeState, mask uint16) { k.base[p], k.mask[p] = code(state, 0), mask }
	const ownReason = 1<<16 - 1
	set(phaseIntended, candorv1.NoticeState_NOTICE_STATE_INTENDED, 0)
	set(phaseUncertain, candorv1.NoticeState_NOTICE_STATE_UNCERTAIN, ownReason)
	set(phaseAccepted, candorv1.NoticeState_NOTICE_STATE_ACCEPTED, ownReason)
	set(phaseFailed, candorv1.NoticeState_NOTICE_STATE_FAILED, ownReason)
	set(phaseSuppressed, candorv1.NoticeState_NOTICE_STATE_SUPPRESSED, ownReason)
	set(phaseExpired, candorv1.NoticeState_NOTICE_STATE_EXPIRED, ownReason)
	set(phaseRetry, candorv1.NoticeState_NOTICE_STATE_WAITING, ownReason)
	set(phasePlanned, candorv1.NoticeState_NOTICE_STATE_PLANNED, 0)
	switch {
	case s.SealedFor != "": // nothing will be tried any more
		ended := code(candorv1.NoticeState_NOTICE_STATE_EXPIRED, s.words.intern(s.SealedFor))
		k.base[phasePlanned] = ended
		k.base[phaseRetry], k.mask[phaseRetry] = ended, 0
	case s.PutOffFor != "":
		k.base[phasePlanned] = code(candorv1.NoticeState_NOTICE_STATE_WAITING, s.words.intern(s.PutOffFor))
	}
	return k
}

func (k *key) code(sl *Slot) Code {
	if !sl.inWave {
		return 0
	}
	p := sl.phase % phases
	return k.base[p] | Code(sl.reason&k.mask[p])
}

// Twice returns how many notices have more than one accepted message.
func (s *State) Twice() int { return len(s.again) }

// Settled says whether nothing more will happen to the slot by itself.
func (s *State) Settled(n uint32) bool {
	switch s.slots[n].phase {
	case phaseAccepted, phaseFailed, phaseSuppressed, phaseExpired:
		return true
	case phasePlanned, phaseRetry:
		return s.SealedFor != ""
	}
	return false
}

// Attempt returns the number of the last attempt at the slot, 0 if there was none.
func (s *State) Attempt(n uint32) uint32 { return uint32(s.slots[n].attempt) }

// Address returns which of the customer's addresses is to be used next, counted from 0.
func (s *State) Address(n uint32) int { return int(s.slots[n].address) }

// Ready says whether an attempt at the slot may be intended at now, and if not, from when on; a zero time means that
// this slot does not wait for a time.
func (s *State) Ready(n uint32, now time.Time) (bool, time.Time) {
	if s.SealedFor != "" || !s.slots[n].inWave {
		return false, time.Time{}
	}
	switch s.slots[n].phase {
	case phasePlanned:
		return true, time.Time{}
	case phaseRetry:
		at := s.retryAt[n]
		return !at.After(now), at
	}
	return false, time.Time{}
}

// Retrying says whether the slot had an attempt that definitely failed and may have another.
func (s *State) Retrying(n uint32) bool { return s.slots[n].phase == phaseRetry }

// Open returns the intent that holds the slot, if the slot was intended and its end is not known.
func (s *State) Open(n uint32) (IntentRef, bool) {
	sl := s.slots[n]
	if sl.phase != phaseIntended && sl.phase != phaseUncertain || sl.intent == 0 {
		return IntentRef{}, false
	}
	return s.intents[sl.intent-1], true
}

// Doubt returns when the slot was last called uncertain, zero if nobody spoke since the intent, and whether the provider
// was asked then and did not know the message.
func (s *State) Doubt(n uint32) (at time.Time, notSeen bool) {
	return s.doubtAt[n], s.slots[n].rank == rankNotSeen
}

// MessageID returns the provider's id of the accepted message, where ids are kept.
func (s *State) MessageID(n uint32) string {
	if s.ids == nil {
		return ""
	}
	return s.ids[n]
}

// FirstIntent returns when the first stride of the page was announced; the time budget of retries runs from there.
func (s *State) FirstIntent() time.Time { return s.firstIntent }

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
