package incident

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"candor/pkg/bus"
	"candor/pkg/topology"
)

// Registry keeps every incident as it stands, in memory, a moment behind the stream. Workers look at it before each
// stride; what must not be a moment behind (an approval, a seal) is read from the stream or fenced.
type Registry struct {
	bus   *bus.Bus
	all   atomic.Pointer[map[string]*Incident]
	ready chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
}

// NewRegistry returns a Registry that Run fills.
func NewRegistry(b *bus.Bus) *Registry {
	r := &Registry{bus: b, ready: make(chan struct{}), changed: make(chan struct{})}
	r.all.Store(&map[string]*Incident{})
	return r
}

// Run follows the stream until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	once := sync.OnceFunc(func() { close(r.ready) })
	err := r.bus.Follow(ctx, topology.StreamBreach, []string{topology.BreachAll}, 1, r.fold, func(uint64) { once() })
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of ctx is no failure
	}
	return fmt.Errorf("follow incidents: %w", err)
}

func (r *Registry) fold(m bus.Stored) error {
	id, ok := topology.ParseBreach(m.Subject)
	if !ok {
		return nil
	}
	all := *r.all.Load()
	f := &fold{inc: all[id]}
	if f.inc == nil {
		f.inc = &Incident{ID: id}
	}
	if err := f.Fold(m); err != nil {
		return err
	}
	all = maps.Clone(all)
	all[id] = f.inc
	r.all.Store(&all)
	r.mu.Lock()
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	return nil
}

// Ready is closed when the state at start has been read.
func (r *Registry) Ready() <-chan struct{} { return r.ready }

// Get returns an incident, nil if there is none.
func (r *Registry) Get(id string) *Incident { return (*r.all.Load())[id] }

// List returns all incidents, ordered by id.
func (r *Registry) List() []*Incident {
	all := *r.all.Load()
	list := make([]*Incident, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[id])
	}
	return list
}

// Changed returns a channel that is closed at the next change. Take it before looking.
func (r *Registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
