// Package notice makes the messages: the words of a playbook, the facts of a breach, and one customer's name, code and data.
//
// In: a playbook, facts, a customer of the roster.   Out: a text message, or an e-mail with subject, text part and HTML part.
// Crash: nothing to lose, these are pure functions.
//
// A text is compiled once. Customers who lost the same kinds of data share a variant of it, which differs between them only
// in a few values: it is either put together here (SMS, RenderEmail), or handed to a provider that does so (Email, Values).
// Both give the same bytes.
package notice

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cbroglie/mustache"

	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/segment"
	candorv1 "candor/proto/candor/v1"
)

// MaxValueBytes bounds what one customer adds to an e-mail, as SendGrid does.
const MaxValueBytes = 10_000

// ErrUndated says that a text with a date was asked for a message before Dated.
var ErrUndated = errors.New("the notice has no date yet")

// ErrTooLong says that a customer's values are longer than MaxValueBytes.
var ErrTooLong = fmt.Errorf("the customer's name and code are longer than %d bytes: shorten them in the customer file", MaxValueBytes)

// Text is one wave's wording on one channel in one language. It may be used by many goroutines.
type Text struct {
	channel  candorv1.Channel
	language string
	hash     [sha256.Size]byte

	subject, body *mustache.Template
	// What is the same for every customer, as plain words and as Markdown.
	plain, marked map[string]any
	words         map[roster.DataKind]map[string]string
	bank, freeze  roster.DataKinds
	mask          VariantKey // what variants differ by
	short         string     // the organisation's name
	date          string

	mu       sync.Mutex
	dated    map[string]*Text                        // by the words of the date
	variants atomic.Pointer[map[VariantKey]*variant] // replaced under mu, read by all
}

// VariantKey names the customers who get the same text but for their values.
type VariantKey struct {
	data  roster.DataKinds
	flags flags
}

type flags uint8

const (
	hasGivenName flags = 1 << iota
	hasFamilyName
	hasData
	callBank
	freezeCredit
)

// maxVariants are kept; those of a roster with more are made anew each time.
const maxVariants = 256

// maxDates are kept: it is never more than two or three days at once on earth.
const maxDates = 4

// Email is what customers of one variant share. Where their values belong, it has tags.
type Email struct {
	Subject, Text, HTML string
	// Vars are the tags, in the order of Values.
	Vars []string
}

// variant is a Text for one VariantKey.
type variant struct {
	err   error
	plain bool // all GSM-7 but for the names
	parts []part
	email Email
	vars  []value
	// The parts of the e-mail, for putting it together here.
	subject, text, html []part
}

// part is a piece of text, and the value that follows it.
type part struct {
	literal string
	value   value
}

// Compile makes the text of a wave on a channel in a language. The error joins a playbook.MistakeError for every mistake.
func Compile(pb *playbook.Playbook, facts *playbook.Facts, wave string, channel candorv1.Channel, language string) (*Text, error) {
	w := pb.Waves[wave]
	if w == nil {
		return nil, fmt.Errorf("wave %s is not in the playbook: it has %s", wave, strings.Join(slices.Sorted(maps.Keys(pb.Waves)), ", "))
	}
	var subject, body playbook.Text
	found := false
	switch {
	case channel == candorv1.Channel_CHANNEL_SMS && w.Channels.SMS != nil:
		body, found = w.Channels.SMS.Texts[language]
	case channel == candorv1.Channel_CHANNEL_EMAIL && w.Channels.Email != nil:
		var m playbook.Mail
		m, found = w.Channels.Email.Texts[language]
		subject, body = m.Subject, m.Body
	}
	if !found {
		return nil, fmt.Errorf("wave %s has no %s text in %s: add it to the playbook", wave, roster.ChannelName(channel), language)
	}
	account, ok := facts.Texts[language]
	if !ok {
		return nil, facts.Mistake("no facts in "+language, "add them under "+language+":, or offer the language no more")
	}
	t := &Text{channel: channel, language: language, short: pb.Organisation.ShortName}
	email := channel == candorv1.Channel_CHANNEL_EMAIL
	t.plain = constants(pb, facts, account, language, asIs, trimmed)
	t.marked = constants(pb, facts, account, language, escapeMarkdown, trimmed)
	t.advice(pb, trimmed)

	var mistakes []error
	used := names{}
	mistakes = append(mistakes, used.scan(body, email)...)
	if email {
		mistakes = append(mistakes, used.scan(subject, email)...)
		mistakes = append(mistakes, checkMarkdown(body)...)
		mistakes = append(mistakes, checkWords(pb, account, language)...)
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	var err error
	if t.body, err = parse(body); err != nil {
		return nil, err
	}
	if email {
		if t.subject, err = parse(subject); err != nil {
			return nil, err
		}
	}
	t.mask = used.mask()
	t.variants.Store(&map[VariantKey]*variant{})
	if err := t.try(body); err != nil {
		return nil, err
	}
	t.sum(wave, subject, body)
	return t, nil
}

// checkWords returns what must not be in the facts and in the words for the kinds of data, which are Markdown too.
func checkWords(pb *playbook.Playbook, account playbook.Account, language string) (mistakes []error) {
	for _, fact := range append([]playbook.Text{account.WhatHappened, account.WhatWeDo, account.HappenedWhen, account.FoundWhen}, account.WhatYouCanDo...) {
		mistakes = append(mistakes, checkMarkdown(fact)...)
	}
	for _, k := range roster.AllDataKinds() {
		words := pb.Data[k.String()].Words[language]
		mistakes = append(mistakes, checkMarkdown(words.Name)...)
		mistakes = append(mistakes, checkMarkdown(words.Advice)...)
	}
	return mistakes
}

func parse(text playbook.Text) (*mustache.Template, error) {
	tmpl, err := mustache.ParseStringPartialsRaw(strings.TrimRight(text.String(), "\n"), nil, true)
	if err != nil {
		return nil, text.Mistake(0, "placeholders that cannot be read: "+err.Error(), "look at the braces")
	}
	return tmpl, nil
}

// constants collects what is the same for every customer. The organisation's names are words and are escaped; facts may be
// Markdown, and words says what becomes of them.
func constants(pb *playbook.Playbook, facts *playbook.Facts, account playbook.Account, language string, escape func(string) string, words func(playbook.Text) string) map[string]any {
	o := &pb.Organisation
	steps := make([]string, len(account.WhatYouCanDo))
	for i, step := range account.WhatYouCanDo {
		steps[i] = words(step)
	}
	return map[string]any{
		"language": language,
		"organisation": map[string]any{
			"legal_name": escape(o.LegalName), "short_name": escape(o.ShortName),
			"phone": escape(o.Phone), "phone_link": o.PhoneLink(), "phone_hours": escape(o.PhoneHours[language]),
			"page": escape(o.Page), "address": escape(strings.Join(o.Address, ", ")),
			"signatory": map[string]any{"name": escape(o.Signatory.Name), "title": escape(o.Signatory.Title[language])},
		},
		"facts": map[string]any{
			"reference": escape(facts.Reference), "happened_when": words(account.HappenedWhen), "found_when": words(account.FoundWhen),
			"what_happened": words(account.WhatHappened), "what_we_do": words(account.WhatWeDo), "what_you_can_do": steps,
		},
	}
}

func trimmed(t playbook.Text) string { return strings.TrimSpace(t.String()) }

func asIs(s string) string { return s }

// advice collects what to tell people about each kind of data.
func (t *Text) advice(pb *playbook.Playbook, plain func(playbook.Text) string) {
	t.words = map[roster.DataKind]map[string]string{}
	for _, k := range roster.AllDataKinds() {
		kind := pb.Data[k.String()]
		words := kind.Words[t.language]
		t.words[k] = map[string]string{"name": plain(words.Name), "advice": plain(words.Advice)}
		if kind.CallBank {
			t.bank = t.bank.With(k)
		}
		if kind.FreezeCredit {
			t.freeze = t.freeze.With(k)
		}
	}
}

// try renders the extremes: everybody's text lies between them.
func (t *Text) try(body playbook.Text) error {
	for _, key := range []VariantKey{{}, t.fullest()} {
		v := t.variant(key)
		if v.err != nil {
			return body.Mistake(0, v.err.Error(), "mend the text")
		}
		parts := v.parts
		if t.channel == candorv1.Channel_CHANNEL_EMAIL {
			parts = v.text
		}
		if !slices.ContainsFunc(parts, func(p part) bool { return p.value == code }) {
			return body.Mistake(0, "the customer's code is missing", "write {{code}} where everybody reads it")
		}
	}
	return nil
}

func (t *Text) fullest() VariantKey {
	var data roster.DataKinds
	for _, k := range roster.AllDataKinds() {
		data = data.With(k)
	}
	return VariantKey{data & t.mask.data, t.mask.flags}
}

// sum hashes all that decides what customers read, dates and their own values aside.
func (t *Text) sum(wave string, subject, body playbook.Text) {
	h := sha256.New()
	write := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, s := range []string{"candor notice 1", wave, roster.ChannelName(t.channel), t.language, subject.String(), body.String()} {
		write(s)
	}
	for _, k := range t.mask.data.Kinds() {
		write(t.words[k]["name"])
		write(t.words[k]["advice"])
	}
	if t.mask.flags&callBank != 0 {
		write("bank " + t.bank.String())
	}
	if t.mask.flags&freezeCredit != 0 {
		write("credit " + t.freeze.String())
	}
	// The two extremes hold the constants, and what this version of ours makes of them.
	for _, key := range []VariantKey{{}, t.fullest()} {
		v := t.variant(key)
		for _, parts := range [][]part{v.parts, v.subject, v.text, v.html} {
			for _, p := range parts {
				write(p.literal)
				write(p.value.String())
			}
		}
	}
	h.Sum(t.hash[:0])
}

// Hash returns the SHA-256 of all that decides what customers read, dates and their own values aside.
func (t *Text) Hash() [sha256.Size]byte { return t.hash }

// Dated returns the text with the date of the notice, in the words of its language. Pages of the same day share it.
func (t *Text) Dated(day time.Time) *Text {
	date := dateWords(day, t.language)
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.dated[date]; d != nil {
		return d
	}
	d := &Text{
		channel: t.channel, language: t.language, hash: t.hash, subject: t.subject, body: t.body, plain: t.plain, marked: t.marked,
		words: t.words, bank: t.bank, freeze: t.freeze, mask: t.mask, short: t.short, date: date,
	}
	d.variants.Store(&map[VariantKey]*variant{})
	if t.dated == nil || len(t.dated) == maxDates {
		t.dated = map[string]*Text{}
	}
	t.dated[date] = d
	return d
}

// Variant returns the variant that a customer reads.
func (t *Text) Variant(c *roster.Customer) VariantKey {
	return t.key(c, clean(c.GivenName.Reveal()) != "", clean(c.FamilyName.Reveal()) != "")
}

func (t *Text) key(c *roster.Customer, given, family bool) VariantKey {
	var has flags
	for _, f := range [...]struct {
		flag flags
		is   bool
	}{
		{hasGivenName, given}, {hasFamilyName, family}, {hasData, c.Data != 0}, {callBank, c.Data&t.bank != 0}, {freezeCredit, c.Data&t.freeze != 0},
	} {
		if f.is {
			has |= f.flag
		}
	}
	return VariantKey{c.Data & t.mask.data, has & t.mask.flags}
}

// variant returns the text for a key, made at its first use.
func (t *Text) variant(key VariantKey) *variant {
	if v := (*t.variants.Load())[key]; v != nil {
		return v
	}
	v := t.render(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := *t.variants.Load(); len(known) < maxVariants {
		next := maps.Clone(known)
		next[key] = v
		t.variants.Store(&next)
	}
	return v
}

// render makes the text for a key, with a mark wherever a customer's value belongs.
func (t *Text) render(key VariantKey) *variant {
	if t.channel != candorv1.Channel_CHANNEL_EMAIL {
		body, err := t.body.Render(t.data(key, t.date), t.plain)
		if err != nil {
			return &variant{err: err}
		}
		body = strings.TrimSpace(body)
		if t.channel == candorv1.Channel_CHANNEL_CALL {
			return &variant{parts: split(gaps.ReplaceAllString(body, "\n\n"))}
		}
		literal := strings.Map(func(r rune) rune {
			if valueOf(r) != none {
				return -1
			}
			return r
		}, body)
		return &variant{parts: split(body), plain: segment.Count(literal).Encoding == segment.GSM7}
	}
	subject, err := t.subject.Render(t.data(key, t.date), t.plain)
	if err != nil {
		return &variant{err: err}
	}
	body, err := t.body.Render(t.data(key, escapeMarkdown(t.date)), t.marked)
	if err != nil {
		return &variant{err: err}
	}
	return t.mail(subject, body)
}

// data is what differs between variants.
func (t *Text) data(key VariantKey, date string) map[string]any {
	mark := func(v value, f flags) string {
		if f != 0 && key.flags&f == 0 {
			return ""
		}
		return string(v.mark())
	}
	if date == "" {
		date = string(noticeDate.mark())
	}
	exposed := []map[string]string{}
	kinds := map[string]bool{}
	for _, k := range roster.AllDataKinds() {
		kinds[k.String()] = key.data.Has(k)
		if key.data.Has(k) {
			exposed = append(exposed, t.words[k])
		}
	}
	return map[string]any{
		"given_name": mark(givenName, hasGivenName), "family_name": mark(familyName, hasFamilyName), "code": mark(code, 0),
		"notice_date": date, "data": kinds, "data_exposed": exposed, "any_data": key.flags&hasData != 0,
		"call_bank": key.flags&callBank != 0, "freeze_credit": key.flags&freezeCredit != 0,
	}
}

// SMS returns the text message for a customer. Where the text itself is GSM-7, names lose the accents that it lacks: one of
// them would more than double the segments.
func (t *Text) SMS(c *roster.Customer) string {
	var values [numValues]string
	values[code] = codeOnly(c.Code)
	values[givenName], values[familyName] = clean(c.GivenName.Reveal()), clean(c.FamilyName.Reveal())
	v := t.variant(t.key(c, values[givenName] != "", values[familyName] != ""))
	if v.plain {
		values[givenName], values[familyName] = foldGSM(values[givenName]), foldGSM(values[familyName])
	}
	return assemble(v.parts, &values)
}
