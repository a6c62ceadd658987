package provider_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"candor/pkg/provider"
)

// pipe is a guarded end, and how many bytes came out at the other.
func pipe(t *testing.T) (provider.Guard, func() int) {
	t.Helper()
	near, far := net.Pipe()
	read := make(chan int)
	go func() {
		n, b := 0, make([]byte, 64)
		for {
			k, err := far.Read(b)
			n += k
			if err != nil {
				read <- n
				return
			}
		}
	}()
	return provider.NewGuard(near), func() int { _ = near.Close(); return <-read }
}

func TestGuardRefusesWhatIsLate(t *testing.T) {
	t.Parallel()
	g, came := pipe(t)
	now := time.Now()
	late := false
	clock := func() time.Time {
		if late {
			return now.Add(time.Hour)
		}
		return now
	}
	before, commit := provider.NewGuardedCall(now.Add(time.Minute), clock), provider.NewGuardedCall(now.Add(time.Minute), clock)
	g.Carry(nil)
	_, _ = g.Write([]byte("hello "))
	g.Carry(before)
	if err := before.Late(); err != nil {
		t.Fatal(err)
	}
	_, _ = g.Write([]byte("text "))
	late = true
	if err := before.Late(); !errors.Is(err, provider.ErrLate) {
		t.Errorf("late by an hour: %v", err)
	}
	g.Carry(commit)
	_, err := g.Write([]byte("end"))
	if !errors.Is(err, provider.ErrLate) {
		t.Errorf("written an hour late: %v", err)
	}
	// What can be taken back had left; the commit had not.
	if o := commit.Failure(err); o.Class != provider.NotSent || o.Reason != "send_before_passed" {
		t.Errorf("outcome %+v, want not sent", o)
	}
	if n := came(); n != len("hello text ") {
		t.Errorf("%d bytes came through", n)
	}
}

func TestGuardKnowsThatTheCommitLeft(t *testing.T) {
	t.Parallel()
	g, came := pipe(t)
	commit := provider.NewGuardedCall(time.Now().Add(time.Minute), time.Now)
	g.Carry(commit)
	_, _ = g.Write([]byte("end"))
	_ = came()
	if o := commit.Failure(net.ErrClosed); o.Class != provider.Unknown {
		t.Errorf("outcome %+v, want unknown", o)
	}
}
