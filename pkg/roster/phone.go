package roster

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

// number is one telephone number as the file wrote it.
type number struct {
	e164 string
	ext  string
	code int
	kind phonenumbers.PhoneNumberType
}

// takesText says whether a text to the number can reach its owner. Behind a number with an extension is somebody's switchboard.
func (n number) takesText() bool {
	if n.ext != "" {
		return false
	}
	switch n.kind {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE, phonenumbers.VOIP, phonenumbers.PERSONAL_NUMBER:
		return true
	}
	return false
}

// geographic does what the library does behind its unexported isNumberGeographical.
func (n number) geographic() bool {
	return n.kind == phonenumbers.FIXED_LINE || n.kind == phonenumbers.FIXED_LINE_OR_MOBILE ||
		n.kind == phonenumbers.MOBILE && phonenumbers.GEO_MOBILE_COUNTRIES[int32(n.code)]
}

// phoneReader reads cells with numbers. It belongs to one goroutine.
type phoneReader struct {
	world    *world
	automata map[*plan]*automaton
	fallback string // region of numbers without a calling code, when the row's own country does not make them valid
}

func newPhoneReader(defaultCountry string) (*phoneReader, error) {
	w, err := worldPlans()
	if err != nil {
		return nil, err
	}
	return &phoneReader{world: w, automata: map[*plan]*automaton{}, fallback: defaultCountry}, nil
}

// phoneNote says what was odd about a cell.
type phoneNote uint16

const (
	noteDamaged    phoneNote = 1 << iota // a spreadsheet wrote the number as 4.47911E+11
	noteUnusable                         // a part that is no valid number
	noteExtension                        // an extension was cut off
	noteSeveral                          // more than one number in one cell
	noteIDD                              // 00 or 011 was read as +
	noteElsewhere                        // valid for the default country and not for the row's own
	noteTooMany                          // more numbers than a customer keeps
	notePhoneCount = 7
)

var phoneNoteNames = [notePhoneCount]string{
	"phone_damaged_by_spreadsheet", "phone_unusable", "phone_extension", "phone_several_in_cell",
	"phone_international_prefix", "phone_of_default_country", "phone_too_many",
}

// read appends the cell's numbers to dst. shown is a damaged number as a report may show it.
func (r *phoneReader) read(cell, country string, dst []number) (_ []number, note phoneNote, shown string) {
	cell = strings.TrimSpace(cell)
	if isNothing(cell) {
		return dst, 0, ""
	}
	if len(cell) > maxCell {
		return dst, noteUnusable, ""
	}
	before := len(dst)
	dst, note, shown = r.readPart(cell, country, dst, 0)
	if len(dst)-before > 1 {
		note |= noteSeveral
	}
	return dst, note, shown
}

// readPart takes a part as one number if it is one, and else cuts it at the next weaker kind of separator.
func (r *phoneReader) readPart(part, country string, dst []number, level int) (_ []number, note phoneNote, shown string) {
	part = unwrapSpreadsheet(strings.TrimSpace(part))
	if isNothing(part) {
		return dst, 0, ""
	}
	if damagedNumber(part) {
		return dst, noteDamaged, showDamaged(part)
	}
	if level > 0 || !strings.ContainsAny(part, ";|\n") {
		// An extension of seven digits is a second number.
		if n, note, ok := r.one(part, country); ok && len(n.ext) < 7 {
			dst, note = r.keep(dst, n, note)
			return dst, note, ""
		}
	}
	for ; level < 3; level++ {
		parts := splitNumbers(part, level)
		if len(parts) < 2 {
			continue
		}
		if len(parts) > 2*maxPhones {
			parts, note = parts[:2*maxPhones], noteTooMany
		}
		for _, p := range parts {
			var n phoneNote
			var s string
			dst, n, s = r.readPart(p, country, dst, level+1)
			note |= n
			if s != "" {
				shown = s
			}
		}
		return dst, note, shown
	}
	return dst, noteUnusable, ""
}

func (r *phoneReader) keep(dst []number, n number, note phoneNote) ([]number, phoneNote) {
	if n.ext != "" {
		note |= noteExtension
	}
	for _, d := range dst {
		if d.e164 == n.e164 && d.ext == n.ext {
			return dst, note // the same number in two columns is one
		}
	}
	if len(dst) == maxPhones {
		return dst, note | noteTooMany
	}
	return append(dst, n), note
}

// one reads a single number: for the row's own country first, then for the default one.
func (r *phoneReader) one(s, country string) (number, phoneNote, bool) {
	first := country
	if first == "" {
		first = r.fallback
	}
	if n, ok := r.parse(s, first); ok {
		return n, 0, true
	}
	// 00 and 011 are how two thirds of the world and North America dial abroad, wherever the row's owner lives.
	for _, idd := range []string{"00", "011"} {
		if rest, ok := strings.CutPrefix(s, idd); ok {
			if n, ok := r.parse("+"+rest, first); ok {
				return n, noteIDD, true
			}
		}
	}
	if first != r.fallback && !strings.HasPrefix(s, "+") {
		if n, ok := r.parse(s, r.fallback); ok {
			return n, noteElsewhere, true
		}
	}
	return number{}, 0, false
}

func (r *phoneReader) parse(s, region string) (number, bool) {
	if n, ok := r.plain(s, region); ok {
		return n, true
	}
	return askLibrary(s, region)
}

// askLibrary is the verdict that plain must agree with.
func askLibrary(s, region string) (number, bool) {
	p, err := phonenumbers.Parse(s, region)
	if err != nil {
		return number{}, false
	}
	kind := phonenumbers.GetNumberType(p)
	if kind == phonenumbers.UNKNOWN { // exactly then IsValidNumber says no
		return number{}, false
	}
	return number{phonenumbers.Format(p, phonenumbers.E164), p.GetExtension(), int(p.GetCountryCode()), kind}, true
}

// plain reads numbers made of digits and the usual marks, without an extension or a national prefix. It only ever says yes;
// whatever it does not know, and every no, is for the library to say.
func (r *phoneReader) plain(s, region string) (number, bool) {
	var buf [phonenumbers.MAX_LENGTH_FOR_NSN + phonenumbers.MAX_LENGTH_COUNTRY_CODE]byte
	n, plus := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			if n == len(buf) {
				return number{}, false
			}
			buf[n] = c
			n++
		case c == ' ' || c == '-' || c == '(' || c == ')' || c == '.':
		case c == '+' && n == 0 && !plus:
			plus = true
		default:
			return number{}, false
		}
	}
	if n < 7 || buf[0] == '0' {
		return number{}, false
	}
	digits := buf[:n]
	var p *plan
	if plus {
		code := 0
		for i := 0; i < phonenumbers.MAX_LENGTH_COUNTRY_CODE && p == nil; i++ {
			code = code*10 + int(digits[i]-'0')
			if p = r.world.codes[code]; p != nil {
				digits = digits[i+1:]
			}
		}
		if p == nil || !p.plain[digits[0]-'0'] {
			return number{}, false
		}
	} else {
		home, ok := r.world.national[region]
		if !ok || !home.plain[digits[0]-'0'] {
			return number{}, false
		}
		p = home.plan
		if strings.HasPrefix(string(digits), p.digits) {
			digits = digits[len(p.digits):]
			if n <= home.longest || !home.plain[digits[0]-'0'] || !p.plain[digits[0]-'0'] {
				return number{}, false
			}
		}
	}
	if len(digits) < 4 || len(digits) > phonenumbers.MAX_LENGTH_FOR_NSN || digits[0] == '0' {
		return number{}, false
	}
	a := r.automata[p]
	if a == nil {
		a = newAutomaton(p)
		r.automata[p] = a
	}
	kind, ok := a.numberType(digits)
	if !ok || kind == phonenumbers.UNKNOWN {
		return number{}, false
	}
	if plus && len(s) == n+1 {
		return number{e164: s, code: p.code, kind: kind}, true
	}
	e164 := make([]byte, 0, 1+len(p.digits)+len(digits))
	e164 = append(append(append(e164, '+'), p.digits...), digits...)
	return number{e164: string(e164), code: p.code, kind: kind}, true
}

// unwrapSpreadsheet takes off what spreadsheets and data frames put around a number to keep it: '2125550156, ="2125550156", 2125550156.0.
func unwrapSpreadsheet(s string) string {
	s = strings.TrimPrefix(s, "'")
	if inner, ok := strings.CutPrefix(s, `="`); ok {
		if inner, ok = strings.CutSuffix(inner, `"`); ok {
			s = inner
		}
	}
	if whole, ok := strings.CutSuffix(s, ".0"); ok && len(whole) >= 7 {
		if _, err := strconv.ParseUint(whole, 10, 64); err == nil {
			return whole
		}
	}
	return s
}

// damagedNumber recognises 4.47911E+11 and 2,12556E+09: a spreadsheet has thrown the other digits away.
func damagedNumber(s string) bool {
	s = strings.TrimPrefix(s, "+")
	mantissa, exponent, ok := strings.Cut(strings.ToUpper(s), "E")
	if !ok {
		return false
	}
	exponent = strings.TrimPrefix(exponent, "+")
	whole, fraction, _ := strings.Cut(strings.ReplaceAll(mantissa, ",", "."), ".")
	return allDigits(whole) && len(whole) <= 3 && (fraction == "" || allDigits(fraction)) && allDigits(exponent) && len(exponent) <= 2
}

// showDamaged shows a damaged number only when too few of its digits are left to be anybody's.
func showDamaged(s string) string {
	digits := 0
	for _, c := range s {
		if c == 'e' || c == 'E' {
			break
		}
		if unicode.IsDigit(c) {
			digits++
		}
	}
	if digits > 6 {
		return ""
	}
	return s
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// splitNumbers cuts a cell with several numbers: at what can only part numbers, at what can also be inside one, at blanks.
func splitNumbers(s string, level int) []string {
	switch level {
	case 0:
		for _, word := range []string{" or ", " and ", " o ", " y ", " u "} {
			s = strings.ReplaceAll(s, word, ";")
		}
		return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(";|\n\r\t&", r) })
	case 1:
		return strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == ',' })
	}
	words := strings.Fields(s)
	for _, w := range words {
		digits := 0
		for _, r := range w {
			if unicode.IsDigit(r) {
				digits++
			}
		}
		if digits < 7 {
			return nil
		}
	}
	return words
}
