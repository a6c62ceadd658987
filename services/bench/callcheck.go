package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// The checker reads what the call queue has stored, and holds it against the playbooks: it folds the events by itself and
// shares no code with the queue, so that a mistake of the one is seen by the other.

// OK says that nothing is against the rules.
func (r *CallReport) OK() bool { return len(r.Violations) == 0 }

// CheckCalls reads all events of the call queue and all journals of calls, and writes nothing.
func CheckCalls(ctx context.Context, b *bus.Bus) (*CallReport, error) {
	rules, aborted := map[string]*callRules{}, map[string]bool{}
	subjects, err := b.CountSubjects(ctx, topology.StreamCalls, topology.CallEvents("*"))
	if err != nil {
		return nil, fmt.Errorf("incidents with calls: %w", err)
	}
	for subject := range subjects {
		id, _ := topology.ParseCallEvents(subject)
		inc, err := incident.NewLog(b, time.Now).Load(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("incident %s: %w", id, err)
		}
		if rules[id], err = readCallRules(inc.Draft.GetDeclaration().GetPlaybook()); err != nil {
			return nil, fmt.Errorf("playbook of incident %s: %w", id, err)
		}
		aborted[id] = inc.Ended()
	}
	a := newCallAudit(rules)
	_, err = b.Read(ctx, topology.StreamCalls, topology.CallEvents("*"), 1, func(m bus.Stored) error {
		id, ok := topology.ParseCallEvents(m.Subject)
		e := &candorv1.CallEvents{}
		if err := proto.Unmarshal(m.Data, e); err != nil || !ok {
			return errors.Join(fmt.Errorf("event %d on %s cannot be read", m.Seq, m.Subject), err)
		}
		a.entry(id, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the events of calls: %w", err)
	}
	books := callJournals{}
	_, err = b.Read(ctx, topology.StreamJournal, topology.JournalPrefix(candorv1.Channel_CHANNEL_CALL)+">", 1, func(m bus.Stored) error {
		k, ok := topology.ParseJournal(m.Subject)
		e := &candorv1.JournalEntry{}
		if err := proto.Unmarshal(m.Data, e); err != nil || !ok {
			return errors.Join(fmt.Errorf("entry %d on %s cannot be read", m.Seq, m.Subject), err)
		}
		books.entry(callPage{k.Incident, k.Wave, k.Page}, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the journals of calls: %w", err)
	}
	return a.finish(books, aborted), nil
}

// Check reads what the site's broker has, as a process of its own.
func (s *Site) Check(ctx context.Context) (_ *CallReport, err error) {
	const user = "api" // may read all streams
	b, err := bus.Connect(ctx, bus.Config{
		URL: "nats://" + s.NATS, Name: user, NKeySeedFile: filepath.Join(s.cfg.Keys, "nats", user+".seed"),
	}, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	return CheckCalls(ctx, b)
}

// callPage is one journal.
type callPage struct {
	incident, wave string
	page           uint32
}

// callJournals are the journals of calls: for each customer of the wave what was said of them, in order.
type callJournals map[callPage]map[uint32][]candorv1.Result

func (j callJournals) entry(k callPage, e *candorv1.JournalEntry) {
	if j[k] == nil {
		j[k] = map[uint32][]candorv1.Result{}
	}
	admit := func(slots []uint32) {
		for _, slot := range slots {
			j[k][slot] = j[k][slot][:len(j[k][slot]):len(j[k][slot])]
		}
	}
	switch ev := e.GetEvent().(type) {
	case *candorv1.JournalEntry_Opened:
		if len(ev.Opened.GetAudience()) > 0 {
			admit(slotsOf(ev.Opened.GetAudience()))
		} else {
			admit(slotsOf([]uint32{0, ev.Opened.GetSlots()}))
		}
	case *candorv1.JournalEntry_Admitted:
		admit(slotsOf(ev.Admitted.GetAudience()))
	case *candorv1.JournalEntry_Outcomes:
		for _, g := range ev.Outcomes.GetGroups() {
			for _, slot := range slotsOf(g.GetSlots()) {
				j[k][slot] = append(j[k][slot], g.GetResult())
			}
		}
	}
}

// callRank orders results: what is said later replaces what ranks lower.
func callRank(r candorv1.Result) int {
	return slices.Index([]candorv1.Result{
		candorv1.Result_RESULT_EXPIRED, candorv1.Result_RESULT_SUPPRESSED, candorv1.Result_RESULT_FAILED, candorv1.Result_RESULT_DELIVERED,
	}, r)
}

// finish holds the ends of the tasks against the journals.
func (a *callAudit) finish(books callJournals, aborted map[string]bool) *CallReport {
	a.fold()
	for p, t := range a.tasks {
		for _, l := range t.leases {
			if l.open {
				a.wrong("lease_left", p, "lease %d has no end", l.fence)
			}
		}
		a.phones(t)
		answers := map[string][]*callOpening{} // by wave: it may take another call, which the customer wished for
		for _, o := range t.opened {
			a.report.Ends[callStateName(o.state)]++
			if o.state == 0 {
				a.wrong("no_end", p, "it is open")
				continue
			}
			for _, wave := range o.waves {
				answers[wave] = append(answers[wave], o)
			}
		}
		for wave, answered := range answers {
			a.outcome(p, wave, answered, books[callPage{p.incident, wave, p.page}][p.slot], aborted[p.incident])
		}
	}
	for k, slots := range books {
		for slot, said := range slots {
			p := callPlace{k.incident, k.page, slot}
			if len(said) == 0 && !aborted[k.incident] && !a.answers(p, k.wave) {
				a.wrong("lost", p, "it belongs to wave %s and was never queued", k.wave)
			}
		}
	}
	a.report.Dialers, a.report.Zones = len(a.report.dialers), len(a.report.zones)
	return &a.report
}

func (a *callAudit) answers(p callPlace, wave string) bool {
	t := a.tasks[p]
	return t != nil && slices.ContainsFunc(t.opened, func(o *callOpening) bool { return slices.Contains(o.waves, wave) })
}

// callResult is what an end says of a wave.
func callResult(o *callOpening, wave string) candorv1.Result {
	switch {
	case slices.Contains(o.told, wave):
		return candorv1.Result_RESULT_DELIVERED
	case o.state == candorv1.CallState_CALL_STATE_SUPPRESSED:
		return candorv1.Result_RESULT_SUPPRESSED
	case o.state == candorv1.CallState_CALL_STATE_EXPIRED:
		return candorv1.Result_RESULT_EXPIRED
	}
	return candorv1.Result_RESULT_FAILED
}

// outcome checks that the journal says how the task ended, each time that it answered the wave: once, unless a later end says
// more.
func (a *callAudit) outcome(p callPlace, wave string, answered []*callOpening, said []candorv1.Result, aborted bool) {
	want, corrected := callResult(answered[0], wave), false
	for _, o := range answered {
		corrected = corrected || o.corrected
		if r := callResult(o, wave); callRank(r) > callRank(want) {
			want, corrected = r, true
		}
	}
	if len(said) == 0 {
		// The planner's seal ends the journals of an aborted incident for all of whom nothing is said.
		if !aborted || want != candorv1.Result_RESULT_EXPIRED {
			a.wrong("no_outcome", p, "it ended with %v, of which the journal says nothing", want)
		}
		return
	}
	a.report.Outcomes++
	last := slices.MaxFunc(said, func(x, y candorv1.Result) int { return callRank(x) - callRank(y) })
	if last != want {
		a.wrong("other_outcome", p, "the journal says %v in place of %v", last, want)
	}
	a.report.Repeated += uint64(len(said) - 1)
	if len(slices.Compact(slices.Clone(said))) > 1 && !corrected {
		a.wrong("outcomes", p, "the journal says %v", said)
	}
}

func callStateName(s candorv1.CallState) string {
	if s == 0 {
		return "open"
	}
	return candorv1.Word(s)
}
