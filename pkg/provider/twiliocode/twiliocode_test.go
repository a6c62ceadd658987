package twiliocode

import (
	"testing"

	"candor/pkg/provider"
)

func TestEveryRuleSaysWhatItMeans(t *testing.T) {
	t.Parallel()
	for code, r := range rules {
		if r.Meaning == "" || r.Class == provider.Accepted || r.Throttled && r.Class != provider.NotSent {
			t.Errorf("rule %d: %+v", code, r)
		}
	}
}

func TestTheTableIsReadByCode(t *testing.T) {
	t.Parallel()
	if r, ok := Of(30410); !ok || r.Class != provider.Unknown {
		t.Errorf("Of(30410) = %+v, %v", r, ok)
	}
	if r, ok := Of(1); ok || r != (Rule{}) {
		t.Errorf("Of(1) = %+v, %v; want nothing", r, ok)
	}
}
