// Package pii holds the personal data that Candor handles: telephone numbers, mailboxes and names.
//
// In: strings that came from a roster or a provider.   Out: masked text, by whichever road the value is printed, logged or
// marshalled; the value itself only through Reveal, which only those call whom CONTRIBUTING.md names.
// Crash: nothing to lose, these are plain values.
//
// Two gaps are the language's own. fmt cannot call methods on the unexported fields of a struct, so a struct that keeps one
// of these values in an unexported field must not be printed whole: keep them in exported fields or give the struct a String.
// And %p and a misplaced %w ask no method, and print the field as it is.
package pii

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Phone is a telephone number in E.164 form.
type Phone struct{ s string }

// Email is a mailbox.
type Email struct{ s string }

// Name is a part of a person's name.
type Name struct{ s string }

// NewPhone wraps a number that is already in E.164 form.
func NewPhone(e164 string) Phone { return Phone{e164} }

// NewEmail wraps a mailbox.
func NewEmail(mailbox string) Email { return Email{mailbox} }

// NewName wraps a name.
func NewName(name string) Name { return Name{name} }

// Reveal returns the number itself.
func (p Phone) Reveal() string { return p.s }

// Reveal returns the mailbox itself.
func (e Email) Reveal() string { return e.s }

// Reveal returns the name itself.
func (n Name) Reveal() string { return n.s }

// IsZero reports whether there is no number.
func (p Phone) IsZero() bool { return p.s == "" }

// IsZero reports whether there is no mailbox.
func (e Email) IsZero() bool { return e.s == "" }

// IsZero reports whether there is no name.
func (n Name) IsZero() bool { return n.s == "" }

// String masks the number to its last two digits, as in tel:…56.
func (p Phone) String() string {
	// Of a short code two digits would be a good part of the whole.
	if n := len(p.s); n >= 8 && isDigit(p.s[n-1]) && isDigit(p.s[n-2]) {
		return "tel:…" + p.s[n-2:]
	}
	return masked("tel:", p.s)
}

// String masks the mailbox to its first letter, as in mail:a…@…; the domain can be a family's own and is left out.
func (e Email) String() string {
	local, _, ok := strings.Cut(e.s, "@")
	if r, size := utf8.DecodeRuneInString(local); ok && size < len(local) && r != utf8.RuneError && unicode.IsPrint(r) {
		return "mail:" + local[:size] + "…@…"
	}
	return masked("mail:", e.s)
}

// String masks the name wholly, as name:….
func (n Name) String() string { return masked("name:", n.s) }

func masked(kind, s string) string {
	if s == "" {
		return kind + "none"
	}
	return kind + "…"
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// Format masks the number in every fmt verb and flag that asks its operand.
func (p Phone) Format(f fmt.State, _ rune) { write(f, p.String()) }

// Format masks the mailbox in every fmt verb and flag that asks its operand.
func (e Email) Format(f fmt.State, _ rune) { write(f, e.String()) }

// Format masks the name in every fmt verb and flag that asks its operand.
func (n Name) Format(f fmt.State, _ rune) { write(f, n.String()) }

func write(f fmt.State, s string) {
	_, _ = f.Write([]byte(s)) // fmt's own buffer does not fail, and Format has no way to say so
}

// MarshalText masks the number for JSON, YAML, XML and every logger built on them.
func (p Phone) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// MarshalText masks the mailbox for JSON, YAML, XML and every logger built on them.
func (e Email) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// MarshalText masks the name for JSON, YAML, XML and every logger built on them.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// LogValue masks the number for slog.
func (p Phone) LogValue() slog.Value { return slog.StringValue(p.String()) }

// LogValue masks the mailbox for slog.
func (e Email) LogValue() slog.Value { return slog.StringValue(e.String()) }

// LogValue masks the name for slog.
func (n Name) LogValue() slog.Value { return slog.StringValue(n.String()) }
