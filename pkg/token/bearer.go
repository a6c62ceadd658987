package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"candor/pkg/config"
	"candor/pkg/keyfile"
)

const (
	prefix      = "cdr_" // so that scanners find a token that was committed by mistake
	idBytes     = 10
	secretBytes = 32
)

// base32lower has no _ and no -, so that a double click takes the whole token.
var base32lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newBearer makes a token.
func newBearer() (bearer config.Secret, id string, hash []byte) {
	id, secret := random(idBytes), random(secretBytes)
	return config.Secret(prefix + id + "_" + secret), id, hashOf(secret)
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: the runtime ends the process instead
	return base32lower.EncodeToString(b)
}

// hashOf is one plain SHA-256. The slow hashes are for passwords, which can be guessed: of 256 random bits nobody guesses one, and a
// slow hash would only let strangers burn our processor.
func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// FromHeader returns the token that the value of a header Authorization carries, or nothing. Whether it is a good one it does not say.
func FromHeader(authorization string) string {
	scheme, bearer, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(bearer)
}

// parseBearer takes a token apart, cdr_<id>_<secret>.
func parseBearer(bearer string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(bearer, prefix)
	if !ok {
		return "", "", false
	}
	id, secret, ok = strings.Cut(rest, "_")
	return id, secret, ok && spelled(id, idBytes) && spelled(secret, secretBytes)
}

func spelled(s string, n int) bool {
	return len(s) == base32lower.EncodedLen(n) && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// NewAdmin makes the first admin's token, and the line <id>:<hash> that stands for it in the settings: who has read the settings has not
// got the token.
func NewAdmin() (bearer config.Secret, line string) {
	bearer, id, hash := newBearer()
	return bearer, id + ":" + hex.EncodeToString(hash)
}

func parseAdmin(line string) (Record, error) {
	id, hexHash, _ := strings.Cut(line, ":")
	hash, err := hex.DecodeString(hexHash)
	if err != nil || len(hash) != sha256.Size || !spelled(id, idBytes) {
		return Record{}, errors.New("first admin token: want <id>:<sha256 in hex> as candor init writes it")
	}
	return Record{ID: id, Name: "first admin", Roles: []Role{Admin}, Hash: hash}, nil
}

// WriteFile writes a token to a new file that only its owner may read.
func WriteFile(path string, bearer config.Secret) error {
	if err := keyfile.Create(path, []byte(bearer.Reveal()+"\n")); err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	return nil
}

// ReadFile reads a token from a file that only its owner may read.
func ReadFile(path string) (config.Secret, error) {
	b, err := keyfile.Read(path)
	if err != nil {
		return "", fmt.Errorf("read token file: %w", err)
	}
	bearer := strings.TrimSpace(string(b))
	if _, _, ok := parseBearer(bearer); !ok {
		return "", fmt.Errorf("read token file: %s holds no token (cdr_…)", path)
	}
	return config.Secret(bearer), nil
}
