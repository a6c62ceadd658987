package dialer

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"candor/pkg/clock"
	candorv1 "candor/proto/candor/v1"
)

// Network is a telephone network of invented people, in the place of a real one. Whether somebody picks up and what they say
// follows from the seed, the customer's code and the attempt, so that a demo can be repeated: the same customer asks for a
// call-back again, and the same number is wrong again.
type Network struct {
	seed  uint64
	speed float64
	crash float64
	now   func() time.Time
	// clock is the queue's, where its calendar does not go as fast as the machine.
	clock clock.Clock
}

// NewNetwork returns a network in which time goes so many times as fast, and in which agents vanish in the middle of that
// share of their calls.
func NewNetwork(seed uint64, speed, crash float64, now func() time.Time) (*Network, error) {
	var errs []error
	if !(speed > 0) {
		errs = append(errs, fmt.Errorf("dialer: speed %g: give more than 0, 1 is as in life", speed))
	}
	if !(crash >= 0 && crash <= 1) {
		errs = append(errs, fmt.Errorf("dialer: crash %g: give 0 to 1", crash))
	}
	return &Network{seed: seed, speed: speed, crash: crash, now: now}, errors.Join(errs...)
}

// On returns the network in a rehearsal, where the calendar is not the machine's.
func (n *Network) On(c clock.Clock) *Network {
	fast := *n
	fast.now, fast.clock = c.Now, c
	return &fast
}

// share is how often something happens, of all times.
type share struct {
	what  string
	often float64
}

// What is behind a number, and stays so.
var numbers = []share{{"invalid", 0.01}, {"fax_modem", 0.003}, {"wrong_number", 0.02}}

// What a line does before anybody could pick up.
var lines = []share{{"congestion", 0.01}, {"busy", 0.05}}

// Who picks up: nobody, a machine, somebody else. Otherwise it is the customer.
var homes = []share{{"no_answer", 0.28}, {machine, 0.16}, {"third_party", 0.04}, {"hung_up_early", 0.02}}

// What kind of person the customer is, and stays.
var people = []share{{"language_needed", 0.015}, {"do_not_call", 0.006}, {"refused_info", 0.01}, {"suspected_scam", 0.006}, {"deceased", 0.001}}

// What the customer says today, if nothing of the above: notified otherwise.
var moods = []share{{"callback", 0.06}, {"notified_callback", 0.02}}

// minLater keeps a call-back ahead of its report, however fast time goes.
const minLater = 5 * time.Second

// machine is an answering machine: what it hears depends on the script.
const machine = "machine"

// Dial plays a call.
func (n *Network) Dial(ctx context.Context, task *candorv1.CallTask) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, ErrNotDialled
	}
	attempt := strconv.FormatUint(uint64(task.GetAttempt()), 10)
	dice := n.dice("call", task.GetCode(), attempt)
	c := &call{Network: n, ctx: ctx, dice: dice, task: task}
	c.result = Result{Started: n.now(), CallID: fmt.Sprintf("drill-%016x", dice.Uint64())}
	if dice.Float64() < n.crash {
		c.pass(5, 120)
		return Result{}, ErrVanished
	}
	c.play()
	c.result.Ended = n.now()
	return c.result, nil
}

// dice are the same for the same words.
func (n *Network) dice(words ...string) *rand.Rand {
	h := fnv.New64a()
	for _, w := range words {
		_, _ = h.Write(append([]byte(w), 0)) // never fails
	}
	return rand.New(rand.NewPCG(n.seed, h.Sum64()))
}

// draw picks one by its share, or none.
func draw(dice *rand.Rand, from []share) string {
	at := dice.Float64()
	for _, s := range from {
		if at < s.often {
			return s.what
		}
		at -= s.often
	}
	return ""
}

// call is one call that is being played.
type call struct {
	*Network
	ctx    context.Context
	dice   *rand.Rand
	task   *candorv1.CallTask
	result Result
}

func (c *call) play() {
	number := draw(c.Network.dice("number", c.task.GetPhone()), numbers)
	if number == "invalid" {
		c.rings(number, 1, 3)
		return
	}
	if busy := draw(c.dice, lines); busy != "" {
		c.rings(busy, 1, 4)
		return
	}
	home := draw(c.dice, homes)
	if c.task.GetPurpose() == "call_back" && home == "no_answer" {
		home = draw(c.dice, homes) // who asked to be called is more often there
	}
	if home == "no_answer" {
		c.rings(home, 20, 30) // nobody can say that it did not ring long enough
		return
	}
	if !c.rings("", 4, 20) {
		return
	}
	c.result.Answered = c.now()
	switch {
	case number != "":
		c.says(number, 5, 30)
	case home == machine:
		c.machine()
	case home != "":
		c.says(home, 10, 40)
	default:
		c.customer()
	}
}

// machine is told what the playbook has for machines, and not at the first try.
func (c *call) machine() {
	message := slices.ContainsFunc(c.task.GetScript().GetParts(), func(p *candorv1.ScriptPart) bool { return p.GetName() == "voicemail" })
	if message && c.task.GetAttempt() > 1 {
		c.says("voicemail_left", 30, 50)
		return
	}
	c.says("voicemail_no_msg", 5, 10)
}

func (c *call) customer() {
	if kind := draw(c.Network.dice("person", c.task.GetCode()), people); kind != "" {
		c.says(kind, 20, 90)
		return
	}
	switch mood := draw(c.dice, moods); mood {
	case "callback":
		if c.says(mood, 20, 60) {
			c.later()
		}
	case "notified_callback":
		if c.says(mood, 150, 300) {
			c.later()
		}
	default:
		c.says("notified", 120, 300)
	}
}

// later is when the customer wants to be called again.
func (c *call) later() {
	d := 2*time.Hour + time.Duration(c.dice.Int64N(int64(4*time.Hour)))
	c.result.CallBackAt = c.now().Add(c.clock.Work(max(c.scaled(d), minLater))).UTC()
}

// rings for some seconds, and the call ends in that way, or goes on without one. Cut off, it is a missed call on somebody's
// telephone.
func (c *call) rings(disposition string, from, to int) bool {
	ok := c.pass(from, to)
	if !ok {
		disposition = "no_answer"
	}
	c.result.Disposition = disposition
	return ok
}

// says talks for some seconds, and the call ends in that way. Cut off, somebody was left in the middle of a sentence.
func (c *call) says(disposition string, from, to int) bool {
	ok := c.pass(from, to)
	if !ok {
		disposition = "abandoned"
	}
	c.result.Disposition = disposition
	return ok
}

// pass waits for so many seconds of the play; false if the line was cut.
func (c *call) pass(from, to int) bool {
	d := time.Duration(from)*time.Second + time.Duration(c.dice.Int64N(int64(to-from)*int64(time.Second)))
	return wait(c.ctx, c.scaled(d))
}

func (n *Network) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) / n.speed) }
