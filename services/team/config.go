package team

import (
	"errors"
	"fmt"
	"time"
)

// Config says how the response team is told.
type Config struct {
	// LookEvery is how often the service looks whether a reminder is due.
	LookEvery time.Duration `yaml:"look_every"`
	// InFlight is how many messages are handed over at once.
	InFlight int `yaml:"in_flight"`
	// RequestTimeout bounds one request, and the wait for the sender's rate before it.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// Tries is how often a message is handed over that nobody took, before it counts as failed.
	Tries int `yaml:"tries"`
}

// DefaultConfig returns settings for a team of a few people.
func DefaultConfig() Config {
	return Config{LookEvery: 2 * time.Second, InFlight: 16, RequestTimeout: 10 * time.Second, Tries: 20}
}

// maxRequest leaves room for a wait and a request in sendWithin.
const maxRequest = sendWithin / 2

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.LookEvery <= 0 || c.LookEvery > time.Hour {
		bad("look_every is %s: set more than 0s and at most 1h", c.LookEvery)
	}
	if c.InFlight < 1 || c.InFlight > 256 {
		bad("in_flight is %d: set 1 to 256", c.InFlight)
	}
	if c.RequestTimeout <= 0 || c.RequestTimeout > maxRequest {
		bad("request_timeout is %s: set more than 0s and at most %s", c.RequestTimeout, maxRequest)
	}
	if c.Tries < 1 {
		bad("tries is %d: set 1 or more", c.Tries)
	}
	return errors.Join(errs...)
}
