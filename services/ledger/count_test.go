package ledger

import (
	"slices"
	"testing"
	"time"
)

func TestThroughput(t *testing.T) {
	t.Parallel()
	f := (&book{}).funnel("w0", sms)
	if got := f.throughput(noon, false); got != nil {
		t.Errorf("throughput before anything: %v", got)
	}
	f.accepted(noon, 100)
	f.accepted(noon.Add(2*time.Minute), 40)
	f.accepted(noon.Add(2*time.Minute+5*time.Second), 20)
	f.accepted(noon.Add(-time.Second), 1) // lands late
	f.accepted(time.Unix(0, 0), 1)        // no time at all
	f.first = noon.Add(-time.Second)

	now := noon.Add(2*time.Minute + 8*time.Second)
	if got, want := f.rate(now), 60/9.0; got != want {
		t.Errorf("rate %v, want %v", got, want)
	}
	var minutes []uint64
	for _, m := range f.throughput(now.Add(time.Minute), false) {
		minutes = append(minutes, m.GetAccepted())
	}
	if want := []uint64{1, 100, 0, 60, 0}; !slices.Equal(minutes, want) {
		t.Errorf("minutes %v, want %v", minutes, want)
	}
	if got := f.throughput(now.Add(24*time.Hour), true); len(got) != 4 {
		t.Errorf("when done, %d minutes are listed, want 4", len(got))
	}
	if got := f.throughput(now.Add(24*time.Hour), false); len(got) != shownMinutes || got[0].GetAccepted() != 0 {
		t.Errorf("a day later: %d minutes, the first with %d", len(got), got[0].GetAccepted())
	}
	if got := f.rate(now.Add(24 * time.Hour)); got != 0 {
		t.Errorf("rate a day later: %v", got)
	}
}

func TestRateOfTheFirstSeconds(t *testing.T) {
	t.Parallel()
	f := (&book{}).funnel("w0", sms)
	f.accepted(noon, 100)
	f.accepted(noon.Add(time.Second), 100)
	if got := f.rate(noon.Add(2 * time.Second)); got != 100 {
		t.Errorf("rate %v, want 100", got)
	}
}

func TestClockAheadDoesNotSpoilTheRate(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	p.openAll()
	e := stamped(outcome(1, accepted, "", 0, 1), noon.Add(365*24*time.Hour))
	if err := p.bad(on(sms, 0), encode(t, e)); err != nil {
		t.Fatal(err)
	}
	p.write(on(sms, 1), outcome(1, accepted, "", 0, 5))
	ch := p.books.status("i1", declared(), as(noon.Add(2*time.Second))).GetWaves()[0].GetChannels()[0]
	if ch.GetRatePerSec() != 3 || ch.GetLastAcceptedAt().AsTime().After(noon.Add(time.Second)) {
		t.Errorf("rate %v, last accepted %v", ch.GetRatePerSec(), ch.GetLastAcceptedAt().AsTime())
	}
}
