package playbook

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"candor/pkg/roster"
	"candor/pkg/spell"
)

const (
	maxSpoken    = 2500 // characters of a part of the script
	maxQuestion  = 200
	maxSaid      = 1500 // characters of an answer
	maxVoicemail = 400
	maxQuestions = 60
)

var (
	html = regexp.MustCompile(`</?[a-zA-Z!]`)
	// telling finds the placeholders that say what happened, or what was taken.
	telling = regexp.MustCompile(`\{\{[#^&]? *(facts\.(happened_when|found_when|what_happened|what_we_do|what_you_can_do)|data_exposed|any_data|call_bank|freeze_credit|data\.[a-z_]+) *\}\}`)
)

// scripts looks at what agents say in each language.
func (c checker) scripts(p *Playbook) {
	perLanguage(c, "script", p.Script, p.Languages.Offered)
	for _, tag := range slices.Sorted(maps.Keys(p.Script)) {
		s, path := p.Script[tag], "script."+tag
		for name, text := range s.Parts {
			c.spoken(path+"."+name, tag, text, maxSpoken)
		}
		c.voicemail(path+"."+Voicemail, tag, s.Voicemail)
		c.text(path+".bank.question", s.Bank.Question, maxQuestion, true)
		c.spoken(path+".bank.needed", tag, s.Bank.Needed, maxSaid)
		c.spoken(path+".bank.not_needed", tag, s.Bank.NotNeeded, maxSaid)
		c.answers(path+".answers", tag, s.Answers)
	}
}

func (c checker) answers(path, tag string, answers []Answer) {
	if n := len(answers); c.has(path) && (n == 0 || n > maxQuestions) {
		c.bad(path, "write 1 to "+strconv.Itoa(maxQuestions), "%d answers", n)
	}
	var codes []string
	for _, k := range roster.AllDataKinds() {
		codes = append(codes, k.String())
	}
	asked := map[string]bool{}
	for i, a := range answers {
		at := path + "." + strconv.Itoa(i)
		c.text(at+".question", a.Question, maxQuestion, true)
		c.spoken(at+".answer", tag, a.Answer, maxSaid)
		for j, kind := range a.Kinds {
			switch here := at + ".kinds." + strconv.Itoa(j); {
			case kind == "": // noted already
			case !slices.Contains(codes, kind):
				c.bad(here, spell.Remedy(kind, codes), "%s is no kind of data", kind)
			case slices.Contains(a.Kinds[:j], kind):
				c.bad(here, "delete one of them", "%s comes twice", kind)
			}
		}
		// The same question may have an answer for each of several kinds of data.
		key := strings.ToLower(a.Question.value) + strings.Join(a.Kinds, ",")
		if a.Question.value != "" && asked[key] {
			c.bad(at+".question", "delete one of them", "the question comes twice")
		}
		asked[key] = true
	}
}

// spoken looks at a text that an agent reads out.
func (c checker) spoken(path, tag string, t Text, most int) {
	c.text(path, t, most, false)
	bad := func(at int, message, remedy string) { c.mistakes = append(c.mistakes, t.Mistake(at, message, remedy)) }
	if m := link.FindStringIndex(t.value); m != nil {
		bad(m[0], "a link, which nobody can follow on the telephone", "write {{organisation.page}}")
	} else if m := logInPage.FindStringIndex(t.value); m != nil {
		bad(m[0], "a page to log in", "name a page that everybody can read without logging in")
	}
	if m := html.FindStringIndex(t.value); m != nil {
		bad(m[0], "HTML has no place here", "write plain words")
	}
	if w, ok := wordingOf(tag); ok {
		if at, words, found := w.asksFor(t.value); found {
			bad(at, "the agent seems to ask for a secret: "+words, "ask for the name and the code of the notice, and nothing else: whoever asks for a secret sounds like a thief")
		}
	}
}

// voicemail must tell nothing to whoever hears it.
func (c checker) voicemail(path, tag string, t Text) {
	c.text(path, t, maxVoicemail, false)
	bad := func(at int, message, remedy string) { c.mistakes = append(c.mistakes, t.Mistake(at, message, remedy)) }
	if m := telling.FindStringIndex(t.value); m != nil {
		bad(m[0], "a voicemail that says what happened", "say only who called and which number to call: others may hear it")
	}
	blank := placeholder.ReplaceAllStringFunc(t.value, func(tag string) string { return strings.Repeat(" ", len(tag)) })
	if w, ok := wordingOf(tag); ok {
		if m := w.breach.FindStringIndex(blank); m != nil {
			bad(m[0], "a voicemail that says "+strconv.Quote(blank[m[0]:m[1]]), "say only who called and which number to call: others may hear it")
		}
	}
}
