package roster

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"strings"

	"candor/pkg/pii"
)

// seal makes the customer independent of the batch's text, and hashes the row.
func (w *worker) seal(p *parsed) {
	c := &p.c
	size := len(c.Ref) + len(c.GivenName.Reveal()) + len(c.FamilyName.Reveal()) + len(c.Email.Reveal()) + len(c.Region) + len(c.PostalCode)
	for _, ph := range c.Phones {
		size += len(ph.Reveal())
	}
	var b strings.Builder
	b.Grow(size)
	own := func(s string) string {
		start := b.Len()
		b.WriteString(s)
		return b.String()[start:]
	}
	c.Ref = own(c.Ref)
	c.GivenName, c.FamilyName = pii.NewName(own(c.GivenName.Reveal())), pii.NewName(own(c.FamilyName.Reveal()))
	c.Email = pii.NewEmail(own(c.Email.Reveal()))
	c.Region, c.PostalCode = own(c.Region), own(c.PostalCode)
	for i, ph := range c.Phones {
		c.Phones[i] = pii.NewPhone(own(ph.Reveal()))
	}
	for i, e := range c.Extensions {
		c.Extensions[i] = pii.NewPhone(strings.Clone(e.Reveal()))
	}

	p.refHash = maphash.String(w.seed, c.Ref)
	if e := c.Email.Reveal(); e != "" {
		p.email = hashFold(w.seed, e)
	}
	for i, ph := range c.Phones {
		p.phones[i] = maphash.String(w.seed, ph.Reveal())
	}
	p.code = w.codes.code(c.Ref, 0)
	w.buf = w.leaf(w.buf[:0], p)
	p.leaf = sha256.Sum256(w.buf)
}

func hashFold(seed maphash.Seed, s string) uint64 {
	var buf [128]byte
	if len(s) > len(buf) {
		return maphash.String(seed, strings.ToLower(s))
	}
	n := copy(buf[:], s)
	for i, c := range buf[:n] {
		if 'A' <= c && c <= 'Z' {
			buf[i] = c + 'a' - 'A'
		}
	}
	return maphash.Bytes(seed, buf[:n])
}

// leaf is what the roster's digest covers of a row: every cell as the file has it, and what was made of it; no key, no code.
func (w *worker) leaf(b []byte, p *parsed) []byte {
	b = appendCells(b, w.cells)
	c := &p.c
	ref := c.Ref
	if p.notes&noteRefMade != 0 {
		ref = ""
	}
	for _, s := range [...]string{
		ref, c.GivenName.Reveal(), c.FamilyName.Reveal(), c.Email.Reveal(), c.Language, c.Country, c.Region, c.PostalCode, c.TimeZone, p.reason,
	} {
		b = appendText(b, s)
	}
	b = append(b, byte(p.outcome), byte(c.ZoneSource), c.Tier, byte(c.Compromised), byte(c.OptOut), c.TextPhones, byte(len(c.Phones)))
	b = binary.BigEndian.AppendUint32(b, uint32(c.Data))
	for i, ph := range c.Phones {
		b = appendText(b, ph.Reveal())
		if c.Extensions != nil {
			b = appendText(b, c.Extensions[i].Reveal())
		}
	}
	return b
}

func appendCells(b []byte, cells []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(cells)))
	for _, c := range cells {
		b = appendText(b, c)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
