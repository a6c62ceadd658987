package provider_test

import (
	"net/http"
	"testing"
	"time"

	"candor/pkg/provider"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		in   string
		want time.Duration
	}{
		{"", 0},
		{"0", 0},
		{"7", 7 * time.Second},
		{"899", 899 * time.Second},
		{"86400", provider.MaxRetryAfter},
		{"99999999999999999999999999", provider.MaxRetryAfter},
		{"-5", 0},
		{"1.5", 0},
		{"soon", 0},
		{"Sun, 22 Nov 2026 12:00:30 GMT", 30 * time.Second},
		{"Sunday, 22-Nov-26 12:00:30 GMT", 30 * time.Second},
		{"Sun, 22 Nov 2026 11:00:00 GMT", 0},
		{"Mon, 23 Nov 2026 12:00:00 GMT", provider.MaxRetryAfter},
	} {
		if got := provider.RetryAfter(http.Header{"Retry-After": {tt.in}}, now); got != tt.want {
			t.Errorf("RetryAfter(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "7", "-1", "9223372036854775808", "Sun, 22 Nov 2026 12:00:30 GMT", "Sun, 22 Nov 0000 12:00:30 GMT"} {
		f.Add(s, int64(1795348800))
	}
	f.Fuzz(func(t *testing.T, s string, now int64) {
		if d := provider.RetryAfter(http.Header{"Retry-After": {s}}, time.Unix(now, 0)); d < 0 || d > provider.MaxRetryAfter {
			t.Errorf("RetryAfter(%q) = %s", s, d)
		}
	})
}

func TestSkew(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 11, 22, 12, 0, 0, 700e6, time.UTC)
	received := sent.Add(3 * time.Second)
	for _, tt := range []struct {
		name, date string
		want       time.Duration
	}{
		{"no date", "", 0},
		{"nonsense", "yesterday", 0},
		{"when sent, whole seconds", "Sun, 22 Nov 2026 12:00:00 GMT", 0},
		{"on the way", "Sun, 22 Nov 2026 12:00:02 GMT", 0},
		{"when received", "Sun, 22 Nov 2026 12:00:03 GMT", 0},
		{"ahead", "Sun, 22 Nov 2026 12:01:03 GMT", 59*time.Second + 300*time.Millisecond},
		{"behind", "Sun, 22 Nov 2026 11:59:00 GMT", -59*time.Second - 700*time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := provider.Skew(tt.date, sent, received); got != tt.want {
				t.Errorf("skew(%q) = %s, want %s", tt.date, got, tt.want)
			}
		})
	}
}
