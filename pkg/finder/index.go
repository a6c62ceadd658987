package finder

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"candor/pkg/roster"
)

const (
	shardBits = 6
	shards    = 1 << shardBits // so that all cores sort
	slotBits  = 10
	maxPages  = 1 << (32 - slotBits)
)

// It does not compile if a place's slot did not fit its bits.
const _ = uint(1<<slotBits - roster.PageSize)

// place is a page's position in the manifest and a slot of it.
type place uint32

func (p place) page() int    { return int(p >> slotBits) }
func (p place) slot() uint32 { return uint32(p & (1<<slotBits - 1)) }

// index is everything by which the customers of one manifest can be found. It does not change.
type index struct {
	pages  []pageInfo
	shards [shards]shard
}

type pageInfo struct {
	number uint32
	sum    []byte // SHA-256 of the sealed page
}

// shard holds the hashes that begin alike, sorted, and beside each the place that it stands for.
type shard struct {
	hashes []uint64
	places []place
}

func (x *index) lookup(hash uint64, dst []place) []place {
	s := &x.shards[hash>>(64-shardBits)]
	for i, _ := slices.BinarySearch(s.hashes, hash); i < len(s.hashes) && s.hashes[i] == hash; i++ {
		dst = append(dst, s.places[i])
	}
	return dst
}

// record is one line of an index that is being built.
type record struct {
	hash  uint64
	place place
}

// build opens every page once, on all cores.
func (f *Finder) build(ctx context.Context, incident, manifest string) (*index, error) {
	m, err := f.pages.Manifest(ctx, manifest)
	if err != nil {
		return nil, err
	}
	if len(m.GetPages()) > maxPages {
		return nil, fmt.Errorf("roster of %d pages: an index holds %d", len(m.GetPages()), maxPages)
	}
	keys, err := f.vault.Incident(incident)
	if err != nil {
		return nil, err
	}
	x := &index{pages: make([]pageInfo, len(m.GetPages()))}
	for i, p := range m.GetPages() {
		x.pages[i] = pageInfo{number: p.GetNumber(), sum: p.GetSealedSha256()}
	}
	gathered := make([][shards][]record, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for i := range gathered {
		mine := &gathered[i]
		g.Go(func() error {
			h := newHasher(keys.IndexKey())
			for {
				n := int(next.Add(1)) - 1
				if n >= len(x.pages) {
					return nil
				}
				page, err := f.pages.OpenPage(gctx, incident, x.pages[n].number, x.pages[n].sum)
				if err != nil {
					return err
				}
				for slot := range page.Customers {
					at := place(n<<slotBits | slot)
					h.each(&page.Customers[slot], func(hash uint64) {
						s := hash >> (64 - shardBits)
						mine[s] = append(mine[s], record{hash, at})
					})
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("index the customers of incident %s: %w", incident, err)
	}
	var sorters errgroup.Group
	sorters.SetLimit(len(gathered))
	for i := range x.shards {
		sorters.Go(func() error {
			x.shards[i] = sorted(gathered, i)
			return nil
		})
	}
	return x, sorters.Wait()
}

// sorted puts together what was gathered for one shard, and frees it.
func sorted(gathered [][shards][]record, i int) shard {
	n := 0
	for w := range gathered {
		n += len(gathered[w][i])
	}
	all := make([]record, 0, n)
	for w := range gathered {
		all = append(all, gathered[w][i]...)
		gathered[w][i] = nil
	}
	slices.SortFunc(all, func(a, b record) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.place, b.place)) })
	s := shard{hashes: make([]uint64, n), places: make([]place, n)}
	for j, e := range all {
		s.hashes[j], s.places[j] = e.hash, e.place
	}
	return s
}
