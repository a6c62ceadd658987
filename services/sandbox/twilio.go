package sandbox

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// twilioError is an answer of Twilio's that says no. In its message %s is the value that it refuses: the real one repeats
// numbers, so whoever logs such messages is to find out here.
type twilioError struct {
	code, status int
	message      string
}

var (
	errAuthenticate = &twilioError{20003, http.StatusUnauthorized, "Authenticate"}
	errNotFound     = &twilioError{20404, http.StatusNotFound, "The requested resource was not found"}
	errBadParameter = &twilioError{20001, http.StatusBadRequest, "Invalid parameter"}
	errTooMany      = &twilioError{20429, http.StatusTooManyRequests, "Too Many Requests"}

	errNoTo          = &twilioError{21604, http.StatusBadRequest, "A 'To' phone number is required."}
	errNoFrom        = &twilioError{21603, http.StatusBadRequest, "A 'From' phone number is required."}
	errNoBody        = &twilioError{21602, http.StatusBadRequest, "Message body is required."}
	errBodyTooLong   = &twilioError{21617, http.StatusBadRequest, "The concatenated message body exceeds the 1600 character limit"}
	errTo            = &twilioError{21211, http.StatusBadRequest, "The 'To' number %s is not a valid phone number."}
	errToRoute       = &twilioError{21612, http.StatusBadRequest, "The 'To' phone number: %s, is not currently reachable via SMS."}
	errToRegion      = &twilioError{21408, http.StatusBadRequest, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: %s."}
	errOptedOut      = &twilioError{21610, http.StatusBadRequest, "Attempt to send to unsubscribed recipient"}
	errToMobile      = &twilioError{21614, http.StatusBadRequest, "'To' number: %s, is not a valid mobile number"}
	errFrom          = &twilioError{21212, http.StatusBadRequest, "The 'From' number %s is not a valid phone number, shortcode, or alphanumeric sender ID."}
	errFromAccount   = &twilioError{21606, http.StatusBadRequest, "The From phone number %s is not a valid, SMS-capable inbound phone number or short code for your account."}
	errQueueFull     = &twilioError{21611, http.StatusBadRequest, "This 'From' number has exceeded the maximum number of queued messages"}
	errService       = &twilioError{21705, http.StatusBadRequest, "The Messaging Service Sid %s is invalid"}
	errCallback      = &twilioError{21609, http.StatusBadRequest, "The 'StatusCallback' URL %s is not a valid URL."}
	errValidity      = &twilioError{21624, http.StatusBadRequest, "The 'ValidityPeriod' is out of range, give 1 to 36000 seconds."}
	errNotImitated   = &twilioError{20001, http.StatusBadRequest, "The sandbox does not imitate the parameter %s"}
	maxBodyChars     = 1600
	maxTextFormBytes = 1 << 20
)

// Magic numbers of Twilio's test credentials, so that one suite of tests runs against both.
var (
	magicTo = map[uint64]*twilioError{
		15005550001: errTo, 15005550002: errToRoute, 15005550003: errToRegion, 15005550004: errOptedOut, 15005550009: errToMobile,
	}
	magicFrom = map[string]*twilioError{
		"+15005550001": errFrom, "+15005550007": errFromAccount, "+15005550008": errQueueFull,
	}
)

// createMessage is POST /2010-04-01/Accounts/{sid}/Messages.json.
func (s *Sandbox) createMessage(w http.ResponseWriter, req *http.Request) {
	c := s.sms
	if e := s.twilioAccess(req); e != nil {
		c.refuse(nil, e.code, faultNone)
		writeTwilioError(w, e)
		return
	}
	buf := s.buffers.Get().(*buffer)
	defer s.release(buf)
	var err error
	if buf.body, err = readAll(buf.body[:0], req.Body, req.ContentLength, maxTextFormBytes); err != nil || !buf.form.parse(buf.body) {
		c.refuse(nil, errBadParameter.code, faultNone)
		writeTwilioError(w, errBadParameter)
		return
	}
	p, refused := buf.form.post(s)
	f := s.faults.draw(channelSMS)
	if f.spares() {
		c.refuse(p.id, 0, f.kind)
		s.spare(w, req, f, errTooMany.json(nil))
		return
	}
	if limit := s.cfg.Twilio.Concurrency; limit > 0 {
		defer s.inFlight.Add(-1)
		if s.inFlight.Add(1) > int64(limit) {
			c.refuse(p.id, errTooMany.code, faultNone)
			w.Header().Set("Retry-After", "1")
			writeTwilioError(w, errTooMany)
			return
		}
	}
	if refused != nil {
		c.refuse(p.id, refused.code, faultNone)
		s.delay(req, f, s.cfg.Twilio.Latency)
		writeTwilioError(w, refused, buf.form.culprit(refused)...)
		return
	}

	if buf.out, refused = s.takeText(buf.out[:0], &p, f.kind); refused != nil {
		c.refuse(p.id, refused.code, faultNone)
		s.delay(req, f, s.cfg.Twilio.Latency)
		writeTwilioError(w, refused)
		return
	}
	if s.spoil(w, req, f) {
		return
	}
	s.delay(req, f, s.cfg.Twilio.Latency)
	writeJSON(w, http.StatusCreated, buf.out)
}

// takeText accepts a message and writes the answer to it.
func (s *Sandbox) takeText(b []byte, p *post, kind faultKind) ([]byte, *twilioError) {
	c, now := s.sms, s.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	position, refused := c.take(p, now, s.senderRate)
	if refused != nil {
		return b, refused
	}
	c.requests++
	c.faulted(kind)
	s.expect(position)
	if kind == faultNoID {
		return append(b, "{}"...), nil
	}
	return s.appendMessage(b, position, now, true), nil
}

// twilioAccess checks the credentials and the account in the path.
func (s *Sandbox) twilioAccess(req *http.Request) *twilioError {
	if !sameSecret(req.Header.Get("Authorization"), s.basic) {
		return errAuthenticate
	}
	if req.PathValue("account") != s.cfg.Twilio.AccountSID {
		return errNotFound
	}
	return nil
}

// refuse counts a request that came to nothing, and marks its attempt as definitely failed.
func (c *carrier) refuse(id []byte, code int, kind faultKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if kind != faultNone {
		c.codes[kind.code()]++
		c.faulted(kind)
	} else {
		c.codes[strconv.Itoa(code)]++
	}
	c.register.refuse(id)
}

// post makes a message of the form, or returns what stands against it. The id is there in any case.
func (f *textForm) post(s *Sandbox) (p post, refused *twilioError) {
	p = post{from: f.from, service: f.service, body: f.body, callback: f.callback, id: callbackID(f.callback)}
	var valid bool
	p.to, valid = parseE164(f.to)
	switch {
	case len(f.to) == 0:
		return p, errNoTo
	case len(f.from) == 0 && len(f.service) == 0:
		return p, errNoFrom
	case f.unsupported != "":
		return p, errNotImitated
	case len(f.body) == 0:
		return p, errNoBody
	case !valid:
		return p, errTo
	}
	var chars int
	if p.segments, p.ucs2, chars = segments(f.body); chars > maxBodyChars {
		return p, errBodyTooLong
	}
	if e := f.checkSender(s); e != nil {
		return p, e
	}
	if e := magicTo[p.to]; e != nil {
		return p, e
	}
	if len(f.callback) > 0 && !validCallback(f.callback) {
		return p, errCallback
	}
	if len(f.validity) > 0 {
		if v, err := strconv.Atoi(string(f.validity)); err != nil || v < 1 || v > 36000 {
			return p, errValidity
		}
	}
	return p, nil
}

// culprit is the value that an error is about.
func (f *textForm) culprit(e *twilioError) []byte {
	switch e {
	case errTo, errToRoute, errToRegion, errToMobile:
		return f.to
	case errFrom, errFromAccount:
		return f.from
	case errService:
		return f.service
	case errCallback:
		return f.callback
	case errNotImitated:
		return []byte(f.unsupported)
	default:
		return nil
	}
}

func (f *textForm) checkSender(s *Sandbox) *twilioError {
	if len(f.service) > 0 {
		if len(f.service) != 34 || string(f.service[:2]) != "MG" || s.foreign(f.service) {
			return errService
		}
		return nil
	}
	if e := magicFrom[string(f.from)]; e != nil {
		return e
	}
	switch {
	case !validSender(f.from):
		return errFrom
	case s.foreign(f.from):
		return errFromAccount
	}
	return nil
}

// foreign reports whether a sender belongs to another account.
func (s *Sandbox) foreign(sender []byte) bool {
	return len(s.senders) > 0 && !s.senders[string(sender)]
}

func (s *Sandbox) senderRate(name string) float64 {
	if r, ok := s.cfg.Twilio.SenderRates[name]; ok {
		return r
	}
	return s.cfg.Twilio.RatePerSec
}

// parseE164 returns the digits of a number: a plus, a country code, 7 to 15 digits in all.
func parseE164(b []byte) (uint64, bool) {
	if len(b) < 8 || len(b) > 16 || b[0] != '+' || b[1] == '0' {
		return 0, false
	}
	var n uint64
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// validSender accepts a number, a short code and a name of up to 11 letters, digits and spaces.
func validSender(b []byte) bool {
	if _, ok := parseE164(b); ok {
		return true
	}
	letters := false
	for _, c := range b {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != ' ' {
			return false
		}
		letters = letters || letter
	}
	return letters && len(b) <= 11 || !letters && 3 <= len(b) && len(b) <= 8 && !bytes.ContainsRune(b, ' ')
}

// validCallback accepts what has a scheme and a host. Unlike Twilio we take local hosts: that is where we are.
func validCallback(b []byte) bool {
	rest, ok := bytes.CutPrefix(b, []byte("https://"))
	if !ok {
		if rest, ok = bytes.CutPrefix(b, []byte("http://")); !ok {
			return false
		}
	}
	return len(rest) > 0 && rest[0] != '/' && rest[0] != '?' && rest[0] != '#' && !bytes.ContainsAny(b, " \t\r\n\x00") && utf8.Valid(b)
}

// callbackID returns the last element of a callback's path.
func callbackID(b []byte) []byte {
	if i := bytes.IndexAny(b, "?#"); i >= 0 {
		b = b[:i]
	}
	return b[bytes.LastIndexByte(b, '/')+1:]
}

const twilioTime = "Mon, 02 Jan 2006 15:04:05 +0000"

// appendMessage writes a message as Twilio does. The answer to a new one never says that it is sent already. The caller
// holds the carrier's lock.
func (s *Sandbox) appendMessage(b []byte, position uint32, now time.Time, fresh bool) []byte {
	c := s.sms
	m := c.texts.at(position)
	from := &c.senders[m.sender]
	service := from.service != ""
	status, sentAt, code := m.state(now, service)
	if fresh {
		status, sentAt, code = "queued", time.Time{}, 0
		if service {
			status = "accepted"
		}
	}
	b = append(append(b, `{"account_sid":"`...), s.cfg.Twilio.AccountSID...)
	b = append(b, `","api_version":"2010-04-01","body":`...)
	var scratch [512]byte
	b = appendJSON(b, c.body(scratch[:0], m))
	b = append(b, `,"date_created":"`...)
	created := len(b)
	b = time.Unix(0, m.at).UTC().AppendFormat(b, twilioTime)
	b = append(b, `","date_sent":`...)
	if sentAt.IsZero() {
		b = append(b, `null,"date_updated":"`...)
		b = append(b, b[created:created+len(twilioTime)]...)
	} else {
		b = sentAt.UTC().AppendFormat(b, `"`+twilioTime+`"`)
		b = append(b, `,"date_updated":"`...)
		b = sentAt.UTC().AppendFormat(b, twilioTime)
	}
	b = append(b, `","direction":"outbound-api","error_code":`...)
	if code == 0 {
		b = append(b, `null,"error_message":null,"from":`...)
	} else {
		b = strconv.AppendInt(b, int64(code), 10)
		b = append(append(b, `,"error_message":"`...), lookUpCode(uint16(code)).words...) //nolint:gosec // a code has five digits
		b = append(b, `","from":`...)
	}
	if service {
		b = append(b, `null,"messaging_service_sid":`...)
		b = appendJSON(b, from.service)
	} else {
		b = appendJSON(b, from.from)
		b = append(b, `,"messaging_service_sid":null`...)
	}
	b = append(b, `,"num_media":"0","num_segments":"`...)
	if service && fresh {
		b = append(b, '0')
	} else {
		b = strconv.AppendInt(b, int64(m.segments), 10)
	}
	b = append(b, `","price":null,"price_unit":null,"sid":"`...)
	sid := len(b)
	b = appendSID(b, s.ids, position)
	b = append(append(b, `","status":"`...), status...)
	b = append(b, `","subresource_uris":{"media":"`...)
	b = append(append(b, s.messagesPath...), b[sid:sid+34]...)
	b = append(b, `/Media.json"},"to":"+`...)
	b = strconv.AppendUint(b, c.phones.at(m.phone).number, 10)
	b = append(b, `","uri":"`...)
	b = append(append(b, s.messagesPath...), b[sid:sid+34]...)
	return append(b, `.json"}`...)
}

func (e *twilioError) json(culprit []byte) string {
	code := strconv.Itoa(e.code)
	b := appendJSON([]byte(`{"code":`+code+`,"message":`), strings.Replace(e.message, "%s", string(culprit), 1))
	return string(b) + `,"more_info":"https://www.twilio.com/docs/errors/` + code + `","status":` + strconv.Itoa(e.status) + `}`
}

func writeTwilioError(w http.ResponseWriter, e *twilioError, culprit ...byte) {
	if e == errAuthenticate {
		w.Header().Set("WWW-Authenticate", `Basic realm="Twilio API"`)
	}
	writeJSON(w, e.status, []byte(e.json(culprit)))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_, _ = w.Write(body) // who has gone needs no answer
}

var jsonType = []string{"application/json"}

// appendJSON writes a string as JSON. Bytes that are no UTF-8 become U+FFFD.
func appendJSON[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, width := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || width != 1 {
				i += width
				continue
			}
			b = append(append(b, s[from:i]...), "\uFFFD"...)
		} else {
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			default:
				b = hex.AppendEncode(append(b, `\u00`...), []byte{c})
			}
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}
