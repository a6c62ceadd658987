package playbook

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"candor/pkg/reply/keyword"
	"candor/pkg/spell"
)

// Reply is what customers may text back in a language, besides the words that are always known, and what they are answered
// instead of the prepared answers.
type Reply struct {
	Stop []string `yaml:"stop,optional"`
	Help []string `yaml:"help,optional"`
	Call []string `yaml:"call,optional"`
	// Answers; empty for the prepared ones.
	Stopped Text `yaml:"stopped,optional"`
	Helped  Text `yaml:"helped,optional"`
	Called  Text `yaml:"called,optional"`
}

const (
	maxAnswer     = 320 // characters, once the placeholders are filled in
	maxReplyWords = 50
)

// values are what the placeholders of answers stand for in a language. An answer knows nothing of the customer, and of no
// incident.
func (o *Organisation) values(language string) map[string]string {
	return map[string]string{
		"organisation.short_name": o.ShortName, "organisation.legal_name": o.LegalName, "organisation.phone": o.Phone,
		"organisation.phone_hours": o.PhoneHours[language], "organisation.page": o.Page,
	}
}

var placeholder = regexp.MustCompile(`\{\{ *([a-z_.]+) *\}\}`)

// Fill puts the organisation's names and numbers into an answer to customers. Parse has looked at the placeholders.
func (o *Organisation) Fill(text, language string) string {
	values := o.values(language)
	return placeholder.ReplaceAllStringFunc(text, func(tag string) string { return values[placeholder.FindStringSubmatch(tag)[1]] })
}

// replies looks at the words that customers may text back: each must mean one thing, in whichever language.
func (c checker) replies(p *Playbook) {
	means := map[string]keyword.Word{}
	for _, tag := range slices.Sorted(maps.Keys(p.Replies)) {
		r, path := p.Replies[tag], "replies."+tag
		if !slices.Contains(p.Languages.Offered, tag) {
			c.badKey(path, "add it to languages.offered, or delete it", "%s is not offered", tag)
		}
		c.replyWords(path+".stop", r.Stop, keyword.Stop, means)
		c.replyWords(path+".help", r.Help, keyword.Help, means)
		c.replyWords(path+".call", r.Call, keyword.Call, means)
		c.answer(path+".stopped", r.Stopped, p, tag)
		c.answer(path+".helped", r.Helped, p, tag)
		c.answer(path+".called", r.Called, p, tag)
	}
}

func (c checker) replyWords(path string, words []string, meaning keyword.Word, means map[string]keyword.Word) {
	if len(words) > maxReplyWords {
		c.bad(path, "write fewer", "more than %d words", maxReplyWords)
	}
	for i, word := range words {
		at := path + "." + strconv.Itoa(i)
		if word == "" {
			continue // noted already
		}
		key := keyword.Key(word)
		if key == "" || strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }) || utf8.RuneCountInString(word) > 40 {
			c.bad(at, "write one word of letters, like ALTO", "%s is no word", word)
			continue
		}
		if known := keyword.Known(word); known != keyword.None && known != meaning {
			c.bad(at, "choose another word", "%s means %s already", word, known)
		} else if other := means[key]; other != keyword.None && other != meaning {
			c.bad(at, "choose another word", "%s stands for %s too", word, other)
		}
		means[key] = meaning
	}
}

// answer looks at the wording of an answer; it must be ready to go out as it stands.
func (c checker) answer(path string, t Text, p *Playbook, language string) {
	if t.value == "" {
		return
	}
	all := slices.Sorted(maps.Keys(p.Organisation.values(language)))
	good := true
	bad := func(at int, message, remedy string) {
		c.mistakes = append(c.mistakes, t.Mistake(at, message, remedy))
		good = false
	}
	for _, m := range placeholder.FindAllStringSubmatchIndex(t.value, -1) {
		if name := t.value[m[2]:m[3]]; !slices.Contains(all, name) {
			bad(m[0], "unknown placeholder "+name, spell.Remedy(name, all))
		}
	}
	blank := placeholder.ReplaceAllStringFunc(t.value, func(tag string) string { return strings.Repeat(" ", len(tag)) })
	if i := strings.Index(blank, "{{"); i >= 0 {
		bad(i, "a placeholder that answers do not have", "write one of "+strings.Join(all, ", ")+", in two braces")
	} else if i := strings.Index(blank, "}}"); i >= 0 {
		bad(i, "braces that close nothing", "delete them")
	}
	if m := link.FindStringIndex(t.value); m != nil {
		bad(m[0], "a link in an answer", "write {{organisation.page}}, or a plain address that everybody can read")
	} else if m := logInPage.FindStringIndex(t.value); m != nil {
		bad(m[0], "a page to log in", "name a page that everybody can read without logging in")
	}
	if n := utf8.RuneCountInString(p.Organisation.Fill(t.value, language)); good && n > maxAnswer {
		c.bad(path, "shorten it", "%s has %d characters, more than %d", last(path), n, maxAnswer)
	}
	if i := strings.IndexByte(strings.TrimSpace(t.value), '\n'); i >= 0 {
		bad(i, last(path)+" runs over several lines", "write it on one line")
	}
}

var (
	link = regexp.MustCompile(`(?i)https?://`)
	// logInPage is an address with a path or name that leads to a log-in.
	logInPage = regexp.MustCompile(`(?i)[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}/\S*(log-?_?in|sign-?_?in|password|account)|(log-?_?in|sign-?_?in)[a-z0-9-]*\.[a-z0-9-]+\.?[a-z]*`)
)
