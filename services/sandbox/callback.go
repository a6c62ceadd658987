package sandbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Twilio's signature is made with it
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// moveText is a text that is sent, or that has come to its end.
func (d *dispatcher) moveText(c chore) {
	p, sms := d.plan.Load(), d.sms
	sms.mu.Lock()
	m := sms.texts.at(c.what)
	number := sms.phones.at(m.phone).number
	if c.word == wordSent {
		m.phase = phaseSent
	} else {
		sms.end(m, p.textFate(number, m.attempt))
	}
	told := m.callback != 0
	sms.mu.Unlock()

	if told && p.silent(number) {
		d.courier.silent.Add(1)
	} else if told {
		d.tell(p, chore{at: c.at, what: c.what, task: taskCallback, word: c.word})
	}
	if c.word == wordSent && number != magicSilent {
		d.courier.add(chore{at: c.at + int64(p.DelayFinal), what: c.what, task: taskText, word: wordFinal})
	}
	d.courier.owed.Add(-1)
}

// end settles what became of a text: delivered, or an error code. The caller holds the lock.
func (c *carrier) end(m *text, code uint16) {
	if m.flags&textOverflow != 0 { // known and counted since it was taken
		m.phase, m.code = phaseFailed, 30001
		return
	}
	m.phase, m.code = phaseDelivered, code
	rule := lookUpCode(code)
	switch {
	case code == 0:
	case rule.failed:
		m.phase = phaseFailed
	default:
		m.phase = phaseUndelivered
	}
	c.fates[m.fate()]++
	id, known := parseOpaqueID(c.memory.get(m.data, int(m.idLen)))
	if known && !rule.doubtful { // of a doubtful one nobody may say that it failed
		c.settle(c.notice(id.notice, nowhere), code == 0)
	}
}

// poster is one of those who post.
type poster struct {
	*Sandbox
	mac, wrong hash.Hash
	sign       signer
	body       []byte
}

func newPoster(s *Sandbox) *poster {
	p := &poster{
		Sandbox: s, mac: hmac.New(sha1.New, []byte(s.cfg.Twilio.AuthToken.Reveal())),
		wrong: hmac.New(sha1.New, []byte("nottheauthtoken")),
	}
	return p
}

func (p *poster) do(ctx context.Context, c chore) {
	if c.task == taskEvents {
		p.postEvents(ctx, c)
		return
	}
	p.postCallback(ctx, c)
}

// postCallback tells one status of one text. A crash tells it never.
func (p *poster) postCallback(ctx context.Context, c chore) {
	target, fields := p.callback(c)
	target, rules := cutRules(target)
	mac := p.mac
	if c.lie == lieSignature {
		mac = p.wrong
	}
	var signature string
	p.body, signature = p.sign.form(p.body[:0], mac, target, fields)
	a := p.courier.post(ctx, target, formType, p.body,
		[2]string{headerSignature, signature}, [2]string{headerToken, p.idempotencyToken(c)})
	if a.taken() && c.lie == lieSignature {
		p.courier.forgedTaken.Add(1)
	}
	if !a.taken() && c.lie == 0 {
		p.courier.refused.Add(1)
		plan := p.plan.Load()
		if int(c.tries) < min(rules.retries, plan.RetryMost) && rules.cover(a) {
			c.at = p.now().Add(retryAfter(plan, c.tries)).UnixNano()
			c.tries++
			p.courier.put(c)
			return
		}
	}
	p.courier.done(1, c.lie != 0, a.taken())
}

const (
	headerSignature = "X-Twilio-Signature"
	headerToken     = "I-Twilio-Idempotency-Token" //nolint:gosec // the name of a header
	formType        = "application/x-www-form-urlencoded; charset=utf-8"
	apiVersion      = "2010-04-01"
	// dlrTime is how carriers write when they were done, without a zone.
	dlrTime = "0601021504"
	// ownNumber is in the pool of a Messaging Service unless the account's senders name another.
	ownNumber = "+15005550006"
)

// callback returns what is told of a text, and to which address, rules for retries included.
func (p *poster) callback(c chore) (target string, fields []field) {
	sms := p.sms
	sms.mu.Lock()
	defer sms.mu.Unlock()
	m := sms.texts.at(c.what)
	from := &sms.senders[m.sender]
	id := sms.memory.get(m.data, int(m.idLen))
	status, code := "sent", uint16(0)
	if c.word == wordFinal {
		status, code = m.phase.status(), m.code
	}
	if c.lie != 0 { // the opposite of what is true
		if status, code = "delivered", 0; m.phase == phaseDelivered {
			status, code = "undelivered", 30005
		}
	}
	if c.lie == lieID {
		id = otherID(id)
	}
	target = strings.Replace(sms.callbacks.strings[m.callback], "\x00", string(id), 1)
	sid := string(appendSID(nil, p.ids, c.what))
	fields = p.sign.fields(
		field{"AccountSid", p.cfg.Twilio.AccountSID}, field{"ApiVersion", apiVersion},
		field{"From", p.fromNumber(from)}, field{"To", numberText(sms.phones.at(m.phone).number)},
		field{"MessageSid", sid}, field{"SmsSid", sid}, field{"MessageStatus", status}, field{"SmsStatus", status},
	)
	if from.service != "" {
		fields = append(fields, field{"MessagingServiceSid", from.service})
	}
	if code != 0 {
		fields = append(fields, field{"ErrorCode", strconv.Itoa(int(code))})
	}
	if status == "delivered" || status == "undelivered" {
		plan := p.plan.Load()
		done := time.Unix(0, m.at).Add(time.Duration(m.wait)*time.Millisecond + time.Duration(plan.DelaySent+plan.DelayFinal))
		fields = append(fields, field{"RawDlrDoneDate", done.UTC().Format(dlrTime)})
	}
	return target, fields
}

// status is a text's phase in Twilio's word.
func (p phase) status() string {
	switch p {
	case phaseQueued:
		return "queued"
	case phaseDelivered:
		return "delivered"
	case phaseUndelivered:
		return "undelivered"
	case phaseFailed:
		return "failed"
	default:
		return "sent"
	}
}

// otherID is an id of the same form that nobody gave away: its third part, the proof, differs in the first character.
func otherID(id []byte) []byte {
	other := append([]byte(nil), id...)
	for i, dots := 0, 0; i < len(other); i++ {
		if dots == 2 {
			if other[i] = 'A'; id[i] == 'A' {
				other[i] = 'B'
			}
			return other
		}
		if other[i] == '.' {
			dots++
		}
	}
	return append(other, 'x')
}

// fromNumber is the number that a phone sees.
func (s *Sandbox) fromNumber(from *sender) string {
	if from.service == "" {
		return from.from
	}
	for _, name := range s.cfg.Twilio.Senders {
		if _, ok := parseE164([]byte(name)); ok {
			return name
		}
	}
	return ownNumber
}

// idempotencyToken is the same for every try at telling the same.
func (s *Sandbox) idempotencyToken(c chore) string {
	const kindToken = 1 << 16
	sealed := sealPosition(s.ids, kindToken|uint32(c.lie)<<8|uint32(c.word), c.what)
	return uuid(sealed)
}

func uuid(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// field is one parameter of a form.
type field struct{ name, value string }

// signer writes forms and signs them as Twilio does. Its memory is used again.
type signer struct {
	list []field
	sum  []byte
	tail []byte
}

func (s *signer) fields(list ...field) []field {
	s.list = append(s.list[:0], list...)
	return s.list
}

// form appends the form to b and returns it with its signature: of the URL and of every name and value, by name.
func (s *signer) form(b []byte, mac hash.Hash, target string, fields []field) (body []byte, signature string) {
	for i := 1; i < len(fields); i++ { // a dozen at most
		for k := i; k > 0 && fields[k].name < fields[k-1].name; k-- {
			fields[k], fields[k-1] = fields[k-1], fields[k]
		}
	}
	s.tail = append(s.tail[:0], target...)
	for i, f := range fields {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, f.name...), '='), url.QueryEscape(f.value)...)
		s.tail = append(append(s.tail, f.name...), f.value...)
	}
	mac.Reset()
	_, _ = mac.Write(s.tail) // a hash does not fail
	s.sum = mac.Sum(s.sum[:0])
	return b, base64.StdEncoding.EncodeToString(s.sum)
}

// retryRules are in the fragment of a callback's URL, which Twilio keeps for itself.
type retryRules struct {
	retries                             int
	connect, read, clientErr, serverErr bool
}

// mostRetries is the most that Twilio lets its customers ask for.
const mostRetries = 5

// cutRules takes the fragment off a URL. Without one there is one retry, and only where no connection was had.
func cutRules(callback string) (target string, r retryRules) {
	target, fragment, _ := strings.Cut(callback, "#")
	r = retryRules{retries: 1, connect: true}
	for part := range strings.SplitSeq(fragment, "&") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "rc":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				r.retries = min(n, mostRetries)
			}
		case "rp":
			r.connect = false
			for policy := range strings.SplitSeq(value, ",") {
				all := policy == "all"
				r.connect = r.connect || all || policy == "ct"
				r.read = r.read || all || policy == "rt"
				r.clientErr = r.clientErr || all || policy == "4xx"
				r.serverErr = r.serverErr || all || policy == "5xx"
			}
		}
	}
	return target, r
}

// cover reports whether what went wrong is worth another try.
func (r *retryRules) cover(a answer) bool {
	switch {
	case !a.dialled:
		return r.connect
	case a.status == 0:
		return r.read
	case a.status >= http.StatusInternalServerError:
		return r.serverErr
	default:
		return r.clientErr
	}
}

// expect puts a text that was just taken on the courier's agenda. The caller holds the carrier's lock.
func (s *Sandbox) expect(position uint32) {
	p := s.plan.Load()
	if !p.Enabled {
		return
	}
	m := s.sms.texts.at(position)
	c := chore{at: m.at + int64(m.wait)*int64(time.Millisecond) + int64(p.DelaySent), what: position, task: taskText, word: wordSent}
	if m.phase = phaseQueued; m.flags&textOverflow != 0 {
		c.word = wordFinal // it is never sent
	}
	s.courier.add(c)
}
