package provider

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

var (
	// ErrLate means that send_before had passed: nothing more was written.
	ErrLate = errors.New("send_before has passed")
	// ErrStalled means that the clocks parted since the intent, as they do when a machine is suspended: nothing more was written.
	ErrStalled = errors.New("wall and monotonic clock disagree since the intent")
	errSealed  = errors.New("request was given up before it was written")
)

// maxDisagreement is how far the two clocks may part between intent and send.
const maxDisagreement = time.Second

// timeLeft is the time until sendBefore by the clock that is further ahead.
func timeLeft(now, sendBefore time.Time) (time.Duration, error) {
	mono := sendBefore.Sub(now)
	wall := sendBefore.Round(0).Sub(now.Round(0))
	if mono-wall > maxDisagreement || wall-mono > maxDisagreement {
		return 0, ErrStalled
	}
	left := min(mono, wall)
	if left <= 0 {
		return 0, ErrLate
	}
	return left, nil
}

// progress of a Call towards the wire. Only conn.Write and Call.seal change it.
const (
	untouched uint32 = iota // no Write yet
	writing                 // a first Write is with the kernel
	empty                   // Writes failed and no byte left
	gone                    // bytes left, or may have
	sealed                  // given up, proven unsent; a Write still to come is refused
)

// conn refuses the bytes of a request whose time is over. It is the last place before the kernel, so nothing that happens
// earlier (waiting for a connection, dialling, a suspended machine) can make a request late. What remains is a process that
// is stopped between the check and write(2).
type conn struct {
	net.Conn
	call atomic.Pointer[Call] // the request that the bytes belong to; nil between requests and in the TLS handshake
}

func (c *conn) Write(p []byte) (int, error) {
	call := c.call.Load()
	if call == nil {
		return c.Conn.Write(p)
	}
	if !call.sendBefore.IsZero() {
		left, err := timeLeft(call.t.now(), call.sendBefore)
		if err != nil {
			call.refused.CompareAndSwap(nil, &err)
			return 0, err
		}
		// A kernel deadline, so by the machine's clock and not by ours.
		if err := c.SetWriteDeadline(time.Now().Add(left)); err != nil {
			return 0, err
		}
	}
	if !call.progress.CompareAndSwap(untouched, writing) && !call.progress.CompareAndSwap(empty, writing) && call.progress.Load() == sealed {
		return 0, errSealed
	}
	n, err := c.Conn.Write(p)
	if n > 0 {
		call.progress.Store(gone)
	} else {
		call.progress.CompareAndSwap(writing, empty)
	}
	return n, err
}
