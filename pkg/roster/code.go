package roster

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// crockford has no I, L, O or U: a code is read out on the telephone.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// coder derives customers' codes from the incident's key: 45 bits that nobody can guess from a reference.
type coder struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

func newCoder(key []byte) *coder { return &coder{mac: hmac.New(sha256.New, key)} }

// code returns the customer's code as a number; n counts the collisions before.
func (c *coder) code(ref string, n uint32) uint64 {
	c.mac.Reset()
	c.mac.Write([]byte(ref))
	if n > 0 {
		// No reference holds a zero byte (see tidy), so no other customer's input can look like this.
		c.mac.Write(binary.BigEndian.AppendUint32([]byte{0}, n))
	}
	c.mac.Sum(c.sum[:0])
	return binary.BigEndian.Uint64(c.sum[:8]) >> (64 - 45)
}

// formatCode writes a code as in K7Q-F3M-XD2.
func formatCode(code uint64) string {
	var b [11]byte
	for i := len(b) - 1; i >= 0; i-- {
		if i == 3 || i == 7 {
			b[i] = '-'
			continue
		}
		b[i] = crockford[code&31]
		code >>= 5
	}
	return string(b[:])
}

// NormalizeCode returns a code in its written form from what a person typed or said: no case, O for 0, I and L for 1, any separators.
func NormalizeCode(s string) (code string, ok bool) {
	var b [11]byte
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == ' ' || c == '-' || c == '.':
			continue
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		}
		switch c {
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		known := false
		for j := range len(crockford) {
			known = known || crockford[j] == c
		}
		if !known || n == len(b) {
			return "", false
		}
		if n == 3 || n == 7 {
			b[n] = '-'
			n++
		}
		b[n] = c
		n++
	}
	return string(b[:n]), n == len(b)
}
