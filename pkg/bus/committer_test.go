package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

func committer(t testing.TB, b *bus.Bus) (c *bus.Committer, stop func()) {
	t.Helper()
	c = bus.NewCommitter(b, topology.StreamJournal, bus.CommitterOptions{})
	return c, background(t, c.Run)
}

func TestCommitterGivesEverybodyTheirOwnSequence(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	c, _ := committer(t, b)
	const writers, each = 100, 20
	var wg sync.WaitGroup
	for w := range uint32(writers) {
		wg.Go(func() {
			subject := topology.Journal(sms, "inc", "w0", w)
			var last uint64
			for i := range each {
				seq, err := c.Append(t.Context(), bus.Message{Subject: subject, Data: fmt.Append(nil, i), Expect: bus.Seq(last)})
				if err != nil || seq <= last {
					t.Errorf("Append = %d, %v after %d", seq, err, last)
					return
				}
				last = seq
			}
			s, err := b.Last(t.Context(), topology.StreamJournal, subject)
			if err != nil || s.Seq != last || string(s.Data) != fmt.Sprint(each-1) {
				t.Errorf("%s ends with %d %s, %v; want %d", subject, s.Seq, s.Data, err, last)
			}
		})
	}
	wg.Wait()
	if st, err := b.State(t.Context(), topology.StreamJournal); err != nil || st.Msgs != writers*each || st.Last != writers*each {
		t.Errorf("%+v, %v; want %d entries", st, err, writers*each)
	}
}

func TestCommitterRefusesOnlyThoseWhoseFenceIsStale(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	const writers = 200
	stale := map[uint32]bool{7: true, 8: true, 100: true, 199: true}
	for w := range stale {
		mustAppend(t, b, topology.StreamJournal, bus.Message{Subject: topology.Journal(sms, "inc", "w0", w)})
	}
	c := bus.NewCommitter(b, topology.StreamJournal, bus.CommitterOptions{})
	var wg, queuedUp sync.WaitGroup
	var won, lost atomic.Int32
	queuedUp.Add(writers)
	for w := range uint32(writers) {
		wg.Go(func() {
			queuedUp.Done()
			_, err := c.Append(t.Context(), bus.Message{Subject: topology.Journal(sms, "inc", "w0", w), Expect: bus.Seq(0)})
			var wrong *bus.WrongSequenceError
			switch {
			case stale[w] && !errors.As(err, &wrong):
				t.Errorf("stale writer %d got %v, want a WrongSequenceError", w, err)
			case stale[w] && (wrong.Subject != topology.Journal(sms, "inc", "w0", w) || !wrong.LastKnown):
				t.Errorf("stale writer %d got %+v", w, wrong)
			case stale[w]:
				lost.Add(1)
			case err != nil:
				t.Errorf("writer %d got %v", w, err)
			default:
				won.Add(1)
			}
		})
	}
	queuedUp.Wait()
	background(t, c.Run)
	wg.Wait()
	if int(lost.Load()) != len(stale) || int(won.Load()) != writers-len(stale) {
		t.Errorf("%d won and %d lost", won.Load(), lost.Load())
	}
}

func TestCommitterKeepsTheOrderOfASubject(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	c := bus.NewCommitter(b, topology.StreamJournal, bus.CommitterOptions{})
	subject := topology.Journal(sms, "inc", "w0", 1)
	const n = 30
	var wg sync.WaitGroup
	seqs := make([]uint64, n)
	for i := range n {
		queuedUp := c.Queued()
		wg.Go(func() {
			// In a stream of its own the sequences are known beforehand.
			seq, err := c.Append(t.Context(), bus.Message{Subject: subject, Data: fmt.Append(nil, i), Expect: bus.Seq(uint64(i))})
			if err != nil {
				t.Error(err)
			}
			seqs[i] = seq
		})
		until(t, "it is queued", func() bool { return c.Queued() == queuedUp+1 })
	}
	background(t, c.Run)
	wg.Wait()
	for i := 1; i < n; i++ {
		if seqs[i] != seqs[i-1]+1 {
			t.Fatalf("sequences %v, want them one after the other", seqs)
		}
	}
}

func TestCommitterTakesWhatWasQueuedWhenItStopsAndNothingAfter(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	c := bus.NewCommitter(b, topology.StreamJournal, bus.CommitterOptions{})
	var wg sync.WaitGroup
	for i := range uint32(50) {
		wg.Go(func() {
			if _, err := c.Append(t.Context(), bus.Message{Subject: topology.Journal(sms, "inc", "w0", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "all are queued", func() bool { return c.Queued() == 50 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := c.Append(t.Context(), bus.Message{Subject: topology.Journal(sms, "inc", "w0", 1)}); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Append after the end = %v, want ErrClosed", err)
	}
}

func TestWhoGivesUpWhileQueuedIsNotStored(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	c := bus.NewCommitter(b, topology.StreamJournal, bus.CommitterOptions{}) // not running
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Append(ctx, bus.Message{Subject: topology.Journal(sms, "inc", "w0", 1)})
	if !errors.Is(err, bus.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want ErrUnavailable", err)
	}
	background(t, c.Run)
	if _, err := c.Append(t.Context(), bus.Message{Subject: topology.Journal(sms, "inc", "w0", 2), Expect: bus.Seq(0)}); err != nil {
		t.Fatal(err)
	}
	if st, err := b.State(t.Context(), topology.StreamJournal); err != nil || st.Msgs != 1 {
		t.Errorf("%d entries, %v; want only the second", st.Msgs, err)
	}
}

func TestCommitterTellsEverybodyThatTheBrokerIsGone(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.start(t)
	b := r.connect(t)
	c, _ := committer(t, b)
	r.stop(t)
	until(t, "the loss is noticed", func() bool { return !b.Connected() })
	var wg sync.WaitGroup
	for i := range uint32(40) {
		wg.Go(func() {
			_, err := c.Append(t.Context(), bus.Message{Subject: topology.Journal(sms, "inc", "w0", i)})
			if !errors.Is(err, bus.ErrUnavailable) {
				t.Errorf("Append = %v, want ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
}

func TestCommitterSplitsWhatIsTooLargeForOneBatch(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	c := bus.NewCommitter(b, topology.StreamJournal, bus.CommitterOptions{MaxMessages: 40, MaxBytes: 10_000})
	data := bytes.Repeat([]byte("x"), 300) // 34 of them are more than 10,000 bytes
	var wg sync.WaitGroup
	for i := range uint32(200) {
		wg.Go(func() {
			if _, err := c.Append(t.Context(), bus.Message{Subject: topology.Journal(sms, "inc", "w0", i), Data: data, Expect: bus.Seq(0)}); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "all are queued", func() bool { return c.Queued() == 200 })
	background(t, c.Run)
	wg.Wait()
}
