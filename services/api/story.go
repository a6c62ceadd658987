package api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/finder"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const historiesAtOnce = 8

// story tells everything about one customer, with numbers and addresses masked.
func (a *API) story(ctx context.Context, inc *incident.Incident, f finder.Found) (*candorv1.FoundCustomer, error) {
	c := f.Customer()
	out := &candorv1.FoundCustomer{
		Incident: inc.ID, CustomerRef: c.Ref, Code: c.Code, Language: c.Language, TimeZone: c.TimeZone,
		AskedForCall: a.asked.has(inc.ID, f.Page.Number, f.Slot),
	}
	for _, p := range c.Phones {
		out.Phones = append(out.Phones, p.String())
	}
	if !c.Email.IsZero() {
		out.Email = c.Email.String()
	}
	if inc.DeclaredAt.IsZero() {
		return out, nil // nobody was told anything
	}
	var keys []journal.Key
	for _, ch := range roster.Channels() {
		subjects, err := a.Bus.CountSubjects(ctx, topology.StreamJournal, topology.Journal(ch, inc.ID, "*", f.Page.Number))
		if err != nil {
			return nil, fmt.Errorf("list the journals of page %d of incident %s: %w", f.Page.Number, inc.ID, err)
		}
		for subject := range maps.Keys(subjects) {
			if k, ok := topology.ParseJournal(subject); ok {
				keys = append(keys, journal.Key(k))
			}
		}
	}
	slices.SortFunc(keys, func(x, y journal.Key) int {
		return cmp.Or(cmp.Compare(x.Wave, y.Wave), cmp.Compare(x.Channel, y.Channel))
	})
	notices := make([]*candorv1.FoundNotice, len(keys))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(historiesAtOnce)
	for i, k := range keys {
		g.Go(func() (err error) {
			notices[i], err = a.history(gctx, inc, k, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out.Notices = slices.DeleteFunc(notices, func(n *candorv1.FoundNotice) bool { return n == nil })
	return out, a.optOut(ctx, inc.ID, f, out)
}

// optOut shows the opt-out of a customer who has no text message of the roster's first notice, where the front door writes it
// for everybody: with the first text that they have, or by itself.
func (a *API) optOut(ctx context.Context, id string, f finder.Found, out *candorv1.FoundCustomer) error {
	const sms = candorv1.Channel_CHANNEL_SMS
	first := slices.IndexFunc(out.GetNotices(), func(n *candorv1.FoundNotice) bool { return n.GetKey().GetChannel() == sms })
	if first >= 0 && out.GetNotices()[first].GetKey().GetWave() == incident.FirstWave {
		return nil // it stands there
	}
	h := &history{slot: f.Slot, state: journal.NewState(journal.NewWords(), sms, true)}
	subject := topology.Receipt(sms, id, incident.FirstWave, f.Page.Number)
	if _, err := a.Bus.Read(ctx, topology.StreamReceipts, subject, 1, h.hear); err != nil {
		return fmt.Errorf("read %s: %w", subject, err)
	}
	events := slices.DeleteFunc(h.events, func(e *candorv1.NoticeEvent) bool {
		return e.GetWhat() != candorv1.Word(candorv1.Result_RESULT_OPTED_OUT)
	})
	switch {
	case len(events) == 0:
	case first >= 0:
		n := out.GetNotices()[first]
		n.Events = append(n.Events, events...)
		slices.SortStableFunc(n.Events, func(x, y *candorv1.NoticeEvent) int { return x.GetAt().AsTime().Compare(y.GetAt().AsTime()) })
	default:
		key := &candorv1.NoticeKey{Wave: incident.FirstWave, Channel: sms, Page: f.Page.Number, Slot: f.Slot}
		out.Notices = append(out.Notices, &candorv1.FoundNotice{Key: key, Events: events})
	}
	return nil
}

// history reads one notice's journal and receipts, and makes its text once more; nil if the customer is not in the wave.
func (a *API) history(ctx context.Context, inc *incident.Incident, k journal.Key, f finder.Found) (*candorv1.FoundNotice, error) {
	h := &history{slot: f.Slot, state: journal.NewState(journal.NewWords(), k.Channel, true)}
	if _, err := a.Bus.Read(ctx, topology.StreamJournal, k.Subject(), 1, h.write); err != nil {
		return nil, fmt.Errorf("read %s: %w", k, err)
	}
	if _, err := a.Bus.Read(ctx, topology.StreamReceipts, k.Receipts(), 1, h.hear); err != nil {
		return nil, fmt.Errorf("read %s: %w", k.Receipts(), err)
	}
	if int(f.Slot) >= h.state.Len() || !h.state.InWave(f.Slot) {
		return nil, nil
	}
	slices.SortStableFunc(h.events, func(x, y *candorv1.NoticeEvent) int { return x.GetAt().AsTime().Compare(y.GetAt().AsTime()) })
	n := &candorv1.FoundNotice{Key: &candorv1.NoticeKey{Wave: k.Wave, Channel: k.Channel, Page: k.Page, Slot: f.Slot}, Events: h.events}
	var err error
	n.State, n.Reason = h.state.Notice(f.Slot)
	if at := h.sentAt(); !at.IsZero() {
		n.Subject, n.Text, err = a.asSent(inc, k, f, h.state.Opened.GetTextHash(), at)
	}
	return n, err
}

// asSent makes a notice's text from what was approved. It is empty if this version of ours would make another one of it
// than was sent.
func (a *API) asSent(inc *incident.Incident, k journal.Key, f finder.Found, hash []byte, at time.Time) (subject, body string, err error) {
	if k.Channel == candorv1.Channel_CHANNEL_CALL {
		return "", "", nil // spoken: the lease names the version of the script that the agent had
	}
	set, base, err := a.texts.Of(inc, k.Wave)
	if err != nil {
		return "", "", err
	}
	text, err := set.Text(base, k.Channel, f.Page.Language)
	if err != nil {
		return "", "", err
	}
	if sum := text.Hash(); !bytes.Equal(sum[:], hash) {
		return "", "", nil
	}
	zone, err := time.LoadLocation(f.Page.TimeZone)
	if err != nil {
		return "", "", fmt.Errorf("time zone of page %d: %w", k.Page, err)
	}
	text = text.Dated(at.In(zone))
	if k.Channel == candorv1.Channel_CHANNEL_EMAIL {
		subject, body, _, err = text.RenderEmail(f.Customer())
		return subject, body, err
	}
	return "", text.SMS(f.Customer()), nil
}

// history collects what happened to one slot of a page while the page's journal is folded.
type history struct {
	slot   uint32
	state  *journal.State
	events []*candorv1.NoticeEvent
}

// write folds an entry of the journal.
func (h *history) write(m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("entry %d is damaged: %w", m.Seq, err)
	}
	open := h.open() // before the entry
	if err := h.state.Apply(m.Seq, e); err != nil {
		return err
	}
	h.tell(e, open)
	return nil
}

// hear folds an entry of the receipts.
func (h *history) hear(m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	if err := proto.Unmarshal(m.Data, e); err != nil {
		return fmt.Errorf("receipt %d is damaged: %w", m.Seq, err)
	}
	if err := h.state.Hear(m.Seq, e); err != nil {
		return err
	}
	h.tell(e, true)
	return nil
}

// open says that the notice was not settled yet: what happens to the whole page then happens to it too.
func (h *history) open() bool {
	return int(h.slot) < h.state.Len() && h.state.InWave(h.slot) && !h.state.Settled(h.slot)
}

// tell keeps what an entry says of the slot.
func (h *history) tell(e *candorv1.JournalEntry, open bool) {
	event := func(what, reason, by string) *candorv1.NoticeEvent {
		ev := &candorv1.NoticeEvent{At: e.GetOccurredAt(), What: what, Reason: reason, By: by}
		h.events = append(h.events, ev)
		return ev
	}
	switch ev := e.GetEvent().(type) {
	case *candorv1.JournalEntry_Opened:
		if len(ev.Opened.GetAudience()) == 0 || placeIn(ev.Opened.GetAudience(), h.slot) >= 0 {
			event("planned", "", "planner")
		}
	case *candorv1.JournalEntry_Admitted:
		if placeIn(ev.Admitted.GetAudience(), h.slot) >= 0 {
			event("planned", ev.Admitted.GetReason(), "planner")
		}
	case *candorv1.JournalEntry_PutOff:
		if open && h.state.Attempt(h.slot) == 0 {
			event("put_off", ev.PutOff.GetReason(), "worker")
		}
	case *candorv1.JournalEntry_Intent:
		if placeIn(ev.Intent.GetSlots(), h.slot) >= 0 {
			in := event("intended", "", "worker")
			in.Attempt, in.Provider = ev.Intent.GetAttempt(), ev.Intent.GetProvider()
		}
	case *candorv1.JournalEntry_Outcomes:
		o := ev.Outcomes
		for _, g := range o.GetGroups() {
			place := placeIn(g.GetSlots(), h.slot)
			if place < 0 {
				continue
			}
			said := event(candorv1.Word(g.GetResult()), g.GetReason(), candorv1.Word(o.GetDecider()))
			said.Attempt, said.Provider, said.MessageId = o.GetAttempt(), o.GetProvider(), line(g.GetMessageIds(), place)
		}
	case *candorv1.JournalEntry_DeadLettered:
		if open {
			event("dead_lettered", ev.DeadLettered.GetReason(), "worker")
		}
	case *candorv1.JournalEntry_Replayed:
		if open {
			event("replayed", "", "person")
		}
	case *candorv1.JournalEntry_Sealed:
		if open {
			event("sealed", ev.Sealed.GetReason(), "planner")
		}
	}
}

// sentAt is when the attempt was announced that the notice stands for; zero if there was none.
func (h *history) sentAt() time.Time {
	var at *timestamppb.Timestamp
	for _, e := range h.events {
		if e.GetWhat() == "intended" && (at == nil || e.GetAttempt() <= h.state.Attempt(h.slot)) {
			at = e.GetAt()
		}
	}
	if at == nil {
		return time.Time{}
	}
	return at.AsTime()
}

// placeIn returns how many slots of the runs come before the slot, -1 if it is not among them.
func placeIn(runs []uint32, slot uint32) int {
	before := 0
	for i := 0; i+1 < len(runs); i += 2 {
		if slot >= runs[i] && slot-runs[i] < runs[i+1] {
			return before + int(slot-runs[i])
		}
		before += int(runs[i+1])
	}
	return -1
}

// line returns the n-th line of a text, or the last one: a single message id stands for all slots.
func line(text string, n int) string {
	last := text
	for i, l := range slices.Collect(strings.SplitSeq(text, "\n")) {
		if last = l; i == n {
			break
		}
	}
	return last
}
