package plan

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// Changes says in sentences what a revision changed, for whoever approved or read the one before it.
func Changes(before, after *candorv1.Drafted) []string {
	if before == nil || after == nil {
		return nil
	}
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	peopleChanged(before.GetPlan(), after.GetPlan(), say)
	old, rest := before.GetDeclaration(), after.GetDeclaration()
	if old.GetFacts() != rest.GetFacts() {
		factsChanged([]byte(old.GetFacts()), []byte(rest.GetFacts()), say)
	}
	wavesChanged(before.GetPlan(), after.GetPlan(), say)
	if old.GetPlaybook() != rest.GetPlaybook() {
		playbookChanged(before, after, say)
	}
	if len(all) == 0 && !bytes.Equal(before.GetPlanHash(), after.GetPlanHash()) {
		say("The files differ, but nothing that a customer reads, nor who is told when.")
	}
	return all
}

type sayFunc = func(format string, args ...any)

func peopleChanged(before, after *candorv1.Plan, say sayFunc) {
	if before.GetRosterDigest() == after.GetRosterDigest() {
		return
	}
	old, now := before.GetPeople(), after.GetPeople()
	say("Another customer file: %s instead of %s, %s of them reachable instead of %s.",
		people(now.GetCustomers()), number(old.GetCustomers()), number(now.GetReachable()), number(old.GetReachable()))
}

func factsChanged(before, after []byte, say sayFunc) {
	old, err1 := playbook.ParseFacts("", before)
	now, err2 := playbook.ParseFacts("", after)
	if err1 != nil || err2 != nil {
		say("The facts changed.")
		return
	}
	if old.Reference != now.Reference {
		say("The reference is %s instead of %s.", now.Reference, old.Reference)
	}
	for _, language := range union(old.Texts, now.Texts) {
		o, had := old.Texts[language]
		n, has := now.Texts[language]
		switch {
		case !had:
			say("The facts are now told in %s too.", language)
		case !has:
			say("The facts are not told in %s any more.", language)
		default:
			for _, part := range accountParts(o, n) {
				say("The facts in %s changed: %s.", language, part)
			}
		}
	}
}

func accountParts(o, n playbook.Account) (parts []string) {
	for _, p := range []struct {
		name     string
		old, now playbook.Text
	}{
		{"when it happened", o.HappenedWhen, n.HappenedWhen},
		{"when it was found", o.FoundWhen, n.FoundWhen},
		{"what happened", o.WhatHappened, n.WhatHappened},
		{"what we do", o.WhatWeDo, n.WhatWeDo},
	} {
		if p.old.String() != p.now.String() {
			parts = append(parts, p.name)
		}
	}
	if !slices.EqualFunc(o.WhatYouCanDo, n.WhatYouCanDo, func(a, b playbook.Text) bool { return a.String() == b.String() }) {
		parts = append(parts, "what customers can do")
	}
	return parts
}

// wavesChanged compares what is sent, by the hashes of the texts and not by the words of the files.
func wavesChanged(before, after *candorv1.Plan, say sayFunc) {
	old, now := channelPlans(before), channelPlans(after)
	for _, k := range slices.SortedFunc(maps.Keys(merged(old, now)), func(a, b channelKey) int {
		if c := compareWaves(a.wave, b.wave); c != 0 {
			return c
		}
		return int(a.channel - b.channel)
	}) {
		o, n := old[k], now[k]
		counted := k.wave == playbook.FirstNotice // how many get a prepared wave shows when it is sent
		switch {
		case o == nil:
			say("Wave %s is now sent by %s too.", k.wave, channelWord(k.channel))
			continue
		case n == nil:
			say("Wave %s is not sent by %s any more.", k.wave, channelWord(k.channel))
			continue
		}
		if n.GetCalls() != nil { // its script is compared with that of agents who are called
			if counted && o.GetNotices() != n.GetNotices() {
				say("Wave %s calls %s%s instead of %s.", k.wave, atMost(n), people(n.GetNotices()), number(o.GetNotices()))
			}
			continue
		}
		for _, language := range union(o.GetTexts(), n.GetTexts()) {
			a, b := o.GetTexts()[language], n.GetTexts()[language]
			switch {
			case a == "":
				say("Wave %s has a text for %s in %s.", k.wave, channelWord(k.channel), language)
			case b == "":
				say("Wave %s has no text for %s in %s any more.", k.wave, channelWord(k.channel), language)
			case a != b:
				say("The text of wave %s for %s in %s changed.", k.wave, channelWord(k.channel), language)
			}
		}
		if counted && o.GetNotices() != n.GetNotices() {
			say("Wave %s sends %s%s by %s instead of %s.", k.wave, atMost(n), messages(n.GetNotices()), channelWord(k.channel), number(o.GetNotices()))
		}
	}
}

type channelKey struct {
	wave    string
	channel candorv1.Channel
}

func channelPlans(p *candorv1.Plan) map[channelKey]*candorv1.ChannelPlan {
	all := map[channelKey]*candorv1.ChannelPlan{}
	for _, w := range p.GetWaves() {
		for _, ch := range w.GetChannels() {
			all[channelKey{w.GetWave(), ch.GetChannel()}] = ch
		}
	}
	return all
}

func playbookChanged(before, after *candorv1.Drafted, say sayFunc) {
	old, err1 := playbook.Parse("", []byte(before.GetDeclaration().GetPlaybook()))
	now, err2 := playbook.Parse("", []byte(after.GetDeclaration().GetPlaybook()))
	if err1 != nil || err2 != nil {
		say("The playbook changed.")
		return
	}
	for _, name := range union(old.Waves, now.Waves) {
		o, n := old.Waves[name], now.Waves[name]
		if o == nil || n == nil {
			continue // said with its channels
		}
		if o.Audience.String() != n.Audience.String() {
			say("Wave %s is for %s instead of %s.", name, n.Audience, o.Audience)
		}
		if o.Guard != n.Guard {
			say("The guard of wave %s is now: %s Before: %s", name, guardWords(n.Guard), guardWords(o.Guard))
		}
		for ch, terms := range n.Each {
			if before := o.Terms(ch); before != nil {
				termsChanged(name, ch, before, terms, say)
			}
		}
	}
	followUpsChanged(old, now, say)
	teamChanged(old.Team, now.Team, say)
	sendersChanged(old.Providers, now.Providers, say)
	repliesChanged(old.Replies, now.Replies, say)
	callsChanged(old.Calls, now.Calls, say)
	scriptChanged(before.GetPlan(), after.GetPlan(), old, now, say)
	if len(old.Organisation.Address) != 0 && !slices.Equal(old.Organisation.Address, now.Organisation.Address) {
		say("The address of the organisation changed.")
	}
}

func termsChanged(wave string, ch candorv1.Channel, o, n *playbook.Terms, say sayFunc) {
	if a, b := o.Quiet().String(), n.Quiet().String(); a != b {
		say("The quiet hours of wave %s for %s are now: %s (before: %s).", wave, channelWord(ch), b, a)
	}
	if o.RetryFor != n.RetryFor {
		say("Wave %s tries failed messages by %s again for %s instead of %s.", wave, channelWord(ch), n.RetryFor, o.RetryFor)
	}
	if o.Uncertain != n.Uncertain {
		say("What may have been sent by %s in wave %s is treated otherwise: %s (before: %s).", channelWord(ch), wave, n.Uncertain, o.Uncertain)
	}
	if o.After != n.After || o.Unless != n.Unless {
		say("Wave %s is sent by %s %s instead of %s.", wave, channelWord(ch), stepWords(n), stepWords(o))
	}
}

func sendersChanged(before, after playbook.Providers, say sayFunc) {
	old, now := rates(before), rates(after)
	for _, name := range union(old, now) {
		o, had := old[name]
		n, has := now[name]
		switch {
		case !had:
			say("%s is a new sender.", name)
		case !has:
			say("%s is not a sender any more.", name)
		case o != n:
			say("%s sends %s instead of %s.", name, n, o)
		}
	}
}

func rates(p playbook.Providers) map[string]string {
	all := map[string]string{}
	if p.Twilio != nil {
		for _, s := range p.Twilio.Senders {
			all[s.From] = decimal(s.SegmentsPerSec) + " segments a second"
		}
	}
	if g := p.SendGrid; g != nil {
		rate := decimal(g.RecipientsPerSec) + " people a second"
		if g.RequestsPerSec > 0 {
			rate = decimal(g.RequestsPerSec) + " requests a second"
		}
		all[g.From] = fmt.Sprintf("%s, %d to a request, answers to %s", rate, g.Batch, g.ReplyTo)
	}
	if r := p.SMTP; r != nil {
		all["The mail relay "+r.From] = fmt.Sprintf("%s e-mails a second, answers to %s", decimal(r.MessagesPerSec), r.ReplyTo)
	}
	return all
}

// repliesChanged compares what customers may text back, and what they are answered.
func repliesChanged(before, after map[string]playbook.Reply, say sayFunc) {
	for _, language := range union(before, after) {
		o, n := before[language], after[language]
		for _, w := range []struct {
			what     string
			old, now []string
		}{{"no more texts", o.Stop, n.Stop}, {"help", o.Help, n.Help}, {"a call", o.Call, n.Call}} {
			if !slices.Equal(w.old, w.now) {
				say("The words in %s that ask for %s are now: %s (before: %s).", language, w.what, listed(w.now), listed(w.old))
			}
		}
		for _, a := range []struct {
			what     string
			old, now playbook.Text
		}{{"no more texts", o.Stopped, n.Stopped}, {"help", o.Helped, n.Helped}, {"a call", o.Called, n.Called}} {
			if a.old.String() != a.now.String() {
				say("The answer in %s to who asks for %s changed.", language, a.what)
			}
		}
	}
}

// listed names the words that a playbook adds.
func listed(words []string) string {
	return strings.Join(append([]string{"those always known"}, words...), ", ")
}

func merged[K comparable, V any](a, b map[K]V) map[K]V {
	all := make(map[K]V, len(a)+len(b))
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// union lists the keys of both maps, sorted.
func union[V any](a, b map[string]V) []string { return slices.Sorted(maps.Keys(merged(a, b))) }
