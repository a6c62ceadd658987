package roster

import (
	"strings"

	"candor/pkg/pii"
)

// ParsePhone reads one telephone number as an import does: in international form, however it is spelt, or as it is dialled
// in a country, which may be empty.
func ParsePhone(s, country string) (pii.Phone, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxCell {
		return pii.Phone{}, false
	}
	if n, ok := askLibrary(s, country); ok {
		return pii.NewPhone(n.e164), true
	}
	for _, idd := range []string{"00", "011"} {
		if rest, ok := strings.CutPrefix(s, idd); ok {
			if n, ok := askLibrary("+"+rest, country); ok {
				return pii.NewPhone(n.e164), true
			}
		}
	}
	return pii.Phone{}, false
}

// ParseEmail reads one mailbox as an import does, with the domain in lower case and ASCII.
func ParseEmail(s string) (pii.Email, bool) {
	s = strings.TrimSpace(s)
	if len(s) > maxCell {
		return pii.Email{}, false
	}
	mailbox, problem := oneEmail(s)
	return pii.NewEmail(mailbox), problem == ""
}
