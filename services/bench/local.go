package bench

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"candor/pkg/config"
	"candor/pkg/playbook"
	"candor/pkg/token"
	"candor/pkg/vault"
	"candor/services/app"
)

// Prepare makes a fresh installation in dir: keys, and settings with a first admin, whose token it returns. All ports
// are free ones.
func Prepare(dir string) (app.Config, config.Secret, error) {
	cfg := app.DefaultConfig()
	cfg.Data, cfg.Keys = filepath.Join(dir, "data"), filepath.Join(dir, "keys")
	if err := vault.Init(cfg.Keys); err != nil {
		return cfg, "", err
	}
	if err := app.InitUsers(cfg.Keys); err != nil {
		return cfg, "", err
	}
	admin, line := token.NewAdmin()
	cfg.FirstAdmin = line
	cfg.HTTP.Addr, cfg.Sandbox.Listen, cfg.Frontdoor.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	// The sandbox lists a message as soon as it has accepted it, and answers at once or never.
	cfg.SMS.VisibilityLag, cfg.Email.VisibilityLag = 0, 0
	// Nobody watches for hours.
	cfg.Planner.SweepEvery = time.Second
	return cfg, admin, nil
}

// Starter is the starter's playbook and facts, as candor init writes them.
func Starter() (pb, facts string, err error) {
	read := func(name string) (text string) {
		if err != nil {
			return ""
		}
		var b []byte
		b, err = fs.ReadFile(playbook.Starter(), name)
		return string(b)
	}
	pb, facts = read("playbook.yaml"), read("facts.yaml")
	if err != nil {
		return "", "", fmt.Errorf("starter files: %w", err)
	}
	return pb, facts, nil
}

// Texts are the starter's playbook and facts, changed so that a run ends at any hour of any day: always open, and
// senders that are as fast as the sandbox.
func Texts(emailBatch int) (pb, facts string, err error) {
	if pb, facts, err = Starter(); err != nil {
		return "", "", err
	}
	for _, edit := range []struct{ from, to string }{
		{`quiet_hours: outside [^\n]*`, `quiet_hours: none`},
		{`segments_per_sec: \d+`, `segments_per_sec: 1000000`},
		{`requests_per_sec: \d+`, `requests_per_sec: 1000000`},
		{`batch: \d+`, fmt.Sprintf(`batch: %d`, emailBatch)},
		{`\n  hours: mon-fri[^\n]*`, "\n  hours: mon-sun 00:00-24:00\n  outside_8_to_21: true"},
		{`\n  uncertain_hours: [^\n]*`, "\n  uncertain_hours: mon-sun 00:00-24:00"},
		{`\n  gap: [^\n]*`, quickCalls},
	} {
		re := regexp.MustCompile(edit.from)
		if !re.MatchString(pb) {
			return "", "", fmt.Errorf("the starter playbook has no %q any more", edit.from)
		}
		pb = re.ReplaceAllString(pb, edit.to)
	}
	return pb, facts, nil
}

// quickCalls lets a call that came to nothing be followed by the next one at once.
const quickCalls = `
  gap: 1s
  spread: 0s
  cool_down: 1s
  lead: 0s
  dispositions:
    no_answer: {number: next, after: [1s], most: 4, counts: 0.5}
    busy: {after: [1s], most: 4, counts: 0.5}
    voicemail_no_msg: {after: [1s], most: 4, counts: 0.5}
    voicemail_left: {after: [1s], most: 4, counts: 0.5}
    third_party: {after: [1s], most: 3, counts: 0.5}
    hung_up_early: {after: [1s], most: 3, counts: 0.5}
    congestion: {after: [1s], most: 50}
    language_needed: {after: [1s], most: 3}
    suspected_scam: {after: [1s], most: 2, counts: 0.5}
    invalid: {number: bad, counts: 0.5}`

// withCalls lets calls be made for those whom nothing written has reached so long after it began.
func withCalls(pb string, after time.Duration) string {
	return strings.Replace(pb, "    channels:\n", fmt.Sprintf("    channels:\n      call: {after: %s, unless: delivered}\n", after), 1)
}

// laterEmails makes the e-mails of a playbook a step of the ladder.
func laterEmails(pb string, after time.Duration) string {
	return strings.Replace(pb, "\n      email:\n", fmt.Sprintf("\n      email:\n        after: %s\n        unless: delivered\n", after), 1)
}
