package notice

import (
	"sync"

	"candor/pkg/incident"
	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// Library keeps the texts of incidents compiled. A text belongs to the hash that was approved: there is no "current" text. It
// is safe for use by many goroutines.
type Library struct {
	mu   sync.Mutex
	sets map[string]*Set
}

// NewLibrary returns an empty Library.
func NewLibrary() *Library { return &Library{sets: map[string]*Set{}} }

// librarySize bounds the plans and updates kept; one incident's revisions and a few incidents fit.
const librarySize = 64

// Plan returns the texts of an incident's newest draft, approved or not.
func (l *Library) Plan(inc *incident.Incident) (*Set, error) {
	return l.set(inc.PlanHash(), func() (*Set, error) { return NewSet(inc.Draft.GetDeclaration()) })
}

// Of returns the texts that a wave of an incident uses, and the name of its wave among them: those of the plan, with the
// wave's own if it is an update.
func (l *Library) Of(inc *incident.Incident, wave string) (_ *Set, base string, err error) {
	base = inc.BaseOf(wave)
	add := inc.Additions[wave]
	if add == nil || add.GetAddition().GetText() == "" {
		s, err := l.Plan(inc)
		return s, base, err
	}
	s, err := l.set(add.GetHash(), func() (*Set, error) {
		plan, err := l.Plan(inc)
		if err != nil {
			return nil, err
		}
		return plan.With(base, add.GetAddition().GetText())
	})
	return s, base, err
}

func (l *Library) set(hash []byte, compile func() (*Set, error)) (*Set, error) {
	l.mu.Lock()
	s := l.sets[string(hash)]
	l.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := compile()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.sets[string(hash)]; known != nil {
		return known, nil // another one was faster
	}
	if len(l.sets) >= librarySize {
		clear(l.sets)
	}
	l.sets[string(hash)] = s
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

// With returns the texts with one more wave, that of an update's file.
func (s *Set) With(wave, update string) (*Set, error) {
	u, err := playbook.ParseUpdate("update", []byte(update), s.Playbook)
	if err != nil {
		return nil, err
	}
	return &Set{Playbook: s.Playbook.With(wave, u.Wave), Facts: s.Facts, texts: map[textKey]*Text{}}, nil
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
