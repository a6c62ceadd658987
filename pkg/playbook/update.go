package playbook

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"candor/pkg/audience"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// MaxUpdateBytes bounds the file.
const MaxUpdateBytes = 256 << 10

// Update is news for customers, written in a file of its own: a wave with words, and what it corrects.
type Update struct {
	Title string
	// Audience, nil if the file names none.
	Audience *audience.Audience
	// Corrects names the wave that it corrects; empty for an update that corrects nothing.
	Corrects string
	// Wave has the words, on the terms of the follow-ups.
	Wave *Wave
}

// front is what stands between the lines --- of an update.
type front struct {
	Title    string            `yaml:"title"`
	Audience audience.Audience `yaml:"audience,optional"`
	Corrects string            `yaml:"corrects,optional"`
	SMS      map[string]Text   `yaml:"sms,optional"`
	// Email is the subject by language; the body follows the front matter.
	Email map[string]Text `yaml:"email,optional"`
	Call  bool            `yaml:"call,optional"`
}

var (
	fence    = regexp.MustCompile(`(?m)^---[ \t]*$`)
	comment  = regexp.MustCompile(`(?m)^[ \t]*<!--[ \t]*([^\n]*?)[ \t]*-->[ \t]*$`)
	madeWave = regexp.MustCompile(`^w(0|[1-9][0-9]{0,5})(-[ar][1-9][0-9]{0,5})?$`)
)

const frontMatter = "begin the file with a line ---, then title: and the texts, then a second line ---, then each e-mail after a line such as <!-- en -->"

// ParseUpdate reads an update's file for a playbook: front matter in YAML, then Markdown by language. The error joins a
// MistakeError for every mistake; name stands in them for the file.
func ParseUpdate(name string, data []byte, p *Playbook) (*Update, error) {
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n")
	c := checker{&decoder{src: newSource(name, text), places: map[string]int{}, keys: map[string]int{}}}
	u := &Update{Wave: &Wave{}}
	if c.readable(MaxUpdateBytes) {
		c.update(u, p)
	}
	if len(c.mistakes) > 0 {
		return nil, join(c.mistakes)
	}
	return u, nil
}

func (c checker) update(u *Update, p *Playbook) {
	text := c.src.data
	fences := fence.FindAllStringIndex(text, 2)
	switch {
	case len(fences) == 0 || fences[0][0] != 0:
		c.note(0, "no front matter", frontMatter)
		return
	case len(fences) == 1:
		c.note(len(text), "the front matter does not end", frontMatter)
		return
	}
	if strings.TrimSpace(text[fences[0][1]:fences[1][0]]) == "" {
		c.note(fences[1][0], "the front matter is empty", frontMatter)
		return
	}
	// YAML is read from a source that ends where it does: the lines before that are the same.
	whole := *c.src
	*c.src = *newSource(whole.file, text[:fences[1][0]])
	var f front
	fit := c.shallow()
	if fit {
		c.decode(&f)
	}
	*c.src = whole
	if !fit || !c.read {
		return
	}
	u.Title, u.Corrects, u.Wave.Title = f.Title, f.Corrects, f.Title
	if c.has("audience") {
		u.Audience, u.Wave.Audience = &f.Audience, f.Audience
	}
	if f.Corrects != "" && !madeWave.MatchString(f.Corrects) {
		c.bad("corrects", "write the wave as candor timeline names it, like w0 or w3", "%s is no wave", f.Corrects)
	}
	c.updateChannels(u.Wave, &f, c.bodies(fences[1][1], p.Languages.Offered), p)
}

// bodies reads the e-mails that follow the front matter.
func (c checker) bodies(from int, offered []string) map[string]Text {
	text, all := c.src.data, map[string]Text{}
	marks := comment.FindAllStringSubmatchIndex(text[from:], -1)
	end := len(text)
	if len(marks) > 0 {
		end = from + marks[0][0]
	}
	if at := from + leading(text[from:end]); at < end {
		c.note(at, "a text without its language", "write a line such as <!-- "+offered[0]+" --> before it")
	}
	for i, m := range marks {
		tag, at, end := text[from+m[2]:from+m[3]], from+m[1], len(text)
		if i+1 < len(marks) {
			end = from + marks[i+1][0]
		}
		at += leading(text[at:end])
		body := Text{strings.TrimRight(text[at:max(at, end)], " \t\n"), c.src, at, verbatim}
		path := "bodies." + tag
		switch {
		case !slices.Contains(offered, tag):
			c.note(from+m[2], "no language that is offered", cmp.Or(hint(tag, offered), "write a line such as <!-- "+offered[0]+" -->: "+strings.Join(offered, ", ")+" are offered"))
			continue
		case c.has(path):
			c.note(from+m[2], tag+" comes twice", "delete one of them")
			continue
		case body.value == "":
			c.note(from+m[2], "no e-mail in "+tag, "write it under the line")
		}
		c.places[path], all[tag] = from+m[2], body
		c.text(path, body, maxBody, false)
	}
	return all
}

// leading is how long the blanks are that a text starts with.
func leading(s string) int { return len(s) - len(strings.TrimLeft(s, " \t\n")) }

// updateChannels puts the words on the terms of what follows the first notice.
func (c checker) updateChannels(w *Wave, f *front, bodies map[string]Text, p *Playbook) {
	offered := p.Languages.Offered
	w.Guard = p.Waves[FirstNotice].Guard
	w.Guard.Canary, w.Guard.CanaryWait = 0, 0
	_, sms := c.keys["sms"]
	_, email := c.keys["email"]
	if sms {
		perLanguage(c, "sms", f.SMS, offered)
		for tag, text := range f.SMS {
			c.text("sms."+tag, text, maxSMS, false)
		}
		if terms := c.termsOf(candorv1.Channel_CHANNEL_SMS, p); terms != nil {
			w.Channels.SMS = &SMS{Terms: *terms, Texts: f.SMS}
		}
	}
	if email {
		perLanguage(c, "email", f.Email, offered)
		mails := map[string]Mail{}
		for tag, subject := range f.Email {
			c.text("email."+tag, subject, maxSubject, true)
			mails[tag] = Mail{Subject: subject, Body: bodies[tag]}
		}
		for _, tag := range offered {
			if !c.has("bodies." + tag) {
				c.note(len(c.src.data), "no e-mail in "+tag, "write it after a line <!-- "+tag+" -->")
			}
		}
		if terms := c.termsOf(candorv1.Channel_CHANNEL_EMAIL, p); terms != nil {
			w.Channels.Email = &Email{Terms: *terms, Texts: mails}
		}
	} else if len(bodies) > 0 {
		c.note(c.places[""], "e-mails without a subject", "add email: with a subject for each language")
	}
	if f.Call {
		if terms := c.termsOf(candorv1.Channel_CHANNEL_CALL, p); terms != nil {
			w.Channels.Call = &Call{Terms: *terms}
		}
	}
	if _, call := c.keys["call"]; !sms && !email && !f.Call && (!call || c.has("call")) {
		c.note(c.places[""], "an update without a channel", "add sms:, email: or call: true")
	}
}

// termsOf returns the terms on which an update is sent: those of the first follow-up of the cadence that uses the channel,
// which goes to the same people at decent hours, else those of the first notice.
func (c checker) termsOf(ch candorv1.Channel, p *Playbook) *Terms {
	name := roster.ChannelName(ch)
	var terms *Terms
	if p.FollowUps != nil {
		for _, f := range p.FollowUps.Cadence {
			if w := p.Waves[f.Send]; terms == nil && f.Send != "" && w != nil {
				terms = w.Terms(ch)
			}
		}
	}
	if terms == nil {
		terms = p.Waves[FirstNotice].Terms(ch)
	}
	if terms == nil {
		c.badKey(name, "use a channel of a follow-up or of the first notice, which say at which hours and how long to try", "neither a follow-up nor the first notice has %s", name)
		return nil
	}
	own := *terms
	own.OverrideQuietHours, own.After, own.Unless = false, 0, ""
	return &own
}

// With returns the playbook with one more wave.
func (p *Playbook) With(name string, w *Wave) *Playbook {
	n := *p
	n.Waves = maps.Clone(p.Waves)
	n.Waves[name] = w
	return &n
}
