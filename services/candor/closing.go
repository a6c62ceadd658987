package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/incident"
	candorv1 "candor/proto/candor/v1"
)

// awaitClosed waits until an incident that is closing is closed, and shows how far its last word is.
func (c *cli) awaitClosed(ctx context.Context, s *client, inc *candorv1.Incident, quiet bool) (*candorv1.Incident, error) {
	name := inc.GetId()
	v := c.closingView(quiet)
	defer v.close()
	note := ""
	var silentSince time.Time
	for inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_CLOSED {
		now, err := s.closing(ctx, name, &note, v)
		switch {
		case ctx.Err() != nil:
			return nil, c.leftClosing(name)
		case err == nil && now.GetState() == candorv1.IncidentState_INCIDENT_STATE_CLOSED:
			inc = now
			continue
		case err == nil && now.GetState() != candorv1.IncidentState_INCIDENT_STATE_CLOSING:
			return nil, refusal(fmt.Sprintf("%s is %s: it closes no more", name, candorv1.Word(now.GetState())), "candor status "+name+" shows where it stands")
		case err == nil:
			silentSince = time.Time{}
		case exitOf(err) != exitUnreachable:
			return nil, err
		case silentSince.IsZero():
			silentSince = c.now()
		case c.now().Sub(silentSince) > retryAtMost:
			return nil, err
		}
		select {
		case <-time.After(s.retry):
		case <-v.left():
			return nil, c.leftClosing(name)
		case <-ctx.Done():
			return nil, c.leftClosing(name)
		}
	}
	return inc, nil
}

func (c *cli) leftClosing(name string) error {
	c.err.line("You left; it goes on closing. candor close " + name + " follows it again.")
	return &failure{code: exitIncomplete}
}

// closing looks once, and shows what it sees. The wave of the closing note is looked for until it is known.
func (s *client) closing(ctx context.Context, name string, note *string, v closingView) (*candorv1.Incident, error) {
	inc, err := s.incident(ctx, name)
	if err != nil || inc.GetState() != candorv1.IncidentState_INCIDENT_STATE_CLOSING {
		return inc, err
	}
	if *note == "" {
		resp, err := s.GetTimeline(ctx, connect.NewRequest(&candorv1.GetTimelineRequest{Incident: name}))
		if err != nil {
			return nil, err
		}
		*note = closingNote(resp.Msg.GetTimeline())
	}
	st, err := s.status(ctx, name)
	if err != nil {
		return nil, err
	}
	v.show(closingProgress(st, *note))
	return inc, nil
}

// closingNote is the wave of the closing note that is under way; empty as long as there is none.
func closingNote(tl *candorv1.Timeline) (wave string) {
	for _, e := range tl.GetEntries() {
		if e.GetKind() == incident.KindClosingNote && e.GetState() != candorv1.TimelineState_TIMELINE_STATE_COMING {
			wave = e.GetWave()
		}
	}
	return wave
}

// closingProgress is how many notices of the closing note are settled, of how many; before there are any, what it waits for.
func closingProgress(st *candorv1.Status, note string) (n, of uint64, words string) {
	for _, w := range st.GetWaves() {
		if w.GetWave() != note || note == "" {
			continue
		}
		for _, ch := range w.GetChannels() {
			of += ch.GetPlannedTotal()
			n += ch.GetPlannedTotal() - openNotices(ch)
		}
	}
	switch {
	case of > 0:
		return n, of, number(n) + " of " + number(of)
	case len(st.GetOpen()) > 0:
		return 0, 0, "not yet: " + st.GetOpen()[0]
	}
	return 0, 0, "is planned"
}

// closingView shows how far a closing note is.
type closingView interface {
	show(n, of uint64, words string)
	close()
	left() <-chan struct{}
}

func (c *cli) closingView(quiet bool) closingView {
	switch {
	case quiet:
		return noView{}
	case c.out.terminal() && c.out.width() >= narrowest:
		return &closingBar{newBars(c)}
	}
	return &closingLines{c: c}
}

type noView struct{}

func (noView) show(uint64, uint64, string) {}
func (noView) close()                      {}
func (noView) left() <-chan struct{}       { return nil }

type closingBar struct{ *bars }

func (v *closingBar) show(n, of uint64, words string) {
	v.set("note", "closing note", blue, n, of, words)
}

// closingLines prints a line when something changed, for logs.
type closingLines struct {
	c       *cli
	printed time.Time
	last    string
}

func (*closingLines) close()                {}
func (*closingLines) left() <-chan struct{} { return nil }

func (v *closingLines) show(_, _ uint64, words string) {
	if now := v.c.now(); words != v.last && now.Sub(v.printed) >= lineEvery {
		v.printed, v.last = now, words
		v.c.out.line(now.In(v.c.zone).Format(time.TimeOnly) + "  closing note " + words)
	}
}
