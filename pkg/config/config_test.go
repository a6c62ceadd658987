package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"candor/pkg/config"
)

type level int

func (l *level) UnmarshalText(b []byte) error {
	switch string(b) {
	case "low":
		*l = 1
	case "high":
		*l = 2
	default:
		return fmt.Errorf("level %q: want low or high", b)
	}
	return nil
}

type settings struct {
	Name      string        `yaml:"name"`
	Timeout   time.Duration `yaml:"timeout"`
	Batch     int           `yaml:"batch"`
	Level     level         `yaml:"level"`
	Providers struct {
		Twilio struct {
			BaseURL string        `yaml:"base_url"`
			Token   config.Secret `yaml:"token"`
		} `yaml:"twilio"`
	} `yaml:"providers"`
	Senders []struct {
		From string `yaml:"from"`
		Rate int    `yaml:"rate"`
	} `yaml:"senders"`
	Limits map[string]int `yaml:"limits"`
}

func defaults() settings { return settings{Name: "default", Timeout: time.Second, Batch: 7} }

func TestDecodeFillsAndKeepsDefaults(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := defaults()
	err := config.Decode("candor.yaml", []byte(`
# a comment
timeout: 1m30s
level: high
providers:
  twilio: {base_url: "http://localhost:1", token: "file:`+secret+`"}
senders:
  - from: "+15005550006"
    rate: 3
limits: {us: 10}
`), &got)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "default" || got.Batch != 7 || got.Timeout != 90*time.Second || got.Level != 2 ||
		got.Providers.Twilio.Token.Reveal() != "hunter2" || len(got.Senders) != 1 || got.Senders[0].Rate != 3 || got.Limits["us"] != 10 {
		t.Errorf("Decode: %+v", got)
	}
}

func TestDecodeOfNothingKeepsDefaults(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "\n", "# nothing\n", "---\n", "~\n"} {
		got := defaults()
		if err := config.Decode("c", []byte(in), &got); err != nil || !cmp.Equal(got, defaults()) {
			t.Errorf("Decode(%q) = %+v, %v; want the defaults", in, got, err)
		}
	}
}

func TestDecodeShowsAllMistakes(t *testing.T) {
	t.Parallel()
	const in = `name: acme
tiemout: 3s
timeout: soon
batch: many
level: middle
providers:
  twilio:
    base_url: http://x
    token: hunter2
  sendgird: {}
senders:
  - from: "+15005550006"
    rate: 1
  - frm: "+15005550007"
    rate: fast
limits:
  us: lots
  gb: 3
batch_size: 1
`
	got := defaults()
	err := config.Decode("candor.yaml", []byte(in), &got)
	if err == nil {
		t.Fatal("Decode accepted it")
	}
	want := []string{
		"candor.yaml:2:1: unknown field \"tiemout\"",
		"candor.yaml:3:10: ",
		"candor.yaml:4:8: want int, not string",
		"candor.yaml:5:8: level \"middle\": want low or high",
		"candor.yaml:9:12: secret: name a place",
		"candor.yaml:10:3: unknown field \"sendgird\"",
		"candor.yaml:14:5: unknown field \"frm\"",
		"candor.yaml:15:11: ",
		"candor.yaml:17:7: ",
		"candor.yaml:19:1: unknown field \"batch_size\"",
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Errorf("%d mistakes are shown, want %d", len(lines), len(want))
	}
	for i := range min(len(lines), len(want)) {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("mistake %d is %q, want it to begin with %q", i, lines[i], want[i])
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error shows the secret")
	}
	if !cmp.Equal(got, defaults()) {
		t.Errorf("after an error the value is %+v, want it as it was", got)
	}
	var m *config.Mistake
	if !errors.As(err, &m) || m.Line != 2 {
		t.Errorf("errors.As finds %+v, want the first mistake", m)
	}
}

func TestTheSameMistakeTwiceIsShownTwice(t *testing.T) {
	t.Parallel()
	var got struct{ A, B, C level }
	err := config.Decode("c", []byte("a: x\nb: low\nc: x\n"), &got)
	if want := "c:1:4: level \"x\": want low or high\nc:3:4: level \"x\": want low or high"; err == nil || err.Error() != want {
		t.Errorf("Decode = %v, want %s", err, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"syntax", "a: [1, 2\nb: 3", "c:"},
		{"tab", "name:\n\tx: 1", "c:2:1"},
		{"twice", "name: a\nname: b\n", "c:2:1"},
		{"two documents", "name: a\n---\nname: b\n", "2 documents"},
		{"a list", "- a\n- b\n", "c:1:"},
		{"a word", "hello\n", "c:1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := defaults()
			if err := config.Decode("c", []byte(tt.in), &got); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode = %v, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestDecodeStopsReportingSomewhere(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, "x%d: 1\n", i)
	}
	got := defaults()
	err := config.Decode("c", []byte(b.String()), &got)
	if err == nil || strings.Count(err.Error(), "\n") != 50 || !strings.Contains(err.Error(), "more than 50 mistakes") {
		t.Errorf("Decode = %v, want 50 mistakes and a word about the others", err)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "candor.yaml")
	got := defaults()
	if err := config.Load(path, &got); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: Load = %v, want os.ErrNotExist", err)
	}
	if err := os.WriteFile(path, []byte("nme: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Load(path, &got); err == nil || !strings.HasPrefix(err.Error(), path+":1:1: ") {
		t.Errorf("Load = %v, want it to name %s:1:1", err, path)
	}
}

func TestFilesOfSecretsAreFoundFromTheFolderOfTheSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "candor.yaml")
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(dir, "keys", "token"): "hunter2\n", path: "providers:\n  twilio:\n    token: file:keys/token # beside it\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := defaults()
	if err := config.Load(path, &got); err != nil || got.Providers.Twilio.Token.Reveal() != "hunter2" {
		t.Errorf("Load = %v, the token is %q; want what lies in keys beside the settings", err, got.Providers.Twilio.Token.Reveal())
	}
	const absent = "providers: {twilio: {token: 'file:keys/other'}}\n"
	want := path + ":1:29: secret: open " + filepath.Join(dir, "keys", "other") + ": no such file or directory"
	if err := config.Decode(path, []byte(absent), &got); err == nil || err.Error() != want {
		t.Errorf("Decode = %v, want %s", err, want)
	}
}

func TestASecretThatIsNoReferenceIsNotShown(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"[hunter2]", "{hunter2: hunter2}", "hunter2", "'hunter2: \"'", "12345"} {
		got := defaults()
		err := config.Decode("c", []byte("providers:\n  twilio:\n    token: "+in+"\n"), &got)
		if err == nil || !strings.Contains(err.Error(), "secret: name a place") || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "12345") {
			t.Errorf("token: %s: Decode = %v, want it to ask for a place and to show nothing", in, err)
		}
	}
	for _, in := range []string{"", "~", "''"} {
		got := defaults()
		if err := config.Decode("c", []byte("providers:\n  twilio:\n    token: "+in+"\n"), &got); err != nil || got.Providers.Twilio.Token != "" {
			t.Errorf("token: %s: Decode = %v, want no secret", in, err)
		}
	}
}

func TestEnvName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"data-dir": "CANDOR_DATA_DIR", "nats": "CANDOR_NATS", "providers.twilio.base_url": "CANDOR_PROVIDERS_TWILIO_BASE_URL",
	} {
		if got := config.EnvName(in); got != want {
			t.Errorf("EnvName(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: a\nlevel: x\nsenders:\n - from: 1\n"))
	f.Add([]byte("a: &x [1, *x]\n<<: *x\n"))
	f.Add([]byte("!!binary a: ? b\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got := defaults()
		if err := config.Decode("c", in, &got); err != nil && !cmp.Equal(got, defaults()) {
			t.Errorf("after %v the value is %+v, want it as it was", err, got)
		}
	})
}
