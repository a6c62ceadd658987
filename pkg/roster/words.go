package roster

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// foldWord reduces a word to what people mean by it: no case, accents or punctuation, single spaces.
func foldWord(s string) string {
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if !ascii {
		s = norm.NFKD.String(s)
	}
	var b strings.Builder
	b.Grow(len(s))
	gap := false
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Mn, r):
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if gap && b.Len() > 0 {
				b.WriteByte(' ')
			}
			gap = false
			b.WriteRune(unicode.ToLower(r))
		default:
			gap = true
		}
	}
	return b.String()
}

// foldHeader is foldWord without spaces: "E-mail Address" and "email_address" are one header.
func foldHeader(s string) string { return strings.ReplaceAll(foldWord(s), " ", "") }

// safeWord returns a word of the file for a report. A word can be anything when a column is not what its header says,
// so whatever looks like an address or a number stays out.
func safeWord(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	digits := 0
	for _, r := range s {
		if unicode.IsDigit(r) {
			digits++
		}
		if r == '@' || digits > 4 {
			return "(hidden: it may be personal data)"
		}
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if rs := []rune(s); len(rs) > 40 {
		s = string(rs[:39]) + "…"
	}
	return s
}

// isNothing says whether a cell says that there is nothing, as people write it.
func isNothing(s string) bool {
	if len(s) > 12 {
		return false
	}
	switch strings.ToLower(s) {
	case "", "-", "--", "---", ".", "?", "0", "x", "n/a", "na", "n.a.", "n.d.", "nd", "n/d", "s/n", "#n/a", "none", "null", "nil", "nan", "no", "unknown",
		"ninguno", "ninguna", "nada", "no tiene", "desconocido", "no aplica", "vacio", "vacío", "(none)", "(null)", "#null!", "#value!", "#ref!", "#¡valor!", "#¡ref!":
		return true
	}
	return false
}

// tidy makes a text a single line without control or direction characters, and says whether that changed anything but outer spaces.
func tidy(s string) (string, bool) {
	s = strings.TrimSpace(s)
	plain := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == 0x7f || c >= utf8.RuneSelf || c == ' ' && s[i-1] == ' ' {
			plain = false
			break
		}
	}
	if plain {
		return s, false
	}
	var b strings.Builder
	b.Grow(len(s))
	gap, changed := false, false
	for _, r := range s {
		if unicode.IsSpace(r) {
			changed = changed || gap || r != ' '
			gap = true
			continue
		}
		// Cf holds zero-width and direction marks, but also the joiners that some scripts and emoji need.
		if unicode.IsControl(r) || r == '\uFEFF' || unicode.Is(unicode.Cf, r) && r != '\u200C' && r != '\u200D' {
			changed = true
			continue
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	return b.String(), changed
}
