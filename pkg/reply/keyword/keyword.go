// Package keyword knows the words that customers text back: that they want no more texts, that they want them again, that
// they need help or a call, in the languages that people write in.
//
// In: what somebody wrote.   Out: what it means.   Crash: nothing to lose, these are pure functions.
package keyword

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Word is what somebody means.
type Word uint8

// The words, those that others give way to last.
const (
	None Word = iota
	Start
	Help
	Call
	Stop
	// StopCall is no more texts, but a call.
	StopCall
)

// String names the word as it is printed in messages.
func (w Word) String() string {
	switch w {
	case Start:
		return "START"
	case Help:
		return "HELP"
	case Call:
		return "CALL"
	case Stop:
		return "STOP"
	case StopCall:
		return "STOP_CALL"
	default:
		return "none"
	}
}

// strength is how much else may be said beside a phrase.
type strength uint8

const (
	whole strength = iota + 1
	short
	anywhere
)

// sense is one meaning of a phrase.
type sense struct {
	word     Word
	strength strength
	language string
}

// Book holds the phrases that are known. It does not change, and is safe for use by many goroutines.
type Book struct {
	senses map[string][]sense
	// longest phrase that begins with a token, in tokens.
	longest map[string]int
}

// Extra are words of a company's own in a language.
type Extra struct {
	Language         string
	Stop, Help, Call []string
}

// New returns the words that are always known, and the extra ones.
func New(extra ...Extra) *Book {
	if len(extra) == 0 {
		return builtin
	}
	b := &Book{senses: maps.Clone(builtin.senses), longest: maps.Clone(builtin.longest)}
	for _, e := range extra {
		for word, list := range map[Word][]string{Stop: e.Stop, Help: e.Help, Call: e.Call} {
			for _, w := range list {
				b.add(w, sense{word, short, e.Language})
			}
		}
	}
	return b
}

// builtin is made of lists. Nothing writes it after start.
var builtin = func() *Book {
	b := &Book{senses: map[string][]sense{}, longest: map[string]int{}}
	for _, l := range lists {
		for s, phrases := range map[strength]string{whole: l.whole, short: l.short, anywhere: l.anywhere} {
			for phrase := range strings.SplitSeq(phrases, ",") {
				b.add(phrase, sense{l.word, s, l.language})
			}
		}
	}
	return b
}()

func (b *Book) add(phrase string, s sense) {
	key, n := keyOf(phrase)
	if n == 0 {
		return
	}
	first, _, _ := strings.Cut(key, " ")
	b.longest[first] = max(b.longest[first], n)
	old := slices.Clone(b.senses[key]) // the clone of a map shares its values
	for i, o := range old {
		if o.word == s.word && o.language == s.language {
			old[i].strength = max(o.strength, s.strength)
			b.senses[key] = old
			return
		}
	}
	b.senses[key] = append(old, s)
}

// Known returns what a word means that is always known, and None for any other.
func Known(word string) Word {
	key, _ := keyOf(word)
	known := None
	for _, s := range builtin.senses[key] {
		known = max(known, s.word)
	}
	return known
}

// Key returns a word as it is compared: two words with one key cannot be told apart. It is empty for one without a letter.
func Key(word string) string {
	key, _ := keyOf(word)
	return key
}

func keyOf(phrase string) (key string, n int) {
	tokens := tokenize(phrase)
	words := make([]string, len(tokens))
	for i, t := range tokens {
		words[i] = t.text
	}
	return strings.Join(words, " "), len(words)
}

// phrases makes a set of a list. Nothing writes the sets after start.
func phrases(list string) map[string]bool {
	set := map[string]bool{}
	for phrase := range strings.SplitSeq(list, ",") {
		key, _ := keyOf(phrase)
		set[key] = true
	}
	return set
}

// token is one word; in scripts without blanks, one character.
type token struct {
	text string
	// half counts half a word.
	half bool
	// first of a clause.
	first bool
}

// maxTokens bounds the work: a text message has no more words that matter.
const maxTokens = 400

// tokenize cuts a text into words as they are compared: without case, accents, full width and punctuation.
func tokenize(s string) []token {
	var tokens []token
	var word []rune
	first := true
	end := func() {
		if len(word) > 0 {
			tokens = append(tokens, token{text: norm.NFC.String(string(word)), first: first})
			word, first = word[:0], false
		}
	}
	for _, r := range norm.NFKD.String(apostrophes.Replace(s)) {
		switch r = unicode.ToLower(unicode.ToUpper(r)); {
		case len(tokens) > maxTokens:
			return joinLetters(tokens)
		case accent(r) || unicode.Is(unicode.Cf, r):
		case r == 'ı':
			word = append(word, 'i')
		case letters[r] != "":
			word = append(word, []rune(letters[r])...)
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) && unicode.IsLetter(r):
			end()
			tokens = append(tokens, token{text: string(r), half: true, first: first})
			first = false
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			word = append(word, r)
		default:
			end()
			first = first || strings.ContainsRune(".!?;,:\n\r\u2026\u3002\u3001\u061f\u060c\u061b\u0964\u2013\u2014", r)
		}
	}
	end()
	return joinLetters(tokens)
}

// joinLetters makes one word of letters that stand apart: S T O P.
func joinLetters(tokens []token) []token {
	joined := tokens[:0]
	open := false // the last one joined is made of single letters
	for _, t := range tokens {
		single := !t.half && len([]rune(t.text)) == 1
		if n := len(joined); single && open {
			joined[n-1].text += t.text
			continue
		}
		joined, open = append(joined, t), single
	}
	return joined
}

// accent holds for marks that people leave out: not for the vowels of Indian scripts, nor for the voiced signs of kana.
func accent(r rune) bool {
	return r >= 0x300 && r <= 0x36f || r >= 0x591 && r <= 0x5c7 || r >= 0x64b && r <= 0x65f || r == 0x670 || r == 0x640
}

// apostrophes are left out, so that don't is one word.
var apostrophes = strings.NewReplacer("'", "", "’", "", "‘", "", "`", "", "´", "", "ʼ", "", "＇", "")

// letters are written in other ways where a keyboard lacks them. Nothing writes it after start.
var letters = map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'ł': "l", 'đ': "d"}
