package planner

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// ledgerDouble answers as the ledger does, from the journals as they are and from what a test says.
type ledgerDouble struct {
	mu     sync.Mutex
	status *candorv1.Status
	canary *candorv1.CanaryResponse
	moveOn func(*candorv1.MoveOnRequest) *candorv1.MoveOnResponse
	sweep  func(*candorv1.SweepRequest) *candorv1.SweepResponse
	people func(*candorv1.PeopleRequest) *candorv1.PeopleResponse
	asked  map[string]int
}

// say changes what the ledger answers.
func (l *ledgerDouble) say(change func(l *ledgerDouble)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *ledgerDouble) count(method string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[method]
}

// withLedger serves a ledger for as long as the test lasts. Without more words it knows every journal, and moves nobody on.
func (w *world) withLedger() *ledgerDouble {
	w.Helper()
	l := &ledgerDouble{asked: map[string]int{}}
	w.ledger = l
	ctx, cancel := context.WithCancel(w.Context())
	var wg sync.WaitGroup
	w.Cleanup(func() { cancel(); wg.Wait() })
	double(ctx, w, &wg, l, "status", func(*candorv1.GetStatusRequest) proto.Message {
		if l.status == nil {
			return &candorv1.GetStatusResponse{Status: w.status()}
		}
		return &candorv1.GetStatusResponse{Status: l.status}
	})
	double(ctx, w, &wg, l, "canary", func(*candorv1.CanaryRequest) proto.Message { return l.canary })
	double(ctx, w, &wg, l, "move-on", func(q *candorv1.MoveOnRequest) proto.Message {
		if l.moveOn == nil {
			return &candorv1.MoveOnResponse{}
		}
		return l.moveOn(q)
	})
	double(ctx, w, &wg, l, "sweep", func(q *candorv1.SweepRequest) proto.Message {
		if l.sweep == nil {
			return w.openPages()
		}
		return l.sweep(q)
	})
	double(ctx, w, &wg, l, "people", func(q *candorv1.PeopleRequest) proto.Message {
		if l.people == nil {
			return w.people(q)
		}
		return l.people(q)
	})
	return l
}

func double[T any, Req interface {
	*T
	proto.Message
}](ctx context.Context, w *world, wg *sync.WaitGroup, l *ledgerDouble, method string, h func(Req) proto.Message,
) {
	w.Helper()
	subject := topology.Ask("ledger", method)
	wg.Go(func() {
		err := w.bus.Serve(ctx, subject, "ledger", 1, func(_ context.Context, r bus.Request) (bus.Reply, error) {
			q := Req(new(T))
			if err := proto.Unmarshal(r.Data, q); err != nil {
				return bus.Reply{}, err
			}
			if r.Header["hello"] != "" {
				return bus.Reply{}, nil
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.asked[method]++
			return inParts(h(q), r.Header[topology.HeaderAfter])
		})
		if err != nil {
			w.Errorf("serve %s: %v", subject, err)
		}
	})
	for {
		if _, err := w.bus.Request(ctx, subject, nil, map[string]string{"hello": "1"}); err == nil {
			return
		} else if ctx.Err() != nil {
			w.Fatal(err)
		}
	}
}

// inParts answers with one page at a time, as the ledger does when there are many.
func inParts(res proto.Message, after string) (bus.Reply, error) {
	next := ""
	if p, ok := res.(*candorv1.PeopleResponse); ok && len(p.GetPages()) > 0 {
		n, _ := strconv.Atoi(after)
		if n+1 < len(p.GetPages()) {
			next = strconv.Itoa(n + 1)
		}
		res = &candorv1.PeopleResponse{Pages: p.GetPages()[n : n+1]}
	}
	data, err := proto.Marshal(res)
	return bus.Reply{Data: data, Header: map[string]string{topology.HeaderNext: next}}, err
}

// folded are the journals as a ledger has them; it may be asked when the test is over.
func (w *world) folded() map[journal.Key]*journal.State {
	states, err := w.planner.fold(w.Context(), topology.JournalsOf(id))
	if err != nil && w.Context().Err() == nil {
		w.Error(err)
	}
	return states
}

// status counts the notices by state, up to the ends of the streams.
func (w *world) status() *candorv1.Status {
	at, err := w.planner.last(w.Context())
	if err != nil && w.Context().Err() == nil {
		w.Error(err)
	}
	st := &candorv1.Status{FoldedTo: at.journal, ReceiptsFoldedTo: at.receipts}
	for k, s := range w.folded() {
		ch := &candorv1.ChannelStatus{Channel: k.Channel, States: map[string]uint64{}}
		for n := range uint32(s.Len()) {
			if state, _ := s.Notice(n); state != candorv1.NoticeState_NOTICE_STATE_UNSPECIFIED {
				ch.States[candorv1.Word(state)]++
			}
		}
		st.Waves = append(st.Waves, &candorv1.WaveStatus{Wave: k.Wave, Channels: []*candorv1.ChannelStatus{ch}})
	}
	return st
}

// people says where customers stand, of two notices by the one that was delivered or else accepted.
func (w *world) people(q *candorv1.PeopleRequest) *candorv1.PeopleResponse {
	best := map[uint32]map[candorv1.Channel][]byte{}
	for k, s := range w.folded() {
		if s.Opened == nil || len(q.GetWaves()) > 0 && !slices.Contains(q.GetWaves(), k.Wave) {
			continue
		}
		if best[k.Page] == nil {
			best[k.Page] = map[candorv1.Channel][]byte{}
		}
		states := best[k.Page][k.Channel]
		if states == nil {
			states = make([]byte, s.Len())
		}
		for n := range uint32(s.Len()) {
			state, _ := s.Notice(n)
			if old := candorv1.NoticeState(states[n]); !told(old) || state == candorv1.NoticeState_NOTICE_STATE_DELIVERED {
				states[n] = byte(state)
			}
		}
		best[k.Page][k.Channel] = states
	}
	res := &candorv1.PeopleResponse{}
	for _, page := range slices.Sorted(maps.Keys(best)) {
		p := &candorv1.PagePeople{Page: page}
		for ch, states := range best[page] {
			p.Channels = append(p.Channels, &candorv1.ChannelStates{Channel: ch, States: states})
		}
		res.Pages = append(res.Pages, p)
	}
	return res
}

func told(s candorv1.NoticeState) bool {
	return s == candorv1.NoticeState_NOTICE_STATE_ACCEPTED || s == candorv1.NoticeState_NOTICE_STATE_DELIVERED
}

// openPages are the pages with notices that are not settled, as the ledger folds them.
func (w *world) openPages() *candorv1.SweepResponse {
	res := &candorv1.SweepResponse{}
	for k, st := range w.folded() {
		page := &candorv1.SweepPage{
			Key:            &candorv1.PageKey{Wave: k.Wave, Channel: k.Channel, Page: k.Page},
			UnchangedSince: timestamppb.New(night.Add(time.Duration(st.LastSeq) * time.Second)),
		}
		for n := range uint32(st.Len()) {
			if st.InWave(n) && !st.Settled(n) {
				page.Open++
			}
		}
		if page.GetOpen() > 0 {
			res.Pages = append(res.Pages, page)
		}
	}
	return res
}
