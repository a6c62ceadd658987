package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	pullExpiry    = 10 * time.Second // of one request for messages
	pullHeartbeat = time.Second      // two missed ones, and the request is taken for lost
	maxNak        = 5 * time.Second  // a message that waits counts against the consumer's limit: longer blocks others
	minNak        = 200 * time.Millisecond
	defaultGrace  = 20 * time.Second
	handBack      = 10 * time.Millisecond // delay of a message that came when nobody was free
)

// ConsumeOptions says how a queue is worked off.
type ConsumeOptions struct {
	Concurrency int           // messages in hand at once; 1 if not set
	Grace       time.Duration // for the handlers in hand after ctx ended; 20 s if not set
}

// Delivery is one message of a work queue, in one handler's hands.
type Delivery struct {
	Subject   string
	Data      []byte
	Header    map[string]string
	Seq       uint64
	Time      time.Time // when it was stored
	Delivered uint64    // how often it was delivered, this one included

	msg *nats.Msg
}

// Progress says that the work goes on: the broker waits another AckWait before it gives the message to somebody else.
// Call it because something was done, not from a timer: a stuck worker must lose its message.
func (d *Delivery) Progress() {
	_ = d.msg.Respond([]byte("+WPI")) // one that gets lost means another delivery
}

type permanentError struct{ err error }

func (e permanentError) Error() string { return e.err.Error() }
func (e permanentError) Unwrap() error { return e.err }

// Permanent is a verdict: this message is never delivered again. Whoever returns it has recorded why.
func Permanent(err error) error { return permanentError{err} }

type afterError struct {
	err error
	d   time.Duration
}

func (e afterError) Error() string { return e.err.Error() }
func (e afterError) Unwrap() error { return e.err }

// After is a verdict: deliver again after d, at most 5 s. Work that has to wait longer is put off with Schedule.
func After(d time.Duration, err error) error { return afterError{err, d} }

// Consume works off a durable consumer until ctx ends; then it takes nothing more, waits for the handlers in hand, whose
// own context outlives ctx by Options.Grace, and returns nil.
//
// The handler's error is the verdict: nil settles the message, Permanent drops it, After names the delay, anything else
// delivers it again after a moment. Messages are asked for only when somebody is free: one that waited in the client would
// age against AckWait.
func (b *Bus) Consume(ctx context.Context, stream, durable string, opts ConsumeOptions, h func(context.Context, *Delivery) error) error {
	free := max(opts.Concurrency, 1)
	grace := opts.Grace
	if grace <= 0 {
		grace = defaultGrace
	}
	if _, err := b.Consumer(ctx, stream, durable); errors.Is(err, ErrNotFound) {
		return fmt.Errorf("consume: %w", err)
	}
	hctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(grace, cancel)
		context.AfterFunc(hctx, func() { t.Stop() })
	})
	defer stop()

	p := puller{
		b: b, subject: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + durable, inbox: b.nc.NewInbox(),
		msgs: make(chan *nats.Msg, 4*free+64), // late answers to requests given up must fit as well
	}
	sub, err := b.nc.ChanSubscribe(p.inbox, p.msgs)
	if err != nil {
		return fmt.Errorf("consume %s: %w", durable, err)
	}
	var (
		wg   sync.WaitGroup
		done = make(chan struct{}, free)

		reconnected = b.onReconnect()
	)
	for ctx.Err() == nil {
		if free > 0 && p.outstanding == 0 {
			p.request(free)
		}
		select {
		case <-ctx.Done():
		case <-done:
			free++
		case <-p.lost:
			p.outstanding = 0
		case <-reconnected: // the request went with the old connection
			reconnected, p.outstanding = b.onReconnect(), 0
		case m := <-p.msgs:
			if !p.received(m) {
				break
			}
			if free == 0 {
				b.handBack(m)
				break
			}
			free--
			wg.Go(func() {
				b.handle(hctx, m, h)
				done <- struct{}{}
			})
		}
	}
	// What is on its way to us goes back at once instead of waiting for AckWait.
	_ = sub.Unsubscribe()
	fctx, fcancel := context.WithTimeout(hctx, time.Second)
	_ = b.nc.FlushWithContext(fctx)
	fcancel()
	for len(p.msgs) > 0 {
		if m := <-p.msgs; p.received(m) {
			b.handBack(m)
		}
	}
	wg.Wait()
	return nil
}

// puller asks for messages, with one request at a time.
type puller struct {
	b              *Bus
	subject, inbox string
	msgs           chan *nats.Msg
	outstanding    int // messages still to come for the request
	timer          *time.Timer
	lost           <-chan time.Time
}

func (p *puller) request(n int) {
	body, _ := json.Marshal(struct {
		Batch     int           `json:"batch"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{n, pullExpiry, pullHeartbeat})
	p.expect(2 * pullHeartbeat)
	if err := p.b.nc.PublishRequest(p.subject, p.inbox, body); err != nil {
		p.outstanding = -1 // not connected: try again with the next timer or reconnect
		p.expect(retryPause)
		return
	}
	p.outstanding = n
}

func (p *puller) expect(d time.Duration) {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.NewTimer(d)
	p.lost = p.timer.C
}

// received says whether m is a message to work on and not the broker talking about the request.
func (p *puller) received(m *nats.Msg) bool {
	status := m.Header.Get("Status")
	switch {
	case status == "":
		p.outstanding = max(p.outstanding-1, 0)
		p.expect(2 * pullHeartbeat)
		return true
	case status == "100":
		p.expect(2 * pullHeartbeat)
	case status == "404" || status == "408":
		p.outstanding = 0
	default: // the consumer is gone, or the server is going: ask again in a moment
		p.b.log.Debug().Str("subject", p.subject).Str("status", status).Str("description", m.Header.Get("Description")).Msg("pull refused")
		p.outstanding = -1
		p.expect(retryPause)
	}
	return false
}

// handle gives one message to the handler and the verdict to the broker.
func (b *Bus) handle(ctx context.Context, m *nats.Msg, h func(context.Context, *Delivery) error) {
	meta, err := m.Metadata()
	if err != nil {
		b.log.Error().Err(err).Str("subject", m.Subject).Msg("message without delivery data left alone")
		return
	}
	d := &Delivery{
		Subject: m.Subject, Data: m.Data, Header: readHeader(m.Header),
		Seq: meta.Sequence.Stream, Time: b.clock.FromMachine(meta.Timestamp), Delivered: meta.NumDelivered, msg: m,
	}
	err = b.call(ctx, d, h)
	var (
		permanent permanentError
		after     afterError
		verdict   []byte
	)
	switch {
	case err == nil:
		verdict = []byte("+ACK")
	case errors.As(err, &permanent):
		b.log.Error().Err(err).Str("subject", m.Subject).Msg("message dropped for good")
		verdict = []byte("+TERM")
	case errors.As(err, &after):
		if after.d > maxNak {
			b.log.Error().Err(err).Str("subject", m.Subject).Dur("delay", after.d).Msg("delay too long for a queue, cut: use Schedule")
		}
		verdict = nak(min(after.d, maxNak))
	default:
		b.log.Debug().Err(err).Str("subject", m.Subject).Uint64("delivered", d.Delivered).Msg("message will be delivered again")
		verdict = nak(backoff(d.Delivered))
	}
	// A verdict that gets lost means another delivery, which is harmless and normal.
	if err := m.Respond(verdict); err != nil {
		b.log.Debug().Err(err).Str("subject", m.Subject).Msg("verdict not sent")
	}
}

func (b *Bus) call(ctx context.Context, d *Delivery, h func(context.Context, *Delivery) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			b.log.Error().Str("subject", d.Subject).Str("panic", fmt.Sprintf("%T", r)).Bytes("stack", debug.Stack()).Msg("handler panicked")
			err = errors.New("handler panicked")
		}
	}()
	return h(ctx, d)
}

func (b *Bus) handBack(m *nats.Msg) {
	if err := m.Respond(nak(handBack)); err != nil {
		b.log.Debug().Err(err).Str("subject", m.Subject).Msg("message not handed back")
	}
}

func nak(d time.Duration) []byte {
	return fmt.Appendf(nil, `-NAK {"delay":%d}`, d.Nanoseconds())
}

func backoff(delivered uint64) time.Duration {
	d := min(minNak<<min(delivered-1, 8), maxNak)
	return d/2 + rand.N(d/2) //nolint:gosec // jitter needs no secrecy
}
