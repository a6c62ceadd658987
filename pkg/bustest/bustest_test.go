package bustest

import (
	"testing"

	"go.uber.org/goleak"

	"candor/pkg/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewGivesABrokerWithCandorsStreams(t *testing.T) {
	t.Parallel()
	b := New(t)
	seq, err := b.Append(t.Context(), "JOURNAL", bus.Message{Subject: "journal.sms.inc.w0.1", Data: []byte("x"), Expect: bus.Seq(0)})
	if err != nil || seq != 1 {
		t.Fatalf("Append = %d, %v; want 1", seq, err)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		New(b)
	}
}
