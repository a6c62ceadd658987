package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/topology"
)

// serve answers a subject until the test ends, and returns when it is being served.
func serve(t testing.TB, b *bus.Bus, subject string, h func(context.Context, bus.Request) (bus.Reply, error)) (stop func()) {
	t.Helper()
	stop = background(t, func(ctx context.Context) error { return b.Serve(ctx, subject, "test", 2, h) })
	until(t, "somebody answers", func() bool {
		_, err := b.Request(t.Context(), subject, []byte("hello?"), nil)
		return !errors.Is(err, bus.ErrUnavailable)
	})
	return stop
}

func TestARequestIsAnswered(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	subject := topology.Ask("ledger", "status")
	stop := serve(t, b, subject, func(_ context.Context, r bus.Request) (bus.Reply, error) {
		return bus.Reply{Data: append([]byte("re: "), r.Data...), Header: map[string]string{"Was": r.Header["Is"]}}, nil
	})
	reply, err := b.Request(t.Context(), subject, []byte("status"), map[string]string{"Is": "asked"})
	if err != nil || string(reply.Data) != "re: status" || reply.Header["Was"] != "asked" {
		t.Errorf("Request = %s %v, %v", reply.Data, reply.Header, err)
	}
	stop()
	if _, err := b.Request(t.Context(), subject, nil, nil); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Request to nobody = %v, want ErrUnavailable", err)
	}
}

func TestTheAnswersErrorReachesTheCaller(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for i, tt := range []struct {
		name string
		h    func() (bus.Reply, error)
		code bus.Code
		say  string
	}{
		{"with its code", func() (bus.Reply, error) { return bus.Reply{}, bus.Errorf(bus.CodePrecondition, "still %s", "folding") }, bus.CodePrecondition, "still folding"},
		{"wrapped", func() (bus.Reply, error) {
			return bus.Reply{}, fmt.Errorf("status: %w", bus.Errorf(bus.CodeNotFound, "no such incident"))
		}, bus.CodeNotFound, "status: no such incident"},
		{"on several lines", func() (bus.Reply, error) { return bus.Reply{}, errors.New("one\r\nCandor-Error-Code: x") }, bus.CodeInternal, "one  Candor-Error-Code: x"},
		{"a panic", func() (bus.Reply, error) { panic("oops") }, bus.CodeInternal, "panicked"},
		{"too large an answer", func() (bus.Reply, error) { return bus.Reply{Data: make([]byte, 9<<20)}, nil }, bus.CodeInternal, "larger"},
		{"a header of the broker", func() (bus.Reply, error) { return bus.Reply{Header: map[string]string{"nats-x": ""}}, nil }, bus.CodeInternal, "nats-x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			subject := topology.Ask("test", fmt.Sprint(i))
			serve(t, b, subject, func(context.Context, bus.Request) (bus.Reply, error) { return tt.h() })
			_, err := b.Request(t.Context(), subject, nil, nil)
			var remote *bus.RemoteError
			if !errors.As(err, &remote) || remote.Code != tt.code || !strings.Contains(remote.Message, tt.say) {
				t.Errorf("Request = %#v, want %s %q", err, tt.code, tt.say)
			}
		})
	}
}

func TestADeclarationIsAnsweredByTheApiAndNotByTheStream(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if _, err := b.Request(t.Context(), topology.Declare, []byte("{}"), nil); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("a declaration that nobody took = %v, want ErrUnavailable", err)
	}
	serve(t, b, topology.Declare, func(context.Context, bus.Request) (bus.Reply, error) { return bus.Reply{Data: []byte("drafted")}, nil })
	reply, err := b.Request(t.Context(), topology.Declare, []byte("{}"), nil)
	if err != nil || string(reply.Data) != "drafted" {
		t.Errorf("Request = %s, %v", reply.Data, err)
	}
	if st, err := b.State(t.Context(), topology.StreamBreach); err != nil || st.Msgs != 0 {
		t.Errorf("BREACH took in %d requests, %v", st.Msgs, err)
	}
}
