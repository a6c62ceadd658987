package finder

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"candor/pkg/pii"
	"candor/pkg/roster"
)

// kind is what a term is. It is hashed along, so that a reference is not taken for a number of the same digits.
type kind byte

const (
	byRef kind = iota + 1
	byCode
	byEmail
	byPhone
)

func (k kind) String() string {
	return [...]string{"nothing", "reference", "code", "mailbox", "number"}[k]
}

// Term is one way to read what somebody is looked for by. It prints what it is, and never whom it names.
type Term struct {
	kind  kind
	value string
}

// String returns what the term is: reference, code, mailbox or number.
func (t Term) String() string { return t.kind.String() }

// Terms reads a query in every way it can be meant: a customer_ref as it is, a code with any case and spacing, a mailbox, and
// a telephone number in international form or as it is dialled in country, which may be empty.
func Terms(query, country string) []Term {
	query = strings.TrimSpace(query)
	if query == "" {
		return nil
	}
	terms := []Term{{byRef, query}}
	if code, ok := roster.NormalizeCode(query); ok {
		terms = append(terms, Term{byCode, code})
	}
	if email, ok := roster.ParseEmail(query); ok {
		terms = append(terms, Term{byEmail, mailbox(email)})
	}
	if phone, ok := roster.ParsePhone(query, country); ok {
		terms = append(terms, Term{byPhone, phone.Reveal()})
	}
	return terms
}

// mailbox folds case: mailboxes that differ only in it are one in practice.
func mailbox(e pii.Email) string { return strings.ToLower(e.Reveal()) }

// names says whether the term is the customer's, and not only shares a hash with one that is.
func (t Term) names(c *roster.Customer) bool {
	switch t.kind {
	case byRef:
		return c.Ref == t.value
	case byCode:
		return c.Code == t.value
	case byEmail:
		return mailbox(c.Email) == t.value
	case byPhone:
		return slices.ContainsFunc(c.Phones, func(p pii.Phone) bool { return p.Reveal() == t.value })
	}
	return false
}

// hasher hashes terms under the key of an incident. It belongs to one goroutine.
type hasher struct {
	mac    hash.Hash
	buf    []byte
	sum256 [sha256.Size]byte
}

func newHasher(key []byte) *hasher { return &hasher{mac: hmac.New(sha256.New, key)} }

func (h *hasher) sum(k kind, value string) uint64 {
	h.buf = append(append(h.buf[:0], byte(k)), value...)
	h.mac.Reset()
	h.mac.Write(h.buf)
	h.mac.Sum(h.sum256[:0])
	clear(h.buf)
	return binary.BigEndian.Uint64(h.sum256[:])
}

// each hands fn the hash of everything by which a customer can be found.
func (h *hasher) each(c *roster.Customer, fn func(uint64)) {
	fn(h.sum(byRef, c.Ref))
	fn(h.sum(byCode, c.Code))
	if !c.Email.IsZero() {
		fn(h.sum(byEmail, mailbox(c.Email)))
	}
	for _, p := range c.Phones {
		fn(h.sum(byPhone, p.Reveal()))
	}
}
