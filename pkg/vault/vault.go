// Package vault keeps the keys: one per incident, under which its customers' pages are sealed, and those of the installation.
//
// In: a folder with a key-encryption key (or a KMS behind KEK).   Out: Keys, which seal and open pages.
// Crash: a key is there and durable when Create returns; a shred that was cut off is finished by the next Shred or Open.
//
// The folder lies outside the broker's, because a purged broker entry stays in old blocks. It holds
//
//	kek.keyset                     the key-encryption key, a Tink keyset in the clear, mode 0600
//	installation.key               the installation's own secret, wrapped
//	door.key                       what the front door needs and no more, in the clear, mode 0600
//	incidents/<incident>.key       an incident's secret, wrapped
//	incidents/<incident>.shredded  its tombstone: no key of this name is ever made again
//
// Several processes may share the folder: a key made or shredded by one is seen by the others at their next Incident.
// A backup of the broker must not take it along, or shredding shreds nothing.
package vault

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/keyfile"
)

var (
	// ErrNoKey says that no key was made for the incident.
	ErrNoKey = errors.New("no key")
	// ErrShredded says that the incident's key was destroyed for ever.
	ErrShredded = errors.New("key was shredded")
)

const (
	secretBytes = 32
	kekTimeout  = 10 * time.Second // for a KMS on the network; a keyset file answers at once

	keysetFile       = "kek.keyset"
	installationFile = "installation.key"
	incidentsDir     = "incidents"
	keySuffix        = ".key"
	tombstoneSuffix  = ".shredded"
)

// incidentID is what may name a file here: no dots, no separators.
var incidentID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// KEK wraps the keys that lie in the folder; a keyset file does it here, and a KMS can.
type KEK interface {
	// Wrap encrypts plain, bound to what it is for.
	Wrap(ctx context.Context, plain, purpose []byte) ([]byte, error)
	// Unwrap undoes Wrap for the same purpose and no other.
	Unwrap(ctx context.Context, wrapped, purpose []byte) ([]byte, error)
}

// Vault hands out the keys of an installation and its incidents; it is safe for use by many goroutines.
type Vault struct {
	dir  string
	kek  KEK
	log  zerolog.Logger
	door Door

	mu    sync.RWMutex
	cache map[string]*Keys
}

// Init makes the folder with a new keyset file; it refuses where there are keys already.
func Init(dir string) error {
	if err := refuseUsed(dir); err != nil {
		return err
	}
	keyset, kek, err := newKeyset()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make key folder: %w", err)
	}
	if err := keyfile.Create(filepath.Join(dir, keysetFile), keyset); err != nil {
		return fmt.Errorf("write keyset: %w", err)
	}
	return InitWith(dir, kek)
}

// InitWith makes the folder for a key-encryption key that is kept elsewhere; it refuses where there are wrapped keys already.
func InitWith(dir string, kek KEK) error {
	if err := os.MkdirAll(filepath.Join(dir, incidentsDir), 0o700); err != nil {
		return fmt.Errorf("make key folder: %w", err)
	}
	wrapped, err := newSecret(kek, installationFile)
	if err != nil {
		return err
	}
	if err := keyfile.Create(filepath.Join(dir, installationFile), wrapped); err != nil {
		return fmt.Errorf("write installation key: %w", err)
	}
	secret, err := unwrap(kek, wrapped, installationFile)
	if err != nil {
		return err
	}
	door, err := newDoor(secret)
	if err != nil {
		return err
	}
	return door.keep(dir)
}

func refuseUsed(dir string) error {
	for _, name := range []string{keysetFile, installationFile, incidentsDir} {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already: keys are never overwritten; name another folder, or remove %s if no incident uses it: %w", path, dir, fs.ErrExist)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Open opens the folder with the keyset file in it.
func Open(dir string, log zerolog.Logger) (*Vault, error) {
	kek, err := readKeyset(filepath.Join(dir, keysetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no keyset in %s: run candor init: %w", dir, err)
	}
	if err != nil {
		return nil, err
	}
	return OpenWith(dir, kek, log)
}

// OpenWith opens the folder with a key-encryption key that is kept elsewhere.
func OpenWith(dir string, kek KEK, log zerolog.Logger) (*Vault, error) {
	wrapped, err := keyfile.Read(filepath.Join(dir, installationFile))
	if err != nil {
		return nil, fmt.Errorf("read installation key: %w", err)
	}
	secret, err := unwrap(kek, wrapped, installationFile)
	if err != nil {
		return nil, fmt.Errorf("%s does not fit the key-encryption key: %w", filepath.Join(dir, installationFile), err)
	}
	v := &Vault{dir: dir, kek: kek, log: log, cache: map[string]*Keys{}}
	if v.door, err = newDoor(secret); err != nil {
		return nil, err
	}
	if err := v.door.keep(dir); err != nil {
		log.Warn().Err(err).Msg("the front door's key cannot be written: the target frontdoor cannot run as a process of its own")
	}
	return v, v.finishShreds()
}

// finishShreds destroys the keys whose tombstone stands but which a crash left in place.
func (v *Vault) finishShreds() error {
	entries, err := os.ReadDir(filepath.Join(v.dir, incidentsDir))
	if err != nil {
		return fmt.Errorf("list keys: %w", err)
	}
	for _, e := range entries {
		incident, ok := strings.CutSuffix(e.Name(), tombstoneSuffix)
		if !ok || !incidentID.MatchString(incident) {
			continue
		}
		if _, err := os.Lstat(v.path(incident, keySuffix)); err != nil {
			continue
		}
		// A worker may see the folder read-only: it refuses the key all the same, so this need not stop it.
		if err := v.Shred(incident); err != nil {
			v.log.Error().Err(err).Str("incident", incident).Msg("shredded key is still on the disk")
			continue
		}
		v.log.Info().Str("incident", incident).Msg("interrupted shred finished")
	}
	return nil
}

// IDKey returns the key that authenticates the opaque ids of notices.
func (v *Vault) IDKey() []byte { return v.door.ids }

// Door returns the keys of the front door.
func (v *Vault) Door() *Door { return &v.door }

// Create makes the incident's key unless there is one; it answers ErrShredded where there was one.
func (v *Vault) Create(incident string) error {
	if err := checkID(incident); err != nil {
		return err
	}
	if err := v.checkTombstone(incident); err != nil {
		return err
	}
	if _, err := os.Lstat(v.path(incident, keySuffix)); err == nil {
		return nil
	}
	wrapped, err := newSecret(v.kek, incident)
	if err != nil {
		return err
	}
	made := keyfile.Create(v.path(incident, keySuffix), wrapped)
	// Another process may have shredded between the look and the write, whatever the write says. Its tombstone is older than its
	// destruction, so either it destroyed our key or we see the tombstone here.
	if err := v.checkTombstone(incident); err != nil {
		return errors.Join(err, keyfile.Destroy(v.path(incident, keySuffix)))
	}
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return fmt.Errorf("write key of incident %s: %w", incident, made)
	}
	return nil
}

// Incident returns the incident's keys, or ErrNoKey or ErrShredded. Ask again for every page: it costs two stats, and a key that
// was shredded by another process is noticed here.
func (v *Vault) Incident(incident string) (*Keys, error) {
	if err := checkID(incident); err != nil {
		return nil, err
	}
	v.mu.RLock()
	k := v.cache[incident]
	v.mu.RUnlock()
	file, err := os.Stat(v.path(incident, keySuffix))
	if gone := v.checkTombstone(incident); gone != nil {
		v.drop(incident, true)
		return nil, gone
	}
	if errors.Is(err, fs.ErrNotExist) {
		v.drop(incident, false)
		return nil, fmt.Errorf("incident %s: %w", incident, ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("look for key of incident %s: %w", incident, err)
	}
	if k != nil && os.SameFile(k.file, file) && k.file.ModTime().Equal(file.ModTime()) {
		return k, nil
	}
	if k, err = v.load(incident, file); err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.cache[incident] = k
	v.mu.Unlock()
	return k, nil
}

func (v *Vault) load(incident string, file fs.FileInfo) (*Keys, error) {
	wrapped, err := keyfile.Read(v.path(incident, keySuffix))
	var secret []byte
	if err == nil {
		secret, err = unwrap(v.kek, wrapped, incident)
	}
	// Before err: of a file that is being shredded zeros are read, or nothing.
	if gone := v.checkTombstone(incident); gone != nil {
		return nil, gone
	}
	if err != nil {
		return nil, fmt.Errorf("read key of incident %s: %w", incident, err)
	}
	return newKeys(secret, file)
}

// drop forgets the incident's keys, so that they are read afresh when they are needed again. Shredded ones stop working also
// for whoever holds them.
func (v *Vault) drop(incident string, shredded bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k := v.cache[incident]; k != nil && shredded {
		k.shredded.Store(true)
	}
	delete(v.cache, incident)
}

// Shred destroys the incident's key and leaves a tombstone, so that it is never made again; what was sealed under it cannot be
// read by anybody from then on. Shredding twice is harmless.
func (v *Vault) Shred(incident string) error {
	if err := checkID(incident); err != nil {
		return err
	}
	// Tombstone first: a crash between the two leaves a key that everybody refuses and that the next Open destroys.
	if err := keyfile.Create(v.path(incident, tombstoneSuffix), nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write tombstone of incident %s: %w", incident, err)
	}
	v.drop(incident, true)
	if err := keyfile.Destroy(v.path(incident, keySuffix)); err != nil {
		return fmt.Errorf("destroy key of incident %s: %w", incident, err)
	}
	return nil
}

func (v *Vault) checkTombstone(incident string) error {
	switch _, err := os.Lstat(v.path(incident, tombstoneSuffix)); {
	case err == nil:
		return fmt.Errorf("incident %s: %w", incident, ErrShredded)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for tombstone of incident %s: %w", incident, err) // not knowing is no permission
	}
	return nil
}

func (v *Vault) path(incident, suffix string) string {
	return filepath.Join(v.dir, incidentsDir, incident+suffix)
}

func checkID(incident string) error {
	if !incidentID.MatchString(incident) {
		return fmt.Errorf("incident id %q: want 1 to 128 letters, digits, - or _", incident)
	}
	return nil
}

func newSecret(kek KEK, purpose string) ([]byte, error) {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails: the runtime ends the process instead
	ctx, cancel := context.WithTimeout(context.Background(), kekTimeout)
	defer cancel()
	wrapped, err := kek.Wrap(ctx, secret, []byte("candor key "+purpose))
	if err != nil {
		return nil, fmt.Errorf("wrap key of %s: %w", purpose, err)
	}
	return wrapped, nil
}

func unwrap(kek KEK, wrapped []byte, purpose string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), kekTimeout)
	defer cancel()
	secret, err := kek.Unwrap(ctx, wrapped, []byte("candor key "+purpose))
	if err != nil {
		return nil, fmt.Errorf("unwrap key of %s: %w", purpose, err)
	}
	if len(secret) != secretBytes {
		return nil, fmt.Errorf("unwrap key of %s: %d bytes, want %d", purpose, len(secret), secretBytes)
	}
	return secret, nil
}

// derive gives each use a key of its own, so that none of them says anything about another.
func derive(secret []byte, use string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "candor/v1 "+use, secretBytes)
	if err != nil {
		return nil, fmt.Errorf("derive key for %s: %w", use, err)
	}
	return key, nil
}
