package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

func TestOfTwoWritersThatReadTheSameStateOneWins(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	subject := topology.Journal(sms, "inc", "w0", 1)
	last := mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: subject, Expect: bus.Seq(0)})
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: subject, Expect: bus.Seq(last)})
			var wrong *bus.WrongSequenceError
			switch {
			case err == nil:
				won.Add(1)
			case !errors.As(err, &wrong):
				t.Errorf("Append = %v, want a WrongSequenceError", err)
			case wrong.Subject != subject || !wrong.LastKnown || wrong.Last != last+1:
				t.Errorf("refused with %+v, want last %d", wrong, last+1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d writers won, want 1", won.Load())
	}
}

func TestRetryAfterALostAcknowledgementIsRefusedWithTheSequenceToLookAt(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	m := bus.Message{Subject: topology.Journal(sms, "inc", "w0", 1), Data: []byte("mine"), Expect: bus.Seq(0)}
	seq := mustAppend(t, b, topology.StreamJournal, m)
	_, err := b.Append(t.Context(), topology.StreamJournal, m)
	var wrong *bus.WrongSequenceError
	if !errors.As(err, &wrong) || !wrong.LastKnown || wrong.Last != seq {
		t.Fatalf("second Append = %v, want a WrongSequenceError with %d", err, seq)
	}
	if s, err := b.Last(t.Context(), topology.StreamJournal, m.Subject); err != nil || s.Seq != seq || string(s.Data) != "mine" {
		t.Errorf("Last = %d %s, %v; want my entry", s.Seq, s.Data, err)
	}
}

func TestAnEmptiedJournalCannotBeMadeToLookFresh(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	subject := topology.Journal(sms, "inc", "w0", 1)
	seq := mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: subject, Expect: bus.Seq(0)})
	if n, err := b.Purge(t.Context(), topology.StreamJournal, topology.JournalsOf("inc")); err == nil {
		t.Errorf("Purge took %d entries, want a refusal", n)
	}
	stream, err := b.JS().Stream(t.Context(), topology.StreamJournal)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), seq); err == nil {
		t.Error("an entry was deleted, want a refusal")
	}
	var wrong *bus.WrongSequenceError
	if _, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: subject, Expect: bus.Seq(0)}); !errors.As(err, &wrong) {
		t.Errorf("opened twice: %v, want a WrongSequenceError", err)
	}
}

func TestAPageIsWrittenOnce(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	m := bus.Message{Subject: topology.Page("inc", 1), Data: []byte("sealed")}
	mustAppend(t, b, topology.StreamRoster, m)
	if _, err := b.Append(t.Context(), topology.StreamRoster, m); !errors.Is(err, bus.ErrExists) {
		t.Errorf("second write = %v, want ErrExists", err)
	}
	if n, err := b.Purge(t.Context(), topology.StreamRoster, topology.Pages("inc")); err != nil || n != 1 {
		t.Errorf("Purge = %d, %v; want 1", n, err)
	}
}

func TestABatchIsAllOrNothing(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	batch := func(n int) []bus.Message {
		ms := make([]bus.Message, n)
		for i := range ms {
			ms[i] = bus.Message{Subject: topology.Journal(sms, "inc", "w0", uint32(i)), Data: fmt.Append(nil, i), Expect: bus.Seq(0)}
		}
		return ms
	}
	count := func() uint64 {
		st, err := b.State(t.Context(), topology.StreamJournal)
		if err != nil {
			t.Fatal(err)
		}
		return st.Msgs
	}
	taken := mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: topology.Journal(sms, "inc", "w0", 500)})

	_, err := b.AppendBatch(t.Context(), topology.StreamJournal, batch(bus.MaxBatch))
	var wrong *bus.WrongSequenceError
	if !errors.Is(err, bus.ErrBatchRefused) || !errors.As(err, &wrong) || !wrong.LastKnown || wrong.Last != taken {
		t.Fatalf("AppendBatch with one stale fence = %v, want it refused with %d", err, taken)
	}
	if n := count(); n != 1 {
		t.Fatalf("%d entries after a refused batch, want 1", n)
	}

	ms := batch(bus.MaxBatch)
	ms[500].Expect = bus.Seq(taken)
	start, err := b.AppendBatch(t.Context(), topology.StreamJournal, ms)
	if err != nil || start != taken+1 {
		t.Fatalf("AppendBatch = %d, %v; want %d", start, err, taken+1)
	}
	for _, i := range []int{0, 500, 999} {
		s, err := b.Last(t.Context(), topology.StreamJournal, ms[i].Subject)
		if err != nil || s.Seq != start+uint64(i) || string(s.Data) != fmt.Sprint(i) {
			t.Errorf("entry %d = %d %s, %v; want sequence %d", i, s.Seq, s.Data, err, start+uint64(i))
		}
		if len(s.Header) != 0 {
			t.Errorf("entry %d has headers %v", i, s.Header)
		}
	}
	if _, err := b.AppendBatch(t.Context(), topology.StreamJournal, batch(bus.MaxBatch+1)); err == nil {
		t.Error("a batch of 1,001 was accepted")
	}
	if _, err := b.AppendBatch(t.Context(), topology.StreamJournal, nil); err == nil {
		t.Error("an empty batch was accepted")
	}
}

func TestASubjectThatIsBeingWrittenIsRefusedWithoutANumber(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	subject := topology.Journal(sms, "inc", "w0", 1)
	ms := []bus.Message{{Subject: subject, Expect: bus.Seq(0)}, {Subject: subject, Expect: bus.Seq(1)}}
	_, err := b.AppendBatch(t.Context(), topology.StreamJournal, ms)
	var wrong *bus.WrongSequenceError
	if !errors.As(err, &wrong) || wrong.LastKnown {
		t.Errorf("AppendBatch = %v, want a WrongSequenceError without a number (10164)", err)
	}
}

func TestHeadersOfTheBrokerAreRefused(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	// In a cluster the broker answers "duplicate" before it looks at the fence.
	m := bus.Message{Subject: topology.Journal(sms, "inc", "w0", 1), Header: map[string]string{"Nats-Msg-Id": "1"}}
	if _, err := b.Append(t.Context(), topology.StreamJournal, m); err == nil || !strings.Contains(err.Error(), "Nats-Msg-Id") {
		t.Errorf("Append with Nats-Msg-Id = %v, want a refusal that names it", err)
	}
}

func TestAMessageForTheWrongStreamIsNotStored(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if seq, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: topology.Page("inc", 1)}); err == nil {
		t.Errorf("stored as %d", seq)
	}
	if _, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: "nowhere"}); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Append to a subject without a stream = %v, want ErrUnavailable", err)
	}
	st, err := b.State(t.Context(), topology.StreamRoster)
	if err != nil || st.Msgs != 0 {
		t.Errorf("ROSTER holds %d, %v; want nothing", st.Msgs, err)
	}
}
