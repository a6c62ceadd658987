package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	candorv1 "candor/proto/candor/v1"
)

// contest is Candor against others, with the same provider.
type contest struct {
	channel          string
	batch, customers int
	provider, candor role
	rivals           []rival
}

// rival is another program, and how many messages it sends each time.
type rival struct {
	role
	n int
}

// runs are what one program did, once a turn.
type runs []said

// results are the turns of all, in the same order.
type results struct {
	ours   runs
	rivals []runs
}

// compete lets Candor and its rivals send in turns. The first turn of each is to warm up and does not count.
func (l *Lab) compete(ctx context.Context, c contest) (res *results, err error) {
	res = &results{rivals: make([]runs, len(c.rivals))}
	err = l.within(func(dir string) (err error) {
		in, err := l.install(ctx, dir, c.provider, c.candor)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.stop()) }()
		others := make([]*side, len(c.rivals))
		for i, r := range c.rivals {
			r.URL = in.provider.ready.URL
			if others[i], err = l.start(ctx, r.role); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, others[i].stop()) }()
		}
		incidents := make([]*candorv1.Incident, l.Pairs+1)
		people := make([]int, len(incidents))
		for turn := range incidents {
			n := c.customers
			if turn == 0 {
				n = max(n/4, 1)
			}
			people[turn] = n
			incidents[turn], err = in.draft(ctx, fmt.Sprintf("turn-%d", turn), c.channel, c.batch, func(w io.Writer) error { return crowd(w, n) })
			if err != nil {
				return err
			}
		}
		for turn, inc := range incidents {
			warmUp := turn == 0
			ours, err := in.tell(ctx, inc, people[turn])
			if err != nil {
				return err
			}
			if !warmUp {
				res.ours = append(res.ours, ours)
				l.Say("  candor       %s, %s", runs{ours}.speed(""), runs{ours}.cost())
			}
			for i, r := range c.rivals {
				n := r.n
				if warmUp {
					n = max(n/4, 1)
				}
				theirs, err := others[i].send(ask{Do: doSend, N: n})
				if err != nil {
					return err
				}
				if !warmUp {
					res.rivals[i] = append(res.rivals[i], theirs)
					l.Say("  %-12s %s, %s", r.Name, runs{theirs}.speed(""), runs{theirs}.cost())
				}
			}
		}
		return nil
	})
	return res, err
}

// rates are messages a second, turn by turn.
func (r runs) rates() []float64 {
	list := make([]float64, len(r))
	for i, s := range r {
		list[i] = float64(s.Count) / math.Max(s.Seconds, 1e-9)
	}
	return list
}

// costs are CPU seconds per 1,000 messages, turn by turn.
func (r runs) costs() []float64 {
	list := make([]float64, len(r))
	for i, s := range r {
		list[i] = s.Usage.CPU / float64(max(s.Count, 1)) * 1000
	}
	return list
}

func (r runs) speed(of string) string {
	s := amount(median(r.rates()))
	if of == "" {
		return s + "/s"
	}
	return s + " " + of + "/s"
}

func (r runs) cost() string { return fmt.Sprintf("%.4f CPU-s per 1,000", median(r.costs())) }

// faster is our speed by a rival's, the median of the turns.
func (r *results) faster(rival int) float64 {
	return median(divide(r.ours.rates(), r.rivals[rival].rates()))
}

// dearer is our CPU per message by a rival's, the median of the turns.
func (r *results) dearer(rival int) float64 {
	return median(divide(r.ours.costs(), r.rivals[rival].costs()))
}

func divide(a, b []float64) []float64 {
	list := make([]float64, min(len(a), len(b)))
	for i := range list {
		list[i] = a[i] / b[i]
	}
	return list
}
