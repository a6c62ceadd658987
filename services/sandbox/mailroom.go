package sandbox

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"candor/pkg/clock"
)

// mail is one e-mail that was accepted, to one mailbox.
type mail struct {
	data    uint64 // in the arena: the opaque id, then the values of its tags, each after its length
	mailbox uint32
	before  uint32 // the mailbox's mail before this one, or none
	earlier uint32 // the notice's mail before this one, or none
	mailing uint32
	tags    uint32 // the list of names whose values it has
	attempt uint16
	idLen   uint8
	flags   uint8
	phase   phase
}

const (
	mailDropped = 1 << iota // accepted, and not delivered: the mailbox is on the suppression list
	mailShared              // a further mailbox of a personalization whose notice another one stands for
)

// mailbox is one address.
type mailbox struct {
	address uint64 // in the arena, in lower case
	last    uint32
	count   uint32
	length  uint8
}

// mailing is one request: what its mails have in common.
type mailing struct {
	at     int64 // Unix nanoseconds
	letter uint32
}

// letter is what was written, before the tags are replaced.
type letter struct {
	From, FromName, ReplyTo, Subject, TemplateID string
	Parts                                        []letterPart
	Sections                                     []tagValue
}

type letterPart struct{ Type, Value string }

type tagValue struct{ tag, value string }

// The names of what is kept like a tag's value and is none. They are no UTF-8, and a parsed tag always is.
const (
	tagName    = "\xffname"
	tagSubject = "\xffsubject"
)

// mailroom is SendGrid's side of the world: every e-mail, by mailbox and by notice.
type mailroom struct {
	clock clock.Clock

	mu sync.Mutex // guards everything below

	register
	mails      records[mail]
	mailboxes  records[mailbox]
	byAddress  index
	mailings   records[mailing]
	letters    []letter
	byContent  map[uint64]uint32
	tags       interned
	suppressed map[string]string // why mail to an address is dropped, in SendGrid's words
	complained uint64            // mails that were reported as spam
	textRoom   int64             // bytes that texts may still take
	memory     arena
	scratch    []byte
	ids        cipher.Block
}

func newMailroom(textRoom int64, ids cipher.Block) *mailroom {
	m := &mailroom{
		letters: make([]letter, 1), byContent: map[uint64]uint32{}, tags: newInterned(), suppressed: map[string]string{},
		textRoom: textRoom, ids: ids,
	}
	m.register = newRegister(&m.memory)
	return m
}

// take accepts every mail of a valid request and returns its position.
func (m *mailroom) take(r *mailRequest, now time.Time) uint32 {
	l := m.letter(r)
	position := m.mailings.add(mailing{at: now.UnixNano(), letter: l})
	if m.accepted == 0 {
		m.first = now
	}
	var (
		names  []byte // of the personalization before, whose number is tags
		tags   uint32
		frames [][]byte
	)
	for p := range r.personalizations {
		pers := &r.personalizations[p]
		id, known := parseOpaqueID(pers.id)
		live, leader, at := false, uint32(none), uint64(nowhere)
		for i := pers.firstRecipient; i < pers.endRecipient; i++ {
			to := &r.recipients[i]
			values := m.scratch[:0]
			if l != 0 {
				m.scratch = appendTagNames(m.scratch[:0], r, pers, to)
				if !bytes.Equal(m.scratch, names) || names == nil {
					names = append(names[:0], m.scratch...)
					tags = m.tags.number(names)
				}
				values = appendTagValues(m.scratch[:0], r, pers, to)
				m.scratch = values
				m.textRoom -= int64(len(values))
			}
			e := mail{mailing: position, before: none, earlier: none}
			if l != 0 {
				e.tags = tags
			}
			frames = append(frames[:0], id.raw, values)
			e.data = m.memory.put(frames...)
			if known {
				e.idLen, e.attempt = uint8(len(id.raw)), id.attempt //nolint:gosec // an id has at most 255 bytes
			}
			if _, out := m.suppressed[string(to.lower)]; out && !r.bypassLists {
				e.flags |= mailDropped
				m.dropped++
				m.fates[fateDropped]++
			} else {
				live = true
			}
			n := m.mails.add(e)
			stored := m.mails.at(n)
			stored.mailbox = m.mailbox(to)
			box := m.mailboxes.at(stored.mailbox)
			stored.before, box.last = box.last, n
			box.count++
			m.accepted++
			if leader == none {
				leader, at = n, e.data
			} else {
				stored.flags |= mailShared
			}
		}
		switch {
		case leader == none:
		case known:
			m.mails.at(leader).earlier = m.register.accept(m.notice(id.notice, at), leader, live)
		default:
			m.withoutID++
		}
	}
	return position
}

func (m *mailroom) findMailbox(hash uint32, lower []byte) (uint32, bool) {
	return m.byAddress.find(hash, func(i uint32) bool { return bytes.Equal(m.address(i), lower) })
}

func (m *mailroom) address(i uint32) []byte {
	b := m.mailboxes.at(i)
	return m.memory.get(b.address, int(b.length))
}

func (m *mailroom) mailbox(to *recipient) uint32 {
	if i, ok := m.findMailbox(to.hash, to.lower); ok {
		return i
	}
	i := m.mailboxes.add(mailbox{address: m.memory.put(to.lower), last: none, length: uint8(len(to.lower))}) //nolint:gosec // an address has at most 254 bytes
	m.byAddress.add(to.hash, i)
	return i
}

// letter keeps what a request wrote, once for all requests that wrote the same. 0 is a letter that is not kept.
func (m *mailroom) letter(r *mailRequest) uint32 {
	if m.textRoom <= 0 {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(m.seed)
	write := func(b []byte) {
		var n [4]byte
		binary.LittleEndian.PutUint32(n[:], uint32(len(b))) //nolint:gosec // 30 MB at most
		_, _ = h.Write(n[:])                                // a hash does not fail
		_, _ = h.Write(b)
	}
	for _, b := range [...][]byte{r.from.email, r.from.name, r.replyTo.email, r.subject, r.templateID} {
		write(b)
	}
	for _, c := range r.contents {
		write(c.kind)
		write(c.value)
	}
	for _, s := range r.sections {
		write(s.tag)
		write(s.value)
	}
	sum := h.Sum64()
	if i, ok := m.byContent[sum]; ok {
		return i
	}
	l := letter{
		From: string(r.from.email), FromName: string(r.from.name), ReplyTo: string(r.replyTo.email),
		Subject: string(r.subject), TemplateID: string(r.templateID),
	}
	size := len(l.Subject) + 200
	for _, c := range r.contents {
		l.Parts = append(l.Parts, letterPart{Type: string(c.kind), Value: string(c.value)})
		size += len(c.value)
	}
	for _, s := range r.sections {
		l.Sections = append(l.Sections, tagValue{string(s.tag), string(s.value)})
		size += len(s.tag) + len(s.value)
	}
	m.textRoom -= int64(size)
	i := uint32(len(m.letters)) //nolint:gosec // far below 2^32 letters
	m.letters = append(m.letters, l)
	m.byContent[sum] = i
	return i
}

func appendTagNames(b []byte, r *mailRequest, p *personalization, to *recipient) []byte {
	if len(to.name) > 0 {
		b = appendSized(b, tagName)
	}
	if len(p.subject) > 0 {
		b = appendSized(b, tagSubject)
	}
	for i := p.firstSubstitution; i < p.endSubstitution; i++ {
		b = appendSized(b, r.substitutions[i].tag)
	}
	return b
}

func appendTagValues(b []byte, r *mailRequest, p *personalization, to *recipient) []byte {
	if len(to.name) > 0 {
		b = appendSized(b, to.name)
	}
	if len(p.subject) > 0 {
		b = appendSized(b, p.subject)
	}
	for i := p.firstSubstitution; i < p.endSubstitution; i++ {
		b = appendSized(b, r.substitutions[i].value)
	}
	return b
}

func appendSized[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func cutSized(b []byte) (v, rest []byte) {
	n, width := binary.Uvarint(b)
	return b[width : width+int(n)], b[width+int(n):] //nolint:gosec // written by appendSized
}

// values returns the tags of a mail with their values.
func (m *mailroom) values(e *mail) []tagValue {
	names, rest := []byte(m.tags.strings[e.tags]), m.memory.from(e.data)[e.idLen:]
	var list []tagValue
	for len(names) > 0 {
		var name, value []byte
		name, names = cutSized(names)
		value, rest = cutSized(rest)
		list = append(list, tagValue{string(name), string(value)})
	}
	return list
}

// read puts a mail together as its owner reads it.
func (l *letter) read(values []tagValue) (name, subject string, parts []letterPart) {
	subject = l.Subject
	tags := make([]tagValue, 0, len(values))
	for _, v := range values {
		switch v.tag {
		case tagName:
			name = v.value
		case tagSubject:
			subject = v.value
		default:
			tags = append(tags, v)
		}
	}
	substitute := replacer(tags)
	sections := slices.Clone(l.Sections)
	for i := range sections {
		sections[i].value = substitute.Replace(sections[i].value)
	}
	// A tag's value may name a section, a section's text may hold tags; a tag's value is not searched for tags again.
	expand := replacer(sections)
	subject = expand.Replace(substitute.Replace(subject))
	for _, p := range l.Parts {
		parts = append(parts, letterPart{Type: p.Type, Value: expand.Replace(substitute.Replace(p.Value))})
	}
	return name, subject, parts
}

// replacer replaces tags literally, the longest first, the last value of a tag that comes twice.
func replacer(tags []tagValue) *strings.Replacer {
	tags = slices.Clone(tags)
	slices.Reverse(tags)
	slices.SortStableFunc(tags, func(a, b tagValue) int { return len(b.tag) - len(a.tag) })
	pairs := make([]string, 0, 2*len(tags))
	for _, t := range tags {
		if t.tag != "" {
			pairs = append(pairs, t.tag, t.value)
		}
	}
	return strings.NewReplacer(pairs...)
}

func (m *mailroom) try(i uint32) taken {
	e := m.mails.at(i)
	return taken{attempt: e.attempt, dropped: e.flags&mailDropped != 0, earlier: e.earlier, at: m.mailings.at(e.mailing).at, fate: e.fate()}
}
