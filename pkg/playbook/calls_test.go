package playbook

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"candor/pkg/window"
)

// callsOf is the starter's section calls, but for its caller_id.
const callsOf = `  # By the customer's own clock, and between 08:00`

// withCalls puts the starter's calls out of the way and others in their place.
func withCalls(t testing.TB, calls string) string {
	t.Helper()
	text := starterFile(t, "playbook.yaml")
	from, to := strings.Index(text, callsOf), strings.Index(text, "\n# What agents say")
	if from < 0 || to < from {
		t.Fatal("the starter has no calls")
	}
	return text[:from] + calls + text[to:]
}

func TestCallsHaveTheirDefaults(t *testing.T) {
	t.Parallel()
	p, err := Parse("p.yaml", []byte(withCalls(t, "")))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultCalls()
	want.CallerID = "+18005550142"
	same := cmp.Comparer(func(a, b window.Rule) bool { return a.String() == b.String() })
	if diff := cmp.Diff(want, *p.Calls, same); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if starter := starterWith(t, ""); !cmp.Equal(want, *starter.Calls, same) {
		t.Errorf("the starter's calls are not the defaults: %+v", starter.Calls)
	}
	p, err = Parse("p.yaml", []byte(withCalls(t, `  hours: Mon-Thu 10:00-12:00 14:00-19:00, closed 2026-12-25
  uncertain_hours: tue 10:00-20:00
  lead: 5m
  caps: {number_per_day: 1, person_per_week: 2, total: 3}
  gap: 6h
  spread: 1h
  cool_down: 20m
  leases: {preview: 5m, progressive: 90s}
  call_back: {tolerance: 5m, missed: close}
  skills: {es: [spanish, level-2]}
`)))
	if err != nil {
		t.Fatal(err)
	}
	want = Calls{
		CallerID: "+18005550142", Hours: mustRule("outside mon-thu 10:00-12:00 14:00-19:00, closed 2026-12-25"), UncertainHours: mustRule("outside tue 10:00-20:00"),
		Lead: 5 * time.Minute, Caps: Caps{1, 2, 3}, Gap: 6 * time.Hour, Spread: time.Hour, CoolDown: 20 * time.Minute,
		Leases: Leases{5 * time.Minute, 90 * time.Second}, CallBack: CallBack{5 * time.Minute, MissedClose},
		Skills: map[string][]string{"es": {"spanish", "level-2"}}, Dispositions: defaultDispositions(),
	}
	if diff := cmp.Diff(want, *p.Calls, same); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestWithoutCalls(t *testing.T) {
	t.Parallel()
	text := starterFile(t, "playbook.yaml")
	text = text[:strings.Index(text, "calls:\n")] + text[strings.Index(text, "# What agents say"):]
	p, err := Parse("p.yaml", []byte(text))
	if err != nil || p.Calls != nil || len(p.Script) != 2 {
		t.Fatalf("inbound agents need a script, and no calls: %v", err)
	}
	text = text[:strings.Index(text, "script:\n")] + text[strings.Index(text, "# What people read about"):]
	if p, err = Parse("p.yaml", []byte(text)); err != nil || p.Script != nil {
		t.Fatalf("nobody calls, and nobody is called: %v", err)
	}
	_, err = Parse("p.yaml", []byte(edit(t, text, "    channels:\n", "    channels:\n      call: {}\n")))
	if m := Mistakes(err); len(m) != 2 || !strings.Contains(m[0].Message, "calls is missing") || !strings.Contains(m[1].Message, "script is missing") ||
		fmt.Sprintf("%d:%d", m[0].Line, m[0].Column) != place(edit(t, text, "    channels:\n", "    channels:\n      call: {}\n"), "call: {}") {
		t.Errorf("got %v", err)
	}
}

func TestDispositionsOfTheFileReplaceThePrepared(t *testing.T) {
	t.Parallel()
	p, err := Parse("p.yaml", []byte(withCalls(t, `  dispositions:
    no_answer: {after: [1h, 2d], most: 5, counts: 0.5}
    hung_up_angry: {ends: failed, counts: 1}
    callback: {call_back: true, counts: 0}
`)))
	if err != nil {
		t.Fatal(err)
	}
	want := defaultDispositions()
	want["no_answer"] = Disposition{After: []time.Duration{time.Hour, 48 * time.Hour}, Most: 5, Counts: 0.5} // and not Unanswered
	want["hung_up_angry"] = Disposition{Ends: EndsFailed, Counts: 1}
	if diff := cmp.Diff(want, p.Calls.Dispositions); diff != "" {
		t.Errorf("dispositions (-want +got):\n%s", diff)
	}
	if d := DefaultCalls().Dispositions["no_answer"]; d.Most != 4 {
		t.Errorf("the prepared one changed: %+v", d)
	}
}

// What is prepared keeps the rules that Parse has for others.
func TestPreparedDispositionsHold(t *testing.T) {
	t.Parallel()
	prepared := DefaultCalls().Dispositions
	for code, d := range prepared {
		if o := d.objections(); len(o) > 0 || !word.MatchString(code) {
			t.Errorf("%s: %+v", code, o)
		}
	}
	// Those of dialers.md that a dialer can report.
	for _, code := range []string{
		"notified", "notified_callback", "callback", "refused_info", "third_party", "wrong_number", "do_not_call", "deceased", "incapacity", "no_answer", "busy",
		"voicemail_no_msg", "voicemail_left", "amd_uncertain", "fax_modem", "invalid", "rejected", "congestion", "trunk_fail", "abandoned", "hung_up_early",
		"language_needed", "agent_skip", "suspected_scam", "escalated", "cancelled",
	} {
		if _, ok := prepared[code]; !ok {
			t.Errorf("%s is missing", code)
		}
	}
}

func TestMistakesInCalls(t *testing.T) {
	t.Parallel()
	d := func(s string) string { return "  dispositions:\n    zork: {" + s + "}\n" }
	for _, tt := range []struct{ name, calls, at, says string }{
		{"early hours", "  hours: mon-fri 07:30-20:00\n", "mon-fri 07:30", "07:30-20:00 is too early or too late"},
		{"late hours", "  uncertain_hours: mon-fri 14:00-21:30\n", "mon-fri 14:00-21:30", "14:00-21:30 is too early or too late"},
		{"round the clock", "  hours: mon-sun 00:00-24:00\n", "mon-sun 00:00", "outside_8_to_21: true if it is a drill"},
		{"hours where clocks change", "  hours: mon 01:00-05:00\n  outside_8_to_21: true\n", "01:00-05:00", "where clocks change"},
		{"over midnight", "  hours: mon 20:00-09:00\n", "20:00-09:00", "runs over midnight"},
		{"quiet hours", "  hours: outside mon 09:00-20:00\n", "outside mon", "like: mon-fri 09:00-20:00"},
		{"no hours", "  hours: none\n", "none\n", "like: mon-fri 09:00-20:00"},
		{"hours that are none", "  hours: [9, 20]\n", "[9, 20]", "write hours, like mon-fri"},
		{"no day", "  hours: mon-fri 09:00-20:00, someday 09:00-20:00\n", "someday", "is no day"},
		{"hours shorter than the lead", "  hours: mon 10:00-10:10\n  spread: 0s\n", "mon 10:00", "no call could begin 10m before"},
		{"hours shorter than the spread", "  hours: mon 10:00-14:00\n", "mon 10:00", "always 2h away from the last call"},
		{"a spread that the usual hours have no room for", "  spread: 6h\n", "6h\n", "always 6h away"},
		{"a long lead", "  lead: 3h\n", "3h\n", "write 0s to 2h, like 10m"},
		{"a long gap", "  gap: 8d\n", "8d\n", "write 0s to 7d, like 4h"},
		{"a long spread", "  spread: 7h\n", "7h\n", "write 0s to 6h"},
		{"no cool-down", "  cool_down: 0s\n", "0s\n", "write 1s to 24h, like 30m"},
		{"a long lease", "  leases: {preview: 31m}\n", "31m", "write 1s to 30m"},
		{"no lease", "  leases: {progressive: 0s}\n", "0s}", "like 3m"},
		{"no tolerance", "  call_back: {tolerance: 0s}\n", "0s}", "like 15m"},
		{"missed what", "  call_back: {missed: next-day}\n", "next-day", "did you mean next_day?"},
		{"nobody is called", "  caps: {total: 0}\n", "0}\n", "total is 0"},
		{"called for ever", "  caps: {number_per_day: 101}\n", "101}", "write 1 to 100, like 3"},
		{"a cap below none", "  caps: {person_per_week: -1}\n", "-1}", "write 1 to 100, like 7"},
		{"a skill in a language not offered", "  skills: {fr: [french]}\n", "fr: [", "fr is not offered"},
		{"a skill of two words", "  skills: {es: [speaks spanish]}\n", "speaks spanish", "no skill"},
		{"a skill twice", "  skills: {es: [a, a]}\n", "", "comes twice"},
		{"no such key", "  houres: mon 09:00-20:00\n", "houres", "did you mean hours?"},
		{"no code", "  dispositions: {No-Answer: {ends: failed}}\n", "No-Answer", "No-Answer is no code"},
		{"nearly a prepared code", "  dispositions: {no_anser: {ends: failed}}\n", "no_anser", "did you mean no_answer?"},
		{"a code without its line", "  dispositions: {noanswer: {ends: failed}}\n", "noanswer", "did you mean no_answer?"},
		{"ends how", d("ends: finished"), "finished", "ends finished has no meaning"},
		{"number how", d("number: worse, next_day: true, most: 1"), "worse", "number worse has no meaning"},
		{"counts how much", d("ends: failed, counts: 0.3"), "0.3", "write 0, 0.5 or 1"},
		{"counts in percent", d("ends: failed, counts: 50%"), "50%", "write 0, 0.5 or 1"},
		{"ends and goes on", d("ends: failed, after: [1h]"), "[1h]", "the task ends"},
		{"ends and comes often", d("ends: failed, most: 3"), "3}", "the task ends"},
		{"done and not told", d("ends: done"), "done}", "done is for customers who were told"},
		{"told and failed", d("ends: failed, told: true"), "true}", "write ends: done"},
		{"not called but called", d("next_day: true, do_not_call: true, counts: 1"), "true, counts", "add ends: suppressed"},
		{"two times", d("call_back: true, next_day: true"), "true, next_day", "the customer names the time"},
		{"no time", d("counts: 1"), "zork:", "nothing says when the next call is"},
		{"for ever", d("after: [1h]"), "zork:", "it can come for ever"},
		{"waits that never come", d("after: [1h, 2h, 3h], most: 3"), "[1h, 2h, 3h]", "after the 3rd time it has failed"},
		{"no wait", d("after: [1h, 0s], counts: 1"), "0s]", "a wait of 0s"},
		{"a long wait", d("after: [31d], counts: 1"), "31d", "write a time up to 30d"},
		{"too often", d("after: [1h], most: 101"), "101}", "most is 101"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wrong(t, withCalls(t, tt.calls), tt.at, tt.says)
		})
	}
	for _, number := range []string{`"18005550142"`, `"+1 800 555 0142"`, `"+15"`, `"+999999999999"`, "Northwind"} {
		wrong(t, edit(t, withCalls(t, ""), `caller_id: "+18005550142"`, "caller_id: "+number), number, "no telephone number")
	}
	wrong(t, edit(t, withCalls(t, ""), `  caller_id: "+18005550142"`, "  gap: 4h"), "calls:\n", "caller_id is missing in calls")
}

// wrong wants one mistake, or nearly, at the first place of a piece of text.
func wrong(t *testing.T, text, at, says string) {
	t.Helper()
	_, err := Parse("p.yaml", []byte(text))
	got := Mistakes(err)
	if at != "" && strings.Contains(text, "\ncalls:\n") {
		// What the pieces are looked for in begins with the calls; the part before has other 0s and 3h.
		head := strings.Index(text, "\ncalls:\n")
		if i := strings.Index(text[head:], at); i < 0 {
			t.Fatalf("%q is not in the calls", at)
		} else if before := text[:head+i]; !slices.ContainsFunc(got, func(m *MistakeError) bool {
			return strings.Contains(m.Message+"; "+m.Remedy, says) && m.Line == strings.Count(before, "\n")+1 && m.Column == len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))+1
		}) {
			t.Errorf("want %q at %q, got %v", says, at, err)
		}
	} else if !slices.ContainsFunc(got, func(m *MistakeError) bool { return strings.Contains(m.Message+"; "+m.Remedy, says) }) {
		t.Errorf("want %q, got %v", says, err)
	}
	if len(got) > 2 {
		t.Errorf("one mistake makes %d: %v", len(got), err)
	}
}

func TestADrillCallsAtAnyHour(t *testing.T) {
	t.Parallel()
	p, err := Parse("p.yaml", []byte(withCalls(t, "  hours: mon-sun 00:00-24:00\n  uncertain_hours: mon-sun 00:00-24:00\n  outside_8_to_21: true\n")))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Calls.Hours.Open(time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC), time.UTC) {
		t.Error("the drill sleeps")
	}
}

func TestWritten(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", 24 * time.Hour: "24h", 7 * day: "7d", 25 * time.Hour: "25h",
	} {
		if got := written(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 22: "22nd", 100: "100th"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d is the %s, want %s", n, got, want)
		}
	}
}

func TestMistakesInTheScript(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, from, to, at, says string }{
		{"a part that is missing", "    what_we_do: |\n      {{facts.what_we_do}}\n", "", "", "what_we_do is missing in en"},
		{"an empty part", "    what_we_do: |\n      {{facts.what_we_do}}\n", "    what_we_do: \"\"\n", `""`, "what_we_do is empty"},
		{"an unknown part", "    what_we_do: |\n", "    what_we_did: |\n", "what_we_did", "did you mean what_we_do?"},
		{"a language that is missing", "  es:\n    opening: |", "  fr:\n    opening: |", "fr:\n    opening", "fr is not offered"},
		{"a link", "You find all of this at {{organisation.page}}.", "You find all of this at https://northwind.example.", "https://northwind.example.", "a link, which nobody can follow"},
		{"a page to log in", "You find all of this at {{organisation.page}}.", "You find it at northwind.example/login now.", "northwind.example/login", "a page to log in"},
		{"HTML", "I am not selling anything.", "I am <b>not</b> selling anything.", "<b>", "HTML has no place here"},
		{"a long part", "I am not selling anything.", "I am not selling anything. " + strings.Repeat("Zork. ", 500), "|\n      Hello", "more than 2500"},
		{"a secret", "Shall I call you again at another time?", "What is your password?", "What is your password", "the agent seems to ask for a secret: What is your password"},
		{"a secret in an answer", "Of course. I bring in my team lead.", "First confirm your card number.", "confirm your card", "seems to ask for a secret"},
		{"a secret in Spanish", "¿Quiere que le repita algo?", "¿Cuál es su contraseña?", "Cuál es su", "seems to ask for a secret"},
		{"a voicemail of a breach", "with a message for", "about your stolen data, with a message for", "stolen data, with", `a voicemail that says "stolen"`},
		{"a voicemail of a breach in Spanish", "y tenemos un mensaje para", "porque robaron sus datos, y tenemos un mensaje para", "robaron sus", `a voicemail that says "robaron"`},
		{"a voicemail with facts", "Your reference is {{code}}.", "{{facts.what_happened}} {{code}}.", "{{facts.what_happened}} {{code}}", "a voicemail that says what happened"},
		{"a voicemail with data", "Your reference is {{code}}.", "{{#data_exposed}}{{name}}{{/data_exposed}} {{code}}.", "{{#data_exposed}}{{name}}{{/", "a voicemail that says what happened"},
		{"a long voicemail", "Your reference is {{code}}.", strings.Repeat("Please call. ", 30), "|\n      Hello, this", "more than 400"},
		{"no answers", "  es:\n    opening: |", "  es:\n    answers: []\n    opening: |", "", "answers comes twice"},
		{"an answer for no kind", "kinds: [payment_card]", "kinds: [payment_cards]", "payment_cards", "did you mean payment_card?"},
		{"an answer for a kind twice", "kinds: [payment_card]", "kinds: [payment_card, payment_card]", "", "payment_card comes twice"},
		{"a question twice", "question: Who did it?", "question: Why did you not tell me sooner?", "", "the question comes twice"},
		{"a question over two lines", "question: Who did it?", "question: \"Who\\ndid it?\"", "", "several lines"},
		{"a bank without a no", "      not_needed: |\n", "      not_neded: |\n", "not_neded", "did you mean not_needed?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := edit(t, starterFile(t, "playbook.yaml"), tt.from, tt.to)
			_, err := Parse("p.yaml", []byte(text))
			head := strings.Index(text, "\nscript:\n")
			before := text[:head+max(0, strings.Index(text[head:], tt.at))]
			if !slices.ContainsFunc(Mistakes(err), func(m *MistakeError) bool {
				return strings.Contains(m.Message+"; "+m.Remedy, tt.says) && (tt.at == "" || m.Line == strings.Count(before, "\n")+1 && m.Column == len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))+1)
			}) {
				t.Errorf("want %q at %q, got %v", tt.says, tt.at, err)
			}
		})
	}
}

// The check is simple: it must find what is plainly wrong, and leave alone what decent scripts say.
func TestAskingForSecrets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		language string
		asks     bool
		text     string
	}{
		{"en", true, "What is your password?"},
		{"en", true, "What's your PIN?"},
		{"en", true, "Please tell me the number. Then read me your card number."},
		{"en", true, "Can I have the one-time code that we sent you?"},
		{"en", true, "I need your Social Security number for that."},
		{"en", true, "Please confirm your account number with me."},
		{"en", true, "Which security question did you choose?"},
		{"en", true, "Enter your PIN now"},
		{"en", false, "I will never ask for your password, your PIN or your full card number."},
		{"en", false, "If somebody asks you to confirm your password, hang up."},
		{"en", false, "Do not tell me your PIN."},
		{"en", false, "Don't give me your card number."},
		{"en", false, "Change your password today."},
		{"en", false, "Tell us your code: {{code}}."},
		{"en", false, "Use the number on the back of your card."},
		{"en", false, "Your password and your card number were taken."},
		{"en", false, "What is wrong? Your password was taken."},
		{"en", false, "Ask your bank for a new card number."},
		{"es", true, "¿Cuál es su contraseña?"},
		{"es", true, "Dígame su PIN, por favor."},
		{"es", true, "Por favor, confirme su número de tarjeta."},
		{"es", true, "¿Puede leerme el código de seguridad?"},
		{"es", true, "Necesito el número completo de su tarjeta."},
		{"es", true, "¿Me da su número de cuenta?"},
		{"es", false, "Nunca le pediremos su contraseña ni el número de su tarjeta."},
		{"es", false, "Si alguien le pide que confirme su contraseña, cuelgue."},
		{"es", false, "No me diga su PIN."},
		{"es", false, "Díganos su código: {{code}}."},
		{"es", false, "Cambie su contraseña hoy."},
		{"es", false, "Yo no debo oír ni la vieja ni la nueva contraseña."},
	} {
		w, _ := wordingOf(tt.language)
		if at, words, found := w.asksFor(tt.text); found != tt.asks || found && !strings.HasPrefix(tt.text[at:], words) {
			t.Errorf("%q asks: %v (%q), want %v", tt.text, found, words, tt.asks)
		}
	}
}

func TestApologies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"en:We are sorry.": false, "en:I apologise.": false, "en-GB:Our apologies.": false, "en:Hello.": true, "en:Never mind": true,
		"es:Le pedimos disculpas.": false, "es-MX:Lo sentimos.": false, "es:Perdón.": false, "es:Hola.": true, "fr:Bonjour.": false,
	} {
		language, said, _ := strings.Cut(text, ":")
		if got := LacksApology(language, said); got != want {
			t.Errorf("%s lacks an apology: %v", text, got)
		}
	}
	for language, s := range starterWith(t, "").Script {
		if LacksApology(language, s.Opening.String()) || LacksApology(language, s.Closing.String()) {
			t.Errorf("the starter does not apologise first and last in %s", language)
		}
	}
}

// A script in a language of which we know no words is taken as it is.
func TestAnotherLanguage(t *testing.T) {
	t.Parallel()
	if got := slices.Sorted(maps.Keys(wordings)); !slices.Equal(got, []string{"en", "es"}) {
		t.Errorf("words are known of %v", got)
	}
	if _, known := wordingOf("fr-CA"); known {
		t.Error("French is known")
	}
	if _, known := wordingOf("es-419"); !known {
		t.Error("Latin American Spanish is not known")
	}
}
