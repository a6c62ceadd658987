package keyfile_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"candor/pkg/keyfile"
)

func TestReadRefusesLooseModes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.token")
	if err := keyfile.Create(path, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		mode fs.FileMode
		ok   bool
	}{{0o600, true}, {0o400, true}, {0o640, false}, {0o604, false}, {0o644, false}, {0o610, false}, {0o602, false}} {
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		got, err := keyfile.Read(path)
		if tt.ok {
			if err != nil || string(got) != "secret" {
				t.Errorf("mode %o: Read = %q, %v; want the secret", tt.mode, got, err)
			}
			continue
		}
		if !errors.Is(err, keyfile.ErrMode) || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: Read = %v; want ErrMode and the command that mends it", tt.mode, err)
		}
	}
}

func TestReadRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	if _, err := keyfile.Read(t.TempDir()); err == nil {
		t.Error("Read of a folder succeeded")
	}
	if _, err := keyfile.Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of nothing = %v, want fs.ErrNotExist", err)
	}
}

func TestCreateNeverReplaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "k")
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch err := keyfile.Create(path, bytes.Repeat([]byte{byte(i)}, 32)); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("Create = %v, want fs.ErrExist", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 creators won, want 1", won.Load())
	}
	got, err := keyfile.Read(path)
	if err != nil || len(got) != 32 || !bytes.Equal(got, bytes.Repeat(got[:1], 32)) {
		t.Errorf("Read = %x, %v; want one creator's 32 bytes", got, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are left, want 1: %v", len(entries), entries)
	}
}

func TestDestroyOverwritesTheFileAndItsTemporaryCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, copied, other := filepath.Join(dir, "k"), filepath.Join(dir, ".k.123"), filepath.Join(dir, ".kk.123")
	var open []*os.File
	for _, p := range []string{path, copied, other} {
		if err := os.WriteFile(p, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(p) // keeps the blocks readable after the name is gone
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		open = append(open, f)
	}
	for range 2 { // again: nothing left is no mistake
		if err := keyfile.Destroy(path); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00", "secret"} {
		if got, _ := io.ReadAll(open[i]); string(got) != want {
			t.Errorf("blocks of %s hold %q, want %q", open[i].Name(), got, want)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 || entries[0].Name() != ".kk.123" {
		t.Errorf("left over: %v, want only another file's copy", entries)
	}
	if err := keyfile.Destroy(filepath.Join(dir, "no", "such", "folder")); err != nil {
		t.Errorf("Destroy in no folder = %v, want nil", err)
	}
}
