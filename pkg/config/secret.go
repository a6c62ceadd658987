package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a password, key or token; it prints as *** by whichever road it is printed, logged or marshalled.
//
// In a file it is a reference, file:/run/secrets/twilio or env:TWILIO_AUTH_TOKEN, and never the secret itself: configuration files
// are copied, mailed and committed. A relative path is relative to that file.
type Secret string

const masked = "***"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String masks the secret.
func (s Secret) String() string { return masked }

// Format masks the secret in every fmt verb that asks its operand.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalText masks the secret for JSON, YAML, XML and every logger built on them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue masks the secret for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// UnmarshalText follows a reference, file:PATH or env:NAME; no text at all is no secret. Decode reads PATH from the folder of the
// settings, here it is the working folder.
func (s *Secret) UnmarshalText(text []byte) error { return s.follow(string(text), "") }

// follow reads what a reference in a file of the folder dir stands for.
func (s *Secret) follow(text, dir string) error {
	kind, where, ok := strings.Cut(text, ":")
	switch {
	case text == "":
		*s = ""
		return nil
	case ok && kind == "file" && where != "":
		if !filepath.IsAbs(where) {
			where = filepath.Join(dir, where)
		}
		b, err := os.ReadFile(where) //nolint:gosec // the settings name the file
		if err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		*s = Secret(strings.TrimSpace(string(b)))
	case ok && kind == "env" && where != "":
		*s = Secret(strings.TrimSpace(os.Getenv(where)))
	default:
		// What stands there may be the secret, so it is not shown.
		return errors.New("secret: name a place, file:PATH or env:NAME, instead of writing the secret here")
	}
	if *s == "" {
		return fmt.Errorf("secret: %s is empty", text)
	}
	return nil
}
