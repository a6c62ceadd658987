package sendgrid

import (
	"bytes"
	"compress/gzip"
	"strings"
	"unicode/utf8"

	"candor/pkg/provider"
)

// tracking is off altogether: a pixel or a rewritten link in a breach notice looks like phishing.
const tracking = `"tracking_settings":{"click_tracking":{"enable":false,"enable_text":false},"open_tracking":{"enable":false},` +
	`"subscription_tracking":{"enable":false},"ganalytics":{"enable":false}}`

// appendBody writes the request for the recipients in batch, each in a personalization of their own so that they do not see each
// other. It writes what the SDK's types would, without building them: that is a tenth of the work.
func appendBody(b []byte, m *provider.Email, batch []int) []byte {
	b = appendAddress(append(b, `{"from":`...), m.From, m.FromName)
	if m.ReplyTo != "" {
		b = appendAddress(append(b, `,"reply_to":`...), m.ReplyTo, "")
	}
	b = appendString(append(b, `,"subject":`...), m.Subject)
	b = append(b, `,"content":[`...)
	if m.Text != "" {
		b = appendString(append(b, `{"type":"text/plain","value":`...), m.Text)
		b = append(b, '}')
	}
	if m.HTML != "" {
		if m.Text != "" {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"type":"text/html","value":`...), m.HTML)
		b = append(b, '}')
	}
	b = append(append(b, `],`...), tracking...)
	b = append(b, `,"personalizations":[`...)
	tags := make([][]byte, len(m.Vars))
	for i, tag := range m.Vars {
		if i > 0 {
			tags[i] = []byte{','}
		}
		tags[i] = append(appendString(tags[i], tag), ':')
	}
	for i, n := range batch {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRecipient(b, tags, &m.Recipients[n])
	}
	return append(b, `]}`...)
}

func appendRecipient(b []byte, tags [][]byte, r *provider.Recipient) []byte {
	b = appendAddress(append(b, `{"to":[`...), r.To.Reveal(), r.Name.Reveal())
	b = append(b, ']')
	if len(tags) > 0 {
		b = append(b, `,"substitutions":{`...)
		for i, tag := range tags {
			b = appendString(append(b, tag...), r.Values[i])
		}
		b = append(b, '}')
	}
	if r.ID == "" {
		return append(b, '}')
	}
	b = appendString(append(b, `,"custom_args":{"candor_id":`...), r.ID)
	return append(b, `}}`...)
}

// addressNames takes out of a name what SendGrid refuses there.
var addressNames = strings.NewReplacer(",", " ", ";", " ")

func appendAddress(b []byte, address, name string) []byte {
	b = append(b, '{')
	if name != "" {
		b = append(appendString(append(b, `"name":`...), addressNames.Replace(name)), ',')
	}
	return append(appendString(append(b, `"email":`...), address), '}')
}

// appendString writes a JSON string. It leaves < > & alone: escaped for HTML, a mail is three times as long.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	i := plainPrefix(s)
	for ; i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\'; i++ {
	}
	if i < len(s) || !utf8.ValidString(s) {
		return appendEscaped(b, s)
	}
	return append(append(b, s...), '"')
}

// plainPrefix steps over printable ASCII without quotes and backslashes, eight bytes at a time: most of a mail is just that.
func plainPrefix(s string) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		// The high bit of a byte stays clear only if it is below 128, not below a blank, no quote and no backslash.
		if (x|(x-' '*ones)|((x^'"'*ones)-ones)|((x^'\\'*ones)-ones))&high != 0 {
			break
		}
	}
	return i
}

// appendEscaped writes a string that is not its own JSON, up to the closing quote.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	if !utf8.ValidString(s) {
		s = string([]rune(s)) // U+FFFD in place of what is no UTF-8
	}
	for {
		i := plainPrefix(s)
		for i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' {
			i++
		}
		b = append(b, s[:i]...)
		if i == len(s) {
			return append(b, '"')
		}
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		s = s[i+1:]
	}
}

// bodySize is a little more than the body's length, so that it is allocated once.
func bodySize(m *provider.Email, batch []int) int {
	shared := len(m.From) + len(m.FromName) + len(m.ReplyTo) + len(m.Subject) + len(m.Text) + len(m.HTML)
	each := len(`{"to":[{"name":"","email":""}],"substitutions":{},"custom_args":{"candor_id":""}},`)
	for _, tag := range m.Vars {
		each += len(tag) + len(`"":"",`)
	}
	n := len(tracking) + 256 + shared + shared/4 + len(batch)*each
	for _, i := range batch {
		r := &m.Recipients[i]
		n += len(r.ID) + len(r.To.Reveal()) + len(r.Name.Reveal())
		for _, v := range r.Values {
			n += len(v)
		}
	}
	return n
}

func compress(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // a Buffer does not fail
	_ = w.Close()
	return out.Bytes()
}
