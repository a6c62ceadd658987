package planner

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"candor/pkg/audience"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

// jobs makes the orders of a wave: every page of the roster on every channel of the wave, those hit hardest first.
func (p *Planner) jobs(ctx context.Context, inc *incident.Incident, wave string) ([]job, error) {
	d := inc.Draft
	manifest, err := p.pages.Manifest(ctx, d.GetManifest())
	if err != nil {
		return nil, err
	}
	set, err := p.texts.Set(inc.PlanHash(), d.GetDeclaration())
	if err != nil {
		return nil, err
	}
	w := set.Playbook.Waves[wave]
	if w == nil {
		return nil, fmt.Errorf("the playbook has no wave %s", wave)
	}
	var jobs []job
	for _, page := range byUrgency(manifest.GetPages()) {
		members, all, err := p.members(ctx, inc.ID, page, w.Audience)
		if err != nil {
			return nil, err
		}
		if len(members) == 0 && !all {
			continue // nobody on this page belongs to the wave
		}
		zone, err := time.LoadLocation(page.GetTimeZone())
		if err != nil {
			return nil, fmt.Errorf("time zone of page %d: %w", page.GetNumber(), err)
		}
		for ch, quiet := range channelsOf(w) {
			text, err := set.Text(wave, ch, page.GetLanguage())
			if err != nil {
				return nil, err
			}
			j := newJob(inc, wave, ch, page, text, journal.Runs(members))
			if now := p.now(); !quiet.Open(now, zone) {
				if due, ok := quiet.Next(now, zone); ok {
					j.due = due
				}
			}
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// channelsOf yields the channels of a wave with their open hours, always in the same order.
func channelsOf(w *playbook.Wave) func(yield func(candorv1.Channel, window.Rule) bool) {
	return func(yield func(candorv1.Channel, window.Rule) bool) {
		if c := w.Channels.SMS; c != nil && !yield(candorv1.Channel_CHANNEL_SMS, c.Quiet()) {
			return
		}
		if c := w.Channels.Email; c != nil {
			yield(candorv1.Channel_CHANNEL_EMAIL, c.Quiet())
		}
	}
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

func newJob(inc *incident.Incident, wave string, ch candorv1.Channel, page *candorv1.RosterPageInfo, text *notice.Text, members []uint32) job {
	hash := text.Hash()
	return job{
		key: journal.Key{Channel: ch, Incident: inc.ID, Wave: wave, Page: page.GetNumber()},
		opened: &candorv1.Opened{
			PlanHash: inc.PlanHash(), PageSha256: bytes.Clone(page.GetSealedSha256()), TextHash: hash[:],
			Slots: page.GetCustomers(), Audience: members,
		},
		order: &candorv1.Order{
			Incident: inc.ID, Wave: wave, Channel: ch, Page: page.GetNumber(), Lane: topology.LaneFirst, PlanHash: inc.PlanHash(),
		},
	}
}

// members are the slots of a page that belong to the wave's audience; all is true, and no page is opened, for everyone.
func (p *Planner) members(ctx context.Context, id string, page *candorv1.RosterPageInfo, who audience.Audience) (slots []uint32, all bool, err error) {
	if who.Everyone() {
		return nil, true, nil
	}
	if asks := who.Channels(); len(asks) > 0 {
		return nil, false, fmt.Errorf("the wave's audience asks for the state of notices, of which there are none yet: %s", who)
	}
	opened, err := p.pages.OpenPage(ctx, id, page.GetNumber(), page.GetSealedSha256())
	if err != nil {
		return nil, false, err
	}
	for n := range opened.Customers {
		if who.Match(&opened.Customers[n], nil) {
			slots = append(slots, uint32(n))
		}
	}
	return slots, len(slots) == len(opened.Customers), nil
}
