package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"candor/pkg/config"
)

const rehearsal = `
clock:
  speed: 3600
  since: 2026-11-22T09:30:00Z
  origin: 2028-02-28T23:00:00Z
`

const (
	hereTwilio   = "  twilio: {account_sid: AC00000000000000000000000000000001, base_url: 'http://127.0.0.1:8421'}\n"
	hereSendGrid = "  sendgrid: {api_key: KEY, base_url: 'http://[::1]:8421'}\n"
	farTwilio    = "  twilio: {account_sid: AC00000000000000000000000000000001}\n"
	farSendGrid  = "  sendgrid: {api_key: KEY}\n"
)

// complaints are what is wrong with the clock of settings.
func complaints(t *testing.T, yaml, targets string) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("SG.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	if err := config.Decode("candor.yaml", []byte(strings.ReplaceAll(yaml, "KEY", "'file:"+key+"'")), &cfg); err != nil {
		t.Fatal(err)
	}
	names, err := ParseTargets(targets)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	if err := cfg.Validate(names); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if strings.Contains(line, "clock") || strings.Contains(line, "since") || strings.Contains(line, "speed") {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, "\n")
}

func TestAFastClockIsForRehearsalsOnly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, yaml, targets string
		want                []string // words of the complaints, none for a clock that is taken
	}{
		{"the machine's own", "", "all", nil},
		{"as in life, in words", "clock: {speed: 1, since: 2026-11-22T09:30:00Z}\nproviders:\n" + farTwilio, "all", nil},
		{"the sandbox is in the process", rehearsal, "all,sandbox", nil},
		{"all are on this machine", rehearsal + "providers:\n" + hereTwilio + hereSendGrid, "all", nil},
		{"by name", rehearsal + "providers:\n" + hereTwilio + "  sendgrid: {base_url: 'http://localhost:8421'}\n", "sms", nil},
		{"nobody is named", rehearsal, "all", []string{"for rehearsals", "providers.twilio", "providers.sendgrid"}},
		{"a real account beside the sandbox", rehearsal + "providers:\n" + farTwilio, "all,sandbox", []string{"for rehearsals", "providers.twilio"}},
		{"a real account of the other channel", rehearsal + "providers:\n" + hereTwilio + farSendGrid, "all", []string{"providers.sendgrid"}},
		{"another machine that sounds like this one", rehearsal + "providers:\n" + hereSendGrid +
			"  twilio: {account_sid: AC00000000000000000000000000000001, base_url: 'http://127.0.0.1.example.com'}\n", "all", []string{"providers.twilio"}},
		{"a relay elsewhere", rehearsal + "providers:\n  smtp: {host: relay.example.com}\n", "all,sandbox", []string{"providers.smtp"}},
		{"a planner by itself", rehearsal + "providers:\n" + farTwilio, "planner", []string{"providers.twilio"}},
		{"another day at the usual speed", "clock: {since: 2026-11-22T09:30:00Z, origin: 2028-02-28T23:00:00Z}\n", "all", []string{"for rehearsals"}},
		{"no beginning", "clock: {speed: 60}\n", "all,sandbox", []string{"since is missing"}},
		{"slower than life", "clock: {speed: 0.5, since: 2026-11-22T09:30:00Z}\n", "all,sandbox", []string{"speed is 0.5"}},
		{"backwards", "clock: {speed: -1, since: 2026-11-22T09:30:00Z}\n", "all,sandbox", []string{"speed is -1"}},
		{"no number", "clock: {speed: .nan, since: 2026-11-22T09:30:00Z}\n", "all,sandbox", []string{"speed is NaN"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := complaints(t, tt.yaml, tt.targets)
			if len(tt.want) == 0 && got != "" {
				t.Errorf("complains: %s", got)
			}
			for _, word := range tt.want {
				if !strings.Contains(got, word) {
					t.Errorf("%q does not say %q", got, word)
				}
			}
		})
	}
}

func TestTheClockOfTheSettings(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	if c := cfg.Clock.clock(); c.Speed() != 1 || time.Since(c.Now()).Abs() > time.Minute {
		t.Errorf("without settings the calendar shows %s", c.Now())
	}
	if err := config.Decode("candor.yaml", []byte(rehearsal), &cfg); err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)
	at := since.Add(25 * time.Second)
	// Two processes, or one that was started again.
	for range 2 {
		if got, want := cfg.Clock.clock().FromMachine(at), time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
			t.Errorf("shows %s, want %s", got, want)
		}
	}
	cfg.Clock.Origin = time.Time{}
	if got, want := cfg.Clock.clock().FromMachine(at), since.Add(25*time.Hour); !got.Equal(want) {
		t.Errorf("without an origin it shows %s, want %s", got, want)
	}
}
