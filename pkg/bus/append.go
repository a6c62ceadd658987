package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// MaxBatch is how many messages one atomic batch may have.
const MaxBatch = 1000

// Append stores one message and returns its sequence when it is on disk.
//
// It never tries twice. A fenced append that somebody else preceded is a *WrongSequenceError; ErrUnavailable says that
// nothing was stored; after ErrUnknownOutcome only reading the subject's last message tells.
func (b *Bus) Append(ctx context.Context, stream string, m Message) (uint64, error) {
	msg, err := wire(stream, m)
	if err != nil {
		return 0, fmt.Errorf("append %s: %w", m.Subject, err)
	}
	seq, err := b.publish(ctx, stream, msg)
	if err != nil {
		return 0, fmt.Errorf("append %s: %w", m.Subject, err)
	}
	return seq, nil
}

func (b *Bus) publish(ctx context.Context, stream string, msg *nats.Msg) (uint64, error) {
	rctx, cancel := b.bounded(ctx)
	defer cancel()
	reply, err := b.nc.RequestMsgWithContext(rctx, msg)
	if err != nil {
		b.reportStuck(ctx, stream, err)
		return 0, lost(err)
	}
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("%w: not an acknowledgement: %w", ErrUnknownOutcome, err)
	}
	if ack.Error != nil {
		return 0, refusal(msg.Subject, ack.Error)
	}
	if stream != "" && ack.Stream != stream || ack.Seq == 0 {
		return 0, fmt.Errorf("%w: acknowledged by stream %q", ErrUnknownOutcome, ack.Stream)
	}
	return ack.Seq, nil
}

// AppendBatch stores up to MaxBatch messages as one: all of them, with consecutive sequences from first on, or none.
//
// It costs a handful of fsyncs, however many messages it has. A subject may appear twice only if its later messages are unfenced. A definite refusal is
// ErrBatchRefused and wraps the reason.
func (b *Bus) AppendBatch(ctx context.Context, stream string, ms []Message) (first uint64, err error) {
	switch {
	case len(ms) == 0:
		return 0, errors.New("append an empty batch")
	case len(ms) == 1:
		if first, err = b.Append(ctx, stream, ms[0]); err != nil && refused(err) {
			err = fmt.Errorf("%w: %w", ErrBatchRefused, err)
		}
		return first, err
	case len(ms) > MaxBatch:
		return 0, fmt.Errorf("append %d messages to %s: a batch has at most %d", len(ms), stream, MaxBatch)
	}
	msgs := make([]*nats.Msg, len(ms))
	for i, m := range ms {
		if msgs[i], err = wire(stream, m); err != nil {
			return 0, fmt.Errorf("append %s: %w", m.Subject, err)
		}
	}
	rctx, cancel := b.bounded(ctx)
	defer cancel()
	// No acknowledgement of the first message: if it goes missing the commit is refused as incomplete.
	ack, err := jetstreamext.PublishMsgBatch(rctx, b.js, msgs, jetstreamext.BatchFlowControl{AckFirst: false})
	var api *jetstream.APIError
	switch {
	case err == nil:
		return ack.Sequence - uint64(len(ms)) + 1, nil
	case errors.As(err, &api):
		return 0, fmt.Errorf("append to %s: %w: %w", stream, ErrBatchRefused, refusal("", api))
	}
	b.reportStuck(ctx, stream, err)
	return 0, fmt.Errorf("append %d messages to %s: %w", len(ms), stream, lost(err))
}

// refused says that the broker answered, and that the answer was no.
func refused(err error) bool {
	return !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrUnavailable)
}

// reportStuck tells the embedded server that a stream did not answer in time, unless it was the caller who gave up.
func (b *Bus) reportStuck(ctx context.Context, stream string, err error) {
	if ctx.Err() == nil && !notSent(err) && b.nc.IsConnected() {
		b.stuck(stream)
	}
}

func wire(stream string, m Message) (*nats.Msg, error) {
	h, err := wireHeader(m.Header)
	if err != nil {
		return nil, err
	}
	if stream != "" {
		h[jetstream.ExpectedStreamHeader] = []string{stream}
	}
	if m.Expect != nil {
		h[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(*m.Expect, 10)}
	}
	return &nats.Msg{Subject: m.Subject, Data: m.Data, Header: h}, nil
}
