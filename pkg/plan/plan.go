// Package plan says, before anything is sent, who will be told what, when, and at what price; what speaks against it; what
// two people would read; and what changed since they last looked.
//
// In: playbook, facts, the customers page by page, a clock.   Out: a Plan, its text, masked messages.   Crash: nothing to
// lose, it only reads.
package plan

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/audience"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/script"
	candorv1 "candor/proto/candor/v1"
)

// Input is what a plan is made from, besides the customers.
type Input struct {
	Incident string
	// Revision of the draft, 0 for a plan made from files; Hash is what an approval of it would name.
	Revision uint32
	Hash     []byte
	Playbook *playbook.Playbook
	Facts    *playbook.Facts
	// Webhook says that lost answers of large e-mail requests can be found out from the provider's events.
	Webhook bool
	Now     time.Time
}

// Load reads one page; it is called on any goroutine.
type Load func(context.Context) (*roster.Page, error)

// Make plans over the pages of a roster.
func Make(ctx context.Context, in Input, m *candorv1.RosterManifest, pages iter.Seq2[Load, error]) (*candorv1.Plan, error) {
	k, err := Start(ctx, in)
	if err != nil {
		return nil, err
	}
	for load, err := range pages {
		if err == nil {
			err = k.Load(load)
		}
		if err != nil {
			_ = k.wait() // the first error is told
			return nil, err
		}
	}
	return k.Plan(m, nil)
}

// Maker counts customers on all cores. It is a roster.Sink, so that a file is planned while it is read.
type Maker struct {
	in    Input
	waves []*wave
	group *errgroup.Group
	ctx   context.Context //nolint:containedctx // ends its goroutines, which live until Plan
	loads chan Load

	mu      sync.Mutex // guards what follows, which the goroutines hand over at their end
	total   *counts
	samples map[string]*roster.Page // by language, that of the lowest number
}

// Start compiles every text of the playbook and begins to count; its error joins all mistakes. Plan must follow.
func Start(ctx context.Context, in Input) (*Maker, error) {
	waves, err := compile(in)
	if err != nil {
		return nil, err
	}
	return start(ctx, in, waves), nil
}

func start(ctx context.Context, in Input, waves []*wave) *Maker {
	k := &Maker{in: in, waves: waves, loads: make(chan Load), samples: map[string]*roster.Page{}}
	k.group, k.ctx = errgroup.WithContext(ctx)
	k.total = newCounts(waves)
	for range runtime.GOMAXPROCS(0) {
		k.group.Go(k.count)
	}
	return k
}

// Page counts one page; it must not be changed any more.
func (k *Maker) Page(_ context.Context, p *roster.Page) error {
	return k.Load(func(context.Context) (*roster.Page, error) { return p, nil })
}

// Load counts a page that one of the Maker's goroutines reads.
func (k *Maker) Load(load Load) error {
	select {
	case k.loads <- load:
		return nil
	case <-k.ctx.Done():
		return context.Cause(k.ctx)
	}
}

func (k *Maker) count() error {
	c := newCounts(k.waves)
	for {
		select {
		case <-k.ctx.Done():
			return context.Cause(k.ctx)
		case load, more := <-k.loads:
			if !more {
				k.mu.Lock()
				defer k.mu.Unlock()
				k.total.add(c)
				return nil
			}
			p, err := load(k.ctx)
			if err != nil {
				return err
			}
			c.page(k.in.Playbook, p)
			k.sample(p)
		}
	}
}

// sample keeps a page of each language, for previews.
func (k *Maker) sample(p *roster.Page) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.samples[p.Language]; s == nil || p.Number < s.Number {
		k.samples[p.Language] = p
	}
}

// wait ends the goroutines.
func (k *Maker) wait() error {
	close(k.loads)
	return k.group.Wait()
}

// Plan ends the counting and says what it comes to; blockers are what the import found. It is called once.
func (k *Maker) Plan(m *candorv1.RosterManifest, blockers []roster.Finding) (*candorv1.Plan, error) {
	if err := k.wait(); err != nil {
		return nil, err
	}
	p := &candorv1.Plan{
		Incident: k.in.Incident, Revision: k.in.Revision, PlanHash: hex.EncodeToString(k.in.Hash),
		RosterDigest: m.GetDigest(), MadeAt: timestamppb.New(k.in.Now),
		People: &candorv1.People{
			Rows: m.GetRows(), Customers: m.GetCustomers(), Merged: m.GetMerged(), Rejected: m.GetRejected(),
			Reachable: k.total.reachable,
		},
	}
	f := &findings{plan: p}
	for i, w := range k.waves {
		p.Waves = append(p.Waves, k.wavePlan(w, k.total.waves[i], f))
	}
	for _, b := range blockers {
		f.block(b.Code, fileWords(b), b.Remedy)
	}
	f.people(k.in, m, k.total)
	f.followUps(k.in.Playbook)
	f.script(k.in.Playbook)
	f.sort()
	return p, nil
}

// Preview renders n masked messages for customers that were counted; it is called after Plan.
func (k *Maker) Preview(n int) ([]*candorv1.PreviewMessage, error) {
	return preview(k.in, k.waves[0], n, slices.Collect(maps.Values(k.samples)))
}

// wave is a wave with its compiled texts.
type wave struct {
	name     string
	playbook *playbook.Wave
	channels []*channel
	// first is what customers hear first: the people of a plan are those whom it reaches.
	first bool
	// audience is who gets it, or may; open says that this can be told now.
	audience audience.Audience
	open     bool
	// states tells where customers stand, for an audience that asks; nil for one that does not.
	states func(page uint32, slot int) audience.States
}

// member reports whether a customer gets the wave, or may.
func (w *wave) member(p *roster.Page, slot int) bool {
	if w.audience.Everyone() {
		return true
	}
	var states audience.States
	if w.states != nil {
		states = w.states(p.Number, slot)
	}
	return w.audience.Match(&p.Customers[slot], states)
}

// channel is one channel of a wave.
type channel struct {
	channel candorv1.Channel
	terms   *playbook.Terms
	texts   map[string]*notice.Text // by offered language
	script  *script.Set             // what agents say; nil but for the telephone
}

// compile makes the texts as they would read today.
func compile(in Input) ([]*wave, error) {
	var waves []*wave
	var errs []error
	if in.Playbook.Waves[playbook.FirstNotice] == nil {
		return nil, fmt.Errorf("the playbook has no wave %s: it is the first notice", playbook.FirstNotice)
	}
	for _, name := range sendOrder(in.Playbook) {
		w, err := compileWave(in, name)
		if err != nil {
			errs = append(errs, err)
		}
		waves = append(waves, w)
	}
	return waves, joinMistakes(errs)
}

// compileWave makes the texts of one wave.
func compileWave(in Input, name string) (*wave, error) {
	pb, w := in.Playbook, in.Playbook.Waves[name]
	wv := &wave{
		name: name, playbook: w, first: name == playbook.FirstNotice,
		audience: w.Audience, open: len(w.Audience.Channels()) == 0,
	}
	var errs []error
	said, err := script.Compile(pb, in.Facts)
	if err != nil && !errors.Is(err, script.ErrNone) {
		errs = append(errs, err) // agents who are called need it too
	}
	for ch, terms := range w.Each {
		wv.channels = append(wv.channels, &channel{channel: ch, terms: terms})
	}
	for _, ch := range wv.channels {
		if ch.channel == candorv1.Channel_CHANNEL_CALL {
			if ch.script = said; errors.Is(err, script.ErrNone) {
				errs = append(errs, fmt.Errorf("wave %s calls customers: %w", name, err))
			}
			continue
		}
		ch.texts = map[string]*notice.Text{}
		for _, language := range pb.Languages.Offered {
			t, err := notice.Compile(pb, in.Facts, name, ch.channel, language)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			ch.texts[language] = t.Dated(in.Now)
		}
	}
	return wv, joinMistakes(errs)
}
