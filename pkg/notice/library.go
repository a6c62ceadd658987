package notice

import (
	"sync"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// Library keeps the texts of plans compiled. A text belongs to a plan's hash: there is no "current" text. It is safe for
// use by many goroutines.
type Library struct {
	mu   sync.Mutex
	sets map[string]*Set
}

// NewLibrary returns an empty Library.
func NewLibrary() *Library { return &Library{sets: map[string]*Set{}} }

// librarySize bounds the plans kept; one incident's revisions and a few incidents fit.
const librarySize = 64

// Set returns the texts of the plan with the given hash, which d declares.
func (l *Library) Set(planHash []byte, d *candorv1.Declaration) (*Set, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sets[string(planHash)]; s != nil {
		return s, nil
	}
	s, err := NewSet(d)
	if err != nil {
		return nil, err
	}
	if len(l.sets) >= librarySize {
		clear(l.sets)
	}
	l.sets[string(planHash)] = s
	return s, nil
}

// Set is a playbook and the facts of a breach, and the texts that they make. It is safe for use by many goroutines.
type Set struct {
	Playbook *playbook.Playbook
	Facts    *playbook.Facts

	mu    sync.Mutex
	texts map[textKey]*Text
}

type textKey struct {
	wave, language string
	channel        candorv1.Channel
}

// NewSet parses what a declaration carries. The error joins every mistake of both files.
func NewSet(d *candorv1.Declaration) (*Set, error) {
	pb, err := playbook.Parse("playbook.yaml", []byte(d.GetPlaybook()))
	if err != nil {
		return nil, err
	}
	facts, err := playbook.ParseFacts("facts.yaml", []byte(d.GetFacts()))
	if err != nil {
		return nil, err
	}
	return &Set{Playbook: pb, Facts: facts, texts: map[textKey]*Text{}}, nil
}

// Text returns the text of a wave on a channel for customers of a language, by the playbook's chain of fallbacks.
func (s *Set) Text(wave string, ch candorv1.Channel, language string) (*Text, error) {
	k := textKey{wave: wave, channel: ch, language: s.Playbook.Languages.Language(language)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.texts[k]; t != nil {
		return t, nil
	}
	t, err := Compile(s.Playbook, s.Facts, k.wave, k.channel, k.language)
	if err != nil {
		return nil, err
	}
	s.texts[k] = t
	return t, nil
}
