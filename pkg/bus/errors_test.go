package bus

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestRefusalsOfTheBroker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  jetstream.APIError
		want error
	}{
		{"write-once subject", jetstream.APIError{ErrorCode: 10077, Description: "maximum messages per subject exceeded"}, ErrExists},
		{"stream is full", jetstream.APIError{ErrorCode: 10077, Description: "maximum bytes exceeded"}, ErrNoSpace},
		{"store is full", jetstream.APIError{ErrorCode: 10047, Description: "insufficient storage resources available"}, ErrNoSpace},
		{"no memory", jetstream.APIError{ErrorCode: 10023, Description: "insufficient resources"}, ErrNoSpace},
		{"no message", jetstream.APIError{ErrorCode: 10037, Description: "no message found"}, ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := refusal("s", &tt.err); !errors.Is(got, tt.want) {
				t.Errorf("refusal = %v, want %v", got, tt.want)
			}
		})
	}
	for _, tt := range []struct {
		name string
		err  jetstream.APIError
		want WrongSequenceError
	}{
		{"last sequence known", jetstream.APIError{ErrorCode: 10071, Description: "wrong last sequence: 42"}, WrongSequenceError{"s", 42, true}},
		{"one is in flight", jetstream.APIError{ErrorCode: 10164, Description: "wrong last sequence"}, WrongSequenceError{"s", 0, false}},
		{"unreadable number", jetstream.APIError{ErrorCode: 10071, Description: "wrong last sequence: x"}, WrongSequenceError{"s", 0, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got *WrongSequenceError
			if !errors.As(refusal("s", &tt.err), &got) || *got != tt.want {
				t.Errorf("refusal = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestOnlyWhatNeverLeftUsIsCalledNotStored(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want error
	}{
		{nats.ErrReconnectBufExceeded, ErrUnavailable},
		{nats.ErrNoResponders, ErrUnavailable},
		{nats.ErrConnectionClosed, ErrUnavailable},
		{nats.ErrTimeout, ErrUnknownOutcome},
		{context.DeadlineExceeded, ErrUnknownOutcome},
		{context.Canceled, ErrUnknownOutcome},
		{errors.New("broken pipe"), ErrUnknownOutcome},
	} {
		got := lost(tt.err)
		if !errors.Is(got, tt.want) || !errors.Is(got, tt.err) || errors.Is(got, ErrUnavailable) && errors.Is(got, ErrUnknownOutcome) {
			t.Errorf("lost(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
	if got := lost(nats.ErrMaxPayload); errors.Is(got, ErrUnknownOutcome) || errors.Is(got, ErrUnavailable) {
		t.Errorf("lost(max payload) = %v: too large is neither unknown nor worth a retry", got)
	}
}
