package notice

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"candor/pkg/roster"
)

// A message that people read on the worst day of their week: short sentences, short words. The lists of addresses and numbers
// that the law asks for are left out.
func TestStarterIsEasyToRead(t *testing.T) {
	t.Parallel()
	for _, text := range starterTexts(t, email) {
		language := text.language
		for _, c := range []*roster.Customer{everything(), customer("Ana", "", roster.PaymentCard), customer("", "")} {
			_, plain, _, err := text.RenderEmail(c)
			if err != nil {
				t.Fatal(err)
			}
			sentences, words, syllables, longest := 0, 0, 0, ""
			for _, s := range sentencesOf(plain) {
				ws := strings.Fields(s)
				sentences++
				words += len(ws)
				for _, w := range ws {
					syllables += syllablesIn(w, language)
				}
				if len(ws) > len(strings.Fields(longest)) {
					longest = s
				}
			}
			perSentence, perWord := float64(words)/float64(sentences), float64(syllables)/float64(words)
			t.Logf("%s: %d words, %.1f a sentence, %.2f syllables a word, longest: %q", language, words, perSentence, perWord, longest)
			switch language {
			case "en":
				if grade, ease := 0.39*perSentence+11.8*perWord-15.59, 206.835-1.015*perSentence-84.6*perWord; grade > 6 || ease < 70 {
					t.Errorf("grade %.1f, ease %.0f:\n%s", grade, ease, plain)
				}
			case "es":
				if ease := 206.84 - 1.02*perSentence - 60*perWord; ease < 70 { // Fernández Huerta
					t.Errorf("ease %.0f:\n%s", ease, plain)
				}
			}
			if n := len(strings.Fields(longest)); n > 25 {
				t.Errorf("%s: a sentence of %d words: %s", language, n, longest)
			}
		}
	}
}

var (
	addresses = regexp.MustCompile(`(?m)^(- (Equifax|Experian|TransUnion)|.*(Harbor Street|Pennsylvania Avenue)).*$`)
	sentence  = regexp.MustCompile(`[.!?:]+(\s|$)|\n`)
)

func sentencesOf(text string) (all []string) {
	for _, s := range sentence.Split(addresses.ReplaceAllString(text, ""), -1) {
		s = strings.TrimSpace(strings.TrimLeft(s, "-0123456789. "))
		if len(strings.Fields(s)) > 2 {
			all = append(all, s)
		}
	}
	return all
}

// syllablesIn counts groups of vowels, which overstates English and fits Spanish.
func syllablesIn(word, language string) int {
	vowels, groups, before := "aeiouáéíóúü", 0, false
	if language == "en" {
		vowels += "y"
	}
	word = strings.ToLower(strings.TrimFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }))
	for _, r := range word {
		is := strings.ContainsRune(vowels, r)
		if is && !before {
			groups++
		}
		before = is
	}
	if language == "en" && groups > 1 && strings.HasSuffix(word, "e") && !strings.HasSuffix(word, "le") {
		groups--
	}
	return max(1, groups)
}
