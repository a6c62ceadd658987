package plan_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

const (
	guardComment = "    # guard:\n"
	emailTerms   = "        retry_for: 72h\n        uncertain: keep\n"
	emailLater   = emailTerms + "        after: 24h\n"
	noRelay      = "    batch: 500\n"
	relay        = noRelay + "  smtp: {from: notices@northwind.example, from_name: Northwind Power, reply_to: help@northwind.example, messages_per_sec: 20}\n"
)

func guarded(guard string) []string {
	return []string{guardComment, "    guard: {" + guard + "}\n" + guardComment}
}

// ladder is a playbook that writes texts first, and e-mails a day later to whoever got none.
func ladder() []string {
	return append(guarded("canary: 20, canary_wait: 10m, bounced: 5%"), emailTerms, emailLater, noRelay, relay)
}

// What a person reads about a ladder, a guard and a relay.
func TestWhatTheApproversReadOfALadder(t *testing.T) {
	t.Parallel()
	p, _ := fromFile(t, input(t, ladder()...), fieldOptions, starterFile(t, "roster.csv"))
	var text bytes.Buffer
	if err := plan.Text(&text, p, time.UTC); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "ladder.txt")
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

// A step counts everybody whom it could reach, and neither costs anything nor has a time before anybody needs it.
func TestAStepIsNoPromise(t *testing.T) {
	t.Parallel()
	file := starterFile(t, "roster.csv")
	once, _ := fromFile(t, input(t), fieldOptions, file)
	later, _ := fromFile(t, input(t, emailTerms, emailLater+"        unless: accepted\n"), fieldOptions, file)
	was, is := channelPlan(t, once, email), channelPlan(t, later, email)
	if is.GetCost() != "" || is.GetCostAtMost() != was.GetCost() || is.GetFirstAt() != nil || is.GetLastAt() != nil {
		t.Errorf("the step costs %q, at most %q, from %v to %v", is.GetCost(), is.GetCostAtMost(), is.GetFirstAt(), is.GetLastAt())
	}
	if is.GetNotices() != was.GetNotices() || is.GetNotices() == 0 || is.GetPages() != was.GetPages() || later.GetPeople().GetReachable() != once.GetPeople().GetReachable() {
		t.Errorf("the step may be for %d on %d pages; want %d on %d", is.GetNotices(), is.GetPages(), was.GetNotices(), was.GetPages())
	}
	if is.GetAfter().AsDuration() != 24*time.Hour || is.GetUnless() != playbook.Accepted || was.GetAfter() != nil || was.GetUnless() != "" {
		t.Errorf("the step is after %v unless %q, and before it was after %v", is.GetAfter(), is.GetUnless(), was.GetAfter())
	}
	if got := channelPlan(t, later, sms); got.String() != channelPlan(t, once, sms).String() {
		t.Errorf("the text messages changed: %v", got)
	}
}

// Whoever only a step can reach is not without a channel.
func TestAStepReachesPeople(t *testing.T) {
	t.Parallel()
	p, _ := fromFile(t, input(t, emailTerms, emailLater), roster.Options{}, "customer_ref,email\nA1,somebody@example.com\n")
	if p.GetPeople().GetReachable() != 1 || len(p.GetBlockers()) > 0 {
		t.Errorf("%d reachable, blockers %v", p.GetPeople().GetReachable(), p.GetBlockers())
	}
}

func TestChannelsStandAsTheyFollow(t *testing.T) {
	t.Parallel()
	p, _ := fromFile(t, input(t, "        uncertain: keep\n        texts:\n          # Up", "        after: 3d\n        texts:\n          # Up"), fieldOptions, starterFile(t, "roster.csv"))
	if chs := p.GetWaves()[0].GetChannels(); len(chs) != 2 || chs[0].GetChannel() != email || chs[1].GetChannel() != sms {
		t.Errorf("channels are %v", chs)
	}
}

func TestARelayStandsBy(t *testing.T) {
	t.Parallel()
	p, _ := fromFile(t, input(t, noRelay, relay), fieldOptions, starterFile(t, "roster.csv"))
	ch := channelPlan(t, p, email)
	s := ch.GetSenders()
	if len(s) != 2 || s[0].GetStandBy() || !s[1].GetStandBy() || s[1].GetProvider() != "smtp" || s[1].GetUnits() != 0 || s[1].GetSeconds() != float64(ch.GetNotices())/20 {
		t.Errorf("senders are %v", s)
	}
	if len(channelPlan(t, p, sms).GetSenders()) == 0 || channelPlan(t, p, sms).GetSenders()[0].GetStandBy() {
		t.Error("the relay stands by for texts")
	}
}

func TestGuardAndRelayFindings(t *testing.T) {
	t.Parallel()
	const two = "customer_ref,email,phone\nA1,x1@example.com,+12125550101\nA2,x2@example.com,+12125550102\n"
	for _, tt := range []struct {
		name   string
		change []string
		code   string
		says   []string // of each finding with the code, in order
	}{
		{"a canary of everybody", guarded("canary: 2, least: 1"), "canary_is_all", []string{"by e-mail", "by text message"}},
		{"a canary of some", guarded("canary: 1, least: 1"), "canary_is_all", nil},
		{"no canary for a step", append(guarded("canary: 2, least: 1"), emailTerms, emailLater), "canary_is_all", []string{"by text message"}},
		{"a guard that never judges", guarded("least: 3"), "guard_never_judges", []string{"by e-mail there are 2", "by text message there are 2"}},
		{"a guard that judges", guarded("least: 2"), "guard_never_judges", nil},
		{"a guard that is off", guarded("rejected: 0%, bounced: 0%"), "guard_never_judges", nil},
		{"the usual guard", nil, "guard_never_judges", nil},
		{"a relay of another domain", []string{noRelay, strings.Replace(relay, "from: notices@northwind", "from: notices@southwind", 1)}, "smtp_domain", []string{"southwind.example"}},
		{"a relay of the same domain", []string{noRelay, strings.Replace(relay, "from: notices@northwind", "from: other@NORTHWIND", 1)}, "smtp_domain", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, _ := fromFile(t, input(t, tt.change...), roster.Options{}, two)
			var got []*candorv1.Finding
			for _, f := range append(p.GetWarnings(), p.GetBlockers()...) {
				if f.GetCode() == tt.code {
					got = append(got, f)
				}
			}
			if len(got) != len(tt.says) {
				t.Fatalf("findings are %v, want %q", got, tt.says)
			}
			for i, f := range got {
				if !strings.Contains(f.GetMessage(), tt.says[i]) || f.GetRemedy() == "" {
					t.Errorf("it says %v, want %q", f, tt.says[i])
				}
			}
		})
	}
}

func TestChangesOfLadderGuardRelayAndReplies(t *testing.T) {
	t.Parallel()
	const (
		file  = "customer_ref,email,phone\nA1,somebody@example.com,+12125550101\n"
		usual = "From 200 messages on, a channel is paused when more than 20% are refused or more than 20% bounce."
	)
	for _, tt := range []struct {
		name     string
		playbook []string
		want     []string
	}{
		{"a step", []string{emailTerms, emailLater}, []string{"Wave w0 is sent by e-mail after 24 hours to those whom nothing was delivered to by then instead of at once."}},
		{"a step for the accepted", []string{emailTerms, emailTerms + "        after: 90m\n        unless: accepted\n"}, []string{
			"Wave w0 is sent by e-mail after 90 minutes to those whom nothing was accepted for by then instead of at once.",
		}},
		{"a canary", guarded("canary: 200, canary_wait: 7d, rejected: 5%"), []string{
			"The guard of wave w0 is now: The first 200 of each channel go alone, and the others once their receipts have had 7 days to come, and look well. " +
				"From 200 messages on, a channel is paused when more than 5% are refused or more than 20% bounce. Before: " + usual,
		}},
		{"a canary that is not waited for", guarded("canary: 200, canary_wait: 0s, bounced: 0%"), []string{
			"The guard of wave w0 is now: The first 200 of each channel go alone, and the others once their receipts look well. " +
				"From 200 messages on, a channel is paused when more than 20% are refused. Before: " + usual,
		}},
		{"no guard", guarded("rejected: 0%, bounced: 0%"), []string{
			"The guard of wave w0 is now: No channel is paused by itself, however many messages fail. Before: " + usual,
		}},
		{"the usual guard written out", guarded("rejected: 20%"), []string{"The files differ, but nothing that a customer reads, nor who is told when."}},
		{"a relay", []string{noRelay, relay}, []string{"The mail relay notices@northwind.example is a new sender."}},
		{"replies", []string{"\n# What people read", "\nreplies: {es: {stop: [zork], call: [blorb], helped: Llame.}}\n# What people read"}, []string{
			"The words in es that ask for no more texts are now: those always known, zork (before: those always known).",
			"The words in es that ask for a call are now: those always known, blorb (before: those always known).",
			"The answer in es to who asks for help changed.",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := plan.Changes(drafted(t, file, nil, nil), drafted(t, file, tt.playbook, nil))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}
