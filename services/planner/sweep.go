package planner

import (
	"context"
	"fmt"
	"maps"
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

// sweeps is what is remembered of an incident from one sweep to the next.
type sweeps struct {
	// begun is true after the first sweep. swept is how far the streams were at the last one.
	begun bool
	swept position
	// idle is true if nothing was open then, until a poll may be due.
	idle  bool
	until time.Time
	// missing are the pages that were open and had no order at the last sweep.
	missing map[journal.Key]bool
	// back is when an order was put back, and how the page stood then; polled when one was put back for a poll.
	back   map[journal.Key]putBack
	polled map[journal.Key]time.Time
	stuck  map[journal.Key]bool
	// plan are the journals that each planned wave began with.
	plan map[string][]journal.Key
	// corrected is the number of journals of a wave when its count was last compared with them.
	corrected map[string]int
	// told are sentences about damage for which the incident was paused.
	told map[string]bool
}

type putBack struct{ at, unchanged time.Time }

func newSweeps() sweeps {
	return sweeps{
		missing: map[journal.Key]bool{}, back: map[journal.Key]putBack{}, polled: map[journal.Key]time.Time{}, stuck: map[journal.Key]bool{},
		plan: map[string][]journal.Key{}, corrected: map[string]int{}, told: map[string]bool{},
	}
}

// tidy compares what should be going on with the orders that are there, puts back what is missing, and pauses the incident if
// a journal has lost entries.
//
// The orders are listed first, then the streams' ends are read, then the ledger answers for what was folded up to there: an
// order that was done meanwhile is seen as done. An order that went to and fro between the lists is missed, so only what is
// missing twice is missing; after a start once is enough, unless the wave's orders are just being published. A crash puts nothing back, and an order too many finds
// its journal in hand or settled.
func (t *tender) tidy(ctx context.Context, c *charge) error {
	now := t.now()
	at, err := t.last(ctx)
	if err != nil || c.idle && at == c.swept && now.Before(c.until) {
		return err
	}
	orders, err := t.orders(ctx, c.inc.ID)
	if err != nil {
		return err
	}
	if at, err = t.last(ctx); err != nil {
		return err
	}
	res := &candorv1.SweepResponse{}
	err = t.ask(ctx, "sweep", &candorv1.SweepRequest{
		Incident: c.inc.ID, JournalSeq: at.journal, ReceiptsSeq: at.receipts,
		PolledBefore: timestamppb.New(now.Add(-t.cfg.PollEvery)), NotBefore: timestamppb.New(now.Add(-receipt.Horizon)),
	}, res)
	if err != nil {
		return err
	}
	lost, err := t.lost(ctx, c)
	if err != nil {
		return err
	}
	if err := t.correct(ctx, c); err != nil {
		return err
	}
	if err := t.damaged(ctx, c, append(lost, res.GetDamage()...)); err != nil {
		return err
	}
	t.nameStuck(c, res.GetStuck())
	keys := t.wanted(c, res.GetPages(), orders, now)
	if err := t.putBack(ctx, c, keys); err != nil {
		for _, k := range keys { // nothing was put back, as far as is known
			delete(c.back, k)
			delete(c.polled, k)
		}
		return err
	}
	c.begun, c.swept = true, at
	return nil
}

// orders lists the pages that have an order, waiting or due.
func (t *tender) orders(ctx context.Context, id string) (map[journal.Key]bool, error) {
	there := map[journal.Key]bool{}
	// Later first and last: what becomes due meanwhile, or is put off, is seen at least once.
	filters := topology.OrdersOf(id)
	for _, filter := range append(filters, filters[:len(filters)/2]...) {
		subjects, err := t.bus.CountSubjects(ctx, topology.StreamOrders, filter)
		if err != nil {
			return nil, fmt.Errorf("list the orders of incident %s: %w", id, err)
		}
		for s := range subjects {
			k, _, ok := topology.ParseOrder(s)
			if !ok {
				k, _, ok = topology.ParseLater(s)
			}
			if ok {
				there[journal.Key(k)] = true
			}
		}
	}
	return there, nil
}

// wanted picks the pages whose order is to be put back, and notes until when nothing more can be wanted by itself.
func (t *tender) wanted(c *charge, pages []*candorv1.SweepPage, orders map[journal.Key]bool, now time.Time) (keys []journal.Key) {
	missing, polled := map[journal.Key]bool{}, map[journal.Key]time.Time{}
	c.idle, c.until = true, now.Add(t.cfg.PollEvery)
	for _, page := range pages {
		k := keyOf(c.inc, page.GetKey())
		if page.GetOpen() > 0 {
			c.idle = false
		}
		last, asked := c.polled[k]
		due := page.GetPoll() && (!asked || !now.Before(last.Add(t.cfg.PollEvery)))
		if page.GetPoll() && asked {
			polled[k] = last
			if next := last.Add(t.cfg.PollEvery); !due && next.Before(c.until) {
				c.until = next
			}
		}
		if orders[k] || c.inc.PausedFor(k.Channel) {
			c.idle = c.idle && !due
			continue
		}
		switch unchanged := page.GetUnchangedSince().AsTime(); {
		case due:
			polled[k] = now
		case page.GetOpen() == 0:
			continue
		case (c.begun || c.inc.Waves[k.Wave] == nil) && !c.missing[k]:
			missing[k] = true
			continue
		// The order of a call is done when its tasks are in the queue: their outcomes change the page and say nothing of it.
		case (c.back[k].unchanged.Equal(unchanged) || k.Channel == candorv1.Channel_CHANNEL_CALL) && now.Before(c.back[k].at.Add(t.cfg.PutBackAgain)):
			missing[k] = true
			continue
		default:
			missing[k] = true
			c.back[k] = putBack{at: now, unchanged: unchanged}
		}
		keys = append(keys, k)
	}
	c.missing, c.polled = missing, polled
	return keys
}

// putBack publishes the orders of pages anew, unless their journals say that nothing is to be done.
func (t *tender) putBack(ctx context.Context, c *charge, keys []journal.Key) error {
	var orders []*candorv1.Order
	for _, k := range keys {
		st, err := t.journal.Load(ctx, k)
		if err != nil {
			return err
		}
		if st.Opened != nil && st.SealedFor == "" && st.DeadFor == "" {
			orders = append(orders, orderOf(c.inc, k))
		}
	}
	if len(orders) == 0 {
		return nil
	}
	if err := t.publishOrders(ctx, orders); err != nil {
		return err
	}
	for _, o := range orders {
		t.out.Debug().Str("incident", c.inc.ID).Str("wave", o.GetWave()).Str("channel", topology.ChannelToken(o.GetChannel())).
			Uint32("page", o.GetPage()).Msg("order put back")
	}
	t.out.Info().Str("incident", c.inc.ID).Int("orders", len(orders)).Str("first", orderSubject(orders[0])).Msg("missing orders put back")
	return nil
}

// nameStuck says which pages do not move on although nothing that is known of holds them up, each page once.
func (t *tender) nameStuck(c *charge, pages []*candorv1.StuckPage) {
	stuck := map[journal.Key]bool{}
	for _, page := range pages {
		k := keyOf(c.inc, page.GetKey())
		stuck[k] = true
		if !c.stuck[k] {
			t.out.Warn().Str("incident", k.Incident).Str("wave", k.Wave).Str("channel", topology.ChannelToken(k.Channel)).Uint32("page", k.Page).
				Uint64("open", page.GetOpenNotices()).Time("unchanged_since", page.GetUnchangedSince().AsTime()).
				Msg("page is stuck: see that the channel's target runs")
		}
	}
	c.stuck = stuck
}

// lost compares the journals that are there with those that the planned waves began with. A journal that is missing is never
// opened again: what was sent under it is not known any more.
func (t *tender) lost(ctx context.Context, c *charge) (sentences []string, err error) {
	there, err := t.bus.CountSubjects(ctx, topology.StreamJournal, topology.JournalsOf(c.inc.ID))
	if err != nil {
		return nil, err
	}
	for _, wave := range slices.Sorted(maps.Keys(c.inc.Waves)) {
		switch c.inc.KindOf(wave) {
		case incident.KindFirstNotice, incident.KindRoster, incident.KindResend:
		default: // whom it is for was asked when it was planned: only how many journals it began with is known
			sentences = append(sentences, fewer(c.inc, wave, there)...)
			continue
		}
		keys, ok := c.plan[wave]
		if !ok {
			jobs, err := t.jobs(ctx, c.inc, wave)
			if err != nil {
				return nil, err
			}
			for _, j := range jobs {
				keys = append(keys, j.key)
			}
			c.plan[wave] = keys
		}
		gone := slices.DeleteFunc(slices.Clone(keys), func(k journal.Key) bool { return there[k.Subject()] > 0 })
		if len(gone) > 0 {
			sentences = append(sentences, fmt.Sprintf("%d of the %d journals of wave %s are gone, the first is %s", len(gone), len(keys), wave, gone[0]))
		}
	}
	return sentences, nil
}

// fewer says on which channels a wave has fewer journals than it began with.
func fewer(inc *incident.Incident, wave string, there map[string]uint64) (sentences []string) {
	have := map[candorv1.Channel]uint32{}
	for subject := range there {
		if k, ok := topology.ParseJournal(subject); ok && k.Wave == wave {
			have[k.Channel]++
		}
	}
	for _, ch := range inc.Waves[wave].GetChannels() {
		if n := have[ch.GetChannel()]; n < ch.GetPages() {
			sentences = append(sentences, fmt.Sprintf("%d of the %d journals of wave %s, %s are gone",
				ch.GetPages()-n, ch.GetPages(), wave, topology.ChannelToken(ch.GetChannel())))
		}
	}
	return sentences
}

// damaged pauses the whole incident, once for each sentence: who resumes has read it.
func (t *tender) damaged(ctx context.Context, c *charge, sentences []string) error {
	fresh := slices.DeleteFunc(slices.Clone(sentences), func(s string) bool {
		return c.told[s] || slices.ContainsFunc(c.pauses, func(reason string) bool { return strings.Contains(reason, s) })
	})
	if len(fresh) == 0 || c.inc.Paused[everyChannel] {
		return nil
	}
	const most = 3
	said := strings.Join(fresh[:min(len(fresh), most)], "; ")
	if n := len(fresh) - most; n > 0 {
		said += fmt.Sprintf("; and %d more", n)
	}
	err := t.pause(ctx, c, &candorv1.Paused{
		Reason: "the record has lost entries: " + said + ". Who of them was told is not certain: restore the data folder, or compare with the provider, before you resume",
	})
	if err != nil {
		return err
	}
	for _, s := range fresh {
		c.told[s] = true
	}
	return nil
}
