package roster

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"candor/pkg/pii"
	candorv1 "candor/proto/candor/v1"
)

// PageSize is the largest number of customers in a page.
const PageSize = 1000

// maxPhones is the largest number of telephone numbers that one customer keeps.
const maxPhones = 8

// Page is up to PageSize customers that share tier, time zone and language; sealed as one unit.
type Page struct {
	Number    uint32
	Tier      uint8
	TimeZone  string
	Language  string
	Customers []Customer
}

// errPage is what every damaged page is.
var errPage = errors.New("damaged roster page")

// Marshal encodes the page for sealing.
func (p *Page) Marshal() ([]byte, error) {
	n := len(p.Customers)
	if n > PageSize {
		return nil, fmt.Errorf("page %d has %d customers, more than %d", p.Number, n, PageSize)
	}
	m := &candorv1.RosterPage{
		Number: p.Number, Tier: uint32(p.Tier), TimeZone: p.TimeZone, Language: p.Language, Size: uint32(n),
		PhoneCounts: make([]byte, n), TextPhoneCounts: make([]byte, n), ZoneSources: make([]byte, n), BarredChannels: make([]byte, n),
		Data: make([]uint32, n),
	}
	var phones int
	var extended bool
	countries, regions := newWords(n), newWords(n)
	for i := range p.Customers {
		c := &p.Customers[i]
		if len(c.Phones) > maxPhones || int(c.TextPhones) > len(c.Phones) || c.Extensions != nil && len(c.Extensions) != len(c.Phones) {
			return nil, fmt.Errorf("page %d slot %d: numbers do not fit together", p.Number, i)
		}
		phones += len(c.Phones)
		extended = extended || c.Extensions != nil
		m.PhoneCounts[i], m.TextPhoneCounts[i] = byte(len(c.Phones)), c.TextPhones
		m.ZoneSources[i] = byte(c.ZoneSource)
		m.BarredChannels[i] = byte(c.OptOut&0xf | c.Compromised<<4)
		m.Data[i] = uint32(c.Data)
		countries.add(c.Country)
		regions.add(c.Region)
	}
	m.Countries, m.Regions = countries.column(), regions.column()
	text := func(get func(*Customer) string) *candorv1.TextColumn {
		col := newTexts(n)
		for i := range p.Customers {
			col.add(get(&p.Customers[i]))
		}
		return col.column()
	}
	m.Refs = text(func(c *Customer) string { return c.Ref })
	m.Codes = text(func(c *Customer) string { return c.Code })
	m.GivenNames = text(func(c *Customer) string { return c.GivenName.Reveal() })
	m.FamilyNames = text(func(c *Customer) string { return c.FamilyName.Reveal() })
	m.Emails = text(func(c *Customer) string { return c.Email.Reveal() })
	m.PostalCodes = text(func(c *Customer) string { return c.PostalCode })
	numbers, extensions := newTexts(phones), newTexts(phones)
	for i := range p.Customers {
		c := &p.Customers[i]
		for j, phone := range c.Phones {
			numbers.add(phone.Reveal())
			if c.Extensions != nil {
				extensions.add(c.Extensions[j].Reveal())
			} else {
				extensions.add("")
			}
		}
	}
	m.Phones = numbers.column()
	if extended {
		m.Extensions = extensions.column()
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", p.Number, err)
	}
	return b, nil
}

// UnmarshalPage decodes a page. The customers' texts are parts of one string per column: keep a Clone of what must outlive the page.
func UnmarshalPage(b []byte) (*Page, error) {
	var m candorv1.RosterPage
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errPage, err)
	}
	n := int(m.GetSize())
	if n > PageSize || m.GetTier() > 9 ||
		len(m.GetPhoneCounts()) != n || len(m.GetTextPhoneCounts()) != n || len(m.GetZoneSources()) != n ||
		len(m.GetBarredChannels()) != n || len(m.GetData()) != n {
		return nil, fmt.Errorf("%w: columns of unequal length", errPage)
	}
	phones := 0
	for _, count := range m.GetPhoneCounts() {
		phones += int(count)
	}
	refs, codes := openTexts(m.GetRefs(), n), openTexts(m.GetCodes(), n)
	given, family := openTexts(m.GetGivenNames(), n), openTexts(m.GetFamilyNames(), n)
	emails, postal := openTexts(m.GetEmails(), n), openTexts(m.GetPostalCodes(), n)
	numbers := openTexts(m.GetPhones(), phones)
	extensions := texts{ok: true}
	if m.GetExtensions() != nil {
		extensions = openTexts(m.GetExtensions(), phones)
	}
	if !refs.ok || !codes.ok || !given.ok || !family.ok || !emails.ok || !postal.ok || !numbers.ok || !extensions.ok ||
		!wordsFit(m.GetCountries(), n) || !wordsFit(m.GetRegions(), n) {
		return nil, fmt.Errorf("%w: a column does not add up", errPage)
	}

	p := &Page{
		Number: m.GetNumber(), Tier: uint8(m.GetTier()), TimeZone: m.GetTimeZone(), Language: m.GetLanguage(),
		Customers: make([]Customer, n),
	}
	// One array for everybody's numbers; each customer's part is cut to its capacity, so that appending to it copies.
	all := make([]pii.Phone, phones)
	for i := range all {
		all[i] = pii.NewPhone(numbers.next())
	}
	var allExt []pii.Phone
	if m.GetExtensions() != nil {
		allExt = make([]pii.Phone, phones)
		for i := range allExt {
			allExt[i] = pii.NewPhone(extensions.next())
		}
	}
	at := 0
	for i := range p.Customers {
		c := &p.Customers[i]
		c.Ref, c.Code = refs.next(), codes.next()
		c.GivenName, c.FamilyName = pii.NewName(given.next()), pii.NewName(family.next())
		c.Email = pii.NewEmail(emails.next())
		c.PostalCode = postal.next()
		c.Country = m.Countries.Words[m.Countries.Indexes[i]]
		c.Region = m.Regions.Words[m.Regions.Indexes[i]]
		c.TimeZone, c.Language, c.Tier = p.TimeZone, p.Language, p.Tier
		c.ZoneSource = ZoneSource(m.ZoneSources[i])
		c.Data = DataKinds(m.Data[i])
		c.OptOut, c.Compromised = ChannelSet(m.BarredChannels[i]&0xf), ChannelSet(m.BarredChannels[i]>>4)
		if count := int(m.PhoneCounts[i]); count > 0 {
			c.Phones = all[at : at+count : at+count]
			if allExt != nil {
				c.Extensions = ownExtensions(allExt[at : at+count : at+count])
			}
			at += count
		}
		c.TextPhones = m.TextPhoneCounts[i]
		if int(c.TextPhones) > len(c.Phones) {
			return nil, fmt.Errorf("%w: slot %d takes texts on more numbers than it has", errPage, i)
		}
	}
	return p, nil
}

// ownExtensions returns nil for a customer without any, whatever the others of the page have.
func ownExtensions(ext []pii.Phone) []pii.Phone {
	for _, e := range ext {
		if !e.IsZero() {
			return ext
		}
	}
	return nil
}

// Clone returns a copy that does not keep the page's memory alive.
func (c *Customer) Clone() Customer {
	n := *c
	n.Ref, n.Code = strings.Clone(c.Ref), strings.Clone(c.Code)
	n.GivenName, n.FamilyName = pii.NewName(strings.Clone(c.GivenName.Reveal())), pii.NewName(strings.Clone(c.FamilyName.Reveal()))
	n.Email = pii.NewEmail(strings.Clone(c.Email.Reveal()))
	n.PostalCode = strings.Clone(c.PostalCode)
	n.Phones, n.Extensions = clonePhones(c.Phones), clonePhones(c.Extensions)
	return n
}

func clonePhones(in []pii.Phone) []pii.Phone {
	if in == nil {
		return nil
	}
	out := make([]pii.Phone, len(in))
	for i, p := range in {
		out[i] = pii.NewPhone(strings.Clone(p.Reveal()))
	}
	return out
}

// textBuilder writes a TextColumn.
type textBuilder struct {
	values  strings.Builder
	lengths []uint32
}

func newTexts(n int) *textBuilder {
	b := &textBuilder{lengths: make([]uint32, 0, n)}
	b.values.Grow(12 * n)
	return b
}

func (b *textBuilder) add(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	b.values.WriteString(s)
	b.lengths = append(b.lengths, uint32(len(s)))
}

func (b *textBuilder) column() *candorv1.TextColumn {
	return &candorv1.TextColumn{Values: b.values.String(), Lengths: b.lengths}
}

// texts reads a TextColumn.
type texts struct {
	rest    string
	lengths []uint32
	ok      bool
}

func openTexts(col *candorv1.TextColumn, n int) texts {
	t := texts{rest: col.GetValues(), lengths: col.GetLengths()}
	var sum uint64
	for _, l := range t.lengths {
		sum += uint64(l)
	}
	t.ok = len(t.lengths) == n && sum == uint64(len(t.rest))
	return t
}

func (t *texts) next() string {
	l := t.lengths[0]
	s := t.rest[:l]
	t.rest, t.lengths = t.rest[l:], t.lengths[1:]
	return s
}

// wordBuilder writes a WordColumn.
type wordBuilder struct {
	col   *candorv1.WordColumn
	index map[string]uint32
}

func newWords(n int) *wordBuilder {
	return &wordBuilder{col: &candorv1.WordColumn{Indexes: make([]uint32, 0, n)}, index: map[string]uint32{}}
}

func (b *wordBuilder) add(s string) {
	i, ok := b.index[s]
	if !ok {
		i = uint32(len(b.col.Words))
		b.index[s] = i
		b.col.Words = append(b.col.Words, strings.ToValidUTF8(s, "\uFFFD"))
	}
	b.col.Indexes = append(b.col.Indexes, i)
}

func (b *wordBuilder) column() *candorv1.WordColumn { return b.col }

func wordsFit(col *candorv1.WordColumn, n int) bool {
	if len(col.GetIndexes()) != n {
		return false
	}
	for _, i := range col.GetIndexes() {
		if int(i) >= len(col.GetWords()) {
			return false
		}
	}
	return true
}
