package bench

import (
	"testing"

	"github.com/rs/zerolog"

	candorv1 "candor/proto/candor/v1"
)

func TestTheSampleIncidentIsTold(t *testing.T) {
	p, err := Start(t.Context(), t.TempDir(), zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.DebugLevel), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}()
	v, err := p.Driver.Tell(t.Context(), Story{Incident: "sample", EmailBatch: 100, Seen: func(st *candorv1.Status) { t.Log(st) }}, p.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", v)
	if v.Lost != 0 || v.Duplicates != 0 || !v.Complete || v.Audience != 12 {
		t.Errorf("verdict = %+v", v)
	}
}
