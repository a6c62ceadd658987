package ledger

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	candorv1 "candor/proto/candor/v1"
)

// canary says how the notices of a wave fare that are in its journals.
func (b *books) canary(r *candorv1.CanaryRequest) *candorv1.CanaryResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	res := &candorv1.CanaryResponse{}
	bk := b.incidents[r.GetIncident()]
	if bk == nil {
		return res
	}
	b.recount(bk)
	for _, f := range bk.funnels {
		if f.wave != r.GetWave() {
			continue
		}
		c := &candorv1.CanaryChannel{Channel: f.channel}
		opened := false
		var total tally
		for _, sh := range f.sheets {
			opened = opened || sh.state.Opened != nil
			c.Rejected += uint64(sh.heard.rejected)
			c.Bounced += uint64(sh.heard.bounced)
			for _, n := range sh.counts {
				total.add(n.code, n.n)
			}
		}
		if !opened {
			continue
		}
		for _, n := range total {
			if n.code.State() != candorv1.NoticeState_NOTICE_STATE_SUPPRESSED {
				c.Notices += uint64(n.n)
			}
		}
		c.Open = total.open()
		c.Waiting = total.of(candorv1.NoticeState_NOTICE_STATE_ACCEPTED)
		c.Delivered = total.of(candorv1.NoticeState_NOTICE_STATE_DELIVERED)
		c.Reasons = b.reasons(total)
		if !f.last.IsZero() {
			c.LastAcceptedAt = timestamppb.New(f.last)
		}
		res.Channels = append(res.Channels, c)
	}
	return res
}
