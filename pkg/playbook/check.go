package playbook

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/currency"
	"golang.org/x/text/language"

	"candor/pkg/roster"
	"candor/pkg/spell"
)

const (
	maxLanguages = 50
	maxSenders   = 200
	maxWaves     = 100
	maxBatch     = 1000 // what SendGrid takes
	maxPeriod    = 30 * 24 * time.Hour
	maxSMS       = 1600 // characters, what Twilio takes
	maxSubject   = 200  // characters
	maxBody      = 64 << 10
	maxFact      = 8 << 10
	maxList      = 20
)

var (
	waveName    = regexp.MustCompile(`^[a-z][a-z0-9-]{1,19}$`)
	madeName    = regexp.MustCompile(`^w[0-9]`) // what Candor calls the waves that it makes, and whatever could be mistaken for it
	pageAddress = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}(/[A-Za-z0-9._~/-]*)?$`)
	logIn       = regexp.MustCompile(`(?i)log-?_?in|sign-?_?in`)
	senderName  = regexp.MustCompile(`^(\+[1-9][0-9]{6,14}|MG[0-9a-f]{32})$`)
	reference   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{1,39}$`)
)

// checker looks at values that decode has read; what decode has noted already is zero here, and passed over.
type checker struct{ *decoder }

func (c checker) bad(path, remedy, format string, args ...any) {
	c.note(c.at(path), fmt.Sprintf(format, args...), remedy)
}

// badKey is bad for a mistake in the key itself, or in what is missing under it.
func (c checker) badKey(path, remedy, format string, args ...any) {
	c.note(c.keyAt(path), fmt.Sprintf(format, args...), remedy)
}

// has reports whether something stands at a path.
func (c checker) has(path string) bool {
	_, ok := c.places[path]
	return ok
}

func (c checker) version(v int) {
	if c.has("version") && v != Version {
		c.bad("version", fmt.Sprintf("write version: %d", Version), "version %d is not known", v)
	}
}

func (c checker) playbook(p *Playbook) {
	c.version(p.Version)
	c.languages(&p.Languages)
	if p.Country != "" {
		c.country("country", p.Country)
	}
	c.zone("time_zone", p.TimeZone)
	c.organisation(&p.Organisation, p.Country, p.Languages.Offered)
	c.twilio(p.Providers.Twilio)
	c.sendgrid(p.Providers.SendGrid)
	c.smtp(p.Providers.SMTP)
	c.prices(&p.Prices)
	c.data(p.Data, p.Languages.Offered)
	c.waves(p)
	c.replies(p)
	c.calls(p)
	c.scripts(p)
	c.followUps(p)
	c.closingNote(p)
	c.team(p.Team)
}

// zone returns a time zone; nil for one that is not there or does not exist.
func (c checker) zone(path, name string) *time.Location {
	if name == "" {
		return nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		c.bad(path, "write an IANA name, like America/New_York", "%s is no time zone", name)
		return nil
	}
	return zone
}

func (c checker) languages(l *Languages) {
	switch n := len(l.Offered); {
	case c.has("languages.offered") && n == 0:
		c.bad("languages.offered", "name at least one, like en", "no language is offered")
	case n > maxLanguages:
		c.bad("languages.offered", "offer fewer", "more than %d languages", maxLanguages)
	}
	for i, tag := range l.Offered {
		path := "languages.offered." + strconv.Itoa(i)
		c.tag(path, tag)
		if slices.Contains(l.Offered[:i], tag) {
			c.bad(path, "delete one of them", "%s is offered twice", tag)
		}
	}
	if l.Default != "" && !slices.Contains(l.Offered, l.Default) {
		c.bad("languages.default", "name one that is offered: "+strings.Join(l.Offered, ", "), "the default %s is not offered", l.Default)
	}
	for _, tag := range slices.Sorted(maps.Keys(l.Fallback)) {
		path := "languages.fallback." + tag
		c.tagKey(path, tag)
		if slices.Contains(l.Offered, tag) {
			c.badKey(path, "delete its fallback, it is never used", "%s is offered", tag)
		}
		if len(l.Fallback[tag]) == 0 {
			c.bad(path, "name at least one offered language", "%s has no fallback", tag)
		}
		for i, to := range l.Fallback[tag] {
			if to != "" && !slices.Contains(l.Offered, to) {
				c.bad(path+"."+strconv.Itoa(i), "name one that is offered: "+strings.Join(l.Offered, ", "), "%s is not offered", to)
			}
		}
	}
}

func (c checker) tag(path, tag string) {
	if remedy, message := tagMistake(tag); message != "" {
		c.bad(path, remedy, "%s", message)
	}
}

func (c checker) tagKey(path, tag string) {
	if remedy, message := tagMistake(tag); message != "" {
		c.badKey(path, remedy, "%s", message)
	}
}

func tagMistake(tag string) (remedy, message string) {
	if tag == "" {
		return "", "" // noted already
	}
	parsed, err := language.Parse(tag)
	switch {
	case err != nil:
		return "write its BCP 47 tag, like en or es-MX", tag + " is no language"
	case parsed.String() != tag:
		return "write " + parsed.String(), tag + " is not how the language is written"
	default:
		return "", ""
	}
}

func (c checker) country(path, code string) {
	if !isCountry(code) {
		c.bad(path, "write its two letters, like US", "%s is no country", code)
	}
}

func isCountry(code string) bool {
	region, err := language.ParseRegion(code)
	return err == nil && region.IsCountry() && region.String() == code
}

// perLanguage compares the languages of some words with those that are offered.
func perLanguage[V any](c checker, path string, words map[string]V, offered []string) {
	if !c.has(path) {
		return
	}
	for _, tag := range offered {
		if _, ok := words[tag]; !ok && tag != "" {
			c.badKey(path, "add it under "+tag+":, or offer the language no more", "%s has no words in %s", last(path), tag)
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(words)) {
		if !slices.Contains(offered, tag) {
			c.badKey(path+"."+tag, cmp.Or(hint(tag, offered), "add it to languages.offered, or delete it"), "%s is not offered", tag)
		}
	}
}

func hint(word string, known []string) string {
	if near := spell.Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return ""
}

func (c checker) organisation(o *Organisation, country string, offered []string) {
	perLanguage(c, "organisation.phone_hours", o.PhoneHours, offered)
	perLanguage(c, "organisation.signatory.title", o.Signatory.Title, offered)
	if o.Phone != "" {
		if n, err := phonenumbers.Parse(o.Phone, country); err != nil || !phonenumbers.IsPossibleNumber(n) {
			c.bad("organisation.phone", "write it as customers know it, like 1-800-555-0142, or with + and the country's code", "%s is no telephone number", o.Phone)
		} else {
			o.phoneLink = "tel:" + phonenumbers.Format(n, phonenumbers.E164)
		}
	}
	switch page := o.Page; {
	case page == "":
	case strings.Contains(page, "://"):
		c.bad("organisation.page", "write only the domain and the path, like example.com/notice", "%s is a link", page)
	case !pageAddress.MatchString(page):
		c.bad("organisation.page", "write a domain and a path, like example.com/notice", "%s is no page", page)
	case logIn.MatchString(page):
		c.bad("organisation.page", "use a page that everybody can read without logging in", "%s looks like a page to log in", page)
	}
	if n := len(o.Address); c.has("organisation.address") && (n == 0 || n > 8) {
		c.bad("organisation.address", "write it in one to eight lines", "an address of %d lines", n)
	}
}

func (c checker) twilio(t *Twilio) {
	if t == nil {
		return
	}
	if n := len(t.Senders); c.has("providers.twilio.senders") && (n == 0 || n > maxSenders) {
		c.bad("providers.twilio.senders", fmt.Sprintf("name 1 to %d", maxSenders), "%d senders", n)
	}
	seen := map[string]bool{}
	for i, s := range t.Senders {
		path := "providers.twilio.senders." + strconv.Itoa(i)
		if s.From != "" && !senderName.MatchString(s.From) {
			c.bad(path+".from", `write a number like "+18005550142" or the id of a Messaging Service, MG and 32 digits`, "%s is no sender", s.From)
		}
		if s.From != "" && seen[s.From] {
			c.bad(path+".from", "delete one, and add its countries to the other", "%s comes twice", s.From)
		}
		seen[s.From] = true
		if c.has(path+".segments_per_sec") && (s.SegmentsPerSec <= 0 || s.SegmentsPerSec > 1_000_000) {
			c.bad(path+".segments_per_sec", "write the rate that the provider granted, up to 1000000", "%v segments a second", s.SegmentsPerSec)
		}
		for j, code := range s.Countries {
			if code != "" {
				c.country(path+".countries."+strconv.Itoa(j), code)
			}
		}
	}
}

func (c checker) prices(p *Prices) {
	if p.Currency != "" {
		if unit, err := currency.ParseISO(p.Currency); err != nil || unit.String() != p.Currency {
			c.bad("prices.currency", "write its three letters, like USD", "%s is no currency", p.Currency)
		}
	}
	for key, prices := range map[string]map[string]Money{"sms_segment": p.SMSSegment, "email": p.Email} {
		for code := range prices {
			if code != Other && !isCountry(code) {
				c.badKey("prices."+key+"."+code, "write the two letters of a country, like US, or other", "%s is no country", code)
			}
		}
	}
}

func (c checker) data(data map[string]Kind, offered []string) {
	if !c.has("data") {
		return
	}
	var codes []string
	for _, k := range roster.AllDataKinds() {
		codes = append(codes, k.String())
		if _, ok := data[k.String()]; !ok {
			c.badKey("data", "add its words: whoever lost it must read what to do", "%s (%s) is missing in data", k, k.Label())
		}
	}
	for _, code := range slices.Sorted(maps.Keys(data)) {
		path := "data." + code
		if !slices.Contains(codes, code) {
			c.badKey(path, spell.Remedy(code, codes), "%s is no kind of data", code)
		}
		perLanguage(c, path+".words", data[code].Words, offered)
		for tag, words := range data[code].Words {
			c.text(path+".words."+tag+".name", words.Name, 100, true)
			c.text(path+".words."+tag+".advice", words.Advice, 1000, true)
		}
	}
}

// text looks at the length of some wording, in characters.
func (c checker) text(path string, t Text, most int, oneLine bool) {
	if n := utf8.RuneCountInString(t.value); n > most {
		c.bad(path, "shorten it", "%s has %d characters, more than %d", last(path), n, most)
	}
	if i := strings.IndexByte(strings.TrimSpace(t.value), '\n'); oneLine && i >= 0 {
		c.mistakes = append(c.mistakes, t.Mistake(i, last(path)+" runs over several lines", "write it on one line"))
	}
}

func (c checker) waves(p *Playbook) {
	if !c.has("waves") {
		return
	}
	if p.Waves[FirstNotice] == nil {
		c.badKey("waves", "add w0, the first notice", "w0 is missing in waves")
	}
	if len(p.Waves) > maxWaves {
		c.bad("waves", "write fewer", "more than %d waves", maxWaves)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Waves)) {
		w, path := p.Waves[name], "waves."+name
		c.waveName(path, name)
		if w == nil {
			continue
		}
		sms, email := w.Channels.SMS, w.Channels.Email
		if c.has(path+".channels") && sms == nil && email == nil && w.Channels.Call == nil {
			c.badKey(path+".channels", "add sms, email or call", "%s has no channel", name)
		}
		if sms != nil {
			c.terms(path+".channels.sms", &sms.Terms)
			perLanguage(c, path+".channels.sms.texts", sms.Texts, p.Languages.Offered)
			for tag, text := range sms.Texts {
				c.text(path+".channels.sms.texts."+tag, text, maxSMS, false)
			}
			if p.Providers.Twilio == nil && c.has("providers") {
				c.badKey("providers", "add twilio", "nobody to send the texts of %s", name)
			}
		}
		if email != nil {
			c.terms(path+".channels.email", &email.Terms)
			perLanguage(c, path+".channels.email.texts", email.Texts, p.Languages.Offered)
			for tag, mail := range email.Texts {
				c.text(path+".channels.email.texts."+tag+".subject", mail.Subject, maxSubject, true)
				c.text(path+".channels.email.texts."+tag+".body", mail.Body, maxBody, false)
			}
			if p.Providers.SendGrid == nil && c.has("providers") {
				c.badKey("providers", "add sendgrid", "nobody to send the e-mails of %s", name)
			}
		}
		c.call(path+".channels.call", w.Channels.Call)
		c.ladder(path, w)
		c.guard(path+".guard", &w.Guard)
		if name == FirstNotice {
			c.firstNotice(path, w)
		} else {
			c.prepared(path, w)
		}
	}
}

func (c checker) terms(path string, t *Terms) {
	if t.RetryFor > maxPeriod {
		c.bad(path+".retry_for", "write 30d or less", "%s is long", t.RetryFor)
	}
	if t.Uncertain.ResendAfter > maxPeriod {
		c.bad(path+".uncertain", "write 30d or less", "%s is long", t.Uncertain.ResendAfter)
	}
}

func (c checker) facts(f *Facts) {
	c.version(f.Version)
	if f.Reference != "" && !reference.MatchString(f.Reference) {
		c.bad("reference", "write 2 to 40 letters, digits and hyphens, like NB-2026-11", "%s is no reference", f.Reference)
	}
	if c.has("texts") && len(f.Texts) == 0 {
		c.bad("texts", "write them under en:, for example", "no language in texts")
	}
	for _, tag := range slices.Sorted(maps.Keys(f.Texts)) {
		a, path := f.Texts[tag], "texts."+tag
		c.tagKey(path, tag)
		c.fact(path+".happened_when", a.HappenedWhen, true)
		c.fact(path+".found_when", a.FoundWhen, true)
		c.fact(path+".what_happened", a.WhatHappened, false)
		c.fact(path+".what_we_do", a.WhatWeDo, false)
		if n := len(a.WhatYouCanDo); c.has(path+".what_you_can_do") && (n == 0 || n > maxList) {
			c.bad(path+".what_you_can_do", fmt.Sprintf("write 1 to %d steps", maxList), "%d steps", n)
		}
		for i, step := range a.WhatYouCanDo {
			c.fact(path+".what_you_can_do."+strconv.Itoa(i), step, true)
		}
	}
}

func (c checker) fact(path string, t Text, oneLine bool) {
	c.text(path, t, maxFact, oneLine)
	if i := strings.Index(t.value, "{{"); i >= 0 {
		c.mistakes = append(c.mistakes, t.Mistake(i, "placeholders have no meaning in facts", "write the words themselves"))
	}
}
