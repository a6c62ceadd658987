package api

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"connectrpc.com/connect"
)

// resend drafts another try for exactly those who were not told for a reason.
//
// A crash leaves either nothing or the draft; asking again finds the one that waits, and drafts no second one.
func (a *API) resend(ctx context.Context, q *candorv1.ResendRequest) (*candorv1.ResendResponse, error) {
	// Read before the ledger is asked: what the ledger counts includes every wave that was planned by now.
	before, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	if err := running(before, "sent to again"); err != nil {
		return nil, err
	}
	chs, err := a.resendChannels(before, q.GetChannels())
	if err != nil {
		return nil, err
	}
	wanted, pending, err := a.resendable(ctx, before, q.GetReason(), chs)
	if err != nil {
		return nil, err
	}
	resp := &candorv1.ResendResponse{}
	var wave string
	inc, err := a.change(ctx, before.ID, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := running(inc, "sent to again"); err != nil {
			return nil, err
		}
		people, left := wanted.clone(), pending.clone()
		if err := leaveOut(inc, chs, people, left, func(wave string, add *incident.Addition) bool {
			return add.Approved() && before.Waves[wave] == nil
		}); err != nil {
			return nil, err
		}
		add := &candorv1.Addition{
			Wave: inc.NextAddition(incident.FirstWave + "-r"), Kind: incident.KindResend, Base: incident.FirstWave, Channels: chs, People: people.people(), Customers: people.count(), ChosenBy: q.GetReason(),
		}
		resp.Customers, resp.LeftOut = add.GetCustomers(), left.count()
		if wave = waiting(inc, add); wave != "" {
			return nil, nil // drafted already
		}
		// Whoever stands in an addition that waits would be told twice if both were approved.
		if err := leaveOut(inc, chs, people, left, func(_ string, add *incident.Addition) bool {
			return waits(add)
		}); err != nil {
			return nil, err
		}
		add.People, add.Customers = people.people(), people.count()
		resp.Customers, resp.LeftOut = add.GetCustomers(), left.count()
		if add.GetCustomers() == 0 {
			return nil, nobody(inc.ID, q.GetReason(), left.count())
		}
		if q.GetDryRun() {
			return nil, nil
		}
		wave = add.GetWave()
		return drafting(inc, add, "choose a narrower reason, such as failed:twilio_30003, and resend for one after the other")
	})
	if err != nil || q.GetDryRun() {
		return resp, err
	}
	resp.Addition = additionStatus(inc, wave)
	a.Log.Info().Str("incident", inc.ID).Str("wave", wave).Uint64("customers", resp.GetCustomers()).Uint64("left_out", resp.GetLeftOut()).Msg("resend drafted")
	return resp, nil
}

// resendChannels are those that were asked for, or those with which the first notice begins.
func (a *API) resendChannels(inc *incident.Incident, wanted []candorv1.Channel) ([]candorv1.Channel, error) {
	if err := checkChannels(wanted); err != nil {
		return nil, err
	}
	if slices.Contains(wanted, candorv1.Channel_CHANNEL_CALL) {
		return nil, refuse(connect.CodeInvalidArgument, "another try goes by sms and email, and not by call: candor calls add %s CUSTOMER puts a customer into the call queue", inc.ID)
	}
	set, err := a.texts.Plan(inc)
	if err != nil {
		return nil, err
	}
	terms := map[candorv1.Channel]*playbook.Terms{}
	if w := set.Playbook.Waves[incident.FirstWave]; w != nil {
		if w.Channels.SMS != nil {
			terms[candorv1.Channel_CHANNEL_SMS] = &w.Channels.SMS.Terms
		}
		if w.Channels.Email != nil {
			terms[candorv1.Channel_CHANNEL_EMAIL] = &w.Channels.Email.Terms
		}
	}
	var chs []candorv1.Channel
	for _, ch := range slices.Sorted(maps.Keys(terms)) {
		if slices.Contains(wanted, ch) || len(wanted) == 0 && terms[ch].After == 0 {
			chs = append(chs, ch)
		}
	}
	for _, ch := range wanted {
		if terms[ch] == nil {
			return nil, refuse(connect.CodeInvalidArgument, "the first notice of incident %s was approved without a text for the channel %s: name another one",
				inc.ID, topology.ChannelToken(ch))
		}
	}
	return chs, nil
}

// resendable asks whom nothing has told for a reason, or for any. Those to whom a message may still be on its way on one of the
// channels stand apart, and so does whoever may yet get a notice of a wave that is being planned.
func (a *API) resendable(ctx context.Context, inc *incident.Incident, reason string, chs []candorv1.Channel) (people, pending crowd, err error) {
	people, pending = crowd{}, crowd{}
	var early map[uint32]bool
	if reason == "" || reason == journal.NotInWave {
		if early, err = a.notPlanned(ctx, inc); err != nil {
			return nil, nil, err
		}
	}
	err = a.unreached(ctx, inc, reason, func(groups []*candorv1.UnreachedGroup) error {
		for _, g := range groups {
			waits := slices.ContainsFunc(g.GetNotices(), func(n *candorv1.ChannelWord) bool {
				return slices.Contains(chs, n.GetChannel()) && onItsWay(n.GetState())
			})
			for _, p := range g.GetPeople() {
				into := people
				if waits || g.GetReason() == journal.NotInWave && early[p.GetPage()] {
					into = pending
				}
				if err := into.add([]*candorv1.PageSlots{p}); err != nil {
					return fmt.Errorf("answer of the ledger: %w", err)
				}
			}
		}
		return nil
	})
	return people, pending, err
}

// onItsWay says that a notice was or may yet be sent: another message would be a second one.
func onItsWay(s candorv1.NoticeState) bool {
	switch s {
	case candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED, // not in the wave
		candorv1.NoticeState_NOTICE_STATE_SUPPRESSED, candorv1.NoticeState_NOTICE_STATE_FAILED, candorv1.NoticeState_NOTICE_STATE_EXPIRED:
		return false
	}
	return true
}

// leaveOut moves the people of some additions, on the same channels, over to left.
func leaveOut(inc *incident.Incident, chs []candorv1.Channel, people, left crowd, which func(wave string, add *incident.Addition) bool) error {
	for wave, add := range inc.Additions {
		if !which(wave, add) || !slices.ContainsFunc(chs, func(ch candorv1.Channel) bool { return slices.Contains(add.GetAddition().GetChannels(), ch) }) {
			continue
		}
		theirs := crowd{}
		if err := theirs.add(add.GetAddition().GetPeople()); err != nil {
			return fmt.Errorf("addition %s of incident %s: %w", wave, inc.ID, err)
		}
		people.take(theirs, left)
	}
	return nil
}

func nobody(id, reason string, left uint64) error {
	if left > 0 {
		return refuse(connect.CodeFailedPrecondition,
			"%d customers of incident %s were not told for the reason %s, and each has a notice on these channels that may still be sent, or belongs to a wave or stands in an addition that is not planned yet: wait for those, settle what is uncertain, approve or reject what waits",
			left, id, reason)
	}
	return refuse(connect.CodeFailedPrecondition, "nobody of incident %s is unreached for the reason %s: candor status %s lists the reasons that there are", id, strings.ReplaceAll(reason, ": ", ":"), id)
}
