package roster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// batchBytes is how much text a worker takes at a time, about a thousand rows.
	batchBytes = 128 << 10
	// maxRecord is the longest row. A quote that is opened and never closed would swallow the rest of the file.
	maxRecord = 1 << 20
)

var errLongRecord = fmt.Errorf("it is longer than %d KiB: most likely a quote is opened in it and never closed", maxRecord>>10)

// chunker cuts the text into batches that end where a row ends.
type chunker struct {
	r     io.Reader
	delim byte // 0 for NDJSON, where a line is a row whatever it quotes
	rest  []byte
	err   error // what ended the text; io.EOF at its end
}

// next returns the next batch, and with the last one the error that ended the text.
func (c *chunker) next() (string, error) {
	buf := make([]byte, 0, batchBytes+len(c.rest))
	buf = append(buf, c.rest...)
	c.rest = nil
	for {
		for c.err == nil && len(buf) < cap(buf) {
			n, err := c.r.Read(buf[len(buf):cap(buf)])
			buf, c.err = buf[:len(buf)+n], err
		}
		if c.err != nil && errors.Is(c.err, io.EOF) {
			return string(buf), io.EOF
		}
		end := c.lastEnd(buf)
		if c.err != nil {
			// The last row may be cut in two: it is not looked at.
			return string(buf[:end]), c.err
		}
		if end > 0 {
			c.rest = buf[end:]
			return string(buf[:end]), nil
		}
		if len(buf) > maxRecord {
			return "", errLongRecord
		}
		buf = append(make([]byte, 0, 2*cap(buf)), buf...)
	}
}

// lastEnd returns where the last whole row ends.
func (c *chunker) lastEnd(buf []byte) int {
	if c.delim == 0 || bytes.IndexByte(buf, '"') < 0 {
		return bytes.LastIndexByte(buf, '\n') + 1
	}
	end := 0
	for at := 0; at < len(buf); {
		line := bytes.IndexByte(buf[at:], '\n')
		if line < 0 {
			break
		}
		if bytes.IndexByte(buf[at:at+line], '"') < 0 {
			at += line + 1
			end = at
			continue
		}
		n, whole := recordLen(buf[at:], c.delim)
		if !whole {
			break
		}
		at += n
		end = at
	}
	return end
}

// recordLen returns the length of the first row of buf and whether its line end is there.
func recordLen(buf []byte, delim byte) (int, bool) {
	i := 0
	for {
		for i < len(buf) && (buf[i] == ' ' || buf[i] == '\t') && buf[i] != delim {
			i++
		}
		if i < len(buf) && buf[i] == '"' {
			i++
			for {
				q := bytes.IndexByte(buf[i:], '"')
				if q < 0 {
					return len(buf), false
				}
				i += q + 1
				if i < len(buf) && buf[i] == '"' {
					i++
					continue
				}
				if closes(buf[i:], delim) {
					break
				}
			}
		}
		for i < len(buf) && buf[i] != delim && buf[i] != '\n' {
			i++
		}
		if i == len(buf) {
			return i, false
		}
		i++
		if buf[i-1] == '\n' {
			return i, true
		}
	}
}

// closes says whether a quote closes its cell: only spaces may follow before the cell or the row ends. Any other is a stray one.
func closes[T string | []byte](rest T, delim byte) bool {
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == delim || c == '\n':
			return true
		case c != ' ' && c != '\t' && c != '\r':
			return false
		}
	}
	return true
}

// record cuts the first row off text. Cells that need no change are parts of it.
// open tells of a quote that is never closed.
func record(text string, delim byte, cells []string) (_ []string, rest string, open bool) {
	for {
		start := 0
		for start < len(text) && (text[start] == ' ' || text[start] == '\t') && text[start] != delim {
			start++
		}
		var cell string
		if start < len(text) && text[start] == '"' {
			cell, text, open = quoted(text[start+1:], delim)
			if open {
				return append(cells, cell), "", true
			}
		} else {
			end := start
			for end < len(text) && text[end] != delim && text[end] != '\n' {
				end++
			}
			cell, text = text[:end], text[end:]
			if (text == "" || text[0] == '\n') && strings.HasSuffix(cell, "\r") {
				cell = cell[:len(cell)-1]
			}
		}
		cells = append(cells, cell)
		if text == "" {
			return cells, "", false
		}
		ended := text[0] == '\n'
		text = text[1:]
		if ended {
			return cells, text, false
		}
	}
}

// quoted cuts off a cell whose opening quote is gone already; what is left starts at the delimiter or line end.
func quoted(text string, delim byte) (cell, rest string, open bool) {
	doubled := false
	for i := 0; ; {
		q := strings.IndexByte(text[i:], '"')
		if q < 0 {
			return text, "", true
		}
		i += q + 1
		if i < len(text) && text[i] == '"' {
			doubled = true
			i++
			continue
		}
		if !closes(text[i:], delim) {
			continue
		}
		cell = text[:i-1]
		if doubled {
			cell = strings.ReplaceAll(cell, `""`, `"`)
		}
		rest = text[i:]
		for rest != "" && rest[0] != delim && rest[0] != '\n' {
			rest = rest[1:]
		}
		return cell, rest, false
	}
}

// sniffDelimiter finds the delimiter that the header row is cut with: the one that makes the most known headers, then the most cells.
func sniffDelimiter(head string, known func(header string) bool) byte {
	best, bestKnown, bestCells := byte(','), -1, 0
	for _, d := range []byte{',', ';', '\t', '|'} {
		cells, _, _ := record(head, d, nil)
		n := 0
		for _, c := range cells {
			if known(c) {
				n++
			}
		}
		if n > bestKnown || n == bestKnown && len(cells) > bestCells {
			best, bestKnown, bestCells = d, n, len(cells)
		}
	}
	return best
}
