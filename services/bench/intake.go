package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/nyaruka/phonenumbers"

	"candor/pkg/roster"
)

// measureImport compares reading a customer file with parsing nothing but its telephone numbers on all cores. Both are
// processes of their own, and every size has one, so that the memory is that of one file.
func measureImport(ctx context.Context, l *Lab) ([]Row, error) {
	var rows []Row
	err := l.within(func(dir string) error {
		for _, n := range []int{10_000, 100_000, 1_000_000} {
			full := n == 1_000_000
			n = l.size(n)
			path := filepath.Join(dir, fmt.Sprintf("%d.csv", n))
			if err := writeFile(path, n); err != nil {
				return err
			}
			l.Say("import of %s rows", amount(float64(n)))
			var ours, phones runs
			turns := 1
			if full {
				turns = l.Pairs + 1
			}
			for turn := range turns {
				a, err := l.once(ctx, role{Name: "import", Dir: path})
				if err != nil {
					return err
				}
				if !full {
					ours = append(ours, a)
					break
				}
				b, err := l.once(ctx, role{Name: "phones", Dir: path})
				if err != nil {
					return err
				}
				l.Say("  import %.2f s, phones alone %.2f s", a.Seconds, b.Seconds)
				if turn > 0 {
					ours, phones = append(ours, a), append(phones, b)
				}
			}
			var peak int64
			for _, s := range ours {
				peak = max(peak, s.Usage.PeakBytes)
			}
			rows = append(rows, figure(fmt.Sprintf("import of %s rows, memory at most", amount(float64(n))), float64(peak)/1e6, "MB", 0, 300))
			if full {
				slower := median(divide(phones.rates(), ours.rates()))
				rows = append(rows, ratio(fmt.Sprintf("import of %s rows, time", amount(float64(n))), ours.speed("rows"), "phone parsing alone: "+phones.speed("rows"), slower, 0, 1.3))
			}
		}
		return nil
	})
	return rows, err
}

func writeFile(path string, rows int) error {
	f, err := os.Create(path) //nolint:gosec // a folder of ours
	if err != nil {
		return err
	}
	return errors.Join(roster.Synthetic(f, rows, roster.SyntheticOptions{Seed: 1}), f.Close())
}

// once plays a role once.
func (l *Lab) once(ctx context.Context, r role) (s said, err error) {
	one, err := l.start(ctx, r)
	if err != nil {
		return said{}, err
	}
	s, err = one.send(ask{Do: doSend, N: 1})
	return s, errors.Join(err, one.stop())
}

// playImport reads a customer file whole, and throws its pages away.
func playImport(r role) (*actor, error) {
	return &actor{act: func(ctx context.Context, _ ask) (_ said, err error) {
		f, err := os.Open(r.Dir)
		if err != nil {
			return said{}, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		start := time.Now()
		report, err := roster.Import(ctx, f, roster.Options{}, roster.Discard())
		if err != nil {
			return said{}, err
		}
		return said{Count: report.Rows, Seconds: time.Since(start).Seconds()}, nil
	}}, nil
}

// playPhones parses, judges and writes the numbers of a customer file, with the library and on all cores, and does nothing else.
func playPhones(r role) (*actor, error) {
	numbers, err := numbersIn(r.Dir)
	if err != nil {
		return nil, err
	}
	return &actor{act: func(context.Context, ask) (said, error) {
		var g sync.WaitGroup
		n, cores := len(numbers), runtime.GOMAXPROCS(0)
		start := time.Now()
		for i := range cores {
			g.Go(func() {
				for _, s := range numbers[i*n/cores : (i+1)*n/cores] {
					p, err := phonenumbers.Parse(s, "US")
					if err == nil && phonenumbers.IsValidNumber(p) {
						phonenumbers.Format(p, phonenumbers.E164)
					}
				}
			})
		}
		g.Wait()
		return said{Count: n, Seconds: time.Since(start).Seconds()}, nil
	}}, nil
}

func numbersIn(path string) (numbers []string, err error) {
	f, err := os.Open(path) //nolint:gosec // a folder of ours
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Scan() // the header
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), ",", 6)
		numbers = append(numbers, strings.Clone(fields[4]))
	}
	return numbers, lines.Err()
}
