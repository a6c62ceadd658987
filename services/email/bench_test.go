package email

import (
	"context"
	"testing"
	"time"

	"candor/pkg/provider"
)

// taker accepts all and keeps nothing.
type taker struct{ out []provider.Outcome }

func (c *taker) SendEmail(_ context.Context, m *provider.Email, _ time.Time) []provider.Outcome {
	return c.out[:len(m.Recipients)]
}

// BenchmarkStride is what the courier does for a stride of a thousand people, but for the requests themselves.
func BenchmarkStride(b *testing.B) {
	const n = 1000
	c := &taker{out: make([]provider.Outcome, n)}
	for i := range c.out {
		c.out[i] = provider.Outcome{Class: provider.Accepted, ID: "x"}
	}
	r := newRound(b, c, nil, n, people(n)...)
	s := stride(n)
	b.ReportAllocs()
	for b.Loop() {
		for i := range uint32(n) {
			r.Pace(i, 0)
		}
		r.Send(b.Context(), s)
	}
}
