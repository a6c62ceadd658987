package ledger

import (
	"errors"
	"fmt"
	"time"
)

// Config says how the ledger answers.
type Config struct {
	// CatchUp is how long a status waits for entries that were written before it was asked for.
	CatchUp time.Duration `yaml:"catch_up"`
	// Answers is how many requests of a kind are answered at once.
	Answers int `yaml:"answers"`
	// Now is the clock by which rates are counted.
	Now func() time.Time `yaml:"-"`
}

// DefaultConfig returns the settings that fit everybody.
func DefaultConfig() Config {
	return Config{CatchUp: time.Second, Answers: 4, Now: time.Now}
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
	if c.Now == nil {
		errs = append(errs, errors.New("the ledger has no clock"))
	}
	return errors.Join(errs...)
}
