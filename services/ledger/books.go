package ledger

import (
	"cmp"
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
	sheets    map[string]*sheet // by subject, without its first token
	strays    []string          // subjects in the streams that belong to no page
	journals  tide
	receipts  tide
	calls     tide
	codes     [][]journal.Code   // scratch of recount and climb
	ladders   map[string]*ladder // by incident
	asked     map[string]*wishes // by incident
}

// book is one incident.
type book struct {
	incident string
	funnels  []*funnel // by wave and channel
	pages    map[uint32]*page
	stale    []*page
	ladder   *ladder // by which the pages were climbed
}

// funnel is one channel of one wave.
type funnel struct {
	wave    string
	channel candorv1.Channel
	sheets  []*sheet // by page

	moved       instant   // when an entry was last written
	first, last time.Time // accepted
	minutes     window
	seconds     window
}

// sheet is one journal, with its receipts.
type sheet struct {
	page   *page
	book   *book
	funnel *funnel
	state  *journal.State
	damage error // why no later entry was folded
	deaf   error // why no later receipt was folded
	// returned: the journal says of a message that it was not delivered.
	returned bool

	// True unless the page is stale.
	counts tally
	heard  heard

	changed     instant // by the stream's clock
	first, last instant // accepted
}

// page is one page of the roster, in all waves and on all channels.
type page struct {
	number uint32
	sheets []*sheet // by wave and channel
	stale  bool     // an entry was folded since it was counted
	people tally    // its customers that have a notice, by their best or worst one
	rungs  []rung   // for each step of the book's ladder; nil if they were not looked at since the page was counted
}

func newBooks() *books {
	b := &books{
		words: journal.NewWords(), incidents: map[string]*book{}, sheets: map[string]*sheet{},
		ladders: map[string]*ladder{}, asked: map[string]*wishes{},
	}
	b.journals.mu, b.receipts.mu, b.calls.mu = &b.mu, &b.mu, &b.mu
	return b
}

// fold takes the next message of the journals. An error names the journal that is read no further; the rest goes on.
func (b *books) fold(m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	damage := proto.Unmarshal(m.Data, e)

	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Seq <= b.journals.foldedTo {
		return nil
	}
	defer b.journals.advance(m.Seq)
	sh, err := b.sheet(m.Subject, topology.ParseJournal)
	if err != nil {
		return err
	}
	if sh.damage != nil {
		return nil
	}
	count := sh.counter(e)
	before := count()
	if damage == nil {
		damage = sh.state.Apply(m.Seq, e)
	}
	if damage != nil {
		sh.damage = fmt.Errorf("entry %d cannot be read: %w", m.Seq, damage)
		return sh.damage
	}
	sh.moved(m.Time, e, count()-before)
	sh.funnel.moved = max(sh.funnel.moved, sh.changed)
	return nil
}

// hear takes the next message of the receipts. An error names the page whose receipts are read no further.
func (b *books) hear(m bus.Stored) error {
	e := &candorv1.JournalEntry{}
	damage := proto.Unmarshal(m.Data, e)

	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Seq <= b.receipts.foldedTo {
		return nil
	}
	defer b.receipts.advance(m.Seq)
	sh, err := b.sheet(m.Subject, topology.ParseReceipt)
	if err != nil {
		return err
	}
	if sh.damage != nil || sh.deaf != nil {
		return nil
	}
	before := sh.accepted(e)
	if damage == nil {
		damage = sh.state.Hear(m.Seq, e)
	}
	if damage != nil {
		sh.deaf = fmt.Errorf("receipt %d cannot be read: %w", m.Seq, damage)
		return sh.deaf
	}
	sh.moved(m.Time, e, sh.accepted(e)-before)
	return nil
}

// counter returns how to count the notices that a provider had at some time, before and after an entry of the journal. As
// long as nothing came back these are the ones that it has, which is cheaper by a tenth of the rebuild.
func (sh *sheet) counter(e *candorv1.JournalEntry) func() int {
	for _, g := range e.GetOutcomes().GetGroups() {
		switch g.GetResult() {
		case candorv1.Result_RESULT_UNDELIVERED, candorv1.Result_RESULT_UNDELIVERED_RETRY, candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS:
			sh.returned = true
		}
	}
	if sh.returned || sh.state.HeardSeq > 0 {
		return func() int { return sh.accepted(e) }
	}
	return func() int { return sh.state.Accepted }
}

// accepted counts, among the notices of which an entry may be the first to say that a provider has them, those that one had
// at some time. It never falls, in whatever order entries and receipts come.
func (sh *sheet) accepted(e *candorv1.JournalEntry) (n int) {
	count := func(runs []uint32) {
		for i := 0; i+1 < len(runs); i += 2 {
			for slot := runs[i]; slot < runs[i]+runs[i+1] && slot < uint32(sh.state.Len()); slot++ {
				if sh.state.EverAccepted(slot) {
					n++
				}
			}
		}
	}
	if e.GetOpened() != nil && sh.state.HeardSeq > 0 { // receipts came before it
		count([]uint32{0, uint32(sh.state.Len())})
	}
	for _, g := range e.GetOutcomes().GetGroups() {
		switch g.GetResult() {
		case candorv1.Result_RESULT_ACCEPTED, candorv1.Result_RESULT_DELIVERED, candorv1.Result_RESULT_DOUBTFUL,
			candorv1.Result_RESULT_UNDELIVERED, candorv1.Result_RESULT_UNDELIVERED_RETRY, candorv1.Result_RESULT_UNDELIVERED_NEXT_ADDRESS:
			count(g.GetSlots())
		}
	}
	return n
}

// moved notes that an entry was folded that made n more notices accepted.
func (sh *sheet) moved(at time.Time, e *candorv1.JournalEntry, n int) {
	if !sh.page.stale {
		sh.page.stale = true
		sh.book.stale = append(sh.book.stale, sh.page)
	}
	sh.changed = max(sh.changed, instantOf(at))
	if n <= 0 {
		return
	}
	if said := e.GetOccurredAt(); said != nil && said.AsTime().Before(at) {
		at = said.AsTime() // and not later: a worker whose clock runs ahead must not spoil everybody's rate
	}
	sh.funnel.accepted(at, uint64(n))
	if sh.first == 0 || instantOf(at) < sh.first {
		sh.first = instantOf(at)
	}
	sh.last = max(sh.last, instantOf(at))
}

// instant is a moment in nanoseconds since 1970; 0 is none.
type instant int64

func instantOf(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(t.UnixNano())
}

func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(i)).UTC()
}

// sheet returns the sheet of a journal or its receipts, a new one for a new page.
func (b *books) sheet(subject string, parse func(string) (topology.PageKey, bool)) (*sheet, error) {
	_, name, _ := strings.Cut(subject, ".")
	if sh := b.sheets[name]; sh != nil {
		return sh, nil
	}
	key, ok := parse(subject)
	if !ok || !utf8.ValidString(key.Wave) {
		return nil, b.stray(subject)
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
	sh := &sheet{page: p, book: bk, funnel: f, state: journal.NewState(b.words, f.channel, false)}
	i, _ := slices.BinarySearchFunc(f.sheets, key.Page, func(sh *sheet, n uint32) int { return cmp.Compare(sh.page.number, n) })
	f.sheets = slices.Insert(f.sheets, i, sh)
	p.sheets = append(p.sheets, sh)
	slices.SortFunc(p.sheets, func(a, b *sheet) int { return a.funnel.compare(b.funnel.wave, b.funnel.channel) })
	b.sheets[strings.Clone(name)] = sh
	return sh, nil
}

// stray remembers a subject that this version cannot place.
func (b *books) stray(subject string) error {
	subject = strings.ToValidUTF8(subject, "?")
	if !slices.Contains(b.strays, subject) && len(b.strays) < 100 {
		b.strays = append(b.strays, subject)
	}
	return fmt.Errorf("%s belongs to no page", subject)
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

// count counts everything once, so that the first question does not have to, and returns how many journals there are.
func (b *books) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, bk := range b.incidents {
		b.recount(bk)
	}
	return len(b.sheets)
}
