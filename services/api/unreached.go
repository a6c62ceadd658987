package api

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"connectrpc.com/connect"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// unreached hands fn the parts of the ledger's answer about customers who were not told for a reason, or for any.
func (a *API) unreached(ctx context.Context, id, reason string, fn func([]*candorv1.UnreachedGroup) error) error {
	q, after := &candorv1.UnreachedRequest{Incident: id, Reason: reason}, ""
	for {
		part := &candorv1.UnreachedResponse{}
		next, err := a.askAfter(ctx, "ledger", "unreached", after, q, part)
		if err != nil {
			return err
		}
		if err := fn(part.GetGroups()); err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// listUnreached adds to the ledger's list what only pages know: who they are, by reference and code.
func (a *API) listUnreached(ctx context.Context, q *candorv1.ListUnreachedRequest, send func(*candorv1.ListUnreachedResponse) error) error {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return err
	}
	if inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		return refuse(connect.CodeFailedPrecondition, "incident %s was shredded: who was not told is gone for ever", inc.ID)
	}
	return a.unreached(ctx, inc.ID, q.GetReason(), func(groups []*candorv1.UnreachedGroup) error {
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
