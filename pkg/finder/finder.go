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
	"slices"
	"sync"
	"sync/atomic"

	"candor/pkg/pagestore"
	"candor/pkg/roster"
	"candor/pkg/vault"
)

// ErrTooMany says that a term stands for so many customers that it names none of them.
var ErrTooMany = errors.New("too many customers share it")

// Roster names the roster of an incident; another digest is another roster.
type Roster struct {
	Incident, Digest string
	// Manifest is the subject that the manifest lies on.
	Manifest string
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

// entry is the index of one incident, once it is built.
type entry struct {
	building chan struct{} // holds one token while somebody builds
	index    atomic.Pointer[index]
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
	x, err := f.indexOf(ctx, r)
	if err != nil {
		return nil, err
	}
	var places []place
	h := newHasher(keys.IndexKey())
	for _, t := range terms {
		places = x.lookup(h.sum(t.kind, t.value), places)
	}
	slices.Sort(places)
	places = slices.Compact(places)
	if len(places) > most {
		return nil, ErrTooMany
	}
	var found []Found
	var page *roster.Page
	for i, p := range places {
		if i == 0 || p.page() != places[i-1].page() {
			info := x.pages[p.page()]
			if page, err = f.pages.OpenPage(ctx, r.Incident, info.number, info.sum); err != nil {
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

// Build makes the index of a roster, unless it is there.
func (f *Finder) Build(ctx context.Context, r Roster) error {
	_, err := f.indexOf(ctx, r)
	return err
}

// Forget drops what is known of an incident.
func (f *Finder) Forget(incident string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.entries, incident) // whoever builds it at this moment keeps it to themselves
}

func (f *Finder) indexOf(ctx context.Context, r Roster) (*index, error) {
	e := f.entry(r.Incident)
	if x := e.index.Load(); x != nil && x.digest == r.Digest {
		return x, nil
	}
	select {
	case e.building <- struct{}{}:
		defer func() { <-e.building }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if x := e.index.Load(); x != nil && x.digest == r.Digest {
		return x, nil // somebody built it while we waited
	}
	x, err := f.build(ctx, r)
	if err != nil {
		return nil, err
	}
	e.index.Store(x)
	return x, nil
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
