package app

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"candor/pkg/clock"
	"candor/pkg/loopback"
)

// fastest is a day in less than a second: beyond it the broker's schedules, which fire to the second, say nothing any more.
const fastest = 100_000

// Clock lets the calendar run faster than the machine, for a rehearsal against a sandbox. Every process of the installation has
// the same; one that is started again with it goes on in the same calendar.
type Clock struct {
	// Speed is how many times as fast; 0 and 1 are as in life.
	Speed float64 `yaml:"speed"`
	// Since is the moment at which the rehearsal began.
	Since time.Time `yaml:"since"`
	// Origin is what the calendar showed then; Since itself where it is not set.
	Origin time.Time `yaml:"origin"`
}

// real says that the calendar is the machine's own.
func (c Clock) real() bool {
	return (c.Speed == 0 || c.Speed == 1) && (c.Origin.IsZero() || c.Origin.Equal(c.Since))
}

func (c Clock) clock() clock.Clock {
	if c.real() {
		return clock.Clock{}
	}
	origin, speed := c.Origin, c.Speed
	if origin.IsZero() {
		origin = c.Since
	}
	if speed == 0 {
		speed = 1
	}
	return clock.Fast(origin, c.Since, speed)
}

// validateClock refuses a calendar of our own where anything could reach a customer.
func (c Config) validateClock(targets []string) error {
	var errs []error
	if s := c.Clock.Speed; s != 0 && !(s >= 1 && s <= fastest) {
		errs = append(errs, fmt.Errorf("speed is %g: set 1 to %d", s, fastest))
	}
	if c.Clock.real() {
		return errors.Join(errs...)
	}
	if c.Clock.Since.IsZero() {
		errs = append(errs, errors.New("since is missing: set the moment at which the rehearsal begins, such as 2026-11-22T09:30:00Z, the same for every process"))
	}
	sandboxed := func(name string) {
		errs = append(errs, fmt.Errorf("a clock that runs fast is for rehearsals: run the target sandbox and leave out providers.%s, or point it at a sandbox on this machine", name))
	}
	ours := slices.Contains(targets, "sandbox")
	if tw := c.Providers.Twilio; (!ours || tw.AccountSID != "") && !loopback.Is(hostOf(tw.BaseURL)) {
		sandboxed("twilio")
	}
	if sg := c.Providers.SendGrid; (!ours || sg.APIKey != "") && !loopback.Is(hostOf(sg.BaseURL)) {
		sandboxed("sendgrid")
	}
	if relay := c.Providers.SMTP; relay.Host != "" && !loopback.Is(relay.Host) {
		sandboxed("smtp")
	}
	return errors.Join(errs...)
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Clock is what this process lives by.
func (a *App) Clock() clock.Clock { return a.clock }
