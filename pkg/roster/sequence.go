package roster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// maxBuffered bounds the customers that wait for their page to fill; beyond it the fullest group is flushed as it is.
const maxBuffered = 40_000

// maxSamples bounds the examples that a report gives of one thing.
const maxSamples = 10

// sequencer takes the rows in the order of the file, whoever parsed them. It belongs to the goroutine that called Import.
type sequencer struct {
	*config
	sink     Sink
	report   *Report
	rejects  *csv.Writer
	leaves   hash.Hash
	columns  []field // the fields that the file has, for telling rows with one reference apart
	refs     refIndex
	codes    codeSet
	coder    *coder
	emails   sharers
	phones   sharers
	groups   map[groupKey]*group
	buffered int
	nextPage uint32
	notes    map[note]*Finding
	onFile   OnFile // nil for a roster that nothing comes before
	scratch  []byte
}

// groupKey is what the customers of a page share.
type groupKey struct {
	tier           uint8
	zone, language string
}

type group struct{ customers []Customer }

func newSequencer(cfg *config, firstPage uint32, sink Sink) *sequencer {
	s := &sequencer{
		config: cfg, sink: sink, report: newReport(), leaves: sha256.New(), coder: newCoder(cfg.key),
		groups: map[groupKey]*group{}, nextPage: firstPage, notes: map[note]*Finding{},
	}
	for f := fieldRef + 1; f < numFields; f++ {
		if cfg.fields == nil || slices.Contains(cfg.fields, f) {
			s.columns = append(s.columns, f)
		}
	}
	return s
}

// take places the rows of a batch; base is the number of rows before it.
func (s *sequencer) take(ctx context.Context, base int, rows []parsed) error {
	for i := range rows {
		p := &rows[i]
		row := base + p.at + 1
		if p.outcome == rowFatal {
			return fmt.Errorf("row %d: %s", row, p.reason)
		}
		s.report.Rows++
		s.leaves.Write(p.leaf[:])
		if p.notes != 0 {
			s.note(p, row)
		}
		if first, ok := s.refs.find(p.refHash, p.c.Ref); ok && p.c.Ref != "" {
			s.merge(p, row, first)
			continue
		}
		if known, err := s.known(ctx, p, row); err != nil || known {
			if err != nil {
				return fmt.Errorf("row %d: %w", row, err)
			}
			continue
		}
		if p.outcome == rowRejected {
			if err := s.reject(p, row); err != nil {
				return err
			}
			continue
		}
		if err := s.accept(ctx, p, row); err != nil {
			return err
		}
	}
	return nil
}

func (s *sequencer) note(p *parsed, row int) {
	for n := note(1); n < noteEnd; n <<= 1 {
		if p.notes&n == 0 {
			continue
		}
		f := s.notes[n]
		if f == nil {
			f = &Finding{}
			f.Code, f.Text, f.Remedy = n.row()
			s.notes[n] = f
		}
		f.Count++
		if len(f.Samples) < maxSamples {
			f.Samples = append(f.Samples, Sample{Row: row, Ref: strings.Clone(p.c.Ref)})
		}
	}
}

// merge counts a row whose reference is there already: the first row stands.
func (s *sequencer) merge(p *parsed, row int, first uint32) {
	r := s.report
	r.Merged++
	var differ []string
	mine := s.print(p)
	theirs := s.refs.print(first, len(mine))
	for i, f := range s.columns {
		if mine[i] != theirs[i] {
			differ = append(differ, f.String())
		}
	}
	if differ == nil && !bytes.Equal(mine, theirs) {
		differ = []string{"a column"} // one byte can be the same by chance, all of them together cannot
	}
	for _, name := range differ {
		r.MergedDiffer[name]++
	}
	if len(r.Merges) < maxList {
		r.Merges = append(r.Merges, Merge{Ref: strings.Clone(p.c.Ref), Row: row, FirstRow: int(s.refs.rows.at(first)), Differ: differ})
	}
}

// known counts a row whose customer is on file already.
func (s *sequencer) known(ctx context.Context, p *parsed, row int) (bool, error) {
	if s.onFile == nil || p.c.Ref == "" {
		return false, nil
	}
	known, err := s.onFile.Ref(ctx, p.c.Ref)
	if err != nil || !known {
		return false, err
	}
	r := s.report
	r.Merged++
	r.OnFile++
	if len(r.OnFileRows) < maxList {
		r.OnFileRows = append(r.OnFileRows, Sample{Row: row, Ref: strings.Clone(p.c.Ref)})
	}
	return true, nil
}

// code returns a code that nobody else has.
func (s *sequencer) code(ctx context.Context, p *parsed) (string, error) {
	code := p.code
	for n := uint32(1); ; n++ {
		written := formatCode(code)
		taken := !s.codes.add(code)
		if !taken && s.onFile != nil {
			var err error
			if taken, err = s.onFile.Code(ctx, written); err != nil {
				return "", err
			}
		}
		if !taken {
			return written, nil
		}
		code = s.coder.code(p.c.Ref, n)
	}
}

// print returns a row's fingerprint.
func (s *sequencer) print(p *parsed) []byte {
	s.scratch = s.scratch[:0]
	for _, f := range s.columns {
		s.scratch = append(s.scratch, p.prints[f])
	}
	s.scratch = binary.BigEndian.AppendUint32(s.scratch, p.print)
	return s.scratch
}

func (s *sequencer) reject(p *parsed, row int) error {
	r := s.report
	r.Rejected++
	r.RejectReasons[p.reason]++
	if len(r.Rejects) < maxList {
		r.Rejects = append(r.Rejects, Reject{Row: row, Ref: strings.Clone(p.c.Ref), Column: p.column, Reason: p.reason, Remedy: p.remedy})
	}
	if s.rejects != nil {
		if err := s.rejects.Write([]string{strconv.Itoa(row), inert(p.c.Ref), inert(p.column), inert(p.reason), inert(p.remedy)}); err != nil {
			return fmt.Errorf("write rejects: %w", err)
		}
	}
	return nil
}

// inert keeps a spreadsheet from running a cell as a formula.
func inert(cell string) string {
	if cell != "" && strings.IndexByte("=+-@\t\r\n", cell[0]) >= 0 {
		return "'" + cell
	}
	return cell
}

func (s *sequencer) accept(ctx context.Context, p *parsed, row int) error {
	at := s.refs.add(p.refHash, p.c.Ref, uint32(row), s.print(p))
	var err error
	if p.c.Code, err = s.code(ctx, p); err != nil {
		return fmt.Errorf("row %d: %w", row, err)
	}
	if p.email != 0 {
		s.emails.add(p.email, at)
	}
	for i := range p.c.Phones {
		s.phones.add(p.phones[i], at)
	}

	key := groupKey{p.c.Tier, p.c.TimeZone, p.c.Language}
	g := s.groups[key]
	if g == nil {
		g = &group{}
		s.groups[key] = g
	}
	g.customers = append(g.customers, p.c)
	s.buffered++
	if len(g.customers) == PageSize {
		return s.page(ctx, key, g)
	}
	if s.buffered > maxBuffered {
		var fullest groupKey
		for k, g := range s.groups {
			// Ties go by key, so that the same file makes the same pages.
			if n, m := len(g.customers), len(s.groups[fullest].list()); n > m || n == m && compareKeys(k, fullest) < 0 {
				fullest = k
			}
		}
		return s.page(ctx, fullest, s.groups[fullest])
	}
	return nil
}

func (g *group) list() []Customer {
	if g == nil {
		return nil
	}
	return g.customers
}

func compareKeys(a, b groupKey) int {
	return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.zone, b.zone), cmp.Compare(a.language, b.language))
}

func (s *sequencer) page(ctx context.Context, key groupKey, g *group) error {
	p := &Page{Number: s.nextPage, Tier: key.tier, TimeZone: key.zone, Language: key.language, Customers: g.customers}
	s.nextPage++
	s.buffered -= len(g.customers)
	if g.customers = nil; len(p.Customers) == PageSize {
		g.customers = make([]Customer, 0, PageSize) // it filled before, so it is likely to again
	}
	s.report.page(p)
	if err := s.sink.Page(ctx, p); err != nil {
		return fmt.Errorf("page %d: %w", p.Number, err)
	}
	return nil
}

// flush hands over the pages that are not full, in order of tier, zone and language.
func (s *sequencer) flush(ctx context.Context) error {
	var keys []groupKey
	for k, g := range s.groups {
		if len(g.customers) > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.page(ctx, k, s.groups[k]); err != nil {
			return err
		}
	}
	if s.rejects != nil {
		s.rejects.Flush()
		if err := s.rejects.Error(); err != nil {
			return fmt.Errorf("write rejects: %w", err)
		}
	}
	return nil
}

// finish completes the report.
func (s *sequencer) finish(workers []*worker) {
	r := s.report
	ref := func(at uint32) string { return string(s.refs.ref(at)) }
	share := func(what string, from *sharers, count *int) {
		from.groups(func(customers []uint32) {
			*count++
			if len(r.Shared) >= maxList {
				return
			}
			g := Shared{What: what, Customers: len(customers)}
			for _, at := range customers[:min(len(customers), maxSamples)] {
				g.Refs = append(g.Refs, ref(at))
			}
			r.Shared = append(r.Shared, g)
		})
	}
	share("address", &s.emails, &r.SharedAddresses)
	share("number", &s.phones, &r.SharedNumbers)
	for n := note(1); n < noteEnd; n <<= 1 {
		f := s.notes[n]
		switch {
		case f == nil:
		case n&blocking != 0:
			r.Blockers = append(r.Blockers, *f)
		default:
			r.Warnings = append(r.Warnings, *f)
		}
	}
	var st stats
	for _, w := range workers {
		st.add(w.stats)
	}
	st.into(r, workers)
}
