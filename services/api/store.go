package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/pagestore"
	"candor/pkg/roster"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

const (
	manifestToken = "manifest-"
	rowsToken     = "rows-"
	batchBytes    = 3 << 20 // of sealed pages in one atomic batch
	sealersAtOnce = 4
	purgesAtOnce  = 8
)

// manifestSubject is where the manifest of a roster lies, beside its pages.
func manifestSubject(incident, digest string) string {
	return strings.TrimSuffix(topology.Pages(incident), "*") + manifestToken + digest[:16]
}

// store keeps sealed rosters in the stream ROSTER. A roster is there when its manifest is.
type store struct {
	bus   *bus.Bus
	pages *pagestore.Store
}

// rowsSubject is where the manifest of rows lies that an addition adds. The name of the addition's wave is never used again.
func rowsSubject(incident, wave, digest string) string {
	return strings.TrimSuffix(topology.Pages(incident), "*") + rowsToken + wave + "-" + digest[:16]
}

func isRows(subject string) bool {
	return strings.HasPrefix(subject[strings.LastIndexByte(subject, '.')+1:], rowsToken)
}

// shelf is what ROSTER holds for one incident.
type shelf struct {
	manifests map[string]*candorv1.RosterManifest // of rosters, by digest
	rows      map[string]*candorv1.RosterManifest // of added rows, by subject
	pages     []uint32                            // sorted
	team      []string                            // subjects of the response team's addresses
}

func (s store) shelf(ctx context.Context, incident string) (*shelf, error) {
	subjects, err := s.bus.CountSubjects(ctx, topology.StreamRoster, topology.Pages(incident))
	if err != nil {
		return nil, fmt.Errorf("list the pages of incident %s: %w", incident, err)
	}
	sh := &shelf{manifests: map[string]*candorv1.RosterManifest{}, rows: map[string]*candorv1.RosterManifest{}}
	for subject := range subjects {
		if _, page, ok := topology.ParsePage(subject); ok {
			sh.pages = append(sh.pages, page)
			continue
		}
		if topology.IsTeamAddresses(subject) {
			sh.team = append(sh.team, subject)
			continue
		}
		m, err := s.pages.Manifest(ctx, subject)
		if err != nil {
			return nil, err
		}
		if isRows(subject) {
			sh.rows[subject] = m
			continue
		}
		sh.manifests[m.GetDigest()] = m
	}
	slices.Sort(sh.pages)
	return sh, nil
}

// all yields every manifest.
func (sh *shelf) all(yield func(*candorv1.RosterManifest) bool) {
	for _, of := range []map[string]*candorv1.RosterManifest{sh.manifests, sh.rows} {
		for _, m := range of {
			if !yield(m) {
				return
			}
		}
	}
}

// orphans are pages that no manifest covers: an upload that did not come to its end left them.
func (sh *shelf) orphans() []uint32 {
	covered := map[uint32]bool{}
	for m := range sh.all {
		for _, p := range m.GetPages() {
			covered[p.GetNumber()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(sh.pages), func(page uint32) bool { return covered[page] })
}

// next is the first page number that was never used.
func (sh *shelf) next() uint32 {
	var next uint32
	for m := range sh.all {
		for _, p := range m.GetPages() {
			next = max(next, p.GetNumber()+1)
		}
	}
	for _, page := range sh.pages {
		next = max(next, page+1)
	}
	return next
}

// purge removes pages, a few at a time, and returns how many there were.
func (s store) purge(ctx context.Context, incident string, pages []uint32) (uint64, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(purgesAtOnce)
	var purged atomic.Uint64
	for _, page := range pages {
		g.Go(func() error {
			n, err := s.bus.Purge(ctx, topology.StreamRoster, topology.Page(incident, page))
			purged.Add(n)
			return err
		})
	}
	err := g.Wait()
	return purged.Load(), err
}

// purgeAll removes every page of the incident and its team's addresses, and leaves its manifests.
func (s store) purgeAll(ctx context.Context, incident string) (uint64, error) {
	sh, err := s.shelf(ctx, incident)
	if err != nil {
		return 0, err
	}
	for _, subject := range sh.team {
		if _, err := s.bus.Purge(ctx, topology.StreamRoster, subject); err != nil {
			return 0, err
		}
	}
	return s.purge(ctx, incident, sh.pages)
}

// purgeRows removes the pages of added rows, and then their manifest.
func (s store) purgeRows(ctx context.Context, incident, subject string, m *candorv1.RosterManifest) error {
	pages := make([]uint32, len(m.GetPages()))
	for i, p := range m.GetPages() {
		pages[i] = p.GetNumber()
	}
	if _, err := s.purge(ctx, incident, pages); err != nil {
		return err
	}
	_, err := s.bus.Purge(ctx, topology.StreamRoster, subject)
	return err
}

// sealer is a roster.Sink that seals pages on all cores and stores them in atomic batches.
type sealer struct {
	bus      *bus.Bus
	keys     *vault.Keys
	incident string
	ctx      context.Context //nolint:containedctx // ends its goroutines, which live as long as one upload
	group    *errgroup.Group
	plain    chan *roster.Page
	sealed   chan sealedPage
	sums     map[uint32][]byte // by page; the storing goroutine's until Close returns
}

type sealedPage struct {
	number uint32
	data   []byte
}

func newSealer(ctx context.Context, b *bus.Bus, keys *vault.Keys, incident string) *sealer {
	s := &sealer{
		bus: b, keys: keys, incident: incident,
		plain: make(chan *roster.Page), sealed: make(chan sealedPage, sealersAtOnce), sums: map[uint32][]byte{},
	}
	s.group, s.ctx = errgroup.WithContext(ctx)
	var sealers errgroup.Group
	for range sealersAtOnce {
		sealers.Go(s.seal)
	}
	s.group.Go(func() error {
		err := sealers.Wait()
		close(s.sealed)
		return err
	})
	s.group.Go(s.store)
	return s
}

// Page takes a page, and waits while the broker is slower than the file.
func (s *sealer) Page(ctx context.Context, p *roster.Page) error {
	select {
	case s.plain <- p:
		return nil
	case <-s.ctx.Done():
		return fmt.Errorf("store page %d: %w", p.Number, context.Cause(s.ctx))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close waits until everything is stored, and returns the hashes of the sealed pages.
func (s *sealer) Close() (map[uint32][]byte, error) {
	close(s.plain)
	err := s.group.Wait()
	return s.sums, err
}

func (s *sealer) seal() error {
	for {
		var p *roster.Page
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case page, more := <-s.plain:
			if !more {
				return nil
			}
			p = page
		}
		plain, err := p.Marshal()
		if err != nil {
			return err
		}
		data, err := s.keys.Seal(topology.Page(s.incident, p.Number), plain)
		if err != nil {
			return err
		}
		select {
		case s.sealed <- sealedPage{p.Number, data}:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// store appends what is sealed: as much at once as there is, so that a batch's fsync serves many pages.
func (s *sealer) store() error {
	var batch []bus.Message
	var size int
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if _, err := s.bus.AppendBatch(s.ctx, topology.StreamRoster, batch); err != nil {
			return fmt.Errorf("store pages of incident %s: %w", s.incident, err)
		}
		batch, size = batch[:0], 0
		return nil
	}
	for p := range s.sealed {
		if size+len(p.data) > batchBytes || len(batch) == bus.MaxBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		sum := sha256.Sum256(p.data)
		s.sums[p.number] = sum[:]
		batch = append(batch, bus.Message{Subject: topology.Page(s.incident, p.number), Data: p.data, Expect: bus.Seq(0)})
		size += len(p.data)
	}
	return flush()
}

// putManifest makes a roster whole, or rows that are added to one.
func (s store) putManifest(ctx context.Context, subject string, m *candorv1.RosterManifest) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	_, err = s.bus.Append(ctx, topology.StreamRoster, bus.Message{Subject: subject, Data: data, Expect: bus.Seq(0)})
	if !errors.Is(err, bus.ErrUnknownOutcome) {
		return err
	}
	// The answer was lost: what lies there now is ours, or the upload failed.
	there, rerr := s.pages.Manifest(ctx, subject)
	if rerr != nil || !proto.Equal(there, m) {
		return errors.Join(err, rerr)
	}
	return nil
}

// missing returns the pages of a manifest that are not there.
func (s store) missing(ctx context.Context, incident string, m *candorv1.RosterManifest) ([]uint32, error) {
	subjects, err := s.bus.CountSubjects(ctx, topology.StreamRoster, topology.Pages(incident))
	if err != nil {
		return nil, fmt.Errorf("list the pages of incident %s: %w", incident, err)
	}
	gone := map[uint32]bool{}
	for _, p := range m.GetPages() {
		if subjects[topology.Page(incident, p.GetNumber())] == 0 {
			gone[p.GetNumber()] = true
		}
	}
	return slices.Sorted(maps.Keys(gone)), nil
}
