package plan

import (
	"cmp"
	"strings"

	"candor/pkg/playbook"
)

// followUpsChanged compares what customers hear after the first notice, and when.
func followUpsChanged(before, after *playbook.Playbook, say sayFunc) {
	if a, b := cmp.Or(before.ClosingNote, "none"), cmp.Or(after.ClosingNote, "none"); a != b {
		say("The closing note is %s instead of %s.", b, a)
	}
	o, n := before.FollowUps, after.FollowUps
	switch {
	case o == nil && n == nil:
		return
	case o == nil:
		o = &playbook.FollowUps{}
	case n == nil:
		say("There are no follow-ups any more.")
		return
	default:
		if o.AtMost != n.AtMost {
			say("There are at most %d follow-ups instead of %d.", n.AtMost, o.AtMost)
		}
		if o.Apart != n.Apart {
			say("Between two follow-ups there are at least %s instead of %s.", period(n.Apart), period(o.Apart))
		}
		if o.TimeZone != n.TimeZone {
			say("The hours of follow-ups are those of %s instead of %s.", n.TimeZone, o.TimeZone)
		}
	}
	for i := range o.Cadence {
		if e := &o.Cadence[i]; n.Named(e.Name) == nil {
			say("Follow-up %s is dropped: %s.", e.Name, entryWords(e))
		}
	}
	for i := range n.Cadence {
		e := &n.Cadence[i]
		switch was := o.Named(e.Name); {
		case was == nil:
			say("Follow-up %s is new: %s.", e.Name, entryWords(e))
		case entryWords(was) != entryWords(e):
			say("Follow-up %s is now: %s (before: %s).", e.Name, entryWords(e), entryWords(was))
		}
	}
}

// entryWords says all that a line of the cadence says.
func entryWords(e *playbook.FollowUp) string {
	due := e.Every.Words()
	if e.Every.IsZero() {
		due = period(e.After) + " after the first notice"
	}
	send := "asks the commander"
	if e.Send != "" {
		send = "sends " + e.Send
	}
	return due + ", " + send + ", if late: " + e.IfLate.String()
}

// teamChanged compares who is told what needs a person. Addresses are marks here: the same address has the same one.
func teamChanged(o, n *playbook.Team, say sayFunc) {
	switch {
	case o == nil && n == nil:
		return
	case o == nil:
		o = &playbook.Team{RemindEvery: n.RemindEvery, RemindersAtMost: n.RemindersAtMost}
	case n == nil:
		say("The response team is not told of anything any more.")
		return
	}
	if o.RemindEvery != n.RemindEvery || o.RemindersAtMost != n.RemindersAtMost {
		say("The response team is reminded %d times, every %s, instead of %d times, every %s.",
			n.RemindersAtMost, period(n.RemindEvery), o.RemindersAtMost, period(o.RemindEvery))
	}
	old, now := teamOf(o), teamOf(n)
	for _, name := range union(old, now) {
		a, had := old[name]
		b, has := now[name]
		switch {
		case !had:
			say("%s is told too, of %s.", name, b.of)
		case !has:
			say("%s is not told any more.", name)
		default:
			if a.of != b.of {
				say("%s is told of %s instead of %s.", name, b.of, a.of)
			}
			if a.where != b.where {
				say("%s is told at another address.", name)
			}
		}
	}
}

// told is where somebody of the team is told, and of what.
type told struct{ where, of string }

// teamOf lists the members and hooks by what they are called.
func teamOf(t *playbook.Team) map[string]told {
	all := map[string]told{}
	add := func(name string, of []string, where ...string) {
		m := all[name]
		m.where += strings.Join(where, " ") + "\n"
		m.of = strings.TrimPrefix(m.of+"; "+cmp.Or(strings.Join(of, ", "), "everything"), "; ")
		all[name] = m
	}
	for _, m := range t.Members {
		add("The response team's "+m.Role, m.ToldOf, m.SMS, m.Email)
	}
	for _, h := range t.Hooks {
		add("The response team's webhook "+h.Name, h.ToldOf, h.URL, h.Secret)
	}
	return all
}
