package bench

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"

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
	cfg.HTTP.Addr, cfg.Sandbox.Listen = "127.0.0.1:0", "127.0.0.1:0"
	// The sandbox lists a message as soon as it has accepted it, and answers at once or never.
	cfg.SMS.VisibilityLag, cfg.Email.VisibilityLag = 0, 0
	return cfg, admin, nil
}

// Texts are the starter's playbook and facts, changed so that a run ends at any hour of any day: always open, and
// senders that are as fast as the sandbox.
func Texts(emailBatch int) (pb, facts string, err error) {
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
	for _, edit := range []struct{ from, to string }{
		{`quiet_hours: outside [^\n]*`, `quiet_hours: none`},
		{`segments_per_sec: \d+`, `segments_per_sec: 1000000`},
		{`requests_per_sec: \d+`, `requests_per_sec: 1000000`},
		{`batch: \d+`, fmt.Sprintf(`batch: %d`, emailBatch)},
	} {
		re := regexp.MustCompile(edit.from)
		if !re.MatchString(pb) {
			return "", "", fmt.Errorf("the starter playbook has no %q any more", edit.from)
		}
		pb = re.ReplaceAllString(pb, edit.to)
	}
	return pb, facts, nil
}
