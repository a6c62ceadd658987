package sandbox

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"time"

	"candor/pkg/config"
)

// batch is one post of events.
type batch struct {
	events  []event
	bytes   int // at most, once it is written
	flushAt int64
	forged  bool // signed by somebody else
}

// event is one of SendGrid's, in as few bytes as say which.
type event struct {
	at   uint32 // Unix seconds
	mail uint32
	word word
	lie  uint8
}

// The two posts that are open: what SendGrid says, and what somebody else says in its name.
const (
	openGenuine = iota
	openForged
)

// moveMail is a mail that is processed, deferred, or has come to its end.
func (d *dispatcher) moveMail(c chore) {
	p, room := d.plan.Load(), d.mail
	room.mu.Lock()
	e := room.mails.at(c.what)
	next := room.move(p, e, &c.word)
	room.mu.Unlock()

	if d.hooks.Load().EventsURL != "" {
		d.tell(p, chore{at: c.at, what: c.what, task: taskEvent, word: c.word})
	}
	if next != wordSent { // what comes first comes after nothing
		d.courier.add(chore{at: c.at + int64(p.DelayFinal), what: c.what, task: taskMail, word: next})
	}
	d.courier.owed.Add(-1)
}

// move moves a mail on. It says what follows, wordSent for nothing, and may correct what is said now.
func (m *mailroom) move(p *receiptPlan, e *mail, said *word) (next word) {
	if e.flags&mailDropped != 0 {
		*said = wordFinal // there was never more to say
		return wordSent
	}
	fate := p.mailFate(m.address(e.mailbox), e.attempt)
	switch *said {
	case wordSent:
		e.phase = phaseSent
		return wordFinal
	case wordSpam:
		e.phase = phaseSpam
		m.suppressed[string(m.address(e.mailbox))] = "Spam Reporting Address"
		m.complained++
		return wordSent
	case wordFinal:
		if fate == phaseDeferred && e.phase != phaseDeferred {
			e.phase, *said = phaseDeferred, wordDeferred
			return wordFinal
		}
	default:
	}
	switch fate {
	case phaseBounced:
		e.phase = phaseBounced
		m.suppressed[string(m.address(e.mailbox))] = "Bounced Address"
	case phaseBlocked:
		e.phase = phaseBlocked
	default:
		e.phase = phaseDelivered
	}
	m.fates[e.fate()]++
	id, known := parseOpaqueID(m.memory.get(e.data, int(e.idLen)))
	if known && e.flags&mailShared == 0 {
		m.settle(m.notice(id.notice, nowhere), e.phase == phaseDelivered)
	}
	if fate == phaseSpam {
		return wordSpam
	}
	return wordSent
}

// expectMails puts mails that were just taken on the courier's agenda. The caller holds the mailroom's lock.
func (s *Sandbox) expectMails(from, to uint32, now time.Time) {
	p := s.plan.Load()
	if !p.Enabled {
		return
	}
	list := make([]chore, 0, to-from)
	for i := from; i < to; i++ {
		s.mail.mails.at(i).phase = phaseQueued
		list = append(list, chore{at: now.UnixNano() + int64(p.DelaySent), what: i, task: taskMail, word: wordSent})
	}
	s.courier.add(list...)
}

// collect puts an event into an open post.
func (d *dispatcher) collect(c chore) {
	p := d.plan.Load()
	b := &d.open[openGenuine]
	if c.lie == lieSignature {
		b = &d.open[openForged]
		b.forged = true
	}
	size := d.mail.eventSize(c.what)
	if len(b.events) > 0 && b.bytes+size > p.BatchBytes {
		d.flush(b)
	}
	if len(b.events) == 0 {
		b.flushAt, b.bytes = d.now().Add(time.Duration(p.Flush)).UnixNano(), len(eventsEnd)
	}
	b.events = append(b.events, event{at: uint32(c.at / int64(time.Second)), mail: c.what, word: c.word, lie: c.lie}) //nolint:gosec // until 2106
	b.bytes += size
	if b.bytes >= p.BatchBytes {
		d.flush(b)
	}
}

// flush hands an open post to the posters and opens the next one.
func (d *dispatcher) flush(b *batch) {
	c := d.courier
	c.mu.Lock()
	number := c.next
	c.next++
	c.batches[number] = &batch{events: b.events, bytes: b.bytes, forged: b.forged}
	c.mu.Unlock()
	*b = batch{forged: b.forged}
	d.ready.push(chore{what: number, task: taskEvents})
}

// postEvents posts a batch. A crash loses it.
func (p *poster) postEvents(ctx context.Context, c chore) {
	p.courier.mu.Lock()
	b := p.courier.batches[c.what]
	p.courier.mu.Unlock()
	p.body = p.mail.appendEvents(p.body[:0], p.Sandbox, b)
	key := p.webhookKey
	if b.forged {
		key = p.foreignKey
	}
	stamp := strconv.FormatInt(p.now().Unix(), 10)
	a := answer{dialled: true}
	if signature, err := signEvents(key, stamp, p.body); err == nil {
		a = p.courier.post(ctx, p.hooks.Load().EventsURL, "application/json", p.body,
			[2]string{"X-Twilio-Email-Event-Webhook-Signature", signature}, [2]string{"X-Twilio-Email-Event-Webhook-Timestamp", stamp})
	}
	if a.taken() && b.forged {
		p.courier.forgedTaken.Add(1)
	}
	plan := p.plan.Load()
	if !a.taken() && !b.forged {
		p.courier.refused.Add(1)
		if int(c.tries) < plan.RetryMost {
			c.at = p.now().Add(retryAfter(plan, c.tries)).UnixNano()
			c.tries++
			p.courier.put(c)
			return
		}
	}
	p.courier.mu.Lock()
	delete(p.courier.batches, c.what)
	p.courier.mu.Unlock()
	lies := int64(0)
	for i := range b.events {
		if b.events[i].lie != 0 {
			lies++
		}
	}
	p.courier.done(lies, true, a.taken())
	p.courier.done(int64(len(b.events))-lies, false, a.taken())
}

// eventsEnd closes a post. What is signed ends with these two bytes more.
const eventsEnd = "]\r\n"

// eventFrameBytes is more than anything in an event but its address and its id.
const eventFrameBytes = 620

// eventSize is more than an event about a mail takes.
func (m *mailroom) eventSize(i uint32) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.mails.at(i)
	return eventFrameBytes + int(m.mailboxes.at(e.mailbox).length) + int(e.idLen)
}

// appendEvents writes a post.
func (m *mailroom) appendEvents(b []byte, s *Sandbox, list *batch) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range list.events {
		if i == 0 {
			b = append(b, '[')
		} else {
			b = append(b, ",\r\n"...)
		}
		b = m.appendEvent(b, s, &list.events[i])
	}
	return append(b, eventsEnd...)
}

func (m *mailroom) appendEvent(b []byte, s *Sandbox, ev *event) []byte {
	e := m.mails.at(ev.mail)
	address := m.address(e.mailbox)
	id := m.memory.get(e.data, int(e.idLen))
	name, details := m.saying(ev, e, address)
	if ev.lie == lieID {
		id = otherID(id)
	}
	b = appendJSON(append(b, `{"email":`...), address)
	b = strconv.AppendUint(append(b, `,"timestamp":`...), uint64(ev.at), 10)
	b = append(b, `,"smtp-id":"<`...)
	messageID := len(b)
	b = appendMessageID(b, s.ids, e.mailing)
	end := len(b)
	b = append(append(b, `@geopod-ismtpd-0>","event":"`...), name...)
	const kindEvent = 1 << 17
	sealed := sealPosition(s.ids, kindEvent|uint32(ev.lie)<<8|uint32(ev.word), ev.mail)
	b = base64.RawURLEncoding.AppendEncode(append(b, `","sg_event_id":"`...), sealed[:])
	b = append(append(b, `","sg_message_id":"`...), b[messageID:end]...)
	b = strconv.AppendUint(append(b, ".recvd-5d9f6c7b8-sndbx-1-"...), uint64(ev.mail), 16)
	b = append(b, `.0"`...)
	b = append(b, details...)
	if len(id) > 0 {
		b = appendJSON(append(b, `,"candor_id":`...), id)
	}
	return append(b, '}')
}

// What mail servers say.
const (
	noSuchMailbox = "550 5.1.1 The email account that you tried to reach does not exist."
	mailRefused   = "550 5.7.1 Our system has detected that this message is likely unsolicited mail and has blocked it."
	tryLater      = "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message later."
	mailTaken     = "250 2.0.0 OK"
)

// saying returns the name of an event and what stands in it beside what stands in all.
func (m *mailroom) saying(ev *event, e *mail, address []byte) (name, details string) {
	const (
		delivered = `,"ip":"192.0.2.25","tls":1,"response":"` + mailTaken + `"`
		bounced   = `,"ip":"192.0.2.25","tls":1,"type":"bounce","bounce_classification":"Invalid Address","status":"5.1.1","reason":"` + noSuchMailbox + `"`
		blocked   = `,"ip":"192.0.2.25","tls":1,"type":"blocked","bounce_classification":"Reputation","status":"5.7.1","reason":"` + mailRefused + `"`
		deferred  = `,"ip":"192.0.2.25","attempt":"1","domain":"mx","status":"4.2.1","response":"` + tryLater + `"`
	)
	if ev.lie != 0 { // the opposite of what is true
		if e.phase == phaseDelivered || e.phase == phaseSpam {
			return "bounce", bounced
		}
		return "delivered", delivered
	}
	switch ev.word {
	case wordSent:
		return "processed", ""
	case wordDeferred:
		return "deferred", deferred
	case wordSpam:
		return "spamreport", ""
	default:
	}
	switch {
	case e.flags&mailDropped != 0:
		return "dropped", `,"status":"5.0.0","reason":"` + m.reason(address) + `"`
	case e.phase == phaseBounced:
		return "bounce", bounced
	case e.phase == phaseBlocked:
		return "bounce", blocked
	default:
		return "delivered", delivered
	}
}

// reason is why mail to an address is dropped.
func (m *mailroom) reason(address []byte) string {
	if why := m.suppressed[string(address)]; why != "" {
		return why
	}
	return "Unsubscribed Address"
}

// signEvents signs a time and the bytes behind it.
func signEvents(key *ecdsa.PrivateKey, stamp string, body []byte) (string, error) {
	h := sha256.New()
	_, _ = h.Write([]byte(stamp)) // a hash does not fail
	_, _ = h.Write(body)
	signature, err := ecdsa.SignASN1(rand.Reader, key, h.Sum(nil))
	if err != nil {
		return "", fmt.Errorf("sign events: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

var errWebhookKey = errors.New("sandbox: sendgrid.webhook_key: give a P-256 private key, as PEM or as the base64 of its DER")

// parseWebhookKey reads a private key, or makes one where there is none.
func parseWebhookKey(text config.Secret) (*ecdsa.PrivateKey, error) {
	if text == "" {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("sandbox: make the key of the event webhook: %w", err)
		}
		return key, nil
	}
	var der []byte
	if block, _ := pem.Decode([]byte(text.Reveal())); block != nil {
		der = block.Bytes
	} else if decoded, err := base64.StdEncoding.DecodeString(text.Reveal()); err == nil {
		der = decoded
	}
	if parsed, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if key, ok := parsed.(*ecdsa.PrivateKey); ok && key.Curve == elliptic.P256() {
			return key, nil
		}
	} else if key, err := x509.ParseECPrivateKey(der); err == nil && key.Curve == elliptic.P256() {
		return key, nil
	}
	return nil, errWebhookKey // never with what is wrong about it: it is a secret
}

// SendGridPublicKey is what verifies the posts of events, as SendGrid's console shows it: the base64 of its DER.
func (s *Sandbox) SendGridPublicKey() string { return s.publicKey }
