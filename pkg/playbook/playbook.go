// Package playbook reads what was prepared before anything happened (who speaks, in which words and languages, how fast, at
// which hours, at what price) and the facts of the breach that did happen.
//
// In: YAML as people write it, and updates.   Out: a playbook, facts and updates that hold together, or every mistake with its
// line, column and remedy; a playbook with marks in place of its team's addresses.   Crash: nothing to lose, these are pure
// functions.
package playbook

import (
	_ "embed" // the published schemas
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"candor/pkg/audience"
)

// Version is that of the file format.
const Version = 1

// MaxBytes and MaxFactsBytes bound the files.
const (
	MaxBytes      = 512 << 10
	MaxFactsBytes = 128 << 10
)

// Schema is the JSON Schema of a playbook, for editors and other programs.
//
//go:embed playbook.schema.json
var Schema string

// FactsSchema is the JSON Schema of the facts.
//
//go:embed facts.schema.json
var FactsSchema string

// Playbook is what was prepared in advance. It does not change after Parse.
type Playbook struct {
	Version      int          `yaml:"version"`
	Organisation Organisation `yaml:"organisation"`
	Languages    Languages    `yaml:"languages"`
	// Country is an ISO 3166 code, TimeZone an IANA name: for customers of whom nothing better is known.
	Country   string    `yaml:"country"`
	TimeZone  string    `yaml:"time_zone"`
	Providers Providers `yaml:"providers"`
	Prices    Prices    `yaml:"prices,optional"`
	// Data holds the words for each kind of data, by the kind's code.
	Data map[string]Kind `yaml:"data"`
	// Waves are w0, the first notice, and prepared ones by a name of their own: for follow-ups and the closing note.
	Waves map[string]*Wave `yaml:"waves"`
	// Replies adds to the words that customers may text back, and to what they are answered, by language.
	Replies map[string]Reply `yaml:"replies,optional"`
	// Calls says how customers are called; nil if they are not.
	Calls *Calls `yaml:"calls"`
	// Script is what agents say on the telephone, whoever called, by language.
	Script map[string]Script `yaml:"script,optional"`
	// FollowUps says when customers hear again; nil if they do not by themselves.
	FollowUps *FollowUps `yaml:"follow_ups"`
	// ClosingNote names the wave that is the last word; empty for none.
	ClosingNote string `yaml:"closing_note,optional"`
	// Team is told what needs a person; nil if nobody is.
	Team *Team `yaml:"team"`
}

// Organisation is who speaks.
type Organisation struct {
	LegalName string `yaml:"legal_name"`
	ShortName string `yaml:"short_name"`
	// Phone is written as customers know it; PhoneHours by language.
	Phone      string            `yaml:"phone"`
	PhoneHours map[string]string `yaml:"phone_hours"`
	// Page is a domain that customers know, and a path on it, without a scheme.
	Page      string    `yaml:"page"`
	Signatory Signatory `yaml:"signatory"`
	Address   []string  `yaml:"address"`

	phoneLink string
}

// PhoneLink returns the phone as a tel: address.
func (o *Organisation) PhoneLink() string { return o.phoneLink }

// Signatory is who signs; Title by language.
type Signatory struct {
	Name  string            `yaml:"name"`
	Title map[string]string `yaml:"title"`
}

// Languages are BCP 47 tags: those that texts are offered in, the one for everybody else, and for a language that is not
// offered the offered ones that its speakers would rather read.
type Languages struct {
	Offered  []string            `yaml:"offered"`
	Default  string              `yaml:"default"`
	Fallback map[string][]string `yaml:"fallback,optional"`
}

// Language returns the offered language in which to write to somebody who asked for tag: the tag itself, a wider tag
// (es for es-MX), the fallback of either, else the default.
func (l *Languages) Language(tag string) string {
	for t := tag; t != ""; t = t[:max(0, strings.LastIndexByte(t, '-'))] {
		if i := slices.IndexFunc(l.Offered, func(o string) bool { return strings.EqualFold(o, t) }); i >= 0 {
			return l.Offered[i]
		}
		for from, to := range l.Fallback {
			if strings.EqualFold(from, t) {
				return to[0]
			}
		}
	}
	return l.Default
}

// Providers are whom the messages are handed to.
type Providers struct {
	Twilio   *Twilio   `yaml:"twilio"`
	SendGrid *SendGrid `yaml:"sendgrid"`
	// SMTP takes over the e-mails while SendGrid takes none.
	SMTP *SMTP `yaml:"smtp,optional"`
}

// Twilio sends the texts.
type Twilio struct {
	Senders []Sender `yaml:"senders"`
}

// Sender is a number in E.164 form or a Messaging Service (MG…), and how fast it may send.
type Sender struct {
	From           string  `yaml:"from"`
	SegmentsPerSec float64 `yaml:"segments_per_sec"`
	// Countries that the sender is for; empty for all those without a sender of their own.
	Countries []string `yaml:"countries,optional"`
}

// For returns the senders for a country: its own, else those for all.
func (t *Twilio) For(country string) []Sender {
	var own, all []Sender
	for _, s := range t.Senders {
		switch {
		case len(s.Countries) == 0:
			all = append(all, s)
		case slices.Contains(s.Countries, country):
			own = append(own, s)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

// SenderOf returns which of n senders a customer's messages come from: the same one for all of them.
func SenderOf(code string, n int) int {
	if n <= 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(code)) // a hash never fails
	return int(h.Sum32() % uint32(n))
}

// SendGrid sends the e-mails. One of the two rates is set, and the other 0.
type SendGrid struct {
	From             string  `yaml:"from"`
	FromName         string  `yaml:"from_name"`
	ReplyTo          string  `yaml:"reply_to"`
	RequestsPerSec   float64 `yaml:"requests_per_sec,optional"`
	RecipientsPerSec float64 `yaml:"recipients_per_sec,optional"`
	// Batch is how many people one request is for.
	Batch int `yaml:"batch"`
}

// SMTP is a relay of the organisation's own.
type SMTP struct {
	From           string  `yaml:"from"`
	FromName       string  `yaml:"from_name"`
	ReplyTo        string  `yaml:"reply_to"`
	MessagesPerSec float64 `yaml:"messages_per_sec"`
}

// Prices are in the currency's main unit, by country code and other.
type Prices struct {
	Currency   string           `yaml:"currency"`
	SMSSegment map[string]Money `yaml:"sms_segment"`
	Email      map[string]Money `yaml:"email"`
}

// Other is the key of the prices for countries that have none of their own.
const Other = "other"

// ForSegment returns the price of one segment to a country; false without one.
func (p *Prices) ForSegment(country string) (Money, bool) { return priceFor(p.SMSSegment, country) }

// ForEmail returns the price of one e-mail to a country; false without one.
func (p *Prices) ForEmail(country string) (Money, bool) { return priceFor(p.Email, country) }

func priceFor(prices map[string]Money, country string) (Money, bool) {
	if m, ok := prices[country]; ok {
		return m, true
	}
	m, ok := prices[Other]
	return m, ok
}

// Money is an amount in millionths of the currency's main unit.
type Money int64

// String returns the amount in the main unit, as in 12.5 or 0.0083.
func (m Money) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	s := fmt.Sprintf("%s%d.%06d", sign, uint64(m)/1e6, uint64(m)%1e6)
	s = strings.TrimRight(s, "0")
	return strings.TrimSuffix(s, ".")
}

func parseMoney(s string) (Money, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	digits := whole + fraction + strings.Repeat("0", max(0, 6-len(fraction)))
	if len(fraction) > 6 || len(digits) > 15 || whole+fraction == "" {
		return 0, false
	}
	m := int64(0)
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
		m = m*10 + int64(digits[i]-'0')
	}
	return Money(m), true
}

// Kind is what to tell people about a kind of data, with the words by language.
type Kind struct {
	// CallBank is whether people should call their bank, FreezeCredit whether they should freeze their credit.
	CallBank     bool              `yaml:"call_bank,optional"`
	FreezeCredit bool              `yaml:"freeze_credit,optional"`
	Words        map[string]Advice `yaml:"words"`
}

// Advice names a kind of data in plain words and says what to do.
type Advice struct {
	Name   Text `yaml:"name"`
	Advice Text `yaml:"advice"`
}

// Wave is one round of notices.
type Wave struct {
	Title    string            `yaml:"title"`
	Audience audience.Audience `yaml:"audience,optional"`
	Channels Channels          `yaml:"channels"`
	Guard    Guard             `yaml:"guard,optional"`
}

// Channels are those of a wave; nil where it has none.
type Channels struct {
	SMS   *SMS   `yaml:"sms"`
	Email *Email `yaml:"email"`
	Call  *Call  `yaml:"call"`
}

// SMS is a wave's text message by language.
type SMS struct {
	Terms
	Texts map[string]Text `yaml:"texts"`
}

// Email is a wave's e-mail by language.
type Email struct {
	Terms
	Texts map[string]Mail `yaml:"texts"`
}

// Call is a wave's telephone call. What is said is the script; when and how often, Calls.
type Call struct {
	Terms `yaml:"after,unless"`
}

// Mail is an e-mail: the subject, and the body in Markdown.
type Mail struct {
	Subject Text `yaml:"subject"`
	Body    Text `yaml:"body"`
}

// Parse reads a playbook. The error joins a MistakeError for every mistake; name stands in them for the file.
func Parse(name string, data []byte) (*Playbook, error) {
	p := &Playbook{}
	c := checker{decode(name, data, MaxBytes, p)}
	if c.read {
		c.playbook(p)
	}
	if len(c.mistakes) > 0 {
		return nil, join(c.mistakes)
	}
	return p, nil
}

// Facts are what this breach adds to the playbook.
type Facts struct {
	Version int `yaml:"version"`
	// Reference is how customers name the incident on the phone.
	Reference string `yaml:"reference"`
	// Texts are by language.
	Texts map[string]Account `yaml:"texts"`

	src *source
}

// Mistake says what is wrong with the facts as a whole.
func (f *Facts) Mistake(message, remedy string) *MistakeError {
	if f.src == nil {
		return &MistakeError{Message: message, Remedy: remedy}
	}
	return f.src.mistake(0, message, remedy)
}

// Account is what happened, in one language.
type Account struct {
	HappenedWhen Text   `yaml:"happened_when"`
	FoundWhen    Text   `yaml:"found_when"`
	WhatHappened Text   `yaml:"what_happened"`
	WhatWeDo     Text   `yaml:"what_we_do"`
	WhatYouCanDo []Text `yaml:"what_you_can_do"`
}

// ParseFacts reads the facts, as strictly as Parse does.
func ParseFacts(name string, data []byte) (*Facts, error) {
	f := &Facts{}
	c := checker{decode(name, data, MaxFactsBytes, f)}
	f.src = c.src
	if c.read {
		c.facts(f)
	}
	if len(c.mistakes) > 0 {
		return nil, join(c.mistakes)
	}
	return f, nil
}
