package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/nats-io/nats.go"
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
	h, err := wireHeader(header)
	if err != nil {
		return Reply{}, fmt.Errorf("request %s: %w", subject, err)
	}
	// Serve answers within its grace or never: a broker that was restarted meanwhile lets nobody reply any more.
	wait := defaultGrace + requestTimeout
	if _, ok := ctx.Deadline(); !ok {
		wait = requestTimeout
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
					b.answer(hctx, m, h)
				}
			}
		})
	}
	wg.Wait()
	_ = sub.Unsubscribe()
	for len(msgs) > 0 { // taken out of the group's hands already: nobody else will answer them
		b.answer(hctx, <-msgs, h)
	}
	return nil
}

func (b *Bus) answer(ctx context.Context, m *nats.Msg, h func(context.Context, Request) (Reply, error)) {
	ctx, cancel := context.WithTimeout(ctx, defaultGrace)
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
	if m.Reply == "" {
		return
	}
	err = b.nc.PublishMsg(out)
	if errors.Is(err, nats.ErrMaxPayload) {
		out.Data, out.Header = nil, errorHeader(Errorf(CodeInternal, "the answer is larger than the broker allows; ask for less"))
		err = b.nc.PublishMsg(out)
	}
	if err != nil {
		b.log.Warn().Err(err).Str("subject", m.Subject).Msg("answer not sent")
	}
}

func errorHeader(err error) nats.Header {
	code := CodeInternal
	var remote *RemoteError
	if errors.As(err, &remote) {
		code = remote.Code
	}
	return nats.Header{headerErrorCode: {string(code)}, headerError: {oneLine(err.Error())}}
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
