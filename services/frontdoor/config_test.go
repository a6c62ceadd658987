package frontdoor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"candor/pkg/config"
)

func TestTheDefaultsAreValidAndClosed(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryMistakeIsReported(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Listen: "here", PublicURL: "hooks.example.com", Twilio: TwilioConfig{AuthToken: "secretword", AccountSID: "AC1"},
		SendGrid: SendGridConfig{PublicKey: "?", MaxAge: -1, MaxBody: 1 << 40}, BatchWait: time.Hour,
	}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{
		"listen", "public_url", "account_sid", "public_key", "max_age", "twilio.max_body", "sendgrid.max_body", "batch_wait", "batch_most",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, err); strings.Contains(s, "secretword") {
		t.Errorf("prints its secret: %s", s)
	}
}

func TestThePublicURL(t *testing.T) {
	t.Parallel()
	for in, good := range map[string]bool{
		"https://hooks.example.com": true, "https://hooks.example.com/": true, "https://h.example/a/b": true, "http://127.0.0.1:8422": true,
		"": true, "hooks.example.com": false, "ftp://h.example": false, "https://u:p@h.example": false, "https://h.example/?x=1": false,
		"https://h.example/#rc=5": false, "https://h.example#": false, "https://h.example?": false, "https://": false, "://": false,
	} {
		cfg := DefaultConfig()
		cfg.PublicURL, cfg.Twilio.AuthToken = in, "x"
		err := cfg.Validate()
		if (err == nil) != good {
			t.Errorf("public_url %q: %v", in, err)
		}
		if err != nil && strings.Contains(err.Error(), "u:p@") {
			t.Errorf("%q shows a password", err)
		}
	}
}

func TestTheWrongKeyIsExplained(t *testing.T) {
	t.Parallel()
	s := opensslSample(t)
	for key, want := range map[string]string{
		s.RSAKey: "RSA", s.P384Key: "P-384", "AAAA": "not a public key", "-----BEGIN PUBLIC KEY-----": "not base64", " " + s.PublicKey + "\n": "",
	} {
		cfg := DefaultConfig()
		cfg.SendGrid.PublicKey = key
		err := cfg.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want %q", err, want)
		}
	}
}

func TestTheSettingsAreReadFromYAML(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	err := config.Decode("candor.yaml", []byte(`
listen: 0.0.0.0:8443
public_url: https://hooks.example.com
twilio:
  auth_token: file:`+secret+`
sendgrid:
  max_age: 1h
batch_wait: 10ms
`), &cfg)
	if err != nil || cfg.Listen != "0.0.0.0:8443" || cfg.Twilio.AuthToken.Reveal() != "abc" || cfg.SendGrid.MaxAge != time.Hour || cfg.Twilio.MaxBody != 64<<10 {
		t.Errorf("%+v, %v", cfg, err)
	}
}
