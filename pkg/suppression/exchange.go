package suppression

import (
	"context"
	"encoding/hex"
	"fmt"
)

// Export hands fn every opt-out as it is kept, a hash in hexadecimal digits and its reason; they mean something only under
// the key with which they were made.
func (s *Set) Export(ctx context.Context, fn func(hash, reason string) error) error {
	err := s.kv.All(ctx, func(key string, reason []byte) error { return fn(key, string(reason)) })
	if err != nil {
		return fmt.Errorf("export opt-outs: %w", err)
	}
	return nil
}

// Import records an opt-out that Export handed over; it is in force as after Add.
func (s *Set) Import(ctx context.Context, hash, reason string) error {
	var k [keyBytes]byte
	if n, err := hex.Decode(k[:], []byte(hash[:min(len(hash), 2*keyBytes)])); err != nil || n != keyBytes || len(hash) != 2*keyBytes {
		return fmt.Errorf("an opt-out's hash has %d hexadecimal digits", 2*keyBytes)
	}
	rev, err := s.kv.Put(ctx, hex.EncodeToString(k[:]), []byte(reason))
	if err != nil {
		return fmt.Errorf("import opt-out: %w", err)
	}
	s.set(k, rev, true)
	return nil
}
