// Package dispatch works off orders: it is the one way in which a page of customers is told on a channel, whatever the
// channel. The channel itself (texts, senders, requests) is a Courier.
//
// In:  order.<channel>.>, the page in ROSTER, the decisions in BREACH, what providers said in RECEIPTS   Out: JOURNAL, later.<channel>.>, the provider
// Crash: an order is acknowledged when each of its notices is settled or the order was put off durably. Each stride is
// written down before it is sent; whoever finds a stride without outcome waits until it cannot be under way any more,
// and then asks the provider. Nothing is sent again blindly.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"candor/pkg/bus"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/provider"
	"candor/pkg/ratelimit"
	"candor/pkg/receipt"
	"candor/pkg/roster"
	"candor/pkg/topology"
	"candor/pkg/window"
	candorv1 "candor/proto/candor/v1"
)

// Config says how a channel's orders are worked off. Its durations are the machine's, but for PollAfter.
type Config struct {
	Channel  candorv1.Channel `yaml:"-"`
	Provider string           `yaml:"-"`
	// StrideSlots is the most notices that one intent announces.
	StrideSlots int `yaml:"stride_slots"`
	// Pages is how many orders are in hand at once.
	Pages int `yaml:"pages"`
	// RequestTimeout bounds one request to the provider.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// VisibilityLag is how long the provider may take to list a message that it has accepted.
	VisibilityLag time.Duration `yaml:"visibility_lag"`
	// PausePoll is how often a put-off order of a paused incident looks up. Resuming does not wait for it.
	PausePoll time.Duration `yaml:"pause_poll"`
	// RetryFirst and RetryMost bound the wait before another attempt where the provider names none.
	RetryFirst time.Duration `yaml:"retry_first"`
	RetryMost  time.Duration `yaml:"retry_most"`
	// Hold is how long everything waits after a sign that nobody may be told now: a clock that jumped, an account
	// that is refused, a disk that is nearly full.
	Hold time.Duration `yaml:"hold"`
	// PollAfter is how long a message may be accepted without a final word before the provider is asked for one; 0 never asks.
	PollAfter time.Duration `yaml:"poll_after"`
	// SpillDir takes outcomes that could not be appended before the process had to stop.
	SpillDir string `yaml:"-"`
}

// DefaultConfig returns settings for a channel whose provider is far away and busy.
func DefaultConfig(ch candorv1.Channel) Config {
	return Config{
		Channel: ch, StrideSlots: 100, Pages: 16,
		RequestTimeout: 10 * time.Second, VisibilityLag: 2 * time.Minute, PausePoll: 20 * time.Second,
		RetryFirst: 5 * time.Second, RetryMost: 10 * time.Minute, Hold: time.Minute,
		PollAfter: time.Hour,
	}
}

// Validate says what is wrong with the settings, all at once.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.StrideSlots >= 1 && c.StrideSlots <= journal.MaxSlots, "stride_slots is %d: set 1 to %d", c.StrideSlots, journal.MaxSlots)
	check(c.Pages >= 1 && c.Pages <= 256, "pages is %d: set 1 to 256", c.Pages)
	check(c.RequestTimeout > 0, "request_timeout is %s: set a positive duration, such as 10s", c.RequestTimeout)
	check(c.VisibilityLag >= 0, "visibility_lag is %s: set 0s or more", c.VisibilityLag)
	check(c.PausePoll > 0 && c.Hold > 0, "pause_poll and hold must be positive")
	check(c.RetryFirst > 0 && c.RetryMost >= c.RetryFirst, "retry_first must be positive and at most retry_most")
	check(c.PollAfter >= 0 && c.PollAfter < receipt.Horizon, "poll_after is %s: set 0s, which never asks, to less than %s, such as 1h", c.PollAfter, receipt.Horizon)
	return errors.Join(errs...)
}

// strideTime is how long a stride may take to start its requests.
const strideTime = 2 * time.Second

// Page is one order with what it needs: who is to be told, and on whose word.
type Page struct {
	Key      journal.Key
	Incident *incident.Incident
	Roster   *roster.Page
}

// Terms are what two people approved about the page on this channel.
type Terms struct {
	TextHash []byte
	// StrideSlots is the most notices of one intent that suits the approved size of a request; 0 leaves it to the settings.
	// What a process that dies leaves uncertain is a stride.
	StrideSlots int
	// Quiet says when customers may be told, in Zone.
	Quiet window.Rule
	Zone  *time.Location
	// RetryBudget runs from the first stride.
	RetryBudget time.Duration
	// ResendUncertainAfter frees what cannot be found out; 0 keeps it for a person.
	ResendUncertainAfter time.Duration
}

// Pace is whose time a notice takes.
type Pace struct {
	// Provider that the notice goes through now; empty for the channel's own.
	Provider string
	Sender   string
	// PerSec is the sender's rate in units; 0 means unlimited.
	PerSec float64
	Units  int
}

// Stride is what is sent in one go.
type Stride struct {
	Attempt uint32
	Slots   []uint32
	// Address is which of the customer's addresses each slot uses.
	Address  []int
	Provider string
	Sender   string
	// SendBefore is the machine's time, with its monotonic reading.
	SendBefore time.Time
	// At is when the slots were announced, by the calendar.
	At time.Time
	// Halted says that nobody may be told any more, since the incident was paused or ended. It is asked before each request.
	Halted func() bool
}

// Outcome is what became of one slot.
type Outcome struct {
	provider.Outcome
	// Suppressed says why the slot was not sent after all, if it was not.
	Suppressed string
	// Halted says that the slot was not sent because the stride was halted.
	Halted bool
}

// Doubt is a notice of which nobody knows whether it was sent.
type Doubt struct {
	Slot    uint32
	Address int
	// Since is the machine's time, by which the provider goes.
	Since time.Time
}

// Finding is the provider's answer about a doubt.
type Finding struct {
	// ID of the message, empty if the provider does not know it.
	ID  string
	Err error
}

// Round is one page made ready for a channel.
type Round interface {
	Terms() Terms
	// Addresses is how many addresses the customer in the slot has on this channel.
	Addresses(slot uint32) int
	// Suppressed says why the slot must not be sent to now; empty if it may.
	Suppressed(slot uint32, address int) string
	Pace(slot uint32, address int) Pace
	// Send makes the requests and returns one outcome for each slot of the stride. It blocks until all are known.
	Send(ctx context.Context, s Stride) []Outcome
}

// Asker is a Round whose provider can be asked what it has.
type Asker interface {
	Find(ctx context.Context, doubts []Doubt) []Finding
}

// Poll asks what became of a message that the provider has.
type Poll struct {
	Slot    uint32
	Attempt uint32
	// ID is the provider's.
	ID string
}

// Word is the provider's answer to a Poll.
type Word struct {
	// Result is unspecified while there is no final word.
	Result candorv1.Result
	Reason string
	// RetryAt is from when on another attempt may follow, where one may.
	RetryAt time.Time
	Err     error
}

// Poller is a Round whose provider can be asked what became of a message. It answers in the order in which it was asked.
type Poller interface {
	Poll(ctx context.Context, asked []Poll) []Word
}

// Courier makes pages ready. An error of Ready says that a person must mend something: it is a dead letter.
type Courier interface {
	Ready(p Page) (Round, error)
}

// Pages opens the sealed pages of a roster.
type Pages interface {
	OpenPage(ctx context.Context, incident string, page uint32, sha256 []byte) (*roster.Page, error)
}

// Deps is what a Worker works with.
type Deps struct {
	Bus       *bus.Bus
	Journal   *journal.Journal
	Incidents *incident.Registry
	Pages     Pages
	Limiter   *ratelimit.Limiter
	Courier   Courier
	// BootID of the data folder, 0 in a process that has none of its own, and WorkerID among the boot's processes.
	BootID, WorkerID uint64
	// Booted is when this boot began, by the calendar: intents of earlier boots were announced before it by processes now dead. Zero
	// where other processes share the broker.
	Booted time.Time
	// SpaceLow says that the disk is nearly full, where the broker is embedded.
	SpaceLow func() bool
	Clock    clock.Clock
	Log      zerolog.Logger
}

// Worker works off the orders of one channel.
type Worker struct {
	cfg Config
	Deps

	mu   sync.Mutex
	hand map[journal.Key]*inHand
	// when each complaint that concerns everybody was last logged
	complained map[string]time.Duration
	// unanswered are questions that a provider answered with an error, and that were logged; by mu
	unanswered map[unanswered]struct{}

	ways      *ways
	watch     clockWatch
	stopping  <-chan struct{}
	reserving time.Duration // reserveTime, but in tests
}

// New returns a Worker. Outcomes that an earlier process had to leave behind are appended by Run before anything else.
func New(cfg Config, d Deps) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%s settings: %w", topology.ChannelToken(cfg.Channel), err)
	}
	if d.SpaceLow == nil {
		d.SpaceLow = func() bool { return false }
	}
	d.Log = d.Log.With().Str("channel", topology.ChannelToken(cfg.Channel)).Logger()
	return &Worker{
		cfg: cfg, Deps: d, hand: map[journal.Key]*inHand{}, complained: map[string]time.Duration{}, unanswered: map[unanswered]struct{}{},
		ways: newWays(), watch: newClockWatch(d.Clock.Machine(), d.Clock.Mono()), reserving: reserveTime,
	}, nil
}

// Run works until ctx ends and the work in hand is done.
func (w *Worker) Run(ctx context.Context) error {
	select {
	case <-w.Incidents.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := w.unspill(ctx); err != nil {
		return err
	}
	w.stopping = ctx.Done()
	g, ctx := errgroup.WithContext(ctx)
	for _, lane := range topology.Lanes {
		g.Go(func() error {
			durable := topology.OrderConsumer(w.cfg.Channel, lane)
			return w.Bus.Consume(ctx, topology.StreamOrders, durable, bus.ConsumeOptions{Concurrency: w.cfg.Pages}, w.order)
		})
	}
	return g.Wait()
}

// NewWorkerID tells the processes of one boot apart.
func NewWorkerID() uint64 { return rand.Uint64() }

// inHand is the order that works on a journal in this process.
type inHand struct {
	seq   uint64
	again bool // another order for the journal came meanwhile
}

// take claims a journal for one order within this process. Another order for it is noted: the one in hand looks again.
func (w *Worker) take(k journal.Key, seq uint64) (in *inHand, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if in := w.hand[k]; in != nil {
		in.again = in.again || in.seq != seq
		return in, false
	}
	in = &inHand{seq: seq}
	w.hand[k] = in
	return in, true
}

// done gives a journal back, unless another order for it came meanwhile: the wave may have grown since its page was looked
// at last, so that has to be done again.
func (w *Worker) done(k journal.Key, in *inHand) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if in.again {
		in.again = false
		return false
	}
	delete(w.hand, k)
	return true
}

func (w *Worker) release(k journal.Key, in *inHand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hand[k] == in {
		delete(w.hand, k)
	}
}

// complain says whether it is time to log what every order meets: once a hold is enough to wake somebody.
func (w *Worker) complain(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.Clock.Mono()
	if last, ok := w.complained[what]; ok && now-last < w.cfg.Hold {
		return false
	}
	w.complained[what] = now
	return true
}

// after returns what the calendar shows when the machine has worked for d.
func (w *Worker) after(now time.Time, d time.Duration) time.Time { return now.Add(w.Clock.Work(d)) }

func (w *Worker) stopped() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}
