package api_test

import (
	"context"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"candor/pkg/httpd"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
	"candor/services/api"
)

// gRPC and JSON over HTTP/1.1 share a port, and an upload may be larger than any other request.
func TestOnePortForAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	cfg := httpd.DefaultConfig()
	cfg.LargeBodies = map[string]int64{api.RosterPrefix: api.RosterMaxBytes}
	cfg.MaxBodyBytes = 64 << 10
	server, err := httpd.New(cfg, h.api.Handler(), httpd.Ops{Registry: prometheus.NewRegistry(), Ready: func() error { return nil }}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	h.url = server.URL()

	plain := &http.Transport{}
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	bearer := h.token("Dana", token.Commander)
	for _, tt := range []struct {
		name      string
		transport *http.Transport
		opts      []connect.ClientOption
	}{
		{"grpc", h2c, []connect.ClientOption{connect.WithGRPC()}},
		{"json", plain, []connect.ClientOption{connect.WithProtoJSON()}},
		{"connect", h2c, nil},
	} {
		h.client = &http.Client{Transport: tt.transport}
		_, err := h.as(bearer, tt.opts...).incidents.ListIncidents(t.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		_, err = h.as("", tt.opts...).incidents.ListIncidents(t.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
		wantCode(t, err, connect.CodeUnauthenticated, "candor token")
	}
	if up := h.upload(bearer, "large", nil, rows(5000)); up.Report.Customers != 5000 {
		t.Errorf("upload answers %+v", up.Report)
	}
	plain.CloseIdleConnections()
	h2c.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
