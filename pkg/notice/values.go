package notice

import (
	"html"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"candor/pkg/pii"
	"candor/pkg/roster"
	"candor/pkg/segment"
)

// value is one of a customer's own values in a text.
type value uint8

const (
	none value = iota
	givenName
	familyName
	code
	noticeDate
	// The same for the HTML part.
	givenNameHTML
	familyNameHTML
	numValues
)

var valueNames = [numValues]string{"", "given_name", "family_name", "code", "notice_date", "given_name_h", "family_name_h"}

func (v value) String() string { return valueNames[v] }

// tag stands for the value in an Email. No value contains a percent sign, and no text has two around a word, so that no tag
// can arise from what was filled in.
func (v value) tag() string { return tagOpen + valueNames[v] + tagClose }

const tagOpen, tagClose = "[%", "%]"

// firstMark begins a range of private use, which neither playbooks nor facts nor values contain.
const firstMark = '\uE000'

// mark stands for the value while a text is made.
func (v value) mark() rune { return firstMark + rune(v) }

func valueOf(r rune) value {
	if r > firstMark && r < firstMark+rune(numValues) {
		return value(r - firstMark)
	}
	return none
}

// inHTML returns the value as the HTML part takes it.
func (v value) inHTML() value {
	switch v {
	case givenName:
		return givenNameHTML
	case familyName:
		return familyNameHTML
	default:
		return v // letters, digits and hyphens, or words of ours
	}
}

// split cuts a text at its marks.
func split(text string) []part {
	var parts []part
	start := 0
	for i, r := range text {
		if v := valueOf(r); v != none {
			parts = append(parts, part{text[start:i], v})
			start = i + utf8.RuneLen(r)
		}
	}
	if start < len(text) {
		parts = append(parts, part{text[start:], none})
	}
	return parts
}

// assemble puts a text together.
func assemble(parts []part, values *[numValues]string) string {
	size := 0
	for _, p := range parts {
		size += len(p.literal) + len(values[p.value])
	}
	var b strings.Builder
	b.Grow(size)
	for _, p := range parts {
		b.WriteString(p.literal)
		b.WriteString(values[p.value])
	}
	return b.String()
}

// clean makes a value fit for one line of text: no control characters, nothing that turns the direction of writing, single
// blanks.
func clean(s string) string {
	blank := true // before the first character
	for i := 0; i < len(s); {
		if c := s[i]; c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r < 'À' || r > latin {
				return cleanSlow(s)
			}
			blank = false
			i += size
			continue
		} else if c < ' ' || c == 0x7F || c == ' ' && blank {
			return cleanSlow(s)
		} else {
			blank = c == ' '
		}
		i++
	}
	if blank && s != "" {
		return s[:len(s)-1]
	}
	return s
}

// latin ends the range of Unicode, from À on, that holds nothing but the letters of European names (and × and ÷).
const latin = 'ſ'

func cleanSlow(s string) string {
	var b strings.Builder
	blank := false
	for i, r := range s {
		switch {
		case unicode.IsSpace(r):
			blank = true
			continue
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"), unicode.In(r, unicode.Cc, unicode.Co, unicode.Zl, unicode.Zp), turns(r):
			continue
		}
		if blank && b.Len() > 0 {
			b.WriteByte(' ')
		}
		blank = false
		b.WriteRune(r)
	}
	return b.String()
}

// turns holds for the characters that change the direction of writing, and for a byte order mark.
func turns(r rune) bool {
	return unicode.Is(unicode.Bidi_Control, r) || r == '\uFEFF'
}

// foldGSM takes from letters the accents that GSM-7 lacks. A name of other letters stays as it is.
func foldGSM(s string) string {
	for i, r := range s {
		if segment.Width(r) == 0 {
			return foldFrom(s, i)
		}
	}
	return s
}

func foldFrom(s string, start int) string {
	var b strings.Builder
	b.Grow(len(s))
	b.WriteString(s[:start])
	for _, r := range s[start:] {
		switch {
		case segment.Width(r) > 0:
			b.WriteRune(r)
		case r >= 'À' && r <= latin && bases[r-'À'] != 0:
			b.WriteRune(bases[r-'À'])
		default:
			return foldSlow(s)
		}
	}
	return b.String()
}

// bases holds the letter without its accent for those of European names. Nothing writes it after start.
var bases = func() (bases [latin - 'À' + 1]rune) {
	for i := range bases {
		if r := base('À' + rune(i)); segment.Width(r) > 0 {
			bases[i] = r
		}
	}
	return bases
}()

// foldSlow folds any letter, and those whose accent is a character of its own.
func foldSlow(s string) string {
	var b strings.Builder
	for _, r := range norm.NFC.String(s) {
		if segment.Width(r) == 0 {
			r = base(r)
		}
		if segment.Width(r) == 0 {
			return s
		}
		b.WriteRune(r)
	}
	return b.String()
}

// base returns a letter without its accent.
func base(r rune) rune {
	switch r {
	case '’', '‘', 'ʼ', '`', '´':
		return '\''
	case 'ł':
		return 'l'
	case 'Ł':
		return 'L'
	case 'đ', 'ð':
		return 'd'
	case 'Đ', 'Ð':
		return 'D'
	case 'ı':
		return 'i'
	case 'ħ':
		return 'h'
	case 'Ħ':
		return 'H'
	}
	for _, part := range norm.NFD.String(string(r)) {
		return part // an accent stands behind its letter
	}
	return r
}

// values fills in what an e-mail needs.
func (t *Text) values(c *roster.Customer) (values [numValues]string) {
	values[givenName], values[familyName], values[code] = tagless(clean(c.GivenName.Reveal())), tagless(clean(c.FamilyName.Reveal())), codeOnly(c.Code)
	values[givenNameHTML], values[familyNameHTML] = html.EscapeString(values[givenName]), html.EscapeString(values[familyName])
	return values
}

// tagless keeps a value from containing a tag, or a part of one.
func tagless(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return strings.ReplaceAll(s, "%", "\uFF05")
}

// codeOnly leaves letters, digits and hyphens: a code is the same in text and HTML.
func codeOnly(s string) string {
	keep := func(r rune) bool {
		return 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-'
	}
	for _, r := range s {
		if !keep(r) {
			return strings.Map(func(r rune) rune {
				if keep(r) {
					return r
				}
				return -1
			}, s)
		}
	}
	return s
}

// Mask returns a customer like c whose name and code are hidden but for their first letter, for a preview.
func Mask(c *roster.Customer) *roster.Customer {
	hide := func(s string) string {
		s = clean(s)
		if s == "" {
			return ""
		}
		r, _ := utf8.DecodeRuneInString(s)
		return string(r) + "…"
	}
	m := *c
	m.GivenName, m.FamilyName = pii.NewName(hide(c.GivenName.Reveal())), pii.NewName(hide(c.FamilyName.Reveal()))
	m.Code = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return 'X'
		}
		return r
	}, c.Code)
	m.Ref, m.Email, m.Phones, m.Extensions, m.PostalCode = "", pii.Email{}, nil, nil, ""
	return &m
}

// dateWords writes a date as people who read the language do; languages that we do not know get 2026-11-22.
func dateWords(day time.Time, language string) string {
	if day.IsZero() {
		return ""
	}
	months := ""
	format := "D de M de Y"
	switch base, _, _ := strings.Cut(language, "-"); base {
	case "en":
		if language == "en" || language == "en-US" {
			return day.Format("January 2, 2006")
		}
		return day.Format("2 January 2006")
	case "es":
		months = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
	case "pt":
		months = "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro"
	case "fr":
		months, format = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre", "D M Y"
	case "it":
		months, format = "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre", "D M Y"
	case "de":
		months, format = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember", "D. M Y"
	default:
		return day.Format(time.DateOnly)
	}
	return strings.NewReplacer("D", day.Format("2"), "M", strings.Fields(months)[day.Month()-1], "Y", day.Format("2006")).Replace(format)
}
