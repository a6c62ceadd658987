package callqueue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// several is a world of customers of New York with a number each, queued one after the other with these priorities.
func several(t *testing.T, now time.Time, priorities ...uint32) *world {
	rules := playbook.DefaultCalls()
	w := newWorld(t, now, map[string]*playbook.Calls{inc: &rules})
	for i, priority := range priorities {
		slot := uint32(i)
		w.facts[Place{inc, 1, slot}] = inNewYork(t, 100+uint64(i))
		w.queue(inc, "w0", 1, priority, slot)
	}
	return w
}

func TestTheMostUrgentFirstAndATenthForTheOthers(t *testing.T) {
	t.Parallel()
	var priorities []uint32
	for i := range uint32(40) {
		priorities = append(priorities, 1+i%4)
	}
	w := several(t, at(t, "Mon 10:00"), priorities...)
	var got []uint32
	for range priorities {
		got = append(got, priorities[w.one().Place.Slot])
	}
	want := []uint32{
		1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 1, 2, 2, 2, 2, 2, 2, 2, 2, 4,
		2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4,
	}
	if !slices.Equal(got, want) {
		t.Errorf("classes in order:\n%v, want\n%v", got, want)
	}
}

func TestHoursThatEndFirstThenTheOldest(t *testing.T) {
	t.Parallel()
	w := several(t, at(t, "Mon 13:00"), 3, 3)
	denver := inNewYork(t, 200)
	denver.Zones[0][0] = zone(t, "America/Denver")
	w.facts[Place{inc, 1, 5}] = denver
	w.facts[Place{inc, 1, 6}] = inNewYork(t, 201)
	w.queue(inc, "w0", 1, 3, 5)
	w.now = w.now.Add(time.Minute)
	w.queue(inc, "w0", 1, 3, 6)
	var got []uint32
	for range 4 {
		g := w.one()
		got = append(got, g.Place.Slot)
		if g.Place.Slot == 5 && !g.WindowEndsAt.Equal(at(t, "Mon 21:50")) {
			t.Errorf("the call to Denver must begin by %v", g.WindowEndsAt)
		}
	}
	if want := []uint32{0, 1, 6, 5}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestWhoGetsATask(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		claim Claim
		gets  bool
	}{
		{"speaks Spanish and may", Claim{Languages: []string{"es"}, Skills: []string{"spanish", "angry"}}, true},
		{"speaks all", Claim{Skills: []string{"spanish"}}, true},
		{"speaks this variant", Claim{Languages: []string{"en", "ES-mx"}, Skills: []string{"spanish"}}, true},
		{"speaks another variant", Claim{Languages: []string{"es-AR"}, Skills: []string{"spanish"}}, false},
		{"speaks English", Claim{Languages: []string{"en"}, Skills: []string{"spanish"}}, false},
		{"has not the skill", Claim{Languages: []string{"es"}}, false},
		{"works for the incident", Claim{Incidents: []string{inc, "b-2"}, Skills: []string{"spanish"}}, true},
		{"works for another", Claim{Incidents: []string{"b-2"}, Skills: []string{"spanish"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := inNewYork(t, 7)
			f.Language = "es-MX"
			w := oneTask(t, at(t, "Mon 10:00"), func(c *playbook.Calls) { c.Skills = map[string][]string{"es": {"spanish"}} }, f)
			if got := len(w.claim(tt.claim)) == 1; got != tt.gets {
				t.Errorf("gets it: %v, want %v", got, tt.gets)
			}
		})
	}
}

func TestACallBackAtTheCustomersTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, missed string
		first, then  string // from when on it may be claimed, and if that is missed
	}{
		{"missed, the next hours", playbook.MissedNextSlot, "Mon 22:45", "Tue 09:00"},
		{"missed, the next day, within its hours", playbook.MissedNextDay, "Mon 22:45", "Tue 09:00"},
		{"missed, no more", playbook.MissedClose, "Mon 22:45", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := oneTask(t, at(t, "Mon 19:00"), func(c *playbook.Calls) { c.CallBack.Missed = tt.missed }, inNewYork(t, 7))
			w.mustComplete(w.one().Lease, Report{Disposition: "no_answer"})
			if err := w.ask(theOne, at(t, "Mon 23:00"), "r1"); err != nil {
				t.Fatal(err)
			}
			before := len(w.log)
			if err := w.ask(theOne, at(t, "Mon 23:30"), "r1"); err != nil || len(w.log) != before {
				t.Errorf("the same request again: %v, %d events", err, len(w.log)-before)
			}
			w.now = at(t, tt.first).Add(-time.Second)
			w.none()
			w.now = at(t, "Mon 23:15")
			// At night, four hours after a call that nobody answered at this time of day: it is the customer's own.
			e, err := w.q.Explain(w.now, theOne)
			if err != nil || !e.Callable {
				t.Errorf("%v %q", err, e.Words())
			}
			w.now = at(t, "Mon 23:16")
			w.none()
			w.tick()
			if tt.then == "" {
				if got := w.state(); got != "expired" {
					t.Errorf("is %s", got)
				}
				return
			}
			w.now = at(t, tt.then).Add(-time.Second)
			w.none()
			if next, ok := w.q.NextAt(w.now); !ok || !next.Equal(at(t, tt.then)) {
				t.Errorf("next at %v", next)
			}
			w.now = at(t, tt.then)
			w.one()
		})
	}
}

// A customer who says in ten minutes is not called at once.
func TestNobodyIsCalledBackBeforeTheyMeant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ wish, first string }{
		{"Mon 10:10", "Mon 10:10"},
		{"Mon 10:15", "Mon 10:15"},
		{"Mon 10:20", "Mon 10:15"},
		{"Mon 10:30", "Mon 10:15"},
		{"Mon 11:00", "Mon 10:45"},
	} {
		for _, by := range []string{"the agent", "the customer"} {
			t.Run(tt.wish+" by "+by, func(t *testing.T) {
				t.Parallel()
				w := oneTask(t, at(t, "Mon 09:58"), nil, inNewYork(t, 7))
				if by == "the customer" {
					w.now = at(t, "Mon 10:00")
					if err := w.ask(theOne, at(t, tt.wish), "r1"); err != nil {
						t.Fatal(err)
					}
				} else {
					g := w.one()
					w.now = at(t, "Mon 10:00")
					answer := w.mustComplete(g.Lease, Report{Disposition: "callback", CallBackAt: at(t, tt.wish)})
					if answer.State != candorv1.CallState_CALL_STATE_WAITING || !answer.NextAt.Equal(at(t, tt.first)) {
						t.Errorf("answer %+v", answer)
					}
				}
				w.now = at(t, tt.first).Add(-time.Second)
				w.none()
				w.now = at(t, tt.first)
				w.one()
			})
		}
	}
}

// The day after a missed time is nobody's wish: the hours bind.
func TestAMissedWishMovesIntoTheHours(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ now, wish, then string }{
		{"Mon 10:00", "Mon 15:00", "Tue 14:45"},
		{"Mon 10:00", "Tue 03:00", "Wed 09:00"},
		{"Mon 10:00", "Mon 20:30", "Tue 09:00"},
		{"Thu 10:00", "Fri 03:00", "Sat 10:00"},
		{"Thu 10:00", "Sat 03:00", "Mon 09:00"}, // not on Sunday
	} {
		t.Run(tt.wish, func(t *testing.T) {
			t.Parallel()
			w := oneTask(t, at(t, tt.now), func(c *playbook.Calls) { c.CallBack.Missed = playbook.MissedNextDay }, inNewYork(t, 7))
			if err := w.ask(theOne, at(t, tt.wish), "r1"); err != nil {
				t.Fatal(err)
			}
			then := at(t, tt.then)
			if then.Before(w.now) {
				then = then.AddDate(0, 0, 7)
			}
			for w.now = at(t, tt.wish).Add(15*time.Minute + time.Second); w.now.Before(then); w.now = w.now.Add(7 * time.Minute) {
				w.none()
			}
			w.now = then
			if g := w.one(); !g.CallBackAt.IsZero() || g.WindowEndsAt.Sub(w.now) < time.Hour {
				t.Errorf("at %v, until %v: these are the hours, and no time of the customer's", g.CallBackAt, g.WindowEndsAt)
			}
		})
	}
}

func TestACustomerWhoAsksWhileTheyAreCalled(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	l := w.one().Lease
	if err := w.ask(theOne, at(t, "Mon 21:00"), "r1"); err != nil {
		t.Fatal(err)
	}
	if answer := w.mustComplete(l, Report{Disposition: "no_answer"}); !answer.NextAt.Equal(at(t, "Mon 20:45")) {
		t.Errorf("next at %v", answer.NextAt)
	}
	w.now = at(t, "Mon 19:00")
	w.none()
	w.now = at(t, "Mon 21:00")
	if g := w.one(); !g.CallBackAt.Equal(w.now) || !g.WindowEndsAt.Equal(at(t, "Mon 21:15")) {
		t.Errorf("granted %+v", g)
	}
}

func TestACallBackNeverBreaksACapOrACloseLine(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), func(c *playbook.Calls) { c.Caps.NumberPerDay = 1 }, inNewYork(t, 7))
	w.mustComplete(w.one().Lease, Report{Disposition: "notified_callback", CallBackAt: at(t, "Mon 12:00")})
	w.now = at(t, "Mon 12:00")
	w.none()
	w.q.Suppress(w.now, 7)
	w.tick()
	if got := w.state(); got != "done" { // told, if not called again
		t.Errorf("is %s", got)
	}
}

func TestAWordNotToCallClosesTheNumberForAll(t *testing.T) {
	t.Parallel()
	rules := playbook.DefaultCalls()
	w := newWorld(t, at(t, "Mon 10:00"), map[string]*playbook.Calls{inc: &rules, "b-2": &rules})
	w.facts[Place{inc, 1, 0}] = inNewYork(t, 7, 8)
	w.facts[Place{"b-2", 4, 9}] = inNewYork(t, 7)
	w.facts[Place{"b-2", 4, 10}] = inNewYork(t, 7, 9)
	w.queue("b-2", "w0", 4, 3, 9, 10)
	w.queue(inc, "w0", 1, 2, 0)
	w.mustComplete(w.one().Lease, Report{Disposition: "do_not_call"})
	w.tick()
	for _, tt := range []struct {
		at   Place
		want string
	}{{Place{inc, 1, 0}, "suppressed do_not_call"}, {Place{"b-2", 4, 9}, "suppressed do_not_call"}} {
		if got := w.q.SettledAt(tt.at); len(got) != 1 || candorv1.Word(got[0].State)+" "+got[0].Reason != tt.want {
			t.Errorf("%v: %+v, want %s", tt.at, got, tt.want)
		}
	}
	if g := w.one(); g.Place.Slot != 10 || g.Phone != 1 {
		t.Errorf("claimed %+v", g)
	}
}

func TestOneNumberOfTwoCustomers(t *testing.T) {
	t.Parallel()
	rules := playbook.DefaultCalls()
	w := newWorld(t, at(t, "Mon 10:00"), map[string]*playbook.Calls{inc: &rules, "b-2": &rules})
	w.facts[Place{inc, 1, 0}], w.facts[Place{"b-2", 1, 0}] = inNewYork(t, 7), inNewYork(t, 7)
	w.queue(inc, "w0", 1, 3, 0)
	w.queue("b-2", "w0", 1, 3, 0)
	g := w.one()
	w.none() // one line, one call
	w.mustComplete(g.Lease, Report{Disposition: "notified"})
	w.now = at(t, "Mon 13:59")
	w.none()
	w.now = at(t, "Mon 14:00")
	w.one()
}

func TestHoursSoNarrowThatTheTimeOfDayCannotChange(t *testing.T) {
	t.Parallel()
	f := inNewYork(t, 7)
	f.Zones[0] = append(f.Zones[0], zone(t, "America/Los_Angeles"))
	f.Uncertain = []bool{true} // 17:00 to 20:00 in New York
	w := oneTask(t, at(t, "Mon 18:30"), nil, f)
	answer := w.mustComplete(w.one().Lease, Report{Disposition: "no_answer"})
	if want := at(t, "Tue 17:00"); !answer.NextAt.Equal(want) {
		t.Errorf("next at %v, want %v", answer.NextAt, want)
	}
	w.now = at(t, "Tue 17:00")
	w.one()
}

func TestHoursThatNeverMeet(t *testing.T) {
	t.Parallel()
	f := inNewYork(t, 7, 8)
	f.Zones[0] = append(f.Zones[0], zone(t, "Asia/Bangkok"))
	w := oneTask(t, at(t, "Mon 10:00"), nil, f)
	if g := w.one(); g.Phone != 1 || len(g.Next) != 0 {
		t.Errorf("phone %d, then %v", g.Phone, g.Next)
	}
	f.Numbers, f.Zones = f.Numbers[:1], f.Zones[:1]
	w = oneTask(t, at(t, "Mon 10:00"), nil, f)
	w.none()
	w.tick()
	if got := w.q.SettledAt(theOne); len(got) != 1 || got[0].Reason != "no_hours" {
		t.Errorf("settled %+v", got)
	}
}

func TestHeldAndResumed(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	w.q.Hold(inc, true)
	w.none()
	if c := w.q.Counts(w.now, inc); c.Callable != 0 {
		t.Errorf("callable: %d", c.Callable)
	}
	w.q.Hold(inc, false)
	if c := w.q.Counts(w.now, inc); c.Callable != 1 {
		t.Errorf("callable: %d", c.Callable)
	}
	w.one()
}

func TestALaterWaveAndALaterRequest(t *testing.T) {
	t.Parallel()
	results := func(w *world) (all []string) {
		for s := range w.q.Settled(inc, 1) {
			for _, r := range s.Waves {
				all = append(all, fmt.Sprint(r.Wave, " ", r.Result.String()[len("RESULT_"):], " ", s.Reason))
			}
		}
		return all
	}
	w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
	w.queue(inc, "w1", 1, 1, 0)
	w.queue(inc, "w1", 1, 1, 0)
	w.mustComplete(w.one().Lease, Report{Disposition: "refused_info"})
	want := []string{"w0 FAILED refused_info", "w1 FAILED refused_info"}
	if got := results(w); !slices.Equal(got, want) {
		t.Errorf("answered %q, want %q", got, want)
	}
	events := len(w.log)
	w.queue(inc, "w0", 1, 1, 0)
	if len(w.log) != events {
		t.Error("a wave that was answered makes the customer be called again")
	}
	if err := w.ask(theOne, time.Time{}, "r1"); err != nil {
		t.Fatal(err)
	}
	w.queue(inc, "w2", 1, 3, 0)
	w.now = at(t, "Mon 14:00")
	g := w.one()
	if g.Purpose != "call_back" || g.Attempt != 2 {
		t.Errorf("purpose %s, attempt %d", g.Purpose, g.Attempt)
	}
	w.mustComplete(g.Lease, Report{Disposition: "notified_callback", CallBackAt: at(t, "Tue 10:00")})
	w.queue(inc, "w3", 1, 3, 0) // not told of this one
	ended, err := w.q.Withdraw(w.now, inc, nil, candorv1.CallState_CALL_STATE_EXPIRED, "closed")
	if err != nil {
		t.Fatal(err)
	}
	w.store(inc, ended...)
	// The call that they wished for has told them what the first one did not.
	want = append(want, "w0 DELIVERED closed", "w1 DELIVERED closed", "w2 DELIVERED closed", "w3 EXPIRED closed")
	if got := results(w); !slices.Equal(got, want) {
		t.Errorf("answered %q, want %q", got, want)
	}
}

// Whoever was given up and then asks to be called hears what the wave had for them.
func TestAWishTellsWhatAWaveDidNot(t *testing.T) {
	t.Parallel()
	lists := func(w *world) (all []string) {
		for _, s := range w.q.SettledAt(theOne) {
			all = append(all, fmt.Sprint(candorv1.Word(s.State), s.Waves))
		}
		return all
	}
	start := func(t *testing.T) *world {
		w := oneTask(t, at(t, "Mon 10:00"), nil, inNewYork(t, 7))
		w.mustComplete(w.one().Lease, Report{Disposition: "cancelled"})
		if err := w.ask(theOne, time.Time{}, "r1"); err != nil {
			t.Fatal(err)
		}
		w.now = at(t, "Mon 14:00")
		return w
	}
	const given = "failed[{w0 RESULT_FAILED}]"
	t.Run("told", func(t *testing.T) {
		t.Parallel()
		w := start(t)
		w.mustComplete(w.one().Lease, Report{Disposition: "notified"})
		if got, want := lists(w), []string{given, "done[{w0 RESULT_DELIVERED}]"}; !slices.Equal(got, want) {
			t.Errorf("settled %q, want %q", got, want)
		}
		if err := w.ask(theOne, time.Time{}, "r2"); err != nil { // who was told has no more to hear
			t.Fatal(err)
		}
		w.now = at(t, "Tue 14:00")
		w.mustComplete(w.one().Lease, Report{Disposition: "refused_info"})
		if got, want := lists(w), []string{given, "done[{w0 RESULT_DELIVERED}]", "failed[]"}; !slices.Equal(got, want) {
			t.Errorf("settled %q, want %q", got, want)
		}
		w.want(w.ends()...)
	})
	t.Run("given up again, which is no news", func(t *testing.T) {
		t.Parallel()
		w := start(t)
		w.close(inc, withdraw)
		if got, want := lists(w), []string{given, "expired[]"}; !slices.Equal(got, want) {
			t.Errorf("settled %q, want %q", got, want)
		}
		w.want(w.ends()...)
	})
}

// A lease has one end for all of its numbers.
func TestNumbersInAnotherZone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, first, second, now, ends string
		next                           []int
	}{
		{"the day ends there sooner", "America/Los_Angeles", "America/New_York", "Mon 19:30", "Mon 22:50", nil},
		{"it ends there later", "America/New_York", "America/Los_Angeles", "Mon 19:30", "Mon 19:50", []int{1}},
		{"it ends at the same time", "America/New_York", "America/Toronto", "Mon 19:30", "Mon 19:50", []int{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := inNewYork(t, 7, 8)
			f.Zones[0][0], f.Zones[1][0] = zone(t, tt.first), zone(t, tt.second)
			w := oneTask(t, at(t, tt.now), nil, f)
			g := w.claim(Claim{LeaseFor: 8 * time.Hour})[0]
			if g.Phone != 0 || !slices.Equal(g.Next, tt.next) || !g.WindowEndsAt.Equal(at(t, tt.ends)) {
				t.Errorf("phone %d, then %v, until %v; want %v until %v", g.Phone, g.Next, g.WindowEndsAt, tt.next, at(t, tt.ends))
			}
		})
	}
}

// Whoever dials a later number of a list has dialled those before it.
func TestNumbersThatRangInVain(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, change func(*playbook.Calls), numbers ...uint64) (*world, Granted) {
		w := oneTask(t, at(t, "Mon 09:00"), change, inNewYork(t, numbers...))
		w.facts[Place{inc, 1, 1}] = inNewYork(t, numbers[0])
		w.queue(inc, "w0", 1, 3, 1)
		g := w.one()
		w.now = at(t, "Mon 09:02")
		return w, g
	}
	t.Run("keep the gap and the time of day, for everybody who has them", func(t *testing.T) {
		t.Parallel()
		w, g := start(t, nil, 7, 8)
		w.mustComplete(g.Lease, Report{Disposition: "no_answer", Number: 8})
		w.now = at(t, "Mon 13:02").Add(-time.Second)
		w.none()
		w.now = at(t, "Mon 13:02")
		w.one()
	})
	t.Run("also where the report comes late", func(t *testing.T) {
		t.Parallel()
		w, g := start(t, nil, 7, 8)
		w.now = g.ExpiresAt
		w.tick()
		w.mustComplete(g.Lease, Report{Disposition: "notified", Number: 8})
		w.now = at(t, "Mon 13:09")
		w.none()
	})
	t.Run("count under the cap of the number", func(t *testing.T) {
		t.Parallel()
		w, g := start(t, func(c *playbook.Calls) { c.Caps.NumberPerDay = 1 }, 7, 8)
		w.mustComplete(g.Lease, Report{Disposition: "notified", Number: 8})
		w.now = at(t, "Mon 19:00")
		w.none()
	})
	t.Run("count for the person, who is offered no more than the caps allow", func(t *testing.T) {
		t.Parallel()
		w, g := start(t, func(c *playbook.Calls) { c.Caps.Total = 5 }, 7, 8, 9)
		if !slices.Equal(g.Next, []int{1, 2}) {
			t.Errorf("offered %v", g.Next)
		}
		w.mustComplete(g.Lease, Report{Disposition: "no_answer", Number: 9})
		w.now = at(t, "Tue 12:00")
		for _, g := range w.claim(Claim{Max: 2}) {
			if g.Place == theOne && (!slices.Equal(g.Next, []int{1}) || g.Attempt != 2) {
				t.Errorf("attempt %d, offered %v beside the first, of five with three made", g.Attempt, g.Next)
			}
		}
	})
}

// Six in all are six in all, however many waves there are.
func TestTheCapInAllHoldsForLife(t *testing.T) {
	t.Parallel()
	w := oneTask(t, at(t, "Mon 09:00"), nil, inNewYork(t, 7))
	calls := 0
	work := func(days int) {
		for range days * 24 {
			w.now = w.now.Add(time.Hour)
			w.tick()
			for _, g := range w.claim(Claim{}) {
				calls++
				w.mustComplete(g.Lease, Report{Disposition: "no_answer"})
			}
		}
	}
	work(10)
	for wave := range 5 {
		w.queue(inc, fmt.Sprint("later", wave), 1, 3, 0)
		work(10)
	}
	if calls != 6 {
		t.Errorf("%d calls to one person, want 6", calls)
	}
	if n := w.q.Open(inc); n != 0 {
		t.Errorf("%d tasks are open", n)
	}
	for i, in := range []time.Duration{0, 30 * time.Hour} { // but what they wish for themselves
		var when time.Time
		if in > 0 {
			when = w.now.Add(in)
		}
		if err := w.ask(theOne, when, fmt.Sprint("r", i)); err != nil {
			t.Fatal(err)
		}
		work(10)
		if want := 7 + i; calls != want || w.q.Open(inc) != 0 {
			t.Errorf("%d calls, want %d; %d open", calls, want, w.q.Open(inc))
		}
	}
}

func TestWhoCannotBeCalledEndsAtOnce(t *testing.T) {
	t.Parallel()
	rules := playbook.DefaultCalls()
	w := newWorld(t, at(t, "Mon 10:00"), map[string]*playbook.Calls{inc: &rules})
	w.facts[Place{inc, 1, 0}] = Facts{Suppressed: "opted_out"}
	w.facts[Place{inc, 1, 1}] = inNewYork(t, 5)
	w.facts[Place{inc, 1, 2}] = Facts{Suppressed: "opted_out"}
	w.facts[Place{inc, 1, 3}] = inNewYork(t, 0)
	w.queue(inc, "w0", 1, 3, 0, 1, 2, 3)
	w.tick()
	var got []string
	for s := range w.q.Settled(inc, 1) {
		got = append(got, fmt.Sprint(s.Place.Slot, candorv1.Word(s.State), s.Reason, s.Waves))
	}
	want := []string{"0suppressedopted_out[{w0 RESULT_SUPPRESSED}]", "2suppressedopted_out[{w0 RESULT_SUPPRESSED}]", "3suppressedno_number[{w0 RESULT_SUPPRESSED}]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(w.log) != 3 {
		t.Errorf("%d events, want the two customers in one", len(w.log))
	}
}
