package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"candor/pkg/keyfile"
)

const doorFile = "door.key"

// Door is what the service that faces the internet needs: it can check the ids of notices, hash an opt-out and seal a
// question about a customer. No page can be opened with it.
type Door struct{ ids, suppressions, requests []byte }

func newDoor(secret []byte) (d Door, err error) {
	for _, k := range []struct {
		key *[]byte
		use string
	}{{&d.ids, "notice ids"}, {&d.suppressions, "suppressions"}, {&d.requests, "requests"}} {
		if *k.key, err = derive(secret, k.use); err != nil {
			return Door{}, err
		}
	}
	return d, nil
}

// OpenDoor reads the front door's keys from the vault's folder, where no other file need be.
func OpenDoor(dir string) (*Door, error) {
	data, err := keyfile.Read(filepath.Join(dir, doorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no %s in %s: the api writes it at its start; bring a copy here: %w", doorFile, dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the front door's key: %w", err)
	}
	if len(data) != 3*secretBytes {
		return nil, fmt.Errorf("%s holds %d bytes, want %d: bring a whole copy", doorFile, len(data), 3*secretBytes)
	}
	return &Door{ids: data[:secretBytes], suppressions: data[secretBytes : 2*secretBytes], requests: data[2*secretBytes:]}, nil
}

// keep writes the keys for a front door that runs elsewhere, once.
func (d *Door) keep(dir string) error {
	data := append(append(append([]byte(nil), d.ids...), d.suppressions...), d.requests...)
	err := keyfile.Create(filepath.Join(dir, doorFile), data)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// IDKey returns the key that authenticates the opaque ids of notices.
func (d *Door) IDKey() []byte { return d.ids }

// SuppressionKey returns the key under which opt-outs are hashed.
func (d *Door) SuppressionKey() []byte { return d.suppressions }

// SealRequest encrypts a question about a customer, so that it travels through the broker unread.
func (d *Door) SealRequest(plain []byte) ([]byte, error) {
	aead, err := d.aead()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	_, _ = rand.Read(nonce) // never fails: crypto/rand aborts the program instead
	return aead.Seal(nonce, nonce, plain, nil), nil
}

// OpenRequest undoes SealRequest.
func (d *Door) OpenRequest(sealed []byte) ([]byte, error) {
	aead, err := d.aead()
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("sealed request is too short")
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil {
		return nil, fmt.Errorf("sealed request is not of this installation: %w", err)
	}
	return plain, nil
}

func (d *Door) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(d.requests)
	if err != nil {
		return nil, fmt.Errorf("request key: %w", err)
	}
	return cipher.NewGCM(block)
}
