// Package noticeid writes and reads the opaque ids of notices: what every request carries to a provider, and every receipt brings
// back.
//
// In: a notice's natural key and an attempt; a string from a provider's callback.   Out: the id; the key and the attempt.
// Crash: nothing to lose, the same key and attempt always have the same id.
//
// An id is <notice>.<attempt>.<mac>: the natural key in base64url, the attempt in decimal, and an HMAC-SHA256 under the installation's
// key, cut to 96 bits. All of it may stand in a path. It holds no personal data, and nobody outside can make one: a callback
// with a guessed id is refused before anything else is looked at.
package noticeid

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"strconv"
	"strings"
	"sync"

	candorv1 "candor/proto/candor/v1"
)

const (
	macBytes = 12
	macChars = macBytes / 3 * 4
	maxChars = 1024 // an id longer than this is nobody's; its MAC is not worth computing
)

// ErrInvalid says that a string is no id of this installation.
var ErrInvalid = errors.New("not a notice id of this installation")

// base64url is strict: with spare bits allowed, two strings would be one notice.
var base64url = base64.RawURLEncoding.Strict()

// Key is the natural key of a notice.
type Key struct {
	Incident, Wave string
	Channel        candorv1.Channel
	Page, Slot     uint32
}

// Codec writes and reads ids; it is safe for use by many goroutines.
type Codec struct{ states sync.Pool }

// state is what one id needs while it is made, kept because making an HMAC costs more than using it.
type state struct {
	mac hash.Hash
	sum [sha256.Size]byte
	key [128]byte
}

// New returns the codec of the installation whose key this is.
func New(key []byte) *Codec {
	c := &Codec{}
	c.states.New = func() any { return &state{mac: hmac.New(sha256.New, key)} }
	return c
}

// Append appends the id of an attempt at a notice to dst.
func (c *Codec) Append(dst []byte, k Key, attempt uint32) []byte {
	s := c.states.Get().(*state)
	dst = s.append(dst, k, attempt)
	c.states.Put(s)
	return dst
}

func (s *state) append(dst []byte, k Key, attempt uint32) []byte {
	start := len(dst)
	dst = base64url.AppendEncode(dst, appendKey(s.key[:0], k))
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, uint64(attempt), 10)
	mac := s.sign(dst[start:])
	dst = append(dst, '.')
	return base64url.AppendEncode(dst, mac)
}

// Notice returns the part of the notice's ids before the first dot, which all its attempts share.
func (c *Codec) Notice(k Key) string {
	return base64url.EncodeToString(appendKey(nil, k))
}

// Of says whether a notice, as Notice writes it, belongs to the incident. Whose it is can be read without the key; that it is
// genuine cannot.
func Of(incident string, notice []byte) bool {
	b := make([]byte, base64url.DecodedLen(len(notice)))
	n, err := base64url.Decode(b, notice)
	r := reader{b: b[:n]}
	return err == nil && r.string() == incident && !r.bad
}

// Parse returns the notice and the attempt of an id that this installation made, and ErrInvalid for every other string.
func (c *Codec) Parse(id string) (k Key, attempt uint32, err error) {
	if len(id) > maxChars {
		return Key{}, 0, ErrInvalid
	}
	body, mac, ok := cutLast(id)
	if !ok || !c.authentic(body, mac) {
		return Key{}, 0, ErrInvalid
	}
	notice, number, _ := strings.Cut(body, ".")
	binaryKey, err := base64url.DecodeString(notice)
	if err != nil {
		return Key{}, 0, ErrInvalid
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return Key{}, 0, ErrInvalid
	}
	if k, ok = parseKey(binaryKey); !ok {
		return Key{}, 0, ErrInvalid
	}
	return k, uint32(n), nil
}

// authentic reports whether we made this. What we make has one spelling only, so a string that passes is also canonical.
func (c *Codec) authentic(body, mac string) bool {
	if len(mac) != macChars {
		return false
	}
	got, err := base64url.DecodeString(mac)
	if err != nil {
		return false
	}
	s := c.states.Get().(*state)
	defer c.states.Put(s)
	return hmac.Equal(got, s.sign([]byte(body)))
}

func (s *state) sign(text []byte) []byte {
	s.mac.Reset()
	_, _ = s.mac.Write(text) // a hash never fails
	return s.mac.Sum(s.sum[:0])[:macBytes]
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// appendKey writes the key with the slot last, so that the ids of a page differ only in their last characters.
func appendKey(dst []byte, k Key) []byte {
	dst = appendString(dst, k.Incident)
	dst = appendString(dst, k.Wave)
	dst = binary.AppendUvarint(dst, uint64(uint32(k.Channel)))
	dst = binary.AppendUvarint(dst, uint64(k.Page))
	return binary.AppendUvarint(dst, uint64(k.Slot))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseKey undoes appendKey. Only authentic bytes come here, so it need not insist on the shortest spelling.
func parseKey(b []byte) (k Key, ok bool) {
	r := reader{b: b}
	k.Incident = r.string()
	k.Wave = r.string()
	k.Channel = candorv1.Channel(int32(r.uint32()))
	k.Page = r.uint32()
	k.Slot = r.uint32()
	return k, !r.bad && len(r.b) == 0
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint32() uint32 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > 1<<32-1 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

func (r *reader) string() string {
	n := r.uint32()
	if uint64(n) > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
