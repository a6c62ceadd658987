package notice

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/segment"
	candorv1 "candor/proto/candor/v1"
)

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL
)

var update = flag.Bool("update", false, "write the files under testdata anew")

var today = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

func file(t testing.TB, name string) string {
	data, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func compileFrom(t testing.TB, pb, facts string, channel candorv1.Channel, language string) (*Text, error) {
	p, err := playbook.Parse("p.yaml", []byte(pb))
	if err != nil {
		t.Fatal(err)
	}
	f, err := playbook.ParseFacts("f.yaml", []byte(facts))
	if err != nil {
		t.Fatal(err)
	}
	return Compile(p, f, "w0", channel, language)
}

// starterTexts are those of every wave of the starter on a channel, in every language.
func starterTexts(t testing.TB, channel candorv1.Channel) (all []*Text) {
	p, err := playbook.Parse("p.yaml", []byte(file(t, "playbook.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	f, err := playbook.ParseFacts("f.yaml", []byte(file(t, "facts.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	for wave, w := range p.Waves {
		if w.Terms(channel) == nil {
			continue
		}
		for _, language := range p.Languages.Offered {
			text, err := Compile(p, f, wave, channel, language)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text.Dated(today))
		}
	}
	return all
}

func TestStarterSaysSorryFirstAndLast(t *testing.T) {
	t.Parallel()
	c := customer("Ana", "", roster.PaymentCard)
	for _, text := range starterTexts(t, email) {
		subject, plain, page, err := text.RenderEmail(c)
		if err != nil {
			t.Fatal(err)
		}
		paragraphs := strings.Split(strings.TrimSpace(plain), "\n\n")
		first, last := strings.Join(paragraphs[:min(4, len(paragraphs))], "\n"), strings.Join(paragraphs[max(0, len(paragraphs)-2):], "\n")
		if playbook.LacksApology(text.language, first) || playbook.LacksApology(text.language, last) {
			t.Errorf("%s does not say sorry first and last:\n%s\n…\n%s", subject, first, last)
		}
		if !strings.Contains(plain, "K7Q-F3M-XD2") || !strings.Contains(plain, "1-800-555-0142") || strings.Contains(page, "http") {
			t.Errorf("%s:\n%s", subject, plain)
		}
	}
	for _, text := range starterTexts(t, sms) {
		if message := text.SMS(c); playbook.LacksApology(text.language, message) {
			t.Errorf("no apology in %q", message)
		}
	}
}

func starter(t testing.TB, channel candorv1.Channel, language string) *Text {
	text, err := compileFrom(t, file(t, "playbook.yaml"), file(t, "facts.yaml"), channel, language)
	if err != nil {
		t.Fatal(err)
	}
	return text.Dated(today)
}

func customer(given, family string, kinds ...roster.DataKind) *roster.Customer {
	c := &roster.Customer{Code: "K7Q-F3M-XD2", GivenName: pii.NewName(given), FamilyName: pii.NewName(family)}
	for _, k := range kinds {
		c.Data = c.Data.With(k)
	}
	return c
}

func everything() *roster.Customer { return customer("Ana", "Muñoz", roster.AllDataKinds()...) }

func TestStarterReadsAsItShould(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*roster.Customer{
		"card":    customer("Ana", "Muñoz", roster.PaymentCard, roster.SSN),
		"unknown": customer("", ""),
	} {
		for _, language := range []string{"en", "es"} {
			subject, text, page, err := starter(t, email, language).RenderEmail(c)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+language+".sms.txt", starter(t, sms, language).SMS(c)+"\n")
			golden(t, name+"."+language+".email.txt", "Subject: "+subject+"\n\n"+text)
			golden(t, name+"."+language+".email.html", page)
		}
	}
}

func golden(t *testing.T, name, got string) {
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what it was; look at it and run with -update\n%s", name, got)
	}
}

func TestStarterTextsAreShort(t *testing.T) {
	t.Parallel()
	given := []string{"", "Ana", "María", "Íñigo", "Søren", "Zoë", "Łucja", "Renée", "Nguyễn", "Christopher Alexander", "María de los Ángeles", "Guadalupe Montserrat", "D’Angelo"}
	for _, text := range starterTexts(t, sms) {
		language := text.language
		most := map[string]int{"en": 1, "es": 2}[language]
		for _, name := range given {
			message := text.SMS(customer(name, "", roster.AllDataKinds()...))
			if got := segment.Count(message); got.Encoding != segment.GSM7 || got.Segments > most {
				t.Errorf("%s, %q: %d segments of %s because of %q:\n%s", language, name, got.Segments, got.Encoding, got.Forces, message)
			}
			for _, want := range []string{"Northwind Power", "1-800-555-0142", "K7Q-F3M-XD2", "STOP"} {
				if !strings.Contains(message, want) {
					t.Errorf("%s: no %s in %q", language, want, message)
				}
			}
			if strings.Contains(message, "://") || strings.Contains(message, "  ") {
				t.Errorf("%s: %q", language, message)
			}
		}
	}
}

func TestStarterHasWhatTheLawAsksFor(t *testing.T) {
	t.Parallel()
	_, text, page, err := starter(t, email, "en").RenderEmail(everything())
	if err != nil {
		t.Fatal(err)
	}
	var headings []string
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		switch n.Data {
		case "h1", "h2":
			headings = append(headings, n.FirstChild.Data)
		case "img", "script", "form", "iframe", "svg", "link":
			t.Errorf("a %s element", n.Data)
		}
	}
	want := []string{"Notice of Data Breach", "What Happened", "What Information Was Involved", "What We Are Doing", "What You Can Do", "For More Information"}
	if !slices.Equal(headings, want) {
		t.Errorf("headings %q, want %q", headings, want)
	}
	if first, last := strings.Index(text, "We are sorry"), strings.LastIndex(text, "We are sorry"); first < 0 || first > 200 || last < len(text)-200 {
		t.Errorf("the apology stands at %d and %d of %d", first, last, len(text))
	}
	for _, want := range []string{"November 22, 2026", "K7Q-F3M-XD2", "NP-2026-11", "200 Harbor Street", "northwind.example/notice", "We will never ask for your password, your card number or any code", "dial 711"} {
		if !strings.Contains(text, want) || !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(page, "http") {
		t.Error("a link to a web page")
	}
}

func TestEachCustomerReadsWhatWasTheirs(t *testing.T) {
	t.Parallel()
	read := func(c *roster.Customer) string {
		_, text, _, err := starter(t, email, "en").RenderEmail(c)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	card, nothing := read(customer("Ana", "", roster.PaymentCard)), read(customer("Ana", ""))
	if !strings.Contains(card, "- Your payment card number. Call your card company") || !strings.Contains(card, "Yes. Please call your bank") || strings.Contains(card, "Social Security") || strings.Contains(card, "Equifax") {
		t.Errorf("who lost a card reads\n%s", card)
	}
	if !strings.Contains(nothing, "We do not know yet") || strings.Contains(nothing, "First do what the list above says") {
		t.Errorf("who may have lost anything reads\n%s", nothing)
	}
	if ssn := read(customer("", "", roster.SSN)); !strings.Contains(ssn, "Dear customer,") || !strings.Contains(ssn, "Equifax") || !strings.Contains(ssn, "No. You do not need to call your bank") {
		t.Errorf("who lost a number reads\n%s", ssn)
	}
}

// replace substitutes as a provider might: every tag everywhere, one after the other, over what was filled in before.
func replace(s string, vars, values []string, order []int) string {
	for _, i := range order {
		s = strings.ReplaceAll(s, vars[i], values[i])
	}
	return s
}

func nastyName() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", " ", "Ana", "[%given_name%]", "[%code", "%]", "%", "[", "given_name", "_h%]", "<b>&amp;\"'", "a\r\nBcc: x@example.com", "**bold**", "{{code}}", "\u202Egnp", "\xff\xfe", "-code-", "\uE003", "日本", "  two  words  "}),
		rapid.StringOfN(rapid.RuneFrom([]rune("[%]given_amcoh -<&\r\n\uE001")), 0, 30, -1),
		rapid.String(),
	)
}

func TestProvidersSubstitutionGivesWhatPreviewShows(t *testing.T) {
	t.Parallel()
	pb := file(t, "playbook.yaml")
	pb = edit(t, pb, "{{notice_date}}\n", "{{notice_date}}\n\n              {{#given_name}}{{#family_name}}[{{given_name}}{{family_name}}{{code}}{{given_name}}]{{/family_name}}{{/given_name}} given_name\n",
		`subject: "`, `subject: "{{#family_name}}{{family_name}} {{/family_name}}{{code}} `)
	text, err := compileFrom(t, pb, file(t, "facts.yaml"), email, "en")
	if err != nil {
		t.Fatal(err)
	}
	text = text.Dated(today)
	rapid.Check(t, func(t *rapid.T) {
		c := customer(nastyName().Draw(t, "given"), nastyName().Draw(t, "family"))
		c.Code = rapid.SampledFrom([]string{"K7Q-F3M-XD2", "<%code%>"}).Draw(t, "code")
		c.Data = roster.DataKinds(rapid.Uint32().Draw(t, "data")) & everything().Data
		subject, plain, page, err := text.RenderEmail(c)
		if err != nil {
			t.Fatal(err)
		}
		e := text.Email(text.Variant(c))
		values, err := text.Values(text.Variant(c), c, nil)
		if err != nil || len(values) != len(e.Vars) {
			t.Fatalf("%d values for %v, %v", len(values), e.Vars, err)
		}
		order := rapid.Permutation(indexes(len(values))).Draw(t, "order")
		for _, part := range []struct{ shown, shared string }{{subject, e.Subject}, {plain, e.Text}, {page, e.HTML}} {
			if got := replace(part.shared, e.Vars, values, order); got != part.shown {
				t.Fatalf("%v: substituted\n%q\nrendered\n%q", order, got, part.shown)
			}
			if strings.ContainsFunc(part.shown, func(r rune) bool { return valueOf(r) != none }) || !utf8.ValidString(part.shown) || strings.Contains(part.shown, "[%") {
				t.Fatalf("left over: %q", part.shown)
			}
		}
		if strings.ContainsAny(subject, "\r\n") {
			t.Fatalf("a subject of several lines: %q", subject)
		}
		if again, _, _, _ := text.RenderEmail(c); again != subject {
			t.Fatal("the same customer reads two things")
		}
		doc, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Type == html.ElementNode && n.Data == "b" {
				t.Fatalf("a name became an element:\n%s", page)
			}
		}
	})
}

func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func edit(t testing.TB, text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the file", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func TestMistakesAreFoundInTheFile(t *testing.T) {
	t.Parallel()
	pb, facts := file(t, "playbook.yaml"), file(t, "facts.yaml")
	for _, tt := range []struct {
		name, from, to, at, says string
		channel                  candorv1.Channel
	}{
		{"unknown", "**We are sorry.** You", "**We are sorry.** {{givenname}} You", "{{givenname}}", "unknown placeholder givenname; did you mean given_name?", email},
		{"unknown in a text message", "We never ask", "{{compny}} We never ask", "{{compny}}", "unknown placeholder compny", sms},
		{"unknown in the subject", "subject: \"Notice of", "subject: \"Notice {{data.pin}} of", "{{data.pin}}", "unknown placeholder data.pin", email},
		{"no date in a text message", "We never ask", "{{notice_date}} We never ask", "{{notice_date}}", "unknown placeholder notice_date", sms},
		{"a name that not everybody has", "Dear customer,", "Dear {{given_name}},", "{{given_name}},\n              {{/given_name}}\n\n              **We", "not every customer has a given_name", email},
		{"not closed", "{{/freeze_credit}}\n\n              ## For", "\n              ## For", "{{#freeze_credit}}", "{{#freeze_credit}} is not closed", email},
		{"closed twice", "## What Happened\n", "## What Happened {{/call_bank}}\n", "{{/call_bank}}", "closes nothing", email},
		{"closed crosswise", "{{/any_data}}", "{{/data_exposed}}", "{{/data_exposed}}\n              {{^any_data", "closes nothing; close {{#any_data}} first", email},
		{"no end", "## What Happened\n", "## What Happened {{code\n", "{{code\n", "too many braces", email},
		{"never an end", "{{organisation.legal_name}}\n          es:", "{{organisation.legal_name\n          es:", "{{organisation.legal_name\n          es", "does not end", email},
		{"three braces", "**{{code}}**", "**{{{code}}}**", "{{{code", "too many braces", email},
		{"a partial", "## What Happened\n", "## What Happened {{>x}}\n", "{{>x", "no meaning", email},
		{"other delimiters", "## What Happened\n", "## What Happened {{=<% %>=}}\n", "{{=<", "no meaning", email},
		{"empty", "## What Happened\n", "## What Happened {{ }}\n", "{{ }}", "empty placeholder", email},
		{"a flag as a text", "## What Happened\n", "## {{call_bank}}\n", "{{call_bank}}\n", "call_bank is no text", email},
		{"a text as a flag", "## What Happened\n", "## {{#code}}x{{/code}}\n", "{{#code}}", "always there", email},
		{"an item outside its list", "## What Happened\n", "## {{advice}}\n", "{{advice}}\n", "outside a list", email},
		{"HTML", "## What Happened\n", "## What <b>Happened</b>\n", "<b>", "HTML has no place", email},
		{"an HTML block", "## What Happened\n", "<div>\n              ## What Happened\n", "<div>", "HTML has no place", email},
		{"a picture", "## What Happened\n", "## What ![logo](https://x.example/a.png) Happened\n", "logo", "a picture", email},
		{"a link to a log-in", "## What Happened\n", "## [your page](https://x.example/login) Happened\n", "your page", "log-in", email},
		{"a link that does something", "## What Happened\n", "## [go](javascript:x) Happened\n", "go](", "link only to", email},
		{"a name in a link", "## What Happened\n", "## [go](https://x.example/{{code}}) Happened\n", "", "own value in a link", email},
		{"no code", "code {{code}}", "no code", "{{organisation.short_name}}", "code is missing; write {{code}}", sms},
		{"a tag of the author's own", "## What Happened\n", "## What %given_name% Happened\n", "", "two percent signs", email},
		{"a tag put together", "## What Happened\n", "## What %{{#given_name}}{{given_name}}{{/given_name}}% Happened\n", "", "two percent signs", email},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			changed := edit(t, pb, tt.from, tt.to)
			_, err := compileFrom(t, changed, facts, tt.channel, "en")
			at := ""
			if tt.at != "" {
				i := strings.Index(changed, tt.at)
				if i < 0 {
					t.Fatalf("no %q", tt.at)
				}
				before := changed[:i]
				at = fmt.Sprintf("p.yaml:%d:%d: ", strings.Count(before, "\n")+1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])+1)
			}
			for _, m := range playbook.Mistakes(err) {
				if s := m.Error(); strings.HasPrefix(s, at) && strings.Contains(s, tt.says) {
					return
				}
			}
			t.Errorf("want %s%q, got %v", at, tt.says, err)
		})
	}
}

func TestMistakesInFactsAndAdvice(t *testing.T) {
	t.Parallel()
	pb, facts := file(t, "playbook.yaml"), file(t, "facts.yaml")
	_, err := compileFrom(t, pb, edit(t, facts, "A thief broke", "A <i>thief</i> broke"), email, "en")
	if err == nil || !strings.Contains(err.Error(), "f.yaml:11:9: HTML has no place here") {
		t.Errorf("HTML in the facts: %v", err)
	}
	_, err = compileFrom(t, edit(t, pb, "Call your card company", "Call <u>your</u> card company"), facts, email, "en")
	if err == nil || !regexp.MustCompile(`p\.yaml:\d+:22: HTML has no place here`).MatchString(err.Error()) {
		t.Errorf("HTML in the advice: %v", err)
	}
	_, err = compileFrom(t, pb, facts[:strings.Index(facts, "  es:\n")], email, "es")
	if err == nil || !strings.Contains(err.Error(), "f.yaml:1:1: no facts in es") {
		t.Errorf("no facts: %v", err)
	}
}

func TestNamesAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "",
		"   ":                   "",
		"Ana":                   "Ana",
		" Ana  Lucía\t":         "Ana Lucía",
		"Ana\r\nBcc: x":         "Ana Bcc: x",
		"A\x00n\x1ba\u0085":     "Ana",
		"\u202Eana\u2069\uFEFF": "ana",
		"نرگس\u200cزاده":        "نرگس\u200cزاده",
		"a\xffb\uE001c":         "abc",
		"x\u2028y":              "x y",
		"\uFFFD":                "\uFFFD",
		"e\u0301":               "e\u0301",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"María": "Maria", "Muñoz": "Muñoz", "Zoë": "Zoe", "Renée": "Renée", "Ángel": "Angel", "O’Neil": "O'Neil", "Łukasz": "Lukasz",
		"Nguyễn": "Nguyen", "Jose\u0301": "José", "Ömer": "Ömer", "Çelik": "Çelik", "Иван": "Иван", "Ana 中": "Ana 中", "Ґ": "Ґ",
	} {
		if got := foldGSM(in); got != want {
			t.Errorf("foldGSM(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNamesKeepTheirAccentsWhereTheTextHasThem(t *testing.T) {
	t.Parallel()
	text, err := compileFrom(t, edit(t, file(t, "playbook.yaml"), "We never ask", "¡Adiós! We never ask"), file(t, "facts.yaml"), sms, "en")
	if err != nil {
		t.Fatal(err)
	}
	if got := text.SMS(customer("María", "")); !strings.Contains(got, "María") {
		t.Errorf("%q", got)
	}
}

func TestValuesAreBounded(t *testing.T) {
	t.Parallel()
	text := starter(t, email, "en")
	c := customer(strings.Repeat("&", 1000), "")
	if _, err := text.Values(text.Variant(c), c, nil); err != nil {
		t.Error(err)
	}
	c = customer(strings.Repeat("&", 2000), "")
	if _, err := text.Values(text.Variant(c), c, nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("6,000 bytes of text and more of HTML: %v", err)
	}
	if _, _, _, err := text.RenderEmail(c); !errors.Is(err, ErrTooLong) {
		t.Errorf("6,000 bytes of text and more of HTML: %v", err)
	}
}

func TestNothingIsMadeWithoutItsDate(t *testing.T) {
	t.Parallel()
	text, err := compileFrom(t, file(t, "playbook.yaml"), file(t, "facts.yaml"), email, "en")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := text.Values(text.Variant(everything()), everything(), nil); !errors.Is(err, ErrUndated) {
		t.Errorf("values without a date: %v", err)
	}
	if dated := text.Dated(today); dated.Hash() != text.Hash() || dated.language != "en" {
		t.Error("the date is part of the hash")
	}
	for language, want := range map[string]string{
		"en": "November 2, 2026", "en-GB": "2 November 2026", "es": "2 de noviembre de 2026", "es-MX": "2 de noviembre de 2026",
		"pt-BR": "2 de novembro de 2026", "fr": "2 novembre 2026", "it": "2 novembre 2026", "de": "2. November 2026", "ja": "2026-11-02",
	} {
		if got := dateWords(today.AddDate(0, 0, -20), language); got != want {
			t.Errorf("in %s: %s, want %s", language, got, want)
		}
	}
}

func TestHashHoldsAllThatIsRead(t *testing.T) {
	t.Parallel()
	pb, facts := file(t, "playbook.yaml"), file(t, "facts.yaml")
	hash := func(pb, facts string) [32]byte {
		text, err := compileFrom(t, pb, facts, email, "en")
		if err != nil {
			t.Fatal(err)
		}
		return text.Hash()
	}
	seen := map[[32]byte]string{hash(pb, facts): "the starter"}
	if hash(pb, facts) != hash(pb, facts) {
		t.Error("two hashes of one text")
	}
	for name, files := range map[string][2]string{
		"subject":      {edit(t, pb, `subject: "Notice of`, `subject: "News of`), facts},
		"body":         {edit(t, pb, "You gave us your data", "You gave us data"), facts},
		"organisation": {edit(t, pb, "200 Harbor Street", "201 Harbor Street"), facts},
		"advice":       {edit(t, pb, "Ask the passport office", "Call the passport office"), facts},
		"bank":         {edit(t, pb, "  password:\n", "  password:\n    call_bank: true\n"), facts},
		"facts":        {pb, edit(t, facts, "A thief broke", "Two thieves broke")},
		"reference":    {pb, edit(t, facts, "NP-2026-11", "NP-2026-12")},
	} {
		h := hash(files[0], files[1])
		if other := seen[h]; other != "" {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[h] = name
	}
	if hash(edit(t, pb, "batch: 500", "batch: 100"), facts) != hash(pb, facts) {
		t.Error("a setting that nobody reads is part of the hash")
	}
	if hash(edit(t, pb, "Le pedimos disculpas.**", "Perdone.**"), facts) != hash(pb, facts) {
		t.Error("another language is part of the hash")
	}
}

func TestVariantsShareWhatTheyCan(t *testing.T) {
	t.Parallel()
	text := starter(t, sms, "en")
	if text.Variant(customer("Ana", "", roster.SSN)) != text.Variant(customer("Eva", "Moss", roster.PaymentCard)) {
		t.Error("a text message that names no data differs by them")
	}
	if text.Variant(customer("Ana", "")) == text.Variant(customer(" \t", "")) {
		t.Error("a blank name is a name")
	}
	mail := starter(t, email, "en")
	if mail.Variant(customer("Ana", "", roster.SSN)) == mail.Variant(customer("Ana", "", roster.PaymentCard)) {
		t.Error("two kinds of data are one")
	}
	if mail.Variant(customer("Ana", "", roster.SSN)) != mail.Variant(customer("Eva", "Moss", roster.SSN)) {
		t.Error("names are part of the variant")
	}
}

func TestMaskHidesWhoItIs(t *testing.T) {
	t.Parallel()
	c := customer("Guadalupe", "Torres Vega", roster.SSN)
	c.Ref, c.Email, c.Phones = "NP-1", pii.NewEmail("a@example.com"), []pii.Phone{pii.NewPhone("+15055550107")}
	_, text, page, err := starter(t, email, "en").RenderEmail(Mask(c))
	if err != nil {
		t.Fatal(err)
	}
	all := text + page + starter(t, sms, "es").SMS(Mask(c)) + fmt.Sprintf("%+v", *Mask(c))
	for _, secret := range []string{"Guadalupe", "Torres", "K7Q", "NP-1 ", "example.com", "5055550107"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s can be read", secret)
		}
	}
	if !strings.Contains(text, "Dear G…,") || !strings.Contains(text, "XXX-XXX-XXX") {
		t.Errorf("the preview reads\n%s", text)
	}
}

func TestManyMayUseOneText(t *testing.T) {
	t.Parallel()
	text := starter(t, email, "en")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				c := customer(fmt.Sprintf("Ana%d", g), "", roster.DataKind(1+i%24), roster.DataKind(1+g))
				if _, plain, _, err := text.RenderEmail(c); err != nil || !strings.Contains(plain, fmt.Sprintf("Dear Ana%d,", g)) {
					t.Errorf("%v: %s", err, plain)
				}
			}
		})
	}
	wg.Wait()
	if n := len(*text.variants.Load()); n > maxVariants {
		t.Errorf("%d variants are kept", n)
	}
}

func TestMoreVariantsThanAreKept(t *testing.T) {
	t.Parallel()
	text := starter(t, email, "en")
	for i := range maxVariants + 10 {
		c := customer("Ana", "")
		c.Data = roster.DataKinds(2 * i)
		if _, _, _, err := text.RenderEmail(c); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(*text.variants.Load()); n != maxVariants {
		t.Errorf("%d variants are kept", n)
	}
}

func FuzzCompile(f *testing.F) {
	pb, facts := file(f, "playbook.yaml"), file(f, "facts.yaml")
	f.Add("# Hi\n{{code}}", "Ana")
	f.Add("{{#given_name}}{{given_name}}{{/given_name}}{{code}} [a](tel:1) <x> &amp; `{{code}}` ***", "[%code%]")
	f.Add("- {{code}}\n    1. x\n\n> y\n***\n```\n{{organisation.page}}\n```\n&#0;\\", "<")
	p, err := playbook.Parse("p.yaml", []byte(pb))
	if err != nil {
		f.Fatal(err)
	}
	fa, err := playbook.ParseFacts("f.yaml", []byte(facts))
	if err != nil {
		f.Fatal(err)
	}
	wave := *p.Waves["w0"]
	f.Fuzz(func(t *testing.T, body, name string) {
		quoted := strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n", "\t", "\\t").Replace(body)
		other, err := playbook.Parse("p.yaml", []byte(edit(t, pb, `subject: "Notice of data breach from {{organisation.short_name}}: your data was stolen"`, `subject: "`+quoted+`"`)))
		if err != nil {
			return
		}
		w := wave
		mail := *w.Channels.Email
		mail.Texts = map[string]playbook.Mail{"en": {Subject: other.Waves["w0"].Channels.Email.Texts["en"].Subject, Body: other.Waves["w0"].Channels.Email.Texts["en"].Subject}}
		w.Channels.Email = &mail
		q := *p
		q.Waves = map[string]*playbook.Wave{"w0": &w}
		text, err := Compile(&q, fa, "w0", email, "en")
		if err != nil {
			return
		}
		text = text.Dated(today)
		c := customer(name, name, roster.SSN)
		subject, plain, page, err := text.RenderEmail(c)
		if err != nil {
			return
		}
		e := text.Email(text.Variant(c))
		values, err := text.Values(text.Variant(c), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		order := indexes(len(values))
		if replace(e.Subject, e.Vars, values, order) != subject || replace(e.Text, e.Vars, values, order) != plain || replace(e.HTML, e.Vars, values, order) != page {
			t.Fatalf("substituted and rendered differ for %q and %q", body, name)
		}
		if strings.Contains(strings.ToLower(page), "<script") || strings.ContainsAny(subject, "\r\n") {
			t.Fatalf("%q and %q give %q, %s", body, name, subject, page)
		}
	})
}

func BenchmarkSMS(b *testing.B) {
	text, c := starter(b, sms, "en"), customer("María", "Muñoz", roster.SSN)
	b.ReportAllocs()
	for b.Loop() {
		text.SMS(c)
	}
}

func BenchmarkValues(b *testing.B) {
	text, c := starter(b, email, "en"), customer("Lucia", "O'Neil", roster.SSN)
	var dst []string
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = text.Values(text.Variant(c), c, dst[:0])
	}
}

func BenchmarkRenderEmail(b *testing.B) {
	text, c := starter(b, email, "en"), customer("Lucia", "O'Neil", roster.SSN)
	b.ReportAllocs()
	for b.Loop() {
		_, _, _, _ = text.RenderEmail(c)
	}
}

func BenchmarkCompile(b *testing.B) {
	pb, err := playbook.Parse("p.yaml", []byte(file(b, "playbook.yaml")))
	if err != nil {
		b.Fatal(err)
	}
	facts, err := playbook.ParseFacts("f.yaml", []byte(file(b, "facts.yaml")))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Compile(pb, facts, "w0", email, "en"); err != nil {
			b.Fatal(err)
		}
	}
}
