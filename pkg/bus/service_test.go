package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"candor/pkg/bus"
	"candor/pkg/bustest"
)

func TestAServiceAnswersAndIsFound(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	release, taken := make(chan struct{}), make(chan struct{}, 2)
	freed := sync.OnceFunc(func() { close(release) })
	t.Cleanup(freed)
	go func() {
		served <- b.ServeService(ctx, bus.Service{Name: "calls", Version: "1.2.3", Description: "the queue", Queue: "q", InHand: 2},
			[]bus.Endpoint{
				{Name: "echo", Subject: "calls.echo", Metadata: map[string]string{"format": "any"}, Handle: func(_ context.Context, r bus.Request) (bus.Reply, error) {
					return bus.Reply{Data: r.Data}, nil
				}},
				{Name: "refuse", Subject: "calls.refuse", Handle: func(context.Context, bus.Request) (bus.Reply, error) {
					return bus.Reply{}, bus.Errorf(bus.CodeNotFound, "no such lease")
				}},
				{Name: "wait", Subject: "calls.wait", Handle: func(context.Context, bus.Request) (bus.Reply, error) {
					taken <- struct{}{}
					<-release
					return bus.Reply{Data: []byte("waited")}, nil
				}},
			})
	}()
	ask := func(subject, data string) (string, error) {
		for {
			r, err := b.RequestWithin(t.Context(), patience, subject, []byte(data), nil)
			if errors.Is(err, bus.ErrUnavailable) {
				continue // not served yet
			}
			return string(r.Data), err
		}
	}
	if got, err := ask("calls.echo", "hello"); err != nil || got != "hello" {
		t.Errorf("echo = %q, %v", got, err)
	}
	var remote *bus.RemoteError
	if _, err := ask("calls.refuse", ""); !errors.As(err, &remote) || remote.Code != bus.CodeNotFound || remote.Message != "no such lease" {
		t.Errorf("refuse = %v", err)
	}
	for _, subject := range []string{"$SRV.PING", "$SRV.INFO.calls", "$SRV.STATS.calls"} {
		var found struct {
			Name, Version, Type string
			Endpoints           []struct {
				Name, Subject string
				NumRequests   int `json:"num_requests"`
				NumErrors     int `json:"num_errors"`
			}
		}
		got, err := ask(subject, "")
		if err == nil {
			err = json.Unmarshal([]byte(got), &found)
		}
		if err != nil || found.Name != "calls" || found.Version != "1.2.3" {
			t.Errorf("%s = %s, %v", subject, got, err)
		}
		if subject == "$SRV.PING" {
			continue
		}
		if len(found.Endpoints) != 3 || found.Endpoints[0].Subject != "calls.echo" {
			t.Errorf("%s = %s", subject, got)
		}
	}

	// Two wait, which is as many as may be; the third is turned away, and both are answered after the end.
	answers := make(chan string, 2)
	for range 2 {
		go func() {
			for {
				got, err := ask("calls.wait", "")
				var busy *bus.RemoteError
				if errors.As(err, &busy) && busy.Code == bus.CodeUnavailable {
					continue // the echo was quicker
				}
				if err != nil {
					got = err.Error()
				}
				answers <- got
				return
			}
		}()
	}
	for range 2 {
		within(t, "one that waits", taken)
	}
	if _, err := ask("calls.echo", ""); !errors.As(err, &remote) || remote.Code != bus.CodeUnavailable {
		t.Fatalf("with two in hand: %v, want to be turned away", err)
	}
	cancel()
	freed()
	for range 2 {
		if got := within(t, "an answer", answers); got != "waited" {
			t.Errorf("after the end: %q", got)
		}
	}
	if err := within(t, "the end", served); err != nil {
		t.Error(err)
	}
	if _, err := b.Request(t.Context(), "calls.echo", nil, nil); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("after the end: %v, want nobody", err)
	}
}

// An endpoint with a room of its own keeps the others from nothing, and is full by itself.
func TestAnEndpointHasARoomOfItsOwn(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	served, waits, release := make(chan error, 1), make(chan struct{}, 1), make(chan struct{})
	go func() {
		served <- b.ServeService(ctx, bus.Service{Name: "calls", Version: "1.2.3", Queue: "q", InHand: 1}, []bus.Endpoint{
			{Name: "echo", Subject: "calls.echo", Handle: func(_ context.Context, r bus.Request) (bus.Reply, error) { return bus.Reply{Data: r.Data}, nil }},
			{Name: "wait", Subject: "calls.wait", InHand: 1, Handle: func(context.Context, bus.Request) (bus.Reply, error) {
				waits <- struct{}{}
				<-release
				return bus.Reply{}, nil
			}},
		})
	}()
	for { // until it is served
		if _, err := b.Request(t.Context(), "calls.echo", nil, nil); err == nil {
			break
		} else if !errors.Is(err, bus.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	waited := make(chan error, 1)
	go func() {
		_, err := b.Request(t.Context(), "calls.wait", nil, nil)
		waited <- err
	}()
	<-waits
	var remote *bus.RemoteError
	if _, err := b.Request(t.Context(), "calls.wait", nil, nil); !errors.As(err, &remote) || remote.Code != bus.CodeUnavailable {
		t.Errorf("a second one that waits: %v", err)
	}
	if _, err := b.Request(t.Context(), "calls.echo", nil, nil); err != nil {
		t.Errorf("one that does not wait: %v", err)
	}
	cancel()
	close(release)
	if err := errors.Join(<-waited, <-served); err != nil {
		t.Error(err)
	}
}
