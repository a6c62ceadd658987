// Package roster reads the file of affected customers and makes of it the pages that Candor works with.
//
// Nothing is skipped silently: rows read = customers + merged + rejected, and every oddity is counted and shown by row
// number and customer_ref. Rows are parsed on all cores and put back in order; memory does not grow with the names and
// addresses in the file, only by some 90 bytes a row for what must be unique.
//
// In:  CSV or NDJSON in any usual encoding and compression.   Out: pages to a Sink, a Report, rejected rows as CSV.
// Crash: an import leaves nothing behind but the pages its sink has kept; they count only once Import has returned without an error.
package roster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/language"
)

// Options say how a file is read. The zero value reads a file for the United States.
type Options struct {
	// Key is the incident's; customers' codes and made references depend on it. Without one a random key is used and thrown away.
	Key []byte
	// DefaultCountry is the ISO code for numbers written without one; US if empty.
	DefaultCountry string
	// DefaultZone is for customers whose zone nothing tells; America/New_York if empty.
	DefaultZone string
	// DefaultLanguage is for customers without one; en if empty.
	DefaultLanguage string
	// DefaultTier is for customers without one; 5 if 0.
	DefaultTier uint8
	// Map gives columns to fields by hand: field name to headers.
	Map map[string][]string
	// MapData gives meanings to words for kinds of data: word to a kind's code.
	MapData map[string]string
	// FirstPage is the number of the first page.
	FirstPage uint32
	// Rejects takes the rejected rows as CSV, if set. It never holds personal data, but for the customer_ref.
	Rejects io.Writer
	// OnFile is set if the rows are added to customers who are there already.
	OnFile OnFile
}

// OnFile knows the customers whom rows are added to.
type OnFile interface {
	// Ref says whether one of them has the reference: the row is theirs, and makes no second customer.
	Ref(ctx context.Context, ref string) (bool, error)
	// Code says whether one of them has the code: a new customer gets another one.
	Code(ctx context.Context, code string) (bool, error)
}

// Sink takes the pages in the order of their numbers. A page and what it points to belongs to the sink.
type Sink interface {
	Page(ctx context.Context, p *Page) error
}

// SinkFunc is a function that is a Sink.
type SinkFunc func(ctx context.Context, p *Page) error

// Page implements Sink.
func (f SinkFunc) Page(ctx context.Context, p *Page) error { return f(ctx, p) }

// Discard is a Sink for when only the Report is wanted.
func Discard() Sink { return SinkFunc(func(context.Context, *Page) error { return nil }) }

// Import reads the whole file. After an error nothing counts as imported, whatever pages the sink was given.
// It returns only when r does: close r to end an import that waits for more.
func Import(ctx context.Context, r io.Reader, opts Options, sink Sink) (*Report, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	src, err := open(r)
	if err != nil {
		return nil, fmt.Errorf("read roster: %w", err)
	}
	defer src.close()
	im, err := newImport(cfg, src, opts, sink)
	if err != nil {
		return nil, fmt.Errorf("read roster: %w", err)
	}
	if err := im.run(ctx); err != nil {
		return nil, fmt.Errorf("import roster: %w; nothing was imported", err)
	}
	return im.finish(), nil
}

// config is what all goroutines of an import read.
type config struct {
	key       []byte
	country   string
	zone      string
	language  string
	tier      uint8
	headers   *headers
	dataWords map[string]DataKind
	seed      maphash.Seed
	// Of a CSV file.
	delim   byte
	fields  []field
	mapping []ColumnMapping
	mixed   bool
}

func newConfig(o Options) (*config, error) {
	c := &config{key: o.Key, country: "US", zone: "America/New_York", language: "en", tier: 5, dataWords: dataWords(), seed: maphash.MakeSeed()}
	var errs []error
	if o.DefaultCountry != "" {
		code, ok := country(o.DefaultCountry)
		if !ok {
			errs = append(errs, fmt.Errorf("default country %q: use an ISO code such as US or MX", o.DefaultCountry))
		}
		c.country = code
	}
	if o.DefaultZone != "" {
		zone, err := zoneName(o.DefaultZone)
		if err != nil {
			errs = append(errs, fmt.Errorf("default zone: %w", err))
		}
		c.zone = zone
	}
	if o.DefaultLanguage != "" {
		tag, err := language.Parse(o.DefaultLanguage)
		if err != nil {
			errs = append(errs, fmt.Errorf("default language %q: use a BCP 47 tag such as en or es-MX", o.DefaultLanguage))
		}
		c.language = tag.String()
	}
	if o.DefaultTier > 9 {
		errs = append(errs, fmt.Errorf("default tier %d: use 1 to 9", o.DefaultTier))
	} else if o.DefaultTier > 0 {
		c.tier = o.DefaultTier
	}
	for word, code := range o.MapData {
		k, ok := c.dataWords[foldWord(code)]
		if !ok {
			errs = append(errs, fmt.Errorf("map data %q: no kind of data %q: use one of %s", word, code, strings.Join(dataCodes(), ", ")))
			continue
		}
		c.dataWords[foldWord(word)] = k
	}
	var err error
	if c.headers, err = newHeaders(o.Map); err != nil {
		errs = append(errs, err)
	}
	if len(c.key) == 0 {
		c.key = make([]byte, 32)
		rand.Read(c.key) //nolint:errcheck // crypto/rand never fails; it ends the process
	}
	return c, errors.Join(errs...)
}

// importer is one run of Import. Its fields belong to the goroutine that called Import; readers and workers have their own.
type importer struct {
	*config
	src     *source
	chunks  *chunker
	first   string // what is left of the first batch after the header
	seq     *sequencer
	workers []*worker
	// row is the number of the last row that was taken, counted as a spreadsheet does.
	row   int
	empty int // lines above the header
}

func newImport(cfg *config, src *source, opts Options, sink Sink) (*importer, error) {
	im := &importer{config: cfg, src: src}
	cfg.mixed = src.mixed || strings.HasPrefix(src.encoding, "UTF-8")
	im.chunks = &chunker{r: src}
	if !src.ndjson {
		if err := im.header(); err != nil {
			return nil, err
		}
	}
	for range runtime.GOMAXPROCS(0) {
		w, err := newWorker(cfg)
		if err != nil {
			return nil, err
		}
		im.workers = append(im.workers, w)
	}
	im.seq = newSequencer(cfg, opts.FirstPage, sink)
	im.seq.onFile = opts.OnFile
	im.seq.report.EmptyLines = im.empty
	if opts.Rejects != nil {
		im.seq.rejects = csv.NewWriter(opts.Rejects)
		if err := im.seq.rejects.Write([]string{"row", "customer_ref", "column", "reason", "remedy"}); err != nil {
			return nil, fmt.Errorf("write rejects: %w", err)
		}
	}
	return im, nil
}

// header reads the first row that is not empty.
func (im *importer) header() error {
	head, err := peek(im.src.Reader)
	if err != nil {
		return err
	}
	top := strings.TrimLeft(string(head), "\r\n")
	if sep, ok := strings.CutPrefix(top, "sep="); ok && sep != "" {
		im.delim = sep[0] // a spreadsheet's way to say it
	} else {
		im.delim = sniffDelimiter(top, im.headers.isKnown)
	}
	im.chunks.delim = im.delim
	text, err := im.chunks.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("row 1: %w", explain(err))
	}
	for text != "" {
		var cells []string
		var open bool
		cells, text, open = record(text, im.delim, nil)
		im.row++
		if open {
			return fmt.Errorf("row %d: a quote is opened and never closed", im.row)
		}
		if im.row == 1 && len(cells) <= 2 && strings.HasPrefix(cells[0], "sep=") {
			continue
		}
		if blank(cells) {
			im.empty++
			continue
		}
		for i := range cells {
			cells[i] = im.fix(cells[i])
		}
		im.fields, im.mapping, err = im.headers.header(cells)
		im.first = text
		return err
	}
	return errors.New("the file is empty")
}

// fix reads a cell that is not UTF-8 in a file that is, or seemed to be.
func (c *config) fix(cell string) string {
	if c.mixed && !validUTF8(cell) {
		return from1252(cell)
	}
	return cell
}

// job is one batch on its way from the reader through a worker to the sequencer.
type job struct {
	text string
	err  error // what ended the text after this batch
	rows []parsed
	// lines is the number of rows in text, empty ones included.
	lines int
	done  chan struct{}
}

func (im *importer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	work, order := make(chan *job), make(chan *job, 2*len(im.workers))
	spare := make(chan []parsed, 3*len(im.workers)+2)
	for _, w := range im.workers {
		wg.Go(func() {
			for j := range work {
				select {
				case j.rows = <-spare:
				default:
				}
				w.batch(j)
				close(j.done)
			}
		})
	}
	wg.Go(func() {
		defer close(work)
		defer close(order)
		im.read(ctx, work, order)
	})

	for j := range order {
		select {
		case <-j.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := im.seq.take(ctx, im.row, j.rows); err != nil {
			return err
		}
		im.row += j.lines
		im.seq.report.EmptyLines += j.lines - len(j.rows)
		if j.err != nil && !errors.Is(j.err, io.EOF) {
			return fmt.Errorf("after row %d: %w", im.row, explain(j.err))
		}
		clear(j.rows)
		select {
		case spare <- j.rows[:0]:
		default:
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return im.seq.flush(ctx)
}

// read cuts the text into jobs until it ends or the import does.
func (im *importer) read(ctx context.Context, work, order chan<- *job) {
	send := func(text string, err error) bool {
		j := &job{text: text, err: err, done: make(chan struct{})}
		select {
		case order <- j:
		case <-ctx.Done():
			return false
		}
		select {
		case work <- j:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if im.first != "" && !send(im.first, nil) {
		return
	}
	for {
		text, err := im.chunks.next()
		if !send(text, err) || err != nil {
			return
		}
	}
}

// explain says what the end of a damaged file means for who sent it.
func explain(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the compressed file ends in the middle: it was cut off when it was written or copied, so get it again: %w", err)
	}
	return err
}

func (im *importer) finish() *Report {
	rep := im.seq.report
	rep.Encoding, rep.Compression = im.src.encoding, im.src.compression
	rep.Format, rep.Mapping = "NDJSON", im.keysSeen()
	h := sha256.New()
	h.Write([]byte("candor roster 1\n"))
	if !im.src.ndjson {
		rep.Format, rep.Delimiter, rep.Mapping = "CSV", string(im.delim), im.mapping
		for i, m := range im.mapping {
			fmt.Fprintf(h, "%d %q %q\n", i, m.Header, m.Field)
		}
	}
	h.Write(im.seq.leaves.Sum(nil))
	rep.Digest = hex.EncodeToString(h.Sum(nil))
	im.seq.finish(im.workers)
	return rep
}

// keysSeen says what became of the keys of an NDJSON file.
func (im *importer) keysSeen() []ColumnMapping {
	seen := map[string]bool{}
	var list []ColumnMapping
	for _, w := range im.workers {
		for key := range w.keys {
			if !seen[key] && len(list) < maxList {
				seen[key] = true
				_, m := im.headers.resolve(key)
				list = append(list, m)
			}
		}
	}
	slices.SortFunc(list, func(a, b ColumnMapping) int { return strings.Compare(a.Header, b.Header) })
	return list
}
