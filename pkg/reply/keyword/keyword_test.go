package keyword

import (
	"strings"
	"testing"
	"unicode"
)

// Every character is compared without its case, whatever way it is written.
func TestNoCharacterHasACase(t *testing.T) {
	t.Parallel()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		s := string(r)
		if !unicode.IsLetter(r) && !unicode.IsMark(r) || s == "\ufffd" {
			continue
		}
		key := Key("x" + s)
		for _, other := range []string{strings.ToUpper(s), strings.ToLower(s), strings.ToTitle(s)} {
			if got := Key("x" + other); got != key {
				t.Errorf("%U is %q, and %q as %q", r, key, got, other)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ a, b string }{
		{"arrêt", "ARRET"},
		{"ＳＴＯＰ", "stop"},
		{"S.T.O.P.", "stop"},
		{"don’t", "DONT"},
		{"opt-out", "Opt Out"},
		{"ｽﾄｯﾌﾟ", "ストップ"},
		{"DỪNG", "dung"},
		{"إلغاء", "الغاء"},
		{"Löschen", "loschen"},
		{"st\u200bop", "stop"},
		{"ſtop", "stop"},
	} {
		if Key(tt.a) != Key(tt.b) {
			t.Errorf("%q is %q, and %q is %q", tt.a, Key(tt.a), tt.b, Key(tt.b))
		}
	}
}

// A phrase of the lists means what its list says, alone, and in capitals.
func TestEveryKnownPhraseIsRead(t *testing.T) {
	t.Parallel()
	b := New()
	for _, l := range lists {
		for phrases := range strings.SplitSeq(strings.Join([]string{l.whole, l.short, l.anywhere}, ","), ",") {
			phrase := strings.TrimSpace(phrases)
			if phrase == "" {
				continue
			}
			for _, text := range []string{phrase, strings.ToUpper(phrase) + "!!", "«" + phrase + "»."} {
				if got, language := b.Read(text); got != l.word || language != "" && language != l.language {
					t.Errorf("%q (%s) reads as %s in %q, want %s", text, l.language, got, language, l.word)
				}
			}
		}
	}
}

func TestKnown(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]Word{"BAJA": Stop, "Stop": Stop, "ayuda": Help, "rückruf": Call, "unstop": Start, "zorkmid": None, "": None, "!": None} {
		if got := Known(word); got != want {
			t.Errorf("Known(%q) = %s, want %s", word, got, want)
		}
	}
}
