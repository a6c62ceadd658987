package planner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/notice"
	"candor/pkg/pagestore"
	"candor/pkg/pii"
	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/topology"
	"candor/pkg/vault"
	candorv1 "candor/proto/candor/v1"
)

type world struct {
	*testing.T
	bus     *bus.Bus
	planner *Planner
	tender  *tender
	ledger  *ledgerDouble
	vault   *vault.Vault
	change  func(slot int, c *roster.Customer)
	inc     *incident.Incident
	now     time.Time
}

// newWorld has a draft with the pages: tier and number of customers of each.
func newWorld(t *testing.T, edit func(playbook string) string, tiers ...int) *world {
	t.Helper()
	return newWorldWith(t, nil, edit, tiers...)
}

// newWorldWith also changes the customers.
func newWorldWith(t *testing.T, change func(slot int, c *roster.Customer), edit func(playbook string) string, tiers ...int) *world {
	t.Helper()
	w := &world{T: t, bus: bustest.New(t), now: night.Add(8 * time.Hour), change: change}
	dir := filepath.Join(t.TempDir(), "keys")
	if err := vault.Init(dir); err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(dir, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Create(id); err != nil {
		t.Fatal(err)
	}
	w.vault = v
	manifest := w.manifest("a", 0, tiers...)
	decl := &candorv1.Declaration{
		Incident: id, Playbook: starter(t, "playbook.yaml"), Facts: starter(t, "facts.yaml"), RosterDigest: strings.Repeat("a", 64),
	}
	if edit != nil {
		decl.Playbook = edit(decl.GetPlaybook())
	}
	w.planner = New(DefaultConfig(), w.bus, pagestore.New(w.bus, v), notice.NewLibrary(), func() time.Time { return w.now }, zerolog.Nop())
	w.tender = newTender(w.planner)
	w.inc = &incident.Incident{ID: id}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Drafted{Drafted: &candorv1.Drafted{
		Revision: 1, Declaration: decl, PlanHash: incident.Hash(decl), Manifest: manifest,
	}}})
	return w
}

// manifest seals pages, from a number on, and says which they are: tier of each.
func (w *world) manifest(digit string, first uint32, tiers ...int) (subject string) {
	w.Helper()
	manifest := &candorv1.RosterManifest{Digest: strings.Repeat(digit, 64)}
	for n, tier := range tiers {
		manifest.Pages = append(manifest.Pages, w.page(first+uint32(n), uint8(tier), 4))
	}
	data, err := proto.Marshal(manifest)
	if err != nil {
		w.Fatal(err)
	}
	subject = "roster." + id + ".manifest-" + strings.Repeat(digit, 16)
	if _, err := w.bus.Append(w.Context(), topology.StreamRoster, bus.Message{Subject: subject, Data: data}); err != nil {
		w.Fatal(err)
	}
	return subject
}

func starter(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(playbook.Starter(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (w *world) page(number uint32, tier uint8, customers int) *candorv1.RosterPageInfo {
	w.Helper()
	p := &roster.Page{Number: number, Tier: tier, TimeZone: "America/New_York", Language: "en"}
	for i := range customers {
		p.Customers = append(p.Customers, roster.Customer{
			Ref: fmt.Sprintf("P%d-%d", number, i), Code: fmt.Sprintf("COD-%d%d", number, i), Tier: tier, Language: "en", Country: "US", TimeZone: p.TimeZone,
			Email: pii.NewEmail(fmt.Sprintf("p%d-%d@example.com", number, i)), Phones: []pii.Phone{pii.NewPhone("+12125550100")}, TextPhones: 1,
		})
		if i == 0 {
			p.Customers[i].Country = "MX"
		}
		if w.change != nil {
			w.change(i, &p.Customers[i])
		}
	}
	plain, err := p.Marshal()
	if err != nil {
		w.Fatal(err)
	}
	keys, err := w.vault.Incident(id)
	if err != nil {
		w.Fatal(err)
	}
	subject := topology.Page(id, number)
	sealed, err := keys.Seal(subject, plain)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.bus.Append(w.Context(), topology.StreamRoster, bus.Message{Subject: subject, Data: sealed}); err != nil {
		w.Fatal(err)
	}
	sum := sha256.Sum256(sealed)
	return &candorv1.RosterPageInfo{Number: number, Tier: uint32(tier), TimeZone: p.TimeZone, Language: "en", Customers: uint32(customers), SealedSha256: sum[:]}
}

func (w *world) event(e *candorv1.BreachEvent) {
	w.Helper()
	if w.inc.Seq > 0 {
		w.reload()
	}
	inc, err := w.planner.log.Append(w.Context(), w.inc, incident.Service("test"), e)
	if err != nil {
		w.Fatal(err)
	}
	w.inc = inc
}

func (w *world) approve() {
	w.Helper()
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Approved{Approved: &candorv1.Approved{Revision: 1, PlanHash: w.inc.PlanHash()}}})
}

// reload reads the incident as it is.
func (w *world) reload() *incident.Incident {
	w.Helper()
	inc, err := w.planner.log.Load(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	w.inc = inc
	return inc
}

func (w *world) declared() error { return w.planner.declared(w.Context(), w.reload()) }

func (w *world) states() map[journal.Key]*journal.State {
	w.Helper()
	states, err := w.planner.fold(w.Context(), topology.JournalsOf(id))
	if err != nil {
		w.Fatal(err)
	}
	return states
}

// queue lists the subjects of orders that start with the prefix, in the order of the stream.
func (w *world) queue(prefix string) []string {
	w.Helper()
	var subjects []string
	for seq := uint64(1); ; {
		m, err := w.bus.Next(w.Context(), topology.StreamOrders, prefix+".>", seq)
		if errors.Is(err, bus.ErrNotFound) {
			return subjects
		}
		if err != nil {
			w.Fatal(err)
		}
		subjects = append(subjects, m.Subject)
		seq = m.Seq + 1
	}
}

func (w *world) intend(k journal.Key, slots ...uint32) {
	w.Helper()
	st, err := w.planner.journal.Load(w.Context(), k)
	if err != nil {
		w.Fatal(err)
	}
	e := w.planner.journal.Entry()
	e.Event = &candorv1.JournalEntry_Intent{Intent: &candorv1.Intent{Attempt: 1, Slots: journal.Runs(slots)}}
	if err := w.planner.journal.Fence(w.Context(), k, st, e); err != nil {
		w.Fatal(err)
	}
}

func (w *world) said(k journal.Key, r candorv1.Result, slots ...uint32) {
	w.Helper()
	st, err := w.planner.journal.Load(w.Context(), k)
	if err != nil {
		w.Fatal(err)
	}
	e := w.planner.journal.Entry()
	e.Event = &candorv1.JournalEntry_Outcomes{Outcomes: &candorv1.Outcomes{
		Attempt: 1, Groups: []*candorv1.OutcomeGroup{{Result: r, Slots: journal.Runs(slots)}},
	}}
	if err := w.planner.journal.Fact(w.Context(), k, st, e); err != nil {
		w.Fatal(err)
	}
}

func key(ch candorv1.Channel, page uint32) journal.Key {
	return journal.Key{Channel: ch, Incident: id, Wave: "w0", Page: page}
}

// tune changes the first wave of the playbook.
func (w *world) tune(change func(*playbook.Wave)) {
	w.Helper()
	set, err := w.planner.texts.Plan(w.inc)
	if err != nil {
		w.Fatal(err)
	}
	change(set.Playbook.Waves["w0"])
}

// restart is a planner that remembers nothing.
func (w *world) restart() { w.tender = newTender(w.planner) }

// look and sweep are those of the tender; it must not have failed.
func (w *world) look() {
	w.Helper()
	w.tender.look(w.Context())
	w.calm("look")
}

func (w *world) sweep() {
	w.Helper()
	w.tender.sweep(w.Context())
	w.calm("sweep")
}

func (w *world) calm(kind string) {
	w.Helper()
	if c := w.tender.charges[id]; c != nil && c.failed[kind].times > 0 {
		w.Fatalf("%s: %s", kind, c.failed[kind].said)
	}
}

// purge takes orders out of the queue behind the planner's back.
func (w *world) purge(subjects ...string) {
	w.Helper()
	for _, s := range subjects {
		if _, err := w.bus.Purge(w.Context(), topology.StreamOrders, s); err != nil {
			w.Fatal(err)
		}
	}
}

// audience lists the slots of a journal, and fails if one was opened or admitted twice.
func (w *world) audience(k journal.Key) (slots []uint32) {
	w.Helper()
	seen := map[uint32]bool{}
	_, err := w.bus.Read(w.Context(), topology.StreamJournal, k.Subject(), 1, func(m bus.Stored) error {
		e := &candorv1.JournalEntry{}
		if err := proto.Unmarshal(m.Data, e); err != nil {
			return err
		}
		var add []uint32
		switch ev := e.GetEvent().(type) {
		case *candorv1.JournalEntry_Opened:
			add = slotsOf(ev.Opened)
		case *candorv1.JournalEntry_Admitted:
			add = journal.Slots(ev.Admitted.GetAudience())
		}
		for _, n := range add {
			if seen[n] {
				w.Errorf("journal %s has slot %d twice", k, n)
			}
			seen[n] = true
			slots = append(slots, n)
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	slices.Sort(slots)
	return slots
}

// dying is a context that ends at some moment of the work with the broker.
type dying struct {
	context.Context
	left   *atomic.Int64
	cancel context.CancelFunc
}

func (d dying) Deadline() (time.Time, bool) {
	if d.left.Add(-1) == 0 {
		d.cancel()
	}
	return d.Context.Deadline()
}

// crashes runs work again and again, each time a little longer until it is cut off, and then once to the end.
func (w *world) crashes(work func(context.Context) error) {
	w.Helper()
	for n := int64(1); ; n++ {
		if !w.crash(n, work) {
			return
		}
	}
}

// crash runs work until its nth moment, and says whether it was cut off.
func (w *world) crash(n int64, work func(context.Context) error) bool {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	left := &atomic.Int64{}
	left.Store(n)
	err := work(dying{ctx, left, cancel})
	if ctx.Err() != nil {
		return true
	}
	if err != nil {
		w.Fatal(err)
	}
	return false
}
