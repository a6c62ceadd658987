package planner

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

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
	// named says that the ledger named the customers, as they stood at that moment.
	named bool
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

// jobs makes the orders with which a wave begins, those hit hardest first: each of its pages with somebody who belongs to it,
// on every channel that is no later step of the ladder.
func (p *Planner) jobs(ctx context.Context, inc *incident.Incident, wave string) ([]job, error) {
	b, err := p.blueprint(ctx, inc, wave)
	if err != nil {
		return nil, err
	}
	who, asked, err := b.who(ctx)
	if err != nil {
		return nil, err
	}
	var jobs []job
	for _, page := range byUrgency(b.pages) {
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
			j.whole, j.named = true, asked
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// blueprint is what the jobs of a wave are made from.
type blueprint struct {
	*Planner
	inc  *incident.Incident
	wave string
	base *playbook.Wave
	name string // of base in set
	// pages are those on which the wave's people may be.
	pages []*candorv1.RosterPageInfo
	set   *notice.Set
	// begins are the channels with which the wave begins, always in the same order; steps of the ladder come later.
	begins []candorv1.Channel
}

func (p *Planner) blueprint(ctx context.Context, inc *incident.Incident, wave string) (*blueprint, error) {
	pages, err := p.pagesOf(ctx, inc, wave)
	if err != nil {
		return nil, err
	}
	b := &blueprint{Planner: p, inc: inc, wave: wave, pages: pages}
	if b.set, b.name, err = p.texts.Of(inc, wave); err != nil {
		return nil, err
	}
	if b.base = b.set.Playbook.Waves[b.name]; b.base == nil {
		return nil, fmt.Errorf("the playbook has no wave %s", b.name)
	}
	if inc.KindOf(wave) != incident.KindResend {
		for ch, terms := range b.base.Each {
			if !terms.Step() {
				b.begins = append(b.begins, ch)
			}
		}
		return b, nil
	}
	b.begins = inc.Additions[wave].GetAddition().GetChannels()
	for _, ch := range b.begins {
		if b.base.Terms(ch) == nil {
			return nil, fmt.Errorf("addition %s asks for %s, which its wave %s does not have", wave, topology.ChannelToken(ch), b.name)
		}
	}
	return b, nil
}

// pagesOf lists the pages on which a wave's people may be: the first notice has those of the roster, added rows have their
// own, and everything later has all that are on file.
func (p *Planner) pagesOf(ctx context.Context, inc *incident.Incident, wave string) (pages []*candorv1.RosterPageInfo, err error) {
	manifests := inc.Manifests()
	switch inc.KindOf(wave) {
	case incident.KindFirstNotice:
		manifests = []string{inc.Draft.GetManifest()}
	case incident.KindRoster:
		manifests = []string{inc.Additions[wave].GetAddition().GetManifest()}
	}
	for _, subject := range manifests {
		m, err := p.pages.Manifest(ctx, subject)
		if err != nil {
			return nil, err
		}
		pages = append(pages, m.GetPages()...)
	}
	return pages, nil
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
		plan, err := b.texts.Plan(b.inc) // agents have one script, whatever the wave
		if err != nil {
			return hash, err
		}
		set, err := b.scripts.Set(b.inc.PlanHash(), plan.Playbook, plan.Facts)
		if err != nil {
			return hash, err
		}
		return set.Hash(language), nil
	}
	text, err := b.set.Text(b.name, ch, language)
	if err != nil {
		return hash, err
	}
	return text.Hash(), nil
}
