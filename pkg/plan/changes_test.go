package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"candor/pkg/incident"
	"candor/pkg/plan"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	candorv1 "candor/proto/candor/v1"
)

// drafted makes a revision from the starter's files with some words replaced, in pairs.
func drafted(t *testing.T, rosterFile string, inPlaybook, inFacts []string) *candorv1.Drafted {
	t.Helper()
	swap := func(name string, replace []string) string {
		text := starterFile(t, name)
		for i := 0; i < len(replace); i += 2 {
			if !strings.Contains(text, replace[i]) {
				t.Fatalf("%s does not say %q", name, replace[i])
			}
			text = strings.Replace(text, replace[i], replace[i+1], 1)
		}
		return text
	}
	d := &candorv1.Declaration{Incident: "test-1", Playbook: swap("playbook.yaml", inPlaybook), Facts: swap("facts.yaml", inFacts)}
	in := input(t)
	var err error
	if in.Playbook, err = playbook.Parse("playbook.yaml", []byte(d.GetPlaybook())); err != nil {
		t.Fatal(err)
	}
	if in.Facts, err = playbook.ParseFacts("facts.yaml", []byte(d.GetFacts())); err != nil {
		t.Fatal(err)
	}
	p, _ := fromFile(t, in, roster.Options{Key: fieldOptions.Key}, rosterFile)
	d.RosterDigest = p.GetRosterDigest()
	return &candorv1.Drafted{Declaration: d, Plan: p, PlanHash: incident.Hash(d)}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	const file = "customer_ref,email,phone\nA1,somebody@example.com,+12125550101\n"
	for _, tt := range []struct {
		name     string
		file     string
		playbook []string
		facts    []string
		want     []string
	}{
		{name: "nothing"},
		{name: "a comment", facts: []string{"version: 1", "version: 1 # one"}, want: []string{"The files differ, but nothing that a customer reads, nor who is told when."}},
		{
			name: "a text", playbook: []string{"Your data was stolen. Call", "Your data was taken. Call"},
			want: []string{"The text of wave w0 for text message in en changed."},
		},
		{
			name: "facts", facts: []string{"on November 16, 2026", "on November 17, 2026"},
			want: []string{"The facts in en changed: when it was found.", "The text of wave w0 for e-mail in en changed.", "The text of wave standing for e-mail in en changed."},
		},
		{
			name: "the file", file: file + "A2,x2@example.com,\n",
			want: []string{
				"Another customer file: 2 customers instead of 1, 2 of them reachable instead of 1.", "Wave w0 sends 2 messages by e-mail instead of 1.",
			},
		},
		{
			name: "hours, rates and retries", playbook: []string{
				"outside mon-fri 09:00-20:00, sat-sun 10:00-18:00", "none", "segments_per_sec: 25", "segments_per_sec: 50", "retry_for: 24h", "retry_for: 48h",
			},
			want: []string{
				"The quiet hours of wave w0 for text message are now: none (before: outside mon-fri 09:00-20:00, sat-sun 10:00-18:00).",
				"Wave w0 tries failed messages by text message again for 48h0m0s instead of 24h0m0s.",
				"+18005550142 sends 50 segments a second instead of 25 segments a second.",
			},
		},
		{
			name: "what becomes of uncertain notices", playbook: []string{"uncertain: keep\n        texts:\n          # Up", "uncertain: resend after 24h\n        texts:\n          # Up"},
			want: []string{"What may have been sent by text message in wave w0 is treated otherwise: resend after 24h0m0s (before: keep)."},
		},
		{
			name: "the audience", playbook: []string{"audience: everyone", "audience: tier <= 5"},
			want: []string{"Wave w0 is for tier <= 5 instead of everyone."},
		},
		{
			name: "a prepared text", playbook: []string{"No news yet. We", "Nothing new. We"},
			want: []string{"The text of wave standing for text message in en changed."},
		},
		{
			name: "follow-ups", playbook: []string{"at_most: 12", "at_most: 20", "apart: 20h", "apart: 48h", "every: mon 10:00", "every: mon,thu 09:00", "name: apology\n      after: 72h", "name: letter\n      after: 96h"},
			want: []string{
				"There are at most 20 follow-ups instead of 12.", "Between two follow-ups there are at least 2 days instead of 20 hours.",
				"Follow-up apology is dropped: 3 days after the first notice, sends apology, if late: send within 2d.",
				"Follow-up letter is new: 4 days after the first notice, sends apology, if late: send within 2d.",
				"Follow-up weekly is now: every Monday and Thursday at 09:00, sends standing, if late: send within 24h (before: every Monday at 10:00, sends standing, if late: send within 24h).",
			},
		},
		{
			name: "no closing note", playbook: []string{"closing_note: closing\n", ""},
			want: []string{"The closing note is none instead of closing."},
		},
		{
			name: "the team", playbook: []string{"closing_note: closing\n", "closing_note: closing\nteam:\n  members:\n    - {role: duty, sms: \"sealed:0123456789abcdef\", told_of: [paused]}\n"},
			want: []string{"The response team's duty is told too, of paused."},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			after := file
			if tt.file != "" {
				after = tt.file
			}
			got := plan.Changes(drafted(t, file, nil, nil), drafted(t, after, tt.playbook, tt.facts))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
	if got := plan.Changes(nil, drafted(t, file, nil, nil)); got != nil {
		t.Errorf("a first revision changed %q", got)
	}
}
