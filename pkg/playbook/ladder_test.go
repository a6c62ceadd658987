package playbook

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	candorv1 "candor/proto/candor/v1"
)

const (
	starterGuard = "    # guard:\n    #   canary: 200\n    #   canary_wait: 10m\n    #   rejected: 20%\n    #   bounced: 10%\n"
	smsTerms     = "        # A message that may have been sent is kept for a person to decide, or sent again: resend after 24h\n        uncertain: keep\n"
	emailTerms   = "        retry_for: 72h\n        uncertain: keep\n"
	relay        = "    batch: 500\n  smtp:\n    from: notices@northwind.example\n    from_name: Northwind\n    reply_to: help@northwind.example\n    messages_per_sec: 20\n"
)

// starterWith is the starter with some pieces replaced, in pairs, and something added.
func starterWith(t *testing.T, more string, pairs ...string) *Playbook {
	t.Helper()
	p, err := Parse("p.yaml", []byte(edit(t, starterFile(t, "playbook.yaml"), pairs...)+more))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGuardHasItsDefaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, guard string
		want        Guard
	}{
		{"absent", "", DefaultGuard()},
		{"empty", "    guard: {}\n", DefaultGuard()},
		{"in part", "    guard: {rejected: 12.5 %, least: 5}\n", Guard{Rejected: 0.125, Bounced: 0.2, Least: 5}},
		{"switched off", "    guard: {rejected: 0%, bounced: 0%}\n", Guard{Least: 200}},
		{"a canary", "    guard: {canary: 50}\n", Guard{Canary: 50, CanaryWait: 10 * time.Minute, Rejected: 0.2, Bounced: 0.2, Least: 200}},
		{"a canary that is not waited for", "    guard: {canary: 50, canary_wait: 0s}\n", Guard{Canary: 50, Rejected: 0.2, Bounced: 0.2, Least: 200}},
		{"the most", "    guard: {canary: 100000, canary_wait: 7d, rejected: 100%, bounced: 0.5%, least: 1}\n", Guard{100_000, 7 * 24 * time.Hour, 1, 0.005, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := starterWith(t, "", starterGuard, tt.guard).Waves["w0"].Guard; got != tt.want {
				t.Errorf("guard is %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"5%": "5%", "0.5%": "0.5%", "12.5 %": "12.5%", "0%": "0%", "100%": "100%", "29%": "29%", "0.0001%": "0.0001%", "99.9999%": "99.9999%"} {
		if s, ok := parseShare(in); !ok || s.String() != want {
			t.Errorf("%q reads as %s, %v", in, s, ok)
		}
	}
	for _, in := range []string{"", "%", "5", "-1%", "101%", "100.1%", "1e1%", "5 percent", ".5%", "5%%", "0.00001%"} {
		if s, ok := parseShare(in); ok {
			t.Errorf("%q reads as %s", in, s)
		}
	}
}

func TestEachYieldsTheStepsAsTheyFollow(t *testing.T) {
	t.Parallel()
	const text, mail, call = candorv1.Channel_CHANNEL_SMS, candorv1.Channel_CHANNEL_EMAIL, candorv1.Channel_CHANNEL_CALL
	for _, tt := range []struct {
		name  string
		pairs []string
		want  []string
	}{
		{"at once", nil, []string{"CHANNEL_SMS 0s ", "CHANNEL_EMAIL 0s "}},
		{"e-mail later", []string{emailTerms, emailTerms + "        after: 24h\n"}, []string{"CHANNEL_SMS 0s ", "CHANNEL_EMAIL 24h0m0s delivered"}},
		{"texts later", []string{smsTerms, smsTerms + "        after: 3d\n        unless: accepted\n"}, []string{"CHANNEL_EMAIL 0s ", "CHANNEL_SMS 72h0m0s accepted"}},
		{"calls at once", []string{"    channels:\n", "    channels:\n      call: {}\n"}, []string{"CHANNEL_SMS 0s ", "CHANNEL_EMAIL 0s ", "CHANNEL_CALL 0s "}},
		{"calls last", []string{"    channels:\n", "    channels:\n      call: {after: 2d}\n", emailTerms, emailTerms + "        after: 3d\n"}, []string{"CHANNEL_SMS 0s ", "CHANNEL_CALL 48h0m0s delivered", "CHANNEL_EMAIL 72h0m0s delivered"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := starterWith(t, "", tt.pairs...).Waves["w0"]
			var got []string
			for ch, terms := range w.Each {
				got = append(got, fmt.Sprintf("%s %s %s", ch, terms.After, terms.Unless))
				if terms.Step() != (terms.After > 0) || terms != w.Terms(ch) {
					t.Errorf("terms of %s are %+v", ch, terms)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("channels are %v, want %v", got, tt.want)
			}
		})
	}
	w := Wave{Channels: Channels{SMS: &SMS{}, Email: &Email{}}}
	for ch := range w.Each {
		if ch != text {
			t.Errorf("%s comes first", ch)
		}
		break
	}
	if w.Terms(call) != nil || w.Terms(mail) != &w.Channels.Email.Terms || (&Wave{}).Terms(mail) != nil {
		t.Error("a channel has another one's terms")
	}
}

func TestMistakesInGuardLadderRelayAndReplies(t *testing.T) {
	t.Parallel()
	guard := func(s string) []string { return []string{starterGuard, "    guard: {" + s + "}\n"} }
	replies := func(s string) []string {
		return []string{"\n# What people read about", "\nreplies:\n" + s + "# What people read about"}
	}
	for _, tt := range []struct {
		name  string
		pairs []string
		at    string
		says  string
	}{
		{"a share without a sign", guard("rejected: 5"), "5}", "write a share, like 5%"},
		{"a share of more than all", guard("bounced: 120%"), "120%", "from 0% to 100%"},
		{"a large canary", guard("canary: 100001"), "100001", "up to 100000"},
		{"a canary below nobody", guard("canary: -1"), "-1", "up to 100000"},
		{"a long wait", guard("canary: 5, canary_wait: 8d"), "8d", "7d or less"},
		{"a wait without a canary", guard("canary_wait: 10m"), "canary_wait: 10m", "without a canary"},
		{"from no notice on", guard("least: 0"), "0}", "least is 0"},
		{"an empty guard", []string{starterGuard, "    guard:\n"}, "", "guard is empty"},
		{"no such key", guard("canery: 5"), "canery", "did you mean canary?"},
		{"a late step", []string{smsTerms, smsTerms + "        after: 31d\n"}, "31d", "30d or less"},
		{"a step before the others", []string{smsTerms, smsTerms + "        after: -1h\n"}, "-1h", "write a time"},
		{"unless without after", []string{smsTerms, smsTerms + "        unless: accepted\n"}, "unless: accepted", "without after"},
		{"unless after nothing", []string{smsTerms, smsTerms + "        after: 0s\n        unless: accepted\n"}, "unless: accepted", "without after"},
		{"unless what", []string{smsTerms, smsTerms + "        after: 1h\n        unless: deliverd\n"}, "deliverd", "did you mean delivered?"},
		{"unless read", []string{smsTerms, smsTerms + "        after: 1h\n        unless: opened-by-them\n"}, "opened-by-them", "write delivered or accepted"},
		{"a late call", []string{"    channels:\n", "    channels:\n      call: {after: 31d}\n"}, "31d}", "30d or less"},
		{"a call with quiet hours", []string{"    channels:\n", "    channels:\n      call: {quiet_hours: none}\n"}, "quiet_hours: none}", "unknown key quiet_hours"},
		{"only steps", []string{smsTerms, smsTerms + "        after: 1h\n", emailTerms, emailTerms + "        after: 1h\n"}, "channels:\n      sms", "no channel begins with the wave"},
		{"a relay without a rate", []string{"    batch: 500\n", strings.Replace(relay, "20", "0", 1)}, "0\n  # A mail relay", "the rate that your relay takes"},
		{"a relay from nobody", []string{"    batch: 500\n", strings.Replace(relay, "from: notices@", "from: notices at ", 1)}, "notices at", "no e-mail address"},
		{"a relay with a name that breaks", []string{"    batch: 500\n", strings.Replace(relay, "from_name: Northwind", "from_name: A;B", 1)}, "A;B", "leave out"},
		{"a relay in part", []string{"    batch: 500\n", "    batch: 500\n  smtp: {from: a@northwind.example}\n"}, "smtp: {", "reply_to is missing in smtp"},
		{"a language not offered", replies("  fr: {stop: [zork]}\n"), "fr: {", "fr is not offered"},
		{"two words", replies("  es: {stop: [no zork]}\n"), "no zork", "no word"},
		{"a number", replies("  es: {stop: [zork1]}\n"), "zork1", "no word"},
		{"a word of another kind", replies("  es: {help: [Baja]}\n"), "Baja]", "Baja means STOP already"},
		{"a word that starts", replies("  es: {call: [unstop]}\n"), "unstop", "means START"},
		{"a word for two things", replies("  en: {help: [zork]}\n  es: {call: [ZÓRK]}\n"), "ZÓRK", "stands for HELP too"},
		{"an unknown placeholder", replies("  es: {stopped: \"A {{organisation.fone}}\"}\n"), "{{organisation.fone", "did you mean organisation.phone?"},
		{"a customer's placeholder", replies("  es: {stopped: \"A {{#given_name}}x{{/given_name}}\"}\n"), "{{#given_name}}x{{/given_name}}\"}\n# What", "placeholder that answers do not have"},
		{"braces", replies("  es: {stopped: \"A }} b\"}\n"), "}} b", "braces that close nothing"},
		{"a long answer", replies("  es: {helped: \"" + strings.Repeat("zork ", 65) + "\"}\n"), `"zork zork`, "more than 320"},
		{"an answer that grows long", replies("  es: {helped: \"" + strings.Repeat("{{organisation.legal_name}} ", 15) + "\"}\n"), `"{{organisation.legal_name}} {{`, "more than 320"},
		{"a link", replies("  es: {called: \"A https://northwind.example\"}\n"), "https://northwind.example\"", "a link in an answer"},
		{"a page to log in", replies("  es: {called: \"Go to northwind.example/signin now\"}\n"), "northwind.example/signin", "a page to log in"},
		{"an empty answer", replies("  es: {called: \"\"}\n"), `""}`, "called is empty"},
		{"an answer over two lines", replies("  es:\n    called: |\n      A\n      Bzork\n"), "", "runs over several lines"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := edit(t, starterFile(t, "playbook.yaml"), tt.pairs...)
			_, err := Parse("p.yaml", []byte(text))
			got := Mistakes(err)
			if !slices.ContainsFunc(got, func(m *MistakeError) bool {
				return strings.Contains(m.Message+m.Remedy, tt.says) && (tt.at == "" || fmt.Sprintf("%d:%d", m.Line, m.Column) == place(text, tt.at))
			}) {
				t.Errorf("want %q at %q %s, got %v", tt.says, tt.at, place(text, tt.at), err)
			}
			if len(got) > 3 {
				t.Errorf("one mistake makes %d: %v", len(got), err)
			}
		})
	}
}

// What the starter shows in comments works as it stands once the marks are gone.
func TestTheStartersExamplesWork(t *testing.T) {
	t.Parallel()
	text := starterFile(t, "playbook.yaml")
	lines := strings.Split(text, "\n")
	live := 0
	for i, line := range lines {
		lead, rest, found := strings.Cut(line, "# ")
		key, _, _ := strings.Cut(strings.TrimSpace(rest), ":")
		if found && strings.TrimSpace(lead) == "" && slices.Contains([]string{
			"smtp", "from", "from_name", "reply_to", "messages_per_sec", "guard", "canary", "canary_wait", "rejected", "bounced", "after", "unless", "replies", "es", "stop", "stopped",
			"call", "skills", "dispositions", "refused_info", "next_day", "most", "counts",
		}, key) {
			lines[i] = lead + rest
			live++
		}
	}
	p, err := Parse("p.yaml", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	w := p.Waves["w0"]
	if d := p.Calls.Dispositions["refused_info"]; w.Channels.Call == nil || w.Channels.Call.After != 24*time.Hour || !d.NextDay || p.Calls.Skills["es"] == nil {
		t.Errorf("calls read as %+v, refused_info as %+v", w.Channels.Call, d)
	}
	if live != 26 || p.Providers.SMTP == nil || w.Guard.Canary != 200 || w.Channels.Email.After != 24*time.Hour || p.Replies["es"].Stop == nil {
		t.Errorf("%d examples came to life: %+v", live, w)
	}
}

func TestTheStarterHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	w := starterWith(t, "").Waves["w0"]
	if w.Guard.Canary != 0 || w.Channels.SMS.Step() || w.Channels.Email.Step() {
		t.Errorf("the starter waits: %+v", w)
	}
}
