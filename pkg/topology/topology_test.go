package topology_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/natsd"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sms   = candorv1.Channel_CHANNEL_SMS
	email = candorv1.Channel_CHANNEL_EMAIL
)

func TestApplyChangesNothingTwice(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	before, err := b.State(t.Context(), topology.StreamJournal)
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	if after, err := b.State(t.Context(), topology.StreamJournal); err != nil || after != before {
		t.Errorf("%+v, %v; want %+v", after, err, before)
	}
}

func TestWaitReturnsWhenSomebodyElseHasApplied(t *testing.T) {
	t.Parallel()
	_, b := bustest.Start(t, bustest.Options{Bare: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := topology.Wait(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want canceled", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- topology.Wait(t.Context(), b) }()
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestTheJournalIsNotMadeAnewWhenIncidentsExist(t *testing.T) {
	t.Parallel()
	_, b := bustest.Start(t, bustest.Options{Bare: true})
	breach := bus.StreamSpec{Name: topology.StreamBreach, Subjects: []string{topology.BreachAll}, Kept: true}
	if err := b.EnsureStream(t.Context(), breach); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(t.Context(), topology.StreamBreach, bus.Message{Subject: topology.Breach("inc")}); err != nil {
		t.Fatal(err)
	}
	if err := topology.Apply(t.Context(), b, topology.Options{}); !errors.Is(err, topology.ErrJournalGone) {
		t.Errorf("Apply = %v, want ErrJournalGone", err)
	}
	if _, err := b.State(t.Context(), topology.StreamJournal); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("JOURNAL was made: %v", err)
	}
}

func TestAJournalThatSomebodyWeakenedIsRefused(t *testing.T) {
	t.Parallel()
	_, b := bustest.Start(t, bustest.Options{Bare: true})
	// The server itself allows such a change to a stream that denies deletion and purges.
	weak := bus.StreamSpec{Name: topology.StreamJournal, Subjects: []string{"journal.*.*.*.*"}, WriteOnce: true}
	if err := b.EnsureStream(t.Context(), weak); err != nil {
		t.Fatal(err)
	}
	err := topology.Apply(t.Context(), b, topology.Options{})
	if err == nil {
		t.Fatal("Apply took it")
	}
	for _, want := range []string{"JOURNAL", "keeps only 1 messages per subject", "allows deleting", "allows purging"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestAJournalWithAHoleIsDamaged(t *testing.T) {
	t.Parallel()
	_, b := bustest.Start(t, bustest.Options{Bare: true})
	open := bus.StreamSpec{Name: topology.StreamJournal, Subjects: []string{"journal.*.*.*.*"}}
	if err := b.EnsureStream(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	for page := range uint32(3) {
		if _, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: topology.Journal(sms, "inc", "w0", page)}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.Purge(t.Context(), topology.StreamJournal, topology.Journal(sms, "inc", "w0", 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	// Somebody puts the protection back afterwards.
	if err := b.EnsureStream(t.Context(), bus.StreamSpec{Name: topology.StreamJournal, Subjects: open.Subjects, WriteOnce: true}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{topology.StreamBreach, topology.StreamReceipts, topology.StreamCalls, topology.StreamTeam} {
		if err := b.EnsureStream(t.Context(), bus.StreamSpec{Name: s, Subjects: []string{s}}); err != nil {
			t.Fatal(err)
		}
	}
	var damage *topology.DamageError
	if err := topology.Check(t.Context(), b); !errors.As(err, &damage) || !slices.Equal(damage.Sentences, []string{"Stream JOURNAL should hold entries 1 to 3 and holds 2, from 1 on."}) {
		t.Errorf("Check = %v, want the damage told", err)
	}
}

func TestValidIncident(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"ab", "2026-11-22-field", "declared", strings.Repeat("a", 40)} {
		if err := topology.ValidIncident(id); err != nil {
			t.Errorf("ValidIncident(%q) = %v", id, err)
		}
	}
	for _, id := range []string{"", "a", "-a", "A1", "a.b", "a b", "a*", "all", "declare", "incident", "ä1", strings.Repeat("a", 41), "ab\n"} {
		if topology.ValidIncident(id) == nil {
			t.Errorf("ValidIncident(%q) accepted it", id)
		}
	}
}

func TestSubjectsAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := topology.PageKey{
			Channel:  rapid.SampledFrom([]candorv1.Channel{sms, email, candorv1.Channel_CHANNEL_CALL}).Draw(t, "channel"),
			Incident: rapid.StringMatching(`[a-z0-9][a-z0-9-]{3,20}-`).Draw(t, "incident"),
			Wave:     rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`).Draw(t, "wave"),
			Page:     rapid.Uint32().Draw(t, "page"),
		}
		lane := rapid.SampledFrom(topology.Lanes[:]).Draw(t, "lane")
		if got, ok := topology.ParseJournal(topology.Journal(k.Channel, k.Incident, k.Wave, k.Page)); !ok || got != k {
			t.Errorf("journal %+v, %v", got, ok)
		}
		if got, ok := topology.ParseReceipt(topology.Receipt(k.Channel, k.Incident, k.Wave, k.Page)); !ok || got != k {
			t.Errorf("receipt %+v, %v", got, ok)
		}
		if got, l, ok := topology.ParseOrder(topology.Order(k.Channel, lane, k.Incident, k.Wave, k.Page)); !ok || got != k || l != lane {
			t.Errorf("order %+v, %v", got, ok)
		}
		if got, l, ok := topology.ParseLater(topology.Later(k.Channel, lane, k.Incident, k.Wave, k.Page)); !ok || got != k || l != lane {
			t.Errorf("later %+v, %v", got, ok)
		}
		if inc, page, ok := topology.ParsePage(topology.Page(k.Incident, k.Page)); !ok || inc != k.Incident || page != k.Page {
			t.Errorf("page %s %d, %v", inc, page, ok)
		}
		if inc, ok := topology.ParseBreach(topology.Breach(k.Incident)); !ok || inc != k.Incident {
			t.Errorf("breach %s, %v", inc, ok)
		}
		if inc, ok := topology.ParseCallEvents(topology.CallEvents(k.Incident)); !ok || inc != k.Incident {
			t.Errorf("call events %s, %v", inc, ok)
		}
		if fact, inc, ok := topology.ParseBreachFact(topology.BreachFact(topology.FactDeclared, k.Incident)); !ok || inc != k.Incident || fact != topology.FactDeclared {
			t.Errorf("fact %s %s, %v", fact, inc, ok)
		}
	})
}

func FuzzParseSubjects(f *testing.F) {
	for _, s := range []string{
		"journal.sms.inc.w0.1", "order.email.first.inc.w0.7", "later.sms.next.inc.w0.0", "roster.inc.3", "breach.incident.inc",
		"breach.declared.inc", "receipt.call.inc.w0.01", "journal.sms.inc.w0.4294967296", "order.sms..inc.w0.1", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if k, ok := topology.ParseJournal(s); ok && topology.Journal(k.Channel, k.Incident, k.Wave, k.Page) != s {
			t.Errorf("ParseJournal(%q) = %+v", s, k)
		}
		if i, ok := topology.ParseCallEvents(s); ok && topology.CallEvents(i) != s {
			t.Errorf("ParseCallEvents(%q) = %s", s, i)
		}
		if k, ok := topology.ParseReceipt(s); ok && topology.Receipt(k.Channel, k.Incident, k.Wave, k.Page) != s {
			t.Errorf("ParseReceipt(%q) = %+v", s, k)
		}
		if k, l, ok := topology.ParseOrder(s); ok && topology.Order(k.Channel, l, k.Incident, k.Wave, k.Page) != s {
			t.Errorf("ParseOrder(%q) = %+v", s, k)
		}
		if k, l, ok := topology.ParseLater(s); ok && topology.Later(k.Channel, l, k.Incident, k.Wave, k.Page) != s {
			t.Errorf("ParseLater(%q) = %+v", s, k)
		}
		if i, p, ok := topology.ParsePage(s); ok && topology.Page(i, p) != s {
			t.Errorf("ParsePage(%q) = %s %d", s, i, p)
		}
		if i, ok := topology.ParseBreach(s); ok && topology.Breach(i) != s {
			t.Errorf("ParseBreach(%q) = %s", s, i)
		}
		if fact, i, ok := topology.ParseBreachFact(s); ok && topology.BreachFact(fact, i) != s {
			t.Errorf("ParseBreachFact(%q) = %s %s", s, fact, i)
		}
	})
}

// world is a broker with a user for each target.
type world struct{ users map[string]*bus.Bus }

func newWorld(t *testing.T, opts bustest.Options) world {
	t.Helper()
	dir := t.TempDir()
	names := topology.Guests()
	for _, target := range topology.Targets() {
		names = append(names, target.Name)
	}
	var users []natsd.User
	for _, name := range names {
		public, seed, err := bus.NewUser()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".nk"), seed, 0o600); err != nil {
			t.Fatal(err)
		}
		publish, subscribe := topology.Permissions(name)
		users = append(users, natsd.User{Name: name, NKeyPublic: public, Publish: publish, Subscribe: subscribe})
	}
	opts.Listen, opts.Users = "127.0.0.1:0", users
	s, _ := bustest.Start(t, opts)
	w := world{users: make(map[string]*bus.Bus)}
	for _, name := range names {
		b, err := bus.Connect(t.Context(), bus.Config{URL: s.ClientURL(), Name: name, NKeySeedFile: filepath.Join(dir, name+".nk"), RequestTimeout: bustest.Patience}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(context.WithoutCancel(t.Context())) })
		w.users[name] = b
	}
	return w
}

func TestEverybodyMayDoTheirWorkAndNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Options{})
	appendTo := func(stream, subject string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Append(ctx, stream, bus.Message{Subject: subject})
			return err
		}
	}
	read := func(stream string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Read(ctx, stream, "", 1, func(bus.Stored) error { return nil })
			return err
		}
	}
	consume := func(lane string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return b.Consume(ctx, topology.StreamOrders, lane, bus.ConsumeOptions{}, func(context.Context, *bus.Delivery) error {
				cancel()
				return nil
			})
		}
	}
	limit := func(ctx context.Context, b *bus.Bus) error {
		kv, err := b.KV(ctx, topology.BucketLimits)
		if err == nil {
			_, err = kv.Put(ctx, "sender", []byte("1"))
		}
		if err == nil {
			_, _, err = kv.Get(ctx, "sender")
		}
		return err
	}
	purge := func(stream, filter string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Purge(ctx, stream, filter)
			return err
		}
	}
	now := func(ctx context.Context, b *bus.Bus) error {
		_, err := b.Now(ctx)
		return err
	}
	for _, tt := range []struct {
		name, user string
		do         func(context.Context, *bus.Bus) error
		may        bool
	}{
		{"sms writes its journals", "sms", appendTo(topology.StreamJournal, topology.Journal(sms, "inc", "w0", 1)), true},
		{"sms writes no others", "sms", appendTo(topology.StreamJournal, topology.Journal(email, "inc", "w0", 1)), false},
		{"sms makes no pages", "sms", appendTo(topology.StreamRoster, topology.Page("inc", 1)), false},
		{"sms declares nothing", "sms", appendTo(topology.StreamBreach, topology.Breach("inc")), false},
		{"sms orders nothing", "sms", appendTo(topology.StreamOrders, topology.Order(sms, topology.LaneFirst, "inc", "w0", 1)), false},
		{"sms reads journals", "sms", read(topology.StreamJournal), true},
		{"sms reads incidents", "sms", read(topology.StreamBreach), true},
		{"sms reads no tokens", "sms", read("KV_TOKENS"), false},
		{"planner orders calls", "planner", appendTo(topology.StreamOrders, topology.Order(candorv1.Channel_CHANNEL_CALL, topology.LaneFirst, "inc", "w0", 1)), true},
		{"planner orders", "planner", appendTo(topology.StreamOrders, topology.Order(sms, topology.LaneFirst, "inc", "w0", 1)), true},
		{"sms works off its lane", "sms", consume("sms-first"), true},
		{"email works off no other lane", "email", consume("sms-first"), false},
		{"sms paces itself", "sms", limit, true},
		{"ledger writes nothing", "ledger", appendTo(topology.StreamJournal, topology.Journal(sms, "inc", "w0", 1)), false},
		{"ledger reads receipts", "ledger", read(topology.StreamReceipts), true},
		{"ledger knows the time", "ledger", now, true},
		{"sandbox reads no pages", "sandbox", read(topology.StreamRoster), false},
		{"calls takes orders", "calls", consume("call-first"), true},
		{"calls takes no others", "calls", consume("sms-first"), false},
		{"calls writes its events", "calls", appendTo(topology.StreamCalls, topology.CallEvents("inc")), true},
		{"calls writes its journals", "calls", appendTo(topology.StreamJournal, topology.Journal(candorv1.Channel_CHANNEL_CALL, "inc", "w0", 1)), true},
		{"calls writes no others", "calls", appendTo(topology.StreamJournal, topology.Journal(sms, "inc", "w0", 2)), false},
		{"calls knows tokens", "calls", read("KV_TOKENS"), true},
		{"a dialer reads no events", topology.Dialer, read(topology.StreamCalls), false},
		{"a dialer writes no events", topology.Dialer, appendTo(topology.StreamCalls, topology.CallEvents("inc")), false},
		{"a dialer asks nobody else", topology.Dialer, func(ctx context.Context, b *bus.Bus) error {
			_, err := b.Request(ctx, topology.Ask("planner", "seal"), nil, nil)
			return err
		}, false},
		{"a declarer reads nothing", topology.Declarer, read(topology.StreamBreach), false},
		{"api orders nothing", "api", appendTo(topology.StreamOrders, topology.Order(sms, topology.LaneFirst, "inc", "w0", 3)), false},
		{"api puts nothing off", "api", appendTo(topology.StreamOrders, topology.Later(sms, topology.LaneFirst, "inc", "w0", 3)), false},
		{"api writes no journals", "api", appendTo(topology.StreamJournal, topology.Journal(sms, "inc", "w0", 3)), false},
		{"api keeps no timetable", "api", appendTo(topology.StreamTimetable, topology.Timetable("inc", "next")), false},
		{"api reads no orders", "api", read(topology.StreamOrders), false},
		{"api reads no timetable", "api", read(topology.StreamTimetable), false},
		{"api books no limits", "api", limit, false},
		{"api reads the calls", "api", read(topology.StreamCalls), true},
		{"api purges pages", "api", purge(topology.StreamRoster, topology.Pages("inc")), true},
		{"api purges no orders", "api", purge(topology.StreamOrders, "order.sms.first.inc.>"), false},
		{"api removes no consumer", "api", func(ctx context.Context, b *bus.Bus) error {
			return b.DropConsumer(ctx, topology.StreamOrders, "sms-first")
		}, false},
		{"planner purges orders", "planner", purge(topology.StreamOrders, "order.sms.first.inc.>"), true},
		{"planner purges no pages", "planner", purge(topology.StreamRoster, topology.Pages("inc")), false},
		{"planner reads no tokens", "planner", read("KV_TOKENS"), false},
		{"planner shapes nothing", "planner", func(ctx context.Context, b *bus.Bus) error {
			return b.EnsureStream(ctx, bus.StreamSpec{Name: "MINE", Subjects: []string{"mine"}})
		}, false},
		{"api makes no stream of its own", "api", func(ctx context.Context, b *bus.Bus) error {
			return b.EnsureStream(ctx, bus.StreamSpec{Name: "MINE", Subjects: []string{"mine"}})
		}, false},
		{"api sets up the broker", "api", func(ctx context.Context, b *bus.Bus) error { return topology.Apply(ctx, b, topology.Options{}) }, true},
	} {
		// One after the other: the lane has one order.
		patience := 3 * time.Minute
		if !tt.may {
			patience = 300 * time.Millisecond // the server does not answer what it does not allow
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := tt.do(ctx, w.users[tt.user])
		cancel()
		timedOut := ctx.Err() == context.DeadlineExceeded
		if may := err == nil && !timedOut; may != tt.may {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestTheApiSetsUpAnEmptyBroker(t *testing.T) {
	t.Parallel()
	api := newWorld(t, bustest.Options{Bare: true}).users["api"]
	for range 2 {
		if err := topology.Apply(t.Context(), api, topology.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	// Another version may shape a stream anew.
	if err := api.EnsureStream(t.Context(), bus.StreamSpec{Name: topology.StreamRoster, Subjects: []string{"roster.*.*"}, WriteOnce: true, Direct: true, Description: "newer"}); err != nil {
		t.Error(err)
	}
}

func TestADeclarerMayDeclare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- w.users["api"].Serve(ctx, topology.Declare, "api", 1, func(context.Context, bus.Request) (bus.Reply, error) {
			return bus.Reply{Data: []byte("drafted")}, nil
		})
	}()
	for {
		reply, err := w.users[topology.Declarer].Request(ctx, topology.Declare, []byte("{}"), nil)
		if errors.Is(err, bus.ErrUnavailable) {
			continue // not served yet
		}
		if err != nil || string(reply.Data) != "drafted" {
			t.Errorf("Request = %s, %v", reply.Data, err)
		}
		break
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestADialerMayUseTheCallServiceAndCallsMayOfferIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- w.users["calls"].ServeService(ctx, bus.Service{Name: topology.CallService, Version: "1.0.0", Queue: "calls", InHand: 1},
			[]bus.Endpoint{{Name: "claim", Subject: topology.CallMethod("claim"), Handle: func(context.Context, bus.Request) (bus.Reply, error) {
				return bus.Reply{Data: []byte("nobody")}, nil
			}}})
	}()
	for {
		reply, err := w.users[topology.Dialer].Request(ctx, topology.CallMethod("claim"), nil, nil)
		if errors.Is(err, bus.ErrUnavailable) {
			continue // not served yet
		}
		if err != nil || string(reply.Data) != "nobody" {
			t.Errorf("Request = %s, %v", reply.Data, err)
		}
		break
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestAProcessOfSeveralTargetsMayDoWhatAnyOfThemMay(t *testing.T) {
	t.Parallel()
	publish, subscribe := topology.Permissions(topology.Several)
	for _, target := range topology.Targets() {
		p, s := topology.Permissions(target.Name)
		for _, subject := range p {
			if !slices.Contains(publish, subject) {
				t.Errorf("%s may publish %s, a process of several may not", target.Name, subject)
			}
		}
		for _, subject := range s {
			if own := "_INBOX." + target.Name + ".>"; slices.Contains(subscribe, subject) == (subject == own) {
				t.Errorf("%s subscribes to %s, a process of several to %v", target.Name, subject, subscribe)
			}
		}
	}
	if !slices.Contains(subscribe, "_INBOX.several.>") {
		t.Errorf("a process of several hears %v, and no answers", subscribe)
	}
}

func TestMarkdownNamesEverything(t *testing.T) {
	t.Parallel()
	md := topology.Markdown()
	for _, want := range []string{
		"| JOURNAL |", "| LIMITS | memory |", "| sms-first | ORDERS | `order.sms.first.>` |", "| planner |", "write-once", "`breach.*.*`",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("the table does not show %q", want)
		}
	}
	if p, s := topology.Permissions("nobody"); p != nil || s != nil {
		t.Errorf("nobody may publish %v and subscribe to %v", p, s)
	}
}
