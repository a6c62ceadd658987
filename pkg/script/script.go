// Package script makes what agents say: the script of a playbook, the facts of a breach, and one customer's name, code and
// data.
//
// In: a playbook, facts, a customer of the roster.   Out: the parts of a call and the answers to what customers ask, with a
// version that proves what was read.   Crash: nothing to lose, these are pure functions.
package script

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"

	"candor/pkg/notice"
	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// ErrNone says that a playbook has no script.
var ErrNone = errors.New("the playbook has no script: add script, as the starter file shows")

// versionDigits is how much of the hash a version shows.
const versionDigits = 12

// Set is the script of one playbook and the facts of one breach, in every language. It is safe for use by many goroutines.
type Set struct {
	languages *playbook.Languages
	scripts   map[string]*script // by offered language
}

// script is the Set's script in one language.
type script struct {
	hash    [sha256.Size]byte
	version string
	parts   []part
	// bank is the question that all customers ask, answered by what they lost.
	question          *notice.Text
	needed, notNeeded *notice.Text
	bank              roster.DataKinds
	answers           []answer
	names             map[roster.DataKind]string
	// caller stands for a customer whose name nobody knows yet.
	caller *roster.Customer
}

// part is one step of a call, made already if everybody hears the same.
type part struct {
	name  string
	text  *notice.Text
	fixed *candorv1.ScriptPart
}

// answer is for those who lost one of the kinds, or for everybody if there are none.
type answer struct {
	question, text *notice.Text
	kinds          roster.DataKinds
	fixed          *candorv1.ScriptAnswer
}

// Compile makes the script in every language that is offered. The error joins a playbook.MistakeError for every mistake.
func Compile(pb *playbook.Playbook, facts *playbook.Facts) (*Set, error) {
	if len(pb.Script) == 0 {
		return nil, ErrNone
	}
	s := &Set{languages: &pb.Languages, scripts: map[string]*script{}}
	var errs []error
	for _, language := range pb.Languages.Offered {
		made, err := compile(pb, facts, language)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.scripts[language] = made
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// compiler collects what is compiled, its mistakes and its hash.
type compiler struct {
	*notice.Speaker
	errs []error
	sum  []byte
}

func (c *compiler) text(name string, words playbook.Text) *notice.Text {
	t, err := c.Compile(name, words)
	if err != nil {
		c.errs = append(c.errs, err)
		return nil
	}
	hash := t.Hash()
	c.sum = append(c.sum, hash[:]...)
	return t
}

func compile(pb *playbook.Playbook, facts *playbook.Facts, language string) (*script, error) {
	speaker, err := notice.NewSpeaker(pb, facts, language)
	if err != nil {
		return nil, err
	}
	c := &compiler{Speaker: speaker, sum: []byte("candor script 1\n" + language + "\n")}
	words := pb.Script[language]
	s := &script{bank: speaker.Bank(), names: map[roster.DataKind]string{}, caller: unknownCaller(language)}
	for name, text := range words.Parts {
		s.parts = append(s.parts, part{name: name, text: c.text(name, text)})
	}
	s.question, s.needed, s.notNeeded = c.text("bank", words.Bank.Question), c.text("needed", words.Bank.Needed), c.text("not_needed", words.Bank.NotNeeded)
	c.sum = append(c.sum, s.bank.String()+"\n"...)
	for _, a := range words.Answers {
		made := answer{question: c.text("question", a.Question), text: c.text("answer", a.Answer)}
		for _, code := range a.Kinds {
			for _, k := range roster.AllDataKinds() {
				if k.String() == code {
					made.kinds = made.kinds.With(k)
				}
			}
		}
		c.sum = append(c.sum, made.kinds.String()+"\n"...)
		s.answers = append(s.answers, made)
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	if !slices.ContainsFunc(s.parts, func(p part) bool { return p.name != playbook.Voicemail && p.text.TellsCode() }) {
		return nil, words.Safety.Mistake(0, "the customer's code is missing in the script", "write {{code}} where everybody hears it, best here")
	}
	for _, k := range roster.AllDataKinds() {
		s.names[k] = speaker.Name(k)
	}
	s.settle()
	s.hash = sha256.Sum256(c.sum)
	s.version = hex.EncodeToString(s.hash[:])[:versionDigits]
	return s, nil
}

// settle makes what is the same for everybody.
func (s *script) settle() {
	for i := range s.parts {
		p := &s.parts[i]
		if words, same := p.text.Fixed(); same {
			p.fixed = &candorv1.ScriptPart{Name: p.name, Text: words}
		}
	}
	for i := range s.answers {
		a := &s.answers[i]
		question, same := a.question.Fixed()
		words, sameToo := a.text.Fixed()
		if same && sameToo {
			a.fixed = &candorv1.ScriptAnswer{Question: question, Answer: words}
		}
	}
}

// For returns what an agent says to a customer, in the offered language that is nearest to theirs. Parts of it are shared: it
// must not be changed.
func (s *Set) For(language string, c *roster.Customer) *candorv1.Script {
	return s.in(language).speak(s.languages.Language(language), c)
}

// General returns what an agent says to somebody who lost the kinds of data, and whose name is not known yet. Without any
// kind it shows the answers for all, each with what it is about. Parts of it are shared: it must not be changed.
func (s *Set) General(language string, kinds roster.DataKinds) *candorv1.Script {
	sc, language := s.in(language), s.languages.Language(language)
	c := *sc.caller
	if c.Data = kinds; kinds != 0 {
		return sc.speak(language, &c)
	}
	return sc.everything(language, &c)
}

// Version names the approved words of a language, as Script.version does.
func (s *Set) Version(language string) string { return s.in(language).version }

// Hash is all of what Version is the beginning of.
func (s *Set) Hash(language string) [sha256.Size]byte { return s.in(language).hash }

func (s *Set) in(language string) *script { return s.scripts[s.languages.Language(language)] }

func (s *script) speak(language string, c *roster.Customer) *candorv1.Script {
	made := s.open(language, c)
	bank := s.notNeeded
	if c.Data&s.bank != 0 {
		bank = s.needed
	}
	made.Answers = append(made.Answers, &candorv1.ScriptAnswer{Question: s.question.Spoken(c), Answer: bank.Spoken(c)})
	for i := range s.answers {
		if a := &s.answers[i]; a.kinds == 0 || a.kinds&c.Data != 0 {
			made.Answers = append(made.Answers, a.speak(c))
		}
	}
	return made
}

// everything is for an agent who does not know yet what the caller lost.
func (s *script) everything(language string, c *roster.Customer) *candorv1.Script {
	for _, k := range roster.AllDataKinds() {
		c.Data = c.Data.With(k)
	}
	all := c.Data
	made := s.open(language, c)
	if s.bank != 0 {
		c.Data = s.bank
		made.Answers = append(made.Answers, &candorv1.ScriptAnswer{Question: s.about(s.question.Spoken(c), s.bank), Answer: s.needed.Spoken(c)})
	}
	c.Data = all &^ s.bank
	made.Answers = append(made.Answers, &candorv1.ScriptAnswer{Question: s.question.Spoken(c), Answer: s.notNeeded.Spoken(c)})
	c.Data = all
	for i := range s.answers {
		a := &s.answers[i]
		said := a.speak(c)
		if a.kinds != 0 {
			said = &candorv1.ScriptAnswer{Question: s.about(said.GetQuestion(), a.kinds), Answer: said.GetAnswer()}
		}
		made.Answers = append(made.Answers, said)
	}
	return made
}

// open makes the parts, with room for the answers.
func (s *script) open(language string, c *roster.Customer) *candorv1.Script {
	made := &candorv1.Script{
		Version: s.version, Language: language,
		Parts: make([]*candorv1.ScriptPart, len(s.parts)), Answers: make([]*candorv1.ScriptAnswer, 0, len(s.answers)+2),
	}
	for i := range s.parts {
		if p := &s.parts[i]; p.fixed != nil {
			made.Parts[i] = p.fixed
		} else {
			made.Parts[i] = &candorv1.ScriptPart{Name: p.name, Text: p.text.Spoken(c)}
		}
	}
	return made
}

func (a *answer) speak(c *roster.Customer) *candorv1.ScriptAnswer {
	if a.fixed != nil {
		return a.fixed
	}
	return &candorv1.ScriptAnswer{Question: a.question.Spoken(c), Answer: a.text.Spoken(c)}
}

// about adds to a question which data it is about.
func (s *script) about(question string, kinds roster.DataKinds) string {
	var names []string
	for _, k := range kinds.Kinds() {
		names = append(names, s.names[k])
	}
	return question + " (" + strings.Join(names, "; ") + ")"
}

// unknownCaller is a customer whose name the agent fills in.
func unknownCaller(language string) *roster.Customer {
	name := "[…]"
	switch base, _, _ := strings.Cut(language, "-"); base {
	case "en":
		name = "[given name]"
	case "es":
		name = "[nombre]"
	}
	return &roster.Customer{GivenName: pii.NewName(name), FamilyName: pii.NewName("[…]"), Code: "XXX-XXX-XXX"}
}

// Languages lists the languages that there is a script in, sorted.
func (s *Set) Languages() []string { return slices.Sorted(maps.Keys(s.scripts)) }
