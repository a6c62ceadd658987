package dialer

import (
	"errors"
	"fmt"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// answerWithin is how long the queue may take for an answer, beside what a claim waits for a task.
const answerWithin = 10 * time.Second

// maxWait is the longest that the queue waits for a task.
const maxWait = 30 * time.Second

// Config says how large the contact centre is, and what its agents can do.
type Config struct {
	// Agents take one call at a time each.
	Agents int
	// Mode preview has the agent read the task for Preview before the call; progressive dials at once.
	Mode    candorv1.DialMode
	Preview time.Duration
	// Incidents, Languages and Skills narrow what is claimed; empty is everything.
	Incidents, Languages, Skills []string
	// Wait is how long a claim waits for a task. A stop waits for the claims that are out, so it is short.
	Wait time.Duration
	// Lease is how long a task is held without a renewal. A short one is found out soon when an agent's machine dies.
	Lease time.Duration
	// Grace is how long calls may go on after a stop.
	Grace time.Duration
}

// DefaultConfig is ten agents who dial progressively.
func DefaultConfig() Config {
	return Config{
		Agents: 10, Mode: candorv1.DialMode_DIAL_MODE_PROGRESSIVE, Preview: 30 * time.Second,
		Wait: 5 * time.Second, Lease: 3 * time.Minute, Grace: 30 * time.Second,
	}
}

// Validate names every mistake.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("dialer: "+format, args...))
		}
	}
	check(c.Agents > 0, "%d agents: give at least one", c.Agents)
	check(c.Mode == candorv1.DialMode_DIAL_MODE_PREVIEW || c.Mode == candorv1.DialMode_DIAL_MODE_PROGRESSIVE, "mode %v: choose preview or progressive", c.Mode)
	check(c.Preview >= 0, "a preview of %s: give no negative time", c.Preview)
	check(c.Wait >= time.Second && c.Wait <= maxWait, "a claim that waits %s: give a second to %s", c.Wait, maxWait)
	check(c.Lease >= time.Second, "a lease of %s: give a second or more", c.Lease)
	check(c.Grace >= 0, "a grace of %s: give no negative time", c.Grace)
	return errors.Join(errs...)
}
