package api

import (
	"errors"
	"time"
)

// Config says how the api behaves.
type Config struct {
	// SealTimeout is how long an abort waits for all journals to be sealed before it asks to be called again.
	SealTimeout time.Duration `yaml:"seal_timeout"`
	// WatchEvery is how often a watcher's status is looked up.
	WatchEvery time.Duration `yaml:"watch_every"`
	// Slack is how far beside its instant a timeline lets a message start.
	Slack time.Duration `yaml:"slack"`
	// Webhook says that a provider's event webhook is set up, so that lost answers of large e-mail requests can be found out.
	Webhook bool `yaml:"-"`
}

// DefaultConfig returns the settings that fit everybody.
func DefaultConfig() Config {
	return Config{SealTimeout: 5 * time.Minute, WatchEvery: 250 * time.Millisecond, Slack: time.Minute}
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	var errs []error
	if c.SealTimeout <= 0 {
		errs = append(errs, errors.New("seal_timeout must be positive, such as 5m"))
	}
	if c.WatchEvery < 10*time.Millisecond {
		errs = append(errs, errors.New("watch_every must be 10ms or more, such as 250ms"))
	}
	if c.Slack < 0 {
		errs = append(errs, errors.New("slack must not be negative: write 1m"))
	}
	return errors.Join(errs...)
}
