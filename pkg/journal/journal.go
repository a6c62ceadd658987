// Package journal keeps the record of each order: what was about to be sent, and what became of it.
//
// One journal belongs to one page of one wave on one channel, and its fold says where each of the page's notices
// stands. Intents, openings and seals are fenced by the journal's last sequence: of two writers that read the same
// state only one gets through. Outcomes are facts and always get through.
//
// What providers say later, the receipts, lies in a stream of its own. The fold joins the two, in whatever order they come.
//
// In, out: stream JOURNAL; in: stream RECEIPTS.   Crash: an entry is on disk when its append returns; an append without an answer is found
// out by reading the journal, never by writing twice.
package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Key names one journal.
type Key struct {
	Channel  candorv1.Channel
	Incident string
	Wave     string
	Page     uint32
}

// Subject returns the subject of the journal.
func (k Key) Subject() string { return topology.Journal(k.Channel, k.Incident, k.Wave, k.Page) }

// Receipts returns the subject of the journal's receipts.
func (k Key) Receipts() string { return topology.Receipt(k.Channel, k.Incident, k.Wave, k.Page) }

func (k Key) String() string { return k.Subject() }

// Journal reads and writes journals.
type Journal struct {
	bus   *bus.Bus
	out   bus.Appender
	words *Words
	now   func() time.Time
}

// New returns a Journal that reads through b and writes through out.
func New(b *bus.Bus, out bus.Appender, now func() time.Time) *Journal {
	return &Journal{bus: b, out: out, words: NewWords(), now: now}
}

// Load folds a journal as it is now, read at the stream's leader, and its receipts. An empty journal gives a state that is
// not opened.
func (j *Journal) Load(ctx context.Context, k Key) (*State, error) {
	st := NewState(j.words, k.Channel, true)
	m, err := j.bus.Last(ctx, topology.StreamJournal, k.Subject())
	if errors.Is(err, bus.ErrNotFound) {
		return st, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k, err)
	}
	// Most journals are loaded to begin with them. Opened is first, so one that ends with it holds nothing else.
	if e := (&candorv1.JournalEntry{}); proto.Unmarshal(m.Data, e) == nil && e.GetOpened() != nil {
		return st, fold{st}.Fold(m)
	}
	if err := j.CatchUp(ctx, k, st); err != nil {
		return nil, err
	}
	if err := j.Hear(ctx, k, st); err != nil {
		return nil, err
	}
	return st, nil
}

// CatchUp folds what was written since the state was last read.
func (j *Journal) CatchUp(ctx context.Context, k Key, st *State) error {
	return j.bus.CatchUp(ctx, topology.StreamJournal, k.Subject(), fold{st})
}

// Hear folds the receipts that came since the state last heard.
func (j *Journal) Hear(ctx context.Context, k Key, st *State) error {
	return j.bus.CatchUp(ctx, topology.StreamReceipts, k.Receipts(), hearing{st})
}

// hearing takes receipts into the state of their journal.
type hearing struct{ st *State }

func (h hearing) LastSeq() uint64 { return h.st.HeardSeq }

func (h hearing) Fold(m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("receipt %d is damaged: %w", m.Seq, err)
	}
	return h.st.Hear(m.Seq, e)
}

// fold applies messages of one journal to its state.
type fold struct{ st *State }

func (f fold) LastSeq() uint64 { return f.st.LastSeq }

func (f fold) Fold(m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("entry %d is damaged: %w", m.Seq, err)
	}
	return f.st.Apply(m.Seq, e)
}

// Entry makes an entry of an event, with an id of its own.
func (j *Journal) Entry() *candorv1.JournalEntry {
	return &candorv1.JournalEntry{EntryId: entryID(), OccurredAt: timestamppb.New(j.now())}
}

func entryID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return binary.LittleEndian.Uint64(b[:]) | 1
}

// Fence appends an entry that may land only if nobody wrote since st was read, and folds it.
// It returns bus.ErrOvertaken, with st read again, if somebody did.
//
// A crash here leaves either nothing or the entry: an intent without outcome, which the next owner finds out about.
func (j *Journal) Fence(ctx context.Context, k Key, st *State, e *candorv1.JournalEntry) error {
	data, err := proto.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal %s: encode entry: %w", k, err)
	}
	mine := func(m bus.Stored) bool {
		other := &candorv1.JournalEntry{}
		return proto.Unmarshal(m.Data, other) == nil && other.GetEntryId() == e.GetEntryId()
	}
	return j.bus.AppendFenced(ctx, j.out, topology.StreamJournal, bus.Message{Subject: k.Subject(), Data: data}, fold{st}, mine)
}

// Fact appends an entry that states what happened, whatever else was written, and folds it. It tries until it lands
// or ctx ends: a fact that is not recorded is a customer told twice.
func (j *Journal) Fact(ctx context.Context, k Key, st *State, e *candorv1.JournalEntry) error {
	// The expectation only tells whether something was written in between, which must be folded before the next intent.
	for {
		err := j.Fence(ctx, k, st, e)
		if !errors.Is(err, bus.ErrOvertaken) {
			return err
		}
	}
}
