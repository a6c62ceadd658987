package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	posters          = 512 // posts at a time: a provider has many machines
	choresAtATime    = 512
	postTimeout      = 15 * time.Second // Twilio's own
	dialTimeout      = 5 * time.Second
	maxAnswerBytes   = 64 << 10
	longestRetryWait = time.Minute
)

// courier brings what the providers have to tell to their customer. One goroutine minds the times, a few post.
//
// Locks: a store's, then the courier's.
type courier struct {
	mu      sync.Mutex // guards the agenda and the batches
	agenda  agenda
	batches map[uint32]*batch // of events, that are being posted or wait for a retry
	next    uint32            // number of the next batch

	wake chan struct{} // that the agenda has a new first chore; one place
	http *http.Client
	tally
}

func newCourier() *courier {
	return &courier{
		batches: map[uint32]*batch{}, wake: make(chan struct{}, 1),
		http: &http.Client{
			Transport: &http.Transport{
				MaxIdleConnsPerHost: posters, MaxConnsPerHost: 2 * posters, DisableCompression: true, IdleConnTimeout: 90 * time.Second,
				DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// add puts chores on the agenda. Each of them is owed until it is done.
func (c *courier) add(chores ...chore) {
	if len(chores) == 0 {
		return
	}
	c.owed.Add(int64(len(chores)))
	c.put(chores...)
}

// put is add for what is owed already.
func (c *courier) put(chores ...chore) {
	c.mu.Lock()
	earliest := len(c.agenda) == 0
	for _, ch := range chores {
		earliest = earliest || ch.at < c.agenda[0].at
		c.agenda.push(ch)
	}
	c.mu.Unlock()
	if earliest {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// due takes out the chores whose time has come, and returns when the next one's comes, or 0.
func (c *courier) due(now int64, list []chore) (due []chore, next int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.agenda) > 0 && c.agenda[0].at <= now && len(list) < choresAtATime {
		list = append(list, c.agenda.pop())
	}
	if len(c.agenda) > 0 {
		next = c.agenda[0].at
	}
	return list, next
}

// deliver moves messages on and tells of it until ctx ends. A crash forgets what is still to be told, as everything else.
func (s *Sandbox) deliver(ctx context.Context) {
	jobs := make(chan chore, posters)
	var group sync.WaitGroup
	for range posters {
		group.Go(func() {
			p := newPoster(s)
			for job := range jobs {
				p.do(ctx, job)
			}
		})
	}
	d := dispatcher{Sandbox: s, jobs: jobs}
	d.run(ctx)
	close(jobs)
	group.Wait()
	s.courier.http.CloseIdleConnections()
}

// dispatcher is the goroutine that minds the times.
type dispatcher struct {
	*Sandbox
	jobs  chan chore
	ready line // posts whose time has come
	open  [2]batch
	due   []chore
}

func (d *dispatcher) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := d.now().UnixNano()
		var next int64
		d.due, next = d.courier.due(now, d.due[:0])
		for _, c := range d.due {
			d.handle(c)
		}
		for i := range d.open {
			if at := d.open[i].flushAt; at != 0 && at <= now {
				d.flush(&d.open[i])
			} else if at != 0 && (next == 0 || at < next) {
				next = at
			}
		}
		var out chan chore
		var first chore
		if d.ready.len() > 0 {
			out, first = d.jobs, d.ready.first()
		}
		wait := time.Hour
		if next != 0 {
			wait = max(time.Duration(next-d.now().UnixNano()), 0)
		}
		timer.Reset(wait)
		select {
		case out <- first:
			d.ready.drop()
			for d.ready.len() > 0 && len(d.jobs) < cap(d.jobs) { // one look at the clock is enough for all that find room
				d.jobs <- d.ready.first()
				d.ready.drop()
			}
		case <-timer.C:
		case <-d.courier.wake:
		case <-ctx.Done():
			return
		}
	}
}

// handle does what needs no post, and lines up what does.
func (d *dispatcher) handle(c chore) {
	switch c.task {
	case taskText:
		d.moveText(c)
	case taskMail:
		d.moveMail(c)
	case taskCallback, taskEvents:
		d.ready.push(c)
	case taskEvent:
		d.collect(c)
	}
}

// tell brings one receipt on its way: late, twice, or with a lie beside it, as the plan has it.
func (d *dispatcher) tell(p *receiptPlan, c chore) {
	who := uint64(c.what)<<8 | uint64(c.word)<<4 | uint64(c.task)
	if p.Shuffle > 0 {
		if luck := throw(p.Seed, who, saltShuffle); luck < p.Shuffle {
			c.at += int64(float64(p.ShuffleFor) * luck / p.Shuffle)
		}
	}
	d.bring(c)
	if p.Duplicate > 0 && throw(p.Seed, who, saltDuplicate) < p.Duplicate {
		d.courier.duplicates.Add(1)
		d.bring(c)
	}
	if p.Forge > 0 {
		if luck := throw(p.Seed, who, saltForge); luck < p.Forge {
			d.courier.forged.Add(1)
			if c.lie = lieSignature; luck < p.Forge/2 {
				c.lie = lieID
			}
			d.bring(c)
		}
	}
}

func (d *dispatcher) bring(c chore) {
	d.courier.owed.Add(1)
	if c.at > d.now().UnixNano() {
		d.courier.put(c)
		return
	}
	d.handle(c)
}

// done settles what was owed: acknowledged or given up.
func (c *courier) done(receipts int64, lie, acknowledged bool) {
	switch {
	case lie:
	case acknowledged:
		c.acknowledged.Add(receipts)
	default:
		c.lost.Add(receipts)
	}
	c.owed.Add(-receipts)
}

// retryAfter is how long to wait before a try, which is at least the first again.
func retryAfter(p *receiptPlan, tries uint8) time.Duration {
	wait := time.Duration(p.RetryWait)
	for range tries {
		if wait *= 2; wait >= longestRetryWait {
			return longestRetryWait
		}
	}
	return wait
}

// answer is what came of a post.
type answer struct {
	status  int  // 0 where there was none
	dialled bool // false where not even a connection was had
	body    []byte
}

func (a answer) taken() bool { return a.status/100 == 2 }

// post sends a body and reads what is answered.
func (c *courier) post(ctx context.Context, url, kind string, body []byte, headers ...[2]string) answer {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{dialled: true} // no such URL: it was checked, and will not become one
	}
	req.Header["Content-Type"] = []string{kind}
	for _, h := range headers {
		req.Header[h[0]] = []string{h[1]}
	}
	c.posts.Add(1)
	res, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		return answer{dialled: !errors.As(err, &op) || op.Op != "dial"}
	}
	defer func() { _ = res.Body.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes))
	if err != nil {
		return answer{dialled: true}
	}
	return answer{status: res.StatusCode, dialled: true, body: b}
}
