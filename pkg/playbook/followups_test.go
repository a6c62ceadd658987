package playbook

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func TestFollowUps(t *testing.T) {
	t.Parallel()
	starter := starterFile(t, "playbook.yaml")
	p, err := Parse("p.yaml", []byte(starter))
	if err != nil {
		t.Fatal(err)
	}
	f := p.FollowUps
	if f.TimeZone != "America/New_York" || f.AtMost != 12 || f.Apart != 20*time.Hour || p.ClosingNote != "closing" {
		t.Errorf("follow-ups read as %+v, closing note %s", f, p.ClosingNote)
	}
	if got := p.Prepared(); !slices.Equal(got, []string{"apology", "closing", "standing"}) {
		t.Errorf("prepared: %v", got)
	}
	if e := f.Named("weekly"); e == nil || e.Send != "standing" || e.IfLate.Within != 24*time.Hour || e.IfLate.String() != "send within 24h" || f.Named("daily") != nil {
		t.Errorf("weekly is %+v", e)
	}
	// A Tuesday at 10:00 in New York.
	origin := time.Date(2026, 11, 17, 15, 0, 0, 0, time.UTC)
	var due []string
	for o := range f.Times().All(origin) {
		if o.Due.After(origin.AddDate(0, 0, 21)) {
			break
		}
		due = append(due, o.Name+o.Due.In(f.Times().Zone).Format(" Mon 2006-01-02 15:04"))
	}
	if want := []string{"apology Fri 2026-11-20 10:00", "weekly Mon 2026-11-23 10:00", "weekly Mon 2026-11-30 10:00", "weekly Mon 2026-12-07 10:00"}; !slices.Equal(due, want) {
		t.Errorf("due %v, want %v", due, want)
	}
}

func TestFollowUpsHaveDefaults(t *testing.T) {
	t.Parallel()
	text := edit(t, starterFile(t, "playbook.yaml"),
		"  at_most: 12\n  apart: 20h\n", "",
		"      send: apology\n      if_late: send within 48h\n", "", "closing_note: closing\n", "", "time_zone: America/New_York", "time_zone: Europe/Madrid")
	p, err := Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f := p.FollowUps
	if f.TimeZone != "Europe/Madrid" || f.Times().Zone.String() != "Europe/Madrid" || f.AtMost != 52 || f.Apart != 20*time.Hour {
		t.Errorf("follow-ups read as %+v", f)
	}
	if e := f.Cadence[0]; e.Send != "" || e.IfLate != (Late{}) || e.IfLate.String() != "ask" {
		t.Errorf("the first reads as %+v", e)
	}
	without := text[:strings.Index(text, "\nfollow_ups:")] + "\n" + text[strings.Index(text, "\n# What customers may text back"):]
	if p, err = Parse("p.yaml", []byte(without)); err != nil || p.FollowUps != nil || p.Team != nil || p.ClosingNote != "" {
		t.Errorf("without them: %v", err)
	}
}

func TestFollowUpMistakes(t *testing.T) {
	t.Parallel()
	starter := starterFile(t, "playbook.yaml")
	const weekly = "      every: mon 10:00\n"
	for _, tt := range []struct{ name, from, to, at, says string }{
		{"a zone that does not exist", "  # In all", "  time_zone: America/Atlantis\n  # In all", "America/Atlantis", "no time zone"},
		{"none at all", "at_most: 12", "at_most: 0", "0\n  apart", "at_most is 0"},
		{"far apart", "apart: 20h", "apart: 100d", "100d", "100d is long"},
		{"no such day", "mon 10:00\n", "monday 10:00\n", "monday 10:00\n", `every: "monday" is no day`},
		{"no such hour", "mon 10:00\n", "mon 25:00\n", "25:00", `"25:00" is no time of the day`},
		{"never", "after: 72h", "after: 0s", "name: apology\n      after", "apology is due never"},
		{"used up", "at_most: 12", "at_most: 1", "name: weekly", "weekly is never due"},
		{"too soon", weekly, "      after: 73h\n", "name: weekly", "it comes less than 20h0m0s after another"},
		{"both", weekly, weekly + "      after: 96h\n", "every: mon 10:00\n      after", "after and every in one entry"},
		{"neither", weekly, "", "name: weekly", "nothing says when weekly is due"},
		{"no policy", "if_late: send within 24h", "if_late: send", "send\n\n", "write a policy: send within 24h, skip, or ask"},
		{"too late", "if_late: send within 24h", "if_late: send within 60d", "send within 60d", "60d is long"},
		{"no such wave", "send: standing", "send: standin", "standin\n", "did you mean standing?"},
		{"the first notice again", "send: standing", "send: w0", "w0\n      if_late", "said once"},
		{"a name twice", "name: weekly", "name: apology", "apology\n      every", "apology comes twice"},
		{"a name of Candor's", "name: weekly", "name: w2", "w2\n", "w2 is no name"},
		{"no closing note", "closing_note: closing", "closing_note: goodbye", "goodbye", "there is no wave goodbye"},
		{"a closing note that calls", "  closing:\n    title: The last word\n    channels:\n", "  closing:\n    title: The last word\n    channels:\n      call: {}\n", "closing\n\n# Who", "closing calls customers"},
		{"a step of a prepared wave", "  apology:\n    title: A letter from the one who signs\n    channels:\n      email:\n", "  apology:\n    title: A letter from the one who signs\n    channels:\n      sms: {quiet_hours: none, retry_for: 1h, texts: {en: x, es: x}}\n      email:\n        after: 2h\n", "after: 2h", "only w0 has steps"},
		{"a canary of a prepared wave", "    title: The last word\n", "    title: The last word\n    guard: {canary: 5}\n", "canary: 5", "only w0 has a canary"},
		{"nobody told yet", "audience: everyone", "audience: tier = 1 and told", "tier = 1 and told", "nobody is told before the first notice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := edit(t, starter, tt.from, tt.to)
			_, err := Parse("p.yaml", []byte(text))
			found := false
			for _, m := range Mistakes(err) {
				found = found || strings.Contains(m.Message+"; "+m.Remedy, tt.says) && fmt.Sprintf("%d:%d", m.Line, m.Column) == place(text, tt.at)
			}
			if !found || len(Mistakes(err)) != 1 {
				t.Errorf("want %q alone at %s, got %v", tt.says, place(text, tt.at), err)
			}
		})
	}
}

func TestSchemaTakesWhatParseTakes(t *testing.T) {
	t.Parallel()
	s := compile(t, Schema)
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"every: mon 10:00", "every: mon,thu 08:30", true},
		{"every: mon 10:00", "every: month last 10:00", true},
		{"every: mon 10:00", "every: month 31 10:00", false},
		{"every: mon 10:00", "every: mon 24:00", false},
		{"name: weekly", "name: w2", false},
		{"name: weekly", "name: w", true},
		{"      after: 72h\n", "", false},
		{"if_late: send within 24h", "if_late: skip", true},
		{"  standing:\n", "  w1: {}\n  standing:\n", false},
		{"closing_note: closing", "closing_note: closing" + team, true},
		{"closing_note: closing", "closing_note: closing" + strings.ReplaceAll(team, `"+12075550199"`, "sealed:0123456789abcdef"), true},
		{"closing_note: closing", "closing_note: closing" + strings.ReplaceAll(team, "role: duty", "role: duty\n      told_of: [everything]"), false},
	} {
		text := edit(t, starterFile(t, "playbook.yaml"), tt.from, tt.to)
		var doc any
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		_, err := Parse("p.yaml", []byte(text))
		if got := s.Validate(doc); (got == nil) != tt.want || (err == nil) != tt.want {
			t.Errorf("%q: the schema says %v, Parse %v", tt.to, got, err)
		}
	}
}
