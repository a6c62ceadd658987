package ledger

import (
	"errors"
	"fmt"
	"time"

	"candor/pkg/clock"
)

// Config says how the ledger answers.
type Config struct {
	// CatchUp is how long a status waits for entries that were written before it was asked for.
	CatchUp time.Duration `yaml:"catch_up"`
	// Answers is how many requests of a kind are answered at once.
	Answers int `yaml:"answers"`
	// StuckAfter is how long a page with open notices may rest without a reason before it is called stuck, by the machine's
	// time.
	StuckAfter time.Duration `yaml:"stuck_after"`
	// Clock is the calendar by which rates are counted.
	Clock clock.Clock `yaml:"-"`
}

// DefaultConfig returns the settings that fit everybody.
func DefaultConfig() Config {
	return Config{CatchUp: time.Second, Answers: 4, StuckAfter: 15 * time.Minute}
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	var errs []error
	if c.CatchUp < 0 || c.CatchUp > 10*time.Second {
		errs = append(errs, fmt.Errorf("catch_up is %s: set 0s to 10s, such as 1s", c.CatchUp))
	}
	if c.Answers < 1 || c.Answers > 256 {
		errs = append(errs, fmt.Errorf("answers is %d: set 1 to 256", c.Answers))
	}
	if c.StuckAfter < time.Minute || c.StuckAfter > 24*time.Hour {
		errs = append(errs, fmt.Errorf("stuck_after is %s: set 1m to 24h, such as 15m", c.StuckAfter))
	}
	return errors.Join(errs...)
}
