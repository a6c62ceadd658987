package roster

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"pgregory.net/rapid"

	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const small = "customer_ref,First name,Last name,E-mail,Phone,Language,Country,State\n" +
	"A1,Ana,Peña,ana@example.com,(212) 555-0100,es,US,NY\n" +
	"A2,\"Íñigo, the \"\"Second\"\"\",O’Neil,inigo@example.org,212-555-0101,en,US,NY\n"

func TestEncodingsAndCompressions(t *testing.T) {
	t.Parallel()
	encode := func(e interface{ Bytes([]byte) ([]byte, error) }) []byte {
		b, err := e.Bytes([]byte(small))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pack := func(open func(io.Writer) io.WriteCloser) []byte {
		var b bytes.Buffer
		w := open(&b)
		if _, err := io.WriteString(w, small); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	want, _ := importAll(t, []byte(small), Options{})
	for _, tt := range []struct {
		name, encoding string
		file           []byte
	}{
		{"UTF-8", "UTF-8", []byte(small)},
		{"UTF-8 with mark", "UTF-8 with BOM", []byte("\xef\xbb\xbf" + small)},
		{"UTF-16 LE with mark", "UTF-16 LE", encode(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder())},
		{"UTF-16 BE with mark", "UTF-16 BE", encode(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder())},
		{"UTF-16 LE without", "UTF-16 LE", encode(unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder())},
		{"Windows-1252", "Windows-1252", encode(charmap.Windows1252.NewEncoder())},
		{"gzip", "UTF-8", pack(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })},
		{"zstd", "UTF-8", pack(func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z })},
		{"line ends of Windows", "UTF-8", []byte(strings.ReplaceAll(small, "\n", "\r\n"))},
		{"line ends of an old Mac", "UTF-8", []byte(strings.ReplaceAll(small, "\n", "\r"))},
		{"no line end at the end", "UTF-8", []byte(strings.TrimRight(small, "\n"))},
		{"spreadsheet's separator line", "UTF-8", []byte("sep=,\r\n" + small)},
		{"empty lines everywhere", "UTF-8", []byte("\n\n" + strings.ReplaceAll(small, "\n", "\n,,,,,,,\n"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rep, customers := importAll(t, tt.file, Options{})
			equal(t, "digest", rep.Digest, want.Digest)
			equal(t, "encoding", rep.Encoding, tt.encoding)
			equal(t, "customers", len(customers), 2)
		})
	}
}

func TestDelimiters(t *testing.T) {
	t.Parallel()
	for _, d := range []string{",", ";", "\t", "|"} {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		w.Comma = rune(d[0])
		rows, err := csv.NewReader(strings.NewReader(small)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		rows[1][2] = "one " + d + " cell; with, all | of\tthem"
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		rep, customers := importAll(t, b.Bytes(), Options{})
		equal(t, "delimiter", rep.Delimiter, d)
		slices.SortFunc(customers, func(a, b Customer) int { return strings.Compare(a.Ref, b.Ref) })
		want, _ := tidy(rows[1][2])
		equal(t, "name with "+d, customers[0].FamilyName.Reveal(), want)
	}
}

// A cell that is Windows-1252 far behind the start of a file in plain ASCII is read all the same, and reported.
func TestMixedEncoding(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString("ref,nombre,phone\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "%d,Ana,+1212555%04d\n", i+1, i)
	}
	b.WriteString("last,Pe\xf1a,+12125559999\n")
	rep, customers := importAll(t, b.Bytes(), Options{})
	equal(t, "name", customers[len(customers)-1].GivenName.Reveal(), "Peña")
	equalJSON(t, "reported", sampleRefs(rep, "encoding_mixed"), []string{"last"})
}

func TestNDJSON(t *testing.T) {
	t.Parallel()
	file := `{"customer_ref":"A1","first name":"Ana","Teléfono":["(212) 555-0100","212-555-0101"],"email":"ana@example.com","data_exposed":["SSN","name"],"no_email":true,"tier":2,"other":{"a":[1,"}"]}}` + "\r\n" +
		"\n" +
		`{"customer_ref":7,"first name":"Zo\u00eb \"Z\"","Teléfono":2125550102,"email":null}` + "\n" +
		`not json` + "\n" +
		`{"customer_ref":"A3"}` + "\n"
	rep, customers := importAll(t, []byte(file), Options{})
	equalJSON(t, "rows, customers, rejected, empty", []int{rep.Rows, rep.Customers, rep.Rejected, rep.EmptyLines}, []int{4, 2, 2, 1})
	slices.SortFunc(customers, func(a, b Customer) int { return strings.Compare(a.Ref, b.Ref) })
	z, a := customers[0], customers[1]
	equal(t, "ref", z.Ref, "7")
	equal(t, "name", z.GivenName.Reveal(), `Zoë "Z"`)
	equal(t, "number", z.Phones[0].Reveal(), "+12125550102")
	equal(t, "numbers", len(a.Phones), 2)
	equal(t, "data", a.Data.String(), "ssn,name")
	equal(t, "opt-out", a.OptOut.String(), "email")
	equal(t, "tier", a.Tier, 2)
	equalJSON(t, "mapping", rep.Mapping[0], ColumnMapping{Header: "Teléfono", Field: "phones", How: "name"})
	other, _ := importAll(t, []byte(strings.Replace(file, `"other":{"a":[1`, `"other":{"a":[2`, 1)), Options{})
	if other.Digest == rep.Digest {
		t.Error("a value that is ignored is not in the digest")
	}
}

func TestImportErrors(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := Synthetic(z, 20_000, SyntheticOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	full := packed.Bytes()
	flipped := bytes.Clone(full)
	flipped[len(flipped)/2] ^= 0xff
	for _, tt := range []struct {
		name string
		file string
		opts Options
		want []string
	}{
		{"cut-off gzip", string(full[:len(full)/2]), Options{}, []string{"after row ", "ends in the middle", "nothing was imported"}},
		{"gzip without its end", string(full[:len(full)-4]), Options{}, []string{"after row ", "ends in the middle"}},
		{"damaged gzip", string(flipped), Options{}, []string{"after row "}},
		{"empty", "", Options{}, []string{"the file is empty"}},
		{"workbook", "PK\x03\x04....", Options{}, []string{"Excel", "save it as CSV"}},
		{"array", `[{"email":"a@example.com"}]`, Options{}, []string{"one JSON object per line"}},
		{"no headers", "1,Ana,ana@example.com\n", Options{}, []string{"must hold the headers"}},
		{"no headers, but a word that could be one", "1,Ana,ana@example.com,email\n", Options{}, []string{"column 3", "must hold the headers"}},
		{"no headers, a number", "Ana,email,+1 (415) 555-0101\n", Options{}, []string{"column 3", "must hold the headers"}},
		{"no contact", "customer_ref,nombre\n1,Ana\n", Options{}, []string{"no column with telephone numbers"}},
		{"mapped column is missing", "id,email\n", Options{Map: map[string][]string{"email": {"Contact"}}}, []string{"no column contact"}},
		{
			"unknown field", "id,email\n",
			Options{Map: map[string][]string{"mail2": {"Contact"}}, DefaultCountry: "Atlantis", DefaultZone: "Mars/Olympus", DefaultTier: 12, DefaultLanguage: "!", MapData: map[string]string{"x": "y"}},
			[]string{"no such field", "Atlantis", "Mars/Olympus", "tier 12", "default language", "no kind of data"},
		},
		{"quote never closed", "id,nombre,email\n1,Ana,a@example.com\n2,\"Eva,b@example.com\n3,Luz,c@example.com\n", Options{}, []string{"row 3", "never closed"}},
		{"quote closed rows later", "id,nombre,apellidos,email\n1,Ana,A,a@example.com\n2,\"Eva,B,b@example.com\n3,Luz,C,c@example.com\n4,Sol\",D,d@example.com\n", Options{}, []string{"row 3", "closing quote is missing"}},
		{"endless row", "id,email\n1,\"" + strings.Repeat("x", 3<<20), Options{}, []string{"a quote is opened in it and never closed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rep, err := Import(context.Background(), strings.NewReader(tt.file), tt.opts, Discard())
			if err == nil || rep != nil {
				t.Fatalf("no error, report %+v", rep)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "@example") || strings.Contains(err.Error(), "Ana") {
				t.Errorf("error %q holds personal data", err)
			}
		})
	}
}

func TestImportStops(t *testing.T) {
	t.Parallel()
	file := synthetic(t, 30_000)
	broken := errors.New("disk full")
	_, err := Import(context.Background(), bytes.NewReader(file), Options{}, SinkFunc(func(context.Context, *Page) error { return broken }))
	if !errors.Is(err, broken) {
		t.Errorf("err = %v, want the sink's", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Import(ctx, bytes.NewReader(file), Options{}, SinkFunc(func(context.Context, *Page) error { cancel(); return nil }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want cancelled", err)
	}
}

// Rows are never lost, whatever the file holds.
func TestRowsBalance(t *testing.T) {
	t.Parallel()
	cell := rapid.OneOf(
		rapid.SampledFrom([]string{"", "n/a", "2125550100", "+12125550101", "a@example.com", "b@example.com", "4.47911E+11", "es", "SSN; name", "yes", "US", "NY", "1", "R1", "R2", " ", "\x00", "\xff\xfe", "\"", "a\"b", "ñ"}),
		rapid.String(),
	)
	rapid.Check(t, func(t *rapid.T) {
		delim := rapid.SampledFrom([]rune{',', ';', '\t', '|'}).Draw(t, "delimiter")
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		w.Comma = delim
		_ = w.Write([]string{"id", "nombre", "email", "phone", "mobile", "language", "data", "no_sms", "state", "tier"})
		n := rapid.IntRange(0, 40).Draw(t, "rows")
		rows := 0
		for range n {
			row := rapid.SliceOfN(cell, 2, 10).Draw(t, "row")
			if swallowed(row, byte(delim), 10) {
				continue // refused as a whole, see TestImportErrors
			}
			if !blank(row) {
				rows++
			}
			_ = w.Write(row)
		}
		w.Flush()
		customers := 0
		seen := map[string]bool{}
		rep, err := Import(context.Background(), bytes.NewReader(b.Bytes()), Options{Key: []byte("k")}, SinkFunc(func(_ context.Context, p *Page) error {
			for i := range p.Customers {
				c := &p.Customers[i]
				if seen[c.Ref] || seen[c.Code] || !c.Reachable() || len(c.Code) != 11 || c.TimeZone != p.TimeZone || c.Language != p.Language || c.Tier != p.Tier {
					t.Errorf("customer %q %q twice, unreachable or on a wrong page", c.Ref, c.Code)
				}
				seen[c.Ref], seen[c.Code] = true, true
			}
			customers += len(p.Customers)
			return nil
		}))
		if err != nil {
			t.Fatalf("%v in %q", err, b.String())
		}
		if !utf8.Valid(b.Bytes()) {
			rows = rep.Rows // in Windows-1252 other rows are blank than those that were written
		}
		if rep.Rows != rows || !rep.Balanced() || rep.Customers != customers {
			t.Fatalf("%d rows written, read %d = %d + %d + %d, %d in pages", rows, rep.Rows, rep.Customers, rep.Merged, rep.Rejected, customers)
		}
		if got := rep.Manifest(); got.GetRows() != got.GetCustomers()+got.GetMerged()+got.GetRejected() {
			t.Fatalf("manifest does not balance: %v", got)
		}
	})
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte("id;correo\r\n1;\"a\"\"b\";\r\n\"2\n\";x\r\n"))
	f.Add([]byte(`{"email":"a@example.com","phone":["1","2"]}` + "\n{\n"))
	f.Add([]byte("sep=|\nid|email\n1|a@example.com"))
	f.Add([]byte("\xff\xfei\x00d\x00,\x00t\x00e\x00l\x00"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		rep, err := Import(context.Background(), bytes.NewReader(file), Options{Key: []byte("k")}, SinkFunc(func(_ context.Context, p *Page) error {
			b, err := p.Marshal()
			if err != nil {
				return err
			}
			_, err = UnmarshalPage(b)
			return err
		}))
		if err == nil && !rep.Balanced() {
			t.Errorf("rows %d = %d + %d + %d", rep.Rows, rep.Customers, rep.Merged, rep.Rejected)
		}
		if errors.Is(err, errPage) {
			t.Error(err)
		}
	})
}

func TestDigest(t *testing.T) {
	t.Parallel()
	file := string(synthetic(t, 3000))
	base, _ := importAll(t, []byte(file), Options{Key: []byte("one")})
	same, _ := importAll(t, []byte(file), Options{Key: []byte("two"), FirstPage: 9})
	equal(t, "digest with another key", same.Digest, base.Digest)
	for name, other := range map[string]string{
		"name":          strings.Replace(file, "Ada", "Ida", 1),
		"number":        strings.Replace(file, "555-0105", "555-0106", 1),
		"header":        strings.Replace(file, "given_name", "first_name", 1),
		"a row less":    file[:strings.LastIndexByte(file[:len(file)-1], '\n')+1],
		"rows swapped":  swapRows(file),
		"rejected cell": strings.Replace(file, "no_email\n", "no_email\nX,,,bad,,,,,,,,,,\n", 1),
	} {
		rep, _ := importAll(t, []byte(other), Options{Key: []byte("one")})
		if rep.Digest == base.Digest {
			t.Errorf("%s: same digest", name)
		}
	}
	other, _ := importAll(t, []byte(file), Options{Key: []byte("one"), DefaultLanguage: "fr"})
	if other.Digest == base.Digest {
		t.Error("what is made of the rows is not in the digest")
	}
}

func swapRows(file string) string {
	lines := strings.SplitAfter(file, "\n")
	lines[1], lines[2] = lines[2], lines[1]
	return strings.Join(lines, "")
}

func TestPages(t *testing.T) {
	t.Parallel()
	var pages []*Page
	rep, err := Import(context.Background(), bytes.NewReader(synthetic(t, 60_000)), Options{Key: []byte("k"), FirstPage: 5}, SinkFunc(func(_ context.Context, p *Page) error {
		pages = append(pages, p)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	seen, total := map[string]bool{}, 0
	for i, p := range pages {
		if p.Number != uint32(5+i) || len(p.Customers) == 0 || len(p.Customers) > PageSize {
			t.Fatalf("page %d has number %d and %d customers", i, p.Number, len(p.Customers))
		}
		info := rep.Pages[i]
		if info.Number != p.Number || info.Customers != len(p.Customers) || info.TimeZone != p.TimeZone {
			t.Errorf("report of page %d is %+v", p.Number, info)
		}
		for j := range p.Customers {
			c := &p.Customers[j]
			if c.Tier != p.Tier || c.TimeZone != p.TimeZone || c.Language != p.Language || seen[c.Ref] || seen[c.Code] {
				t.Fatalf("page %d slot %d does not belong", p.Number, j)
			}
			seen[c.Ref], seen[c.Code] = true, true
		}
		total += len(p.Customers)
	}
	equal(t, "customers in pages", total, rep.Customers)
	sum := 0
	for _, n := range rep.ByTier {
		sum += n
	}
	equal(t, "customers by tier", sum, rep.Customers)
	for _, ch := range Channels() {
		sum := rep.Usable[ChannelName(ch)]
		for key, n := range rep.Unusable {
			if strings.HasPrefix(key, ChannelName(ch)+"/") {
				sum += n
			}
		}
		equal(t, "customers by "+ChannelName(ch), sum, rep.Customers)
	}
	for i := 1; i < len(pages); i++ {
		a, b := pages[i-1], pages[i]
		if len(a.Customers) < PageSize && len(b.Customers) < PageSize && i > len(pages)/2 &&
			compareKeys(groupKey{a.Tier, a.TimeZone, a.Language}, groupKey{b.Tier, b.TimeZone, b.Language}) > 0 {
			t.Errorf("leftover page %d is out of order", b.Number)
		}
	}
}

// With more groups than the buffer can fill, pages are cut short and nobody is lost.
func TestManyGroups(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString("id,phone,time_zone,language,tier\n")
	zones := strings.Fields("America/New_York America/Chicago America/Denver America/Los_Angeles Europe/Madrid Europe/London Asia/Tokyo Asia/Kolkata Australia/Sydney Africa/Cairo")
	langs := strings.Fields("en es fr de it pt pl ru ja ko")
	n := maxBuffered + 5000
	for i := range n {
		fmt.Fprintf(&b, "%d,+1%s555%04d,%s,%s,%d\n", i+1, syntheticAreas[i/9000*7:][:3], i%9000, zones[i%10], langs[i/10%10], i/100%9+1)
	}
	rep, customers := importAll(t, b.Bytes(), Options{})
	equal(t, "customers", len(customers), n)
	equal(t, "rows", rep.Rows, n)
}

func TestCodes(t *testing.T) {
	t.Parallel()
	a, b := newCoder([]byte("one")), newCoder([]byte("two"))
	if a.code("C1", 0) != a.code("C1", 0) || a.code("C1", 0) == a.code("C2", 0) || a.code("C1", 0) == b.code("C1", 0) || a.code("C1", 0) == a.code("C1", 1) {
		t.Error("a code does not depend on key, reference and collisions alone")
	}
	equal(t, "format", formatCode(0), "000-000-000")
	equal(t, "format", formatCode(1<<45-1), "ZZZ-ZZZ-ZZZ")
	rapid.Check(t, func(t *rapid.T) {
		code := formatCode(rapid.Uint64Range(0, 1<<45-1).Draw(t, "code"))
		said := strings.NewReplacer("-", rapid.SampledFrom([]string{"", " ", "-", "."}).Draw(t, "sep"), "0", "o", "1", "l").Replace(code)
		if rapid.Bool().Draw(t, "small") {
			said = strings.ToLower(said)
		}
		if got, ok := NormalizeCode(said); !ok || got != code {
			t.Fatalf("NormalizeCode(%q) = %q, %v, want %q", said, got, ok, code)
		}
	})
	for _, bad := range []string{"", "K7Q-F3M-XD", "K7Q-F3M-XD22", "K7Q-F3M-XDU", "K7Q-F3M-XDé"} {
		if got, ok := NormalizeCode(bad); ok {
			t.Errorf("NormalizeCode(%q) = %q", bad, got)
		}
	}
	var set codeSet
	for i := range uint64(10_000) {
		if !set.add(i*7919) || set.add(i*7919) {
			t.Fatalf("code %d: the set is wrong", i)
		}
	}
}

// book is a roster.OnFile.
type book map[string]bool

func (b book) Ref(_ context.Context, ref string) (bool, error) {
	if ref == "broken" {
		return false, errors.New("no answer")
	}
	return b[ref], nil
}

func (b book) Code(_ context.Context, code string) (bool, error) { return b[code], nil }

func TestRowsOnFileAreNotAddedAgain(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	codes := func(onFile OnFile) (*Report, map[string]string) {
		t.Helper()
		got := map[string]string{}
		rep, err := Import(t.Context(), strings.NewReader("customer_ref,email\nA,a@example.com\nB,b@example.com\nA,a@example.com\nC,\nD,d@example.com\nD,d@example.com\n"),
			Options{Key: key, OnFile: onFile}, SinkFunc(func(_ context.Context, p *Page) error {
				for i := range p.Customers {
					got[p.Customers[i].Ref] = p.Customers[i].Code
				}
				return nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		return rep, got
	}
	_, alone := codes(nil)
	// A and C are there, and somebody has the code that B would get.
	rep, got := codes(book{"A": true, "C": true, alone["B"]: true})
	if rep.Customers != 2 || rep.Merged != 4 || rep.OnFile != 3 || rep.Rejected != 0 || !rep.Balanced() {
		t.Errorf("report is %+v", rep)
	}
	if want := []Sample{{2, "A"}, {4, "A"}, {5, "C"}}; !slices.Equal(rep.OnFileRows, want) {
		t.Errorf("rows on file are %v, want %v", rep.OnFileRows, want)
	}
	if got["D"] != alone["D"] || got["B"] == alone["B"] || len(got["B"]) != 11 {
		t.Errorf("codes are %v, alone they were %v", got, alone)
	}
	var text strings.Builder
	if err := rep.Text(&text); err != nil || !strings.Contains(text.String(), "Already on file: not added a second time\n  row 2 (A)\n") {
		t.Errorf("the report says:\n%s%v", text.String(), err)
	}
	if _, err := Import(t.Context(), strings.NewReader("customer_ref,email\nbroken,a@example.com\n"), Options{OnFile: book{}}, Discard()); err == nil || !strings.Contains(err.Error(), "row 2: no answer") {
		t.Errorf("a book that does not answer: %v", err)
	}
}

func TestBlockersAndMaps(t *testing.T) {
	t.Parallel()
	file := "Kunde,Kontakt,Handy,data,no_sms,compromised,Bonus\n" +
		"1,a@example.com,2125550100,name; loyalty points,maybe,email; pigeon,x\n" +
		"2,b@example.com,2125550101,loyalty points,no,,y\n"
	opts := Options{Map: map[string][]string{"customer_ref": {"Kunde"}, "email": {"KONTAKT"}, "phones": {"handy"}, "compromised_channels": {"compromised"}}}
	rep, customers := importAll(t, []byte(file), opts)
	got := map[string]int{}
	for _, b := range rep.Blockers {
		got[b.Code] = b.Count
	}
	equalJSON(t, "blockers", got, map[string]int{"data_unknown": 2, "channel_unknown": 1, "flag_unknown": 1})
	equalJSON(t, "unknown words", rep.Blockers[0].Words, []Word{{Word: "loyalty points", Count: 2}})
	equal(t, "an unclear opt-out counts", customers[0].OptOut.String(), "sms")
	equal(t, "compromised", customers[0].Compromised.String(), "email")
	equalJSON(t, "mapping", rep.Mapping[1], ColumnMapping{Header: "Kontakt", Field: "email", How: "map"})
	equalJSON(t, "ignored", rep.Mapping[6], ColumnMapping{Header: "Bonus", How: "ignored"})

	opts.MapData = map[string]string{"Loyalty Points": "order_history"}
	rep, customers = importAll(t, []byte(strings.NewReplacer("maybe", "yes", "; pigeon", "").Replace(file)), opts)
	equal(t, "blockers left", len(rep.Blockers), 0)
	equal(t, "mapped", customers[0].Data.String(), "name,order_history")
	var out bytes.Buffer
	if err := rep.Text(&out); err != nil || !strings.Contains(out.String(), "Kontakt") || !strings.Contains(out.String(), "2 rows read = 2 customers + 0 merged + 0 rejected") {
		t.Errorf("Text() = %v\n%s", err, out.String())
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	file := "id,email,phone\n" +
		"n/a,a@example.com,\n" +
		",b@example.com,\n" +
		"1.23457E+15,c@example.com,\n" +
		"1.23457E+15,d@example.com,\n" +
		",b@example.com,\n" + // the same row without a reference is the same customer
		"=1+1,none,\n" +
		strings.Repeat("x", 129) + ",e@example.com,\n"
	var rejects bytes.Buffer
	rep, first := importAll(t, []byte(file), Options{Key: []byte("k"), Rejects: &rejects})
	_, second := importAll(t, []byte(file), Options{Key: []byte("k")})
	_, other := importAll(t, []byte(file), Options{Key: []byte("other")})
	equalJSON(t, "customers, merged, rejected", []int{rep.Customers, rep.Merged, rep.Rejected}, []int{4, 1, 2})
	for i := range first {
		if first[i].Ref != second[i].Ref || first[i].Code != second[i].Code {
			t.Errorf("import twice: %s, %s", first[i].Ref, second[i].Ref)
		}
		if !strings.HasPrefix(first[i].Ref, "made-") || first[i].Ref == other[i].Ref {
			t.Errorf("reference %q does not depend on the key", first[i].Ref)
		}
	}
	if !strings.Contains(rejects.String(), "\n7,'=1+1,") {
		t.Errorf("rejects would run as a formula:\n%s", rejects.String())
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	const sms, email, call = candorv1.Channel_CHANNEL_SMS, candorv1.Channel_CHANNEL_EMAIL, candorv1.Channel_CHANNEL_CALL
	head := "id,email,phone,compromised_channels,no_sms,no_email,no_call\n"
	for _, tt := range []struct {
		name, row        string
		sms, email, call string // reasons
	}{
		{"all", "1,a@example.com,2125550100,,,,", "", "", ""},
		{"number only", "1,,2125550100,,,,", "", NoAddress, ""},
		{"address only", "1,a@example.com,,,,,", NoNumber, "", NoNumber},
		{"landline only: a call is enough", "1,,+442079460123,,,,", CallOnlyNumber, NoAddress, ""},
		{"opted out", "1,a@example.com,2125550100,,x,,sí", OptedOut, "", OptedOut},
		{"mailbox whose password leaked", "1,a@example.com,2125550100,email,,,", "", CompromisedChannel, ""},
		{"compromised before opted out", "1,a@example.com,2125550100,correo,,1,", "", CompromisedChannel, ""},
		{"lost telephone", "1,a@example.com,2125550100,teléfono,,,", CompromisedChannel, "", CompromisedChannel},
	} {
		_, customers := importAll(t, []byte(head+tt.row+"\n"), Options{})
		if len(customers) != 1 {
			t.Errorf("%s: %d customers", tt.name, len(customers))
			continue
		}
		for ch, want := range map[candorv1.Channel]string{sms: tt.sms, email: tt.email, call: tt.call, candorv1.Channel_CHANNEL_UNSPECIFIED: UnknownChannel} {
			if ok, reason := customers[0].Usable(ch); ok != (want == "") || reason != want {
				t.Errorf("%s: Usable(%s) = %v %q, want %q", tt.name, ch, ok, reason, want)
			}
		}
	}
	rep, _ := importAll(t, []byte(head+"1,a@example.com,,,,yes,\n2,a@example.com,,email,,,\n"), Options{})
	equalJSON(t, "rejected", rep.RejectReasons, map[string]int{
		"opted out of every channel that could reach the customer":                   1,
		"every channel that could reach the customer is compromised or opted out of": 1,
	})
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{`a,b`, `a|b`},
		{`"a,b",c`, `a,b|c`},
		{`"a""b",c`, `a"b|c`},
		{`5" pipe,c`, `5" pipe|c`},
		{`"He said "hi" there",c`, `He said "hi" there|c`},
		{` "a" ,c`, `a|c`},
		{`"a` + "\n" + `b",c`, "a\nb|c"},
		{`a,`, `a|`},
		{`,`, `|`},
	} {
		text := tt.in + "\r\nnext\n"
		n, whole := recordLen([]byte(text), ',')
		cells, rest, open := record(text, ',', nil)
		if got := strings.Join(cells, "|"); got != tt.want || rest != "next\n" || open || !whole || n != len(text)-len("next\n") {
			t.Errorf("record(%q) = %q, rest %q, length %d %v", tt.in, got, rest, n, whole)
		}
	}
}

func TestSynthetic(t *testing.T) {
	t.Parallel()
	if MaxSynthetic < 1_000_000 {
		t.Errorf("only %d people have a number", MaxSynthetic)
	}
	a, b := synthetic(t, 20_000), synthetic(t, 20_000)
	if !bytes.Equal(a, b) {
		t.Error("not deterministic")
	}
	rep, customers := importAll(t, a, Options{})
	equal(t, "shared numbers", rep.SharedNumbers, 0)
	equal(t, "shared addresses", rep.SharedAddresses, 0)
	equal(t, "blockers", len(rep.Blockers), 0)
	if rep.Customers < 19_900 || rep.Usable["sms"] < 19_500 || len(rep.ByZone) < 8 || len(rep.ByLanguage) < 3 {
		t.Errorf("counts %+v", rep)
	}
	for _, c := range customers {
		for _, p := range c.Phones {
			if p.Reveal()[5:8] != "555" || strings.HasSuffix(p.Reveal(), "5551212") {
				t.Errorf("%s has a number that may be somebody's", c.Ref)
			}
		}
	}
	var perfect bytes.Buffer
	if err := Synthetic(&perfect, 12_000, SyntheticOptions{Seed: 7, Perfect: true}); err != nil {
		t.Fatal(err)
	}
	rep, customers = importAll(t, perfect.Bytes(), Options{})
	equal(t, "texts", rep.Usable["sms"], 12_000)
	equal(t, "e-mails", rep.Usable["email"], 12_000)
	for _, c := range customers {
		if line := c.Phones[0].Reveal()[8:10]; line != "01" {
			t.Errorf("%s has a number outside the range for fiction", c.Ref)
		}
	}
	lines := map[int]bool{}
	for i := range syntheticLines {
		l := syntheticLine(i)
		if l < 0 || l > 9999 || lines[l] || l == 1212 || l == 4334 {
			t.Fatalf("line %d is %d", i, l)
		}
		lines[l] = true
	}
	if err := Synthetic(io.Discard, MaxSynthetic+1, SyntheticOptions{}); err == nil {
		t.Error("more people than numbers")
	}
}
