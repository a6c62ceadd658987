package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"candor/pkg/audience"
	"candor/pkg/notice"
	"candor/pkg/pii"
	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

const news = `---
title: The thief was found
sms:
  en: "We are sorry. The thief was found. {{organisation.phone}}, {{code}}"
  es: "Lo sentimos. Encontraron al autor. {{organisation.phone}}, {{code}}"
email:
  en: The thief was found
  es: Encontraron al autor
---
<!-- en -->
We are sorry. Your code is {{code}}.
<!-- es -->
Lo sentimos. Su código es {{code}}.
`

// updated is the input for an update.
func updated(t *testing.T, text string) plan.Input {
	t.Helper()
	in := input(t)
	set, err := notice.NewSet(&candorv1.Declaration{Playbook: starterFile(t, "playbook.yaml"), Facts: starterFile(t, "facts.yaml")})
	if err == nil {
		set, err = set.With("w3", text)
	}
	if err != nil {
		t.Fatal(err)
	}
	in.Playbook, in.Facts = set.Playbook, set.Facts
	return in
}

// six are customers of two pages: the second of each has no e-mail address, the third no telephone number.
func six() []*roster.Page {
	var pages []*roster.Page
	for n, language := range []string{"en", "es"} {
		p := &roster.Page{Number: uint32(n), Tier: 1, TimeZone: "America/New_York", Language: language}
		for i := range 3 {
			c := roster.Customer{Ref: strings.Repeat("A", i+1), Code: "K7Q-F3M-XD2", GivenName: pii.NewName("Testgiven"), Language: language, Country: "US", TimeZone: p.TimeZone, Tier: uint8(1 + n)}
			if i != 1 {
				c.Email = pii.NewEmail("somebody@example.com")
			}
			if i != 2 {
				c.Phones, c.TextPhones = []pii.Phone{pii.NewPhone("+12125550101")}, 1
			}
			p.Customers = append(p.Customers, c)
		}
		pages = append(pages, p)
	}
	return pages
}

// toldBy says that the first n customers of each page were told by text.
func toldBy(n int) func(uint32, int) audience.States {
	return func(_ uint32, slot int) audience.States {
		return func(ch candorv1.Channel) candorv1.NoticeState {
			if ch == sms && slot < n {
				return candorv1.NoticeState_NOTICE_STATE_ACCEPTED
			}
			return candorv1.NoticeState_NOTICE_STATE_FAILED
		}
	}
}

func TestWave(t *testing.T) {
	t.Parallel()
	expression := func(text string) audience.Audience {
		a, err := audience.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, tt := range []struct {
		name                         string
		wave                         string
		audience                     audience.Audience
		told                         int
		customers, reachable, s, e   uint64
		suppressedS, suppressedE     uint64
		blocker, costSMS, firstLocal string
	}{
		{"everybody on file", "w3", audience.Audience{}, 0, 6, 6, 4, 4, 2, 2, "", "0.0332", "09:00"},
		{"those who were told", "w3", audience.Told(), 1, 2, 2, 2, 2, 0, 0, "", "0.0166", "09:00"},
		{"some of those", "w3", expression("tier = 2").And(audience.Told()), 2, 2, 2, 2, 1, 0, 1, "", "0.0166", "09:00"},
		{"nobody", "w3", audience.Told(), 0, 0, 0, 0, 0, 0, 0, "nobody", "0", ""},
		{"nobody whom it reaches", "apology", expression("told and not email = accepted and tier = 1"), 2, 2, 1, 0, 1, 0, 1, "", "", "08:00"},
		{"the first notice to rows that came later", "w0", audience.Audience{}, 0, 6, 6, 4, 4, 2, 2, "", "0.0498", "09:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := updated(t, news)
			c, err := plan.Wave(t.Context(), in, plan.Added{Wave: tt.wave, Audience: tt.audience, States: toldBy(tt.told)}, loads(six()))
			if err != nil {
				t.Fatal(err)
			}
			if c.Customers != tt.customers || c.Reachable != tt.reachable || c.Wave.GetWave() != tt.wave || c.Wave.GetAudience() != tt.audience.String() {
				t.Errorf("%d customers, %d reachable, %v", c.Customers, c.Reachable, c.Wave)
			}
			for _, ch := range c.Wave.GetChannels() {
				var suppressed uint64
				for _, n := range ch.GetSuppressed() {
					suppressed += n
				}
				notices, left, cost := tt.s, tt.suppressedS, tt.costSMS
				if ch.GetChannel() == email {
					notices, left, cost = tt.e, tt.suppressedE, ch.GetCost()
				}
				if ch.GetNotices() != notices || suppressed != left || ch.GetCost() != cost {
					t.Errorf("%v: %d notices, %d suppressed, cost %s", ch.GetChannel(), ch.GetNotices(), suppressed, ch.GetCost())
				}
			}
			if ch := c.Wave.GetChannels()[0]; tt.firstLocal != "" && ch.GetFirstAt().AsTime().In(newYork(t)).Format("15:04") != tt.firstLocal {
				t.Errorf("the first is told at %v", ch.GetFirstAt().AsTime().In(newYork(t)))
			}
			if tt.blocker == "" && len(c.Blockers) > 0 || tt.blocker != "" && (len(c.Blockers) != 1 || c.Blockers[0].GetCode() != tt.blocker) {
				t.Errorf("blocked by %v", c.Blockers)
			}
			messages, err := c.Preview(3)
			if err != nil || tt.customers > 0 && len(messages) == 0 || tt.customers == 0 && len(messages) > 0 {
				t.Errorf("%d previews: %v", len(messages), err)
			}
			for _, m := range messages {
				if strings.Contains(m.String(), "Testgiven") || tt.wave == "w3" && !strings.Contains(m.GetText(), "sorry") && !strings.Contains(m.GetText(), "sentimos") {
					t.Errorf("the preview is %v", m)
				}
			}
		})
	}
}

func newYork(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestWaveNeedsStatesAndTexts(t *testing.T) {
	t.Parallel()
	if _, err := plan.Wave(t.Context(), updated(t, news), plan.Added{Wave: "w3", Audience: audience.Told()}, loads(six())); err == nil {
		t.Error("told is known without states")
	}
	if _, err := plan.Wave(t.Context(), updated(t, news), plan.Added{Wave: "w4"}, loads(six())); err == nil {
		t.Error("a wave without texts is counted")
	}
	_, err := plan.Wave(t.Context(), updated(t, strings.Replace(news, "Su código es {{code}}.", "Adiós.", 1)), plan.Added{Wave: "w3"}, loads(six()))
	if m := playbook.Mistakes(err); len(m) != 1 || m[0].File != "update" || m[0].Line != 13 {
		t.Errorf("mistakes are %v", err)
	}
}

func TestPreparedWavesAreCountedAtMost(t *testing.T) {
	t.Parallel()
	p, err := plan.Make(t.Context(), input(t), &candorv1.RosterManifest{Customers: 6}, loads(six()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range p.GetWaves() {
		got = append(got, w.GetWave()+": "+strings.Join(w.GetSent(), "; "))
		for _, ch := range w.GetChannels() {
			prepared := w.GetWave() != playbook.FirstNotice
			if ch.GetNotices() != 4 || (ch.GetCost() == "") != prepared || (ch.GetCostAtMost() == "") == prepared || (ch.GetFirstAt() == nil) != prepared {
				t.Errorf("wave %s: %v", w.GetWave(), ch)
			}
		}
	}
	want := []string{
		"w0: ",
		"apology: 3 days after the first notice, unless there is news",
		"standing: then every Monday at 10:00, America/New_York, at most 12 in all, unless there is news",
		"closing: as the last word, when the incident is closed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if p.GetPeople().GetReachable() != 6 {
		t.Errorf("%d are reachable", p.GetPeople().GetReachable())
	}
}
