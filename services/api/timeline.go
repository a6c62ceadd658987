package api

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"candor/pkg/audience"
	"candor/pkg/finder"
	"candor/pkg/incident"
	"candor/pkg/roster"
	"candor/pkg/timeline"
	"candor/pkg/timetable"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

const timelineAhead = 30 * 24 * time.Hour

// getTimeline says what customers got and will get. Whoever asks about one of them may find customers.
func (a *API) getTimeline(ctx context.Context, q *candorv1.GetTimelineRequest) (*candorv1.GetTimelineResponse, error) {
	if who, _ := token.FromContext(ctx); q.GetCustomer() != "" && !who.Allows(token.Find) {
		return nil, refuse(connect.CodePermissionDenied, "the token of %s has the roles %s, and this needs one that may %s: leave the customer out, or ask somebody who has it",
			who.Name, roleNames(who.Roles), token.Find)
	}
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	in := timeline.Input{Incident: inc, Now: a.Clock.Now(), Clock: a.Clock, Slack: max(a.cfg.Slack, a.Clock.Work(timetable.Delay))}
	if in.Until = in.Now.Add(timelineAhead); q.GetUntil() != nil {
		in.Until = q.GetUntil().AsTime()
	}
	if in.Plan, err = a.texts.Plan(inc); err != nil {
		return nil, err
	}
	if !inc.DeclaredAt.IsZero() {
		if in.Status, err = a.status(ctx, inc.ID); err != nil {
			return nil, err
		}
		m, err := a.everybody(ctx, inc)
		if err != nil {
			return nil, err
		}
		in.Zones = zonesOf(m)
	}
	b, err := timeline.New(in)
	switch {
	case err != nil:
		return nil, err
	case q.GetCustomer() != "":
		err = a.timelineOf(ctx, inc, in, b, q.GetCustomer())
	case b.Counts():
		err = a.countComing(ctx, inc, b)
	}
	if err != nil {
		return nil, err
	}
	return &candorv1.GetTimelineResponse{Timeline: b.Timeline()}, nil
}

func zonesOf(m *candorv1.RosterManifest) (zones []string) {
	for _, p := range m.GetPages() {
		if !slices.Contains(zones, p.GetTimeZone()) {
			zones = append(zones, p.GetTimeZone())
		}
	}
	return zones
}

// timelineOf makes a timeline that of one customer, from the journals of their page alone.
func (a *API) timelineOf(ctx context.Context, inc *incident.Incident, in timeline.Input, b *timeline.Builder, customer string) error {
	if inc.State == candorv1.IncidentState_INCIDENT_STATE_SHREDDED {
		return refuse(connect.CodeFailedPrecondition, "incident %s was shredded: its customers cannot be found any more", inc.ID)
	}
	found, err := a.finder.Find(ctx, rosterOf(inc), finder.Terms(customer, in.Plan.Playbook.Country), foundMost)
	switch {
	case errors.Is(err, finder.ErrTooMany) || len(found) > 1:
		return refuse(connect.CodeInvalidArgument, "several customers of incident %s share that: ask about one of them by code or customer_ref", inc.ID)
	case err != nil:
		return err
	case len(found) == 0:
		return refuse(connect.CodeNotFound, "no customer of incident %s has that: name a phone number, an e-mail address, a code or a customer_ref", inc.ID)
	}
	f := found[0]
	story, err := a.story(ctx, inc, f)
	if err != nil {
		return err
	}
	a.Log.Info().Str("by", caller(ctx).Token).Int("customers", 1).Msg("customers looked up")
	return b.For(f.Page, f.Slot, story.GetNotices(), a.barred)
}

// barred says that a customer asked for no more messages on a channel.
func (a *API) barred(ch candorv1.Channel, c *roster.Customer) bool {
	switch ch {
	case candorv1.Channel_CHANNEL_EMAIL:
		return a.Suppressions.Has(ch, c.Email)
	case candorv1.Channel_CHANNEL_SMS:
		return a.Suppressions.Has(ch, c.TextPhone())
	}
	for _, p := range c.Phones {
		if !a.Suppressions.Has(ch, p) {
			return false
		}
	}
	return true
}

// countComing counts who gets what comes, page by page on all cores.
func (a *API) countComing(ctx context.Context, inc *incident.Incident, b *timeline.Builder) error {
	where := map[string]audience.People{}
	for _, wave := range append(b.Told(), "") {
		if where[wave] != nil {
			continue
		}
		var err error
		if where[wave], err = a.people(ctx, inc, wave); err != nil {
			return err
		}
	}
	asked := func(wave string, page uint32, slot int) audience.States { return where[wave].Of(page, slot) }
	m, err := a.everybody(ctx, inc)
	if err != nil {
		return err
	}
	var next atomic.Int64
	var adding sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			c := b.Counter(asked, a.barred)
			for {
				n := int(next.Add(1)) - 1
				if n >= len(m.GetPages()) {
					break
				}
				info := m.GetPages()[n]
				page, err := a.pages.OpenPage(ctx, inc.ID, info.GetNumber(), info.GetSealedSha256())
				if err != nil {
					return err
				}
				c.Page(page)
			}
			adding.Lock()
			defer adding.Unlock()
			b.Add(c)
			return nil
		})
	}
	return g.Wait()
}
