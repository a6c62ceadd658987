package main

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	candorv1 "candor/proto/candor/v1"
)

// bars is a live view: one bar for the people, one for every wave and channel.
type bars struct {
	c       *cli
	all     *mpb.Progress
	rows    map[string]*row
	restore func()
	gone    chan struct{}
}

// row is one bar, with the words left and right of it.
type row struct {
	bar *mpb.Bar

	mu   sync.Mutex // guards what the drawing goroutine reads
	head string
	tail string
}

// Fixed, so that nothing moves as numbers grow.
const (
	headWidth = 12
	barCells  = 28
)

func newBars(c *cli) *bars {
	b := &bars{
		c: c, rows: map[string]*row{}, gone: make(chan struct{}),
		all: mpb.New(mpb.WithOutput(c.out.file), mpb.WithWidth(c.out.width())),
	}
	b.restore = c.onKey('q', func() { close(b.gone) })
	return b
}

func (b *bars) left() <-chan struct{} { return b.gone }

// show moves the bars; new waves get theirs when they come.
func (b *bars) show(st *candorv1.Status) {
	p := st.GetPeople()
	words := peopleWords(p)
	if len(st.GetWaves()) == 0 && len(st.GetOpen()) > 0 {
		words += "; " + st.GetOpen()[0]
	}
	b.set("people", "people told", green, p.GetTold(), p.GetOnFile(), words)
	for _, w := range st.GetWaves() {
		for _, ch := range w.GetChannels() {
			name := w.GetWave() + " " + candorv1.Word(ch.GetChannel())
			b.set(name, name, blue, ch.GetPlannedTotal()-openNotices(ch), ch.GetPlannedTotal(), channelTail(ch))
		}
	}
}

func peopleWords(p *candorv1.PeopleStatus) string {
	words := fmt.Sprintf("%s of %s", number(p.GetTold()), number(p.GetOnFile()))
	if n := p.GetRejectedRows(); n > 0 {
		words += fmt.Sprintf(", and %s", plural(n, "rejected row", "rejected rows"))
	}
	return words
}

func channelTail(ch *candorv1.ChannelStatus) string {
	parts := []string{fmt.Sprintf("%s of %s", number(ch.GetPlannedTotal()-openNotices(ch)), number(ch.GetPlannedTotal())), pace(ch)}
	for _, s := range []candorv1.NoticeState{
		candorv1.NoticeState_NOTICE_STATE_DELIVERED, candorv1.NoticeState_NOTICE_STATE_FAILED,
		candorv1.NoticeState_NOTICE_STATE_SUPPRESSED, candorv1.NoticeState_NOTICE_STATE_EXPIRED,
	} {
		if n := ch.GetStates()[candorv1.Word(s)]; n > 0 {
			parts = append(parts, number(n)+" "+candorv1.Word(s))
		}
	}
	return strings.Join(parts, ", ")
}

func (b *bars) set(key, head, colour string, n, of uint64, tail string) {
	r := b.rows[key]
	if r == nil {
		r = &row{head: head}
		paint := func(s string) string { return b.c.out.paint(colour, s) }
		r.bar = b.all.New(0, barStyle().FillerMeta(paint).TipMeta(paint).PaddingMeta(func(s string) string { return b.c.out.paint(faint, s) }),
			mpb.BarWidth(barCells),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%-*s", headWidth, r.words(true)) })),
			mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string { return clip("  "+r.words(false), s.AvailableWidth) })),
		)
		b.rows[key] = r
	}
	r.mu.Lock()
	r.tail = tail
	r.mu.Unlock()
	r.bar.SetTotal(int64(max(of, 1)), false) //nolint:gosec // a count of people or notices
	r.bar.SetCurrent(int64(n))               //nolint:gosec // as above
}

func (r *row) words(head bool) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if head {
		return r.head
	}
	return r.tail
}

// clip keeps a line on its line.
func clip(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// close leaves the bars as they are, below each other.
func (b *bars) close() {
	for _, r := range b.rows {
		r.bar.Abort(false)
	}
	b.all.Wait()
	b.restore()
}
