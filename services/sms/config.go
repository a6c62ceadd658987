package sms

import (
	"errors"
	"fmt"
	"time"

	"candor/pkg/dispatch"
	"candor/services/sms/twilio"
)

// Config says how text messages are sent.
type Config struct {
	dispatch.Config `yaml:",inline"`
	// InFlight is how many requests are under way at once.
	InFlight int `yaml:"in_flight"`
	// ClockSkew is how far the provider's clock may be behind ours when a message is looked up by its time.
	ClockSkew time.Duration `yaml:"clock_skew"`
	Twilio    twilio.Config `yaml:"-"`
}

// DefaultConfig returns settings for a provider that answers in a fraction of a second.
func DefaultConfig() Config {
	c := Config{Config: dispatch.DefaultConfig(channel), InFlight: 64, ClockSkew: 5 * time.Second, Twilio: twilio.DefaultConfig()}
	c.Provider = "twilio"
	return c
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	err := c.Config.Validate()
	if c.InFlight < 1 || c.InFlight > 4096 {
		err = errors.Join(err, fmt.Errorf("in_flight is %d: set 1 to 4096", c.InFlight))
	}
	if c.ClockSkew < 0 {
		err = errors.Join(err, fmt.Errorf("clock_skew is %s: set 0s or more", c.ClockSkew))
	}
	return err
}
