package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/journal"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// books is the folded truth about all incidents.
type books struct {
	mu        sync.Mutex
	words     *journal.Words
	incidents map[string]*book
	sheets    map[string]*sheet // by subject
	strays    []string          // subjects in the stream that are nobody's journal
	foldedTo  uint64
	waiting   []waiter
	codes     [][]journal.Code // scratch of recount
}

// book is one incident.
type book struct {
	incident string
	funnels  []*funnel // by wave and channel
	pages    map[uint32]*page
	stale    []*page
}

// funnel is one channel of one wave.
type funnel struct {
	wave    string
	channel candorv1.Channel
	sheets  []*sheet // by page

	first, last time.Time // accepted
	minutes     window
	seconds     window
}

// sheet is one journal.
type sheet struct {
	page   *page
	book   *book
	funnel *funnel
	state  *journal.State
	damage error // why no later entry was folded
	counts tally // of its notices; true unless the page is stale
}

// page is one page of the roster, in all waves and on all channels.
type page struct {
	number uint32
	sheets []*sheet // by wave and channel
	stale  bool     // an entry was folded since it was counted
	people tally    // its customers that have a notice, by their best or worst one
}

// waiter wants to know when everything up to seq has been folded.
type waiter struct {
	seq  uint64
	done chan struct{}
}

func newBooks() *books {
	return &books{words: journal.NewWords(), incidents: map[string]*book{}, sheets: map[string]*sheet{}}
}

// fold takes the next message of the stream. An error names the journal that is read no further; the rest goes on.
func (b *books) fold(m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	damage := proto.Unmarshal(m.Data, e)

	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Seq <= b.foldedTo {
		return nil
	}
	defer b.advance(m.Seq)
	sh, err := b.sheet(m.Subject)
	if err != nil {
		return err
	}
	if sh.damage != nil {
		return nil
	}
	before := sh.state.Accepted
	if damage == nil {
		damage = sh.state.Apply(m.Seq, e)
	}
	if damage != nil {
		sh.damage = fmt.Errorf("entry %d cannot be read: %w", m.Seq, damage)
		return sh.damage
	}
	if !sh.page.stale {
		sh.page.stale = true
		sh.book.stale = append(sh.book.stale, sh.page)
	}
	if n := sh.state.Accepted - before; n > 0 {
		at := e.GetOccurredAt().AsTime()
		if e.GetOccurredAt() == nil || at.After(m.Time) {
			at = m.Time // a worker whose clock runs ahead must not spoil everybody's rate
		}
		sh.funnel.accepted(at, uint64(n))
	}
	return nil
}

// sheet returns the sheet of a journal, a new one for a new subject.
func (b *books) sheet(subject string) (*sheet, error) {
	if sh := b.sheets[subject]; sh != nil {
		return sh, nil
	}
	key, ok := topology.ParseJournal(subject)
	if !ok || !utf8.ValidString(key.Wave) {
		subject = strings.ToValidUTF8(subject, "?")
		if !slices.Contains(b.strays, subject) && len(b.strays) < 100 {
			b.strays = append(b.strays, subject)
		}
		return nil, fmt.Errorf("%s is no journal's subject", subject)
	}
	bk := b.incidents[key.Incident]
	if bk == nil {
		bk = &book{incident: strings.Clone(key.Incident), pages: map[uint32]*page{}}
		b.incidents[bk.incident] = bk
	}
	p := bk.pages[key.Page]
	if p == nil {
		p = &page{number: key.Page}
		bk.pages[key.Page] = p
	}
	f := bk.funnel(key.Wave, key.Channel)
	sh := &sheet{page: p, book: bk, funnel: f, state: journal.NewState(b.words, false)}
	i, _ := slices.BinarySearchFunc(f.sheets, key.Page, func(sh *sheet, n uint32) int { return cmp.Compare(sh.page.number, n) })
	f.sheets = slices.Insert(f.sheets, i, sh)
	p.sheets = append(p.sheets, sh)
	slices.SortFunc(p.sheets, func(a, b *sheet) int { return a.funnel.compare(b.funnel.wave, b.funnel.channel) })
	b.sheets[strings.Clone(subject)] = sh
	return sh, nil
}

func (bk *book) funnel(wave string, ch candorv1.Channel) *funnel {
	i, found := slices.BinarySearchFunc(bk.funnels, wave, func(f *funnel, wave string) int { return f.compare(wave, ch) })
	if !found {
		f := &funnel{
			wave: strings.Clone(wave), channel: ch,
			minutes: newWindow(time.Minute, shownMinutes), seconds: newWindow(time.Second, rateSeconds),
		}
		bk.funnels = slices.Insert(bk.funnels, i, f)
	}
	return bk.funnels[i]
}

func (f *funnel) compare(wave string, ch candorv1.Channel) int {
	return cmp.Or(strings.Compare(f.wave, wave), cmp.Compare(f.channel, ch))
}

func (f *funnel) accepted(at time.Time, n uint64) {
	if f.first.IsZero() || at.Before(f.first) {
		f.first = at
	}
	if at.After(f.last) {
		f.last = at
	}
	f.minutes.add(at, n)
	f.seconds.add(at, n)
}

// advance says that everything up to seq has been folded. b.mu is held.
func (b *books) advance(seq uint64) {
	b.foldedTo = max(b.foldedTo, seq)
	b.waiting = slices.DeleteFunc(b.waiting, func(w waiter) bool {
		if w.seq > b.foldedTo {
			return false
		}
		close(w.done)
		return true
	})
}

// caughtUp ends the rebuild: it counts everything once and returns how many journals there are.
func (b *books) caughtUp(seq uint64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, bk := range b.incidents {
		b.recount(bk)
	}
	b.advance(seq)
	return len(b.sheets)
}

// await returns when everything up to seq has been folded, or after patience without an error.
func (b *books) await(ctx context.Context, seq uint64, patience time.Duration) error {
	b.mu.Lock()
	if b.foldedTo >= seq {
		b.mu.Unlock()
		return nil
	}
	w := waiter{seq: seq, done: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	tired := time.NewTimer(patience)
	defer tired.Stop()
	select {
	case <-w.done:
		return nil
	case <-tired.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	b.waiting = slices.DeleteFunc(b.waiting, func(o waiter) bool { return o.done == w.done })
	b.mu.Unlock()
	return ctx.Err()
}
