package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Schedule puts a message on target at an instant (now, if that is past), and returns when the broker has it on disk.
//
// NATS fires to the second, by the machine's clock. Where the calendar runs s times as fast, the message comes up to about
// 2·s seconds off: at 3600 within two hours.
//
// The message waits on later, a subject of the same stream, where another schedule replaces it and a purge ends it.
// A schedule wakes; it does not permit: the receiver looks again.
func (b *Bus) Schedule(ctx context.Context, later, target string, at time.Time, data []byte, header map[string]string) error {
	msg, err := wire("", Message{Subject: later, Data: data, Header: header})
	if err == nil {
		msg.Header[jetstream.ScheduleHeader] = []string{"@at " + b.clock.ToMachine(at).UTC().Format(time.RFC3339Nano)}
		msg.Header[jetstream.ScheduleTargetHeader] = []string{target}
		_, err = b.publish(ctx, "", msg)
	}
	if err != nil {
		return fmt.Errorf("schedule %s: %w", later, err)
	}
	return nil
}
