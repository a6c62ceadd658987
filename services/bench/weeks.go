package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	"candor/pkg/noticeid"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/sandbox"
)

// Weeks is an incident from the first notice to the last word: two follow-ups by the playbook's cadence, an update between
// them, a correction of it, and the end.
type Weeks struct {
	Story
	// Say tells what happens; Timeline gets what was announced, before it happens.
	Say      func(format string, args ...any)
	Timeline func(*candorv1.Timeline)
}

// Promises says how what the timeline announced compares with what the sandbox received.
type Promises struct {
	// Announced messages, one for each customer, wave and channel, and those of them that came inside their window.
	Announced int `json:"announced"`
	Kept      int `json:"kept"`
	// Broken ones, in sentences: they did not come, came twice, or came unannounced. Those Beside came once, outside their window.
	Broken []string `json:"broken"`
	Beside []string `json:"beside"`
}

// weekly is the starter's follow-up by text and e-mail, the channels of its closing note.
const weekly = "weekly"

// promise is one message that the timeline announced.
type promise struct {
	ref, name   string
	wave        string // empty until it is decided
	due         time.Time
	channel     candorv1.Channel
	from, until time.Time
}

// Live plays the incident to its end. The Play's clock decides how long that takes.
func (p *Play) Live(ctx context.Context, w Weeks) (*Verdict, *Promises, error) {
	inc, seconds, err := p.Driver.begin(ctx, w.Story, p.Sandbox)
	if err != nil {
		return nil, nil, err
	}
	l := &life{Play: p, weeks: w, id: inc.GetId(), gone: map[string]bool{}}
	if l.refs, err = references(w.Customers); err != nil {
		return nil, nil, err
	}
	for _, chapter := range []func(context.Context) error{l.betweenFollowUps, l.mistaken, l.end} {
		if err := chapter(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := l.heard(ctx); err != nil {
		return nil, nil, err
	}
	v, err := p.Driver.Verify(ctx, l.id, p.Sandbox)
	if err != nil {
		return nil, nil, err
	}
	v.took(seconds)
	kept, err := l.compare(ctx)
	return v, kept, err
}

// life is an incident while it is lived through.
type life struct {
	*Play
	weeks    Weeks
	id       string
	refs     []string
	update   string // wave of the update
	last     string // wave of the closing note
	promises []promise
	gone     map[string]bool // waves of which was said that they have gone out
}

// betweenFollowUps publishes an update between the first two follow-ups, and waits until all three were sent.
func (l *life) betweenFollowUps(ctx context.Context) error {
	tl, err := l.Driver.Timeline(ctx, l.id, "")
	if err != nil {
		return err
	}
	coming := entries(tl, candorv1.TimelineState_TIMELINE_STATE_COMING)
	if len(coming) < 2 {
		return fmt.Errorf("the timeline has %d coming messages, want two follow-ups", len(coming))
	}
	first, second := coming[0].GetDueAt().AsTime(), coming[1].GetDueAt().AsTime()
	at := first.Add(second.Sub(first) / 2).Truncate(time.Hour)
	if l.update, err = l.Driver.Publish(ctx, l.id, updateText, at); err != nil {
		return err
	}
	l.weeks.Say("\nAn update is drafted and approved for %s. This is what customers will get:", l.in(tl, at))
	if err := l.announce(ctx, second); err != nil {
		return err
	}
	return l.past(ctx, second)
}

// mistaken corrects the update a day after the second follow-up.
func (l *life) mistaken(ctx context.Context) error {
	at := l.App.Clock().Now().Add(24 * time.Hour).Truncate(time.Hour)
	if _, err := l.Driver.Publish(ctx, l.id, fmt.Sprintf(correctionText, l.update), at); err != nil {
		return err
	}
	l.weeks.Say("\nThe update had a mistake. A correction is approved, for whoever got it:")
	if err := l.announce(ctx, at); err != nil {
		return err
	}
	return l.past(ctx, at)
}

// end closes the incident. The customers whom nothing reached are named, and a second person agrees.
func (l *life) end(ctx context.Context) error {
	if err := l.Driver.End(ctx, l.id); err != nil {
		return err
	}
	l.weeks.Say("\nThe commander closes the incident, and the last word goes out.")
	err := l.await(ctx, func(inc *candorv1.Incident, tl *candorv1.Timeline) bool {
		for _, e := range tl.GetEntries() {
			if e.GetKind() == incident.KindClosingNote {
				l.last = e.GetWave()
			}
		}
		return inc.GetState() == candorv1.IncidentState_INCIDENT_STATE_CLOSED
	})
	if err != nil {
		return err
	}
	tl, err := l.Driver.Timeline(ctx, l.id, "")
	if err != nil {
		return err
	}
	l.weeks.Timeline(tl)
	return nil
}

// announce notes what the timeline says that each customer will get, of what is due until then.
func (l *life) announce(ctx context.Context, until time.Time) error {
	tl, err := l.Driver.Timeline(ctx, l.id, "")
	if err != nil {
		return err
	}
	l.weeks.Timeline(tl)
	for _, ref := range l.refs {
		tl, err := l.Driver.Timeline(ctx, l.id, ref)
		if err != nil {
			return err
		}
		for _, e := range tl.GetEntries() {
			due := e.GetDueAt().AsTime()
			switch e.GetState() {
			case candorv1.TimelineState_TIMELINE_STATE_COMING, candorv1.TimelineState_TIMELINE_STATE_RUNNING:
			default:
				continue
			}
			if due.After(until) || e.GetKind() == incident.KindFirstNotice || slices.ContainsFunc(l.promises, func(p promise) bool { return p.ref == ref && p.name == e.GetName() && p.due.Equal(due) }) {
				continue // announced before
			}
			for _, c := range e.GetChannels() {
				for _, w := range c.GetWindows() {
					l.promises = append(l.promises, promise{
						ref: ref, name: e.GetName(), wave: e.GetWave(), due: due, channel: c.GetChannel(),
						from: w.GetFrom().AsTime(), until: w.GetUntil().AsTime(),
					})
				}
			}
		}
	}
	return nil
}

// past waits until whatever is due until then was sent to everybody.
func (l *life) past(ctx context.Context, until time.Time) error {
	return l.await(ctx, func(_ *candorv1.Incident, tl *candorv1.Timeline) bool {
		open := 0
		for _, e := range tl.GetEntries() {
			// What is late stands under the present moment until it has been planned.
			if e.GetKind() == incident.KindFirstNotice || e.GetWave() == "" && e.GetDueAt().AsTime().After(until) {
				continue
			}
			if e.GetState() != candorv1.TimelineState_TIMELINE_STATE_PAST {
				open++
			} else if wave := e.GetWave(); !l.gone[wave] {
				l.gone[wave] = true
				l.weeks.Say("  %s  %s “%s” has gone out to everybody.", l.in(tl, l.App.Clock().Now()), wave, e.GetTitle())
			}
		}
		return open == 0
	})
}

func (l *life) await(ctx context.Context, done func(*candorv1.Incident, *candorv1.Timeline) bool) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		inc, err := l.Driver.Incident(ctx, l.id)
		if err != nil {
			return err
		}
		tl, err := l.Driver.Timeline(ctx, l.id, "")
		if err != nil {
			return err
		}
		if done(inc, tl) {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-l.Ended():
			return errors.Join(errors.New("the installation ended by itself"), err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// heard waits until the sandbox has told what became of every message, and all of that is counted.
func (l *life) heard(ctx context.Context) error {
	_, err := l.Driver.Await(ctx, l.id, func(st *candorv1.Status) bool {
		truth, err := l.Sandbox.Truth(ctx)
		return err == nil && truth.Receipts.Pending == 0 && st.GetReceiptsFoldedTo() == st.GetReceiptsLast()
	})
	return err
}

// in writes an instant as the incident's time zone has it.
func (l *life) in(tl *candorv1.Timeline, at time.Time) string {
	zone, err := time.LoadLocation(tl.GetTimeZone())
	if err != nil {
		zone = time.UTC
	}
	return at.In(zone).Format("Mon 2 Jan 15:04")
}

// compare holds what was announced against what the sandbox took.
func (l *life) compare(ctx context.Context) (*Promises, error) {
	tl, err := l.Driver.Timeline(ctx, l.id, "")
	if err != nil {
		return nil, err
	}
	for i := range l.promises {
		p := &l.promises[i]
		for _, e := range tl.GetEntries() {
			if p.wave == "" && e.GetName() == p.name && e.GetDueAt().AsTime().Equal(p.due) {
				p.wave = e.GetWave()
			}
		}
	}
	taken, said, err := l.taken(ctx)
	if err != nil {
		return nil, err
	}
	kept := &Promises{Announced: len(l.promises)}
	broken := func(format string, args ...any) { kept.Broken = append(kept.Broken, fmt.Sprintf(format, args...)) }
	for _, p := range l.promises {
		if p.channel == candorv1.Channel_CHANNEL_CALL {
			kept.Announced-- // the sandbox has no telephone
			continue
		}
		k := message{p.ref, p.wave, p.channel}
		at := taken[k]
		delete(taken, k)
		switch what := fmt.Sprintf("%s of wave %s for %s", topology.ChannelToken(p.channel), p.wave, p.ref); {
		case len(at) == 0:
			broken("%s did not come, and Candor calls it %s", what, cmp.Or(said[k], "nothing"))
		case len(at) > 1:
			broken("%s came %d times", what, len(at))
		case at[0].Before(p.from) || at[0].After(p.until):
			kept.Beside = append(kept.Beside, fmt.Sprintf("%s came at %s, announced was %s to %s", what,
				at[0].UTC().Format(time.DateTime), p.from.UTC().Format(time.DateTime), p.until.UTC().Format(time.DateTime)))
		default:
			kept.Kept++
		}
	}
	// The last word follows at once, so nobody could announce it: it is for whoever got the follow-ups.
	ended := map[message]bool{}
	for _, p := range l.promises {
		if k := (message{p.ref, l.last, p.channel}); p.name == weekly && !ended[k] {
			ended[k] = true
			if n := len(taken[k]); n != 1 {
				broken("the last word came %d times to %s by %s", n, p.ref, topology.ChannelToken(p.channel))
			}
			delete(taken, k)
		}
	}
	for k := range taken {
		broken("%s of wave %s for %s came unannounced", topology.ChannelToken(k.channel), k.wave, k.ref)
	}
	slices.Sort(kept.Broken)
	return kept, nil
}

// message is what one customer gets of a wave on a channel.
type message struct {
	ref, wave string
	channel   candorv1.Channel
}

// taken tells when the sandbox took each message that is no first notice, and what Candor says of each.
func (l *life) taken(ctx context.Context) (taken map[message][]time.Time, said map[message]string, err error) {
	by := map[string]message{}
	said = map[message]string{}
	codec := noticeid.New(nil) // the part of an id that names the notice needs no key
	for token := ""; ; {
		res, err := l.Driver.ledger().ListNotices(ctx, connect.NewRequest(&candorv1.ListNoticesRequest{Incident: l.id, Limit: 10_000, PageToken: token}))
		if err != nil {
			return nil, nil, fmt.Errorf("list notices: %w", err)
		}
		for _, n := range res.Msg.GetNotices() {
			k := n.GetKey()
			said[message{n.GetCustomerRef(), k.GetWave(), k.GetChannel()}] = candorv1.Word(n.GetState()) + " " + n.GetReason()
			by[codec.Notice(noticeid.Key{Incident: l.id, Wave: k.GetWave(), Channel: k.GetChannel(), Page: k.GetPage(), Slot: k.GetSlot()})] = message{n.GetCustomerRef(), k.GetWave(), k.GetChannel()}
		}
		if token = res.Msg.GetNextPageToken(); token == "" {
			break
		}
	}
	taken = map[message][]time.Time{}
	for _, ch := range []string{"sms", "email"} {
		err := l.Sandbox.Notices(ctx, ch, "", func(a sandbox.Attempt) error {
			m, known := by[string(a.Notice)]
			if !known || m.wave == "w0" || a.Accepted == 0 {
				return nil
			}
			for range a.Accepted {
				taken[m] = append(taken[m], a.At)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return taken, said, nil
}

// entries are those of a timeline in a state.
func entries(tl *candorv1.Timeline, state candorv1.TimelineState) (in []*candorv1.TimelineEntry) {
	for _, e := range tl.GetEntries() {
		if e.GetState() == state {
			in = append(in, e)
		}
	}
	return in
}

// references lists the customers of a roster by the company's own name for them.
func references(customers int) (refs []string, err error) {
	r, err := Customers(customers)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	rows := csv.NewReader(bytes.NewReader(text))
	rows.FieldsPerRecord = -1
	all, err := rows.ReadAll()
	if err != nil || len(all) < 2 {
		return nil, fmt.Errorf("roster of %d lines: %w", len(all), err)
	}
	column := slices.Index(all[0], "customer_ref")
	if column < 0 {
		return nil, errors.New("the roster has no column customer_ref")
	}
	for _, row := range all[1:] {
		if column < len(row) && !slices.Contains(refs, row[column]) {
			refs = append(refs, row[column])
		}
	}
	return refs, nil
}

const updateText = `---
title: The copied files are older than we said
sms:
  en: "{{organisation.short_name}}: news on your stolen data. The files are from 2024, not 2026. Details: {{organisation.page}}. Code {{code}}."
  es: "{{organisation.short_name}}: novedades sobre sus datos. Los archivos son de 2024, no de 2026. Lea {{organisation.page}}. Codigo {{code}}."
email:
  en: "{{organisation.short_name}}: the copied files are older than we said"
  es: "{{organisation.short_name}}: los archivos copiados son de antes"
---
<!-- en -->
We said that the copied files were from this year. They are from 2024. If you moved since then, the thief has your old address.

You do not need to do anything new. Your code is {{code}}. Call us at {{organisation.phone}}.

We are sorry.
<!-- es -->
Le dijimos que los archivos eran de este año. Son de 2024. Si se ha mudado, el ladrón tiene su dirección anterior.

No tiene que hacer nada nuevo. Su código es {{code}}. Llámenos al {{organisation.phone}}.

Le pedimos disculpas.
`

const correctionText = `---
title: The files are from 2023 and 2024
corrects: %s
sms:
  en: "{{organisation.short_name}}: we made a mistake. The stolen files are from 2023 and 2024. We are sorry. Details: {{organisation.page}}. Code {{code}}."
  es: "{{organisation.short_name}}: nos equivocamos. Los archivos son de 2023 y 2024. Le pedimos disculpas. Lea {{organisation.page}}. Codigo {{code}}."
email:
  en: "{{organisation.short_name}}: we made a mistake in our last message"
  es: "{{organisation.short_name}}: un error en nuestro mensaje anterior"
---
<!-- en -->
In our last message we wrote that the copied files were from 2024. That was not right: some are from 2023.

You do not need to do anything new. Your code is {{code}}. Call us at {{organisation.phone}}.

We are sorry for this mistake.
<!-- es -->
En nuestro mensaje anterior le dijimos que los archivos eran de 2024. No era exacto: algunos son de 2023.

No tiene que hacer nada nuevo. Su código es {{code}}. Llámenos al {{organisation.phone}}.

Le pedimos disculpas por este error.
`
