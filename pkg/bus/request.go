package bus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Headers by which an error travels in a reply.
const (
	headerErrorCode = "Candor-Error-Code"
	headerError     = "Candor-Error"
)

// Code is the kind of a RemoteError; the words are those of gRPC.
type Code string

// The codes that a caller may branch on.
const (
	CodeInvalid          Code = "invalid_argument"
	CodeUnauthenticated  Code = "unauthenticated"
	CodePermissionDenied Code = "permission_denied"
	CodeNotFound         Code = "not_found"
	CodeExists           Code = "already_exists"
	CodePrecondition     Code = "failed_precondition"
	CodeUnavailable      Code = "unavailable"
	CodeInternal         Code = "internal"
)

// RemoteError is an error that the other side of a request answered with.
type RemoteError struct {
	Code    Code
	Message string
}

func (e *RemoteError) Error() string { return e.Message }

// Errorf makes a RemoteError for a handler to return.
func Errorf(code Code, format string, args ...any) error {
	return &RemoteError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Request is a question that somebody answers at once.
type Request struct {
	Subject string
	Data    []byte
	Header  map[string]string
}

// Reply is the answer to a Request.
type Reply struct {
	Data   []byte
	Header map[string]string
}

// Request asks and waits for the answer; ErrUnavailable if nobody serves the subject, *RemoteError if the answer is one.
func (b *Bus) Request(ctx context.Context, subject string, data []byte, header map[string]string) (Reply, error) {
	// Serve answers within its grace or never: a broker that was restarted meanwhile lets nobody reply any more.
	wait := defaultGrace + b.within
	if _, ok := ctx.Deadline(); !ok {
		wait = b.within
	}
	return b.RequestWithin(ctx, wait, subject, data, header)
}

// RequestWithin is Request for a question whose answer may take so long; its service knows how long that is.
func (b *Bus) RequestWithin(ctx context.Context, wait time.Duration, subject string, data []byte, header map[string]string) (Reply, error) {
	h, err := wireHeader(header)
	if err != nil {
		return Reply{}, fmt.Errorf("request %s: %w", subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := b.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: data, Header: h})
	if err != nil {
		return Reply{}, fmt.Errorf("request %s: %w", subject, lost(err))
	}
	if code := m.Header.Get(headerErrorCode); code != "" {
		return Reply{}, fmt.Errorf("request %s: %w", subject, &RemoteError{Code: Code(code), Message: m.Header.Get(headerError)})
	}
	return Reply{Data: m.Data, Header: readHeader(m.Header)}, nil
}

// Serve answers requests on a subject until ctx ends, sharing them with everybody in the same queue group; it returns when
// the requests in hand are answered. A handler's error travels to the caller; if it is not a *RemoteError, as internal.
func (b *Bus) Serve(ctx context.Context, subject, queue string, concurrency int, h func(context.Context, Request) (Reply, error)) error {
	msgs := make(chan *nats.Msg, 1024)
	sub, err := b.nc.ChanQueueSubscribe(subject, queue, msgs)
	if err != nil {
		return fmt.Errorf("serve %s: %w", subject, err)
	}
	hctx := context.WithoutCancel(ctx)
	var wg sync.WaitGroup
	for range max(concurrency, 1) {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case m := <-msgs:
					_ = b.answer(hctx, defaultGrace, m, h) // told to the caller
				}
			}
		})
	}
	wg.Wait()
	b.unsubscribe(hctx, sub)
	for len(msgs) > 0 { // taken out of the group's hands already: nobody else will answer them
		_ = b.answer(hctx, defaultGrace, <-msgs, h)
	}
	return nil
}

// unsubscribe ends subscriptions to channels. When it returns, the channels hold all that the broker has sent: what it hands
// to nobody else must not get lost between it and us.
func (b *Bus) unsubscribe(ctx context.Context, subs ...*nats.Subscription) {
	for _, sub := range subs {
		_ = sub.Drain() // of a connection that is closed nothing comes any more
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = b.nc.FlushWithContext(ctx)
}

// answer gives a request to its handler and the outcome to the caller, and returns the handler's error.
func (b *Bus) answer(ctx context.Context, within time.Duration, m *nats.Msg, h func(context.Context, Request) (Reply, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	reply, err := b.callServe(ctx, Request{Subject: m.Subject, Data: m.Data, Header: readHeader(m.Header)}, h)
	out := nats.NewMsg(m.Reply)
	if err == nil {
		out.Data = reply.Data
		out.Header, err = wireHeader(reply.Header)
	}
	if err != nil {
		out.Data, out.Header = nil, errorHeader(err)
	}
	b.respond(out)
	return err
}

func (b *Bus) respond(out *nats.Msg) {
	if out.Subject == "" {
		return // nobody waits for it
	}
	err := b.nc.PublishMsg(out)
	if errors.Is(err, nats.ErrMaxPayload) {
		out.Data, out.Header = nil, errorHeader(Errorf(CodeInternal, "the answer is larger than the broker allows; ask for less"))
		err = b.nc.PublishMsg(out)
	}
	if err != nil {
		b.log.Warn().Err(err).Str("subject", out.Subject).Msg("answer not sent")
	}
}

func errorHeader(err error) nats.Header {
	code := CodeInternal
	var remote *RemoteError
	if errors.As(err, &remote) {
		code = remote.Code
	}
	text := oneLine(err.Error())
	return nats.Header{
		headerErrorCode: {string(code)}, headerError: {text},
		micro.ErrorCodeHeader: {strconv.Itoa(code.status())}, micro.ErrorHeader: {text},
	}
}

// status is the code as other programs know it, the number that HTTP has for it.
func (c Code) status() int {
	switch c {
	case CodeInvalid:
		return http.StatusBadRequest
	case CodeUnauthenticated:
		return http.StatusUnauthorized
	case CodePermissionDenied:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeExists:
		return http.StatusConflict
	case CodePrecondition:
		return http.StatusPreconditionFailed
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// oneLine keeps a message from ending the header it travels in.
func oneLine(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r < ' ' {
			out[i] = ' '
		}
	}
	return string(out)
}

func (b *Bus) callServe(ctx context.Context, r Request, h func(context.Context, Request) (Reply, error)) (reply Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.log.Error().Str("subject", r.Subject).Str("panic", fmt.Sprintf("%T", p)).Bytes("stack", debug.Stack()).Msg("handler panicked")
			err = Errorf(CodeInternal, "handler panicked")
		}
	}()
	return h(ctx, r)
}
