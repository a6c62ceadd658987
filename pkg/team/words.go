package team

import (
	"fmt"
	"slices"
	"strings"

	"candor/pkg/incident"
	"candor/pkg/segment"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// maxUnits is two parts of GSM-7, less what stands before a reminder.
const maxUnits = 2*153 - len("Reminder 999: ")

// words writes alerts: one or two sentences with what to type, and nobody's name. They hold only what GSM-7 has.
type words struct{ incident string }

func (w words) draft(revision uint32) string {
	return w.asks(fmt.Sprintf("draft %d of incident %s waits for a second person", revision, w.incident), "approve")
}

func (w words) addition(kind, wave string) string {
	what := map[string]string{
		incident.KindResend: "another try", incident.KindRoster: "an addition to the roster", incident.KindUpdate: "an update",
		incident.KindCorrection: "a correction", incident.KindClose: "the end", incident.KindReopen: "a new beginning",
	}[kind]
	if what == "" {
		what = "an addition"
	}
	return w.asks(fmt.Sprintf("%s (%s) of incident %s waits for a second person", what, wave, w.incident), "approve")
}

func (w words) declared() string {
	return w.asks(fmt.Sprintf("incident %s was approved, and customers are being told", w.incident), "watch")
}

func (w words) reopened() string {
	return w.asks(fmt.Sprintf("incident %s was opened again by two people", w.incident), "status")
}

func (w words) paused(p *candorv1.Paused) string {
	return w.asks(fmt.Sprintf("somebody paused %s of incident %s; nothing is sent there until it goes on", channels(p.GetChannels()), w.incident), "resume")
}

func (w words) stillPaused(chs []candorv1.Channel) string {
	if slices.Contains(chs, candorv1.Channel_CHANNEL_UNSPECIFIED) {
		chs = nil
	}
	return w.asks(fmt.Sprintf("%s of incident %s is paused since before it was closed; nothing is sent there until it goes on", channels(chs), w.incident), "resume")
}

// threshold gives as much of the reason as there is room for.
func (w words) threshold(p *candorv1.Paused) string {
	with := func(reason string) string {
		return w.asks(fmt.Sprintf("%s of incident %s paused by itself%s", channels(p.GetChannels()), w.incident, reason), "resume")
	}
	if segment.Count(p.GetReason()).Encoding != segment.GSM7 {
		return with("")
	}
	fields := strings.Fields(p.GetReason())
	for n := len(fields); n > 0; n-- {
		reason := ": " + strings.TrimRight(strings.Join(fields[:n], " "), ".")
		if n < len(fields) {
			reason += " ..."
		}
		if text := with(reason); segment.Count(text).Units <= maxUnits {
			return text
		}
	}
	return with("")
}

func (w words) overdue(d *candorv1.FollowUpDecided) string {
	why := "waits for your word"
	switch d.GetReason() {
	case "no_text":
		why = "has no text, and waits for your word"
	case "late":
		why = "is late, and waits for your word"
	case "held":
		why = "is late after a pause, and waits for your word"
	}
	return w.asks(fmt.Sprintf("%s of incident %s, due %s, %s", d.GetName(), w.incident, d.GetDueAt().AsTime().Format("2 Jan 15:04 UTC"), why), "followup")
}

func (w words) closing() string {
	return w.tells("incident %s is being closed: the last word goes out, and then nothing more", "status")
}

func (w words) closed() string {
	return w.tells("incident %s is closed: nobody is told anything more", "status")
}

func (w words) aborted() string {
	return w.tells("incident %s was aborted: nobody is told anything more", "status")
}

// asks is what somebody must act on, or at least acknowledge.
func (w words) asks(what, command string) string {
	return fmt.Sprintf("Candor: %s. Type: candor %s %s. No more reminders: candor ack %s", what, command, w.incident, w.incident)
}

// tells is what there is nothing to be done about.
func (w words) tells(what, command string) string {
	return fmt.Sprintf("Candor: "+what+". See: candor %s %s", w.incident, command, w.incident)
}

func channels(chs []candorv1.Channel) string {
	if len(chs) == 0 {
		return "everything"
	}
	names := make([]string, len(chs))
	for i, ch := range chs {
		names[i] = topology.ChannelToken(ch)
	}
	return strings.Join(names, " and ")
}

// Message is the text of an alert, or of its n-th reminder.
func Message(a *candorv1.Alert, reminder uint32) string {
	if reminder == 0 {
		return a.GetText()
	}
	return fmt.Sprintf("Reminder %d: %s", reminder, a.GetText())
}

// Subject is that of an e-mail with the message.
func Subject(a *candorv1.Alert, reminder uint32) string {
	what := map[candorv1.AlertKind]string{
		candorv1.AlertKind_ALERT_KIND_DRAFT: "waits for approval", candorv1.AlertKind_ALERT_KIND_DECLARED: "declared",
		candorv1.AlertKind_ALERT_KIND_PAUSED: "paused", candorv1.AlertKind_ALERT_KIND_THRESHOLD: "paused by itself",
		candorv1.AlertKind_ALERT_KIND_OVERDUE: "a follow-up waits for you", candorv1.AlertKind_ALERT_KIND_CLOSED: "closed",
		candorv1.AlertKind_ALERT_KIND_ABORTED: "aborted",
	}[a.GetKind()]
	subject := "[Candor] " + a.GetIncident() + ": " + what
	if reminder > 0 {
		subject = fmt.Sprintf("%s (reminder %d)", subject, reminder)
	}
	return subject
}
