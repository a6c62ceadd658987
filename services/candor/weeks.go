package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"candor/pkg/dispatch"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
	"candor/services/bench"
)

// weeksBegin is a Monday morning where the starter's incident happens, soon after it was found.
var weeksBegin = time.Date(2026, time.November, 23, 14, 0, 0, 0, time.UTC)

// calendar is the clock of a demo that runs so many times as fast as life.
func (d *demo) calendar(cfg *app.Config) {
	if d.speed != 1 {
		cfg.Clock = app.Clock{Speed: d.speed, Since: d.now(), Origin: weeksBegin}
		// Seconds of the machine are hours here.
		cfg.Followup.LookEvery, cfg.Planner.LookEvery, cfg.Planner.SweepEvery = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
		for _, worker := range []*dispatch.Config{&cfg.SMS.Config, &cfg.Email.Config} {
			worker.RetryFirst, worker.PausePoll = 100*time.Millisecond, time.Second
		}
	}
}

// weeks lives through the incident to its end, and holds what the timeline announced against what came.
func (d *demo) weeks(ctx context.Context, play *bench.Play, story bench.Story) (*bench.Verdict, *bench.Promises, error) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		return nil, nil, fmt.Errorf("time zone of the demo: %w", err)
	}
	d.say("The calendar goes %s times as fast as life: it is %s in New York. The broker wakes to the second, so a message may be\n%s of this calendar beside its hour.",
		number(uint64(d.speed)), play.App.Clock().Now().In(zone).Format("Monday, 2 January 2006, 15:04"), play.App.Clock().Work(2*time.Second))
	return play.Live(ctx, bench.Weeks{Story: story, Say: d.say, Timeline: func(tl *candorv1.Timeline) {
		if !d.json {
			d.timeline(tl, false)
		}
	}})
}

// promises says how the timeline's word was kept.
func (d *demo) promises(p *bench.Promises) {
	d.say("\nThe timeline announced %d messages; the sandbox took %d of them, each once and inside its window.", p.Announced, p.Kept)
	for _, b := range slices.Concat(p.Broken, p.Beside) {
		d.say("  %s", b)
	}
}
