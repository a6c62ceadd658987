package calls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/callqueue"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/roster"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

// seats is a broker with the seat, and the clock by which it is given up for lost.
type seats struct {
	*world
	kv   *bus.KV
	mono atomic.Int64
}

func newSeats(t *testing.T) *seats {
	t.Helper()
	w := &world{TB: t, bus: bustest.New(t), seen: &lockedBuffer{}}
	kv, err := w.bus.KV(t.Context(), topology.BucketCallOwner)
	if err != nil {
		t.Fatal(err)
	}
	s := &seats{world: w, kv: kv}
	s.mono.Store(int64(time.Hour))
	return s
}

// looking counts how often a process has looked at the seat.
type looking struct {
	seatKV
	looks atomic.Int64
}

func (l *looking) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	defer l.looks.Add(1)
	return l.seatKV.Get(ctx, key)
}

// seat is that of a process which acts every so often by the machine's clock.
func (s *seats) seat(every time.Duration) (*seat, *looking) {
	l := &looking{seatKV: s.kv}
	return &seat{kv: l, every: every, mono: func() time.Duration { return time.Duration(s.mono.Load()) }, log: zerolog.Nop()}, l
}

// after moves the clock, and waits until somebody has looked at the seat since.
func (s *seats) after(d time.Duration, l *looking) {
	s.Helper()
	s.mono.Add(int64(d))
	seen := l.looks.Load()
	s.until("a look at the seat", func() bool { return l.looks.Load() >= seen+2 }) // the first may have begun before
}

// takes waits for the seat in the background; what comes of it is sent.
func (s *seats) takes(who *seat, me string) <-chan error {
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	s.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		_, err := who.take(ctx, me)
		ended <- err
	})
	return ended
}

func (s *seats) waits(ended <-chan error) {
	s.Helper()
	select {
	case err := <-ended:
		s.Fatalf("took a seat that was taken: %v", err)
	default:
	}
}

const often = 5 * time.Millisecond

func TestOneSitsAndTheOthersWait(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	first, _ := s.seat(often)
	rev, err := first.take(t.Context(), "first")
	if err != nil || !first.fresh() {
		t.Fatal(rev, err)
	}
	ctx, kill := context.WithCancel(t.Context())
	held := make(chan error, 1)
	go func() { held <- first.hold(ctx, "first", rev) }()
	second, looks := s.seat(often)
	taken := s.takes(second, "second")
	for range 3 * missed { // while it is renewed nobody else gets it, however long that is
		s.after(often, looks)
		s.until("it is renewed", func() bool { return first.renewed.Load() == s.mono.Load() })
		s.after(0, looks)
		s.waits(taken)
	}
	if err := second.confirm(t.Context(), "second"); !errors.Is(err, errLostSeat) {
		t.Errorf("confirm = %v", err)
	}
	if err := first.confirm(t.Context(), "first"); err != nil {
		t.Errorf("confirm = %v", err)
	}
	kill()
	if err := <-held; err != nil || first.fresh() {
		t.Errorf("hold = %v", err)
	}
}

func TestWhoLeavesInOrderIsFollowedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	first, _ := s.seat(time.Minute)
	rev, err := first.take(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if err := first.hold(ctx, "first", rev); err != nil || first.fresh() {
		t.Fatalf("hold = %v", err)
	}
	second, _ := s.seat(often)
	if _, err := second.take(t.Context(), "second"); err != nil { // the clock stands still
		t.Fatal(err)
	}
}

// Whoever is gone without a word is followed after three renewals missed, and told so when it comes back.
func TestWhoIsGoneIsFollowedAfterAWhile(t *testing.T) {
	t.Parallel()
	s := newSeats(t)
	first, _ := s.seat(often)
	rev, err := first.take(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	second, looks := s.seat(often)
	taken := s.takes(second, "second")
	s.after(0, looks)
	s.after(missed*often-1, looks)
	s.waits(taken)
	s.mono.Add(1)
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if err := first.hold(t.Context(), "first", rev); !errors.Is(err, errLostSeat) {
		t.Errorf("hold = %v", err)
	}
}

// away cannot be reached any more.
type away struct{ seatKV }

func (away) Update(context.Context, string, []byte, uint64) (uint64, error) {
	return 0, bus.ErrUnavailable
}

func TestWhoCannotRenewLetsGoBeforeOthersTakeOver(t *testing.T) {
	t.Parallel()
	s := &seat{kv: away{}, every: 10 * time.Millisecond, mono: clock.Clock{}.Mono, log: zerolog.Nop()}
	s.renewed.Store(int64(s.mono()))
	if err := s.hold(t.Context(), "me", 1); !errors.Is(err, errLostSeat) {
		t.Errorf("hold = %v", err)
	}
}

// shelf counts how often pages are opened.
type shelf struct {
	mu     sync.Mutex
	opened map[uint32]int
	fails  error
}

func (s *shelf) OpenPage(_ context.Context, _ string, page uint32, _ []byte) (*roster.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened[page]++
	return &roster.Page{Number: page}, s.fails
}

func (s *shelf) Manifest(_ context.Context, subject string) (*candorv1.RosterManifest, error) {
	m := &candorv1.RosterManifest{}
	from := uint32(0)
	if subject == "added" {
		from = 10
	}
	for n := from; n < from+10; n++ {
		m.Pages = append(m.Pages, &candorv1.RosterPageInfo{Number: n, SealedSha256: []byte{1}})
	}
	return m, nil
}

func TestPagesAreOpenedOnceAndOnlySoManyAreKept(t *testing.T) {
	t.Parallel()
	s := &shelf{opened: map[uint32]int{}}
	inc := &incident.Incident{ID: id, Draft: &candorv1.Drafted{Manifest: "first"}}
	f := newFolder(s, 3, func(context.Context, string) (*incident.Incident, error) { return inc, nil })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if p, err := f.page(t.Context(), inc, 0); err != nil || p.Number != 0 {
				t.Errorf("page = %v, %v", p, err)
			}
		})
	}
	wg.Wait()
	for _, n := range []uint32{1, 2, 0, 3, 0, 1} { // 1 made room for 3
		if _, err := f.page(t.Context(), inc, n); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(s.opened); got != "map[0:1 1:2 2:1 3:1]" || len(f.open) != 3 {
		t.Errorf("opened %s, %d are open", got, len(f.open))
	}
	if _, err := f.page(t.Context(), inc, 99); !errors.Is(err, errNoPage) {
		t.Errorf("page 99: %v", err)
	}
	s.fails = bus.ErrUnavailable
	if _, err := f.page(t.Context(), inc, 5); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("page 5: %v", err)
	}
	s.fails = nil
	if _, err := f.page(t.Context(), inc, 5); err != nil {
		t.Errorf("a failure was kept: %v", err)
	}
	// Who comes page by page finds the next one open.
	f.forget(id)
	for n := range uint32(10) {
		if _, err := f.next(t.Context(), inc, n); err != nil {
			t.Fatal(err)
		}
		f.ahead.Wait()
		if _, open := f.open[pageKey{id, n + 1}]; open != (n > 0 && n < 9) {
			t.Errorf("after page %d the next one is open: %t", n, open)
		}
	}
	f.forget(id)
	if len(f.open) != 0 {
		t.Errorf("%d pages of the incident are open", len(f.open))
	}
}

// Rows that were added are found, also by whoever has not heard of them yet.
func TestPagesOfAddedRows(t *testing.T) {
	t.Parallel()
	s := &shelf{opened: map[uint32]int{}}
	added := &candorv1.Addition{Wave: "w0-a1", Kind: incident.KindRoster, Manifest: "added"}
	before := &incident.Incident{ID: id, Draft: &candorv1.Drafted{Manifest: "first"}}
	after := &incident.Incident{ID: id, Draft: before.Draft, Additions: map[string]*incident.Addition{
		"w0-a1": {ApprovedBy: "erin", AdditionDrafted: &candorv1.AdditionDrafted{Addition: added}},
	}}
	now, loads := before, 0
	f := newFolder(s, 3, func(context.Context, string) (*incident.Incident, error) { loads++; return now, nil })
	if _, err := f.page(t.Context(), before, 12); !errors.Is(err, errNoPage) {
		t.Errorf("page 12 before it was added: %v", err)
	}
	now = after
	for _, inc := range []*incident.Incident{before, after} {
		for _, n := range []uint32{3, 12} {
			if _, err := f.page(t.Context(), inc, n); err != nil {
				t.Errorf("page %d: %v", n, err)
			}
		}
	}
	if loads != 2 || fmt.Sprint(s.opened) != "map[3:1 12:1]" {
		t.Errorf("%d loads, opened %v", loads, s.opened)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.RenewEvery = 0 }, func(c *Config) { c.InHand = 0 }, func(c *Config) { c.OpenPages = -1 },
		func(c *Config) { c.RecordEvery = time.Hour }, func(c *Config) { c.Orders = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

// sitting is an owner of the queue without its loop.
func sitting(t *testing.T) *owner {
	t.Helper()
	b := bustest.New(t)
	kv, err := b.KV(t.Context(), topology.BucketCallOwner)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := &seat{kv: kv, every: time.Minute, mono: clock.Clock{}.Mono, log: zerolog.Nop()}
	if _, err := s.take(t.Context(), "me"); err != nil {
		t.Fatal(err)
	}
	c := &Calls{Deps: Deps{Bus: b, Log: zerolog.Nop()}, metrics: m, seat: s}
	return &owner{books: &books{Calls: c, last: map[string]uint64{}, me: "me"}, id: 7, adopted: map[string]bool{}}
}

func withdrawn(incident string, n int) callqueue.Event {
	w := &candorv1.CallWithdrawn{State: candorv1.CallState_CALL_STATE_EXPIRED}
	for slot := range n {
		w.Customers = append(w.Customers, &candorv1.CustomerPlace{Incident: incident, Page: 1_000_000, Slot: uint32(slot)})
	}
	return callqueue.Event{Incident: incident, CallEvent: &candorv1.CallEvent{Event: &candorv1.CallEvent_Withdrawn{Withdrawn: w}}}
}

func TestATurnIsStoredTogetherAndLargeOnesInParts(t *testing.T) {
	t.Parallel()
	o := sitting(t)
	turns := []*turn{
		{now: noon, events: []callqueue.Event{withdrawn("one", 1), withdrawn("two", 1), withdrawn("one", 2)}},
		{now: noon},
		{now: noon, events: []callqueue.Event{withdrawn("two", 3)}},
	}
	for range 50 { // more than the broker takes in one message
		turns[1].events = append(turns[1].events, withdrawn("one", 1000))
	}
	turns[1].events = append(turns[1].events, withdrawn("two", 2))
	for _, turn := range turns {
		if err := o.store(t.Context(), turn); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string][]int{}
	messages := 0
	_, err := o.Bus.Read(t.Context(), topology.StreamCalls, "", 1, func(m bus.Stored) error {
		e := &candorv1.CallEvents{}
		messages++
		incident, _ := topology.ParseCallEvents(m.Subject)
		err := proto.Unmarshal(m.Data, e)
		for _, ev := range e.GetEvents() {
			got[incident] = append(got[incident], len(ev.GetWithdrawn().GetCustomers())) // 0 for the owner's own
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got["one"][:3], got["two"]) != "[0 1 2] [0 1 2 3]" || len(got["one"]) != 53 || messages < 6 {
		t.Errorf("%d messages: %v", messages, got)
	}
}

func TestAnAnswerThatWasLostIsFoundOut(t *testing.T) {
	t.Parallel()
	o := sitting(t)
	batch := func(ids ...string) (ms []bus.Message) {
		for _, id := range ids {
			more, err := o.messages(&letter{id: id, events: []*candorv1.CallEvent{owned()}}, noon)
			if err != nil {
				t.Fatal(err)
			}
			ms = append(ms, more...)
		}
		return ms
	}
	lost := batch("one", "two")
	if landed, err := o.found(t.Context(), lost); landed || err != nil {
		t.Errorf("nothing is there: %t, %v", landed, err)
	}
	if _, err := o.Bus.AppendBatch(t.Context(), topology.StreamCalls, lost); err != nil {
		t.Fatal(err)
	}
	// Written again it is refused, and found to be there.
	if err := o.append(t.Context(), lost); err != nil || o.last["one"] != 1 || o.last["two"] != 2 {
		t.Errorf("append = %v; last %v", err, o.last)
	}
	if err := o.append(t.Context(), batch("one")); err != nil || o.last["one"] != 3 {
		t.Errorf("append = %v; last %v", err, o.last)
	}
	// Another owner writes to one of them.
	if _, err := o.Bus.Append(t.Context(), topology.StreamCalls, batch("two")[0]); err != nil {
		t.Fatal(err)
	}
	if err := o.append(t.Context(), batch("one", "two")); !errors.Is(err, errLostSeat) {
		t.Errorf("append after another owner = %v", err)
	}
	if st, err := o.Bus.State(t.Context(), topology.StreamCalls); err != nil || st.Last != 4 {
		t.Errorf("%+v, %v: a part of what was refused is there", st, err)
	}
	// An incident that this owner has not adopted needs the seat itself.
	o.me = "somebody else"
	if err := o.store(t.Context(), &turn{now: noon, events: []callqueue.Event{withdrawn("three", 1)}}); !errors.Is(err, errLostSeat) {
		t.Errorf("store without the seat = %v", err)
	}
}

func TestWhoMayHaveBeenReplacedRefusesNothing(t *testing.T) {
	t.Parallel()
	o := sitting(t)
	o.queue = callqueue.New()
	errRefused := errors.New("no such lease")
	answer := func(events ...callqueue.Event) error {
		c := &command{done: make(chan error, 1), err: errRefused, stored: len(events) > 0}
		if c.stored {
			c.err = nil
		}
		_ = o.finish(t.Context(), &turn{now: noon, commands: []*command{c}, events: events})
		return <-c.done
	}
	if err := answer(); !errors.Is(err, errRefused) {
		t.Errorf("the owner says %v", err)
	}
	if err := answer(withdrawn("one", 1)); err != nil {
		t.Errorf("the owner says %v", err)
	}
	o.seat.renewed.Store(0)
	if err := answer(); !errors.Is(err, errLostSeat) {
		t.Errorf("who may have been replaced says %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	v, err := protovalidate.New()
	if err != nil {
		f.Fatal(err)
	}
	c := &Calls{validator: v}
	f.Add([]byte(`{"max": 3, "wait": "30s", "incidents": ["field"]}`), "")
	f.Add([]byte("\x08\x01\x10\x03"), "application/protobuf")
	f.Add([]byte(" {}"), "application/json; charset=utf-8")
	f.Fuzz(func(t *testing.T, data []byte, kind string) {
		r := bus.Request{Data: data, Header: map[string]string{"content-TYPE": kind, "AUTHORIZATION": string(data)}}
		_ = bearerOf(r.Header)
		asJSON, err := isJSON(r)
		var remote *bus.RemoteError
		if err != nil && !errors.As(err, &remote) {
			t.Errorf("isJSON = %v", err)
		}
		for _, q := range []proto.Message{&candorv1.ClaimRequest{}, &candorv1.CompleteRequest{}} {
			if err := c.read(data, asJSON, q); err != nil && !errors.As(err, &remote) {
				t.Errorf("read = %v", err)
			}
		}
		if l, err := callqueue.ParseLease(string(data)); err == nil && l.String() != string(data) {
			t.Errorf("lease %q is read as %v", data, l)
		}
	})
}
