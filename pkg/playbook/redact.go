package playbook

import (
	"cmp"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// secretPlace finds what is sealed of a playbook: the addresses and secrets of the team.
var secretPlace = regexp.MustCompile(`^team\.(members\.[0-9]+\.(sms|email)|hooks\.[0-9]+\.(url|secret))$`)

// dialled finds what may be a telephone number, however it is written; online an e-mail or web address; dated a date, which looks
// like a number.
var (
	dialled = regexp.MustCompile(`\+?[0-9(][0-9()./\p{Zs}\p{Pd}]{5,}[0-9]`)
	online  = regexp.MustCompile(`(?i)https?://[^\s"']+|[^\s@"'<:]+@[^\s@"']+\.[a-z]{2,}`)
	dated   = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}`)
)

// leastDigits is how many digits in the team's section count as a telephone number, whosever it is.
const leastDigits = 9

// Redact puts marks in place of the addresses and secrets of the team, and returns the playbook's bytes, which are otherwise
// the same, and what each mark stands for. Marks that stand there already are left. mark must make what IsMark knows. A
// playbook with mistakes is refused, and so is one in which such an address stands anywhere else, or any address in the team's
// section where it is not sealed, comments included. No error names an address.
func Redact(name string, data []byte, mark func(address string) string) ([]byte, map[string]string, error) {
	p := &Playbook{}
	c := checker{decode(name, data, MaxBytes, p)}
	if c.read {
		c.playbook(p)
	}
	var places []placed
	for _, s := range c.strings {
		if secretPlace.MatchString(s.path) && !IsMark(strings.TrimSpace(s.text.value)) {
			places = append(places, s)
		}
	}
	if len(c.mistakes) > 0 {
		c.hush(places)
		return nil, nil, join(c.mistakes)
	}
	slices.SortFunc(places, func(a, b placed) int { return cmp.Compare(a.text.at, b.text.at) })
	original := newlines(data)
	var out []byte
	done, end := 0, 0 // how much of data, and of the source, is in out
	var outside []piece
	addresses := map[string]string{}
	for _, s := range places {
		from, to, ok := s.text.extent()
		if !ok {
			c.bad(s.path, "write it on one line, plainly or in quotes, without escapes", "%s is written in a way in which it cannot be sealed", last(s.path))
			continue
		}
		address := c.src.data[from:to]
		m := mark(address)
		if known, taken := addresses[m]; !IsMark(m) || taken && known != address {
			return nil, nil, errors.New("seal the team's addresses: a mark that is none, or stands for two addresses")
		}
		addresses[m] = address
		out = append(out, data[done:original(from)]...)
		if s.text.style == plain {
			m = `"` + m + `"` // it has a colon
		}
		out = append(out, m...)
		outside = append(outside, piece{end, c.src.data[end:from]})
		done, end = original(to), to
	}
	outside = append(outside, piece{end, c.src.data[end:]})
	for _, address := range slices.Sorted(maps.Values(addresses)) {
		c.elsewhere(address, outside)
	}
	c.leftovers(outside)
	if len(c.mistakes) > 0 {
		return nil, nil, join(c.mistakes)
	}
	return append(out, data[done:]...), addresses, nil
}

// hush takes the team's addresses out of mistakes that name them, because they stand where something else should.
func (c checker) hush(places []placed) {
	for _, m := range c.mistakes {
		said := strings.ToLower(m.Message + "\n" + m.Remedy)
		for _, s := range places {
			if address := strings.ToLower(strings.TrimSpace(s.text.value)); address != "" && strings.Contains(said, address) {
				m.Message, m.Remedy = "an address or secret of the team, where something else should stand", "delete it here"
			}
		}
	}
}

// piece is a part of a source.
type piece struct {
	at   int
	text string
}

// elsewhere looks for an address where it cannot be sealed.
func (c checker) elsewhere(address string, outside []piece) {
	const remedy = "delete it here: the team's addresses are kept apart from the playbook, and must stand nowhere else in it"
	lower, before := strings.ToLower(address), len(c.mistakes)
	if _, rest, isURL := strings.Cut(lower, "://"); isURL && strings.Contains(rest, "/") {
		lower = rest // it works as well without its scheme
	}
	for _, p := range outside {
		text := strings.ToLower(p.text)
		if len(text) == len(p.text) {
			if i := strings.Index(text, lower); i >= 0 {
				c.note(p.at+i, "an address or secret of the team, which stands in its place too", remedy)
			}
		} else if strings.Contains(text, lower) { // letters whose small form has another length
			c.note(p.at, "an address or secret of the team, which stands in its place too, somewhere from here on", remedy)
		}
		if !callerID.MatchString(address) {
			continue
		}
		for _, m := range dialled.FindAllStringIndex(p.text, -1) {
			run := p.text[m[0]:m[1]]
			if n := digits(run); !strings.Contains(run, address) && (strings.HasSuffix(address, n) || strings.Contains(n, address[max(1, len(address)-9):])) {
				c.note(p.at+m[0], "a telephone number of the team, which stands in its place too", remedy)
			}
		}
	}
	if len(c.mistakes) > before {
		return
	}
	for _, s := range c.strings { // written with escapes
		if !secretPlace.MatchString(s.path) && strings.Contains(strings.ToLower(s.text.value), lower) {
			c.note(s.text.at, "an address or secret of the team, which stands in its place too", remedy)
		}
	}
	for path, at := range c.keys {
		if strings.Contains(strings.ToLower(path), lower) {
			c.note(at, "an address or secret of the team, which stands in its place too", remedy)
		}
	}
}

// leftovers looks for addresses in the team's section that are not sealed, such as those of a member in a comment.
func (c checker) leftovers(outside []piece) {
	from, ok := c.keys["team"]
	if !ok {
		return
	}
	to := len(c.src.data)
	for path, at := range c.keys {
		if !strings.Contains(path, ".") && at > from {
			to = min(to, at)
		}
	}
	for _, line := range slices.Backward(strings.SplitAfter(c.src.data[from:to], "\n")) { // what follows at the left edge is no part of it
		if strings.HasPrefix(line, " ") && strings.TrimSpace(line) != "" || to-len(line) <= from {
			break
		}
		to -= len(line)
	}
	for _, p := range outside {
		begin, end := max(p.at, from), min(p.at+len(p.text), to)
		if begin >= end {
			continue
		}
		text := marks.ReplaceAllStringFunc(c.src.data[begin:end], func(m string) string { return strings.Repeat("x", len(m)) })
		found := online.FindAllStringIndex(text, -1)
		for _, m := range dialled.FindAllStringIndex(text, -1) {
			if run := text[m[0]:m[1]]; len(digits(dated.ReplaceAllString(run, ""))) >= leastDigits {
				found = append(found, m)
			}
		}
		for _, m := range found {
			m := c.src.mistake(begin+m[0], "an address in the team's section that would not be sealed",
				"delete it: only what stands at sms, email, url and secret is sealed, and comments are stored as they are")
			if !slices.ContainsFunc(c.mistakes, func(o *MistakeError) bool { return o.Line == m.Line }) {
				c.mistakes = append(c.mistakes, m)
			}
		}
	}
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// extent returns where the value of a scalar stands in the source, without quotes; false if it is not written down as it is.
func (t Text) extent() (from, to int, ok bool) {
	from, value := t.at, strings.TrimSpace(t.value)
	switch t.style {
	case double, single:
		from++
		rest := t.src.data[from:]
		from += len(rest) - len(strings.TrimLeft(rest, " \t"))
	case plain:
	default:
		return 0, 0, false
	}
	to = from + len(value)
	return from, to, strings.HasPrefix(t.src.data[from:], value) && !strings.ContainsAny(value, " \t\n\"'\\")
}

// newlines returns a function that turns an offset in a source into one in the data that it was made from, which may begin
// with a byte order mark and end its lines with \r\n.
func newlines(data []byte) func(int) int {
	text := strings.TrimPrefix(string(data), "\ufeff")
	lead := len(data) - len(text)
	var returns []int // offsets, in the source, of the newlines that lost a \r
	for i := 0; ; {
		n := strings.Index(text[i:], "\r\n")
		if n < 0 {
			break
		}
		returns = append(returns, i+n-len(returns))
		i += n + 2
	}
	return func(offset int) int {
		before, _ := slices.BinarySearch(returns, offset)
		return lead + offset + before
	}
}
