package playbook

import (
	"strings"
	"unicode/utf8"
)

// Text is a piece of wording, and knows where in its file each of its characters stands.
type Text struct {
	value string
	src   *source
	at    int // byte offset of the scalar in its file
	style byte
}

// How a scalar is written down.
const (
	plain   byte = 0
	literal byte = '|'
	folded  byte = '>'
	double  byte = '"'
	single  byte = '\''
	// verbatim stands in the file as it is.
	verbatim byte = 'v'
)

// String returns the wording.
func (t Text) String() string { return t.value }

// Mistake says what is wrong with the wording at a byte offset in it.
func (t Text) Mistake(offset int, message, remedy string) *MistakeError {
	if t.src == nil {
		return &MistakeError{Message: message, Remedy: remedy}
	}
	return t.src.mistake(t.locate(offset), message, remedy)
}

// locate returns the place in the file of a byte offset in the wording.
func (t Text) locate(offset int) int {
	offset = min(max(offset, 0), len(t.value))
	switch t.style {
	case verbatim:
		return t.at + offset
	case literal:
		line := strings.Count(t.value[:offset], "\n")
		start := strings.LastIndexByte(t.value[:offset], '\n') + 1
		length := strings.IndexByte(t.value[start:]+"\n", '\n')
		from, to := t.src.line(t.src.lineOf(t.at) + 1 + line)
		return min(max(from, to-length)+offset-start, to)
	case folded:
		from, _ := t.src.line(t.src.lineOf(t.at) + 1)
		return t.align(offset, from)
	case double, single:
		return t.align(offset, t.at+1)
	default:
		return t.align(offset, t.at)
	}
}

// align walks the wording and the file side by side: blanks and line ends were folded, quotes and escapes written out.
func (t Text) align(offset, at int) int {
	data, value := t.src.data, t.value
	blank := func(c byte) bool { return c == ' ' || c == '\n' || c == '\t' }
	for i := 0; ; {
		if t.style == double && strings.HasPrefix(data[at:], "\\\n") {
			at += 2
		}
		if i == 0 || blank(value[i-1]) {
			for at < len(data) && blank(data[at]) && (i >= offset || !blank(value[i])) {
				at++
			}
		}
		if i >= offset {
			return at
		}
		if at >= len(data) {
			return t.at
		}
		c, size := value[i], 1
		switch {
		case t.style == double && data[at] == '\\':
			_, size = utf8.DecodeRuneInString(value[i:])
			at += escapeLength(data[at:])
		case blank(c) && blank(data[at]):
			for at < len(data) && blank(data[at]) {
				at++
			}
			for i+size < offset && blank(value[i+size]) {
				size++
			}
		case c == '\'' && t.style == single:
			at += 2
		case c == data[at]:
			at++
		default:
			return t.at
		}
		i += size
	}
}

// escapeLength returns the bytes of the escape that s starts with.
func escapeLength(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	n := 2
	switch s[1] {
	case 'x':
		n = 4
	case 'u':
		n = 6
	case 'U':
		n = 10
	}
	return min(n, len(s))
}

// source is a file that a person wrote.
type source struct {
	file   string
	data   string
	starts []int // byte offset of each line
}

func newSource(file, data string) *source {
	s := &source{file: file, data: data, starts: []int{0}}
	for i := range len(data) {
		if data[i] == '\n' {
			s.starts = append(s.starts, i+1)
		}
	}
	return s
}

// line returns the byte offsets at which a line, counted from 1, starts and ends without its newline.
func (s *source) line(n int) (from, to int) {
	n = min(max(n, 1), len(s.starts))
	from, to = s.starts[n-1], len(s.data)
	if n < len(s.starts) {
		to = s.starts[n] - 1
	}
	return from, to
}

// offset returns the byte offset of a line and column, both counted from 1 and the column in characters.
func (s *source) offset(line, column int) int {
	from, to := s.line(line)
	for ; column > 1 && from < to; column-- {
		_, size := utf8.DecodeRuneInString(s.data[from:])
		from += size
	}
	return from
}

func (s *source) lineOf(offset int) int {
	line := 1
	for line < len(s.starts) && s.starts[line] <= offset {
		line++
	}
	return line
}

func (s *source) mistake(offset int, message, remedy string) *MistakeError {
	line := s.lineOf(offset)
	from, _ := s.line(line)
	return &MistakeError{s.file, line, utf8.RuneCountInString(s.data[from:offset]) + 1, message, remedy}
}
