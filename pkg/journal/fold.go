package journal

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// MaxSlots is the most customers a page may hold.
const MaxSlots = 1000

// Slot is where one notice stands: what is known of its highest attempt. Eight bytes, so that a million of them fit a ledger.
type Slot struct {
	rank    rank
	flags   flags
	attempt uint16
	reason  uint16
	// Index into State.intents, plus one; 0 means that no intent holds the slot.
	intent uint16
}

type flags uint8

const (
	inWave flags = 1 << iota
	// optedOut: the customer asked for no more messages.
	optedOut
	// hasPast: State.past knows of earlier attempts.
	hasPast
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
	// HeardSeq is the sequence of the last receipt folded.
	HeardSeq uint64
	// Accepted counts the notices that a provider has, delivered or not. A message that is not delivered after all leaves it.
	Accepted int
	// Duplicates counts messages that a provider has beyond the first of a notice, now that all that is known of them is
	// folded: it falls when one of them turns out to be undelivered. Anything but zero is a defect.
	Duplicates int

	slots   []Slot
	intents []IntentRef
	begun   time.Time
	// Of the highest attempt, by slot.
	retryAt    map[uint32]time.Time
	doubtAt    map[uint32]time.Time
	ids        []string // nil until there is one
	acceptedAt []int64  // Unix time in nanoseconds, 0 while it is not accepted; nil until one is

	past    map[uint32][]attempt // earlier attempts that a provider had, by slot
	moved   map[uint32]uint64    // attempts that showed that an address cannot take it, as bits, by slot
	strays  map[uint32]uint16    // slots with a receipt of an attempt beyond the journal's, and the journal's
	beyond  uint32               // one more than the first slot with a receipt that the page does not have; 0 if there is none
	twice   int                  // notices of which a provider has more than one message
	channel candorv1.Channel
	worker  bool
	words   *Words
}

// NewState returns the fold of an empty journal of a channel. States that share Words share the memory of their reasons.
// For a worker it also keeps what a ledger of millions has no use for: the provider's message ids, when it had them, the
// intents that hold slots, and when a slot is looked at again.
func NewState(words *Words, ch candorv1.Channel, worker bool) *State {
	return &State{words: words, channel: ch, worker: worker}
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
	case *candorv1.JournalEntry_Admitted:
		return s.admit(ev.Admitted)
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
	for n := o.GetSlots(); n < uint32(len(s.slots)); n++ {
		s.drop(n)
	}
	s.resize(int(o.GetSlots()))
	if len(o.GetAudience()) == 0 {
		for i := range s.slots {
			s.slots[i].flags |= inWave
		}
		return nil
	}
	s.join(o.GetAudience())
	return nil
}

// resize makes room for the slots of the page, or of the receipts that came before it was opened.
func (s *State) resize(n int) {
	if n == len(s.slots) {
		return
	}
	s.slots = resized(s.slots, n)
	if s.ids != nil {
		s.ids = resized(s.ids, n)
	}
	if s.acceptedAt != nil {
		s.acceptedAt = resized(s.acceptedAt, n)
	}
}

func resized[T any](list []T, n int) []T {
	sized := make([]T, n)
	copy(sized, list)
	return sized
}

// admit adds slots to the wave. A seal before it has settled them.
func (s *State) admit(a *candorv1.Admitted) error {
	if err := checkRuns(a.GetAudience(), len(s.slots)); err != nil {
		return err
	}
	s.join(a.GetAudience())
	return nil
}

func (s *State) join(runs []uint32) {
	for i := 0; i < len(runs); i += 2 {
		for n := runs[i]; n < runs[i]+runs[i+1]; n++ {
			s.slots[n].flags |= inWave
		}
	}
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
	number := uint16(in.GetAttempt())
	s.PutOffFor = ""
	if number == 1 && at.After(s.begun) || s.begun.IsZero() {
		s.begun = at
	}
	var intent uint16
	if s.worker {
		intent = s.place(IntentRef{
			Seq: seq, BootID: in.GetBootId(), WorkerID: in.GetWorkerId(), Attempt: number,
			At: at, SendBefore: in.GetSendBefore().AsTime(),
		})
	}
	for i := 0; i < len(runs); i += 2 {
		for n := runs[i]; n < runs[i]+runs[i+1]; n++ {
			sl := &s.slots[n]
			if number > sl.attempt {
				if sl.attempt > 0 || sl.rank != rankPlanned {
					s.raise(n, number)
				}
				sl.rank, sl.attempt, sl.intent = rankIntent, number, intent
				if intent != 0 {
					s.intents[intent-1].holds++
				}
			}
			if len(s.strays) > 0 {
				s.known(n, number)
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
			if s.slots[n].flags&inWave == 0 {
				return fmt.Errorf("slot %d does not belong to the wave", n)
			}
		}
	}
	return nil
}
