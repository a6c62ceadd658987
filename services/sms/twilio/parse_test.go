package twilio

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// FuzzReadMessage holds the scanner to encoding/json: it takes the same texts, and reads the same out of them.
func FuzzReadMessage(f *testing.F) {
	for _, s := range []string{
		`{"sid":"SM1","status":"queued","error_code":null}`, `{"sid":"SM1","error_code":30007,"x":{"sid":[1,-0.5e+3,true,{}]}}`,
		`{"\u0073id":"SM2","sid":"SM1"}`, ` { } `, `{"a":01}`, `{"a":"\x"}`, `{"sid":"SM1"`, `{"sid":"SM1",}`, `[]`, "{\"a\":\"\n\"}", `{"a":-}`, `{"error_code":1e3}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(b)
		var want map[string]json.RawMessage
		jsonErr := json.Unmarshal(b, &want)
		if err != nil {
			if jsonErr == nil && want != nil && strings.Count(string(b), "{")+strings.Count(string(b), "[") < maxDepth {
				t.Fatalf("refused valid %q", b)
			}
			return
		}
		if jsonErr != nil || want == nil {
			t.Fatalf("took invalid %q: %v", b, jsonErr)
		}
		for key, got := range map[string]string{"sid": m.sid, "status": m.status} {
			var s string
			_ = json.Unmarshal(want[key], &s)
			if got != "" && got != s {
				t.Errorf("%s of %q is %q, want %q", key, b, got, s)
			}
			if got == "" && s != "" && string(want[key]) == `"`+word([]byte(`"`+s+`"`))+`"` {
				t.Errorf("%s of %q is missed", key, b)
			}
		}
		if raw := string(want["error_code"]); m.errorCode != "null" && m.errorCode != raw {
			t.Errorf("error_code of %q is %s, want %s", b, m.errorCode, raw)
		}
	})
}

func FuzzErrorCode(f *testing.F) {
	for _, s := range []string{`{"code":21610,"message":"m"}`, `{"code":-1}`, `{"code":"21610"}`, `<html>`, ``, `{"code":1e400}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if code := errorCode(b); code < 0 {
			t.Errorf("code %d", code)
		}
	})
}

func FuzzAppendForm(f *testing.F) {
	f.Add("Body", "Señor & Söhne: 50% + 1 = ~\x00\xff\n;")
	f.Fuzz(func(t *testing.T, key, value string) {
		in := url.Values{key: {value}, "To": {"+12125550156"}}
		if key == "To" {
			return
		}
		got, err := url.ParseQuery(string(appendForm(nil, in)))
		if err != nil || got.Get(key) != value || got.Get("To") != "+12125550156" || len(got) != 2 {
			t.Errorf("form of %q=%q comes back as %v, %v", key, value, got, err)
		}
	})
}
