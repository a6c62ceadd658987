package config_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rs/zerolog"

	"candor/pkg/config"
)

func TestSecretDoesNotPrint(t *testing.T) {
	t.Parallel()
	s := config.Secret("hunter2")
	box := struct {
		S    config.Secret
		P    *config.Secret
		List []config.Secret
		Map  map[string]config.Secret
	}{s, &s, []config.Secret{s}, map[string]config.Secret{"k": s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%-10v", "%U", "%!"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", box)
	}
	fmt.Fprintln(&out, s, box, fmt.Errorf("dial with %v", s))
	if b, err := json.Marshal(box); err != nil || !strings.Contains(string(b), `"S":"***"`) {
		t.Errorf("JSON = %s, %v", b, err)
	} else {
		out.Write(b)
	}
	if b, err := yaml.Marshal(box); err != nil || !strings.Contains(string(b), "***") {
		t.Errorf("YAML = %s, %v", b, err)
	} else {
		out.Write(b)
	}
	if b, err := xml.Marshal(s); err != nil {
		t.Error(err)
	} else {
		out.Write(b)
	}
	log := zerolog.New(&out)
	log.Info().Interface("box", box).Stringer("s", s).Any("any", s).Msg("")
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "box", box)
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the secret was printed as %s:\n%s", leak, out.String())
		}
	}
	if s.Reveal() != "hunter2" {
		t.Error("Reveal does not reveal")
	}
}

func TestSecretReferences(t *testing.T) {
	t.Setenv("CANDOR_TEST_SECRET", " from the environment\n")
	t.Setenv("CANDOR_TEST_EMPTY", "")
	file, empty := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "e")
	for path, content := range map[string]string{file: "from a file\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ in, want, err string }{
		{"file:" + file, "from a file", ""},
		{"env:CANDOR_TEST_SECRET", "from the environment", ""},
		{"", "", ""},
		{"file:" + empty, "", "is empty"},
		{"file:" + file + "x", "", "no such file"},
		{"env:CANDOR_TEST_EMPTY", "", "is empty"},
		{"env:CANDOR_TEST_UNSET", "", "is empty"},
		{"env:", "", "name a place"},
		{"file:", "", "name a place"},
		{"hunter2", "", "name a place"},
		{"hunter2:hunter2", "", "name a place"},
		{"***", "", "name a place"}, // what printed settings hold
	} {
		var s config.Secret
		err := s.UnmarshalText([]byte(tt.in))
		if tt.err == "" && (err != nil || s.Reveal() != tt.want) {
			t.Errorf("UnmarshalText(%q) = %q, %v; want %q", tt.in, s.Reveal(), err, tt.want)
		}
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("UnmarshalText(%q) = %v, want it to say %q and no secret", tt.in, err, tt.err)
		}
	}
}
