package api

import (
	"cmp"
	"context"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/audience"
	"candor/pkg/incident"
	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/timetable"
	candorv1 "candor/proto/candor/v1"
)

const (
	updateName = "update" // of the file, in its mistakes
	// justPast is how old an hour may be that somebody names: it takes them a moment to say so.
	justPast = time.Minute
	// previewsMost is how many messages an update is shown by.
	previewsMost = 50
)

// update drafts news for customers, or a correction of what they were told.
//
// A crash leaves either nothing or the draft; asking again finds the one that waits.
func (a *API) update(ctx context.Context, q *candorv1.UpdateRequest) (*candorv1.UpdateResponse, error) {
	inc, err := a.load(ctx, q.GetIncident())
	if err != nil {
		return nil, err
	}
	add, err := a.news(inc, q)
	if err != nil {
		return nil, err
	}
	count, err := a.countNews(ctx, inc, add)
	if err != nil {
		return nil, err
	}
	add.Customers, add.Plan = count.Customers, count.Wave
	preview, err := count.Preview(previewsMost)
	if err != nil {
		return nil, err
	}
	resp := &candorv1.UpdateResponse{Preview: fewOfEach(preview)}
	if add.GetCorrects() != "" {
		if resp.WaitsFor, err = a.unread(ctx, inc, add.GetCorrects()); err != nil {
			return nil, err
		}
	}
	wave := ""
	inc, err = a.change(ctx, inc.ID, func(inc *incident.Incident) (*candorv1.BreachEvent, error) {
		if err := running(inc, "added to"); err != nil {
			return nil, err
		}
		if wave = waiting(inc, add); wave != "" {
			return nil, nil // drafted already
		}
		add.Wave = inc.NextWave()
		add.Plan.Wave = add.GetWave()
		e, err := drafting(inc, add, "write a shorter file")
		if err != nil || q.GetDryRun() {
			return nil, err
		}
		wave = add.GetWave()
		return e, nil
	})
	if err != nil {
		return nil, err
	}
	if q.GetDryRun() {
		add.Wave, add.Plan.Wave = "", ""
		resp.Addition = &candorv1.AdditionStatus{Addition: add}
		return resp, nil
	}
	resp.Addition = additionStatus(inc, wave)
	a.Log.Info().Str("incident", inc.ID).Str("wave", wave).Str("kind", add.GetKind()).Uint64("customers", add.GetCustomers()).Msg("update drafted")
	return resp, nil
}

// unread names the wave that a correction of a wave would wait for now; empty if it would not wait.
func (a *API) unread(ctx context.Context, inc *incident.Incident, corrects string) (string, error) {
	t, err := a.timetable(inc)
	if err != nil {
		return "", err
	}
	status, err := a.status(ctx, inc.ID)
	if err != nil {
		return "", err
	}
	return t.Unread(corrects, timetable.StandingOf(status)), nil
}

// fewOfEach keeps one message of each channel and language.
func fewOfEach(all []*candorv1.PreviewMessage) (few []*candorv1.PreviewMessage) {
	type kind struct {
		channel  candorv1.Channel
		language string
	}
	seen := map[kind]bool{}
	for _, m := range all {
		if k := (kind{m.GetChannel(), m.GetLanguage()}); !seen[k] {
			seen[k] = true
			few = append(few, m)
		}
	}
	return few
}

// news reads what is asked for, and refuses what makes no sense as things stand.
func (a *API) news(inc *incident.Incident, q *candorv1.UpdateRequest) (*candorv1.Addition, error) {
	if err := running(inc, "added to"); err != nil {
		return nil, err
	}
	set, err := a.texts.Plan(inc)
	if err != nil {
		return nil, err
	}
	u, err := playbook.ParseUpdate(updateName, []byte(q.GetText()), set.Playbook)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	add := &candorv1.Addition{
		Wave: inc.NextWave(), Kind: incident.KindUpdate, Text: q.GetText(), At: q.GetAt(), WithNext: q.GetWithNext(), Corrects: u.Corrects,
	}
	if u.Corrects != "" {
		add.Kind = incident.KindCorrection
		switch {
		case inc.KindOf(u.Corrects) == "":
			return nil, refuse(connect.CodeInvalidArgument, "there is no wave %s to correct: candor timeline %s lists what was sent", u.Corrects, inc.ID)
		case inc.Waves[u.Corrects] == nil:
			return nil, refuse(connect.CodeFailedPrecondition, "wave %s has not gone out, so that there is nothing to correct: reject it while it waits for its approval, or correct it when it has gone out", u.Corrects)
		}
	}
	to, err := audienceOf(q, u)
	if err != nil {
		return nil, err
	}
	add.Audience = to.String()
	for ch := range u.Wave.Each {
		add.Channels = append(add.Channels, ch)
	}
	return add, a.hourOf(inc, set.Playbook, add)
}

// audienceOf is whom the request names, else the file, else everybody who was told.
func audienceOf(q *candorv1.UpdateRequest, u *playbook.Update) (audience.Audience, error) {
	switch {
	case q.GetAudience() != "":
		to, err := audience.Parse(q.GetAudience())
		if err != nil {
			return to, refuse(connect.CodeInvalidArgument, "the audience cannot be read, %w", err)
		}
		return to, nil
	case u.Audience != nil:
		return *u.Audience, nil
	}
	return audience.Told(), nil
}

// hourOf refuses an hour that cannot come.
func (a *API) hourOf(inc *incident.Incident, pb *playbook.Playbook, add *candorv1.Addition) error {
	at, now := add.GetAt().AsTime(), a.Clock.Now()
	switch {
	case add.GetAt() != nil && add.GetWithNext():
		return refuse(connect.CodeInvalidArgument, "an update goes out at an hour, or in place of the next follow-up: name one of the two")
	case add.GetAt() != nil && now.Sub(at) > justPast:
		return refuse(connect.CodeInvalidArgument, "%s is past: name an hour that comes, or none to send it once it is approved", at.In(clockOf(pb)).Format("Mon 2 Jan 2006 15:04 MST"))
	case add.GetWithNext() && pb.FollowUps == nil:
		return refuse(connect.CodeFailedPrecondition, "the playbook of incident %s has no follow-ups, so that there is no next one: name an hour, or none", inc.ID)
	case add.GetWithNext() && len(inc.Asks()) == 0:
		if _, more := pb.FollowUps.Times().Next(inc.DeclaredAt, now); !more {
			return refuse(connect.CodeFailedPrecondition, "the last follow-up of incident %s has gone out, so that there is no next one: name an hour, or none", inc.ID)
		}
	}
	return nil
}

// clockOf is the clock by which people speak of the hours of an incident.
func clockOf(pb *playbook.Playbook) *time.Location {
	name := pb.TimeZone
	if pb.FollowUps != nil {
		name = cmp.Or(pb.FollowUps.TimeZone, name)
	}
	if zone, err := time.LoadLocation(name); err == nil {
		return zone
	}
	return time.UTC
}

// countNews says whom an update is for and what it comes to, as things stand now.
func (a *API) countNews(ctx context.Context, inc *incident.Incident, add *candorv1.Addition) (*plan.Count, error) {
	to, err := audience.Parse(add.GetAudience())
	if err != nil {
		return nil, err
	}
	set, err := a.texts.Plan(inc)
	if err != nil {
		return nil, err
	}
	if set, err = set.With(add.GetWave(), add.GetText()); err != nil {
		return nil, err
	}
	in := plan.Input{Incident: inc.ID, Hash: inc.PlanHash(), Playbook: set.Playbook, Facts: set.Facts, Webhook: a.cfg.Webhook, Now: a.Clock.Now()}
	if add.GetAt() != nil {
		in.Now = add.GetAt().AsTime()
	}
	added := plan.Added{Wave: add.GetWave(), Audience: to}
	if len(to.Channels()) > 0 {
		where, err := a.people(ctx, inc, add.GetCorrects())
		if err != nil {
			return nil, err
		}
		added.States = where.Of
	}
	m, err := a.everybody(ctx, inc)
	if err != nil {
		return nil, err
	}
	count, err := plan.Wave(ctx, in, added, a.loads(inc.ID, m))
	if len(playbook.Mistakes(err)) > 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if err != nil {
		return nil, err
	}
	if len(count.Blockers) > 0 {
		return nil, refuse(connect.CodeFailedPrecondition, "this cannot be sent to customers of incident %s: %s", inc.ID, findingWords(count.Blockers))
	}
	return count, nil
}

// timetable is the incident's, as whoever decides about what is due reads it.
func (a *API) timetable(inc *incident.Incident) (timetable.Timetable, error) {
	set, err := a.texts.Plan(inc)
	if err != nil {
		return timetable.Timetable{}, err
	}
	return timetable.New(inc, set.Playbook.FollowUps, a.Clock), nil
}
