package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/topology"
)

// Three quarters of a calendar hour are three quarters of a second, and what comes back is told in calendar time.
func TestInstantsAreTheCalendars(t *testing.T) {
	t.Parallel()
	const speed = 3600
	server, _ := bustest.Start(t, bustest.Options{})
	origin := time.Date(2028, 2, 28, 23, 30, 0, 0, time.UTC)
	c := clock.Fast(origin, time.Now(), speed)
	b, err := bus.Connect(t.Context(), bus.Config{Server: server, Name: "fast", Clock: c, RequestTimeout: patience}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	got := take(t, b)
	began := time.Now()
	at := c.Now().Add(45 * time.Minute)
	if err := b.Schedule(t.Context(), later("inc", 1), order("inc", 1), at, []byte("work"), nil); err != nil {
		t.Fatal(err)
	}
	page := topology.Page("inc", 1)
	mustAppend(t, b, topology.StreamRoster, bus.Message{Subject: page, Data: []byte("page")})
	last, err := b.Last(t.Context(), topology.StreamRoster, page)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := b.LastDirect(t.Context(), topology.StreamRoster, page)
	if err != nil {
		t.Fatal(err)
	}
	var read time.Time
	if _, err := b.Read(t.Context(), topology.StreamRoster, "", 0, func(m bus.Stored) error { read = m.Time; return nil }); err != nil {
		t.Fatal(err)
	}
	now, err := b.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, shown := range map[string]time.Time{"last": last.Time, "last direct": direct.Time, "read": read, "the broker's clock": now} {
		if from, to := c.FromMachine(began.Add(-time.Millisecond)), c.FromMachine(time.Now().Add(time.Millisecond)); shown.Before(from) || shown.After(to) {
			t.Errorf("%s: %s, want %s to %s", what, shown, from, to)
		}
	}
	d := within(t, "the order", got)
	if now := c.FromMachine(time.Now().Add(time.Millisecond)); d.Time.Before(at) || d.Time.After(now) {
		t.Errorf("due at %s, stored anew at %s, and it is %s", at, d.Time, now)
	}
}
