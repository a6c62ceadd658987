package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"candor/pkg/config"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

// CallChaosConfig says how rough a chaos run of the call queue is.
type CallChaosConfig struct {
	Binary string // of candor
	// Calls is how many customers are to be called.
	Calls int
	// Dialers are processes of the reference dialer, with so many Agents each.
	Dialers, Agents int
	// Kills is how often a process of Candor is killed at a random moment, and a dialer with it.
	Kills int
	// Together has one process do everything. Else each target has its own, and the call queue two, of which one stands by.
	Together bool
	// Hours has two incidents of the same customers, with hours that end in one zone and begin in another during the run, and
	// with caps that bind. Whoever may not be called any more today is left when the incidents are aborted.
	Hours bool
	Seed  uint64
	// Keep leaves the folder for whoever wants to look.
	Keep bool
	// Report gets a line for what happens.
	Report io.Writer
}

// CallChaosVerdict is the verdict of a chaos run of the call queue.
type CallChaosVerdict struct {
	Kills map[string]int `json:"kills"`
	// Died counts processes that ended by themselves.
	Died int `json:"died"`
	// TakeOvers are the seconds from the death of an owner until another process owned the queue.
	TakeOvers []float64 `json:"take_overs,omitempty"`
	// Ended says that every task came to an end in time; States is where they stand.
	Ended  bool              `json:"ended"`
	States map[string]uint64 `json:"states"`
	// Dispositions are how calls ended, as the queue counts them.
	Dispositions map[string]uint64 `json:"dispositions"`
	Seconds      float64           `json:"seconds"`
	LeasesPerSec float64           `json:"leases_per_sec"`
	Seed         uint64            `json:"seed"`
	// Log is what the checker found in the event log.
	Log *CallReport `json:"log"`
	// OK is true if every task came to an end and the checker found nothing.
	OK  bool   `json:"ok"`
	Dir string `json:"dir,omitempty"`
}

const (
	callSpeed   = 6000                                           // a call of five minutes takes 50 ms
	callCrash   = 0.002                                          // of the calls an agent's machine dies in the middle
	ownerSays   = `"message":"this process owns the call queue"` // in its log
	laterThan   = 10 * time.Minute                               // what the queue will do then is not waited for
	takeOverMax = 30 * time.Second
	callsEvery  = 200 * time.Millisecond
	dialerStops = 12 * time.Second
)

// CallChaos has people called while processes are killed, and checks the event log.
func CallChaos(ctx context.Context, cfg CallChaosConfig) (_ *CallChaosVerdict, err error) {
	dir, err := os.MkdirTemp("", "candor-chaos-")
	if err != nil {
		return nil, fmt.Errorf("folder for the run: %w", err)
	}
	if !cfg.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	site, err := NewSite(cfg.Binary, dir, chaosTimeout)
	if err != nil {
		return nil, err
	}
	defer site.Stop()
	x := &callChaos{
		cfg: cfg, site: site, rnd: rand.New(rand.NewPCG(cfg.Seed, 0xca115)), //nolint:gosec // repeatable, not secret
		processes: map[string]*Child{}, dialers: make([]*Child, cfg.Dialers),
		verdict: &CallChaosVerdict{Seed: cfg.Seed, Kills: map[string]int{}},
	}
	v, err := x.run(ctx)
	if v != nil && cfg.Keep {
		v.Dir = dir
	}
	return v, err
}

type callChaos struct {
	cfg       CallChaosConfig
	site      *Site
	rnd       *rand.Rand
	driver    *Driver
	incidents []string
	processes map[string]*Child
	dialers   []*Child
	others    []int // who is killed next, by its place among the targets
	verdict   *CallChaosVerdict
}

func (x *callChaos) say(format string, args ...any) {
	_, _ = fmt.Fprintf(x.cfg.Report, format+"\n", args...) // for a person who may have gone
}

// targets are the processes by name, in the order in which they are started.
func (x *callChaos) targets() [][2]string {
	if x.cfg.Together {
		return [][2]string{{"main", "api,planner,ledger,calls"}}
	}
	return [][2]string{{"nats", "nats"}, {"api", "api"}, {"planner", "planner"}, {"ledger", "ledger"}, {"calls-1", "calls"}, {"calls-2", "calls"}}
}

func (x *callChaos) run(ctx context.Context) (*CallChaosVerdict, error) {
	for _, t := range x.targets() {
		if err := x.start(ctx, t[0]); err != nil {
			return nil, err
		}
	}
	var err error
	if x.driver, err = NewDriver(ctx, x.site.APIURL(), x.site.Admin); err != nil {
		return nil, err
	}
	defer x.driver.Close()
	for n := range x.dialers {
		if err := x.hire(ctx, n); err != nil {
			return nil, err
		}
	}
	hours, err := x.declare(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for n := range x.cfg.Kills {
		if err := x.kill(ctx, n); err != nil {
			return nil, err
		}
	}
	if err := x.await(ctx, hours); err != nil {
		return nil, err
	}
	v := x.verdict
	v.Seconds = time.Since(began).Seconds()
	for _, c := range x.dialers {
		c.Kill()
	}
	if v.Log, err = x.check(ctx); err != nil {
		return nil, err
	}
	v.LeasesPerSec = float64(v.Log.Leases) / v.Seconds
	v.OK = v.Ended && v.Log.OK() && v.Log.Leases > 0
	return v, nil
}

// start starts a process; the one with the api is waited for.
func (x *callChaos) start(ctx context.Context, name string) (err error) {
	for _, t := range x.targets() {
		if t[0] != name {
			continue
		}
		args := []string{"serve", "--config", x.site.config(), "--target", t[1]}
		if name != "nats" && name != "main" {
			args = append(args, "--nats", "nats://"+x.site.NATS)
		}
		if x.processes[name], err = x.site.spawn(name, args...); err != nil {
			return err
		}
	}
	if name == "api" || name == "main" {
		return x.site.Ready(ctx, x.processes[name], x.site.APIURL()+"/readyz")
	}
	return nil
}

// hire starts a dialer, with the token that it had before if there is one.
func (x *callChaos) hire(ctx context.Context, n int) error {
	name := fmt.Sprintf("dialer-%02d", n)
	file := filepath.Join(x.site.Dir, name+".token")
	if _, err := os.Stat(file); err != nil {
		secret, err := x.driver.token(ctx, name, candorv1.Role_ROLE_DIALER)
		if err != nil {
			return err
		}
		if err := token.WriteFile(file, config.Secret(secret)); err != nil {
			return err
		}
	}
	c, err := x.site.spawn(name, "dialer", "--json", "--agents", strconv.Itoa(x.cfg.Agents), "--speed", strconv.Itoa(callSpeed),
		"--crash", fmt.Sprint(callCrash), "--seed", strconv.FormatUint(x.cfg.Seed%1000+uint64(n), 10), //nolint:gosec // small
		"--server", x.site.APIURL(), "--token-file", file)
	x.dialers[n] = c
	return err
}

// declare declares and approves what people are called for.
func (x *callChaos) declare(ctx context.Context) (hours *callHours, err error) {
	x.incidents = []string{"calls"}
	zones := []string{""}
	if x.cfg.Hours {
		x.incidents = []string{"calls-a", "calls-b"}
		if hours, err = hoursAround(time.Now()); err != nil {
			return nil, err
		}
		zones = hours.zones
		x.say("hours are %s", hours.open)
	}
	pb, facts, err := callTexts(hours)
	if err != nil {
		return nil, err
	}
	for _, id := range x.incidents {
		r, w := io.Pipe()
		go func() { _ = w.CloseWithError(callers(w, x.cfg.Calls/len(x.incidents), zones)) }() // the reader gets its error
		digest, err := x.driver.Upload(ctx, id, r, url.Values{"name": {"roster.csv"}})
		if err != nil {
			return nil, err
		}
		inc, err := x.driver.Declare(ctx, &candorv1.Declaration{Incident: id, Playbook: pb, Facts: facts, RosterDigest: digest})
		if err != nil {
			return nil, err
		}
		if err := x.driver.Approve(ctx, id, inc.GetPlanHash()); err != nil {
			return nil, err
		}
	}
	return hours, nil
}

// kill kills a process and a dialer at a random moment, and starts them again. Of two kills one is the owner's.
func (x *callChaos) kill(ctx context.Context, n int) error {
	// A large run takes longer, and is hit in its middle too.
	most := min(max(time.Duration(x.cfg.Calls)*200*time.Microsecond, time.Second), 8*time.Second)
	if err := x.sleep(ctx, 200*time.Millisecond, most); err != nil {
		return err
	}
	owner, count, err := x.owner()
	if err != nil {
		return err
	}
	name := owner
	if n%2 == 1 || owner == "" {
		if len(x.others) == 0 {
			x.others = x.rnd.Perm(len(x.targets()))
		}
		name, x.others = x.targets()[x.others[0]][0], x.others[1:]
	}
	kind := name
	if name == owner {
		kind = "owner"
	}
	x.say("killed %s (%s), %d of %d", name, kind, n+1, x.cfg.Kills)
	x.verdict.Kills[kind]++
	at := time.Now()
	x.processes[name].Kill()
	hurt := x.hurt(ctx, n)
	if err := errors.Join(x.start(ctx, name), hurt); err != nil || name != owner {
		return err
	}
	for {
		_, now, err := x.owner()
		if err != nil {
			return err
		}
		took := time.Since(at)
		if now > count {
			x.verdict.TakeOvers = append(x.verdict.TakeOvers, took.Seconds())
			return nil
		}
		if took > takeOverMax {
			return fmt.Errorf("nobody owned the call queue %s after its owner's death: the logs are in %s", takeOverMax, x.site.Dir)
		}
		if err := x.sleep(ctx, 10*time.Millisecond, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// hurt kills a dialer and has another one take its place, or stops it for longer than its leases last: it reports late then.
func (x *callChaos) hurt(ctx context.Context, n int) error {
	i := x.rnd.IntN(len(x.dialers))
	if n%3 == 2 {
		x.verdict.Kills["dialer stopped"]++
		c := x.dialers[i]
		c.Signal(syscall.SIGSTOP)
		time.AfterFunc(dialerStops, func() { c.Signal(syscall.SIGCONT) }) // one that has ended does not care
		return nil
	}
	x.verdict.Kills["dialer"]++
	x.dialers[i].Kill()
	return x.hire(ctx, i)
}

// owner reads in the logs who took the queue over last, and how often that happened.
func (x *callChaos) owner() (name string, count int, err error) {
	var newest time.Time
	for _, t := range x.targets() {
		log, err := os.ReadFile(x.site.logFile(t[0]))
		if err != nil {
			return "", 0, err
		}
		lines := bufio.NewScanner(bytes.NewReader(log))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if !bytes.Contains(lines.Bytes(), []byte(ownerSays)) {
				continue
			}
			var said struct{ Time time.Time }
			if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
				return "", 0, fmt.Errorf("log of %s: %w", t[0], err)
			}
			if count++; said.Time.After(newest) {
				name, newest = t[0], said.Time
			}
		}
	}
	return name, count, nil
}

// await waits until every task has come to its end, as queue and ledger say, or nothing more happens within the hours.
func (x *callChaos) await(ctx context.Context, hours *callHours) error {
	// A call in fifty milliseconds is slow, even with kills.
	bound := time.Now().Add(3*time.Minute + time.Duration(x.cfg.Calls)*50*time.Millisecond)
	spoke, quiet := time.Now(), 0
	for time.Now().Before(bound) {
		if err := x.sleep(ctx, callsEvery, callsEvery+1); err != nil {
			return err
		}
		if err := x.revive(ctx); err != nil {
			return err
		}
		q, err := x.driver.callQueue().GetQueue(ctx, connect.NewRequest(&candorv1.GetQueueRequest{}))
		if err != nil {
			continue // whoever was killed comes back
		}
		s := q.Msg.GetStates()
		x.verdict.States, x.verdict.Dispositions = s, q.Msg.GetDispositions()
		open := s["pending"] + s["waiting"] + s["leased"] + s["uncertain"]
		if time.Since(spoke) > 5*time.Second {
			spoke = time.Now()
			x.say("%d open (%d leased, %d waiting), %d done, %d others ended", open, s["leased"], s["waiting"], s["done"], s["failed"]+s["suppressed"]+s["expired"])
		}
		if hours != nil {
			next := q.Msg.GetNextAt()
			idle := q.Msg.GetCallable() == 0 && s["leased"]+s["uncertain"] == 0 && (next == nil || time.Until(next.AsTime()) > laterThan)
			if quiet++; !idle || time.Now().Before(hours.turn.Add(3*time.Second)) {
				quiet = 0
			}
			if quiet < 10 {
				continue
			}
			x.say("%d may not be called any more today: aborted", open)
			for _, id := range x.incidents {
				if err := x.driver.Abort(ctx, id, "the run is over"); err != nil {
					return err
				}
			}
			hours = nil
			continue
		}
		if open == 0 && x.complete(ctx) {
			x.verdict.Ended = true
			return nil
		}
	}
	x.say("not every task came to an end within %s", bound)
	return nil
}

// complete says that the ledger has nothing open either.
func (x *callChaos) complete(ctx context.Context) bool {
	for _, id := range x.incidents {
		st, err := x.driver.Status(ctx, id)
		if err != nil || len(st.GetWaves()) == 0 || st.GetFoldedTo() != st.GetJournalLast() {
			return false
		}
		for _, w := range st.GetWaves() {
			for _, c := range w.GetChannels() {
				s := c.GetStates()
				if s["planned"]+s["waiting"]+s["intended"]+s["uncertain"]+s["accepted"] > 0 {
					return false
				}
			}
		}
	}
	return true
}

// revive starts what ended by itself, as whoever runs processes would.
func (x *callChaos) revive(ctx context.Context) error {
	for name, c := range x.processes {
		select {
		case <-c.Exited():
			x.verdict.Died++
			x.say("%s ended by itself", name)
			if err := x.start(ctx, name); err != nil {
				return err
			}
		default:
		}
	}
	for n, c := range x.dialers {
		select {
		case <-c.Exited():
			x.verdict.Died++
			x.say("a dialer ended by itself")
			if err := x.hire(ctx, n); err != nil {
				return err
			}
		default:
		}
	}
	return nil
}

// check reads the event log; what was decided last is given a moment to reach the journals.
func (x *callChaos) check(ctx context.Context) (*CallReport, error) {
	for tries := 0; ; tries++ {
		r, err := x.site.Check(ctx)
		if err != nil || r.Violations["no_outcome"] == 0 || tries == 20 {
			return r, err
		}
		if err := x.sleep(ctx, callsEvery, 2*callsEvery); err != nil {
			return nil, err
		}
	}
}

func (x *callChaos) sleep(ctx context.Context, least, most time.Duration) error {
	t := time.NewTimer(least + time.Duration(x.rnd.Int64N(int64(most-least))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
