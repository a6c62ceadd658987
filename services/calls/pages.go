package calls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"candor/pkg/incident"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// Pages opens the sealed pages of rosters, a pagestore.Store.
type Pages interface {
	OpenPage(ctx context.Context, incident string, page uint32, sha256 []byte) (*roster.Page, error)
	Manifest(ctx context.Context, subject string) (*candorv1.RosterManifest, error)
}

type pageKey struct {
	incident string
	page     uint32
}

// folder keeps the pages open whose customers are being called, the only personal data that this service has in memory.
type folder struct {
	pages Pages
	most  int
	// load reads an incident as it is now: what is kept in memory may not know yet of rows that were added.
	load func(ctx context.Context, id string) (*incident.Incident, error)

	mu        sync.Mutex
	open      map[pageKey]*opening
	used      uint64
	manifests map[string]*manifest // by incident

	ahead sync.WaitGroup
}

// manifest is what was approved, rows that were added among it: the hash of each sealed page.
type manifest struct {
	subjects []string
	hashes   map[uint32][]byte
}

// opening is a page that somebody opens, or has opened.
type opening struct {
	done chan struct{} // closed when page and err are set
	page *roster.Page
	err  error
	used uint64 // guarded by folder.mu
}

func newFolder(pages Pages, most int, load func(context.Context, string) (*incident.Incident, error)) *folder {
	return &folder{pages: pages, most: most, load: load, open: map[pageKey]*opening{}, manifests: map[string]*manifest{}}
}

var errNoPage = errors.New("the roster has no such page")

// aheadWithin bounds the opening of a page that nobody has asked for yet.
const aheadWithin = 10 * time.Second

// next returns a page to a dialer. Where pages are asked for one after the other it opens the one that follows in the
// meantime: everybody will ask for that at once.
func (f *folder) next(ctx context.Context, inc *incident.Incident, number uint32) (*roster.Page, error) {
	page, err := f.page(ctx, inc, number)
	if err != nil || !f.inOrder(inc.ID, number) {
		return page, err
	}
	f.ahead.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aheadWithin)
		defer cancel()
		_, _ = f.page(ctx, inc, number+1) // whoever asks for it hears what is wrong
	})
	return page, nil
}

// inOrder says that the page before is open as well, and the one after, which there is, is not.
func (f *folder) inOrder(id string, number uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, after := f.open[pageKey{id, number + 1}]
	_, before := f.open[pageKey{id, number - 1}]
	m := f.manifests[id]
	return !after && before && m != nil && m.hashes[number+1] != nil
}

// page returns a page, opened once for all who ask at the same time.
func (f *folder) page(ctx context.Context, inc *incident.Incident, number uint32) (*roster.Page, error) {
	k := pageKey{inc.ID, number}
	for {
		f.mu.Lock()
		f.used++
		o, known := f.open[k]
		if !known {
			o = &opening{done: make(chan struct{})}
			f.open[k] = o
			f.evict()
		}
		o.used = f.used
		f.mu.Unlock()
		if !known {
			o.page, o.err = f.read(ctx, inc, number)
			if o.err != nil {
				f.drop(k, o)
			}
			close(o.done)
		}
		select {
		case <-o.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if known && o.err != nil && ctx.Err() == nil && errors.Is(o.err, context.Canceled) {
			continue // it was the opener who went away
		}
		return o.page, o.err
	}
}

// read opens a page that need not be kept.
func (f *folder) read(ctx context.Context, inc *incident.Incident, number uint32) (*roster.Page, error) {
	hash, err := f.hash(ctx, inc, number)
	if errors.Is(err, errNoPage) {
		fresh, lerr := f.load(ctx, inc.ID)
		if lerr != nil {
			return nil, fmt.Errorf("read incident %s: %w", inc.ID, lerr)
		}
		hash, err = f.hash(ctx, fresh, number)
	}
	if err != nil {
		return nil, err
	}
	return f.pages.OpenPage(ctx, inc.ID, number, hash)
}

func (f *folder) hash(ctx context.Context, inc *incident.Incident, number uint32) ([]byte, error) {
	m, err := f.manifest(ctx, inc)
	if err != nil {
		return nil, err
	}
	hash, ok := m.hashes[number]
	if !ok {
		return nil, fmt.Errorf("page %d of incident %s: %w", number, inc.ID, errNoPage)
	}
	return hash, nil
}

func (f *folder) manifest(ctx context.Context, inc *incident.Incident) (*manifest, error) {
	subjects := inc.Manifests()
	f.mu.Lock()
	m := f.manifests[inc.ID]
	f.mu.Unlock()
	if m != nil && slices.Equal(m.subjects, subjects) {
		return m, nil
	}
	m = &manifest{subjects: subjects, hashes: map[uint32][]byte{}}
	for _, subject := range subjects {
		list, err := f.pages.Manifest(ctx, subject)
		if err != nil {
			return nil, err
		}
		for _, p := range list.GetPages() {
			m.hashes[p.GetNumber()] = p.GetSealedSha256()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.manifests[inc.ID] = m
	return m, nil
}

// evict closes the page that was used longest ago. f.mu is held.
func (f *folder) evict() {
	if len(f.open) <= f.most {
		return
	}
	var oldest pageKey
	least := ^uint64(0)
	for k, o := range f.open {
		if o.used > 0 && o.used < least {
			oldest, least = k, o.used
		}
	}
	delete(f.open, oldest)
}

func (f *folder) drop(k pageKey, o *opening) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[k] == o {
		delete(f.open, k)
	}
}

// forget closes the pages of an incident that has ended.
func (f *folder) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.open {
		if k.incident == id {
			delete(f.open, k)
		}
	}
	delete(f.manifests, id)
}
