package script

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

var update = flag.Bool("update", false, "write the files under testdata anew")

func file(t testing.TB, name string, pairs ...string) string {
	t.Helper()
	data, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the starter does not say %q", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func parse(t testing.TB, pb, facts string) (*playbook.Playbook, *playbook.Facts) {
	t.Helper()
	p, err := playbook.Parse("p.yaml", []byte(pb))
	if err != nil {
		t.Fatal(err)
	}
	f, err := playbook.ParseFacts("f.yaml", []byte(facts))
	if err != nil {
		t.Fatal(err)
	}
	return p, f
}

// starter is the starter's script, with some words of the playbook replaced, in pairs.
func starter(t testing.TB, pairs ...string) *Set {
	t.Helper()
	s, err := Compile(parse(t, file(t, "playbook.yaml", pairs...), file(t, "facts.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func customer(given string, kinds ...roster.DataKind) *roster.Customer {
	return &roster.Customer{
		Code: "K7Q-F3M-XD2", GivenName: pii.NewName(given), FamilyName: pii.NewName("Muñoz"), Ref: "A1",
		Phones: []pii.Phone{pii.NewPhone("+12125550101")}, Email: pii.NewEmail("somebody@example.com"), Data: set(kinds...),
	}
}

func set(kinds ...roster.DataKind) (s roster.DataKinds) {
	for _, k := range kinds {
		s = s.With(k)
	}
	return s
}

func every() roster.DataKinds { return set(roster.AllDataKinds()...) }

// What an agent reads.
func TestStarterReadsAsItShould(t *testing.T) {
	t.Parallel()
	s := starter(t)
	for _, language := range []string{"en", "es"} {
		for name, made := range map[string]*candorv1.Script{
			"card":    s.For(language, customer("Ana", roster.PaymentCard, roster.SSN)),
			"unknown": s.For(language, customer("")),
			"inbound": s.General(language, 0),
		} {
			var b bytes.Buffer
			if err := Text(&b, made); err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+language+".txt", b.String())
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
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

func all(s *candorv1.Script) string {
	var b strings.Builder
	for _, p := range s.GetParts() {
		b.WriteString(p.GetName() + ": " + p.GetText() + "\n")
	}
	for _, a := range s.GetAnswers() {
		b.WriteString(a.GetQuestion() + " " + a.GetAnswer() + "\n")
	}
	return b.String()
}

func said(t testing.TB, s *candorv1.Script, name string) string {
	t.Helper()
	i := slices.IndexFunc(s.GetParts(), func(p *candorv1.ScriptPart) bool { return p.GetName() == name })
	if i < 0 {
		t.Fatalf("no part %s", name)
	}
	return s.GetParts()[i].GetText()
}

func answerTo(s *candorv1.Script, question string) (answers []string) {
	for _, a := range s.GetAnswers() {
		if strings.HasPrefix(a.GetQuestion(), question) {
			answers = append(answers, a.GetAnswer())
		}
	}
	return answers
}

// Whatever a customer lost and is called, every part is there, ready to be said, and tells nothing that they need not know.
func TestEveryCustomerHasAWholeScript(t *testing.T) {
	t.Parallel()
	s := starter(t)
	rapid.Check(t, func(t *rapid.T) {
		c := customer(rapid.SampledFrom([]string{"", "Ana", "María de los Ángeles", "{{code}}", "O'Neil & <b>", "\u202eAna\n"}).Draw(t, "name"),
			rapid.SliceOf(rapid.SampledFrom(roster.AllDataKinds())).Draw(t, "kinds")...)
		tag := rapid.SampledFrom([]string{"en", "es", "es-MX", "ca", "fr", ""}).Draw(t, "language")
		made := s.For(tag, c)
		text := all(made)
		for _, never := range []string{"\uE001", "\n\n\n", "somebody@example.com", "5550101", "Muñoz", "%!"} {
			if strings.Contains(text, never) {
				t.Fatalf("it says %q:\n%s", never, text)
			}
		}
		if strings.Contains(strings.ReplaceAll(text, "{{code}}", ""), "{{") {
			t.Fatalf("a placeholder is left:\n%s", text)
		}
		if len(made.GetParts()) != 10 || len(made.GetAnswers()) < 18 || made.GetVersion() != s.Version(tag) {
			t.Fatalf("%d parts, %d answers, version %s", len(made.GetParts()), len(made.GetAnswers()), made.GetVersion())
		}
		for _, p := range made.GetParts() {
			if p.GetText() == "" || p.GetText() != strings.TrimSpace(p.GetText()) {
				t.Fatalf("%s reads %q", p.GetName(), p.GetText())
			}
		}
		for _, a := range made.GetAnswers() {
			if a.GetQuestion() == "" || a.GetAnswer() == "" {
				t.Fatalf("%q is answered %q", a.GetQuestion(), a.GetAnswer())
			}
		}
		if !strings.Contains(text, "K7Q-F3M-XD2") {
			t.Fatal("the code is not said")
		}
	})
}

func TestAnswersFollowFromWhatWasLost(t *testing.T) {
	t.Parallel()
	s := starter(t)
	for _, tt := range []struct {
		name    string
		kinds   []roster.DataKind
		bank    string // begins the answer
		also    string // stands in it
		newCard bool
	}{
		{"a card", []roster.DataKind{roster.PaymentCard}, "Yes. Please call", "", true},
		{"an account", []roster.DataKind{roster.BankAccount, roster.NameData}, "Yes. Please call", "", false},
		{"a password", []roster.DataKind{roster.Password}, "No, you do not", "the same password", false},
		{"a name", []roster.DataKind{roster.NameData}, "No, you do not", "", false},
		{"nobody knows what", nil, "We do not know that yet", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, made := range []*candorv1.Script{s.For("en", customer("Ana", tt.kinds...)), s.General("en", set(tt.kinds...))} {
				if len(tt.kinds) == 0 && made.GetParts()[0].GetText() != s.For("en", customer("Ana")).GetParts()[0].GetText() {
					continue // without kinds, General is for all
				}
				bank := answerTo(made, "Do I need to call my bank?")
				if len(bank) != 1 || !strings.HasPrefix(bank[0], tt.bank) || !strings.Contains(bank[0], tt.also) {
					t.Errorf("the bank: %q", bank)
				}
				if got := answerTo(made, "Do I need a new card?"); len(got) == 1 != tt.newCard {
					t.Errorf("a new card: %q", got)
				}
			}
		})
	}
}

// An agent who does not know who calls sees which answer is for whom.
func TestGeneralShowsTheAnswersForAll(t *testing.T) {
	t.Parallel()
	s := starter(t)
	made := s.General("en", 0)
	var bank []string
	for _, a := range made.GetAnswers() {
		if strings.HasPrefix(a.GetQuestion(), "Do I need to call my bank?") {
			bank = append(bank, a.GetQuestion()+" "+a.GetAnswer()[:3])
		}
	}
	want := []string{"Do I need to call my bank? (Your payment card number; Your bank account number; Your money records, such as income or loans) Yes", "Do I need to call my bank? No,"}
	if !slices.Equal(bank, want) {
		t.Errorf("the bank: %q", bank)
	}
	if got := answerTo(made, "Do I need a new card? (Your payment card number)"); len(got) != 1 {
		t.Errorf("a new card: %q", got)
	}
	for language, want := range map[string]string{"en": "[given name]", "es": "[nombre]"} {
		if opening := said(t, s.General(language, every()), "opening"); !strings.Contains(opening, want) {
			t.Errorf("%s opens with %q", language, opening)
		}
	}
	if !strings.Contains(all(made), "XXX-XXX-XXX") {
		t.Error("a code is said")
	}
}

func TestVoicemailTellsNothing(t *testing.T) {
	t.Parallel()
	for _, language := range []string{"en", "es"} {
		for _, c := range []*roster.Customer{customer("Ana", roster.AllDataKinds()...), customer("")} {
			heard := strings.ToLower(said(t, starter(t).For(language, c), playbook.Voicemail))
			for _, never := range []string{"data", "stole", "breach", "sorry", "dato", "rob", "disculp", "np-2026"} {
				if strings.Contains(heard, never) {
					t.Errorf("it says %q: %s", never, heard)
				}
			}
		}
	}
}

// What is heard once must be short.
func TestStarterSpeaksInShortSentences(t *testing.T) {
	t.Parallel()
	for _, language := range []string{"en", "es"} {
		for sentence := range strings.FieldsFuncSeq(all(starter(t).General(language, 0)), func(r rune) bool { return strings.ContainsRune(".?!:;\n", r) }) {
			if words := strings.Fields(sentence); len(words) > 22 {
				t.Errorf("%d words in %s: %s", len(words), language, strings.TrimSpace(sentence))
			}
		}
	}
}

// Facts are written in Markdown, which nobody can hear.
func TestFactsLoseTheirMarkdown(t *testing.T) {
	t.Parallel()
	s, err := Compile(parse(t, file(t, "playbook.yaml", "name: Your payment card number", "name: Your *payment card* number"),
		file(t, "facts.yaml", "A thief broke", "A **thief** ([more](https://northwind.example/notice)) broke")))
	if err != nil {
		t.Fatal(err)
	}
	made := s.For("en", customer("Ana", roster.PaymentCard))
	if got := said(t, made, "what_happened"); !strings.HasPrefix(got, "A thief (more (https://northwind.example/notice)) broke") {
		t.Errorf("it says %q", got)
	}
	if got := said(t, made, "what_of_yours"); !strings.Contains(got, "- Your payment card number. Call") {
		t.Errorf("it says %q", got)
	}
}

func TestMistakesHaveTheirPlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, from, to, at, says string }{
		{"an unknown placeholder", "I am calling from {{organisation.short_name}}.", "I am calling from {{organisation.nickname}}.", "{{organisation.nickname}}", "unknown placeholder"},
		{"a name that not everybody has", "[Is it somebody else?", "{{given_name}} [Is it somebody else?", "{{given_name}} [Is it", "not every customer has"},
		{"an e-mail's placeholder", "We will tell you when we know more.", "It is {{notice_date}}.", "{{notice_date}}.", "unknown placeholder"},
		{"in an answer", "question: Who did it?", "question: Who did it, {{facts.who}}?", "{{facts.who}}", "unknown placeholder"},
		{"in the bank's answer", "        Yes. Please call your bank", "        {{#bank}} Please call your bank", "{{#bank}}", "unknown placeholder"},
		{"not closed", "    what_we_do: |\n      {{facts.what_we_do}}", "    what_we_do: |\n      {{#any_data}}{{facts.what_we_do}}", "{{#any_data}}{{facts.what_we_do", "not closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := file(t, "playbook.yaml", tt.from, tt.to)
			_, err := Compile(parse(t, text, file(t, "facts.yaml")))
			before := text[:strings.Index(text, tt.at)]
			line, column := strings.Count(before, "\n")+1, len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))+1
			if !slices.ContainsFunc(playbook.Mistakes(err), func(m *playbook.MistakeError) bool {
				return m.Line == line && m.Column == column && strings.Contains(m.Message, tt.says) && m.Remedy != ""
			}) {
				t.Errorf("want %q at %d:%d, got %v", tt.says, line, column, err)
			}
		})
	}
}

func TestACodeIsSaidInEveryLanguage(t *testing.T) {
	t.Parallel()
	_, err := Compile(parse(t, strings.NewReplacer("Your code is {{code}}. With", "With", "Your code is {{code}}, and", "And").Replace(file(t, "playbook.yaml")), file(t, "facts.yaml")))
	if m := playbook.Mistakes(err); len(m) != 1 || !strings.Contains(m[0].Message, "code is missing") || m[0].Line == 0 {
		t.Errorf("got %v", err)
	}
}

func TestWithoutAScriptOrFacts(t *testing.T) {
	t.Parallel()
	pb, facts := parse(t, file(t, "playbook.yaml"), file(t, "facts.yaml"))
	none := *pb
	none.Script = nil
	if _, err := Compile(&none, facts); !errors.Is(err, ErrNone) {
		t.Errorf("got %v", err)
	}
	english := *facts
	english.Texts = map[string]playbook.Account{"en": facts.Texts["en"]}
	if _, err := Compile(pb, &english); err == nil || !strings.Contains(err.Error(), "no facts in es") {
		t.Errorf("got %v", err)
	}
}

// Whatever changes what an agent may say changes the version, and nothing else does.
func TestVersionFollowsTheWords(t *testing.T) {
	t.Parallel()
	was := starter(t)
	if v := was.Version("en"); len(v) != 12 || v == was.Version("es") || v != was.Version("en-GB") || !strings.HasPrefix(hex.EncodeToString(first(was.Hash("en"))), v) {
		t.Errorf("versions are %s and %s", v, was.Version("es"))
	}
	if starter(t).Version("en") != was.Version("en") {
		t.Error("the same words have two versions")
	}
	for _, tt := range []struct {
		name, from, to string
		en, es         bool // changes
	}{
		{"a part", "I am not selling anything.", "I do not sell anything.", true, false},
		{"a question", "question: Who did it?", "question: Who was it?", true, false},
		{"an answer", "Of course. I bring in", "Sure. I bring in", true, false},
		{"whom an answer is for", "kinds: [payment_card]", "kinds: [bank_account]", true, false},
		{"who should call the bank", "    call_bank: true\n", "", true, true},
		{"an advice", "advice: Call your card company", "advice: Ring your card company", true, false},
		{"the organisation", "short_name: Northwind Power", "short_name: Southwind Power", true, true},
		{"the hours of calls", "hours: mon-fri 09:00-20:00, sat", "hours: mon-fri 10:00-20:00, sat", false, false},
		{"a text message", "Your data was stolen. Call", "They stole your data. Call", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			is := starter(t, tt.from, tt.to)
			if en, es := is.Version("en") != was.Version("en"), is.Version("es") != was.Version("es"); en != tt.en || es != tt.es {
				t.Errorf("en changed: %v, es changed: %v", en, es)
			}
		})
	}
	facts, err := Compile(parse(t, file(t, "playbook.yaml"), file(t, "facts.yaml", "on November 16, 2026", "on November 17, 2026")))
	if err != nil {
		t.Fatal(err)
	}
	if facts.Version("en") == was.Version("en") || facts.Version("es") != was.Version("es") {
		t.Error("the facts are not in the version, or in that of another language")
	}
}

func first(h [32]byte) []byte { return h[:] }

// Many agents are served at once, and what they share is not changed.
func TestManyAgentsAtOnce(t *testing.T) {
	t.Parallel()
	s := starter(t)
	want := proto.CloneOf(s.For("en", customer("Ana", roster.PaymentCard)))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				s.For("es", customer("Eva", roster.AllDataKinds()[(i*50+j)%20]))
				s.General("en", 0)
				if got := s.For("en", customer("Ana", roster.PaymentCard)); !proto.Equal(got, want) {
					t.Errorf("it reads\n%s", all(got))
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestLibraryKeepsAPlansScript(t *testing.T) {
	t.Parallel()
	l := NewLibrary()
	pb, facts := parse(t, file(t, "playbook.yaml"), file(t, "facts.yaml"))
	a, err := l.Set([]byte("a"), pb, facts)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := l.Set([]byte("a"), nil, nil); again != a {
		t.Error("it was compiled again")
	}
	none := *pb
	none.Script = nil
	if _, err := l.Set([]byte("b"), &none, facts); !errors.Is(err, ErrNone) {
		t.Errorf("got %v", err)
	}
	for i := range librarySize - 1 {
		l.sets[string(rune('😀'+i))] = a
	}
	if _, err := l.Set([]byte("new"), pb, facts); err != nil || len(l.sets) != 1 {
		t.Errorf("%d plans are kept: %v", len(l.sets), err)
	}
}

func BenchmarkFor(b *testing.B) {
	s := starter(b)
	var customers []*roster.Customer
	for i := range 100 {
		kinds := roster.AllDataKinds()
		customers = append(customers, customer("Ana", kinds[i%20], kinds[(i*7)%20]))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		s.For([]string{"en", "es"}[i%2], customers[i%100])
	}
}
