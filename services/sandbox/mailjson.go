package sandbox

import (
	"bytes"
	"fmt"
	"hash/maphash"
)

// mailRequest is a mail/send body. Its bytes lie in the body or in scratch; it is used again for the next request.
type mailRequest struct {
	from, replyTo    mailAddress
	subject          []byte
	templateID       []byte
	contents         []mailContent
	sections         []pair
	personalizations []personalization
	recipients       []recipient
	substitutions    []pair
	categories       int
	sendAt           int64
	notObject        bool
	sandboxMode      bool
	bypassLists      bool

	problems []problem

	scan scanner
	seen addressSet
}

type mailAddress struct {
	email, name []byte
	given       bool
}

type mailContent struct{ kind, value []byte }

type pair struct{ tag, value []byte }

type personalization struct {
	firstRecipient, endRecipient       int
	firstSubstitution, endSubstitution int
	substitutionBytes, argBytes        int
	to                                 int // recipients that are neither cc nor bcc
	subject, id                        []byte
	sendAt                             int64
}

type recipient struct {
	email, name []byte
	lower       []byte // the address in lower case
	list        string // to, cc, bcc
	at          int    // its place in the list
	hash        uint32 // of lower
}

// problem is one entry of SendGrid's list of errors.
type problem struct{ message, field string }

// maxProblems bounds the answer to a request in which everything is wrong.
const maxProblems = 100

func (r *mailRequest) reset() {
	*r = mailRequest{
		contents: r.contents[:0], sections: r.sections[:0], personalizations: r.personalizations[:0],
		recipients: r.recipients[:0], substitutions: r.substitutions[:0], problems: r.problems[:0],
		scan: scanner{scratch: r.scan.scratch[:0]}, seen: r.seen,
	}
}

func (r *mailRequest) complain(message, field string, at ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, problem{message, fmt.Sprintf(field, at...)})
	}
}

// parse reads a body and reports whether it is JSON. What is JSON and not as SendGrid wants it becomes a problem.
func (r *mailRequest) parse(body []byte) bool {
	r.reset()
	s := &r.scan
	s.b = body
	if s.kind() != kindObject {
		s.skip()
		s.end()
		if r.notObject = true; !s.failed {
			r.complain("Invalid type. Expected: object, given: "+kindOf(body)+".", "(root)")
		}
		return !s.failed
	}
	for s.enter(); s.next('}'); {
		r.member(s.key())
	}
	s.end()
	return !s.failed
}

func (r *mailRequest) member(key []byte) {
	s := &r.scan
	switch string(key) {
	case "personalizations":
		r.personalizations, r.recipients, r.substitutions = r.personalizations[:0], r.recipients[:0], r.substitutions[:0]
		if r.expect(kindArray, "personalizations") {
			for s.enter(); s.next(']'); {
				r.personalization()
			}
		}
	case "from":
		r.address(&r.from, "from")
	case "reply_to":
		r.address(&r.replyTo, "reply_to")
	case "subject":
		r.subject = r.text("subject")
	case "template_id":
		r.templateID = r.text("template_id")
	case "content":
		r.contents = r.contents[:0]
		if r.expect(kindArray, "content") {
			for s.enter(); s.next(']'); {
				r.content()
			}
		}
	case "sections":
		r.sections = r.sections[:0]
		if r.expect(kindObject, "sections") {
			for s.enter(); s.next('}'); {
				tag := s.key()
				r.sections = append(r.sections, pair{tag, r.text("sections.%s", tag)})
			}
		}
	case "categories":
		r.categories = 0
		if r.expect(kindArray, "categories") {
			for s.enter(); s.next(']'); r.categories++ {
				if len(r.text("categories.%d", r.categories)) > 255 {
					r.complain("A category may be 255 characters at most.", "categories.%d", r.categories)
				}
			}
		}
	case "send_at":
		r.sendAt = r.integer("send_at")
	case "mail_settings":
		if r.expect(kindObject, "mail_settings") {
			for s.enter(); s.next('}'); {
				switch string(s.key()) {
				case "sandbox_mode":
					r.sandboxMode = r.enabled("mail_settings.sandbox_mode")
				case "bypass_list_management":
					r.bypassLists = r.enabled("mail_settings.bypass_list_management")
				default:
					s.skip()
				}
			}
		}
	case "headers", "asm", "tracking_settings", "custom_args":
		if r.expect(kindObject, "%s", key) {
			s.skip()
		}
	case "attachments":
		if r.expect(kindArray, "attachments") {
			s.skip()
		}
	default:
		s.skip()
	}
}

func (r *mailRequest) personalization() {
	s, n := &r.scan, len(r.personalizations)
	// What is as it should be must not build the path of a complaint: this runs for every recipient.
	if s.kind() != kindObject {
		r.wrong("object", "personalizations.%d", n)
		return
	}
	r.personalizations = append(r.personalizations, personalization{firstRecipient: len(r.recipients), firstSubstitution: len(r.substitutions)})
	p := &r.personalizations[n]
	for s.enter(); s.next('}'); {
		switch key := s.key(); string(key) {
		case "to":
			r.list(n, "to")
		case "cc":
			r.list(n, "cc")
		case "bcc":
			r.list(n, "bcc")
		case "subject":
			p.subject = r.text("personalizations.%d.subject", n)
		case "substitutions":
			r.substitutions, p.substitutionBytes = r.substitutions[:p.firstSubstitution], 0
			if s.kind() != kindObject {
				r.wrong("object", "personalizations.%d.substitutions", n)
				continue
			}
			for s.enter(); s.next('}'); {
				v := pair{tag: s.key()}
				if s.kind() == kindString {
					v.value = s.str()
				} else {
					v.value = r.text("personalizations.%d.substitutions.%s", n, v.tag)
				}
				p.substitutionBytes += len(v.tag) + len(v.value)
				r.substitutions = append(r.substitutions, v)
			}
		case "custom_args":
			p.id, p.argBytes = nil, 0
			if s.kind() != kindObject {
				r.wrong("object", "personalizations.%d.custom_args", n)
				continue
			}
			for s.enter(); s.next('}'); {
				tag := s.key()
				var value []byte
				if s.kind() == kindString {
					value = s.str()
				} else {
					value = r.text("personalizations.%d.custom_args.%s", n, tag)
				}
				p.argBytes += len(tag) + len(value)
				if string(tag) == "candor_id" {
					p.id = value
				}
			}
		case "headers", "dynamic_template_data", "from":
			if r.expect(kindObject, "personalizations.%d.%s", n, key) {
				s.skip()
			}
		case "send_at":
			p.sendAt = r.integer("personalizations.%d.send_at", n)
		default:
			s.skip()
		}
	}
	p.endRecipient, p.endSubstitution = len(r.recipients), len(r.substitutions)
}

// list reads one of a personalization's lists of recipients. A list that comes twice replaces what it was.
func (r *mailRequest) list(n int, name string) {
	s, p := &r.scan, &r.personalizations[n]
	kept := r.recipients[:p.firstRecipient]
	for _, to := range r.recipients[p.firstRecipient:] {
		if to.list != name {
			kept = append(kept, to)
		}
	}
	r.recipients = kept
	if name == "to" {
		p.to = 0
	}
	if s.kind() != kindArray {
		r.wrong("array", "personalizations.%d.%s", n, name)
		return
	}
	at := 0
	for s.enter(); s.next(']'); at++ {
		to := recipient{list: name, at: at}
		if s.kind() != kindObject {
			r.wrong("object", "personalizations.%d.%s.%d", n, name, at)
			continue
		}
		for s.enter(); s.next('}'); {
			switch string(s.key()) {
			case "email":
				if s.kind() == kindString {
					to.email = s.str()
				} else {
					to.email = r.text("personalizations.%d.%s.%d.email", n, name, at)
				}
			case "name":
				if s.kind() == kindString {
					to.name = s.str()
				} else {
					to.name = r.text("personalizations.%d.%s.%d.name", n, name, at)
				}
			default:
				s.skip()
			}
		}
		r.recipients = append(r.recipients, to)
		if name == "to" {
			p.to++
		}
	}
}

func (r *mailRequest) address(a *mailAddress, field string) {
	*a = mailAddress{given: true}
	if !r.expect(kindObject, "%s", field) {
		return
	}
	s := &r.scan
	for s.enter(); s.next('}'); {
		switch string(s.key()) {
		case "email":
			a.email = r.text("%s.email", field)
		case "name":
			a.name = r.text("%s.name", field)
		default:
			s.skip()
		}
	}
}

func (r *mailRequest) content() {
	s, n := &r.scan, len(r.contents)
	var c mailContent
	if r.expect(kindObject, "content.%d", n) {
		for s.enter(); s.next('}'); {
			switch string(s.key()) {
			case "type":
				c.kind = r.text("content.%d.type", n)
			case "value":
				c.value = r.text("content.%d.value", n)
			default:
				s.skip()
			}
		}
	}
	r.contents = append(r.contents, c)
}

// enabled reads an object of which only enable matters.
func (r *mailRequest) enabled(field string) (on bool) {
	if !r.expect(kindObject, "%s", field) {
		return false
	}
	s := &r.scan
	for s.enter(); s.next('}'); {
		if string(s.key()) != "enable" {
			s.skip()
			continue
		}
		switch kind := s.kind(); kind {
		case kindTrue, kindFalse:
			on = kind == kindTrue
			s.skip()
		default:
			r.wrong("boolean", "%s.enable", field)
		}
	}
	return on
}

// text reads a string, or complains about what is there instead.
func (r *mailRequest) text(field string, at ...any) []byte {
	if r.scan.kind() == kindString {
		return r.scan.str()
	}
	r.wrong("string", field, at...)
	return nil
}

func (r *mailRequest) integer(field string, at ...any) int64 {
	s := &r.scan
	if s.kind() != kindNumber {
		r.wrong("integer", field, at...)
		return 0
	}
	from := s.i
	s.skip()
	n, negative, digits := int64(0), s.b[from] == '-', s.b[from:s.i]
	for _, c := range digits[btoi(negative):] {
		if c < '0' || c > '9' || n > 1<<55 {
			r.complain("Invalid type. Expected: integer, given: number.", field, at...)
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// expect reports whether a value of this kind comes next, and if not complains and passes over what does.
func (r *mailRequest) expect(kind valueKind, field string, at ...any) bool {
	if r.scan.kind() == kind {
		return true
	}
	r.wrong(kind.String(), field, at...)
	return false
}

func (r *mailRequest) wrong(want, field string, at ...any) {
	s := &r.scan
	given := s.kind()
	s.skip()
	if !s.failed {
		r.complain("Invalid type. Expected: "+want+", given: "+given.String()+".", field, at...)
	}
}

func kindOf(body []byte) string {
	s := scanner{b: body}
	return s.kind().String()
}

// addressSet finds an address that comes twice in a request. It is used again without being cleared.
type addressSet struct {
	slots []addressSlot
	round uint32
}

type addressSlot struct {
	round     uint32
	recipient uint32
}

func (a *addressSet) begin(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	if len(a.slots) < size || a.round == 1<<32-1 {
		a.slots, a.round = make([]addressSlot, size), 0
	}
	a.round++
}

// add enters the i-th recipient and returns false if its address is there already.
func (a *addressSet) add(list []recipient, i int) bool {
	mask := uint32(len(a.slots) - 1) //nolint:gosec // a few thousand
	for k := list[i].hash & mask; ; k = (k + 1) & mask {
		slot := &a.slots[k]
		if slot.round != a.round {
			*slot = addressSlot{a.round, uint32(i)} //nolint:gosec // a few thousand
			return true
		}
		if o := &list[slot.recipient]; o.hash == list[i].hash && bytes.Equal(o.lower, list[i].lower) {
			return false
		}
	}
}

// fold sets the lower-case form of an address and its hash.
func (t *recipient) fold(s *scanner, seed maphash.Seed) {
	t.lower = t.email
	for i, c := range t.email {
		if 'A' <= c && c <= 'Z' {
			from := len(s.scratch)
			s.scratch = append(s.scratch, t.email...)
			t.lower = s.scratch[from:]
			for k := i; k < len(t.lower); k++ {
				if c := t.lower[k]; 'A' <= c && c <= 'Z' {
					t.lower[k] = c + 'a' - 'A'
				}
			}
			break
		}
	}
	t.hash = hash32(seed, t.lower)
}
