package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/natsd"
	"candor/pkg/roster"
	"candor/services/ledger"
)

// everybody writes a roster of n fictional people as real files have them.
func everybody(n int) func(io.Writer) error {
	return func(w io.Writer) error { return roster.Synthetic(w, n, roster.SyntheticOptions{Seed: 1}) }
}

// measureApproval takes the time from the second person's yes to the first message at the provider, by the provider's clock,
// which is this machine's.
func measureApproval(ctx context.Context, l *Lab) ([]Row, error) {
	n := l.size(280_000)
	what := fmt.Sprintf("approval to the first message, %s customers", amount(float64(n)))
	l.Say("%s", what)
	var took []float64
	for range l.Pairs {
		err := l.within(func(dir string) (err error) {
			in, err := l.install(ctx, dir, role{}, role{})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.stop()) }()
			inc, err := in.draft(ctx, "first", "", 500, everybody(n))
			if err != nil {
				return err
			}
			began := time.Now()
			if err := in.driver.Approve(ctx, inc.GetId(), inc.GetPlanHash()); err != nil {
				return err
			}
			first, err := in.first(ctx)
			if err != nil {
				return err
			}
			took = append(took, float64(first.Sub(began).Microseconds())/1000)
			l.Say("  %.0f ms", took[len(took)-1])
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return []Row{figure(what, median(took), "ms", 0, 250)}, nil
}

// first waits for the first message at the provider, and tells when that was.
func (in *installation) first(ctx context.Context) (time.Time, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		f, err := in.sandbox.FirstAccepted(ctx)
		switch {
		case err != nil:
			return time.Time{}, err
		case f.SMS != nil && f.Email != nil && f.Email.Before(*f.SMS), f.SMS == nil && f.Email != nil:
			return *f.Email, nil
		case f.SMS != nil:
			return *f.SMS, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// million is what one incident of a million customers tells about memory, speed and the ledger.
type million struct{ memory, ledger []Row }

func measureMemory(ctx context.Context, l *Lab) ([]Row, error) {
	m, err := l.aMillion(ctx)
	return m.memory, err
}

func measureLedger(ctx context.Context, l *Lab) ([]Row, error) {
	m, err := l.aMillion(ctx)
	return m.ledger, err
}

// aMillion declares and tells, once, however many chapters ask for it; then another process reads what was left behind.
func (l *Lab) aMillion(ctx context.Context) (million, error) {
	if l.told != nil {
		return *l.told, nil
	}
	var m million
	n := l.size(1_000_000)
	customers := amount(float64(n)) + " customers"
	l.Say("%s on two channels", customers)
	err := l.within(func(dir string) error {
		told, err := l.tellAll(ctx, dir, n)
		if err != nil {
			return err
		}
		l.Say("  told in %.0f s, %.0f MB at most", told.Seconds, float64(told.Usage.PeakBytes)/1e6)
		m.memory = []Row{
			figure("one process with everything in it, "+customers+", memory at most", float64(told.Usage.PeakBytes)/1e6, "MB", 0, 700),
			figure("the same, from approval to everybody told on two channels", told.Seconds, "s", 0, 0),
		}
		var rates []float64
		for range l.Pairs {
			s, err := l.once(ctx, role{Name: "ledger", Dir: dir})
			if err != nil {
				return err
			}
			rates = append(rates, runs{s}.rates()...)
			l.Say("  ledger rebuilt in %.2f s", s.Seconds)
		}
		m.ledger = []Row{figure(fmt.Sprintf("ledger rebuilt at start, %s notices", amount(float64(told.Count))), median(rates), "notices/s", 1e6, 0)}
		return nil
	})
	if err != nil {
		return million{}, err
	}
	l.told = &m
	return m, nil
}

func (l *Lab) tellAll(ctx context.Context, dir string, n int) (told said, err error) {
	in, err := l.install(ctx, dir, role{}, role{})
	if err != nil {
		return said{}, err
	}
	defer func() { err = errors.Join(err, in.stop()) }()
	inc, err := in.draft(ctx, "million", "", 500, everybody(n))
	if err != nil {
		return said{}, err
	}
	return in.tell(ctx, inc, 1)
}

// playLedger reads the journals in a data folder from the first to the last, as every start of a process with a ledger does.
func playLedger(r role, log zerolog.Logger) (*actor, error) {
	return &actor{act: func(ctx context.Context, _ ask) (said, error) { return rebuild(ctx, r.Dir, log) }}, nil
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func rebuild(ctx context.Context, dir string, log zerolog.Logger) (s said, err error) {
	witness := filepath.Join(dir, "keys", "witness.json")
	if _, err := os.Stat(witness); err != nil {
		return said{}, fmt.Errorf("no installation: %w", err)
	}
	server, err := natsd.Open(ctx, natsd.Config{Dir: filepath.Join(dir, "data", "nats"), Witness: witness}, log)
	if err != nil {
		return said{}, err
	}
	defer func() { err = errors.Join(err, server.Close(context.WithoutCancel(ctx))) }()
	b, err := bus.Connect(ctx, bus.Config{Server: server, Name: "ledger"}, log)
	if err != nil {
		return said{}, err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	known := incident.NewRegistry(b)
	read, err := ledger.New(ledger.DefaultConfig(), b, known, log)
	if err != nil {
		return said{}, err
	}
	start := time.Now()
	stopIncidents := running(ctx, known.Run)
	stopLedger := running(ctx, read.Run)
	err = await(ctx, read.Ready())
	took := time.Since(start)
	err = errors.Join(err, await(ctx, known.Ready()))
	for _, inc := range known.List() {
		for _, w := range read.Status(inc.ID).GetWaves() {
			for _, c := range w.GetChannels() {
				s.Count += int(c.GetPlannedTotal()) //nolint:gosec // millions
			}
		}
	}
	s.Seconds = took.Seconds()
	return s, errors.Join(err, stopLedger(), stopIncidents())
}
