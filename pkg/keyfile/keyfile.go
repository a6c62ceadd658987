// Package keyfile keeps secrets in small files: only their owner may read them, they appear whole or not at all, and they can
// be destroyed.
//
// In: paths and bytes.   Out: files of mode 0600.   Crash: a file that was being created is absent, or there and whole; one that was
// being destroyed is destroyed by calling Destroy again, its temporary copies included.
//
// Destroy overwrites in place. A copy-on-write file system, a snapshot or a worn block of a solid-state disk can keep the old
// bytes: what the file holds should therefore itself be wrapped by a key that lives elsewhere, and backups should leave it out.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxBytes bounds what Read takes: a key or a token is tiny, and a mistaken path may be a device or a database.
const maxBytes = 1 << 20

// ErrMode says that others than its owner may read or write a secret file.
var ErrMode = errors.New("is open to others than its owner")

// Read returns the content of the file at path, which nobody but its owner may read or write.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s %w (mode %04o): run chmod 600 %s", path, ErrMode, mode, path)
	}
	if st.Size() > maxBytes {
		return nil, fmt.Errorf("%s has %d bytes: that is no key or token file", path, st.Size())
	}
	return io.ReadAll(f)
}

// Create writes a new file of mode 0600 durably; it answers fs.ErrExist, and leaves the file alone, where there is one.
func Create(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*")
	if err != nil {
		return err
	}
	defer func() {
		// Gone already: Destroy takes temporary copies along, even those of a Create that is under way.
		if rm := os.Remove(f.Name()); !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link and not a rename: of two processes that create the same key, the second must not replace what the first already uses.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Destroy overwrites and removes the file at path and every temporary copy that a crash left beside it; it is content to find none.
func Destroy(path string) error {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(path) || strings.HasPrefix(e.Name(), tempPrefix(path)) {
			err = errors.Join(err, wipe(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, syncDir(dir))
}

func wipe(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process was quicker
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.Write(make([]byte, st.Size()))
	}
	// The zeros must be on the disk before the name goes, or the file system may free the old blocks without ever writing them.
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + "." }

// syncDir makes a new or removed name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
