package dialer

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// played runs a dialer in a bubble with its own clock until the script of the test stops it.
type played struct {
	*Dialer
	log  bytes.Buffer
	stop context.CancelFunc
	end  chan error
}

func play(t *testing.T, cfg Config, q *queue, line Line) *played {
	t.Helper()
	p := &played{end: make(chan error, 1)}
	var err error
	if p.Dialer, err = New(cfg, q, line, time.Now, zerolog.New(zerolog.SyncWriter(&p.log))); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, p.stop = context.WithCancel(t.Context())
	go func() { p.end <- p.Run(ctx) }()
	return p
}

// ended stops the dialer and waits for its end.
func (p *played) ended(t *testing.T) Stats {
	t.Helper()
	p.stop()
	if err := <-p.end; err != nil {
		t.Errorf("Run: %v", err)
	}
	return p.Stats()
}

func (q *queue) mustBeRight(t *testing.T) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.wrong {
		t.Error(w)
	}
}

// lineFunc is a line of one function.
type lineFunc func(ctx context.Context, task *candorv1.CallTask) (Result, error)

func (f lineFunc) Dial(ctx context.Context, task *candorv1.CallTask) (Result, error) {
	return f(ctx, task)
}

// talks is a line on which every call lasts so long, and is abandoned if it is cut.
func talks(d time.Duration) Line {
	return lineFunc(func(ctx context.Context, _ *candorv1.CallTask) (Result, error) {
		r := Result{Disposition: "notified", Started: time.Now(), CallID: "x"}
		if !wait(ctx, d) {
			r.Disposition = "abandoned"
		}
		r.Ended = time.Now()
		return r, nil
	})
}

func TestEveryTaskComesToAnEnd(t *testing.T) {
	t.Parallel()
	for _, mode := range []candorv1.DialMode{candorv1.DialMode_DIAL_MODE_PROGRESSIVE, candorv1.DialMode_DIAL_MODE_PREVIEW} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const tasks, agents = 600, 20
				q := newQueue(tasks)
				q.away, q.lost = 0.05, 0.1
				line, err := NewNetwork(7, 1, 0.05, time.Now)
				if err != nil {
					t.Fatal(err)
				}
				cfg := DefaultConfig()
				cfg.Agents, cfg.Mode = agents, mode
				p := play(t, cfg, q, line)
				time.Sleep(8 * time.Hour) // of the bubble: long enough for all
				s := p.ended(t)
				q.mustBeRight(t)
				completed, released, left := q.fates()
				if completed+released+left != tasks || left == 0 || released > tasks/10 {
					t.Errorf("%d completed, %d released, %d left, of %d", completed, released, left, tasks)
				}
				if uint64(completed) != s.Completed() || uint64(released) != s.Released || uint64(left) != s.Vanished || s.Claimed != tasks {
					t.Errorf("%+v, but the queue knows %d completed, %d released, %d left", s, completed, released, left)
				}
				if q.most > agents {
					t.Errorf("%d tasks were held by %d agents", q.most, agents)
				}
				if s.Dispositions["notified"] < tasks/4 || s.Dispositions["no_answer"] < tasks/10 || s.Repeated == 0 || s.Waiting+s.Calling != 0 {
					t.Errorf("%+v", s)
				}
				for _, personal := range []string{"Zacharias", "+1500555", "1500555", "C0DE", "lease-"} {
					if strings.Contains(p.log.String(), personal) {
						t.Errorf("the log tells %s: %s", personal, p.log.String())
					}
				}
			})
		})
	}
}

func TestALeaseIsRenewedWhileTheCallLasts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		cfg := DefaultConfig()
		cfg.Agents = 1
		p := play(t, cfg, q, talks(time.Hour))
		time.Sleep(time.Hour + time.Minute)
		s := p.ended(t)
		q.mustBeRight(t)
		if n := int(time.Hour / (cfg.Lease / 3)); q.renewals < n-1 || q.renewals > n+1 {
			t.Errorf("%d renewals of %s in an hour", q.renewals, cfg.Lease)
		}
		if s.Late != 0 || s.Completed() != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestOneFailedRenewalCostsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(40)
		q.halfRenews = true
		cfg := DefaultConfig()
		p := play(t, cfg, q, talks(5*time.Minute))
		time.Sleep(2 * time.Hour)
		s := p.ended(t)
		if s.Completed() != 40 || s.Late != 0 || q.renewals < 2*len(q.renewedAt) || len(q.renewedAt) < 40 {
			t.Errorf("%+v, %d of %d renewals were answered", s, len(q.renewedAt), q.renewals)
		}
	})
}

func TestNobodyDialsOnALeaseThatMayBeOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		renew error
		ends  time.Duration
	}{
		{"no renewal is answered", errAway, 12 * time.Hour},
		{"the customer is not to be called any more", connect.NewError(connect.CodeFailedPrecondition, errors.New("withdrawn")), 12 * time.Hour},
		{"the window closes while the agent reads", nil, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(1)
				q.denyRenew = tt.renew
				q.waiting[0].WindowEndsAt.Seconds = time.Now().Add(tt.ends).Unix()
				cfg := DefaultConfig()
				cfg.Agents, cfg.Mode, cfg.Preview = 1, candorv1.DialMode_DIAL_MODE_PREVIEW, 150*time.Second
				p := play(t, cfg, q, lineFunc(func(context.Context, *candorv1.CallTask) (Result, error) {
					t.Error("dialled")
					return Result{}, ErrNotDialled
				}))
				time.Sleep(10 * time.Minute)
				if s := p.ended(t); s.Released != 1 || q.reasons[reasonTooLate] != 1 {
					t.Errorf("%+v, %v", s, q.reasons)
				}
			})
		})
	}
}

func TestAReportIsMadeUntilItIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		cfg := DefaultConfig()
		cfg.Agents = 1
		p := play(t, cfg, q, talks(time.Minute))
		time.Sleep(30 * time.Second)
		q.mu.Lock()
		q.away = 1
		q.mu.Unlock()
		time.Sleep(time.Hour) // the queue is away when the call ends, and for an hour
		q.mu.Lock()
		tries := q.completions
		q.away = 0
		q.mu.Unlock()
		time.Sleep(2 * lastWait)
		s := p.ended(t)
		if tries < 50 || tries > 200 {
			t.Errorf("asked %d times in an hour", tries)
		}
		if s.Completed() != 1 || s.Late != 1 || s.Repeated < 50 {
			t.Errorf("%+v", s)
		}
		if n := strings.Count(p.log.String(), "does not answer"); n != 1 {
			t.Errorf("said %d times that the queue is away", n)
		}
	})
}

func TestAReportThatIsRefusedIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		cfg := DefaultConfig()
		cfg.Agents = 1
		p := play(t, cfg, q, lineFunc(func(context.Context, *candorv1.CallTask) (Result, error) {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.deny = connect.NewError(connect.CodeInvalidArgument, errors.New("there is no such disposition"))
			return Result{Disposition: "magic", Started: time.Now(), Ended: time.Now()}, nil
		}))
		if err := <-p.end; connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("Run: %v", err)
		}
		if s := p.Stats(); s.Refused != 1 || q.completions != 1 {
			t.Errorf("%+v, %d completions", s, q.completions)
		}
		p.stop()
	})
}

func TestAStopGivesBackWhatWasNotDialled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(3)
		cfg := DefaultConfig()
		cfg.Agents, cfg.Mode = 5, candorv1.DialMode_DIAL_MODE_PREVIEW
		p := play(t, cfg, q, talks(time.Minute))
		time.Sleep(10 * time.Second) // three read, two wait for a task
		began := time.Now()
		s := p.ended(t)
		q.mustBeRight(t)
		if s.Released != 3 || q.reasons[reasonShutdown] != 3 || s.Completed() != 0 {
			t.Errorf("%+v, %v", s, q.reasons)
		}
		if took := time.Since(began); took > cfg.Wait {
			t.Errorf("the stop took %s", took)
		}
	})
}

func TestAClaimThatIsOutAtAStopIsWaitedForAndGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		later := q.waiting
		q.waiting = nil
		cfg := DefaultConfig()
		cfg.Agents = 1
		p := play(t, cfg, q, talks(time.Minute))
		time.Sleep(time.Second)
		p.stop()
		q.mu.Lock()
		q.waiting = later // a task comes just then
		q.mu.Unlock()
		if s := p.ended(t); s.Claimed != 1 || s.Released != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCallsGoOnAfterAStopForAWhile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		lasts       time.Duration
		disposition string
	}{{"a short one to its end", 70 * time.Second, "notified"}, {"a long one is cut", 10 * time.Minute, "abandoned"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(1)
				cfg := DefaultConfig()
				cfg.Agents = 1
				p := play(t, cfg, q, talks(tt.lasts))
				time.Sleep(time.Minute)
				began := time.Now()
				if s := p.ended(t); s.Dispositions[tt.disposition] != 1 {
					t.Errorf("%+v", s)
				}
				if took := time.Since(began); took > cfg.Grace+time.Second {
					t.Errorf("the stop took %s", took)
				}
			})
		})
	}
}

func TestAStopWithoutAnAnswerSaysWhatWasNotReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		cfg := DefaultConfig()
		cfg.Agents = 1
		p := play(t, cfg, q, talks(time.Minute))
		time.Sleep(time.Second)
		q.mu.Lock()
		q.away = 1
		q.mu.Unlock()
		if s := p.ended(t); s.Unreported != 1 || s.Completed() != 0 {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(p.log.String(), "could not be reported") {
			t.Errorf("log: %s", p.log.String())
		}
	})
}

func TestWhoMayNotClaimIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		q.deny = connect.NewError(connect.CodePermissionDenied, errors.New("this token may not call"))
		p := play(t, DefaultConfig(), q, talks(time.Minute))
		if err := <-p.end; connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("Run: %v", err)
		}
		p.stop()
	})
}

func TestATelephoneThatIsDeadIsTriedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1000)
		cfg := DefaultConfig()
		cfg.Agents = 1
		p := play(t, cfg, q, lineFunc(func(context.Context, *candorv1.CallTask) (Result, error) { return Result{}, ErrNotDialled }))
		time.Sleep(time.Hour)
		if s := p.ended(t); s.Released < 50 || s.Released > 200 || uint64(q.reasons[reasonNoLine]) != s.Released {
			t.Errorf("%+v", s)
		}
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{Agents: -1, Preview: -1, Wait: time.Minute, Lease: 0, Grace: -1}
	_, err := New(bad, nil, nil, time.Now, zerolog.Nop())
	for _, want := range []string{"-1 agents", "preview or progressive", "waits 1m", "lease of 0s", "grace"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
