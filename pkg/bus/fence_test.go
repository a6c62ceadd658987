package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

// tale is a fold that remembers what it was told.
type tale struct {
	last uint64
	told []string
}

func (f *tale) LastSeq() uint64 { return f.last }

func (f *tale) Fold(m bus.Stored) error {
	f.last = m.Seq
	f.told = append(f.told, string(m.Data))
	return nil
}

// appender lets a test come between an append and its answer.
type appender func(ctx context.Context, m bus.Message) (uint64, error)

func (a appender) Append(ctx context.Context, m bus.Message) (uint64, error) { return a(ctx, m) }

func TestAppendFencedFindsOutWhatBecameOfAnAppend(t *testing.T) {
	t.Parallel()
	broken := errors.New("refused for good")
	for _, tt := range []struct {
		name string
		// answer is given each attempt's number, and a way to append.
		answer func(n int, mine, other func() error) error
		want   error
		told   string
	}{
		{"stored", func(_ int, mine, _ func() error) error { return mine() }, nil, "[mine]"},
		{"stored, and the answer lost", func(_ int, mine, _ func() error) error { return errors.Join(mine(), bus.ErrUnknownOutcome) }, nil, "[mine]"},
		{"lost, then stored", func(n int, mine, _ func() error) error {
			if n == 1 {
				return bus.ErrUnknownOutcome
			}
			return mine()
		}, nil, "[mine]"},
		{"not sent, then stored", func(n int, mine, _ func() error) error {
			if n < 3 {
				return bus.ErrUnavailable
			}
			return mine()
		}, nil, "[mine]"},
		{"somebody else was first", func(_ int, mine, other func() error) error { return errors.Join(other(), mine()) }, bus.ErrOvertaken, "[other]"},
		{"stored, the answer lost, and somebody else came after", func(_ int, mine, other func() error) error {
			return errors.Join(mine(), other(), bus.ErrUnknownOutcome)
		}, nil, "[mine other]"},
		{"refused for good", func(int, func() error, func() error) error { return broken }, broken, "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := bustest.New(t)
			direct := bus.Direct{Bus: b, Stream: topology.StreamJournal}
			m := bus.Message{Subject: topology.Journal(sms, "inc", "w0", 1), Data: []byte("mine")}
			n := 0
			out := appender(func(ctx context.Context, m bus.Message) (seq uint64, err error) {
				n++
				err = tt.answer(n, func() (err error) {
					seq, err = direct.Append(ctx, m)
					return err
				}, func() error {
					_, err := direct.Append(ctx, bus.Message{Subject: m.Subject, Data: []byte("other")})
					return err
				})
				return seq, err
			})
			f := &tale{}
			err := b.AppendFenced(t.Context(), out, topology.StreamJournal, m, f, func(s bus.Stored) bool { return string(s.Data) == "mine" })
			if !errors.Is(err, tt.want) || fmt.Sprint(f.told) != tt.told {
				t.Errorf("AppendFenced = %v, folded %v; want %v and %s", err, f.told, tt.want, tt.told)
			}
			again := &tale{}
			if err := b.CatchUp(t.Context(), topology.StreamJournal, m.Subject, again); err != nil || fmt.Sprint(again.told) != tt.told {
				t.Errorf("stored is %v, %v; want %s", again.told, err, tt.told)
			}
		})
	}
}
