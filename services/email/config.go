package email

import (
	"errors"
	"fmt"
	"time"

	"candor/pkg/dispatch"
	"candor/pkg/journal"
)

// Config says how e-mails are sent.
type Config struct {
	dispatch.Config `yaml:",inline"`
	// InFlight is how many requests are under way at once.
	InFlight int `yaml:"in_flight"`
	// SharedIntent is how many people small requests share an intent for. More is faster where requests are for a hundred or
	// fewer, and leaves more of them uncertain when a process dies.
	SharedIntent int `yaml:"shared_intent"`
	// Failover says when e-mails leave a route for the next one.
	Failover Failover `yaml:"failover"`
}

// DefaultConfig returns settings for a provider that takes a thousand recipients in a request.
func DefaultConfig() Config {
	c := Config{Config: dispatch.DefaultConfig(channel), InFlight: 16, SharedIntent: 100, Failover: Failover{After: 5, BackAfter: 10 * time.Minute, BackTrials: 3}}
	c.Provider, c.StrideSlots = SendGrid, 1000
	return c
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	err := c.Config.Validate()
	if c.InFlight < 1 || c.InFlight > 4096 {
		err = errors.Join(err, fmt.Errorf("in_flight is %d: set 1 to 4096", c.InFlight))
	}
	if c.SharedIntent < 1 || c.SharedIntent > journal.MaxSlots {
		err = errors.Join(err, fmt.Errorf("shared_intent is %d: set 1 to %d", c.SharedIntent, journal.MaxSlots))
	}
	if e := c.Failover.Validate(); e != nil {
		err = errors.Join(err, fmt.Errorf("failover: %w", e))
	}
	return err
}
