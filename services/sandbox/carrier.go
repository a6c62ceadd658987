package sandbox

import (
	"bytes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"sync"
	"time"

	"candor/pkg/clock"
)

// text is one SMS that was accepted.
type text struct {
	at       int64  // Unix nanoseconds
	data     uint64 // in the arena: the opaque id, then the part of the text that is not in its wording
	phone    uint32
	before   uint32 // the phone's message before this one, or none
	earlier  uint32 // the notice's message before this one, or none
	sender   uint32
	callback uint32 // the status callback's URL, with a NUL where the opaque id was
	wait     uint32 // milliseconds in the sender's queue
	shape    shape  // how the text is put together
	attempt  uint16
	code     uint16 // of the error that ended it
	idLen    uint8
	segments uint8
	flags    uint8
	phase    phase
}

const (
	textUCS2     = 1 << iota // had to go as UCS-2
	textOverflow             // Messaging Service whose queue was full: error 30001, found out after the answer
)

// shape says that a text is the first pre bytes of a wording, then mid bytes of its own, then its last suf bytes.
type shape struct{ wording, pre, mid, suf uint16 }

// phone is one telephone.
type phone struct {
	number uint64 // the digits of its E.164 form
	last   uint32
	count  uint32
}

// sender is a number or Messaging Service that messages come from.
type sender struct {
	from, service string
	ratePerSec    float64 // segments; 0 is no limit
	free          int64   // Unix nanoseconds: when its queue will be empty
}

// carrier is Twilio's side of the world: every SMS, by phone and by notice.
type carrier struct {
	clock clock.Clock

	mu sync.Mutex // guards everything below

	register
	texts     records[text]
	phones    records[phone]
	byNumber  index
	senders   []sender
	bySender  map[string]uint32
	callbacks interned
	wordings  [][]byte
	optedOut  map[uint64]bool // true for those who said so themselves
	stopped   uint64          // how many these are
	talks     map[uint64][]spoken
	heard     uint32 // texts of phones
	memory    arena
	ids       cipher.Block // makes message ids of positions, so that neither needs an index
}

func newCarrier(ids cipher.Block) *carrier {
	c := &carrier{
		bySender: map[string]uint32{}, callbacks: newInterned(), wordings: [][]byte{nil}, optedOut: map[uint64]bool{},
		talks: map[uint64][]spoken{}, ids: ids,
	}
	c.register = newRegister(&c.memory)
	return c
}

// post is a message that a sender asks for.
type post struct {
	to                            uint64 // digits
	from, service, body, callback []byte
	id                            []byte // the last path element of callback
	segments                      int
	ucs2                          bool
}

// queueFull is the longest queue of a sender: ten hours.
const queueFull = 10 * time.Hour

// take accepts a message, or returns the error of Twilio's that stands against it.
func (c *carrier) take(p *post, now time.Time, ratePerSec func(from string) float64) (uint32, *twilioError) {
	if _, out := c.optedOut[p.to]; out {
		return none, errOptedOut
	}
	s := c.sender(p, ratePerSec)
	wait, full := c.senders[s].queue(p.segments, now)
	if full && len(p.service) == 0 {
		return none, errQueueFull
	}
	m := text{at: now.UnixNano(), sender: s, wait: wait, before: none, earlier: none, segments: uint8(min(p.segments, math.MaxUint8))} //nolint:gosec // clamped
	if p.ucs2 {
		m.flags |= textUCS2
	}
	if full {
		m.flags |= textOverflow
	}
	id, known := parseOpaqueID(p.id)
	if known {
		m.idLen, m.attempt = uint8(len(id.raw)), id.attempt //nolint:gosec // an id has at most 255 bytes
	}
	var middle []byte
	m.shape, middle = c.shorten(p.body)
	m.data = c.memory.put(id.raw, middle)
	frame := p.callback
	if known {
		frame = callbackFrame(p.callback, p.id)
	}
	m.callback = c.callbacks.number(frame)

	i := c.texts.add(m)
	stored := c.texts.at(i)
	stored.phone = c.phone(p.to)
	owner := c.phones.at(stored.phone)
	stored.before, owner.last = owner.last, i
	owner.count++

	c.accepted++
	if c.accepted == 1 {
		c.first = now
	}
	if full {
		c.dropped++
		c.fates["30001"]++
	}
	if known {
		stored.earlier = c.register.accept(c.notice(id.notice, m.data), i, !full)
	} else {
		c.withoutID++
	}
	return i, nil
}

// callbackFrame is a status callback's URL with a NUL in the place of the opaque id, so that equal ones are kept once.
func callbackFrame(url, id []byte) []byte {
	at := bytes.LastIndex(url, id)
	if len(id) == 0 || at < 0 {
		return url
	}
	frame := append(make([]byte, 0, 128), url[:at]...)
	return append(append(frame, 0), url[at+len(id):]...)
}

// queue books a sender's time and says how long the message waits in milliseconds, and whether the queue was full.
func (s *sender) queue(segments int, now time.Time) (waitMS uint32, full bool) {
	if s.ratePerSec <= 0 {
		return 0, false
	}
	free := max(s.free, now.UnixNano())
	wait := time.Duration(free - now.UnixNano())
	if wait > queueFull {
		return 0, true
	}
	s.free = free + int64(float64(segments)/s.ratePerSec*float64(time.Second))
	return uint32(wait.Milliseconds()), false //nolint:gosec // ten hours at most
}

func (c *carrier) sender(p *post, ratePerSec func(from string) float64) uint32 {
	name := p.from
	if len(p.service) > 0 {
		name = p.service
	}
	if i, ok := c.bySender[string(name)]; ok {
		return i
	}
	i := uint32(len(c.senders)) //nolint:gosec // far below 2^32 senders
	c.senders = append(c.senders, sender{from: string(p.from), service: string(p.service), ratePerSec: ratePerSec(string(name))})
	c.bySender[string(name)] = i
	return i
}

func (c *carrier) findPhone(number uint64) (uint32, bool) {
	return c.byNumber.find(hashNumber(number), func(i uint32) bool { return c.phones.at(i).number == number })
}

func (c *carrier) phone(number uint64) uint32 {
	if i, ok := c.findPhone(number); ok {
		return i
	}
	i := c.phones.add(phone{number: number, last: none})
	c.byNumber.add(hashNumber(number), i)
	return i
}

func hashNumber(number uint64) uint32 { return uint32(number * 0x9E3779B97F4A7C15 >> 32) } //nolint:gosec // the upper half

const (
	maxWordings   = 64 // texts against which others are compared
	worthOneBytes = 24 // what a wording must save
)

// shorten finds the wording that shares most with a body. Most texts of a wave differ in a code or two only.
func (c *carrier) shorten(body []byte) (shape, []byte) {
	var best shape
	saved := 0
	for i, w := range c.wordings {
		pre, suf := common(w, body)
		if pre+suf > saved {
			saved = pre + suf
			best = shape{wording: uint16(i), pre: uint16(pre), mid: uint16(len(body) - saved), suf: uint16(suf)} //nolint:gosec // 1,600 characters at most
			if saved == len(body) {
				break
			}
		}
	}
	if saved < worthOneBytes && saved < len(body) {
		if len(c.wordings) == maxWordings {
			return shape{mid: uint16(len(body))}, body //nolint:gosec // 1,600 characters at most
		}
		c.wordings = append(c.wordings, bytes.Clone(body))
		best = shape{wording: uint16(len(c.wordings) - 1), pre: uint16(len(body))} //nolint:gosec // as above
	}
	return best, body[best.pre : len(body)-int(best.suf)]
}

// common returns the length of the longest common beginning, and of the longest common end of what is left.
func common(a, b []byte) (pre, suf int) {
	n := min(len(a), len(b))
	for pre < n && a[pre] == b[pre] {
		pre++
	}
	for suf < n-pre && a[len(a)-1-suf] == b[len(b)-1-suf] {
		suf++
	}
	return pre, suf
}

// body appends the text of a message as it was sent.
func (c *carrier) body(b []byte, m *text) []byte {
	w := c.wordings[m.shape.wording]
	b = append(b, w[:m.shape.pre]...)
	b = append(b, c.memory.get(m.data, int(m.idLen)+int(m.shape.mid))[m.idLen:]...)
	return append(b, w[len(w)-int(m.shape.suf):]...)
}

// state is what a list would say about a message now.
func (m *text) state(now time.Time, service bool) (status string, sentAt time.Time, errorCode int) {
	if m.flags&textOverflow != 0 {
		return "failed", time.Time{}, 30001
	}
	sentAt = time.Unix(0, m.at).Add(time.Duration(m.wait) * time.Millisecond)
	switch {
	case m.phase > phaseQueued:
		return m.phase.status(), sentAt, int(m.code)
	case m.phase == phaseTaken && !now.Before(sentAt):
		return "sent", sentAt, 0
	case service:
		return "accepted", time.Time{}, 0
	default:
		return "queued", time.Time{}, 0
	}
}

func (m *text) try() taken {
	return taken{attempt: m.attempt, dropped: m.flags&textOverflow != 0, earlier: m.earlier, at: m.at, fate: m.fate()}
}

// The ids that go out are positions under a cipher: unguessable, and found again without an index.

const (
	kindText    = 1
	kindMailing = 2
)

func sealPosition(ids cipher.Block, kind, position uint32) (out [16]byte) {
	binary.BigEndian.PutUint32(out[0:], kind)
	binary.BigEndian.PutUint32(out[12:], position)
	ids.Encrypt(out[:], out[:])
	return out
}

func appendSID(b []byte, ids cipher.Block, position uint32) []byte {
	sealed := sealPosition(ids, kindText, position)
	return hex.AppendEncode(append(b, "SM"...), sealed[:])
}

func appendMessageID(b []byte, ids cipher.Block, position uint32) []byte {
	sealed := sealPosition(ids, kindMailing, position)
	return base64.RawURLEncoding.AppendEncode(b, sealed[:])
}

// position returns the position that a sid stands for.
func (c *carrier) position(sid string) (uint32, bool) {
	var sealed [16]byte
	if len(sid) != 34 || sid[:2] != "SM" {
		return 0, false
	}
	if _, err := hex.Decode(sealed[:], []byte(sid[2:])); err != nil {
		return 0, false
	}
	c.ids.Decrypt(sealed[:], sealed[:])
	i := binary.BigEndian.Uint32(sealed[12:])
	if binary.BigEndian.Uint32(sealed[0:]) != kindText || binary.BigEndian.Uint64(sealed[4:]) != 0 || i >= c.texts.n {
		return 0, false
	}
	return i, true
}
