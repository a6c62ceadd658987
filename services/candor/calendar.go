package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"

	candorv1 "candor/proto/candor/v1"
)

// calendarAhead is how far a calendar looks.
const calendarAhead = 30 * 24 * time.Hour

// writeICS writes what comes as a calendar of RFC 5545, and returns how many entries it has. The same message has the same id
// whenever it is written, so that a calendar that reads it again moves it and does not double it. It holds no customer.
func writeICS(w io.Writer, tl *candorv1.Timeline) (entries int, err error) {
	cal := ics.NewCalendar()
	cal.SetProductId("-//Candor//candor timeline//EN")
	cal.SetMethod(ics.MethodPublish)
	cal.SetName("Candor " + tl.GetIncident())
	asOf := tl.GetAsOf().AsTime()
	for _, e := range tl.GetEntries() {
		from, until := extent(e)
		if e.GetState() == candorv1.TimelineState_TIMELINE_STATE_SKIPPED || from.IsZero() || until.Before(asOf) || from.After(asOf.Add(calendarAhead)) {
			continue
		}
		entries++
		ev := cal.AddEvent(eventID(tl.GetIncident(), e))
		ev.SetDtStampTime(asOf)
		ev.SetStartAt(from)
		if until.After(from) {
			ev.SetEndAt(until)
		}
		ev.SetSummary(tl.GetIncident() + ": " + words(kindWords(e.GetKind()), e.GetName(), inQuotes(e.GetTitle())))
		ev.SetDescription(eventText(e, isComing(e, asOf)))
		ev.SetTimeTransparency(ics.TransparencyTransparent) // it takes nobody's time
		ev.SetStatus(eventStatus(e))
	}
	return entries, cal.SerializeTo(w, ics.WithNewLineWindows) // as the RFC has it, on every system
}

// extent is from when until when customers get an entry, whatever their zone.
func extent(e *candorv1.TimelineEntry) (from, until time.Time) {
	if e.GetDueAt() != nil {
		from = e.GetDueAt().AsTime()
	}
	until = from
	first := true
	for _, ch := range e.GetChannels() {
		for _, w := range ch.GetWindows() {
			if f := w.GetFrom().AsTime(); first || f.Before(from) {
				from, first = f, false
			}
			if u := w.GetUntil().AsTime(); u.After(until) {
				until = u
			}
		}
	}
	return from, until
}

// eventID names an entry for ever: an occurrence of the cadence by when it is due, before and after it got a wave.
func eventID(incident string, e *candorv1.TimelineEntry) string {
	what := e.GetWave()
	if e.GetName() != "" && e.GetDueAt() != nil {
		what = e.GetName() + "-" + e.GetDueAt().AsTime().UTC().Format("20060102T150405Z")
	}
	return strings.ToLower(fmt.Sprintf("%s-%s@candor", incident, what))
}

func eventText(e *candorv1.TimelineEntry, coming bool) string {
	var lines []string
	for _, ch := range e.GetChannels() {
		lines = append(lines, "up to "+plural(ch.GetCustomers(), "customer", "customers")+" "+byChannel(ch.GetChannel()))
	}
	state, _ := entryState(e, coming)
	return strings.Join(append(lines, state), "\n")
}

func eventStatus(e *candorv1.TimelineEntry) ics.ObjectStatus {
	switch e.GetState() {
	case candorv1.TimelineState_TIMELINE_STATE_ASKS, candorv1.TimelineState_TIMELINE_STATE_DRAFT:
		return ics.ObjectStatusTentative
	}
	return ics.ObjectStatusConfirmed
}
