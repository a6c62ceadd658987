package plan

import (
	"fmt"
	"slices"

	"candor/pkg/playbook"
)

// sendOrder lists the waves of a playbook: the first notice, those of its follow-ups as these follow, the closing note, and
// those that nothing sends.
func sendOrder(pb *playbook.Playbook) []string {
	order := []string{playbook.FirstNotice}
	add := func(name string) {
		if name != "" && !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	if pb.FollowUps != nil {
		for _, e := range pb.FollowUps.Cadence {
			if e.Send != pb.ClosingNote {
				add(e.Send)
			}
		}
	}
	add(pb.ClosingNote)
	for _, name := range pb.Prepared() {
		add(name)
	}
	return order
}

// sentWords says in sentences when a prepared wave is sent.
func sentWords(pb *playbook.Playbook, wave string) (all []string) {
	if pb.FollowUps != nil {
		for i := range pb.FollowUps.Cadence {
			if e := &pb.FollowUps.Cadence[i]; e.Send == wave {
				all = append(all, dueWords(pb.FollowUps, e)+", unless there is news")
			}
		}
	}
	if pb.ClosingNote == wave {
		all = append(all, "as the last word, when the incident is closed")
	}
	return all
}

// dueWords says when a follow-up is due.
func dueWords(f *playbook.FollowUps, e *playbook.FollowUp) string {
	if e.Every.IsZero() {
		return period(e.After) + " after the first notice"
	}
	then := ""
	if slices.ContainsFunc(f.Cadence, func(o playbook.FollowUp) bool { return o.After > 0 }) {
		then = "then "
	}
	return fmt.Sprintf("%s%s, %s, at most %d in all", then, e.Every.Words(), f.TimeZone, f.AtMost)
}

// followUps looks at what customers hear after the first notice, and who in the company hears of it.
func (f *findings) followUps(pb *playbook.Playbook) {
	if pb.FollowUps == nil {
		f.warn("follow_ups_missing", "customers hear once, and then only when somebody writes an update: the playbook has no follow_ups",
			"add follow_ups, with a text that is sent when there is nothing new")
	} else {
		for _, e := range pb.FollowUps.Cadence {
			if e.Send == "" {
				f.warn("follow_up_asks", fmt.Sprintf("follow-up %s has no text: if there is no news when it is due, it waits for the commander", e.Name),
					"name a prepared wave under send, unless that is meant")
			}
		}
	}
	for _, name := range pb.Prepared() {
		if len(sentWords(pb, name)) == 0 {
			f.warn("wave_unused", fmt.Sprintf("nothing sends wave %s", name), "name it under follow_ups or as closing_note, or delete it")
		}
	}
	if pb.Team == nil {
		f.warn("team_missing", "nobody is told when a draft waits, a channel is paused or a follow-up asks: the playbook has no team",
			"add team, with those who are on duty")
	}
}
