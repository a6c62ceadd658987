package vault

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/keyfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newDir makes an initialised key folder.
func newDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open stands for a process that starts on the folder.
func open(t testing.TB, dir string) *Vault {
	t.Helper()
	v, err := Open(dir, zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func keys(t testing.TB, v *Vault, incident string) *Keys {
	t.Helper()
	k, err := v.Incident(incident)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t testing.TB, v *Vault, incident string) {
	t.Helper()
	if err := v.Create(incident); err != nil {
		t.Fatal(err)
	}
}

func TestSealOpensOnlyForItsSubjectAndIncident(t *testing.T) {
	t.Parallel()
	v := open(t, newDir(t))
	create(t, v, "i1")
	create(t, v, "i2")
	k := keys(t, v, "i1")
	sealed, err := k.Seal("roster.i1.7", []byte("Ada, +15005550006"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("Ada")) {
		t.Error("the sealed page shows its content")
	}
	flipped := bytes.Clone(sealed)
	flipped[20] ^= 1
	for _, tt := range []struct {
		name, subject string
		k             *Keys
		sealed        []byte
		ok            bool
	}{
		{"as sealed", "roster.i1.7", k, sealed, true},
		{"another page", "roster.i1.8", k, sealed, false},
		{"another incident", "roster.i1.7", keys(t, v, "i2"), sealed, false},
		{"changed", "roster.i1.7", k, flipped, false},
		{"cut", "roster.i1.7", k, sealed[:len(sealed)-1], false},
		{"empty", "roster.i1.7", k, nil, false},
	} {
		got, err := tt.k.Open(tt.subject, tt.sealed)
		if tt.ok && (err != nil || string(got) != "Ada, +15005550006") {
			t.Errorf("%s: Open = %q, %v", tt.name, got, err)
		}
		if !tt.ok && !errors.Is(err, ErrSealed) {
			t.Errorf("%s: Open = %q, %v; want ErrSealed", tt.name, got, err)
		}
	}
}

func TestKeysSurviveARestartAndDifferFromEachOther(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	v := open(t, dir)
	create(t, v, "i1")
	create(t, v, "i1") // idempotent
	create(t, v, "i2")
	sealed, err := keys(t, v, "i1").Seal("s", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	w := open(t, dir)
	if _, err := keys(t, w, "i1").Open("s", sealed); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	all := [][]byte{
		v.IDKey(), v.Door().SuppressionKey(),
		keys(t, v, "i1").CodeKey(), keys(t, v, "i1").IndexKey(), keys(t, v, "i1").TeamKey(), keys(t, v, "i2").CodeKey(), keys(t, v, "i2").IndexKey(),
	}
	again := [][]byte{
		w.IDKey(), w.Door().SuppressionKey(),
		keys(t, w, "i1").CodeKey(), keys(t, w, "i1").IndexKey(), keys(t, w, "i1").TeamKey(), keys(t, w, "i2").CodeKey(), keys(t, w, "i2").IndexKey(),
	}
	for i, a := range all {
		if len(a) != 32 {
			t.Errorf("key %d has %d bytes, want 32", i, len(a))
		}
		for j, b := range again {
			if (i == j) != bytes.Equal(a, b) {
				t.Errorf("keys %d and %d: equal = %t", i, j, !bytes.Equal(a, b) == (i == j))
			}
		}
	}
}

func TestNewKeyIsSeenByOtherProcesses(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	api, worker := open(t, dir), open(t, dir)
	if _, err := worker.Incident("i1"); !errors.Is(err, ErrNoKey) {
		t.Fatalf("before: %v, want ErrNoKey", err)
	}
	create(t, api, "i1")
	sealed, err := keys(t, api, "i1").Seal("s", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	k := keys(t, worker, "i1")
	if _, err := k.Open("s", sealed); err != nil {
		t.Errorf("after: %v", err)
	}
	if keys(t, worker, "i1") != k {
		t.Error("the key is not kept in memory")
	}
	worker.drop("i1", false)
	if keys(t, worker, "i1") == k {
		t.Error("the key is kept in memory after it was dropped")
	}
}

func TestManyCreatorsMakeOneKey(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	codes := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			v, err := Open(dir, zerolog.Nop())
			if err != nil {
				t.Error(err)
				return
			}
			if err := v.Create("i1"); err != nil {
				t.Error(err)
				return
			}
			k, err := v.Incident("i1")
			if err != nil {
				t.Error(err)
				return
			}
			codes[i] = k.CodeKey()
		})
	}
	wg.Wait()
	for _, c := range codes {
		if !bytes.Equal(c, codes[0]) {
			t.Fatal("two processes hold different keys of one incident")
		}
	}
}

func TestShredLeavesNoKeyBytes(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	api, worker := open(t, dir), open(t, dir)
	create(t, api, "i1")
	create(t, api, "i2")
	k, wk := keys(t, api, "i1"), keys(t, worker, "i1")
	sealed, err := k.Seal("s", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := keyfile.Read(api.path("i1", keySuffix))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := unwrap(api.kek, wrapped, "i1")
	if err != nil {
		t.Fatal(err)
	}
	// As a crash in the middle of Create leaves it.
	if err := os.WriteFile(filepath.Join(dir, incidentsDir, ".i1.key.42"), wrapped, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := occurrences(t, dir, wrapped); n != 2 {
		t.Fatalf("before: the wrapped key is found %d times, want 2: the search does not search", n)
	}

	for range 2 { // again is harmless
		if err := api.Shred("i1"); err != nil {
			t.Fatal(err)
		}
	}
	for name, needle := range map[string][]byte{"wrapped key": wrapped, "a part of it": wrapped[16:40], "secret": secret, "code key": k.CodeKey()} {
		if n := occurrences(t, dir, needle); n != 0 {
			t.Errorf("after: %s is found %d times in the folder", name, n)
		}
	}
	for name, f := range map[string]func() error{
		"Incident":               func() error { _, err := api.Incident("i1"); return err },
		"Create":                 func() error { return api.Create("i1") },
		"Open with a kept key":   func() error { _, err := k.Open("s", sealed); return err },
		"Seal with a kept key":   func() error { _, err := k.Seal("s", nil); return err },
		"Incident, elsewhere":    func() error { _, err := worker.Incident("i1"); return err },
		"kept key, elsewhere":    func() error { _, err := wk.Open("s", sealed); return err }, // elsewhere: after its Incident
		"Create, elsewhere":      func() error { return worker.Create("i1") },
		"Incident after restart": func() error { _, err := open(t, dir).Incident("i1"); return err },
	} {
		if name == "kept key, elsewhere" {
			_, _ = worker.Incident("i1")
		}
		if err := f(); !errors.Is(err, ErrShredded) {
			t.Errorf("%s = %v, want ErrShredded", name, err)
		}
	}
	if _, err := api.Incident("i2"); err != nil {
		t.Errorf("the other incident: %v", err)
	}
}

// occurrences counts needle in all files below dir.
func occurrences(t *testing.T, dir string, needle []byte) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		n += bytes.Count(b, needle)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInterruptedShredIsFinishedAtStart(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	v := open(t, dir)
	create(t, v, "i1")
	keys(t, v, "i1")
	// The crash: the tombstone is on the disk, the key is still there.
	if err := keyfile.Create(v.path("i1", tombstoneSuffix), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Incident("i1"); !errors.Is(err, ErrShredded) {
		t.Errorf("between: Incident = %v, want ErrShredded, cached or not", err)
	}
	open(t, dir)
	if _, err := os.Stat(v.path("i1", keySuffix)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a restart the key file is still there: %v", err)
	}
}

func TestShredAndCreateAtOnceNeverLeaveAKey(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for i := range 50 {
		incident := "i" + strings.Repeat("x", i)
		a, b := open(t, dir), open(t, dir)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := a.Create(incident); err != nil && !errors.Is(err, ErrShredded) {
				t.Errorf("Create = %v", err)
			}
		})
		wg.Go(func() {
			if err := b.Shred(incident); err != nil {
				t.Errorf("Shred = %v", err)
			}
		})
		wg.Wait()
		if _, err := os.Stat(a.path(incident, keySuffix)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a key is left: %v", err)
		}
	}
}

func TestIncidentIDsCannotLeaveTheFolder(t *testing.T) {
	t.Parallel()
	v := open(t, newDir(t))
	for _, id := range []string{"", "..", "../x", "a/b", "a.b", `a\b`, "a b", "a\n", "é", strings.Repeat("x", 129)} {
		_, err := v.Incident(id)
		for name, err := range map[string]error{"Create": v.Create(id), "Shred": v.Shred(id), "Incident": err} {
			if err == nil || !strings.Contains(err.Error(), "incident id") {
				t.Errorf("%s(%q) = %v, want a refusal", name, id, err)
			}
		}
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"", keysetFile, installationFile} {
		dir := newDir(t)
		if left != "" { // somebody mislaid the other file
			other := map[string]string{keysetFile: installationFile, installationFile: keysetFile}[left]
			if err := os.Remove(filepath.Join(dir, other)); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.ReadDir(dir)
		if err := Init(dir); !errors.Is(err, fs.ErrExist) {
			t.Errorf("left %q: Init = %v, want fs.ErrExist", left, err)
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("left %q: Init changed the folder", left)
		}
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		spoil      func(dir string) error
	}{
		{"no folder", "run candor init", os.RemoveAll},
		{"loose keyset", "chmod 600", func(dir string) error { return os.Chmod(filepath.Join(dir, keysetFile), 0o644) }},
		{"loose installation key", "chmod 600", func(dir string) error { return os.Chmod(filepath.Join(dir, installationFile), 0o640) }},
		{"not a keyset", "no Tink keyset", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, keysetFile), []byte("hello"), 0o600)
		}},
		{"another keyset", "does not fit", func(dir string) error {
			b, _, err := newKeyset()
			return errors.Join(err, os.WriteFile(filepath.Join(dir, keysetFile), b, 0o600))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			if err := tt.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v, want it to say %q", err, tt.want)
			}
		})
	}
}

// remoteKEK stands for a KMS that can be away.
type remoteKEK struct {
	KEK
	away    atomic.Bool
	unwraps atomic.Int32
}

func (r *remoteKEK) Unwrap(ctx context.Context, wrapped, purpose []byte) ([]byte, error) {
	r.unwraps.Add(1)
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("a call to a KMS without a deadline")
	}
	if r.away.Load() {
		return nil, context.DeadlineExceeded
	}
	return r.KEK.Unwrap(ctx, wrapped, purpose)
}

func TestAKMSFits(t *testing.T) {
	t.Parallel()
	_, file, err := newKeyset()
	if err != nil {
		t.Fatal(err)
	}
	kms, dir := &remoteKEK{KEK: file}, t.TempDir()
	if err := InitWith(dir, kms); err != nil {
		t.Fatal(err)
	}
	v, err := OpenWith(dir, kms, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	create(t, v, "i1")
	keys(t, v, "i1")
	before := kms.unwraps.Load()
	kms.away.Store(true)
	keys(t, v, "i1") // from memory
	if n := kms.unwraps.Load() - before; n != 0 {
		t.Errorf("%d calls to the KMS for a key in memory", n)
	}
	v.drop("i1", false)
	if _, err := v.Incident("i1"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrShredded) {
		t.Errorf("with the KMS away: Incident = %v, want its error and not ErrShredded", err)
	}
}

func TestReplacedKeyFileIsReadAgain(t *testing.T) {
	t.Parallel()
	v := open(t, newDir(t))
	create(t, v, "i1")
	create(t, v, "i2")
	before := keys(t, v, "i1")
	wrapped, err := newSecret(v.kek, "i1")
	if err != nil {
		t.Fatal(err)
	}
	other := v.path("restored", keySuffix)
	if err := os.WriteFile(other, wrapped, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, v.path("i1", keySuffix)); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(keys(t, v, "i1").CodeKey(), before.CodeKey()) {
		t.Error("the key of before is still used")
	}
	if err := os.Rename(v.path("i2", keySuffix), v.path("i1", keySuffix)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(v.path("i1", keySuffix), time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Incident("i1"); err == nil {
		t.Error("another incident's key file was taken for this one's")
	}
}

func BenchmarkSeal150kB(b *testing.B) {
	v := open(b, newDir(b))
	create(b, v, "i1")
	k, page := keys(b, v, "i1"), make([]byte, 150_000)
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		if _, err := k.Seal("roster.i1.7", page); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen150kB(b *testing.B) {
	v := open(b, newDir(b))
	create(b, v, "i1")
	k := keys(b, v, "i1")
	sealed, err := k.Seal("roster.i1.7", make([]byte, 150_000))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(150_000)
	for b.Loop() {
		if _, err := k.Open("roster.i1.7", sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIncident(b *testing.B) {
	v := open(b, newDir(b))
	create(b, v, "i1")
	for b.Loop() {
		keys(b, v, "i1")
	}
}
