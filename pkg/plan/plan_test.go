package plan_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"candor/pkg/pii"
	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL
)

// night is a Monday at 01:00 in New York: nobody gets a text there before 09:00.
var night = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

func starterFile(t testing.TB, name string) string {
	t.Helper()
	b, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// input is the starter's, with some words of the playbook replaced, in pairs.
func input(t testing.TB, replace ...string) plan.Input {
	t.Helper()
	text := starterFile(t, "playbook.yaml")
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("the starter does not say %q", replace[i])
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	pb, err := playbook.Parse("playbook.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	facts, err := playbook.ParseFacts("facts.yaml", []byte(starterFile(t, "facts.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	return plan.Input{Incident: "test-1", Hash: bytes.Repeat([]byte{0xab}, 32), Playbook: pb, Facts: facts, Now: night}
}

// fromFile plans while the file is read, as the command line does.
func fromFile(t testing.TB, in plan.Input, opts roster.Options, file string) (*candorv1.Plan, []*candorv1.PreviewMessage) {
	t.Helper()
	k, err := plan.Start(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	report, err := roster.Import(t.Context(), strings.NewReader(file), opts, k)
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Plan(report.Manifest(), report.Blockers)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := k.Preview(3)
	if err != nil {
		t.Fatal(err)
	}
	return p, messages
}

func channelPlan(t testing.TB, p *candorv1.Plan, ch candorv1.Channel) *candorv1.ChannelPlan {
	t.Helper()
	i := slices.IndexFunc(p.GetWaves()[0].GetChannels(), func(c *candorv1.ChannelPlan) bool { return c.GetChannel() == ch })
	if i < 0 {
		t.Fatalf("plan has no %s", ch)
	}
	return p.GetWaves()[0].GetChannels()[i]
}

var fieldOptions = roster.Options{Key: []byte("a key of a test, 32 bytes long .."), DefaultCountry: "US", DefaultZone: "America/New_York", DefaultLanguage: "es"}

// What a person reads about the field file.
func TestFieldFile(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../roster/testdata/roster-field-es.csv")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := fromFile(t, input(t), fieldOptions, string(file))
	var text bytes.Buffer
	if err := plan.Text(&text, p, time.UTC); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "field.txt")
	if *update {
		if err := os.WriteFile(golden, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
	}
}

// Everybody of the roster is either told on a channel or stands there with a reason.
func TestEverybodyIsAccountedFor(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../roster/testdata/roster-field-es.csv")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := fromFile(t, input(t), fieldOptions, string(file))
	for _, ch := range p.GetWaves()[0].GetChannels() {
		sum := ch.GetNotices()
		for _, n := range ch.GetSuppressed() {
			sum += n
		}
		if sum != p.GetPeople().GetCustomers() {
			t.Errorf("%s: %d of %d customers are accounted for", ch.GetChannel(), sum, p.GetPeople().GetCustomers())
		}
		for name, by := range map[string]map[string]uint64{"language": ch.GetByLanguage(), "tier": ch.GetByTier(), "zone": ch.GetByZone()} {
			var n uint64
			for _, c := range by {
				n += c
			}
			if n != ch.GetNotices() {
				t.Errorf("%s by %s: %d, want %d", ch.GetChannel(), name, n, ch.GetNotices())
			}
		}
	}
	ch := channelPlan(t, p, sms)
	var units, segments uint64
	for _, s := range ch.GetSenders() {
		units += s.GetUnits()
	}
	for _, s := range ch.GetSegments() {
		segments += s.GetSegments()
	}
	if units != segments || units < ch.GetNotices() {
		t.Errorf("senders are given %d segments of %d", units, segments)
	}
}

func TestFilesAndPagesMakeTheSamePlan(t *testing.T) {
	t.Parallel()
	in := input(t)
	file := starterFile(t, "roster.csv")
	fromFiles, _ := fromFile(t, in, fieldOptions, file)
	var pages []*roster.Page
	report, err := roster.Import(t.Context(), strings.NewReader(file), fieldOptions, roster.SinkFunc(func(_ context.Context, p *roster.Page) error {
		pages = append(pages, p)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	fromPages, err := plan.Make(t.Context(), in, report.Manifest(), loads(pages))
	if err != nil {
		t.Fatal(err)
	}
	if fromFiles.String() != fromPages.String() {
		t.Errorf("from a file:\n%v\nfrom pages:\n%v", fromFiles, fromPages)
	}
}

func loads(pages []*roster.Page) iter.Seq2[plan.Load, error] {
	return func(yield func(plan.Load, error) bool) {
		for _, p := range pages {
			if !yield(func(context.Context) (*roster.Page, error) { return p, nil }, nil) {
				return
			}
		}
	}
}

func TestPreviewShowsEveryLanguageAndChannelMasked(t *testing.T) {
	t.Parallel()
	file := "customer_ref,given_name,email,phone,language\n" +
		"A1,Testgiven,canary1@example.com,+12125550101,en\nA2,Testgiven,canary2@example.com,,es\nA3,Ñandutí,,+12125550103,es\n"
	_, messages := fromFile(t, input(t), fieldOptions, file)
	var seen []string
	for _, m := range messages {
		seen = append(seen, fmt.Sprintf("%s %s %s", m.GetCustomerRef(), m.GetChannel(), m.GetLanguage()))
		for _, canary := range []string{"Testgiven", "canary", "5550101"} {
			if strings.Contains(m.String(), canary) {
				t.Errorf("a preview says %q: %v", canary, m)
			}
		}
		if m.GetChannel() == sms && (m.GetSegments() == 0 || m.GetEncoding() == "") {
			t.Errorf("a preview does not say what it costs: %v", m)
		}
	}
	want := []string{"A1 CHANNEL_SMS en", "A3 CHANNEL_SMS es", "A1 CHANNEL_EMAIL en"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("previews (-want +got):\n%s", diff)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	one := "customer_ref,email,phone\nA1,somebody@example.com,+12125550101\n"
	for _, tt := range []struct {
		name    string
		file    string
		change  []string
		code    string
		blocker bool
		says    string
	}{
		{name: "batch without webhook", file: one, code: "batch_without_webhook", says: "500 people"},
		{name: "nobody on the roster", file: "customer_ref,email,compromised_channels\nA1,somebody@example.com,email\n", code: "nobody", blocker: true},
		{name: "nobody can be told", file: "customer_ref,phone\nA1,+18005550101\n", change: []string{"audience: everyone", "audience: tier = 1"}, code: "nobody_reachable", blocker: true},
		{name: "a word that is not known", file: "customer_ref,email,data_exposed\nA1,somebody@example.com,zorkmid\n", code: "data_unknown", blocker: true, says: "zorkmid"},
		{name: "a number of two", file: "customer_ref,phone\nA1,+12125550101\nA2,+12125550101\n", code: "shared_phone", says: "2 customers"},
		{name: "a later wave for some", file: one, change: []string{"waves:\n", "waves:\n" + laterWave}, code: "audience_unknown", says: "reminder"},
		{name: "a follow-up without a text", file: one, change: []string{"      send: standing\n", ""}, code: "follow_up_asks", says: "weekly"},
		{name: "a wave that nothing sends", file: one, change: []string{"      send: standing\n", ""}, code: "wave_unused", says: "standing"},
		{name: "no team", file: one, code: "team_missing"},
		{name: "some in no audience", file: "customer_ref,email,tier\nA1,x1@example.com,1\nA2,x2@example.com,2\n", change: []string{"audience: everyone", "audience: tier = 1"}, code: "unreachable", says: "1 customer "},
		{name: "a slow sender", file: wide(100), change: []string{"segments_per_sec: 25", "segments_per_sec: 0.002"}, code: "long_queue", says: "10 hours"},
		{name: "a language not offered", file: "customer_ref,email,language\nA1,somebody@example.com,fr\n", code: "language_fallback", says: "written to in en"},
		{name: "a default zone", file: "customer_ref,email,country\nA1,somebody@example.com,\n", code: "zone_default", says: "America/New_York"},
		{name: "rejected rows", file: one + "A2,,\n", code: "rejected", says: "1 row"},
		{name: "quiet hours overridden", file: one, change: []string{"override_quiet_hours: false", "override_quiet_hours: true"}, code: "quiet_hours_off"},
		{name: "a dear character", file: one, change: []string{"We{{/given_name}} are sorry.", "We{{/given_name}} are “sorry”."}, code: "ucs2", says: "“"},
		{name: "no price", file: one, change: []string{"\n    other: 0.0004", "\n    MX: 0.0004"}, code: "no_price", says: "too low"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, _ := fromFile(t, input(t, tt.change...), roster.Options{}, tt.file)
			list := p.GetWarnings()
			if tt.blocker {
				list = p.GetBlockers()
			}
			i := slices.IndexFunc(list, func(f *candorv1.Finding) bool { return f.GetCode() == tt.code })
			if i < 0 {
				t.Fatalf("no %s: blockers %v, warnings %v", tt.code, p.GetBlockers(), p.GetWarnings())
			}
			if !strings.Contains(list[i].GetMessage(), tt.says) || list[i].GetRemedy() == "" {
				t.Errorf("it says %v, want %q", list[i], tt.says)
			}
			if !tt.blocker && len(p.GetBlockers()) > 0 {
				t.Errorf("blocked by %v", p.GetBlockers())
			}
		})
	}
}

const laterWave = `  reminder:
    title: Reminder
    audience: sms = failed
    channels:
      email:
        quiet_hours: none
        retry_for: 1h
        texts:
          en: {subject: Data breach, body: "We are sorry. {{organisation.phone}}, code {{code}}."}
          es: {subject: Robo de datos, body: "Lo sentimos. {{organisation.phone}}, {{code}}."}
`

func wide(n int) string {
	var b strings.Builder
	b.WriteString("customer_ref,phone,country\n")
	for i := range n {
		fmt.Fprintf(&b, "A%d,+1212555%04d,US\n", i, 100+i)
	}
	return b.String()
}

func TestMistakesComeAllAtOnce(t *testing.T) {
	t.Parallel()
	in := input(t, "{{organisation.phone}}, code {{code}}", "{{organisation.fone}}, code {{code}}",
		"Robaron datos suyos", "Robaron datos {{tuyos}}")
	_, err := plan.Start(t.Context(), in)
	if got := playbook.Mistakes(err); len(got) != 2 || got[0].Line == 0 {
		t.Errorf("mistakes are %v", err)
	}
}

func TestDamagedPageEndsThePlan(t *testing.T) {
	t.Parallel()
	bad := fmt.Errorf("page is damaged")
	_, err := plan.Make(t.Context(), input(t), &candorv1.RosterManifest{}, func(yield func(plan.Load, error) bool) {
		for yield(func(context.Context) (*roster.Page, error) { return nil, bad }, nil) {
		}
	})
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkMake(b *testing.B) {
	in := input(b)
	pages := manyPages(200)
	m := &candorv1.RosterManifest{Customers: 200 * roster.PageSize}
	for b.Loop() {
		if _, err := plan.Make(b.Context(), in, m, loads(pages)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(200*roster.PageSize*b.N)/b.Elapsed().Seconds(), "customers/s")
}

func manyPages(n int) []*roster.Page {
	pages := make([]*roster.Page, n)
	zones := []string{"America/New_York", "America/Chicago", "America/Los_Angeles", "Europe/Madrid"}
	for i := range pages {
		p := &roster.Page{Number: uint32(i), Tier: uint8(1 + i%5), TimeZone: zones[i%4], Language: []string{"en", "es"}[i%2]}
		for j := range roster.PageSize {
			id := i*roster.PageSize + j
			p.Customers = append(p.Customers, roster.Customer{
				Ref: fmt.Sprint(id), Code: fmt.Sprintf("K%02d-F3M-X%02d", j%100, i%100), GivenName: pii.NewName([]string{"María", "John", "José Luis"}[id%3]),
				Email: pii.NewEmail("somebody@example.com"), Phones: []pii.Phone{pii.NewPhone(fmt.Sprintf("+1%010d", id))}, TextPhones: 1,
				Language: p.Language, Country: "US", TimeZone: p.TimeZone, Tier: p.Tier, Data: roster.DataKinds(1 << (id % 20)),
			})
		}
		pages[i] = p
	}
	return pages
}
