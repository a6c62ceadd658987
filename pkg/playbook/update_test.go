package playbook

import (
	"fmt"
	"strings"
	"testing"
	"time"

	candorv1 "candor/proto/candor/v1"
)

const news = `---
title: The thief was found
audience: tier <= 2
corrects: w0
sms:
  en: >-
    {{organisation.short_name}}: We are sorry. The police found
    the thief. Call {{organisation.phone}}, code {{code}}.
  es: "{{organisation.short_name}}: Lo sentimos. Llame al {{organisation.phone}}, {{code}}."
email:
  en: The police found the thief
  es: La policía encontró al ladrón
---

<!-- en -->

# The thief was found

**We are sorry.** Your code is {{code}}.

<!-- es -->
# Encontraron al ladrón

Lo sentimos. Su código es {{code}}. [x
`

// urgent is the starter's playbook with a first notice that has everything that an update does not take over.
func urgent(t testing.TB) *Playbook {
	p, err := Parse("p.yaml", []byte(edit(t, starterFile(t, "playbook.yaml"),
		"override_quiet_hours: false", "override_quiet_hours: true",
		"    channels:\n", "    guard: {canary: 5, bounced: 3%}\n    channels:\n",
		"        # after: 24h\n", "        after: 24h\n",
		"      # call:\n      #   after: 24h\n", "      call:\n        after: 24h\n")))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	p := urgent(t)
	for _, ends := range []string{"\n", "\r\n"} {
		u, err := ParseUpdate("update.md", []byte("\ufeff"+strings.ReplaceAll(news, "\n", ends)), p)
		if err != nil {
			t.Fatal(err)
		}
		w := u.Wave
		if u.Title != "The thief was found" || w.Title != u.Title || u.Audience.String() != "tier <= 2" || w.Audience.String() != "tier <= 2" || u.Corrects != "w0" {
			t.Errorf("it reads as %+v", u)
		}
		sms, email := w.Channels.SMS, w.Channels.Email
		if want := "# Encontraron al ladrón\n\nLo sentimos. Su código es {{code}}. [x"; email.Texts["es"].Body.String() != want || email.Texts["es"].Subject.String() != "La policía encontró al ladrón" {
			t.Errorf("the e-mail in es reads %q", email.Texts["es"].Body)
		}
		if !strings.HasPrefix(sms.Texts["en"].String(), "{{organisation.short_name}}: We are sorry. The police found the thief.") {
			t.Errorf("the text in en reads %q", sms.Texts["en"])
		}
		// At the hours of what follows, which are kept for e-mails too.
		if sms.Quiet().Always() || sms.RetryFor != 48*time.Hour || email.Quiet().Always() || email.RetryFor != 72*time.Hour || email.Step() || email.Unless != "" {
			t.Errorf("terms are %+v and %+v", sms.Terms, email.Terms)
		}
		q := *p
		q.FollowUps = nil // then on those of the first notice, as long as they wait for decent hours
		if u, err = ParseUpdate("update.md", []byte(news), &q); err != nil || u.Wave.Channels.SMS.Quiet().Always() || u.Wave.Channels.SMS.RetryFor != 24*time.Hour {
			t.Errorf("without follow-ups: %+v, %v", u, err)
		}
		if w.Guard.Canary != 0 || w.Guard.CanaryWait != 0 || w.Guard.Bounced != 0.03 || w.Channels.Call != nil {
			t.Errorf("the guard is %+v", w.Guard)
		}
		m := email.Texts["es"].Body.Mistake(strings.Index(email.Texts["es"].Body.String(), "[x"), "", "")
		if got := fmt.Sprintf("%s:%d:%d", m.File, m.Line, m.Column); got != "update.md:"+place(news, "[x") {
			t.Errorf("[x is at %s, want %s", got, place(news, "[x"))
		}
		m = sms.Texts["en"].Mistake(strings.Index(sms.Texts["en"].String(), "thief"), "", "")
		if got := fmt.Sprintf("%d:%d", m.Line, m.Column); got != place(news, "thief. Call") {
			t.Errorf("thief is at %s, want %s", got, place(news, "thief. Call"))
		}
	}
	called, err := ParseUpdate("u", []byte("---\ntitle: Please expect a call\ncall: true\n---\n"), p)
	if err != nil || called.Wave.Terms(candorv1.Channel_CHANNEL_CALL) == nil || called.Wave.Channels.Call.Step() || called.Audience != nil {
		t.Errorf("a call alone: %+v, %v", called, err)
	}
	if with := p.With("w3", called.Wave); with.Waves["w3"] != called.Wave || p.Waves["w3"] != nil || with.Waves["w0"] != p.Waves["w0"] {
		t.Error("With is not the playbook with one more wave")
	}
}

func TestUpdateMistakes(t *testing.T) {
	t.Parallel()
	p, err := Parse("p.yaml", []byte(starterFile(t, "playbook.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, from, to, at, says string }{
		{"no front matter", "---\ntitle", "title", "", "no front matter"},
		{"a front matter without end", "\n---\n", "\n", "", "does not end"},
		{"an empty one", news, "---\n---\n", "", "front matter is empty"},
		{"no title", "title: The thief was found\n", "", "", "title is missing"},
		{"no YAML", "title: The thief", "title: [The thief", "", "this is no YAML"},
		{"an unknown key", "corrects:", "correct:", "correct:", "did you mean corrects?"},
		{"no audience", "tier <= 2", "teir <= 2", "teir", "did you mean tier?"},
		{"no wave to correct", "corrects: w0", "corrects: standing", "standing", "standing is no wave"},
		{"a text that is missing", "  es: \"{{organisation.short_name}}: Lo sentimos. Llame al {{organisation.phone}}, {{code}}.\"\n", "", "sms:", "sms has no words in es"},
		{"a subject that is missing", "  es: La policía encontró al ladrón\n", "", "email:", "email has no words in es"},
		{"an e-mail that is missing", "<!-- es -->", "", "", "no e-mail in es"},
		{"an e-mail that is empty", "\n# Encontraron al ladrón\n\nLo sentimos. Su código es {{code}}. [x", "", "es -->", "no e-mail in es"},
		{"a language twice", "<!-- es -->", "<!-- en -->", "en -->\n# Enc", "en comes twice"},
		{"a language that is not offered", "<!-- es -->", "<!-- ess -->", "ess", "did you mean es?"},
		{"a text before its language", "\n<!-- en -->", "Hello\n<!-- en -->", "Hello", "a text without its language"},
		{"e-mails without a subject", "email:\n  en: The police found the thief\n  es: La policía encontró al ladrón\n", "", "title:", "e-mails without a subject"},
		{"no channel", news, "---\ntitle: x\n---\n", "title:", "an update without a channel"},
		{"a channel that the first notice has not", "email:\n", "call: true\nemail:\n", "call:", "neither a follow-up nor the first notice has call"},
		{"a byte that is no text", "# The thief", "# The \xff thief", "\xff", "no text"},
		{"a long subject", "The police found the thief\n", strings.Repeat("x", 201) + "\n", "xxx", "more than 200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := edit(t, news, tt.from, tt.to)
			u, err := ParseUpdate("update.md", []byte(text), p)
			found := false
			for _, m := range Mistakes(err) {
				found = found || strings.Contains(m.Message+"; "+m.Remedy, tt.says) && (tt.at == "" || fmt.Sprintf("%d:%d", m.Line, m.Column) == place(text, tt.at)) && m.File == "update.md"
			}
			if !found || u != nil {
				t.Errorf("want %q at %q, got %v", tt.says, tt.at, err)
			}
		})
	}
	if _, err := ParseUpdate("u", []byte(news+strings.Repeat("x\n", MaxUpdateBytes)), p); len(Mistakes(err)) == 0 {
		t.Error("a file without end is taken")
	}
}

func FuzzParseUpdate(f *testing.F) {
	p := urgent(f)
	f.Add([]byte(news))
	f.Add([]byte("---\ntitle: x\ncall: true\n---\n"))
	f.Add([]byte("---\n---\n<!-- en -->\n<!-- en -->"))
	f.Add([]byte("---\nsms: {en: x, es: |\n  y}\n---\n<!---->\n<!-- \n -->"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := ParseUpdate("update.md", data, p)
		if (u == nil) == (err == nil) {
			t.Fatal("neither an update nor an error")
		}
		wellPlaced(t, data, err)
		if u == nil {
			return
		}
		channels := 0
		for range u.Wave.Each {
			channels++
		}
		if u.Title == "" || channels == 0 {
			t.Fatalf("%+v", u)
		}
		if e := u.Wave.Channels.Email; e != nil {
			for _, m := range e.Texts {
				for i := range m.Body.String() {
					m.Body.Mistake(i, "", "")
				}
			}
		}
	})
}
