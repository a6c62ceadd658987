package audience

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"candor/pkg/roster"
	"candor/pkg/spell"
	candorv1 "candor/proto/candor/v1"
)

const (
	maxText  = 4096 // bytes
	maxDepth = 32   // of parentheses and nots
)

// ParseError says what is wrong with an audience, and where.
type ParseError struct {
	Offset  int // in bytes
	Message string
	Remedy  string
}

// Error names the place, the mistake and its remedy.
func (e *ParseError) Error() string {
	return fmt.Sprintf("column %d: %s; %s", e.Offset+1, e.Message, e.Remedy)
}

// told is the one test without a comparison.
const told = "told"

var (
	keys    = []string{told, "tier", "data", "country", "region", "time_zone", "language", "sms", "email", "call"}
	compare = []string{"=", "!=", "<", "<=", ">", ">="}
)

// Parse reads an audience.
func Parse(text string) (Audience, error) {
	if len(text) > maxText {
		return Audience{}, &ParseError{maxText, "too long", "name fewer values"}
	}
	tokens, err := scan(text)
	if err != nil {
		return Audience{}, err
	}
	p := parser{tokens: tokens}
	if p.peek().kind == end {
		return Audience{}, nil
	}
	if p.word("everyone") {
		if t := p.peek(); t.kind != end {
			return Audience{}, t.errorf("delete it, or delete everyone", "%s after everyone", t)
		}
		return Audience{}, nil
	}
	root, err := p.or(0)
	if err != nil {
		return Audience{}, err
	}
	if t := p.peek(); t.kind != end {
		return Audience{}, t.errorf("join tests with and or or", "%s where and, or or the end should stand", t)
	}
	return Audience{root}, nil
}

type kind uint8

const (
	end kind = iota
	word
	quoted
	symbol
)

type token struct {
	kind kind
	text string
	at   int
}

func (t token) String() string {
	if t.kind == end {
		return "the end"
	}
	return strconv.Quote(t.text)
}

func (t token) errorf(remedy, format string, args ...any) error {
	return &ParseError{t.at, fmt.Sprintf(format, args...), remedy}
}

func scan(text string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(text); {
		t := token{at: i}
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '"':
			length := strings.IndexAny(text[i+1:], "\"\n")
			if length < 0 || text[i+1+length] != '"' {
				return nil, t.errorf("close it", "a quotation that does not end")
			}
			t.kind, t.text = quoted, text[i+1:i+1+length]
			if !utf8.ValidString(t.text) {
				return nil, t.errorf("save the text as UTF-8", "a byte that is no text")
			}
			i += length + 2
		case strings.IndexByte("(),=", c) >= 0:
			t.kind, t.text = symbol, text[i:i+1]
			i++
		case c == '<' || c == '>' || c == '!':
			t.kind, t.text = symbol, text[i:i+1]
			if i+1 < len(text) && text[i+1] == '=' {
				t.text = text[i : i+2]
			}
			i += len(t.text)
		case inWord(c):
			start := i
			for i < len(text) && inWord(text[i]) {
				i++
			}
			t.kind, t.text = word, text[start:i]
		default:
			r, _ := utf8.DecodeRuneInString(text[i:])
			return nil, t.errorf("put a value with other characters than letters, digits, _ - / + in double quotes", "%q has no meaning here", r)
		}
		tokens = append(tokens, t)
	}
	return append(tokens, token{at: len(text)}), nil
}

func inWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '/' || c == '+'
}

// quote writes a value so that scan reads it back.
func quote(value string) string {
	for i := range len(value) {
		if !inWord(value[i]) {
			return `"` + value + `"`
		}
	}
	if value == "" {
		return `""`
	}
	return value
}

// parser walks the tokens; the last is always the end.
type parser struct{ tokens []token }

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) word(w string) bool   { return p.take(word, w) }
func (p *parser) symbol(s string) bool { return p.take(symbol, s) }

func (p *parser) take(k kind, text string) bool {
	if t := p.peek(); t.kind != k || !strings.EqualFold(t.text, text) {
		return false
	}
	p.next()
	return true
}

func (p *parser) or(depth int) (expr, error) {
	return p.chain("or", depth, p.and, func(parts []expr) expr { return anyOf(parts) })
}

func (p *parser) and(depth int) (expr, error) {
	return p.chain("and", depth, p.unary, func(parts []expr) expr { return allOf(parts) })
}

func (p *parser) chain(joint string, depth int, part func(int) (expr, error), join func([]expr) expr) (expr, error) {
	var parts []expr
	for {
		e, err := part(depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, e)
		if !p.word(joint) {
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return join(parts), nil
}

func (p *parser) unary(depth int) (expr, error) {
	t := p.peek()
	if depth == maxDepth {
		return nil, t.errorf("write it with fewer parentheses and nots", "nested too deeply")
	}
	switch {
	case p.word("not"):
		e, err := p.unary(depth + 1)
		return not{e}, err
	case p.symbol("("):
		e, err := p.or(depth + 1)
		if err == nil && !p.symbol(")") {
			err = p.peek().errorf("close the parenthesis with )", "%s where and, or or ) should stand", p.peek())
		}
		return e, err
	case t.kind == word:
		return p.test()
	default:
		return nil, t.errorf("write a test like tier <= 2 or country in (US, MX)", "%s where a test should stand", t)
	}
}

func (p *parser) test() (expr, error) {
	key := p.next()
	name := strings.ToLower(key.text)
	if !slices.Contains(keys, name) {
		return nil, key.errorf(spell.Remedy(key.text, keys), "%s is nothing to test", key)
	}
	if name == told {
		return toldTest{}, nil
	}
	if name == "data" {
		if t := p.peek(); !p.word("has") {
			return nil, t.errorf("write it like data has payment_card", "%s where has should stand", t)
		}
		return p.data()
	}
	op := p.next()
	if op.kind == word && strings.EqualFold(op.text, "in") {
		op.text = "in"
	} else if op.kind != symbol || !slices.Contains(compare, op.text) {
		return nil, op.errorf("compare with =, != or in, tiers also with <, <=, > and >=", "%s where a comparison should stand", op)
	}
	if name != "tier" && (op.text[0] == '<' || op.text[0] == '>') {
		return nil, op.errorf("compare with =, != or in", "%s has no order", name)
	}
	values, err := p.values(op.text == "in")
	if err != nil {
		return nil, err
	}
	switch name {
	case "tier":
		return newTierTest(op.text, values)
	case "country", "region", "time_zone", "language":
		return newPlaceTest(name, op.text, values)
	default:
		return newStateTest(name, op.text, values)
	}
}

func (p *parser) data() (expr, error) {
	t := p.next()
	var codes []string
	for _, k := range roster.AllDataKinds() {
		if t.kind == word && strings.EqualFold(t.text, k.String()) {
			return dataTest{k}, nil
		}
		codes = append(codes, k.String())
	}
	return nil, t.errorf(spell.Remedy(t.text, codes), "%s is no kind of data", t)
}

// values reads one value, or several in parentheses. Words that mean something elsewhere are plain values here: OR and IN are
// states of the USA.
func (p *parser) values(several bool) ([]token, error) {
	if several && !p.symbol("(") {
		return nil, p.peek().errorf("put the values in parentheses: in (a, b)", "%s where ( should stand", p.peek())
	}
	var values []token
	for {
		t := p.next()
		if t.kind != word && t.kind != quoted {
			return nil, t.errorf("write a value", "%s where a value should stand", t)
		}
		values = append(values, t)
		switch {
		case !several, p.symbol(")"):
			return values, nil
		case !p.symbol(","):
			return nil, p.peek().errorf("part values with commas and close with )", "%s where , or ) should stand", p.peek())
		}
	}
}

func newTierTest(op string, values []token) (expr, error) {
	e := tierTest{op: op}
	for _, t := range values {
		n, err := strconv.ParseUint(t.text, 10, 8)
		if err != nil || t.kind != word {
			return nil, t.errorf("write a number from 0 to 255", "%s is no tier", t)
		}
		e.numbers = append(e.numbers, uint8(n))
	}
	return e, nil
}

func newStateTest(name, op string, values []token) (expr, error) {
	e := stateTest{op: op}
	for _, ch := range roster.Channels() {
		if roster.ChannelName(ch) == name {
			e.channel = ch
		}
	}
	var words []string
	for s := candorv1.NoticeState_NOTICE_STATE_PLANNED; s <= candorv1.NoticeState_NOTICE_STATE_EXPIRED; s++ {
		words = append(words, candorv1.Word(s))
	}
	for _, t := range values {
		i := slices.Index(words, strings.ToLower(t.text))
		if i < 0 {
			return nil, t.errorf(spell.Remedy(t.text, words), "%s is no state of a notice", t)
		}
		e.states = append(e.states, candorv1.NoticeState_NOTICE_STATE_PLANNED+candorv1.NoticeState(i))
	}
	return e, nil
}

func newPlaceTest(key, op string, values []token) (expr, error) {
	e := placeTest{key: key, op: op}
	for _, t := range values {
		value := t.text
		switch {
		case value == "":
			return nil, t.errorf("write a value", "an empty %s", key)
		case key == "country":
			if len(value) != 2 || strings.ContainsFunc(value, func(r rune) bool { return r|0x20 < 'a' || r|0x20 > 'z' }) {
				return nil, t.errorf("write its two letters, like US", "%s is no country", t)
			}
			value = strings.ToUpper(value)
		case key == "language" && (len(value) < 2 || strings.ContainsAny(value, "_/+") || quote(value) != value):
			return nil, t.errorf("write its code, like es or es-MX", "%s is no language", t)
		}
		e.values = append(e.values, value)
	}
	return e, nil
}
