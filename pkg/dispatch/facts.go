package dispatch

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/journal"
	candorv1 "candor/proto/candor/v1"
)

// fact is what became of one slot.
type fact struct {
	result  candorv1.Result
	reason  string
	id      string
	retryAt time.Time
}

// facts gathers what became of slots, to be written in as few entries as there are attempts.
type facts struct {
	decider  candorv1.Decider
	provider string
	attempts map[uint32]map[groupKey]*group
}

type groupKey struct {
	result candorv1.Result
	reason string
	// Seconds: retries that are due in the same second share a group.
	retryAt int64
}

type group struct {
	slots []uint32
	ids   []string
}

func newFacts(decider candorv1.Decider, provider string) *facts {
	return &facts{decider: decider, provider: provider, attempts: map[uint32]map[groupKey]*group{}}
}

// add takes a slot; slots are added in ascending order.
func (f *facts) add(slot, attempt uint32, x fact) {
	groups := f.attempts[attempt]
	if groups == nil {
		groups = map[groupKey]*group{}
		f.attempts[attempt] = groups
	}
	k := groupKey{result: x.result, reason: x.reason}
	if !x.retryAt.IsZero() {
		k.retryAt = x.retryAt.Unix() + 1
	}
	g := groups[k]
	if g == nil {
		g = &group{}
		groups[k] = g
	}
	g.slots = append(g.slots, slot)
	g.ids = append(g.ids, x.id)
}

// entries returns the journal entries, by attempt.
func (f *facts) entries(entry func() *candorv1.JournalEntry) []*candorv1.JournalEntry {
	attempts := make([]uint32, 0, len(f.attempts))
	for a := range f.attempts {
		attempts = append(attempts, a)
	}
	slices.Sort(attempts)
	var list []*candorv1.JournalEntry
	for _, a := range attempts {
		o := &candorv1.Outcomes{Attempt: a, Decider: f.decider, Provider: f.provider}
		for k, g := range f.attempts[a] {
			p := &candorv1.OutcomeGroup{Result: k.result, Reason: k.reason, Slots: journal.Runs(g.slots), MessageIds: idLines(g.ids)}
			if k.retryAt != 0 {
				p.RetryAt = timestamppb.New(time.Unix(k.retryAt, 0))
			}
			o.Groups = append(o.Groups, p)
		}
		slices.SortFunc(o.GetGroups(), func(a, b *candorv1.OutcomeGroup) int { return int(a.GetSlots()[0]) - int(b.GetSlots()[0]) })
		e := entry()
		e.Event = &candorv1.JournalEntry_Outcomes{Outcomes: o}
		list = append(list, e)
	}
	return list
}

// idLines writes ids one a line; a single line stands for all if they are alike.
func idLines(ids []string) string {
	for _, id := range ids[1:] {
		if id != ids[0] {
			return strings.Join(ids, "\n")
		}
	}
	return ids[0]
}
