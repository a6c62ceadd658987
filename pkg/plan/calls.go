package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"candor/pkg/playbook"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

// callPlan adds to a channel how its customers are called.
func (k *Maker) callPlan(p *candorv1.ChannelPlan, f *findings) {
	c := k.in.Playbook.Calls
	p.Calls = &candorv1.CallPlan{
		CallerId: c.CallerID, Hours: hourWords(c.Hours), UncertainHours: hourWords(c.UncertainHours), CallsAtMost: p.GetNotices() * uint64(c.Caps.Total),
		NumberPerDay: uint32(c.Caps.NumberPerDay), PersonPerWeek: uint32(c.Caps.PersonPerWeek), Total: uint32(c.Caps.Total),
	}
	f.caller(k.in.Playbook)
}

// caller looks at what customers see and hear of who calls.
func (f *findings) caller(pb *playbook.Playbook) {
	if c := pb.Calls; c.Outside8To21 {
		f.warn("calls_at_night", fmt.Sprintf("customers may be called before 8 in the morning and after 9 in the evening: %s", hourWords(c.Hours)),
			"approve it only for a drill that calls nobody")
	}
	if known := strings.TrimPrefix(pb.Organisation.PhoneLink(), "tel:"); known != pb.Calls.CallerID {
		f.warn("caller_id_unknown", fmt.Sprintf("customers see calls from %s, and know %s: they may take them for a fraud", pb.Calls.CallerID, pb.Organisation.Phone),
			fmt.Sprintf("call from the number that they know, or publish the other one at %s", pb.Organisation.Page))
	}
}

// script looks for a script that does not apologise first and last.
func (f *findings) script(pb *playbook.Playbook) {
	for _, language := range slices.Sorted(maps.Keys(pb.Script)) {
		s := pb.Script[language]
		for _, part := range []struct {
			name string
			text playbook.Text
		}{{"opening", s.Opening}, {"closing", s.Closing}} {
			if playbook.LacksApology(language, part.text.String()) {
				f.warn("no_apology", fmt.Sprintf("the %s of the script in %s does not say sorry", part.name, language), "apologise first and last")
			}
		}
	}
}

// callText prints how the customers of a channel are called.
func callText(line func(string, ...any), ch *candorv1.ChannelPlan) {
	c := ch.GetCalls()
	line("  To be called\t%s%s", atMost(ch), people(ch.GetNotices()))
	line("  Calls\tat most %s: %d to each, %d in a week, and %d a day to a number", number(c.GetCallsAtMost()), c.GetTotal(), c.GetPersonPerWeek(), c.GetNumberPerDay())
	line("  Hours\t%s", c.GetHours())
	line("  Zone unknown\t%s", c.GetUncertainHours())
	line("  They see\t%s", c.GetCallerId())
}

// hourWords says when a rule is open.
func hourWords(r window.Rule) string {
	if r.Always() {
		return "at any hour"
	}
	return strings.TrimPrefix(r.String(), "outside ")
}

// scriptChanged compares what agents say: by the words of the files, and where these are the same by the hashes.
func scriptChanged(before, after *candorv1.Plan, old, now *playbook.Playbook, say sayFunc) {
	was, is := scriptHashes(before), scriptHashes(after)
	for _, language := range union(old.Script, now.Script) {
		o, had := old.Script[language]
		n, has := now.Script[language]
		switch parts := scriptParts(&o, &n); {
		case !had:
			say("Agents have a script in %s.", language)
		case !has:
			say("Agents have no script in %s any more.", language)
		case len(parts) > 0:
			say("The script in %s changed: %s.", language, strings.Join(parts, ", "))
		case was[language] != is[language] && was[language] != "" && is[language] != "":
			say("What agents say in %s changed with the facts, the organisation or the words for kinds of data.", language)
		}
	}
}

// scriptHashes returns those of the first channel on which customers are called: they are the same on all.
func scriptHashes(p *candorv1.Plan) map[string]string {
	for _, w := range p.GetWaves() {
		for _, ch := range w.GetChannels() {
			if ch.GetChannel() == candorv1.Channel_CHANNEL_CALL {
				return ch.GetTexts()
			}
		}
	}
	return nil
}

func scriptParts(o, n *playbook.Script) (changed []string) {
	same := func(a, b playbook.Text) bool { return a.String() == b.String() }
	texts := map[string]playbook.Text{}
	for name, text := range o.Parts {
		texts[name] = text
	}
	for name, text := range n.Parts {
		if !same(texts[name], text) {
			changed = append(changed, strings.ReplaceAll(name, "_", " "))
		}
	}
	if a, b := o.Bank, n.Bank; !same(a.Question, b.Question) || !same(a.Needed, b.Needed) || !same(a.NotNeeded, b.NotNeeded) {
		changed = append(changed, "whether to call the bank")
	}
	if !slices.EqualFunc(o.Answers, n.Answers, func(a, b playbook.Answer) bool {
		return same(a.Question, b.Question) && same(a.Answer, b.Answer) && slices.Equal(a.Kinds, b.Kinds)
	}) {
		changed = append(changed, "questions and answers")
	}
	return changed
}

// callsChanged compares how customers are called.
func callsChanged(o, n *playbook.Calls, say sayFunc) {
	switch {
	case o == nil && n == nil:
		return
	case o == nil:
		say("The playbook says how customers are called, from %s.", n.CallerID)
		return
	case n == nil:
		say("The playbook does not say any more how customers are called.")
		return
	}
	before, after := callRules(o), callRules(n)
	for i, rule := range after {
		if rule.value != before[i].value {
			say("%s: %s (before: %s).", rule.name, rule.value, before[i].value)
		}
	}
	for _, language := range union(o.Skills, n.Skills) {
		if a, b := o.Skills[language], n.Skills[language]; !slices.Equal(a, b) {
			say("Agents who call in %s need: %s (before: %s).", language, needs(b), needs(a))
		}
	}
	for _, code := range union(o.Dispositions, n.Dispositions) {
		a, had := o.Dispositions[code]
		b, has := n.Dispositions[code]
		switch {
		case !had:
			say("A call can end as %s: %s.", code, follows(b))
		case !has:
			say("A call cannot end as %s any more.", code)
		case follows(a) != follows(b):
			say("After a call that ends as %s: %s (before: %s).", code, follows(b), follows(a))
		}
	}
}

type callRule struct{ name, value string }

// callRules are what holds for all calls, always in the same order.
func callRules(c *playbook.Calls) []callRule {
	night := "no"
	if c.Outside8To21 {
		night = "yes"
	}
	return []callRule{
		{"The number that customers see", c.CallerID},
		{"Customers are called", hourWords(c.Hours)},
		{"Customers whose time zone is not known are called", hourWords(c.UncertainHours)},
		{"Calls before 8 or after 21 are allowed", night},
		{"The last call begins before the hours end", period(c.Lead)},
		{"Calls to a number in 24 hours", number(uint64(c.Caps.NumberPerDay))},
		{"Calls to a customer in seven days", number(uint64(c.Caps.PersonPerWeek))},
		{"Calls to a customer in all", number(uint64(c.Caps.Total))},
		{"Time between two calls to a number", period(c.Gap)},
		{"Time of day that is left alone after a call without an answer", period(c.Spread)},
		{"Rest after a dialer fell silent", period(c.CoolDown)},
		{"A dialer holds a customer", period(c.Leases.Preview) + ", or " + period(c.Leases.Progressive) + " if it dials at once"},
		{"Call-backs are on time within", period(c.CallBack.Tolerance)},
		{"A call-back that was missed", strings.ReplaceAll(c.CallBack.Missed, "_", " ")},
	}
}

func needs(skills []string) string { return cmp.Or(strings.Join(skills, ", "), "nothing") }

// follows says what a disposition does.
func follows(d playbook.Disposition) string {
	var all []string
	add := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(d.Told, "the customer was told")
	add(d.Ends != "", "no more calls, %s", d.Ends)
	add(d.DoNotCall, "nobody calls the number again")
	add(d.Number == playbook.NumberBad, "the number is not called again")
	add(d.Number == playbook.NumberBadTwice, "the number is not called after the second time")
	add(d.Number == playbook.NumberNext, "the next number at once")
	add(d.CallBack, "again when the customer wants")
	add(d.NextDay, "again on another day")
	if len(d.After) > 0 {
		waits := make([]string, len(d.After))
		for i, wait := range d.After {
			waits[i] = period(wait)
		}
		add(true, "again after %s", strings.Join(waits, ", then "))
	}
	add(d.Most > 0, "at most %s", count(uint64(d.Most), "time", "times"))
	add(d.Unanswered, "not at the same time of day")
	add(true, "counts %s", decimal(float64(d.Counts)))
	return strings.Join(all, ", ")
}
