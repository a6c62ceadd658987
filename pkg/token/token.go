// Package token knows who is asking and what they may do: bearer tokens with roles.
//
// In: a bearer token from a request.   Out: an Identity, or ErrInvalid.   Crash: a token exists once Create has returned; one cut off
// before was shown to nobody.
//
// A token is cdr_<id>_<secret>. The bucket TOKENS holds, by id, its owner's name, roles and the hash of the secret.
package token

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"candor/pkg/bus"
	"candor/pkg/config"
)

var (
	// ErrInvalid says that a token is unknown, revoked or misspelled; which of these is nobody's business.
	ErrInvalid = errors.New("token is not valid")
	// ErrUnknown says that there is no token of that id.
	ErrUnknown = errors.New("no such token")
)

const maxName = 100

// KV is the bucket TOKENS, a bus.KV.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, rev uint64, err error)
	Create(ctx context.Context, key string, value []byte) (rev uint64, err error)
	Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error)
	All(ctx context.Context, fn func(key string, value []byte) error) error
}

// Record is what is kept of a token. Revoked ones stay, so that an id in an old record can still be named.
type Record struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Roles     []Role    `json:"roles"`
	CreatedAt time.Time `json:"created_at,omitzero"` // zero for the first admin
	RevokedAt time.Time `json:"revoked_at,omitzero"` // zero while it is good
	Hash      []byte    `json:"hash,omitempty"`      // of the secret; List leaves it out
}

// Identity is who is asking.
type Identity struct {
	ID    string // of the token
	Name  string // of its owner
	Roles []Role
}

// Allows reports whether one of the owner's roles may do that.
func (i Identity) Allows(action Action) bool {
	return slices.ContainsFunc(i.Roles, func(r Role) bool { return Allows(r, action) })
}

// Person names the human behind the token: two tokens whose owners' names differ only in case, width or spaces are one person,
// who is not a second one to approve the first one's draft.
func (i Identity) Person() string {
	return strings.Join(strings.Fields(cases.Fold().String(norm.NFKC.String(i.Name))), " ")
}

type identityKey struct{}

// NewContext returns a context that knows who is asking.
func NewContext(ctx context.Context, i Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}

// FromContext returns who is asking, and false if nobody was authenticated.
func FromContext(ctx context.Context) (Identity, bool) {
	i, ok := ctx.Value(identityKey{}).(Identity)
	return i, ok
}

// Store keeps the tokens; it is safe for use by many goroutines.
type Store struct {
	kv    KV
	admin Record // the first admin, from the settings; no ID if there is none
	now   func() time.Time
}

// NewStore opens the bucket; firstAdmin is the line that NewAdmin made, or empty.
func NewStore(kv KV, firstAdmin string, now func() time.Time) (*Store, error) {
	s := &Store{kv: kv, now: now}
	if firstAdmin == "" {
		return s, nil
	}
	var err error
	s.admin, err = parseAdmin(firstAdmin)
	return s, err
}

// Create makes a token for a person or machine; the bearer is shown this once and kept nowhere.
func (s *Store) Create(ctx context.Context, name string, roles []Role) (bearer config.Secret, r Record, err error) {
	if err := checkName(name); err != nil {
		return "", Record{}, err
	}
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = string(role)
	}
	if roles, err = ParseRoles(names); err != nil {
		return "", Record{}, err
	}
	bearer, id, hash := newBearer()
	r = Record{ID: id, Name: name, Roles: roles, CreatedAt: s.now().UTC(), Hash: hash}
	value, err := json.Marshal(r)
	if err != nil {
		return "", Record{}, fmt.Errorf("write token: %w", err)
	}
	if _, err := s.kv.Create(ctx, id, value); err != nil {
		return "", Record{}, fmt.Errorf("write token: %w", err)
	}
	r.Hash = nil
	return bearer, r, nil
}

func checkName(name string) error {
	switch {
	case strings.TrimSpace(name) != name || name == "":
		return errors.New("a token needs its owner's name, without spaces around it")
	case len(name) > maxName:
		return fmt.Errorf("owner's name has %d bytes: at most %d", len(name), maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("owner's name holds characters that do not print")
	}
	return nil
}

// List returns all tokens, revoked ones too, without their hashes, by name and age.
func (s *Store) List(ctx context.Context) ([]Record, error) {
	var all []Record
	err := s.kv.All(ctx, func(key string, value []byte) error {
		r, err := unmarshal(key, value)
		all = append(all, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	if s.admin.ID != "" && !slices.ContainsFunc(all, func(r Record) bool { return r.ID == s.admin.ID }) {
		all = append(all, s.admin)
	}
	for i := range all {
		all[i].Hash = nil
	}
	slices.SortFunc(all, func(a, b Record) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
	return all, nil
}

// Revoke ends a token; the next request with it is refused. Revoking twice is harmless.
func (s *Store) Revoke(ctx context.Context, id string) error {
	if !spelled(id, idBytes) {
		return fmt.Errorf("revoke %q: %w", id, ErrUnknown)
	}
	r, rev, err := s.get(ctx, id)
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	if r.ID == "" {
		return fmt.Errorf("revoke token %s: %w", id, ErrUnknown)
	}
	if !r.RevokedAt.IsZero() {
		return nil
	}
	r.RevokedAt, r.Hash = s.now().UTC(), nil
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	if rev == 0 { // the first admin's, so far only in the settings
		_, err = s.kv.Create(ctx, id, value)
	} else {
		_, err = s.kv.Update(ctx, id, value, rev)
	}
	// Only another Revoke changes a token: whoever was quicker did the same.
	if err != nil && !errors.Is(err, bus.ErrConflict) && !errors.Is(err, bus.ErrExists) {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

// Authenticate returns who holds the token, ErrInvalid if nobody does, and another error if that cannot be found out.
// It asks the bucket each time, so that a revoked token is refused at once and everywhere.
func (s *Store) Authenticate(ctx context.Context, bearer string) (Identity, error) {
	id, secret, ok := parseBearer(bearer)
	if !ok {
		return Identity{}, ErrInvalid
	}
	r, _, err := s.get(ctx, id)
	if err != nil {
		return Identity{}, fmt.Errorf("look up token: %w", err)
	}
	// Of an unknown or revoked token the hash is empty and equals nothing.
	if subtle.ConstantTimeCompare(hashOf(secret), r.Hash) != 1 || !r.RevokedAt.IsZero() {
		return Identity{}, ErrInvalid
	}
	return Identity{ID: r.ID, Name: r.Name, Roles: r.Roles}, nil
}

// get returns the record of an id, and none without an error if there is none; rev is 0 for what is only in the settings.
func (s *Store) get(ctx context.Context, id string) (r Record, rev uint64, err error) {
	value, rev, err := s.kv.Get(ctx, id)
	if errors.Is(err, bus.ErrNotFound) {
		if id == s.admin.ID {
			return s.admin, 0, nil
		}
		return Record{}, 0, nil
	}
	if err != nil {
		return Record{}, 0, err
	}
	r, err = unmarshal(id, value)
	return r, rev, err
}

func unmarshal(key string, value []byte) (r Record, err error) {
	if err := json.Unmarshal(value, &r); err != nil {
		return Record{}, fmt.Errorf("token %s is damaged: %w", key, err)
	}
	if r.ID != key {
		return Record{}, fmt.Errorf("token %s is damaged: it says that it is %q", key, r.ID)
	}
	return r, nil
}
