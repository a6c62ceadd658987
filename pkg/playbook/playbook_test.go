package playbook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"candor/pkg/roster"
)

func starterFile(t testing.TB, name string) string {
	data, err := fs.ReadFile(Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestStarterParses(t *testing.T) {
	t.Parallel()
	p, err := Parse("playbook.yaml", []byte(starterFile(t, "playbook.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	w0 := p.Waves["w0"]
	if !w0.Audience.Everyone() || w0.Channels.SMS.RetryFor != 24*time.Hour || w0.Channels.SMS.Uncertain.ResendAfter != 0 {
		t.Errorf("w0 reads as %+v", w0)
	}
	if w0.Channels.SMS.Quiet().Always() || !w0.Channels.Email.Quiet().Always() {
		t.Error("texts have quiet hours and e-mails have none")
	}
	if got := p.Organisation.PhoneLink(); got != "tel:+18005550142" {
		t.Errorf("the phone links to %s", got)
	}
	if got := p.Prices.SMSSegment["MX"].String(); got != "0.0427" {
		t.Errorf("a segment to Mexico costs %s", got)
	}
	if got := p.Providers.Twilio.For("US"); len(got) != 1 || got[0].SegmentsPerSec != 25 {
		t.Errorf("senders for the USA: %v", got)
	}
	if got := p.Providers.Twilio.For("MX"); len(got) != 1 || got[0].SegmentsPerSec != 10 {
		t.Errorf("senders for Mexico: %v", got)
	}
	if _, err := ParseFacts("facts.yaml", []byte(starterFile(t, "facts.yaml"))); err != nil {
		t.Error(err)
	}
}

func TestStarterRosterLosesNobody(t *testing.T) {
	t.Parallel()
	var people []*roster.Customer
	keep := roster.SinkFunc(func(_ context.Context, p *roster.Page) error {
		for i := range p.Customers {
			people = append(people, &p.Customers[i])
		}
		return nil
	})
	report, err := roster.Import(t.Context(), strings.NewReader(starterFile(t, "roster.csv")), roster.Options{}, keep)
	if err != nil {
		t.Fatal(err)
	}
	if report.Rows != 12 || report.Customers != 12 || len(people) != 12 {
		t.Errorf("%d rows, %d customers, %d rejected", report.Rows, report.Customers, report.Rejected)
	}
	languages, mailboxes, without := map[string]int{}, map[string]int{}, 0
	for _, c := range people {
		languages[c.Language[:2]]++
		mailboxes[c.Email.Reveal()]++
		if c.Data == 0 || !c.Reachable() {
			t.Errorf("%s lost %q and can be reached: %v", c.Ref, c.Data, c.Reachable())
		}
		if c.Email.IsZero() {
			without++
		}
	}
	if languages["en"] < 4 || languages["es"] < 4 || mailboxes["ames.family@example.com"] != 2 || without != 1 {
		t.Errorf("languages %v, %d without e-mail, a household of %d", languages, without, mailboxes["ames.family@example.com"])
	}
}

// edit replaces pieces of a file, each of which stands in it.
func edit(t testing.TB, text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the file", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// place returns line:column of a piece of text.
func place(text, piece string) string {
	before := text[:strings.Index(text, piece)]
	return fmt.Sprintf("%d:%d", strings.Count(before, "\n")+1, len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))+1)
}

func TestTenMistakesAreShownAtOnce(t *testing.T) {
	t.Parallel()
	text := edit(t, starterFile(t, "playbook.yaml"),
		"short_name: Northwind Power", "shortname: Northwind Power", // 1 unknown key, 2 missing key
		"phone: 1-800-555-0142", "phone: our hotline", // 3
		"page: northwind.example/notice", "page: https://northwind.example/login", // 4
		"default: en", "default: fr", // 5
		"time_zone: America/New_York", "time_zone: Eastern", // 6
		"segments_per_sec: 25", "segments_per_sec: fast", // 7
		"batch: 500", "batch: 5000", // 8
		"audience: everyone", "audience: teir = 1", // 9
		"quiet_hours: outside mon-fri 09:00-20:00,", "quiet_hours: outside mon-fri 22:00-06:00,", // 10
		"retry_for: 24h", "retry_for: 24", // 11
		"uncertain: keep", "uncertain: resend", // 12
		"  payment_card:\n", "  payment_cards:\n", // 13, and payment_card is missing
	)
	_, err := Parse("p.yaml", []byte(text))
	got := map[string]string{}
	for _, m := range Mistakes(err) {
		got[fmt.Sprintf("%d:%d", m.Line, m.Column)] += m.Message + "; " + m.Remedy + "\n"
		if m.File != "p.yaml" || m.Remedy == "" {
			t.Errorf("%+v", m)
		}
	}
	for piece, want := range map[string]string{
		"shortname":         "did you mean short_name?",
		"organisation:\n":   "short_name is missing in organisation",
		"our hotline":       "no telephone number",
		"https://northwind": "is a link",
		"fr\n":              "the default fr is not offered",
		"Eastern\n":         "no time zone",
		"fast":              "write a number",
		"5000":              "write 1 to 1000",
		"teir":              "did you mean tier?",
		"22:00-06:00":       "runs over midnight",
		"24\n":              "write a time",
		"resend\n":          "write a policy",
		"payment_cards:":    "did you mean payment_card?",
	} {
		if !strings.Contains(got[place(text, piece)], want) {
			t.Errorf("nothing like %q at %s, but %v", want, place(text, piece), got)
		}
	}
	if len(got) != 14 {
		t.Errorf("%d places:\n%v", len(got), err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	starter := starterFile(t, "playbook.yaml")
	for _, tt := range []struct{ name, from, to, at, says string }{
		{"another version", "version: 1", "version: 2", "2\n", "version 2 is not known"},
		{"no YAML", "version: 1", "version: [1", "", "this is no YAML"},
		{"a line that slipped out of its text", "              {{facts.what_happened}}", "{{facts.what_happened}}", "{{facts.what_happened}}", "left edge"},
		{"a key twice", "country: US", "country: US\ncountry: MX", "country: MX", "country comes twice"},
		{"an alias", "country: US", "country: &a US", "&a", "anchors, aliases and tags"},
		{"an empty value", "country: US", "country:", "", "country is empty"},
		{"a second document", "version: 1", "version: 1\n---", "", "second document"},
		{"a byte that is no text", "Dana", "D\xffna", "\xffna", "no text"},
		{"a control character", "Dana", "D\x00na", "\x00na", "invisible character, U+0000"},
		{"a number for a text", "legal_name: Northwind Power, Inc.", "legal_name: 360", "360", "put it in quotes"},
		{"no such language", "offered: [en, es]", "offered: [en, es, xx-!]", "xx-!", "xx-! is no language"},
		{"a language written otherwise", "offered: [en, es]", "offered: [en, es, es-mx]", "es-mx", "write es-MX"},
		{"a text that is missing", "          es: >-", "          fr: >-", "fr: >-", "fr is not offered"},
		{"a wave by another name", "  w0:\n", "  First:\n", "First:", "First is no wave"},
		{"a wave that Candor makes", "waves:\n", "waves:\n  w1: {title: Next}\n", "w1:", "are made by Candor"},
		{"a rate twice", "    requests_per_sec: 100\n", "    requests_per_sec: 100\n    recipients_per_sec: 9\n", "sendgrid:", "the rate is not clear"},
		{"a sender twice", "MG00000000000000000000000000000000", `"+18005550142"`, "", "comes twice"},
		{"no sender", `"+18005550142"`, "Northwind", "", "Northwind is no sender"},
		{"no address", "from: notices@northwind.example", "from: Notices <notices@northwind.example>", "Notices <", "no e-mail address"},
		{"no currency", "currency: USD", "currency: USDX", "USDX", "no currency"},
		{"no price", "MX: 0.0427", "MX: 4 cents", "4 cents", "write a price"},
		{"a price for no country", "MX: 0.0427", "MEX: 0.0427", "MEX", "MEX is no country"},
		{"a subject over two lines", `subject: "Notice of`, `subject: "Notice\nof`, `\nof`, "several lines"},
		{"no list", "address:\n    - 200 Harbor Street\n    - Portland, ME 04101\n    - USA", "address: 200 Harbor Street", "200 Harbor", "address is no list"},
		{"no map", "  signatory:\n    name: Dana Whitfield\n    title:\n      en: Chief Executive\n      es: Directora General", "  signatory: Dana", "Dana", "write keys and values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := edit(t, starter, tt.from, tt.to)
			_, err := Parse("p.yaml", []byte(text))
			for _, m := range Mistakes(err) {
				if strings.Contains(m.Message+m.Remedy, tt.says) && (tt.at == "" || fmt.Sprintf("%d:%d", m.Line, m.Column) == place(text, tt.at)) {
					return
				}
			}
			t.Errorf("want %q at %q, got %v", tt.says, tt.at, err)
		})
	}
	for name, text := range map[string]string{
		"empty":          "",
		"a comment":      "# nothing\n",
		"a list":         "- a\n- b\n",
		"too long":       strings.Repeat("# x\n", MaxBytes/4+1),
		"too many lines": strings.Repeat("\n", maxLines+1),
		"many quotes":    strings.Repeat("\"\"\"\"\"\"\"\"\n", maxLines/3),
		"a long line":    "a: " + strings.Repeat("x", maxLine),
		"too deep":       "a: " + strings.Repeat("[", 100_000),
		"lists in lists": strings.Repeat("- ", 4000),
	} {
		if _, err := Parse("p.yaml", []byte(text)); len(Mistakes(err)) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyMistakesAreCutShort(t *testing.T) {
	t.Parallel()
	_, err := Parse("p.yaml", []byte("a: 1\n"+strings.Repeat("- ", 0)+func() string {
		var b strings.Builder
		for i := range 200 {
			fmt.Fprintf(&b, "k%d: 1\n", i)
		}
		return b.String()
	}()))
	if all := Mistakes(err); len(all) != maxMistakes+1 || !strings.Contains(all[maxMistakes].Message, "more mistakes") {
		t.Errorf("%d mistakes are shown", len(all))
	}
}

func TestFactsMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ from, to, at, says string }{
		{"reference: NP-2026-11", "reference: the hack of 2026", "the hack", "no reference"},
		{"on November 16, 2026", `"{{when}}"`, "{{when}}", "placeholders have no meaning"},
		{"  es:\n", "  spanish:\n", "spanish:", "spanish is no language"},
		{"found_when: on November 16, 2026", "found_wen: x", "found_wen: x", "did you mean found_when?"},
		{"what_happened: |\n      A thief", "what_happened: |\n      A {{thief", "{{thief", "placeholders"},
	} {
		text := edit(t, starterFile(t, "facts.yaml"), tt.from, tt.to)
		_, err := ParseFacts("f.yaml", []byte(text))
		if !slices.ContainsFunc(Mistakes(err), func(m *MistakeError) bool {
			return strings.Contains(m.Message+m.Remedy, tt.says) && fmt.Sprintf("%d:%d", m.Line, m.Column) == place(text, tt.at)
		}) {
			t.Errorf("want %q at %q, got %v", tt.says, tt.at, err)
		}
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	l := Languages{Offered: []string{"en", "es", "pt-BR"}, Default: "en", Fallback: map[string][]string{"ca": {"es"}, "pt": {"pt-BR", "es"}}}
	for tag, want := range map[string]string{
		"en": "en", "en-GB": "en", "es-MX": "es", "ES-mx": "es", "ca": "es", "ca-ES": "es", "pt": "pt-BR", "pt-PT": "pt-BR", "zh-Hant-TW": "en", "": "en", "-": "en",
	} {
		if got := l.Language(tag); got != want {
			t.Errorf("Language(%q) = %s, want %s", tag, got, want)
		}
	}
}

func TestMoney(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"0": "0", "1": "1", "0.0083": "0.0083", "12.50": "12.5", ".5": "0.5", "999999999.000001": "999999999.000001"} {
		m, ok := parseMoney(in)
		if !ok || m.String() != want {
			t.Errorf("%q reads as %s, %v", in, m, ok)
		}
	}
	for _, in := range []string{"", "-1", "1e3", "0.0000001", "1,5", "9999999999", "1_0", "0x1"} {
		if m, ok := parseMoney(in); ok {
			t.Errorf("%q reads as %s", in, m)
		}
	}
}

// Every word of the wording is found where it stands in the file, however it is written down.
func TestTextKnowsItsPlaces(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 40)
	for i := range words {
		words[i] = fmt.Sprintf("wörd%02d", i)
	}
	wrap := func(indent, newline string) string {
		var b strings.Builder
		for i, w := range words {
			switch {
			case i == 0:
			case rng.IntN(4) == 0:
				b.WriteString(newline + strings.Repeat("\n", rng.IntN(2)) + indent)
			default:
				b.WriteString(strings.Repeat(" ", 1+rng.IntN(2)))
			}
			b.WriteString(w)
		}
		return b.String()
	}
	for range 50 {
		for style, scalar := range map[string]string{
			"literal": "|\n    " + wrap("    ", "\n"),
			"keep":    "|+\n\n\n    " + wrap("    ", "\n") + "\n\n",
			"deeper":  "|\n      " + strings.ReplaceAll(wrap("      ", "\n"), "wörd07", "\n         wörd07"),
			"folded":  ">-\n    " + wrap("    ", "\n"),
			"plain":   wrap("    ", "\n"),
			"double":  `"` + strings.ReplaceAll(strings.ReplaceAll(wrap("    ", "\n"), "wörd05", `\"wörd05\u00e9\t`), "wörd09", "\\\n    wörd09") + `"`,
			"single":  `'` + strings.ReplaceAll(wrap("    ", "\n"), "wörd05", `''wörd05''`) + `'`,
		} {
			text := "a: é\nb:\n  text: " + scalar + "\nc: d\n"
			var into struct {
				A string `yaml:"a"`
				B struct {
					Text Text `yaml:"text"`
				} `yaml:"b"`
				C string `yaml:"c"`
			}
			if d := decode("p.yaml", []byte(text), MaxBytes, &into); len(d.mistakes) > 0 {
				t.Fatalf("%s: %v\n%s", style, join(d.mistakes), text)
			}
			for _, w := range words {
				m := into.B.Text.Mistake(strings.Index(into.B.Text.String(), w), "", "")
				if got := fmt.Sprintf("%d:%d", m.Line, m.Column); got != place(text, w) {
					t.Fatalf("%s: %s is at %s, want %s in\n%s\n%q", style, w, got, place(text, w), text, into.B.Text.String())
				}
			}
		}
	}
}

func compile(t *testing.T, schema string) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestSchemasAgreeWithTheStructs(t *testing.T) {
	t.Parallel()
	agree(t, compile(t, Schema), reflect.TypeFor[Playbook](), "playbook")
	agree(t, compile(t, FactsSchema), reflect.TypeFor[Facts](), "facts")
}

// agree walks a schema and a type side by side: the same keys, the same required ones, the same kinds of values.
func agree(t *testing.T, s *jsonschema.Schema, typ reflect.Type, path string) {
	for s.Ref != nil {
		s = s.Ref
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	kind := ""
	switch typ.Name() {
	case "Text", "Rule", "Duration", "Uncertain", "Audience", "Share", "Every", "Late":
		kind = "string"
	case "Money":
		kind = "number"
	default:
		switch typ.Kind() {
		case reflect.Struct:
			kind = "object"
			var names, required []string
			for _, f := range fields(typ) {
				names = append(names, f.name)
				if !f.optional {
					required = append(required, f.name)
				}
				sub := s.Properties[f.name]
				if sub == nil {
					t.Errorf("%s.%s is not in the schema", path, f.name)
					continue
				}
				agree(t, sub, typ.FieldByIndex(f.index).Type, path+"."+f.name)
			}
			for name := range s.Properties {
				if !slices.Contains(names, name) {
					t.Errorf("%s.%s is only in the schema", path, name)
				}
			}
			if slices.Sort(required); !slices.Equal(required, slices.Sorted(slices.Values(s.Required))) {
				t.Errorf("%s requires %v, in the schema %v", path, required, s.Required)
			}
			if s.AdditionalProperties != false {
				t.Errorf("%s takes any key in the schema", path)
			}
		case reflect.Map:
			kind = "object"
			agree(t, s.AdditionalProperties.(*jsonschema.Schema), typ.Elem(), path+".*")
		case reflect.Slice:
			kind = "array"
			agree(t, s.Items2020, typ.Elem(), path+"[]")
		case reflect.String:
			kind = "string"
		case reflect.Bool:
			kind = "boolean"
		case reflect.Int:
			kind = "integer"
		case reflect.Float64:
			kind = "number"
		}
	}
	if s.Const != nil {
		return
	}
	if s.Types == nil || !slices.Contains(s.Types.ToStrings(), kind) {
		t.Errorf("%s is %s, in the schema %v", path, kind, s.Types)
	}
}

func TestSchemaTakesTheStarterAndKnowsEveryKindOfData(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{"playbook.yaml": Schema, "facts.yaml": FactsSchema} {
		s := compile(t, schema)
		var doc any
		if err := yaml.Unmarshal([]byte(starterFile(t, name)), &doc); err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	required := compile(t, Schema).Properties["data"].Required
	for _, k := range roster.AllDataKinds() {
		if !slices.Contains(required, k.String()) {
			t.Errorf("%s is not in the schema", k)
		}
	}
	if len(required) != len(roster.AllDataKinds()) {
		t.Errorf("the schema has %d kinds of data", len(required))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(starterFile(f, "playbook.yaml")))
	f.Add([]byte("version: 1\nwaves: {w0: {title: x}}\n"))
	f.Add([]byte("a: &a [*a]\n? b\n: c\n<<: *a\n!!x d: |2\n  e\n"))
	f.Add([]byte("- - - {a: [}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.yaml", data)
		if (p == nil) == (err == nil) {
			t.Fatal("neither a playbook nor an error")
		}
		wellPlaced(t, data, err)
	})
}

func FuzzParseFacts(f *testing.F) {
	f.Add([]byte(starterFile(f, "facts.yaml")))
	f.Add([]byte("version: 1\nreference: R-1\ntexts: {en: {what_happened: >\n x\n  y\n\n z}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, err := ParseFacts("f.yaml", data)
		if (facts == nil) == (err == nil) {
			t.Fatal("neither facts nor an error")
		}
		wellPlaced(t, data, err)
		if facts != nil {
			for _, a := range facts.Texts {
				for i := range a.WhatHappened.String() {
					a.WhatHappened.Mistake(i, "", "")
				}
			}
		}
	})
}

func wellPlaced(t *testing.T, data []byte, err error) {
	lines := strings.Count(string(data), "\n") + 1
	if err != nil && len(Mistakes(err)) == 0 {
		t.Fatalf("no mistake in %v", err)
	}
	for _, m := range Mistakes(err) {
		if m.Line < 1 || m.Line > lines || m.Column < 1 || m.Message == "" || m.Remedy == "" {
			t.Fatalf("%+v in a file of %d lines", m, lines)
		}
	}
}

func TestMistakesLooksThroughWrapping(t *testing.T) {
	t.Parallel()
	m := &MistakeError{File: "f", Line: 1, Column: 2, Message: "m", Remedy: "r"}
	if got := Mistakes(fmt.Errorf("draft: %w", errors.Join(m, os.ErrClosed))); len(got) != 1 || got[0].Error() != "f:1:2: m; r" {
		t.Errorf("found %v", got)
	}
}
