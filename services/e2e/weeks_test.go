package e2e

import (
	"regexp"
	"testing"
	"time"

	"github.com/rs/zerolog"

	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
)

// Three days on a clock that shows an hour each second: two follow-ups, an update and its correction go out as the timeline
// announced them, and then the last word. How close to its hour a message comes depends on how busy this machine is.
func TestTheTimelineAnnouncesWhatCustomersGet(t *testing.T) {
	t.Parallel()
	if detector {
		t.Skip("the weeks were NOT lived through: an hour passes each second, and under the race detector hours pass between two steps; run the test without it")
	}
	play, err := bench.Start(t.Context(), t.TempDir(), zerolog.New(t.Output()).Level(zerolog.WarnLevel), func(cfg *app.Config) {
		cfg.NATS.FreeSpaceMark = 1
		cfg.Clock = app.Clock{Speed: 3600, Since: time.Now(), Origin: time.Date(2026, time.November, 23, 14, 0, 0, 0, time.UTC)}
		cfg.Followup.LookEvery, cfg.Planner.LookEvery, cfg.Planner.SweepEvery = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
		cfg.SMS.RetryFirst, cfg.Email.RetryFirst = 100*time.Millisecond, 100*time.Millisecond
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := play.Stop(); err != nil {
			t.Error(err)
		}
	})
	block := regexp.MustCompile(`(?m)^follow_ups:\n(?:[ #].*\n|\n)*`)
	v, promises, err := play.Live(t.Context(), bench.Weeks{
		Story: bench.Story{Incident: "weeks", Hours: true, Edit: func(pb string) string {
			return block.ReplaceAllLiteralString(pb, "follow_ups:\n  apart: 6h\n  cadence:\n    - {name: apology, after: 18h, send: apology}\n"+
				"    - {name: weekly, every: 'day 10:00', send: standing, if_late: send within 24h}\n")
		}},
		Say:      func(format string, args ...any) { t.Logf(format, args...) },
		Timeline: func(*candorv1.Timeline) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.Lost != 0 || v.Duplicates != 0 || v.Disagree != 0 || !v.Complete {
		t.Errorf("verdict = %+v", v)
	}
	if len(promises.Broken) > 0 || promises.Announced < 50 {
		t.Errorf("%d were announced; broken: %q", promises.Announced, promises.Broken)
	}
	t.Logf("%d of %d came inside their window; beside it: %q", promises.Kept, promises.Announced, promises.Beside)
}
