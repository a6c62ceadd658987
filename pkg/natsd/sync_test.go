package natsd

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
)

func TestEveryWriteIsSyncedUnlessATestSaysOtherwise(t *testing.T) {
	t.Parallel()
	for _, memory := range []bool{false, true} {
		s, err := Open(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "nats"), Memory: memory, FreeSpaceMark: 1}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.inner.JetStreamConfig().SyncAlways; got == memory {
			t.Errorf("with Memory %v: SyncAlways is %v", memory, got)
		}
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
}
