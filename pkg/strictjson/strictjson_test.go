package strictjson

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	candorv1 "candor/proto/candor/v1"
)

func TestMistakesAreNamedByTheirField(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		m    proto.Message
		says string
	}{
		{`{"langs": ["Ximena"]}`, &candorv1.ClaimRequest{}, "there is no field langs: a candor.v1.ClaimRequest has mode, max, skills, languages"},
		{`{"wait": "Ximena"}`, &candorv1.ClaimRequest{}, `the field wait cannot be read: write seconds, as in "600s"`},
		{`{"max": "Ximena"}`, &candorv1.ClaimRequest{}, "the field max cannot be read: write a whole number from 0 on"},
		{`{"mode": "XIMENA"}`, &candorv1.ClaimRequest{}, `"DIAL_MODE_PROGRESSIVE"`},
		{`{"languages": "Ximena"}`, &candorv1.ClaimRequest{}, "the field languages cannot be read: write a list"},
		{`{"lease": 5}`, &candorv1.RenewRequest{}, "the field lease cannot be read: write a text"},
		{`{"callBackAt": "Ximena"}`, &candorv1.CompleteRequest{}, "the field callBackAt cannot be read: write date and time with their zone"},
		{`{"call_back_at": "2026-11-23T17:30:00"}`, &candorv1.CompleteRequest{}, "the field callBackAt"},
		{`{"Ximena +1500": 1}`, &candorv1.RenewRequest{}, "there is no field of another name: a candor.v1.RenewRequest has lease, leaseFor"},
		{`{"late": 1}`, &candorv1.CompleteResponse{}, "true or false"},
		{`{"x": 1}`, &candorv1.ReleaseResponse{}, "has none"},
		{`{"lease": "Ximena"`, &candorv1.RenewRequest{}, "this is no JSON of a candor.v1.RenewRequest"},
		{`["Ximena"]`, &candorv1.RenewRequest{}, "this is no JSON of a candor.v1.RenewRequest"},
		{`{"lease": "Ximena", "lease": "y"}`, &candorv1.RenewRequest{}, "twice"},
	} {
		err := Read([]byte(tt.in), tt.m)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "Ximena") || strings.Contains(err.Error(), "XIMENA") {
			t.Errorf("%s: %v; want %q", tt.in, err, tt.says)
		}
	}
	m := &candorv1.RenewRequest{}
	if err := Read([]byte(`{"lease": "a", "leaseFor": "600s"}`), m); err != nil || m.GetLease() != "a" || m.GetLeaseFor().GetSeconds() != 600 {
		t.Errorf("read %v, %v", m, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(`{"langs": ["en"]}`)
	f.Add(`{"wait": "25s", "max": 1e3, "lease": null}`)
	f.Add(`{"wait": {}, "a`)
	f.Fuzz(func(t *testing.T, data string) {
		if err := Read([]byte(data), &candorv1.ClaimRequest{}); err != nil && len(err.Error()) > 400 {
			t.Fatal(err)
		}
	})
}
