package dispatch

import (
	"context"
	"errors"
	"sync"
	"testing"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// What a worker keeps in memory may be behind the approval that its order follows from: the page waits, and needs no person.
func TestAnOrderThatCameBeforeItsApprovalIsNoDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.key.Incident, w.inc = "other", &incident.Incident{ID: "other"}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{Revision: 1, PlanHash: w.hash}}})
	behind := incident.NewRegistry(w.bus)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := behind.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	<-behind.Ready()
	cancel()
	wg.Wait()
	w.open()
	ready := func() error {
		st, err := w.journal.Load(t.Context(), w.key)
		if err != nil {
			t.Fatal(err)
		}
		h := &hand{
			Worker: &Worker{cfg: w.cfg, Deps: Deps{Bus: w.bus, Incidents: behind, Pages: w.carrier, Courier: courier{w}}}, key: w.key, st: st,
			order: &candorv1.Order{Incident: w.key.Incident, Wave: w.key.Wave, PlanHash: w.hash},
		}
		return h.ready(t.Context())
	}
	if err := ready(); !errors.Is(err, errDead) {
		t.Errorf("nobody approved it: %v, want a dead letter", err)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1, PlanHash: w.hash}}})
	if err := ready(); err == nil || errors.Is(err, errDead) {
		t.Errorf("approved, and not known here yet: %v, want to be asked again", err)
	}
}
