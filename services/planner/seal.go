package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func (p *Planner) askSeal(ctx context.Context, r *candorv1.SealRequest) (*candorv1.SealResponse, error) {
	inc, err := p.log.Load(ctx, r.GetIncident())
	if err != nil {
		return nil, err
	}
	if !inc.Ended() {
		return nil, bus.Errorf(bus.CodeInvalid, "incident %s was not aborted", inc.ID)
	}
	return p.seal(ctx, inc)
}

// seal ends every journal of the incident, opened or not: after it no intent can land, so nobody is told any more.
//
// A crash leaves some journals sealed; sealing again seals the others. Workers and a planner in the middle of a wave
// lose against a seal by the fence, whatever they have in memory.
func (p *Planner) seal(ctx context.Context, inc *incident.Incident) (*candorv1.SealResponse, error) {
	keys, err := p.journals(ctx, inc)
	if err != nil {
		return nil, err
	}
	var states map[journal.Key]*journal.State
	for {
		if states, err = p.fold(ctx, inc.ID); err != nil {
			return nil, err
		}
		open := slices.DeleteFunc(slices.Clone(keys), func(k journal.Key) bool { return states[k] != nil && states[k].SealedFor != "" })
		if len(open) == 0 {
			break
		}
		if err := p.sealAll(ctx, open, states); err != nil {
			return nil, err
		}
	}
	if err := p.clear(ctx, inc); err != nil {
		return nil, err
	}
	if err := p.settleStrides(ctx, states); err != nil {
		return nil, err
	}
	res := &candorv1.SealResponse{Journals: uint32(len(keys))}
	var doubtful []*candorv1.Order
	for k, st := range states {
		open := false
		for n := range uint32(st.Len()) {
			switch state, _ := st.Notice(n); state {
			case candorv1.NoticeState_NOTICE_STATE_ACCEPTED, candorv1.NoticeState_NOTICE_STATE_DELIVERED:
				res.AtProvider++
			case candorv1.NoticeState_NOTICE_STATE_INTENDED, candorv1.NoticeState_NOTICE_STATE_UNCERTAIN:
				res.Uncertain++
				open = true
			}
		}
		if open {
			doubtful = append(doubtful, orderOf(inc, k))
		}
	}
	// What was on its way is still found out: those pages keep an order, which can only ask and record.
	return res, p.publishOrders(ctx, doubtful)
}

// strideEnd bounds the wait for requests that were under way when the journals were sealed.
const strideEnd = 15 * time.Second

// settleStrides waits until no stride is under way any more: its worker has said what became of it, or its time is over
// and nothing of it can be sent. Then the answer is what the provider has, and nobody is told after it.
func (p *Planner) settleStrides(ctx context.Context, states map[journal.Key]*journal.State) error {
	wait, cancel := context.WithTimeout(ctx, strideEnd)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for k, st := range states {
		for underWay(st) {
			fresh, err := p.journal.Load(ctx, k)
			if err != nil {
				return err
			}
			states[k], st = fresh, fresh
			if !p.now().Before(sendsUntil(fresh)) {
				break
			}
			select {
			case <-tick.C:
			case <-wait.Done():
				return ctx.Err() // what is still open is counted as uncertain
			}
		}
	}
	return nil
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

// journals lists every journal that the incident's plan and its additions can have, opened or not.
func (p *Planner) journals(ctx context.Context, inc *incident.Incident) ([]journal.Key, error) {
	if inc.DeclaredAt.IsZero() {
		return nil, nil // a draft has none
	}
	manifest, err := p.pages.Manifest(ctx, inc.Draft.GetManifest())
	if err != nil {
		return nil, err
	}
	set, err := p.texts.Set(inc.PlanHash(), inc.Draft.GetDeclaration())
	if err != nil {
		return nil, err
	}
	var keys []journal.Key
	for wave, w := range set.Playbook.Waves {
		for ch := range w.Each {
			for _, page := range manifest.GetPages() {
				keys = append(keys, journal.Key{Channel: ch, Incident: inc.ID, Wave: wave, Page: page.GetNumber()})
			}
		}
	}
	for wave, a := range inc.Additions {
		if !a.Approved() {
			continue // no journal of it was ever opened
		}
		for _, ch := range a.GetAddition().GetChannels() {
			for _, people := range a.GetAddition().GetPeople() {
				keys = append(keys, journal.Key{Channel: ch, Incident: inc.ID, Wave: wave, Page: people.GetPage()})
			}
		}
	}
	return keys, nil
}

// sealAll seals the journals in batches; where somebody wrote meanwhile the batch is refused and the caller reads again.
func (p *Planner) sealAll(ctx context.Context, keys []journal.Key, states map[journal.Key]*journal.State) error {
	for chunk := range slices.Chunk(keys, batchMost) {
		ms := make([]bus.Message, 0, len(chunk))
		for _, k := range chunk {
			var last uint64
			if st := states[k]; st != nil {
				last = st.LastSeq
			}
			m, err := p.entry(k, sealed(), last)
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
			if err := p.sealOne(ctx, k); err != nil {
				return fmt.Errorf("seal %s: %w", k, err)
			}
		}
	}
	return nil
}

func (p *Planner) sealOne(ctx context.Context, k journal.Key) error {
	st, err := p.journal.Load(ctx, k)
	if err != nil {
		return err
	}
	for st.SealedFor == "" {
		e := p.journal.Entry()
		e.Event = sealed().GetEvent()
		if err := p.journal.Fence(ctx, k, st, e); err != nil && !errors.Is(err, bus.ErrOvertaken) {
			return err
		}
	}
	return nil
}

func sealed() *candorv1.JournalEntry {
	return &candorv1.JournalEntry{Event: &candorv1.JournalEntry_Sealed{Sealed: &candorv1.Sealed{Reason: "aborted"}}}
}

// clear takes the incident's orders out of the queue: first what waits, then what is due, lane by lane, because the
// broker frees its hold on delivered orders only for a pattern within one consumer's.
func (p *Planner) clear(ctx context.Context, inc *incident.Incident) error {
	for _, filter := range topology.OrdersOf(inc.ID) {
		if _, err := p.bus.Purge(ctx, topology.StreamOrders, filter); err != nil {
			return fmt.Errorf("clear the queue of incident %s: %w", inc.ID, err)
		}
	}
	return nil
}
