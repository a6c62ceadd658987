package vault_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"candor/pkg/vault"
)

func TestTheFrontDoorHasItsKeysAndNoOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := vault.Init(keys); err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(keys, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	alone := t.TempDir()
	data, err := os.ReadFile(filepath.Join(keys, "door.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(alone, "door.key"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	door, err := vault.OpenDoor(alone)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(door.IDKey(), v.IDKey()) || !bytes.Equal(door.SuppressionKey(), v.Door().SuppressionKey()) || bytes.Equal(door.IDKey(), door.SuppressionKey()) {
		t.Error("the door's keys are not the installation's")
	}
	if _, err := vault.Open(alone, zerolog.Nop()); err == nil {
		t.Error("the door's key opens the vault")
	}
	const question = "+15005550006"
	sealed, err := door.SealRequest([]byte(question))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte(question)) {
		t.Error("the question travels in the clear")
	}
	if plain, err := v.Door().OpenRequest(sealed); err != nil || string(plain) != question {
		t.Errorf("opened %q, %v", plain, err)
	}
	for name, wrong := range map[string][]byte{"short": sealed[:5], "changed": append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1), "none": nil} {
		if _, err := v.Door().OpenRequest(wrong); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestADoorWithoutItsKey(t *testing.T) {
	t.Parallel()
	if _, err := vault.OpenDoor(t.TempDir()); err == nil || !strings.Contains(err.Error(), "door.key") {
		t.Errorf("OpenDoor = %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "door.key"), make([]byte, 95), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.OpenDoor(dir); err == nil || !strings.Contains(err.Error(), "95 bytes") {
		t.Errorf("OpenDoor = %v", err)
	}
}

// An installation of an earlier version gets the file when its vault is opened.
func TestAnOlderInstallationGetsADoor(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := vault.Init(keys); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(keys, "door.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(keys, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.OpenDoor(keys); err != nil {
		t.Error(err)
	}
}
