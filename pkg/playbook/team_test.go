package playbook

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const team = `
team:
  members:
    - role: duty
      sms: "+12075550199"
      email: dana@duty.example
    - role: call center
      email: 'calls@duty.example'
      told_of: [declared, paused]
  hooks:
    - name: war room
      url: https://hooks.example.com/services/T0?x=1#y
      secret: correct-horse-battery
`

func withTeam(t testing.TB, team string) string {
	return edit(t, starterFile(t, "playbook.yaml"), "closing_note: closing\n", "closing_note: closing\n"+team)
}

func TestTeam(t *testing.T) {
	t.Parallel()
	p, err := Parse("p.yaml", []byte(withTeam(t, team)))
	if err != nil {
		t.Fatal(err)
	}
	want := &Team{
		RemindEvery: 15 * time.Minute, RemindersAtMost: 8,
		Members: []Member{
			{Role: "duty", SMS: "+12075550199", Email: "dana@duty.example"},
			{Role: "call center", Email: "calls@duty.example", ToldOf: []string{"declared", "paused"}},
		},
		Hooks: []Hook{{Name: "war room", URL: "https://hooks.example.com/services/T0?x=1#y", Secret: "correct-horse-battery"}},
	}
	if diff := cmp.Diff(want, p.Team); diff != "" {
		t.Error(diff)
	}
}

func TestTeamMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, from, to, at, says string }{
		{"nobody", team, "team: {remind_every: 5m}\n", "team:", "nobody is in the team"},
		{"no way", "      email: 'calls@duty.example'\n", "", "role: call center", "no way to tell"},
		{"a number without its country", `"+12075550199"`, `"207-555-0199"`, `"207`, "sms is no telephone number"},
		{"a number that is a number", `"+12075550199"`, `+12075550199`, `+12075550199`, "put it in quotes"},
		{"no e-mail address", "dana@duty.example", "Dana <dana@duty.example>", "Dana <", "email is no e-mail address"},
		{"a webhook without TLS", "https://hooks", "http://hooks", "http://hooks", "url is no webhook"},
		{"a webhook with a password", "https://hooks", "https://dana:secret@hooks", "https://dana", "url is no webhook"},
		{"a short secret", "correct-horse-battery", "horse", "horse", "secret is short"},
		{"no such alert", "[declared, paused]", "[declared, pause]", "pause]", "did you mean paused?"},
		{"an alert twice", "[declared, paused]", "[paused, paused]", "paused]", "paused comes twice"},
		{"told of nothing", "[declared, paused]", "[]", "[]", "told of nothing"},
		{"a long wait", "team:\n", "team:\n  remind_every: 3d\n", "3d\n", "remind_every is 3d"},
		{"no reminders at all", "team:\n", "team:\n  reminders_at_most: 101\n", "101", "reminders_at_most is out of reach"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			whole := withTeam(t, team)
			begin := strings.Index(whole, team)
			text := whole[:begin] + edit(t, whole[begin:], tt.from, tt.to)
			_, err := Parse("p.yaml", []byte(text))
			at := begin + strings.Index(text[begin:], tt.at)
			line := strings.Count(text[:at], "\n") + 1
			found := slices.ContainsFunc(Mistakes(err), func(m *MistakeError) bool {
				return strings.Contains(m.Message+"; "+m.Remedy, tt.says) && m.Line == line
			})
			if !found || len(Mistakes(err)) != 1 {
				t.Errorf("want %q alone in line %d, got %v", tt.says, line, err)
			}
			for _, address := range []string{"207", "dana", "secret@", "12345"} {
				if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), `"+12025550199"`, ""), address) && !strings.Contains(err.Error(), ":"+address) {
					t.Errorf("the mistake tells %q: %v", address, err)
				}
			}
		})
	}
	for _, url := range []string{"http://127.0.0.1:8080/hook", "http://localhost/hook", "http://[::1]:9/x", "sealed:0123456789abcdef"} {
		if _, err := Parse("p.yaml", []byte(withTeam(t, edit(t, team, "https://hooks.example.com/services/T0?x=1#y", `"`+url+`"`)))); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// marked makes a mark as the api does, but without a key.
func marked(address string) string {
	return fmt.Sprintf("sealed:%x", sha256.Sum256([]byte(address)))[:len("sealed:")+16]
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]string{"as it is": "\n", "from Windows": "\r\n"} {
		data := []byte(strings.ReplaceAll(withTeam(t, team), "\n", ends))
		if ends == "\r\n" {
			data = append([]byte("\ufeff"), data...)
		}
		got, addresses, err := Redact("p.yaml", data, marked)
		if err != nil {
			t.Fatal(err)
		}
		want := string(data)
		for old, quoted := range map[string]bool{
			"+12075550199": true, "dana@duty.example": false, "calls@duty.example": true,
			"https://hooks.example.com/services/T0?x=1#y": false, "correct-horse-battery": false,
		} {
			mark := marked(old)
			if addresses[mark] != old {
				t.Errorf("%s: %s stands for %q", name, mark, addresses[mark])
			}
			if !quoted {
				mark = `"` + mark + `"`
			}
			want = strings.ReplaceAll(want, old, mark)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" || len(addresses) != 5 {
			t.Errorf("%s: %d addresses\n%s", name, len(addresses), diff)
		}
		p, err := Parse("p.yaml", got)
		if err != nil || !IsMark(p.Team.Members[0].SMS) || !IsMark(p.Team.Hooks[0].Secret) {
			t.Errorf("%s: %v", name, err)
		}
		again, none, err := Redact("p.yaml", got, marked)
		if err != nil || !bytes.Equal(again, got) || len(none) != 0 {
			t.Errorf("%s: redacted again it is another, with %d addresses: %v", name, len(none), err)
		}
	}
	plain := []byte(starterFile(t, "playbook.yaml"))
	if got, addresses, err := Redact("p.yaml", plain, marked); err != nil || !bytes.Equal(got, plain) || len(addresses) != 0 {
		t.Errorf("without a team: %v", err)
	}
}

func TestRedactRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, from, to, says string }{
		{"an address in a comment", "- role: duty", "- role: duty # Dana@Duty.example", "address or secret of the team"},
		{"a number in a comment", "- role: duty", "- role: duty # call 207 555-0199", "telephone number of the team"},
		{"a number in a longer one", "- role: duty", "- role: duty # (1) 207.555.0199", "telephone number of the team"},
		{"an address in a role", "- role: duty", "- role: dana@duty.example", "address or secret of the team"},
		{"an address with escapes in a role", "- role: duty", `- role: "dana\u0040duty.example"`, "address or secret of the team"},
		{"an address elsewhere", "name: Dana Whitfield", "name: Dana, dana@duty.example", "address or secret of the team"},
		{"escapes", `"+12075550199"`, `"\u002b12075550199"`, "cannot be sealed"},
		{"several lines", "dana@duty.example", "|\n        dana@duty.example", "cannot be sealed"},
		{"a secret elsewhere", "role: call center", "role: Correct-Horse-Battery", "address or secret of the team"},
		{"a number with other blanks and dashes", "- role: duty", "- role: duty # 207\u00a0555–0199", "telephone number of the team"},
		{"a webhook without its scheme", "- role: duty", "- role: duty # hooks.example.com/services/T0?x=1#y", "address or secret of the team"},
		{"a key with escapes", "team:\n", "calls:\n  skills:\n    \"dana\\u0040duty.example\": [spanish]\nteam:\n", "address or secret of the team"},
		{"a former number in a comment", "- role: duty", "- role: duty\n      # sms: \"+12075550111\"", "would not be sealed"},
		{"a member in a comment", "- role: duty", "# - role: x\n#   email: zed@duty.example\n    - role: duty", "would not be sealed"},
		{"another address in a role", "- role: duty", "- role: zed@duty.example", "would not be sealed"},
		{"an address as a key", "- role: duty", "- role: duty\n      zed@duty.example: email", "unknown key"},
		{"a number as a key", "- role: duty", "- role: duty\n      +12075550111: sms", "no plain key"},
		{"a quoted number as a key", "- role: duty", "- role: duty\n      \"+12075550111\": sms", "unknown key"},
		{"an address as an explicit key", "- role: duty", "- role: duty\n      ? zed@duty.example\n      : x", "no plain key"},
		{"an address twice as a key", "- role: duty", "- role: duty\n      z@duty.example: a\n      z@duty.example: b", "comes twice"},
		{"an address among the alerts", "[declared, paused]", "[zed@duty.example]", "told of"},
		{"a number as a setting", "team:\n", "team:\n  reminders_at_most: 12075550111\n", "reminders_at_most"},
		{"an anchor", `sms: "+12075550199"`, `sms: &a "+12075550199"`, "anchors"},
		{"a merge key", "- role: duty", "- <<: {email: zed@duty.example}\n      role: duty", "plain key"},
		{"another mistake", "role: call center", "rolle: call center", "unknown key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, addresses, err := Redact("p.yaml", []byte(edit(t, withTeam(t, team), tt.from, tt.to)), marked)
			if got != nil || addresses != nil || len(Mistakes(err)) == 0 || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("want %q, got %v", tt.says, err)
			}
			for _, secret := range []string{"0199", "0111", "dana@", "zed@", "z@duty", "horse", "services"} {
				if strings.Contains(strings.ToLower(err.Error()), secret) {
					t.Errorf("it tells %s: %v", secret, err)
				}
			}
		})
	}
	if _, _, err := Redact("p.yaml", []byte(withTeam(t, team)), func(string) string { return "sealed:0000000000000000" }); err == nil {
		t.Error("one mark stands for all")
	}
}

// small is the starter's playbook without what takes long to read.
func small(t testing.TB) string {
	text := starterFile(t, "playbook.yaml")
	cut := func(from, to string) {
		before, rest, found := strings.Cut(text, from)
		_, after, ends := strings.Cut(rest, to)
		if !found || !ends {
			t.Fatalf("the starter has no %q before %q", from, to)
		}
		text = before + to + after
	}
	cut("\n  # Waves by a name of their own", "\n# What customers may text back")
	cut("\nscript:\n", "\ndata:\n")
	return text
}

// Whatever a team's section looks like: no address is left, the rest of the file is the same, and once is enough.
func TestRedactLeavesNoAddress(t *testing.T) {
	t.Parallel()
	starter := small(t)
	rapid.Check(t, func(t *rapid.T) {
		quote := func(s string) string {
			return rapid.SampledFrom([]string{"%s", `"%s"`, `'%s'`, "  %s  # note", "\n          %s"}).Draw(t, "style")
		}
		phone := func() string { return rapid.StringMatching(`\+1207555[0-9]{4}`).Draw(t, "phone") }
		mailbox := func() string {
			return rapid.StringMatching(`[a-z]{1,8}(\.[a-z]{1,4})?@[a-z]{2,6}\.example`).Draw(t, "email")
		}
		var all []string
		text := "\nteam:\n  members:\n"
		for i := range rapid.IntRange(1, 4).Draw(t, "members") {
			text += fmt.Sprintf("    - role: r%d\n", i)
			if rapid.Bool().Draw(t, "sms") {
				p := phone()
				all = append(all, p)
				text += "      sms: \"" + p + "\"" + rapid.SampledFrom([]string{"", " # a comment", " "}).Draw(t, "after") + "\n"
			}
			m := mailbox()
			all = append(all, m)
			text += "      email: " + fmt.Sprintf(quote(m), m) + "\n"
		}
		if rapid.Bool().Draw(t, "hook") {
			u := "https://hooks.example/" + rapid.StringMatching(`[A-Za-z0-9/?=&%#:]{0,12}[A-Za-z]`).Draw(t, "url")
			all = append(all, u)
			text += "  hooks: [{name: h, url: \"" + u + "\"}]\n"
		}
		whole := starter + text
		got, addresses, err := Redact("p.yaml", []byte(whole), marked)
		if err != nil {
			for _, a := range all {
				if strings.Contains(err.Error(), a) {
					t.Fatalf("%v tells %s", err, a)
				}
			}
			t.Skip("an address that stands within another")
		}
		back := string(got)
		for _, a := range all {
			if strings.Contains(back, a) || addresses[marked(a)] != a {
				t.Fatalf("%s is left in\n%s", a, back[strings.Index(back, "\nteam:"):])
			}
		}
		again, none, err := Redact("p.yaml", got, marked)
		if err != nil || !bytes.Equal(again, got) || len(none) > 0 {
			t.Fatalf("not once and for all: %v", err)
		}
		for mark, a := range addresses {
			back = strings.ReplaceAll(strings.ReplaceAll(back, `"`+mark+`"`, a), mark, a)
		}
		unquoted := func(s string) string { return strings.NewReplacer(`"`, "", `'`, "").Replace(s) }
		if unquoted(back) != unquoted(whole) {
			t.Fatalf("the rest changed:\n%s", cmp.Diff(whole, back))
		}
	})
}

func FuzzRedact(f *testing.F) {
	f.Add(team)
	f.Add("\nteam: {members: [{role: a, sms: \"+12075550199\"}]}\n")
	f.Add("\nteam:\n  members:\n    - role: \"x\"\n      email: a@b.example\n      # a@b.example\n")
	starter := small(f)
	f.Fuzz(func(t *testing.T, section string) {
		whole := starter + section
		got, addresses, err := Redact("p.yaml", []byte(whole), marked)
		if err != nil {
			return
		}
		p, err := Parse("p.yaml", got)
		if err != nil {
			t.Fatalf("%q is redacted to what cannot be read: %v", section, err)
		}
		for _, a := range addresses {
			for rest := string(got); ; {
				i := strings.Index(rest, a)
				if i < 0 {
					break
				}
				t.Fatalf("%q is left of %q", a, section)
			}
		}
		if p.Team != nil {
			for _, m := range p.Team.Members {
				if m.SMS != "" && !IsMark(m.SMS) || m.Email != "" && !IsMark(m.Email) {
					t.Fatalf("%q keeps %+v", section, m)
				}
			}
		}
		if again, none, err := Redact("p.yaml", got, marked); err != nil || !bytes.Equal(again, got) || len(none) > 0 {
			t.Fatalf("%q is not redacted once and for all: %v", section, err)
		}
	})
}
