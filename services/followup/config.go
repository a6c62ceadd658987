package followup

import (
	"fmt"
	"time"
)

// Config says how closely the timetable is kept.
type Config struct {
	// LookEvery is how often all incidents are looked at, also if no alarm went off: a lost one costs no more.
	LookEvery time.Duration `yaml:"look_every"`
}

// DefaultConfig returns the settings that fit everybody.
func DefaultConfig() Config {
	return Config{LookEvery: 5 * time.Second}
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	if c.LookEvery < 10*time.Millisecond || c.LookEvery > time.Minute {
		return fmt.Errorf("look_every is %s: set 10ms to 1m, such as 5s", c.LookEvery)
	}
	return nil
}
