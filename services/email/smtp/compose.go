package smtp

import (
	"bytes"
	"cmp"
	"crypto/rand"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"candor/pkg/provider"
)

// IDHeader holds the opaque id of notice and attempt.
const IDHeader = "X-Candor-Id"

// compose writes the message. What cannot be written is not sent, and says why.
func (l *letter) compose(m *provider.Email, r *provider.Recipient, now time.Time) (provider.Outcome, bool) {
	l.from, l.to = m.From, r.To.Reveal()
	switch {
	case len(r.Values) != len(m.Vars):
		return provider.Outcome{Class: provider.Defect, Reason: "values_misaligned"}, false
	case !isAddress(l.from):
		return provider.Outcome{Class: provider.Misconfigured, Reason: "invalid_sender"}, false
	case !isAddress(l.to):
		return provider.Outcome{Class: provider.BadAddress, Reason: "invalid_recipient"}, false
	}
	_, domain, _ := strings.Cut(l.from, "@")
	l.id = cmp.Or(r.ID, rand.Text()) + "@" + domain
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&netmail.Address{Name: m.FromName, Address: l.from})
	msg.ToMailAddress(&netmail.Address{Name: r.Name.Reveal(), Address: l.to})
	if m.ReplyTo != "" {
		msg.ReplyToMailAddress(&netmail.Address{Address: m.ReplyTo})
	}
	msg.SetMessageIDWithValue(l.id)
	msg.SetDateWithValue(now)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if r.ID != "" {
		msg.SetGenHeader(IDHeader, r.ID)
	}

	// The values of an HTML part have tags of their own, and are escaped already.
	pairs := make([]string, 0, 2*len(m.Vars))
	for i, tag := range m.Vars {
		pairs = append(pairs, tag, r.Values[i])
	}
	values := strings.NewReplacer(pairs...)
	msg.Subject(values.Replace(m.Subject))
	if m.Text != "" {
		msg.SetBodyString(mail.TypeTextPlain, values.Replace(m.Text))
	}
	switch {
	case m.HTML != "" && m.Text != "":
		msg.AddAlternativeString(mail.TypeTextHTML, values.Replace(m.HTML))
	case m.HTML != "":
		msg.SetBodyString(mail.TypeTextHTML, values.Replace(m.HTML))
	}
	var b bytes.Buffer
	b.Grow(1024 + (len(m.Text)+len(m.HTML))*5/4)
	if _, err := msg.WriteTo(&b); err != nil {
		return provider.Outcome{Class: provider.Defect, Reason: "smtp_compose"}, false
	}
	l.text = b.Bytes()
	return provider.Outcome{}, true
}

// isAddress says whether an address may stand in a command: in plain letters, and no more than one.
func isAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || len(s) > 254 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return true
}
