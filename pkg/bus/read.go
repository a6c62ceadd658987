package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	everything   = ">"
	shortRead    = 8               // messages of one subject worth asking for one by one
	readWindow   = 8 << 20         // bytes in flight to a reader
	readMessages = 4096            // and messages
	idleCheck    = time.Second     // without a message a reader asks whether it still misses something
	readerLife   = 5 * time.Second // of a reader's consumer after the reader is gone
	retryPause   = 250 * time.Millisecond
)

// Last returns the newest message on a subject (or filter), as the stream's leader sees it; ErrNotFound if there is none.
func (b *Bus) Last(ctx context.Context, stream, subject string) (Stored, error) {
	return b.get(ctx, stream, getRequest{LastFor: subject})
}

// Next returns the first message on a subject (or filter) at or after a sequence, as the stream's leader sees it.
func (b *Bus) Next(ctx context.Context, stream, subject string, fromSeq uint64) (Stored, error) {
	return b.get(ctx, stream, getRequest{NextFor: subject, Seq: max(fromSeq, 1)})
}

// LastDirect is Last for what never changes once written: any replica may answer, without base64 on the way.
func (b *Bus) LastDirect(ctx context.Context, stream, subject string) (Stored, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	m, err := b.nc.RequestMsgWithContext(ctx, nats.NewMsg("$JS.API.DIRECT.GET."+stream+"."+subject))
	if err != nil {
		return Stored{}, fmt.Errorf("read %s: %w", subject, apiError(err))
	}
	switch status := m.Header.Get("Status"); {
	case status == "404":
		return Stored{}, fmt.Errorf("read %s: %w", subject, ErrNotFound)
	case status != "":
		return Stored{}, fmt.Errorf("read %s: %s %s", subject, status, m.Header.Get("Description"))
	}
	var s Stored
	_, err = fmt.Sscan(m.Header.Get(jetstream.SequenceHeader), &s.Seq)
	if err != nil {
		return Stored{}, fmt.Errorf("read %s: sequence: %w", subject, err)
	}
	if s.Time, err = time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer)); err != nil {
		return Stored{}, fmt.Errorf("read %s: time: %w", subject, err)
	}
	s.Subject, s.Time, s.Data, s.Header = m.Header.Get(jetstream.SubjectHeader), b.clock.FromMachine(s.Time), m.Data, readHeader(m.Header)
	return s, nil
}

type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
}

// get asks the stream's leader; the direct API may be answered by a replica that lags.
func (b *Bus) get(ctx context.Context, stream string, req getRequest) (Stored, error) {
	what := req.LastFor + req.NextFor
	body, err := json.Marshal(req)
	if err != nil {
		return Stored{}, err
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	reply, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
	if err != nil {
		return Stored{}, fmt.Errorf("read %s: %w", what, apiError(err))
	}
	var resp struct {
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &resp); err != nil {
		return Stored{}, fmt.Errorf("read %s: %w", what, err)
	}
	switch {
	case resp.Error != nil:
		return Stored{}, fmt.Errorf("read %s: %w", what, refusal(what, resp.Error))
	case resp.Message == nil:
		return Stored{}, fmt.Errorf("read %s: empty answer", what)
	}
	m := resp.Message
	s := Stored{Subject: m.Subject, Seq: m.Seq, Time: b.clock.FromMachine(m.Time), Data: m.Data}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return Stored{}, fmt.Errorf("read %s: header: %w", what, err)
		}
		s.Header = readHeader(h)
	}
	return s, nil
}

// Read hands fn everything that the stream holds now on a filter ("" for all), from a sequence on and in order.
// Nothing is missing up to last; Follow from last+1 continues without a gap.
func (b *Bus) Read(ctx context.Context, stream, filter string, fromSeq uint64, fn func(Stored) error) (last uint64, err error) {
	if filter == "" {
		filter = everything
	}
	goal, last, err := b.goal(ctx, stream, []string{filter}, fromSeq)
	if err != nil || goal == 0 {
		return last, err
	}
	// A page's journal is a handful of entries: asking for them is cheaper than a consumer.
	if literal(filter) {
		for range shortRead {
			s, err := b.Next(ctx, stream, filter, fromSeq)
			if errors.Is(err, ErrNotFound) {
				return last, nil
			}
			if err != nil {
				return 0, err
			}
			if err := fn(s); err != nil {
				return 0, err
			}
			fromSeq, last = s.Seq+1, max(last, s.Seq)
			if s.Seq >= goal {
				return last, nil
			}
		}
	}
	r := reader{b: b, stream: stream, filters: []string{filter}, next: fromSeq, goal: goal, asOf: last, once: true, fn: fn}
	if err := r.run(ctx); err != nil {
		return 0, err
	}
	return r.asOf, nil
}

// Follow hands fn every message on the filters (none for all), from a sequence on, in order and for ever; it survives
// reconnects. caughtUp is called once, when everything up to seq, the stream's last at the start, has been handed over.
// It ends with nil when ctx ends, or with the error of fn.
func (b *Bus) Follow(ctx context.Context, stream string, filters []string, fromSeq uint64, fn func(Stored) error, caughtUp func(seq uint64)) error {
	if len(filters) == 0 {
		filters = []string{everything}
	}
	r := reader{b: b, stream: stream, filters: filters, next: fromSeq, fn: fn, caughtUp: caughtUp}
	for {
		var err error
		r.goal, r.asOf, err = b.goal(ctx, stream, filters, fromSeq)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		if errors.Is(err, ErrNotFound) {
			return fmt.Errorf("follow %s: %w", stream, err)
		}
		b.log.Warn().Err(err).Str("stream", stream).Msg("cannot follow the stream yet")
		b.pause(ctx)
	}
	if r.goal == 0 {
		r.reached()
	}
	if err := r.run(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// goal finds the last sequence, at or after from, that a reader has to see before it knows all that the stream held at
// asOf; 0 if it has nothing to wait for. It asks the leader: a reader's consumer may sit on a replica that lags.
func (b *Bus) goal(ctx context.Context, stream string, filters []string, from uint64) (goal, asOf uint64, err error) {
	state, err := b.State(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range filters {
		s, err := b.Last(ctx, stream, f)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		goal = max(goal, s.Seq)
	}
	asOf = max(state.Last, goal)
	if goal < from {
		goal = 0
	}
	return goal, asOf, nil
}

// reader reads a stream through short-lived consumers, a new one from where it was whenever something is odd.
type reader struct {
	b        *Bus
	stream   string
	filters  []string
	next     uint64 // the sequence to go on from
	goal     uint64 // reached: everything up to asOf has been seen
	asOf     uint64
	once     bool // stop at the goal
	fn       func(Stored) error
	caughtUp func(uint64)

	waiting atomic.Bool // goal is not 0; read by guard
}

var (
	errReached = errors.New("reached")
	errOdd     = errors.New("reconnected, or nothing came for a while")
)

func (r *reader) run(ctx context.Context) error {
	for {
		err := r.session(ctx)
		var f fnError
		switch {
		case errors.Is(err, errReached):
			return nil
		case errors.As(err, &f):
			return f.err
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(apiError(err), ErrNotFound):
			return fmt.Errorf("read %s: %w", r.stream, apiError(err))
		case !errors.Is(err, errOdd):
			r.b.log.Debug().Err(err).Str("stream", r.stream).Uint64("from", r.next).Msg("reading again from here")
			r.b.pause(ctx)
		}
		if r.goal == 0 {
			continue
		}
		// The message that would be the last may have been purged meanwhile.
		goal, _, err := r.b.goal(ctx, r.stream, r.filters, r.next)
		if err == nil && goal == 0 {
			r.reached()
			if r.once {
				return nil
			}
		}
	}
}

// fnError keeps the caller's error apart from the broker's.
type fnError struct{ err error }

func (e fnError) Error() string { return e.err.Error() }

// session reads with one consumer until something goes wrong.
func (r *reader) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reconnected := r.b.onReconnect()
	it, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer it.Stop()
	var delivered atomic.Uint64
	r.waiting.Store(r.goal != 0)
	go r.guard(ctx, reconnected, &delivered, cancel)

	for next := jetstream.NextContext(ctx); ; {
		msg, err := it.Next(next)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if n := delivered.Add(1); meta.Sequence.Consumer != n {
			return fmt.Errorf("message %d came as %d", n, meta.Sequence.Consumer)
		}
		seq := meta.Sequence.Stream
		if err := r.fn(Stored{Subject: msg.Subject(), Seq: seq, Time: r.b.clock.FromMachine(meta.Timestamp), Data: msg.Data(), Header: readHeader(msg.Headers())}); err != nil {
			return fnError{err}
		}
		r.next = seq + 1
		if r.goal != 0 && seq >= r.goal {
			r.asOf = max(r.asOf, seq)
			r.reached()
			if r.once {
				return errReached
			}
		}
	}
}

func (r *reader) open(ctx context.Context) (jetstream.MessagesContext, error) {
	ctx, cancel := r.b.bounded(ctx)
	defer cancel()
	cfg := jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(r.next, 1),
		AckPolicy:         jetstream.AckNonePolicy,
		MaxDeliver:        1,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: readerLife,
	}
	if len(r.filters) == 1 {
		cfg.FilterSubject = r.filters[0]
	} else {
		cfg.FilterSubjects = r.filters
	}
	cons, err := r.b.js.CreateConsumer(ctx, r.stream, cfg)
	if err != nil {
		return nil, err
	}
	return cons.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(readMessages, readWindow),
		jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(10*time.Second),
		jetstream.WithMessagesErrOnMissingHeartbeat(true),
	)
}

// guard ends a session after a reconnect, which may have cost the server our consumer, and, while there is a goal, when
// nothing came for a while. Whether there still is a goal is looked up before the next session.
func (r *reader) guard(ctx context.Context, reconnected <-chan struct{}, delivered *atomic.Uint64, end context.CancelCauseFunc) {
	idle := time.NewTicker(idleCheck)
	defer idle.Stop()
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-reconnected:
			end(errOdd)
			return
		case <-idle.C:
			if !r.waiting.Load() {
				idle.Stop()
				continue
			}
			if n := delivered.Load(); n != seen {
				seen = n
				continue
			}
			end(errOdd)
			return
		}
	}
}

func (r *reader) reached() {
	r.goal = 0
	r.waiting.Store(false)
	if r.caughtUp != nil {
		r.caughtUp(r.asOf)
		r.caughtUp = nil
	}
}

// pause waits a moment, or for the connection to come back, or for the end.
func (b *Bus) pause(ctx context.Context) {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.onReconnect():
	case <-ctx.Done():
	}
}

func literal(subject string) bool {
	for i := range len(subject) {
		if subject[i] == '*' || subject[i] == '>' {
			return false
		}
	}
	return true
}
