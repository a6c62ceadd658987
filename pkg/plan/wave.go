package plan

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// queueHours is how much of a sender's work Twilio queues before it refuses more.
const queueHours = 10

func (k *Maker) wavePlan(w *wave, c waveCounts, f *findings) *candorv1.WavePlan {
	p := &candorv1.WavePlan{
		Wave: w.name, Audience: w.audience.String(), Guard: guardWords(w.playbook.Guard), Sent: sentWords(k.in.Playbook, w.name),
	}
	if !w.open {
		f.warn("audience_unknown", fmt.Sprintf("who gets wave %s depends on how earlier notices fare", w.name),
			"look at its plan again before it goes out")
	}
	for i, ch := range w.channels {
		p.Channels = append(p.Channels, k.channelPlan(w, ch, c.channels[i], f))
	}
	f.guard(w, p)
	return p
}

func (k *Maker) channelPlan(w *wave, ch *channel, c *channelCounts, f *findings) *candorv1.ChannelPlan {
	p := &candorv1.ChannelPlan{
		Channel: ch.channel, Notices: c.notices, Suppressed: c.suppressed, Pages: c.pages,
		ByLanguage: c.byLanguage, ByTier: c.byTier, ByZone: c.byZone,
		Currency: k.in.Playbook.Prices.Currency, Texts: map[string]string{},
	}
	calls := ch.channel == candorv1.Channel_CHANNEL_CALL
	step := ch.terms.Step()
	if step {
		p.After, p.Unless = durationpb.New(ch.terms.After), ch.terms.Unless
	}
	switch {
	case calls:
		p.Currency = "" // what agents cost stands nowhere
	case step || !w.first:
		p.CostAtMost = c.cost.String()
	default:
		p.Cost = c.cost.String()
	}
	for language, t := range ch.texts {
		hash := t.Hash()
		p.Texts[language] = hex.EncodeToString(hash[:])
	}
	if calls {
		for _, language := range ch.script.Languages() {
			hash := ch.script.Hash(language)
			p.Texts[language] = hex.EncodeToString(hash[:])
		}
		k.callPlan(p, f)
		return p
	}
	for _, language := range slices.Sorted(maps.Keys(c.segments)) {
		p.Segments = append(p.Segments, segmentPlan(language, c.segments[language]))
	}
	paces := k.paces(ch.channel)
	p.Senders = senderPlans(ch.channel, c.loads, paces)
	k.times(w, p, ch, c.loads, paces, f)
	f.channel(w, ch, p, c)
	if ch.channel == candorv1.Channel_CHANNEL_EMAIL {
		f.batch(k.in)
		k.standBy(p, f)
	}
	return p
}

func segmentPlan(language string, s *segmentCounts) *candorv1.SegmentPlan {
	p := &candorv1.SegmentPlan{
		Language: language, Messages: s.messages, Segments: s.segments, Longest: uint32(s.longest), Ucs2Messages: s.ucs2,
	}
	var most uint64
	for _, r := range slices.Sorted(maps.Keys(s.forces)) {
		if s.forces[r] > most {
			most, p.ForcesUcs2 = s.forces[r], string(r)
		}
	}
	return p
}

// pace is how fast one sender may go, in the units of its channel; 0 is as fast as the provider answers.
type pace struct {
	provider string
	perSec   float64
}

func (k *Maker) paces(ch candorv1.Channel) map[string]pace {
	paces := map[string]pace{}
	providers := k.in.Playbook.Providers
	switch {
	case ch == candorv1.Channel_CHANNEL_SMS && providers.Twilio != nil:
		for _, s := range providers.Twilio.Senders {
			paces[s.From] = pace{"twilio", s.SegmentsPerSec}
		}
	case ch == candorv1.Channel_CHANNEL_EMAIL && providers.SendGrid != nil:
		g := providers.SendGrid
		paces[g.From] = pace{"sendgrid", cmp.Or(g.RecipientsPerSec, g.RequestsPerSec*float64(g.Batch))}
	}
	return paces
}

func senderPlans(ch candorv1.Channel, loads map[loadKey]uint64, paces map[string]pace) []*candorv1.SenderPlan {
	units := map[string]uint64{}
	for key, n := range loads {
		units[key.sender] += n
	}
	var plans []*candorv1.SenderPlan
	for _, name := range slices.Sorted(maps.Keys(units)) {
		p := &candorv1.SenderPlan{Provider: paces[name].provider, Sender: name, PerSec: paces[name].perSec, Units: units[name]}
		if p.PerSec > 0 {
			p.Seconds = float64(units[name]) / p.PerSec
		}
		if ch == candorv1.Channel_CHANNEL_SMS {
			p.ProviderQueueHours = p.Seconds / time.Hour.Seconds()
		}
		plans = append(plans, p)
	}
	return plans
}

// standBy adds the relay that takes over the e-mails.
func (k *Maker) standBy(p *candorv1.ChannelPlan, f *findings) {
	relay := k.in.Playbook.Providers.SMTP
	if relay == nil || len(p.GetSenders()) == 0 {
		return
	}
	p.Senders = append(p.Senders, &candorv1.SenderPlan{
		Provider: "smtp", Sender: relay.From, PerSec: relay.MessagesPerSec, Seconds: float64(p.GetNotices()) / relay.MessagesPerSec, StandBy: true,
	})
	f.domains(k.in.Playbook.Providers)
}

// times says when the first and the last customer of the channel will have been told. Nobody knows that of a step, or of a
// prepared wave, but its hours must come.
func (k *Maker) times(w *wave, p *candorv1.ChannelPlan, ch *channel, loads map[loadKey]uint64, paces map[string]pace, f *findings) {
	work := map[string][]load{}
	for key, n := range loads {
		work[key.sender] = append(work[key.sender], load{uint32(key.tier), key.zone, float64(n)})
	}
	var first, last time.Time
	for sender, loads := range work {
		from, to, ok := timeline(k.in.Now, ch.terms.Quiet(), paces[sender].perSec, loads)
		if !ok {
			f.block("never_open", fmt.Sprintf("the hours of %s of wave %s never come for some customers", channelWord(ch.channel), w.name),
				"mend quiet_hours in the playbook")
			return
		}
		if first.IsZero() || from.Before(first) {
			first = from
		}
		if to.After(last) {
			last = to
		}
	}
	if !first.IsZero() && w.first && !ch.terms.Step() {
		p.FirstAt, p.LastAt = timestamppb.New(first), timestamppb.New(last)
	}
}

// offered returns the language a playbook answers a customer's in, and whether it speaks that language at all.
func offered(pb *playbook.Playbook, tag string) (language string, spoken bool) {
	language = pb.Languages.Language(tag)
	base, _, _ := strings.Cut(tag, "-")
	spoken = strings.EqualFold(language, tag) || strings.EqualFold(strings.SplitN(language, "-", 2)[0], base)
	return language, spoken
}
