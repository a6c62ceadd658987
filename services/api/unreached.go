package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"connectrpc.com/connect"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// unreached hands fn, in parts, the customers who were not told for a reason, or for any: those whom the ledger names, and
// then those of whom no journal knows.
func (a *API) unreached(ctx context.Context, inc *incident.Incident, reason string, fn func([]*candorv1.UnreachedGroup) error) error {
	var unknown map[uint32]stretch
	if reason == "" || reason == journal.NotInWave {
		var err error
		if unknown, err = a.inNoJournal(ctx, inc); err != nil {
			return err
		}
	}
	q, after := &candorv1.UnreachedRequest{Incident: inc.ID, Reason: reason}, ""
	for {
		part := &candorv1.UnreachedResponse{}
		next, err := a.askAfter(ctx, "ledger", "unreached", after, q, part)
		if err != nil {
			return err
		}
		for _, g := range part.GetGroups() {
			for _, p := range g.GetPeople() {
				if s, ok := unknown[p.GetPage()]; ok && end(p.GetSlots()) > s.from { // opened since
					delete(unknown, p.GetPage())
				}
			}
		}
		if err := fn(part.GetGroups()); err != nil {
			return err
		}
		if next == "" {
			break
		}
		after = next
	}
	for numbers := range slices.Chunk(slices.Sorted(maps.Keys(unknown)), pagesInPart) {
		g := &candorv1.UnreachedGroup{Reason: journal.NotInWave}
		for _, n := range numbers {
			g.People = append(g.People, &candorv1.PageSlots{Page: n, Slots: []uint32{unknown[n].from, unknown[n].n}})
		}
		if err := fn([]*candorv1.UnreachedGroup{g}); err != nil {
			return err
		}
	}
	return nil
}

// pagesInPart are handed over at once.
const pagesInPart = 1000

// stretch is n neighbours of a page, the first of them in the slot from.
type stretch struct{ from, n uint32 }

// end is the slot after the last one of some runs.
func end(runs []uint32) (slot uint32) {
	for i := 0; i+1 < len(runs); i += 2 {
		slot = max(slot, runs[i]+runs[i+1])
	}
	return slot
}

// inNoJournal names the customers on file of whom the ledger cannot speak, by page: no journal was opened for the page, since
// the wave has not come to it, never will, or is for none of its customers.
//
// It is asked before the ledger names the others: whoever is told in between stands here, and nobody stands nowhere.
func (a *API) inNoJournal(ctx context.Context, inc *incident.Incident) (map[uint32]stretch, error) {
	m, err := a.everybody(ctx, inc)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, refuse(connect.CodeFailedPrecondition, "the roster of incident %s is gone, and with it who was not told: upload it again", inc.ID)
	}
	if err != nil {
		return nil, err
	}
	people, err := a.people(ctx, inc, "")
	if err != nil {
		return nil, err
	}
	unknown := map[uint32]stretch{}
	for _, p := range m.GetPages() {
		known := uint32(0)
		for _, ch := range people[p.GetNumber()] {
			known = max(known, uint32(len(ch.GetStates()))) //nolint:gosec // a page has at most journal.MaxSlots
		}
		if known < p.GetCustomers() {
			unknown[p.GetNumber()] = stretch{known, p.GetCustomers() - known}
		}
	}
	return unknown, nil
}

// notPlanned are the pages of waves that were decided and not planned yet: whoever is in no journal there may be in a moment.
func (a *API) notPlanned(ctx context.Context, inc *incident.Incident) (map[uint32]bool, error) {
	waves := []string{incident.FirstWave} // in the order of the manifests
	for _, rows := range inc.Rows() {
		waves = append(waves, rows.GetAddition().GetWave())
	}
	pages := map[uint32]bool{}
	for i, subject := range inc.Manifests() {
		if inc.Waves[waves[i]] != nil {
			continue
		}
		m, err := a.pages.Manifest(ctx, subject)
		if err != nil {
			return nil, err
		}
		for _, p := range m.GetPages() {
			pages[p.GetNumber()] = true
		}
	}
	return pages, nil
}

// listUnreached adds to the list what only pages know: who they are, by reference and code.
func (a *API) listUnreached(ctx context.Context, q *candorv1.ListUnreachedRequest, send func(*candorv1.ListUnreachedResponse) error) error {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return err
	}
	if inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		return refuse(connect.CodeFailedPrecondition, "incident %s was shredded: who was not told is gone for ever", inc.ID)
	}
	return a.unreached(ctx, inc, q.GetReason(), func(groups []*candorv1.UnreachedGroup) error {
		type story struct {
			group *candorv1.UnreachedGroup
			slots []uint32
		}
		pages := map[uint32][]story{}
		for _, g := range groups {
			for _, p := range g.GetPeople() {
				pages[p.GetPage()] = append(pages[p.GetPage()], story{g, journal.Slots(p.GetSlots())})
			}
		}
		for _, number := range slices.Sorted(maps.Keys(pages)) {
			page, err := a.pages.OpenPage(ctx, inc.ID, number, nil)
			if err != nil {
				return err
			}
			resp := &candorv1.ListUnreachedResponse{}
			for _, s := range pages[number] {
				for _, slot := range s.slots {
					if int(slot) >= len(page.Customers) {
						return fmt.Errorf("the ledger names slot %d of page %d, which has %d", slot, number, len(page.Customers))
					}
					c := &page.Customers[slot]
					resp.Customers = append(resp.Customers, &candorv1.Unreached{
						CustomerRef: c.Ref, Code: c.Code, Reason: s.group.GetReason(), Notices: s.group.GetNotices(),
					})
				}
			}
			if err := send(resp); err != nil {
				return err
			}
		}
		return nil
	})
}
