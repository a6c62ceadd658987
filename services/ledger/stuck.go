package ledger

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// look is how the books are looked at.
type look struct {
	now time.Time
	// stuckAfter is how long a page may rest without a reason.
	stuckAfter time.Duration
	// receipts is the sequence up to which every receipt's intent lies in the journals that were folded: what no journal
	// knows of these is damage, and not a journal that is read a moment later.
	receipts uint64
}

// stuck lists the pages that should have moved on and did not. The pages are counted. b.mu is held.
func (b *books) stuck(bk *book, inc *incident.Incident, at look) []*candorv1.StuckPage {
	if inc == nil || !inc.Declared() {
		return nil
	}
	var list []*candorv1.StuckPage
	for _, f := range bk.funnels {
		if inc.PausedFor(f.channel) || f.channel == candorv1.Channel_CHANNEL_CALL { // whose tasks may wait for days
			continue
		}
		moved := b.lastMove(f.channel)
		for _, sh := range f.sheets {
			since := sh.rests()
			if since == 0 {
				continue
			}
			if sh.state.Begun().IsZero() {
				since = max(since, moved) // it has its turn in a queue that goes on
			}
			if at.now.Sub(since.time()) < at.stuckAfter {
				continue
			}
			list = append(list, &candorv1.StuckPage{
				Key: sh.key(), OpenNotices: sh.counts.open(), UnchangedSince: timestamppb.New(sh.changed.time()),
			})
		}
	}
	return list
}

// rests returns since when a page has had no reason to wait; 0 if it has one, or nothing to do. What is uncertain or waits
// for another attempt has one.
func (sh *sheet) rests() instant {
	if sh.state.Opened == nil || sh.damage != nil || sh.state.SealedFor != "" || sh.dead() {
		return 0
	}
	untouched := sh.counts.of(candorv1.NoticeState_NOTICE_STATE_PLANNED) + sh.counts.of(candorv1.NoticeState_NOTICE_STATE_INTENDED)
	if sh.state.PutOffFor != "" && !sh.state.PutOffUntil.IsZero() { // the hour came, and the page should go on
		if sh.counts.of(candorv1.NoticeState_NOTICE_STATE_WAITING) == 0 {
			return 0
		}
		return max(sh.changed, instantOf(sh.state.PutOffUntil))
	}
	if untouched == 0 || sh.counts.of(candorv1.NoticeState_NOTICE_STATE_WAITING) > 0 {
		return 0
	}
	return sh.changed
}

// lastMove returns when anything was last written about a channel, for whichever incident: they share its queue.
func (b *books) lastMove(ch candorv1.Channel) (last instant) {
	for _, bk := range b.incidents {
		for _, f := range bk.funnels {
			if f.channel != ch {
				continue
			}
			last = max(last, f.moved)
		}
	}
	return last
}

func (sh *sheet) key() *candorv1.PageKey {
	return &candorv1.PageKey{Wave: sh.funnel.wave, Channel: sh.funnel.channel, Page: sh.page.number}
}

// damageShown is how many sentences about damage an answer has at most.
const damageShown = 50

// damage says which pages have receipts of messages that no journal knows: a journal has lost entries, and going on could
// tell customers twice. b.mu is held.
func (b *books) damage(bk *book, at look) []string {
	var said []string
	more := uint64(0)
	for _, f := range bk.funnels {
		for _, sh := range f.sheets {
			if !sh.stray() || sh.state.HeardSeq > at.receipts {
				continue
			}
			if len(said) == damageShown {
				more++
				continue
			}
			said = append(said, fmt.Sprintf("%s, page %d: a receipt speaks of a message that the journal does not know: entries were lost", name(f), sh.page.number))
		}
	}
	if more > 0 {
		said = append(said, fmt.Sprintf("and %s like these", plural(more, "page", "pages")))
	}
	return said
}

// stray says whether a receipt speaks of a message that the journal does not know.
func (sh *sheet) stray() bool {
	if sh.damage != nil || sh.deaf != nil || sh.state.HeardSeq == 0 {
		return false
	}
	_, stray := sh.state.Stray()
	return stray
}

// silent says that there is no journal and no trace of one: all that was heard is that customers want no more messages. The
// front door writes that where the first notice of the roster would be, whatever they are in.
func (sh *sheet) silent() bool {
	return sh.state.Opened == nil && sh.state.SealedFor == "" && sh.damage == nil && sh.deaf == nil && !sh.stray()
}

func (f *funnel) silent() bool {
	return !slices.ContainsFunc(f.sheets, func(sh *sheet) bool { return !sh.silent() })
}

// sweep lists the pages of an incident that want an order, and what is wrong with it.
func (b *books) sweep(r *candorv1.SweepRequest, inc *incident.Incident, at look) *candorv1.SweepResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	res := &candorv1.SweepResponse{}
	bk := b.incidents[r.GetIncident()]
	if bk == nil {
		return res
	}
	b.recount(bk)
	var before, horizon instant
	if r.GetPolledBefore() != nil {
		before = instantOf(r.GetPolledBefore().AsTime())
	}
	if r.GetNotBefore() != nil {
		horizon = instantOf(r.GetNotBefore().AsTime())
	}
	l := b.ladder(inc)
	for _, f := range bk.funnels {
		kept := f.keepsUncertain(l, inc)
		for _, sh := range f.sheets {
			if sh.state.Opened == nil || sh.damage != nil || sh.dead() {
				continue
			}
			p := &candorv1.SweepPage{Key: sh.key(), UnchangedSince: timestamppb.New(sh.changed.time())}
			p.Open = uint32(sh.counts.open())
			if kept {
				p.Open -= uint32(sh.counts.of(candorv1.NoticeState_NOTICE_STATE_UNCERTAIN))
			} else {
				p.Open -= sh.heard.doubtful
			}
			p.Poll = f.channel == candorv1.Channel_CHANNEL_SMS && sh.first != 0 && sh.first < before && sh.last >= horizon &&
				sh.counts.of(candorv1.NoticeState_NOTICE_STATE_ACCEPTED) > 0
			if p.GetOpen() > 0 || p.GetPoll() {
				res.Pages = append(res.Pages, p)
			}
		}
	}
	res.Stuck, res.Damage = b.stuck(bk, inc, at), b.damage(bk, at)
	return res
}

// keepsUncertain says whether notices that may have been sent wait for a person: no provider of e-mail can be asked.
func (f *funnel) keepsUncertain(l *ladder, inc *incident.Incident) bool {
	if f.channel != candorv1.Channel_CHANNEL_EMAIL || inc == nil {
		return false
	}
	w := l.wave(inc, f.wave)
	return w == nil || w.Terms(f.channel) == nil || w.Terms(f.channel).Uncertain.ResendAfter == 0
}
