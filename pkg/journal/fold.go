package journal

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// MaxSlots is the most customers a page may hold.
const MaxSlots = 1000

// Slot is where one notice stands. Ten bytes, so that a million of them fit a ledger.
type Slot struct {
	phase   phase
	rank    uint8
	address uint8
	inWave  bool
	attempt uint16
	reason  uint16
	// Index into State.intents, plus one; 0 means that no intent holds the slot.
	intent uint16
}

type phase uint8

const (
	phasePlanned phase = iota
	phaseIntended
	phaseUncertain
	phaseRetry
	phaseAccepted
	phaseFailed
	phaseSuppressed
	phaseExpired
	phases
)

// Ranks order what may be said of one attempt. A fact replaces another of the same attempt only if it ranks higher, so
// facts give the same fold in whatever order they land. Accepted beats everything: a message that went out went out.
const (
	rankIntent uint8 = iota
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
)

// IntentRef is one stride as its writer announced it.
type IntentRef struct {
	Seq        uint64
	BootID     uint64
	WorkerID   uint64
	Attempt    uint16
	At         time.Time
	SendBefore time.Time

	holds uint16 // slots whose end is not known; without any the place is used again
}

// State is the fold of one journal. It is not safe for concurrent use.
type State struct {
	Opened *candorv1.Opened
	// SealedFor is the reason of the seal; empty while the journal is open.
	SealedFor string
	// DeadFor is why the order waits for a person; empty if it does not.
	DeadFor string
	DeadAt  time.Time
	// PutOffFor and PutOffUntil say why untouched slots wait.
	PutOffFor   string
	PutOffUntil time.Time
	// LastSeq is the sequence of the last entry folded: what the next fenced entry expects.
	LastSeq uint64
	// Accepted counts the notices that a provider has.
	Accepted int
	// Duplicates counts messages accepted beyond the first of a notice. Anything but zero is a defect.
	Duplicates int

	slots       []Slot
	intents     []IntentRef
	firstIntent time.Time
	retryAt     map[uint32]time.Time
	doubtAt     map[uint32]time.Time
	ids         []string            // by slot; nil until there is one
	again       map[uint32][]uint16 // attempts accepted beyond the first, by slot
	worker      bool
	words       *Words
}

// NewState returns the fold of an empty journal. States that share Words share the memory of their reasons.
// For a worker it also keeps what a ledger of millions has no use for: the provider's message ids, the intents that hold
// slots, and when a slot is looked at again.
func NewState(words *Words, worker bool) *State {
	return &State{words: words, worker: worker}
}

// ErrNotOpened is a first entry that is not Opened: nothing may be sent for such a page.
var ErrNotOpened = errors.New("journal was never opened")

// Apply folds one entry. Entries are applied in the order of their sequences; one already folded changes nothing, and
// neither does one that is refused.
func (s *State) Apply(seq uint64, e *candorv1.JournalEntry) error {
	if seq <= s.LastSeq {
		return nil
	}
	if err := s.fold(seq, e); err != nil {
		return fmt.Errorf("entry %d: %w", seq, err)
	}
	s.LastSeq = seq
	return nil
}

func (s *State) fold(seq uint64, e *candorv1.JournalEntry) error {
	if s.Opened == nil {
		switch ev := e.GetEvent().(type) {
		case *candorv1.JournalEntry_Opened:
			return s.open(ev.Opened)
		case *candorv1.JournalEntry_Sealed:
			s.seal(ev.Sealed)
			return nil
		}
		return ErrNotOpened
	}
	switch ev := e.GetEvent().(type) {
	case *candorv1.JournalEntry_Intent:
		return s.foldIntent(seq, e.GetOccurredAt().AsTime(), ev.Intent)
	case *candorv1.JournalEntry_Outcomes:
		return s.foldOutcomes(e.GetOccurredAt().AsTime(), ev.Outcomes)
	case *candorv1.JournalEntry_Sealed:
		s.seal(ev.Sealed)
	case *candorv1.JournalEntry_DeadLettered:
		s.DeadFor, s.DeadAt = cmp.Or(ev.DeadLettered.GetReason(), "unknown"), e.GetOccurredAt().AsTime()
	case *candorv1.JournalEntry_Replayed:
		s.DeadFor = ""
	case *candorv1.JournalEntry_PutOff:
		s.PutOffFor, s.PutOffUntil = ev.PutOff.GetReason(), ev.PutOff.GetUntil().AsTime()
	case *candorv1.JournalEntry_Opened:
		return errors.New("opened twice")
	default:
		return fmt.Errorf("unknown event %T: a newer version wrote it; run that version", ev)
	}
	return nil
}

func (s *State) open(o *candorv1.Opened) error {
	if n := o.GetSlots(); n == 0 || n > MaxSlots {
		return fmt.Errorf("page of %d slots", n)
	}
	if err := checkRuns(o.GetAudience(), int(o.GetSlots())); err != nil {
		return err
	}
	s.Opened = o
	s.slots = make([]Slot, o.GetSlots())
	if len(o.GetAudience()) == 0 {
		for i := range s.slots {
			s.slots[i].inWave = true
		}
		return nil
	}
	for _, i := range Slots(o.GetAudience()) {
		s.slots[i].inWave = true
	}
	return nil
}

func (s *State) seal(e *candorv1.Sealed) {
	if s.SealedFor == "" {
		s.SealedFor = cmp.Or(e.GetReason(), "sealed")
	}
}

func (s *State) foldIntent(seq uint64, at time.Time, in *candorv1.Intent) error {
	if s.SealedFor != "" {
		return fmt.Errorf("intent after the seal (%s)", s.SealedFor)
	}
	if in.GetAttempt() == 0 || in.GetAttempt() > math.MaxUint16 {
		return fmt.Errorf("intent of attempt %d", in.GetAttempt())
	}
	runs := in.GetSlots()
	if err := s.checkSlots(runs); err != nil {
		return err
	}
	attempt := uint16(in.GetAttempt())
	s.PutOffFor = ""
	if s.firstIntent.IsZero() {
		s.firstIntent = at
	}
	var intent uint16
	if s.worker {
		intent = s.place(IntentRef{
			Seq: seq, BootID: in.GetBootId(), WorkerID: in.GetWorkerId(), Attempt: attempt,
			At: at, SendBefore: in.GetSendBefore().AsTime(),
		})
	}
	for i := 0; i < len(runs); i += 2 {
		for n := runs[i]; n < runs[i]+runs[i+1]; n++ {
			sl := &s.slots[n]
			if sl.phase == phaseAccepted || attempt <= sl.attempt {
				continue
			}
			s.forget(n)
			sl.phase, sl.rank, sl.attempt, sl.intent = phaseIntended, rankIntent, attempt, intent
			if intent != 0 {
				s.intents[intent-1].holds++
			}
		}
	}
	return nil
}

// place keeps an intent where one holds nothing any more, or in a new place. There are never more than slots.
func (s *State) place(ref IntentRef) (number uint16) {
	for i := range s.intents {
		if s.intents[i].holds == 0 {
			s.intents[i] = ref
			return uint16(i + 1)
		}
	}
	s.intents = append(s.intents, ref)
	return uint16(len(s.intents))
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

// outcome is what one group of an entry says of each of its slots.
type outcome struct {
	attempt uint16
	rank    uint8
	phase   phase
	reason  uint16
	at      time.Time
	retryAt time.Time
}

func (s *State) foldOutcomes(at time.Time, o *candorv1.Outcomes) error {
	if o.GetAttempt() > math.MaxUint16 {
		return fmt.Errorf("outcomes of attempt %d", o.GetAttempt())
	}
	for _, g := range o.GetGroups() {
		if rank, _ := meaning(g.GetResult()); rank == rankIntent {
			return fmt.Errorf("unknown result %v: a newer version wrote it; run that version", g.GetResult())
		}
		if err := s.checkSlots(g.GetSlots()); err != nil {
			return err
		}
	}
	for _, g := range o.GetGroups() {
		rank, phase := meaning(g.GetResult())
		x := outcome{attempt: uint16(o.GetAttempt()), rank: rank, phase: phase, reason: s.words.intern(g.GetReason()), at: at}
		if g.GetRetryAt() != nil {
			x.retryAt = g.GetRetryAt().AsTime()
		}
		ids := idReader{text: g.GetMessageIds()}
		runs := g.GetSlots()
		for i := 0; i < len(runs); i += 2 {
			for n := runs[i]; n < runs[i]+runs[i+1]; n++ {
				if rank == rankAccepted {
					s.accept(n, &x, &ids)
				} else {
					s.foldOutcome(n, &x)
				}
			}
		}
	}
	return nil
}

// accept folds one accepted message. The same fact may be written twice after a lost answer; another attempt's is a
// second message. The notice keeps the earliest attempt, whichever is folded first.
func (s *State) accept(n uint32, x *outcome, ids *idReader) {
	sl := &s.slots[n]
	attempt := max(x.attempt, 1)
	var id string
	if s.worker {
		id = ids.next()
	}
	if sl.phase != phaseAccepted {
		s.forget(n)
		sl.phase, sl.rank, sl.reason, sl.attempt = phaseAccepted, rankAccepted, x.reason, attempt
		s.Accepted++
		s.keepID(n, id)
		return
	}
	if attempt == sl.attempt {
		sl.reason = s.words.later(sl.reason, x.reason)
		return
	}
	other := attempt
	if attempt < sl.attempt {
		other = sl.attempt
		sl.attempt, sl.reason = attempt, x.reason
		s.keepID(n, id)
	}
	for _, known := range s.again[n] {
		if known == other {
			return
		}
	}
	if s.again == nil {
		s.again = map[uint32][]uint16{}
	}
	s.again[n] = append(s.again[n], other)
	s.Duplicates++
}

func (s *State) keepID(n uint32, id string) {
	if id == "" {
		return
	}
	if s.ids == nil {
		s.ids = make([]string, len(s.slots))
	}
	s.ids[n] = id
}

// foldOutcome folds what is said of one slot, other than accepted.
func (s *State) foldOutcome(n uint32, x *outcome) {
	sl := &s.slots[n]
	if sl.phase == phaseAccepted || x.attempt < sl.attempt {
		return
	}
	same := x.attempt == sl.attempt
	if same && sl.phase == phaseUncertain && x.phase == phaseUncertain {
		s.doubt(n, x.at) // said again: the next look is counted from the latest word
	}
	if same && x.rank < sl.rank {
		return
	}
	if same && x.rank == sl.rank {
		sl.reason = s.words.later(sl.reason, x.reason)
		if x.phase == phaseRetry {
			s.retry(n, x.retryAt)
		}
		return
	}
	if x.phase != phaseUncertain || !same {
		s.forget(n)
	}
	sl.phase, sl.rank, sl.attempt, sl.reason = x.phase, x.rank, x.attempt, x.reason
	switch x.phase {
	case phaseUncertain:
		s.doubt(n, x.at)
	case phaseRetry:
		if x.rank == rankNextAddress && sl.address < math.MaxUint8 {
			sl.address++
		}
		s.retry(n, x.retryAt)
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

// meaning says how a result ranks and where it leaves a notice; rankIntent for a result that this version does not know.
func meaning(r candorv1.Result) (rank uint8, p phase) {
	switch r {
	case candorv1.Result_RESULT_UNKNOWN:
		return rankUnknown, phaseUncertain
	case candorv1.Result_RESULT_NOT_SEEN:
		return rankNotSeen, phaseUncertain
	case candorv1.Result_RESULT_WITHDRAWN:
		return rankWithdrawn, phaseRetry
	case candorv1.Result_RESULT_RETRY:
		return rankRetry, phaseRetry
	case candorv1.Result_RESULT_NOT_FOUND:
		return rankNotFound, phaseRetry
	case candorv1.Result_RESULT_NEXT_ADDRESS:
		return rankNextAddress, phaseRetry
	case candorv1.Result_RESULT_EXPIRED:
		return rankExpired, phaseExpired
	case candorv1.Result_RESULT_SUPPRESSED:
		return rankSuppressed, phaseSuppressed
	case candorv1.Result_RESULT_FAILED:
		return rankFailed, phaseFailed
	case candorv1.Result_RESULT_ACCEPTED:
		return rankAccepted, phaseAccepted
	}
	return rankIntent, phasePlanned
}

// checkSlots refuses slots that the page or the wave does not have: nothing may be sent to them.
func (s *State) checkSlots(runs []uint32) error {
	if err := checkRuns(runs, len(s.slots)); err != nil {
		return err
	}
	if len(s.Opened.GetAudience()) == 0 {
		return nil
	}
	for i := 0; i < len(runs); i += 2 {
		for n := runs[i]; n < runs[i]+runs[i+1]; n++ {
			if !s.slots[n].inWave {
				return fmt.Errorf("slot %d does not belong to the wave", n)
			}
		}
	}
	return nil
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
