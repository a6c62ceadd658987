package roster

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"hash"
	"hash/crc32"
	"strings"
	"unicode/utf8"

	"candor/pkg/pii"
)

// castagnoli has an instruction of its own on most processors. Nothing writes it after start.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func validUTF8(s string) bool { return utf8.ValidString(s) }

// outcome is what became of a row.
type outcome uint8

const (
	rowEmpty outcome = iota
	rowUsable
	rowRejected
	rowFatal // the file cannot be read further
)

// parsed is a row after a worker has read it and before the sequencer has placed it.
type parsed struct {
	outcome outcome
	at      int // position in its batch
	c       Customer
	notes   note
	refHash uint64
	email   uint64 // hash of the address without case, 0 for none
	phones  [maxPhones]uint64
	// prints tell rows with one reference apart: a byte for each field, and one number over all of them.
	prints [numFields]byte
	print  uint32
	leaf   [sha256.Size]byte
	code   uint64
	// Of a rejected or fatal row.
	column, reason, remedy string
}

// worker reads rows. It belongs to one goroutine, and to Import once that has ended.
type worker struct {
	*config
	phones *phoneReader
	zones  *zoneReader
	codes  *coder
	refMAC hash.Hash
	stats  *stats

	languages, countries, data, channels memo
	keys                                 map[string]field // NDJSON

	// Scratch of one row.
	cells     []string
	objFields []field
	vals      [numFields]string
	more      []string // further cells with numbers, addresses or data, in pairs of field and value
	moreOf    []field
	numbers   []number
	buf       []byte
}

func newWorker(cfg *config) (*worker, error) {
	phones, err := newPhoneReader(cfg.country)
	if err != nil {
		return nil, err
	}
	return &worker{
		config: cfg, phones: phones, zones: newZoneReader(), codes: newCoder(cfg.key), refMAC: hmac.New(sha256.New, cfg.key), stats: &stats{},
		languages: memo{}, countries: memo{}, data: memo{}, channels: memo{}, keys: map[string]field{},
	}, nil
}

// batch reads all rows of a job.
func (w *worker) batch(j *job) {
	text := j.text
	whole := !w.mixed || validUTF8(text)
	for text != "" {
		at := j.lines
		j.lines++
		var open, bad bool
		w.cells = w.cells[:0]
		fields := w.fields
		if w.delim == 0 {
			var line string
			line, text, _ = strings.Cut(text, "\n")
			w.cells, w.objFields, bad = w.object(line)
			fields = w.objFields
		} else {
			w.cells, text, open = record(text, w.delim, w.cells)
		}
		if blank(w.cells) && !bad {
			continue
		}
		j.rows = append(j.rows, parsed{at: at})
		p := &j.rows[len(j.rows)-1]
		switch {
		case open:
			p.outcome, p.reason = rowFatal, "a quote is opened and never closed"
		case w.delim != 0 && swallowed(w.cells, w.delim, len(fields)):
			p.outcome, p.reason = rowFatal, "a quoted cell holds whole rows: its closing quote is missing"
		case bad:
			w.reject(p, "", "not a JSON object on one line", "write one JSON object per line")
			p.leaf = sha256.Sum256([]byte(w.cells[0]))
		default:
			if !whole {
				for i, c := range w.cells {
					if !validUTF8(c) {
						w.cells[i] = from1252(c)
						p.notes |= noteEncoding
					}
				}
			}
			w.row(fields, p)
		}
	}
}

func blank(cells []string) bool {
	for _, c := range cells {
		if strings.TrimSpace(c) != "" {
			return false
		}
	}
	return true
}

// swallowed recognises a row that a missing quote has made of several.
func swallowed(cells []string, delim byte, columns int) bool {
	limit := max(3, columns-1)
	for _, c := range cells {
		if strings.IndexByte(c, '\n') < 0 {
			continue
		}
		for line := range strings.SplitSeq(c, "\n") {
			if strings.Count(line, string(delim)) >= limit {
				return true
			}
		}
	}
	return false
}

func (w *worker) reject(p *parsed, column, reason, remedy string) {
	p.outcome, p.column, p.reason, p.remedy = rowRejected, column, reason, remedy
}

// row makes a customer of the row's cells.
func (w *worker) row(fields []field, p *parsed) {
	w.vals = [numFields]string{}
	w.more, w.moreOf = w.more[:0], w.moreOf[:0]
	var spill string
	for i, cell := range w.cells {
		if i >= len(fields) {
			if strings.TrimSpace(cell) != "" {
				spill = cell
			}
			continue
		}
		f := fields[i]
		if f == fieldNone {
			continue
		}
		cell = strings.TrimSpace(cell)
		// The same at every import: what a report says of a file does not change from run to run.
		h := crc32.Checksum([]byte(cell), castagnoli)
		p.prints[f] = p.prints[f]*31 + byte(h)
		p.print = p.print*31 + h>>8 + uint32(f)
		if cell == "" {
			continue
		}
		if w.vals[f] == "" {
			w.vals[f] = cell
		} else if f == fieldPhones || f == fieldEmail || f == fieldData || f == fieldCompromised {
			w.more, w.moreOf = append(w.more, cell), append(w.moreOf, f)
		}
	}
	if len(w.cells) < len(fields) {
		p.notes |= noteFewCells
	}
	w.ref(p)
	p.outcome = rowUsable
	damaged := w.contacts(p)
	w.person(p)
	w.place(p)
	w.exposure(p)
	switch {
	case spill != "":
		w.reject(p, "", "row has more cells than the header: a delimiter inside a cell without quotes shifts the columns", "put the cell in quotes")
	case len(p.c.Ref) > 128:
		p.c.Ref = p.c.Ref[:32] + "…"
		w.reject(p, "customer_ref", "customer_ref is longer than 128 bytes", "map the column that holds the reference")
	case !p.c.Reachable():
		w.unreachable(p, damaged)
	}
	w.seal(p)
}

// ref takes the reference, or makes one that is the same at every import with this key and tells nothing about the row.
func (w *worker) ref(p *parsed) {
	ref, _ := tidy(w.vals[fieldRef])
	if damagedNumber(ref) {
		p.notes |= noteRefDamaged
		ref = ""
	}
	// Words such as n/a would make one customer of many.
	if isNothing(ref) {
		p.notes |= noteRefMade
		w.refMAC.Reset()
		w.refMAC.Write([]byte("candor customer_ref\x00"))
		w.buf = appendCells(w.buf[:0], w.cells)
		w.refMAC.Write(w.buf)
		var sum [sha256.Size]byte
		ref = "made-" + base32.StdEncoding.EncodeToString(w.refMAC.Sum(sum[:0])[:10])
	}
	p.c.Ref = ref
}

// contacts reads numbers and address; it returns a damaged number as it may be shown, or - if it may not.
func (w *worker) contacts(p *parsed) (damaged string) {
	country := ""
	if m := w.countryOf(w.vals[fieldCountry]); m != nil {
		country = m.text
		if m.bad {
			p.notes |= noteCountryUnknown
		}
	}
	p.c.Country = country
	w.numbers = w.numbers[:0]
	read := func(cell string) {
		var n phoneNote
		var shown string
		w.numbers, n, shown = w.phones.read(cell, country, w.numbers)
		p.notes |= note(n)
		if n&noteDamaged != 0 && damaged == "" {
			damaged = "-"
			if shown != "" {
				damaged = shown
			}
		}
	}
	if cell := w.vals[fieldPhones]; cell != "" {
		read(cell)
	}
	email, problem := parseEmail(w.vals[fieldEmail])
	for i, cell := range w.more {
		switch w.moreOf[i] {
		case fieldPhones:
			read(cell)
		case fieldEmail:
			if e, prob := parseEmail(cell); email == "" && (e != "" || problem == "") {
				email, problem = e, prob
			}
		}
	}
	switch problem {
	case EmailInvalid:
		p.notes |= noteEmailInvalid
	case EmailUTF8Local:
		p.notes |= noteEmailUTF8
	}
	p.c.Email = pii.NewEmail(email)
	if n := len(w.numbers); n > 0 {
		p.c.Phones = make([]pii.Phone, 0, n)
		for _, texts := range []bool{true, false} {
			for _, num := range w.numbers {
				if num.takesText() == texts {
					p.c.Phones = append(p.c.Phones, pii.NewPhone(num.e164))
				}
			}
			if texts {
				p.c.TextPhones = uint8(len(p.c.Phones))
			}
		}
		if p.notes&note(noteExtension) != 0 {
			w.extensions(p)
		}
	}
	return damaged
}

func (w *worker) extensions(p *parsed) {
	p.c.Extensions = make([]pii.Phone, len(p.c.Phones))
	i := int(p.c.TextPhones)
	for _, num := range w.numbers {
		if !num.takesText() {
			p.c.Extensions[i] = pii.NewPhone(num.ext)
			i++
		}
	}
}

func (w *worker) person(p *parsed) {
	p.c.GivenName = pii.NewName(w.name(w.vals[fieldGivenName], p))
	p.c.FamilyName = pii.NewName(w.name(w.vals[fieldFamilyName], p))

	p.c.Language = w.language
	if cell := w.vals[fieldLanguage]; cell != "" {
		m := w.remember(w.languages, cell, func(cell string) meaning {
			tag, ok := languageTag(cell)
			return meaning{text: tag, bad: !ok}
		})
		if m.bad {
			p.notes |= noteLanguageUnknown
		} else {
			p.c.Language = m.text
		}
	} else {
		w.stats.languageDefault++
	}

	p.c.Tier = w.tier
	if cell := w.vals[fieldTier]; cell != "" {
		if cell = strings.TrimSuffix(cell, ".0"); len(cell) == 1 && '1' <= cell[0] && cell[0] <= '9' {
			p.c.Tier = cell[0] - '0'
		} else {
			p.notes |= noteTierBad
		}
	}
}

func (w *worker) name(cell string, p *parsed) string {
	if cell == "" {
		return ""
	}
	s, changed := tidy(cell)
	if changed {
		p.notes |= noteNameTidied
	}
	if s == "" {
		return ""
	}
	if strings.IndexByte("=+@", s[0]) >= 0 {
		p.notes |= noteFormula
	}
	if strings.Contains(s, "Ã") || strings.ContainsRune(s, utf8.RuneError) {
		p.notes |= noteUnreadable
	}
	if len(s) > 200 {
		if rs := []rune(s); len(rs) > 200 {
			p.notes |= noteNameCut
			s = string(rs[:200])
		}
	}
	return s
}

// place finds region and time zone: column, else address, else number, else the default.
func (w *worker) place(p *parsed) {
	c := &p.c
	home := c.Country
	if home == "" {
		home = w.country
	}
	if cell := w.vals[fieldRegion]; cell != "" {
		c.Region, _ = tidy(w.zones.places.region(home, cell))
	}
	c.PostalCode, _ = tidy(w.vals[fieldPostalCode])

	if cell := w.vals[fieldZone]; cell != "" && !isNothing(cell) {
		// A zone that nobody knows contradicts itself: nothing is derived from elsewhere then.
		if c.TimeZone, c.ZoneSource = w.zones.column(cell), ZoneFromColumn; c.TimeZone == "" {
			p.notes |= noteZoneUnknown
			c.TimeZone, c.ZoneSource = w.zone, ZoneFromDefault
		}
		return
	}
	var zones []string
	if c.Country != "" || c.Region != "" {
		zones = w.zones.places.address(home, c.Region, c.PostalCode)
	}
	if len(zones) == 1 {
		c.TimeZone, c.ZoneSource = zones[0], ZoneFromAddress
		return
	}
	for _, n := range w.numbers {
		z := w.zones.number(n)
		if z == "" {
			continue
		}
		if len(zones) == 0 {
			c.TimeZone, c.ZoneSource = z, ZoneFromNumber
			return
		}
		for _, own := range zones {
			if z == own {
				c.TimeZone, c.ZoneSource = own, ZoneFromAddress
				return
			}
		}
	}
	if len(zones) > 0 {
		p.notes |= noteZoneSplit
		c.TimeZone, c.ZoneSource = zones[0], ZoneFromAddress
		return
	}
	c.TimeZone, c.ZoneSource = w.zone, ZoneFromDefault
}

// unreachable says why no channel can reach a customer, in words that hold nothing of theirs.
func (w *worker) unreachable(p *parsed, damaged string) {
	c := &p.c
	const byPost = "tell this customer by post"
	if len(c.Phones) > 0 || !c.Email.IsZero() {
		if c.Compromised != 0 {
			w.reject(p, "compromised_channels", "every channel that could reach the customer is compromised or opted out of", byPost)
		} else {
			w.reject(p, "no_sms, no_email, no_call", "opted out of every channel that could reach the customer", byPost)
		}
		return
	}
	var phone, email, column string
	remedy := "add a telephone number or an address, or " + byPost
	switch {
	case damaged != "":
		phone, column = "number damaged by a spreadsheet", "phones"
		if damaged != "-" {
			phone += " (" + damaged + ")"
		}
		remedy = "export the column as text and import again, or " + byPost
	case p.notes&note(noteUnusable) != 0:
		phone, column = "number not valid", "phones"
	}
	switch {
	case p.notes&noteEmailUTF8 != 0:
		email = "an address that no provider can send to"
	case p.notes&noteEmailInvalid != 0:
		email = "address not valid"
	}
	if email != "" {
		if column != "" {
			column += ", "
		}
		column += "email"
	}
	switch {
	case phone == "" && p.notes&noteEmailUTF8 == 0:
		w.reject(p, column, "neither a number nor an address", remedy)
	case phone == "":
		w.reject(p, column, "no number, "+email, remedy)
	case email == "":
		w.reject(p, column, phone+", no e-mail", remedy)
	default:
		w.reject(p, column, phone+", "+email, remedy)
	}
}
