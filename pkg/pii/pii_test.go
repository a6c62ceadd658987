package pii_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"
	"unsafe"

	"github.com/rs/zerolog"

	"candor/pkg/pii"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   fmt.Stringer
		want string
	}{
		{"number", pii.NewPhone("+12125550156"), "tel:…56"},
		{"short number", pii.NewPhone("+1156"), "tel:…"},
		{"not a number", pii.NewPhone("call me maybe"), "tel:…"},
		{"no number", pii.Phone{}, "tel:none"},
		{"mailbox", pii.NewEmail("ana.pena@example.com"), "mail:a…@…"},
		{"accented mailbox", pii.NewEmail("élise@example.com"), "mail:é…@…"},
		{"one letter is the whole local part", pii.NewEmail("a@example.com"), "mail:…"},
		{"broken bytes", pii.NewEmail("\xff\xfe@example.com"), "mail:…"},
		{"no at sign", pii.NewEmail("ana"), "mail:…"},
		{"no mailbox", pii.Email{}, "mail:none"},
		{"name", pii.NewName("Ana"), "name:…"},
		{"no name", pii.Name{}, "name:none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.in.String(); got != tt.want {
				t.Errorf("String() = %q, want %q", got, tt.want)
			}
		})
	}
}

type person struct {
	Phone pii.Phone
	Email pii.Email
	Given pii.Name
	All   []pii.Phone
	ByRef map[pii.Email]pii.Name
	Ptr   *pii.Email
}

// The secrets and every other shape in which a verb or encoder could show them.
func leaks(out string) string {
	low := strings.ToLower(out)
	for _, secret := range []string{"2125550156", "zanzibar", "quixote"} {
		for _, shape := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("% x", secret), fmt.Sprintf("%d", []byte(secret))} {
			if strings.Contains(low, strings.Trim(shape, "[]")) {
				return shape
			}
		}
	}
	return ""
}

func TestNothingPrintsTheValue(t *testing.T) {
	t.Parallel()
	phone, email, name := pii.NewPhone("+12125550156"), pii.NewEmail("zanzibar@quixote.example"), pii.NewName("Quixote")
	p := person{phone, email, name, []pii.Phone{phone}, map[pii.Email]pii.Name{email: name}, &email}

	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%#q", "%x", "%X", "% x", "%d", "%o", "%b", "%t", "%c", "%U", "%e", "%g", "%30s", "%.3s", "%j", "%!"} {
		for _, v := range []any{phone, email, name, p, &p, []any{phone, email, name}} {
			if leak := leaks(fmt.Sprintf(verb, v)); leak != "" {
				t.Errorf("%s of %T shows %q", verb, v, leak)
			}
		}
	}

	var buf bytes.Buffer
	sl := slog.New(slog.NewJSONHandler(&buf, nil))
	sl.Info("slog json", "phone", phone, "email", email, "name", name, "person", p)
	slog.New(slog.NewTextHandler(&buf, nil)).Info("slog text", "phone", phone, "email", email, "name", name, "person", p)
	zl := zerolog.New(&buf)
	zl.Info().Stringer("phone", phone).Any("email", email).Interface("name", name).Any("person", p).Msg("zerolog")
	if err := json.NewEncoder(&buf).Encode(p); err != nil {
		t.Fatal(err)
	}
	if err := xml.NewEncoder(&buf).Encode([]any{phone, email, name}); err != nil {
		t.Fatal(err)
	}
	if err := template.Must(template.New("").Parse("{{.Phone}} {{.Email}} {{.Given}} {{printf \"%s\" .Email}}")).Execute(&buf, p); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&buf, fmt.Errorf("tell %v at %s: %v", name, email, phone))
	if leak := leaks(buf.String()); leak != "" {
		t.Errorf("an encoder shows %q in:\n%s", leak, buf.String())
	}
}

func TestReveal(t *testing.T) {
	t.Parallel()
	if got := pii.NewPhone("+12125550156").Reveal() + pii.NewEmail("a@example.com").Reveal() + pii.NewName("Ana").Reveal(); got != "+12125550156a@example.comAna" {
		t.Errorf("Reveal() = %q", got)
	}
	if pii.NewPhone("1") != pii.NewPhone("1") || pii.NewEmail("a") == pii.NewEmail("b") || !pii.NewName("").IsZero() || pii.NewName("x").IsZero() {
		t.Error("values do not compare by content")
	}
	if unsafe.Sizeof(pii.Phone{}) != unsafe.Sizeof("") {
		t.Error("a number costs more than its string")
	}
}
