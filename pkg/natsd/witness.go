package natsd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// witness is the memory of the data folder that is kept outside of it.
type witness struct {
	path string
	sync bool
	boot uint64
	last testimony // as found at Open
	met  bool      // there was a file

	mu      sync.Mutex
	written []byte
	damage  []string
}

// testimony is the content of the witness file.
type testimony struct {
	Boot    uint64                `json:"boot"`
	Streams map[string]streamSeen `json:"streams,omitempty"`
	Damage  []string              `json:"damage,omitempty"` // found, and not yet settled
}

type streamSeen struct {
	Created time.Time `json:"created"`
	Last    uint64    `json:"last"`
}

// openWitness reads both memories of the boot number and makes the next one durable in both: the file outside may be
// lost with its disk, the one inside may be put back with a backup, and the number must never be used twice.
func openWitness(path, bootFile string, sync bool) (*witness, error) {
	w := &witness{path: path, sync: sync}
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &w.last); err != nil {
			return nil, fmt.Errorf("witness file %s cannot be read (%w): restore it or, if you are sure that the data "+
				"folder is complete, move it away", path, err)
		}
		w.met = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the witness file: %w", err)
	}
	var inside uint64
	b, err = os.ReadFile(bootFile)
	switch {
	case err == nil:
		if inside, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil {
			return nil, fmt.Errorf("boot number in %s: %w", bootFile, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the boot number: %w", err)
	}
	w.boot = max(w.last.Boot, inside) + 1
	w.damage = w.last.Damage
	next := w.last
	next.Boot = w.boot
	if err := w.save(next); err != nil {
		return nil, err
	}
	if err := writeFile(bootFile, []byte(strconv.FormatUint(w.boot, 10)+"\n"), sync); err != nil {
		return nil, fmt.Errorf("write the boot number: %w", err)
	}
	return w, nil
}

// compare says what is missing, against the witness and against what an append-only stream must look like.
func (w *witness) compare(streams []server.StreamDetail) []string {
	damage := append([]string(nil), w.damage...)
	say := func(format string, args ...any) {
		s := fmt.Sprintf(format, args...)
		for _, d := range damage {
			if d == s {
				return
			}
		}
		damage = append(damage, s)
	}
	found := make(map[string]server.StreamDetail)
	for _, st := range streams {
		found[st.Name] = st
		if !kept(st) {
			continue
		}
		s := st.State
		switch {
		case s.Lost != nil && len(s.Lost.Msgs) > 0:
			say("Stream %s has lost %d entries to a damaged file.", st.Name, len(s.Lost.Msgs))
		case s.LastSeq > 0 && (s.FirstSeq != 1 || s.NumDeleted > 0 || s.Msgs != s.LastSeq):
			say("Stream %s should hold entries 1 to %d and holds %d, from %d on.", st.Name, s.LastSeq, s.Msgs, s.FirstSeq)
		}
		if !w.met && s.LastSeq > 0 {
			say("Stream %s holds %d entries, and the witness file %s, which would tell whether that is all, is not there.",
				st.Name, s.LastSeq, w.path)
		}
	}
	names := make([]string, 0, len(w.last.Streams))
	for name := range w.last.Streams {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		seen := w.last.Streams[name]
		st, ok := found[name]
		switch {
		case !ok:
			say("Stream %s is gone; it had %d entries.", name, seen.Last)
		case !st.Created.Equal(seen.Created):
			say("Stream %s was made anew on %s; the one we knew had %d entries.", name, st.Created.Format(time.RFC3339), seen.Last)
		case st.State.LastSeq < seen.Last:
			say("Stream %s came back with %d entries of at least %d that were acknowledged.", name, st.State.LastSeq, seen.Last)
		}
	}
	return damage
}

// kept says whether a stream is append-only, and so can be held to its word.
func kept(st server.StreamDetail) bool {
	return st.Config != nil && st.Config.DenyDelete && st.Config.DenyPurge
}

// write records what the kept streams hold.
func (w *witness) write(streams []server.StreamDetail, damage []string) error {
	t := testimony{Boot: w.boot, Streams: make(map[string]streamSeen), Damage: damage}
	for _, st := range streams {
		if kept(st) {
			t.Streams[st.Name] = streamSeen{Created: st.Created, Last: st.State.LastSeq}
		}
	}
	w.mu.Lock()
	w.damage = damage
	w.mu.Unlock()
	return w.save(t)
}

// settle drops the damage from the file.
func (w *witness) settle() error {
	w.mu.Lock()
	b := w.written
	w.mu.Unlock()
	var t testimony
	if err := json.Unmarshal(b, &t); err != nil {
		return fmt.Errorf("settle the damage: %w", err)
	}
	t.Damage = nil
	return w.save(t)
}

func (w *witness) save(t testimony) error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if string(b) == string(w.written) {
		return nil
	}
	if err := writeFile(w.path, b, w.sync); err != nil {
		return fmt.Errorf("write the witness file: %w", err)
	}
	w.written = b
	return nil
}

// writeFile replaces a file so that a crash leaves the old one or the new one.
func writeFile(path string, data []byte, sync bool) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil || !sync {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
