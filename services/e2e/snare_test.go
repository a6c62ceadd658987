package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"mime/quotedprintable"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
)

// snare finds words in bytes, however they are written there.
type snare struct{ byHead map[uint64][]needle }

type needle struct {
	what string
	text []byte
}

// headBytes of a needle are looked up at every place.
const headBytes = 6

func (s *snare) add(what string, text []byte) {
	if len(text) < headBytes {
		panic(what + " is too short to be told from noise")
	}
	k := head(text)
	s.byHead[k] = append(s.byHead[k], needle{what, text})
}

func head(b []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
}

// in returns what is found in b.
func (s *snare) in(b []byte) (found []string) {
	seen := map[string]bool{}
	for i := 0; i+headBytes <= len(b); i++ {
		for _, n := range s.byHead[head(b[i:])] {
			if !seen[n.what] && bytes.HasPrefix(b[i:], n.text) {
				seen[n.what] = true
				found = append(found, n.what)
			}
		}
	}
	return found
}

// newSnare lays out every word in every way of writing it that we know of.
func newSnare(words []string) *snare {
	s := &snare{byHead: map[uint64][]needle{}}
	for _, w := range words {
		for way, text := range writings(w) {
			s.add(way+" of "+w, text)
		}
	}
	return s
}

func writings(w string) map[string][]byte {
	ways := map[string][]byte{
		"plain": []byte(w), "lower case": []byte(strings.ToLower(w)), "upper case": []byte(strings.ToUpper(w)),
		"hex": []byte(hex.EncodeToString([]byte(w))), "HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(w)))),
		"query": []byte(url.QueryEscape(w)), "path": []byte(url.PathEscape(w)), "html": []byte(html.EscapeString(w)),
	}
	if b, err := json.Marshal(w); err == nil {
		ways["json"] = b[1 : len(b)-1]
	}
	var ascii, utf16le []byte
	for _, u := range utf16.Encode([]rune(w)) {
		utf16le = binary.LittleEndian.AppendUint16(utf16le, u)
		if u < 0x80 {
			ascii = append(ascii, byte(u))
		} else {
			ascii = fmt.Appendf(ascii, `\u%04x`, u)
		}
	}
	ways["ascii json"], ways["utf-16"] = ascii, utf16le
	var qp bytes.Buffer
	q := quotedprintable.NewWriter(&qp)
	_, _ = io.WriteString(q, w)
	_ = q.Close()
	ways["quoted-printable"] = qp.Bytes()
	// In base64 a word looks different at each of three places, and its edges depend on its neighbours.
	for shift := range 3 {
		raw := append(make([]byte, shift), w...)
		from, to := (shift*4+2)/3, len(raw)/3*4
		for name, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			ways[fmt.Sprintf("%s %d", name, shift)] = []byte(enc.EncodeToString(raw)[from:to])
		}
	}
	return ways
}

func TestTheSnareCatches(t *testing.T) {
	t.Parallel()
	const word = "Zóë Quillfeather"
	s := newSnare([]string{word})
	if found := s.in([]byte("nothing of it: Zoe Quillfeat her")); len(found) > 0 {
		t.Errorf("found %v in nothing", found)
	}
	for way, text := range writings(word) {
		if len(s.in([]byte("…"+string(text)+"…"))) == 0 {
			t.Errorf("%s is not found", way)
		}
	}
	for _, before := range []string{"", "a", "ab", "abc"} {
		if len(s.in([]byte(base64.StdEncoding.EncodeToString([]byte(before+word+" and more"))))) == 0 {
			t.Errorf("base64 after %q is not found", before)
		}
	}
}
