package bench

import (
	"context"
	"fmt"
	"hash/maphash"

	"connectrpc.com/connect"

	"candor/pkg/noticeid"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/sandbox"
)

// Verdict compares what Candor says with what the sandbox knows.
type Verdict struct {
	Incident string `json:"incident"`
	// Audience is how many customers are on file.
	Audience uint64 `json:"audience"`
	// Notices by channel and state, as Candor says.
	Notices map[string]map[string]uint64 `json:"notices"`
	// People told on at least one channel, and unreached.
	Told      uint64 `json:"told"`
	Unreached uint64 `json:"unreached"`
	Complete  bool   `json:"complete"`
	// Sandbox is the sandbox's own count of notices that it accepted, by channel.
	Sandbox map[string]uint64 `json:"sandbox"`
	// Delivered, Undelivered and OptedOut are what Candor says and what the sandbox knows, by channel; Disagree counts the
	// notices of which the two say different things.
	Delivered   map[string]Twice `json:"delivered"`
	Undelivered map[string]Twice `json:"undelivered"`
	OptedOut    map[string]Twice `json:"opted_out"`
	Disagree    uint64           `json:"disagree"`
	// Lost counts notices that Candor calls accepted and the sandbox never accepted, and notices that either of the two
	// does not account for.
	Lost uint64 `json:"sandbox_lost"`
	// Duplicates counts notices of which a second message was accepted while an earlier one had not definitely failed.
	Duplicates uint64 `json:"sandbox_duplicates"`
	// Uncertain notices that the sandbox did accept, and that it never saw, by channel: what nobody could find out yet.
	UncertainSent    map[string]uint64 `json:"uncertain_sent"`
	UncertainNotSent map[string]uint64 `json:"uncertain_not_sent"`
	Seconds          float64           `json:"seconds"`
	PerSecond        float64           `json:"per_second"`
}

// Twice is one figure, counted by both sides.
type Twice struct {
	Candor  uint64 `json:"candor"`
	Sandbox uint64 `json:"sandbox"`
}

// took sets what the run's time decides.
func (v *Verdict) took(seconds float64) {
	v.Seconds = seconds
	for _, n := range v.Sandbox {
		v.PerSecond += float64(n) / seconds
	}
}

// Verify takes stock when nothing happens any more. The sandbox may have other incidents too: only Duplicates counts theirs.
func (d *Driver) Verify(ctx context.Context, incident string, sb *sandbox.Client) (*Verdict, error) {
	st, err := d.Status(ctx, incident)
	if err != nil {
		return nil, err
	}
	v := &Verdict{
		Incident: incident, Audience: st.GetPeople().GetOnFile(), Told: st.GetPeople().GetTold(), Unreached: st.GetPeople().GetUnreached(),
		Complete: st.GetComplete(), Notices: map[string]map[string]uint64{}, Sandbox: map[string]uint64{},
		Delivered: map[string]Twice{}, Undelivered: map[string]Twice{}, OptedOut: map[string]Twice{},
		UncertainSent: map[string]uint64{}, UncertainNotSent: map[string]uint64{},
	}
	truth, err := sb.Truth(ctx)
	if err != nil {
		return nil, err
	}
	v.Duplicates = truth.Duplicates
	seed := maphash.MakeSeed()
	fates := map[uint64]fate{} // by hash of the notice: a million notices stay small
	for ch, t := range map[string]sandbox.ChannelTruth{"sms": truth.SMS, "email": truth.Email} {
		err := sb.Notices(ctx, ch, "", func(a sandbox.Attempt) error {
			if a.Accepted > 0 && noticeid.Of(incident, a.Notice) {
				h := maphash.Bytes(seed, a.Notice)
				fates[h] = fates[h].with(a)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		v.OptedOut[ch] = Twice{Sandbox: t.OptedOut}
	}
	for _, w := range st.GetWaves() {
		for _, c := range w.GetChannels() {
			ch := topology.ChannelToken(c.GetChannel())
			n := v.OptedOut[ch]
			n.Candor += c.GetOptedOut()
			v.OptedOut[ch] = n
		}
	}
	if err := d.compare(ctx, v, seed, fates); err != nil {
		return nil, err
	}
	// What the sandbox accepted and Candor has no notice for.
	v.Lost += uint64(len(fates))
	return v, nil
}

// fate is what the sandbox knows of a notice, over all of its attempts.
type fate uint8

const (
	fateTaken       fate = 1 << iota // a message was accepted that has not come to nothing
	fateDelivered                    // a message was delivered
	fateUndelivered                  // a message was accepted and came to nothing
)

func (f fate) with(a sandbox.Attempt) fate {
	switch a.Fate {
	case "", "30410": // nobody knows, the provider least of all
		return f | fateTaken
	case "delivered":
		return f | fateDelivered
	}
	return f | fateUndelivered
}

// end is the state in which a notice with this fate must stand once every receipt is in.
func (f fate) end() candorv1.NoticeState {
	switch {
	case f&fateDelivered != 0:
		return candorv1.NoticeState_NOTICE_STATE_DELIVERED
	case f&fateTaken != 0:
		return candorv1.NoticeState_NOTICE_STATE_ACCEPTED
	case f&fateUndelivered != 0:
		return candorv1.NoticeState_NOTICE_STATE_FAILED
	}
	return candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED
}

// compare goes through every notice that Candor knows, and takes each out of fates.
func (d *Driver) compare(ctx context.Context, v *Verdict, seed maphash.Seed, fates map[uint64]fate) error {
	stream, err := d.ledger().ExportNotices(ctx, connect.NewRequest(&candorv1.ExportNoticesRequest{Incident: v.Incident}))
	if err != nil {
		return fmt.Errorf("export notices: %w", err)
	}
	defer func() { _ = stream.Close() }() // only read from
	codec := noticeid.New(nil)            // the part of an id that names the notice needs no key
	people := map[uint64]struct{}{}       // with a notice
	for stream.Receive() {
		for _, page := range stream.Msg().GetPages() {
			k := page.GetKey()
			ch := topology.ChannelToken(k.GetChannel())
			if v.Notices[ch] == nil {
				v.Notices[ch] = map[string]uint64{}
			}
			for slot, b := range page.GetStates() {
				state := candorv1.NoticeState(b)
				if state == candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED {
					continue
				}
				people[uint64(k.GetPage())<<32|uint64(slot)] = struct{}{} //nolint:gosec // a slot's number
				v.Notices[ch][candorv1.Word(state)]++
				if k.GetChannel() == candorv1.Channel_CHANNEL_CALL {
					continue // the sandbox has no telephone
				}
				id := maphash.String(seed, codec.Notice(noticeid.Key{
					Incident: v.Incident, Wave: k.GetWave(), Channel: k.GetChannel(), Page: k.GetPage(), Slot: uint32(slot),
				}))
				v.hold(ch, state, fates[id])
				delete(fates, id)
			}
		}
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("export notices: %w", err)
	}
	// Every customer on file has a notice on some channel of the wave, be it a suppressed one.
	if n := uint64(len(people)); n < v.Audience {
		v.Lost += v.Audience - n
	}
	return nil
}

// hold holds one notice of Candor's against what the sandbox knows of it.
func (v *Verdict) hold(ch string, state candorv1.NoticeState, f fate) {
	if f != 0 {
		v.Sandbox[ch]++
	}
	delivered, undelivered := v.Delivered[ch], v.Undelivered[ch]
	switch f.end() {
	case candorv1.NoticeState_NOTICE_STATE_DELIVERED:
		delivered.Sandbox++
	case candorv1.NoticeState_NOTICE_STATE_FAILED:
		undelivered.Sandbox++
	}
	switch state {
	case candorv1.NoticeState_NOTICE_STATE_DELIVERED:
		delivered.Candor++
		v.disagree(f&fateDelivered == 0)
		v.lose(f == 0)
	case candorv1.NoticeState_NOTICE_STATE_ACCEPTED:
		v.disagree(f.end() != state)
		v.lose(f == 0)
	case candorv1.NoticeState_NOTICE_STATE_UNCERTAIN:
		if f != 0 {
			v.UncertainSent[ch]++
		} else {
			v.UncertainNotSent[ch]++
		}
	case candorv1.NoticeState_NOTICE_STATE_FAILED:
		if f&fateUndelivered != 0 {
			undelivered.Candor++
		}
		v.disagree(f != 0 && f.end() != state)
		v.lose(f&(fateTaken|fateDelivered) != 0)
	case candorv1.NoticeState_NOTICE_STATE_EXPIRED: // while it waited for another attempt
		if f.end() == candorv1.NoticeState_NOTICE_STATE_FAILED {
			undelivered.Candor++
		}
		v.lose(f&(fateTaken|fateDelivered) != 0)
	default:
		v.lose(f&(fateTaken|fateDelivered) != 0) // the sandbox told somebody of whom Candor says that nobody did
	}
	v.Delivered[ch], v.Undelivered[ch] = delivered, undelivered
}

func (v *Verdict) disagree(yes bool) {
	if yes {
		v.Disagree++
	}
}

func (v *Verdict) lose(yes bool) {
	if yes {
		v.Lost++
	}
}
