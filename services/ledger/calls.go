package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// wishes are those of one incident's customers to be called.
type wishes struct {
	ids map[string]struct{}
	// open are the customers whose wish was not met, or given up, yet.
	open map[place]struct{}
}

// place is a customer of an incident.
type place struct{ page, slot uint32 }

func placeOf(p *candorv1.CustomerPlace) place { return place{p.GetPage(), p.GetSlot()} }

// call takes the next message about calls: a wish, or what became of the tasks.
func (b *books) call(m bus.Stored) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Seq <= b.calls.foldedTo {
		return nil
	}
	defer b.calls.advance(m.Seq)
	if id, ok := topology.ParseCallRequested(m.Subject); ok {
		return b.wish(id, m)
	}
	if id, ok := topology.ParseCallEvents(m.Subject); ok {
		return b.called(id, m)
	}
	return b.stray(m.Subject)
}

// wish takes a wish to be called. The same one may have been written more than once.
func (b *books) wish(id string, m bus.Stored) error {
	r := &candorv1.CallRequest{}
	if err := proto.Unmarshal(m.Data, r); err != nil {
		return fmt.Errorf("wish %d to be called cannot be read: %w", m.Seq, err)
	}
	if r.GetId() == "" || r.GetCustomer().GetIncident() != id {
		return fmt.Errorf("wish %d to be called names no customer of the incident", m.Seq)
	}
	w := b.asked[id]
	if w == nil {
		w = &wishes{ids: map[string]struct{}{}, open: map[place]struct{}{}}
		b.asked[id] = w
	}
	if _, known := w.ids[r.GetId()]; !known {
		w.ids[r.GetId()] = struct{}{}
		w.open[placeOf(r.GetCustomer())] = struct{}{}
	}
	return nil
}

// called takes what the queue decided: the end of a task ends the wish.
func (b *books) called(id string, m bus.Stored) error {
	w := b.asked[id]
	if w == nil || len(w.open) == 0 {
		return nil
	}
	e := &candorv1.CallEvents{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("decision %d of the call queue cannot be read: %w", m.Seq, err)
	}
	for _, ev := range e.GetEvents() {
		switch ev := ev.GetEvent().(type) {
		case *candorv1.CallEvent_CallBackAsked:
			w.open[placeOf(ev.CallBackAsked.GetCustomer())] = struct{}{} // also if an earlier task has just ended
		case *candorv1.CallEvent_Completed:
			if over(ev.Completed.GetState()) {
				delete(w.open, placeOf(ev.Completed.GetCustomer()))
			}
		case *candorv1.CallEvent_Withdrawn:
			for _, p := range ev.Withdrawn.GetCustomers() {
				delete(w.open, placeOf(p))
			}
		}
	}
	return nil
}

func over(s candorv1.CallState) bool {
	switch s {
	case candorv1.CallState_CALL_STATE_DONE, candorv1.CallState_CALL_STATE_FAILED, candorv1.CallState_CALL_STATE_SUPPRESSED, candorv1.CallState_CALL_STATE_EXPIRED:
		return true
	}
	return false
}

// calls says who asked to be called and waits for it.
func (c *checker) calls(w *wishes) {
	if w == nil {
		return
	}
	c.st.CallRequests, c.st.CallRequestsOpen = uint64(len(w.ids)), uint64(len(w.open))
	if n := c.wait(w); n > 0 {
		c.say("%s not called yet", plural(n, "customer who asked to be called was", "customers who asked to be called were"))
	}
}

// wait counts who asked to be called and waits for it. Without a queue for the incident only people can call, and nobody tells
// the ledger.
func (c *checker) wait(w *wishes) uint64 {
	if w == nil || c.ended() || c.ladder.book == nil || c.ladder.book.Calls == nil {
		return 0
	}
	return uint64(len(w.open))
}
