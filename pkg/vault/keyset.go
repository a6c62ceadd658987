package vault

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"candor/pkg/keyfile"
)

// fileKEK is a key-encryption key from a Tink keyset file. The keyset can be rotated with Tink's own tool: what an older key of it
// wrapped stays readable.
type fileKEK struct{ aead tink.AEAD }

func (k fileKEK) Wrap(_ context.Context, plain, purpose []byte) ([]byte, error) {
	return k.aead.Encrypt(plain, purpose)
}

func (k fileKEK) Unwrap(_ context.Context, wrapped, purpose []byte) ([]byte, error) {
	return k.aead.Decrypt(wrapped, purpose)
}

func newKeyset() ([]byte, KEK, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, nil, fmt.Errorf("make keyset: %w", err)
	}
	var file bytes.Buffer
	// In the clear, because it is the root: the file's mode protects it, or a KMS replaces it.
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&file)); err != nil {
		return nil, nil, fmt.Errorf("make keyset: %w", err)
	}
	kek, err := keysetKEK(handle)
	return file.Bytes(), kek, err
}

func readKeyset(path string) (KEK, error) {
	file, err := keyfile.Read(path)
	if err != nil {
		return nil, err
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(file)))
	if err != nil {
		return nil, fmt.Errorf("%s is no Tink keyset in JSON: %w", path, err)
	}
	return keysetKEK(handle)
}

func keysetKEK(handle *keyset.Handle) (KEK, error) {
	a, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("use keyset: %w", err)
	}
	return fileKEK{a}, nil
}
