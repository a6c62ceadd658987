package plan_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/script"
	candorv1 "candor/proto/candor/v1"
)

const (
	call      = candorv1.Channel_CHANNEL_CALL
	channels  = "    channels:\n"
	callLater = channels + "      call: {after: 24h}\n"
	callNow   = channels + "      call: {}\n"
)

// What a person reads about calls.
func TestWhatTheApproversReadOfCalls(t *testing.T) {
	t.Parallel()
	p, _ := fromFile(t, input(t, channels, callLater), fieldOptions, starterFile(t, "roster.csv"))
	var text bytes.Buffer
	if err := plan.Text(&text, p, time.UTC); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "calls.txt")
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

const callable = "customer_ref,email,phone,no_call,compromised_channels\n" +
	"A1,x1@example.com,+12125550101,,\nA2,x2@example.com,,,\nA3,x3@example.com,+12125550103,yes,\nA4,x4@example.com,+12125550104,,phone\nA5,,+442079460105,,\n"

func TestCallsAreCounted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, channel string
		step          bool
	}{{"later", callLater, true}, {"at once", callNow, false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, _ := fromFile(t, input(t, channels, tt.channel), roster.Options{}, callable)
			ch := channelPlan(t, p, call)
			if ch.GetNotices() != 2 || ch.GetSuppressed()[roster.NoNumber] != 1 || ch.GetSuppressed()[roster.OptedOut] != 1 || ch.GetSuppressed()[roster.CompromisedChannel] != 1 {
				t.Errorf("%d are to be called, and not %v", ch.GetNotices(), ch.GetSuppressed())
			}
			want := &candorv1.CallPlan{
				CallerId: "+18005550142", Hours: "mon-fri 09:00-20:00, sat 10:00-18:00", UncertainHours: "mon-fri 14:00-20:00",
				CallsAtMost: 12, NumberPerDay: 3, PersonPerWeek: 7, Total: 6,
			}
			if got := ch.GetCalls(); got.String() != want.String() {
				t.Errorf("calls are %v", got)
			}
			if (ch.GetAfter() != nil) != tt.step || ch.GetCost()+ch.GetCostAtMost()+ch.GetCurrency() != "" || len(ch.GetSenders()) > 0 || ch.GetFirstAt() != nil {
				t.Errorf("the channel is %v", ch)
			}
			if len(ch.GetTexts()) != 2 || len(ch.GetTexts()["es"]) != 64 {
				t.Errorf("texts are %v", ch.GetTexts())
			}
			if len(p.GetBlockers()) > 0 || slices.ContainsFunc(p.GetWarnings(), func(f *candorv1.Finding) bool { return strings.HasPrefix(f.GetCode(), "no_") }) {
				t.Errorf("blocked by %v, warned of %v", p.GetBlockers(), p.GetWarnings())
			}
			if data, err := protojson.Marshal(p); err != nil || !strings.Contains(string(data), `"callsAtMost"`) {
				t.Errorf("the JSON lacks the calls: %v", err)
			}
		})
	}
}

// Whoever has nothing but a number that takes no texts is reached by telephone.
func TestCallsReachPeople(t *testing.T) {
	t.Parallel()
	const file = "customer_ref,phone\nA1,+442079460105\n"
	without, _ := fromFile(t, input(t), roster.Options{}, file)
	with, _ := fromFile(t, input(t, channels, callLater), roster.Options{}, file)
	if without.GetPeople().GetReachable() != 0 || with.GetPeople().GetReachable() != 1 || len(with.GetBlockers()) > 0 {
		t.Errorf("%d reachable without calls, %d with them, blocked by %v", without.GetPeople().GetReachable(), with.GetPeople().GetReachable(), with.GetBlockers())
	}
}

func TestPreviewOfACall(t *testing.T) {
	t.Parallel()
	_, messages := fromFile(t, input(t, channels, callNow), fieldOptions, "customer_ref,given_name,phone,language\nA1,Testgiven,+12125550101,en\n")
	i := slices.IndexFunc(messages, func(m *candorv1.PreviewMessage) bool { return m.GetChannel() == call })
	if i < 0 {
		t.Fatalf("no call among %v", messages)
	}
	m := messages[i]
	for _, want := range []string{"OPENING", "Am I speaking with T…?", "XXX-XXX-XXX", "VOICEMAIL", "Script "} {
		if !strings.Contains(m.GetText(), want) {
			t.Errorf("it does not say %q:\n%s", want, m.GetText())
		}
	}
	if strings.Contains(m.String(), "Testgiven") || m.GetLanguage() != "en" {
		t.Errorf("the preview is %v", m)
	}
}

func TestCallFindings(t *testing.T) {
	t.Parallel()
	const hours = "  hours: mon-fri 09:00-20:00, sat 10:00-18:00\n"
	for _, tt := range []struct {
		name   string
		change []string
		code   string
		says   string // empty if nothing is to be found
	}{
		{"the starter", []string{channels, callNow}, "", ""},
		{"at night", []string{channels, callNow, hours, "  hours: mon-sun 00:00-24:00\n  outside_8_to_21: true\n"}, "calls_at_night", "00:00-24:00"},
		{"at night, without calls", []string{hours, "  hours: mon-sun 00:00-24:00\n  outside_8_to_21: true\n"}, "calls_at_night", ""},
		{"a number that nobody knows", []string{channels, callNow, `caller_id: "+18005550142"`, `caller_id: "+12125550100"`}, "caller_id_unknown", "+12125550100, and know 1-800-555-0142"},
		{"no apology first", []string{"I am sorry that this happened. I am sorry for the worry", "Do not worry"}, "no_apology", "the opening of the script in en"},
		{"no apology last", []string{"Otra vez: le pedimos disculpas por lo que pasó.", "Adiós."}, "no_apology", "the closing of the script in es"},
		{"a canary of calls", append(guarded("canary: 2, least: 1"), channels, callNow), "canary_is_all", "by e-mail"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, _ := fromFile(t, input(t, tt.change...), roster.Options{}, "customer_ref,email,phone\nA1,x1@example.com,+12125550101\n")
			var found []string
			for _, f := range append(p.GetWarnings(), p.GetBlockers()...) {
				if f.GetCode() == tt.code {
					found = append(found, f.GetMessage()+"; "+f.GetRemedy())
				}
				if strings.Contains(f.GetMessage(), "telephone it sends") {
					t.Errorf("it says %q", f.GetMessage())
				}
			}
			if all := strings.Join(found, "\n"); !strings.Contains(all, tt.says) || (tt.says == "") != (all == "") {
				t.Errorf("it says %q, want %q", all, tt.says)
			}
		})
	}
}

func TestNoCallsWithoutAScript(t *testing.T) {
	t.Parallel()
	in := input(t, channels, callNow)
	none := *in.Playbook
	none.Script = nil
	in.Playbook = &none
	if _, err := plan.Start(t.Context(), in); !errors.Is(err, script.ErrNone) || !strings.Contains(err.Error(), "wave w0") {
		t.Errorf("got %v", err)
	}
}

// What agents say to those who call is compiled too, before anybody needs it.
func TestAScriptIsCompiledWithoutCalls(t *testing.T) {
	t.Parallel()
	_, err := plan.Start(t.Context(), input(t, "I am calling from {{organisation.short_name}}.", "I am calling from {{organisation.nickname}}."))
	if m := playbook.Mistakes(err); len(m) != 1 || m[0].Line == 0 {
		t.Errorf("got %v", err)
	}
}

func TestChangesOfCallsAndScript(t *testing.T) {
	t.Parallel()
	const file = "customer_ref,email,phone\nA1,somebody@example.com,+12125550101\n"
	base := []string{channels, callLater}
	for _, tt := range []struct {
		name          string
		before, after []string
		want          []string
	}{
		{"a channel", nil, base, []string{"Wave w0 is now sent by telephone too."}},
		{"no channel", base, nil, []string{"Wave w0 is not sent by telephone any more."}},
		{"at once", base, []string{channels, callNow}, []string{"Wave w0 is sent by telephone at once instead of after 24 hours to those whom nothing was delivered to by then."}},
		{"fewer", base, append([]string{"audience: everyone", "audience: tier = 1"}, base...), []string{
			"Wave w0 sends 0 messages by e-mail instead of 1.", "Wave w0 sends 0 messages by text message instead of 1.", "Wave w0 calls at most 0 customers instead of 1.",
			"Wave w0 is for tier = 1 instead of everyone.",
		}},
		{"rules", base, append([]string{"total: 6", "total: 4", "  gap: 4h\n", "  gap: 5h\n  spread: 1h\n", "uncertain_hours: mon-fri 14", "uncertain_hours: mon-fri 13"}, base...), []string{
			"Customers whose time zone is not known are called: mon-fri 13:00-20:00 (before: mon-fri 14:00-20:00).",
			"Calls to a customer in all: 4 (before: 6).",
			"Time between two calls to a number: 5 hours (before: 4 hours).",
			"Time of day that is left alone after a call without an answer: 1 hour (before: 2 hours).",
		}},
		{"dispositions and skills", base, append([]string{"  gap: 4h\n", "  gap: 4h\n  skills: {es: [spanish]}\n  dispositions: {busy: {after: [30m], most: 2, counts: 1}, gone_away: {number: bad, counts: 1}}\n"}, base...), []string{
			"Agents who call in es need: spanish (before: nothing).",
			"After a call that ends as busy: again after 30 minutes, at most 2 times, counts 1 (before: again after 15 minutes, then 15 minutes, then 1 hour, at most 4 times, counts 0.5).",
			"A call can end as gone_away: the number is not called again, counts 1.",
		}},
		{"the words", base, append([]string{"I am not selling anything.", "I sell nothing.", "question: Who did it?", "question: Who was it?"}, base...), []string{"The script in en changed: opening, questions and answers."}},
		{"the words, without calls", nil, []string{"      needed: |\n        Yes.", "      needed: |\n        Yes!"}, []string{"The script in en changed: whether to call the bank."}},
		{"the words for data", base, append([]string{"advice: Watch for messages", "advice: Beware of messages"}, base...), []string{
			"The text of wave w0 for e-mail in en changed.", "The text of wave standing for e-mail in en changed.",
			"What agents say in en changed with the facts, the organisation or the words for kinds of data.",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := plan.Changes(drafted(t, file, tt.before, nil), drafted(t, file, tt.after, nil))
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}
