package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"candor/pkg/bus"
	"candor/pkg/bustest"
)

func TestAServiceAnswersAndIsFound(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	release := make(chan struct{})
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
					<-release
					return bus.Reply{Data: []byte("waited")}, nil
				}},
			})
	}()
	ask := func(subject, data string) (string, error) {
		for {
			r, err := b.RequestWithin(t.Context(), 20*time.Second, subject, []byte(data), nil)
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
	for {
		if _, err := ask("calls.echo", ""); errors.As(err, &remote) && remote.Code == bus.CodeUnavailable {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	close(release)
	for range 2 {
		if got := <-answers; got != "waited" {
			t.Errorf("after the end: %q", got)
		}
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := b.Request(t.Context(), "calls.echo", nil, nil); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("after the end: %v, want nobody", err)
	}
}
