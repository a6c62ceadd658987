package finder

import (
	"context"
	"strings"

	"candor/pkg/roster"
)

// pagesKept is how many pages an OnFile remembers: rows of a file come page by page as often as not.
const pagesKept = 256

// OnFile says whether a customer is on file: it is what rows that are added are held against. It belongs to one goroutine.
type OnFile struct {
	finder   *Finder
	incident string
	indexes  []*index
	hasher   *hasher
	// names are the references and codes of pages that were looked at. They are forgotten together.
	names map[*pageInfo][]names
}

type names struct{ ref, code string }

// OnFile returns what knows everybody of a roster.
func (f *Finder) OnFile(ctx context.Context, r Roster) (*OnFile, error) {
	keys, err := f.vault.Incident(r.Incident)
	if err != nil {
		return nil, err
	}
	indexes, err := f.indexesOf(ctx, r)
	if err != nil {
		return nil, err
	}
	return &OnFile{finder: f, incident: r.Incident, indexes: indexes, hasher: newHasher(keys.IndexKey()), names: map[*pageInfo][]names{}}, nil
}

// Ref implements roster.OnFile.
func (o *OnFile) Ref(ctx context.Context, ref string) (bool, error) {
	return o.has(ctx, o.hasher.sum(byRef, ref), func(n names) bool { return n.ref == ref })
}

// Code implements roster.OnFile.
func (o *OnFile) Code(ctx context.Context, code string) (bool, error) {
	return o.has(ctx, o.hasher.sum(byCode, code), func(n names) bool { return n.code == code })
}

var _ roster.OnFile = (*OnFile)(nil)

// has looks at every customer whose hash it is: two of them can share one.
func (o *OnFile) has(ctx context.Context, hash uint64, is func(names) bool) (bool, error) {
	for _, x := range o.indexes {
		var few [4]place
		for _, p := range x.lookup(hash, few[:0]) {
			page, err := o.page(ctx, &x.pages[p.page()])
			if err != nil {
				return false, err
			}
			if is(page[p.slot()]) {
				return true, nil
			}
		}
	}
	return false, nil
}

func (o *OnFile) page(ctx context.Context, info *pageInfo) ([]names, error) {
	if page := o.names[info]; page != nil {
		return page, nil
	}
	p, err := o.finder.pages.OpenPage(ctx, o.incident, info.number, info.sum)
	if err != nil {
		return nil, err
	}
	page := make([]names, len(p.Customers))
	for i := range p.Customers {
		page[i] = names{ref: strings.Clone(p.Customers[i].Ref), code: strings.Clone(p.Customers[i].Code)} // they hold the page otherwise
	}
	if len(o.names) >= pagesKept {
		clear(o.names)
	}
	o.names[info] = page
	return page, nil
}
