package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// meanings are the words for the prepared dispositions; what follows is computed from the table itself.
var meanings = map[string]string{
	"notified":          "The customer was told",
	"notified_callback": "The customer was told, and wants another call",
	"callback":          "The customer, who wants to be called at another time",
	"refused_info":      "The customer, who does not want to hear it",
	"third_party":       "Somebody else, who was told nothing",
	"wrong_number":      "The number belongs to somebody else",
	"do_not_call":       "Asked not to be called",
	"deceased":          "The customer has died",
	"incapacity":        "The customer cannot be told: somebody acts for them",
	"no_answer":         "It rang for fifteen seconds or longer, and nobody picked up",
	"busy":              "The line was busy",
	"voicemail_no_msg":  "A machine; nothing was left",
	"voicemail_left":    "A machine; the script's voicemail was left",
	"amd_uncertain":     "A machine or a silent person; nobody knows",
	"fax_modem":         "A fax",
	"invalid":           "No such number",
	"rejected":          "Refused by the other side, or blocked",
	"congestion":        "No way through the network",
	"trunk_fail":        "Your own line failed",
	"abandoned":         "Somebody picked up, and no agent was there",
	"hung_up_early":     "Hung up before they were told",
	"language_needed":   "The customer speaks a language that the agent does not",
	"agent_skip":        "The agent gave the task back",
	"suspected_scam":    "The customer took it for a fraud",
	"escalated":         "Told, and handed to a team lead",
	"cancelled":         "Ended by you for good, before the customer was told",
}

// follows says what a disposition leads to.
func follows(d playbook.Disposition) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if d.Told {
		add("told")
	}
	switch {
	case d.Ends == playbook.EndsDone:
		add("done")
	case d.Ends == playbook.EndsSuppressed:
		add("no more calls to this number, in any incident; the task ends")
	case d.Ends != "":
		add("no more calls: to be told in another way")
	case d.CallBack:
		add("called at `callBackAt`")
	}
	switch d.Number {
	case playbook.NumberBad:
		add("never this number again; the next one at once")
	case playbook.NumberBadTwice:
		add("the next number at once; this one never again after the second time")
	}
	if d.NextDay {
		add("again another day")
	}
	if len(d.After) > 0 {
		add("again after %s", strings.Join(spans(d.After), ", then "))
	}
	if d.Most > 0 {
		add("given up after %d of them", d.Most)
	}
	return strings.Join(words, "; ")
}

// spans writes each wait once where the last ones are alike.
func spans(waits []time.Duration) (words []string) {
	for _, d := range waits {
		switch {
		case d%(24*time.Hour) == 0 && d > 24*time.Hour:
			words = append(words, fmt.Sprintf("%d days", d/(24*time.Hour)))
		case d%time.Hour == 0:
			words = append(words, fmt.Sprintf("%d h", d/time.Hour))
		default:
			words = append(words, fmt.Sprintf("%d min", d/time.Minute))
		}
	}
	return words
}

func dispositionTable(t *testing.T) string {
	t.Helper()
	table := playbook.DefaultCalls().Dispositions
	var b strings.Builder
	b.WriteString("| code | the call | what follows | counts |\n|---|---|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(table)) {
		meaning, ok := meanings[code]
		if !ok {
			t.Errorf("%s has no words", code)
		}
		counts := map[playbook.Weight]string{0: "no", 0.5: "half", 1: "yes"}[table[code].Counts]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", code, meaning, follows(table[code]), counts)
	}
	for code := range meanings {
		if _, ok := table[code]; !ok {
			t.Errorf("there is no disposition %s any more", code)
		}
	}
	return b.String()
}

// TestThePageForDialersIsTrue holds deployments/dialers.md against the code: its table, its requests, its commands.
func TestThePageForDialersIsTrue(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "deployments", "dialers.md")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	head, rest, ok := strings.Cut(page, "<!-- dispositions -->\n")
	table, tail, ok2 := strings.Cut(rest, "<!-- end -->")
	if !ok || !ok2 {
		t.Fatal("the marks of the table are gone")
	}
	if want := "\n" + dispositionTable(t) + "\n"; table != want {
		if *update {
			if err := os.WriteFile(file, []byte(head+"<!-- dispositions -->\n"+want+"<!-- end -->"+tail), 0o644); err != nil { //nolint:gosec // a page for everybody
				t.Fatal(err)
			}
		} else {
			t.Errorf("the table of dispositions is not that of the playbook: go test ./candor -update\n%s", want)
		}
	}

	// Every request is one of the service, with fields that it has.
	methods := candorv1.File_candor_v1_calls_proto.Services().ByName("CallQueueService").Methods()
	requests := 0
	for _, m := range regexp.MustCompile(`(?m)^ *ask (\w+) ['"](\{.*\})['"]`).FindAllStringSubmatch(page, -1) {
		name := protoreflect.Name(strings.ToUpper(m[1][:1]) + m[1][1:])
		method := methods.ByName(name)
		if method == nil {
			t.Errorf("there is no method %s", name)
			continue
		}
		body := strings.ReplaceAll(m[2], `\"`, `"`)
		if err := protojson.Unmarshal([]byte(body), dynamicpb.NewMessage(method.Input())); err != nil {
			t.Errorf("%s %s: %v", m[1], body, err)
		}
		requests++
	}
	if requests != 6 {
		t.Errorf("%d requests on the page: this test looks in the wrong place", requests)
	}
	shown := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(page)
	if err := protojson.Unmarshal([]byte(shown[1]), &candorv1.CallTask{}); err != nil {
		t.Errorf("the task that is shown: %v", err)
	}
	for _, m := range regexp.MustCompile("`calls\\.([a-z]+)`").FindAllStringSubmatch(page, -1) {
		for _, known := range []string{"claim", "renew", "release", "complete", "add", "explain", "script", "queue", "dispositions"} {
			if m[1] == known {
				m = nil
				break
			}
		}
		if m != nil {
			t.Errorf("there is no %s", m[0])
		}
	}

	// The results are read as they stand, and the commands are known.
	sheet := regexp.MustCompile("(?s)```csv\n(.*?)```").FindStringSubmatch(page)
	if r, err := readResults(strings.NewReader(sheet[1])); err != nil || len(r.rows) != 2 || len(r.problems) > 0 {
		t.Errorf("the results that are shown: %+v, %v", r, err)
	}
	commands := 0
	for _, m := range regexp.MustCompile("(?m)(?:^|`)candor ((?:calls|token|dialer) [^`\n]*)").FindAllStringSubmatch(page, -1) {
		root := rootCommand(quiet())
		cmd, rest, err := root.Find(strings.Fields(m[1]))
		if err == nil && cmd != root {
			err = cmd.ParseFlags(rest)
		}
		if err != nil || cmd == root || cmd.HasSubCommands() {
			t.Errorf("%q names no command: %v", m[1], err)
		}
		commands++
	}
	if commands < 5 {
		t.Errorf("%d commands on the page: this test looks in the wrong place", commands)
	}
}
