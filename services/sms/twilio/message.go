package twilio

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
)

var (
	errJSON  = errors.New("not a JSON object")
	errNoSID = errors.New("no message sid")
)

const (
	maxDepth = 64
	maxWord  = 64
)

// message holds the fields of Twilio's answer that are read; sid and status are empty unless they are plain words.
type message struct{ sid, status, errorCode string }

// readMessage finds them without decoding the rest, but only in an answer that is valid JSON to its end.
func readMessage(b []byte) (message, error) {
	m := message{errorCode: "null"}
	s := scanner{b: b}
	s.space()
	if !s.take('{') {
		return message{}, errJSON
	}
	s.space()
	for first := true; !s.take('}'); first = false {
		if !first {
			if !s.take(',') {
				return message{}, errJSON
			}
			s.space()
		}
		key, ok := s.string()
		s.space()
		if !ok || !s.take(':') {
			return message{}, errJSON
		}
		s.space()
		start := s.i
		if !s.value(0) {
			return message{}, errJSON
		}
		value := b[start:s.i]
		s.space()
		switch string(unescape(key)) {
		case "sid":
			m.sid = word(value)
		case "status":
			m.status = word(value)
		case "error_code":
			m.errorCode = "null"
			if c := value[0]; '0' <= c && c <= '9' && len(value) <= 9 && strings.Trim(string(value), "0123456789") == "" {
				m.errorCode = string(value)
			}
		}
	}
	s.space()
	if s.i != len(b) {
		return message{}, errJSON
	}
	return m, nil
}

// unescape resolves the escapes in a key, which nobody writes but JSON allows.
func unescape(quoted []byte) []byte {
	for _, c := range quoted {
		if c == '\\' {
			var key string
			if json.Unmarshal(quoted, &key) != nil {
				return nil
			}
			return []byte(key)
		}
	}
	return quoted[1 : len(quoted)-1]
}

func word(value []byte) string {
	if len(value) < 3 || len(value) > maxWord+2 || value[0] != '"' {
		return ""
	}
	value = value[1 : len(value)-1]
	for _, c := range value {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && c != '-' {
			return ""
		}
	}
	return string(value)
}

// scanner steps over JSON. Its methods report whether what they stepped over was valid.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

func (s *scanner) value(depth int) bool {
	switch s.peek() {
	case '"':
		_, ok := s.string()
		return ok
	case '{':
		return s.list('}', depth, func() bool {
			_, ok := s.string()
			s.space()
			if !ok || !s.take(':') {
				return false
			}
			s.space()
			return s.value(depth + 1)
		})
	case '[':
		return s.list(']', depth, func() bool { return s.value(depth + 1) })
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) list(end byte, depth int, element func() bool) bool {
	if depth >= maxDepth {
		return false
	}
	s.i++
	s.space()
	for first := true; !s.take(end); first = false {
		if !first {
			if !s.take(',') {
				return false
			}
			s.space()
		}
		if !element() {
			return false
		}
		s.space()
	}
	return true
}

// plain steps over printable ASCII without quotes and backslashes, eight bytes at a time: most of an answer is just that.
func (s *scanner) plain() {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; s.i+8 <= len(s.b); s.i += 8 {
		x := binary.LittleEndian.Uint64(s.b[s.i:])
		// The high bit of a byte stays clear only if it is below 128, not below a blank, no quote and no backslash.
		if (x|(x-' '*ones)|((x^'"'*ones)-ones)|((x^'\\'*ones)-ones))&high != 0 {
			return
		}
	}
}

// string returns the string with its quotes.
func (s *scanner) string() ([]byte, bool) {
	start := s.i
	if !s.take('"') {
		return nil, false
	}
	s.plain()
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			return s.b[start:s.i], true
		case c < ' ':
			return nil, false
		case c == '\\':
			if !s.escape() {
				return nil, false
			}
		}
	}
	return nil, false
}

func (s *scanner) escape() bool {
	c := s.peek()
	s.i++
	if c != 'u' {
		return c != 0 && strings.IndexByte(`"\/bfnrt`, c) >= 0
	}
	for range 4 {
		if c := s.peek(); (c < '0' || c > '9') && (c < 'A' || c > 'F') && (c < 'a' || c > 'f') {
			return false
		}
		s.i++
	}
	return true
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}
