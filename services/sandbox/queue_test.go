package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // Twilio's signature is made with it
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	twilio "github.com/twilio/twilio-go/client"
	"pgregory.net/rapid"

	"candor/pkg/config"
)

func TestAnAgendaGivesBackEverythingInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var a agenda
		var l line
		var want, got, queued []int64
		for _, at := range rapid.SliceOfN(rapid.Int64Range(-1, 50), 0, 3000).Draw(t, "times; -1 takes one out") {
			switch {
			case at >= 0:
				a.push(chore{at: at})
				l.push(chore{at: at})
				want, queued = append(want, at), append(queued, at)
			case len(a) > 0:
				slices.Sort(want)
				if first := a.pop(); first.at != want[0] {
					t.Fatalf("popped %d, want %d", first.at, want[0])
				}
				want = want[1:]
				if l.first().at != queued[0] {
					t.Fatalf("first in line is %d, want %d", l.first().at, queued[0])
				}
				l.drop()
				queued = queued[1:]
			}
			if l.len() != len(queued) {
				t.Fatalf("%d in line, want %d", l.len(), len(queued))
			}
		}
		for len(a) > 0 {
			got = append(got, a.pop().at)
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Fatalf("popped %v, want %v", got, want)
		}
	})
}

func TestALineForgetsWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	var l line
	for i := range 1_000_000 {
		l.push(chore{at: int64(i)})
		if l.first().at != int64(i) {
			t.Fatalf("first is %d, want %d", l.first().at, i)
		}
		l.drop()
	}
	if cap(l.chores) > 10_000 {
		t.Errorf("room for %d after one at a time", cap(l.chores))
	}
}

func TestWhatWaitsIsSmall(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]uintptr{"chore": unsafe.Sizeof(chore{}), "event": unsafe.Sizeof(event{})} {
		if size > 16 {
			t.Errorf("a %s takes %d bytes", name, size)
		}
	}
	if unsafe.Sizeof(text{}) > 64 || unsafe.Sizeof(mail{}) > 40 || unsafe.Sizeof(notice{}) > 24 {
		t.Errorf("a text takes %d bytes, a mail %d, a notice %d", unsafe.Sizeof(text{}), unsafe.Sizeof(mail{}), unsafe.Sizeof(notice{}))
	}
}

func TestRetryWaitsGrow(t *testing.T) {
	t.Parallel()
	p := newReceiptPlan(Receipts{})
	for tries, want := range map[uint8]time.Duration{0: 100 * time.Millisecond, 3: 800 * time.Millisecond, 12: time.Minute, 255: time.Minute} {
		if got := retryAfter(p, tries); got != want {
			t.Errorf("after %d tries %v, want %v", tries, got, want)
		}
	}
}

func FuzzRetryRules(f *testing.F) {
	for _, seed := range []string{"", "http://h/x", "http://h/x#rc=5&rp=all", "http://h/x#rc=-1", "http://h/x#rp=4xx,5xx&rc=99#", "#", "http://h/x#&=&rc"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, callback string) {
		target, r := cutRules(callback)
		if strings.Contains(target, "#") || !strings.HasPrefix(callback, target) || r.retries < 0 || r.retries > mostRetries {
			t.Errorf("%q: %q, %+v", callback, target, r)
		}
		if !strings.Contains(callback, "#") && r != (retryRules{retries: 1, connect: true}) {
			t.Errorf("%q without a fragment: %+v", callback, r)
		}
	})
}

func FuzzTwiML(f *testing.F) {
	for _, seed := range []string{
		"", " \n", "<Response/>", "<Response><Message>hi &amp; bye</Message></Response>", "<Response><Message><Body>hi</Body></Message><Redirect/></Response>",
		"<Response><Message>", "hi", `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><Response><Message>&a;</Message></Response>`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseTwiML(b)
		if err != nil && len(list) > 0 {
			t.Error("an error and texts")
		}
		for _, text := range list {
			if text == "" || strings.TrimSpace(text) != text {
				t.Errorf("text %q", text)
			}
		}
	})
}

// FuzzSignature holds our signature against the official check, whatever stands in the fields.
func FuzzSignature(f *testing.F) {
	f.Add("stop; & <+> ñ", "+447911123456", "/hooks/twilio/inbound?a=b")
	f.Add("", "", "/")
	f.Fuzz(func(t *testing.T, words, from, path string) {
		target := "https://candor.example" + path
		if u, err := url.Parse(target); err != nil || u.Fragment != "" || u.String() != target || strings.Contains(path, "bodySHA256") || u.Port() != "" || u.Host != "candor.example" {
			t.Skip()
		}
		var s signer
		body, signature := s.form(nil, hmac.New(sha1.New, []byte("token")), target, s.fields(field{"From", from}, field{"Body", words}, field{"To", "+1"}))
		v := twilio.NewRequestValidator("token")
		if !v.ValidateBody(target, body, signature) {
			t.Errorf("the official check refuses %q for %s", body, target)
		}
		if v.ValidateBody(target+"x", body, signature) {
			t.Error("the official check takes another URL")
		}
	})
}

func TestWebhookKeysAreRead(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pkcs8, sec1 := der(x509.MarshalPKCS8PrivateKey(key)), der(x509.MarshalECPrivateKey(key))
	for name, tt := range map[string]struct {
		text string
		ok   bool
	}{
		"PKCS 8":        {base64.StdEncoding.EncodeToString(pkcs8), true},
		"SEC 1":         {base64.StdEncoding.EncodeToString(sec1), true},
		"PKCS 8 in PEM": {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), true},
		"SEC 1 in PEM":  {string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})), true},
		"P-384":         {base64.StdEncoding.EncodeToString(der(x509.MarshalPKCS8PrivateKey(other))), false},
		"P-384, SEC 1":  {base64.StdEncoding.EncodeToString(der(x509.MarshalECPrivateKey(other))), false},
		"public":        {base64.StdEncoding.EncodeToString(der(x509.MarshalPKIXPublicKey(&key.PublicKey))), false},
		"nothing":       {"AAAA", false},
	} {
		got, err := parseWebhookKey(config.Secret(tt.text))
		if (err == nil) != tt.ok || tt.ok && !got.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
