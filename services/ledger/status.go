package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// status is what journals and receipts say about an incident, held against its approved plan; nil if there is neither.
// It is complete if nothing is open as far as it was folded.
func (b *books) status(id string, inc *incident.Incident, at look) *candorv1.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	bk := b.incidents[id]
	if bk == nil {
		if inc == nil {
			return nil
		}
		bk = &book{incident: id}
	}
	b.recount(bk)
	st := &candorv1.Status{
		Incident: id, FoldedTo: b.journals.foldedTo, ReceiptsFoldedTo: b.receipts.foldedTo, AsOf: timestamppb.New(at.now),
		Stuck: b.stuck(bk, inc, at), Damage: b.damage(bk, at),
	}
	c := checker{st: st, inc: inc, plan: approved(inc), begun: begun(inc), ladder: b.ladder(inc), now: at.now}
	b.climbAll(bk, c.ladder)
	c.incident()
	c.closing(bk, b.asked[id])
	c.due()
	for _, wave := range c.waves(bk) {
		ws := &candorv1.WaveStatus{Wave: wave}
		st.Waves = append(st.Waves, ws)
		c.wave(wave, bk)
		for _, ch := range c.channels(bk, wave) {
			f := bk.find(wave, ch)
			if f == nil {
				f = &funnel{wave: wave, channel: ch, seconds: newWindow(time.Second, rateSeconds)}
			}
			ws.Channels = append(ws.Channels, b.channel(&c, bk, f))
		}
	}
	c.calls(b.asked[id])
	c.strays(b.strays)
	st.Open = append(st.Open, st.GetDamage()...)
	b.people(&c, bk)
	st.ProvisionalUntil = provisional(bk, at)
	st.Complete = len(st.GetOpen()) == 0
	return st
}

func (bk *book) find(wave string, ch candorv1.Channel) *funnel {
	for _, f := range bk.funnels {
		if f.wave == wave && f.channel == ch {
			return f
		}
	}
	return nil
}

// provisional returns until when receipts may still come of notices that were accepted and have no final word; nil if none
// can.
func provisional(bk *book, at look) *timestamppb.Timestamp {
	var last instant
	for _, f := range bk.funnels {
		for _, sh := range f.sheets {
			if sh.counts.of(candorv1.NoticeState_NOTICE_STATE_ACCEPTED) > 0 {
				last = max(last, sh.last)
			}
		}
	}
	if until := last.time().Add(receipt.Horizon); last != 0 && at.now.Before(until) {
		return timestamppb.New(until)
	}
	return nil
}

// channel adds up one funnel and says what is open about it.
func (b *books) channel(c *checker, bk *book, f *funnel) *candorv1.ChannelStatus {
	cs := &candorv1.ChannelStatus{Channel: f.channel, States: map[string]uint64{}, RatePerSec: f.rate(c.now)}
	var total tally
	var x extent
	for _, sh := range f.sheets {
		if sh.state.Opened != nil {
			x.opened++
		}
		if sh.state.SealedFor == "" && !sh.silent() {
			x.unsealed++
		}
		if sh.dead() {
			x.dead++
		}
		c.damaged(f, sh)
		c.st.Duplicates += uint64(sh.state.Twice())
		cs.Tried += uint64(sh.heard.tried)
		cs.Rejected += uint64(sh.heard.rejected)
		cs.Bounced += uint64(sh.heard.bounced)
		cs.OptedOut += uint64(sh.heard.optedOut)
		cs.Retrying += uint64(sh.heard.retrying)
		for _, n := range sh.counts {
			total.add(n.code, n.n)
		}
	}
	open := map[candorv1.NoticeState]uint64{}
	for _, n := range total {
		state := n.code.State()
		cs.PlannedTotal += uint64(n.n)
		cs.States[candorv1.Word(state)] += uint64(n.n)
		if !settled(state) {
			open[state] += uint64(n.n)
		}
	}
	cs.Reasons = b.reasons(total)
	x.notices = cs.GetPlannedTotal()
	cs.ToCome = c.step(bk, f)
	cs.Settled = c.channel(f, x, open, cs.GetToCome() == 0)
	if !f.first.IsZero() {
		cs.FirstAcceptedAt, cs.LastAcceptedAt = timestamppb.New(f.first), timestamppb.New(f.last)
	}
	cs.Throughput = f.throughput(c.now, cs.GetSettled())
	c.st.DeadLetters += uint64(x.dead)
	return cs
}

// reasons lists the reasons of notices, by state and the most frequent first.
func (b *books) reasons(t tally) []*candorv1.ReasonCount {
	var list []*candorv1.ReasonCount
	for _, n := range t {
		if reason := b.words.Reason(n.code); reason != "" {
			list = append(list, &candorv1.ReasonCount{State: n.code.State(), Reason: reason, Count: uint64(n.n)})
		}
	}
	slices.SortFunc(list, func(a, b *candorv1.ReasonCount) int {
		return cmp.Or(cmp.Compare(a.GetState(), b.GetState()), cmp.Compare(b.GetCount(), a.GetCount()), strings.Compare(a.GetReason(), b.GetReason()))
	})
	return list
}

// people counts customers: each once, however many notices they have.
func (b *books) people(c *checker, bk *book) {
	var total tally
	for _, p := range bk.pages {
		for _, n := range p.people {
			total.add(n.code, n.n)
		}
	}
	ps := &candorv1.PeopleStatus{OnFile: c.people().GetCustomers(), RejectedRows: c.people().GetRejected(), UnreachedReasons: map[string]uint64{}}
	var known uint64
	for _, n := range total {
		known += uint64(n.n)
		if told(n.code.State()) {
			ps.Told += uint64(n.n)
			continue
		}
		ps.UnreachedReasons[b.whyUnreached(n.code)] += uint64(n.n)
	}
	if known < ps.GetOnFile() {
		ps.UnreachedReasons[journal.NotInWave] = ps.GetOnFile() - known
	}
	c.known(known, ps.GetOnFile())
	ps.Unreached = max(ps.GetOnFile(), known) - ps.GetTold()
	c.st.People = ps
}

// whyUnreached is one word for a customer: the state of the notice that speaks for them, and its reason if that is final.
func (b *books) whyUnreached(c journal.Code) string {
	word := candorv1.Word(c.State())
	if reason := b.words.Reason(c); reason != "" && settled(c.State()) {
		word += ":" + reason
	}
	return word
}

func name(f *funnel) string {
	return fmt.Sprintf("wave %s, %s", f.wave, topology.ChannelToken(f.channel))
}

// plural is a number with the right noun.
func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
