// Package suppression remembers who must not be written to, without remembering who they are.
//
// In: KV SUPPRESSIONS, watched into memory.   Out: Has, asked before each request; Add, Remove.   Crash: an opt-out is kept once Add has
// returned; the memory is filled again at start.
//
// A key is the first half of HMAC-SHA256 under the installation's suppression key, of the channel and the address. Whoever has the
// bucket without the key cannot try out numbers on it.
package suppression

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"
	"sync/atomic"

	candorv1 "candor/proto/candor/v1"
)

const (
	keyBytes = 16
	shards   = 64 // so that lookups by many workers do not queue behind one lock
)

// KV is the bucket SUPPRESSIONS, a bus.KV.
type KV interface {
	Put(ctx context.Context, key string, value []byte) (rev uint64, err error)
	Delete(ctx context.Context, key string) (rev uint64, err error)
	All(ctx context.Context, fn func(key string, value []byte) error) error
	Watch(ctx context.Context, fn func(key string, value []byte, rev uint64, deleted bool) error, caughtUp func()) error
}

// Address is a pii.Phone in E.164 form or a pii.Email.
type Address interface{ Reveal() string }

// Set is the opt-outs; it is safe for use by many goroutines.
type Set struct {
	kv    KV
	macs  sync.Pool
	ready chan struct{}
	count atomic.Int64
	// version is raised by every change, before its lock is given back.
	version atomic.Uint64
	shards  [shards]shard // by a key's first byte
	// followers hear of every change, one after the other.
	followers struct {
		sync.Mutex
		all map[*follower]struct{}
	}
}

type shard struct {
	mu   sync.RWMutex
	keys map[[keyBytes]byte]state
}

// state is the newest revision of a key that was heard of, and whether it is an opt-out. A withdrawn one stays, so that what
// was written before the withdrawal, and is heard of later, does not bring it back.
type state uint64

func stateAt(rev uint64, in bool) state {
	if in {
		return state(rev<<1 | 1)
	}
	return state(rev << 1)
}

func (s state) in() bool    { return s&1 == 1 }
func (s state) rev() uint64 { return uint64(s >> 1) }

// New returns the set over the bucket; it is empty until Run has filled it.
func New(kv KV, key []byte) *Set {
	s := &Set{kv: kv, ready: make(chan struct{})}
	s.macs.New = func() any { return &mac{h: hmac.New(sha256.New, key)} }
	for i := range s.shards {
		s.shards[i].keys = map[[keyBytes]byte]state{}
	}
	return s
}

// Run keeps the set as the bucket is, until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	var once sync.Once
	err := s.kv.Watch(ctx, func(key string, _ []byte, rev uint64, deleted bool) error {
		var k [keyBytes]byte
		if n, err := hex.Decode(k[:], []byte(key[:min(len(key), 2*keyBytes)])); err != nil || n != keyBytes || len(key) != 2*keyBytes {
			return fmt.Errorf("bucket SUPPRESSIONS holds a key that is not ours, delete it: %q", key)
		}
		s.set(k, rev, !deleted)
		return nil
	}, func() { once.Do(func() { close(s.ready) }) })
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("watch suppressions: %w", err)
	}
	return nil
}

// Ready is closed once the set holds all that the bucket held at the start. Send nothing before.
func (s *Set) Ready() <-chan struct{} { return s.ready }

// Len returns how many opt-outs there are.
func (s *Set) Len() int { return int(s.count.Load()) }

// Version changes when the set may have. An answer of Has that was asked for after Version is as good as new while Version
// stays the same.
func (s *Set) Version() uint64 { return s.version.Load() }

// Has reports whether the owner of the address must not be written to on the channel.
func (s *Set) Has(channel candorv1.Channel, a Address) bool {
	if s.count.Load() == 0 {
		return false
	}
	k := s.key(channel, a)
	sh := &s.shards[k[0]%shards]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.keys[k].in()
}

// Number stands for a telephone number where it must be told from others and not be known: eight bytes of the hash that an
// opt-out from calls would have.
func (s *Set) Number(a Address) uint64 {
	k := s.key(candorv1.Channel_CHANNEL_CALL, a)
	return binary.BigEndian.Uint64(k[:8])
}

// Add records an opt-out with a short reason that names nobody, such as STOP; it is in force here when Add returns, elsewhere a moment
// later.
func (s *Set) Add(ctx context.Context, channel candorv1.Channel, a Address, reason string) error {
	k := s.key(channel, a)
	rev, err := s.kv.Put(ctx, hex.EncodeToString(k[:]), []byte(reason))
	if err != nil {
		return fmt.Errorf("record opt-out: %w", err)
	}
	s.set(k, rev, true)
	return nil
}

// Remove takes an opt-out back, because its owner said so; it is in force here no more when Remove returns, elsewhere a moment later.
// One that is not there is no error.
func (s *Set) Remove(ctx context.Context, channel candorv1.Channel, a Address) error {
	k := s.key(channel, a)
	rev, err := s.kv.Delete(ctx, hex.EncodeToString(k[:]))
	if err != nil {
		return fmt.Errorf("take back opt-out: %w", err)
	}
	s.set(k, rev, false)
	return nil
}

// set takes what the bucket said of a key at a revision. Callers and the watch come in any order: the bucket's own decides.
func (s *Set) set(k [keyBytes]byte, rev uint64, in bool) {
	sh := &s.shards[k[0]%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	before := sh.keys[k]
	if before != 0 && rev <= before.rev() {
		return
	}
	defer func() {
		s.version.Add(1)
		s.tell(k, in)
	}()
	sh.keys[k] = stateAt(rev, in)
	switch {
	case in && !before.in():
		s.count.Add(1)
	case !in && before.in():
		s.count.Add(-1)
	}
}

// mac is one HMAC, kept because making one costs more than using it.
type mac struct {
	h   hash.Hash
	buf []byte
	sum [sha256.Size]byte
}

func (s *Set) key(channel candorv1.Channel, a Address) (k [keyBytes]byte) {
	m := s.macs.Get().(*mac)
	defer s.macs.Put(m)
	switch channel {
	case candorv1.Channel_CHANNEL_SMS:
		m.buf = append(append(m.buf[:0], "sms:"...), a.Reveal()...)
	case candorv1.Channel_CHANNEL_CALL:
		m.buf = append(append(m.buf[:0], "call:"...), a.Reveal()...)
	case candorv1.Channel_CHANNEL_EMAIL:
		// Mailboxes that differ only in case are one in practice, and asking one of them to stop is meant for both.
		m.buf = append(append(m.buf[:0], "email:"...), strings.ToLower(a.Reveal())...)
	default:
		m.buf = append(append(m.buf[:0], channel.String()+":"...), a.Reveal()...)
	}
	m.h.Reset()
	_, _ = m.h.Write(m.buf) // a hash never fails
	clear(m.buf)
	copy(k[:], m.h.Sum(m.sum[:0]))
	return k
}
