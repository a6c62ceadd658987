package keyword

import (
	"cmp"
	"strings"
)

// What surrounds a word. Nothing writes the sets after start.
var (
	courteous = phrases(courtesies)
	object    = phrases(objects)
	negation  = phrases(negations)
	no        = phrases(spanishNo)
	question  = phrases(questions)
	contact   = phrases(contacts)
	elsewhere = phrases(otherRoads)
	texting   = phrases(textings)
	wanted    = phrases(goingOn)
	or        = phrases(ors)
	and       = phrases(ands)
)

const (
	// few is how many words may surround a short phrase.
	few = 4
	// reach is how long a courtesy, a negation or a question is at most, in tokens.
	reach = 5
	// tied is how many tokens back an and or an or looks for what it goes on with.
	tied = 12
)

// Read returns what a text means, and in which language it says so; the language is empty if the word does not tell.
//
// A text is read clause by clause, without case, accents, full width and punctuation, and without please and the like in
// front. A phrase counts, by its strength:
//   - whole: if the clause holds nothing else, but for words such as me, now or messages. "End", "call me back please", but
//     not "the end of the month" nor "I will call you".
//   - short: also in a clause of at most four words, and in front of a longer one. "Texts: stop", "unsubscribe me from
//     whatever this is", but not "when does it stop working".
//   - anywhere: in any text. "You have written three times by now and I want no more texts".
//
// No phrase counts right behind a negation ("don't stop"), nor a short one in a clause that begins as a question. Start
// counts only if nothing else is said at all. Of several words Stop comes first, then Call, then Help: whoever says stop is
// not asked again. Whoever wants no texts but a call gets both: see asked.
func (b *Book) Read(text string) (Word, string) {
	tokens := tokenize(text)
	best, call := verdict{}, verdict{}
	onlyStart := true
	for len(tokens) > 0 {
		n := 1
		for n < len(tokens) && !tokens[n].first {
			n++
		}
		v := b.clause(tokens[:n])
		onlyStart = onlyStart && (v.word == Start || v.polite)
		best.take(v)
		if v.call {
			call.take(verdict{word: Call, language: v.callIn})
		}
		tokens = tokens[n:]
	}
	if best.word == Stop && call.word == Call {
		best.take(verdict{word: StopCall, language: cmp.Or(best.language, call.language)})
	}
	if best.word == Start && !onlyStart {
		return None, ""
	}
	return best.word, best.language
}

// verdict is what a clause means.
type verdict struct {
	word     Word
	language string
	polite   bool // nothing but courtesies
	call     bool // a call is asked for, whatever else is said
	callIn   string
}

// take keeps the weightier of two; of the same weight, the first that tells its language.
func (v *verdict) take(o verdict) {
	if o.call && !v.call {
		v.call, v.callIn = true, o.callIn
	}
	if o.word > v.word || o.word == v.word && v.language == "" {
		v.word, v.language = o.word, o.language
	}
}

// clause reads one clause.
func (b *Book) clause(tokens []token) verdict {
	skip := courtesy(tokens)
	if skip == len(tokens) {
		if v := b.alone(tokens); v.word != None { // a word that is a courtesy in another language
			return v
		}
		return verdict{polite: true}
	}
	v := b.alone(tokens[skip:])
	v.take(b.alone(tokens))
	asks := longest(question, tokens[skip:]) > 0
	brief := weight(tokens[skip:]) <= 2*few && !asks
	for i := range tokens {
		for _, m := range b.at(tokens, i) {
			if negated(tokens[:i], m.language) || m.strength == whole || unsaid(tokens[i:], m) {
				continue
			}
			if m.strength == anywhere || brief || i == skip || i == 0 && !asks {
				v.take(b.said(tokens[:i], m))
			}
		}
	}
	return v
}

// alone reads a clause that holds nothing but phrases and their objects.
func (b *Book) alone(tokens []token) (v verdict) {
	for i := 0; i < len(tokens); {
		n := 0
		for _, m := range b.at(tokens, i) {
			if unsaid(tokens[i:], m) {
				return verdict{}
			}
			n = max(n, m.tokens)
		}
		for _, m := range b.at(tokens, i) {
			if m.tokens == n {
				v.take(b.said(tokens[:i], m))
			}
		}
		if i > 0 {
			n = max(n, longest(object, tokens[i:]), longest(courteous, tokens[i:]))
		}
		if n == 0 {
			return verdict{}
		}
		i += n
	}
	return v
}

// said is what a phrase means behind other words of its clause.
func (b *Book) said(before []token, m match) verdict {
	v := verdict{word: m.word, language: m.language}
	if m.word == Call && b.asked(before, m) {
		v.call, v.callIn = true, m.language
	}
	return v
}

// asked reports whether a phrase asks for a call though more is said, such as stop. "Don't text, call me" does, and so does
// "stop texting and call me"; "stop call me", "don't text or call me" and "no texts and no calls" want neither.
func (b *Book) asked(before []token, m match) bool {
	if len(before) == 0 {
		return true
	}
	before = before[max(0, len(before)-tied):]
	last := before[len(before)-1:]
	switch {
	case or[join(last)]:
		return !b.stops(before)
	case and[join(last)]:
		return !b.stops(before) || m.strength != whole && !denies(before)
	}
	for _, s := range b.senseOf(last) {
		if s.word == Stop {
			return false
		}
	}
	return true
}

// stops reports whether a phrase for Stop is among the tokens.
func (b *Book) stops(tokens []token) bool {
	for i := range tokens {
		for _, m := range b.at(tokens, i) {
			if m.word == Stop {
				return true
			}
		}
	}
	return false
}

// denies reports whether a negation is among the tokens.
func denies(tokens []token) bool {
	for i := range tokens {
		if longest(negation, tokens[i:]) > 0 {
			return true
		}
	}
	return false
}

// unsaid reports whether what follows a phrase for Stop takes it back: "I don't want these texts to end", "do not contact me by
// e-mail".
func unsaid(tokens []token, m match) bool {
	if m.word != Stop {
		return false
	}
	phrase, after := tokens[:m.tokens], tokens[m.tokens:]
	if longest(wanted, after) > 0 {
		return true
	}
	if !contact[join(phrase)] || longest(elsewhere, after) == 0 {
		return false
	}
	for i := range after {
		if texting[after[i].text] {
			return false
		}
	}
	return true
}

// match is a sense of a phrase of so many tokens. Its language is empty if its phrase does not tell.
type match struct {
	sense
	tokens int
}

// at returns the phrases that start at tokens[i], the longest first.
func (b *Book) at(tokens []token, i int) (found []match) {
	for n := min(b.longest[tokens[i].text], len(tokens)-i); n > 0; n-- {
		found = append(found, b.senseOf(tokens[i:i+n])...)
	}
	return found
}

func (b *Book) senseOf(tokens []token) (found []match) {
	for _, s := range b.senses[join(tokens)] {
		known := false
		for i := range found {
			if found[i].word == s.word { // one phrase of several languages
				found[i].language, found[i].strength, known = "", max(found[i].strength, s.strength), true
			}
		}
		if !known {
			found = append(found, match{s, len(tokens)})
		}
	}
	return found
}

// courtesy returns how many tokens in front are only polite.
func courtesy(tokens []token) (skip int) {
	for skip < len(tokens) {
		n := longest(courteous, tokens[skip:])
		if n == 0 {
			break
		}
		skip += n
	}
	return skip
}

// negated reports whether what stands before a phrase of a language turns it into its opposite.
func negated(before []token, language string) bool {
	for n := 1; n <= min(reach, len(before)); n++ {
		key := join(before[len(before)-n:])
		if negation[key] || language == "es" && no[key] {
			return true
		}
	}
	return false
}

// longest returns the length of the longest phrase of a set that the tokens begin with.
func longest(set map[string]bool, tokens []token) int {
	for n := min(reach, len(tokens)); n > 0; n-- {
		if set[join(tokens[:n])] {
			return n
		}
	}
	return 0
}

// weight counts words by halves.
func weight(tokens []token) (halves int) {
	for _, t := range tokens {
		halves += 2
		if t.half {
			halves--
		}
	}
	return halves
}

func join(tokens []token) string {
	if len(tokens) == 1 {
		return tokens[0].text
	}
	words := make([]string, len(tokens))
	for i, t := range tokens {
		words[i] = t.text
	}
	return strings.Join(words, " ")
}
