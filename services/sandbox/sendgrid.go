package sandbox

import (
	"bytes"
	"compress/gzip"
	"errors"
	"hash/maphash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxMailBytes        = 30 << 20
	maxRecipients       = 1000
	maxPersonalBytes    = 10_000 // of substitutions, and of custom arguments, per personalization
	maxScheduleAhead    = 72 * time.Hour
	keptBufferBytes     = 4 << 20 // a larger buffer is not kept for the next request
	headerMessageID     = "X-Message-Id"
	errorTooManyRequest = `{"errors":[{"message":"too many requests","field":null}]}`
)

// sendMail is POST /v3/mail/send.
func (s *Sandbox) sendMail(w http.ResponseWriter, req *http.Request) {
	m := s.mail
	if !sameSecret(req.Header.Get("Authorization"), s.bearer) {
		m.refuse(nil, "401", faultNone)
		writeMailProblems(w, http.StatusUnauthorized, problem{message: "The provided authorization grant is invalid, expired, or revoked"})
		return
	}
	if kind, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";"); kind != "application/json" {
		m.refuse(nil, "415", faultNone)
		writeMailProblems(w, http.StatusUnsupportedMediaType, problem{message: "Content-Type should be application/json."})
		return
	}
	buf := s.buffers.Get().(*buffer)
	defer s.release(buf)
	switch err := buf.readMail(req); {
	case errors.Is(err, errTooLarge):
		m.refuse(nil, "413", faultNone)
		writeNginx(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
		return
	case err != nil:
		m.refuse(nil, "400", faultNone)
		writeMailProblems(w, http.StatusBadRequest, problem{message: "Bad Request"})
		return
	}
	r := &buf.mail
	if !r.parse(buf.body) {
		m.refuse(nil, "400", faultNone)
		writeMailProblems(w, http.StatusBadRequest, problem{message: "Bad Request"})
		return
	}
	now := s.now()
	f := s.faults.draw(channelEmail)
	if f.spares() {
		m.refuse(r, f.kind.code(), f.kind)
		s.spare(w, req, f, errorTooManyRequest)
		return
	}
	if r.check(s.seed, now); len(r.problems) > 0 {
		m.refuse(r, "400", faultNone)
		s.delay(req, f, s.cfg.SendGrid.Latency)
		writeMailProblems(w, http.StatusBadRequest, r.problems...)
		return
	}
	if r.sandboxMode {
		m.checked()
		s.delay(req, f, s.cfg.SendGrid.Latency)
		w.WriteHeader(http.StatusOK)
		return
	}
	position := s.takeMail(r, f.kind, now)
	if s.spoil(w, req, f) {
		return
	}
	s.delay(req, f, s.cfg.SendGrid.Latency)
	if f.kind != faultNoID {
		w.Header()[headerMessageID] = []string{string(appendMessageID(nil, s.ids, position))}
	}
	w.WriteHeader(http.StatusAccepted)
}

// takeMail takes the mails of a request and counts it.
func (s *Sandbox) takeMail(r *mailRequest, kind faultKind, now time.Time) uint32 {
	m := s.mail
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	m.faulted(kind)
	first := m.mails.n
	position := m.take(r, now)
	s.expectMails(first, m.mails.n, now)
	return position
}

// checked counts a request that was only checked.
func (m *mailroom) checked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
}

// refuse counts a request that came to nothing, and marks every attempt in it as definitely failed.
func (m *mailroom) refuse(r *mailRequest, code string, kind faultKind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	m.codes[code]++
	m.faulted(kind)
	if r == nil {
		return
	}
	for i := range r.personalizations {
		m.register.refuse(r.personalizations[i].id)
	}
}

// check holds a request against SendGrid's rules. Whatever is wrong, nothing of the request is sent.
func (r *mailRequest) check(seed maphash.Seed, now time.Time) {
	if r.notObject {
		return
	}
	r.checkPersonalizations(seed, now)
	switch {
	case !r.from.given || len(r.from.email) == 0:
		r.complain(`The from object must be provided for every email send. It is an object that requires the email parameter, but may also contain a name parameter.  e.g. {"email" : "example@example.com"}  or {"email" : "example@example.com", "name" : "Example Recipient"}.`, "from.email")
	case !validAddress(r.from.email):
		r.complain("The from email does not contain a valid address.", "from.email")
	}
	if r.replyTo.given && !validAddress(r.replyTo.email) {
		r.complain("The reply_to email does not contain a valid address.", "reply_to.email")
	}
	if len(r.templateID) == 0 {
		r.checkSubject()
		r.checkContent()
	}
	if r.categories > 10 {
		r.complain("There is a maximum of 10 categories per message.", "categories")
	}
	if r.sendAt > now.Add(maxScheduleAhead).Unix() {
		r.complain("Scheduling more than 72 hours in advance is forbidden.", "send_at")
	}
}

func (r *mailRequest) checkPersonalizations(seed maphash.Seed, now time.Time) {
	switch n := len(r.personalizations); {
	case n == 0:
		r.complain("The personalizations field is required and must have at least one personalization.", "personalizations")
		return
	case n > maxRecipients:
		r.complain("The personalization block is limited to 1000 personalizations per API request. You have provided "+strconv.Itoa(n)+
			" personalizations. Please consider splitting this into multiple requests and resending your request.", "personalizations")
		return
	case len(r.recipients) > maxRecipients:
		r.complain("There is a limit of 1000 total recipients (to + cc + bcc) per request.", "personalizations")
		return
	}
	r.seen.begin(len(r.recipients))
	for n := range r.personalizations {
		p := &r.personalizations[n]
		if p.to == 0 {
			r.complain("The to array is required for all personalization objects, and must have at least one email object with a valid email address.", "personalizations.%d.to", n)
		}
		for i := p.firstRecipient; i < p.endRecipient; i++ {
			to := &r.recipients[i]
			if !validAddress(to.email) {
				r.complain("Does not contain a valid address.", "personalizations.%d.%s.%d.email", n, to.list, to.at)
				continue
			}
			if to.fold(&r.scan, seed); !r.seen.add(r.recipients, i) {
				r.complain("Each unique email address in the personalizations array should only be included once. You have included ["+
					string(to.email)+"] more than once.", "personalizations.%d.%s.%d.email", n, to.list, to.at)
			}
		}
		if p.substitutionBytes > maxPersonalBytes {
			r.complain("Substitutions are limited to 10000 bytes per personalization.", "personalizations.%d.substitutions", n)
		}
		if p.argBytes > maxPersonalBytes {
			r.complain("Custom arguments are limited to 10000 bytes per personalization.", "personalizations.%d.custom_args", n)
		}
		if p.sendAt > now.Add(maxScheduleAhead).Unix() {
			r.complain("Scheduling more than 72 hours in advance is forbidden.", "personalizations.%d.send_at", n)
		}
	}
}

func (r *mailRequest) checkSubject() {
	if len(r.subject) > 0 {
		return
	}
	missing := len(r.personalizations) == 0
	for n := range r.personalizations {
		missing = missing || len(r.personalizations[n].subject) == 0
	}
	if missing {
		r.complain("The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined.", "subject")
	}
}

func (r *mailRequest) checkContent() {
	if len(r.contents) == 0 {
		r.complain("Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block. We typically suggest both text/plain and text/html blocks are included, but only one block is required.", "content")
		return
	}
	// text/plain first, text/html next, anything else after.
	before := -1
	for n, c := range r.contents {
		rank := 2
		switch string(c.kind) {
		case "":
			r.complain("The content type must be a string at least one character in length.", "content.%d.type", n)
		case "text/plain":
			rank = 0
		case "text/html":
			rank = 1
		}
		if len(c.value) == 0 {
			r.complain("The content value must be a string at least one character in length.", "content.%d.value", n)
		}
		if rank < before || rank == before && rank < 2 {
			r.complain("If present, text/plain must be first, followed by text/html, each of them once, followed by any other content.", "content.%d.type", n)
		}
		before = rank
	}
}

// validAddress reports whether an address has the form local@domain.tld, in ASCII.
func validAddress(a []byte) bool {
	at := bytes.LastIndexByte(a, '@')
	if at < 1 || at > 64 || len(a) > 254 || a[0] == '.' || a[at-1] == '.' {
		return false
	}
	for i, c := range a[:at] {
		if !localChar[c] || c == '.' && a[i+1] == '.' {
			return false
		}
	}
	label, dots := 0, 0
	domain := a[at+1:]
	for i, c := range domain {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
			label++
		case c == '-' && label > 0 && i+1 < len(domain) && domain[i+1] != '.':
			label++
		case c == '.' && label > 0:
			label, dots = 0, dots+1
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return dots > 0 && label > 1
}

var localChar = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&'*+/=?^_`{|}~-") {
		t[c] = true
	}
	return t
}()

// writeMailProblems answers with SendGrid's list of errors. Its "help" is left out: the official document calls it an
// object, the real thing sends a string.
func writeMailProblems(w http.ResponseWriter, status int, problems ...problem) {
	b := append(make([]byte, 0, 512), `{"errors":[`...)
	for i, p := range problems {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(append(b, `{"message":`...), p.message)
		b = append(b, `,"field":`...)
		if p.field == "" {
			b = append(b, "null"...)
		} else {
			b = appendJSON(b, p.field)
		}
		b = append(b, '}')
	}
	writeJSON(w, status, append(b, "]}"...))
}

// buffer is what one request needs, used again by a later one.
type buffer struct {
	body   []byte // as it arrived, or unpacked
	packed []byte
	out    []byte
	gzip   *gzip.Reader
	mail   mailRequest
	form   textForm
}

func newBuffers() *sync.Pool { return &sync.Pool{New: func() any { return &buffer{} }} }

func (s *Sandbox) release(b *buffer) {
	if cap(b.body) <= keptBufferBytes && cap(b.packed) <= keptBufferBytes && cap(b.mail.scan.scratch) <= keptBufferBytes {
		s.buffers.Put(b)
	}
}

var errTooLarge = errors.New("body too large")

// readMail reads the body of a mail/send request, unpacked.
func (b *buffer) readMail(req *http.Request) (err error) {
	switch req.Header.Get("Content-Encoding") {
	case "":
		b.body, err = readAll(b.body[:0], req.Body, req.ContentLength, maxMailBytes)
		return err
	case "gzip":
	default:
		return errors.New("unknown content encoding")
	}
	if b.packed, err = readAll(b.packed[:0], req.Body, req.ContentLength, maxMailBytes); err != nil {
		return err
	}
	packed := bytes.NewReader(b.packed)
	if b.gzip == nil {
		b.gzip, err = gzip.NewReader(packed)
	} else {
		err = b.gzip.Reset(packed)
	}
	if err != nil {
		return err
	}
	b.body, err = readAll(b.body[:0], b.gzip, -1, maxMailBytes)
	return err
}

// readAll appends what a reader holds to b, limit bytes at most.
func readAll(b []byte, from io.Reader, announced int64, limit int) ([]byte, error) {
	if announced > int64(limit) {
		return b, errTooLarge
	}
	if need := int(announced) + 1; need > cap(b) {
		b = make([]byte, 0, max(need, 4096))
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := from.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; len(b) > limit {
			return b, errTooLarge
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
