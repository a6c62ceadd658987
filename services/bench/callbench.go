package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"candor/pkg/bus"
	"candor/pkg/config"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
	"candor/services/app"
)

const (
	callsMeasured = "measured"
	// claimsLast is how long dialers claim and complete, at most.
	claimsLast = 25 * time.Second
	// claimsFail is how long one request may take.
	claimsFail = 10 * time.Second
)

// measureCalls has dialers claim and complete, over NATS and with an fsync before each answer, from a queue of a million.
func measureCalls(ctx context.Context, l *Lab) (rows []Row, err error) {
	n := max(l.size(1_000_000), 400)
	tasks := amount(float64(n)) + " tasks"
	l.Say("call queue, %s", tasks)
	err = l.within(func(dir string) (err error) {
		cfg, admin, err := Prepare(dir)
		if err != nil {
			return err
		}
		centre := role{Name: "calls", Dir: dir, FirstAdmin: cfg.FirstAdmin}
		queued, err := l.queueCalls(ctx, centre, admin, n)
		if err != nil {
			return err
		}
		l.Say("  declared and queued in %.0f s", queued.Seconds)
		fold, err := l.once(ctx, role{Name: "call fold", Dir: dir, FirstAdmin: cfg.FirstAdmin, Token: admin.Reveal()})
		if err != nil {
			return err
		}
		if fold.Count != n {
			return fmt.Errorf("%d tasks were folded of %d: what was measured is wrong", fold.Count, n)
		}
		l.Say("  folded in %.1f s, %.0f bytes a task", fold.Seconds, float64(fold.HeapBytes)/float64(n))
		rows = append(rows, figure("memory of a call task, "+tasks+" in the queue", float64(fold.HeapBytes)/float64(n), "bytes", 0, 300))
		claims, err := l.claimCalls(ctx, centre, admin, n)
		rows = append(rows, claims...)
		rows = append(rows, figure("call queue taken over, "+tasks+" folded", fold.Seconds, "s", 0, 0))
		return err
	})
	return rows, err
}

// queueCalls has a fresh installation queue n customers, and stops it.
func (l *Lab) queueCalls(ctx context.Context, centre role, admin config.Secret, n int) (s said, err error) {
	began := time.Now()
	one, err := l.start(ctx, centre)
	if err != nil {
		return said{}, err
	}
	defer func() { err = errors.Join(err, one.stop()) }()
	d, err := NewDriver(ctx, one.ready.URL, admin)
	if err != nil {
		return said{}, err
	}
	defer d.Close()
	pb, facts, err := callTexts(nil)
	if err != nil {
		return said{}, err
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(crowd(w, n)) }() // the reader gets its error
	digest, err := d.Upload(ctx, callsMeasured, r, url.Values{"name": {"roster.csv"}})
	if err != nil {
		return said{}, err
	}
	inc, err := d.Declare(ctx, &candorv1.Declaration{Incident: callsMeasured, Playbook: pb, Facts: facts, RosterDigest: digest})
	if err != nil {
		return said{}, err
	}
	if err := d.Approve(ctx, callsMeasured, inc.GetPlanHash()); err != nil {
		return said{}, err
	}
	err = d.callable(ctx, n)
	return said{Seconds: time.Since(began).Seconds()}, err
}

// callable waits until so many tasks may be claimed.
func (d *Driver) callable(ctx context.Context, n int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		q, err := d.callQueue().GetQueue(ctx, connect.NewRequest(&candorv1.GetQueueRequest{}))
		if err == nil && q.Msg.GetCallable() >= uint64(n) { //nolint:gosec // not negative
			return nil
		}
		if err != nil && connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeNotFound {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// claimCalls has dialers of another process work an installation's queue.
func (l *Lab) claimCalls(ctx context.Context, centre role, admin config.Secret, n int) (rows []Row, err error) {
	one, err := l.start(ctx, centre)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.stop()) }()
	d, err := NewDriver(ctx, one.ready.URL, admin)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := d.callable(ctx, n); err != nil {
		return nil, err
	}
	secret, err := d.token(ctx, "centre", candorv1.Role_ROLE_DIALER)
	if err != nil {
		return nil, err
	}
	at, err := one.usage()
	if err != nil {
		return nil, err
	}
	rows = append(rows, figure(fmt.Sprintf("the whole process, %s tasks in the queue", amount(float64(n))), float64(at.RSSBytes)/1e6, "MB", 0, 0))
	for _, inFlight := range []int{64, 256} {
		s, err := l.agents(ctx, role{Name: "agents", Dir: centre.Dir, URL: one.ready.NATS, Token: secret, InFlight: inFlight}, n*45/100)
		if err != nil {
			return nil, err
		}
		l.Say("  %d in flight: %s, a claim takes %.1f ms, one in a hundred %.1f ms", inFlight, runs{s}.speed("claims"), s.P50, s.P99)
		what := fmt.Sprintf("claims and reports of calls, %d in flight", inFlight)
		slow := 0.0 // with more in flight than the claims need, they wait for one another
		if inFlight == 64 {
			slow = 20
		}
		rows = append(
			rows, figure(what, math.Round(runs{s}.rates()[0]), "claims/s", 5000, 0),
			figure(what+", a claim at the median", s.P50, "ms", 0, 0), figure(what+", 99 of 100 claims", s.P99, "ms", 0, slow),
		)
	}
	if at, err = one.usage(); err != nil {
		return nil, err
	}
	return append(rows, figure("the whole process at its most, after the claims", float64(at.PeakBytes)/1e6, "MB", 0, 0)), nil
}

// agents are dialers who claim at most so many tasks.
func (l *Lab) agents(ctx context.Context, r role, most int) (s said, err error) {
	one, err := l.start(ctx, r)
	if err != nil {
		return said{}, err
	}
	s, err = one.send(ask{Do: doSend, N: most})
	return s, errors.Join(err, one.stop())
}

// playCalls is an installation that only calls, with a broker that waits for the disk and takes dialers in.
func playCalls(ctx context.Context, r role, log zerolog.Logger) (*actor, error) {
	a, err := app.New(ctx, callsAt(r), []string{"api", "planner", "ledger", "calls"}, log)
	if err != nil {
		return nil, err
	}
	return &actor{ready: said{URL: a.APIURL(), NATS: a.NATSURL()}, stop: running(ctx, a.Run)}, nil
}

// callsAt are the settings of an installation that was prepared in a folder.
func callsAt(r role) app.Config {
	cfg := app.DefaultConfig()
	cfg.Data, cfg.Keys, cfg.FirstAdmin = filepath.Join(r.Dir, "data"), filepath.Join(r.Dir, "keys"), r.FirstAdmin
	cfg.HTTP.Addr, cfg.NATS.FreeSpaceMark, cfg.NATS.Listen = "127.0.0.1:0", 1, "127.0.0.1:0"
	return cfg
}

// playAgents are dialers on one connection: each claims a task, reports that the customer was told, and claims the next.
func playAgents(ctx context.Context, r role, log zerolog.Logger) (*actor, error) {
	c, err := newAgents(ctx, r, r.URL, log)
	if err != nil {
		return nil, err
	}
	return &actor{
		act:  func(ctx context.Context, a ask) (said, error) { return c.work(ctx, r.InFlight, a.N) },
		stop: func() error { return c.bus.Close(context.WithoutCancel(ctx)) },
	}, nil
}

type agents struct {
	bus    *bus.Bus
	header map[string]string
}

func newAgents(ctx context.Context, r role, url string, log zerolog.Logger) (*agents, error) {
	const user = topology.Dialer
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: user, NKeySeedFile: filepath.Join(r.Dir, "keys", "nats", user+".seed")}, log)
	if err != nil {
		return nil, err
	}
	return &agents{bus: b, header: map[string]string{"Authorization": "Bearer " + r.Token, "Content-Type": "application/protobuf"}}, nil
}

func (c *agents) ask(ctx context.Context, method string, q, answer proto.Message) error {
	data, err := proto.Marshal(q)
	if err != nil {
		return err
	}
	res, err := c.bus.RequestWithin(ctx, claimsFail, topology.CallMethod(method), data, c.header)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return proto.Unmarshal(res.Data, answer)
}

// work claims and reports with so many under way, until most are done or the time is over.
func (c *agents) work(ctx context.Context, inFlight, most int) (said, error) {
	var (
		g    sync.WaitGroup
		next atomic.Int64
		took = make([][]float64, inFlight)
		errs = make([]error, inFlight)
	)
	began := time.Now()
	for w := range inFlight {
		g.Go(func() {
			for next.Add(1) <= int64(most) && time.Since(began) < claimsLast && errs[w] == nil {
				start, got := time.Now(), &candorv1.ClaimResponse{}
				errs[w] = c.ask(ctx, "claim", &candorv1.ClaimRequest{Mode: candorv1.DialMode_DIAL_MODE_PROGRESSIVE, Max: 1, Wait: durationpb.New(time.Second)}, got)
				took[w] = append(took[w], float64(time.Since(start).Microseconds())/1000)
				if errs[w] == nil && len(got.GetTasks()) != 1 {
					errs[w] = fmt.Errorf("claimed %d tasks: what was measured is wrong", len(got.GetTasks()))
				}
				if errs[w] == nil {
					errs[w] = c.ask(ctx, "complete", &candorv1.CompleteRequest{Lease: got.GetTasks()[0].GetLease(), Disposition: "notified"}, &candorv1.CompleteResponse{})
				}
			}
		})
	}
	g.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return said{}, err
	}
	return said{Count: len(all), Seconds: time.Since(began).Seconds(), P50: all[len(all)/2], P99: all[len(all)*99/100]}, nil
}

// playCallFold folds the queue of an installation that is stopped, as every process that may own it does, and weighs it.
func playCallFold(r role, log zerolog.Logger) (*actor, error) {
	return &actor{act: func(ctx context.Context, _ ask) (said, error) { return foldCalls(ctx, r, log) }}, nil
}

func foldCalls(ctx context.Context, r role, log zerolog.Logger) (s said, err error) {
	cfg := callsAt(r)
	cfg.Calls.OpenPages = 1 // they are no part of the queue
	a, err := app.New(ctx, cfg, []string{"calls"}, log)
	if err != nil {
		return said{}, err
	}
	before, start := heap(), time.Now()
	stop := running(ctx, a.Run)
	defer func() { err = errors.Join(err, stop()) }()
	c, err := newAgents(ctx, r, a.NATSURL(), log)
	if err != nil {
		return said{}, err
	}
	defer func() { err = errors.Join(err, c.bus.Close(context.WithoutCancel(ctx))) }()
	for s.Count == 0 {
		if s.Count, err = c.tasks(ctx); err != nil {
			return said{}, err
		}
	}
	s.Seconds, s.HeapBytes = time.Since(start).Seconds(), heap()-before
	runtime.KeepAlive(a)
	return s, nil
}

// tasks asks the owner of the queue, of whom there may be none yet.
func (c *agents) tasks(ctx context.Context) (n int, err error) {
	q := &candorv1.GetQueueResponse{}
	if err := c.ask(ctx, "queue", &candorv1.GetQueueRequest{}, q); err != nil {
		select {
		case <-time.After(10 * time.Millisecond):
			return 0, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	for _, count := range q.GetStates() {
		n += int(count) //nolint:gosec // millions
	}
	return n, nil
}

// heap is what is in use after everything was thrown away that can be.
func heap() int64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // not that large
}
