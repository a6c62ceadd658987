package notice

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/incident"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

const news = `---
title: The thief was found
sms:
  en: "We are sorry. The thief was found. {{organisation.phone}}, {{code}}"
  es: "Lo sentimos. Encontraron al ladrón. {{organisation.phone}}, {{code}}"
email:
  en: The thief was found
  es: Encontraron al ladrón
---
<!-- en -->
We are sorry, {{#given_name}}{{given_name}}{{/given_name}}. Your code is {{code}}.
<!-- es -->
Lo sentimos. Su código es {{code}}.
`

func TestUpdateIsCompiled(t *testing.T) {
	t.Parallel()
	set, err := NewSet(&candorv1.Declaration{Playbook: file(t, "playbook.yaml"), Facts: file(t, "facts.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	with, err := set.With("w3", news)
	if err != nil {
		t.Fatal(err)
	}
	text, err := with.Text("w3", email, "es-MX")
	if err != nil {
		t.Fatal(err)
	}
	subject, plain, _, err := text.Dated(today).RenderEmail(customer("Ana", "", roster.Password))
	if err != nil || subject != "Encontraron al ladrón" || !strings.Contains(plain, "Su código es K7Q-F3M-XD2.") {
		t.Errorf("%s: %s, %v", subject, plain, err)
	}
	if _, err := with.Text("w0", sms, "en"); err != nil {
		t.Error(err)
	}
	if _, err := set.Text("w3", email, "en"); err == nil {
		t.Error("the plan has the update's texts")
	}
	for _, tt := range []struct{ name, from, to, at, says string }{
		{"a link", "Lo sentimos. Su", "Lo sentimos. [Entre](https://bank.example/login). Su", "Entre", "link"},
		{"HTML", "Lo sentimos. Su", "Lo <b>sentimos</b>. Su", "<b>", "HTML"},
		{"no code", "Su código es {{code}}.", "Adiós.", "Lo sentimos. Adiós.", "code is missing"},
		{"an unknown placeholder", "Your code is {{code}}", "Your code is {{cod}}", "{{cod}}", "unknown placeholder cod"},
	} {
		update := strings.Replace(news, tt.from, tt.to, 1)
		with, err := set.With("w3", update)
		if err != nil {
			t.Fatal(err)
		}
		var all []*playbook.MistakeError
		for _, ch := range []candorv1.Channel{sms, email} {
			for _, language := range []string{"en", "es"} {
				_, err := with.Text("w3", ch, language)
				all = append(all, playbook.Mistakes(err)...)
			}
		}
		before := update[:strings.Index(update, tt.at)]
		line, column := strings.Count(before, "\n")+1, len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))+1
		if len(all) == 0 || !strings.Contains(all[0].Message, tt.says) || all[0].File != "update" || all[0].Line != line || all[0].Column != column {
			t.Errorf("%s: want %q at update:%d:%d, got %v", tt.name, tt.says, line, column, all)
		}
	}
}

func TestLibraryKnowsWhichTextsAWaveUses(t *testing.T) {
	t.Parallel()
	d := &candorv1.Declaration{Incident: "test-1", Playbook: file(t, "playbook.yaml"), Facts: file(t, "facts.yaml")}
	at := timestamppb.New(today)
	inc := &incident.Incident{
		ID: "test-1", Draft: &candorv1.Drafted{Declaration: d, PlanHash: incident.Hash(d)}, DeclaredAt: today,
		Additions: map[string]*incident.Addition{
			"w2":    {AdditionDrafted: &candorv1.AdditionDrafted{Hash: []byte("two"), Addition: &candorv1.Addition{Wave: "w2", Kind: incident.KindUpdate, Text: news}}},
			"w0-a1": {AdditionDrafted: &candorv1.AdditionDrafted{Hash: []byte("rows"), Addition: &candorv1.Addition{Wave: "w0-a1", Kind: incident.KindRoster, Base: "w0"}}},
		},
		Decisions: []incident.Decision{
			{FollowUpDecided: &candorv1.FollowUpDecided{Name: "weekly", DueAt: at, Decision: candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND, Wave: "w1", Base: "standing"}},
		},
		Closings: []incident.Closing{{Closing: &candorv1.Closing{Wave: "w3", Base: "closing"}}},
	}
	l := NewLibrary()
	for wave, want := range map[string]struct{ base, subject string }{
		"w0":    {"w0", "Notice of data breach from Northwind Power: your data was stolen"},
		"w0-a1": {"w0", "Notice of data breach from Northwind Power: your data was stolen"},
		"w1":    {"standing", "Northwind Power: no news yet, and we are still here for you"},
		"w2":    {"w2", "The thief was found"},
		"w3":    {"closing", "Northwind Power: our last message about your stolen data"},
	} {
		set, base, err := l.Of(inc, wave)
		if err != nil || base != want.base {
			t.Errorf("%s uses %s: %v", wave, base, err)
			continue
		}
		text, err := set.Text(base, email, "en")
		if err != nil {
			t.Error(err)
			continue
		}
		if subject, _, _, err := text.Dated(today).RenderEmail(customer("Ana", "")); err != nil || subject != want.subject {
			t.Errorf("%s: %q, %v", wave, subject, err)
		}
		if again, _, _ := l.Of(inc, wave); again != set {
			t.Errorf("%s is compiled twice", wave)
		}
	}
}
