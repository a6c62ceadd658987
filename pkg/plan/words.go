package plan

import (
	"fmt"
	"strings"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// guardWords says in sentences what looks after a wave.
func guardWords(g playbook.Guard) string {
	var all []string
	if g.Canary > 0 {
		wait := "look well"
		if g.CanaryWait > 0 {
			wait = "have had " + period(g.CanaryWait) + " to come, and look well"
		}
		all = append(all, fmt.Sprintf("The first %s of each channel go alone, and the others once their receipts %s.", number(uint64(g.Canary)), wait))
	}
	var over []string
	if g.Rejected > 0 {
		over = append(over, "more than "+g.Rejected.String()+" are refused")
	}
	if g.Bounced > 0 {
		over = append(over, "more than "+g.Bounced.String()+" bounce")
	}
	if len(over) == 0 {
		return strings.Join(append(all, "No channel is paused by itself, however many messages fail."), " ")
	}
	return strings.Join(append(all, fmt.Sprintf("From %s on, a channel is paused when %s.", messages(uint64(g.Least)), strings.Join(over, " or "))), " ")
}

// stepWords says when a channel begins, and for whom.
func stepWords(t *playbook.Terms) string {
	if !t.Step() {
		return "at once"
	}
	return fmt.Sprintf("after %s to those whom %s by then", period(t.After), missed(t.Unless))
}

// missed says of people that they were not reached.
func missed(unless string) string {
	if unless == playbook.Accepted {
		return "nothing was accepted for"
	}
	return "nothing was delivered to"
}

// atMost stands before the counts of a step.
func atMost(ch *candorv1.ChannelPlan) string {
	if ch.GetAfter() != nil {
		return "at most "
	}
	return ""
}

// period writes a time as somebody would say it.
func period(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return count(uint64(d/(24*time.Hour)), "day", "days")
	case d >= time.Hour && d%time.Hour == 0:
		return count(uint64(d/time.Hour), "hour", "hours")
	case d >= time.Minute && d%time.Minute == 0:
		return count(uint64(d/time.Minute), "minute", "minutes")
	case d%time.Second == 0:
		return count(uint64(d/time.Second), "second", "seconds")
	default:
		return d.String()
	}
}
