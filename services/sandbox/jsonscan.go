package sandbox

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

type valueKind uint8

const (
	kindNone valueKind = iota
	kindObject
	kindArray
	kindString
	kindNumber
	kindTrue
	kindFalse
	kindNull
)

func (k valueKind) String() string {
	return [...]string{"nothing", "object", "array", "string", "number", "boolean", "boolean", "null"}[k]
}

// scanner walks over JSON and accepts exactly what encoding/json does. Once it has failed every method does nothing.
type scanner struct {
	b       []byte
	i       int
	depth   int
	first   bool // just behind an opening bracket
	failed  bool
	scratch []byte // strings that are not in b as they are
}

const maxDepth = 10000 // as encoding/json

func (s *scanner) fail() {
	s.failed = true
	s.i = len(s.b)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// end requires that nothing but space is left.
func (s *scanner) end() {
	s.space()
	if s.i < len(s.b) {
		s.fail()
	}
}

// kind looks at the next value without reading it.
func (s *scanner) kind() valueKind {
	s.space()
	if s.i == len(s.b) {
		return kindNone
	}
	switch c := s.b[s.i]; {
	case c == '"':
		return kindString
	case c == '{':
		return kindObject
	case c == '[':
		return kindArray
	case c == '-' || '0' <= c && c <= '9':
		return kindNumber
	case c == 't':
		return kindTrue
	case c == 'f':
		return kindFalse
	case c == 'n':
		return kindNull
	}
	return kindNone
}

// enter steps into an object or array.
func (s *scanner) enter() {
	s.i++
	s.first = true
	if s.depth++; s.depth > maxDepth {
		s.fail()
	}
}

// next reports whether another element follows before the closing bracket, which it steps over.
func (s *scanner) next(end byte) bool {
	s.space()
	if s.i >= len(s.b) {
		s.fail()
		return false
	}
	c := s.b[s.i]
	if c == end {
		s.i++
		s.depth--
		s.first = false
		return false
	}
	if s.first {
		s.first = false
		return true
	}
	if c != ',' {
		s.fail()
		return false
	}
	s.i++
	return true
}

// key reads a member's name and the colon.
func (s *scanner) key() []byte {
	k := s.str()
	if s.i < len(s.b) && s.b[s.i] == ':' { // nearly always
		s.i++
		return k
	}
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != ':' {
		s.fail()
		return nil
	}
	s.i++
	return k
}

// plain marks the bytes that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// str reads a string.
func (s *scanner) str() []byte {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		s.fail()
		return nil
	}
	b, i := s.b, s.i+1
	from := i
	for i < len(b) && plain[b[i]] {
		i++
	}
	if i < len(b) && b[i] == '"' {
		s.i = i + 1
		return b[from:i]
	}
	return s.unquote(from, i)
}

// unquote reads a string that begins at from and is plain up to i.
func (s *scanner) unquote(from, i int) []byte {
	b, start := s.b, len(s.scratch)
	out := append(s.scratch, b[from:i]...) //nolint:gocritic // the scratch space is taken over by the caller
	for i < len(b) {
		c := b[i]
		switch {
		case c == '"':
			s.i, s.scratch = i+1, out
			return out[start:]
		case c < ' ':
			s.fail()
			return nil
		case c == '\\':
			var width int
			if out, width = unescape(out, b[i:]); width == 0 {
				s.fail()
				return nil
			}
			i += width
		case c < utf8.RuneSelf:
			run := i
			for i < len(b) && plain[b[i]] {
				i++
			}
			out = append(out, b[run:i]...)
		default:
			r, width := utf8.DecodeRune(b[i:])
			out = utf8.AppendRune(out, r)
			i += width
		}
	}
	s.fail()
	return nil
}

// unescape appends what an escape at the beginning of b stands for, and returns its width, 0 if it is none.
func unescape(out, b []byte) ([]byte, int) {
	if len(b) < 2 {
		return out, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return append(out, b[1]), 2
	case 'b':
		return append(out, '\b'), 2
	case 'f':
		return append(out, '\f'), 2
	case 'n':
		return append(out, '\n'), 2
	case 'r':
		return append(out, '\r'), 2
	case 't':
		return append(out, '\t'), 2
	case 'u':
		r, ok := hex4(b[2:])
		if !ok {
			return out, 0
		}
		if utf16.IsSurrogate(r) {
			if len(b) > 7 && b[6] == '\\' && b[7] == 'u' {
				if low, ok := hex4(b[8:]); ok {
					if both := utf16.DecodeRune(r, low); both != unicode.ReplacementChar {
						return utf8.AppendRune(out, both), 12
					}
				}
			}
			r = unicode.ReplacementChar
		}
		return utf8.AppendRune(out, r), 6
	}
	return out, 0
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip passes over any value.
func (s *scanner) skip() {
	switch s.kind() {
	case kindObject:
		for s.enter(); s.next('}'); {
			s.key()
			s.skip()
		}
	case kindArray:
		for s.enter(); s.next(']'); {
			s.skip()
		}
	case kindString:
		kept := len(s.scratch)
		s.str()
		s.scratch = s.scratch[:kept]
	case kindNumber:
		s.number()
	case kindTrue:
		s.word("true")
	case kindFalse:
		s.word("false")
	case kindNull:
		s.word("null")
	default:
		s.fail()
	}
}

func (s *scanner) word(w string) {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		s.fail()
		return
	}
	s.i += len(w)
}

func (s *scanner) number() {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		s.digits()
	}
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i == from {
		s.fail()
		return false
	}
	return true
}
