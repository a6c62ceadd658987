package planner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"candor/pkg/audience"
	"candor/pkg/bus"
	"candor/pkg/incident"
	"candor/pkg/journal"
	"candor/pkg/playbook"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	accepted  = byte(candorv1.NoticeState_NOTICE_STATE_ACCEPTED)
	delivered = byte(candorv1.NoticeState_NOTICE_STATE_DELIVERED)
	failed    = byte(candorv1.NoticeState_NOTICE_STATE_FAILED)
)

// newTold has a first notice that is planned, a prepared wave called standing and one called closing.
func newTold(t *testing.T, tiers ...int) *world {
	t.Helper()
	w := newWorld(t, nil, tiers...)
	w.withLedger()
	w.prepare(nil)
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	return w
}

// prepare adds the prepared waves, with the first notice's words.
func (w *world) prepare(change func(*playbook.Wave)) {
	w.Helper()
	set, err := w.planner.texts.Plan(w.inc)
	if err != nil {
		w.Fatal(err)
	}
	standing, last := *set.Playbook.Waves["w0"], *set.Playbook.Waves["w0"]
	if change != nil {
		change(&standing)
	}
	set.Playbook.Waves["standing"], set.Playbook.Waves["closing"] = &standing, &last
}

// follow decides that the follow-up is due, and returns its wave.
func (w *world) follow() (wave string) {
	w.Helper()
	wave = w.reload().NextWave()
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: "weekly", DueAt: timestamppb.New(w.now), Decision: candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND,
		Wave: wave, Base: "standing", Reason: "prepared",
	}}})
	return wave
}

// approved drafts an addition and approves it.
func (w *world) approved(a *candorv1.Addition) {
	w.Helper()
	hash, err := incident.HashAddition(w.inc.PlanHash(), a)
	if err != nil {
		w.Fatal(err)
	}
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionDrafted{AdditionDrafted: &candorv1.AdditionDrafted{Addition: a, Hash: hash}}})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_AdditionApproved{AdditionApproved: &candorv1.AdditionApproved{Wave: a.GetWave(), Hash: hash}}})
}

// update approves an update with the words of the prepared wave, and decides that it goes out.
func (w *world) update(kind, who, corrects string) (wave string) {
	w.Helper()
	wave = w.reload().NextWave()
	w.approved(&candorv1.Addition{Wave: wave, Kind: kind, Base: "standing", Audience: who, Corrects: corrects})
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_FollowUpDecided{FollowUpDecided: &candorv1.FollowUpDecided{
		Name: wave, DueAt: timestamppb.New(w.now), Decision: candorv1.FollowUpDecision_FOLLOW_UP_DECISION_SEND, Wave: wave, Reason: "news",
	}}})
	return wave
}

// addRows approves rows on pages of their own.
func (w *world) addRows(wave string, first uint32, tiers ...int) {
	w.Helper()
	w.approved(&candorv1.Addition{
		Wave: wave, Kind: incident.KindRoster, Base: "w0", Channels: []candorv1.Channel{sms, email}, Manifest: w.manifest("b", first, tiers...),
	})
}

func (w *world) updated() {
	w.Helper()
	if err := w.planner.updated(w.Context(), w.reload()); err != nil {
		w.Fatal(err)
	}
}

// says makes the ledger say where customers stand: by page and channel a byte a slot.
func (w *world) says(pages map[uint32]map[candorv1.Channel][]byte) {
	w.ledger.say(func(l *ledgerDouble) {
		l.people = func(*candorv1.PeopleRequest) *candorv1.PeopleResponse { return answer(pages) }
	})
}

func answer(pages map[uint32]map[candorv1.Channel][]byte) *candorv1.PeopleResponse {
	res := &candorv1.PeopleResponse{}
	for _, page := range slices.Sorted(maps.Keys(pages)) {
		p := &candorv1.PagePeople{Page: page}
		for ch, states := range pages[page] {
			p.Channels = append(p.Channels, &candorv1.ChannelStates{Channel: ch, States: states})
		}
		res.Pages = append(res.Pages, p)
	}
	return res
}

// of is the wave's journal of a page.
func of(ch candorv1.Channel, wave string, page uint32) journal.Key {
	return journal.Key{Channel: ch, Incident: id, Wave: wave, Page: page}
}

// has fails unless the wave's journals hold exactly these slots, on the channels that it has, and no others.
func (w *world) has(wave string, want map[uint32][]uint32, channels ...candorv1.Channel) {
	w.Helper()
	there, err := w.bus.CountSubjects(w.Context(), topology.StreamJournal, journalsOf(id, wave))
	if err != nil {
		w.Fatal(err)
	}
	if len(there) != len(want)*len(channels) {
		w.Errorf("wave %s has the journals %v, want %d pages on %d channels", wave, slices.Sorted(maps.Keys(there)), len(want), len(channels))
	}
	for page, slots := range want {
		for _, ch := range channels {
			if got := w.audience(of(ch, wave, page)); !slices.Equal(got, slots) {
				w.Errorf("%s: %v, want %v", of(ch, wave, page), got, slots)
			}
		}
	}
}

func TestAFollowUpIsForThoseWhoWereTold(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1, 1, 1)
	w.says(map[uint32]map[candorv1.Channel][]byte{
		0: {sms: {accepted, delivered, failed, 0}, email: {failed, failed, failed, failed}},
		2: {email: {0, 0, 0, delivered}, sms: {failed}},
	})
	// The ledger alone says who was told: no page is opened.
	for page := range uint32(3) {
		if _, err := w.bus.Purge(t.Context(), topology.StreamRoster, topology.Page(id, page)); err != nil {
			t.Fatal(err)
		}
	}
	wave := w.follow()
	w.crashes(func(ctx context.Context) error {
		inc, err := w.planner.log.Load(ctx, id)
		if err != nil {
			return err
		}
		return w.planner.updated(ctx, inc)
	})
	w.has(wave, map[uint32][]uint32{0: {0, 1}, 2: {3}}, sms, email)
	planned := w.reload().Waves[wave]
	want := &candorv1.WavePlanned{Wave: wave, Orders: 4, Notices: 6, Channels: []*candorv1.PlannedChannel{
		{Channel: sms, Pages: 2, Notices: 3}, {Channel: email, Pages: 2, Notices: 3},
	}}
	if !proto.Equal(planned, want) {
		t.Errorf("planned = %v, want %v", planned, want)
	}
	for _, s := range w.queue("order") {
		if k, lane, ok := topology.ParseOrder(s); ok && k.Wave == wave && lane != topology.LaneNext {
			t.Errorf("order %s stands before first notices", s)
		}
	}
	if st := w.states()[of(sms, wave, 0)]; !bytes.Equal(st.Opened.GetPlanHash(), w.inc.PlanHash()) {
		t.Errorf("opened for %x, want the plan's hash", st.Opened.GetPlanHash())
	}
	seq := w.inc.Seq
	w.says(nil)
	if w.updated(); w.reload().Seq != seq {
		t.Error("planned again")
	}
}

func TestAFollowUpKeepsTheAudienceOfItsWave(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.prepare(func(wave *playbook.Wave) {
		var err error
		if wave.Audience, err = audience.Parse("country = MX or not sms = failed"); err != nil {
			t.Fatal(err)
		}
	})
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {email: {accepted, accepted, accepted, 0}, sms: {failed, failed, 0, 0}}})
	wave := w.follow() // slot 0 lives in Mexico
	w.updated()
	w.has(wave, map[uint32][]uint32{0: {0, 2}}, sms, email)
}

func TestAWaveForNobodyIsPlanned(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	before := len(w.queue("order"))
	wave := w.follow()
	w.updated()
	w.has(wave, nil)
	if planned := w.reload().Waves[wave]; planned == nil || planned.GetOrders() != 0 || len(w.queue("order")) != before {
		t.Errorf("planned = %v", planned)
	}
}

func TestAnUpdateIsForWhomeverItNames(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.add("w0-r1")
	w.updated()
	var asked []string
	w.ledger.say(func(l *ledgerDouble) {
		l.people = func(q *candorv1.PeopleRequest) *candorv1.PeopleResponse {
			asked = q.GetWaves()
			return answer(map[uint32]map[candorv1.Channel][]byte{0: {sms: {accepted, accepted, failed, 0}}})
		}
	})
	for _, tt := range []struct {
		name, kind, who, corrects string
		waves                     []string
		want                      map[uint32][]uint32
	}{
		{"those who were told", incident.KindUpdate, "told", "", nil, map[uint32][]uint32{0: {0, 1}}},
		{"those who were not", incident.KindUpdate, "not told", "", nil, map[uint32][]uint32{0: {2, 3}}},
		{"some of all, told or not", incident.KindUpdate, "country = MX", "", []string{"not asked"}, map[uint32][]uint32{0: {0}}},
		{"everyone", incident.KindUpdate, "everyone", "", []string{"not asked"}, map[uint32][]uint32{0: {0, 1, 2, 3}}},
		{"a correction, for whoever got the words", incident.KindCorrection, "told", "w0", []string{"w0", "w0-r1"}, map[uint32][]uint32{0: {0, 1}}},
	} {
		asked = []string{"not asked"}
		wave := w.update(tt.kind, tt.who, tt.corrects)
		w.updated()
		w.has(wave, tt.want, sms, email)
		if !slices.Equal(asked, tt.waves) {
			t.Errorf("%s: asked about the waves %v, want %v", tt.name, asked, tt.waves)
		}
		if st := w.states()[of(sms, wave, 0)]; !bytes.Equal(st.Opened.GetPlanHash(), w.inc.Additions[wave].GetHash()) {
			t.Errorf("%s: opened for %x, want the hash of what was approved", tt.name, st.Opened.GetPlanHash())
		}
	}
	wave := w.update(incident.KindUpdate, "told and", "")
	if err := w.planner.updated(t.Context(), w.reload()); err == nil || !strings.Contains(err.Error(), wave) {
		t.Errorf("an audience that cannot be read: %v", err)
	}
}

func TestAddedRowsGetTheirFirstNoticeAndJoinTheFollowUps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 1, 1)
	w.tune(func(wave *playbook.Wave) {
		wave.Channels.Email.After, wave.Channels.Email.Unless = 24*time.Hour, "accepted"
	})
	w.withLedger()
	w.prepare(func(wave *playbook.Wave) {
		mail := *wave.Channels.Email
		mail.After, wave.Channels.Email = 0, &mail
	})
	w.approve()
	if err := w.declared(); err != nil {
		t.Fatal(err)
	}
	w.addRows("w0-a1", 2, 1, 2)
	w.updated()
	everybody := []uint32{0, 1, 2, 3}
	w.has("w0-a1", map[uint32][]uint32{2: everybody, 3: everybody}, sms)
	if s := topology.Order(sms, topology.LaneFirst, id, "w0-a1", 2); !slices.Contains(w.queue("order"), s) {
		t.Errorf("no order %s: they have the right of way, too", s)
	}
	w.ledger.say(func(l *ledgerDouble) {
		l.moveOn = func(q *candorv1.MoveOnRequest) *candorv1.MoveOnResponse {
			if q.GetWave() != "w0-a1" || len(w.audience(of(email, "w0-a1", 3))) > 0 {
				return &candorv1.MoveOnResponse{}
			}
			return &candorv1.MoveOnResponse{Pages: []*candorv1.PageSlots{{Page: 3, Slots: []uint32{1, 1}}}}
		}
	})
	w.sweep()
	if got := w.audience(of(email, "w0-a1", 3)); !slices.Equal(got, []uint32{1}) {
		t.Errorf("moved on to e-mail: %v, want 1", got)
	}
	w.says(map[uint32]map[candorv1.Channel][]byte{1: {sms: {accepted}}, 3: {sms: {0, accepted}}})
	wave := w.follow()
	w.updated()
	w.has(wave, map[uint32][]uint32{1: {0}, 3: {1}}, sms, email)
	w.sweep() // what was planned does not look damaged because more pages are on file now
	if inc := w.reload(); len(inc.Paused) > 0 {
		t.Errorf("paused: %s", inc.Reason)
	}
}

// Whatever the ledger answers from one moment to the next, and wherever a planner dies: nobody is in a journal twice, and
// everybody of a page is on all its channels, as one of the answers named them.
func TestAFollowUpIsFrozenPageByPage(t *testing.T) {
	t.Parallel()
	const pages, most = 2, 25 // each check leaves a wave behind, which the next one has to read
	w := newTold(t, make([]int, pages)...)
	rapid.Check(t, func(r *rapid.T) {
		if w.Failed() || len(w.inc.Decisions) == most {
			return
		}
		draws := rapid.SliceOfN(rapid.SliceOfN(rapid.Uint8Range(0, 15), pages, pages), 1, 4).Draw(r, "answers")
		dies := rapid.SliceOfN(rapid.Int64Range(1, 30), len(draws)-1, len(draws)-1).Draw(r, "dies at")
		wave := w.follow()
		for i, told := range draws {
			says := map[uint32]map[candorv1.Channel][]byte{}
			for page, bits := range told {
				states := make([]byte, 4)
				for n := range states {
					if bits>>n&1 == 1 {
						states[n] = accepted
					}
				}
				says[uint32(page)] = map[candorv1.Channel][]byte{sms: states}
			}
			w.says(says)
			if i < len(dies) {
				w.crash(dies[i], func(ctx context.Context) error { return w.planner.begin(ctx, w.inc, wave) })
				w.reload()
				continue
			}
			w.updated()
		}
		if w.reload().Waves[wave] == nil {
			r.Fatal("not planned")
		}
		for page := range uint32(pages) {
			got := w.audience(of(sms, wave, page))
			if other := w.audience(of(email, wave, page)); !slices.Equal(got, other) {
				r.Fatalf("page %d: %v by text message, %v by e-mail", page, got, other)
			}
			bits := uint8(0)
			for _, n := range got {
				bits |= 1 << n
			}
			if !slices.ContainsFunc(draws, func(told []uint8) bool { return told[page] == bits }) {
				r.Fatalf("page %d: %v, which no answer named", page, got)
			}
		}
	})
}

// Two planners that were told different things agree on each page.
func TestTwoPlannersOfAFollowUpAgree(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1, 1, 1, 1)
	calls := byte(0)
	w.ledger.say(func(l *ledgerDouble) {
		l.people = func(*candorv1.PeopleRequest) *candorv1.PeopleResponse {
			calls++
			pages := map[uint32]map[candorv1.Channel][]byte{}
			for page := range uint32(4) {
				pages[page] = map[candorv1.Channel][]byte{sms: {accepted, calls % 2 * accepted, (calls + 1) % 2 * accepted}}
			}
			return answer(pages)
		}
	})
	for range 5 {
		wave := w.follow()
		errs := make(chan error)
		inc := w.inc
		for range 2 {
			go func() { errs <- w.planner.begin(t.Context(), inc, wave) }()
		}
		if err := errors.Join(<-errs, <-errs); err != nil {
			t.Fatal(err)
		}
		for page := range uint32(4) {
			if a, b := w.audience(of(sms, wave, page)), w.audience(of(email, wave, page)); len(a) != 2 || !slices.Equal(a, b) {
				t.Errorf("wave %s, page %d: %v by text message, %v by e-mail", wave, page, a, b)
			}
		}
	}
}

// A page that is open for others than the ledger names now stops nobody; one that is open for another text does.
func TestAPageThatAnotherPlannerOpenedKeepsItsPeople(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {sms: {accepted, accepted}}})
	wave := w.follow()
	jobs, err := w.planner.jobs(t.Context(), w.inc, wave)
	if err != nil {
		t.Fatal(err)
	}
	other := jobs[0]
	other.opened = proto.CloneOf(other.opened)
	other.opened.Audience = []uint32{3, 1}
	if err := w.planner.open(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := w.planner.openAll(t.Context(), w.inc, jobs); !errors.Is(err, errElsewhere) {
		t.Errorf("went on behind a page that was opened for others: %v", err)
	}
	w.updated()
	w.has(wave, map[uint32][]uint32{0: {3}}, sms, email)

	wave = w.follow()
	if jobs, err = w.planner.jobs(t.Context(), w.inc, wave); err != nil {
		t.Fatal(err)
	}
	other = jobs[0]
	other.opened = proto.CloneOf(other.opened)
	other.opened.TextHash[0]++
	if err := w.planner.open(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := w.planner.updated(t.Context(), w.reload()); err == nil || !strings.Contains(err.Error(), "another plan") {
		t.Errorf("opened for another text: %v", err)
	}
}

// Whoever decides may crash before it tells the planner.
func TestAWaveOfWhichNobodyToldIsPlannedAtTheSecondLook(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {sms: {accepted}}})
	wave := w.follow()
	w.sweep()
	if w.reload().Waves[wave] != nil {
		t.Error("planned at the first look, while another one may be at it")
	}
	w.sweep()
	if w.reload().Waves[wave] == nil {
		t.Fatal("not planned")
	}
	// Its orders come back like all others.
	order := topology.Order(email, topology.LaneNext, id, wave, 0)
	w.purge(order)
	w.sweep()
	w.sweep()
	if !slices.Contains(w.queue("order"), order) {
		t.Errorf("no order %s", order)
	}
	// And a journal of its own that is gone is missed.
	there := map[string]uint64{of(sms, wave, 0).Subject(): 1, key(email, 0).Subject(): 1}
	want := fmt.Sprintf("1 of the 1 journals of wave %s, email are gone", wave)
	if got := fewer(w.inc, wave, there); len(got) != 1 || got[0] != want {
		t.Errorf("missing: %q, want %q", got, want)
	}
}

func TestAbortSealsWhatWasDecidedAndNotPlanned(t *testing.T) {
	t.Parallel()
	w := newTold(t, 1)
	w.addRows("w0-a1", 1, 1)
	planned := w.follow()
	w.says(map[uint32]map[candorv1.Channel][]byte{0: {sms: {accepted}}})
	w.updated()
	late := w.follow()
	w.event(&candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "mistake"}}})
	res, err := w.planner.askSeal(t.Context(), &candorv1.SealRequest{Incident: id})
	if err != nil {
		t.Fatal(err)
	}
	// On two channels each: the page of w0, that of w0-a1, and both pages of both follow-ups.
	if res.GetJournals() != 2*(1+1+2+2) {
		t.Errorf("sealed %d, want 12", res.GetJournals())
	}
	for _, wave := range []string{"w0", "w0-a1", planned, late} {
		there, err := w.bus.CountSubjects(t.Context(), topology.StreamJournal, journalsOf(id, wave))
		if err != nil || len(there) == 0 {
			t.Errorf("wave %s has no seal: %v", wave, err)
		}
	}
	for k, st := range w.states() {
		if st.SealedFor != sealAborted {
			t.Errorf("journal %s is sealed for %q", k, st.SealedFor)
		}
	}
	if _, err := w.bus.Last(t.Context(), topology.StreamJournal, of(sms, late, 1).Subject()); errors.Is(err, bus.ErrNotFound) {
		t.Error("a page of the unplanned follow-up could still be opened")
	}
}
