package spell

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"country", "region", "language", "sms", "tier"}
	for _, tt := range []struct{ word, want string }{
		{"contry", "country"},
		{"coutnry", "country"},
		{"Langauge", "language"},
		{"teir", "tier"},
		{"smss", "sms"},
		{"é", ""},
		{"postcode", ""},
		{"", ""},
		{strings.Repeat("country", 20), ""},
	} {
		if got := Nearest(tt.word, known); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
	if got := Remedy("postcode", known); !strings.Contains(got, "region, language") {
		t.Errorf("Remedy lists %q", got)
	}
}
