package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// ErrSealed says that something sealed cannot be opened: it was changed, or sealed for another subject or under another key.
var ErrSealed = errors.New("cannot be opened: changed, or sealed for another subject or key")

// Keys are the keys of one incident; they are safe for use by many goroutines.
type Keys struct {
	file     fs.FileInfo // of the key file they were read from
	pages    tink.AEAD   // AES-256-GCM with random nonces: good for 2^32 pages
	code     []byte
	index    []byte
	team     []byte
	shredded atomic.Bool // written by the vault when it learns of it
}

func newKeys(secret []byte, file fs.FileInfo) (*Keys, error) {
	pages, err := derive(secret, "pages")
	if err != nil {
		return nil, err
	}
	k := &Keys{file: file}
	if k.code, err = derive(secret, "codes"); err != nil {
		return nil, err
	}
	if k.index, err = derive(secret, "index"); err != nil {
		return nil, err
	}
	if k.team, err = derive(secret, "team"); err != nil {
		return nil, err
	}
	if k.pages, err = subtle.NewAESGCM(pages); err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return k, nil
}

// Seal encrypts plain so that it opens only under the subject it was sealed for.
func (k *Keys) Seal(subject string, plain []byte) ([]byte, error) {
	if k.shredded.Load() {
		return nil, ErrShredded
	}
	sealed, err := k.pages.Encrypt(plain, []byte(subject))
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", subject, err)
	}
	return sealed, nil
}

// Open decrypts what Seal sealed for this subject.
func (k *Keys) Open(subject string, sealed []byte) ([]byte, error) {
	if k.shredded.Load() {
		return nil, ErrShredded
	}
	plain, err := k.pages.Decrypt(sealed, []byte(subject))
	if err != nil {
		return nil, fmt.Errorf("%s %w", subject, ErrSealed) // the cipher never says more
	}
	return plain, nil
}

// CodeKey returns the key that the customers' codes are made with.
func (k *Keys) CodeKey() []byte { return k.code }

// IndexKey returns the key under which customers are found again by reference, number or address.
func (k *Keys) IndexKey() []byte { return k.index }

// TeamKey returns the key under which the addresses of the response team are marked.
func (k *Keys) TeamKey() []byte { return k.team }
