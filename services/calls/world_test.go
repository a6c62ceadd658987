package calls

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/clock"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/natsd"
	"candor/pkg/notice"
	"candor/pkg/pagestore"
	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/suppression"
	"candor/pkg/token"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = "field"

// noon is a Monday's noon in New York.
var noon = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)

// world is a broker with a declared incident, and everything that the call queue stands on.
type world struct {
	testing.TB
	server *natsd.Server
	bus    *bus.Bus
	vault  *vault.Vault
	tokens *token.Store
	log    *incident.Log
	inc    *incident.Incident
	stops  *suppression.Set
	jrnl   *journal.Journal
	pages  []*candorv1.RosterPageInfo
	seen   *lockedBuffer
	clock  atomic.Int64
	bearer string
	secret []string      // what must be nowhere
	answer time.Duration // until an answer is taken for lost
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) now() time.Time { return time.Unix(0, w.clock.Load()).UTC() }

func (w *world) advance(d time.Duration) { w.clock.Add(int64(d)) }

type plan struct {
	sync      bool
	pages     int
	customers int // on each page
	change    func(page, slot int, c *roster.Customer)
	edit      func(playbook string) string
}

// withCalls takes the marks away from the starter's channel call, which is then none of the ladder's steps.
func withCalls(p string) string {
	return strings.NewReplacer(
		"      # call:\n      #   after: 24h\n      #   unless: delivered\n", "      call: {}\n",
	).Replace(p)
}

func newWorld(t testing.TB, p plan) *world {
	t.Helper()
	w := &world{TB: t, seen: &lockedBuffer{}, answer: patience}
	w.clock.Store(noon.UnixNano())
	w.server, w.bus = bustest.Start(t, bustest.Options{Sync: p.sync})
	dir := filepath.Join(t.TempDir(), "keys")
	if err := vault.Init(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.vault, err = vault.Open(dir, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if err := w.vault.Create(id); err != nil {
		t.Fatal(err)
	}
	kv, err := w.bus.KV(t.Context(), topology.BucketTokens)
	if err != nil {
		t.Fatal(err)
	}
	if w.tokens, err = token.NewStore(kv, "", time.Now); err != nil {
		t.Fatal(err)
	}
	w.bearer = w.token("contact centre", token.Dialer)
	stops, err := w.bus.KV(t.Context(), topology.BucketSuppressions)
	if err != nil {
		t.Fatal(err)
	}
	w.stops = suppression.New(stops, w.vault.Door().SuppressionKey())
	w.background(w.stops.Run)
	w.jrnl = journal.New(w.bus, bus.Direct{Bus: w.bus, Stream: topology.StreamJournal}, w.now)
	w.declare(p)
	return w
}

// background runs something until the test ends.
func (w *world) background(run func(context.Context) error) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Run = %v", err)
		}
	})
	w.Cleanup(stop)
	return stop
}

func (w *world) token(name string, roles ...token.Role) string {
	w.Helper()
	bearer, _, err := w.tokens.Create(w.Context(), name, roles)
	if err != nil {
		w.Fatal(err)
	}
	return bearer.Reveal()
}

func starter(t testing.TB, name string) string {
	t.Helper()
	b, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (w *world) declare(p plan) {
	w.Helper()
	manifest := &candorv1.RosterManifest{Digest: strings.Repeat("a", 64)}
	for n := range p.pages {
		manifest.Pages = append(manifest.Pages, w.page(n, p))
	}
	w.pages = manifest.GetPages()
	const subject = "roster." + id + ".manifest-aaaaaaaaaaaaaaaa"
	w.append(topology.StreamRoster, subject, manifest)
	pb := withCalls(starter(w, "playbook.yaml"))
	if p.edit != nil {
		pb = p.edit(pb)
	}
	decl := &candorv1.Declaration{Incident: id, Playbook: pb, Facts: starter(w, "facts.yaml"), RosterDigest: manifest.GetDigest()}
	if _, err := notice.NewSet(decl); err != nil {
		w.Fatal(err)
	}
	w.log = incident.NewLog(w.bus, w.now)
	w.inc = &incident.Incident{ID: id}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{
		Revision: 1, Declaration: decl, PlanHash: incident.Hash(decl), Manifest: subject,
	}}})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1, PlanHash: w.inc.PlanHash()}}})
}

func (w *world) event(e *candorv1.BreachEvent) {
	w.Helper()
	inc, err := w.log.Append(w.Context(), w.inc, incident.Service("test"), e)
	if err != nil {
		w.Fatal(err)
	}
	w.inc = inc
}

func (w *world) append(stream, subject string, m proto.Message) {
	w.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.bus.Append(w.Context(), stream, bus.Message{Subject: subject, Data: data}); err != nil {
		w.Fatal(err)
	}
}

func phoneOf(page, slot int) string { return fmt.Sprintf("+1212555%04d", page*1000+slot) }

func (w *world) page(number int, p plan) *candorv1.RosterPageInfo {
	w.Helper()
	page := &roster.Page{Number: uint32(number), Tier: 2, TimeZone: "America/New_York", Language: "en"}
	for i := range p.customers {
		c := roster.Customer{
			Ref: fmt.Sprintf("P%d-%d", number, i), Code: fmt.Sprintf("COD-%03d-%03d", number, i), Tier: 2, Language: "en", Country: "US", Region: "NY",
			TimeZone: page.TimeZone, ZoneSource: roster.ZoneFromAddress, GivenName: pii.NewName(fmt.Sprintf("Ximena%dq%d", number, i)),
			Phones: []pii.Phone{pii.NewPhone(phoneOf(number, i))}, TextPhones: 1,
		}
		if p.change != nil {
			p.change(number, i, &c)
		}
		w.secret = append(w.secret, c.GivenName.Reveal())
		for _, phone := range c.Phones {
			w.secret = append(w.secret, phone.Reveal())
		}
		page.Customers = append(page.Customers, c)
	}
	plain, err := page.Marshal()
	if err != nil {
		w.Fatal(err)
	}
	keys, err := w.vault.Incident(id)
	if err != nil {
		w.Fatal(err)
	}
	subject := topology.Page(id, uint32(number))
	sealed, err := keys.Seal(subject, plain)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.bus.Append(w.Context(), topology.StreamRoster, bus.Message{Subject: subject, Data: sealed}); err != nil {
		w.Fatal(err)
	}
	sum := sha256.Sum256(sealed)
	return &candorv1.RosterPageInfo{Number: uint32(number), Tier: 2, TimeZone: page.TimeZone, Language: "en", Customers: uint32(p.customers), SealedSha256: sum[:]}
}

func key(page int) journal.Key {
	return journal.Key{Channel: channel, Incident: id, Wave: "w0", Page: uint32(page)}
}

// order opens the journal of a page, unless it is open, and publishes its order, as the planner does.
func (w *world) order(page int, slots ...uint32) {
	w.Helper()
	w.orderOf("w0", page, slots...)
}

func (w *world) orderOf(wave string, page int, slots ...uint32) {
	w.Helper()
	k := key(page)
	k.Wave = wave
	st := w.journalOf(k)
	if st.Opened == nil {
		e := w.jrnl.Entry()
		e.Event = &candorv1.JournalEntry_Opened{Opened: &candorv1.Opened{
			PlanHash: w.inc.HashOf(wave), PageSha256: w.pages[page].GetSealedSha256(), TextHash: []byte("text"),
			Slots: w.pages[page].GetCustomers(), Audience: journal.Runs(slots),
		}}
		if err := w.jrnl.Fence(w.Context(), k, st, e); err != nil {
			w.Fatal(err)
		}
	}
	lane := w.inc.LaneOf(wave)
	w.append(topology.StreamOrders, topology.Order(channel, lane, id, wave, uint32(page)), &candorv1.Order{
		Incident: id, Wave: wave, Channel: channel, Page: uint32(page), Lane: lane, PlanHash: w.inc.HashOf(wave),
	})
}

func (w *world) journal(page int) *journal.State {
	w.Helper()
	return w.journalOf(key(page))
}

func (w *world) journalOf(k journal.Key) *journal.State {
	w.Helper()
	st, err := w.jrnl.Load(w.Context(), k)
	if err != nil {
		w.Fatal(err)
	}
	return st
}

// process is one process with the target calls.
type process struct {
	*world
	calls *Calls
	reg   *prometheus.Registry
	bus   *bus.Bus
	stop  func() // in order
}

// patience is for a machine that does a lot besides.
const patience = 3 * time.Minute

// oftenRenewed is for those that take over from an owner that was killed: they do so soon.
func oftenRenewed(c *Config) { c.RenewEvery = time.Second }

// process starts a process with a connection of its own. A busy machine may keep its owner from renewing for some seconds.
func (w *world) process(change ...func(*Config)) *process {
	w.Helper()
	cfg := DefaultConfig()
	cfg.RenewEvery, cfg.RecordEvery = 4*time.Second, 5*time.Millisecond
	for _, c := range change {
		c(&cfg)
	}
	b, err := bus.Connect(w.Context(), bus.Config{Server: w.server, Name: "calls", RequestTimeout: patience}, zerolog.New(w.seen))
	if err != nil {
		w.Fatal(err)
	}
	closeBus := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), 10*time.Second)
		defer cancel()
		_ = b.Close(ctx)
	})
	w.Cleanup(closeBus)
	kv := func(bucket string) *bus.KV {
		k, err := b.KV(w.Context(), bucket)
		if err != nil {
			w.Fatal(err)
		}
		return k
	}
	incidents, metrics := incident.NewRegistry(b), prometheus.NewRegistry()
	stops := suppression.New(kv(topology.BucketSuppressions), w.vault.Door().SuppressionKey())
	committer := bus.NewCommitter(b, topology.StreamJournal, bus.CommitterOptions{})
	c, err := New(cfg, Deps{
		Bus: b, Incidents: incidents, Suppressions: stops, Pages: pagestore.New(b, w.vault), Journal: journal.New(b, committer, w.now),
		Door: w.vault.Door(), Texts: notice.NewLibrary(), Tokens: kv(topology.BucketTokens), Owner: kv(topology.BucketCallOwner),
		Metrics: metrics, Clock: clock.Clock{}.On(w.now, nil), Log: zerolog.New(w.seen),
	})
	if err != nil {
		w.Fatal(err)
	}
	var ends []func()
	for _, run := range []func(context.Context) error{incidents.Run, stops.Run, committer.Run, c.Run} {
		ends = append(ends, w.background(run))
	}
	p := &process{world: w, calls: c, reg: metrics, bus: b}
	p.stop = func() {
		ends[3]()
		for _, stop := range ends[:3] {
			stop()
		}
		closeBus()
	}
	return p
}

// metric reads a gauge or a counter without labels.
func (p *process) metric(name string) float64 {
	p.Helper()
	families, err := p.reg.Gather()
	if err != nil {
		p.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "candor_calls_"+name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	p.Fatalf("there is no metric %s", name)
	return 0
}

// kill takes the process away from the broker in the middle of whatever it does.
func (p *process) kill() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.Context()))
	cancel()
	_ = p.bus.Close(ctx) // at once, without draining
	p.stop()
}

// ask makes a request as a dialer does, and again while the queue has no owner.
func (w *world) ask(method string, q, answer proto.Message) error {
	return w.askAs(w.bearer, method, q, answer)
}

func (w *world) askAs(bearer, method string, q, answer proto.Message) error {
	data, err := proto.Marshal(q)
	if err != nil {
		return err
	}
	for {
		wait := w.answer
		if c, ok := q.(*candorv1.ClaimRequest); ok {
			wait += c.GetWait().AsDuration()
		}
		reply, err := w.bus.RequestWithin(w.Context(), wait, topology.CallMethod(method), data, map[string]string{"Authorization": "Bearer " + bearer})
		if again(err) || method != "claim" && errors.Is(err, bus.ErrUnknownOutcome) {
			if err := pause(w.Context(), time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		return proto.Unmarshal(reply.Data, answer)
	}
}

// again says whether a dialer asks again.
func again(err error) bool {
	var remote *bus.RemoteError
	return errors.Is(err, bus.ErrUnavailable) || errors.As(err, &remote) && remote.Code == bus.CodeUnavailable
}

func (w *world) claim(q *candorv1.ClaimRequest) []*candorv1.CallTask {
	w.Helper()
	resp := &candorv1.ClaimResponse{}
	if err := w.ask("claim", q, resp); err != nil {
		w.Fatalf("claim: %v", err)
	}
	return resp.GetTasks()
}

func (w *world) complete(lease, disposition string) *candorv1.CompleteResponse {
	w.Helper()
	resp := &candorv1.CompleteResponse{}
	if err := w.ask("complete", &candorv1.CompleteRequest{Lease: lease, Disposition: disposition}, resp); err != nil {
		w.Fatalf("complete: %v", err)
	}
	return resp
}

func (w *world) queue() *candorv1.GetQueueResponse {
	w.Helper()
	resp := &candorv1.GetQueueResponse{}
	if err := w.ask("queue", &candorv1.GetQueueRequest{}, resp); err != nil {
		w.Fatalf("queue: %v", err)
	}
	return resp
}

// until waits for a state.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			w.Fatalf("%s did not come to be; log: %s", what, w.seen)
		}
		_ = pause(w.Context(), 2*time.Millisecond)
	}
}

func (w *world) untilTasks(state string, n uint64) {
	w.Helper()
	w.until(fmt.Sprintf("%d tasks %s", n, state), func() bool { return w.queue().GetStates()[state] == n })
}

// events reads CALLS.
func (w *world) events() (all []*candorv1.CallEvents) {
	w.Helper()
	_, err := w.bus.Read(w.Context(), topology.StreamCalls, topology.CallEvents("*"), 1, func(m bus.Stored) error {
		e := &candorv1.CallEvents{}
		all = append(all, e)
		return proto.Unmarshal(m.Data, e)
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// audit goes through the events by itself: nobody is held by two at once, fences rise, and what is reported was leased.
func (w *world) audit() (leases int) {
	w.Helper()
	type held struct {
		out    bool
		fence  uint64
		fences map[uint64]bool
	}
	people := map[string]*held{}
	of := func(p *candorv1.CustomerPlace) *held {
		k := fmt.Sprint(p.GetIncident(), p.GetPage(), p.GetSlot())
		if people[k] == nil {
			people[k] = &held{fences: map[uint64]bool{}}
		}
		return people[k]
	}
	for _, m := range w.events() {
		for _, e := range m.GetEvents() {
			switch ev := e.GetEvent().(type) {
			case *candorv1.CallEvent_Leased:
				h := of(ev.Leased.GetCustomer())
				if h.out || ev.Leased.GetFence() <= h.fence {
					w.Errorf("customer %v is leased under fence %d while %d is out", ev.Leased.GetCustomer(), ev.Leased.GetFence(), h.fence)
				}
				h.out, h.fence = true, ev.Leased.GetFence()
				h.fences[h.fence] = true
				leases++
			case *candorv1.CallEvent_Released:
				of(ev.Released.GetCustomer()).out = false
			case *candorv1.CallEvent_LeaseExpired:
				of(ev.LeaseExpired.GetCustomer()).out = false
			case *candorv1.CallEvent_Completed:
				h := of(ev.Completed.GetCustomer())
				if !h.fences[ev.Completed.GetFence()] {
					w.Errorf("a report of lease %d, which nobody got", ev.Completed.GetFence())
				}
				if ev.Completed.GetFence() == h.fence {
					h.out = false
				}
			}
		}
	}
	return leases
}

// nobodyNamed looks for personal data where none may be.
func (w *world) nobodyNamed() {
	w.Helper()
	for _, stream := range []string{topology.StreamCalls, topology.StreamJournal, topology.StreamOrders, "KV_" + topology.BucketSuppressions} {
		_, err := w.bus.Read(w.Context(), stream, "", 1, func(m bus.Stored) error {
			for _, s := range w.secret {
				if bytes.Contains(m.Data, []byte(s)) || strings.Contains(m.Subject, s) {
					w.Errorf("%s holds %s", m.Subject, s)
				}
			}
			return nil
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	for _, s := range w.secret {
		if strings.Contains(w.seen.String(), s) {
			w.Errorf("the log holds %s", s)
		}
	}
}

// finds plays the api, which knows where customers are.
func (w *world) finds(places map[string]*candorv1.CustomerPlace) {
	w.Helper()
	w.background(func(ctx context.Context) error {
		return w.bus.Serve(ctx, topology.Ask("api", "find"), "api", 1, func(_ context.Context, r bus.Request) (bus.Reply, error) {
			sealed, q, resp := &candorv1.PlaceRequest{}, &candorv1.FindRequest{}, &candorv1.PlaceResponse{}
			if err := proto.Unmarshal(r.Data, sealed); err != nil {
				return bus.Reply{}, err
			}
			plain, err := w.vault.Door().OpenRequest(sealed.GetSealed())
			if err == nil {
				err = proto.Unmarshal(plain, q)
			}
			if err != nil {
				return bus.Reply{}, err
			}
			if p := places[q.GetQuery()]; p != nil {
				resp.Places = append(resp.Places, p)
			}
			data, err := proto.Marshal(resp)
			return bus.Reply{Data: data}, err
		})
	})
}

func jsonOf(t testing.TB, data []byte) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return m
}
