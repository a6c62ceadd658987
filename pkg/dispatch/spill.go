package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/keyfile"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// spill keeps an entry that could not be appended before the process had to stop. It holds no personal data.
//
// A crash here loses the entry: its slots are intents without outcome, and the provider is asked. No part of an entry is left.
func (h *hand) spill(e *candorv1.JournalEntry) error {
	data, err := proto.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode outcomes: %w", err)
	}
	if err := os.MkdirAll(h.cfg.SpillDir, 0o700); err != nil {
		return fmt.Errorf("keep outcomes for the next start: %w", err)
	}
	path := filepath.Join(h.cfg.SpillDir, strconv.FormatUint(e.GetEntryId(), 36)+spillSuffix)
	if err := keyfile.Create(path, append([]byte(h.key.Subject()+"\n"), data...)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep outcomes for the next start: %w", err)
	}
	h.Log.Warn().Str("incident", h.key.Incident).Uint32("page", h.key.Page).Msg("outcomes kept in a file for the next start")
	return nil
}

const (
	spillSuffix   = ".outcomes"
	damagedSuffix = ".damaged"
)

// unspill appends what an earlier process kept. What cannot be read is put aside: in the journal nobody could fold past it.
//
// A crash after an entry has landed has it land twice: the fold takes it once.
func (w *Worker) unspill(ctx context.Context) error {
	if w.cfg.SpillDir == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(w.cfg.SpillDir, "*"+spillSuffix))
	if err != nil {
		return fmt.Errorf("outcomes of the last run: %w", err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("outcomes of the last run: %w", err)
		}
		subject, data, ok := bytes.Cut(raw, []byte("\n"))
		prefix := topology.JournalPrefix(w.cfg.Channel)
		if !ok || !strings.HasPrefix(string(subject), prefix) {
			continue // another channel's
		}
		if err := proto.Unmarshal(data, &candorv1.JournalEntry{}); err != nil {
			w.Log.Error().Str("subject", string(subject)).Str("file", path+damagedSuffix).
				Msg("outcomes of the last run cannot be read, and the provider is asked instead: a disk that damages files loses more")
			if err := os.Rename(path, path+damagedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("outcomes of the last run: %w", err)
			}
			continue
		}
		if _, err := w.Bus.Append(ctx, topology.StreamJournal, bus.Message{Subject: string(subject), Data: data}); err != nil {
			return fmt.Errorf("append outcomes of the last run: %w", err)
		}
		// Several workers may share the folder: whoever was first has removed the file.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("outcomes of the last run: %w", err)
		}
		w.Log.Info().Str("subject", string(subject)).Msg("outcomes of the last run appended")
	}
	return nil
}
