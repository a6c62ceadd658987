package finder_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/finder"
	"candor/pkg/pagestore"
	"candor/pkg/roster"
	"candor/pkg/topology"
	"candor/pkg/vault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = "leak-1"

// shelf is a broker with one incident's roster on it.
type shelf struct {
	bus    *bus.Bus
	vault  *vault.Vault
	pages  *pagestore.Store
	roster finder.Roster
	size   int
}

func newShelf(t testing.TB, file io.Reader) *shelf {
	t.Helper()
	s := &shelf{bus: bustest.New(t)}
	dir := filepath.Join(t.TempDir(), "keys")
	if err := vault.Init(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.vault, err = vault.Open(dir, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	s.pages = pagestore.New(s.bus, s.vault)
	if err := s.vault.Create(id); err != nil {
		t.Fatal(err)
	}
	s.fill(t, file)
	return s
}

// fill seals a file's pages and puts their manifest beside them: that is the roster.
func (s *shelf) fill(t testing.TB, file io.Reader) {
	t.Helper()
	s.roster = finder.Roster{Incident: id}
	s.add(t, file, 0, nil)
}

// add adds a file's rows to the roster, on pages from a number on.
func (s *shelf) add(t testing.TB, file io.Reader, page uint32, onFile roster.OnFile) *roster.Report {
	t.Helper()
	keys, err := s.vault.Incident(id)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[uint32][]byte{}
	report, err := roster.Import(t.Context(), file, roster.Options{Key: keys.CodeKey(), FirstPage: page, OnFile: onFile}, roster.SinkFunc(func(ctx context.Context, p *roster.Page) error {
		plain, err := p.Marshal()
		if err != nil {
			return err
		}
		data, err := keys.Seal(topology.Page(id, p.Number), plain)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		sums[p.Number] = sum[:]
		_, err = s.bus.Append(ctx, topology.StreamRoster, bus.Message{Subject: topology.Page(id, p.Number), Data: data})
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
	m := report.Manifest()
	for _, p := range m.GetPages() {
		p.SealedSha256 = sums[p.GetNumber()]
	}
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	s.size += report.Customers
	manifest := "roster." + id + ".manifest-" + report.Digest
	s.roster.Manifests = append(s.roster.Manifests, manifest)
	if _, err := s.bus.Append(t.Context(), topology.StreamRoster, bus.Message{Subject: manifest, Data: data}); err != nil {
		t.Fatal(err)
	}
	return report
}

const people = "customer_ref,given_name,family_name,email,phone,phone_2,language,country,region\n" +
	"A-1,Ana,Pena,Ana.Pena@Example.com,+12125550101,,en,US,NY\n" +
	"A-2,Ben,Pena,ben@example.com,+12125550101,+12125550102,es,US,NY\n" +
	"2125550101,Cy,Young,cy@bücher.example,+442079460123,,en,GB,\n"

func TestEverybodyIsFoundByAllTheyHave(t *testing.T) {
	t.Parallel()
	s := newShelf(t, strings.NewReader(people))
	f := finder.New(s.pages, s.vault)
	find := func(query, country string) []finder.Found {
		t.Helper()
		found, err := f.Find(t.Context(), s.roster, finder.Terms(query, country), 10)
		if err != nil {
			t.Fatalf("find %q: %v", query, err)
		}
		return found
	}
	var code string
	if found := find("A-1", ""); len(found) == 1 {
		code = found[0].Customer().Code
	}
	for _, tt := range []struct {
		name, query, country, want string
	}{
		{"reference", " A-1 ", "", "A-1"},
		{"reference of another case is another one", "a-1", "", ""},
		{"code", code, "", "A-1"},
		{"code as somebody types it", strings.ToLower(strings.ReplaceAll(code, "-", " ")), "", "A-1"},
		{"mailbox in any case", "ana.pena@EXAMPLE.com", "", "A-1"},
		{"mailbox of a domain with accents", "cy@BÜCHER.example", "", "2125550101"},
		{"the second number", "+1 (212) 555-0102", "", "A-2"},
		{"a household's number, in international form", "+1 212-555-0101", "", "A-1 A-2"},
		{"with 00", "0044 20 7946 0123", "US", "2125550101"},
		{"as it is dialled at home", "(020) 7946 0123", "GB", "2125550101"},
		{"home is unknown", "(020) 7946 0123", "", ""},
		{"a number and somebody's reference", "2125550101", "US", "2125550101 A-1 A-2"},
		{"nobody", "+12125550199", "US", ""},
		{"nothing", "  ", "US", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var refs []string
			for _, found := range find(tt.query, tt.country) {
				refs = append(refs, found.Customer().Ref)
			}
			if got := sortedWords(refs); got != tt.want {
				t.Errorf("%q finds %q, want %q", tt.query, got, tt.want)
			}
		})
	}
}

func sortedWords(words []string) string {
	for i := range words {
		for j := i + 1; j < len(words); j++ {
			if words[j] < words[i] {
				words[i], words[j] = words[j], words[i]
			}
		}
	}
	return strings.Join(words, " ")
}

func TestTooManyAreNobody(t *testing.T) {
	t.Parallel()
	s := newShelf(t, strings.NewReader(people))
	f := finder.New(s.pages, s.vault)
	if _, err := f.Find(t.Context(), s.roster, finder.Terms("+12125550101", ""), 1); !errors.Is(err, finder.ErrTooMany) {
		t.Errorf("two customers where one was wanted: %v", err)
	}
}

// Everybody of a synthetic roster is found by each of their terms, and only those who have it.
func TestIndexHoldsEverybody(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	if err := roster.Synthetic(&file, 3000, roster.SyntheticOptions{Seed: 7}); err != nil {
		t.Fatal(err)
	}
	s := newShelf(t, &file)
	f := finder.New(s.pages, s.vault)
	var wg sync.WaitGroup // who asks first builds, and the others wait for it
	for range 4 {
		wg.Go(func() {
			if err := f.Build(t.Context(), s.roster); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m, err := s.pages.Manifest(t.Context(), s.roster.Manifests[0])
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, info := range m.GetPages() {
		page, err := s.pages.OpenPage(t.Context(), id, info.GetNumber(), info.GetSealedSha256())
		if err != nil {
			t.Fatal(err)
		}
		for slot := 0; slot < len(page.Customers); slot += 37 {
			c := &page.Customers[slot]
			queries := []string{c.Ref, c.Code}
			if !c.Email.IsZero() {
				queries = append(queries, strings.ToUpper(c.Email.Reveal()))
			}
			for _, p := range c.Phones {
				queries = append(queries, p.Reveal())
			}
			for _, q := range queries {
				seen++
				found, err := f.Find(t.Context(), s.roster, finder.Terms(q, "US"), 10)
				if err != nil || len(found) != 1 || found[0].Page.Number != info.GetNumber() || found[0].Slot != uint32(slot) {
					t.Fatalf("page %d slot %d by one of its terms: %d found, %v", info.GetNumber(), slot, len(found), err)
				}
			}
		}
	}
	if seen < 200 {
		t.Errorf("only %d questions were asked", seen)
	}
}

func TestShreddedCustomersAreNotFound(t *testing.T) {
	t.Parallel()
	s := newShelf(t, strings.NewReader(people))
	f := finder.New(s.pages, s.vault)
	if err := f.Build(t.Context(), s.roster); err != nil {
		t.Fatal(err)
	}
	if err := s.vault.Shred(id); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find(t.Context(), s.roster, finder.Terms("A-1", ""), 10); !errors.Is(err, vault.ErrShredded) {
		t.Errorf("find after shredding: %v", err)
	}
	f.Forget(id)
	if err := f.Build(t.Context(), s.roster); !errors.Is(err, vault.ErrShredded) {
		t.Errorf("build after shredding: %v", err)
	}
}

func TestAnotherRosterIsAnotherIndex(t *testing.T) {
	t.Parallel()
	s := newShelf(t, strings.NewReader(people))
	f := finder.New(s.pages, s.vault)
	if err := f.Build(t.Context(), s.roster); err != nil {
		t.Fatal(err)
	}
	for page := range uint32(3) {
		if _, err := s.bus.Purge(t.Context(), topology.StreamRoster, topology.Page(id, page)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.bus.Purge(t.Context(), topology.StreamRoster, s.roster.Manifests[0]); err != nil {
		t.Fatal(err)
	}
	s.fill(t, strings.NewReader("customer_ref,email\nZ-9,zoe@example.com\n"))
	for ref, want := range map[string]int{"Z-9": 1, "A-1": 0} {
		found, err := f.Find(t.Context(), s.roster, finder.Terms(ref, ""), 10)
		if err != nil || len(found) != want {
			t.Errorf("%s is found %d times, want %d: %v", ref, len(found), want, err)
		}
	}
}

func TestAddedRowsAreFoundBesideTheRoster(t *testing.T) {
	t.Parallel()
	s := newShelf(t, strings.NewReader(people))
	f := finder.New(s.pages, s.vault)
	onFile, err := f.OnFile(t.Context(), s.roster)
	if err != nil {
		t.Fatal(err)
	}
	before := s.roster
	report := s.add(t, strings.NewReader("customer_ref,email,phone,country\nB-1,bo@example.com,+12125550101,US\nA-2,ben@example.com,,US\na-1,al@example.com,,US\nA-2,,,US\n"), 10, onFile)
	if report.Customers != 2 || report.OnFile != 2 || report.Merged != 2 || !report.Balanced() {
		t.Errorf("rows were taken as %+v", report)
	}
	find := func(r finder.Roster, query string, most int) string {
		found, err := f.Find(t.Context(), r, finder.Terms(query, ""), most)
		if err != nil {
			return err.Error()
		}
		var refs []string
		for _, c := range found {
			refs = append(refs, fmt.Sprint(c.Customer().Ref, "@", c.Page.Number))
		}
		return strings.Join(refs, " ")
	}
	for _, tt := range []struct {
		name, query string
		roster      finder.Roster
		most        int
		want        string
	}{
		{"not before they are added", "B-1", before, 10, ""},
		{"those who were added", "B-1", s.roster, 10, "B-1@10"},
		{"those who were there", "A-1", s.roster, 10, "A-1@0"},
		{"both by what they share", "+12125550101", s.roster, 10, "A-1@0 A-2@1 B-1@10"},
		{"too many of both together", "+12125550101", s.roster, 2, finder.ErrTooMany.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := find(tt.roster, tt.query, tt.most); got != tt.want {
				t.Errorf("%s finds %q, want %q", tt.query, got, tt.want)
			}
		})
	}
}

func TestWhoIsOnFileIsKnown(t *testing.T) {
	t.Parallel()
	s := newShelf(t, strings.NewReader(people))
	f := finder.New(s.pages, s.vault)
	found, err := f.Find(t.Context(), s.roster, finder.Terms("A-1", ""), 1)
	if err != nil || len(found) != 1 {
		t.Fatal(len(found), err)
	}
	onFile, err := f.OnFile(t.Context(), s.roster)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, value string
		of          func(context.Context, string) (bool, error)
		want        bool
	}{
		{"a reference", "A-1", onFile.Ref, true},
		{"another page's", "2125550101", onFile.Ref, true},
		{"no reference", "A-9", onFile.Ref, false},
		{"a code", found[0].Customer().Code, onFile.Code, true},
		{"no code", "000-000-000", onFile.Code, false},
		{"a code is no reference", found[0].Customer().Code, onFile.Ref, false},
	} {
		if got, err := tt.of(t.Context(), tt.value); err != nil || got != tt.want {
			t.Errorf("%s is on file: %v, want %v; %v", tt.name, got, tt.want, err)
		}
	}
}

func TestGivingUpDoesNotHoldOthersUp(t *testing.T) {
	t.Parallel()
	s := newShelf(t, strings.NewReader(people))
	f := finder.New(s.pages, s.vault)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Build(ctx, s.roster); !errors.Is(err, context.Canceled) {
		t.Errorf("build by somebody who left: %v", err)
	}
	if err := f.Build(t.Context(), s.roster); err != nil {
		t.Error(err)
	}
}

func TestTermsPrintNobody(t *testing.T) {
	t.Parallel()
	said := fmt.Sprintf("%v %+v %s", finder.Terms("ana@example.com", ""), finder.Terms("+12125550101", ""), finder.Terms("K7Q F3M XD2", ""))
	if want := "[reference mailbox] [reference number] [reference code]"; said != want {
		t.Errorf("terms print as %s, want %s", said, want)
	}
}

func FuzzTerms(f *testing.F) {
	for _, s := range []string{"+1 (212) 555-0101", "ana@example.com", "k7qf3mxd2", "C0000001", "1-800-FLOWERS", "\x00\xff", "tel:+44;ext=1"} {
		f.Add(s, "US")
	}
	f.Fuzz(func(t *testing.T, query, country string) {
		terms := finder.Terms(query, country)
		if strings.TrimSpace(query) == "" && len(terms) > 0 || len(terms) > 4 {
			t.Errorf("%q has %d meanings", query, len(terms))
		}
	})
}

// BenchmarkMillion builds the index of a million customers and asks it; run it with -benchtime 1x.
func BenchmarkMillion(b *testing.B) {
	file, out := io.Pipe()
	go func() { out.CloseWithError(roster.Synthetic(out, 1_000_000, roster.SyntheticOptions{Seed: 1})) }()
	s := newShelf(b, file)
	var f *finder.Finder
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	for b.Loop() {
		f = finder.New(s.pages, s.vault)
		if err := f.Build(b.Context(), s.roster); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(time.Since(start).Seconds()/float64(b.N), "s/build")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB")
	const asked = 300
	start = time.Now()
	for range asked {
		found, err := f.Find(b.Context(), s.roster, finder.Terms(fmt.Sprintf("C%07d", rand.IntN(s.size)), "US"), 10)
		if err != nil || len(found) > 1 {
			b.Fatal(len(found), err)
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/asked, "µs/find")
}
