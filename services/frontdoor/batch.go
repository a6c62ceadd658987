package frontdoor

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/bus"
	"candor/pkg/receipt"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// fact is what one receipt says of one attempt at one notice. Equal facts are one.
type fact struct {
	page     topology.PageKey
	provider string
	attempt  uint32
	slot     uint32
	word     receipt.Word
	// messageID is the provider's; empty where none came along.
	messageID string
}

// shelf is what gets into one message: a message has one attempt and one provider.
type shelf struct {
	page     topology.PageKey
	provider string
	attempt  uint32
}

// batch is the receipts of one message, while they are gathered and while they are stored.
type batch struct {
	shelf
	facts []fact
	ids   []identity    // of facts
	asker uint64        // the last call of add that waits for it
	done  chan struct{} // closed when err is set
	err   error
}

// gatherer makes few messages of many receipts: what arrives within a moment is gathered by page, stored together, and
// then acknowledged to everybody who waits for it.
type gatherer struct {
	out     bus.Appender
	wait    time.Duration
	most    int
	now     func() time.Time
	metrics *metrics
	seeds   [2]maphash.Seed
	wake    chan struct{} // one token: something was gathered
	full    chan struct{} // one token: so much that nobody should wait for more

	mu       sync.Mutex
	gathered int
	asker    uint64
	open     map[shelf]*batch
	flying   map[identity]*batch // gathered or being stored
	stored   *recent
}

func newGatherer(out bus.Appender, wait time.Duration, most int, now func() time.Time, m *metrics) *gatherer {
	return &gatherer{
		out: out, wait: wait, most: most, now: now, metrics: m,
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		wake:  make(chan struct{}, 1), full: make(chan struct{}, 1),
		open: map[shelf]*batch{}, flying: map[identity]*batch{}, stored: newRecent(recentMost),
	}
}

// Store returns when all facts are on disk, and says how many of them were not there yet. An error means that some may not
// be: the provider must say them again.
//
// A crash here loses what is not stored, and with it the answer: the provider repeats it. A crash between the store and the
// answer stores a repetition, which the fold does not notice.
func (g *gatherer) Store(ctx context.Context, facts ...fact) (fresh int, err error) {
	waits, fresh := g.add(facts)
	for _, b := range waits {
		select {
		case <-b.done:
			if b.err != nil {
				return 0, b.err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return fresh, nil
}

// add puts the facts on their shelves and returns the batches to wait for. A fact that is on its way already is waited for.
func (g *gatherer) add(facts []fact) (waits []*batch, fresh int) {
	ids := make([]identity, len(facts))
	for i := range facts {
		ids[i] = identity{maphash.Comparable(g.seeds[0], facts[i]), maphash.Comparable(g.seeds[1], facts[i])}
	}
	g.mu.Lock()
	g.asker++
	for i, f := range facts {
		id := ids[i]
		if g.stored.has(id) {
			continue
		}
		b := g.flying[id]
		if b == nil {
			k := shelf{f.page, f.provider, f.attempt}
			if b = g.open[k]; b == nil {
				b = &batch{shelf: k, done: make(chan struct{})}
				g.open[k] = b
			}
			b.facts, b.ids = append(b.facts, f), append(b.ids, id)
			g.flying[id] = b
			g.gathered++
			fresh++
		}
		if b.asker != g.asker {
			b.asker, waits = g.asker, append(waits, b)
		}
	}
	gathered := g.gathered
	g.mu.Unlock()
	g.metrics.duplicates.Add(float64(len(facts) - fresh))
	if fresh > 0 {
		signal(g.wake)
		if gathered >= g.most {
			signal(g.full)
		}
	}
	return waits, fresh
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run stores what is gathered until ctx ends; what was gathered by then is stored too.
func (g *gatherer) Run(ctx context.Context) {
	own := context.WithoutCancel(ctx) // each append is bounded by itself
	var appends sync.WaitGroup
	defer appends.Wait()
	for {
		select {
		case <-g.wake:
		case <-ctx.Done():
			g.flush(own, &appends)
			return
		}
		t := time.NewTimer(g.wait)
		select {
		case <-t.C:
		case <-g.full:
		case <-ctx.Done():
		}
		t.Stop()
		g.flush(own, &appends)
	}
}

func (g *gatherer) flush(ctx context.Context, appends *sync.WaitGroup) {
	g.mu.Lock()
	open := g.open
	g.open, g.gathered = make(map[shelf]*batch, len(open)), 0
	select {
	case <-g.full: // was meant for what is taken; one that comes late only ends the next wait early
	default:
	}
	g.mu.Unlock()
	for _, b := range open {
		appends.Go(func() { g.append(ctx, b) })
	}
}

func (g *gatherer) append(ctx context.Context, b *batch) {
	data, err := proto.Marshal(b.entry(g.now()))
	if err == nil {
		subject := topology.Receipt(b.page.Channel, b.page.Incident, b.page.Wave, b.page.Page)
		// Not fenced: receipts are facts, in whatever order they land.
		_, err = g.out.Append(ctx, bus.Message{Subject: subject, Data: data})
	}
	if err != nil {
		err = fmt.Errorf("store receipts: %w", err)
	}
	g.mu.Lock()
	for _, id := range b.ids {
		delete(g.flying, id)
		if err == nil {
			g.stored.add(id)
		}
	}
	g.mu.Unlock()
	if err == nil {
		g.metrics.batches.Inc()
		g.metrics.stored.Add(float64(len(b.facts)))
	}
	b.err = err
	close(b.done)
}

// entry groups the facts by what they say. A slot of which the same is said of two messages gets a group for each.
func (b *batch) entry(now time.Time) *candorv1.JournalEntry {
	facts := slices.Clone(b.facts)
	slices.SortFunc(facts, func(x, y fact) int {
		return cmp.Or(x.compareWord(&y), cmp.Compare(x.slot, y.slot), strings.Compare(x.messageID, y.messageID))
	})
	out := &candorv1.Outcomes{Attempt: b.attempt, Decider: candorv1.Decider_DECIDER_RECEIPT, Provider: b.provider}
	for len(facts) > 0 {
		var again []fact
		for from := 0; from < len(facts); {
			to := from + 1
			for to < len(facts) && facts[to].compareWord(&facts[from]) == 0 {
				to++
			}
			g, more := group(facts[from:to], now)
			out.Groups, again = append(out.Groups, g), append(again, more...)
			from = to
		}
		facts = again
	}
	return &candorv1.JournalEntry{
		EntryId: entryID(), OccurredAt: timestamppb.New(now), Event: &candorv1.JournalEntry_Outcomes{Outcomes: out},
	}
}

// compareWord orders facts by what makes a group.
func (f *fact) compareWord(o *fact) int {
	return cmp.Or(
		cmp.Compare(f.word.Result, o.word.Result), strings.Compare(f.word.Reason, o.word.Reason),
		cmp.Compare(f.word.RetryIn, o.word.RetryIn), cmp.Compare(min(len(f.messageID), 1), min(len(o.messageID), 1)),
	)
}

// group makes one of facts that say the same of ascending slots; more are those whose slot is in it already.
func group(facts []fact, now time.Time) (g *candorv1.OutcomeGroup, more []fact) {
	w := facts[0].word
	g = &candorv1.OutcomeGroup{Result: w.Result, Reason: w.Reason}
	if w.RetryIn > 0 {
		g.RetryAt = timestamppb.New(now.Add(w.RetryIn))
	}
	var ids strings.Builder
	for i, f := range facts {
		if i > 0 && f.slot == facts[i-1].slot {
			more = append(more, f)
			continue
		}
		if n := len(g.Slots); n > 0 && g.Slots[n-2]+g.Slots[n-1] == f.slot {
			g.Slots[n-1]++
		} else {
			g.Slots = append(g.Slots, f.slot, 1)
		}
		if f.messageID != "" {
			if ids.Len() > 0 {
				ids.WriteByte('\n')
			}
			ids.WriteString(f.messageID)
		}
	}
	g.MessageIds = ids.String()
	return g, more
}

func entryID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return binary.LittleEndian.Uint64(b[:]) | 1
}
