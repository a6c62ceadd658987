package email

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"candor/pkg/provider"
)

// Failover says when e-mails leave a route for the next one, and when they come back.
type Failover struct {
	// After is how many requests in a row must fail, for reasons that do not lie with their recipients. Where requests are few,
	// half a minute in which none succeeds is enough.
	After int `yaml:"after"`
	// BackAfter is how long a route is left alone before it is tried. BackTrials is how many trials in a row must succeed.
	BackAfter  time.Duration `yaml:"back_after"`
	BackTrials int           `yaml:"back_trials"`
}

// Validate says what is wrong with the settings, all at once.
func (f Failover) Validate() error {
	var errs []error
	if f.After < 1 {
		errs = append(errs, fmt.Errorf("after is %d: set at least 1", f.After))
	}
	if f.BackAfter <= 0 {
		errs = append(errs, fmt.Errorf("back_after is %s: set a positive duration, such as 10m", f.BackAfter))
	}
	if f.BackTrials < 1 {
		errs = append(errs, fmt.Errorf("back_trials is %d: set at least 1", f.BackTrials))
	}
	return errors.Join(errs...)
}

const (
	// failingFor is how long a route may do nothing but fail, however few requests there are.
	failingFor = 30 * time.Second
	// claimFor is how long a trial may take to begin and end; who was given one and never came back is forgotten then.
	claimFor = 2 * time.Minute
)

// health knows which routes work. It goes by the machine's time, looks at no clock of its own and sends nothing.
type health struct {
	cfg Failover
	// version rises with every change of what pick answers to those who hold no trial.
	version atomic.Uint64

	mu     sync.Mutex
	routes []routeHealth
	claims uint64
}

// routeHealth is one route's.
type routeHealth struct {
	left bool
	// epoch rises when the route is left and when it is back: what was sent before says nothing about what is now.
	epoch uint64
	// While it is used: failures in a row, and since when.
	failing int
	since   time.Time
	// While it is left: no trial before quiet, the trial under way and when it is forgotten, and successes in a row.
	quiet   time.Time
	claim   uint64
	expires time.Time
	trials  int
}

// ticket is leave to send one stride through a route.
type ticket struct {
	route int
	epoch uint64
	claim uint64 // the trial it is; 0 for none
}

// turn is a route that was left or is back.
type turn struct {
	route  int
	left   bool
	reason string
	// next is the first route that works; -1 if there is none.
	next int
}

func newHealth(cfg Failover, routes int) *health {
	return &health{cfg: cfg, routes: make([]routeHealth, routes)}
}

// pick chooses among routes, which are in order of preference: the first one that works, or one that is due for a trial and
// preferred to it. If none works it stays with the first, so that its errors are seen.
func (h *health) pick(routes []int, now time.Time) ticket {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(routes) == 1 {
		return ticket{route: routes[0], epoch: h.routes[routes[0]].epoch}
	}
	for _, n := range routes {
		r := &h.routes[n]
		if !r.left {
			return ticket{route: n, epoch: r.epoch}
		}
		if !now.Before(r.quiet) && (r.claim == 0 || now.After(r.expires)) {
			h.claims++
			r.claim, r.expires = h.claims, now.Add(claimFor)
			return ticket{route: n, epoch: r.epoch, claim: r.claim}
		}
	}
	return ticket{route: routes[0], epoch: h.routes[routes[0]].epoch}
}

// left says whether a ticket is one of before its route was left. A trial goes on to its end.
func (h *health) left(t ticket) bool {
	if t.claim != 0 || t.epoch == noEpoch {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.routes[t.route]
	return r.left && r.epoch != t.epoch
}

// verdict is what a request says about its route.
type verdict uint8

const (
	nothing verdict = iota // it says nothing
	works
	fails
)

// heard takes the verdict on a request; the requests of a trial are one.
func (h *health) heard(t ticket, v verdict, reason string, now time.Time) *turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.routes[t.route]
	if t.epoch != r.epoch {
		return nil
	}
	if !r.left {
		return h.used(t.route, v, reason, now)
	}
	// A route that was left is judged by its trials alone: not by those who have no other, nor by a trial that was forgotten.
	if t.claim == 0 || t.claim != r.claim {
		return nil
	}
	r.claim = 0
	switch v {
	case works:
		if r.trials++; r.trials >= h.cfg.BackTrials {
			*r = routeHealth{epoch: r.epoch + 1}
			return h.turned(turn{route: t.route})
		}
	case fails:
		r.trials, r.quiet = 0, now.Add(h.cfg.BackAfter)
	case nothing:
	}
	return nil
}

func (h *health) used(n int, v verdict, reason string, now time.Time) *turn {
	r := &h.routes[n]
	switch v {
	case works:
		r.failing = 0
	case fails:
		if r.failing == 0 {
			r.since = now
		}
		r.failing++
		if r.failing >= h.cfg.After || r.failing > 1 && now.Sub(r.since) >= failingFor {
			*r = routeHealth{left: true, epoch: r.epoch + 1, quiet: now.Add(h.cfg.BackAfter)}
			return h.turned(turn{route: n, left: true, reason: reason})
		}
	case nothing:
	}
	return nil
}

func (h *health) turned(t turn) *turn {
	h.version.Add(1)
	t.next = slices.IndexFunc(h.routes, func(r routeHealth) bool { return !r.left })
	return &t
}

// judge reads the outcomes of one request. One that was accepted proves that the route works; those that lie with their
// recipients, or with us, prove nothing.
func judge(outcomes []provider.Outcome) (v verdict, reason string) {
	for i := range outcomes {
		switch o := &outcomes[i]; {
		case o.Class == provider.Accepted:
			return works, ""
		case v == nothing && concernsAll(o):
			v, reason = fails, o.Reason
		}
	}
	return v, reason
}

func concernsAll(o *provider.Outcome) bool {
	switch o.Class {
	case provider.Misconfigured:
		return true
	case provider.Unknown:
		return o.Reason != "cancelled_after_write" // we were stopped
	case provider.NotSent:
		switch o.Reason {
		case "send_before_passed", "clock_stalled", "cancelled_before_write", "not_begun", "too_many_refusals":
			return false
		}
		// Asked for less, it works; and a relay that puts off a single recipient says so without a stage in the reason.
		return !o.Throttled && !strings.HasPrefix(o.Reason, "smtp_4")
	case provider.Accepted, provider.BadAddress, provider.Refused, provider.Defect:
	}
	return false
}
