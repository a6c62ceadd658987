package planner

import (
	"errors"
	"fmt"
	"time"

	"candor/pkg/receipt"
)

// Config says how often the planner looks after what runs.
type Config struct {
	// LookEvery is how often canaries are judged and shares of failures are compared with the playbook's.
	LookEvery time.Duration `yaml:"look_every"`
	// SweepEvery is how often missing orders are put back and customers move on to their next channel.
	SweepEvery time.Duration `yaml:"sweep_every"`
	// PollEvery is how often a provider is asked at most for the final word on the messages of a page.
	PollEvery time.Duration `yaml:"poll_every"`
	// PutBackAgain is how long an order that was put back and changed nothing is not put back again.
	PutBackAgain time.Duration `yaml:"put_back_again"`
}

// DefaultConfig returns the settings that fit everybody.
func DefaultConfig() Config {
	return Config{LookEvery: time.Second, SweepEvery: 5 * time.Second, PollEvery: time.Hour, PutBackAgain: 10 * time.Minute}
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	var errs []error
	for _, s := range []struct {
		name        string
		value, most time.Duration
		example     string
	}{
		{"look_every", c.LookEvery, time.Minute, "1s"},
		{"sweep_every", c.SweepEvery, 10 * time.Minute, "5s"},
		{"poll_every", c.PollEvery, receipt.Horizon, "1h"},
		{"put_back_again", c.PutBackAgain, receipt.Horizon, "10m"},
	} {
		if s.value < 10*time.Millisecond || s.value > s.most {
			errs = append(errs, fmt.Errorf("%s is %s: set 10ms to %s, such as %s", s.name, s.value, s.most, s.example))
		}
	}
	return errors.Join(errs...)
}
