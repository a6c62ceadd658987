package planner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// tally is how many notices of a channel were tried, and how many of them came to nothing.
type tally struct{ tried, rejected, bounced uint64 }

// since returns what was added to an earlier tally.
func (n tally) since(o tally) tally {
	return tally{n.tried - min(o.tried, n.tried), n.rejected - min(o.rejected, n.rejected), n.bounced - min(o.bounced, n.bounced)}
}

// funnel names one channel of a wave.
type funnel struct {
	wave    string
	channel candorv1.Channel
}

// guard pauses a channel of which too many notices were rejected or bounced, counted since a person last resumed it: who
// resumes has seen the numbers.
//
// A crash before Paused: the next look pauses. A crash after it: the api tells everybody else at its next start.
func (t *tender) guard(ctx context.Context, c *charge) error {
	inc := c.inc
	if inc.Paused[everyChannel] || len(inc.Waves) == 0 {
		return nil
	}
	guards := map[string]playbook.Guard{}
	for wave := range inc.Waves {
		set, base, err := t.texts.Of(inc, wave) // an update brings its own
		if err != nil {
			return err
		}
		if w := set.Playbook.Waves[base]; w != nil && (w.Guard.Rejected > 0 || w.Guard.Bounced > 0) {
			guards[wave] = w.Guard
		}
	}
	if len(guards) == 0 {
		return nil
	}
	at, err := t.last(ctx)
	if err != nil || at == c.guarded && len(c.resumed) == 0 {
		return err
	}
	res := &candorv1.GetStatusResponse{}
	if err := t.ask(ctx, "status", &candorv1.GetStatusRequest{Incident: inc.ID}, res); err != nil {
		return err
	}
	status := res.GetStatus()
	c.guarded = position{journal: status.GetFoldedTo(), receipts: status.GetReceiptsFoldedTo()}
	for _, w := range status.GetWaves() {
		for _, ch := range w.GetChannels() {
			if ch.GetChannel() == candorv1.Channel_CHANNEL_CALL {
				continue // that nobody picks up is no sign of a fault
			}
			of := funnel{w.GetWave(), ch.GetChannel()}
			n := tally{tried: ch.GetTried(), rejected: ch.GetRejected(), bounced: ch.GetBounced()}
			if c.resumed[of.channel] || c.resumed[everyChannel] {
				c.baseline[of] = n
				continue
			}
			n = n.since(c.baseline[of])
			if g, ok := guards[of.wave]; ok && !inc.Paused[of.channel] && n.tried >= uint64(max(g.Least, 1)) {
				if wrong := complaint(g, of.channel, n, ch.GetReasons()); wrong != "" {
					c.guarded = position{} // whoever is overtaken looks again
					reason := fmt.Sprintf("too many notices of wave %s fail: %s. The channel is paused; mend the cause and resume", of.wave, wrong)
					return t.pause(ctx, c, &candorv1.Paused{Channels: []candorv1.Channel{of.channel}, Reason: reason})
				}
			}
		}
	}
	clear(c.resumed)
	return nil
}

// complaint says in a sentence which share of a channel's notices is above what the playbook allows; empty if none is.
func complaint(g playbook.Guard, ch candorv1.Channel, n tally, reasons []*candorv1.ReasonCount) string {
	for _, x := range []struct {
		fate  string
		count uint64
		most  playbook.Share
	}{{"were rejected", n.rejected, g.Rejected}, {"bounced", n.bounced, g.Bounced}} {
		if x.most <= 0 || float64(x.count) <= float64(x.most)*float64(n.tried) {
			continue
		}
		s := fmt.Sprintf("%d of %d %s %s (%s, more than %s)", x.count, n.tried, words(ch), x.fate, percent(float64(x.count)/float64(n.tried)), percent(float64(x.most)))
		if why := commonest(reasons); why != "" {
			s += ", most often " + why
		}
		return s
	}
	return ""
}

// commonest returns the word that stands beside most of the notices that failed, or wait because they did.
func commonest(reasons []*candorv1.ReasonCount) string {
	counts := map[string]uint64{}
	for _, r := range reasons {
		switch r.GetState() {
		case candorv1.NoticeState_NOTICE_STATE_FAILED, candorv1.NoticeState_NOTICE_STATE_WAITING:
			counts[r.GetReason()] += r.GetCount()
		}
	}
	for _, hold := range []string{"", "quiet_hours", "paused", "pace"} {
		delete(counts, hold)
	}
	best := ""
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		if best == "" || counts[word] > counts[best] {
			best = word
		}
	}
	return best
}

func percent(share float64) string {
	s := strconv.FormatFloat(share*100, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + " %"
}

// words names a channel's notices as people do.
func words(ch candorv1.Channel) string {
	switch ch {
	case candorv1.Channel_CHANNEL_SMS:
		return "text messages"
	case candorv1.Channel_CHANNEL_EMAIL:
		return "e-mails"
	}
	return "notices"
}
