package api

import (
	"context"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"candor/pkg/incident"
	"candor/pkg/timetable"
	candorv1 "candor/proto/candor/v1"
)

// eventBytes is what an event of an incident may have; the broker takes a little more.
const eventBytes = 900_000

// waits says that nobody has decided about an addition.
func waits(add *incident.Addition) bool { return !add.Approved() && add.Rejected == "" }

// waiting returns the wave of the same addition if it waits for its approval; empty if there is none.
func waiting(inc *incident.Incident, add *candorv1.Addition) string {
	wanted := contentOf(add)
	for wave, known := range inc.Additions {
		if waits(known) && proto.Equal(contentOf(known.GetAddition()), wanted) {
			return wave
		}
	}
	return ""
}

// contentOf is an addition without what follows from the moment at which it was drafted.
func contentOf(add *candorv1.Addition) *candorv1.Addition {
	c := proto.CloneOf(add)
	c.Wave = ""
	switch c.GetKind() {
	case incident.KindUpdate, incident.KindCorrection:
		c.Plan, c.Customers = nil, 0
	case incident.KindRoster:
		// Whoever is on file is not in it a second time: the file is the same, and what is left of it is not.
		c = &candorv1.Addition{Kind: c.GetKind(), RosterDigest: c.GetRosterDigest()}
	case incident.KindClose:
		c.Closing.Wave = ""
	}
	return c
}

// drafting returns the event that drafts an addition; narrower says what to do if it is too large.
func drafting(inc *incident.Incident, add *candorv1.Addition, narrower string) (*candorv1.BreachEvent, error) {
	hash, err := incident.HashAddition(inc.PlanHash(), add)
	if err != nil {
		return nil, err
	}
	e := &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: add, Hash: hash}}}
	if size := proto.Size(e); size > eventBytes {
		return nil, refuse(connect.CodeFailedPrecondition, "the %s for %d customers has %d bytes, and one addition holds %d: %s",
			add.GetKind(), add.GetCustomers(), size, eventBytes, narrower)
	}
	return e, nil
}

// additionStatus is an addition as the api shows it.
func additionStatus(inc *incident.Incident, wave string) *candorv1.AdditionStatus {
	for _, s := range inc.Proto().GetAdditions() {
		if s.GetAddition().GetWave() == wave {
			return s
		}
	}
	return nil
}

// howToDraft is the command that drafts a kind of addition.
func howToDraft(kind string) string {
	switch kind {
	case incident.KindCorrection:
		return "candor update"
	case incident.KindRoster:
		return "candor roster add"
	}
	return "candor " + kind
}

// approveAddition lets a second person's word make an addition true; what runs goes on meanwhile.
func (a *API) approveAddition(ctx context.Context, inc *incident.Incident, wave string, who incident.Actor) (*candorv1.BreachEvent, error) {
	add := inc.Additions[wave]
	switch {
	case add.Approved() && add.ApprovedBy == who.Person:
		return nil, nil // asked again after a lost answer
	case add.Approved():
		return nil, refuse(connect.CodeFailedPrecondition, "%s of incident %s was approved by %s already", wave, inc.ID, add.ApprovedBy)
	case add.Rejected != "":
		return nil, refuse(connect.CodeFailedPrecondition, "%s of incident %s was rejected: draft it again with %s", wave, inc.ID, howToDraft(add.GetAddition().GetKind()))
	case strings.EqualFold(add.DraftedBy, who.Person):
		return nil, refuse(connect.CodePermissionDenied, "%s drafted %s: a second person must approve it", who.Person, wave)
	}
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{
		AdditionApproved: &candorv1.AdditionApproved{Wave: wave, Hash: add.GetHash()},
	}}, a.stillHolds(ctx, inc, add.GetAddition())
}

// stillHolds refuses an addition that the world has left behind since it was drafted.
func (a *API) stillHolds(ctx context.Context, inc *incident.Incident, add *candorv1.Addition) error {
	if add.GetKind() == incident.KindReopen {
		return a.stillClosed(inc)
	}
	what := "added to"
	if add.GetKind() == incident.KindClose {
		what = "closed"
	}
	if err := running(inc, what); err != nil {
		return err
	}
	switch add.GetKind() {
	case incident.KindResend:
		return a.stillUntold(ctx, inc, add)
	case incident.KindUpdate, incident.KindCorrection:
		if late := a.Clock.Now().Sub(add.GetAt().AsTime()); add.GetAt() != nil && late > timetable.NewsWithin {
			return refuse(connect.CodeFailedPrecondition, "%s of incident %s was to go out %s ago, at %s: reject it, and draft it again with another hour",
				add.GetWave(), inc.ID, late.Truncate(time.Minute), add.GetAt().AsTime().Format(time.RFC3339))
		}
	case incident.KindRoster:
		return a.stillMissing(ctx, inc, add)
	case incident.KindClose:
		return a.stillCovered(ctx, inc, add)
	}
	return nil
}

// stillUntold refuses an addition of which somebody was told since it was drafted: a receipt may come late, and an approval
// later still.
func (a *API) stillUntold(ctx context.Context, inc *incident.Incident, add *candorv1.Addition) error {
	people, _, err := a.resendable(ctx, inc, "", add.GetChannels())
	if err != nil {
		return err
	}
	frozen := crowd{}
	if err := frozen.add(add.GetPeople()); err != nil {
		return err
	}
	frozen.take(people, crowd{})
	if n := frozen.count(); n > 0 {
		return refuse(connect.CodeFailedPrecondition, "%d of the %d customers of %s were told since it was drafted, or may be at this moment: reject it, and draft it again with candor resend",
			n, add.GetCustomers(), add.GetWave())
	}
	return nil
}

// rejectAddition voids an addition that waits.
func rejectAddition(inc *incident.Incident, wave, reason string) (*candorv1.BreachEvent, error) {
	add := inc.Additions[wave]
	switch {
	case add == nil:
		return nil, refuse(connect.CodeNotFound, "incident %s has no addition %s: candor status %s lists them", inc.ID, wave, inc.ID)
	case add.Approved():
		return nil, refuse(connect.CodeFailedPrecondition, "%s of incident %s was approved by %s already: pause or abort stops what was not sent yet", wave, inc.ID, add.ApprovedBy)
	case add.Rejected != "":
		return nil, nil
	}
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionRejected{
		AdditionRejected: &candorv1.AdditionRejected{Wave: wave, Reason: reason},
	}}, nil
}
