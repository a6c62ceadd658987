package frontdoor

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // as Twilio signs
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"testing"
)

// sign signs a form that the fuzzer made up, so that what lies behind the signature is reached.
func sign(address, body string) string {
	f, err := parseForm(body)
	if err != nil {
		return base64.StdEncoding.EncodeToString(make([]byte, sha1.Size))
	}
	mac := hmac.New(sha1.New, []byte(token))
	_, _ = io.WriteString(mac, address+string(f.appendFirst(nil)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func FuzzStatus(f *testing.F) {
	h := newHouse(f, func(c *Config) { c.BatchWait = 0 })
	path := TwilioStatusPath + string(h.IDs.Append(nil, smsNotice(1, 1), 1))
	f.Add(statusForm("SM1", "delivered", ""))
	f.Add(statusForm("SM1", "undelivered", "30005"))
	f.Add("MessageStatus=failed&ErrorCode=-1&MessageSid=%00%ff;&MessageSid=x")
	f.Add("&&==&=%&%zz;")
	f.Fuzz(func(t *testing.T, body string) {
		if code := h.send(twilioRequest(path, body, sign(publicURL+path, body))).Code; code != 204 && code != 400 && code != 403 && code != 413 {
			t.Errorf("%d", code)
		}
	})
}

func FuzzInbound(f *testing.F) {
	h := newHouse(f, func(c *Config) { c.BatchWait = 0 })
	h.api(nil)
	f.Add(inboundForm("SM1", "STOP"))
	f.Add(inboundForm("SM2", "AYUDA", "From", "72345"))
	f.Add(inboundForm("SM3", "CALL", "OptOutType", "START"))
	f.Fuzz(func(t *testing.T, body string) {
		w := h.send(twilioRequest(TwilioInboundPath, body, sign(publicURL+TwilioInboundPath, body)))
		if w.Code != 200 && w.Code != 400 && w.Code != 403 && w.Code != 413 {
			t.Errorf("%d", w.Code)
		}
	})
}

func FuzzSendGrid(f *testing.F) {
	h := newHouse(f, func(c *Config) { c.BatchWait = 0 })
	now := strconv.FormatInt(noon.Unix(), 10)
	f.Add([]byte(events(h, ev{"delivered", mailNotice(1, 1), "m.x", nil}, ev{"spamreport", mailNotice(1, 2), "m.x", nil})))
	for _, s := range []string{"", "[]", "[[]]", "[1,]", "[1 2]", `[{"event":"bounce"`, `[{"event":{}},null]x`, "\xef\xbb\xbf[]", "[\"\\ud800\"]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		code := h.send(mailRequest(string(body), signSendGrid(t, h.key, now, string(body)), now)).Code
		if code != http.StatusOK && code != 400 && code != 413 {
			t.Errorf("%d", code)
		}
		array := json.Valid(body) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
		if len(body) <= 2<<20 && array != (code == http.StatusOK) {
			t.Errorf("%d, and it is an array: %v", code, array)
		}
	})
}

func FuzzSignatures(f *testing.F) {
	_, public := newKey(f)
	mails, err := newSendGridVerifier(SendGridConfig{PublicKey: public}, nil)
	if err != nil {
		f.Fatal(err)
	}
	texts := newTwilioVerifier(publicURL, token)
	f.Add("MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=", "1600112502", []byte("[]"))
	f.Add("vOEb5UThFn24KEfnOFLQY2AE5FY=", "-1", []byte("a=b"))
	f.Add("0000000000000000000000000000", "0", []byte("0"))
	f.Fuzz(func(t *testing.T, signature, timestamp string, body []byte) {
		if mails.verify(body, signature, timestamp) {
			t.Error("a signature by nobody is taken")
		}
		params, err := parseForm(string(body))
		if err == nil && texts.verify("/"+timestamp, timestamp, params, signature) {
			t.Error("a signature by nobody is taken")
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	_, public := newKey(f)
	f.Add(public)
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if key, err := parsePublicKey(s); (key == nil) != (err != nil) {
			t.Errorf("%v, %v", key, err)
		}
	})
}

// Forms are read as net/url reads them, which Twilio's helper uses, but for the semicolon.
func FuzzParseForm(f *testing.F) {
	f.Add("a=1&b=2&a=3&=x&c&%41=%zz")
	f.Fuzz(func(t *testing.T, body string) {
		got, err := parseForm(body)
		want, wantErr := url.ParseQuery(body)
		if wantErr != nil || err != nil {
			if wantErr == nil && len(got) < maxFields && err != nil && !manyFields(want) {
				t.Errorf("parseForm(%q) = %v", body, err)
			}
			return
		}
		for key, values := range want {
			value, ok := got.get(key)
			if ok && value != values[0] {
				t.Errorf("%q is %q, want %q", key, value, values[0])
			}
		}
	})
}

func manyFields(v url.Values) bool {
	n := 0
	for _, values := range v {
		n += len(values)
	}
	return n > maxFields
}
