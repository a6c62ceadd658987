package sandbox

import (
	"bytes"
	"hash/maphash"
	"maps"
	"math"
	"strconv"
	"time"
)

// opaqueID is the sender's id for a message, <notice>.<attempt>.<mac>. We never look at the mac: only its owner can.
type opaqueID struct {
	raw     []byte
	notice  []byte
	attempt uint16
}

const maxOpaqueIDBytes = 255

// parseOpaqueID takes an id apart; ok is false if it has another form.
func parseOpaqueID(raw []byte) (id opaqueID, ok bool) {
	first := bytes.IndexByte(raw, '.')
	if first < 1 || len(raw) > maxOpaqueIDBytes {
		return opaqueID{}, false
	}
	second := bytes.IndexByte(raw[first+1:], '.')
	if second < 1 || first+1+second+1 == len(raw) {
		return opaqueID{}, false
	}
	attempt := 0
	for _, c := range raw[first+1 : first+1+second] {
		if c < '0' || c > '9' {
			return opaqueID{}, false
		}
		if attempt = attempt*10 + int(c-'0'); attempt > math.MaxUint16 {
			return opaqueID{}, false
		}
	}
	for _, c := range raw {
		if c <= ' ' || c > '~' {
			return opaqueID{}, false
		}
	}
	return opaqueID{raw: raw, notice: raw[:first], attempt: uint16(attempt)}, true
}

// none marks the absence of a record.
const none = math.MaxUint32

// notice is the ground truth of one notice on one channel.
type notice struct {
	key      uint64 // in the arena
	last     uint32 // its latest accepted message, or none
	accepted uint16
	live     uint16 // of the accepted ones, those that have not definitely failed
	keyLen   uint8
	twice    bool // a second message was accepted while an earlier one was live
	reached  bool // a message was delivered
	bounced  bool // a message was taken and came to nothing
	sunk     bool // every message did
}

// refusal is an attempt that definitely came to nothing.
type refusal struct {
	attempt uint16
	times   uint16
}

// register counts what happened on one channel. Guarded by the lock of the store that owns it.
type register struct {
	arena   *arena
	seed    maphash.Seed
	notices records[notice]
	index   index
	refused map[uint32][]refusal

	requests   uint64
	accepted   uint64
	dropped    uint64
	told       uint64 // notices with an accepted message
	withoutID  uint64
	duplicates uint64
	reached    uint64 // notices with a delivered message
	bounced    uint64 // notices with a message that came to nothing
	sunk       uint64 // notices all of whose messages did
	fates      map[string]uint64
	codes      map[string]uint64
	faults     map[string]uint64
	first      time.Time
}

func newRegister(a *arena) register {
	return register{arena: a, seed: maphash.MakeSeed(), refused: map[uint32][]refusal{}, fates: map[string]uint64{}, codes: map[string]uint64{}, faults: map[string]uint64{}}
}

// notice returns the record of a notice. stored says where in the arena its key lies already, or nowhere.
func (r *register) notice(key []byte, stored uint64) uint32 {
	hash := hash32(r.seed, key)
	i, ok := r.index.find(hash, func(i uint32) bool {
		n := r.notices.at(i)
		return int(n.keyLen) == len(key) && bytes.Equal(r.arena.get(n.key, len(key)), key)
	})
	if ok {
		return i
	}
	if stored == nowhere {
		stored = r.arena.put(key)
	}
	i = r.notices.add(notice{key: stored, last: none, keyLen: uint8(len(key))}) //nolint:gosec // an id has at most 255 bytes
	r.index.add(hash, i)
	return i
}

// nowhere is no place in the arena.
const nowhere = math.MaxUint64

// accept records a message of a notice and returns the notice's earlier one. live is false for a message that is
// accepted and definitely comes to nothing.
func (r *register) accept(i, message uint32, live bool) (earlier uint32) {
	n := r.notices.at(i)
	earlier, n.last = n.last, message
	if earlier == none {
		r.told++
	}
	if n.accepted < math.MaxUint16 {
		n.accepted++
	}
	if !live {
		r.fail(n)
		return earlier
	}
	if n.sunk {
		n.sunk = false
		r.sunk--
	}
	if n.live > 0 && !n.twice {
		n.twice = true
		r.duplicates++
	}
	if n.live < math.MaxUint16 {
		n.live++
	}
	return earlier
}

// settle records what became of a message that was live.
func (r *register) settle(i uint32, delivered bool) {
	n := r.notices.at(i)
	if delivered {
		if !n.reached {
			n.reached = true
			r.reached++
		}
		return
	}
	if n.live > 0 {
		n.live--
	}
	r.fail(n)
}

// fail records a message of a notice that definitely came to nothing.
func (r *register) fail(n *notice) {
	if !n.bounced {
		n.bounced = true
		r.bounced++
	}
	if n.live == 0 && !n.reached && !n.sunk {
		n.sunk = true
		r.sunk++
	}
}

// refuse records an attempt that definitely came to nothing. The id may be anything.
func (r *register) refuse(raw []byte) {
	id, ok := parseOpaqueID(raw)
	if !ok {
		return
	}
	i := r.notice(id.notice, nowhere)
	list := r.refused[i]
	for k := range list {
		if list[k].attempt == id.attempt {
			list[k].times++
			return
		}
	}
	r.refused[i] = append(list, refusal{attempt: id.attempt, times: 1})
}

// faulted counts a fault that was made.
func (r *register) faulted(k faultKind) {
	if k != faultNone {
		r.faults[k.String()]++
	}
}

// attempts is what became of one attempt at a notice.
type attempts struct {
	attempt                    uint16
	accepted, dropped, refused int
	at                         int64 // Unix nanoseconds, of the newest accepted one
	fate                       string
}

// taken is what the store of a message knows of it.
type taken struct {
	attempt uint16
	dropped bool
	earlier uint32 // the message of the same notice before it, or none
	at      int64  // Unix nanoseconds
	fate    string
}

// tries lists a notice's attempts. message tells what is known of one.
func (r *register) tries(i uint32, list []attempts, message func(uint32) taken) []attempts {
	list = list[:0]
	entry := func(attempt uint16) *attempts {
		for k := range list {
			if list[k].attempt == attempt {
				return &list[k]
			}
		}
		list = append(list, attempts{attempt: attempt})
		return &list[len(list)-1]
	}
	for m := r.notices.at(i).last; m != none; {
		was := message(m)
		e := entry(was.attempt)
		e.accepted++
		e.at = max(e.at, was.at)
		if was.dropped {
			e.dropped++
		}
		if e.fate == "" || was.fate == fateDelivered { // the newest comes first
			e.fate = was.fate
		}
		m = was.earlier
	}
	for _, f := range r.refused[i] {
		entry(f.attempt).refused += int(f.times)
	}
	return list
}

func (r *register) key(i uint32) []byte {
	n := r.notices.at(i)
	return r.arena.get(n.key, int(n.keyLen))
}

// appendTries writes one line per attempt: notice, attempt, accepted, dropped, refused, Unix nanoseconds, fate, tab-separated.
func appendTries(b, key []byte, list []attempts) []byte {
	for _, t := range list {
		b = append(b, key...)
		for _, n := range [...]int64{int64(t.attempt), int64(t.accepted), int64(t.dropped), int64(t.refused), t.at} {
			b = append(b, '\t')
			b = strconv.AppendInt(b, n, 10)
		}
		b = append(append(b, '\t'), t.fate...)
		b = append(b, '\n')
	}
	return b
}

// ChannelTruth is what really happened on one channel.
type ChannelTruth struct {
	Requests          uint64            `json:"requests"`            // everything that arrived, refused or not
	Accepted          uint64            `json:"accepted"`            // messages that were taken
	Dropped           uint64            `json:"dropped"`             // of these, definitely not going to arrive: suppressed, or the queue was full
	Notices           uint64            `json:"notices"`             // distinct notices of which a message was taken
	Duplicates        uint64            `json:"duplicates"`          // notices of which a second message was taken while an earlier one had not definitely failed
	Delivered         uint64            `json:"delivered"`           // notices of which a message was delivered
	Undelivered       uint64            `json:"undelivered"`         // notices all of whose taken messages definitely came to nothing
	Bounced           uint64            `json:"bounced"`             // notices of which a taken message definitely came to nothing, whatever became of them since
	OptedOut          uint64            `json:"opted_out"`           // people who asked the provider for no more, and have not taken it back
	Fates             map[string]uint64 `json:"fates"`               // messages by what became of them: delivered, bounce, blocked, dropped, or Twilio's error code
	MessagesWithoutID uint64            `json:"messages_without_id"` // taken messages whose notice is unknown
	People            uint64            `json:"people"`              // distinct phones or mailboxes
	RefusedByCode     map[string]uint64 `json:"refused_by_code"`     // requests; Twilio's error code, or the HTTP status
	Faults            map[string]uint64 `json:"faults"`              // faults made, by kind
	TextsKept         bool              `json:"texts_kept"`          // false once the limit is reached or when told to keep none
	MemoryBytes       int64             `json:"memory_bytes"`        // of the stored messages, about
}

// Truth is what really happened, as nobody but the provider can know it.
type Truth struct {
	SMS        ChannelTruth `json:"sms"`
	Email      ChannelTruth `json:"email"`
	Duplicates uint64       `json:"sandbox_duplicates"` // of both channels

	Receipts ReceiptsTruth `json:"receipts"`
}

// First is the time of the first accepted message of each channel, or nil.
type First struct {
	SMS   *time.Time `json:"sms"`
	Email *time.Time `json:"email"`
}

func (r *register) truth() ChannelTruth {
	t := ChannelTruth{
		Requests: r.requests, Accepted: r.accepted, Notices: r.told, Dropped: r.dropped, Duplicates: r.duplicates, MessagesWithoutID: r.withoutID,
		Delivered: r.reached, Undelivered: r.sunk, Bounced: r.bounced, Fates: maps.Clone(r.fates),
		RefusedByCode: maps.Clone(r.codes), Faults: maps.Clone(r.faults),
		MemoryBytes: r.arena.size + int64(r.notices.n)*24 + int64(len(r.index.slots))*8,
	}
	return t
}
