package planner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// Why journals are sealed.
const (
	sealAborted = "aborted"
	sealClosed  = "closed"
)

// errCallsOpen keeps the journal of a call open that is not ended: a seal would not hang up, and nothing would be written of it.
var errCallsOpen = errors.New("calls are not ended")

func (p *Planner) askSeal(ctx context.Context, r *candorv1.SealRequest) (*candorv1.SealResponse, error) {
	inc, err := p.log.Load(ctx, r.GetIncident())
	if err != nil {
		return nil, err
	}
	if !inc.Ended() || inc.State == candorv1.IncidentState_INCIDENT_STATE_CLOSED {
		return nil, bus.Errorf(bus.CodeInvalid, "incident %s was not aborted", inc.ID)
	}
	res, _, err := p.seal(ctx, inc, sealAborted, "")
	return res, err
}

// seal ends every journal of the incident, opened or not, but for those of a wave that is spared: after it no intent can land
// there, so nobody is told any more. over says that no request is under way either.
//
// A journal that is damaged needs no seal, because nobody can fold past the damage to intend anything; of its page nobody can
// say what was sent, so all of it counts as uncertain.
//
// A crash leaves some journals sealed; sealing again seals the others. Workers and a planner in the middle of a wave
// lose against a seal by the fence, whatever they have in memory.
func (p *Planner) seal(ctx context.Context, inc *incident.Incident, reason, spared string) (res *candorv1.SealResponse, over bool, err error) {
	waves, err := p.waves(ctx, inc)
	if err != nil {
		return nil, false, err
	}
	delete(waves, spared)
	res = &candorv1.SealResponse{}
	open := map[journal.Key]*journal.State{} // those with notices that may be, or come to be, at a provider
	for _, wave := range slices.Sorted(maps.Keys(waves)) {
		states, damaged, err := p.sealWave(ctx, inc, wave, waves[wave], reason)
		if err != nil {
			return nil, false, err
		}
		lost, err := p.customersOn(ctx, inc, wave, damaged)
		if err != nil {
			return nil, false, err
		}
		res.Uncertain += lost
		res.Journals += uint32(len(waves[wave]))
		for k, st := range states {
			if had, doubtful := atProvider(st); doubtful > 0 {
				open[k] = st
			} else {
				res.AtProvider += had
			}
		}
	}
	if err := p.clear(ctx, inc, spared); err != nil {
		return nil, false, err
	}
	if over, err = p.settleStrides(ctx, open); err != nil {
		return nil, false, err
	}
	var orders []*candorv1.Order
	for k, st := range open {
		had, doubtful := atProvider(st)
		res.AtProvider += had
		res.Uncertain += doubtful
		if doubtful > 0 {
			orders = append(orders, orderOf(inc, k))
		}
	}
	// What was on its way is still found out: those pages keep an order, which can only ask and record.
	return res, over, p.publishOrders(ctx, orders)
}

// atProvider counts the notices that a provider has, and those that it may have.
func atProvider(st *journal.State) (had, doubtful uint64) {
	for n := range uint32(st.Len()) {
		switch state, _ := st.Notice(n); state {
		case candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_DELIVERED:
			had++
		case candorv1.NoticeState_NOTICE_STATE_INTENDED, candorv1.NoticeState_NOTICE_STATE_UNCERTAIN:
			doubtful++
		}
	}
	return had, doubtful
}

// strideEnd bounds the wait for requests that were under way when the journals were sealed.
const strideEnd = 15 * time.Second

// settleStrides waits until no stride is under way any more: its worker has said what became of it, or its time is over
// and nothing of it can be sent. Then the answer is what the provider has, and nobody is told after it. over is false if that
// took too long.
func (p *Planner) settleStrides(ctx context.Context, states map[journal.Key]*journal.State) (over bool, err error) {
	wait, cancel := context.WithTimeout(ctx, strideEnd)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for k, st := range states {
		for underWay(st) {
			fresh, err := p.journal.Load(ctx, k)
			if err != nil {
				return false, err
			}
			states[k], st = fresh, fresh
			if !p.now().Before(sendsUntil(fresh)) {
				break
			}
			select {
			case <-tick.C:
			case <-wait.Done():
				return false, ctx.Err() // what is still open is counted as uncertain
			}
		}
	}
	return true, nil
}

// underWay says whether a notice was intended of which nobody has said anything since.
func underWay(st *journal.State) bool {
	for n := range uint32(st.Len()) {
		if state, _ := st.Notice(n); state == candorv1.NoticeState_NOTICE_STATE_INTENDED {
			return true
		}
	}
	return false
}

// sendsUntil returns when the last stride of a page that has not ended starts no request any more.
func sendsUntil(st *journal.State) (last time.Time) {
	for n := range uint32(st.Len()) {
		if state, _ := st.Notice(n); state != candorv1.NoticeState_NOTICE_STATE_INTENDED {
			continue
		}
		if ref, ok := st.Open(n); ok && ref.SendBefore.After(last) {
			last = ref.SendBefore
		}
	}
	return last
}

// waves lists every journal that is there, or that a wave which was decided can have, planned or not, by wave.
func (p *Planner) waves(ctx context.Context, inc *incident.Incident) (map[string][]journal.Key, error) {
	there, err := p.bus.CountSubjects(ctx, topology.StreamJournal, topology.JournalsOf(inc.ID))
	if err != nil {
		return nil, err
	}
	known := map[journal.Key]bool{}
	waves := map[string][]journal.Key{}
	add := func(k journal.Key) {
		if !known[k] {
			known[k] = true
			waves[k.Wave] = append(waves[k.Wave], k)
		}
	}
	for subject := range there {
		if k, ok := topology.ParseJournal(subject); ok {
			add(journal.Key(k))
		}
	}
	for _, wave := range inc.Begun() {
		keys, err := p.journals(ctx, inc, wave)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			add(k)
		}
	}
	return waves, nil
}

// journals lists every journal that a wave can have, later steps of its ladder included.
func (p *Planner) journals(ctx context.Context, inc *incident.Incident, wave string) (keys []journal.Key, err error) {
	pages, err := p.pagesOf(ctx, inc, wave)
	if err != nil {
		return nil, err
	}
	every := roster.Channels()
	channels := every[:]
	var only map[uint32]bool // of a resend, whose people are named
	if a := inc.Additions[wave]; inc.KindOf(wave) == incident.KindResend {
		channels, only = a.GetAddition().GetChannels(), map[uint32]bool{}
		for _, people := range a.GetAddition().GetPeople() {
			only[people.GetPage()] = true
		}
	} else if set, base, err := p.texts.Of(inc, wave); err == nil && set.Playbook.Waves[base] != nil {
		channels = nil
		for ch := range set.Playbook.Waves[base].Each {
			channels = append(channels, ch)
		}
	} // Texts that cannot be read must not keep an incident from its end: then it is every channel.
	for _, ch := range channels {
		for _, page := range pages {
			if only == nil || only[page.GetNumber()] {
				keys = append(keys, journal.Key{Channel: ch, Incident: inc.ID, Wave: wave, Page: page.GetNumber()})
			}
		}
	}
	return keys, nil
}

// sealWave seals the journals of one wave, and returns how they stand then, and which are damaged.
func (p *Planner) sealWave(ctx context.Context, inc *incident.Incident, wave string, keys []journal.Key, reason string) (states map[journal.Key]*journal.State, damaged map[journal.Key]error, err error) {
	for {
		states, damaged, err = p.foldUndamaged(ctx, journalsOf(inc.ID, wave))
		if err != nil {
			return nil, nil, err
		}
		open := slices.DeleteFunc(slices.Clone(keys), func(k journal.Key) bool {
			return damaged[k] != nil || states[k] != nil && states[k].SealedFor != ""
		})
		if len(open) == 0 {
			return states, damaged, nil
		}
		if err := p.sealAll(ctx, open, states, reason); err != nil {
			return nil, nil, err
		}
	}
}

// customersOn counts the customers on the pages of journals that are damaged, and names the damage.
func (p *Planner) customersOn(ctx context.Context, inc *incident.Incident, wave string, damaged map[journal.Key]error) (n uint64, err error) {
	if len(damaged) == 0 {
		return 0, nil
	}
	pages, err := p.pagesOf(ctx, inc, wave)
	if err != nil {
		return 0, err
	}
	customers := map[uint32]uint64{}
	for _, page := range pages {
		customers[page.GetNumber()] = uint64(page.GetCustomers())
	}
	for k, err := range damaged {
		n += customers[k.Page]
		p.out.Error().Err(err).Str("incident", inc.ID).Msg("journal cannot be read to its end: what was sent of its page is for a person to find out")
	}
	return n, nil
}

// sealAll seals the journals in batches; where somebody wrote meanwhile the batch is refused and the caller reads again.
func (p *Planner) sealAll(ctx context.Context, keys []journal.Key, states map[journal.Key]*journal.State, reason string) error {
	for chunk := range slices.Chunk(keys, bus.MaxBatch) {
		ms := make([]bus.Message, 0, len(chunk))
		for _, k := range chunk {
			var last uint64
			if st := states[k]; st != nil {
				if calling(k, st, reason) {
					return errCallsOpen
				}
				last = st.LastSeq
			}
			m, err := p.entry(k, sealed(reason), last)
			if err != nil {
				return err
			}
			ms = append(ms, m)
		}
		if _, err := p.bus.AppendBatch(ctx, topology.StreamJournal, ms); err == nil {
			continue
		}
		// One busy journal refuses all: each is sealed by itself, as often as its worker is faster.
		for _, k := range chunk {
			if err := p.sealOne(ctx, k, reason); err != nil {
				return fmt.Errorf("seal %s: %w", k, err)
			}
		}
	}
	return nil
}

func (p *Planner) sealOne(ctx context.Context, k journal.Key, reason string) error {
	st, err := p.journal.Load(ctx, k)
	if err != nil {
		return err
	}
	for st.SealedFor == "" {
		if calling(k, st, reason) {
			return errCallsOpen
		}
		e := p.journal.Entry()
		e.Event = sealed(reason).GetEvent()
		if err := p.journal.Fence(ctx, k, st, e); err != nil && !errors.Is(err, bus.ErrOvertaken) {
			return err
		}
	}
	return nil
}

// calling says whether an end that waits for calls must wait for those of a journal.
func calling(k journal.Key, st *journal.State, reason string) bool {
	if reason != sealClosed || k.Channel != candorv1.Channel_CHANNEL_CALL {
		return false
	}
	for n := range uint32(st.Len()) {
		if st.InWave(n) && !st.Settled(n) {
			return true
		}
	}
	return false
}

func sealed(reason string) *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Sealed{Sealed: &candorv1.Sealed{Reason: reason}}}
}

// clear takes the incident's orders out of the queue, but for those of a wave that is spared: first what waits, then what is
// due, lane by lane, because the broker frees its hold on delivered orders only for a pattern within one consumer's.
func (p *Planner) clear(ctx context.Context, inc *incident.Incident, spared string) error {
	for _, filter := range topology.OrdersOf(inc.ID) {
		filters := []string{filter}
		if spared != "" {
			subjects, err := p.bus.CountSubjects(ctx, topology.StreamOrders, filter)
			if err != nil {
				return fmt.Errorf("list the orders of incident %s: %w", inc.ID, err)
			}
			filters = othersIn(filter, subjects, spared)
		}
		for _, filter := range filters {
			if _, err := p.bus.Purge(ctx, topology.StreamOrders, filter); err != nil {
				return fmt.Errorf("clear the queue of incident %s: %w", inc.ID, err)
			}
		}
	}
	return nil
}

// othersIn narrows a filter of orders to the waves among its subjects, without one.
func othersIn(filter string, subjects map[string]uint64, wave string) []string {
	lane := strings.TrimSuffix(filter, ">")
	waves := map[string]bool{}
	for s := range subjects {
		if other, _, ok := strings.Cut(strings.TrimPrefix(s, lane), "."); ok && other != wave {
			waves[lane+other+".>"] = true
		}
	}
	return slices.Sorted(maps.Keys(waves))
}
