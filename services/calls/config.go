package calls

import (
	"errors"
	"fmt"
	"time"
)

// Config says how the call queue is run.
type Config struct {
	// RenewEvery is how often the owner says that it is there; three times missed, and another process takes over.
	RenewEvery time.Duration `yaml:"renew_every"`
	// InHand is how many claims of dialers may be in hand, those that wait for a task among them, and how many other requests
	// beside them.
	InHand int `yaml:"in_hand"`
	// OpenPages is how many pages of customers are kept open, each up to a thousand customers.
	OpenPages int `yaml:"open_pages"`
	// RecordEvery is how long outcomes are gathered before they are written into the journals.
	RecordEvery time.Duration `yaml:"record_every"`
	// Orders is how many orders are turned into tasks at a time.
	Orders int `yaml:"orders"`
}

// DefaultConfig suits a contact centre of some thousand agents.
func DefaultConfig() Config {
	return Config{RenewEvery: time.Second, InHand: 4096, OpenPages: 128, RecordEvery: 250 * time.Millisecond, Orders: 4}
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("calls: "+format, args...))
		}
	}
	check(c.RenewEvery >= 10*time.Millisecond && c.RenewEvery <= time.Minute, "renew_every is %s: set 10ms to 1m", c.RenewEvery)
	check(c.InHand >= 1 && c.InHand <= 100_000, "in_hand is %d: set 1 to 100000", c.InHand)
	check(c.OpenPages >= 1 && c.OpenPages <= 10_000, "open_pages is %d: set 1 to 10000", c.OpenPages)
	check(c.RecordEvery >= 0 && c.RecordEvery <= time.Minute, "record_every is %s: set 0s to 1m", c.RecordEvery)
	check(c.Orders >= 1 && c.Orders <= 256, "orders is %d: set 1 to 256", c.Orders)
	return errors.Join(errs...)
}
