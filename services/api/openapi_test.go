package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

// What the document says of every method must hold for the JSON that is really sent.
func TestTheOpenAPIDocumentDescribesTheCallQueue(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	serveOpenAPI(rec, httptest.NewRequest(http.MethodGet, "/openapi.yaml", nil))
	doc, err := openapi3.NewLoader().LoadFromData(rec.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	service := candorv1.File_candor_v1_calls_proto.Services().ByName("CallQueueService")
	if got, want := len(doc.Paths.Map()), service.Methods().Len(); got != want || want == 0 {
		t.Errorf("%d paths, want %d", got, want)
	}
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		path := doc.Paths.Find("/" + string(service.FullName()) + "/" + string(m.Name()))
		if path == nil || path.Post == nil {
			t.Errorf("%s is not described", m.FullName())
		}
	}
	at := timestamppb.New(time.Unix(1.8e9, 5))
	for name, m := range map[string]proto.Message{
		"ClaimRequest": &candorv1.ClaimRequest{Mode: candorv1.DialMode_DIAL_MODE_PREVIEW, Max: 3, Languages: []string{"es"}, Wait: durationpb.New(1500 * time.Millisecond)},
		"ClaimResponse": &candorv1.ClaimResponse{Tasks: []*candorv1.CallTask{{
			Task: "t", Fence: 1 << 60, ExpiresAt: at, NextPhones: []string{"+15005550001"}, Script: &candorv1.Script{Parts: []*candorv1.ScriptPart{{Name: "opening"}}},
		}}},
		"CompleteResponse": &candorv1.CompleteResponse{State: candorv1.CallState_CALL_STATE_DONE, Late: true, NextAt: at},
		"GetQueueResponse": &candorv1.GetQueueResponse{States: map[string]uint64{"done": 5}, Callable: 7},
	} {
		data, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(data, &value); err != nil {
			t.Fatal(err)
		}
		schema := doc.Components.Schemas[name]
		if schema == nil {
			t.Fatalf("%s is not described", name)
		}
		if err := schema.Value.VisitJSON(value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for key := range value.(map[string]any) {
			if schema.Value.Properties[key] == nil {
				t.Errorf("%s.%s is not described", name, key)
			}
		}
	}
}
