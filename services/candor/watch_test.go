package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/rpc/candorv1connect"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

// ledger serves one answer of a watch after the other.
type ledger struct {
	candorv1connect.UnimplementedLedgerServiceHandler
	answers chan func(*connect.ServerStream[candorv1.WatchStatusResponse]) error
}

func (l *ledger) WatchStatus(_ context.Context, _ *connect.Request[candorv1.WatchStatusRequest], out *connect.ServerStream[candorv1.WatchStatusResponse]) error {
	return (<-l.answers)(out)
}

func sends(st *candorv1.Status, then error) func(*connect.ServerStream[candorv1.WatchStatusResponse]) error {
	return func(out *connect.ServerStream[candorv1.WatchStatusResponse]) error {
		if err := out.Send(&candorv1.WatchStatusResponse{Status: st}); err != nil {
			return err
		}
		return then
	}
}

func watched(t *testing.T, answers ...func(*connect.ServerStream[candorv1.WatchStatusResponse]) error) (out string, last *candorv1.Status, err error) {
	t.Helper()
	l := &ledger{answers: make(chan func(*connect.ServerStream[candorv1.WatchStatusResponse]) error, len(answers))}
	for _, a := range answers {
		l.answers <- a
	}
	mux := http.NewServeMux()
	mux.Handle(candorv1connect.NewLedgerServiceHandler(l))
	server := httptest.NewServer(mux)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "a.token")
	bearer, _ := token.NewAdmin()
	if err := token.WriteFile(file, bearer); err != nil {
		t.Fatal(err)
	}
	c := quiet()
	var b strings.Builder
	c.out = &printer{w: &b}
	s, err := c.connect(&cobra.Command{}, &remote{server: server.URL, tokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	s.retry = 0
	last, err = c.watch(t.Context(), s, "x", c.view(false))
	s.http.CloseIdleConnections()
	return b.String(), last, err
}

func TestAWatchOutlivesTheServer(t *testing.T) {
	t.Parallel()
	half := &candorv1.Status{Incident: "x", People: &candorv1.PeopleStatus{OnFile: 2, Told: 1}}
	whole := &candorv1.Status{Incident: "x", People: &candorv1.PeopleStatus{OnFile: 2, Told: 2}, Complete: true}
	gone := connect.NewError(connect.CodeUnavailable, errors.New("the api stops"))
	out, last, err := watched(t, sends(half, gone), func(*connect.ServerStream[candorv1.WatchStatusResponse]) error { return gone }, sends(half, nil), sends(whole, nil))
	if err != nil || !last.GetComplete() {
		t.Errorf("watch ended with %v, %v", last, err)
	}
	if !strings.Contains(out, "told 1 of 2") || !strings.Contains(out, "told 2 of 2") {
		t.Errorf("watch printed %q", out)
	}
}

func TestAWatchOfNothingEndsAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := watched(t, func(*connect.ServerStream[candorv1.WatchStatusResponse]) error {
		return connect.NewError(connect.CodeNotFound, errors.New("there is no incident x"))
	})
	if exitOf(err) != exitNothing {
		t.Errorf("watch ended with %v, exit code %d, want %d", err, exitOf(err), exitNothing)
	}
}

func TestATokenIsNeverPrinted(t *testing.T) {
	t.Parallel()
	c := quiet()
	c.env = func(name string) (string, bool) { return "cdr_abc_secret", name == tokenEnv }
	s, err := c.connect(&cobra.Command{}, &remote{server: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v %v", s.http.Transport, s.source); strings.Contains(text, "secret") {
		t.Errorf("the client prints its token: %s", text)
	}
}
