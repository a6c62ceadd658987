// Package finder finds customers again by telephone number, mailbox, code or reference.
//
// In: the sealed pages of a roster.   Out: customers, each on their page.   Crash: it only reads; an index lives in memory
// alone, and is built again at the next question.
//
// The index of an incident holds keyed hashes and places, twelve bytes for every number, mailbox, code and reference, and no
// clear text: without the incident's key, which shredding destroys, it answers nothing. Hashes are cut to 64 bits, so what
// they find is looked at before it is called found.
package finder

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"candor/pkg/pagestore"
	"candor/pkg/roster"
	"candor/pkg/vault"
)

// ErrTooMany says that a term stands for so many customers that it names none of them.
var ErrTooMany = errors.New("too many customers share it")

// Roster names all that is on file for an incident.
type Roster struct {
	Incident string
	// Manifests are the subjects that they lie on: that of the roster, and those of rows that were added.
	Manifests []string
}

// Found is a customer on their page.
type Found struct {
	Page *roster.Page
	Slot uint32
}

// Customer returns the customer.
func (f Found) Customer() *roster.Customer { return &f.Page.Customers[f.Slot] }

// Finder keeps an index for each incident that was asked about; it is safe for use by many goroutines.
type Finder struct {
	pages *pagestore.Store
	vault *vault.Vault

	mu      sync.Mutex
	entries map[string]*entry // by incident
}

// entry holds the indexes of one incident, one for each manifest, once they are built.
type entry struct {
	building chan struct{} // holds one token while somebody builds
	indexes  atomic.Pointer[map[string]*index]
}

// New returns a Finder over the pages; it builds an index when it is first asked for one.
func New(pages *pagestore.Store, v *vault.Vault) *Finder {
	return &Finder{pages: pages, vault: v, entries: map[string]*entry{}}
}

// Find returns the customers of a roster whom any of the terms names, in the order of their places; ErrTooMany if there are
// more than most. It fails with vault.ErrShredded when the incident's key was destroyed.
func (f *Finder) Find(ctx context.Context, r Roster, terms []Term, most int) ([]Found, error) {
	keys, err := f.vault.Incident(r.Incident)
	if err != nil {
		return nil, err
	}
	indexes, err := f.indexesOf(ctx, r)
	if err != nil {
		return nil, err
	}
	var found []Found
	h, n := newHasher(keys.IndexKey()), 0
	for _, x := range indexes {
		var places []place
		for _, t := range terms {
			places = x.lookup(h.sum(t.kind, t.value), places)
		}
		slices.Sort(places)
		places = slices.Compact(places)
		if n += len(places); n > most {
			return nil, ErrTooMany
		}
		if found, err = f.look(ctx, r.Incident, x, places, terms, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// look opens the pages of some places, and keeps those whom a term names.
func (f *Finder) look(ctx context.Context, incident string, x *index, places []place, terms []Term, found []Found) ([]Found, error) {
	var page *roster.Page
	for i, p := range places {
		if i == 0 || p.page() != places[i-1].page() {
			info := x.pages[p.page()]
			var err error
			if page, err = f.pages.OpenPage(ctx, incident, info.number, info.sum); err != nil {
				return nil, err
			}
		}
		one := Found{Page: page, Slot: p.slot()}
		if slices.ContainsFunc(terms, func(t Term) bool { return t.names(one.Customer()) }) {
			found = append(found, one)
		}
	}
	return found, nil
}

// Build makes the indexes of a roster, those that are not there.
func (f *Finder) Build(ctx context.Context, r Roster) error {
	_, err := f.indexesOf(ctx, r)
	return err
}

// Forget drops what is known of an incident.
func (f *Finder) Forget(incident string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.entries, incident) // whoever builds it at this moment keeps it to themselves
}

// indexesOf returns the index of each manifest. Rows that were added are indexed alone: what is there is not built again.
func (f *Finder) indexesOf(ctx context.Context, r Roster) ([]*index, error) {
	e := f.entry(r.Incident)
	if all := e.have(r.Manifests); all != nil {
		return all, nil
	}
	select {
	case e.building <- struct{}{}:
		defer func() { <-e.building }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var known map[string]*index
	if p := e.indexes.Load(); p != nil && (*p)[r.Manifests[0]] != nil {
		known = *p // of a roster that another one replaced nothing is kept
	}
	next, all := maps.Clone(known), make([]*index, len(r.Manifests))
	if next == nil {
		next = map[string]*index{}
	}
	for i, manifest := range r.Manifests {
		if next[manifest] == nil { // or somebody built it while we waited
			x, err := f.build(ctx, r.Incident, manifest)
			if err != nil {
				return nil, err
			}
			next[manifest] = x
		}
		all[i] = next[manifest]
	}
	e.indexes.Store(&next)
	return all, nil
}

// have returns the indexes of some manifests if all of them are there.
func (e *entry) have(manifests []string) []*index {
	known := e.indexes.Load()
	if known == nil {
		return nil
	}
	all := make([]*index, len(manifests))
	for i, manifest := range manifests {
		if all[i] = (*known)[manifest]; all[i] == nil {
			return nil
		}
	}
	return all
}

func (f *Finder) entry(incident string) *entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[incident]
	if e == nil {
		e = &entry{building: make(chan struct{}, 1)}
		f.entries[incident] = e
	}
	return e
}
