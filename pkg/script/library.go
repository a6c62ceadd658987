package script

import (
	"sync"

	"candor/pkg/playbook"
)

// Library keeps the scripts of plans compiled. A script belongs to a plan's hash, as the texts of notices do. It is safe for
// use by many goroutines.
type Library struct {
	mu   sync.Mutex
	sets map[string]*Set
}

// NewLibrary returns an empty Library.
func NewLibrary() *Library { return &Library{sets: map[string]*Set{}} }

// librarySize bounds the plans kept.
const librarySize = 64

// Set returns the script of the plan with the given hash, whose playbook and facts are given.
func (l *Library) Set(planHash []byte, pb *playbook.Playbook, facts *playbook.Facts) (*Set, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sets[string(planHash)]; s != nil {
		return s, nil
	}
	s, err := Compile(pb, facts)
	if err != nil {
		return nil, err
	}
	if len(l.sets) >= librarySize {
		clear(l.sets)
	}
	l.sets[string(planHash)] = s
	return s, nil
}
