package roster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// sniffBytes is how much of a file decides what it is.
const sniffBytes = 64 << 10

// maxWindow bounds what a compressed file can make us allocate.
const maxWindow = 32 << 20

// source is the file as UTF-8 text, or near to it.
type source struct {
	*bufio.Reader
	compression string // "", "gzip" or "zstd"
	encoding    string
	ndjson      bool
	// mixed says that single cells may still be Windows-1252, because nothing at the start decided it.
	mixed bool
	close func()
}

// open finds out, from the bytes and never from a name, how the file is packed and written.
func open(r io.Reader) (*source, error) {
	s := &source{close: func() {}}
	b := bufio.NewReaderSize(r, sniffBytes)
	head, err := peek(b)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		s.compression = "gzip"
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("read gzip header: %w", err)
		}
		b = bufio.NewReaderSize(z, sniffBytes)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		s.compression = "zstd"
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("read zstd header: %w", err)
		}
		s.close = z.Close
		b = bufio.NewReaderSize(z, sniffBytes)
	}
	if s.compression != "" {
		if head, err = peek(b); err != nil {
			s.close()
			return nil, err
		}
	}
	if what := notText(head); what != "" {
		s.close()
		return nil, fmt.Errorf("this is %s, not a text file: save it as CSV (UTF-8) and import that", what)
	}
	var decoded io.Reader = b
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		s.encoding = "UTF-8 with BOM"
		if _, err := b.Discard(3); err != nil {
			return nil, err
		}
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), zeros(head, 1):
		s.encoding = "UTF-16 LE"
		decoded = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(b)
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}), zeros(head, 0):
		s.encoding = "UTF-16 BE"
		decoded = unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder().Reader(b)
	case validStart(head):
		s.encoding, s.mixed = "UTF-8", true
	default:
		s.encoding = "Windows-1252"
		decoded = charmap.Windows1252.NewDecoder().Reader(b)
	}
	if decoded != io.Reader(b) {
		b = bufio.NewReaderSize(decoded, sniffBytes)
	}
	if head, err = peek(b); err != nil {
		s.close()
		return nil, err
	}
	if bytes.IndexByte(head, '\n') < 0 && bytes.IndexByte(head, '\r') >= 0 {
		b = bufio.NewReaderSize(&oldMac{b}, sniffBytes)
		if head, err = peek(b); err != nil {
			s.close()
			return nil, err
		}
	}
	s.Reader = b
	trimmed := bytes.TrimLeft(head, " \t\r\n")
	s.ndjson = bytes.HasPrefix(trimmed, []byte("{"))
	if bytes.HasPrefix(trimmed, []byte("[")) {
		s.close()
		return nil, errors.New("this is one JSON array: write one JSON object per line (NDJSON), as with jq -c '.[]'")
	}
	return s, nil
}

// peek fills the buffer as far as the file goes.
func peek(b *bufio.Reader) ([]byte, error) {
	head, err := b.Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
		return nil, err
	}
	// An error after some bytes comes again when they are used up, and then with the row that was reached.
	return head, nil
}

func notText(head []byte) string {
	for _, m := range []struct{ magic, what string }{
		{"PK\x03\x04", "a zip file or an Excel workbook (.xlsx)"},
		{"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)"},
		{"%PDF", "a PDF"},
		{"PAR1", "a Parquet file"},
		{"BZh", "a bzip2 file"},
		{"\xfd7zXZ", "an xz file"},
		{"7z\xbc\xaf", "a 7-Zip file"},
		{"\x1f\x8b", "a gzip file in another compressed file"},
		{"SQLite format 3", "a database"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.what
		}
	}
	return ""
}

// zeros says whether the bytes look like UTF-16 without a mark: nearly every second byte is zero.
func zeros(head []byte, odd int) bool {
	head = head[:min(len(head), 1000)]
	n := 0
	for i := odd; i < len(head); i += 2 {
		if head[i] == 0 {
			n++
		}
	}
	return len(head) >= 4 && n > len(head)*3/8
}

// validStart says whether the bytes are UTF-8, but for a letter that the end cuts in two.
func validStart(head []byte) bool {
	for i := 0; i < utf8.UTFMax && len(head) == sniffBytes; i++ {
		if r, size := utf8.DecodeLastRune(head); r != utf8.RuneError || size != 1 {
			break
		}
		head = head[:len(head)-1]
	}
	return utf8.Valid(head)
}

// oldMac turns the lone carriage returns of an old Mac file into line feeds.
type oldMac struct{ r io.Reader }

// Read implements io.Reader.
func (m *oldMac) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	for i, c := range p[:n] {
		if c == '\r' {
			p[i] = '\n'
		}
	}
	return n, err
}

// from1252 reads a cell that is not UTF-8 as Windows-1252.
func from1252(s string) string {
	out, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil {
		return string(bytes.ToValidUTF8([]byte(s), []byte("\uFFFD")))
	}
	return out
}
