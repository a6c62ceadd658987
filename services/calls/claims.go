package calls

import (
	"context"
	"slices"
	"strings"
	"time"

	"candor/pkg/callqueue"
	"candor/pkg/incident"
	"candor/pkg/notice"
	"candor/pkg/script"
)

// waiting is a claim that waits for a task.
type waiting struct {
	claim callqueue.Claim
	// key is the same for claims that are for the same tasks.
	key string
	// once does not wait for a task that is not there.
	once, tried bool
	granted     []callqueue.Granted
	done        chan []callqueue.Granted
}

func newWaiting(c callqueue.Claim, once bool) *waiting {
	key := ""
	for _, list := range [][]string{c.Incidents, c.Languages, c.Skills} {
		key += strings.Join(slices.Sorted(slices.Values(list)), "\x00") + "\x01"
	}
	return &waiting{claim: c, key: key, once: once, done: make(chan []callqueue.Granted, 1)}
}

// lease waits for tasks, at most so long. Its leases are on disk.
func (o *owner) lease(ctx context.Context, c callqueue.Claim, wait time.Duration) ([]callqueue.Granted, error) {
	w := newWaiting(c, wait <= 0)
	err := o.submit(ctx, func(time.Time) ([]callqueue.Event, error) {
		o.claims = append(o.claims, w)
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	t := time.NewTimer(max(wait, 0))
	defer t.Stop()
	var over <-chan time.Time
	if !w.once {
		over = t.C
	}
	select {
	case granted := <-w.done:
		return granted, nil
	case <-o.gone:
		return o.lastWord(w)
	case <-over:
	case <-ctx.Done():
	}
	// A task may have been granted at this very moment: whoever leaves without it leaves it leased.
	err = o.submit(context.WithoutCancel(ctx), func(time.Time) ([]callqueue.Event, error) {
		o.claims = slices.DeleteFunc(o.claims, func(x *waiting) bool { return x == w })
		return nil, nil
	})
	if err != nil {
		return o.lastWord(w)
	}
	select {
	case granted := <-w.done:
		return granted, nil
	default:
		return nil, nil
	}
}

// lastWord is what a claim got before nothing was decided any more.
func (o *owner) lastWord(w *waiting) ([]callqueue.Granted, error) {
	select {
	case granted := <-w.done:
		return granted, nil
	default:
		return nil, errLostSeat
	}
}

// answerClaims tries those that wait, in the order in which they came. A claim that got nothing stands for all that are for
// the same tasks.
func (o *owner) answerClaims(t *turn) {
	empty := map[string]bool{}
	kept := o.claims[:0]
	for _, w := range o.claims {
		if (t.stirred || !w.tried) && !empty[w.key] {
			w.tried = true
			w.granted = o.grant(t, w.claim)
			empty[w.key] = len(w.granted) < max(w.claim.Max, 1)
		}
		if len(w.granted) > 0 || w.once {
			t.granted = append(t.granted, w)
			continue
		}
		kept = append(kept, w)
	}
	clear(o.claims[len(kept):])
	o.claims = kept
}

// grant leases what may be called now.
func (o *owner) grant(t *turn, c callqueue.Claim) []callqueue.Granted {
	granted, err := o.queue.Claim(t.now, c)
	if err != nil {
		o.Log.Error().Err(err).Msg("tasks cannot be leased")
	}
	for i := range granted {
		g := &granted[i]
		if s := o.script(g.Place.Incident); s != nil {
			g.Event.GetLeased().ScriptVersion = s.Version(g.Language)
		}
		t.add(g.Place.Incident, g.Event)
	}
	return granted
}

// script returns what agents say for an incident, nil if it has none.
func (c *Calls) script(id string) *script.Set {
	inc := c.Incidents.Get(id)
	if inc == nil {
		return nil
	}
	set, err := c.Texts.Plan(inc)
	if err != nil {
		return nil
	}
	s, _ := c.scriptOf(inc, set) // a claim is answered without one
	return s
}

func (c *Calls) scriptOf(inc *incident.Incident, set *notice.Set) (*script.Set, error) {
	return c.scripts.Set(inc.PlanHash(), set.Playbook, set.Facts)
}
