package api_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"candor/pkg/bus"
	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/token"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// queue plays the owner of the call queue.
func (h *house) queue(method string, answer func(context.Context, bus.Request) (proto.Message, error)) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	var wg sync.WaitGroup
	h.t.Cleanup(func() { cancel(); wg.Wait() })
	subject := topology.CallMethod(method)
	wg.Go(func() {
		err := h.bus.Serve(ctx, subject, "calls", 2, func(ctx context.Context, r bus.Request) (bus.Reply, error) {
			if r.Header["hello"] != "" {
				return bus.Reply{}, nil
			}
			m, err := answer(ctx, r)
			if err != nil {
				return bus.Reply{}, err
			}
			data, err := proto.Marshal(m)
			return bus.Reply{Data: data}, err
		})
		if err != nil {
			h.t.Errorf("serve %s: %v", subject, err)
		}
	})
	for {
		if _, err := h.bus.Request(h.t.Context(), subject, nil, map[string]string{"hello": "1"}); err == nil {
			return
		}
	}
}

func (h *house) dialer(bearer string) candorv1connect.CallQueueServiceClient {
	return candorv1connect.NewCallQueueServiceClient(h.client, h.url, connect.WithInterceptors(withBearer(bearer)))
}

func TestTheCallQueueIsAskedUnderTheCallersToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.token("contact centre", token.Dialer)
	h.queue("queue", func(_ context.Context, r bus.Request) (proto.Message, error) {
		q := &candorv1.GetQueueRequest{}
		if err := proto.Unmarshal(r.Data, q); err != nil {
			return nil, err
		}
		if r.Header["Authorization"] != "Bearer "+bearer || q.GetIncident() != "field" {
			return nil, bus.Errorf(bus.CodeInternal, "asked about %q", q.GetIncident())
		}
		return &candorv1.GetQueueResponse{Callable: 7}, nil
	})
	h.queue("complete", func(context.Context, bus.Request) (proto.Message, error) {
		return nil, bus.Errorf(bus.CodeNotFound, "no such lease: claim again")
	})
	d := h.dialer(bearer)
	resp, err := d.GetQueue(t.Context(), connect.NewRequest(&candorv1.GetQueueRequest{Incident: "field"}))
	if err != nil || resp.Msg.GetCallable() != 7 {
		t.Errorf("GetQueue = %v, %v", resp, err)
	}
	_, err = d.Complete(t.Context(), connect.NewRequest(&candorv1.CompleteRequest{Lease: "x", Disposition: "notified"}))
	wantCode(t, err, connect.CodeNotFound, "no such lease: claim again")
	_, err = d.Complete(t.Context(), connect.NewRequest(&candorv1.CompleteRequest{Disposition: "notified"}))
	wantCode(t, err, connect.CodeInvalidArgument, "lease")
	// Nobody owns the queue for a moment, and then there is a task.
	var asked atomic.Int64
	h.queue("claim", func(context.Context, bus.Request) (proto.Message, error) {
		switch asked.Add(1) {
		case 1:
			return nil, bus.Errorf(bus.CodeUnavailable, "ask again")
		case 2:
			return &candorv1.ClaimResponse{}, nil
		}
		return &candorv1.ClaimResponse{Tasks: []*candorv1.CallTask{{Lease: "one"}}}, nil
	})
	claimed, err := d.Claim(t.Context(), connect.NewRequest(&candorv1.ClaimRequest{Wait: durationpb.New(30 * time.Second)}))
	if err != nil || len(claimed.Msg.GetTasks()) != 1 || asked.Load() != 3 {
		t.Errorf("Claim = %v, %v, after %d questions", claimed, err, asked.Load())
	}
	_, err = d.Renew(t.Context(), connect.NewRequest(&candorv1.RenewRequest{Lease: "x"}))
	wantCode(t, err, connect.CodeUnavailable, "target calls")
}

// A field that was misspelt was left alone, over HTTP, and its dialer got tasks in every language.
func TestTheCallQueueReadsItsRequestsStrictly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.token("contact centre", token.Dialer)
	for _, tt := range []struct{ method, body, says string }{
		{"Claim", `{"langs": ["Ximena"]}`, "there is no field langs: a candor.v1.ClaimRequest has mode"},
		{"Claim", `{"wait": "Ximena"}`, "the field wait cannot be read"},
		{"Renew", `{"lease": {"Ximena": 1}}`, "the field lease cannot be read"},
		{"Renew", ``, "no JSON at all"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/candor.v1.CallQueueService/"+tt.method, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		r.Header.Set("Content-Type", "application/json")
		resp, err := h.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(said), tt.says) || strings.Contains(string(said), "Ximena") {
			t.Errorf("%s %s: %d %s, %v; want %q", tt.method, tt.body, resp.StatusCode, said, err, tt.says)
		}
	}
}

func TestTasksThatNobodyWaitsForAnyMoreAreGivenBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.token("contact centre", token.Dialer)
	asked, gone, released := make(chan struct{}), make(chan struct{}), make(chan string, 2)
	h.queue("claim", func(context.Context, bus.Request) (proto.Message, error) {
		close(asked)
		<-gone
		return &candorv1.ClaimResponse{Tasks: []*candorv1.CallTask{{Lease: "one"}, {Lease: "two"}}}, nil
	})
	h.queue("release", func(_ context.Context, r bus.Request) (proto.Message, error) {
		q := &candorv1.ReleaseRequest{}
		err := proto.Unmarshal(r.Data, q)
		released <- q.GetLease()
		return &candorv1.ReleaseResponse{}, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := h.dialer(bearer).Claim(ctx, connect.NewRequest(&candorv1.ClaimRequest{Max: 2, Wait: durationpb.New(30 * time.Second)}))
	wantCode(t, err, connect.CodeCanceled)
	<-h.hungUp // the server hears of it a moment after the client
	close(gone)
	for _, want := range []string{"one", "two"} {
		select {
		case got := <-released:
			if got != want {
				t.Errorf("released %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q was not released", want)
		}
	}
}
