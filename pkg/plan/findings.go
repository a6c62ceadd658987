package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// batchUnseen is how many people may at most share one e-mail request whose lost answer nobody can find out.
const batchUnseen = 100

// noKind is how a manifest counts customers of whom no kind of data is named.
const noKind = "none"

// findings collects what a person must mend or know.
type findings struct{ plan *candorv1.Plan }

func (f *findings) block(code, message, remedy string) {
	f.plan.Blockers = append(f.plan.Blockers, &candorv1.Finding{Code: code, Message: message, Remedy: remedy})
}

func (f *findings) warn(code, message, remedy string) {
	f.plan.Warnings = append(f.plan.Warnings, &candorv1.Finding{Code: code, Message: message, Remedy: remedy})
}

// sort keeps one finding of each kind and message, in an order that does not depend on how the work was shared out.
func (f *findings) sort() {
	for _, list := range []*[]*candorv1.Finding{&f.plan.Blockers, &f.plan.Warnings} {
		slices.SortStableFunc(*list, func(a, b *candorv1.Finding) int {
			return cmp.Or(strings.Compare(a.GetCode(), b.GetCode()), strings.Compare(a.GetMessage(), b.GetMessage()))
		})
		*list = slices.CompactFunc(*list, func(a, b *candorv1.Finding) bool {
			return a.GetCode() == b.GetCode() && a.GetMessage() == b.GetMessage()
		})
	}
}

// people looks at who is on the roster.
func (f *findings) people(in Input, m *candorv1.RosterManifest, c *counts) {
	customers := m.GetCustomers()
	switch unreached := customers - min(customers, c.reachable); {
	case customers == 0:
		f.block("nobody", "there is no customer on the roster", "upload the file with the affected customers")
	case c.reachable == 0:
		f.block("nobody_reachable", "no customer can be reached on a channel of the first wave", "look at the rejected rows and the wave's channels and audience")
	case unreached > 0:
		f.warn("unreachable", fmt.Sprintf("%s will not be told on any channel of the first wave", people(unreached)), "tell them by post")
	}
	if n := m.GetRejected(); n > 0 {
		f.warn("rejected", fmt.Sprintf("%s of the file cannot be used: whoever stands there will not be told", count(n, "row", "rows")),
			"mend them as rejects.csv says and upload the file again, or tell them by post")
	}
	if n := m.GetByZoneSource()[roster.ZoneFromDefault.String()]; n > 0 {
		f.warn("zone_default", fmt.Sprintf("the time zone of %s is not known: the default %s decides when they are told", people(n), in.Playbook.TimeZone),
			"add a time_zone, region or postal_code column, if you have one")
	}
	if n := c.shared(); n > 0 {
		f.warn("shared_phone", fmt.Sprintf("%s share a telephone number with another one: the number gets a message for each", people(n)),
			"nothing, if they are households: the code tells them apart")
	}
	f.languages(in.Playbook, m)
	f.kinds(in.Playbook, m)
}

// languages looks for customers who are written to in a language that they did not ask for.
func (f *findings) languages(pb *playbook.Playbook, m *candorv1.RosterManifest) {
	foreign := map[string]uint64{}
	for tag, n := range m.GetByLanguage() {
		if language, spoken := offered(pb, tag); !spoken {
			foreign[tag+" is not offered: "+people(n)+" will be written to in "+language] += n
		}
	}
	for _, message := range slices.Sorted(maps.Keys(foreign)) {
		f.warn("language_fallback", message, "add texts in that language to the playbook, or a fallback that its speakers would rather read")
	}
}

// kinds looks for data that the playbook has no words for.
func (f *findings) kinds(pb *playbook.Playbook, m *candorv1.RosterManifest) {
	for _, kind := range slices.Sorted(maps.Keys(m.GetByData())) {
		if n := m.GetByData()[kind]; kind != noKind && n > 0 && len(pb.Data[kind].Words) == 0 {
			f.block("data_without_words", fmt.Sprintf("%s lost data of the kind %s, for which the playbook has no words", people(n), kind),
				fmt.Sprintf("add data.%s to the playbook", kind))
		}
	}
}

// channel looks at one channel of a wave.
func (f *findings) channel(w *wave, ch *channel, p *candorv1.ChannelPlan, c *channelCounts) {
	name := channelWord(ch.channel)
	if p.GetNotices() > 0 && len(p.GetSenders()) == 0 {
		f.block("no_sender", fmt.Sprintf("wave %s has %s, and the playbook names nobody who sends them", w.name, name), "add the sender under providers")
	}
	if ch.terms.OverrideQuietHours {
		f.warn("quiet_hours_off", fmt.Sprintf("wave %s is sent at any hour of the night by %s", w.name, name), "approve it only if the notice cannot wait")
	}
	if c.unpriced > 0 {
		f.warn("no_price", fmt.Sprintf("%s of %s go to countries without a price: the cost is too low", messages(c.unpriced), name), "add the price of other countries under prices")
	}
	if c.strangers > 0 && len(p.GetSenders()) > 0 {
		f.warn("no_sender_for_country", fmt.Sprintf("%s go to countries that no sender is meant for: another country's sender takes them", messages(c.strangers)),
			"add a sender for those countries")
	}
	for _, s := range p.GetSenders() {
		if s.GetProviderQueueHours() > queueHours {
			f.warn("long_queue", fmt.Sprintf("%s needs %s at %s a second, more than the %d hours that Twilio queues: Candor holds the rest back and hands it over as it goes",
				s.GetSender(), span(s.GetSeconds()), decimal(s.GetPerSec()), queueHours), "add senders, or raise the rate if the account allows more")
		}
	}
	for _, s := range p.GetSegments() {
		if s.GetUcs2Messages() > 0 {
			f.warn("ucs2", fmt.Sprintf("%s of %s in %s need the dearer encoding, mostly for the character %q",
				number(s.GetUcs2Messages()), messages(s.GetMessages()), s.GetLanguage(), s.GetForcesUcs2()), "write it without that character, if it is in the text and not in a name")
		}
	}
}

// guard looks for what a wave is too small for.
func (f *findings) guard(w *wave, p *candorv1.WavePlan) {
	g := w.playbook.Guard
	if !w.open {
		return
	}
	for _, ch := range p.GetChannels() {
		n := ch.GetNotices()
		if n == 0 || ch.GetAfter() != nil || ch.GetCalls() != nil {
			continue
		}
		if uint64(g.Canary) >= n {
			f.warn("canary_is_all", fmt.Sprintf("the canary of wave %s is %s, and by %s it sends no more than %s: nobody is held back", w.name, messages(uint64(g.Canary)), channelWord(ch.GetChannel()), number(n)),
				"make the canary smaller, or delete it")
		}
		// The defaults are there for everybody, and a small wave needs none.
		if g != playbook.DefaultGuard() && g.Rejected+g.Bounced > 0 && uint64(g.Least) > n {
			f.warn("guard_never_judges", fmt.Sprintf("the guard of wave %s counts from %s on, and by %s there are %s: it never pauses the channel", w.name, messages(uint64(g.Least)), channelWord(ch.GetChannel()), number(n)),
				"lower least in the guard")
		}
	}
}

// domains looks at whom e-mails come from: customers know one domain, and a relay must be allowed to send for it.
func (f *findings) domains(p playbook.Providers) {
	domain := func(address string) string { return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:]) }
	if a, b := domain(p.SendGrid.From), domain(p.SMTP.From); a != b {
		f.warn("smtp_domain", fmt.Sprintf("e-mails come from %s, and from %s while the mail relay sends them: people may take the other one for a fake", a, b),
			"use addresses of one domain, that customers know")
	}
}

func (f *findings) batch(in Input) {
	if g := in.Playbook.Providers.SendGrid; g != nil && g.Batch > batchUnseen && !in.Webhook {
		f.warn("batch_without_webhook", fmt.Sprintf("one e-mail request is for %d people, and no event webhook is set up: if an answer is lost, all of them stay uncertain", g.Batch),
			fmt.Sprintf("set up the webhook, or set batch to %d or less", batchUnseen))
	}
}

// fileWords says what an import found, with the words it does not know.
func fileWords(b roster.Finding) string {
	words := make([]string, len(b.Words))
	for i, w := range b.Words {
		words[i] = strconv.Quote(w.Word)
	}
	return strings.TrimSuffix(b.Text+": "+strings.Join(words, ", "), ": ")
}
