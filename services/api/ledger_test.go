package api_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"candor/pkg/bus"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

func TestNoticesGetTheirNames(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	up := h.upload(dana.bearer, "named", nil, rows(20))
	d := h.declaration(dana, "named")
	d.RosterDigest = up.Digest
	h.declare(dana, d)
	page := up.Report.Pages[0].Number
	answer(h, "ledger", "list", func(q *candorv1.ListNoticesRequest, _ map[string]string) (*candorv1.ListNoticesResponse, map[string]string, error) {
		resp := &candorv1.ListNoticesResponse{Total: 2, NextPageToken: "more"}
		for _, slot := range []uint32{0, 3} {
			resp.Notices = append(resp.Notices, &candorv1.Notice{
				Key: &candorv1.NoticeKey{Wave: "w0", Channel: sms, Page: page, Slot: slot}, State: candorv1.NoticeState_NOTICE_STATE_FAILED, Reason: q.GetReason(),
			})
		}
		return resp, nil, nil
	})
	resp, err := dana.ledger.ListNotices(t.Context(), connect.NewRequest(&candorv1.ListNoticesRequest{Incident: "named", Reason: "twilio_30003"}))
	if err != nil {
		t.Fatal(err)
	}
	ns := resp.Msg.GetNotices()
	if len(ns) != 2 || resp.Msg.GetNextPageToken() != "more" || !strings.HasPrefix(ns[0].GetCustomerRef(), "C0000") || len(ns[1].GetCode()) != 11 ||
		ns[0].GetCode() == ns[1].GetCode() || ns[0].GetReason() != "twilio_30003" {
		t.Errorf("notices are %v", resp.Msg)
	}
}

// What another service says about a question reaches the caller without the subject on which it was asked.
func TestARefusalOfTheLedgerIsInWordsForPeople(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	vic := h.as(h.token("Vic", token.Viewer))
	answer(h, "ledger", "status", func(*candorv1.GetStatusRequest, map[string]string) (*candorv1.GetStatusResponse, map[string]string, error) {
		return nil, nil, bus.Errorf(bus.CodeNotFound, "there is no incident %q: candor incidents lists them", "nope")
	})
	_, err := vic.ledger.GetStatus(t.Context(), connect.NewRequest(&candorv1.GetStatusRequest{Incident: "nope"}))
	var refused *connect.Error
	if !errors.As(err, &refused) || refused.Code() != connect.CodeNotFound || refused.Message() != `there is no incident "nope": candor incidents lists them` {
		t.Errorf("refused: %v", err)
	}
}

func TestExportPassesOnEveryPart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	vic := h.as(h.token("Vic", token.Viewer))
	answer(h, "ledger", "export", func(_ *candorv1.ExportNoticesRequest, header map[string]string) (*candorv1.ExportNoticesResponse, map[string]string, error) {
		var part uint32
		_, _ = fmt.Sscan(header["after"], &part)
		resp := &candorv1.ExportNoticesResponse{Pages: []*candorv1.PageNotices{{Key: &candorv1.PageKey{Page: part}, States: []byte{6}}}}
		if part == 2 {
			return resp, nil, nil
		}
		return resp, map[string]string{"next": fmt.Sprint(part + 1)}, nil
	})
	stream, err := vic.ledger.ExportNotices(t.Context(), connect.NewRequest(&candorv1.ExportNoticesRequest{Incident: "any"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var pages []uint32
	for stream.Receive() {
		pages = append(pages, stream.Msg().GetPages()[0].GetKey().GetPage())
	}
	if stream.Err() != nil || fmt.Sprint(pages) != "[0 1 2]" {
		t.Errorf("parts %v, %v", pages, stream.Err())
	}
}

func TestWatchSendsChangesOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	vic := h.as(h.token("Vic", token.Viewer))
	var asked atomic.Uint64
	answer(h, "ledger", "status", func(q *candorv1.GetStatusRequest, _ map[string]string) (*candorv1.GetStatusResponse, map[string]string, error) {
		n := asked.Add(1)
		return &candorv1.GetStatusResponse{Status: &candorv1.Status{Incident: q.GetIncident(), JournalLast: n, DeadLetters: n / 4}}, nil, nil
	})
	stream, err := vic.ledger.WatchStatus(t.Context(), connect.NewRequest(&candorv1.WatchStatusRequest{Incident: "any"}))
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for range 4 {
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		dead := int(stream.Msg().GetStatus().GetDeadLetters())
		if dead == last {
			t.Errorf("the same status was sent twice: %v", stream.Msg())
		}
		last = dead
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// A watcher must not keep the api from stopping.
func TestWatchEndsWhenTheAPIStops(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	vic := h.as(h.token("Vic", token.Viewer))
	answer(h, "ledger", "status", func(q *candorv1.GetStatusRequest, _ map[string]string) (*candorv1.GetStatusResponse, map[string]string, error) {
		return &candorv1.GetStatusResponse{Status: &candorv1.Status{Incident: q.GetIncident()}}, nil, nil
	})
	stream, err := vic.ledger.WatchStatus(t.Context(), connect.NewRequest(&candorv1.WatchStatusRequest{Incident: "any"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	h.stop()
	for stream.Receive() {
	}
	wantCode(t, stream.Err(), connect.CodeUnavailable, "watch again")
}

func TestSettlingAllAsksForEach(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana := h.as(h.token("Dana", token.Commander))
	h.declare(dana, h.declaration(dana, "doubt"))
	answer(h, "ledger", "list", func(q *candorv1.ListNoticesRequest, _ map[string]string) (*candorv1.ListNoticesResponse, map[string]string, error) {
		if q.GetChannel() != email || len(q.GetStates()) != 1 {
			return &candorv1.ListNoticesResponse{}, nil, nil
		}
		resp := &candorv1.ListNoticesResponse{}
		for i := range uint32(4000) {
			resp.Notices = append(resp.Notices, &candorv1.Notice{Key: &candorv1.NoticeKey{Wave: "w0", Channel: email, Slot: i}})
		}
		if q.GetPageToken() == "" {
			resp.NextPageToken = "second"
		}
		return resp, nil, nil
	})
	var mu sync.Mutex
	var actors []string
	answer(h, "planner", "settle", func(q *candorv1.SettleRequest, _ map[string]string) (*candorv1.SettleResponse, map[string]string, error) {
		mu.Lock()
		defer mu.Unlock()
		if q.GetIncident() != "" {
			actors = append(actors, q.GetActor())
		}
		return &candorv1.SettleResponse{Settled: uint64(len(q.GetNotices()))}, nil, nil
	})
	settle := func(q *candorv1.SettleUncertainRequest) (uint64, error) {
		q.Incident = "doubt"
		resp, err := dana.ledger.SettleUncertain(t.Context(), connect.NewRequest(q))
		if err != nil {
			return 0, err
		}
		return resp.Msg.GetSettled(), nil
	}
	all, err := settle(&candorv1.SettleUncertainRequest{Settlement: candorv1.Settlement_SETTLEMENT_SENT, Channel: email})
	if err != nil || all != 8000 || len(actors) != 2 || actors[0] == "" {
		t.Errorf("settled %d in %d questions by %q, %v", all, len(actors), actors, err)
	}
	some, err := settle(&candorv1.SettleUncertainRequest{
		Settlement: candorv1.Settlement_SETTLEMENT_RESEND, Notices: []*candorv1.NoticeKey{{Wave: "w0", Channel: email, Slot: 1}},
	})
	if err != nil || some != 1 {
		t.Errorf("settled %d, %v", some, err)
	}
	_, err = settle(&candorv1.SettleUncertainRequest{Settlement: candorv1.Settlement_SETTLEMENT_SENT})
	wantCode(t, err, connect.CodeInvalidArgument, "channel")
	_, err = settle(&candorv1.SettleUncertainRequest{Channel: email})
	wantCode(t, err, connect.CodeInvalidArgument, "settlement")
}

func TestSilentLedgerIsSaid(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	vic := h.as(h.token("Vic", token.Viewer))
	_, err := vic.ledger.GetStatus(t.Context(), connect.NewRequest(&candorv1.GetStatusRequest{Incident: "any"}))
	wantCode(t, err, connect.CodeUnavailable, "ledger", "target")
}

// Canary customers: none of them comes back in an answer or lands in the log, but for references, codes and masked previews.
func TestAnswersNameNobody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dana, erin := h.as(h.token("Dana", token.Commander)), h.as(h.token("Erin", token.Approver))
	status, body := h.put(dana.bearer, "quiet", nil, strings.NewReader(string(rows(50))))
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	d := h.declaration(dana, "quiet")
	up := h.upload(dana.bearer, "quiet", nil, rows(50))
	d.RosterDigest = up.Digest
	draft := h.declare(dana, d)
	inc, err := h.approve(erin, "quiet", draft.GetIncident().GetPlanHash())
	if err != nil {
		t.Fatal(err)
	}
	preview, err := erin.incidents.Preview(t.Context(), connect.NewRequest(&candorv1.PreviewRequest{Incident: "quiet", Count: 6}))
	if err != nil || len(preview.Msg.GetMessages()) != 6 {
		t.Fatalf("preview: %v, %v", preview, err)
	}
	said := string(body) + protojson.Format(draft) + protojson.Format(inc) + protojson.Format(preview.Msg) + h.log.String()
	for _, canary := range []string{"Testgiven", "Testfamily", "canary", "1212555"} {
		if i := strings.Index(said, canary); i >= 0 {
			t.Errorf("%q is said: …%s…", canary, said[max(0, i-80):min(len(said), i+80)])
		}
	}
	for _, m := range preview.Msg.GetMessages() {
		if m.GetText() == "" || m.GetChannel() == email && m.GetSubject() == "" || m.GetChannel() == sms && m.GetSegments() == 0 {
			t.Errorf("preview shows %v", m)
		}
	}
}
