package roster

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
)

// expected is what testdata/roster-field-es.expected.json says; every key of it is asserted.
type expected struct {
	DataRows        int                 `json:"data_rows"`
	EmptyLines      int                 `json:"empty_lines_ignored"`
	Customers       int                 `json:"customers"`
	Merged          int                 `json:"merged"`
	Rejected        int                 `json:"rejected"`
	Rejects         map[string]string   `json:"rejects"`
	Damaged         []string            `json:"damaged_numbers"`
	EmailKept       []string            `json:"unusable_numbers_email_kept"`
	TwoNumbers      []string            `json:"two_numbers_in_one_cell"`
	Extension       []string            `json:"extension"`
	UnknownZone     []string            `json:"unknown_zone_default_used"`
	MergedRefs      []string            `json:"merged_refs"`
	SharedMailboxes map[string][]string `json:"shared_mailboxes"`
	MadeReference   string              `json:"made_reference"`
	LanguageWords   map[string]string   `json:"language_words"`
	LanguageCounts  map[string]int      `json:"language_counts_in_file"`
	DataWords       map[string]string   `json:"data_words"`
	DataSeparators  []string            `json:"data_separators"`
	DataCells       map[string]int      `json:"data_cells_in_file"`
	InertText       []string            `json:"inert_text"`
}

func TestFieldFile(t *testing.T) {
	t.Parallel()
	var want expected
	raw, err := os.ReadFile("testdata/roster-field-es.expected.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("testdata/roster-field-es.csv")
	if err != nil {
		t.Fatal(err)
	}
	var rejects bytes.Buffer
	rep, customers := importAll(t, file, Options{Key: []byte("incident"), DefaultZone: "America/Chicago", DefaultLanguage: "en-US", Rejects: &rejects})
	byRef := map[string]Customer{}
	for _, c := range customers {
		byRef[c.Ref] = c
	}

	equal(t, "rows", rep.Rows, want.DataRows)
	equal(t, "empty lines", rep.EmptyLines, want.EmptyLines)
	equal(t, "customers", rep.Customers, want.Customers)
	equal(t, "customers in pages", len(byRef), want.Customers)
	equal(t, "merged", rep.Merged, want.Merged)
	equal(t, "rejected", rep.Rejected, want.Rejected)
	if !rep.Balanced() {
		t.Error("rows do not balance")
	}

	got := map[string]string{}
	for _, r := range rep.Rejects {
		got[r.Ref] = r.Reason
	}
	equalJSON(t, "rejects", got, want.Rejects)
	rows, err := csv.NewReader(&rejects).ReadAll()
	if err != nil || len(rows) != 1+want.Rejected || rows[1][0] != "6" || rows[1][1] != "C00004" || rows[2][4] == "" {
		t.Errorf("rejects file = %q, %v", rows, err)
	}

	equalJSON(t, "damaged", sampleRefs(rep, phoneNoteNames[0]), want.Damaged)
	var kept []string
	for _, ref := range append(sampleRefs(rep, phoneNoteNames[0]), sampleRefs(rep, phoneNoteNames[1])...) {
		if c, ok := byRef[ref]; ok && len(c.Phones) == 0 && !c.Email.IsZero() {
			kept = append(kept, ref)
		}
	}
	equalJSON(t, "e-mail kept", kept, want.EmailKept)
	for ref, c := range byRef {
		if len(c.Phones) == 0 && !slices.Contains(want.EmailKept, ref) {
			t.Errorf("%s has lost its number", ref)
		}
		if n := len(c.Phones); n > 1 != slices.Contains(want.TwoNumbers, ref) {
			t.Errorf("%s has %d numbers", ref, n)
		}
		if (c.ZoneSource == ZoneFromDefault) != slices.Contains(want.UnknownZone, ref) {
			t.Errorf("%s has its zone from %s", ref, c.ZoneSource)
		}
		if (c.Extensions != nil) != slices.Contains(want.Extension, ref) {
			t.Errorf("%s: extensions %v", ref, c.Extensions)
		}
	}
	equalJSON(t, "several numbers", sampleRefs(rep, phoneNoteNames[3]), want.TwoNumbers)
	equalJSON(t, "extension", sampleRefs(rep, phoneNoteNames[2]), want.Extension)
	equal(t, "number without its extension", byRef["C00008"].Phones[0].Reveal(), "+12125550198")
	equal(t, "the extension", byRef["C00008"].Extensions[0].Reveal(), "44")
	equalJSON(t, "unknown zone", sampleRefs(rep, "zone_unknown"), want.UnknownZone)
	equal(t, "default zone", byRef["C00010"].TimeZone, "America/Chicago")

	var merged []string
	for _, m := range rep.Merges {
		merged = append(merged, m.Ref)
		equalJSON(t, "merged rows", []int{m.Row, m.FirstRow}, []int{15, 14})
		equalJSON(t, "differ", m.Differ, []string{"given_name", "family_name", "email", "phones", "language", "region", "data_exposed"})
	}
	equalJSON(t, "merged refs", merged, want.MergedRefs)
	equal(t, "the first row stands", byRef["C00012"].Email.Reveal(), "cliente12@example.com")

	shared := map[string][]string{}
	for _, s := range rep.Shared {
		if s.What == "address" {
			shared[byRef[s.Refs[0]].Email.Reveal()] = s.Refs
		}
	}
	equalJSON(t, "shared mailboxes", shared, want.SharedMailboxes)
	equal(t, "shared mailboxes", rep.SharedAddresses, len(want.SharedMailboxes))

	made := sampleRefs(rep, "ref_made")
	if len(made) != 1 || rep.Warnings[slices.IndexFunc(rep.Warnings, func(f Finding) bool { return f.Code == "ref_made" })].Samples[0].Row != 19 {
		t.Errorf("made references = %v; %s", made, want.MadeReference)
	} else if c, ok := byRef[made[0]]; !ok || c.Email.Reveal() != "cliente17@example.com" {
		t.Errorf("the customer without a reference is not told: %v", c)
	}

	// Languages: the words, what they mean and how often they came.
	words, counts := map[string]string{"": "the incident's default"}, map[string]int{"": rep.LanguageDefault}
	for _, w := range rep.LanguageWords {
		words[w.Word], counts[w.Word] = w.As, w.Count
	}
	equalJSON(t, "language words", words, want.LanguageWords)
	equalJSON(t, "language counts", counts, want.LanguageCounts)
	equal(t, "default language", byRef["C00020"].Language, "en-US")

	// Data: the file has them in cells with three separators, the report by word.
	labels, perWord := map[string]string{}, map[string]int{}
	for _, w := range rep.DataWords {
		k, err := ParseDataKind(w.As)
		if err != nil {
			t.Error(err)
		}
		labels[w.Word], perWord[w.Word] = k.Label(), w.Count
	}
	equalJSON(t, "data words", labels, want.DataWords)
	inFile, empty := map[string]int{}, 0
	for cell, n := range want.DataCells {
		if cell == "" {
			empty = n
			continue
		}
		for _, w := range strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(strings.Join(want.DataSeparators, ""), r) }) {
			inFile[strings.TrimSpace(w)] += n
		}
	}
	equalJSON(t, "data in cells", perWord, inFile)
	equal(t, "rows without data", rep.DataEmpty, empty)
	equal(t, "blockers", len(rep.Blockers), 0)

	equalJSON(t, "inert text", []string{
		sampleRefs(rep, "formula_as_text")[0] + " (a formula as a name)",
		sampleRefs(rep, "name_tidied")[0] + " (quotes, the delimiter and a line break inside a name)",
	}, want.InertText)
	equal(t, "the formula", byRef["C00012"].GivenName.Reveal(), `=HYPERLINK("http://x","y")`)
	equal(t, "the name", byRef["C00011"].FamilyName.Reveal(), `García "Lalo"; Peña segunda línea`)

	equal(t, "address", byRef["C00006"].Email.Reveal(), "CLIENTE6@example.com")
	equal(t, "a local part that cannot be sent to", byRef["C00007"].Email.Reveal(), "")
	equal(t, "its owner's number", byRef["C00007"].Phones[0].Reveal(), "+14155550107")
	equal(t, "00 as prefix", byRef["C00009"].Phones[0].Reveal(), "+12125550199")
	equal(t, "letters", byRef["C00000"].GivenName.Reveal()+" "+byRef["C00000"].FamilyName.Reveal()+" "+byRef["C00011"].GivenName.Reveal(), "Sofía Peña Lucía")
	equal(t, "letters of Windows", byRef["C00008"].FamilyName.Reveal(), "O’Neil")
	equal(t, "zone by country", byRef["C00019"].TimeZone, "Europe/Madrid")
	equal(t, "encoding", rep.Encoding, "Windows-1252")
	equal(t, "delimiter", rep.Delimiter, ";")

	// The same people in UTF-8 are the same roster.
	utf8File, err := charmap.Windows1252.NewDecoder().Bytes(file)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := importAll(t, utf8File, Options{Key: []byte("another incident"), DefaultZone: "America/Chicago", DefaultLanguage: "en-US"})
	equal(t, "digest", again.Digest, rep.Digest)

	// What is printed and stored holds none of them.
	var out bytes.Buffer
	if err := rep.Text(&out); err != nil {
		t.Fatal(err)
	}
	js, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(js)
	out.WriteString(rep.Manifest().String())
	for _, c := range customers {
		for _, secret := range []string{c.Email.Reveal(), c.FamilyName.Reveal(), c.GivenName.Reveal()} {
			if len(secret) > 3 && strings.Contains(out.String(), secret) {
				t.Errorf("the report holds personal data of %s", c.Ref)
			}
		}
		for _, p := range c.Phones {
			if strings.Contains(out.String(), p.Reveal()[2:]) {
				t.Errorf("the report holds a number of %s", c.Ref)
			}
		}
	}
}

func sampleRefs(r *Report, code string) []string {
	for _, f := range slices.Concat(r.Warnings, r.Blockers) {
		if f.Code == code {
			var refs []string
			for _, s := range f.Samples {
				refs = append(refs, s.Ref)
			}
			return refs
		}
	}
	return nil
}

func importAll(t testing.TB, file []byte, opts Options) (*Report, []Customer) {
	t.Helper()
	var customers []Customer
	rep, err := Import(context.Background(), bytes.NewReader(file), opts, SinkFunc(func(_ context.Context, p *Page) error {
		customers = append(customers, p.Customers...)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return rep, customers
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func equalJSON(t testing.TB, what string, got, want any) {
	t.Helper()
	g, err1 := json.Marshal(got)
	w, err2 := json.Marshal(want)
	if err1 != nil || err2 != nil || !bytes.Equal(g, w) {
		t.Errorf("%s = %s, want %s", what, g, w)
	}
}
