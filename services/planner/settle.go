package planner

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// resumed puts an order back for every page that is not settled, so that nobody waits for the next look of an order
// that was put off. That one comes back too, and finds the page in hand or settled.
func (p *Planner) resumed(ctx context.Context, inc *incident.Incident) error {
	if !inc.Declared() {
		return nil
	}
	states, _, err := p.foldUndamaged(ctx, topology.JournalsOf(inc.ID))
	if err != nil {
		return err
	}
	var orders []*candorv1.Order
	for k, st := range states {
		if st.Opened == nil || st.SealedFor != "" || st.DeadFor != "" || inc.PausedFor(k.Channel) {
			continue
		}
		for n := range uint32(st.Len()) {
			if st.InWave(n) && !st.Settled(n) {
				orders = append(orders, orderOf(inc, k))
				break
			}
		}
	}
	return p.publishOrders(ctx, orders)
}

// askSettle records what a person found out about uncertain notices.
func (p *Planner) askSettle(ctx context.Context, r *candorv1.SettleRequest) (*candorv1.SettleResponse, error) {
	inc, err := p.log.Load(ctx, r.GetIncident())
	if err != nil {
		return nil, err
	}
	word := settlement{lost: candorv1.Result_RESULT_ACCEPTED, doubtful: candorv1.Result_RESULT_ACCEPTED, reason: "settled_by_person"}
	switch r.GetSettlement() {
	case candorv1.Settlement_SETTLEMENT_SENT:
	case candorv1.Settlement_SETTLEMENT_RESEND:
		if inc.Ended() {
			return nil, bus.Errorf(bus.CodeInvalid, "incident %s has ended: nothing is sent again; settle as sent or give up", inc.ID)
		}
		word = settlement{lost: candorv1.Result_RESULT_NOT_FOUND, doubtful: candorv1.Result_RESULT_UNDELIVERED_RETRY, reason: "resent_by_person"}
	case candorv1.Settlement_SETTLEMENT_GIVE_UP:
		word = settlement{lost: candorv1.Result_RESULT_FAILED, doubtful: candorv1.Result_RESULT_UNDELIVERED, reason: "given_up_by_person"}
	default:
		return nil, bus.Errorf(bus.CodeInvalid, "say whether the notices were sent, are to be sent again, or are given up")
	}
	byKey := map[journal.Key][]uint32{}
	for _, n := range r.GetNotices() {
		k := journal.Key{Channel: n.GetChannel(), Incident: inc.ID, Wave: n.GetWave(), Page: n.GetPage()}
		byKey[k] = append(byKey[k], n.GetSlot())
	}
	res := &candorv1.SettleResponse{}
	var orders []*candorv1.Order
	for k, slots := range byKey {
		n, err := p.settle(ctx, k, slots, word, r.GetActor())
		if err != nil {
			return nil, err
		}
		res.Settled += uint64(n)
		if n > 0 && r.GetSettlement() == candorv1.Settlement_SETTLEMENT_RESEND {
			orders = append(orders, orderOf(inc, k))
		}
	}
	return res, p.publishOrders(ctx, orders)
}

// settlement is a person's word: of a notice whose answer was lost, and of one that the provider took and then could not
// vouch for.
type settlement struct {
	lost, doubtful candorv1.Result
	reason         string
}

// settle writes the person's word for those of the slots that are uncertain.
//
// A crash before the order is published leaves a slot free to be sent and no order: asking again settles nothing more,
// but resume puts the order back.
func (p *Planner) settle(ctx context.Context, k journal.Key, slots []uint32, word settlement, actor string) (int, error) {
	st, err := p.journal.Load(ctx, k)
	if err != nil {
		return 0, err
	}
	slices.Sort(slots)
	slots = slices.Compact(slots)
	slots = slices.DeleteFunc(slots, func(n uint32) bool {
		if int(n) >= st.Len() {
			return true
		}
		state, _ := st.Notice(n)
		return state != candorv1.NoticeState_NOTICE_STATE_UNCERTAIN
	})
	attempts, byAttempt := journal.Group(slots, st.Attempt)
	for _, attempt := range attempts {
		o := &candorv1.Outcomes{Attempt: attempt, Decider: candorv1.Decider_DECIDER_PERSON, Actor: actor}
		var lost, doubtful []uint32
		for _, n := range byAttempt[attempt] {
			if st.Doubtful(n) {
				doubtful = append(doubtful, n)
			} else {
				lost = append(lost, n)
			}
		}
		for _, g := range []struct {
			result candorv1.Result
			slots  []uint32
		}{{word.lost, lost}, {word.doubtful, doubtful}} {
			if len(g.slots) > 0 {
				o.Groups = append(o.Groups, &candorv1.OutcomeGroup{Result: g.result, Reason: word.reason, Slots: journal.Runs(g.slots)})
			}
		}
		e := p.journal.Entry()
		e.Event = &candorv1.JournalEntry_Outcomes{Outcomes: o}
		if err := p.journal.Fact(ctx, k, st, e); err != nil {
			return 0, err
		}
	}
	return len(slots), nil
}

// askReplay takes dead letters back into work.
func (p *Planner) askReplay(ctx context.Context, r *candorv1.ReplayRequest) (*candorv1.ReplayResponse, error) {
	inc, err := p.log.Load(ctx, r.GetIncident())
	if err != nil {
		return nil, err
	}
	states, _, err := p.foldUndamaged(ctx, topology.JournalsOf(inc.ID))
	if err != nil {
		return nil, err
	}
	wanted := map[journal.Key]bool{}
	for _, pk := range r.GetPages() {
		wanted[journal.Key{Channel: pk.GetChannel(), Incident: inc.ID, Wave: pk.GetWave(), Page: pk.GetPage()}] = true
	}
	var orders []*candorv1.Order
	for k, st := range states {
		if st.DeadFor == "" || len(wanted) > 0 && !wanted[k] {
			continue
		}
		e := p.journal.Entry()
		e.Event = &candorv1.JournalEntry_Replayed{Replayed: &candorv1.Replayed{Actor: r.GetActor()}}
		if err := p.journal.Fact(ctx, k, st, e); err != nil {
			return nil, err
		}
		orders = append(orders, orderOf(inc, k))
	}
	return &candorv1.ReplayResponse{Replayed: uint64(len(orders))}, p.publishOrders(ctx, orders)
}

// orderOf makes the order of a journal, the same one however often.
func orderOf(inc *incident.Incident, k journal.Key) *candorv1.Order {
	return &candorv1.Order{
		Incident: k.Incident, Wave: k.Wave, Channel: k.Channel, Page: k.Page, Lane: inc.LaneOf(k.Wave), PlanHash: inc.HashOf(k.Wave),
	}
}

func (p *Planner) publishOrders(ctx context.Context, orders []*candorv1.Order) error {
	for chunk := range slices.Chunk(orders, bus.MaxBatch) {
		ms := make([]bus.Message, 0, len(chunk))
		for _, o := range chunk {
			data, err := proto.Marshal(o)
			if err != nil {
				return fmt.Errorf("encode order: %w", err)
			}
			ms = append(ms, bus.Message{Subject: orderSubject(o), Data: data})
		}
		if _, err := p.bus.AppendBatch(ctx, topology.StreamOrders, ms); err != nil {
			return fmt.Errorf("publish orders: %w", err)
		}
	}
	return nil
}
