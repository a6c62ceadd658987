package planner

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"candor/pkg/audience"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// firstWave is the one that follows an approval at once.
const firstWave = "w0"

// job is one page on one channel, for some of the page's customers or all.
type job struct {
	key    journal.Key
	opened *candorv1.Opened
	order  *candorv1.Order
	// due is when the page's quiet hours end; zero if they have.
	due time.Time
	// admits is why customers are added who are not in an open journal yet; empty if the journal must have them all.
	admits string
	// whole says that nobody else belongs to the journal.
	whole bool
}

// notices counts the customers of the job.
func (j *job) notices() int { return len(slotsOf(j.opened)) }

// slotsOf lists the customers whom a journal is, or would be, opened for.
func slotsOf(o *candorv1.Opened) []uint32 {
	runs := o.GetAudience()
	if len(runs) == 0 {
		runs = []uint32{0, o.GetSlots()}
	}
	return journal.Slots(runs)
}

// jobs makes the orders with which a wave begins, those hit hardest first: every page of the roster on every channel that
// is no later step of the ladder or, for an addition, the pages and channels that it names.
func (p *Planner) jobs(ctx context.Context, inc *incident.Incident, wave string) ([]job, error) {
	b, err := p.blueprint(ctx, inc, wave)
	if err != nil {
		return nil, err
	}
	who := b.chosen
	if a := inc.Additions[wave]; a != nil {
		who = named(a.GetAddition().GetPeople())
	}
	var jobs []job
	for _, page := range byUrgency(b.manifest.GetPages()) {
		members, err := who(ctx, page)
		if err != nil {
			return nil, err
		}
		if members == nil {
			continue // nobody on this page belongs to the wave
		}
		for _, ch := range b.begins {
			j, err := b.job(ch, page, journal.Runs(members))
			if err != nil {
				return nil, err
			}
			j.whole = true
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// blueprint is what the jobs of a wave are made from.
type blueprint struct {
	*Planner
	inc      *incident.Incident
	wave     string
	base     *playbook.Wave
	manifest *candorv1.RosterManifest
	set      *notice.Set
	// begins are the channels with which the wave begins; steps of the ladder come later.
	begins []candorv1.Channel
}

func (p *Planner) blueprint(ctx context.Context, inc *incident.Incident, wave string) (*blueprint, error) {
	manifest, err := p.pages.Manifest(ctx, inc.Draft.GetManifest())
	if err != nil {
		return nil, err
	}
	b := &blueprint{Planner: p, inc: inc, wave: wave, manifest: manifest}
	if b.set, err = p.texts.Set(inc.PlanHash(), inc.Draft.GetDeclaration()); err != nil {
		return nil, err
	}
	if b.base = b.set.Playbook.Waves[inc.BaseOf(wave)]; b.base == nil {
		return nil, fmt.Errorf("the playbook has no wave %s", inc.BaseOf(wave))
	}
	a := inc.Additions[wave]
	if a == nil {
		for ch, terms := range b.base.Each {
			if !terms.Step() {
				b.begins = append(b.begins, ch)
			}
		}
		return b, nil
	}
	b.begins = a.GetAddition().GetChannels()
	for _, ch := range b.begins {
		if b.base.Terms(ch) == nil {
			return nil, fmt.Errorf("addition %s asks for %s, which its wave %s does not have", wave, topology.ChannelToken(ch), inc.BaseOf(wave))
		}
	}
	return b, nil
}

// byUrgency orders pages by tier, and keeps those that share zone and language together.
func byUrgency(pages []*candorv1.RosterPageInfo) []*candorv1.RosterPageInfo {
	sorted := slices.Clone(pages)
	slices.SortFunc(sorted, func(a, b *candorv1.RosterPageInfo) int {
		return cmp.Or(
			cmp.Compare(a.GetTier(), b.GetTier()), cmp.Compare(a.GetTimeZone(), b.GetTimeZone()),
			cmp.Compare(a.GetLanguage(), b.GetLanguage()), cmp.Compare(a.GetNumber(), b.GetNumber()),
		)
	})
	return sorted
}

// job makes the job of one page on one channel for some of its customers, as pairs (first, count); none means all.
func (b *blueprint) job(ch candorv1.Channel, page *candorv1.RosterPageInfo, members []uint32) (job, error) {
	hash, err := b.words(ch, page.GetLanguage())
	if err != nil {
		return job{}, err
	}
	zone, err := time.LoadLocation(page.GetTimeZone())
	if err != nil {
		return job{}, fmt.Errorf("time zone of page %d: %w", page.GetNumber(), err)
	}
	key := journal.Key{Channel: ch, Incident: b.inc.ID, Wave: b.wave, Page: page.GetNumber()}
	j := job{
		key: key, order: orderOf(b.inc, key),
		opened: &candorv1.Opened{
			PlanHash: b.inc.HashOf(b.wave), PageSha256: bytes.Clone(page.GetSealedSha256()), TextHash: hash[:],
			Slots: page.GetCustomers(), Audience: members,
		},
	}
	quiet := b.base.Terms(ch).Quiet()
	if now := b.now(); !quiet.Open(now, zone) {
		if due, ok := quiet.Next(now, zone); ok {
			j.due = due
		}
	}
	return j, nil
}

// words returns the hash of what a page's customers read, or hear from an agent.
func (b *blueprint) words(ch candorv1.Channel, language string) (hash [sha256.Size]byte, err error) {
	if ch == candorv1.Channel_CHANNEL_CALL {
		set, err := b.scripts.Set(b.inc.PlanHash(), b.set.Playbook, b.set.Facts)
		if err != nil {
			return hash, err
		}
		return set.Hash(language), nil
	}
	text, err := b.set.Text(b.inc.BaseOf(b.wave), ch, language)
	if err != nil {
		return hash, err
	}
	return text.Hash(), nil
}

// chosen are the slots of a page that belong to the wave's audience: nil for nobody, and empty for everyone, for whom no
// page is opened.
func (b *blueprint) chosen(ctx context.Context, page *candorv1.RosterPageInfo) ([]uint32, error) {
	who := b.base.Audience
	if who.Everyone() {
		return []uint32{}, nil
	}
	if asks := who.Channels(); len(asks) > 0 {
		return nil, fmt.Errorf("the wave's audience asks for the state of notices, of which there are none yet: %s", who)
	}
	return b.match(ctx, who, page)
}

func (b *blueprint) match(ctx context.Context, who audience.Audience, page *candorv1.RosterPageInfo) (slots []uint32, err error) {
	opened, err := b.pages.OpenPage(ctx, b.inc.ID, page.GetNumber(), page.GetSealedSha256())
	if err != nil {
		return nil, err
	}
	for n := range opened.Customers {
		if who.Match(&opened.Customers[n], nil) {
			slots = append(slots, uint32(n))
		}
	}
	return slots, nil
}

// named are the slots of a page that are listed one by one.
func named(people []*candorv1.PageSlots) func(context.Context, *candorv1.RosterPageInfo) ([]uint32, error) {
	byPage := map[uint32][]uint32{}
	for _, on := range people {
		byPage[on.GetPage()] = append(byPage[on.GetPage()], on.GetSlots()...)
	}
	return func(_ context.Context, page *candorv1.RosterPageInfo) ([]uint32, error) {
		return unpack(byPage[page.GetNumber()], page)
	}
}

// unpack lists slots in order, each once, and refuses those that the page does not have; nil for none.
func unpack(runs []uint32, page *candorv1.RosterPageInfo) ([]uint32, error) {
	for i := 0; i < len(runs); i += 2 {
		if i+1 == len(runs) || uint64(runs[i])+uint64(runs[i+1]) > uint64(page.GetCustomers()) {
			return nil, fmt.Errorf("slots %v lie outside page %d of %d customers", runs, page.GetNumber(), page.GetCustomers())
		}
	}
	slots := journal.Slots(runs)
	slices.Sort(slots)
	if slots = slices.Compact(slots); len(slots) == 0 {
		return nil, nil
	}
	return slots, nil
}
