package notice

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// Speaker makes texts that agents say in one language. Facts and the words for kinds of data lose their Markdown: nobody can
// hear it.
type Speaker struct{ base *Text }

// NewSpeaker returns the Speaker of a language.
func NewSpeaker(pb *playbook.Playbook, facts *playbook.Facts, language string) (*Speaker, error) {
	account, ok := facts.Texts[language]
	if !ok {
		return nil, facts.Mistake("no facts in "+language, "add them under "+language+":, or offer the language no more")
	}
	if mistakes := checkWords(pb, account, language); len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	t := &Text{channel: candorv1.Channel_CHANNEL_CALL, language: language, short: pb.Organisation.ShortName}
	t.plain = constants(pb, facts, account, language, asIs, withoutMarkdown)
	t.advice(pb, withoutMarkdown)
	return &Speaker{base: t}, nil
}

func withoutMarkdown(t playbook.Text) string {
	source := []byte(trimmed(t))
	return strings.TrimSpace(plainText(document(source), source))
}

// Compile makes a text. The name stands for its place in the script, and is part of its hash. The error joins a
// playbook.MistakeError for every mistake.
func (s *Speaker) Compile(name string, body playbook.Text) (*Text, error) {
	used := names{}
	if mistakes := used.scan(body, false); len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	tmpl, err := parse(body)
	if err != nil {
		return nil, err
	}
	t := &Text{
		channel: s.base.channel, language: s.base.language, short: s.base.short, plain: s.base.plain,
		words: s.base.words, bank: s.base.bank, freeze: s.base.freeze, body: tmpl, mask: used.mask(),
	}
	t.variants.Store(&map[VariantKey]*variant{})
	for _, key := range []VariantKey{{}, t.fullest()} {
		if v := t.variant(key); v.err != nil {
			return nil, body.Mistake(0, v.err.Error(), "mend the text")
		}
	}
	t.sum(name, playbook.Text{}, body)
	return t, nil
}

// gaps are what placeholders that come to nothing leave behind.
var gaps = regexp.MustCompile(`\n[ \t]*\n\s*\n`)

// Name returns what a kind of data is called.
func (s *Speaker) Name(k roster.DataKind) string { return s.base.words[k]["name"] }

// Bank returns the kinds of data of which whoever lost them should call the bank.
func (s *Speaker) Bank() roster.DataKinds { return s.base.bank }

// Spoken returns what an agent says to a customer.
func (t *Text) Spoken(c *roster.Customer) string {
	var values [numValues]string
	values[givenName], values[familyName], values[code] = clean(c.GivenName.Reveal()), clean(c.FamilyName.Reveal()), codeOnly(c.Code)
	v := t.variant(t.key(c, values[givenName] != "", values[familyName] != ""))
	if len(v.parts) == 1 && v.parts[0].value == none {
		return v.parts[0].literal
	}
	return assemble(v.parts, &values)
}

// Fixed returns what an agent says, if it is the same to everybody.
func (t *Text) Fixed() (words string, same bool) {
	if t.mask != (VariantKey{}) {
		return "", false
	}
	switch parts := t.variant(VariantKey{}).parts; {
	case len(parts) == 0:
		return "", true
	case len(parts) == 1 && parts[0].value == none:
		return parts[0].literal, true
	}
	return "", false
}

// TellsCode reports whether the text tells every customer their code.
func (t *Text) TellsCode() bool {
	return slices.ContainsFunc(t.variant(VariantKey{}).parts, func(p part) bool { return p.value == code })
}
