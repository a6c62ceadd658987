package bench

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"

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
		UncertainSent: map[string]uint64{}, UncertainNotSent: map[string]uint64{},
	}
	truth, err := sb.Truth(ctx)
	if err != nil {
		return nil, err
	}
	v.Duplicates = truth.Duplicates
	seed := maphash.MakeSeed()
	accepted := map[uint64]struct{}{} // by hash of the notice: a million notices stay small
	for _, ch := range []string{"sms", "email"} {
		err := sb.Notices(ctx, ch, "", func(a sandbox.Attempt) error {
			if a.Accepted > 0 && noticeid.Of(incident, a.Notice) {
				accepted[maphash.Bytes(seed, a.Notice)] = struct{}{}
				v.Sandbox[ch]++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if err := d.compare(ctx, v, seed, accepted); err != nil {
		return nil, err
	}
	// What the sandbox accepted and Candor has no notice for.
	v.Lost += uint64(len(accepted))
	return v, nil
}

// compare goes through every notice that Candor knows, and takes each out of accepted.
func (d *Driver) compare(ctx context.Context, v *Verdict, seed maphash.Seed, accepted map[uint64]struct{}) error {
	stream, err := d.ledger().ExportNotices(ctx, connect.NewRequest(&candorv1.ExportNoticesRequest{Incident: v.Incident}))
	if err != nil {
		return fmt.Errorf("export notices: %w", err)
	}
	defer func() { _ = stream.Close() }() // only read from
	codec := noticeid.New(nil)            // the part of an id that names the notice needs no key
	perChannel := map[string]uint64{}
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
				perChannel[ch]++
				v.Notices[ch][stateName(state)]++
				id := maphash.String(seed, codec.Notice(noticeid.Key{
					Incident: v.Incident, Wave: k.GetWave(), Channel: k.GetChannel(), Page: k.GetPage(), Slot: uint32(slot),
				}))
				_, got := accepted[id]
				delete(accepted, id)
				switch state {
				case candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_DELIVERED:
					if !got {
						v.Lost++
					}
				case candorv1.NoticeState_NOTICE_STATE_UNCERTAIN:
					if got {
						v.UncertainSent[ch]++
					} else {
						v.UncertainNotSent[ch]++
					}
				default:
					if got { // the sandbox told somebody of whom Candor says that nobody did
						v.Lost++
					}
				}
			}
		}
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("export notices: %w", err)
	}
	// Every customer on file has a notice on every channel of the wave, be it a suppressed one.
	for _, n := range perChannel {
		if n < v.Audience {
			v.Lost += v.Audience - n
		}
	}
	return nil
}

// stateName is the name of a state as the ledger counts it.
func stateName(s candorv1.NoticeState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "NOTICE_STATE_"))
}
