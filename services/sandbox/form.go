package sandbox

import "bytes"

// textForm is what a Messages request says, in URL encoding. Its bytes lie in the body, which parse rewrites in place.
type textForm struct {
	to, from, service, body, callback, validity []byte
	unsupported                                 string // a parameter that the real thing obeys and we do not imitate
}

// parse reads a form. Of a parameter that comes twice the first counts, as in net/url; parameters that do not change what
// we imitate are ignored. ok is false for a broken escape.
func (f *textForm) parse(body []byte) (ok bool) {
	*f = textForm{}
	for len(body) > 0 {
		var field []byte
		field, body = cut(body, '&')
		name, value := cut(field, '=')
		if name, ok = unescapeForm(name); !ok {
			return false
		}
		var into *[]byte
		switch string(name) {
		case "To":
			into = &f.to
		case "From":
			into = &f.from
		case "MessagingServiceSid":
			into = &f.service
		case "Body":
			into = &f.body
		case "StatusCallback":
			into = &f.callback
		case "ValidityPeriod":
			into = &f.validity
		case "ScheduleType", "SendAt", "MediaUrl", "ContentSid", "ContentRetention", "AddressRetention":
			f.unsupported = string(name)
			continue
		default:
			continue
		}
		if value, ok = unescapeForm(value); !ok {
			return false
		}
		if value == nil {
			value = []byte{} // there, and empty
		}
		if *into == nil {
			*into = value
		}
	}
	return true
}

// cut splits b at the first c, which is in neither part.
func cut(b []byte, c byte) (before, after []byte) {
	if i := bytes.IndexByte(b, c); i >= 0 {
		return b[:i:i], b[i+1:]
	}
	return b, nil
}

// unescapeForm undoes URL encoding in place.
func unescapeForm(b []byte) ([]byte, bool) {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(b) {
				return nil, false
			}
			high, low := fromHex[b[i+1]], fromHex[b[i+2]]
			if high|low > 15 {
				return nil, false
			}
			c = high<<4 | low
			i += 2
		}
		b[n] = c
		n++
	}
	return b[:n:n], true
}

var fromHex = func() (t [256]byte) {
	for c := range t {
		t[c] = 0xFF
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	for i, c := range []byte("ABCDEF") {
		t[c] = byte(10 + i)
	}
	return t
}()
