package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

// fill stores n entries on pages 0 to 9, one page after the other, and returns the last sequence.
func fill(t testing.TB, b *bus.Bus, n int) uint64 {
	t.Helper()
	var last uint64
	for start := 0; start < n; start += bus.MaxBatch {
		ms := make([]bus.Message, min(n-start, bus.MaxBatch))
		for i := range ms {
			ms[i] = bus.Message{Subject: topology.Journal(sms, "inc", "w0", uint32((start+i)%10)), Data: fmt.Append(nil, start+i)}
		}
		first, err := b.AppendBatch(t.Context(), topology.StreamJournal, ms)
		if err != nil {
			t.Fatal(err)
		}
		last = first + uint64(len(ms)) - 1
	}
	return last
}

func TestReadHandsOverEverythingUpToNow(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	last := fill(t, b, 5000)
	page3, page4 := topology.Journal(sms, "inc", "w0", 3), topology.Journal(sms, "inc", "w0", 4)
	fresh := topology.Journal(sms, "inc", "w1", 0)
	for range 3 {
		mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: fresh})
	}
	for _, tt := range []struct {
		name, filter string
		from         uint64
		n            int
		first, last  uint64
	}{
		{"all", "", 0, 5003, 1, last + 3},
		{"from the middle", "", last, 4, last, last + 3},
		{"after the end", "", last + 4, 0, 0, last + 3},
		{"one page", page3, 1, 500, 4, last + 3},
		{"the end of one page", page4, last - 20, 2, last - 15, last + 3},
		{"a short subject", fresh, 1, 3, last + 1, last + 3},
		{"a wave", "journal.*.inc.w0.>", 1, 5000, 1, last + 3},
		{"nothing there", "journal.email.>", 1, 0, 0, last + 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seqs []uint64
			got, err := b.Read(t.Context(), topology.StreamJournal, tt.filter, tt.from, func(s bus.Stored) error {
				seqs = append(seqs, s.Seq)
				return nil
			})
			if err != nil || got != tt.last || len(seqs) != tt.n || !slices.IsSorted(seqs) {
				t.Fatalf("Read = %d, %v with %d messages; want %d with %d", got, err, len(seqs), tt.last, tt.n)
			}
			if tt.n > 0 && seqs[0] != tt.first {
				t.Errorf("first is %d, want %d", seqs[0], tt.first)
			}
		})
	}
}

func TestReadStopsAtTheReadersError(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	fill(t, b, 50)
	damaged := errors.New("damaged")
	for _, filter := range []string{"", topology.Journal(sms, "inc", "w0", 3)} {
		n := 0
		_, err := b.Read(t.Context(), topology.StreamJournal, filter, 1, func(bus.Stored) error {
			n++
			return damaged
		})
		if !errors.Is(err, damaged) || n != 1 {
			t.Errorf("Read = %v after %d messages, want the reader's error after 1", err, n)
		}
	}
	if _, err := b.Read(t.Context(), "NOSUCH", "", 1, func(bus.Stored) error { return nil }); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("Read of no stream = %v, want ErrNotFound", err)
	}
}

func TestReadEndsAlthoughItsLastMessageIsPurgedMeanwhile(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for i := range uint32(20) {
		mustAppend(t, b, topology.StreamRoster, bus.Message{Subject: topology.Page("inc", i)})
	}
	n := 0
	_, err := b.Read(t.Context(), topology.StreamRoster, "", 1, func(bus.Stored) error {
		if n++; n == 1 {
			_, err := b.Purge(t.Context(), topology.StreamRoster, topology.Pages("inc"))
			return err
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("Read = %v after %d messages", err, n)
	}
}

func TestFollowHandsOverThePastThenThePresentAcrossARestart(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.start(t)
	b := r.connect(t)
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	last := fill(t, b, 2500)
	seqs := make(chan uint64, 3000)
	caught := make(chan uint64, 2)
	background(t, func(ctx context.Context) error {
		return b.Follow(ctx, topology.StreamJournal, nil, 1, func(s bus.Stored) error {
			seqs <- s.Seq
			return nil
		}, func(seq uint64) { caught <- seq })
	})
	if seq := within(t, "caught up", caught); seq != last || len(seqs) != 2500 {
		t.Fatalf("caught up at %d with %d messages, want %d with 2500", seq, len(seqs), last)
	}
	r.stop(t)
	until(t, "the loss is noticed", func() bool { return !b.Connected() })
	r.start(t)
	until(t, "connected again", b.Connected)
	last = fill(t, b, 10)
	for want := uint64(1); want <= last; want++ {
		if got := within(t, "the next message", seqs); got != want {
			t.Fatalf("got sequence %d, want %d", got, want)
		}
	}
	if len(caught) != 0 {
		t.Error("caught up was told twice")
	}
}

func TestFollowTellsAtOnceThatAnEmptyStreamIsRead(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	seqs, caught := make(chan uint64, 10), make(chan uint64, 10)
	background(t, func(ctx context.Context) error {
		return b.Follow(ctx, topology.StreamJournal, []string{"journal.sms.>", "journal.email.>"}, 1, func(s bus.Stored) error {
			seqs <- s.Seq
			return nil
		}, func(seq uint64) { caught <- seq })
	})
	if seq := within(t, "caught up", caught); seq != 0 {
		t.Errorf("caught up at %d, want 0", seq)
	}
	mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: topology.Journal(email, "inc", "w0", 1)})
	if seq := within(t, "the first message", seqs); seq != 1 {
		t.Errorf("got %d, want 1", seq)
	}
}

func TestFollowEndsWithTheReadersError(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	fill(t, b, 3)
	damaged := errors.New("damaged")
	err := b.Follow(t.Context(), topology.StreamJournal, nil, 1, func(bus.Stored) error { return damaged }, nil)
	if !errors.Is(err, damaged) {
		t.Errorf("Follow = %v, want the reader's error", err)
	}
}

func TestCountSubjectsAndState(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	last := fill(t, b, 25)
	counts, err := b.CountSubjects(t.Context(), topology.StreamJournal, topology.JournalsOf("inc"))
	if err != nil || len(counts) != 10 || counts[topology.Journal(sms, "inc", "w0", 4)] != 3 || counts[topology.Journal(sms, "inc", "w0", 5)] != 2 {
		t.Errorf("CountSubjects = %v, %v", counts, err)
	}
	st, err := b.State(t.Context(), topology.StreamJournal)
	if err != nil || st.First != 1 || st.Last != last || st.Msgs != 25 || st.Deleted != 0 || st.Created.IsZero() {
		t.Errorf("State = %+v, %v", st, err)
	}
}
