package roster

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Problems of an address; stable codes.
const (
	EmailInvalid   = "email_invalid"
	EmailUTF8Local = "email_local_part_not_ascii"
)

// maxCell is more than any address or list of numbers needs.
const maxCell = 1000

// parseEmail returns the mailbox of a cell with the domain in lower case and ASCII, or the problem. A cell without one has neither.
func parseEmail(cell string) (mailbox, problem string) {
	cell = strings.TrimSpace(cell)
	if isNothing(cell) {
		return "", ""
	}
	if len(cell) > maxCell {
		return "", EmailInvalid
	}
	if m, p := oneEmail(cell); p == "" || !strings.ContainsAny(cell, ",;|/ \t\n") {
		return m, p
	}
	// Several in one cell: the first good one counts.
	problem = EmailInvalid
	for part := range strings.FieldsFuncSeq(cell, func(r rune) bool { return strings.ContainsRune(",;|/ \t\r\n", r) }) {
		m, p := oneEmail(part)
		if p == "" {
			return m, ""
		}
		if p == EmailUTF8Local {
			problem = p
		}
	}
	return "", problem
}

func oneEmail(s string) (mailbox, problem string) {
	s = strings.TrimRight(s, ". \t")
	if n := len("mailto:"); len(s) > n && strings.EqualFold(s[:n], "mailto:") {
		s = s[n:]
	}
	if open := strings.IndexByte(s, '<'); open >= 0 && strings.HasSuffix(s, ">") {
		s = strings.TrimSpace(s[open+1 : len(s)-1])
	}
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return "", EmailInvalid
	}
	local, domain := s[:at], strings.TrimRight(s[at+1:], ".")
	host, ok := mailDomain(domain)
	if !ok {
		return "", EmailInvalid
	}
	ascii, ok := localPart(local)
	if !ok {
		return "", EmailInvalid
	}
	if !ascii {
		// No provider of ours takes an internationalised local part (SMTPUTF8).
		return "", EmailUTF8Local
	}
	if host == domain && at+1+len(domain) == len(s) {
		return s, ""
	}
	return local + "@" + host, ""
}

// localPart checks a dot-atom. Quoted local parts are legal and in no customer file that is not broken.
func localPart(s string) (ascii, ok bool) {
	if s == "" || len(s) > 64 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") || !utf8.ValidString(s) {
		return false, false
	}
	ascii = true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			ascii = false
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0:
		default:
			return false, false
		}
	}
	return ascii, true
}

func mailDomain(s string) (string, bool) {
	if s == "" || len(s) > 253 {
		return "", false
	}
	lower := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.':
		case 'A' <= c && c <= 'Z':
			lower = false
		default:
			host, err := idna.Lookup.ToASCII(s)
			if err != nil {
				return "", false
			}
			return host, hostName(host)
		}
	}
	if !lower {
		s = strings.ToLower(s)
	}
	if strings.HasPrefix(s, "xn--") || strings.Contains(s, ".xn--") {
		if _, err := idna.Lookup.ToASCII(s); err != nil {
			return "", false
		}
	}
	return s, hostName(s)
}

// hostName checks letters, digits and hyphens in two labels or more, the last one not a number.
func hostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := 0
	for {
		label, rest, more := strings.Cut(s, ".")
		labels++
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		letters := false
		for i := 0; i < len(label); i++ {
			c := label[i]
			if c < '0' || c > '9' {
				letters = true
			}
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' {
				return false
			}
		}
		if !more {
			return labels > 1 && letters && len(label) > 1
		}
		s = rest
	}
}
