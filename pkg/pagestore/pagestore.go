// Package pagestore opens the sealed pages of rosters, the only place where personal data is stored.
//
// In: stream ROSTER, the vault   Out: pages in memory   Crash: it only reads.
package pagestore

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/roster"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

// ErrAltered is a page that is not the one that was approved.
var ErrAltered = errors.New("the page is not the one that was approved")

// Store opens pages.
type Store struct {
	bus   *bus.Bus
	vault *vault.Vault
}

// New returns a Store over b and v.
func New(b *bus.Bus, v *vault.Vault) *Store { return &Store{bus: b, vault: v} }

// OpenPage reads a page and unseals it. want is the SHA-256 of the sealed page; nil takes the page as it is.
// It fails with vault.ErrShredded when the incident's key was destroyed.
func (s *Store) OpenPage(ctx context.Context, incident string, page uint32, want []byte) (*roster.Page, error) {
	subject := topology.Page(incident, page)
	// A page is written once, so any replica may answer; one that lags knows nothing of it yet.
	m, err := s.bus.LastDirect(ctx, topology.StreamRoster, subject)
	if errors.Is(err, bus.ErrNotFound) {
		m, err = s.bus.Last(ctx, topology.StreamRoster, subject)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	if got := sha256.Sum256(m.Data); want != nil && subtle.ConstantTimeCompare(got[:], want) != 1 {
		return nil, fmt.Errorf("%s: %w", subject, ErrAltered)
	}
	keys, err := s.vault.Incident(incident)
	if err != nil {
		return nil, fmt.Errorf("key of incident %s: %w", incident, err)
	}
	plain, err := keys.Open(subject, m.Data)
	if err != nil {
		return nil, fmt.Errorf("unseal %s: %w", subject, err)
	}
	p, err := roster.UnmarshalPage(plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	return p, nil
}

// Manifest reads the manifest on the subject that the draft names.
func (s *Store) Manifest(ctx context.Context, subject string) (*candorv1.RosterManifest, error) {
	m, err := s.bus.Last(ctx, topology.StreamRoster, subject)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	manifest := &candorv1.RosterManifest{}
	if err := proto.Unmarshal(m.Data, manifest); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", subject, err)
	}
	return manifest, nil
}
