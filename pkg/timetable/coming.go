package timetable

import (
	"errors"
	"slices"
	"time"

	"candor/pkg/incident"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// followUpAlarm is the name under which the alarm for the next follow-up of the cadence waits. That for an update has the
// name of its wave.
const followUpAlarm = "follow-up"

// Alarm wakes whoever decides when something is due.
type Alarm struct {
	// Name under which it waits, and the name of what is due then.
	Name, For string
	At        time.Time
}

// Subjects returns where the alarm waits, and where it appears when it goes off.
func (a Alarm) Subjects(incident string) (later, due string) {
	return topology.Timetable(incident, a.Name), topology.Due(incident, a.For)
}

// Alarms returns those that should be set: for the next follow-up of the cadence after now, and for every update with an
// hour of its own that is still to come.
func (t Timetable) Alarms(now time.Time) (alarms []Alarm) {
	if !t.inc.Running() {
		return nil
	}
	if o := t.after(now); o != nil {
		alarms = append(alarms, Alarm{Name: followUpAlarm, For: o.Name, At: o.Due})
	}
	for _, a := range t.inc.News() {
		if at := a.GetAddition().GetAt(); at != nil && at.AsTime().After(now) {
			alarms = append(alarms, Alarm{Name: a.GetAddition().GetWave(), For: a.GetAddition().GetWave(), At: at.AsTime()})
		}
	}
	return alarms
}

// Coming is something that will be decided.
type Coming struct {
	// What will be decided as things stand. The wave of a prepared text is the one that would be free then.
	*candorv1.FollowUpDecided
	// At is when, unless something holds it up.
	At time.Time
}

// Coming lists what will be decided from now until an instant, if no wave comes in the way of another, nobody answers a
// question, and nothing more is approved. A paused incident is taken to be resumed now.
func (t Timetable) Coming(now, until time.Time) (list []Coming) {
	if !t.inc.Running() {
		return nil
	}
	inc := *t.inc
	inc.State = candorv1.IncidentState_INCIDENT_STATE_DECLARED
	t.inc = &inc
	for !now.After(until) {
		for d := t.first(now); d != nil; d = t.first(now) {
			list = append(list, Coming{FollowUpDecided: d, At: now})
			inc.Decisions = append(slices.Clip(inc.Decisions), incident.Decision{FollowUpDecided: d, At: now})
		}
		alarms := t.Alarms(now)
		if len(alarms) == 0 {
			break
		}
		now = slices.MinFunc(alarms, func(a, b Alarm) int { return a.At.Compare(b.At) }).At
	}
	return list
}

// ErrNoText is an answer "send" to a question about a follow-up for which there is no text.
var ErrNoText = errors.New("there is no text to send: draft an update and have it approved, or skip")

// Answer returns the decision by which a person answers a question. Whoever records it sees to it that no other follow-up is
// under way, as Behind says.
func (t Timetable) Answer(question *incident.Decision, yes bool) (*candorv1.FollowUpDecided, error) {
	d := decided(question.GetName(), question.GetDueAt().AsTime(), skip, ReasonPerson)
	switch {
	case !yes:
		return d, nil
	case t.ofUpdate(d):
		bring(d, t.inc.Additions[d.GetName()])
	case !t.write(d):
		return nil, ErrNoText
	}
	d.Reason = ReasonPerson
	return d, nil
}

// Behind returns the wave that something to be sent must wait for: a follow-up, update or correction that is still going out,
// which nothing may overtake, or what a correction corrects; empty if there is none.
func (t Timetable) Behind(d *candorv1.FollowUpDecided, s Standing) string {
	if wave := t.underWay(s); wave != "" {
		return wave
	}
	return t.Unread(t.corrects(d), s)
}

// WaitsFor returns the wave behind which something that is due waits now, of itself; empty if there is none.
func (t Timetable) WaitsFor(d *candorv1.FollowUpDecided, s Standing, now time.Time) string {
	if wave := t.behind(d, s, now); wave != "" {
		return wave
	}
	return t.Unread(t.corrects(d), s)
}

// Unplanned returns a follow-up, update or correction that was decided and is not planned yet; empty if there is none.
func (t Timetable) Unplanned() string { return t.underWay(Standing{}) }
