package followup

import (
	"errors"
	"fmt"
	"time"

	"candor/pkg/timetable"
)

// Config says how closely the timetable is kept.
type Config struct {
	// LookEvery is how often all incidents are looked at, also if no alarm went off: a lost one costs no more.
	LookEvery time.Duration `yaml:"look_every"`
	// Grace is how long after its hour a follow-up is not late yet.
	Grace time.Duration `yaml:"grace"`
}

// DefaultConfig returns the settings that fit everybody.
func DefaultConfig() Config {
	return Config{LookEvery: 5 * time.Second, Grace: timetable.Grace}
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	var errs []error
	if c.LookEvery < 10*time.Millisecond || c.LookEvery > time.Minute {
		errs = append(errs, fmt.Errorf("look_every is %s: set 10ms to 1m, such as 5s", c.LookEvery))
	}
	if c.Grace < 2*c.LookEvery || c.Grace > 24*time.Hour {
		errs = append(errs, fmt.Errorf("grace is %s: set twice look_every to 24h, such as 5m", c.Grace))
	}
	return errors.Join(errs...)
}
