package api

import (
	"bytes"
	"context"
	"strings"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// additionOf returns the wave of the addition with the hash; empty if there is none.
func additionOf(inc *incident.Incident, hash []byte) string {
	for wave, add := range inc.Additions {
		if bytes.Equal(hash, add.GetHash()) {
			return wave
		}
	}
	return ""
}

// approveAddition lets a second person send an addition out; what runs goes on meanwhile.
func (a *API) approveAddition(ctx context.Context, inc *incident.Incident, wave string, who incident.Actor) (*candorv1.BreachEvent, error) {
	add := inc.Additions[wave]
	switch {
	case add.Approved() && add.ApprovedBy == who.Person:
		return nil, nil // asked again after a lost answer
	case add.Approved():
		return nil, refuse(connect.CodeFailedPrecondition, "%s of incident %s was approved by %s already", wave, inc.ID, add.ApprovedBy)
	case add.Rejected != "":
		return nil, refuse(connect.CodeFailedPrecondition, "%s of incident %s was rejected: draft it again with candor resend", wave, inc.ID)
	case strings.EqualFold(add.DraftedBy, who.Person):
		return nil, refuse(connect.CodePermissionDenied, "%s drafted %s: a second person must approve it", who.Person, wave)
	}
	if err := running(inc, "added to"); err != nil {
		return nil, err
	}
	return &candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{
		AdditionApproved: &candorv1.AdditionApproved{Wave: wave, Hash: add.GetHash()},
	}}, a.stillUntold(ctx, inc.ID, add.GetAddition())
}

// stillUntold refuses an addition of which somebody was told since it was drafted: a receipt may come late, and an approval
// later still.
func (a *API) stillUntold(ctx context.Context, id string, add *candorv1.Addition) error {
	people, _, err := a.resendable(ctx, id, "", add.GetChannels())
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
