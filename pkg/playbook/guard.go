package playbook

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"candor/pkg/roster"
)

// Guard looks after a wave: it sends a few notices first, and pauses a channel on which too many fail. After Parse it holds
// its defaults where the playbook says nothing.
type Guard struct {
	// Canary is how many notices of each channel go before all others; 0 for none. CanaryWait is how long their receipts are
	// waited for.
	Canary     int           `yaml:"canary,optional"`
	CanaryWait time.Duration `yaml:"canary_wait,optional"`
	// Rejected and Bounced are the shares above which a channel is paused; 0 never pauses. Least is from how many notices on.
	Rejected Share `yaml:"rejected,optional"`
	Bounced  Share `yaml:"bounced,optional"`
	Least    int   `yaml:"least,optional"`
}

// DefaultGuard is what holds where a playbook says nothing.
func DefaultGuard() Guard { return Guard{Rejected: 0.2, Bounced: 0.2, Least: 200} }

const (
	defaultCanaryWait = 10 * time.Minute
	maxCanary         = 100_000
	maxCanaryWait     = 7 * 24 * time.Hour
)

// Share is a part of one, written as a percentage.
type Share float64

var share = regexp.MustCompile(`^([0-9]{1,3}(\.[0-9]{1,4})?) ?%$`)

func parseShare(s string) (Share, bool) {
	m := share.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	percent, err := strconv.ParseFloat(m[1], 64)
	return Share(percent / 100), err == nil && percent <= 100
}

// String returns the share as a percentage, as in 12.5%.
func (s Share) String() string {
	percent := strconv.FormatFloat(float64(s)*100, 'f', 4, 64)
	return strings.TrimSuffix(strings.TrimRight(percent, "0"), ".") + "%"
}

// guard fills in the defaults of what stands at no path, and looks at the rest.
func (c checker) guard(path string, g *Guard) {
	without := DefaultGuard()
	if !c.has(path + ".rejected") {
		g.Rejected = without.Rejected
	}
	if !c.has(path + ".bounced") {
		g.Bounced = without.Bounced
	}
	if !c.has(path + ".least") {
		g.Least = without.Least
	} else if g.Least < 1 {
		c.bad(path+".least", "write from how many notices on their shares tell something, like 200", "least is %d", g.Least)
	}
	if g.Canary < 0 || g.Canary > maxCanary {
		c.bad(path+".canary", "write how many notices go first, up to 100000, like 200", "a canary of %d", g.Canary)
	}
	switch {
	case !c.has(path + ".canary_wait"):
		if g.Canary > 0 {
			g.CanaryWait = defaultCanaryWait
		}
	case g.Canary == 0:
		c.badKey(path+".canary_wait", "add canary, or delete it", "canary_wait without a canary")
	case g.CanaryWait > maxCanaryWait:
		c.bad(path+".canary_wait", "write 7d or less", "%s is long", g.CanaryWait)
	}
}

// ladder looks at the steps of a wave, and fills in what counts as reached.
func (c checker) ladder(path string, w *Wave) {
	begins, sent := false, false
	for ch, t := range w.Each {
		at := path + ".channels." + roster.ChannelName(ch)
		begins, sent = begins || !t.Step(), true
		if t.After > maxPeriod {
			c.bad(at+".after", "write 30d or less", "%s is long", t.After)
		}
		switch {
		case !c.has(at + ".unless"):
			if t.Step() {
				t.Unless = Delivered
			}
		case !t.Step():
			c.badKey(at+".unless", "add after, or delete it", "unless without after: the channel begins with the wave")
		case t.Unless != "" && !slices.Contains([]string{Delivered, Accepted}, t.Unless):
			c.bad(at+".unless", cmp.Or(hint(t.Unless, []string{Delivered, Accepted}), "write delivered or accepted"), "unless %s has no meaning", t.Unless)
		}
	}
	if sent && !begins {
		c.badKey(path+".channels", "delete after from one of them", "no channel begins with the wave")
	}
}
