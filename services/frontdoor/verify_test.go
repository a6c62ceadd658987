package frontdoor

import (
	"encoding/json"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"
	"github.com/twilio/twilio-go/client"
)

func twilioForm(t *testing.T, body string) form {
	t.Helper()
	f, err := parseForm(body)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The vectors are those of twilio-go's own tests.
func TestTwiliosPublishedSample(t *testing.T) {
	t.Parallel()
	const (
		path, query = "/myapp.php", "foo=1&bar=2"
		body        = "Digits=1234&CallSid=CA1234567890ABCDE&To=%2B18005551212&Caller=%2B14158675309&From=%2B14158675309&ReasonConferenceEnded=test&Reason=Participant"
		signature   = "vOEb5UThFn24KEfnOFLQY2AE5FY="
	)
	for _, tt := range []struct {
		name, base, path, query, body, signature string
		want                                     bool
	}{
		{"the sample", "https://mycompany.com", path, query, body, signature, true},
		{"parameters in another order", "https://mycompany.com", path, query, "Reason=Participant&" + strings.TrimSuffix(body, "&Reason=Participant"), signature, true},
		{"a port that was not signed", "https://mycompany.com:1234", path, query, body, signature, true},
		{"over http", "http://mycompany.com", path, query, body, "n2xBNyzSW7rfYStDtOFiFMv7qNo=", true},
		{"over http with a port", "http://mycompany.com:1234", path, query, body, "n2xBNyzSW7rfYStDtOFiFMv7qNo=", true},
		{"a form", "https://mycompany.com", path, query, "property=value&boolean=true", "NBdBDr/T/lgjI+tlgpXjKZQZs/k=", true},
		{"sorted wrongly", "https://mycompany.com", path, query, body, "95+Bu0JVPi0r/SsESZCVf0dWAjw=", false},
		{"another scheme", "http://mycompany.com", path, query, body, signature, false},
		{"another host", "https://mycompany.org", path, query, body, signature, false},
		{"another path", "https://mycompany.com", path + "x", query, body, signature, false},
		{"another query", "https://mycompany.com", path, "bar=2&foo=1", body, signature, false},
		{"no query", "https://mycompany.com", path, "", body, signature, false},
		{"another value", "https://mycompany.com", path, query, strings.Replace(body, "1234", "1235", 1), signature, false},
		{"one parameter more", "https://mycompany.com", path, query, body + "&x=y", signature, false},
		{"a second value", "https://mycompany.com", path, query, body + "&Zeta=1", signature, false},
		{"no signature", "https://mycompany.com", path, query, body, "", false},
		{"not base64", "https://mycompany.com", path, query, body, strings.Repeat("!", 28), false},
		{"spare bits", "https://mycompany.com", path, query, body, "vOEb5UThFn24KEfnOFLQY2AE5FZ=", false},
		{"a byte too long", "https://mycompany.com", path, query, body, strings.Repeat("A", 28), false},
		{"too long", "https://mycompany.com", path, query, body, signature + "A", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := newTwilioVerifier(tt.base, "12345").verify(tt.path, tt.query, twilioForm(t, tt.body), tt.signature); got != tt.want {
				t.Errorf("verify = %v, want %v", got, tt.want)
			}
		})
	}
	if newTwilioVerifier("https://mycompany.com", "12346").verify(path, query, twilioForm(t, body), signature) {
		t.Error("another token's signature is taken")
	}
}

func readTestdata(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The file was made with Twilio's library for Node, which is not ours and treats keys that repeat unlike the one for Go.
func TestWhatTwiliosNodeLibrarySigns(t *testing.T) {
	t.Parallel()
	var sample struct {
		Token    string
		Requests []struct{ Base, Path, Query, Body, Signature string }
	}
	readTestdata(t, "twilio-node.json", &sample)
	for _, r := range sample.Requests {
		f := twilioForm(t, r.Body)
		if !newTwilioVerifier(r.Base, sample.Token).verify(r.Path, r.Query, f, r.Signature) {
			t.Errorf("%s%s is not taken", r.Base, r.Path)
		}
		if newTwilioVerifier(r.Base, sample.Token).verify(r.Path, r.Query, append(f, field{"zz", ""}), r.Signature) {
			t.Errorf("%s%s is taken with a parameter more", r.Base, r.Path)
		}
	}
	if len(sample.Requests) < 5 {
		t.Errorf("%d samples", len(sample.Requests))
	}
}

// What the tests of this package sign is what Twilio's own helper for Go takes, and so is what the verifier takes.
func TestTwiliosHelperAgrees(t *testing.T) {
	t.Parallel()
	official := client.NewRequestValidator(token)
	v := newTwilioVerifier(publicURL, token)
	for _, body := range []string{
		statusForm("SM1", "delivered", ""), statusForm("SM2", "undelivered", "30005"), "a=1&b=2&a=3", "b=%3B&a=%C3%A9+x",
		url.Values{"Body": {"señor; ¿qué? 50%+1 & 😀\n"}, "From": {"+15005550006"}}.Encode(), "",
	} {
		path := TwilioInboundPath
		signature := signTwilio(token, publicURL+path, body)
		if !official.ValidateBody(publicURL+path, []byte(body), signature) {
			t.Errorf("the helper does not take what signTwilio signs for %q", body)
		}
		if !v.verify(path, "", twilioForm(t, body), signature) {
			t.Errorf("verify does not take %q", body)
		}
		if bad := signTwilio("another", publicURL+path, body); v.verify(path, "", twilioForm(t, body), bad) {
			t.Errorf("verify takes another token's signature of %q", body)
		}
	}
}

// The vector is that of sendgrid-go's own tests.
func TestSendGridsPublishedSample(t *testing.T) {
	t.Parallel()
	const (
		publicKey = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
		signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
		timestamp = "1600112502"
		body      = `[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]` + "\r\n"
	)
	checkSendGrid(t, publicKey, body, signature, timestamp)
}

// The file was signed with openssl.
func TestWhatOpenSSLSigns(t *testing.T) {
	t.Parallel()
	s := opensslSample(t)
	checkSendGrid(t, s.PublicKey, s.Body, s.Signature, s.Timestamp)
}

type opensslSigned struct {
	PublicKey string `json:"public_key"`
	RSAKey    string `json:"rsa_key"`
	P384Key   string `json:"p384_key"`
	Timestamp string
	Body      string
	Signature string
}

func opensslSample(t *testing.T) (s opensslSigned) {
	t.Helper()
	readTestdata(t, "sendgrid-openssl.json", &s)
	return s
}

func checkSendGrid(t *testing.T, publicKey, body, signature, timestamp string) {
	t.Helper()
	v, err := newSendGridVerifier(SendGridConfig{PublicKey: publicKey}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if !v.verify([]byte(body), signature, timestamp) {
		t.Error("the sample is not taken")
	}
	for name, bad := range map[string][3]string{
		"body":                 {body + " ", signature, timestamp},
		"body without newline": {strings.TrimSuffix(body, "\r\n"), signature, timestamp},
		"timestamp":            {body, signature, timestamp + "0"},
		"no timestamp":         {body, signature, ""},
		"no signature":         {body, "", timestamp},
		"signature":            {body, signature[:20] + "AAAA" + signature[24:], timestamp},
	} {
		if v.verify([]byte(bad[0]), bad[1], bad[2]) {
			t.Errorf("another %s is taken", name)
		}
	}
	if !readEvents([]byte(body), func(*event) {}) {
		t.Error("the body is not read to its end")
	}
}

func TestSendGridsHelperAgrees(t *testing.T) {
	t.Parallel()
	key, public := newKey(t)
	official, err := eventwebhook.ConvertPublicKeyBase64ToECDSA(public)
	if err != nil {
		t.Fatal(err)
	}
	v, err := newSendGridVerifier(SendGridConfig{PublicKey: public}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"[]\r\n", `[{"event":"open"}]`, ""} {
		timestamp := strconv.FormatInt(noon.Unix(), 10)
		signature := signSendGrid(t, key, timestamp, body)
		if ok, err := eventwebhook.VerifySignature(official, []byte(body), signature, timestamp); !ok || err != nil {
			t.Errorf("the helper does not take %q: %v", body, err)
		}
		if !v.verify([]byte(body), signature, timestamp) {
			t.Errorf("verify does not take %q", body)
		}
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		age, maxAge time.Duration
		want        bool
	}{
		{0, 26 * time.Hour, true},
		{26 * time.Hour, 26 * time.Hour, true},
		{26*time.Hour + time.Second, 26 * time.Hour, false},
		{-clocksApart, 26 * time.Hour, true},
		{-clocksApart - time.Second, 26 * time.Hour, false},
		{10000 * time.Hour, 0, true},
	} {
		v := &sendGridVerifier{maxAge: tt.maxAge, now: func() time.Time { return noon }}
		if got := v.fresh(strconv.FormatInt(noon.Add(-tt.age).Unix(), 10)); got != tt.want {
			t.Errorf("fresh(%s) within %s = %v", tt.age, tt.maxAge, got)
		}
	}
	v := &sendGridVerifier{maxAge: time.Hour, now: func() time.Time { return noon }}
	for _, bad := range []string{"", "x", "1e9", "99999999999999999999"} {
		if v.fresh(bad) {
			t.Errorf("fresh(%q)", bad)
		}
	}
}
